//! The cursors of a ring that we share with the kernel: one side produces, the other consumes.
//!
//! ```text
//! producer ─► | . . x x x x . . | ◄─ consumer      both count up, wrapping at 2³²; the place is index & mask
//! ```
//! Both cursors are cached, and the other side's is looked at only when the cache says there is no room or nothing to
//! take.

use std::sync::atomic::{AtomicU32, Ordering};

/// Our view of a ring: two counters in shared memory, and what we know of them.
#[derive(Debug)]
pub(crate) struct Cursor<C> {
    shared: C,
    size: u32,
    /// Ours, ahead of what is published by what was not yet.
    own: u32,
    /// The other's, as last seen.
    other: u32,
}

/// Where the two counters are: a kernel mapping, or the heap in tests.
pub(crate) trait Counters {
    fn producer(&self) -> &AtomicU32;
    fn consumer(&self) -> &AtomicU32;
}

impl<C: Counters> Cursor<C> {
    /// `size` is a power of two.
    pub(crate) fn new(shared: C, size: u32) -> Self {
        debug_assert!(size.is_power_of_two());
        Self { shared, size, own: 0, other: 0 }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    pub(crate) fn shared(&self) -> &C {
        &self.shared
    }

    /// Producer: places that can be written now, at least `wanted` if there are that many.
    #[inline]
    pub(crate) fn free(&mut self, wanted: u32) -> u32 {
        let free = self.size - self.own.wrapping_sub(self.other);
        if free >= wanted {
            return free;
        }
        // Acquire: pairs with the consumer's release of the places, whose reads must be done before we write there.
        let consumer = self.shared.consumer().load(Ordering::Acquire);
        if self.own.wrapping_sub(consumer) <= self.size {
            self.other = consumer;
        }
        self.size - self.own.wrapping_sub(self.other)
    }

    /// Producer: what [`Self::free`] knows without looking.
    #[inline]
    pub(crate) fn free_seen(&self) -> u32 {
        // Relaxed is enough for an estimate; `free` looks again before anything is written.
        let consumer = self.shared.consumer().load(Ordering::Relaxed);
        let used = self.own.wrapping_sub(consumer);
        self.size.saturating_sub(used)
    }

    /// Producer: makes the next `count` places visible; they were written.
    #[inline]
    pub(crate) fn publish(&mut self, count: u32) {
        self.own = self.own.wrapping_add(count);
        // Release: the writes to the places come first.
        self.shared.producer().store(self.own, Ordering::Release);
    }

    /// Producer: whether the consumer has taken everything.
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.shared.consumer().load(Ordering::Relaxed) == self.own
    }

    /// Consumer: places that can be read now, at most `wanted`.
    #[inline]
    pub(crate) fn filled(&mut self, wanted: u32) -> u32 {
        let filled = self.other.wrapping_sub(self.own);
        if filled >= wanted {
            return wanted;
        }
        // Acquire: pairs with the producer's release of the places.
        let producer = self.shared.producer().load(Ordering::Acquire);
        if producer.wrapping_sub(self.own) <= self.size {
            self.other = producer;
        }
        self.other.wrapping_sub(self.own).min(wanted)
    }

    /// Consumer: places that can be read, as of now.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        // Relaxed is enough for an estimate; `filled` looks again before anything is read.
        let producer = self.shared.producer().load(Ordering::Relaxed);
        producer.wrapping_sub(self.own).min(self.size)
    }

    /// Consumer: gives the next `count` places back; they were read.
    #[inline]
    pub(crate) fn release(&mut self, count: u32) {
        self.own = self.own.wrapping_add(count);
        // Release: the reads of the places come first.
        self.shared.consumer().store(self.own, Ordering::Release);
    }

    /// Place of the `n`th entry from our side, below `size`.
    #[inline]
    pub(crate) fn place(&self, n: u32) -> usize {
        (self.own.wrapping_add(n) & (self.size - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::Arc;

    #[derive(Debug, Default)]
    struct Heap {
        producer: AtomicU32,
        consumer: AtomicU32,
    }

    impl Counters for Arc<Heap> {
        fn producer(&self) -> &AtomicU32 {
            &self.producer
        }
        fn consumer(&self) -> &AtomicU32 {
            &self.consumer
        }
    }

    proptest! {
        /// Two cursors over one array are a bounded queue, across the wrap of the counters too.
        #[test]
        fn equals_a_queue(start: u32, steps in proptest::collection::vec((any::<bool>(), 1u32..12), 0..200)) {
            let heap = Arc::new(Heap::default());
            heap.producer.store(start, Ordering::Relaxed);
            heap.consumer.store(start, Ordering::Relaxed);
            let mut producer = Cursor { shared: Arc::clone(&heap), size: 8, own: start, other: start };
            let mut consumer = Cursor { shared: heap, size: 8, own: start, other: start };
            let (mut places, mut twin, mut next) = ([0u32; 8], VecDeque::new(), 0u32);
            for (produce, count) in steps {
                if produce {
                    let count = producer.free(count).min(count);
                    prop_assert!(twin.len() + count as usize <= 8);
                    for n in 0..count {
                        places[producer.place(n)] = next;
                        twin.push_back(next);
                        next += 1;
                    }
                    producer.publish(count);
                } else {
                    let count = consumer.filled(count);
                    for n in 0..count {
                        prop_assert_eq!(Some(places[consumer.place(n)]), twin.pop_front());
                    }
                    consumer.release(count);
                    prop_assert!(count > 0 || twin.is_empty());
                }
                prop_assert_eq!(producer.is_drained(), twin.is_empty());
            }
        }

        /// Counters that the other side made up never lead outside the ring.
        #[test]
        fn hostile_counters_are_survived(values in proptest::collection::vec(any::<u32>(), 1..40)) {
            let heap = Arc::new(Heap::default());
            let mut producer = Cursor::new(Arc::clone(&heap), 8);
            let mut consumer = Cursor::new(Arc::clone(&heap), 8);
            for value in values {
                heap.consumer.store(value, Ordering::Relaxed);
                prop_assert!(producer.free(8) <= 8);
                prop_assert!(producer.free_seen() <= 8);
                heap.producer.store(value, Ordering::Relaxed);
                prop_assert!(consumer.filled(8) <= 8);
            }
        }
    }

    #[test]
    fn two_threads_lose_and_repeat_nothing() {
        let heap = Arc::new(Heap::default());
        let places: Arc<Vec<AtomicU32>> = Arc::new((0..64).map(|_| AtomicU32::new(0)).collect());
        let (mut producer, mut consumer) =
            (Cursor::new(Arc::clone(&heap), 64), Cursor::new(heap, 64));
        let total = 100_000;
        std::thread::scope(|scope| {
            let theirs = Arc::clone(&places);
            scope.spawn(move || {
                let mut sent = 0;
                while sent < total {
                    let count = producer.free(16).min(16).min(total - sent);
                    for n in 0..count {
                        theirs[producer.place(n)].store(sent + n, Ordering::Relaxed);
                    }
                    producer.publish(count);
                    sent += count;
                }
            });
            let mut seen = 0;
            while seen < total {
                let count = consumer.filled(16);
                for n in 0..count {
                    assert_eq!(places[consumer.place(n)].load(Ordering::Relaxed), seen + n);
                }
                consumer.release(count);
                seen += count;
            }
        });
    }
}
