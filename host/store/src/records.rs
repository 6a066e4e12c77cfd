//! The reader: [`Records`].

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use crate::chain::{self, ChainReport};
use crate::doubt::{self, InDoubt};
use crate::error::StoreError;
use crate::hex::Uid;
use crate::record::RunId;
use crate::replay::{self, RowsReport};
use crate::report::{self, EventRow, Filter, Finished, RunSummary, UnitHistory, UnitLine, YieldReport};
use crate::retest::{self, KeptApart, Standing};
use crate::schema;

/// Reads the records of a directory; changes nothing in them.
#[derive(Debug)]
pub struct Records {
    db: Connection,
}

impl From<Connection> for Records {
    fn from(db: Connection) -> Self {
        Self { db }
    }
}

impl Records {
    /// Opens the records of a directory for reading, also while a [`Store`](crate::Store) writes them.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there are none; a file that is not our database, one of another format, or
    /// any trouble of the place.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        schema::open_for_reading(dir).map(Self::from)
    }

    /// Time of the newest record of a run that kept to the wall clock, UTC microseconds.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn newest_us(&self) -> Result<Option<i64>, StoreError> {
        let newest = self.connection().query_row(
            "SELECT e.at_us FROM events e JOIN runs r ON r.id = e.run WHERE r.virtual_time = 0
             ORDER BY e.id DESC LIMIT 1",
            [],
            |row| row.get(0),
        );
        Ok(newest.optional()?)
    }

    /// Text of the newest note on this topic in a run of a work order; none if there is none, or if it is no text.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn newest_order_note(&self, topic: &str) -> Result<Option<String>, StoreError> {
        let newest = self.db.query_row(
            "SELECT json_extract(e.body, '$.body') FROM events e JOIN runs r ON r.id = e.run
             WHERE r.order_id IS NOT NULL AND e.kind = 'note' AND json_extract(e.body, '$.topic') = ?1
             ORDER BY e.id DESC LIMIT 1",
            [topic],
            |row| row.get(0),
        );
        Ok(newest.optional()?.flatten())
    }

    /// What is held against a unit: runs that did not pass since it last did or was released, and who keeps it apart.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn standing(&self, product: &str, uid: &Uid) -> Result<Standing, StoreError> {
        retest::standing(&self.db, product, uid)
    }

    /// Units (of one product) that may not be run again until a person releases them, by the policy each was last run
    /// under; those that were scrapped are not among them.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn kept_apart(&self, product: Option<&str>) -> Result<Vec<KeptApart>, StoreError> {
        self.snapshot(|db| retest::kept_apart(db, product))
    }

    /// Slots of a panel whose last identified board passed and proved its lock, of one product.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn finished(&self, product: &str, panel: &str) -> Result<Vec<Finished>, StoreError> {
        report::finished(&self.db, product, panel)
    }

    /// All attempts in doubt, oldest first. While another process writes, its open attempts are among them.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn in_doubt(&self) -> Result<Vec<InDoubt>, StoreError> {
        doubt::list(&self.db)
    }

    /// One line per attempt that the filter selects, in the order in which they began. An attempt that has
    /// not ended is in doubt.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn csv(&self, filter: &Filter) -> Result<Vec<UnitLine>, StoreError> {
        report::lines(&self.db, filter)
    }

    /// The history of the units with this serial number or UID, or of the one unit whose serial number or UID
    /// begins so. Several units match a whole UID only in several products, and a whole serial number only
    /// after a chip was replaced.
    ///
    /// # Errors
    /// [`Refusal::NoSuchUnit`](crate::Refusal::NoSuchUnit),
    /// [`Refusal::AmbiguousUnit`](crate::Refusal::AmbiguousUnit), or any trouble of the database.
    pub fn unit(&self, query: &str) -> Result<Vec<UnitHistory>, StoreError> {
        self.snapshot(|db| report::units(db, query))
    }

    /// Yields, failure codes and slots. See [`YieldReport`] for what is counted how.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn yields(&self, filter: &Filter) -> Result<YieldReport, StoreError> {
        self.snapshot(|db| report::yields(db, filter))
    }

    /// A run's data; none if there is no such run.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn run(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        self.snapshot(|db| report::run(db, run))
    }

    /// All events of a run in their order, also those that belong to no slot.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn events(&self, run: RunId) -> Result<Vec<EventRow>, StoreError> {
        report::run_events(&self.db, run)
    }

    /// Checks the hash chain over all events; says the first bad one.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn verify_chain(&self) -> Result<ChainReport, StoreError> {
        chain::verify(&self.db)
    }

    /// Computes all rows again from the events and compares. Takes memory in proportion to the database.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn verify_rows(&self) -> Result<RowsReport, StoreError> {
        self.snapshot(replay::verify)
    }

    /// Checks the file itself, page by page; says what is damaged.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first damage, or any trouble of the database.
    pub fn verify_file(&self) -> Result<(), StoreError> {
        let found: String = self.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt { detail: found }) }
    }

    /// Answers a question that takes several queries as of one moment, should somebody be writing.
    fn snapshot<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let snapshot = self.db.unchecked_transaction()?;
        let answer = ask(&snapshot);
        snapshot.finish()?;
        answer
    }

    pub(crate) fn newest_open_run(&self) -> Result<Option<RunId>, StoreError> {
        let sql = "SELECT id FROM runs WHERE ended_us IS NULL ORDER BY id DESC LIMIT 1";
        Ok(self.db.query_row(sql, [], |row| row.get(0)).optional()?)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.db
    }

    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.db
    }
}
