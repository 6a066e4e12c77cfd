//! Opening the database file: whose it is, how new it is, and bringing it up to date.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::LedgerError;

/// `PFLL`: marks the file as a panelflash ledger for this program and for `file(1)`.
pub(super) const APPLICATION_ID: i32 = 0x5046_4C4C;
/// One script per schema number, from 1. A script that is released is never edited.
const MIGRATIONS: [&str; 2] = [include_str!("0001_ledger.sql"), include_str!("0002_blobs.sql")];
/// How long a reader (`ledger balance` beside a running station) may hold up a writer.
const BUSY: Duration = Duration::from_secs(2);

/// Opens or makes the database at `path`.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let found = check_owner(&connection, path)?;
    // WAL with FULL: a commit is one synced append, and it is on the disk when it returns.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // References are looked at by the audit instead of at each of a panel's three hundred rows.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    if found < newest() {
        migrate(&mut connection)?;
    }
    Ok(connection)
}

fn newest() -> i64 {
    MIGRATIONS.len() as i64
}

/// The schema number, after refusing a foreign or newer file. Nothing is written before this.
fn check_owner(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let fresh = application == 0 && version == 0 && tables == 0;
    if !fresh && application != i64::from(APPLICATION_ID) {
        return Err(LedgerError::NotALedger { path: path.display().to_string(), found: application as i32 });
    }
    if version > newest() {
        return Err(LedgerError::Newer { found: version, known: newest() });
    }
    Ok(version)
}

/// Runs the missing scripts in one transaction. Two programs that open a new file at once take turns.
fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for script in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(script)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest())?;
    transaction.commit()?;
    Ok(())
}
