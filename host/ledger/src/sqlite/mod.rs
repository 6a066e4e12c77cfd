//! The ledger in an embedded SQLite file, for one station or a small plant.
//!
//! One writer at a time (`BEGIN IMMEDIATE`), write-ahead log, `synchronous=FULL`. The file must lie on a
//! local disk: never on a network share.

mod advance;
mod audit;
mod audit_keys;
mod blobs;
mod convert;
mod pools;
mod read;
mod reserve;
mod schema;
mod take;
mod writer;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

use self::writer::Writer;
use crate::{
    error::LedgerError,
    eui::Assignment,
    ledger::Ledger,
    report::{Audit, Balance, Checkpoint, Event},
    types::{
        Content, Hash, NamedBlob, NumberKind, OrderTerms, Pool, PoolLevel, Request, Reservation, Step,
        Supply, Uid, Unit, UnitId,
    },
};

/// A moment in the writing of one transaction, in order: where a test may stop the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Everything is in the transaction; nothing of it is durable.
    BeforeCommit,
    /// All of it is durable; the caller does not know it yet.
    AfterCommit,
}

/// Answers whether to stop at a moment.
type Question = Box<dyn FnMut(Moment) -> bool + Send>;

/// A ledger in an SQLite file.
pub struct SqliteLedger {
    connection: Connection,
    path: PathBuf,
    file: FileIdentity,
    question: Option<Question>,
    stopped: bool,
}

impl SqliteLedger {
    /// Opens the ledger at `path`, or makes it.
    ///
    /// # Errors
    /// [`LedgerError::NotALedger`], [`LedgerError::Newer`], [`LedgerError::Corrupt`],
    /// [`LedgerError::Locked`], [`LedgerError::Vanished`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = schema::open(path)?;
        let file = FileIdentity::of(path)
            .ok_or_else(|| LedgerError::Vanished { path: path.display().to_string() })?;
        Ok(Self { connection, path: path.to_owned(), file, question: None, stopped: false })
    }

    /// For tests: asks `question` at each [`Moment`] of each write, and stops the ledger for good where it answers
    /// `true`: this call and all later ones fail with [`LedgerError::Stopped`] and change nothing more, as if the
    /// process had been killed there.
    pub fn stop_at(&mut self, question: impl FnMut(Moment) -> bool + Send + 'static) {
        self.question = Some(Box::new(question));
    }

    /// Runs `body` in one durable transaction, or leaves everything as it was.
    fn write<T>(
        &mut self,
        now: Timestamp,
        body: impl FnOnce(&mut Writer<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        // A database that was deleted can still be written to, and nobody would ever read it again.
        if FileIdentity::of(&self.path) != Some(self.file) {
            return Err(LedgerError::Vanished { path: self.path.display().to_string() });
        }
        let Self { connection, question, stopped, .. } = self;
        let mut pass = |moment| {
            *stopped = *stopped || question.as_mut().is_some_and(|question| question(moment));
            if *stopped { Err(LedgerError::Stopped) } else { Ok(()) }
        };
        let mut writer = Writer::begin(connection, now)?;
        let out = body(&mut writer)?;
        pass(Moment::BeforeCommit)?;
        writer.commit()?;
        pass(Moment::AfterCommit)?;
        Ok(out)
    }
}

/// Which file a path leads to, as far as the system can say.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl FileIdentity {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt as _;
            Self { device_and_inode: (metadata.dev(), metadata.ino()) }
        };
        #[cfg(not(unix))]
        let identity = {
            _ = metadata;
            Self {}
        };
        Some(identity)
    }
}

impl std::fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteLedger").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Ledger for SqliteLedger {
    fn open_order(&mut self, order: &OrderTerms, now: Timestamp) -> Result<(), LedgerError> {
        self.write(now, |writer| pools::open_order(writer, order))
    }

    fn add_pool(&mut self, pool: &Pool, now: Timestamp) -> Result<(), LedgerError> {
        self.write(now, |writer| pools::add(writer, pool))
    }

    fn add_assignment(&mut self, assignment: &Assignment, now: Timestamp) -> Result<(), LedgerError> {
        self.write(now, |writer| pools::add_assignment(writer, assignment))
    }

    fn reserve_many(&mut self, request: &Request, now: Timestamp) -> Result<Vec<Reservation>, LedgerError> {
        self.write(now, |writer| reserve::reserve_many(writer, request, None))
    }

    fn advance(&mut self, steps: &[Step], now: Timestamp) -> Result<(), LedgerError> {
        self.write(now, |writer| steps.iter().try_for_each(|step| advance::step(writer, step)))
    }

    fn supersede(
        &mut self,
        old: UnitId,
        request: &Request,
        now: Timestamp,
    ) -> Result<Reservation, LedgerError> {
        self.write(now, |writer| reserve::supersede(writer, old, request))
    }

    fn doubt_interrupted(&mut self, now: Timestamp) -> Result<Vec<UnitId>, LedgerError> {
        self.write(now, advance::doubt_interrupted)
    }

    fn interrupted(&self) -> Result<Vec<Unit>, LedgerError> {
        read::interrupted(&self.connection)
    }

    fn blob(&self, unit: UnitId, sha256: Hash) -> Result<Option<Vec<u8>>, LedgerError> {
        read::blob(&self.connection, unit, sha256)
    }

    fn content(&self, blob: &NamedBlob) -> Result<Option<Content>, LedgerError> {
        blobs::content(&self.connection, blob)
    }

    fn supply(&self, product: &str, order: Option<&str>, name: &str) -> Result<Supply, LedgerError> {
        blobs::supply(&self.connection, product, order, name)
    }

    fn unit(&self, unit: UnitId) -> Result<Option<Unit>, LedgerError> {
        read::unit(&self.connection, unit)
    }

    fn find_chip(&self, product: &str, uid: Uid) -> Result<Vec<Unit>, LedgerError> {
        read::find_chip(&self.connection, product, uid)
    }

    fn find_number(&self, kind: NumberKind, value: &str) -> Result<Vec<Unit>, LedgerError> {
        read::find_number(&self.connection, kind, value)
    }

    fn units(&self, after: Option<UnitId>, limit: usize) -> Result<Vec<Unit>, LedgerError> {
        read::units(&self.connection, after, limit)
    }

    fn pools(&self) -> Result<Vec<PoolLevel>, LedgerError> {
        pools::levels(&self.connection)
    }

    fn orders(&self) -> Result<Vec<String>, LedgerError> {
        read::orders(&self.connection)
    }

    fn balance(&self, order: &str) -> Result<Balance, LedgerError> {
        read::balance(&self.connection, order)
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, LedgerError> {
        read::events(&self.connection, after, limit)
    }

    fn head(&self) -> Result<Option<Checkpoint>, LedgerError> {
        read::head(&self.connection)
    }

    fn audit(&self, written_down: &[Checkpoint]) -> Result<Audit, LedgerError> {
        audit::audit(&self.connection, written_down)
    }
}
