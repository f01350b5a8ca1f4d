//! Tokens, receipts and invoices.

use crate::tables::{StoreError, Tables, from_json, natural, number, to_json};
use dataplane_api::Receipt;
use domain::access::Grant;
use ledger::invoice::Heading;
use rusqlite::{OptionalExtension, Row};
use serde::Serialize;
use serde_json::Value;

/// A token, without what is secret of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its number, for good.
    pub id: u32,
    /// How people call it; the author of what is done with it.
    pub name: String,
    /// What it is good for.
    pub grant: Grant,
    /// When it was made, Unix milliseconds.
    pub created: u64,
    /// When it ends by itself.
    pub expires: Option<u64>,
    /// When it was taken back.
    pub revoked: Option<u64>,
}

impl Token {
    /// Whether it is good at a time.
    #[must_use]
    pub fn holds(&self, now: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Tables<'_> {
    /// Keeps a new token and returns its number.
    ///
    /// `hash`: of its secret, in PHC form.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_token(
        self,
        name: &str,
        hash: &str,
        grant: &Grant,
        created: u64,
        expires: Option<u64>,
    ) -> Result<u32, StoreError> {
        let sql = "INSERT INTO token (id, name, hash, access, created, expires)
                   VALUES ((SELECT coalesce(max(id), 0) + 1 FROM token), ?1, ?2, ?3, ?4, ?5)
                   RETURNING id";
        let expires = expires.map(number).transpose()?;
        let row = (name, hash, to_json("access", grant)?, number(created)?, expires);
        Ok(self.0.prepare_cached(sql)?.query_row(row, |row| row.get(0))?)
    }

    /// A token and the hash of its secret.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn token(self, id: u32) -> Result<Option<(Token, String)>, StoreError> {
        let sql =
            "SELECT id, name, access, created, expires, revoked, hash FROM token WHERE id = ?1";
        let mut found = self.0.prepare_cached(sql)?;
        let found = found.query_row([id], |row| Ok(token(row).map(|token| (token, row.get(6)))));
        let Some(found) = found.optional()? else { return Ok(None) };
        let (token, hash) = found?;
        Ok(Some((token, hash?)))
    }

    /// All tokens, by number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tokens(self) -> Result<Vec<Token>, StoreError> {
        let sql = "SELECT id, name, access, created, expires, revoked FROM token ORDER BY id";
        let mut found = self.0.prepare_cached(sql)?;
        let rows = found.query_map([], |row| Ok(token(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Takes a token back; `false`: it was before, or there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke_token(self, id: u32, now: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE token SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
        Ok(self.0.prepare_cached(sql)?.execute((id, number(now)?))? > 0)
    }

    /// Keeps receipts; those that are there already are left as they are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_receipts(self, receipts: &[Receipt]) -> Result<(), StoreError> {
        let mut put = self.0.prepare_cached(
            "INSERT INTO receipt (lease, since, until, digest, body) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
        )?;
        for receipt in receipts {
            let body = to_json("receipt", receipt)?;
            let (from, until) = (number(receipt.from)?, number(receipt.until)?);
            put.execute((receipt.lease, from, until, &receipt.digest, body))?;
        }
        Ok(())
    }

    /// Receipts of a lease that begin in [from, until), in order of time, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receipts(
        self,
        lease: u32,
        from: u64,
        until: u64,
        limit: u32,
    ) -> Result<Vec<Receipt>, StoreError> {
        let sql = "SELECT body FROM receipt WHERE lease = ?1 AND since >= ?2 AND since < ?3
                   ORDER BY since, until LIMIT ?4";
        let mut found = self.0.prepare_cached(sql)?;
        let until = i64::try_from(until).unwrap_or(i64::MAX);
        let bodies =
            found.query_map((lease, number(from)?, until, limit), |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("receipt", &body?)).collect()
    }

    /// The last receipt of a lease that begins before a time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn receipt_before(self, lease: u32, at: u64) -> Result<Option<Receipt>, StoreError> {
        let sql = "SELECT body FROM receipt WHERE lease = ?1 AND since < ?2
                   ORDER BY since DESC LIMIT 1";
        let mut found = self.0.prepare_cached(sql)?;
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        let body = found.query_row((lease, at), |row| row.get::<_, String>(0)).optional()?;
        body.map(|body| from_json("receipt", &body)).transpose()
    }

    /// The number that the next invoice must have.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_invoice(self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) + 1 FROM invoice";
        Ok(natural(self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
    }

    /// End of the last period for which a tenant has an invoice in a unit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn invoiced_until(self, tenant: u32, unit: u32) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT max(until) FROM invoice WHERE tenant = ?1 AND unit = ?2";
        let mut found = self.0.prepare_cached(sql)?;
        let until: Option<i64> = found.query_row((tenant, unit), |row| row.get(0))?;
        Ok(until.map(natural))
    }

    /// Keeps an invoice, as it was written.
    ///
    /// # Errors
    /// [`StoreError`]; its number is taken.
    pub fn put_invoice(self, heading: &Heading, body: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO invoice (number, tenant, unit, since, until, body)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let Heading { number: id, tenant, unit, from, until, .. } = heading;
        let row = (number(*id)?, tenant, unit.0, number(*from)?, number(*until)?, body);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Invoices before a number, newest first, at most `limit`; of one tenant, or all. Each as it was written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn invoices(
        self,
        tenant: Option<u32>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<Value>, StoreError> {
        let sql = "SELECT body FROM invoice WHERE (?1 IS NULL OR tenant = ?1) AND number < ?2
                   ORDER BY number DESC LIMIT ?3";
        let mut found = self.0.prepare_cached(sql)?;
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let bodies = found.query_map((tenant, before, limit), |row| row.get::<_, String>(0))?;
        bodies.map(|body| from_json("invoice", &body?)).collect()
    }
}

fn token(row: &Row<'_>) -> Result<Token, StoreError> {
    let (grant, expires, revoked): (String, Option<i64>, Option<i64>) =
        (row.get(2)?, row.get(4)?, row.get(5)?);
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        grant: from_json("access", &grant)?,
        created: natural(row.get(3)?),
        expires: expires.map(natural),
        revoked: revoked.map(natural),
    })
}
