//! Who did what: a chain of records, each with the digest of the one before, so that none is taken out or changed
//! without the rest telling.

use crate::tables::{StoreError, Tables, natural, number};
use rusqlite::{OptionalExtension, Row};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// What is digested begins with it.
const DOMAIN: &[u8] = b"switchyard audit 1\0";

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// When, Unix milliseconds.
    pub at: u64,
    /// Who.
    pub who: String,
    /// Whose business it was, besides the box's own.
    pub tenant: Option<String>,
    /// What, e.g. `config.commit`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// In words; no secret is in it.
    pub detail: String,
}

/// The same in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// Its place, from 1.
    pub sequence: u64,
    /// What.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// SHA-256 over the digest of the record before and this one, 64 hexadecimal digits.
    pub digest: String,
}

/// Where the chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit record {sequence}: it was changed, or one before it was taken out")]
pub struct BrokenAudit {
    /// The first that does not follow.
    pub sequence: u64,
}

impl Tables<'_> {
    /// Adds what somebody did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn audit(self, entry: &AuditEntry) -> Result<(), StoreError> {
        let sql = "SELECT sequence, digest FROM audit ORDER BY sequence DESC LIMIT 1";
        let mut found = self.0.prepare_cached(sql)?;
        let last = found.query_row([], |row| Ok((natural(row.get(0)?), row.get(1)?))).optional()?;
        let (sequence, previous): (u64, Vec<u8>) = last.unwrap_or_else(|| (0, vec![0; 32]));
        let sequence = sequence + 1;
        let sql = "INSERT INTO audit (sequence, at, who, tenant, action, subject, detail, digest)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let AuditEntry { at, who, tenant, action, subject, detail } = entry;
        let digest = digest(&previous, sequence, entry);
        let row = (number(sequence)?, number(*at)?, who, tenant, action, subject, detail, digest);
        self.0.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// Records before a sequence, newest first, at most `limit`; of one tenant's business, or all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn audit_records(
        self,
        tenant: Option<&str>,
        before: u64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let sql = "SELECT sequence, at, who, tenant, action, subject, detail, digest FROM audit
                   WHERE (?1 IS NULL OR tenant = ?1) AND sequence < ?2
                   ORDER BY sequence DESC LIMIT ?3";
        let mut found = self.0.prepare_cached(sql)?;
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let rows = found.query_map((tenant, before, limit), record)?;
        Ok(rows.map(|row| row.map(|(record, _)| record)).collect::<Result<_, _>>()?)
    }

    /// Whether the chain holds, from its first record on.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn check_audit(self) -> Result<Result<(), BrokenAudit>, StoreError> {
        let sql = "SELECT sequence, at, who, tenant, action, subject, detail, digest FROM audit
                   ORDER BY sequence";
        let mut found = self.0.prepare_cached(sql)?;
        let mut previous = vec![0; 32];
        for (row, expected) in found.query_map([], record)?.zip(1_u64..) {
            let (AuditRecord { sequence, entry, .. }, bytes) = row?;
            if sequence != expected || digest(&previous, sequence, &entry) != bytes {
                return Ok(Err(BrokenAudit { sequence }));
            }
            previous = bytes;
        }
        Ok(Ok(()))
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<(AuditRecord, Vec<u8>)> {
    let entry = AuditEntry {
        at: natural(row.get(1)?),
        who: row.get(2)?,
        tenant: row.get(3)?,
        action: row.get(4)?,
        subject: row.get(5)?,
        detail: row.get(6)?,
    };
    let bytes: Vec<u8> = row.get(7)?;
    let digest = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((AuditRecord { sequence: natural(row.get(0)?), entry, digest }, bytes))
}

fn digest(previous: &[u8], sequence: u64, entry: &AuditEntry) -> Vec<u8> {
    let AuditEntry { at, who, tenant, action, subject, detail } = entry;
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(previous);
    hash.update(sequence.to_le_bytes());
    hash.update(at.to_le_bytes());
    hash.update([u8::from(tenant.is_some())]);
    let tenant = tenant.as_deref().unwrap_or_default();
    for text in [who, tenant, action, subject, detail] {
        // With their lengths: no text runs into the next.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().to_vec()
}
