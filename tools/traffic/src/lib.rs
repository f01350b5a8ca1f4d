//! Traffic generator and sink: valid cjdns frames on plain links, and exact accounts of what became of them.
//!
//! ```text
//! Scenario ─┬─► Generator ── Outlet ──► wire ─► box ─► wire ──► Inlet ── Sink ──► Report
//!           └──────────── what must arrive where, with which label ──────┘
//! ```
//! A [`Scenario`] is a list of streams; its index is the stream's number in the payload. Generator and sink are given
//! the same scenario and each takes its own port's part. With one seed the frames are the same, but for their times.
//!
//! Accounts are exact: what was handed to the kernel is sent, what it refused is refused, what arrived is received once,
//! and again is duplicated. So a caller can check `sent = received + named drops + the kernel's drops`.
#![forbid(unsafe_code)]

pub mod af_packet;
pub mod af_xdp;
pub mod crew;
pub mod forge;
pub mod generator;
pub mod link;
pub mod live;
pub mod pace;
pub mod payload;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod sink;
pub mod station;
pub mod through;
pub mod tracker;
pub mod wire_end;

pub use crew::Crew;
pub use forge::{Forger, Kind};
pub use generator::{Generator, Load, Offer, Sent};
pub use link::{Link, Template};
pub use report::Report;
pub use scenario::{Arrival, Scenario, Sizes, Stream};
pub use sink::{Accounts, Snapshot, StreamAccount};
pub use station::{PortReport, Station, Timing, View};
pub use tracker::Tracker;
pub use wire_end::WireEnd;
