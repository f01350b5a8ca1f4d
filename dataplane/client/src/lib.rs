//! What another process may ask of the dataplane and read of it: the management socket, the counters in shared memory,
//! and both at one moment.
#![forbid(unsafe_code)]

mod client;
pub mod counters;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod snapshot;

pub use client::{Client, ClientError, TapRecords};
pub use counters::{CounterFile, CountersError};
pub use snapshot::Snapshot;
