//! What a header must be where it stands: it says nothing of the work in its block, but decides which chain has the
//! most.

use crate::compact::Compact;
use crate::fault::Fault;
use crate::network::Network;
use bitcoin::block::Header;
use num_bigint::BigUint;

/// Blocks between two retargets.
pub const WINDOW: u32 = 2016;
/// Seconds that a window should take.
const WINDOW_S: u32 = WINDOW * 60;
/// Seconds between blocks after which the minimum-difficulty rule speaks.
const LATE_S: u32 = 120;
/// Blocks whose times' median a new block must pass.
const MEDIAN_BLOCKS: u32 = 111;
/// Seconds that a block may be ahead of a node's clock.
pub const AHEAD_S_MAX: u32 = 720;

/// What a header adds to its chain: of all its tries one would meet the target.
#[must_use]
pub fn work(header: &Header) -> BigUint {
    bits(header).work().unwrap_or_default()
}

/// What a chain has of it, the genesis included.
#[must_use]
pub fn total_work(headers: &[Header]) -> BigUint {
    headers.iter().map(work).sum()
}

fn bits(header: &Header) -> Compact {
    Compact(header.bits.to_consensus())
}

/// Verifies a header against those before it. Its time against the clock is the caller's: [`is_ahead`].
///
/// `ancestor`: the header at a height of the chain that `header` stands on, up to `height − 1`. The 111 before are
/// asked for, and one or two others.
///
/// # Errors
/// The first rule broken.
pub fn check(
    header: &Header,
    height: u32,
    ancestor: impl Fn(u32) -> Option<Header>,
    network: &Network,
) -> Result<(), Fault> {
    let parent = height.checked_sub(1).and_then(&ancestor).ok_or(Fault::Parent)?;
    if header.prev_blockhash != parent.block_hash() {
        return Err(Fault::Parent);
    }
    if bits(header)
        != required_bits(header.time, height, &ancestor, network).ok_or(Fault::Parent)?
    {
        return Err(Fault::Bits);
    }
    if header.time <= median_time(height, &ancestor).ok_or(Fault::Parent)? {
        return Err(Fault::TimeTooOld);
    }
    let known = network.checkpoints.binary_search_by_key(&height, |(height, _)| *height);
    let known = known.ok().and_then(|place| network.checkpoints.get(place));
    if known.is_some_and(|(_, id)| *id != header.block_hash().to_string()) {
        return Err(Fault::Checkpoint);
    }
    if header.version.to_consensus() < 4 {
        return Err(Fault::HeaderVersion);
    }
    Ok(())
}

/// Whether a block is too far ahead of a clock (seconds since 1970) to be taken already.
#[must_use]
pub fn is_ahead(header: &Header, now_s: u64) -> bool {
    u64::from(header.time) > now_s.saturating_add(AHEAD_S_MAX.into())
}

/// The target that a block of this height and time must have. `None`: an ancestor is not known.
pub fn required_bits(
    time: u32,
    height: u32,
    ancestor: impl Fn(u32) -> Option<Header>,
    network: &Network,
) -> Option<Compact> {
    let last = height.checked_sub(1)?;
    let parent = ancestor(last)?;
    if height.is_multiple_of(WINDOW) {
        // One interval less than there are blocks, as in Bitcoin.
        let first = ancestor(height - WINDOW)?;
        let span = i64::from(parent.time) - i64::from(first.time);
        return Some(retarget(bits(&parent), span, network.pow_limit));
    }
    if last >= network.minimum_difficulty_until {
        return Some(bits(&parent));
    }
    if i64::from(time) > i64::from(parent.time) + i64::from(LATE_S) {
        return Some(network.pow_limit);
    }
    let mut height = last;
    let mut header = parent;
    while !height.is_multiple_of(WINDOW) && bits(&header) == network.pow_limit {
        height -= 1;
        header = ancestor(height)?;
    }
    Some(bits(&header))
}

/// The target after a window that took `span_s` seconds.
#[must_use]
pub fn retarget(bits: Compact, span_s: i64, limit: Compact) -> Compact {
    let (least, most) = (WINDOW_S / 4, WINDOW_S * 4);
    let span = u32::try_from(span_s.clamp(least.into(), most.into())).unwrap_or(least);
    let target = bits.target().unwrap_or_default() * span / WINDOW_S;
    let limit = limit.target().unwrap_or_default();
    Compact::from_number(&target.min(limit))
}

/// The middle one of the times of the last 111 blocks below `height`. `None`: one of them is not known, or there is
/// none.
pub fn median_time(height: u32, ancestor: impl Fn(u32) -> Option<Header>) -> Option<u32> {
    let first = height.saturating_sub(MEDIAN_BLOCKS);
    let mut times =
        (first..height).map(|height| Some(ancestor(height)?.time)).collect::<Option<Vec<_>>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
