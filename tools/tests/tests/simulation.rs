//! Several boxes, each a whole engine, joined by wires that lose, double and delay; one clock, one seed.
//!
//! Pings go along random routes. After every step each box's frames are accounted for; a ping reaches the box it was
//! routed to and no other; its answer comes back to the sender and shows the very path that was sent; the same seed
//! gives the same run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::tests_outside_test_module, reason = "this whole file is tests")]
#![allow(clippy::cast_possible_truncation, reason = "a simulation of few boxes")]

use dataplane_api::counters::Layout;
use dataplane_api::spec::{LinkSpec, SchemeSpec, Session, VifSpec};
use dataplane_api::{MacAddress, PortId, Role, Spec, VswitchId, VswitchSpec, WorkerId};
use engine::slow_path::{Answer, Punted, Responder};
use engine::{
    Burst, Compiler, Engine, EngineConfig, Inject, NextHops, NoTap, Outcome, PortFacts, PuntKind,
    Rules, Via,
};
use std::collections::BTreeMap;
use wire::buf::{HeapPacket, Packet};
use wire::control::{self, PROTOCOL_VERSION, Ping, kind, magic};
use wire::key::PublicKey;
use wire::label::reverse;
use wire::scheme::{Hop, path};
use wire::switch::{HEADER_LEN, Header};
use zerocopy::FromBytes;

const BOXES: usize = 7;
const PINGS: u64 = 2000;
const VSWITCH: VswitchId = VswitchId(0);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn percent(&mut self, n: u64) -> bool {
        self.next() % 100 < n
    }
}

/// What the wires and the operator do, in percent of frames and of pings.
#[derive(Clone, Copy)]
struct Faults {
    loss: u64,
    double: u64,
    restart: u64,
}

/// One end of a wire: the vif's number at this box, and the box and port at the other end. The port's place among the
/// box's ports is the end's place in its list.
#[derive(Clone, Copy)]
struct End {
    number: u16,
    to: usize,
    to_port: usize,
}

/// Frames of one box since it was made.
#[derive(Default)]
struct Ledger {
    came: usize,
    went: usize,
    lost_by_restart: usize,
}

struct Node {
    rules: Rules,
    engine: Engine<HeapPacket, Vec<u64>>,
    responder: Responder,
    ends: Vec<End>,
    ledger: Ledger,
}

fn new_engine(ports: usize) -> Engine<HeapPacket, Vec<u64>> {
    let layout = Layout { ports, vifs: 64, vswitches: 1 };
    let config = EngineConfig {
        layout,
        queue_frames: 64,
        guaranteed_frames: 8,
        vswitch_frames: 64,
        punts_per_second: 1_000_000,
        punt_burst: 1000,
        strangers_per_second: 0,
        seed: 0,
    };
    Engine::new(WorkerId(0), config, vec![0; layout.len()])
}

fn mac(node: usize, port: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, node as u8, port as u8])
}

impl Node {
    fn new(index: usize, ends: Vec<End>, scheme: SchemeSpec) -> Self {
        let vifs = ends.iter().enumerate().map(|(port, end)| VifSpec {
            number: end.number,
            role: Role::Customer,
            mtu: None,
            link: Some(LinkSpec::Ethernet {
                port: format!("p{port}"),
                vlan: None,
                local: Some(mac(index, port)),
                peer: mac(end.to, end.to_port),
                session: Session::Plain,
            }),
            policy: Default::default(),
        });
        let mut keys = (0u64..).map(|n| {
            let mut key = [index as u8; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            PublicKey(key)
        });
        let vswitch = VswitchSpec {
            name: "v".into(),
            tenant: 1,
            public_key: keys.find(PublicKey::is_usable).unwrap().to_string(),
            scheme,
            vifs: vifs.collect(),
            ..VswitchSpec::default()
        };
        let facts = |port| PortFacts {
            name: format!("p{port}"),
            mtu: 1500,
            workers: vec![WorkerId(0)],
            ..PortFacts::default()
        };
        let ports: Vec<_> = (0..ends.len()).map(facts).collect();
        let spec = Spec { vswitches: vec![vswitch], ..Spec::default() };
        let rules = Compiler::new(1, 64, 1).compile(&spec, &[], &ports).unwrap();
        let engine = new_engine(ends.len());
        Self { rules, engine, responder: Responder::new(1), ends, ledger: Ledger::default() }
    }

    /// Every frame that came went somewhere, or waits.
    fn check(&self) {
        let Ledger { came, went, lost_by_restart } = self.ledger;
        assert_eq!(
            came,
            went + lost_by_restart + self.engine.frames_held(),
            "frames are conserved"
        );
    }

    fn restart(&mut self) {
        self.ledger.lost_by_restart += self.engine.frames_held();
        self.engine = new_engine(self.ends.len());
        self.responder = Responder::new(2);
    }
}

/// A ping under way.
struct Route {
    from: usize,
    to: usize,
    label: u64,
}

struct World {
    random: Random,
    faults: Faults,
    nodes: Vec<Node>,
    /// Frames on the wires, by arrival time and then order of sending: (box, port, frame).
    wires: BTreeMap<(u64, u64), (usize, usize, Vec<u8>)>,
    routes: Vec<Route>,
    now: u64,
    sent: u64,
    pings_arrived: u64,
    pongs_arrived: u64,
    trace: u64,
}

/// A tree with some wires more. Numbers come in an order that gives busy boxes both short and wide directors.
fn topology(random: &mut Random) -> Vec<Vec<End>> {
    let mut ends: Vec<Vec<End>> = vec![Vec::new(); BOXES];
    let tree: Vec<_> = (1..BOXES).map(|node| (node, random.below(node))).collect();
    let more = (0..5).map(|_| (random.below(BOXES), random.below(BOXES))).collect::<Vec<_>>();
    for (a, b) in tree.into_iter().chain(more).filter(|(a, b)| a != b) {
        let (port_a, port_b) = (ends[a].len(), ends[b].len());
        let number = |port: usize| [0, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 4, 6][port];
        ends[a].push(End { number: number(port_a), to: b, to_port: port_b });
        ends[b].push(End { number: number(port_b), to: a, to_port: port_a });
    }
    ends
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut random = Random(seed);
        let mut nodes = Vec::new();
        for (index, ends) in topology(&mut random).into_iter().enumerate() {
            let schemes = [SchemeSpec::V358, SchemeSpec::V48, SchemeSpec::F8, SchemeSpec::F4];
            let scheme = schemes[random.below(4)].clone();
            nodes.push(Node::new(index, ends, scheme));
        }
        Self {
            random,
            faults,
            nodes,
            wires: BTreeMap::new(),
            routes: Vec::new(),
            now: 0,
            sent: 0,
            pings_arrived: 0,
            pongs_arrived: 0,
            trace: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn note(&mut self, what: &[u8]) {
        for byte in what {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Sends a ping along a random walk, back over the same wire now and then.
    fn ping(&mut self) {
        let from = self.random.below(BOXES);
        let (mut at, mut came_by, mut steps) = (from, 1, Vec::new());
        for _ in 0..=self.random.below(4) {
            let end = self.nodes[at].ends[self.random.below(self.nodes[at].ends.len())];
            steps.push((at, came_by, end.number));
            (at, came_by) = (end.to, self.nodes[end.to].ends[end.to_port].number);
        }
        let hops: Vec<_> = steps
            .iter()
            .map(|(node, from, to)| {
                let scheme = &self.nodes[*node].rules.vswitch(VSWITCH).unwrap().scheme;
                Hop { scheme, from: *from, to: *to }
            })
            .collect();
        let label = path(&hops).unwrap();
        let body = Ping { magic: magic::PING.into(), version: PROTOCOL_VERSION.into() };
        let number = (self.routes.len() as u64).to_be_bytes();
        let bytes = control::packet(Header::new(label, 0), kind::PING, &body, &number);
        self.routes.push(Route { from, to: at, label });
        self.inject(from, &bytes, Via::Router(VSWITCH));
    }

    fn inject(&mut self, at: usize, bytes: &[u8], via: Via) {
        let (now, node) = (self.now, &mut self.nodes[at]);
        let mut out = Outcome::new();
        let item = Inject { frame: HeapPacket::new(bytes, 128, 64), via };
        node.engine.inject(&node.rules, now, item, &mut out, &mut NoTap);
        node.ledger.came += 1;
        self.settle(at, out);
    }

    fn receive(&mut self, at: usize, port: usize, frame: &[u8]) {
        let (now, node) = (self.now, &mut self.nodes[at]);
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        burst.push(HeapPacket::new(frame, 128, 64));
        let port = PortId(port as u16);
        node.engine.receive(&node.rules, now, port, &mut burst, &mut out, &mut NoTap);
        assert!(burst.is_empty());
        node.ledger.came += 1;
        self.settle(at, out);
    }

    fn settle(&mut self, at: usize, out: Outcome<HeapPacket>) {
        let node = &mut self.nodes[at];
        node.ledger.went += out.frames();
        node.check();
        for punt in out.punts {
            let PuntKind::Control = punt.kind else { panic!("a good route led to a switch error") };
            let bytes = punt.frame.bytes();
            self.note(bytes);
            let (header, payload) = Header::split(bytes).unwrap();
            let message = control::parse(payload).unwrap();
            let (_, opaque) = Ping::read_from_prefix(message.body).unwrap();
            let route = &self.routes[u64::from_be_bytes(opaque.try_into().unwrap()) as usize];
            if message.kind == kind::PONG {
                assert_eq!(at, route.from, "a pong comes to who asked");
                assert_eq!(reverse(header.label()), route.label, "the way back leads there again");
                self.pongs_arrived += 1;
                continue;
            }
            assert_eq!(message.kind, kind::PING);
            assert_eq!(at, route.to, "a ping comes to whom it was routed");
            self.pings_arrived += 1;
            let node = &mut self.nodes[at];
            let punted = Punted { vswitch: punt.vswitch, vif: punt.vif, kind: punt.kind, bytes };
            let answer = node.responder.answer(&node.rules, self.now, punted);
            let Answer::Send(answer) = answer else { panic!("a good ping got {answer:?}") };
            assert_eq!(answer.bytes.len(), HEADER_LEN + payload.len());
            self.inject(at, &answer.bytes, answer.via);
        }
    }

    /// Lets every port of a box send; the wires take it from there.
    fn transmit(&mut self, at: usize) {
        for port in 0..self.nodes[at].ends.len() {
            let node = &mut self.nodes[at];
            let (mut tx, mut out) = (Burst::new(), Outcome::new());
            let hops = NextHops::default();
            let id = PortId(port as u16);
            node.engine.transmit(&node.rules, &hops, 0, id, 64, &mut tx, &mut out, &mut NoTap);
            node.ledger.went += tx.len();
            let end = node.ends[port];
            self.settle(at, out);
            for frame in tx {
                let copies = match self.random.percent(self.faults.double) {
                    true => 2,
                    false => u64::from(!self.random.percent(self.faults.loss)),
                };
                for _ in 0..copies {
                    self.sent += 1;
                    // Up to 50 µs apart: enough to overtake.
                    let at = self.now + 1_000 + self.random.next() % 50_000;
                    let frame = frame.bytes().to_vec();
                    self.wires.insert((at, self.sent), (end.to, end.to_port, frame));
                }
            }
        }
    }

    fn run(mut self) -> Self {
        for _ in 0..PINGS {
            self.ping();
            if self.random.percent(self.faults.restart) {
                let node = self.random.below(BOXES);
                self.nodes[node].restart();
            }
            // Boxes take turns unevenly, so that queues fill.
            for _ in 0..self.random.below(20) {
                self.step();
            }
        }
        loop {
            (0..BOXES).for_each(|node| self.transmit(node));
            let waits = self.nodes.iter().any(|node| node.engine.frames_held() > 0);
            if !waits && self.wires.is_empty() {
                return self;
            }
            self.step();
        }
    }

    fn step(&mut self) {
        if let Some(((at, _), (node, port, frame))) = self.wires.pop_first() {
            self.now = self.now.max(at);
            self.note(&frame);
            self.receive(node, port, &frame);
        }
        let node = self.random.below(BOXES);
        self.transmit(node);
    }
}

#[test]
fn every_ping_comes_back_on_good_wires() {
    for seed in 0..20 {
        let world = World::new(seed, Faults { loss: 0, double: 0, restart: 0 }).run();
        assert_eq!((world.pings_arrived, world.pongs_arrived), (PINGS, PINGS), "seed {seed}");
    }
}

#[test]
fn bad_wires_and_restarts_lose_but_never_misdirect() {
    for seed in 0..20 {
        let world = World::new(seed, Faults { loss: 3, double: 2, restart: 5 }).run();
        let lost: usize = world.nodes.iter().map(|node| node.ledger.lost_by_restart).sum();
        assert!(lost > 0, "seed {seed}: restarts hit boxes that hold frames");
        assert!(world.pongs_arrived > PINGS / 2, "seed {seed}: {}", world.pongs_arrived);
        assert!(world.pongs_arrived < PINGS, "seed {seed}: {}", world.pongs_arrived);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let faults = Faults { loss: 3, double: 2, restart: 5 };
    let [first, second, other] = [7, 7, 8].map(|seed| World::new(seed, faults).run().trace);
    assert_eq!(first, second);
    assert_ne!(first, other);
}
