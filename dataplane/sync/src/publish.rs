//! One immutable value, one publisher, a fixed set of readers.
//!
//! A reader looks once a burst: one load when nothing changed; when something did, one try-lock and one count of the
//! new value. It never waits. The publisher keeps every value until all readers have moved past it, so no reader ever
//! runs a destructor.

use crate::shim::{Arc, AtomicU64, Mutex, Ordering};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::fmt;

/// What a reader that has gone away uses.
const GONE: u64 = u64::MAX;

struct Shared<T> {
    /// Version in `slot`. Written after the slot, so that who sees it finds the value.
    latest: CachePadded<AtomicU64>,
    slot: Mutex<(u64, Arc<T>)>,
    /// Version that each reader uses.
    adopted: Box<[CachePadded<AtomicU64>]>,
}

/// Owns the value; on the management thread.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    version: u64,
    retired: VecDeque<(u64, Arc<T>)>,
}

/// One reader's handle.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    reader: usize,
    version: u64,
    current: Arc<T>,
}

/// Publishes `first` as version 1, which all `readers` use.
#[must_use]
pub fn publish<T>(first: T, readers: usize) -> (Publisher<T>, Vec<Reader<T>>) {
    let first = Arc::new(first);
    let shared = Arc::new(Shared {
        latest: CachePadded::new(AtomicU64::new(1)),
        slot: Mutex::new((1, Arc::clone(&first))),
        adopted: (0..readers).map(|_| CachePadded::new(AtomicU64::new(1))).collect(),
    });
    let reader = |reader| Reader {
        shared: Arc::clone(&shared),
        reader,
        version: 1,
        current: Arc::clone(&first),
    };
    let readers = (0..readers).map(reader).collect();
    // The publisher's own handle on the first value, so that it outlives every reader's.
    let retired = VecDeque::from([(1, first)]);
    (Publisher { shared, version: 1, retired }, readers)
}

impl<T> Publisher<T> {
    /// Makes `value` the current one; returns its version, one more than the last.
    pub fn store(&mut self, value: T) -> u64 {
        self.version += 1;
        let value = Arc::new(value);
        self.retired.push_back((self.version, Arc::clone(&value)));
        {
            #[expect(clippy::expect_used, reason = "nothing under this lock can panic")]
            let mut slot = self.shared.slot.lock().expect("publish slot poisoned");
            *slot = (self.version, value);
        }
        // Release: the slot was written first. Paired with the load in `refresh`.
        self.shared.latest.store(self.version, Ordering::Release);
        self.reclaim();
        self.version
    }

    /// Oldest version that any reader still uses.
    #[must_use]
    pub fn applied(&self) -> u64 {
        // Acquire: pairs with the release in `adopt`, after which the reader does not touch older values.
        let oldest =
            self.shared.adopted.iter().map(|adopted| adopted.load(Ordering::Acquire)).min();
        oldest.unwrap_or(self.version).min(self.version)
    }

    /// Frees the values that every reader has moved past; returns how many are still held, the current one included.
    pub fn reclaim(&mut self) -> usize {
        let applied = self.applied();
        while self.retired.front().is_some_and(|(version, _)| *version < applied) {
            self.retired.pop_front();
        }
        self.retired.len()
    }
}

impl<T> Reader<T> {
    /// The value to use for the next burst.
    #[inline]
    pub fn refresh(&mut self) -> &T {
        // Acquire: pairs with the release in `store`.
        if self.shared.latest.load(Ordering::Acquire) != self.version {
            self.adopt();
        }
        &self.current
    }

    /// The version in use.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    #[cold]
    fn adopt(&mut self) {
        // Held by the publisher for a pointer's time: keep the old value and look again next burst.
        let Ok(slot) = self.shared.slot.try_lock() else { return };
        let (version, value) = (slot.0, Arc::clone(&slot.1));
        drop(slot);
        self.current = value;
        self.version = version;
        // Release, and after the old value was let go: the publisher's handle on it is always the last.
        self.shared.adopted[self.reader].store(version, Ordering::Release);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        // The value itself is let go after this; the publisher may then free it first, and this handle be the last. Only
        // a reader that ends sees that, and it has nothing left to be held up in.
        self.shared.adopted[self.reader].store(GONE, Ordering::Release);
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("version", &self.version).finish_non_exhaustive()
    }
}
