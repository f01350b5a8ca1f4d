//! A calendar queue: what is due first leaves first, whatever order it came in.

use super::Queued;
use super::slab::{List, Slab};

/// Levels of 64 bits each: a set bit says that something below it is not empty.
#[derive(Debug)]
struct Bits {
    slots: Box<[u64]>,
    words: Box<[u64]>,
    top: u64,
}

impl Bits {
    fn new(slots: usize) -> Self {
        let words = slots.div_ceil(64);
        Self { slots: vec![0; words].into(), words: vec![0; words.div_ceil(64)].into(), top: 0 }
    }

    #[inline]
    fn set(&mut self, slot: usize) {
        if let Some(bits) = self.slots.get_mut(slot >> 6) {
            *bits |= 1 << (slot & 63);
        }
        if let Some(bits) = self.words.get_mut(slot >> 12) {
            *bits |= 1 << (slot >> 6 & 63);
        }
        self.top |= 1 << (slot >> 12);
    }

    #[inline]
    fn clear(&mut self, slot: usize) {
        let Some(bits) = self.slots.get_mut(slot >> 6) else { return };
        *bits &= !(1 << (slot & 63));
        if *bits != 0 {
            return;
        }
        let Some(bits) = self.words.get_mut(slot >> 12) else { return };
        *bits &= !(1 << (slot >> 6 & 63));
        if *bits == 0 {
            self.top &= !(1 << (slot >> 12));
        }
    }

    /// The first set slot from `slot` on, not around the end.
    #[inline]
    fn next(&self, slot: usize) -> Option<usize> {
        let (word, group) = (slot >> 6, slot >> 12);
        let found = *self.slots.get(word)? & (u64::MAX << (slot & 63));
        if found != 0 {
            return Some(word << 6 | found.trailing_zeros() as usize);
        }
        let found = *self.words.get(group)? & above(word & 63);
        if found != 0 {
            return self.first_of(group << 6 | found.trailing_zeros() as usize);
        }
        let found = self.top & above(group);
        if found == 0 {
            return None;
        }
        let group = found.trailing_zeros() as usize;
        self.first_of(group << 6 | self.words.get(group)?.trailing_zeros() as usize)
    }

    #[inline]
    fn first_of(&self, word: usize) -> Option<usize> {
        Some(word << 6 | self.slots.get(word)?.trailing_zeros() as usize)
    }
}

/// The bits above `bit` of a word.
#[inline]
fn above(bit: usize) -> u64 {
    (u64::MAX << bit) << 1
}

/// A ring of slots, each a FIFO. Slots are numbered without end; at any time those in use span less than the ring.
#[derive(Debug)]
pub(super) struct Calendar {
    lists: Box<[List]>,
    bits: Bits,
    mask: u64,
    /// The first slot that is not empty, and the last that was not; meant while `len` is not 0.
    first: u64,
    last: u64,
    len: usize,
    /// Bytes of wire.
    bytes: u64,
}

impl Calendar {
    /// `slots`: a power of two, at most 2¹⁸.
    pub(super) fn new(slots: usize) -> Self {
        let slots = slots.next_power_of_two().min(1 << 18);
        let mask = slots as u64 - 1;
        let lists = vec![0; slots].into();
        Self { lists, bits: Bits::new(slots), mask, first: 0, last: 0, len: 0, bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The slot whose turn it is.
    pub(super) fn first(&self) -> Option<u64> {
        (self.len > 0).then_some(self.first)
    }

    #[inline]
    fn index(&self, slot: u64) -> usize {
        // At most 2¹⁸ are left.
        usize::try_from(slot & self.mask).unwrap_or(0)
    }

    /// Puts an item into `slot`; as near as the ring reaches, if that is farther away.
    ///
    /// # Errors
    /// The item, if there is no room in the slab.
    #[inline]
    pub(super) fn push<E: Queued>(
        &mut self,
        slab: &mut Slab<E>,
        slot: u64,
        item: E,
    ) -> Result<(), E> {
        let len = item.wire_len();
        let slot = if self.len == 0 {
            slot
        } else {
            slot.max(self.last.saturating_sub(self.mask)).min(self.first + self.mask)
        };
        let index = self.index(slot);
        let Some(list) = self.lists.get_mut(index) else { return Err(item) };
        slab.push(list, item)?;
        self.bits.set(index);
        if self.len == 0 {
            (self.first, self.last) = (slot, slot);
        } else {
            (self.first, self.last) = (self.first.min(slot), self.last.max(slot));
        }
        self.len += 1;
        self.bytes += u64::from(len);
        Ok(())
    }

    /// Unlinks the first item of the first slot: its number in the slab.
    #[inline]
    pub(super) fn pop<E: Queued>(&mut self, slab: &mut Slab<E>) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let slot = self.first;
        let index = self.index(slot);
        let list = self.lists.get_mut(index)?;
        let len = slab.first(*list)?.wire_len();
        let number = slab.unlink(list)?;
        self.len -= 1;
        self.bytes -= u64::from(len);
        if *list == 0 {
            self.bits.clear(index);
            if self.len > 0 {
                let next = self.bits.next(index).or_else(|| self.bits.next(0)).unwrap_or(index);
                let distance = (next as u64).wrapping_sub(index as u64) & self.mask;
                self.first = slot + distance;
            }
        }
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Queued for usize {
        fn wire_len(&self) -> u32 {
            1
        }

        fn vswitch(&self) -> u16 {
            0
        }
    }

    proptest! {
        #[test]
        fn slots_leave_in_order_and_each_first_in_first_out(
            steps in prop::collection::vec((any::<bool>(), 0_u64..3_000), 1..400),
            slots in prop::sample::select(vec![64_usize, 1 << 12, 1 << 13]),
        ) {
            let mut slab = Slab::new(128);
            let mut calendar = Calendar::new(slots);
            let mut twin: BTreeMap<u64, std::collections::VecDeque<usize>> = BTreeMap::new();
            // What is put in lies after what has left, as deadlines do.
            let mut floor = 1 << 40;
            for (number, (push, ahead)) in steps.into_iter().enumerate() {
                let waiting: usize = twin.values().map(std::collections::VecDeque::len).sum();
                if push && waiting < 128 {
                    let (first, last) = twin
                        .first_key_value()
                        .zip(twin.last_key_value())
                        .map_or((floor + ahead, floor + ahead), |(a, b)| (*a.0, *b.0));
                    let span = slots as u64 - 1;
                    let slot = (floor + ahead).max(last.saturating_sub(span)).min(first + span);
                    twin.entry(slot).or_default().push_back(number);
                    prop_assert!(calendar.push(&mut slab, floor + ahead, number).is_ok());
                } else if push {
                    prop_assert_eq!(calendar.push(&mut slab, floor, number), Err(number));
                } else {
                    let expected = twin.first_entry().map(|mut entry| {
                        let item = entry.get_mut().pop_front().unwrap();
                        let slot = *entry.key();
                        if entry.get().is_empty() {
                            entry.remove();
                        }
                        (slot, item)
                    });
                    let slot = calendar.first();
                    let number = calendar.pop(&mut slab);
                    prop_assert_eq!(slot.zip(number.and_then(|number| slab.take(number))), expected);
                    floor = expected.map_or(floor, |(slot, _)| slot);
                }
                prop_assert_eq!(calendar.first(), twin.keys().next().copied());
                prop_assert_eq!(calendar.bytes() as usize, slab.len());
            }
        }
    }
}
