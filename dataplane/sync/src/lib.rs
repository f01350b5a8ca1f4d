//! All that two threads share: publication of rules, hand-off rings, wakers, counters, a port's clock.
//!
//! ```text
//! management ──publish──► worker ◄──hand_off──► worker
//!     ▲  ▲                  │ ▲                    (a waker for whoever sleeps)
//!     │  └────counters──────┘ └──hand_off── slow path
//! ```
//! A worker never waits here: it looks once a burst, takes what is there, and goes on.
#![forbid(unsafe_code)]

pub mod counters;
pub mod hand_off;
pub mod port_share;
pub mod publish;
pub mod waker;

/// The types that the models replace.
mod shim {
    #[cfg(loom)]
    pub(crate) use loom::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    };
    #[cfg(shuttle)]
    pub(crate) use shuttle::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    };
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    };
}
