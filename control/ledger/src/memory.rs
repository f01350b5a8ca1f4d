//! Books in memory: for tests, for replay, and for whoever holds few enough.

use crate::UnixMillis;
use crate::account::{Account, AccountId, Balance};
use crate::amount::UnitId;
use crate::decide::{Books, Changes, Decision, Failure, Head, decide};
use crate::transfer::{Batch, Record, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// All accounts and records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    head: Head,
    accounts: BTreeMap<AccountId, Account>,
    records: BTreeMap<Source, Record>,
    /// Sources by sequence.
    order: Vec<Source>,
    /// Pending transfers that void by themselves.
    due: BTreeSet<(UnixMillis, Source)>,
}

impl Ledger {
    /// Does a batch: all of it, or nothing.
    ///
    /// # Errors
    /// [`Failure`]; nothing has changed then.
    pub fn commit(&mut self, batch: &Batch) -> Result<Decision, Failure<Infallible>> {
        let decision = decide(self, batch)?;
        if let Decision::Commit(changes) = &decision {
            self.apply(changes);
        }
        Ok(decision)
    }

    /// The books that these batches make, from nothing on.
    ///
    /// # Errors
    /// [`Failure`] of the first that is refused.
    pub fn replay<'a>(
        batches: impl IntoIterator<Item = &'a Batch>,
    ) -> Result<Self, Failure<Infallible>> {
        let mut ledger = Self::default();
        for batch in batches {
            ledger.commit(batch)?;
        }
        Ok(ledger)
    }

    fn apply(&mut self, changes: &Changes) {
        self.head = changes.head;
        for account in &changes.accounts {
            self.accounts.insert(account.opening.id, *account);
        }
        for record in &changes.records {
            let source = &record.transfer.source;
            let before = self.records.insert(source.clone(), record.clone());
            match before.as_ref().map(Record::due) {
                Some(due) => drop(due.map(|due| self.due.remove(&(due, source.clone())))),
                None => self.order.push(source.clone()),
            }
            self.due.extend(record.due().map(|due| (due, source.clone())));
        }
    }

    /// When a pending transfer voids next, by a batch that may be empty.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.due.first().map(|(due, _)| *due)
    }

    /// All accounts, by number.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// All records, by sequence.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.order.iter().filter_map(|source| self.records.get(source))
    }

    /// The sums of all accounts by unit: debits are credits, pending and posted, or the books are wrong. `None` if a
    /// sum does not fit in 128 bits.
    #[must_use]
    pub fn totals(&self) -> Option<BTreeMap<UnitId, Balance>> {
        let mut totals = BTreeMap::<_, Balance>::new();
        for account in self.accounts() {
            let total = totals.entry(account.opening.unit).or_default();
            *total = total.plus(&account.balance)?;
        }
        Some(totals)
    }
}

impl Books for Ledger {
    type Error = Infallible;

    fn account(&self, id: AccountId) -> Result<Option<Account>, Infallible> {
        Ok(self.accounts.get(&id).copied())
    }

    fn record(&self, source: &Source) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(source).cloned())
    }

    fn due(&self, now: UnixMillis) -> Result<Vec<Record>, Infallible> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        Ok(due.filter_map(|(_, source)| self.records.get(source).cloned()).collect())
    }

    fn head(&self) -> Result<Head, Infallible> {
        Ok(self.head)
    }
}
