//! What people may ask of the box, over HTTP: an [`axum::Router`] over [`service::Service`].
//!
//! ```text
//! request + Peer ─► who is it ─► in time ─► once ─► handler ─► Service (blocking pool) ─► JSON, CSV, TOML, events
//!                      └─ 401, 429                     ├─────► Live (the running dataplane)
//!                                                      └─────► Chain (what orders are paid by)
//! ```
//!
//! Errors are `application/problem+json`. Times are Unix milliseconds, rates bytes a second, amounts decimal strings of
//! smallest units. Lists come in pages. The document of all that is `openapi.json` beside this crate.
//!
//! It opens no socket and reads no clock: both are given to it.
#![forbid(unsafe_code)]
#![allow(unused_qualifications, reason = "the macros of utoipa qualify what they name")]

mod app;
mod auth;
mod cache;
pub mod chain;
mod events;
mod extract;
mod failures;
pub mod live;
mod once;
mod openapi;
mod page;
mod peer;
mod problem;
mod rates;
mod redact;
mod routes;

pub use app::{Api, Clock, NoRandomness, Settings, openapi};
pub use chain::{Chain, ChainError, ChainStatus, NoChain, PayBy, Till};
pub use live::{Counters, Live, LiveError, Tap, Traffic, WorkerCounts};
pub use peer::{Client, Peer};
