//! Single values; answers to requests that may be sent again; records of chain followers.

use crate::tables::{StoreError, Tables, from_json, number, to_json};
use rusqlite::OptionalExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Names of single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Generation of the last spec that was sent or is to be sent.
    Generation,
    /// Number of the next lease.
    NextLease,
    /// Where the books stand.
    BooksHead,
    /// A commit that goes back by itself.
    Confirm,
    /// End of the last receipt that was fetched.
    ReceiptsUntil,
    /// What is being emptied for maintenance.
    Draining,
    /// Ports of the dataplane and their MTU, as it last said.
    Ports,
}

impl Fact {
    fn name(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::NextLease => "next_lease",
            Self::BooksHead => "books_head",
            Self::Confirm => "confirm",
            Self::ReceiptsUntil => "receipts_until",
            Self::Draining => "draining",
            Self::Ports => "ports",
        }
    }
}

/// What was answered to a request, to be answered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Digest of the request.
    pub request: Vec<u8>,
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Tables<'_> {
    /// A single value, if it was ever set.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn fact<T: DeserializeOwned>(self, fact: Fact) -> Result<Option<T>, StoreError> {
        let sql = "SELECT value FROM fact WHERE name = ?1";
        let text: Option<String> =
            self.0.prepare_cached(sql)?.query_row([fact.name()], |row| row.get(0)).optional()?;
        text.map(|text| from_json(fact.name(), &text)).transpose()
    }

    /// Sets a single value.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_fact<T: Serialize>(self, fact: Fact, value: &T) -> Result<(), StoreError> {
        let sql = "INSERT INTO fact (name, value) VALUES (?1, ?2)
                   ON CONFLICT DO UPDATE SET value = excluded.value";
        self.0.prepare_cached(sql)?.execute((fact.name(), to_json(fact.name(), value)?))?;
        Ok(())
    }

    /// What somebody was answered to the request of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reply(self, who: &str, name: &str) -> Result<Option<Reply>, StoreError> {
        let sql = "SELECT request, status, body FROM reply WHERE who = ?1 AND name = ?2";
        let mut found = self.0.prepare_cached(sql)?;
        let reply = found.query_row((who, name), |row| {
            Ok(Reply { request: row.get(0)?, status: row.get(1)?, body: row.get(2)? })
        });
        Ok(reply.optional()?)
    }

    /// Keeps an answer, and forgets those from before `oldest` (Unix milliseconds).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_reply(
        self,
        now: u64,
        oldest: u64,
        who: &str,
        name: &str,
        reply: &Reply,
    ) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM reply WHERE at < ?1")?.execute([number(oldest)?])?;
        let sql = "INSERT INTO reply (who, name, request, at, status, body)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let Reply { request, status, body } = reply;
        let row = (who, name, request, number(now)?, status, body);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// All records of chain followers whose name begins so, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn chain_records(self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let sql =
            "SELECT name, value FROM chain_record WHERE substr(name, 1, ?2) = ?1 ORDER BY name";
        let mut found = self.0.prepare_cached(sql)?;
        let length = number(prefix.chars().count() as u64)?;
        let rows = found.query_map((prefix, length), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps a record of a chain follower, or forgets it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_chain_record(self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        match value {
            Some(value) => {
                let sql = "INSERT INTO chain_record (name, value) VALUES (?1, ?2)
                           ON CONFLICT DO UPDATE SET value = excluded.value";
                self.0.prepare_cached(sql)?.execute((name, value))?;
            }
            None => {
                let sql = "DELETE FROM chain_record WHERE name = ?1";
                self.0.prepare_cached(sql)?.execute([name])?;
            }
        }
        Ok(())
    }
}
