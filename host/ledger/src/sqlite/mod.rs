//! The ledger in an embedded SQLite file, for one station or a small plant.
//!
//! One writer at a time (`BEGIN IMMEDIATE`), write-ahead log, `synchronous=FULL`. The file must lie on a
//! local disk: never on a network share.

mod advance;
mod audit;
mod convert;
mod pools;
mod read;
mod reserve;
mod schema;
mod take;
mod writer;

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use self::writer::Writer;
use crate::{
    error::LedgerError,
    eui::Assignment,
    ledger::Ledger,
    report::{Audit, Balance, Checkpoint, Event},
    types::{Hash, NumberKind, OrderTerms, Pool, PoolLevel, Request, Reservation, Step, Uid, Unit, UnitId},
};

/// A ledger in an SQLite file.
#[derive(Debug)]
pub struct SqliteLedger {
    connection: Connection,
}

impl SqliteLedger {
    /// Opens the ledger at `path`, or makes it.
    ///
    /// # Errors
    /// [`LedgerError::NotALedger`], [`LedgerError::Newer`], [`LedgerError::Corrupt`],
    /// [`LedgerError::Locked`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { connection: schema::open(path)? })
    }

    /// Runs `body` in one durable transaction, or leaves everything as it was.
    fn write<T>(
        &mut self,
        now: Timestamp,
        body: impl FnOnce(&mut Writer<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut writer = Writer::begin(&mut self.connection, now)?;
        let out = body(&mut writer)?;
        writer.commit()?;
        Ok(out)
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
