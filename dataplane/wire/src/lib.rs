//! Views of wire formats over borrowed bytes, and the arithmetic of labels.
//!
//! Nothing here allocates on the packet path, panics on input, or knows what a packet is for.
//!
//! ```text
//! ethernet ─┬─ eth_interface ─────────┬─ (session) ─ switch ─┬─ control
//!           └─ ip ─ udp ──────────────┘                      └─ end-to-end packets, not looked into
//! ```
#![forbid(unsafe_code)]

pub mod beacon;
pub mod buf;
pub mod checksum;
pub mod control;
pub mod eth_interface;
pub mod ethernet;
pub mod ip;
pub mod key;
pub mod label;
pub mod scheme;
pub mod switch;
pub mod traffic_class;
pub mod udp;
#[cfg(any(test, feature = "vectors"))]
pub mod vectors;
