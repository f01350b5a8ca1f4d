//! A wire inside the process: what one end transmits, the other receives. For tests, benches and replay.

use crate::frame::{Frame, Pool};
use crate::port::{Burst, Port, PortStatistics};
use rtrb::{Consumer, Producer, RingBuffer};
use std::os::fd::BorrowedFd;

/// One end of the wire. Frames change owner with their packet: what one end sends, the other's pool gets.
#[derive(Debug)]
pub struct MemoryPort<'m> {
    tx: Producer<Frame<'m>>,
    rx: Consumer<Frame<'m>>,
}

/// Two ends, each able to hold `capacity` frames on their way to the other.
#[must_use]
pub fn wire<'m>(capacity: usize) -> (MemoryPort<'m>, MemoryPort<'m>) {
    let (left_tx, right_rx) = RingBuffer::new(capacity);
    let (right_tx, left_rx) = RingBuffer::new(capacity);
    (MemoryPort { tx: left_tx, rx: left_rx }, MemoryPort { tx: right_tx, rx: right_rx })
}

impl<'m> Port<'m> for MemoryPort<'m> {
    #[inline]
    fn receive(&mut self, _pool: &mut Pool<'m>, burst: &mut Burst<Frame<'m>>) -> usize {
        let count = self.rx.slots().min(burst.remaining_capacity());
        let Ok(chunk) = self.rx.read_chunk(count) else { return 0 };
        burst.extend(chunk);
        count
    }

    #[inline]
    fn backlog(&self) -> u8 {
        let capacity = self.rx.buffer().capacity().max(1);
        u8::try_from(8 * self.rx.slots() / capacity).unwrap_or(8)
    }

    #[inline]
    fn room(&self) -> usize {
        self.tx.slots()
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Frame<'m>>) -> usize {
        let count = self.tx.slots().min(burst.len());
        let Ok(chunk) = self.tx.write_chunk_uninit(count) else { return 0 };
        chunk.fill_from_iter(burst.drain(..count))
    }

    fn flush(&mut self) {}

    fn reclaim(&mut self, _pool: &mut Pool<'m>) -> usize {
        0
    }

    fn pending(&self) -> usize {
        0
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn statistics(&self) -> PortStatistics {
        PortStatistics::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Umem, UmemConfig};
    use wire::buf::Packet;

    #[test]
    fn frames_cross_in_order_and_none_is_lost() {
        let umem = Umem::new(UmemConfig::coloured(16)).unwrap();
        let mut pool = umem.frames().unwrap();
        let (mut left, mut right) = wire(4);
        let mut burst = Burst::new();
        for byte in 0..6 {
            let mut frame = pool.take().unwrap();
            assert!(frame.fill(&[byte; 60]));
            burst.push(frame);
        }
        assert_eq!((left.room(), left.transmit(&mut burst), burst.len()), (4, 4, 2));
        assert_eq!(left.transmit(&mut burst), 0);
        let mut received = Burst::new();
        assert_eq!(right.receive(&mut pool, &mut received), 4);
        assert!(received.iter().enumerate().all(|(at, frame)| usize::from(frame.bytes()[0]) == at));
        assert_eq!(pool.len() + burst.len() + received.len(), 16);
    }
}
