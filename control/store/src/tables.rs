//! The file, its connections and transactions.

use crate::schema;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader waits while the file is being switched over.
const BUSY: Duration = Duration::from_secs(5);
/// Pages that a backup copies before others may write.
const BACKUP_PAGES: i32 = 256;

/// Why the store did not do something. What a transaction did so far is taken back then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's word.
    #[error("store: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The file cannot be made or opened.
    #[error("store {}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// A value that is not what this program writes.
    #[error("store: {what} does not read: {error}")]
    Value {
        /// Of what.
        what: &'static str,
        /// Why.
        error: serde_json::Error,
    },
    /// Made by a later program.
    #[error("store is of schema {found}: this program knows up to {}", schema::SCHEMA)]
    Newer {
        /// Its schema.
        found: u32,
    },
    /// A number beyond what SQLite keeps.
    #[error("store: {0} does not fit in 63 bits")]
    Number(u64),
    /// Not a store, or one that is damaged.
    #[error("store: {0}")]
    Damaged(String),
}

/// Something that `check` found wrong, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage(pub String);

/// Whether a transaction waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// It does, so that what is acknowledged survives a power cut.
    Always,
    /// It does not: for the tests that must see what is lost then.
    Never,
}

/// The file, and the one connection that writes.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

/// A connection that only looks.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

/// The tables, inside a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a>(pub(crate) &'a Connection);

impl Store {
    /// Opens the file, makes it (mode 0600) if need be, and brings it to this program's schema.
    ///
    /// # Errors
    /// [`StoreError`]; a file of an earlier schema is as it was then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Synced::Always)
    }

    /// As [`Self::open`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_with(path: &Path, synced: Synced) -> Result<Self, StoreError> {
        let in_file = |error| StoreError::File { path: path.to_owned(), error };
        // SQLite would make it readable for all, and its journals as it is itself.
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let file = made.map_err(in_file)?;
        let mode = file.metadata().map_err(in_file)?.permissions().mode();
        if mode & 0o077 != 0 {
            let private = fs::Permissions::from_mode(mode & 0o700);
            file.set_permissions(private).map_err(in_file)?;
        }
        drop(file);
        let connection = Connection::open(path)?;
        configure(&connection, synced)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        schema::migrate(&connection)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does all of `change`, or nothing of it. When this returns `Ok`, a power cut does not undo it.
    ///
    /// # Errors
    /// What `change` returned, or that it could not be written.
    pub fn write<T, E: From<StoreError>>(
        &mut self,
        change: impl FnOnce(Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(StoreError::from)?;
        let done = change(Tables(&transaction))?;
        transaction.commit().map_err(StoreError::from)?;
        Ok(done)
    }

    /// Another connection to the same file, to look at it while this one writes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.path)
    }

    /// Looks at the tables as they are.
    ///
    /// # Errors
    /// What `look` returned.
    pub fn read<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        look(Tables(&self.connection))
    }
}

impl Reader {
    /// Opens a file that is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Readers of a WAL take part in its index, so the file is not opened read-only.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, Synced::Always)?;
        schema::expect_current(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Self { connection })
    }

    /// Looks at the tables as they are at one moment.
    ///
    /// # Errors
    /// What `look` returned.
    pub fn read<T, E: From<StoreError>>(
        &mut self,
        look: impl FnOnce(Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Deferred);
        let transaction = begun.map_err(StoreError::from)?;
        look(Tables(&transaction))
    }

    /// Copies the whole file as it is at one moment, while others write. The copy is synced, and there only when whole.
    ///
    /// # Errors
    /// [`StoreError`]; there is a file already, or it cannot be written.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let in_file = |error| StoreError::File { path: to.to_owned(), error };
        let partial = to.with_extension("partial");
        let open = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial);
        drop(open.map_err(in_file)?);
        let copied = (|| {
            let mut copy = Connection::open(&partial)?;
            let backup = Backup::new(&self.connection, &mut copy)?;
            backup.run_to_completion(BACKUP_PAGES, Duration::ZERO, None)?;
            drop(backup);
            // One file without journals beside it.
            copy.pragma_update(None, "journal_mode", "DELETE")?;
            drop(copy);
            let file = fs::File::open(&partial).and_then(|file| file.sync_all());
            // A copy that is there already is never written over.
            file.and_then(|()| fs::hard_link(&partial, to)).map_err(in_file)?;
            let above = to.parent().filter(|above| !above.as_os_str().is_empty());
            let above = fs::File::open(above.unwrap_or_else(|| Path::new(".")));
            above.and_then(|above| above.sync_all()).map_err(in_file)
        })();
        let removed = fs::remove_file(&partial);
        copied.and_then(|()| removed.map_err(in_file))
    }

    /// Everything that is wrong with the file: SQLite's own pages, and what must hold between the tables.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot even be looked at.
    pub fn check(&mut self) -> Result<Vec<Damage>, StoreError> {
        let mut damage = Vec::new();
        let mut integrity = self.connection.prepare("PRAGMA integrity_check")?;
        let lines = integrity.query_map([], |row| row.get::<_, String>(0))?;
        for line in lines {
            let line = line?;
            if line != "ok" {
                damage.push(Damage(line));
            }
        }
        drop(integrity);
        if damage.is_empty() {
            self.read(|tables| tables.check_all(&mut damage))?;
        }
        Ok(damage)
    }
}

fn configure(connection: &Connection, synced: Synced) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY)?;
    let synchronous = match synced {
        Synced::Always => "FULL",
        Synced::Never => "OFF",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

impl Tables<'_> {
    fn check_all(self, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        self.check_books(damage)?;
        self.check_config(damage)?;
        self.check_leases(damage)?;
        if let Err(broken) = self.check_audit()? {
            damage.push(Damage(broken.to_string()));
        }
        Ok(())
    }
}

/// As SQLite keeps it.
pub(crate) fn number(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_too_large| StoreError::Number(number))
}

/// From what SQLite kept; it never was negative.
pub(crate) fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(crate) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Value { what, error })
}

pub(crate) fn from_json<T: DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Value { what, error })
}
