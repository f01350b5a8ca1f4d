//! Clients of the programs that a chain is followed by: the full node, the wallet, Lightning.
//!
//! ```text
//!  follow ◄── Node: tip, headers, blocks, mempool ── pktd ── rpc ──┐
//!         ◄── watch: hints that something is new ── websocket ─────┤ http: limits ── tls: pins ── a node
//!  control ◄─ wallet, lightning (both generations) ────────────────┘
//! ```
//!
//! A node is a stranger. It may answer slowly, at any length, in any form, and with what is false: each call has an
//! end, a size and a depth, and what comes out of it is of the right type and is what was asked for. Whether it is
//! *true* is for `follow` to judge, and in which order things happened too. No secret is in any error, log or `Debug`.
#![forbid(unsafe_code)]

pub mod answer;
pub mod attach;
pub mod backoff;
pub mod endpoint;
pub mod error;
mod http;
pub mod json;
pub mod lightning;
pub mod node;
pub mod pktd;
pub mod rpc;
pub mod secret;
pub mod tls;
pub mod wallet;
pub mod watch;

pub use attach::Link;
pub use backoff::Backoff;
pub use endpoint::{Credentials, Endpoint};
pub use error::{Lie, NodeError, Standing};
pub use http::Limits;
pub use lightning::Lightning;
pub use node::{Node, Nodes};
pub use pktd::Pktd;
pub use rpc::Rpc;
pub use secret::{PaymentHash, Preimage, Secret};
pub use tls::Trust;
pub use wallet::Wallet;
pub use watch::{Filter, News, Watch};
