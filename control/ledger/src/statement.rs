//! Statements: what moved on an account in a period, and what it held before and after.

use crate::UnixMillis;
use crate::account::{AccountId, Balance, Net, Opening, Side};
use crate::amount::{Amount, UnitId};
use crate::transfer::{Purpose, Record, Source};
use serde::Serialize;

/// What moved on an account in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Which account.
    pub account: AccountId,
    /// What it counts.
    pub unit: UnitId,
    /// Begin of the period.
    pub from: UnixMillis,
    /// End of the period.
    pub until: UnixMillis,
    /// Posted credits less debits at the begin.
    pub opening: Net,
    /// What moved, in order.
    pub lines: Vec<StatementLine>,
    /// Posted credits less debits at the end.
    pub closing: Net,
}

/// One movement, seen from the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatementLine {
    /// When.
    pub at: UnixMillis,
    /// Its place among all records.
    pub sequence: u64,
    /// Where it comes from.
    pub source: Source,
    /// What it is for.
    pub purpose: Purpose,
    /// The other account.
    pub other: AccountId,
    /// Out of or into this one.
    pub side: Side,
    /// How much.
    pub amount: Amount,
    /// Posted credits less debits after it.
    pub balance: Net,
}

/// Posted sums of the account would not fit in 128 bits: these are not the records of one ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("statement of account {0}: its sums would not fit in 128 bits")]
pub struct StatementError(pub AccountId);

/// Writes a statement for [from, until).
///
/// `before`: what the account held before the first of the records; nothing, if they are all there are.
/// `records`: in order of sequence; those of other accounts are passed over, those before the period only add up.
///
/// # Errors
/// [`StatementError`].
pub fn statement<'a>(
    account: &Opening,
    from: UnixMillis,
    until: UnixMillis,
    before: Balance,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<Statement, StatementError> {
    let Opening { id, unit, .. } = *account;
    let mut balance = before;
    let mut opening = before.net();
    let mut lines = Vec::new();
    for record in records.into_iter().take_while(|record| record.at < until) {
        let Some(moved) = record.moved else { continue };
        let (side, other) = match id {
            id if id == moved.debit => (Side::Debit, moved.credit),
            id if id == moved.credit => (Side::Credit, moved.debit),
            _ => continue,
        };
        let (_, posted) = balance.side(side);
        *posted = posted.plus(moved.amount).ok_or(StatementError(id))?;
        if record.at < from {
            opening = balance.net();
            continue;
        }
        lines.push(StatementLine {
            at: record.at,
            sequence: record.sequence,
            source: record.transfer.source.clone(),
            purpose: record.transfer.purpose,
            other,
            side,
            amount: moved.amount,
            balance: balance.net(),
        });
    }
    Ok(Statement { account: id, unit, from, until, opening, lines, closing: balance.net() })
}
