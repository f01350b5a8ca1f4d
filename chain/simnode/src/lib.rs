//! A simulated network of real programs: a full node with a wallet, and Lightning, on real sockets of loopback over a
//! chain whose proofs are valid, mined on command. For tests and demonstrations.
//!
//! They answer as pktd, pktwallet, lnd's gateway and pld do, as far as PKT-CHAIN.md §5 tells; and on command they lie,
//! stall, flood and fork.
#![forbid(unsafe_code)]

mod lightning;
mod network;
mod node;
mod rpc;
mod server;
mod socket;
mod wallet;

pub use lightning::{Fate, LightningLie, Program, Settlement, SimLightning};
pub use network::SimNetwork;
pub use node::{Lie, Options, Refused, SimNode};
pub use server::Manner;
pub use socket::SocketManner;
