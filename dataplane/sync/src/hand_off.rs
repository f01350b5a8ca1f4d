//! Rings between two threads, one for each direction and class, moved in bursts.

use crate::waker::Waker;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;

/// The sending end.
#[derive(Debug)]
pub struct Sender<T> {
    ring: Producer<T>,
    waker: Waker,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver<T> {
    ring: Consumer<T>,
}

/// A ring for `capacity` items, whose receiver is woken by `waker`.
#[must_use]
pub fn ring<T>(capacity: usize, waker: Waker) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = RingBuffer::new(capacity);
    (Sender { ring: producer, waker }, Receiver { ring: consumer })
}

impl<T> Sender<T> {
    /// Takes items from the front of `items`, in order, as many as there is room for, and wakes the receiver if it
    /// sleeps. What stays in `items` did not fit. Never waits.
    pub fn push(&mut self, items: &mut VecDeque<T>) -> usize {
        let count = self.ring.slots().min(items.len());
        if count == 0 {
            return 0;
        }
        let Ok(chunk) = self.ring.write_chunk_uninit(count) else { return 0 };
        let pushed = chunk.fill_from_iter(items.drain(..count));
        self.waker.wake();
        pushed
    }

    /// Sends one item and wakes the receiver if it sleeps.
    ///
    /// # Errors
    /// The item, if there is no room.
    pub fn push_one(&mut self, item: T) -> Result<(), T> {
        self.ring.push(item).map_err(|rtrb::PushError::Full(item)| item)?;
        self.waker.wake();
        Ok(())
    }

    /// Room for this many more.
    #[must_use]
    pub fn room(&self) -> usize {
        self.ring.slots()
    }
}

impl<T> Receiver<T> {
    /// Hands at most `limit` items to `take`, oldest first. Returns how many.
    pub fn pop(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        let count = self.ring.slots().min(limit);
        let Ok(chunk) = self.ring.read_chunk(count) else { return 0 };
        chunk.into_iter().for_each(take);
        count
    }

    /// How much of the ring waits, in eighths.
    #[must_use]
    pub fn backlog(&self) -> u8 {
        let capacity = self.ring.buffer().capacity().max(1);
        u8::try_from(8 * self.ring.slots() / capacity).unwrap_or(8)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_stays_with_the_sender() {
        let (mut sender, mut receiver) = ring(4, Waker::none());
        let mut items: VecDeque<u32> = (0..6).collect();
        assert_eq!((sender.push(&mut items), sender.room()), (4, 0));
        assert_eq!((items.len(), sender.push_one(9)), (2, Err(9)));
        assert_eq!(receiver.backlog(), 8);
        let mut seen = Vec::new();
        assert_eq!(receiver.pop(3, |item| seen.push(item)), 3);
        assert_eq!(receiver.backlog(), 2);
        assert_eq!(sender.push(&mut items), 2);
        receiver.pop(64, |item| seen.push(item));
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
        assert!(receiver.is_empty());
    }
}
