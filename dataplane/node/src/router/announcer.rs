//! What a router has told its route server, what it must tell next, and when. Source: CJDNS-WIRE.md §6.4.

use super::message::Reply;
use super::peers::Peers;
use crate::announce::item::{Item, Peer, Subject, align};
use crate::announce::log::{KEPT_MS, Log};
use crate::announce::{self, Announcement, HEADER_LEN, Header, djb2a};
use crypt::identity::Identity;
use dataplane_api::Nanos;
use rand_core::CryptoRng;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use wire::control::PROTOCOL_VERSION;
use wire::scheme::Scheme;
use zerocopy::FromBytes;

const SECOND: Nanos = 1_000_000_000;
/// The first announcement, and the first link.
const FIRST: Nanos = SECOND;
/// After a link is gone: the route server must hear of it soon.
const LOST: Nanos = 6 * SECOND;
/// After a link is new: others may follow.
const GAINED: Nanos = 12 * SECOND;
/// Otherwise.
const STEADY: Nanos = 60 * SECOND;
/// After an announcement that had no room for everything.
const MORE: Nanos = SECOND / 2;
/// Announcements of a box's routers are spread by up to this, so that they do not come together.
const SPREAD: Nanos = SECOND;
/// Longest wait before another reset, if each is answered by a hash that is not ours.
const RESET_WAIT_MAX: Nanos = 64 * SECOND;
/// Longest announcement, so that it fits any link. The reference stops near it, too.
const LEN_MAX: usize = 700;
const ITEMS_MAX: usize = LEN_MAX - HEADER_LEN;
/// An item is announced again this long after it was, less up to ten minutes by its hash.
const AGAIN_MS: u64 = KEPT_MS - 60_000;
const AGAIN_SPREAD_S: u64 = 600;

/// One router's announcements to one route server.
#[derive(Debug)]
pub(super) struct Announcer {
    /// As the route server should have it.
    log: Log,
    said: BTreeMap<Subject, Said>,
    /// The next announcement begins anew.
    reset: bool,
    /// Resets since the route server last agreed.
    resets: u32,
    due: Nanos,
    in_flight: Option<InFlight>,
    last_time_ms: u64,
}

#[derive(Debug)]
struct Said {
    item: Vec<u8>,
    at_ms: u64,
}

#[derive(Debug)]
struct InFlight {
    announcement: Vec<u8>,
    /// There was no room for everything.
    more: bool,
}

/// What an announcer speaks of.
#[derive(Debug)]
pub(super) struct Subjects<'a> {
    pub(super) identity: &'a Identity,
    pub(super) scheme: &'a Scheme,
    pub(super) peers: &'a mut Peers,
}

impl Announcer {
    /// Nothing was said yet.
    pub(super) fn new(now: Nanos, rng: &mut dyn CryptoRng) -> Self {
        Self {
            log: Log::default(),
            said: BTreeMap::new(),
            reset: true,
            resets: 0,
            due: now + FIRST + rng.next_u64() % SPREAD,
            in_flight: None,
            last_time_ms: 0,
        }
    }

    /// When to announce next; never while an announcement is not answered.
    pub(super) fn due(&self) -> Nanos {
        if self.in_flight.is_some() { Nanos::MAX } else { self.due }
    }

    /// A label by which we can be reached is known, or a link is gone.
    pub(super) fn links_changed(&mut self, now: Nanos, gained: bool, lost: bool) {
        let links = |said: (&Subject, &Said)| matches!(said.0, Subject::Peer(_));
        let is_first = gained && !self.said.iter().any(links);
        let wait = match (is_first, lost, gained) {
            (true, _, _) => FIRST,
            (false, true, _) => LOST,
            (false, false, true) => GAINED,
            (false, false, false) => return,
        };
        self.due = self.due.min(now + wait);
    }

    /// The next announcement, to be sent at once.
    ///
    /// `time_ms`: the route server's time.
    pub(super) fn compose(
        &mut self,
        server: Ipv6Addr,
        time_ms: u64,
        subjects: Subjects<'_>,
        rng: &mut dyn CryptoRng,
    ) -> &[u8] {
        // The route server takes none that is older than the last.
        let time_ms = time_ms.max(self.last_time_ms + 1);
        self.last_time_ms = time_ms;
        if self.reset {
            self.log.clear();
            self.said.clear();
            subjects.peers.iter_mut().for_each(super::peers::Peer::unannounced);
        }
        let (mut items, mut more) = (Vec::new(), false);
        for (subject, item) in self.wanted(&subjects) {
            if !self.must_say(subject, &item, time_ms) {
                continue;
            }
            if items.len() + item.len() > ITEMS_MAX {
                more = true;
                break;
            }
            items.extend(item);
            align(&mut items);
        }
        for peer in subjects.peers.iter_mut().filter(|peer| peer.their_label.is_some()) {
            let mut samples = Vec::new();
            let Some(start) = peer.news(&mut samples) else { continue };
            let before = items.len();
            Item::LinkState(start.with(&samples)).put(&mut items);
            if items.len() > ITEMS_MAX {
                items.truncate(before);
                more = true;
                break;
            }
            peer.announced();
        }
        let header = Header { server, time_ms, reset: self.reset };
        let announcement = announce::sign(subjects.identity, &header, &items, rng);
        &self.in_flight.insert(InFlight { announcement, more }).announcement
    }

    /// The route server answered. `false`: it does not have what we think it has, and the next announcement begins anew.
    pub(super) fn replied(&mut self, now: Nanos, reply: &Reply, rng: &mut dyn CryptoRng) -> bool {
        let Some(InFlight { announcement, more }) = self.in_flight.take() else { return true };
        let Ok(parsed) = Announcement::parse(&announcement) else { return true };
        self.log.push(&parsed);
        self.reset = false;
        for item in parsed.items() {
            let Some(subject) = item.subject() else { continue };
            let mut bytes = Vec::new();
            item.put(&mut bytes);
            self.said.insert(subject, Said { item: bytes, at_ms: parsed.header.time_ms });
        }
        let oldest_ms = parsed.header.time_ms.saturating_sub(KEPT_MS);
        self.said.retain(|_, said| said.at_ms >= oldest_ms);
        if reply.state_hash == Some(self.log.hash()) {
            self.resets = 0;
            let wait = if more { MORE } else { STEADY };
            self.due = now + wait + rng.next_u64() % SPREAD;
            return true;
        }
        self.begin_anew(now);
        false
    }

    /// The announcement was not answered: nobody knows what the route server has.
    pub(super) fn begin_anew(&mut self, now: Nanos) {
        self.in_flight = None;
        self.reset = true;
        let wait = (MORE << self.resets.min(16)).min(RESET_WAIT_MAX);
        self.resets += 1;
        self.due = now + wait;
    }

    /// Links of which the route server knows.
    pub(super) fn links(&self) -> usize {
        let label = |said: &Said| read_peer(&said.item).is_some_and(|peer| peer.label.get() != 0);
        self.said.values().filter(|said| label(said)).count()
    }

    /// What must be said in the end, in order: links that are gone, the node itself, links that are there.
    fn wanted(&self, subjects: &Subjects<'_>) -> Vec<(Subject, Vec<u8>)> {
        let written = |item: Item<'_>| {
            let mut bytes = Vec::new();
            item.put(&mut bytes);
            (item.subject(), bytes)
        };
        let there: Vec<Peer> = subjects
            .peers
            .iter()
            .filter_map(|peer| {
                let (number, label) = (peer.announced_number()?, peer.their_label?);
                let form = subjects.scheme.form_of(peer.label)?;
                let form = u8::try_from(form).ok()?;
                Some(Peer::new(peer.address, number, form, label, peer.mtu))
            })
            .collect();
        let is_there = |gone: &Peer| there.iter().any(|peer| peer.number == gone.number);
        let gone = self
            .said
            .values()
            .filter_map(|said| read_peer(&said.item))
            .filter(|said| said.label.get() != 0 && !is_there(said))
            .map(|said| Item::Peer(Peer { label: 0.into(), ..said }));
        let scheme = subjects.scheme.serialize();
        let version = u16::try_from(PROTOCOL_VERSION).unwrap_or(u16::MAX);
        let itself = [Item::Scheme(&scheme), Item::Version(version)];
        gone.chain(itself)
            .chain(there.iter().copied().map(Item::Peer))
            .map(written)
            .filter_map(|(subject, bytes)| Some((subject?, bytes)))
            .collect()
    }

    fn must_say(&self, subject: Subject, item: &[u8], time_ms: u64) -> bool {
        self.said.get(&subject).is_none_or(|said| {
            said.item != item || time_ms.saturating_sub(said.at_ms) >= again_after_ms(said)
        })
    }
}

fn again_after_ms(said: &Said) -> u64 {
    let spread_s = (said.at_ms + u64::from(djb2a(&said.item))) % AGAIN_SPREAD_S;
    AGAIN_MS - spread_s * 1000
}

fn read_peer(item: &[u8]) -> Option<Peer> {
    let body = item.get(2..).filter(|_| item.len() == announce::item::PEER_LEN)?;
    Peer::read_from_bytes(body).ok()
}

#[cfg(test)]
mod tests;
