//! Accounts, and what they hold.

use crate::amount::{Amount, UnitId};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// Number of an account, given by who opens it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AccountId(pub u64);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What must hold for the balance of an account, pending transfers counted against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Nothing: the world outside, revenue, losses.
    #[default]
    None,
    /// Debits, pending ones included, must not exceed posted credits: a tenant's prepaid account.
    DebitsWithinCredits,
    /// Credits, pending ones included, must not exceed posted debits: what the box has somewhere.
    CreditsWithinDebits,
}

/// An account as it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Its number.
    pub id: AccountId,
    /// What it counts; transfers join accounts of one unit.
    pub unit: UnitId,
    /// What must hold.
    #[serde(default)]
    pub rule: Rule,
}

/// An account as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// As it was opened.
    pub opening: Opening,
    /// What it holds.
    pub balance: Balance,
}

/// Sums of one account, or of all accounts of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Debits that wait.
    pub debits_pending: Amount,
    /// Debits that are done.
    pub debits_posted: Amount,
    /// Credits that wait.
    pub credits_pending: Amount,
    /// Credits that are done.
    pub credits_posted: Amount,
}

/// One half of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Out of the account.
    Debit,
    /// Into the account.
    Credit,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debit => "debits",
            Self::Credit => "credits",
        })
    }
}

impl Balance {
    /// Posted credits less posted debits.
    #[must_use]
    pub fn net(&self) -> Net {
        Net::of(self.credits_posted, self.debits_posted)
    }

    /// What may still be debited under [`Rule::DebitsWithinCredits`], or credited under
    /// [`Rule::CreditsWithinDebits`]; `None` under [`Rule::None`].
    #[must_use]
    pub fn available(&self, rule: Rule) -> Option<Amount> {
        let (within, posted, pending) = match rule {
            Rule::None => return None,
            Rule::DebitsWithinCredits => {
                (self.credits_posted, self.debits_posted, self.debits_pending)
            }
            Rule::CreditsWithinDebits => {
                (self.debits_posted, self.credits_posted, self.credits_pending)
            }
        };
        let left = within.minus(posted).and_then(|left| left.minus(pending));
        Some(left.unwrap_or(Amount::ZERO))
    }

    /// Each sum added to, if all fit.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        Some(Self {
            debits_pending: self.debits_pending.plus(other.debits_pending)?,
            debits_posted: self.debits_posted.plus(other.debits_posted)?,
            credits_pending: self.credits_pending.plus(other.credits_pending)?,
            credits_posted: self.credits_posted.plus(other.credits_posted)?,
        })
    }

    /// The pending and the posted sum of a side.
    pub(crate) fn side(&mut self, side: Side) -> (&mut Amount, &mut Amount) {
        match side {
            Side::Debit => (&mut self.debits_pending, &mut self.debits_posted),
            Side::Credit => (&mut self.credits_pending, &mut self.credits_posted),
        }
    }
}

/// Credits less debits: wider than either, so its sign stands apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Net {
    /// Debits exceed credits.
    pub is_negative: bool,
    /// By how much they differ.
    pub amount: Amount,
}

impl Net {
    /// `credits` less `debits`.
    #[must_use]
    pub fn of(credits: Amount, debits: Amount) -> Self {
        let is_negative = credits.cmp(&debits) == Ordering::Less;
        Self { is_negative, amount: Amount(credits.0.abs_diff(debits.0)) }
    }

    /// `-` before a negative one.
    #[must_use]
    pub fn sign(self) -> &'static str {
        if self.is_negative { "-" } else { "" }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.sign(), self.amount)
    }
}

impl Serialize for Net {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
