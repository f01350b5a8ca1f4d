//! What a batch does to the books: all of it, or nothing and the reason.

use crate::UnixMillis;
use crate::account::{Account, AccountId, Balance, Opening, Rule, Side};
use crate::amount::{Amount, UnitId};
use crate::transfer::{Action, Batch, Entry, Movement, Record, Source, State, Transfer};
use std::collections::BTreeMap;

/// Books to decide by: a store's transaction, or [`crate::Ledger`].
pub trait Books {
    /// What can go wrong when looking something up.
    type Error;

    /// An account.
    ///
    /// # Errors
    /// The books cannot be read.
    fn account(&self, id: AccountId) -> Result<Option<Account>, Self::Error>;

    /// The record of a source.
    ///
    /// # Errors
    /// The books cannot be read.
    fn record(&self, source: &Source) -> Result<Option<Record>, Self::Error>;

    /// The records whose [`Record::due`] is not after `now`, by (due, source).
    ///
    /// # Errors
    /// The books cannot be read.
    fn due(&self, now: UnixMillis) -> Result<Vec<Record>, Self::Error>;

    /// Where the books stand.
    ///
    /// # Errors
    /// The books cannot be read.
    fn head(&self) -> Result<Head, Self::Error>;
}

/// Where books stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Latest time they have seen.
    pub at: UnixMillis,
    /// Number of records.
    pub records: u64,
}

/// What to do with a batch that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: all of it was done before.
    Repeated,
    /// This, together.
    Commit(Changes),
}

/// What a batch changes: each account and record as it shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Where the books stand then.
    pub head: Head,
    /// New and changed accounts, by number.
    pub accounts: Vec<Account>,
    /// New records in order, and changed ones (pending before) among them, by sequence.
    pub records: Vec<Record>,
}

/// Why a batch was not decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure<E> {
    /// An entry is refused.
    #[error("entry {index}: {refusal}")]
    Refused {
        /// Which, from 0.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// More than [`Batch::ENTRIES_MAX`].
    #[error("batch of {0} entries: expected at most {max}", max = Batch::ENTRIES_MAX)]
    TooMany(usize),
    /// The books do not hold what a pending transfer set aside: not [`decide`] has made them.
    #[error(
        "pending transfer {0}: its accounts do not hold what it set aside, the books are damaged"
    )]
    Damaged(Source),
    /// The books could not be read.
    #[error("look into the books")]
    Books(#[source] E),
}

/// Why an entry is refused. Nothing of its batch is done then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The account is open with another unit or rule.
    #[error("open account {}: it is open as {open:?}", open.id)]
    AccountDiffers {
        /// What is there.
        open: Opening,
    },
    /// There is no such account.
    #[error("account {0}: it was never opened")]
    NoAccount(AccountId),
    /// Both halves are one account.
    #[error("transfer within account {0}: expected two accounts")]
    SameAccount(AccountId),
    /// The accounts count different things.
    #[error("transfer from unit {debit} to unit {credit}: expected two accounts of one unit")]
    Units {
        /// Unit of who gives.
        debit: UnitId,
        /// Unit of who gets.
        credit: UnitId,
    },
    /// A transfer of nothing.
    #[error("transfer of nothing: expected an amount above zero")]
    Nothing,
    /// Another transfer, or the same with other values, has the source.
    #[error("source {0}: a different transfer has it")]
    SourceUsed(Source),
    /// Two transfers of the batch have the same source.
    #[error("source {0}: twice in one batch")]
    SourceTwice(Source),
    /// The transfer was done before, but others of the batch were not.
    #[error("source {0}: done before, without the rest of this batch")]
    PartlyRepeated(Source),
    /// There is no such transfer, or it never was pending.
    #[error("pending transfer {0}: there is none")]
    NoPending(Source),
    /// It is not pending any more.
    #[error("pending transfer {pending}: it is {state:?}")]
    Settled {
        /// Its source.
        pending: Source,
        /// How it stands.
        state: State,
    },
    /// More is to be posted than was set aside.
    #[error("post {asked} of {pending}: expected at most that")]
    MoreThanPending {
        /// So much was set aside.
        pending: Amount,
        /// So much was asked.
        asked: Amount,
    },
    /// It would be void at once.
    #[error("pending until {until}: it is {now}, expected a later time")]
    Past {
        /// When it should end.
        until: UnixMillis,
        /// What the books' time is.
        now: UnixMillis,
    },
    /// The account's rule forbids it.
    #[error("account {account}: {asked} asked, {available} available under {rule:?}")]
    Exceeds {
        /// Which.
        account: AccountId,
        /// Its rule.
        rule: Rule,
        /// What it has left.
        available: Amount,
        /// What was asked.
        asked: Amount,
    },
    /// A sum would not fit in 128 bits.
    #[error("account {account}: the sum of its {side} would not fit in 128 bits")]
    Overflow {
        /// Which.
        account: AccountId,
        /// Which of its sums, pending and posted together.
        side: Side,
    },
}

/// Decides what a batch does.
///
/// First what is due voids, then the entries are done in order. A batch is repeated whole or not at all: if all its
/// transfers are in the books, equal in every value, it does nothing, not even let time pass.
///
/// # Errors
/// [`Failure`]; of several refusals the first entry's, sources before all else.
pub fn decide<B: Books>(books: &B, batch: &Batch) -> Result<Decision, Failure<B::Error>> {
    if batch.entries.len() > Batch::ENTRIES_MAX {
        return Err(Failure::TooMany(batch.entries.len()));
    }
    if is_repeated(books, batch)? {
        return Ok(Decision::Repeated);
    }
    let head = books.head().map_err(Failure::Books)?;
    let head = Head { at: head.at.max(batch.now), ..head };
    let mut draft = Draft { books, head, accounts: BTreeMap::new(), records: BTreeMap::new() };
    for record in books.due(head.at).map_err(Failure::Books)? {
        draft.expire(record).map_err(|error| error.at(0))?;
    }
    for (index, entry) in batch.entries.iter().enumerate() {
        let done = match entry {
            Entry::Open(opening) => draft.open(*opening),
            Entry::Transfer(transfer) => draft.transfer(transfer),
        };
        done.map_err(|error| error.at(index))?;
    }
    let mut records: Vec<_> = draft.records.into_values().collect();
    records.sort_by_key(|record| record.sequence);
    let accounts = draft.accounts.into_values().collect();
    Ok(Decision::Commit(Changes { head: draft.head, accounts, records }))
}

/// Whether all transfers of a batch were done before; its sources are in order then, or if none was.
fn is_repeated<B: Books>(books: &B, batch: &Batch) -> Result<bool, Failure<B::Error>> {
    // By source: where it stands in the batch, and whether the books have it.
    let mut sources = BTreeMap::new();
    for (index, entry) in batch.entries.iter().enumerate() {
        let Entry::Transfer(transfer) = entry else { continue };
        let source = &transfer.source;
        let refused = |refusal| Err(Failure::Refused { index, refusal });
        let known = match books.record(source).map_err(Failure::Books)? {
            Some(record) if record.transfer != *transfer => {
                return refused(Refusal::SourceUsed(source.clone()));
            }
            known => known.is_some(),
        };
        if sources.insert(source, (index, known)).is_some() {
            return refused(Refusal::SourceTwice(source.clone()));
        }
    }
    let known = sources.iter().filter(|(_, (_, known))| *known);
    let first = known.clone().min_by_key(|(_, (index, _))| *index);
    match first {
        Some((source, (index, _))) if known.count() < sources.len() => {
            let refusal = Refusal::PartlyRepeated((*source).clone());
            Err(Failure::Refused { index: *index, refusal })
        }
        first => Ok(first.is_some()),
    }
}

/// The books as they would be: what differs lies here, the rest there.
struct Draft<'a, B> {
    books: &'a B,
    head: Head,
    accounts: BTreeMap<AccountId, Account>,
    records: BTreeMap<Source, Record>,
}

/// As [`Failure`], before it is known of which entry.
enum Stop<E> {
    Refused(Refusal),
    Damaged(Source),
    Books(E),
}

impl<E> Stop<E> {
    fn at(self, index: usize) -> Failure<E> {
        match self {
            Self::Refused(refusal) => Failure::Refused { index, refusal },
            Self::Damaged(source) => Failure::Damaged(source),
            Self::Books(error) => Failure::Books(error),
        }
    }
}

impl<E> From<Refusal> for Stop<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

type Done<B> = Result<(), Stop<<B as Books>::Error>>;

impl<B: Books> Draft<'_, B> {
    fn open(&mut self, opening: Opening) -> Done<B> {
        match self.find_account(opening.id)? {
            None => {
                let account = Account { opening, balance: Balance::default() };
                self.accounts.insert(opening.id, account);
                Ok(())
            }
            Some(account) if account.opening == opening => Ok(()),
            Some(account) => Err(Refusal::AccountDiffers { open: account.opening }.into()),
        }
    }

    fn transfer(&mut self, transfer: &Transfer) -> Done<B> {
        let (moved, state) = match &transfer.action {
            Action::Move(movement) => {
                self.check(movement)?;
                self.add(movement.debit, Side::Debit, movement.amount, false)?;
                self.add(movement.credit, Side::Credit, movement.amount, false)?;
                (Some(*movement), State::Done)
            }
            Action::Pend { movement, until } => {
                if let Some(until) = until.filter(|until| *until <= self.head.at) {
                    return Err(Refusal::Past { until, now: self.head.at }.into());
                }
                self.check(movement)?;
                self.add(movement.debit, Side::Debit, movement.amount, true)?;
                self.add(movement.credit, Side::Credit, movement.amount, true)?;
                (None, State::Pending)
            }
            Action::Post { pending, amount } => {
                let (record, whole) = self.pending(pending)?;
                let amount = amount.unwrap_or(whole.amount);
                if amount == Amount::ZERO {
                    return Err(Refusal::Nothing.into());
                }
                if amount > whole.amount {
                    let pending = whole.amount;
                    return Err(Refusal::MoreThanPending { pending, asked: amount }.into());
                }
                self.settle(record, whole, amount, State::Posted(transfer.source.clone()))?;
                (Some(Movement { amount, ..whole }), State::Done)
            }
            Action::Void { pending } => {
                let (record, whole) = self.pending(pending)?;
                let state = State::Voided(transfer.source.clone());
                self.settle(record, whole, Amount::ZERO, state)?;
                (None, State::Done)
            }
        };
        let sequence = self.head.records;
        let record =
            Record { transfer: transfer.clone(), at: self.head.at, sequence, moved, state };
        self.records.insert(transfer.source.clone(), record);
        self.head.records = sequence.saturating_add(1);
        Ok(())
    }

    fn expire(&mut self, record: Record) -> Done<B> {
        match record.transfer.action {
            Action::Pend { movement, .. } => {
                self.settle(record, movement, Amount::ZERO, State::Expired)
            }
            Action::Move(_) | Action::Post { .. } | Action::Void { .. } => Ok(()),
        }
    }

    /// What both kinds of new movement must fulfil, in this order.
    fn check(&mut self, movement: &Movement) -> Done<B> {
        let Movement { debit, credit, amount } = *movement;
        if amount == Amount::ZERO {
            return Err(Refusal::Nothing.into());
        }
        if debit == credit {
            return Err(Refusal::SameAccount(debit).into());
        }
        let debit_unit = self.account(debit)?.opening.unit;
        let credit_unit = self.account(credit)?.opening.unit;
        if debit_unit != credit_unit {
            return Err(Refusal::Units { debit: debit_unit, credit: credit_unit }.into());
        }
        Ok(())
    }

    /// Adds to a side of an account, as its rule and 128 bits allow.
    fn add(&mut self, id: AccountId, side: Side, amount: Amount, is_pending: bool) -> Done<B> {
        let mut account = self.account(id)?;
        let rule = account.opening.rule;
        let is_bound = match side {
            Side::Debit => rule == Rule::DebitsWithinCredits,
            Side::Credit => rule == Rule::CreditsWithinDebits,
        };
        let available = account.balance.available(rule).filter(|_| is_bound);
        if let Some(available) = available.filter(|available| amount > *available) {
            return Err(Refusal::Exceeds { account: id, rule, available, asked: amount }.into());
        }
        let (pending, posted) = account.balance.side(side);
        let sum = if is_pending { &mut *pending } else { &mut *posted };
        let added = sum.plus(amount);
        let overflow = Refusal::Overflow { account: id, side };
        *sum = added.ok_or_else(|| overflow.clone())?;
        // Pending becomes posted some day: together they must fit already.
        pending.plus(*posted).ok_or(overflow)?;
        self.accounts.insert(id, account);
        Ok(())
    }

    /// Ends what was pending: `posted` of it moves, the rest is free again.
    fn settle(&mut self, record: Record, whole: Movement, posted: Amount, state: State) -> Done<B> {
        for (id, side) in [(whole.debit, Side::Debit), (whole.credit, Side::Credit)] {
            let mut account = self.account(id)?;
            let (pending_sum, posted_sum) = account.balance.side(side);
            // Neither fails in books that were made here: both sums were checked when it was set aside.
            let damaged = || Stop::Damaged(record.transfer.source.clone());
            *pending_sum = pending_sum.minus(whole.amount).ok_or_else(damaged)?;
            *posted_sum = posted_sum.plus(posted).ok_or_else(damaged)?;
            self.accounts.insert(id, account);
        }
        self.records.insert(record.transfer.source.clone(), Record { state, ..record });
        Ok(())
    }

    /// A transfer that is pending, and what it set aside.
    fn pending(&self, source: &Source) -> Result<(Record, Movement), Stop<B::Error>> {
        let record = match self.records.get(source) {
            Some(record) => Some(record.clone()),
            None => self.books.record(source).map_err(Stop::Books)?,
        };
        let record = record.ok_or_else(|| Refusal::NoPending(source.clone()))?;
        match (&record.transfer.action, &record.state) {
            (Action::Pend { movement, .. }, State::Pending) => Ok((record.clone(), *movement)),
            (Action::Pend { .. }, state) => {
                let state = state.clone();
                Err(Refusal::Settled { pending: source.clone(), state }.into())
            }
            (Action::Move(_) | Action::Post { .. } | Action::Void { .. }, _) => {
                Err(Refusal::NoPending(source.clone()).into())
            }
        }
    }

    fn account(&self, id: AccountId) -> Result<Account, Stop<B::Error>> {
        self.find_account(id)?.ok_or_else(|| Refusal::NoAccount(id).into())
    }

    fn find_account(&self, id: AccountId) -> Result<Option<Account>, Stop<B::Error>> {
        match self.accounts.get(&id) {
            Some(account) => Ok(Some(*account)),
            None => self.books.account(id).map_err(Stop::Books),
        }
    }
}
