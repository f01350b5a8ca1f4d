//! What others do: one queue behind policers, and a queue for each lease in turns.

use super::cell::{Cell, FREE_SOURCES, LONGEST, Lease, Load};
use super::drive::drive;
use super::exact::Exact;
use super::method::{Method, Own, Packet};
use dataplane_api::Nanos;
use engine::schedule::Class;
use std::collections::VecDeque;

/// What is handed to the NIC ahead of the wire, ns: as the engine does.
const RING: f64 = 20_000.0;
/// What may wait in all, in time of the port, s: as much as the engine may hold above the guarantees.
const BUFFER: f64 = 0.03;

/// A port's wire as a sender sees it.
#[derive(Debug)]
struct Clock {
    byte: f64,
    until: f64,
}

impl Clock {
    fn new(cell: &Cell) -> Self {
        Self { byte: 1e9 / cell.rate() as f64, until: 0.0 }
    }

    fn is_open(&self, now: Nanos) -> bool {
        self.until <= now as f64 + RING
    }

    fn send(&mut self, now: Nanos, len: u32) {
        self.until = self.until.max(now as f64) + f64::from(len) * self.byte;
    }
}

fn class(packet: &Packet, leases: usize) -> Class {
    match packet.source as usize {
        source if source >= leases => Class::Free,
        _ if packet.in_profile => Class::Guaranteed,
        _ => Class::Priority,
    }
}

/// One queue; each lease may send twice its guarantee into it, who has none what comes.
#[derive(Debug)]
pub(super) struct Fifo {
    queue: VecDeque<Packet>,
    policers: Vec<Exact>,
    clock: Clock,
    bytes: u64,
    room: u64,
}

impl Fifo {
    /// An empty one.
    pub(super) fn new(cell: &Cell, plan: &[Lease]) -> Self {
        let policer = |lease: &Lease| {
            Exact::new(&Lease { rate: 2 * lease.rate, burst: 2 * lease.burst, ..*lease })
        };
        Self {
            queue: VecDeque::new(),
            policers: plan.iter().map(policer).collect(),
            clock: Clock::new(cell),
            bytes: 0,
            room: (cell.rate() as f64 * BUFFER) as u64,
        }
    }
}

impl Method for Fifo {
    fn push(&mut self, _: usize, now: Nanos, packet: Packet) -> Result<Class, Class> {
        let class = class(&packet, self.policers.len());
        let policer = self.policers.get_mut(packet.source as usize);
        if policer.is_some_and(|policer| !policer.takes(now, packet.len)) || self.bytes > self.room
        {
            return Err(class);
        }
        self.bytes += u64::from(packet.len);
        self.queue.push_back(packet);
        Ok(class)
    }

    fn take(&mut self, _: usize, now: Nanos, mut each: impl FnMut(Class, Packet)) {
        while self.clock.is_open(now) {
            let Some(packet) = self.queue.pop_front() else { return };
            self.bytes -= u64::from(packet.len);
            self.clock.send(now, packet.len);
            each(class(&packet, self.policers.len()), packet);
        }
    }

    fn waits(&self) -> bool {
        !self.queue.is_empty()
    }
}

#[derive(Debug, Default)]
struct Queue {
    packets: VecDeque<Packet>,
    bytes: u64,
    deficit: u64,
    quantum: u64,
    limit: u64,
}

/// A queue for each lease, and for each source without: deficit round robin by guarantees.
#[derive(Debug)]
pub(super) struct Drr {
    queues: Vec<Queue>,
    leases: usize,
    turns: VecDeque<u32>,
    clock: Clock,
}

impl Drr {
    /// An empty one.
    pub(super) fn new(cell: &Cell, plan: &[Lease]) -> Self {
        let least = plan.iter().map(|lease| lease.rate).min().unwrap_or(1).max(1);
        let queue = |rate: u64| Queue {
            // The smallest sends a frame in a turn.
            quantum: u64::from(LONGEST) * rate / least,
            limit: (rate * 60 / 1_000).max(12 * u64::from(LONGEST)),
            ..Queue::default()
        };
        let free = (0..FREE_SOURCES).map(|_| queue(least));
        Self {
            queues: plan.iter().map(|lease| queue(lease.rate)).chain(free).collect(),
            leases: plan.len(),
            turns: VecDeque::new(),
            clock: Clock::new(cell),
        }
    }
}

impl Method for Drr {
    fn push(&mut self, _: usize, _: Nanos, packet: Packet) -> Result<Class, Class> {
        let class = class(&packet, self.leases);
        let queue = &mut self.queues[packet.source as usize];
        if queue.bytes + u64::from(packet.len) > queue.limit {
            return Err(class);
        }
        if queue.packets.is_empty() {
            self.turns.push_back(packet.source);
            queue.deficit = queue.quantum;
        }
        queue.bytes += u64::from(packet.len);
        queue.packets.push_back(packet);
        Ok(class)
    }

    fn take(&mut self, _: usize, now: Nanos, mut each: impl FnMut(Class, Packet)) {
        while self.clock.is_open(now) {
            let Some(&turn) = self.turns.front() else { return };
            let queue = &mut self.queues[turn as usize];
            let len = queue.packets.front().map_or(0, |packet| packet.len);
            if u64::from(len) > queue.deficit {
                queue.deficit += queue.quantum;
                self.turns.rotate_left(1);
                continue;
            }
            let Some(packet) = queue.packets.pop_front() else { return };
            queue.deficit -= u64::from(len);
            queue.bytes -= u64::from(len);
            if queue.packets.is_empty() {
                self.turns.pop_front();
            }
            self.clock.send(now, len);
            each(class(&packet, self.leases), packet);
        }
    }

    fn waits(&self) -> bool {
        !self.turns.is_empty()
    }
}

/// One method under one load.
#[derive(Debug)]
pub(super) struct Compared {
    /// `own`, `fifo` or `drr`.
    pub(super) method: &'static str,
    /// The load.
    pub(super) cell: Cell,
    /// What the lease that fared worst was sent of all it offered, of those that keep to their profile.
    pub(super) delivered: f64,
    /// Delay of what was in profile, µs.
    pub p99_us: f64,
    /// Free bytes sent, in parts of the port.
    pub(super) free: f64,
    /// Leases.
    pub(super) leases: usize,
    /// Quantiles of that delay: part, µs.
    pub(super) delays: Vec<(f64, f64)>,
    /// What was sent above the guarantee, to what would have been ideal, of the leases that wanted any.
    pub(super) shares: Vec<f64>,
}

/// All methods under the loads that tell them apart.
pub(super) fn compare() -> Vec<Compared> {
    let cell = |load, sold| Cell {
        gigabits: 10,
        leases: 2_000,
        workers: 1,
        load,
        sold,
        warm_up: 150_000_000,
        window: 1_000_000_000,
    };
    let loads = [(Load::Mix, 70), (Load::Mix, 90), (Load::Greedy, 90), (Load::Paced, 90)];
    let mut compared = Vec::new();
    for (load, sold) in loads {
        let cell = cell(load, sold);
        let plan = cell.plan();
        compared.push(Compared::new("own", cell, &plan, &mut Own::new(&cell, &plan)));
        compared.push(Compared::new("fifo", cell, &plan, &mut Fifo::new(&cell, &plan)));
        compared.push(Compared::new("drr", cell, &plan, &mut Drr::new(&cell, &plan)));
    }
    compared
}

impl Compared {
    fn new(method: &'static str, cell: Cell, plan: &[Lease], by: &mut impl Method) -> Self {
        let outcome = drive(&cell, plan, by, super::SEED);
        let port = cell.rate() as f64 * cell.window as f64 / 1e9;
        let quantile = |tenth: i32| {
            let part = 1.0 - 10_f64.powf(-f64::from(tenth) / 10.0);
            (part, outcome.delay.value_at_quantile(part) as f64 / 1e3)
        };
        Self {
            method,
            cell,
            delivered: outcome.honest_delivered(plan),
            p99_us: super::p99_us(&outcome),
            free: outcome.free(plan.len()) / port,
            leases: plan.len(),
            delays: (0..=50).map(quantile).collect(),
            shares: outcome.leftovers(&cell, plan).iter().map(|(had, ideal)| had / ideal).collect(),
        }
    }
}
