//! The shared counters: a file of words that the workers count in and anybody may map.
//!
//! ```text
//! | magic | API version | ports | vifs | vswitches | banks | workers | pid | bank 0 | bank 1 | … |
//! ```
//! One bank a worker, then one of the slow path. A bank starts at a multiple of 8 words.

use dataplane_api::counters::{
    LEASE_SLOTS, Layout, PORT_SLOTS, PortCounter, VIF_SLOTS, VifCounter, WORKER_SLOTS,
    WorkerCounter,
};
use dataplane_api::protocol::API_VERSION;
use dataplane_api::{DropReason, PortId, VifId, VswitchId, WorkerId};
use io::IoError;
use io::shm::{SharedWords, SharedWordsView};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u64 = u64::from_le_bytes(*b"SWYDCNT\0");
const HEADER_WORDS: usize = 8;

const fn bank_words(layout: Layout) -> usize {
    layout.len().next_multiple_of(8)
}

/// The process' side.
#[derive(Clone, Copy, Debug)]
pub struct SharedCounters {
    words: &'static [AtomicU64],
    layout: Layout,
    banks: usize,
}

impl SharedCounters {
    /// Makes the file; `workers` banks and the slow path's. It is mapped until the process ends.
    ///
    /// # Errors
    /// [`IoError`].
    pub fn create(path: &Path, layout: Layout, workers: usize) -> Result<Self, IoError> {
        let banks = workers + 1;
        let file = SharedWords::create(path, HEADER_WORDS + banks * bank_words(layout))?;
        let words = Box::leak(Box::new(file)).words();
        let header = [
            API_VERSION.into(),
            layout.ports as u64,
            layout.vifs as u64,
            layout.vswitches as u64,
            banks as u64,
            workers as u64,
            std::process::id().into(),
        ];
        for (word, value) in words[1..].iter().zip(header) {
            word.store(value, Ordering::Relaxed);
        }
        // Last, so that who sees it finds the rest.
        words[0].store(MAGIC, Ordering::Release);
        Ok(Self { words, layout, banks })
    }

    /// A counter of a vif, over all banks.
    pub(crate) fn vif(&self, vif: VifId, counter: VifCounter) -> u64 {
        let slot = self.layout.vif(vif) + counter as usize;
        (0..self.banks).map(|bank| self.bank(bank)[slot].load(Ordering::Relaxed)).sum()
    }

    /// The counters of a vif's lease over all banks, from [`LeaseCounter`](dataplane_api::counters::LeaseCounter)'s first
    /// on.
    pub(crate) fn lease(&self, vif: VifId) -> [u64; LEASE_SLOTS] {
        let first = self.layout.lease(vif);
        let sum = |slot: usize| -> u64 {
            (0..self.banks).map(|bank| self.bank(bank)[slot].load(Ordering::Relaxed)).sum()
        };
        std::array::from_fn(|slot| sum(first + slot))
    }

    /// The words of one bank, for its one writer.
    #[must_use]
    pub fn bank(&self, bank: usize) -> &'static [AtomicU64] {
        let len = bank_words(self.layout);
        &self.words[HEADER_WORDS + bank * len..][..self.layout.len()]
    }

    /// Sets the counters of new ids to 0 in all banks; no worker uses them yet.
    pub fn zero(&self, vswitches: &[VswitchId], vifs: &[VifId]) {
        for bank in 0..self.banks {
            let bank = self.bank(bank);
            for vif in vifs {
                let own = &bank[self.layout.vif(*vif)..][..VIF_SLOTS];
                let lease = &bank[self.layout.lease(*vif)..][..LEASE_SLOTS];
                for word in own.iter().chain(lease) {
                    word.store(0, Ordering::Relaxed);
                }
            }
            for vswitch in vswitches {
                for reason in DropReason::ALL {
                    bank[self.layout.vswitch_drop(*vswitch, *reason)].store(0, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Counters of some process, mapped to be read.
#[derive(Debug)]
pub struct CounterFile {
    view: SharedWordsView,
    layout: Layout,
    banks: usize,
    workers: usize,
}

/// A file that holds no counters.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// It cannot be mapped.
    #[error(transparent)]
    Map(#[from] IoError),
    /// It is not such a file, or one of another version.
    #[error("{path}: not the counters of a dataplane of version {API_VERSION} of the contract")]
    Foreign {
        /// Its path.
        path: String,
    },
}

/// Drops by reason, in counter order.
pub type Drops = [u64; DropReason::COUNT];

impl CounterFile {
    /// Maps the file that `Status::counters` names.
    ///
    /// # Errors
    /// [`CountersError`].
    pub fn open(path: &Path) -> Result<Self, CountersError> {
        let view = SharedWordsView::open(path)?;
        let foreign = || CountersError::Foreign { path: path.display().to_string() };
        let word = |index| view.load(index).and_then(|word| usize::try_from(word).ok());
        let header = (|| {
            if view.load(0)? != MAGIC || view.load(1)? != u64::from(API_VERSION) {
                return None;
            }
            let layout = Layout { ports: word(2)?, vifs: word(3)?, vswitches: word(4)? };
            Some((layout, word(5)?, word(6)?))
        })();
        let (layout, banks, workers) = header.ok_or_else(foreign)?;
        // A header that lies about sizes must not lead to a sum that overflows.
        let bounded =
            [layout.ports, layout.vifs, layout.vswitches, banks].iter().all(|n| *n <= 1 << 20);
        if !bounded || workers > banks || view.len() != HEADER_WORDS + banks * bank_words(layout) {
            return Err(foreign());
        }
        Ok(Self { view, layout, banks, workers })
    }

    /// Sizes of a bank's parts.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Banks: one for each worker, then the slow path's.
    #[must_use]
    pub fn banks(&self) -> usize {
        self.banks
    }

    /// Workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// One counter of one bank; 0 beyond it.
    #[must_use]
    pub fn read(&self, bank: usize, slot: usize) -> u64 {
        if bank >= self.banks || slot >= self.layout.len() {
            return 0;
        }
        self.view.load(HEADER_WORDS + bank * bank_words(self.layout) + slot).unwrap_or(0)
    }

    /// One counter over all banks.
    #[must_use]
    pub fn sum(&self, slot: usize) -> u64 {
        (0..self.banks).fold(0, |sum, bank| sum.wrapping_add(self.read(bank, slot)))
    }

    /// One counter of a port.
    #[must_use]
    pub fn port(&self, port: PortId, counter: PortCounter) -> u64 {
        self.sum(self.layout.port(port, counter))
    }

    /// All counters of a port, by [`PortCounter`].
    #[must_use]
    pub fn port_slots(&self, port: PortId) -> [u64; PORT_SLOTS] {
        let first = self.layout.port(port, PortCounter::RxFrames);
        std::array::from_fn(|slot| self.sum(first + slot))
    }

    /// Drops charged to a port.
    #[must_use]
    pub fn port_drops(&self, port: PortId) -> Drops {
        let first = self.layout.port_drop(port, DropReason::ALL[0]);
        std::array::from_fn(|reason| self.sum(first + reason))
    }

    /// Drops charged to a vswitch.
    #[must_use]
    pub fn vswitch_drops(&self, vswitch: VswitchId) -> Drops {
        let first = self.layout.vswitch_drop(vswitch, DropReason::ALL[0]);
        std::array::from_fn(|reason| self.sum(first + reason))
    }

    /// One counter of a vif.
    #[must_use]
    pub fn vif(&self, vif: VifId, counter: VifCounter) -> u64 {
        self.sum(self.layout.vif(vif) + counter as usize)
    }

    /// One counter of a worker.
    #[must_use]
    pub fn worker(&self, worker: WorkerId, counter: WorkerCounter) -> u64 {
        self.read(worker.index(), self.layout.worker(counter))
    }

    /// All counters of a worker, by [`WorkerCounter`].
    #[must_use]
    pub fn worker_slots(&self, worker: WorkerId) -> [u64; WORKER_SLOTS] {
        std::array::from_fn(|slot| self.read(worker.index(), slot))
    }

    /// Every drop that has a name, over ports and vswitches.
    #[must_use]
    pub fn all_drops(&self) -> Drops {
        let mut all = [0; DropReason::COUNT];
        let mut merge = |drops: Drops| all.iter_mut().zip(drops).for_each(|(sum, n)| *sum += n);
        (0..self.layout.ports).for_each(|port| merge(self.port_drops(crate::plan::port_id(port))));
        let vswitches = u16::try_from(self.layout.vswitches).unwrap_or(u16::MAX);
        (0..vswitches).for_each(|vswitch| merge(self.vswitch_drops(VswitchId(vswitch))));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::counters::Bank as _;

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

    #[test]
    fn another_file_is_no_counters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        for words in [0, 3, 8, 1000] {
            drop(SharedWords::create(&path, words.max(1)).unwrap());
            assert!(CounterFile::open(&path).is_err(), "{words}");
        }
        SharedCounters::create(&path, LAYOUT, 1).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
        assert!(CounterFile::open(&path).is_err());
    }
}
