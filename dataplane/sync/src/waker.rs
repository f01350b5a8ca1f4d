//! Waking a thread that sleeps in poll(2), without a system call where it does not sleep, and without losing a wake-up.
//!
//! ```text
//! sender                         sleeper
//! put the item into the ring     say "asleep"
//! fence                          fence
//! asleep? → ring the bell        nothing in the rings? → poll(2), with the bell
//! ```
//! By the two fences, either the sender sees "asleep" or the sleeper sees the item.

use crate::shim::{Arc, AtomicBool, Ordering, fence};
use std::fmt;

type Bell = dyn Fn() + Send + Sync;

struct Shared {
    asleep: AtomicBool,
    bell: Box<Bell>,
}

/// The sleeping thread's end.
#[derive(Clone)]
pub struct Sleeper(Arc<Shared>);

/// The end of whoever sends to it.
#[derive(Clone)]
pub struct Waker(Option<Arc<Shared>>);

/// A pair; `bell` ends the sleep (writes to an eventfd), and is called by wakers' threads.
#[must_use]
pub fn pair(bell: impl Fn() + Send + Sync + 'static) -> (Waker, Sleeper) {
    let shared = Arc::new(Shared { asleep: AtomicBool::new(false), bell: Box::new(bell) });
    (Waker(Some(Arc::clone(&shared))), Sleeper(shared))
}

impl Waker {
    /// Wakes nobody: for a receiver that never sleeps.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Rings the bell if the other side sleeps, or is about to. What it shall find must have been sent before.
    #[inline]
    pub fn wake(&self) {
        let Some(shared) = &self.0 else { return };
        // SeqCst: orders the item before this look; pairs with the fence in `prepare`.
        fence(Ordering::SeqCst);
        if shared.asleep.load(Ordering::Relaxed) && shared.asleep.swap(false, Ordering::Relaxed) {
            (shared.bell)();
        }
    }
}

impl Sleeper {
    /// Announces the sleep. The caller must look into all its rings after this and before it sleeps.
    pub fn prepare(&self) {
        self.0.asleep.store(true, Ordering::Relaxed);
        // SeqCst: orders the announcement before the look; pairs with the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    /// Awake again, by the bell or by something else.
    pub fn awake(&self) {
        self.0.asleep.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleeper")
    }
}
