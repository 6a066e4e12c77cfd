//! The other way to the rows: every event read back and projected into an empty database, which must then
//! equal the real one.
//!
//! This finds what the hash chain cannot: a row that was changed by hand while its events were left alone. It
//! also proves for each old database in the tests that every body ever written is still understood.

use rusqlite::Connection;
use rusqlite::types::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chain::{COLUMNS, Head, StoredEvent};
use crate::error::StoreError;
use crate::project::{self, Place};
use crate::schema;

/// Tables that are projections, in an order that suits a reader.
const TABLES: [&str; 7] = ["runs", "releases", "images", "units", "attempts", "steps", "measurements"];

/// What comparing the rows with their events found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowsReport {
    /// How many events were replayed.
    pub events: u64,
    /// How many rows were compared.
    pub rows: u64,
    /// The first row that does not follow from the events.
    pub first_difference: Option<RowDifference>,
}

/// A row that does not follow from the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// Its table; `events` if an event cannot be replayed.
    pub table: String,
    /// Its number.
    pub id: i64,
    /// What is wrong.
    pub why: String,
}

/// Kinds of the events that the store writes itself.
pub(crate) struct Kind;

impl Kind {
    pub(crate) const RUN_STARTED: &'static str = "run-started";
    pub(crate) const RUN_ENDED: &'static str = "run-ended";
    pub(crate) const RESOLVED: &'static str = "resolved";
    pub(crate) const RULED: &'static str = "ruled";
}

/// The JSON of an event's body.
pub(crate) fn to_json(body: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(body)
        .map_err(|error| StoreError::Corrupt { detail: format!("event body: {error}") })
}

/// Replays all events and compares.
pub(crate) fn verify(db: &Connection) -> Result<RowsReport, StoreError> {
    let scratch = schema::open_scratch()?;
    // In memory and thrown away: one transaction for all.
    scratch.execute_batch("BEGIN")?;
    let mut report = RowsReport { events: 0, rows: 0, first_difference: None };
    let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM events ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut head = Head::read(&scratch)?;
    while let Some(row) = rows.next()? {
        let event = StoredEvent::from_row(row)?;
        if let Err(why) = replay(&scratch, &event) {
            report.first_difference = Some(RowDifference { table: "events".to_owned(), id: event.id, why });
            return Ok(report);
        }
        // The scratch database needs the event itself only as the target of references.
        head.append(&scratch, &event)?;
        report.events += 1;
    }
    for table in TABLES {
        report.first_difference = compare(db, &scratch, table, &mut report.rows)?;
        if report.first_difference.is_some() {
            break;
        }
    }
    Ok(report)
}

fn replay(scratch: &Connection, event: &StoredEvent) -> Result<(), String> {
    let place = Place { event: event.id, run: event.run, utc_us: event.utc_us, run_us: event.run_us };
    let projected = match event.kind.as_str() {
        Kind::RUN_STARTED => project::run_started(scratch, place, &parse(event)?).map(|()| None),
        Kind::RUN_ENDED => project::run_ended(scratch, place, &parse(event)?).map(|()| None),
        Kind::RESOLVED => {
            let attempt = event.attempt.ok_or("a resolution without an attempt")?;
            project::resolved(scratch, place, attempt, &parse(event)?).map(|()| Some(attempt))
        }
        Kind::RULED => {
            let attempt = event.attempt.ok_or("a ruling without an attempt")?;
            parse(event).and_then(|ruling| {
                project::ruled(scratch, attempt, &ruling).map_err(|error| error.to_string())
            })?;
            Ok(Some(attempt))
        }
        _ => project::board(scratch, place, &parse(event)?),
    };
    let attempt = projected.map_err(|error| error.to_string())?;
    if attempt == event.attempt {
        Ok(())
    } else {
        Err(format!("belongs to attempt {attempt:?} and says {:?}", event.attempt))
    }
}

fn parse<T: DeserializeOwned>(event: &StoredEvent) -> Result<T, String> {
    serde_json::from_str(&event.body).map_err(|error| format!("{} body: {error}", event.kind))
}

fn compare(
    db: &Connection,
    scratch: &Connection,
    table: &str,
    compared: &mut u64,
) -> Result<Option<RowDifference>, StoreError> {
    let sql = format!("SELECT * FROM {table} ORDER BY id");
    let (mut left, mut right) = (db.prepare(&sql)?, scratch.prepare(&sql)?);
    let names: Vec<String> = left.column_names().map(str::to_owned).collect();
    let (mut left, mut right) = (left.query([])?, right.query([])?);
    let differs = |id, why: String| Ok(Some(RowDifference { table: table.to_owned(), id, why }));
    loop {
        let (stored, computed) = match (left.next()?, right.next()?) {
            (Some(stored), Some(computed)) => (stored, computed),
            (None, None) => return Ok(None),
            (Some(stored), None) => return differs(stored.get(0)?, "no event made it".to_owned()),
            (None, Some(computed)) => return differs(computed.get(0)?, "missing".to_owned()),
        };
        for (column, name) in names.iter().enumerate() {
            let (stored_value, computed_value): (Value, Value) = (stored.get(column)?, computed.get(column)?);
            if stored_value != computed_value {
                let why = format!("{name} is {stored_value:?}, its events say {computed_value:?}");
                return differs(computed.get(0)?, why);
            }
        }
        *compared += 1;
    }
}
