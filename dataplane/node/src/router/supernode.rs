//! Finding a route server, and staying with it. Source: CJDNS-WIRE.md §6.4, "Discovery".
//!
//! ```text
//!            GETSNODE to one neighbour after another
//!  Searching ───────────────► candidate ── pn ─► Trying ── recvTime ─► Active ── announces, asks for the way
//!      ▲                                            │                    │
//!      └───────────── no answer ────────────────────┴── no answer, twice ┘
//! ```

use super::announcer::Announcer;
use super::peers::{Peer, Peers};
use super::{RouteServers, Supernode};
use dataplane_api::Nanos;
use rand_core::CryptoRng;
use std::net::Ipv6Addr;
use wire::control::{self, GetSnode, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Ping, kind, magic};
use wire::key::PublicKey;
use wire::label;
use wire::switch::Header;
use zerocopy::network_endian::{U32, U64};

const SECOND: Nanos = 1_000_000_000;
/// Between two questions of a router that has no route server.
pub(super) const CYCLE: Nanos = 3 * SECOND;
/// How long a route server may take to answer.
pub(super) const ANSWER: Nanos = 6 * SECOND;
/// The same of one that did not answer before.
pub(super) const ANSWER_AGAIN: Nanos = 3 * SECOND;
/// When to ask for the way to the route server first: it must have heard of us.
const ROUTE_FIRST: Nanos = 15 * SECOND;
/// And then.
const ROUTE_AGAIN: Nanos = 300 * SECOND;
/// Slots of measurements.
pub(super) const SLOT: Nanos = 10 * SECOND;
const NANOS_PER_MS: Nanos = 1_000_000;

/// Where a router is with its route server.
#[derive(Debug)]
pub(super) enum Stage {
    /// It asks its neighbours.
    Searching,
    /// It asks a candidate whether it is one.
    Trying(Supernode),
    /// It has one.
    Active(Box<Active>),
}

/// The search, and what it found.
#[derive(Debug)]
pub(super) struct Hunt {
    pub(super) stage: Stage,
    /// When to ask the next neighbour.
    due: Nanos,
    /// Number of the neighbour that was asked last.
    asked: Option<u16>,
    /// Of the last question.
    mark: u64,
}

/// A route server that answered.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) supernode: Supernode,
    pub(super) address: Ipv6Addr,
    pub(super) announcer: Announcer,
    /// Its clock less ours, in milliseconds, modulo 2⁶⁴.
    clock_ms: u64,
    /// It did not answer, and is asked once more.
    pub(super) doubted: bool,
    route_due: Nanos,
    slot_due: Nanos,
    /// When to ask neighbours again by which label they reach us; a neighbour that knows none makes it due.
    pub(super) labels_due: Nanos,
}

impl Hunt {
    /// Begins at once.
    pub(super) fn new() -> Self {
        Self { stage: Stage::Searching, due: 0, asked: None, mark: 0 }
    }

    /// When it wants to be polled, if there is anyone to ask.
    pub(super) fn due(&self) -> Nanos {
        match &self.stage {
            Stage::Searching => self.due,
            // The answer, or its absence, goes on.
            Stage::Trying(_) => Nanos::MAX,
            Stage::Active(active) => active.due(),
        }
    }

    pub(super) fn active(&self) -> Option<&Active> {
        match &self.stage {
            Stage::Active(active) => Some(active),
            Stage::Searching | Stage::Trying(_) => None,
        }
    }

    pub(super) fn active_mut(&mut self) -> Option<&mut Active> {
        match &mut self.stage {
            Stage::Active(active) => Some(active),
            Stage::Searching | Stage::Trying(_) => None,
        }
    }

    /// The next neighbour to ask, if it is time.
    pub(super) fn ask(
        &mut self,
        now: Nanos,
        peers: &Peers,
        servers: &RouteServers,
        rng: &mut dyn CryptoRng,
    ) -> Option<Question> {
        if !matches!(self.stage, Stage::Searching) || now < self.due {
            return None;
        }
        let peer = peers.after(self.asked)?;
        self.due = now + CYCLE;
        self.asked = Some(peer.number);
        // A neighbour that is a route server we are told to use need not be asked which one it uses.
        if servers.names(&peer.key) {
            let Peer { key, version, label, .. } = *peer;
            return Some(Question::Candidate(Supernode { key, version, path: label }));
        }
        self.mark = rng.next_u64();
        Some(Question::Packet(query(peer.label, self.mark)))
    }

    /// The candidate in an answer of the neighbour that was asked last.
    pub(super) fn answer(
        &mut self,
        peers: &Peers,
        servers: &RouteServers,
        own: &PublicKey,
        from: u64,
        mark: u64,
        reply: &GetSnode,
    ) -> Option<Supernode> {
        let asked = peers.numbered(self.asked?)?;
        if !matches!(self.stage, Stage::Searching) || asked.label != from || mark != self.mark {
            return None;
        }
        // Asked once, answered once.
        self.mark = self.mark.wrapping_add(1);
        let key = PublicKey(reply.snode_key);
        let path =
            label::splice(reply.path.get(), asked.label).filter(|_| reply.path.get() != 0)?;
        let version = reply.snode_version.get();
        let is_one = version >= PROTOCOL_VERSION_MIN && key != *own && key.is_usable();
        (is_one && servers.allow(&key)).then_some(Supernode { key, version, path })
    }

    /// The route server does not answer, or the way to it is gone.
    pub(super) fn lose(&mut self, now: Nanos) {
        self.stage = Stage::Searching;
        self.due = self.due.min(now + CYCLE).max(now);
    }
}

/// What to do to find a route server.
#[derive(Debug)]
pub(super) enum Question {
    /// Send this.
    Packet(Vec<u8>),
    /// Ask this node itself.
    Candidate(Supernode),
}

impl Active {
    /// `clock_ms`: the route server's time as of `now`.
    pub(super) fn new(
        now: Nanos,
        supernode: Supernode,
        clock_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let mut active = Self {
            address: supernode.key.address(),
            supernode,
            announcer: Announcer::new(now, rng),
            clock_ms: 0,
            doubted: false,
            route_due: now + ROUTE_FIRST,
            slot_due: now,
            labels_due: now,
        };
        active.set_clock(now, clock_ms);
        active
    }

    fn due(&self) -> Nanos {
        // What cannot be answered need not be announced.
        let announce = if self.doubted { Nanos::MAX } else { self.announcer.due() };
        announce.min(self.route_due).min(self.slot_due).min(self.labels_due)
    }

    /// The route server's time.
    pub(super) fn time_ms(&self, now: Nanos) -> u64 {
        // What does not fit the field of an announcement is no time.
        self.clock_ms.wrapping_add(now / NANOS_PER_MS) & (u64::MAX >> 4)
    }

    /// `clock_ms`: what its clock said at `now`.
    pub(super) fn set_clock(&mut self, now: Nanos, clock_ms: u64) {
        self.clock_ms = clock_ms.wrapping_sub(now / NANOS_PER_MS);
    }

    /// Whether to ask for the way to it now.
    pub(super) fn takes_route_turn(&mut self, now: Nanos) -> bool {
        let is_due = now >= self.route_due;
        if is_due {
            self.route_due = now + ROUTE_AGAIN;
        }
        is_due
    }

    /// Whether a slot of measurements is over now.
    pub(super) fn takes_slot_turn(&mut self, now: Nanos) -> bool {
        let is_due = now >= self.slot_due;
        if is_due {
            // Behind by a slot or more: the missed ones are not made up for.
            self.slot_due = (self.slot_due + SLOT).max(now + SLOT / 2);
        }
        is_due
    }
}

fn query(path: u64, mark: u64) -> Vec<u8> {
    let head = Ping { magic: magic::SNODE_QUERY.into(), version: PROTOCOL_VERSION.into() };
    let body = GetSnode {
        head,
        snode_version: U32::ZERO,
        kbps: U32::ZERO,
        snode_key: [0; 32],
        path: U64::ZERO,
    };
    control::packet(Header::new(path, 0), kind::GET_SNODE, &body, &mark.to_be_bytes())
}
