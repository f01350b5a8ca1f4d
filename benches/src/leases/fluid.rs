//! A port that sends parts of bits: guaranteed first, then all that wait at once by weight, then the rest. Its limits are
//! those of CLOUD-ISP.md §3.5 R3 and R4; nothing else is as in the scheduler.

use super::cell::{Cell, LONGEST, Lease};
use dataplane_api::Nanos;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Time a lease's packets may wait at its own weight, ns.
const LEASE_TIME: f64 = 60e6;
/// Priority and free bytes that may wait, in time of the port, ns.
const PRIORITY_TIME: f64 = 25e6;
const FREE_TIME: f64 = 5e6;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Key(f64);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    /// Bytes per ns.
    weight: f64,
    /// Where the port's share clock is when it will have sent all of it.
    finish: f64,
    /// Bytes that were let in.
    taken: f64,
    waits: bool,
}

/// The port.
#[derive(Debug)]
pub(super) struct Fluid {
    /// Bytes per ns.
    rate: f64,
    now: f64,
    flows: Vec<Flow>,
    /// Those that wait, by their finish when they were put here.
    waiting: BinaryHeap<Reverse<(Key, u32)>>,
    /// Time at own weight that those that wait have had.
    clock: f64,
    weights: f64,
    guaranteed: f64,
    priority: f64,
    free: f64,
    free_sent: f64,
}

impl Fluid {
    /// An idle one.
    pub(super) fn new(cell: &Cell, plan: &[Lease]) -> Self {
        let flow = |lease: &Lease| Flow {
            weight: lease.weight as f64 / 1e9,
            finish: 0.0,
            taken: 0.0,
            waits: false,
        };
        Self {
            rate: cell.rate() as f64 / 1e9,
            now: 0.0,
            flows: plan.iter().map(flow).collect(),
            waiting: BinaryHeap::new(),
            clock: 0.0,
            weights: 0.0,
            guaranteed: 0.0,
            priority: 0.0,
            free: 0.0,
            free_sent: 0.0,
        }
    }

    /// Sends until `now`.
    pub(super) fn advance(&mut self, now: Nanos) {
        let now = now as f64;
        let mut bytes = (now - self.now).max(0.0) * self.rate;
        self.now = now.max(self.now);
        let first = bytes.min(self.guaranteed);
        self.guaranteed -= first;
        bytes -= first;
        while bytes > 0.0 {
            let Some(&Reverse((Key(key), number))) = self.waiting.peek() else { break };
            let finish = self.flows[number as usize].finish;
            if finish > key {
                self.waiting.pop();
                self.waiting.push(Reverse((Key(finish), number)));
                continue;
            }
            let needed = (key - self.clock) * self.weights;
            if needed > bytes {
                self.clock += bytes / self.weights;
                self.priority -= bytes;
                return;
            }
            self.waiting.pop();
            (self.clock, self.priority) = (key, self.priority - needed);
            bytes -= needed;
            let flow = &mut self.flows[number as usize];
            flow.waits = false;
            self.weights -= flow.weight;
        }
        if self.waiting.is_empty() {
            (self.weights, self.priority) = (0.0, 0.0);
        }
        let rest = bytes.min(self.free);
        self.free -= rest;
        self.free_sent += rest;
    }

    /// In profile.
    pub(super) fn guaranteed(&mut self, len: u32) {
        self.guaranteed += f64::from(len);
    }

    /// Above it.
    pub(super) fn priority(&mut self, lease: u32, len: u32) {
        let len = f64::from(len);
        let flow = &mut self.flows[lease as usize];
        let longest = f64::from(LONGEST) / flow.weight;
        let left = PRIORITY_TIME - self.priority / self.rate;
        let most = (12.0 * longest).max(LEASE_TIME).min(4.0 * left).max(2.0 * longest);
        let ahead = (flow.finish - self.clock).max(0.0);
        let time = len / flow.weight;
        if ahead > 0.0 && ahead + time > most {
            return;
        }
        if !flow.waits {
            flow.waits = true;
            self.weights += flow.weight;
            self.waiting.push(Reverse((Key(self.clock + time), lease)));
        }
        flow.finish = self.clock + ahead + time;
        flow.taken += len;
        self.priority += len;
    }

    /// Without a lease.
    pub(super) fn free(&mut self, len: u32) {
        if self.free + f64::from(len) <= FREE_TIME * self.rate {
            self.free += f64::from(len);
        }
    }

    /// Free bytes sent so far.
    pub(super) fn free_sent(&self) -> f64 {
        self.free_sent
    }

    /// Priority bytes sent so far, by lease.
    pub(super) fn sent(&self) -> Vec<f64> {
        let waits = |flow: &Flow| (flow.finish - self.clock).max(0.0) * flow.weight;
        self.flows.iter().map(|flow| flow.taken - waits(flow)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::{Load, Pattern};
    use super::*;

    #[test]
    fn guaranteed_is_first_then_weights_then_free() {
        let cell = Cell {
            gigabits: 8,
            leases: 2,
            workers: 1,
            load: Load::Mix,
            sold: 70,
            warm_up: 0,
            window: 0,
        };
        let rounded =
            |fluid: &Fluid| fluid.sent().iter().map(|sent| sent.round()).collect::<Vec<_>>();
        let lease = |weight| Lease { rate: 0, burst: 0, weight, pattern: Pattern::Burst };
        let mut fluid = Fluid::new(&cell, &[lease(100_000_000), lease(300_000_000)]);
        fluid.guaranteed(1_000);
        (0..3).for_each(|_| fluid.priority(0, 400));
        (0..3).for_each(|_| fluid.priority(1, 400));
        fluid.free(500);
        // A byte a nanosecond: half of what is above the guarantee.
        fluid.advance(1_800);
        assert_eq!(rounded(&fluid), [200.0, 600.0]);
        fluid.advance(2_600);
        assert_eq!(rounded(&fluid), [400.0, 1_200.0]);
        fluid.advance(4_000);
        assert_eq!((rounded(&fluid), fluid.free_sent().round()), (vec![1_200.0, 1_200.0], 500.0));
    }

    #[test]
    fn what_does_not_fit_is_lost() {
        let cell = Cell {
            gigabits: 8,
            leases: 1,
            workers: 1,
            load: Load::Mix,
            sold: 70,
            warm_up: 0,
            window: 0,
        };
        let lease = Lease { rate: 0, burst: 0, weight: 100_000_000, pattern: Pattern::Burst };
        let mut fluid = Fluid::new(&cell, &[lease]);
        (0..100_000).for_each(|_| fluid.priority(0, 1_000));
        (0..100_000).for_each(|_| fluid.free(1_000));
        fluid.advance(1_000_000_000);
        // 60 ms of 0.1 bytes a nanosecond; 5 ms of 1.
        let sent = (fluid.sent()[0].round(), fluid.free_sent().round());
        assert_eq!(sent, (6_000_000.0, 5_000_000.0));
    }
}
