//! What control remembers: one SQLite file, in which nothing is acknowledged before it would survive a power cut.
//!
//! ```text
//! Store::write(|tables| …)   one transaction: all of it is on disk when this returns, or nothing is
//! Store::reader()            another connection, to look at the same file beside it
//! ```
//!
//! What a table holds is decided elsewhere (`domain`, `ledger`); here it is put and found. Values that are only ever
//! read whole are JSON; what is searched for has columns of its own.
#![forbid(unsafe_code)]

mod audit;
mod books;
mod config;
mod facts;
mod leases;
mod orders;
mod papers;
mod schema;
mod tables;

pub use audit::{AuditEntry, AuditRecord, BrokenAudit};
pub use config::{Candidate, Commit, Confirm};
pub use facts::{Fact, Reply};
pub use leases::EndedLease;
pub use orders::{Order, OrderState, PayTo, Payment, PaymentState};
pub use papers::Token;
pub use schema::SCHEMA;
pub use tables::{Damage, Reader, Store, StoreError, Synced, Tables};
