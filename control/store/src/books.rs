//! The ledger's books.

use crate::facts::Fact;
use crate::tables::{Damage, StoreError, Tables, from_json, number, to_json};
use ledger::{
    Account, AccountId, Amount, Balance, Batch, Books, Changes, Decision, Failure, Head, Record,
    Source, UnixMillis, decide,
};
use rusqlite::OptionalExtension;
use std::collections::BTreeMap;

impl Books for Tables<'_> {
    type Error = StoreError;

    fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let sql = "SELECT body FROM account WHERE id = ?1";
        let mut found = self.0.prepare_cached(sql)?;
        let body: Option<String> = found.query_row([number(id.0)?], |row| row.get(0)).optional()?;
        body.map(|body| from_json("account", &body)).transpose()
    }

    fn record(&self, source: &Source) -> Result<Option<Record>, StoreError> {
        let sql = "SELECT body FROM record WHERE source = ?1";
        let mut found = self.0.prepare_cached(sql)?;
        let body: Option<String> =
            found.query_row([source.bytes()], |row| row.get(0)).optional()?;
        body.map(|body| from_json("record", &body)).transpose()
    }

    fn due(&self, now: UnixMillis) -> Result<Vec<Record>, StoreError> {
        let sql = "SELECT body FROM record WHERE due <= ?1 ORDER BY due, source";
        let mut found = self.0.prepare_cached(sql)?;
        let bodies = found.query_map([number(now)?], |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("record", &body?)).collect()
    }

    fn head(&self) -> Result<Head, StoreError> {
        let head: Option<(UnixMillis, u64)> = self.fact(Fact::BooksHead)?;
        let (at, records) = head.unwrap_or_default();
        Ok(Head { at, records })
    }
}

impl Tables<'_> {
    /// Does a batch: all of it, or nothing.
    ///
    /// # Errors
    /// [`Failure`]; nothing has changed then.
    pub fn post(self, batch: &Batch) -> Result<Decision, Failure<StoreError>> {
        let decision = decide(&self, batch)?;
        if let Decision::Commit(changes) = &decision {
            self.put_changes(changes).map_err(Failure::Books)?;
        }
        Ok(decision)
    }

    fn put_changes(self, changes: &Changes) -> Result<(), StoreError> {
        let Changes { head, accounts, records } = changes;
        self.set_fact(Fact::BooksHead, &(head.at, head.records))?;
        let mut put = self.0.prepare_cached(
            "INSERT INTO account (id, body) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET body = excluded.body",
        )?;
        for account in accounts {
            put.execute((number(account.opening.id.0)?, to_json("account", account)?))?;
        }
        let mut put = self.0.prepare_cached(
            "INSERT INTO record (sequence, source, at, due, debit, credit, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (sequence) DO UPDATE SET due = excluded.due, body = excluded.body",
        )?;
        for record in records {
            let (debit, credit) = match record.moved {
                Some(moved) => (Some(number(moved.debit.0)?), Some(number(moved.credit.0)?)),
                None => (None, None),
            };
            put.execute((
                number(record.sequence)?,
                record.transfer.source.bytes(),
                number(record.at)?,
                record.due().map(number).transpose()?,
                debit,
                credit,
                to_json("record", record)?,
            ))?;
        }
        Ok(())
    }

    /// Accounts from `from` on, by number, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn accounts(self, from: AccountId, limit: u32) -> Result<Vec<Account>, StoreError> {
        let sql = "SELECT body FROM account WHERE id >= ?1 ORDER BY id LIMIT ?2";
        let mut found = self.0.prepare_cached(sql)?;
        let bodies = found.query_map((number(from.0)?, limit), |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("account", &body?)).collect()
    }

    /// Records from a sequence on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn records(self, from: u64, limit: u32) -> Result<Vec<Record>, StoreError> {
        let sql = "SELECT body FROM record WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2";
        let mut found = self.0.prepare_cached(sql)?;
        let bodies = found.query_map((number(from)?, limit), |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("record", &body?)).collect()
    }

    /// Records that moved something on an account, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn records_of(self, account: AccountId) -> Result<Vec<Record>, StoreError> {
        let sql = "SELECT sequence, body FROM record WHERE debit = ?1
                   UNION ALL SELECT sequence, body FROM record WHERE credit = ?1 ORDER BY 1";
        let mut found = self.0.prepare_cached(sql)?;
        let bodies = found.query_map([number(account.0)?], |row| row.get::<_, String>(1))?;
        bodies.map(|body| from_json("record", &body?)).collect()
    }

    /// Debits are credits in each unit, posted sums are those of the records, and no record is missing.
    pub(crate) fn check_books(self, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        let mut moved: BTreeMap<AccountId, (u128, u128)> = BTreeMap::new();
        let mut next = 0;
        let mut found = self.0.prepare_cached("SELECT body FROM record ORDER BY sequence")?;
        for body in found.query_map([], |row| row.get::<_, String>(0))? {
            let record: Record = from_json("record", &body?)?;
            if record.sequence != next {
                damage.push(Damage(format!("record {next} is missing")));
                return Ok(());
            }
            next += 1;
            if let Some(of) = record.moved {
                let debited = &mut moved.entry(of.debit).or_default().0;
                *debited = debited.saturating_add(of.amount.0);
                let credited = &mut moved.entry(of.credit).or_default().1;
                *credited = credited.saturating_add(of.amount.0);
            }
        }
        let head = self.head()?;
        if head.records != next {
            damage.push(Damage(format!(
                "{next} records are there, the books tell of {}",
                head.records
            )));
        }
        let mut sums: BTreeMap<_, Balance> = BTreeMap::new();
        let mut found = self.0.prepare_cached("SELECT body FROM account ORDER BY id")?;
        for body in found.query_map([], |row| row.get::<_, String>(0))? {
            let Account { opening, balance } = from_json("account", &body?)?;
            let expected = moved.remove(&opening.id).unwrap_or_default();
            if (balance.debits_posted, balance.credits_posted)
                != (Amount(expected.0), Amount(expected.1))
            {
                damage.push(Damage(format!(
                    "account {} does not hold what its records moved",
                    opening.id
                )));
            }
            let sum = sums.entry(opening.unit).or_default();
            match sum.plus(&balance) {
                Some(more) => *sum = more,
                None => {
                    damage.push(Damage(format!("the sums of unit {} do not fit", opening.unit)))
                }
            }
        }
        for account in moved.keys() {
            damage.push(Damage(format!("account {account} has records and is not there")));
        }
        for (unit, sum) in sums {
            let posted = sum.debits_posted == sum.credits_posted;
            if !posted || sum.debits_pending != sum.credits_pending {
                damage.push(Damage(format!("debits of unit {unit} are not its credits")));
            }
        }
        Ok(())
    }
}
