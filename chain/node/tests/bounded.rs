//! Nodes that flood, stall and drip: memory stays bounded, and the error names what was wrong.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]

mod common;

use chain_node::{Limits, Node as _, NodeError, Standing};
use common::{client, long, short, start};
use simnode::{Manner, Options, SimNode};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system's; the counters do not touch memory that is handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's contract is that of the system's `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is that of the system's `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a call may hold at once: an answer of 10 MiB in a buffer that grew by doubling, and what is read from it.
const HELD_MAX: usize = 64 << 20;

/// The error of asking for the tip, and how much memory that took.
async fn error_of(node: &SimNode, limits: Limits) -> (NodeError, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let error = client(node, limits).tip().await.unwrap_err();
    (error, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

/// One test, because the allocator counts for the whole process.
#[tokio::test]
async fn whatever_a_server_does_is_bounded_and_named() {
    type Is = fn(&NodeError) -> bool;
    let node = start(Options::default()).await;
    node.mine(1);
    let cases: &[(Manner, Limits, Is)] = &[
        (Manner::Silent, short(), |e| matches!(e, NodeError::Timeout { .. })),
        (Manner::Drip, short(), |e| matches!(e, NodeError::Timeout { .. })),
        (Manner::Closing, long(), |e| matches!(e, NodeError::Http(_))),
        (Manner::Garbage, long(), |e| matches!(e, NodeError::Http(_))),
        (Manner::EndlessHead, long(), |e| matches!(e, NodeError::Http(_))),
        (Manner::EndlessLine, long(), |e| matches!(e, NodeError::Http(_))),
        (Manner::Truncated, long(), |e| matches!(e, NodeError::Http(_))),
        (Manner::TenGigabytes, long(), |e| matches!(e, NodeError::TooLong { max: 10_485_760 })),
        (Manner::EndlessChunks, long(), |e| matches!(e, NodeError::TooLong { max: 10_485_760 })),
        (Manner::Packed, long(), |e| matches!(e, NodeError::Encoded(_))),
        (Manner::Status(401), long(), |e| matches!(e, NodeError::Unauthorized)),
        (Manner::Status(503), long(), |e| matches!(e, NodeError::Busy)),
        (Manner::Status(500), long(), |e| matches!(e, NodeError::Status { status: 500, .. })),
        (Manner::Deep, long(), |e| matches!(e, NodeError::TooDeep { .. })),
        (Manner::Long, long(), |e| matches!(e, NodeError::TooMany { .. })),
    ];
    for (manner, limits, is) in cases {
        node.behave(*manner);
        let (error, held) = error_of(&node, *limits).await;
        assert!(is(&error), "{manner:?}: {error:?}");
        assert_ne!(error.standing(), Standing::Answers, "{manner:?}");
        assert!(held < HELD_MAX, "{manner:?}: held {held} bytes");
        let shown = error.to_string();
        assert!(shown.len() < 600 && !shown.contains('\u{1b}'), "{manner:?}: {shown}");
    }
    node.behave(Manner::Good);
    assert!(client(&node, long()).tip().await.is_ok());
}
