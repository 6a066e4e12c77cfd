//! What can go wrong: the place and the database ([`StoreError`]), or what the caller asked ([`Refusal`]).
//!
//! One variant per different reaction. Whatever the error, the batch that got it is not recorded, with one
//! exception that says so: [`StoreError::UnitsCsv`].

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::hex::Uid;
use crate::record::{AttemptId, AttemptResult, RunId};

/// Why records could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The record directory cannot be created, read or written.
    #[error("record directory {}: {source}", path.display())]
    Directory {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no database to read.
    #[error("no records in {}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The file is not an SQLite database. It was left alone.
    #[error("{} is not a database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program. It was left alone.
    #[error("{} is a database of another program (application id {application_id:#010x})", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The application id in it.
        application_id: u32,
    },
    /// The database was written by a newer version of this program. It was left alone.
    #[error("{} has format {found}; this program knows formats up to {known}", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// The database is older and was opened for reading only; opening it for writing brings it up to date.
    #[error("{} has format {found}; format {known} is needed, which the next run will give it", path.display())]
    OlderVersion {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u32,
        /// The format this program reads.
        known: u32,
    },
    /// Another process writes records here.
    #[error(
        "records in {} are being written by another process{}{}",
        path.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        run.map(|run| format!(", run {}", run.0)).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process id, if it could be read.
        pid: Option<u32>,
        /// Its newest run that has not ended, if it could be read.
        run: Option<RunId>,
    },
    /// Another program held the database locked for too long.
    #[error("the record database is locked by another program")]
    Busy,
    /// No space is left on the disk.
    #[error("no space left on the disk of the record database")]
    DiskFull,
    /// The database is damaged.
    #[error("the record database is damaged: {detail}")]
    Corrupt {
        /// What was found.
        detail: String,
    },
    /// The database file was removed or replaced while it was open; nothing can be recorded any more.
    #[error("{} is no longer the file that was opened", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// The events are recorded, but the unit list could not be extended. The next write or opening makes up
    /// for it.
    #[error("recorded, but not in {}: {source}", path.display())]
    UnitsCsv {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was asked contradicts the records.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A test stopped the store here; see [`Store::stop_at`](crate::Store::stop_at).
    #[error("stopped by a test")]
    Stopped,
    /// Any other trouble of the database.
    #[error("record database: {0}")]
    Database(rusqlite::Error),
}

/// Why a well-formed request was refused: it contradicts the records. Nothing of the batch was recorded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Units may be shipped only under a work order.
    #[error("a run for shipment needs a work order")]
    ShipmentWithoutOrder,
    /// Who rules of a unit says who and why.
    #[error("a ruling needs the name of who makes it and a reason")]
    RulingWithoutReason,
    /// A ruling joins the newest attempt of its unit.
    #[error("attempt {} is not the newest one of a unit", attempt.0)]
    NotNewest {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The run was not begun by this store, or has ended.
    #[error("run {} is not running", run.0)]
    RunNotLive {
        /// The run.
        run: RunId,
    },
    /// The run still has open attempts.
    #[error("run {} has open attempts in slots {slots:?}", run.0)]
    OpenAttempts {
        /// The run.
        run: RunId,
        /// Their slots.
        slots: Vec<u16>,
    },
    /// The slot has an open attempt already.
    #[error("slot {slot} of run {} has an open attempt already", run.0)]
    AttemptOpen {
        /// The run.
        run: RunId,
        /// The slot.
        slot: u16,
    },
    /// The event needs an open attempt in its slot.
    #[error("{event} in slot {slot} of run {}, which has no open attempt", run.0)]
    NoOpenAttempt {
        /// The run.
        run: RunId,
        /// The slot.
        slot: u16,
        /// Kind of the event.
        event: &'static str,
    },
    /// The board in the slot became another one during an attempt.
    #[error("the board in slot {slot} was {expected} and is now {got}")]
    UidChanged {
        /// The slot.
        slot: u16,
        /// Who it was.
        expected: Uid,
        /// Who it is.
        got: Uid,
    },
    /// The step is running already.
    #[error("step {step:?} in slot {slot} is running already")]
    StepOpen {
        /// The slot.
        slot: u16,
        /// The step.
        step: String,
    },
    /// The step is not running.
    #[error("step {step:?} in slot {slot} is not running")]
    StepNotOpen {
        /// The slot.
        slot: u16,
        /// The step.
        step: String,
    },
    /// A measured value or limit is not a finite number.
    #[error("measurement {name:?} in slot {slot} is not finite")]
    NotFinite {
        /// The slot.
        slot: u16,
        /// Name of the measurement.
        name: String,
    },
    /// A failure needs a code.
    #[error("slot {slot} ended with {result} but without a code")]
    NoCode {
        /// The slot.
        slot: u16,
        /// The result.
        result: AttemptResult,
    },
    /// A board that was never identified cannot pass.
    #[error("slot {slot} cannot pass: its board was not identified")]
    PassWithoutUid {
        /// The slot.
        slot: u16,
    },
    /// A required step did not end well.
    #[error("slot {slot} cannot pass: step {step:?} has not ended well")]
    PassWithoutStep {
        /// The slot.
        slot: u16,
        /// The missing step.
        step: String,
    },
    /// A step is still running.
    #[error("slot {slot} cannot pass: step {step:?} is still running")]
    PassDuringStep {
        /// The slot.
        slot: u16,
        /// The running step.
        step: String,
    },
    /// Another slot of the same run holds a board with the same UID, which is being worked on or passed.
    #[error("slot {slot} cannot pass: slot {other} has a board with the same uid {uid}")]
    UidTwice {
        /// The slot.
        slot: u16,
        /// The other slot.
        other: u16,
        /// The UID of both.
        uid: Uid,
    },
    /// The attempt does not exist, has a result that is not in doubt, was resolved, or is going on.
    #[error("attempt {} is not in doubt", attempt.0)]
    NotInDoubt {
        /// The attempt.
        attempt: AttemptId,
    },
    /// No unit matches.
    #[error("no unit has the serial number or uid {query:?}")]
    NoSuchUnit {
        /// What was asked for.
        query: String,
    },
    /// Several units match the beginning that was given.
    #[error("several units begin with {query:?}: {}", candidates.join(", "))]
    AmbiguousUnit {
        /// What was asked for.
        query: String,
        /// Serial numbers or UIDs of the first matching units.
        candidates: Vec<String>,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { detail },
            _ if matches!(
                error,
                rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
            ) =>
            {
                Self::Corrupt { detail }
            }
            _ => Self::Database(error),
        }
    }
}
