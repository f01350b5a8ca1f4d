//! Where each counter lives in a worker's bank, and the face the engine counts through.
//!
//! A bank is a flat array of u64, one per worker, in shared memory. Readers sum the banks. Counters only grow;
//! an id that is given to something new is zeroed first (no worker uses it then).
//!
//! ```text
//! | worker (32) | port 0: 16 + drops | port 1 … | vif 0: 8 | vif 1 … | lease of vif 0: 24 | … | vswitch 0 drops | … |
//! ```

use crate::protocol::API_VERSION;
use crate::{DropReason, PortId, VifId, VswitchId};

/// Named counters of a worker itself; indices from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum WorkerCounter {
    /// Rounds of the loop.
    Rounds,
    /// Rounds that moved nothing.
    IdleRounds,
    /// Times it went to sleep in poll(2).
    Sleeps,
    /// Packets handed to another worker.
    HandedOff,
    /// Packets taken over from another worker.
    TakenOver,
    /// Packets handed to the slow path.
    Punted,
    /// Packets put in by the slow path.
    Injected,
    /// Frames on the worker's free list now (a gauge).
    FramesFree,
    /// Frames in its queues now (a gauge).
    FramesQueued,
    /// Generation of the rules in use (a gauge).
    Generation,
    /// Tap records lost because their ring was full.
    TapLost,
}

/// Named counters of a port, per worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum PortCounter {
    /// Frames received.
    RxFrames,
    /// Their bytes, from the destination MAC on, without FCS.
    RxBytes,
    /// Frames given to the NIC or kernel.
    TxFrames,
    /// Their bytes.
    TxBytes,
    /// System calls to send.
    TxKicks,
    /// Frames sent but not completed yet (a gauge).
    TxPending,
    /// Frames for the slow path that came in here.
    Punted,
    /// Kernel: frames dropped for want of a fill entry, or too long (`rx_dropped`).
    KernelRxDropped,
    /// Kernel: frames dropped because the RX ring was full.
    KernelRxRingFull,
    /// Kernel: receive descriptors that were invalid.
    KernelRxInvalid,
    /// Kernel: transmit descriptors that were invalid.
    KernelTxInvalid,
    /// Kernel: times the fill ring was found empty; never to be added to the drops.
    KernelFillEmpty,
}

/// Counters of a vif, per worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum VifCounter {
    /// Packets received on its link.
    RxPackets,
    /// Their bytes, frame included.
    RxBytes,
    /// Packets sent on its link.
    TxPackets,
    /// Their bytes, frame included.
    TxBytes,
    /// Received packets that were authentic and new.
    Opened,
    /// Received packets whose number was seen before, or is too old to tell.
    Replayed,
    /// Numbers that had not come when a higher one came.
    Skipped,
    /// Of those, the ones that came after all: the others are lost.
    Late,
}

/// Counters of what leaves by a vif while it is leased, per worker. Bytes are those of wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum LeaseCounter {
    /// Packets in profile that left.
    GuaranteedPackets,
    /// Their bytes.
    GuaranteedBytes,
    /// Packets above the guarantee that left by weight.
    PriorityPackets,
    /// Their bytes.
    PriorityBytes,
    /// Packets without a claim that left.
    FreePackets,
    /// Their bytes.
    FreeBytes,
    /// Packets dropped above the lease's ceiling.
    AboveCeilingPackets,
    /// Their bytes.
    AboveCeilingBytes,
    /// Packets dropped because there was no room for their class.
    NoRoomPackets,
    /// Their bytes.
    NoRoomBytes,
    /// Packets in profile or above it by how long they waited; the first of [`DELAY_BUCKETS`].
    Delays,
}

/// Parts of a lease's delays: the first is up to [`DELAY_FIRST`], each next one up to four times as much as the one
/// before, the last is all beyond.
pub const DELAY_BUCKETS: usize = 8;
/// Bound of the first part of delays, ns: 8.192 µs.
pub const DELAY_FIRST: u64 = 1 << 13;

/// The part of a delay, ns.
#[inline]
#[must_use]
pub const fn delay_bucket(delay: u64) -> usize {
    let bits = (u64::BITS - (delay / DELAY_FIRST).leading_zeros()) as usize;
    let bucket = bits.div_ceil(2);
    if bucket < DELAY_BUCKETS { bucket } else { DELAY_BUCKETS - 1 }
}

/// Slots of a vif's lease: whole cache lines.
pub const LEASE_SLOTS: usize =
    (LeaseCounter::Delays as usize + DELAY_BUCKETS).next_multiple_of(VIF_SLOTS);
/// Slots kept for [`WorkerCounter`].
pub const WORKER_SLOTS: usize = 32;
/// Slots kept for [`PortCounter`], before the port's drops.
pub const PORT_SLOTS: usize = 16;
/// Slots of a vif: a cache line.
pub const VIF_SLOTS: usize = 8;
/// Slots for one drop array, padded to whole cache lines.
pub const DROP_SLOTS: usize = DropReason::COUNT.next_multiple_of(8);

/// Sizes of the parts of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Ports of the process.
    pub ports: usize,
    /// Vif ids there is room for.
    pub vifs: usize,
    /// Vswitch ids there is room for.
    pub vswitches: usize,
}

impl Layout {
    /// Slots of one bank.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.vswitches_start() + self.vswitches * DROP_SLOTS
    }

    /// Never: a bank always has the worker's own slots.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    const fn vifs_start(&self) -> usize {
        WORKER_SLOTS + self.ports * (PORT_SLOTS + DROP_SLOTS)
    }

    const fn leases_start(&self) -> usize {
        self.vifs_start() + self.vifs * VIF_SLOTS
    }

    const fn vswitches_start(&self) -> usize {
        self.leases_start() + self.vifs * LEASE_SLOTS
    }

    /// Slot of a worker counter.
    #[must_use]
    pub const fn worker(&self, counter: WorkerCounter) -> usize {
        counter as usize
    }

    /// Slot of a port counter.
    #[must_use]
    pub const fn port(&self, port: PortId, counter: PortCounter) -> usize {
        WORKER_SLOTS + port.index() * (PORT_SLOTS + DROP_SLOTS) + counter as usize
    }

    /// Slot of a drop that is charged to a port: the packet's vswitch was not known (yet).
    #[must_use]
    pub const fn port_drop(&self, port: PortId, reason: DropReason) -> usize {
        WORKER_SLOTS + port.index() * (PORT_SLOTS + DROP_SLOTS) + PORT_SLOTS + reason as usize
    }

    /// First of the [`VIF_SLOTS`] slots of a vif.
    #[must_use]
    pub const fn vif(&self, vif: VifId) -> usize {
        self.vifs_start() + vif.index() * VIF_SLOTS
    }

    /// First of the [`LEASE_SLOTS`] slots of a vif's lease.
    #[must_use]
    pub const fn lease(&self, vif: VifId) -> usize {
        self.leases_start() + vif.index() * LEASE_SLOTS
    }

    /// Slot of a drop that is charged to a vswitch.
    #[must_use]
    pub const fn vswitch_drop(&self, vswitch: VswitchId, reason: DropReason) -> usize {
        self.vswitches_start() + vswitch.index() * DROP_SLOTS + reason as usize
    }
}

/// The head of the file of shared counters. The banks follow, one a worker and then the slow path's, each from a
/// multiple of 8 words on.
///
/// ```text
/// | magic | API version | ports | vifs | vswitches | banks | workers | pid | bank 0 | bank 1 | … |
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterFileHead {
    /// Sizes of a bank's parts.
    pub layout: Layout,
    /// Banks.
    pub banks: usize,
    /// Workers.
    pub workers: usize,
    /// The process that counts.
    pub pid: u32,
}

impl CounterFileHead {
    const MAGIC: u64 = u64::from_le_bytes(*b"SWYDCNT\0");
    /// Words of the head.
    pub const WORDS: usize = 8;
    /// More of anything is no head of ours, and would make sums of sizes overflow.
    const COUNT_MAX: usize = 1 << 20;

    /// As words; who writes them writes the first one last.
    #[must_use]
    pub fn encode(&self) -> [u64; Self::WORDS] {
        let Layout { ports, vifs, vswitches } = self.layout;
        [
            Self::MAGIC,
            API_VERSION.into(),
            ports as u64,
            vifs as u64,
            vswitches as u64,
            self.banks as u64,
            self.workers as u64,
            self.pid.into(),
        ]
    }

    /// From the file's first words; `None` if they are not of a dataplane of this version.
    #[must_use]
    pub fn decode(words: [u64; Self::WORDS]) -> Option<Self> {
        let [magic, version, ports, vifs, vswitches, banks, workers, pid] = words;
        if magic != Self::MAGIC || version != u64::from(API_VERSION) || workers > banks {
            return None;
        }
        let count = |word| usize::try_from(word).ok().filter(|count| *count <= Self::COUNT_MAX);
        let layout =
            Layout { ports: count(ports)?, vifs: count(vifs)?, vswitches: count(vswitches)? };
        let (banks, workers) = (count(banks)?, count(workers)?);
        Some(Self { layout, banks, workers, pid: u32::try_from(pid).ok()? })
    }

    /// Words of the whole file.
    #[must_use]
    pub const fn words(&self) -> usize {
        self.bank(self.banks)
    }

    /// First word of a bank.
    #[must_use]
    pub const fn bank(&self, bank: usize) -> usize {
        Self::WORDS + bank * self.layout.len().next_multiple_of(8)
    }
}

/// One worker's counters, as the engine sees them: a plain add.
pub trait Bank {
    /// Adds `n` to a slot. An index beyond the bank is a bug and may panic.
    fn add(&mut self, slot: usize, n: u64);

    /// Adds to a slot and the one after it: packets and bytes, on the packet path.
    fn add_pair(&mut self, slot: usize, first: u64, second: u64);
}

impl Bank for Vec<u64> {
    #[inline]
    fn add(&mut self, slot: usize, n: u64) {
        self[slot] += n;
    }

    #[inline]
    fn add_pair(&mut self, slot: usize, first: u64, second: u64) {
        if let Some([a, b]) = self.get_mut(slot..).and_then(<[u64]>::first_chunk_mut) {
            *a += first;
            *b += second;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_in_the_part_whose_bound_it_keeps() {
        let bound = |bucket: u32| DELAY_FIRST << (2 * bucket);
        for bucket in 0..7 {
            assert_eq!(delay_bucket(bound(bucket) - 1), bucket as usize);
            assert_eq!(delay_bucket(bound(bucket)), bucket as usize + 1);
        }
        assert_eq!(delay_bucket(u64::MAX), DELAY_BUCKETS - 1);
    }

    #[test]
    fn a_head_is_read_back_and_one_that_lies_is_not() {
        let layout = Layout { ports: 2, vifs: 5, vswitches: 3 };
        let head = CounterFileHead { layout, banks: 3, workers: 2, pid: 77 };
        let words = head.encode();
        assert_eq!(CounterFileHead::decode(words), Some(head));
        assert_eq!(head.words(), head.bank(2) + layout.len().next_multiple_of(8));
        for (index, lie) in [(0, 1), (1, 0), (2, u64::MAX), (4, 1 << 21), (5, 1), (7, 1 << 40)] {
            let mut words = words;
            words[index] = lie;
            assert_eq!(CounterFileHead::decode(words), None, "{index}");
        }
    }

    #[test]
    fn parts_of_a_bank_do_not_overlap() {
        let layout = Layout { ports: 2, vifs: 3, vswitches: 2 };
        let last_port_drop = layout.port_drop(PortId(1), DropReason::Stopping);
        assert!(
            layout.port(PortId(1), PortCounter::KernelFillEmpty)
                < layout.port_drop(PortId(1), DropReason::Runt)
        );
        assert!(last_port_drop < layout.vif(VifId(0)));
        assert_eq!(layout.vif(VifId(0)) % VIF_SLOTS, 0);
        assert!(
            layout.lease(VifId(2)) + LEASE_SLOTS
                <= layout.vswitch_drop(VswitchId(0), DropReason::Runt)
        );
        assert_eq!(layout.vif(VifId(2)) + VIF_SLOTS, layout.lease(VifId(0)));
        assert!(layout.vswitch_drop(VswitchId(1), DropReason::Stopping) < layout.len());
    }
}
