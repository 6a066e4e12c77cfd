//! From events to rows: the one place that says what an event means for runs, units, attempts, steps and
//! measurements, and which events the records refuse.
//!
//! The outcome depends on nothing but the database and the event, so that replaying all events gives the same
//! rows again. [`Store`](crate::Store) calls it in the transaction that adds the event, before adding it.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::error::{Refusal, StoreError};
use crate::hex::Uid;
use crate::record::{
    AttemptId, AttemptResult, Event, Measurement, Release, Resolution, Ruling, RunEnd, RunId, RunStart,
    Shipment, StepOutcome, VERIFY_STEP, Verdict,
};

/// Where and when an event stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) event: i64,
    pub(crate) run: RunId,
    pub(crate) utc_us: i64,
    pub(crate) run_us: Option<i64>,
}

/// The number that the next run gets.
pub(crate) fn next_run(db: &Connection) -> Result<RunId, StoreError> {
    Ok(db.query_row("SELECT coalesce(max(id), 0) + 1 FROM runs", [], |row| row.get(0))?)
}

/// Begins a run.
pub(crate) fn run_started(db: &Connection, at: Place, start: &RunStart) -> Result<(), StoreError> {
    if start.shipment == Shipment::Allowed && start.order.is_none() {
        return Err(Refusal::ShipmentWithoutOrder.into());
    }
    let release = release_row(db, &start.release)?;
    let required = serde_json::Value::from(start.required_steps.clone()).to_string();
    db.prepare_cached(
        "INSERT INTO runs (id, panel, product, job, job_sha256, release, order_id, station, operator, fixture,
             program_version, seed, virtual_time, shipment, required_steps, started_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?
    .execute(params![
        at.run,
        start.panel,
        start.product,
        start.job,
        start.job_sha256,
        release,
        start.order,
        start.station,
        start.operator,
        start.fixture,
        start.program_version,
        start.simulation.map(|simulation| simulation.seed.to_string()),
        start.simulation.is_some_and(|simulation| simulation.virtual_time),
        start.shipment,
        required,
        start.utc_us,
    ])?;
    Ok(())
}

/// Ends a run, all of whose attempts must have ended.
pub(crate) fn run_ended(db: &Connection, at: Place, end: &RunEnd) -> Result<(), StoreError> {
    let mut open =
        db.prepare_cached("SELECT slot FROM attempts WHERE run = ?1 AND result IS NULL ORDER BY slot")?;
    let slots = open.query_map([at.run], |row| row.get(0))?.collect::<Result<Vec<u16>, _>>()?;
    if !slots.is_empty() {
        return Err(Refusal::OpenAttempts { run: at.run, slots }.into());
    }
    db.prepare_cached("UPDATE runs SET ended_us = ?2, exit = ?3 WHERE id = ?1")?
        .execute(params![at.run, end.utc_us, end.exit])?;
    Ok(())
}

/// Closes an attempt that is in doubt. Whether its run is going on is for the caller to check.
pub(crate) fn resolved(
    db: &Connection,
    at: Place,
    attempt: AttemptId,
    resolution: &Resolution,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE attempts SET result = 'in-doubt', ended_us = ?2, end_event = ?3 WHERE id = ?1 AND result IS NULL",
    )?
    .execute(params![attempt, at.utc_us, at.event])?;
    let changed = db
        .prepare_cached(
            "UPDATE attempts SET resolution = ?2, resolution_note = ?3, resolved_us = ?4, resolved_by_run = ?5
             WHERE id = ?1 AND result = 'in-doubt' AND resolution IS NULL",
        )?
        .execute(params![attempt, resolution.kind, resolution.note, at.utc_us, resolution.by_run])?;
    if changed == 1 { Ok(()) } else { Err(Refusal::NotInDoubt { attempt }.into()) }
}

/// Whether a person may rule this of the unit whose newest attempt this is. A ruling changes no row: what is held
/// against a unit is computed from the events.
pub(crate) fn ruled(db: &Connection, attempt: AttemptId, ruling: &Ruling) -> Result<(), StoreError> {
    if ruling.who.trim().is_empty() || ruling.why.trim().is_empty() {
        return Err(Refusal::RulingWithoutReason.into());
    }
    let newest: bool = db
        .prepare_cached(
            "SELECT ?1 = (SELECT max(b.id) FROM attempts a JOIN attempts b ON b.unit = a.unit WHERE a.id = ?1)",
        )?
        .query_row([attempt], |row| Ok(row.get::<_, Option<bool>>(0)?.unwrap_or(false)))?;
    if newest { Ok(()) } else { Err(Refusal::NotNewest { attempt }.into()) }
}

/// Applies a board's event; returns the attempt it belongs to.
pub(crate) fn board(db: &Connection, at: Place, event: &Event) -> Result<Option<AttemptId>, StoreError> {
    if let Event::Note { slot, .. } = event {
        return Ok(match slot {
            Some(slot) => find_open(db, at.run, *slot)?.map(|open| open.id),
            None => None,
        });
    }
    if let Event::AttemptStarted { slot } = event {
        return start_attempt(db, at, *slot).map(Some);
    }
    let slot = event.slot().unwrap_or_default();
    let open = find_open(db, at.run, slot)?.ok_or_else(|| Refusal::NoOpenAttempt {
        run: at.run,
        slot,
        event: event.kind(),
    })?;
    match event {
        Event::Identified { uid, .. } => identified(db, &open, uid)?,
        Event::SerialGiven { serial, .. } => serial_given(db, &open, serial)?,
        Event::StepStarted { step, .. } => start_step(db, at, &open, step)?,
        Event::StepEnded { step, outcome, .. } => end_step(db, at, &open, step, *outcome)?,
        Event::Measured { measurement, .. } => measured(db, at, &open, measurement)?,
        Event::AttemptEnded { verdict, .. } => end_attempt(db, at, &open, verdict)?,
        Event::AttemptStarted { .. } | Event::Note { .. } => {}
    }
    Ok(Some(open.id))
}

/// An attempt that is going on.
struct Open {
    id: AttemptId,
    run: RunId,
    slot: u16,
    unit: Option<i64>,
    serial: Option<String>,
    product: String,
}

fn find_open(db: &Connection, run: RunId, slot: u16) -> Result<Option<Open>, StoreError> {
    let open = db
        .prepare_cached(
            "SELECT a.id, a.unit, a.serial, r.product FROM attempts a JOIN runs r ON r.id = a.run
             WHERE a.run = ?1 AND a.slot = ?2 AND a.result IS NULL",
        )?
        .query_row(params![run, slot], |row| {
            let (id, unit, serial, product) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Open { id, run, slot, unit, serial, product })
        })
        .optional()?;
    Ok(open)
}

fn start_attempt(db: &Connection, at: Place, slot: u16) -> Result<AttemptId, StoreError> {
    if find_open(db, at.run, slot)?.is_some() {
        return Err(Refusal::AttemptOpen { run: at.run, slot }.into());
    }
    db.prepare_cached(
        "INSERT INTO attempts (run, slot, number, started_us, started_run_us)
         VALUES (?1, ?2, (SELECT count(*) + 1 FROM attempts WHERE run = ?1 AND slot = ?2), ?3, ?4)",
    )?
    .execute(params![at.run, slot, at.utc_us, at.run_us])?;
    Ok(AttemptId(db.last_insert_rowid()))
}

fn identified(db: &Connection, open: &Open, uid: &Uid) -> Result<(), StoreError> {
    if let Some(unit) = open.unit {
        let expected = uid_of(db, unit)?;
        return if expected == *uid {
            Ok(())
        } else {
            Err(Refusal::UidChanged { slot: open.slot, expected, got: *uid }.into())
        };
    }
    db.prepare_cached("INSERT INTO units (product, uid) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![open.product, uid])?;
    let unit: i64 = db
        .prepare_cached("SELECT id FROM units WHERE product = ?1 AND uid = ?2")?
        .query_row(params![open.product, uid], |row| row.get(0))?;
    db.prepare_cached("UPDATE attempts SET unit = ?2 WHERE id = ?1")?.execute(params![open.id, unit])?;
    match &open.serial {
        Some(serial) => set_unit_serial(db, unit, serial),
        None => Ok(()),
    }
}

fn serial_given(db: &Connection, open: &Open, serial: &str) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE attempts SET serial = ?2 WHERE id = ?1")?.execute(params![open.id, serial])?;
    match open.unit {
        Some(unit) => set_unit_serial(db, unit, serial),
        None => Ok(()),
    }
}

fn set_unit_serial(db: &Connection, unit: i64, serial: &str) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE units SET serial = ?2 WHERE id = ?1")?.execute(params![unit, serial])?;
    Ok(())
}

fn uid_of(db: &Connection, unit: i64) -> Result<Uid, StoreError> {
    Ok(db.prepare_cached("SELECT uid FROM units WHERE id = ?1")?.query_row([unit], |row| row.get(0))?)
}

fn start_step(db: &Connection, at: Place, open: &Open, step: &str) -> Result<(), StoreError> {
    if running_step(db, open, Some(step))?.is_some() {
        return Err(Refusal::StepOpen { slot: open.slot, step: step.to_owned() }.into());
    }
    db.prepare_cached(
        "INSERT INTO steps (attempt, name, started_us, started_run_us) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![open.id, step, at.utc_us, at.run_us])?;
    Ok(())
}

fn end_step(
    db: &Connection,
    at: Place,
    open: &Open,
    step: &str,
    outcome: StepOutcome,
) -> Result<(), StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE steps SET ended_us = ?3, ended_run_us = ?4, outcome = ?5
             WHERE attempt = ?1 AND name = ?2 AND outcome IS NULL",
        )?
        .execute(params![open.id, step, at.utc_us, at.run_us, outcome])?;
    if changed == 1 {
        Ok(())
    } else {
        Err(Refusal::StepNotOpen { slot: open.slot, step: step.to_owned() }.into())
    }
}

/// The name of a running step: of the given one, or of any.
fn running_step(db: &Connection, open: &Open, step: Option<&str>) -> Result<Option<String>, StoreError> {
    let running = db
        .prepare_cached(
            "SELECT name FROM steps WHERE attempt = ?1 AND outcome IS NULL AND (?2 IS NULL OR name = ?2)
             ORDER BY id LIMIT 1",
        )?
        .query_row(params![open.id, step], |row| row.get(0))
        .optional()?;
    Ok(running)
}

fn measured(db: &Connection, at: Place, open: &Open, m: &Measurement) -> Result<(), StoreError> {
    let finite = [Some(m.value), m.low, m.high].into_iter().flatten().all(f64::is_finite);
    if !finite {
        return Err(Refusal::NotFinite { slot: open.slot, name: m.name.clone() }.into());
    }
    db.prepare_cached(
        "INSERT INTO measurements (attempt, at_us, name, value, unit, low, high, outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![open.id, at.utc_us, m.name, m.value, m.unit, m.low, m.high, m.outcome()])?;
    Ok(())
}

fn end_attempt(db: &Connection, at: Place, open: &Open, verdict: &Verdict) -> Result<(), StoreError> {
    match verdict.result {
        AttemptResult::Pass => may_pass(db, open)?,
        AttemptResult::Fail | AttemptResult::Error if verdict.code.is_none() => {
            return Err(Refusal::NoCode { slot: open.slot, result: verdict.result }.into());
        }
        AttemptResult::Fail
        | AttemptResult::Error
        | AttemptResult::Skipped
        | AttemptResult::Aborted
        | AttemptResult::InDoubt => {}
    }
    db.prepare_cached(
        "UPDATE attempts SET ended_us = ?2, ended_run_us = ?3, end_event = ?4, result = ?5, code = ?6, detail = ?7,
             step = ?8
         WHERE id = ?1",
    )?
    .execute(params![
        open.id,
        at.utc_us,
        at.run_us,
        at.event,
        verdict.result,
        verdict.code,
        verdict.detail,
        verdict.step,
    ])?;
    Ok(())
}

/// Whether everything that a PASS stands for is in the records.
fn may_pass(db: &Connection, open: &Open) -> Result<(), StoreError> {
    let slot = open.slot;
    let Some(unit) = open.unit else {
        return Err(Refusal::PassWithoutUid { slot }.into());
    };
    let required: String = db
        .prepare_cached("SELECT required_steps FROM runs WHERE id = ?1")?
        .query_row([open.run], |row| row.get(0))?;
    let required: Vec<String> = serde_json::from_str(&required)
        .map_err(|error| StoreError::Corrupt { detail: format!("required steps of a run: {error}") })?;
    for step in [VERIFY_STEP].into_iter().chain(required.iter().map(String::as_str)) {
        let last: Option<Option<StepOutcome>> = db
            .prepare_cached(
                "SELECT outcome FROM steps WHERE attempt = ?1 AND name = ?2 ORDER BY id DESC LIMIT 1",
            )?
            .query_row(params![open.id, step], |row| row.get(0))
            .optional()?;
        if last.flatten() != Some(StepOutcome::Ok) {
            return Err(Refusal::PassWithoutStep { slot, step: step.to_owned() }.into());
        }
    }
    if let Some(step) = running_step(db, open, None)? {
        return Err(Refusal::PassDuringStep { slot, step }.into());
    }
    let twin: Option<u16> = db
        .prepare_cached(
            "SELECT slot FROM attempts
             WHERE unit = ?1 AND run = ?2 AND slot <> ?3 AND (result IS NULL OR result = 'pass') LIMIT 1",
        )?
        .query_row(params![unit, open.run, slot], |row| row.get(0))
        .optional()?;
    match twin {
        Some(other) => Err(Refusal::UidTwice { slot, other, uid: uid_of(db, unit)? }.into()),
        None => Ok(()),
    }
}

/// The row of a release, which is made if it is new.
fn release_row(db: &Connection, release: &Release) -> Result<i64, StoreError> {
    let Release { name, version, sha256, images } = release;
    let known = db
        .prepare_cached("SELECT id FROM releases WHERE sha256 = ?1 AND name = ?2 AND version = ?3")?
        .query_row(params![sha256, name, version], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    db.prepare_cached("INSERT INTO releases (name, version, sha256) VALUES (?1, ?2, ?3)")?
        .execute(params![name, version, sha256])?;
    let id = db.last_insert_rowid();
    for image in images {
        db.prepare_cached(
            "INSERT INTO images (release, name, address, length, crc32, sha256) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![id, image.name, image.address, image.length, image.crc32, image.sha256])?;
    }
    Ok(id)
}
