//! The tables, and how files of earlier schemas become ones of this.

use crate::tables::StoreError;
use rusqlite::{Connection, TransactionBehavior};

/// Version of the tables.
pub const SCHEMA: u32 = 1;

/// "SWYD": what kind of file it is.
const APPLICATION: i32 = 0x5357_5944;

/// The step to each schema from the one before.
const STEPS: [&str; SCHEMA as usize] = [include_str!("schema/1.sql")];

/// Brings a file to [`SCHEMA`], all of it in one transaction.
pub(crate) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let Some(steps) = STEPS.get(found as usize..) else { return Err(StoreError::Newer { found }) };
    if steps.is_empty() {
        return expect_application(&transaction);
    }
    if found == 0 {
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 {
            return Err(StoreError::Damaged("the file is another program's database".into()));
        }
    } else {
        expect_application(&transaction)?;
    }
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()?;
    Ok(())
}

/// That a file is of this program's schema.
pub(crate) fn expect_current(connection: &Connection) -> Result<(), StoreError> {
    expect_application(connection)?;
    match version(connection)? {
        SCHEMA => Ok(()),
        found if found > SCHEMA => Err(StoreError::Newer { found }),
        found => Err(StoreError::Damaged(format!("of schema {found}, not brought to {SCHEMA}"))),
    }
}

fn version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn expect_application(connection: &Connection) -> Result<(), StoreError> {
    let found: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if found == APPLICATION {
        Ok(())
    } else {
        Err(StoreError::Damaged("the file is another program's database".into()))
    }
}
