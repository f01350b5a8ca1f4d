//! What nobody has a claim to, fair between vswitches: deficit round robin.

use super::Queued;
use super::slab::{List, Slab};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
struct Queue {
    list: List,
    bytes: u32,
    /// What it may send in this turn, bytes.
    deficit: u32,
}

/// A FIFO for each vswitch, served in turns.
#[derive(Debug)]
pub(super) struct Fair {
    queues: Box<[Queue]>,
    /// Those that are not empty, in their order of service.
    turns: VecDeque<u16>,
    bytes: u64,
    /// Bytes of a turn: at least the longest packet, or a turn could pass without one.
    quantum: u32,
}

impl Fair {
    /// For vswitches `0..vswitches`, at most 65 536.
    pub(super) fn new(vswitches: usize, quantum: u32) -> Self {
        let queue = Queue { list: 0, bytes: 0, deficit: 0 };
        Self {
            queues: vec![queue; vswitches].into(),
            turns: VecDeque::with_capacity(vswitches),
            bytes: 0,
            quantum: quantum.max(1),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of one vswitch.
    pub(super) fn bytes_of(&self, vswitch: u16) -> u64 {
        self.queues.get(usize::from(vswitch)).map_or(0, |queue| queue.bytes.into())
    }

    /// # Errors
    /// The item, if there is no room in the slab, or no such vswitch.
    pub(super) fn push<E: Queued>(&mut self, slab: &mut Slab<E>, item: E) -> Result<(), E> {
        let (vswitch, len) = (item.vswitch(), item.wire_len());
        let Some(queue) = self.queues.get_mut(usize::from(vswitch)) else { return Err(item) };
        let was_empty = queue.list == 0;
        slab.push(&mut queue.list, item)?;
        if was_empty {
            self.turns.push_back(vswitch);
        }
        queue.bytes += len;
        self.bytes += u64::from(len);
        Ok(())
    }

    /// Unlinks the item whose turn it is: its number in the slab.
    pub(super) fn pop<E: Queued>(&mut self, slab: &mut Slab<E>) -> Option<u32> {
        loop {
            let queue = self.queues.get_mut(usize::from(*self.turns.front()?))?;
            let len = slab.first(queue.list)?.wire_len();
            if queue.deficit < len {
                queue.deficit += self.quantum;
                self.turns.rotate_left(1);
                continue;
            }
            let number = slab.unlink(&mut queue.list)?;
            (queue.deficit, queue.bytes) = (queue.deficit - len, queue.bytes - len);
            self.bytes -= u64::from(len);
            if queue.list == 0 {
                queue.deficit = 0;
                self.turns.pop_front();
            }
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Queued for (u16, u32) {
        fn wire_len(&self) -> u32 {
            self.1
        }

        fn vswitch(&self) -> u16 {
            self.0
        }
    }

    #[test]
    fn each_vswitch_that_waits_gets_the_same_number_of_bytes() {
        const QUANTUM: u32 = 9_000;
        let mut slab = Slab::new(100_000);
        let mut fair = Fair::new(3, QUANTUM);
        // One with long packets, one with short ones, one with few.
        for (vswitch, len, count) in [(0, 9_000, 2_000), (1, 84, 90_000), (2, 1_500, 10)] {
            (0..count).for_each(|_| fair.push(&mut slab, (vswitch, len)).unwrap());
        }
        let mut sent = [0_u64; 3];
        while sent.iter().sum::<u64>() < 10_000_000 {
            let (vswitch, len) = fair.pop(&mut slab).and_then(|number| slab.take(number)).unwrap();
            sent[usize::from(vswitch)] += u64::from(len);
        }
        assert_eq!(sent[2], 15_000);
        assert!(sent[0].abs_diff(sent[1]) <= u64::from(2 * QUANTUM), "{sent:?}");
    }

    #[test]
    fn bytes_are_those_that_wait() {
        let (mut slab, mut fair) = (Slab::new(2), Fair::new(1, 100));
        assert_eq!(fair.push(&mut slab, (1, 10)), Err((1, 10)));
        fair.push(&mut slab, (0, 10)).unwrap();
        fair.push(&mut slab, (0, 20)).unwrap();
        assert_eq!((fair.push(&mut slab, (0, 1)), fair.bytes_of(0)), (Err((0, 1)), 30));
        let pop = |fair: &mut Fair, slab: &mut Slab<_>| {
            fair.pop(slab).and_then(|number| slab.take(number))
        };
        assert_eq!(pop(&mut fair, &mut slab), Some((0, 10)));
        assert_eq!((fair.bytes(), fair.is_empty()), (20, false));
        assert_eq!(pop(&mut fair, &mut slab), Some((0, 20)));
        assert_eq!(pop(&mut fair, &mut slab), None);
        assert!(fair.is_empty());
    }
}
