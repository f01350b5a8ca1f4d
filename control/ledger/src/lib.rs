//! Money: accounts and transfers by double entry, and the invoices and statements that follow from them.
//!
//! Pure: no clock, no I/O but a writer that is handed in, no floats. `now` is an argument. Sums that do not fit are
//! errors. It knows no chain, no lease and no tenant: what a transfer comes from is an opaque [`Source`], what it is
//! for a [`Purpose`].
//!
//! ```text
//! Batch{now, entries} ─► decide(&impl Books) ─► Changes: accounts and records as they shall be
//!                              │                    └─► a store writes them in its transaction; Ledger keeps them
//!                              └► Refusal, and nothing has changed
//!
//! Receipt ─► tally ─► invoice ──┐
//! Record ───────────► statement ┴─► CSV, JSON
//! ```
//!
//! A payment on a chain is pended when it is seen, posted when it is deep enough, voided when it is withdrawn before.
//! One that is withdrawn after it was posted is a transfer back, with a source of its own;
//! [`Refusal::Exceeds`] says how much the account still has.
#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    reason = "overflow is an error, never a wrap, and money is whole numbers"
)]

pub mod account;
pub mod amount;
mod decide;
pub mod invoice;
mod memory;
pub mod receipt;
mod render;
pub mod statement;
pub mod transfer;

pub use account::{Account, AccountId, Balance, Net, Opening, Rule, Side};
pub use amount::{Amount, Unit, UnitId};
pub use decide::{Books, Changes, Decision, Failure, Head, Refusal, decide};
pub use memory::Ledger;
pub use render::RenderError;
pub use transfer::{
    Action, BadSource, Batch, Entry, Movement, Purpose, Record, Source, State, Transfer,
};

/// Unix time, milliseconds.
pub type UnixMillis = u64;
