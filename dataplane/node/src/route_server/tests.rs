use super::*;
use crate::announce::item::{LinkState, align};
use crate::announce::{self, Header};
use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use proptest::prelude::*;
use std::sync::LazyLock;

const NOW_MS: u64 = 1_800_000_000_000;

struct Rig {
    server: RouteServer,
    nodes: Vec<Identity>,
    rng: TestRng,
    now_ms: u64,
}

/// A link as a node announces it: its own number, the peer, the peer's label.
type Said = (u16, usize, u32);

impl Rig {
    fn new(nodes: usize) -> Self {
        // Made once: it takes a while.
        static NODES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
            let mut rng = TestRng::new(1);
            (0..8).map(|_| Identity::generate(&mut rng)).collect()
        });
        let server = RouteServer::new("fc00::5".parse().unwrap());
        let nodes = NODES[..nodes].to_vec();
        Self { server, nodes, rng: TestRng::new(2), now_ms: NOW_MS }
    }

    fn address(&self, node: usize) -> Ipv6Addr {
        self.nodes[node].address()
    }

    fn items(&self, links: &[Said], lag_ms: u16) -> Vec<u8> {
        let mut items = Vec::new();
        let scheme = Scheme::v358().serialize();
        for item in [Item::Scheme(&scheme), Item::Version(22)] {
            item.put(&mut items);
            align(&mut items);
        }
        for (number, peer, label) in links {
            let mut samples = Vec::new();
            Sample { lag_ms, drops: 0, kilobytes: 10 }.put(&mut samples);
            Item::LinkState(LinkState::new(*number, 0, &samples)).put(&mut items);
            let peer = Peer::new(self.address(*peer), *number, 0, *label, 1400);
            Item::Peer(peer).put(&mut items);
        }
        items
    }

    fn signed(&mut self, node: usize, reset: bool, items: &[u8]) -> Vec<u8> {
        let header = Header { server: self.server.address, time_ms: self.now_ms, reset };
        announce::sign(&self.nodes[node], &header, items, &mut self.rng)
    }

    fn announce(&mut self, node: usize, links: &[Said], lag_ms: u16) {
        let items = self.items(links, lag_ms);
        let bytes = self.signed(node, true, &items);
        self.send(node, &bytes).unwrap();
    }

    fn send(&mut self, node: usize, bytes: &[u8]) -> Result<StateHash, Refused> {
        let from = self.nodes[node].public();
        self.server.announce(self.now_ms, &from, bytes)
    }

    fn label(&self, from: usize, to: usize) -> Option<u64> {
        let node = self.server.route(self.now_ms, self.address(from), self.address(to))?;
        assert_eq!((node.key, node.version), (self.nodes[to].public(), 22));
        Some(node.label)
    }
}

/// CJDNS-WIRE.md §4.8, example 71: A –if 2→ B (in 250, out 131) → C (in 9, out 7) → D (in 6).
#[test]
fn labels_are_wide_enough_for_the_way_back() {
    let mut rig = Rig::new(4);
    let (b250, b131) = (0x7e4, 0x608);
    let scheme = Scheme::v358();
    assert_eq!((scheme.peer_label(250), scheme.peer_label(131)), (Some(0x7e4), Some(0x608)));
    rig.announce(0, &[(0x15, 1, b250)], 5);
    let links = [(0x7e4, 0, 0x15), (0x608, 2, 0xa2)];
    rig.announce(1, &links, 5);
    rig.announce(2, &[(0xa2, 1, b131), (0x1f, 3, 0x1d)], 5);
    rig.announce(3, &[(0x1d, 2, 0x1f)], 5);
    assert_eq!(rig.label(0, 3), Some(0x26_a085));
    assert_eq!(rig.label(3, 0), Some(0x3f_222d));
    assert_eq!(rig.label(0, 0), Some(1));
}

#[test]
fn a_link_that_only_one_end_announces_is_none() {
    let mut rig = Rig::new(3);
    rig.announce(0, &[(0x13, 1, 0x15)], 5);
    rig.announce(1, &[], 5);
    assert_eq!(rig.label(0, 1), None, "B says nothing of A");
    rig.announce(1, &[(0x15, 2, 0x13)], 5);
    assert_eq!(rig.label(0, 1), None, "B has another peer there");
    rig.announce(1, &[(0x15, 0, 0x17)], 5);
    assert_eq!(rig.label(0, 1), None, "and another link");
    rig.announce(1, &[(0x17, 0, 0x13)], 5);
    assert_eq!(rig.label(0, 1), None, "which has another number");
    rig.announce(1, &[(0x15, 0, 0x13)], 5);
    assert_eq!((rig.label(0, 1), rig.label(1, 0)), (Some(0x13), Some(0x15)));
    // A longer label than needed is the same link.
    rig.announce(1, &[(0x15, 0, 0x400)], 5);
    assert_eq!(rig.label(0, 1), Some(0x13));
    rig.announce(1, &[(0x15, 0, 0)], 5);
    assert_eq!(rig.label(0, 1), None, "withdrawn");
    assert_eq!(rig.label(0, 2), None, "never heard of");
}

#[test]
fn the_better_way_is_taken() {
    let mut rig = Rig::new(4);
    // 0 – 1 – 3 and 0 – 2 – 3: by 1 it takes longer.
    rig.announce(0, &[(0x13, 1, 0x13), (0x15, 2, 0x13)], 5);
    rig.announce(1, &[(0x13, 0, 0x13), (0x15, 3, 0x13)], 50);
    rig.announce(2, &[(0x13, 0, 0x15), (0x15, 3, 0x15)], 5);
    rig.announce(3, &[(0x13, 1, 0x15), (0x15, 2, 0x15)], 5);
    assert_eq!(rig.label(0, 3), Some(0x155));
    // Two links of which one is better.
    rig.announce(0, &[(0x13, 1, 0x13), (0x17, 1, 0x17)], 5);
    let mut items = rig.items(&[(0x13, 0, 0x13)], 50);
    items.extend(rig.items(&[(0x17, 0, 0x17)], 5));
    let bytes = rig.signed(1, true, &items);
    rig.send(1, &bytes).unwrap();
    assert_eq!(rig.label(0, 1), Some(0x17));
}

#[test]
fn what_must_not_be_taken_note_of_is_refused() {
    let mut rig = Rig::new(2);
    let items = rig.items(&[], 5);
    let good = rig.signed(0, true, &items);
    let incomplete = rig.signed(0, true, &[]);
    let no_reset = rig.signed(0, false, &items);
    assert_eq!(rig.send(0, &incomplete), Err(Refused::Unknown));
    assert_eq!(rig.send(0, &no_reset), Err(Refused::Unknown));
    assert_eq!(rig.send(1, &good), Err(Refused::OtherNode));
    assert_eq!(rig.send(0, &good[..100]), Err(Refused::Bad(Bad::Length(100))));
    let mut bent = good.clone();
    bent[0] ^= 1;
    assert_eq!(rig.send(0, &bent), Err(Refused::Bad(Bad::Signature)));
    rig.now_ms += SKEW_MS + 1;
    assert_eq!(rig.send(0, &good), Err(Refused::Time));
    rig.now_ms -= SKEW_MS + 1;
    assert!(rig.server.is_empty());
    assert_eq!(rig.server.state_hash(&rig.nodes[0].public()), [0; 64]);

    rig.send(0, &good).unwrap();
    rig.now_ms += 1;
    let next = rig.signed(0, false, &[]);
    let hash = rig.send(0, &next).unwrap();
    assert_eq!(rig.send(0, &good), Err(Refused::Time), "a recording");
    assert_eq!(rig.server.state_hash(&rig.nodes[0].public()), hash);
    rig.server.address = "fc00::6".parse().unwrap();
    assert_eq!(rig.send(0, &next), Err(Refused::OtherServer));
}

#[test]
fn one_node_cannot_fill_the_server_and_silence_is_forgotten() {
    let mut rig = Rig::new(2);
    rig.announce(1, &[], 5);
    rig.announce(0, &[], 5);
    let mut refused = 0;
    for number in 0..2000_u16 {
        rig.now_ms += 1;
        let peer = Peer::new(rig.address(1), number, 0, 0x13, 1400);
        let mut items = Vec::new();
        Item::Peer(peer).put(&mut items);
        // Something that nobody knows, and that takes room.
        Item::Other { kind: 9, body: &[0; 250] }.put(&mut items);
        let bytes = rig.signed(0, false, &items);
        refused += usize::from(rig.send(0, &bytes) == Err(Refused::Full));
    }
    assert!(refused > 1000, "{refused}");
    let node = &rig.server.nodes[&rig.address(0)];
    assert!(node.log.bytes() <= NODE_BYTES_MAX && node.links.len() <= LINKS_MAX);
    assert_eq!(rig.server.links, node.links.len());
    // A reset makes room.
    rig.announce(0, &[], 5);
    assert_eq!((rig.server.links, rig.server.len()), (0, 2));
    rig.now_ms += KEPT_MS;
    rig.announce(1, &[], 5);
    rig.server.expire(rig.now_ms + 1);
    assert_eq!(rig.server.len(), 1);
}

proptest! {
    /// On random graphs every label that is given out has as many hops as a search that counts hops allows for links of one
    /// worth, and leads, by the numbers alone, to where it should.
    #[test]
    fn labels_lead_where_they_should(
        links in prop::collection::vec((0..8_usize, 0..8_usize), 1..16),
    ) {
        let mut rig = Rig::new(8);
        let scheme = Scheme::v358();
        let mut said: Vec<Vec<Said>> = vec![Vec::new(); 8];
        // Ends of links by (node, number).
        let mut wires = BTreeMap::new();
        for (a, b) in links {
            if a == b || said[a].iter().any(|(_, peer, _)| *peer == b) {
                continue;
            }
            // Numbers of different widths, and never the router's.
            let number = |said: &Vec<Said>| u16::try_from(2 + 7 * said.len()).unwrap();
            let (na, nb) = (number(&said[a]), number(&said[b]));
            let label = |number| scheme.peer_label(number).unwrap();
            let short = |number| u16::try_from(label(number)).unwrap();
            said[a].push((short(na), b, u32::from(short(nb))));
            said[b].push((short(nb), a, u32::from(short(na))));
            wires.insert((a, na), (b, nb));
            wires.insert((b, nb), (a, na));
        }
        for (node, links) in said.iter().enumerate() {
            rig.announce(node, links, 5);
        }
        for from in 0..8 {
            let hops = hops_by_flooding(from, &said);
            for to in (0..8).filter(|to| *to != from) {
                let label = rig.label(from, to);
                prop_assert_eq!(label.is_some(), hops[to].is_some(), "{} to {}", from, to);
                let (Some(mut label), Some(hops)) = (label, hops[to]) else { continue };
                let (mut at, mut count) = ((from, 1), 0);
                while label != 1 {
                    let first = scheme.decode(label).unwrap();
                    prop_assert!(first.width >= scheme.narrowest_width(at.1).unwrap());
                    at = wires[&(at.0, first.number)];
                    label >>= first.width;
                    count += 1;
                }
                prop_assert_eq!((at.0, count), (to, hops));
            }
        }
    }
}

/// The obvious twin: everyone tells everyone.
fn hops_by_flooding(from: usize, said: &[Vec<Said>]) -> Vec<Option<usize>> {
    let mut hops = vec![None; said.len()];
    hops[from] = Some(0);
    for round in 0..said.len() {
        for (node, links) in said.iter().enumerate() {
            if hops[node] == Some(round) {
                for (_, peer, _) in links {
                    hops[*peer] = hops[*peer].or(Some(round + 1));
                }
            }
        }
    }
    hops
}
