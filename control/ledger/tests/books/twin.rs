//! The obvious books: a list of what was done, and every balance a walk over all of it.

use control_ledger::{
    AccountId, Action, Amount, Balance, Batch, Entry, Failure, Head, Movement, Opening, Record,
    Refusal, Rule, Side, Source, State, Transfer,
};
use std::convert::Infallible;

#[derive(Clone, Default)]
pub struct Twin {
    pub openings: Vec<Opening>,
    pub records: Vec<Record>,
    pub now: u64,
}

impl Twin {
    /// Whether it was done before, or done now.
    pub fn commit(&mut self, batch: &Batch) -> Result<bool, Failure<Infallible>> {
        let transfers: Vec<(usize, &Transfer)> = batch
            .entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| match entry {
                Entry::Transfer(transfer) => Some((index, transfer)),
                Entry::Open(_) => None,
            })
            .collect();
        for (place, (index, transfer)) in transfers.iter().enumerate() {
            let source = &transfer.source;
            let found = self.find(source);
            let twice = transfers[..place].iter().any(|(_, other)| other.source == *source);
            if found.is_some_and(|record| record.transfer != **transfer) {
                return refuse(*index, Refusal::SourceUsed(source.clone()));
            } else if twice {
                return refuse(*index, Refusal::SourceTwice(source.clone()));
            }
        }
        let known: Vec<_> = transfers
            .iter()
            .filter(|(_, transfer)| self.find(&transfer.source).is_some())
            .collect();
        if let Some((index, transfer)) = known.first() {
            return if known.len() == transfers.len() {
                Ok(true)
            } else {
                refuse(*index, Refusal::PartlyRepeated(transfer.source.clone()))
            };
        }
        let mut draft = self.clone();
        draft.now = draft.now.max(batch.now);
        for record in &mut draft.records {
            if let Action::Pend { until: Some(until), .. } = record.transfer.action
                && record.state == State::Pending
                && until <= draft.now
            {
                record.state = State::Expired;
            }
        }
        for (index, entry) in batch.entries.iter().enumerate() {
            match entry {
                Entry::Open(opening) => match draft.opening(opening.id) {
                    None => draft.openings.push(*opening),
                    Some(open) if open == *opening => {}
                    Some(open) => return refuse(index, Refusal::AccountDiffers { open }),
                },
                Entry::Transfer(transfer) => {
                    if let Err(refusal) = draft.transfer(transfer) {
                        return refuse(index, refusal);
                    }
                }
            }
        }
        *self = draft;
        Ok(false)
    }

    fn transfer(&mut self, transfer: &Transfer) -> Result<(), Refusal> {
        let mut state = State::Done;
        let moved = match &transfer.action {
            Action::Move(movement) => {
                self.allow(movement)?;
                Some(*movement)
            }
            Action::Pend { movement, until } => {
                if let Some(until) = until
                    && *until <= self.now
                {
                    return Err(Refusal::Past { until: *until, now: self.now });
                }
                self.allow(movement)?;
                state = State::Pending;
                None
            }
            Action::Post { pending, amount } => {
                let whole = self.pending(pending)?;
                let asked = amount.unwrap_or(whole.amount);
                if asked.0 == 0 {
                    return Err(Refusal::Nothing);
                } else if asked > whole.amount {
                    return Err(Refusal::MoreThanPending { pending: whole.amount, asked });
                }
                self.settle(pending, State::Posted(transfer.source.clone()));
                Some(Movement { amount: asked, ..whole })
            }
            Action::Void { pending } => {
                self.pending(pending)?;
                self.settle(pending, State::Voided(transfer.source.clone()));
                None
            }
        };
        let sequence = u64::try_from(self.records.len()).unwrap();
        let (transfer, at) = (transfer.clone(), self.now);
        self.records.push(Record { transfer, at, sequence, moved, state });
        Ok(())
    }

    fn allow(&self, movement: &Movement) -> Result<(), Refusal> {
        let Movement { debit, credit, amount } = *movement;
        if amount.0 == 0 {
            return Err(Refusal::Nothing);
        } else if debit == credit {
            return Err(Refusal::SameAccount(debit));
        }
        let from = self.opening(debit).ok_or(Refusal::NoAccount(debit))?;
        let to = self.opening(credit).ok_or(Refusal::NoAccount(credit))?;
        if from.unit != to.unit {
            return Err(Refusal::Units { debit: from.unit, credit: to.unit });
        }
        for (opening, side) in [(from, Side::Debit), (to, Side::Credit)] {
            let (account, rule) = (opening.id, opening.rule);
            let b = self.balance(account);
            let (pending, posted, other, bound) = match side {
                Side::Debit => (
                    b.debits_pending.0,
                    b.debits_posted.0,
                    b.credits_posted.0,
                    Rule::DebitsWithinCredits,
                ),
                Side::Credit => (
                    b.credits_pending.0,
                    b.credits_posted.0,
                    b.debits_posted.0,
                    Rule::CreditsWithinDebits,
                ),
            };
            if rule == bound && amount.0 > other - posted - pending {
                let available = Amount(other - posted - pending);
                return Err(Refusal::Exceeds { account, rule, available, asked: amount });
            }
            // Whether it would be pending or posted, the sum of both is what must fit.
            if amount.0 > u128::MAX - posted - pending {
                return Err(Refusal::Overflow { account, side });
            }
        }
        Ok(())
    }

    fn pending(&self, source: &Source) -> Result<Movement, Refusal> {
        let record = self.find(source).ok_or_else(|| Refusal::NoPending(source.clone()))?;
        match (&record.transfer.action, &record.state) {
            (Action::Pend { movement, .. }, State::Pending) => Ok(*movement),
            (Action::Pend { .. }, state) => {
                Err(Refusal::Settled { pending: source.clone(), state: state.clone() })
            }
            _ => Err(Refusal::NoPending(source.clone())),
        }
    }

    fn settle(&mut self, source: &Source, state: State) {
        self.records.iter_mut().find(|r| r.transfer.source == *source).unwrap().state = state;
    }

    pub fn balance(&self, id: AccountId) -> Balance {
        let mut balance = Balance::default();
        for record in &self.records {
            if let Some(Movement { debit, credit, amount }) = record.moved {
                balance.debits_posted.0 += if debit == id { amount.0 } else { 0 };
                balance.credits_posted.0 += if credit == id { amount.0 } else { 0 };
            }
            if let (State::Pending, Action::Pend { movement, .. }) =
                (&record.state, &record.transfer.action)
            {
                let Movement { debit, credit, amount } = *movement;
                balance.debits_pending.0 += if debit == id { amount.0 } else { 0 };
                balance.credits_pending.0 += if credit == id { amount.0 } else { 0 };
            }
        }
        balance
    }

    pub fn head(&self) -> Head {
        Head { at: self.now, records: u64::try_from(self.records.len()).unwrap() }
    }

    fn opening(&self, id: AccountId) -> Option<Opening> {
        self.openings.iter().copied().find(|opening| opening.id == id)
    }

    fn find(&self, source: &Source) -> Option<&Record> {
        self.records.iter().find(|record| record.transfer.source == *source)
    }
}

fn refuse(index: usize, refusal: Refusal) -> Result<bool, Failure<Infallible>> {
    Err(Failure::Refused { index, refusal })
}
