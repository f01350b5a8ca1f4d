//! Which nodes an answer names. Source: CJDNS-WIRE.md §6.3, §6.5; CJDNS-INTEROP.md §3.2, §3.3.

use super::message::{NODES_MAX, Node};
use super::peers::{Peer, Peers};
use std::net::Ipv6Addr;
use wire::control::PROTOCOL_VERSION;
use wire::key::PublicKey;
use wire::label;
use wire::scheme::Scheme;

/// Who answers whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answerer<'a> {
    pub(super) key: &'a PublicKey,
    pub(super) scheme: &'a Scheme,
    pub(super) peers: &'a Peers,
    /// The path back to who asks.
    pub(super) asker: u64,
}

impl Answerer<'_> {
    /// Peers whose labels are near `near`, nearest last; among them always the node itself, and the asker if it is a peer: a
    /// node older than version 21 learns in this way how it is reached.
    pub(super) fn peers(&self, near: u64) -> Vec<Node> {
        let mut peers: Vec<&Peer> = self.peers.iter().collect();
        peers.sort_unstable_by_key(|peer| (peer.label != self.asker, peer.label ^ near));
        let mut nodes = vec![self.itself()];
        nodes.extend(peers.into_iter().take(NODES_MAX - 1).filter_map(|peer| self.named(peer)));
        nodes.sort_unstable_by_key(|node| std::cmp::Reverse(node.label ^ near));
        nodes
    }

    /// Nodes that are nearer to `target` than the node itself, the target last.
    ///
    /// `known`: a path to the target beyond the peers.
    //= INTEROP §3.2: a stock node looks at the last entry only, and skips what is farther from the target than we are
    pub(super) fn find(&self, target: Ipv6Addr, known: Option<Node>) -> Vec<Node> {
        let own = distance(self.key.address(), target);
        if own == 0 {
            return vec![self.itself()];
        }
        let mut near: Vec<(u128, &Peer)> = self
            .peers
            .iter()
            .map(|peer| (distance(peer.address, target), peer))
            .filter(|(distance, _)| *distance < own)
            .collect();
        near.sort_unstable_by_key(|(distance, _)| *distance);
        let is_peer = near.first().is_some_and(|(distance, _)| *distance == 0);
        let known = known.filter(|_| !is_peer).and_then(|node| self.widened(node));
        let room = NODES_MAX - usize::from(known.is_some());
        let near = near.into_iter().take(room).rev();
        near.filter_map(|(_, peer)| self.named(peer)).chain(known).collect()
    }

    fn itself(&self) -> Node {
        Node { key: *self.key, label: label::SELF, version: PROTOCOL_VERSION }
    }

    fn named(&self, peer: &Peer) -> Option<Node> {
        let Peer { key, label, version, .. } = *peer;
        self.widened(Node { key, label, version })
    }

    //= WIRE §4.5: the first director is as wide as the asker's
    fn widened(&self, node: Node) -> Option<Node> {
        let label = self.scheme.label_for(node.label, self.asker)?;
        // The widening does not look whether there is room for it.
        let room = label::END_MAX.saturating_sub(self.scheme.max_width().into());
        let fits = label == node.label || label::end(node.label) <= room;
        fits.then_some(Node { label, ..node })
    }
}

fn distance(a: Ipv6Addr, b: Ipv6Addr) -> u128 {
    a.to_bits() ^ b.to_bits()
}
