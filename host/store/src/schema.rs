//! The database file: whose it is, which format it has, and how an older one is brought up to date.
//!
//! The format number is SQLite's `user_version`; migration `NNNN_name.sql` leads from format NNNN-1 to NNNN.
//! A migration that was released is never edited. A file that is not ours or is newer than we know is
//! recognised from its first 100 bytes, before SQLite may touch it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::StoreError;

const FILE: &str = "records.db";

/// Marks the file as ours: "PFLR".
const APPLICATION_ID: u32 = 0x5046_4c52;

/// Long enough for another program's backup to let go, short enough not to look like a hang.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_records.sql")];

/// The newest format this program knows.
pub(crate) fn newest_version() -> u32 {
    MIGRATIONS.len() as u32
}

/// Where the database of a directory is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Opens the database for writing, creates or migrates it, and makes every commit durable.
pub(crate) fn open_for_writing(dir: &Path) -> Result<Connection, StoreError> {
    let path = path(dir);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // SQLite falls back to reading without a word.
    if connection.is_readonly("main")? {
        return Err(StoreError::Directory { path, source: ErrorKind::PermissionDenied.into() });
    }
    let version = check(&connection, &path)?;
    prepare_once(&connection)?;
    // FULL: a commit returns after fsync. The other two ask macOS for a real one.
    for (name, value) in [("synchronous", "FULL"), ("fullfsync", "ON"), ("checkpoint_fullfsync", "ON")] {
        connection.pragma_update(None, name, value)?;
    }
    connection.pragma_update(None, "foreign_keys", "ON")?;
    migrate(&mut connection, version)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Corrupt { detail: format!("journal mode is {mode:?} instead of wal") });
    }
    if version < newest_version() {
        // The next program to look at the bare file must see its format.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(connection)
}

/// Opens the database for reading; it must be there and up to date.
pub(crate) fn open_for_reading(dir: &Path) -> Result<Connection, StoreError> {
    let path = path(dir);
    if peek(&path)? == Contents::Empty {
        return Err(StoreError::Missing { path: dir.to_owned() });
    }
    let connection = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    prepare_once(&connection)?;
    match check(&connection, &path)? {
        0 => Err(StoreError::Missing { path: dir.to_owned() }),
        found if found < newest_version() => {
            Err(StoreError::OlderVersion { path, found, known: newest_version() })
        }
        _ => Ok(connection),
    }
}

/// Keeps prepared statements: all of ours fit into the cache, and new parameter values do not make SQLite plan
/// them again (which otherwise takes a third of the time of a batch).
fn prepare_once(connection: &Connection) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// An empty database in memory with the newest format.
pub(crate) fn open_scratch() -> Result<Connection, StoreError> {
    let mut connection = Connection::open_in_memory()?;
    prepare_once(&connection)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    migrate(&mut connection, 0)?;
    Ok(connection)
}

/// What a file is before SQLite has looked at it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// No file, or nothing in it that counts.
    Empty,
    /// One of our databases, of a format we know.
    Ours,
}

/// Looks at a file without touching it; fails unless it is ours to open.
pub(crate) fn peek(path: &Path) -> Result<Contents, StoreError> {
    let failed = |source| StoreError::Directory { path: path.to_owned(), source };
    let mut header = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(100).read_to_end(&mut header).map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contents::Empty),
        Err(error) => return Err(failed(error)),
    };
    // A first transaction that was cut off: SQLite rolls it back to nothing, whatever the header says now.
    if header.is_empty() || hot_journal(path).exists() {
        return Ok(Contents::Empty);
    }
    // Offsets: SQLite file format, section 1.3.
    let word =
        |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let (Some(version), Some(id)) = (word(60), word(68)) else {
        return Err(StoreError::NotADatabase { path: path.to_owned() });
    };
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::NotADatabase { path: path.to_owned() });
    }
    judge(path, version, id)?;
    Ok(Contents::Ours)
}

/// The rollback journal that SQLite leaves beside a database in an unfinished transaction without WAL.
fn hot_journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    PathBuf::from(name)
}

/// Asks SQLite, which also knows of a write-ahead log, whose database this is; returns its format.
fn check(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let version = pragma("user_version")?.cast_unsigned();
    let id = pragma("application_id")?.cast_unsigned();
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (version, id, tables) != (0, 0, 0) {
        judge(path, version, id)?;
    }
    Ok(version)
}

fn judge(path: &Path, version: u32, id: u32) -> Result<(), StoreError> {
    let known = newest_version();
    if id != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.to_owned(), application_id: id });
    }
    if version > known {
        return Err(StoreError::NewerVersion { path: path.to_owned(), found: version, known });
    }
    Ok(())
}

/// Applies the missing migrations, each with its format number in one transaction.
fn migrate(connection: &mut Connection, version: u32) -> Result<(), StoreError> {
    for (number, sql) in (1_u32..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
