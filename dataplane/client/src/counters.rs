//! The shared counters, mapped to be read.

use dataplane_api::counters::{
    CounterFileHead, Layout, PORT_SLOTS, PortCounter, VifCounter, WORKER_SLOTS, WorkerCounter,
};
use dataplane_api::protocol::API_VERSION;
use dataplane_api::{DropReason, PortId, VifId, VswitchId, WorkerId};
use io::IoError;
use io::shm::SharedWordsView;
use std::path::Path;

/// Counters of some process, mapped to be read.
#[derive(Debug)]
pub struct CounterFile {
    view: SharedWordsView,
    head: CounterFileHead,
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
        let words = std::array::from_fn(|index| view.load(index).unwrap_or(0));
        let head = CounterFileHead::decode(words).ok_or_else(foreign)?;
        if view.len() != head.words() {
            return Err(foreign());
        }
        Ok(Self { view, head })
    }

    /// Sizes of a bank's parts.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.head.layout
    }

    /// Banks: one for each worker, then the slow path's.
    #[must_use]
    pub fn banks(&self) -> usize {
        self.head.banks
    }

    /// Workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.head.workers
    }

    /// One counter of one bank; 0 beyond it.
    #[must_use]
    pub fn read(&self, bank: usize, slot: usize) -> u64 {
        if bank >= self.head.banks || slot >= self.head.layout.len() {
            return 0;
        }
        self.view.load(self.head.bank(bank) + slot).unwrap_or(0)
    }

    /// One counter over all banks.
    #[must_use]
    pub fn sum(&self, slot: usize) -> u64 {
        (0..self.head.banks).fold(0, |sum, bank| sum.wrapping_add(self.read(bank, slot)))
    }

    /// One counter of a port.
    #[must_use]
    pub fn port(&self, port: PortId, counter: PortCounter) -> u64 {
        self.sum(self.head.layout.port(port, counter))
    }

    /// All counters of a port, by [`PortCounter`].
    #[must_use]
    pub fn port_slots(&self, port: PortId) -> [u64; PORT_SLOTS] {
        let first = self.head.layout.port(port, PortCounter::RxFrames);
        std::array::from_fn(|slot| self.sum(first + slot))
    }

    /// Drops charged to a port.
    #[must_use]
    pub fn port_drops(&self, port: PortId) -> Drops {
        let first = self.head.layout.port_drop(port, DropReason::ALL[0]);
        std::array::from_fn(|reason| self.sum(first + reason))
    }

    /// Drops charged to a vswitch.
    #[must_use]
    pub fn vswitch_drops(&self, vswitch: VswitchId) -> Drops {
        let first = self.head.layout.vswitch_drop(vswitch, DropReason::ALL[0]);
        std::array::from_fn(|reason| self.sum(first + reason))
    }

    /// One counter of a vif.
    #[must_use]
    pub fn vif(&self, vif: VifId, counter: VifCounter) -> u64 {
        self.sum(self.head.layout.vif(vif) + counter as usize)
    }

    /// One counter of a worker.
    #[must_use]
    pub fn worker(&self, worker: WorkerId, counter: WorkerCounter) -> u64 {
        self.read(worker.index(), self.head.layout.worker(counter))
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
        let ids = |count: usize| 0..u16::try_from(count).unwrap_or(u16::MAX);
        ids(self.layout().ports).for_each(|port| merge(self.port_drops(PortId(port))));
        ids(self.layout().vswitches)
            .for_each(|vswitch| merge(self.vswitch_drops(VswitchId(vswitch))));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::shm::SharedWords;
    use std::sync::atomic::Ordering;

    #[test]
    fn another_file_is_no_counters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        for words in [0, 3, 8, 1000] {
            drop(SharedWords::create(&path, words.max(1)).unwrap());
            assert!(CounterFile::open(&path).is_err(), "{words}");
        }
        let layout = Layout { ports: 2, vifs: 5, vswitches: 3 };
        let head = CounterFileHead { layout, banks: 2, workers: 1, pid: 7 };
        let file = SharedWords::create(&path, head.words()).unwrap();
        for (word, value) in file.words().iter().zip(head.encode()) {
            word.store(value, Ordering::Relaxed);
        }
        assert_eq!(CounterFile::open(&path).unwrap().layout(), layout);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
        assert!(CounterFile::open(&path).is_err());
    }
}
