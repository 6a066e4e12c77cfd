//! The event log and its hash chain.
//!
//! All events of a database form one chain, so that a removed run is missed like a changed line. The hash of
//! event n is SHA-256 over, in order (integers little-endian, texts preceded by their length as u64):
//!
//! | bytes | field |
//! | --- | --- |
//! | 18 | `panelflash event 1` |
//! | 32 | hash of event n-1; zeros before the first |
//! | 8 + 8 + 8 | id, run, sequence number in the run |
//! | 8 + 8 | UTC microseconds, run microseconds (all ones: none) |
//! | 4 + 8 | slot (all ones: none), attempt (0: none) |
//! | 8 + n | kind |
//! | 8 + n | body |
//!
//! Events cut off at the end leave a shorter chain that is right in itself: only a copy of an earlier head
//! ([`ChainReport::head`]) kept elsewhere shows it.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use sha2::{Digest as _, Sha256 as Hasher};

use crate::error::StoreError;
use crate::hex::Sha256;
use crate::record::{AttemptId, RunId};

/// What checking the chain found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// How many events are good, from the first on.
    pub events: u64,
    /// Hash of the last good event; zeros if there is none.
    pub head: Sha256,
    /// The first event that is not as it was written.
    pub first_bad: Option<BadEvent>,
}

/// An event that is not as it was written, or that does not follow the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadEvent {
    /// Its number in the database.
    pub id: i64,
    /// Its run.
    pub run: RunId,
    /// Its number in the run.
    pub seq: i64,
    /// What is wrong.
    pub why: String,
}

/// An event as it lies in the database, but for its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEvent {
    pub(crate) id: i64,
    pub(crate) run: RunId,
    pub(crate) seq: i64,
    pub(crate) utc_us: i64,
    pub(crate) run_us: Option<i64>,
    pub(crate) kind: String,
    pub(crate) slot: Option<u16>,
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) body: String,
}

/// Columns of an event in the order that [`StoredEvent::from_row`] expects; the hash follows as column 9.
pub(crate) const COLUMNS: &str = "id, run, seq, at_us, run_us, kind, slot, attempt, body, hash";

impl StoredEvent {
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            run: row.get(1)?,
            seq: row.get(2)?,
            utc_us: row.get(3)?,
            run_us: row.get(4)?,
            kind: row.get(5)?,
            slot: row.get(6)?,
            attempt: row.get(7)?,
            body: row.get(8)?,
        })
    }

    fn hash(&self, previous: &Sha256) -> Sha256 {
        let Self { id, run, seq, utc_us, run_us, kind, slot, attempt, body } = self;
        let mut hasher = Hasher::new();
        hasher.update(b"panelflash event 1");
        hasher.update(previous.0);
        for number in [*id, run.0, *seq, *utc_us, run_us.unwrap_or(-1)] {
            hasher.update(number.to_le_bytes());
        }
        hasher.update(slot.map_or(u32::MAX, u32::from).to_le_bytes());
        hasher.update(attempt.map_or(0, |attempt| attempt.0).to_le_bytes());
        for text in [kind, body] {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Sha256::from(<[u8; 32]>::from(hasher.finalize()))
    }
}

/// The end of the chain, to which the next event is linked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) id: i64,
    hash: Sha256,
}

impl Head {
    const START: Self = Self { id: 0, hash: crate::hex::Hex([0; 32]) };

    /// Reads the end of the chain; call it in the transaction that extends it.
    pub(crate) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let newest = connection
            .prepare_cached("SELECT id, hash FROM events ORDER BY id DESC LIMIT 1")?
            .query_row([], |row| Ok(Self { id: row.get(0)?, hash: row.get(1)? }))
            .optional()?;
        Ok(newest.unwrap_or(Self::START))
    }

    /// Inserts an event, whose id must be the next one, and moves on to it.
    pub(crate) fn append(&mut self, connection: &Connection, event: &StoredEvent) -> Result<(), StoreError> {
        let hash = event.hash(&self.hash);
        connection
            .prepare_cached(&format!(
                "INSERT INTO events ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
            ))?
            .execute(params![
                event.id,
                event.run,
                event.seq,
                event.utc_us,
                event.run_us,
                event.kind,
                event.slot,
                event.attempt,
                event.body,
                hash,
            ])?;
        *self = Self { id: event.id, hash };
        Ok(())
    }
}

/// The number that the next event of a run gets.
pub(crate) fn next_seq(connection: &Connection, run: RunId) -> Result<i64, StoreError> {
    let seq = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) + 1 FROM events WHERE run = ?1")?
        .query_row([run], |row| row.get(0))?;
    Ok(seq)
}

/// Checks every event from the first on, up to the first bad one.
pub(crate) fn verify(connection: &Connection) -> Result<ChainReport, StoreError> {
    let mut report = ChainReport { events: 0, head: Head::START.hash, first_bad: None };
    let mut seqs = std::collections::BTreeMap::<RunId, i64>::new();
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM events ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut next_id = 1;
    while let Some(row) = rows.next()? {
        let seq = seqs.entry(row_value(row, 1).unwrap_or(RunId(0))).or_insert(0);
        *seq += 1;
        match check(row, next_id, *seq, &report.head) {
            Ok(hash) => report.head = hash,
            Err(why) => {
                report.first_bad = Some(BadEvent {
                    id: row_value(row, 0).unwrap_or(next_id),
                    run: row_value(row, 1).unwrap_or(RunId(0)),
                    seq: row_value(row, 2).unwrap_or(0),
                    why,
                });
                break;
            }
        }
        report.events += 1;
        next_id += 1;
    }
    Ok(report)
}

fn row_value<T: FromSql>(row: &Row<'_>, column: usize) -> Option<T> {
    row.get(column).ok()
}

/// Checks one event against its place and the hash before it; returns its hash.
fn check(row: &Row<'_>, id: i64, seq: i64, previous: &Sha256) -> Result<Sha256, String> {
    let event = StoredEvent::from_row(row).map_err(|error| format!("unreadable: {error}"))?;
    let stored: Sha256 = row.get(9).map_err(|error| format!("unreadable hash: {error}"))?;
    if event.id != id {
        return Err(format!("expected event {id}, got {}: events are missing", event.id));
    }
    if event.seq != seq {
        return Err(format!("expected number {seq} of run {}, got {}", event.run.0, event.seq));
    }
    let computed = event.hash(previous);
    if computed != stored {
        return Err(format!("expected hash {computed}, got {stored}"));
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_event_never_changes() {
        let event = StoredEvent {
            id: 2,
            run: RunId(1),
            seq: 2,
            utc_us: 1_763_692_496_000_000,
            run_us: Some(5_000),
            kind: "attempt-started".into(),
            slot: Some(3),
            attempt: Some(AttemptId(1)),
            body: r#"{"kind":"attempt-started","slot":3}"#.into(),
        };
        let without = StoredEvent { run_us: None, slot: None, attempt: None, ..event.clone() };
        let previous = Sha256::from([0x11; 32]);
        assert_eq!(event.hash(&previous).to_string(), GOLDEN);
        assert_eq!(without.hash(&previous).to_string(), GOLDEN_WITHOUT);
    }

    // Computed with Python's hashlib and struct from the table at the top of this file.
    const GOLDEN: &str = "7d9db42147f1f68d04da000f039e3939c65264939c5aa163ce61ff7b83bf210b";
    const GOLDEN_WITHOUT: &str = "999901846b6db2376585c7d7ed1c23770a578c69de3a6f24f85c220dc57376b0";
}
