//! Making announcements and proofs where they are easy: for simulated networks.
//!
//! Plain and slow beside a real miner; what it makes is as real. Source: PKT-CHAIN.md §2.10, §3.7.

use super::item::{Maker, TooLong};
use super::kernel::Code;
use super::state::{ITEM_LEN, State, blake32, blake64};
use super::{ITEMS, Level, half};
use crate::announcement::{Announcement, HEADER_LEN, LEN, SIBLINGS};
use crate::commitment::Commitment;
use crate::compact::Compact;
use crate::difficulty::{effective, soft_nonce_max};
use crate::proof::{ANNOUNCEMENTS, Proof};
use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Makes announcements and proofs, in memory of its own.
pub struct Miner {
    maker: Maker,
}

impl std::fmt::Debug for Miner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Miner").finish_non_exhaustive()
    }
}

impl Default for Miner {
    fn default() -> Self {
        let code = Level::ALL.into_iter().rev().find_map(Code::with);
        Self { maker: Maker::new(code.unwrap_or(Code::Portable)) }
    }
}

/// Announcements as a block's tree has them: by the number that their hash begins with.
#[derive(Clone, Debug)]
pub struct Set {
    announcements: Vec<Announcement>,
    /// From the leaves up to the root; a level of odd length has a node of padding at its end.
    levels: Vec<Vec<Span>>,
}

/// A node of the tree.
#[derive(Clone, Copy, Debug)]
struct Span {
    hash: [u8; 32],
    start: u64,
    end: u64,
}

impl Span {
    const PADDING: Self = Self { hash: [0xff; 32], start: u64::MAX, end: u64::MAX };

    fn over(left: &Self, right: &Self) -> Self {
        let bytes = |number: u64| number.to_le_bytes();
        let hash = blake32(&[
            &left.hash,
            &bytes(left.start),
            &bytes(left.end),
            &right.hash,
            &bytes(right.start),
            &bytes(right.end),
        ]);
        Self { hash, start: left.start, end: right.end }
    }
}

impl Set {
    /// The tree over `announcements`, those left out whose number cannot be used or is there already.
    #[must_use]
    pub fn new(announcements: impl IntoIterator<Item = Announcement>) -> Self {
        let numbered = announcements.into_iter().map(|announcement| {
            let hash = blake32(&[&announcement.0]);
            let start = u64::from_le_bytes(*hash.first_chunk().unwrap_or(&[0; 8]));
            (start, (hash, announcement))
        });
        let sorted: BTreeMap<u64, _> =
            numbered.filter(|(start, _)| ![0, u64::MAX].contains(start)).collect();
        let dummy = Span { hash: [0; 32], start: 0, end: u64::MAX };
        let leaves = sorted.iter().map(|(start, (hash, _))| Span {
            hash: *hash,
            start: *start,
            end: u64::MAX,
        });
        let mut leaves: Vec<_> = std::iter::once(dummy).chain(leaves).collect();
        let starts: Vec<_> = leaves.iter().skip(1).map(|leaf| leaf.start).collect();
        leaves.iter_mut().zip(starts).for_each(|(leaf, next)| leaf.end = next);
        let mut levels = vec![leaves];
        while let Some(level) = levels.last_mut()
            && level.len() > 1
        {
            if !level.len().is_multiple_of(2) {
                level.push(Span::PADDING);
            }
            let next = level.as_chunks().0.iter().map(|[left, right]| Span::over(left, right));
            let next = next.collect();
            levels.push(next);
        }
        let announcements = sorted.into_values().map(|(_, announcement)| announcement).collect();
        Self { announcements, levels }
    }

    /// What a coinbase says of it. `least`: the greatest of the announcements' targets, aged.
    #[must_use]
    pub fn commitment(&self, least: Compact) -> Commitment {
        let root = self.levels.last().and_then(|level| level.first()).unwrap_or(&Span::PADDING);
        let bytes = |number: u64| number.to_le_bytes();
        let root = blake32(&[&root.hash, &bytes(root.start), &bytes(root.end)]);
        Commitment { least, root, count: self.announcements.len() as u64 }
    }

    /// That the leaves `proven` are in the tree.
    fn prove(&self, proven: &[usize]) -> Vec<u8> {
        let mut proof = Vec::new();
        self.walk(self.levels.len().saturating_sub(1), 0, proven, &mut proof);
        proof
    }

    fn walk(&self, level: usize, place: usize, proven: &[usize], proof: &mut Vec<u8>) {
        let leaves = self.announcements.len() + 1;
        let Some(span) = self.levels.get(level).and_then(|level| level.get(place)) else { return };
        if place << level >= leaves {
            return;
        }
        let is_computable = proven.iter().any(|leaf| leaf >> level == place);
        let is_right_leaf = level == 0 && place % 2 == 1;
        if is_right_leaf || (!is_computable && level > 0) {
            proof.extend(span.end.wrapping_sub(span.start).to_le_bytes());
        }
        if !is_computable {
            proof.extend(span.hash);
        } else if level > 0 {
            self.walk(level - 1, 2 * place, proven, proof);
            self.walk(level - 1, 2 * place + 1, proven, proof);
        }
    }
}

impl Miner {
    /// Announcements of version 1, without content or key, as many as `count` if the hard nonces suffice.
    ///
    /// `target`: what their work hashes meet. `parent`: the block, and its height, that they are made after.
    ///
    /// Cost: a table of 8192 items for some 256 to 512 announcements, and `count` times the work of `target`.
    #[must_use]
    pub fn announce(
        &mut self,
        (height, parent): (u32, BlockHash),
        target: Compact,
        count: usize,
    ) -> Vec<Announcement> {
        let mut found = Vec::new();
        for hard_nonce in 0.. {
            if found.len() >= count {
                break;
            }
            let mut header = [0; HEADER_LEN];
            header[0] = 1;
            header[4..8].copy_from_slice(&u32::to_le_bytes(hard_nonce));
            header[8..12].copy_from_slice(&target.0.to_le_bytes());
            header[12..16].copy_from_slice(&height.to_le_bytes());
            // A table whose program is too long has none: another one follows.
            let _rare = self.of_table(&header, parent.as_byte_array(), count, &mut found);
        }
        found
    }

    fn of_table(
        &mut self,
        header: &[u8; HEADER_LEN],
        parent: &[u8; 32],
        count: usize,
        found: &mut Vec<Announcement>,
    ) -> Result<(), TooLong> {
        let h0 = blake64(&[header, parent, &[0; 32]]);
        self.maker.load(half(&h0, 0))?;
        let mut levels = vec![Vec::new()];
        for number in 0..ITEMS {
            levels[0].push(blake64(&[self.maker.item(number, half(&h0, 32))?]));
        }
        for level in 0..SIBLINGS {
            let next =
                levels[level].as_chunks().0.iter().map(|[left, right]| blake64(&[left, right]));
            let next = next.collect();
            levels.push(next);
        }
        let root = levels[SIBLINGS][0];
        let h1 = blake64(&[header, &root]);
        let seeds = blake64(&[&root, &h0]);
        self.maker.load(half(&seeds, 0))?;
        let target = Compact(u32::from_le_bytes([header[8], header[9], header[10], header[11]]));
        let mut items = BTreeMap::new();
        let mut state = State::zero();
        for nonce in 0..=soft_nonce_max(target).unwrap_or(0) {
            let number = self.try_nonce(&mut state, &mut items, &h1, &seeds, nonce)?;
            let hash = *state.0.first_chunk().unwrap_or(&[0; 32]);
            if !target.is_met_by(&hash) {
                continue;
            }
            let mut bytes = [0; LEN];
            bytes[..HEADER_LEN].copy_from_slice(header);
            bytes[1..4].copy_from_slice(&nonce.to_le_bytes()[..3]);
            let siblings = (0..SIBLINGS).map(|level| levels[level][number >> level ^ 1]);
            let places = bytes[HEADER_LEN..].as_chunks_mut::<64>().0;
            places.iter_mut().zip(siblings).for_each(|(place, sibling)| *place = sibling);
            bytes[HEADER_LEN + 64 * SIBLINGS..][..64].copy_from_slice(&root);
            // What is left of the state is the key of siblings and tail.
            let (of_siblings, of_tail) = state.0.split_at(64 * SIBLINGS);
            let encrypted = bytes[HEADER_LEN..].iter_mut().zip(of_siblings);
            encrypted.for_each(|(byte, key)| *byte ^= key);
            bytes[LEN - 40..].copy_from_slice(&of_tail[..40]);
            found.push(Announcement(bytes));
            if found.len() >= count {
                break;
            }
        }
        Ok(())
    }

    /// The work hash of a soft nonce, into the beginning of `state`; the number of the last item.
    fn try_nonce(
        &mut self,
        state: &mut State,
        items: &mut BTreeMap<u64, Box<[u8; ITEM_LEN]>>,
        h1: &[u8; 64],
        seeds: &[u8; 64],
        nonce: u32,
    ) -> Result<usize, TooLong> {
        let code = self.maker.code;
        state.init(code, half(h1, 0), nonce.into());
        let mut number = 0;
        for _ in 0..4 {
            number = state.number() % ITEMS;
            let item = match items.entry(number) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    place.insert(Box::new(*self.maker.item(number, half(seeds, 32))?))
                }
            };
            state.update(code, item, None);
        }
        state.finish();
        usize::try_from(number).map_err(|_never| TooLong)
    }

    /// A proof for `header`, whose coinbase has `commitment`: the first nonce that will do. `None`: no nonce does, which
    /// another header may change, or the set is empty.
    #[must_use]
    pub fn prove(
        &mut self,
        header: &Header,
        commitment: &Commitment,
        set: &Set,
        version: u64,
    ) -> Option<Proof> {
        let code = self.maker.code;
        let bits = Compact(header.bits.to_consensus());
        let target = effective(bits, commitment.least, commitment.count, version);
        let header_hash = blake32(&[&serialize(header)]);
        let count = u64::try_from(set.announcements.len()).ok().filter(|count| *count > 0)?;
        let mut state = State::zero();
        for nonce in 0..=u32::MAX {
            state.init(code, &header_hash, nonce.into());
            let mut places = [0; ANNOUNCEMENTS];
            for place in &mut places {
                *place = usize::try_from(state.number() % count).ok()?;
                state.update(code, &set.announcements.get(*place)?.0, None);
            }
            // The header alone decides which is the first.
            if count.is_multiple_of(2) && places[0] + 1 == set.announcements.len() {
                return None;
            }
            state.smul();
            state.smul();
            // The reference refuses the last of an even number.
            let is_odd_one =
                count.is_multiple_of(2) && places.contains(&(set.announcements.len() - 1));
            if is_odd_one || !target.is_met_by(&state.finish()) {
                continue;
            }
            let announcements = places.map(|place| set.announcements[place].clone());
            return Some(Proof {
                nonce,
                announcements: Box::new(announcements),
                tree: set.prove(&places.map(|place| place + 1)),
                signatures: [None; ANNOUNCEMENTS],
                content: Vec::new(),
                version,
                is_standard: true,
            });
        }
        None
    }
}
