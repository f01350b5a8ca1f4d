//! What PKT's chain is made of, and its rules: formats, money, difficulty, votes, and PacketCrypt verification.
//!
//! ```text
//! block = header (80, Bitcoin's) ‖ PacketCrypt proof ‖ count ‖ transactions (Bitcoin's)
//!                                   │                              └ coinbase: commitment to a set of announcements
//!                                   └ nonce ‖ 4 announcements of the set ‖ tree proof: they are in the set
//! ```
//!
//! Pure: bytes in, verdicts out; no clock, file, socket or thread. Everything may come from a hostile node: nothing
//! here panics or allocates beyond a small multiple of its input. What differs between networks is in
//! [`network::Network`].
//!
//! Where the reference node (pktd) and its C library disagree, this follows the node.
#![deny(unsafe_code)]

pub mod address;
pub mod amount;
pub mod announcement;
pub mod block;
#[cfg(feature = "builder")]
pub mod builder;
pub mod commitment;
pub mod compact;
pub mod difficulty;
pub mod fault;
pub mod header;
pub mod network;
pub mod packetcrypt;
pub mod proof;
pub mod reward;
pub mod steward;
pub mod unspent;
#[cfg(feature = "vectors")]
pub mod vectors;
pub mod vote;

pub use bitcoin;
