//! What happens to a packet. Bytes, tables and `now` in, verdicts out: no clock, no I/O, no threads, and no allocation
//! after start.
//!
//! ```text
//!  burst ─► classify ─► open ─► claim ─► switch ─► admit ─► queue ══► seal ─► encap ─► tx
//!             │ drop      │ hand-off │ drop, punt, hand-off │ drop
//! ```
//!
//! Each stage runs over the whole burst with loads that do not depend on each other, so that the processor overlaps
//! their cache misses. Every frame ends in exactly one place: a queue, the [`Outcome`], or the burst to send.
#![forbid(unsafe_code)]

mod admit;
mod claim;
mod classify;
mod colour;
mod compile;
mod count;
mod encap;
mod engine;
mod explain;
mod ids;
mod leases;
mod next_hops;
mod open;
mod outcome;
mod pace;
mod queue;
mod rules;
pub mod schedule;
mod seal;
mod sessions;
pub mod slow_path;
mod spec_error;
mod strangers;
pub mod switch;
mod tap;

pub use claim::ToldLinks;
pub use colour::Shed;
pub use compile::{Compiler, PortFacts};
pub use engine::{Engine, EngineConfig};
pub use explain::{Step, StepEnd, explain};
pub use leases::{LeaseInfo, Leases};
pub use next_hops::{NextHop, NextHops};
pub use outcome::{HandOff, Inject, Outcome, Punt, PuntKind, Stranger, Via};
pub use rules::{LinkInfo, LinkKind, Listener, NodeInfo, OwnAddress, Rules, VifInfo, VswitchInfo};
pub use sessions::{SessionChange, SessionChangeKind, SessionNews};
pub use spec_error::{CableError, CapacityError, LeaseError, SpecError, VifError, VswitchError};
pub use tap::{NoTap, Tap};

/// Frames that are worked on together; the same type as the ports'.
pub type Burst<T> = arrayvec::ArrayVec<T, { dataplane_api::limits::BURST_MAX }>;
