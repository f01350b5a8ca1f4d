//! Ports and frames: how bytes reach the pipeline and leave it.
//!
//! The only crate of the dataplane with `unsafe`: every mapping and every system call of the packet path is here, behind
//! a safe face. It knows nothing of switching.
//!
//! ```text
//! Umem ── frames() ──► Pool ──► fill ring ─kernel─► RX ring ──► Burst<Frame>
//!                       ▲                                          │ the pipeline
//!                       └── completion ring ◄─kernel─ TX ring ◄────┘
//! ```
//! A [`Frame`] is owned by exactly one side: pool, ring, burst or queue. What is not owned cannot be touched.
#![allow(unsafe_code, reason = "mappings, rings and system calls; each block argues for itself")]

pub mod af_packet;
pub mod af_xdp;
mod ask;
pub mod bpf;
pub mod error;
pub mod frame;
mod link_kind;
pub mod live;
mod mapping;
pub mod memory;
pub mod netdev;
pub mod netlink;
pub mod pcap;
pub mod port;
mod ring;
pub mod shm;
mod sockopt;
pub mod umem;
pub mod unicast;
pub mod xdp;

pub use error::IoError;
pub use frame::{Depot, Frame, Pool};
pub use port::{AnyPort, Burst, Port, PortStatistics};
pub use umem::{PageKind, Umem, UmemConfig};
