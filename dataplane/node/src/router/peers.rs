//! The neighbours as the router knows them: their labels for us, and what was measured on their links.

use super::Neighbour;
use crate::announce::item::{LinkState, SLOTS, Sample};
use dataplane_api::Nanos;
use rand_core::CryptoRng;
use std::net::Ipv6Addr;
use wire::control::{self, PROTOCOL_VERSION_MIN, Ping, Rpath, kind, magic};
use wire::key::PublicKey;
use wire::scheme::Scheme;
use wire::switch::Header;
use zerocopy::network_endian::U64;

/// Lost packets in units of 2⁻¹⁸ of the received ones, at most this.
const DROPS_MAX: u64 = 0xfffe;
const DROPS_SCALE: u64 = 1 << 18;
const NANOS_PER_MS: Nanos = 1_000_000;

/// The neighbours that can be routed through, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: Vec<Peer>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) number: u16,
    pub(super) label: u64,
    pub(super) key: PublicKey,
    pub(super) address: Ipv6Addr,
    pub(super) version: u32,
    pub(super) mtu: u16,
    /// By which it reaches us.
    pub(super) their_label: Option<u32>,
    /// RPATH query that is under way: its mark and when it was sent.
    asked: Option<(u64, Nanos)>,
    ring: Option<Box<Ring>>,
}

/// What became of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) gained: bool,
    pub(super) lost: bool,
}

/// Measurements of a link, in slots.
#[derive(Debug, Default)]
struct Ring {
    samples: [Sample; SLOTS],
    /// Slots that are over, ever.
    taken: u32,
    /// Of these, announced.
    announced: u32,
    lag_sum_ms: u64,
    lag_count: u64,
    /// Counters of the link at the end of the last slot.
    counted: Option<Counted>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    received: u64,
    lost: u64,
    bytes: u64,
}

impl Peers {
    /// Adopts the links as they are now.
    pub(super) fn adopt(
        &mut self,
        own: &PublicKey,
        scheme: &Scheme,
        neighbours: &[Neighbour],
    ) -> Changes {
        let before = std::mem::take(&mut self.peers);
        let mut changes = Changes::default();
        let mut old = before.into_iter().peekable();
        let mut usable: Vec<&Neighbour> =
            neighbours.iter().filter(|neighbour| is_usable(neighbour, own)).collect();
        usable.sort_unstable_by_key(|neighbour| neighbour.number);
        usable.dedup_by_key(|neighbour| neighbour.number);
        for neighbour in usable {
            while old.next_if(|peer| peer.number < neighbour.number).is_some() {
                changes.lost = true;
            }
            let known = old.next_if(|peer| peer.number == neighbour.number);
            let is_same = known.as_ref().is_some_and(|peer| peer.key == neighbour.key);
            changes.lost |= known.is_some() && !is_same;
            match known.filter(|_| is_same) {
                Some(peer) => {
                    self.peers.push(Peer { version: neighbour.version, mtu: neighbour.mtu, ..peer })
                }
                None => {
                    let Some(label) = scheme.peer_label(neighbour.number) else { continue };
                    changes.gained = true;
                    self.peers.push(Peer::new(neighbour, label));
                }
            }
        }
        changes.lost |= old.next().is_some();
        changes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn numbered(&self, number: u16) -> Option<&Peer> {
        let at = self.peers.binary_search_by_key(&number, |peer| peer.number).ok()?;
        self.peers.get(at)
    }

    /// The first with a number above `number`, or else the first: each in turn.
    pub(super) fn after(&self, number: Option<u16>) -> Option<&Peer> {
        let above =
            number.map_or(0, |number| self.peers.partition_point(|peer| peer.number <= number));
        self.peers.get(above).or_else(|| self.peers.first())
    }

    /// An RPATH reply. `true`: the label by which the peer reaches us is news.
    pub(super) fn reply(&mut self, now: Nanos, from: u64, mark: u64, label: u64) -> bool {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.label == from) else {
            return false;
        };
        let Some((_, sent)) = peer.asked.take_if(|(asked, _)| *asked == mark) else {
            return false;
        };
        if let Some(ring) = &mut peer.ring {
            ring.lag(now.saturating_sub(sent));
        }
        // An announcement has no room for more, and no label of one hop is shorter.
        let label = u32::try_from(label).ok().filter(|label| *label > 1);
        let is_news = label.is_some() && label != peer.their_label;
        peer.their_label = label.or(peer.their_label);
        is_news
    }
}

impl Peer {
    fn new(neighbour: &Neighbour, label: u64) -> Self {
        let Neighbour { number, key, version, mtu, .. } = *neighbour;
        let address = key.address();
        let (their_label, asked, ring) = (None, None, None);
        Self { number, label, key, address, version, mtu, their_label, asked, ring }
    }

    /// By which label do you reach me? Its answer's delay is the link's lag, so that no session is needed to measure it.
    pub(super) fn ask(&mut self, now: Nanos, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let mark = rng.next_u64();
        self.asked = Some((mark, now));
        let head =
            Ping { magic: magic::SNODE_QUERY.into(), version: control::PROTOCOL_VERSION.into() };
        let body = Rpath { head, path: U64::new(self.label) };
        control::packet(Header::new(self.label, 0), kind::RPATH, &body, &mark.to_be_bytes())
    }

    /// A slot is over. The first call only begins one.
    pub(super) fn sample(&mut self, neighbour: &Neighbour) {
        let ring = self.ring.get_or_insert_default();
        ring.sample(
            Counted {
                received: neighbour.received,
                lost: neighbour.lost,
                bytes: neighbour.received_bytes,
            },
            neighbour.lag_ms,
        );
    }

    /// Appends samples that were not announced yet, and says at which ring index they begin. `None`: there are none.
    pub(super) fn news(&self, samples: &mut Vec<u8>) -> Option<LinkStateStart> {
        let ring = self.ring.as_ref().filter(|ring| ring.taken > ring.announced)?;
        let slots = u32::try_from(SLOTS).unwrap_or(u32::MAX);
        let first = ring.announced.max(ring.taken.saturating_sub(slots));
        for slot in first..ring.taken {
            ring.samples.get(index_of(slot))?.put(samples);
        }
        Some(LinkStateStart { number: self.announced_number()?, start: index_of(first) })
    }

    /// The samples were announced.
    pub(super) fn announced(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.announced = ring.taken;
        }
    }

    /// Another route server knows none of the samples.
    pub(super) fn unannounced(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.announced = 0;
        }
    }

    /// Nobody wants measurements.
    pub(super) fn forget_measurements(&mut self) {
        self.ring = None;
        self.asked = None;
    }

    /// Our label for it as announcements have it. `None`: it is longer than 16 bits.
    pub(super) fn announced_number(&self) -> Option<u16> {
        u16::try_from(self.label).ok()
    }
}

/// What a link state item says before its samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkStateStart {
    number: u16,
    start: usize,
}

impl LinkStateStart {
    pub(super) fn with(self, samples: &[u8]) -> LinkState<'_> {
        LinkState::new(self.number, u8::try_from(self.start).unwrap_or(0), samples)
    }
}

impl Ring {
    fn lag(&mut self, round_trip: Nanos) {
        self.lag_sum_ms += (round_trip / NANOS_PER_MS).max(1);
        self.lag_count += 1;
    }

    fn sample(&mut self, counted: Counted, link_lag_ms: Option<u16>) {
        let Some(before) = self.counted.replace(counted) else { return };
        // A session that begins anew counts from zero.
        let since = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        let received = since(counted.received, before.received);
        let lost = since(counted.lost, before.lost);
        let bytes = since(counted.bytes, before.bytes);
        let drops = (lost.saturating_mul(DROPS_SCALE))
            .checked_div(received)
            .unwrap_or(if lost > 0 { DROPS_MAX } else { 0 });
        let measured = self.lag_sum_ms.checked_div(self.lag_count);
        // Zero would say that nothing was measured.
        let of_the_link = || link_lag_ms.map(|lag| u64::from(lag.max(1)));
        let lag = measured.or_else(of_the_link).unwrap_or(0);
        let sample = Sample {
            lag_ms: u16::try_from(lag).unwrap_or(u16::MAX),
            drops: u16::try_from(drops.min(DROPS_MAX)).unwrap_or(u16::MAX),
            kilobytes: u32::try_from(bytes / 1000).unwrap_or(u32::MAX),
        };
        if let Some(slot) = self.samples.get_mut(index_of(self.taken)) {
            *slot = sample;
        }
        self.taken = self.taken.wrapping_add(1);
        (self.lag_sum_ms, self.lag_count) = (0, 0);
    }
}

fn index_of(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(0) % SLOTS
}

fn is_usable(neighbour: &Neighbour, own: &PublicKey) -> bool {
    let Neighbour { key, version, established, .. } = neighbour;
    *established && *version >= PROTOCOL_VERSION_MIN && key != own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypt::identity::Identity;
    use crypt::test_rng::TestRng;

    fn neighbour(number: u16, key: u8) -> Neighbour {
        Neighbour {
            number,
            key: PublicKey([key; 32]),
            version: 22,
            established: true,
            mtu: 1500,
            lag_ms: None,
            received: 0,
            lost: 0,
            received_bytes: 0,
        }
    }

    fn adopt(peers: &mut Peers, neighbours: &[Neighbour]) -> (bool, bool) {
        let changes = peers.adopt(&PublicKey([0; 32]), &Scheme::v358(), neighbours);
        (changes.gained, changes.lost)
    }

    #[test]
    fn links_that_come_and_go_are_noticed() {
        let mut peers = Peers::default();
        assert_eq!(adopt(&mut peers, &[neighbour(3, 3), neighbour(0, 7)]), (true, false));
        assert_eq!(adopt(&mut peers, &[neighbour(0, 7), neighbour(3, 3)]), (false, false));
        assert_eq!(adopt(&mut peers, &[neighbour(0, 7), neighbour(2, 3)]), (true, true));
        assert_eq!(adopt(&mut peers, &[neighbour(0, 8), neighbour(2, 3)]), (true, true));
        let own_key = Neighbour { key: PublicKey([0; 32]), ..neighbour(4, 0) };
        let old = Neighbour { version: 19, ..neighbour(5, 5) };
        let router = neighbour(1, 9);
        let beyond = neighbour(257, 9);
        let not_there = Neighbour { established: false, ..neighbour(2, 3) };
        assert_eq!(adopt(&mut peers, &[own_key, old, router, beyond, not_there]), (false, true));
        assert!(peers.is_empty());
    }

    #[test]
    fn each_peer_has_its_turn() {
        let mut peers = Peers::default();
        adopt(&mut peers, &[neighbour(0, 1), neighbour(2, 2), neighbour(9, 3)]);
        let mut at = None;
        let turns = [(); 4].map(|()| {
            at = peers.after(at).map(|peer| peer.number);
            at.unwrap()
        });
        assert_eq!(turns, [0, 2, 9, 0]);
    }

    #[test]
    fn only_the_answer_to_the_last_question_counts() {
        let mut rng = TestRng::new(1);
        let mut peers = Peers::default();
        adopt(&mut peers, &[neighbour(0, 1)]);
        let mut mark = |peers: &mut Peers| {
            let asked = peers.iter_mut().next().unwrap().ask(0, &mut rng);
            u64::from_be_bytes(asked[asked.len() - 8..].try_into().unwrap())
        };
        let old = mark(&mut peers);
        let new = mark(&mut peers);
        assert!(!peers.reply(5, 0x13, old, 0x15));
        assert!(!peers.reply(5, 0x15, new, 0x15), "from elsewhere");
        assert!(peers.reply(5, 0x13, new, 0x15));
        assert!(!peers.reply(5, 0x13, new, 0x17), "asked once, answered once");
        let again = mark(&mut peers);
        assert!(!peers.reply(5, 0x13, again, 0x1_0000_0001), "does not fit");
        assert_eq!(peers.numbered(0).unwrap().their_label, Some(0x15));
    }

    #[test]
    fn measurements_are_of_their_slot_and_announced_once() {
        let mut rng = TestRng::new(2);
        let key = Identity::generate(&mut rng).public();
        let mut neighbour = Neighbour { key, ..neighbour(0, 1) };
        let mut peers = Peers::default();
        adopt(&mut peers, std::slice::from_ref(&neighbour));
        let mut samples = Vec::new();
        let peer = peers.iter_mut().next().unwrap();
        peer.sample(&neighbour);
        assert!(peer.news(&mut samples).is_none(), "the first slot has begun");
        neighbour.received = 1000;
        neighbour.lost = 1;
        neighbour.received_bytes = 5_999;
        neighbour.lag_ms = Some(90);
        let mark = peer.ask(0, &mut rng);
        let mark = u64::from_be_bytes(mark[mark.len() - 8..].try_into().unwrap());
        peers.reply(7 * NANOS_PER_MS, 0x13, mark, 0x15);
        let peer = peers.iter_mut().next().unwrap();
        peer.sample(&neighbour);
        let start = peer.news(&mut samples).unwrap();
        let read: Vec<_> = start.with(&samples).samples().collect();
        let expected = Sample { lag_ms: 7, drops: 262, kilobytes: 5 };
        assert_eq!(read, [(0, expected)]);
        peer.announced();
        assert!(peer.news(&mut samples).is_none());
        // A new session: counters from zero; nothing was asked, but the link knows.
        neighbour.lag_ms = Some(0);
        neighbour.received = 0;
        neighbour.lost = 3;
        neighbour.received_bytes = 1000;
        for _ in 0..20 {
            peer.sample(&neighbour);
        }
        samples.clear();
        let start = peer.news(&mut samples).unwrap();
        let read: Vec<_> = start.with(&samples).samples().collect();
        assert_eq!((read.len(), read[0].0), (18, 3), "the oldest two are overwritten");
        assert!(read.iter().all(|(_, sample)| sample.lag_ms == 1), "0 would be none");
        peer.unannounced();
        assert!(peer.news(&mut Vec::new()).is_some());
    }
}
