//! Which units a panel's slots held when they were done with: for boards that cannot say any more who they are.

use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::hex::Uid;
use crate::record::{AttemptResult, RunId};

/// A unit that passed and proved its lock, and nothing else was identified in its slot since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The slot.
    pub slot: u16,
    /// The chip.
    pub uid: Uid,
    /// Serial number, if it has one.
    pub serial: Option<String>,
    /// The run in which it passed.
    pub run: RunId,
}

/// The finished units of a panel, by slot.
pub(crate) fn finished(db: &Connection, product: &str, panel: &str) -> Result<Vec<Finished>, StoreError> {
    let mut statement = db.prepare(
        "SELECT a.slot, u.uid, a.serial, a.run, a.result, max(a.id),
             EXISTS (SELECT 1 FROM events e WHERE e.attempt = a.id AND e.kind = 'note'
                 AND json_extract(e.body, '$.topic') = 'lock-proof')
         FROM attempts a JOIN runs r ON r.id = a.run JOIN units u ON u.id = a.unit
         WHERE r.panel = ?1 AND r.product = ?2 GROUP BY a.slot ORDER BY a.slot",
    )?;
    let rows = statement.query_map(params![panel, product], |row| {
        let unit = Finished { slot: row.get(0)?, uid: row.get(1)?, serial: row.get(2)?, run: row.get(3)? };
        let passed = row.get::<_, Option<AttemptResult>>(4)? == Some(AttemptResult::Pass);
        Ok((unit, passed && row.get::<_, bool>(6)?))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter_map(|(unit, done)| done.then_some(unit)).collect())
}
