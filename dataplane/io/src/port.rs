//! What a worker sees of a queue of a network device.

use crate::af_packet::AfPacket;
use crate::af_xdp::AfXdp;
use crate::frame::{Frame, Pool};
use crate::memory::MemoryPort;
use crate::pcap::PcapPort;
use arrayvec::ArrayVec;
use std::os::fd::BorrowedFd;

/// Frames that move together; the same type as the pipeline's.
pub type Burst<F> = ArrayVec<F, 64>;

/// One (device, queue), owned by one worker.
///
/// Frames are conserved: every frame taken from a pool is in the burst, in a ring, or back in a pool.
pub trait Port<'m> {
    /// Appends received frames to `burst`, as many as it has room for, and refills the fill ring from `pool`. Returns
    /// how many came.
    fn receive(&mut self, pool: &mut Pool<'m>, burst: &mut Burst<Frame<'m>>) -> usize;

    /// How much waits to be received, of what can: in eighths, rounded down; below 7, of 4096 frames if more can wait. 0
    /// where it cannot be told.
    fn backlog(&self) -> u8 {
        0
    }

    /// Frames that [`Self::transmit`] would take now.
    fn room(&self) -> usize;

    /// Takes frames from the front of `burst`, in order, as many as there is room for; the rest stays. Returns how
    /// many it took. They leave at the latest with the next [`Self::flush`].
    fn transmit(&mut self, burst: &mut Burst<Frame<'m>>) -> usize;

    /// The system call, where one is due. Never waits.
    fn flush(&mut self);

    /// Puts frames that have left back into `pool`. Returns how many.
    fn reclaim(&mut self, pool: &mut Pool<'m>) -> usize;

    /// Frames given to [`Self::transmit`] and not yet reclaimed.
    fn pending(&self) -> usize;

    /// Of those, frames that nobody but us has looked at: lost if the port goes now.
    fn unsent(&self) -> usize {
        0
    }

    /// What to wait on in poll(2) for received frames; `None` where there is nothing to wait on.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// What the kernel and the port counted since they were opened.
    fn statistics(&self) -> PortStatistics;
}

/// Counts of a port, cumulative. Dropped frames are `rx_dropped + rx_ring_full`; `fill_empty` counts occasions, some
/// of which are in `rx_dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStatistics {
    /// Frames the kernel dropped: no fill entry, or too long for a chunk.
    pub rx_dropped: u64,
    /// Frames the kernel dropped: RX ring full.
    pub rx_ring_full: u64,
    /// Receive descriptors that were refused, by the kernel or by us.
    pub rx_invalid: u64,
    /// Transmit descriptors that the kernel refused.
    pub tx_invalid: u64,
    /// Times the kernel found the fill ring empty.
    pub fill_empty: u64,
    /// Frames that the XDP program dropped, because too many waited.
    pub shed: u64,
    /// System calls to send.
    pub kicks: u64,
    /// Of those, calls that failed because the device or its peer is down or refuses the frame.
    pub kicks_refused: u64,
}

/// A port of any back end; static dispatch by match.
#[expect(
    clippy::large_enum_variant,
    reason = "a handful exist, and each is reached without another load"
)]
#[derive(Debug)]
pub enum AnyPort<'m> {
    /// AF_XDP.
    AfXdp(AfXdp<'m>),
    /// AF_PACKET.
    AfPacket(AfPacket<'m>),
    /// A ring in this process.
    Memory(MemoryPort<'m>),
    /// Recordings.
    Pcap(PcapPort<'m>),
}

macro_rules! dispatch {
    ($self:ident, $port:ident => $call:expr) => {
        match $self {
            Self::AfXdp($port) => $call,
            Self::AfPacket($port) => $call,
            Self::Memory($port) => $call,
            Self::Pcap($port) => $call,
        }
    };
}

impl<'m> Port<'m> for AnyPort<'m> {
    #[inline]
    fn receive(&mut self, pool: &mut Pool<'m>, burst: &mut Burst<Frame<'m>>) -> usize {
        dispatch!(self, port => port.receive(pool, burst))
    }
    #[inline]
    fn backlog(&self) -> u8 {
        dispatch!(self, port => port.backlog())
    }
    #[inline]
    fn room(&self) -> usize {
        dispatch!(self, port => port.room())
    }
    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Frame<'m>>) -> usize {
        dispatch!(self, port => port.transmit(burst))
    }
    #[inline]
    fn flush(&mut self) {
        dispatch!(self, port => port.flush());
    }
    #[inline]
    fn reclaim(&mut self, pool: &mut Pool<'m>) -> usize {
        dispatch!(self, port => port.reclaim(pool))
    }
    #[inline]
    fn pending(&self) -> usize {
        dispatch!(self, port => port.pending())
    }
    fn unsent(&self) -> usize {
        dispatch!(self, port => port.unsent())
    }
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        dispatch!(self, port => port.fd())
    }
    fn statistics(&self) -> PortStatistics {
        dispatch!(self, port => port.statistics())
    }
}
