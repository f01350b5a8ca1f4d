//! The process that moves packets: a configuration becomes a plan, the plan becomes threads, and a spec says what
//! they do. Only wiring: what happens to a packet is in `engine`, how it gets here in `io`.
//!
//! ```text
//!              socket ◄──► management ──tables──► workers ◄──rings──► each other
//!  spec on disk ◄──────────────┘  ▲                 │ ▲
//!                                 └── pongs, taps ──┘ └──rings──► slow path
//! ```
#![forbid(unsafe_code)]

mod allowances;
mod box_clock;
pub mod check;
pub mod clock;
pub mod config;
mod counters;
mod dataplane;
mod keys;
pub mod machine;
mod management;
mod manager;
pub mod neighbours;
mod next_hops;
pub mod plan;
mod ports;
mod receipts;
mod recorder;
mod reservations;
mod resolver;
mod slow_path;
pub mod store;
mod tables;
mod taps;
mod threads;
mod vlan_tags;
mod worker;

pub use check::{Finding, Level, check};
pub use config::Config;
pub use dataplane::{Dataplane, Hosting, Memory, StopHandle, run};
pub use plan::Plan;
pub use ports::MemoryPorts;

/// Sends the log to standard error; RUST_LOG says how much of it, by default `info`.
pub fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
