//! Counters that one worker adds to and everybody may read.

use dataplane_api::counters;
use std::sync::atomic::{AtomicU64, Ordering};

/// One worker's part of the shared counters. Only this handle writes to it, so an add is a load and a store.
#[derive(Debug)]
pub struct Bank<'a> {
    slots: &'a [AtomicU64],
}

impl<'a> Bank<'a> {
    /// A bank over `slots`, which nobody else may write to.
    #[must_use]
    pub fn new(slots: &'a [AtomicU64]) -> Self {
        Self { slots }
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&mut self, slot: usize, value: u64) {
        // Relaxed: counters are independent of each other and of everything else.
        self.slots[slot].store(value, Ordering::Relaxed);
    }
}

impl counters::Bank for Bank<'_> {
    #[inline]
    fn add(&mut self, slot: usize, n: u64) {
        let slot = &self.slots[slot];
        // Relaxed, and not one atomic addition: there is one writer.
        slot.store(slot.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    #[inline]
    fn add_pair(&mut self, slot: usize, first: u64, second: u64) {
        if let Some([a, b]) = self.slots.get(slot..).and_then(<[AtomicU64]>::first_chunk) {
            a.store(a.load(Ordering::Relaxed).wrapping_add(first), Ordering::Relaxed);
            b.store(b.load(Ordering::Relaxed).wrapping_add(second), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counters::Bank as _;

    #[test]
    fn what_is_added_is_read() {
        let slots: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
        let mut bank = Bank::new(&slots);
        bank.add(2, 5);
        bank.add(2, 6);
        bank.set(3, 9);
        let read: Vec<u64> = slots.iter().map(|slot| slot.load(Ordering::Relaxed)).collect();
        assert_eq!(read, [0, 0, 11, 9]);
    }
}
