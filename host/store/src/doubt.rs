//! Attempts in doubt: boards of which nobody knows what state they are in.
//!
//! An attempt is in doubt when it never ended (its process died, or it is going on) or when it was ended as
//! such, until a resolution is recorded.

use rusqlite::Connection;
use serde::Serialize;

use crate::error::StoreError;
use crate::hex::{Sha256, Uid};
use crate::record::{AttemptId, RunId, StepOutcome};

/// An attempt in doubt, and what is needed to find and judge its board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InDoubt {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its run.
    pub run: RunId,
    /// Panel of the run.
    pub panel: String,
    /// Slot on that panel.
    pub slot: u16,
    /// Product of the run.
    pub product: String,
    /// The chip; none if the board was not identified yet, and so nothing had been done to it.
    pub uid: Option<Uid>,
    /// Serial number, if one was given.
    pub serial: Option<String>,
    /// Name of the release that was being programmed.
    pub release: String,
    /// Its SHA-256.
    pub release_sha256: Sha256,
    /// When the attempt began, UTC microseconds.
    pub started_us: i64,
    /// Whether it was ended as in doubt, rather than cut off.
    pub ended: bool,
    /// The last step that was begun.
    pub last_step: Option<String>,
    /// How that step ended; none if it did not.
    pub last_step_outcome: Option<StepOutcome>,
}

/// All attempts in doubt, oldest first.
pub(crate) fn list(db: &Connection) -> Result<Vec<InDoubt>, StoreError> {
    let mut statement = db.prepare(
        "SELECT a.id, a.run, r.panel, a.slot, r.product, u.uid, a.serial, l.name, l.sha256, a.started_us,
             a.result IS NOT NULL, s.name, s.outcome
         FROM attempts a
         JOIN runs r ON r.id = a.run
         JOIN releases l ON l.id = r.release
         LEFT JOIN units u ON u.id = a.unit
         LEFT JOIN steps s ON s.id = (SELECT max(id) FROM steps WHERE attempt = a.id)
         WHERE a.result IS NULL OR (a.result = 'in-doubt' AND a.resolution IS NULL)
         ORDER BY a.id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(InDoubt {
            attempt: row.get(0)?,
            run: row.get(1)?,
            panel: row.get(2)?,
            slot: row.get(3)?,
            product: row.get(4)?,
            uid: row.get(5)?,
            serial: row.get(6)?,
            release: row.get(7)?,
            release_sha256: row.get(8)?,
            started_us: row.get(9)?,
            ended: row.get(10)?,
            last_step: row.get(11)?,
            last_step_outcome: row.get(12)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
