//! Workers allocate nothing once they run: a counting allocator, by thread.
#![expect(clippy::tests_outside_test_module, reason = "the file is one")]
#![expect(clippy::unwrap_used, reason = "part of a test")]
#![expect(unsafe_code, reason = "an allocator")]

mod rig;

use rig::{Rig, spec};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Threads that are told apart.
const THREADS: usize = 64;

#[global_allocator]
static COUNTING: Counting = Counting {
    threads: [const { AtomicI32::new(0) }; THREADS],
    calls: [const { AtomicU64::new(0) }; THREADS],
};

struct Counting {
    threads: [AtomicI32; THREADS],
    calls: [AtomicU64; THREADS],
}

impl Counting {
    fn count(&self) {
        let thread = nix::unistd::gettid().as_raw();
        for (known, calls) in self.threads.iter().zip(&self.calls) {
            let found = known.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed);
            if found.is_ok() || found == Err(thread) {
                calls.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    fn calls_of(&self, thread: i32) -> u64 {
        let place = self.threads.iter().position(|known| known.load(Ordering::Relaxed) == thread);
        place.map_or(0, |place| self.calls[place].load(Ordering::Relaxed))
    }
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.count();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Kernel ids of the threads of this process whose names begin with `worker-`.
fn worker_threads() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = tasks.filter(|task| {
        std::fs::read_to_string(task.path().join("comm"))
            .is_ok_and(|name| name.starts_with("worker-"))
    });
    named.map(|task| task.file_name().to_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn workers_neither_allocate_nor_free_once_they_run() {
    let mut rig = Rig::start(2, Some(spec(1)));
    // Pages, lazy locals of the standard library and the first hand-offs are behind us then.
    rig.send_and_check(2_000);
    let workers = worker_threads();
    assert_eq!(workers.len(), 2);
    // A thread's start allocates: the count is seen to move.
    assert!(workers.iter().all(|worker| COUNTING.calls_of(*worker) > 0));
    let before: Vec<u64> = workers.iter().map(|worker| COUNTING.calls_of(*worker)).collect();
    rig.send_and_check(50_000);
    // Dropped and punted packets, a new spec and a full ring do not allocate either.
    for _ in 0..100 {
        rig.send_unknown_vif();
    }
    rig.client().apply(spec(2)).unwrap();
    rig.send_and_check_more(20_000);
    let after: Vec<u64> = workers.iter().map(|worker| COUNTING.calls_of(*worker)).collect();
    assert_eq!(before, after);
}
