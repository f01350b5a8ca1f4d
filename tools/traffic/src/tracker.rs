//! Which packets of a stream arrived: each sequence number once, late or again. Exact, without a window.
//!
//! - *received*: sequence numbers seen at least once.
//! - *duplicated*: arrivals beyond the first of a number.
//! - *reordered* (RFC 4737): first arrivals whose number is below the highest seen before.
//! - *extent*: how far below, in numbers, at most.
//! - *lost*: numbers sent and not received; without the sender's count, numbers below the highest seen and not received.
//!
//! A bit per number, in chunks; a chunk that is full is forgotten but for its number. So a stream without loss takes a
//! few bytes for 65 536 packets, one with loss 8 KiB.

use std::collections::BTreeMap;

/// Numbers in a chunk.
const CHUNK: u64 = 1 << 16;
const WORDS: usize = 1 << 10;

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Higher than all before.
    InOrder,
    /// The first of its number, after a higher one.
    Late,
    /// Not the first of its number.
    Again,
}

/// The arrivals of one stream.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    chunks: BTreeMap<u64, Chunk>,
    /// One above the highest number seen.
    next: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
    extent: u64,
}

#[derive(Clone, Debug)]
enum Chunk {
    Part { bits: Box<[u64]>, set: u64 },
    Full,
}

impl Tracker {
    /// Notes the arrival of a number below [`crate::payload::SEQUENCE_END`].
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        let chunk = self
            .chunks
            .entry(sequence / CHUNK)
            .or_insert_with(|| Chunk::Part { bits: vec![0; WORDS].into(), set: 0 });
        if !chunk.set(sequence % CHUNK) {
            self.duplicated += 1;
            return Arrival::Again;
        }
        self.received += 1;
        if sequence >= self.next {
            self.next = sequence + 1;
            return Arrival::InOrder;
        }
        self.reordered += 1;
        self.extent = self.extent.max(self.next - 1 - sequence);
        Arrival::Late
    }

    /// Numbers seen.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Arrivals beyond the first.
    #[must_use]
    pub const fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// First arrivals after a higher number's.
    #[must_use]
    pub const fn reordered(&self) -> u64 {
        self.reordered
    }

    /// The farthest that one of them came late, in numbers.
    #[must_use]
    pub const fn extent(&self) -> u64 {
        self.extent
    }

    /// Numbers below the highest seen and not seen themselves: lost, or still on their way.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.next - self.received
    }

    /// Numbers not seen of `sent`. `None`: more was seen than was sent.
    #[must_use]
    pub const fn lost(&self, sent: u64) -> Option<u64> {
        if self.next > sent { None } else { Some(sent - self.received) }
    }
}

impl Chunk {
    /// Sets a bit. `false`: it was set.
    fn set(&mut self, at: u64) -> bool {
        let Self::Part { bits, set } = self else { return false };
        let word = usize::try_from(at / 64).ok().and_then(|at| bits.get_mut(at));
        let Some(word) = word.filter(|word| **word >> (at % 64) & 1 == 0) else { return false };
        *word |= 1 << (at % 64);
        *set += 1;
        if *set == CHUNK {
            *self = Self::Full;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All arrivals, looked through anew.
    fn twin(arrivals: &[u64]) -> (u64, u64, u64, u64, u64) {
        let (mut received, mut duplicated, mut reordered, mut extent) = (0, 0, 0, 0);
        for (at, sequence) in arrivals.iter().enumerate() {
            let before = &arrivals[..at];
            if before.contains(sequence) {
                duplicated += 1;
                continue;
            }
            received += 1;
            if let Some(highest) = before.iter().max().filter(|highest| *highest > sequence) {
                reordered += 1;
                extent = extent.max(highest - sequence);
            }
        }
        let span = arrivals.iter().max().map_or(0, |highest| highest + 1);
        (received, duplicated, reordered, extent, span - received)
    }

    proptest! {
        #[test]
        fn equals_the_twin(
            arrivals in proptest::collection::vec(prop_oneof![0u64..60, CHUNK - 20..CHUNK + 20], 0..150),
        ) {
            let mut tracker = Tracker::default();
            for sequence in &arrivals {
                tracker.arrive(*sequence);
            }
            let found = (
                tracker.received(), tracker.duplicated(), tracker.reordered(), tracker.extent(), tracker.missing(),
            );
            prop_assert_eq!(found, twin(&arrivals));
        }
    }

    #[test]
    fn a_full_chunk_is_forgotten_but_knows_its_duplicates() {
        let mut tracker = Tracker::default();
        for sequence in 0..CHUNK + 5 {
            assert_eq!(tracker.arrive(sequence), Arrival::InOrder);
        }
        assert!(matches!(tracker.chunks[&0], Chunk::Full));
        assert_eq!(tracker.arrive(17), Arrival::Again);
        assert_eq!((tracker.missing(), tracker.duplicated()), (0, 1));
        assert_eq!(tracker.lost(CHUNK + 8), Some(3));
        assert_eq!(tracker.lost(CHUNK), None);
    }

    #[test]
    fn a_far_jump_takes_one_chunk() {
        let mut tracker = Tracker::default();
        tracker.arrive(0);
        tracker.arrive(crate::payload::SEQUENCE_END - 1);
        assert_eq!(tracker.chunks.len(), 2);
        assert_eq!(tracker.missing(), crate::payload::SEQUENCE_END - 2);
    }
}
