//! When links are looked at, and the pings that tell whether somebody is there. Source: CJDNS-WIRE.md §2.4.

use super::LinkConfig;
use dataplane_api::Nanos;
use std::ops::Range;
use wire::control::{self, PROTOCOL_VERSION, Ping, kind, magic};
use wire::switch::Header;
use zerocopy::network_endian::U32;

const MS: Nanos = 1_000_000;
/// Every link is looked at once in this time.
const CYCLE: Nanos = 1024 * MS;
/// A peer that has said nothing for so long is pinged, and again as often.
pub(super) const LAZY: Nanos = 3072 * MS;
/// A peer that has said nothing for so long is taken as gone.
pub(super) const UNRESPONSIVE: Nanos = 20_480 * MS;
/// Such a peer is pinged in one cycle of eight.
pub(super) const SLOW_CYCLE: Nanos = 8 * CYCLE;
/// A peer that came by itself is forgotten then.
pub(super) const FORGOTTEN: Nanos = 262_144 * MS;
/// Parts of a cycle: each has its share of the links, so that pings of many links do not leave together.
const PARTS: u64 = 64;
/// Bytes of a ping's tail: when it was sent, and what its answerer cannot make up.
const OPAQUE_LEN: usize = 16;

/// The clock of supervision, and the secret in its pings.
#[derive(Debug)]
pub(super) struct Supervision {
    seed: u64,
    /// Number of the part that was looked at last.
    part: Option<u64>,
}

impl Supervision {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, part: None }
    }

    /// Places of the links to look at now, of `links`.
    pub(super) fn due(&mut self, now: Nanos, links: usize) -> Range<usize> {
        let part = now / (CYCLE / PARTS);
        let last = self.part.replace(part).unwrap_or_else(|| part.wrapping_sub(1));
        // After a long pause every link is looked at once, not once for each cycle that was missed.
        let parts = part.wrapping_sub(last).min(PARTS);
        if parts == 0 || links == 0 {
            return 0..0;
        }
        let share = |part: u64| usize::try_from(part * links as u64 / PARTS).unwrap_or(0);
        let (from, to) = ((part + PARTS - parts + 1) % PARTS, part % PARTS + 1);
        if from < to { share(from)..share(to) } else { 0..links }
    }

    /// A ping down a link, from the switch header on, as it goes on the wire.
    pub(super) fn ping(&self, now: Nanos, link: &LinkConfig) -> Vec<u8> {
        let head = Ping { magic: U32::new(magic::PING), version: U32::new(PROTOCOL_VERSION) };
        let mut opaque = [0; OPAQUE_LEN];
        opaque[..8].copy_from_slice(&now.to_be_bytes());
        opaque[8..].copy_from_slice(&self.cookie(now, link).to_be_bytes());
        //= WIRE §3.4: a node that puts a packet on a link takes its own switch's step itself
        let width = u8::try_from(63 - (link.label | 1).leading_zeros()).unwrap_or(0);
        let mut header = Header::new(link.label >> width | 1 << 63, 0);
        header.set_shift(width);
        header.set_traffic_class(wire::switch::UNCLASSIFIED);
        control::packet(header, kind::PING, &head, &opaque)
    }

    /// When the ping was sent that this tail is of; `None`: none of this link.
    pub(super) fn sent(&self, link: &LinkConfig, opaque: &[u8]) -> Option<Nanos> {
        let opaque: &[u8; OPAQUE_LEN] = opaque.try_into().ok()?;
        let (sent, cookie) = opaque.split_first_chunk::<8>()?;
        let sent = Nanos::from_be_bytes(*sent);
        (cookie == self.cookie(sent, link).to_be_bytes()).then_some(sent)
    }

    /// What a pong's sender cannot know unless the ping reached it.
    fn cookie(&self, sent: Nanos, link: &LinkConfig) -> u64 {
        let mut z = self.seed ^ sent ^ u64::from(link.vif.0) << 40 ^ u64::from(link.epoch) << 56;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
