//! The shared counters: a file of words that the workers count in and anybody may map.

use dataplane_api::counters::{CounterFileHead, LEASE_SLOTS, Layout, VIF_SLOTS, VifCounter};
use dataplane_api::{DropReason, VifId, VswitchId};
use io::IoError;
use io::shm::SharedWords;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The process' side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedCounters {
    words: &'static [AtomicU64],
    head: CounterFileHead,
}

impl SharedCounters {
    /// Makes the file; `workers` banks and the slow path's. It is mapped until the process ends.
    ///
    /// # Errors
    /// [`IoError`].
    pub(crate) fn create(path: &Path, layout: Layout, workers: usize) -> Result<Self, IoError> {
        let pid = std::process::id();
        let head = CounterFileHead { layout, banks: workers + 1, workers, pid };
        let file = SharedWords::create(path, head.words())?;
        let words = Box::leak(Box::new(file)).words();
        let encoded = head.encode();
        for (word, value) in words.iter().zip(encoded).skip(1) {
            word.store(value, Ordering::Relaxed);
        }
        // Last, so that who sees it finds the rest.
        words[0].store(encoded[0], Ordering::Release);
        Ok(Self { words, head })
    }

    /// A counter of a vif, over all banks.
    pub(crate) fn vif(&self, vif: VifId, counter: VifCounter) -> u64 {
        let slot = self.head.layout.vif(vif) + counter as usize;
        (0..self.head.banks).map(|bank| self.bank(bank)[slot].load(Ordering::Relaxed)).sum()
    }

    /// The counters of a vif's lease over all banks, from [`LeaseCounter`](dataplane_api::counters::LeaseCounter)'s first
    /// on.
    pub(crate) fn lease(&self, vif: VifId) -> [u64; LEASE_SLOTS] {
        let first = self.head.layout.lease(vif);
        let sum = |slot: usize| -> u64 {
            (0..self.head.banks).map(|bank| self.bank(bank)[slot].load(Ordering::Relaxed)).sum()
        };
        std::array::from_fn(|slot| sum(first + slot))
    }

    /// The words of one bank, for its one writer.
    pub(crate) fn bank(&self, bank: usize) -> &'static [AtomicU64] {
        &self.words[self.head.bank(bank)..][..self.head.layout.len()]
    }

    /// Sets the counters of new ids to 0 in all banks; no worker uses them yet.
    pub(crate) fn zero(&self, vswitches: &[VswitchId], vifs: &[VifId]) {
        for bank in 0..self.head.banks {
            let bank = self.bank(bank);
            for vif in vifs {
                let own = &bank[self.head.layout.vif(*vif)..][..VIF_SLOTS];
                let lease = &bank[self.head.layout.lease(*vif)..][..LEASE_SLOTS];
                for word in own.iter().chain(lease) {
                    word.store(0, Ordering::Relaxed);
                }
            }
            for vswitch in vswitches {
                for reason in DropReason::ALL {
                    bank[self.head.layout.vswitch_drop(*vswitch, *reason)]
                        .store(0, Ordering::Relaxed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::counters::{Bank as _, PORT_SLOTS, PortCounter, WorkerCounter};
    use dataplane_api::{PortId, WorkerId};
    use dataplane_client::CounterFile;

    const LAYOUT: Layout = Layout { ports: 2, vifs: 5, vswitches: 3 };

    #[test]
    fn what_workers_count_is_read_and_summed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        let shared = SharedCounters::create(&path, LAYOUT, 2).unwrap();
        let mut banks: Vec<_> =
            (0..3).map(|bank| sync::counters::Bank::new(shared.bank(bank))).collect();
        for (n, bank) in (1..).zip(&mut banks) {
            bank.add(LAYOUT.port(PortId(1), PortCounter::RxFrames), n);
            bank.add(LAYOUT.vswitch_drop(VswitchId(2), DropReason::Policy), 10 * n);
            bank.add(LAYOUT.vif(VifId(4)), n);
            bank.add(LAYOUT.worker(WorkerCounter::Rounds), 100 * n);
        }
        let file = CounterFile::open(&path).unwrap();
        assert_eq!((file.layout(), file.banks(), file.workers()), (LAYOUT, 3, 2));
        assert_eq!(file.port(PortId(1), PortCounter::RxFrames), 6);
        assert_eq!(file.port_slots(PortId(0)), [0; PORT_SLOTS]);
        assert_eq!(file.vswitch_drops(VswitchId(2))[DropReason::Policy as usize], 60);
        assert_eq!(file.all_drops().iter().sum::<u64>(), 60);
        assert_eq!(file.worker(WorkerId(1), WorkerCounter::Rounds), 200);
        shared.zero(&[VswitchId(2)], &[VifId(4)]);
        assert_eq!(
            (file.vif(VifId(4), VifCounter::RxPackets), file.all_drops().iter().sum::<u64>()),
            (0, 0)
        );
        assert_eq!(file.port(PortId(1), PortCounter::RxFrames), 6);
    }
}
