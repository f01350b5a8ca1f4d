//! A route server: what nodes announce of their links, and paths through them. Source: CJDNS-WIRE.md §6.4.
//!
//! A link is used only if both of its ends announce it, each with the other's number for it, so that no node can draw
//! traffic over a link that the other end does not have. Labels are built from the numbers of each node on the way, wide
//! enough for the way back.

mod link;

use crate::announce::item::{Item, Peer, Sample};
use crate::announce::log::{KEPT_MS, Log, StateHash};
use crate::announce::{Announcement, Bad};
use crate::router::message::Node;
use link::Value;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv6Addr;
use wire::key::PublicKey;
use wire::scheme::{Hop, Scheme, path};

/// Nodes that may announce themselves.
pub const NODES_MAX: usize = 8192;
/// Links of one node: as many as v358 can name.
pub const LINKS_MAX: usize = 256;
/// Links of all of them: what one search may have to look at.
const ALL_LINKS_MAX: usize = 128 << 10;
/// Most bytes of announcements that are kept of one node. In the worst case each of its 256 links is the only one that its
/// message speaks of for the last time.
const NODE_BYTES_MAX: usize = 256 << 10;
/// The same of all together.
const BYTES_MAX: usize = 64 << 20;
/// An announcement may be this far from our time.
const SKEW_MS: u64 = 10_000;
/// Number of a switch's own router.
const ROUTER: u16 = 1;

/// What nodes announced.
#[derive(Debug)]
pub struct RouteServer {
    address: Ipv6Addr,
    nodes: BTreeMap<Ipv6Addr, Box<Announcer>>,
    /// Of the nodes' announcements.
    bytes: usize,
    /// Of all nodes.
    links: usize,
}

/// Why an announcement was not taken note of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none.
    #[error(transparent)]
    Bad(#[from] Bad),
    /// It is for another route server.
    #[error("for another route server")]
    OtherServer,
    /// It was signed by another node than the one that sends it.
    #[error("announcement of another node")]
    OtherNode,
    /// Its time is not ours, or older than that of the last.
    #[error("time is off by more than ten seconds, or before the last announcement")]
    Time,
    /// We do not know the node, and it does not tell all of itself.
    #[error("unknown node: begin with reset, encoding scheme and version")]
    Unknown,
    /// There are too many nodes, or too much is announced.
    #[error("too much is announced already")]
    Full,
}

/// A node that announces itself.
#[derive(Debug)]
struct Announcer {
    key: PublicKey,
    version: u32,
    scheme: Scheme,
    log: Log,
    time_ms: u64,
    /// By its own label for the peer.
    links: BTreeMap<u16, Link>,
}

/// "I can be reached from `peer`", as one end says it.
#[derive(Clone, Copy, Debug)]
struct Link {
    peer: Ipv6Addr,
    /// The peer's label for the announcer.
    label: u32,
    /// Of the way from the peer.
    value: Value,
}

/// A way from one node to the next, said by both.
#[derive(Clone, Copy, Debug)]
struct Edge {
    to: Ipv6Addr,
    /// Number of the interface at the start.
    leaves: u16,
    /// Number of the interface at the end.
    enters: u16,
    cost: f64,
}

impl RouteServer {
    /// Knows nothing yet. `address`: the one that announcements are for.
    #[must_use]
    pub fn new(address: Ipv6Addr) -> Self {
        Self { address, nodes: BTreeMap::new(), bytes: 0, links: 0 }
    }

    /// Takes note of an announcement of `from`. Cost: some 60 µs and a hash over all that is kept of the node.
    ///
    /// `now_ms`: our time, which announcements must have.
    ///
    /// # Errors
    /// [`Refused`]; what was known of the node stays.
    pub fn announce(
        &mut self,
        now_ms: u64,
        from: &PublicKey,
        bytes: &[u8],
    ) -> Result<StateHash, Refused> {
        let announcement = Announcement::parse(bytes)?;
        let header = announcement.header;
        if header.server != self.address {
            return Err(Refused::OtherServer);
        }
        let address = from.address();
        let last_ms = self.nodes.get(&address).map_or(0, |node| node.time_ms);
        if header.time_ms.abs_diff(now_ms) > SKEW_MS || header.time_ms < last_ms {
            return Err(Refused::Time);
        }
        if announcement.signer()? != *from {
            return Err(Refused::OtherNode);
        }
        let new = header.reset.then(|| Announcer::new(*from, &announcement)).flatten();
        let known = self.nodes.get(&address);
        if known.is_none() && new.is_none() {
            return Err(Refused::Unknown);
        }
        let kept = known.map_or(0, |node| node.log.bytes());
        let linked = known.map_or(0, |node| node.links.len());
        let said = announcement.items().filter(|item| matches!(item, Item::Peer(_))).count();
        // A reset makes room for itself.
        let stays = |what: usize| if new.is_some() { 0 } else { what };
        if stays(kept) + bytes.len() > NODE_BYTES_MAX
            || self.bytes - kept + stays(kept) + bytes.len() > BYTES_MAX
            || self.links - linked + stays(linked) + said > ALL_LINKS_MAX
            || known.is_none() && self.nodes.len() >= NODES_MAX
        {
            return Err(Refused::Full);
        }
        if let Some(mut new) = new {
            // What was measured does not go with what was said.
            if let Some(known) = known {
                new.adopt_values(known);
            }
            self.nodes.insert(address, Box::new(new));
        }
        let Some(node) = self.nodes.get_mut(&address) else { return Err(Refused::Unknown) };
        node.take(&announcement);
        self.bytes = self.bytes - kept + node.log.bytes();
        self.links = self.links - linked + node.links.len();
        Ok(node.log.hash())
    }

    /// The hash of what is known of a node; zeros of one that is not known.
    #[must_use]
    pub fn state_hash(&self, of: &PublicKey) -> StateHash {
        self.nodes.get(&of.address()).map_or([0; 64], |node| node.log.hash())
    }

    /// Forgets nodes that were silent for twenty minutes.
    pub fn expire(&mut self, now_ms: u64) {
        self.nodes.retain(|_, node| node.time_ms + KEPT_MS >= now_ms);
        self.bytes = self.nodes.values().map(|node| node.log.bytes()).sum();
        self.links = self.nodes.values().map(|node| node.links.len()).sum();
    }

    /// Nodes that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nobody has announced anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The best path between two nodes, its label as seen from `from`. `None`: none is known, or it is longer than a label.
    ///
    /// Cost: at most a look at every link that is known; some 1 ms for 1 000 nodes.
    #[must_use]
    pub fn route(&self, now_ms: u64, from: Ipv6Addr, to: Ipv6Addr) -> Option<Node> {
        let target = self.nodes.get(&to)?;
        let node = |label| Node { key: target.key, label, version: target.version };
        if from == to {
            return Some(node(wire::label::SELF));
        }
        let edges = self.cheapest(now_ms, from, to)?;
        let mut hops = Vec::with_capacity(edges.len());
        let (mut at, mut entered) = (from, ROUTER);
        for edge in edges {
            hops.push(Hop { scheme: &self.nodes.get(&at)?.scheme, from: entered, to: edge.leaves });
            (at, entered) = (edge.to, edge.enters);
        }
        path(&hops).map(node)
    }

    /// Dijkstra's algorithm. The edges from `from` to `to`, in order.
    fn cheapest(&self, now_ms: u64, from: Ipv6Addr, to: Ipv6Addr) -> Option<Vec<Edge>> {
        let mut reached: BTreeMap<Ipv6Addr, Reached> = BTreeMap::new();
        let mut frontier = BinaryHeap::from([Frontier { cost: 0.0, node: from }]);
        while let Some(Frontier { cost, node }) = frontier.pop() {
            if node == to {
                return Some(way_back(&reached, from, to));
            }
            if reached.get(&node).is_some_and(|reached| cost > reached.cost) {
                continue;
            }
            for edge in self.edges(now_ms, node) {
                let cost = cost + edge.cost;
                let is_better = edge.to != from
                    && reached.get(&edge.to).is_none_or(|reached| cost < reached.cost);
                if is_better {
                    frontier.push(Frontier { cost, node: edge.to });
                    reached.insert(edge.to, Reached { cost, before: node, edge });
                }
            }
        }
        None
    }

    /// Ways out of `node` on which both ends agree.
    fn edges(&self, now_ms: u64, node: Ipv6Addr) -> impl Iterator<Item = Edge> {
        let here = self.nodes.get(&node);
        let links =
            here.into_iter().flat_map(|here| here.links.iter().map(move |link| (here, link)));
        links.filter_map(move |(here, (label, link))| {
            let there = self.nodes.get(&link.peer)?;
            // Its number for us, as it announces it.
            let theirs = there.scheme.canonical(link.label.into())?;
            let back = there.links.get(&u16::try_from(theirs).ok()?)?;
            let is_the_same = back.peer == node
                && here.scheme.canonical(back.label.into()) == Some(u64::from(*label));
            Some(Edge {
                to: link.peer,
                leaves: one_hop(&here.scheme, (*label).into())?,
                enters: one_hop(&there.scheme, theirs)?,
                // The receiving end measures.
                cost: back.value.cost(now_ms),
            })
            .filter(|_| is_the_same)
        })
    }
}

impl Announcer {
    /// `None`: the announcement does not tell all of the node.
    fn new(key: PublicKey, announcement: &Announcement<'_>) -> Option<Self> {
        let scheme = announcement.items().find_map(|item| {
            if let Item::Scheme(scheme) = item { Scheme::parse(scheme).ok() } else { None }
        })?;
        let version = announcement.items().find_map(|item| {
            if let Item::Version(version) = item { Some(version.into()) } else { None }
        })?;
        let (log, links) = (Log::default(), BTreeMap::new());
        Some(Self { key, version, scheme, log, time_ms: 0, links })
    }

    fn adopt_values(&mut self, known: &Self) {
        self.links.clone_from(&known.links);
        self.links.values_mut().for_each(|link| link.label = 0);
    }

    fn take(&mut self, announcement: &Announcement<'_>) {
        self.time_ms = announcement.header.time_ms;
        self.log.push(announcement);
        // Peers before measurements, which may stand in front of them.
        for item in announcement.items() {
            match item {
                Item::Scheme(scheme) => {
                    if let Ok(scheme) = Scheme::parse(scheme) {
                        self.scheme = scheme;
                    }
                }
                Item::Version(version) => self.version = version.into(),
                Item::Peer(peer) => self.take_peer(&peer),
                Item::LinkState(_) | Item::Pad | Item::Other { .. } => {}
            }
        }
        for item in announcement.items() {
            let Item::LinkState(state) = item else { continue };
            let Some(link) = self.links.get_mut(&state.number) else { continue };
            let samples: Vec<Sample> = state.samples().map(|(_, sample)| sample).collect();
            link.value.take(self.time_ms, &samples);
        }
        // Links that a reset did not mention again.
        self.links.retain(|_, link| link.label != 0);
    }

    fn take_peer(&mut self, peer: &Peer) {
        let (number, label) = (peer.number.get(), peer.label.get());
        let address = Ipv6Addr::from(peer.address);
        if label == 0 {
            self.links.remove(&number);
        } else if let Some(link) = self.links.get_mut(&number).filter(|link| link.peer == address) {
            link.label = label;
        } else if self.links.len() < LINKS_MAX || self.links.contains_key(&number) {
            self.links.insert(number, Link { peer: address, label, value: Value::default() });
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Reached {
    cost: f64,
    before: Ipv6Addr,
    edge: Edge,
}

/// Cheapest first.
#[derive(Clone, Copy, Debug)]
struct Frontier {
    cost: f64,
    node: Ipv6Addr,
}

impl Ord for Frontier {
    fn cmp(&self, other: &Self) -> Ordering {
        other.cost.total_cmp(&self.cost).then_with(|| other.node.cmp(&self.node))
    }
}

impl PartialOrd for Frontier {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Frontier {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Frontier {}

fn way_back(reached: &BTreeMap<Ipv6Addr, Reached>, from: Ipv6Addr, to: Ipv6Addr) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut at = to;
    while let Some(Reached { before, edge, .. }) = reached.get(&at).filter(|_| at != from) {
        edges.push(*edge);
        at = *before;
    }
    edges.reverse();
    edges
}

/// The interface that a label of one hop names.
fn one_hop(scheme: &Scheme, label: u64) -> Option<u16> {
    let first = scheme.decode(label)?;
    let is_one_hop = scheme.is_one_hop(label) && first.number != ROUTER;
    is_one_hop.then_some(first.number)
}

#[cfg(test)]
mod tests;
