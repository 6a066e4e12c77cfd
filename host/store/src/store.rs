//! The writer: [`Store`].
//!
//! Each call is one transaction: the events, their links in the hash chain and their rows become durable
//! together or not at all. Nothing is cached between calls, so a call that failed leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde::Serialize;

use crate::chain::{Head, StoredEvent, next_seq};
use crate::doubt::InDoubt;
use crate::error::{Refusal, StoreError};
use crate::faults::{Faults, Moment};
use crate::hex::Uid;
use crate::lock::WriterLock;
use crate::project::{self, Place};
use crate::record::{AttemptId, EventRecord, Resolution, Ruling, RunEnd, RunId, RunStart};
use crate::records::Records;
use crate::replay::{self, Kind};
use crate::schema;
use crate::units_csv::{CsvState, UnitsCsv, sync_directory};

/// The one writer of a record directory.
///
/// Begin a run, append its events, end it. Dropping the store in the middle of a run leaves the run's open
/// attempts in doubt, exactly as a crash does.
pub struct Store {
    records: Records,
    database: PathBuf,
    identity: FileIdentity,
    units: UnitsCsv,
    csv_state: CsvState,
    live: BTreeSet<RunId>,
    faults: Faults,
    _lock: WriterLock,
}

impl Store {
    /// Opens a record directory for writing; creates it, or brings its database up to date, if necessary, and
    /// repairs `units.csv`.
    ///
    /// # Errors
    /// A directory that cannot be written, a file that is not our database, a database from a newer version, a
    /// damaged database, another writer. The files found are not changed then.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let database = schema::path(dir);
        schema::peek(&database)?;
        let failed = |source| StoreError::Directory { path: dir.to_owned(), source };
        create_directory(dir).map_err(failed)?;
        let lock = WriterLock::take(dir)?;
        let records = Records::from(schema::open_for_writing(dir)?);
        let identity = FileIdentity::of(&database).map_err(failed)?;
        let (units, csv_state) = UnitsCsv::open(dir, records.connection())?;
        let (live, faults) = (BTreeSet::new(), Faults::default());
        Ok(Self { records, database, identity, units, csv_state, live, faults, _lock: lock })
    }

    /// What was found of `units.csv` when the store was opened.
    pub fn csv_state(&self) -> &CsvState {
        &self.csv_state
    }

    /// The reading half: reports and checks.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Attempts of earlier runs whose boards are in an unknown state, oldest first. Those of runs that this
    /// store is writing are not among them unless they were ended as such.
    ///
    /// # Errors
    /// Any trouble of the database.
    pub fn in_doubt(&self) -> Result<Vec<InDoubt>, StoreError> {
        let mut list = self.records.in_doubt()?;
        list.retain(|entry| entry.ended || !self.live.contains(&entry.run));
        Ok(list)
    }

    /// Records that a run begins.
    ///
    /// # Errors
    /// [`Refusal::ShipmentWithoutOrder`], or any trouble of the place or the database; nothing is recorded then.
    pub fn begin_run(&mut self, start: &RunStart) -> Result<RunId, StoreError> {
        let run = self.commit(|writer| {
            let run = project::next_run(writer.db)?;
            let place = writer.place(run, start.utc_us, Some(0));
            project::run_started(writer.db, place, start)?;
            writer.add(place, Kind::RUN_STARTED, None, None, start)?;
            Ok(run)
        })?;
        self.live.insert(run);
        Ok(run)
    }

    /// Records events of a run, all or none, in their order. They are durable when this returns.
    ///
    /// # Errors
    /// A [`Refusal`] if they contradict the records, or any trouble of the place or the database; nothing is
    /// recorded then, except with [`StoreError::UnitsCsv`].
    pub fn append(&mut self, run: RunId, events: &[EventRecord]) -> Result<(), StoreError> {
        self.check_live(run)?;
        if events.is_empty() {
            return self.faults.alive();
        }
        self.commit(|writer| {
            for EventRecord { utc_us, run_us, event } in events {
                let run_us = i64::try_from(*run_us).unwrap_or(i64::MAX);
                let place = writer.place(run, *utc_us, Some(run_us));
                let attempt = project::board(writer.db, place, event)?;
                writer.add(place, event.kind(), event.slot(), attempt, event)?;
            }
            Ok(())
        })?;
        self.extend_units()
    }

    /// Adds to `units.csv` what an earlier call recorded and could not add ([`StoreError::UnitsCsv`]).
    ///
    /// # Errors
    /// [`StoreError::UnitsCsv`] if it still cannot.
    pub fn complete_units(&mut self) -> Result<(), StoreError> {
        self.faults.alive()?;
        self.extend_units()
    }

    /// Records that a run ended.
    ///
    /// # Errors
    /// As [`append`](Self::append); [`Refusal::OpenAttempts`] if not all attempts have ended.
    pub fn end_run(&mut self, run: RunId, end: &RunEnd) -> Result<(), StoreError> {
        self.check_live(run)?;
        self.commit(|writer| {
            let run_us = i64::try_from(end.run_us).unwrap_or(i64::MAX);
            let place = writer.place(run, end.utc_us, Some(run_us));
            project::run_ended(writer.db, place, end)?;
            writer.add(place, Kind::RUN_ENDED, None, None, end)
        })?;
        self.live.remove(&run);
        self.extend_units()
    }

    /// Records what became of an attempt in doubt. The event joins the attempt's own run, whose result stays
    /// IN DOUBT; a board found complete passes by an attempt of the run that found it.
    ///
    /// # Errors
    /// [`Refusal::NotInDoubt`], or any trouble of the place or the database.
    pub fn resolve(&mut self, attempt: AttemptId, resolution: &Resolution) -> Result<(), StoreError> {
        let live = self.live.clone();
        self.commit(|writer| {
            let found: Option<(RunId, u16, bool)> = writer
                .db
                .query_row(
                    "SELECT run, slot, result IS NOT NULL FROM attempts WHERE id = ?1",
                    [attempt],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .optional()?;
            let (run, slot) = match found {
                Some((run, slot, ended)) if ended || !live.contains(&run) => (run, slot),
                _ => return Err(Refusal::NotInDoubt { attempt }.into()),
            };
            let place = writer.place(run, resolution.utc_us, None);
            project::resolved(writer.db, place, attempt, resolution)?;
            writer.add(place, Kind::RESOLVED, Some(slot), Some(attempt), resolution)
        })?;
        self.extend_units()
    }

    /// Records what a person ruled of a unit. The event joins the unit's newest attempt, whose result stays.
    ///
    /// # Errors
    /// [`Refusal::NoSuchUnit`], [`Refusal::RulingWithoutReason`], or any trouble of the place or the database.
    pub fn rule(&mut self, product: &str, uid: &Uid, ruling: &Ruling) -> Result<(), StoreError> {
        self.commit(|writer| {
            let newest: Option<(RunId, u16, AttemptId)> = writer
                .db
                .query_row(
                    "SELECT a.run, a.slot, a.id FROM attempts a JOIN units u ON u.id = a.unit
                     WHERE u.product = ?1 AND u.uid = ?2 ORDER BY a.id DESC LIMIT 1",
                    params![product, uid],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .optional()?;
            let (run, slot, attempt) =
                newest.ok_or_else(|| Refusal::NoSuchUnit { query: uid.to_string() })?;
            project::ruled(writer.db, attempt, ruling)?;
            let place = writer.place(run, ruling.utc_us, None);
            writer.add(place, Kind::RULED, Some(slot), Some(attempt), ruling)
        })
    }

    /// For tests: asks `question` at each [`Moment`] of each write, and stops the store for good where it
    /// answers `true`: this call and all later ones fail with [`StoreError::Stopped`] and change nothing
    /// more, as if the process had been killed there.
    pub fn stop_at(&mut self, question: impl FnMut(Moment) -> bool + Send + 'static) {
        self.faults.set(Box::new(question));
    }

    fn check_live(&self, run: RunId) -> Result<(), StoreError> {
        if self.live.contains(&run) { Ok(()) } else { Err(Refusal::RunNotLive { run }.into()) }
    }

    /// Runs `body` in one durable transaction.
    fn commit<T>(
        &mut self,
        body: impl FnOnce(&mut Writer<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.faults.alive()?;
        if FileIdentity::of(&self.database).ok() != Some(self.identity) {
            return Err(StoreError::Vanished { path: self.database.clone() });
        }
        let transaction =
            self.records.connection_mut().transaction_with_behavior(TransactionBehavior::Immediate)?;
        let head = Head::read(&transaction)?;
        let value = body(&mut Writer { db: &transaction, head })?;
        self.faults.pass(Moment::BeforeCommit)?;
        transaction.commit()?;
        self.faults.pass(Moment::AfterCommit)?;
        Ok(value)
    }

    /// Brings `units.csv` up to the database.
    fn extend_units(&mut self) -> Result<(), StoreError> {
        self.units.extend(self.records.connection(), &mut self.faults)
    }
}

/// Most bytes that a run of so many attempts at boards adds to a record directory.
///
/// An attempt with keys, lock and proof takes 8 KiB in the database and 1 KiB in `units.csv`. The write-ahead log
/// begins anew after 4 MiB, in the middle of no batch, unless somebody reads all the time meanwhile.
#[must_use]
pub const fn room(attempts: u64) -> u64 {
    const JOURNAL: u64 = 6 << 20;
    const ATTEMPT: u64 = 32 << 10;
    JOURNAL + attempts * ATTEMPT
}

/// Creates a directory with its parents, durably.
fn create_directory(dir: &Path) -> std::io::Result<()> {
    let missing: Vec<_> =
        dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    for parent in missing.into_iter().filter_map(Path::parent).filter(|dir| !dir.as_os_str().is_empty()) {
        sync_directory(parent)?;
    }
    Ok(())
}

/// One transaction being filled.
struct Writer<'t> {
    db: &'t Connection,
    head: Head,
}

impl Writer<'_> {
    fn place(&self, run: RunId, utc_us: i64, run_us: Option<i64>) -> Place {
        Place { event: self.head.id + 1, run, utc_us, run_us }
    }

    /// Adds the event whose rows were just projected.
    fn add(
        &mut self,
        place: Place,
        kind: &str,
        slot: Option<u16>,
        attempt: Option<AttemptId>,
        body: &impl Serialize,
    ) -> Result<(), StoreError> {
        let body = replay::to_json(body)?;
        let event = StoredEvent {
            id: place.event,
            run: place.run,
            seq: next_seq(self.db, place.run)?,
            utc_us: place.utc_us,
            run_us: place.run_us,
            kind: kind.to_owned(),
            slot,
            attempt,
            body,
        };
        self.head.append(self.db, &event)
    }
}

/// Which file a path leads to, as far as the system can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl FileIdentity {
    #[cfg(unix)]
    fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path)?;
        Ok(Self { device_and_inode: (metadata.dev(), metadata.ino()) })
    }

    #[cfg(not(unix))]
    fn of(path: &Path) -> std::io::Result<Self> {
        fs::metadata(path).map(|_| Self {})
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{Event, Release, Shipment};

    fn begun(dir: &Path) -> (Store, RunId) {
        let text = || "x".to_owned();
        let release = Release { name: text(), version: text(), sha256: [0; 32].into(), images: Vec::new() };
        let start = RunStart {
            utc_us: 0,
            panel: text(),
            product: text(),
            job: text(),
            job_sha256: [0; 32].into(),
            release,
            order: None,
            station: text(),
            operator: text(),
            fixture: text(),
            program_version: text(),
            simulation: None,
            shipment: Shipment::Forbidden,
            required_steps: Vec::new(),
            retests: None,
        };
        let mut store = Store::open(dir).unwrap();
        let run = store.begin_run(&start).unwrap();
        (store, run)
    }

    fn started(slot: u16) -> EventRecord {
        EventRecord { utc_us: 0, run_us: 0, event: Event::AttemptStarted { slot } }
    }

    #[test]
    fn a_full_disk_refuses_the_whole_batch_and_takes_it_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, run) = begun(dir.path());
        let pages = |store: &Store, limit: u32| {
            store
                .records
                .connection()
                .pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))
                .unwrap();
        };
        pages(&store, 1);
        let batch: Vec<_> = (0..1000).map(started).collect();
        let error = store.append(run, &batch).unwrap_err();
        assert!(matches!(error, StoreError::DiskFull), "{error}");
        assert_eq!(store.records().verify_chain().unwrap().events, 1);
        pages(&store, 1_000_000);
        store.append(run, &batch).unwrap();
        assert_eq!(store.records().verify_chain().unwrap().events, 1001);
    }

    #[test]
    fn a_database_locked_by_another_program_is_busy_and_takes_the_batch_later() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, run) = begun(dir.path());
        store.records.connection().busy_timeout(Duration::from_millis(1)).unwrap();
        let other = Connection::open(schema::path(dir.path())).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = store.append(run, &[started(1)]).unwrap_err();
        assert!(matches!(error, StoreError::Busy), "{error}");
        other.execute_batch("ROLLBACK").unwrap();
        store.append(run, &[started(1)]).unwrap();
    }

    #[test]
    fn a_store_may_move_to_another_thread() {
        fn moves<T: Send>() {}
        moves::<Store>();
        moves::<Records>();
    }

    #[test]
    fn each_commit_is_synced_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = begun(dir.path());
        let pragma = |name: &str| -> i64 {
            store.records.connection().pragma_query_value(None, name, |row| row.get(0)).unwrap()
        };
        const FULL: i64 = 2;
        assert_eq!((pragma("synchronous"), pragma("foreign_keys")), (FULL, 1));
    }
}
