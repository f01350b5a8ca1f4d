//! Why something was not done.

use crate::dataplane::DataplaneError;
use domain::access::{BadGrant, Forbidden};
use domain::leases::LeaseError;
use domain::tree::{EditError, Place, Problem, QuoteError, TreeError};
use ledger::invoice::InvoiceError;
use ledger::statement::StatementError;
use ledger::{BadSource, Failure, Refusal};
use store::StoreError;

/// Why something was not done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Not for who asks.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is none, or none that who asks may see.
    #[error("{what} {name:?}: there is none")]
    NotFound {
        /// Of which kind.
        what: &'static str,
        /// Its name or number.
        name: String,
    },
    /// What is asked makes no sense.
    #[error("{what}: {found}; expected {expected}")]
    Invalid {
        /// Which part of it.
        what: &'static str,
        /// What is there.
        found: String,
        /// What would be allowed.
        expected: String,
    },
    /// The configuration would not be in order.
    #[error("{}", problems(.0))]
    Problems(Vec<Problem>),
    /// Somebody else changed the same meanwhile.
    #[error("{} was changed meanwhile: look at it, and change it again", places(.0))]
    Conflict(Vec<Place>),
    /// The candidate is not the one that was seen.
    #[error("the candidate is of version {found}, not {expected}: look at it again")]
    Version {
        /// What it is.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// There is no change.
    #[error("nothing to commit")]
    Nothing,
    /// A commit waits for its confirmation, and might go back.
    #[error(
        "commit {commit} waits to be confirmed until {until} ms: confirm it or let it go back first"
    )]
    Unconfirmed {
        /// Which.
        commit: u64,
        /// When it goes back, Unix milliseconds.
        until: u64,
    },
    /// The key of an idempotent request was used for another one.
    #[error("idempotency key {0:?}: it was used for another request")]
    KeyReused(String),
    /// Above what the tenant or token may have.
    #[error("{0}")]
    Quota(String),
    /// It is being emptied for maintenance.
    #[error("{0} is drained: nothing new goes there")]
    Drained(String),
    /// The dataplane says no, or is not there.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// A place or value of the tree.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A text that is no tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A lease cannot do that.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A lease has no price.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// A token makes no sense.
    #[error(transparent)]
    Grant(#[from] BadGrant),
    /// The books refuse.
    #[error("{0}")]
    Books(Refusal),
    /// An invoice cannot be written.
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    /// A statement cannot be written.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The name of a transfer's source.
    #[error(transparent)]
    Source(#[from] BadSource),
    /// The store failed; what it says is for the log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What must not happen.
    #[error("{0}")]
    Internal(String),
}

impl From<Failure<StoreError>> for ServiceError {
    fn from(failure: Failure<StoreError>) -> Self {
        match failure {
            Failure::Refused { refusal, .. } => Self::Books(refusal),
            Failure::Books(error) => Self::Store(error),
            failure @ (Failure::TooMany(_) | Failure::Damaged(_)) => {
                Self::Internal(failure.to_string())
            }
        }
    }
}

fn problems(problems: &[Problem]) -> String {
    let mut text: Vec<_> = problems.iter().take(3).map(Problem::to_string).collect();
    if problems.len() > text.len() {
        text.push(format!("… ({} problems in all)", problems.len()));
    }
    text.join("; ")
}

fn places(places: &[Place]) -> String {
    places.iter().map(Place::to_string).collect::<Vec<_>>().join(", ")
}
