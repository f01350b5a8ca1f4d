//! What people may ask of the box: configuration, leases, money, tokens. Each change is one step from one state to the
//! next, in memory, in the store and in the dataplane alike, or no step at all.
//!
//! ```text
//! Service::change ─► Step (tree, leases, ledger entries, audit …) ─► store transaction ─┬─► new State
//!      │                                                             └► spec ─► dataplane ─┘    (refused: none)
//!      └ one at a time                                     Service::state: whoever reads waits for nobody
//! ```
//!
//! It knows neither HTTP nor terminals; time is an argument, and the dataplane is behind a trait.
#![forbid(unsafe_code)]

mod audit;
mod caller;
mod config;
mod dataplane;
mod drain;
mod error;
mod leases;
mod money;
mod papers;
mod payments;
mod state;
mod step;
mod tick;
mod tokens;

pub use caller::{Caller, Once};
pub use config::{Committed, Edit, Pending, ROLLBACKS_MAX, Rebased};
pub use dataplane::{Dataplane, DataplaneError, Facts};
pub use drain::{Drain, Drained};
pub use error::ServiceError;
pub use leases::{BuyLease, LeaseView, OfferLease, Priced};
pub use money::{AccountView, Deposit};
pub use papers::{InvoiceAsked, StatementAsked};
pub use payments::{NewOrder, Watched};
pub use state::{DataplaneState, State};
pub use step::Service;
pub use tokens::{NewToken, TokenSecret};
