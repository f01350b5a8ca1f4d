//! Transfers: what is asked of the books, and what they keep of it.

use crate::UnixMillis;
use crate::account::{AccountId, Opening};
use crate::amount::Amount;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a transfer comes from: an outpoint, an invoice hash, a token lock, a name given by the caller. Opaque, and
/// different for whatever is different: who makes it puts the name of the chain or kind in front. At most one transfer
/// has it. Hexadecimal digits in text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Source(Box<[u8]>);

/// Bytes that are no source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// Nothing, or too much.
    #[error("source of {0} bytes: expected 1 to {max}", max = Source::LEN_MAX)]
    Length(usize),
    /// Not pairs of hexadecimal digits.
    #[error("source: expected pairs of hexadecimal digits")]
    NotHexadecimal,
}

impl Source {
    /// Longest, in bytes: two hashes and a name.
    pub const LEN_MAX: usize = 128;

    /// A source of these bytes.
    ///
    /// # Errors
    /// [`BadSource::Length`].
    pub fn new(bytes: &[u8]) -> Result<Self, BadSource> {
        if (1..=Self::LEN_MAX).contains(&bytes.len()) {
            Ok(Self(bytes.into()))
        } else {
            Err(BadSource::Length(bytes.len()))
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for Source {
    type Error = BadSource;

    fn try_from(text: String) -> Result<Self, BadSource> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        Self::new(&bytes.ok_or(BadSource::NotHexadecimal)?)
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a transfer is for, in the numbers of who makes it: the ledger keeps and shows them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// Which kind of business.
    pub code: u16,
    /// Which piece of it: a lease, an invoice.
    pub subject: u64,
}

/// From one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Movement {
    /// Who gives.
    pub debit: AccountId,
    /// Who gets.
    pub credit: AccountId,
    /// How much; more than nothing.
    pub amount: Amount,
}

/// What a transfer does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Moves at once.
    Move(Movement),
    /// Sets aside, to be posted or voided.
    Pend {
        /// What is set aside.
        movement: Movement,
        /// When it voids by itself; `None`: never.
        until: Option<UnixMillis>,
    },
    /// Moves what was set aside.
    Post {
        /// Source of the pending transfer.
        pending: Source,
        /// How much of it; the rest is free again. `None`: all.
        amount: Option<Amount>,
    },
    /// Gives back what was set aside.
    Void {
        /// Source of the pending transfer.
        pending: Source,
    },
}

/// A transfer as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Where it comes from.
    pub source: Source,
    /// What it is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// What it does.
    pub action: Action,
}

/// One line of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// Opens an account; to open it again as it is does nothing.
    Open(Opening),
    /// A transfer.
    Transfer(Transfer),
}

/// What happens together or not at all. The batches that were taken, in their order, are the whole state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// When. The books' time never goes back: an earlier `now` counts as the latest they have seen.
    pub now: UnixMillis,
    /// At most [`Batch::ENTRIES_MAX`], one after the other.
    pub entries: Vec<Entry>,
}

impl Batch {
    /// Most entries of a batch.
    pub const ENTRIES_MAX: usize = 8192;
}

/// A transfer as the books keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// As it was asked for.
    pub transfer: Transfer,
    /// When it was taken.
    pub at: UnixMillis,
    /// Its place among all records, from 0.
    pub sequence: u64,
    /// What it moved: all but pending and voiding transfers move something.
    pub moved: Option<Movement>,
    /// How it stands.
    pub state: State,
}

/// How a transfer stands. Only a pending one changes, and only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Done.
    Done,
    /// Set aside.
    Pending,
    /// Was pending; moved by the transfer of this source.
    Posted(Source),
    /// Was pending; given back by the transfer of this source.
    Voided(Source),
    /// Was pending; its time ran out.
    Expired,
}

impl Record {
    /// When it voids by itself, while it is pending.
    #[must_use]
    pub fn due(&self) -> Option<UnixMillis> {
        match &self.transfer.action {
            Action::Pend { until, .. } if self.state == State::Pending => *until,
            Action::Move(_) | Action::Pend { .. } | Action::Post { .. } | Action::Void { .. } => {
                None
            }
        }
    }
}
