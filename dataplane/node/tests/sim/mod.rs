//! A network of routers in one thread: switches by the book, links with a delay, one clock, one seed.

use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use dataplane_node as node;
use node::router::message::Reply;
use node::router::{Ask, AskId, Moment, Neighbour, Output, RouteServers, Router};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;
use wire::control::{self, GetSnode, Ping, Rpath, kind, magic};
use wire::key::PublicKey;
use wire::label;
use wire::scheme::Scheme;
use wire::switch::{self, Header};
use zerocopy::{FromBytes, IntoBytes};

pub const SECOND: u64 = 1_000_000_000;
/// Of every link, one way.
const DELAY: u64 = 2_000_000;
/// The wall clock at the start, in milliseconds.
const EPOCH_MS: u64 = 1_800_000_000_000;

pub struct Sim {
    pub now: u64,
    pub nodes: Vec<Node>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    serial: u64,
    rng: TestRng,
    pub answers: HashMap<(usize, AskId), Option<Reply>>,
    /// Pongs that came back, by node.
    pub pongs: HashMap<usize, Vec<u64>>,
    pub packets: u64,
    pub polls: u64,
}

pub struct Node {
    pub router: Router,
    pub key: PublicKey,
    scheme: Scheme,
    pub links: BTreeMap<u16, Link>,
    rng: TestRng,
    /// Earliest poll that is on the list.
    polled_at: u64,
}

#[derive(Clone, Copy)]
pub struct Link {
    pub to: (usize, u16),
    pub is_up: bool,
    pub received: u64,
    pub bytes: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { node: usize, number: u16, packet: Vec<u8> },
    Poll { node: usize },
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        Self {
            now: 5 * SECOND,
            nodes: Vec::new(),
            events: BinaryHeap::new(),
            serial: 0,
            rng: TestRng::new(seed),
            answers: HashMap::new(),
            pongs: HashMap::new(),
            packets: 0,
            polls: 0,
        }
    }

    pub fn add(&mut self, servers: RouteServers) -> usize {
        let identity = Identity::generate(&mut self.rng);
        self.add_as(identity, servers)
    }

    pub fn add_as(&mut self, identity: Identity, servers: RouteServers) -> usize {
        let node = self.node(identity, servers);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The same node after a restart: it has forgotten everything but its key.
    pub fn restart(&mut self, at: usize, identity: Identity, servers: RouteServers) {
        let links = self.nodes[at].links.clone();
        self.nodes[at] = Node { links, ..self.node(identity, servers) };
        self.poll(at);
    }

    fn node(&mut self, identity: Identity, servers: RouteServers) -> Node {
        use rand_core::Rng as _;
        let mut rng = TestRng::new(self.rng.next_u64());
        let key = identity.public();
        let mut moment = Moment { now: self.now, wall_ms: self.wall_ms(), rng: &mut rng };
        let router = Router::new(Arc::new(identity), Scheme::v358(), servers, &mut moment);
        let (scheme, links) = (Scheme::v358(), BTreeMap::new());
        Node { router, key, scheme, links, rng, polled_at: u64::MAX }
    }

    pub fn link(&mut self, a: (usize, u16), b: (usize, u16)) {
        let link = |to| Link { to, is_up: true, received: 0, bytes: 0 };
        self.nodes[a.0].links.insert(a.1, link(b));
        self.nodes[b.0].links.insert(b.1, link(a));
        self.poll(a.0);
        self.poll(b.0);
    }

    pub fn set_link(&mut self, a: (usize, u16), is_up: bool) {
        let b = self.nodes[a.0].links[&a.1].to;
        for (node, number) in [a, b] {
            self.nodes[node].links.get_mut(&number).unwrap().is_up = is_up;
            self.poll(node);
        }
    }

    pub fn label_to(&self, from: usize, number: u16) -> u64 {
        self.nodes[from].scheme.peer_label(number).unwrap()
    }

    pub fn wall_ms(&self) -> u64 {
        EPOCH_MS + self.now / 1_000_000
    }

    pub fn run(&mut self, time: u64) {
        let end = self.now + time;
        while self.events.peek().is_some_and(|Reverse((at, _, _))| *at <= end) {
            let Reverse((at, _, event)) = self.events.pop().unwrap();
            self.now = at;
            match event {
                Event::Arrive { node, number, packet } => {
                    if let Some(link) = self.nodes[node].links.get_mut(&number)
                        && link.is_up
                    {
                        link.received += 1;
                        link.bytes += packet.len() as u64;
                        self.switch(node, number, &packet);
                    }
                }
                Event::Poll { node } => {
                    if self.nodes[node].polled_at <= at {
                        self.nodes[node].polled_at = u64::MAX;
                        self.poll(node);
                    }
                }
            }
        }
        self.now = end;
    }

    pub fn ask(&mut self, from: usize, to: PublicKey, path: u64, what: Ask) -> AskId {
        let node = &mut self.nodes[from];
        let mut moment =
            Moment { now: self.now, wall_ms: EPOCH_MS + self.now / 1_000_000, rng: &mut node.rng };
        let (ask, packet) = node.router.ask(&mut moment, to, path, what, 2 * SECOND).unwrap();
        self.switch(from, 1, &packet);
        self.schedule(from);
        ask
    }

    /// Asks and waits for the answer.
    pub fn answer(&mut self, from: usize, to: PublicKey, path: u64, what: Ask) -> Option<Reply> {
        let ask = self.ask(from, to, path, what);
        self.run(3 * SECOND);
        self.answers.remove(&(from, ask)).expect("answered or timed out")
    }

    /// A control ping along `path`; whether it came back.
    pub fn ping(&mut self, from: usize, path: u64) -> bool {
        let body = Ping { magic: magic::PING.into(), version: 22.into() };
        let packet = control::packet(Header::new(path, 0), kind::PING, &body, b"sim");
        self.pongs.remove(&from);
        self.switch(from, 1, &packet);
        self.run(SECOND);
        self.pongs.remove(&from).is_some_and(|pongs| pongs == [path])
    }

    fn poll(&mut self, at: usize) {
        self.polls += 1;
        let neighbours = self.neighbours(at);
        let wall_ms = self.wall_ms();
        let node = &mut self.nodes[at];
        let mut moment = Moment { now: self.now, wall_ms, rng: &mut node.rng };
        let output = node.router.poll(&mut moment, &neighbours);
        self.take(at, output);
    }

    fn neighbours(&self, at: usize) -> Vec<Neighbour> {
        let links = self.nodes[at].links.iter();
        let neighbour = |(number, link): (&u16, &Link)| Neighbour {
            number: *number,
            key: self.nodes[link.to.0].key,
            version: 22,
            established: link.is_up,
            mtu: 1400,
            lag_ms: None,
            received: link.received,
            lost: 0,
            received_bytes: link.bytes,
        };
        links.map(neighbour).collect()
    }

    fn take(&mut self, at: usize, output: Output) {
        for packet in output.packets {
            self.switch(at, 1, &packet);
        }
        for answer in output.answers {
            self.answers.insert((at, answer.ask), answer.reply);
        }
        self.schedule(at);
    }

    fn schedule(&mut self, at: usize) {
        let due = self.nodes[at].router.next_due().max(self.now);
        if due < self.nodes[at].polled_at && due != u64::MAX {
            self.nodes[at].polled_at = due;
            self.push(due, Event::Poll { node: at });
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial, event)));
    }

    /// A packet comes in at interface `src` of a node's switch.
    fn switch(&mut self, at: usize, src: u16, packet: &[u8]) {
        let node = &self.nodes[at];
        let exists = |number| number == 1 || node.links.contains_key(&number);
        match by_the_book(&node.scheme, exists, src, packet) {
            Some((1, packet)) => self.deliver(at, &packet),
            Some((number, packet)) => {
                let link = node.links[&number];
                if link.is_up {
                    self.packets += 1;
                    let (node, number) = link.to;
                    self.push(self.now + DELAY, Event::Arrive { node, number, packet });
                }
            }
            None => {}
        }
    }

    fn deliver(&mut self, at: usize, packet: &[u8]) {
        let wall_ms = self.wall_ms();
        let node = &mut self.nodes[at];
        let mut moment = Moment { now: self.now, wall_ms, rng: &mut node.rng };
        let is_control = packet[12..].starts_with(&control::MARK);
        let output = if !is_control {
            node.router.delivered(&mut moment, packet)
        } else if let Some(output) = node.router.control(&mut moment, packet) {
            output
        } else {
            return self.respond(at, packet);
        };
        self.take(at, output);
    }

    /// What the box answers beside the router.
    fn respond(&mut self, at: usize, packet: &[u8]) {
        let node = &self.nodes[at];
        let (header, payload) = Header::split(packet).unwrap();
        let message = control::parse(payload).unwrap();
        let back = label::reverse(header.label());
        let head = |magic: u32| Ping { magic: magic.into(), version: 22.into() };
        let header = Header::new(back, 0);
        let reply = match message.kind {
            kind::PING => {
                let (_, opaque) = Ping::ref_from_prefix(message.body).unwrap();
                control::packet(header, kind::PONG, &head(magic::PONG), opaque)
            }
            kind::PONG => return self.pongs.entry(at).or_default().push(back),
            kind::RPATH => {
                let (_, opaque) = Rpath::ref_from_prefix(message.body).unwrap();
                let body = Rpath { head: head(magic::SNODE_REPLY), path: back.into() };
                control::packet(header, kind::RPATH_REPLY, &body, opaque)
            }
            kind::GET_SNODE => {
                let (_, opaque) = GetSnode::ref_from_prefix(message.body).unwrap();
                let supernode = node.router.supernode();
                let body = GetSnode {
                    head: head(magic::SNODE_REPLY),
                    snode_version: supernode.map_or(0, |snode| snode.version).into(),
                    kbps: u32::MAX.into(),
                    snode_key: supernode.map_or([0; 32], |snode| snode.key.0),
                    path: supernode
                        .and_then(|snode| node.scheme.label_for(snode.path, back))
                        .unwrap_or(0)
                        .into(),
                };
                control::packet(header, kind::GET_SNODE_REPLY, &body, opaque)
            }
            other => panic!("control message of type {other}"),
        };
        self.switch(at, 1, &reply);
    }
}

/// CJDNS-WIRE.md §3.2, step by step, without errors: where the packet goes, and as what.
fn by_the_book(
    scheme: &Scheme,
    exists: impl Fn(u16) -> bool,
    src: u16,
    packet: &[u8],
) -> Option<(u16, Vec<u8>)> {
    let (header, payload) = Header::split(packet)?;
    let label = header.label();
    let first = scheme.decode(label)?;
    let narrowest = u32::from(scheme.narrowest_width(src)?);
    let mut width = u32::from(first.width);
    if first.number == 1 && label % 16 != 1 {
        return None;
    }
    if narrowest > width {
        if first.number != 1 || (label ^ 1) & ((1 << (narrowest + 4)) - 1) != 0 {
            return None;
        }
        width = narrowest;
    }
    let form = scheme.forms().iter().position(|form| u32::from(form.width()) == width)?;
    let back = scheme.director(src, form)?;
    let shift = u32::from(header.shift()) + width;
    if !exists(first.number) || shift > u32::from(switch::SHIFT_MAX) {
        return None;
    }
    let mut out = *header;
    out.set_label(label >> width | back.reverse_bits());
    out.set_shift(u8::try_from(shift).unwrap());
    out.set_traffic_class(switch::UNCLASSIFIED);
    Some((first.number, [out.as_bytes(), payload].concat()))
}
