//! What the workers that send on one port have in common: the port's clock, and how each of them stands.
//!
//! ```text
//! worker 0 ──charge──► clock ◄──charge── worker 1        one word, added to once a burst
//!    └────tell──► its line      its line ◄──tell──┘      one cache line each, read by the others once a millisecond
//! ```

use crate::shim::{Arc, AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use dataplane_api::port_share::{PortShare, Standing};

/// No packets waiting: no slot of a calendar is numbered like this.
const NOT_WAITING: u64 = u64::MAX;

#[derive(Debug)]
struct Line {
    served: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Port {
    clock: CachePadded<AtomicU64>,
    lines: Box<[CachePadded<Line>]>,
}

/// One worker's side of a port. Relaxed throughout: nothing but the words themselves is handed over, and a standing is
/// two figures that may be a little old, each for itself.
#[derive(Debug)]
pub struct Share {
    port: Arc<Port>,
    own: usize,
}

/// The sides of `workers` that send on one port.
#[must_use]
pub fn shares(workers: usize) -> Vec<Share> {
    let line = || Line { served: AtomicU64::new(NOT_WAITING), bytes: AtomicU64::new(0) };
    let lines = (0..workers).map(|_| CachePadded::new(line())).collect();
    let port = Arc::new(Port { clock: CachePadded::new(AtomicU64::new(0)), lines });
    (0..workers).map(|own| Share { port: Arc::clone(&port), own }).collect()
}

impl PortShare for Share {
    #[inline]
    fn clock(&self) -> u64 {
        self.port.clock.load(Ordering::Relaxed)
    }

    #[inline]
    fn charge(&self, now: u64, time: u64) -> u64 {
        let clock = &self.port.clock;
        let mut before = clock.load(Ordering::Relaxed);
        loop {
            // The later of the two, across the wrap.
            let from = if before.wrapping_sub(now).cast_signed() > 0 { before } else { now };
            let after = from.wrapping_add(time);
            // Who finds it changed was overtaken by somebody who is done: at most one turn for each other worker's burst.
            match clock.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return after,
                Err(found) => before = found,
            }
        }
    }

    fn tell(&self, standing: Standing) {
        if let Some(line) = self.port.lines.get(self.own) {
            line.served.store(standing.served.unwrap_or(NOT_WAITING), Ordering::Relaxed);
            line.bytes.store(standing.bytes, Ordering::Relaxed);
        }
    }

    fn others(&self) -> Standing {
        let mut others = Standing::default();
        for (worker, line) in self.port.lines.iter().enumerate() {
            if worker == self.own {
                continue;
            }
            let served = line.served.load(Ordering::Relaxed);
            if served != NOT_WAITING {
                others.served = Some(others.served.map_or(served, |least| least.min(served)));
            }
            others.bytes += line.bytes.load(Ordering::Relaxed);
        }
        others
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn standing(served: Option<u64>, bytes: u64) -> Standing {
        Standing { served, bytes }
    }

    #[test]
    fn an_idle_port_starts_from_now_and_a_busy_one_goes_on() {
        let shares = shares(2);
        assert_eq!((shares[0].charge(100, 7), shares[1].charge(50, 5)), (107, 112));
        assert_eq!((shares[0].clock(), shares[0].charge(200, 1)), (112, 201));
    }

    #[test]
    fn the_clock_goes_on_across_the_wrap() {
        let shares = shares(1);
        let half = u64::MAX / 2;
        assert_eq!(shares[0].charge(half, 0), half);
        assert_eq!(shares[0].charge(u64::MAX - 2, 5), 2);
        assert_eq!((shares[0].charge(u64::MAX, 5), shares[0].charge(20, 5)), (7, 25));
    }

    #[test]
    fn a_worker_hears_of_all_others_but_not_of_itself() {
        let shares = shares(3);
        assert_eq!(shares[0].others(), Standing::default());
        shares[0].tell(standing(Some(5), 10));
        shares[1].tell(standing(Some(9), 20));
        shares[2].tell(standing(None, 30));
        assert_eq!(shares[0].others(), standing(Some(9), 50));
        assert_eq!(shares[2].others(), standing(Some(5), 30));
        shares[1].tell(standing(None, 0));
        assert_eq!(shares[0].others(), standing(None, 30));
    }
}
