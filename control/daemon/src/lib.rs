//! The process that decides: a configuration file becomes a store, a service over it, an API in front of it and a
//! dataplane behind it. Only wiring: what is decided is in `service`, how it is asked for in `control_api`.
//!
//! ```text
//! socket, TLS ─► Door ─► Api ─► Service ─► store
//!  /metrics ─► Page ──────────────┘  ▲ └─► Link ───► dataplane (decisions)
//!                                  Timer  Window ──► dataplane (looks: status, counters, taps)
//!             Counter ─► chain (a thread: nodes, follower) ─► Service (payments)
//! ```
//! While it is away packets go on as they did; when it comes back it finds what it had acknowledged.
#![forbid(unsafe_code)]

mod chain;
mod clock;
pub mod config;
mod dataplane;
mod log;
mod metrics;
mod plane;
mod serve;
mod timer;
mod tls;

pub use config::Config;
pub use log::log_to_stderr;
pub use plane::{ControlPlane, run};
