//! The whole history of one unit, for the question "what happened to this board?".

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use crate::error::{Refusal, StoreError};
use crate::hex::{Sha256, Uid};
use crate::record::{
    AttemptId, AttemptResult, IMAGE_NOTE, Image, MeasurementOutcome, ResolutionKind, Ruling, RunId, Shipment,
    Simulation, StepOutcome,
};
use crate::replay::Kind;
use crate::retest::{self, Standing};
use crate::text::rfc3339;
use crate::trouble::is_try;

/// Candidates named when the beginning of a serial number or UID is not enough.
const CANDIDATES: usize = 10;

/// Everything recorded about a unit. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitHistory {
    /// Product.
    pub product: String,
    /// The chip's unique id.
    pub uid: Uid,
    /// Serial number, the last one given.
    pub serial: Option<String>,
    /// Result of its last try, which an attempt that was skipped, aborted or refused is not; an attempt that has not
    /// ended is in doubt.
    pub result: Option<AttemptResult>,
    /// It passed, but an earlier try had not. Stays true for ever.
    pub passed_only_on_retest: bool,
    /// What is held against it.
    pub standing: Standing,
    /// What people ruled of it, oldest first.
    pub rulings: Vec<Ruling>,
    /// Its attempts in the order in which they began.
    pub attempts: Vec<AttemptHistory>,
}

/// One attempt of a unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptHistory {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its run.
    pub run: RunSummary,
    /// Slot on the run's panel.
    pub slot: u16,
    /// 1, 2, ... in this slot of this run.
    pub number: u32,
    /// Serial number given in this attempt.
    pub serial: Option<String>,
    /// When it began.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// How long it took, by the run's own clock.
    pub seconds: Option<f64>,
    /// The result; in doubt if it has not ended.
    pub result: AttemptResult,
    /// Code of the failure.
    pub code: Option<String>,
    /// What exactly happened.
    pub detail: Option<String>,
    /// The step in which it happened.
    pub step: Option<String>,
    /// Whether the board was tried: not if the attempt was skipped, aborted, or refused before anything was done.
    pub tried: bool,
    /// What became of it, if it was in doubt.
    pub resolution: Option<ResolutionKind>,
    /// How that was found.
    pub resolution_note: Option<String>,
    /// The run that found it.
    pub resolved_by_run: Option<RunId>,
    /// What was to be in its flash: the release's images, and its own as they were written.
    pub images: Vec<Image>,
    /// Its steps in the order in which they began.
    pub steps: Vec<StepRow>,
    /// Its measurements in order.
    pub measurements: Vec<MeasurementRow>,
    /// Its events in order.
    pub events: Vec<EventRow>,
}

/// The data of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// Panel.
    pub panel: String,
    /// Product.
    pub product: String,
    /// Job.
    pub job: String,
    /// Hash of the job file.
    pub job_sha256: Sha256,
    /// Name of the release.
    pub release: String,
    /// Its version.
    pub release_version: String,
    /// Its hash.
    pub release_sha256: Sha256,
    /// Its images.
    pub images: Vec<Image>,
    /// Work order.
    pub order: Option<String>,
    /// Station.
    pub station: String,
    /// Operator.
    pub operator: String,
    /// Fixture.
    pub fixture: String,
    /// Version of panelflash.
    pub program_version: String,
    /// Set when the boards were simulated.
    pub simulation: Option<Simulation>,
    /// Whether passed units may be shipped.
    pub shipment: Shipment,
    /// Steps that a PASS needed besides the verify step.
    pub required_steps: Vec<String>,
    /// When it began.
    pub started: String,
    /// When it ended; none if it is going on or its process died.
    pub ended: Option<String>,
    /// Its exit code.
    pub exit: Option<u8>,
}

/// A step of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRow {
    /// Name.
    pub name: String,
    /// When it began.
    pub started: String,
    /// How long it took, by the run's own clock.
    pub seconds: Option<f64>,
    /// How it ended; none if it did not.
    pub outcome: Option<StepOutcome>,
}

/// A measurement in an attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasurementRow {
    /// Name.
    pub name: String,
    /// Value.
    pub value: f64,
    /// Unit of value and limits.
    pub unit: String,
    /// Lowest good value.
    pub low: Option<f64>,
    /// Highest good value.
    pub high: Option<f64>,
    /// How the value compares with the limits.
    pub outcome: MeasurementOutcome,
    /// When it was measured.
    pub at: String,
}

/// An event as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    /// Its number in the database.
    pub id: i64,
    /// Its number in the run.
    pub seq: i64,
    /// When it was recorded.
    pub at: String,
    /// Microseconds since the run began.
    pub run_us: Option<i64>,
    /// Kind.
    pub kind: String,
    /// The slot concerned, if it is one slot's.
    pub slot: Option<u16>,
    /// The attempt it belongs to.
    pub attempt: Option<AttemptId>,
    /// All of it.
    pub body: serde_json::Value,
    /// Its link in the chain.
    pub hash: Sha256,
}

/// The units that a query means.
pub(crate) fn units(db: &Connection, query: &str) -> Result<Vec<UnitHistory>, StoreError> {
    let whole_uid = query.to_ascii_lowercase().parse::<Uid>().ok().map(|uid| (uid, uid));
    let mut ids = find(db, (query, query), whole_uid, usize::MAX)?;
    if ids.is_empty() && !query.is_empty() {
        let beyond = format!("{query}{}", char::MAX);
        ids = find(db, (query, &beyond), uid_range(query), CANDIDATES + 1)?;
        if ids.len() > 1 {
            ids.truncate(CANDIDATES);
            let candidates = ids.iter().map(|id| name_of(db, *id)).collect::<Result<_, _>>()?;
            return Err(Refusal::AmbiguousUnit { query: query.to_owned(), candidates }.into());
        }
    }
    if ids.is_empty() {
        return Err(Refusal::NoSuchUnit { query: query.to_owned() }.into());
    }
    ids.into_iter().map(|id| history(db, id)).collect()
}

/// A run's data.
pub(crate) fn run(db: &Connection, run: RunId) -> Result<Option<RunSummary>, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT r.panel, r.product, r.job, r.job_sha256, l.name, l.version, l.sha256, r.order_id, r.station,
                 r.operator, r.fixture, r.program_version, r.seed, r.virtual_time, r.shipment, r.required_steps,
                 r.started_us, r.ended_us, r.exit, l.id
             FROM runs r JOIN releases l ON l.id = r.release WHERE r.id = ?1",
        )?
        .query_row([run], |row| Ok((run_from_row(run, row)?, row.get::<_, i64>(19)?)))
        .optional()?;
    let Some((mut summary, release)) = found else { return Ok(None) };
    let mut images = db.prepare_cached(
        "SELECT name, address, length, crc32, sha256 FROM images WHERE release = ?1 ORDER BY id",
    )?;
    let rows = images.query_map([release], |row| {
        let (name, address, length) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Image { name, address, length, crc32: row.get(3)?, sha256: row.get(4)? })
    })?;
    summary.images = rows.collect::<Result<_, _>>()?;
    Ok(Some(summary))
}

fn run_from_row(run: RunId, row: &Row<'_>) -> rusqlite::Result<RunSummary> {
    let seed: Option<String> = row.get(12)?;
    let virtual_time = row.get(13)?;
    let required: String = row.get(15)?;
    Ok(RunSummary {
        run,
        panel: row.get(0)?,
        product: row.get(1)?,
        job: row.get(2)?,
        job_sha256: row.get(3)?,
        release: row.get(4)?,
        release_version: row.get(5)?,
        release_sha256: row.get(6)?,
        images: Vec::new(),
        order: row.get(7)?,
        station: row.get(8)?,
        operator: row.get(9)?,
        fixture: row.get(10)?,
        program_version: row.get(11)?,
        simulation: seed.and_then(|seed| seed.parse().ok()).map(|seed| Simulation { seed, virtual_time }),
        shipment: row.get(14)?,
        required_steps: serde_json::from_str(&required).unwrap_or_default(),
        started: rfc3339(row.get(16)?),
        ended: row.get::<_, Option<_>>(17)?.map(rfc3339),
        exit: row.get(18)?,
    })
}

/// Units that have or had a serial number in one range, or whose UID lies in the other; both ends belong to it.
fn find(
    db: &Connection,
    serials: (&str, &str),
    uids: Option<(Uid, Uid)>,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT id FROM units WHERE serial BETWEEN ?1 AND ?2
         UNION SELECT unit FROM attempts WHERE serial BETWEEN ?1 AND ?2 AND unit IS NOT NULL
         UNION SELECT id FROM units WHERE uid BETWEEN ?3 AND ?4
         ORDER BY 1 LIMIT ?5",
    )?;
    let (first_uid, last_uid) = uids.unzip();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows =
        statement.query_map(params![serials.0, serials.1, first_uid, last_uid, limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The lowest and the highest UID that begin with these digits.
fn uid_range(digits: &str) -> Option<(Uid, Uid)> {
    if digits.is_empty() || digits.len() > 24 || !digits.is_ascii() {
        return None;
    }
    let fill = |digit: char| {
        let mut text = digits.to_ascii_lowercase();
        text.extend(core::iter::repeat_n(digit, 24 - digits.len()));
        text.parse().ok()
    };
    Some((fill('0')?, fill('f')?))
}

fn name_of(db: &Connection, unit: i64) -> Result<String, StoreError> {
    let (uid, serial): (Uid, Option<String>) =
        db.query_row("SELECT uid, serial FROM units WHERE id = ?1", [unit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(serial.unwrap_or_else(|| uid.to_string()))
}

fn history(db: &Connection, unit: i64) -> Result<UnitHistory, StoreError> {
    let (product, uid, serial): (String, Uid, Option<String>) =
        db.query_row("SELECT product, uid, serial FROM units WHERE id = ?1", [unit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let mut statement = db.prepare_cached("SELECT id FROM attempts WHERE unit = ?1 ORDER BY id")?;
    let ids = statement.query_map([unit], |row| row.get(0))?.collect::<Result<Vec<AttemptId>, _>>()?;
    let attempts = ids.into_iter().map(|id| attempt(db, id)).collect::<Result<Vec<_>, _>>()?;
    let tries: Vec<_> =
        attempts.iter().filter(|attempt| attempt.tried).map(|attempt| attempt.result).collect();
    let result = tries.last().copied();
    let passed_only_on_retest = is_retest_pass(&tries);
    let (standing, rulings) = (retest::standing(db, &product, &uid)?, rulings(&attempts)?);
    Ok(UnitHistory { product, uid, serial, result, passed_only_on_retest, standing, rulings, attempts })
}

/// Whether the last of these tries passed and another before it had not.
pub(super) fn is_retest_pass(tries: &[AttemptResult]) -> bool {
    let (pass, not) = (AttemptResult::Pass, |result: &AttemptResult| *result != AttemptResult::Pass);
    tries.last() == Some(&pass) && tries.iter().any(not)
}

fn rulings(attempts: &[AttemptHistory]) -> Result<Vec<Ruling>, StoreError> {
    let events = attempts.iter().flat_map(|attempt| &attempt.events);
    let mut ruled: Vec<_> = events.filter(|event| event.kind == Kind::RULED).collect();
    ruled.sort_by_key(|event| event.id);
    ruled.into_iter().map(|event| retest::ruling(&event.body.to_string())).collect()
}

fn attempt(db: &Connection, id: AttemptId) -> Result<AttemptHistory, StoreError> {
    let run_id = db
        .prepare_cached("SELECT run FROM attempts WHERE id = ?1")?
        .query_row([id], |row| row.get::<_, RunId>(0))?;
    let Some(summary) = run(db, run_id)? else {
        return Err(StoreError::Corrupt { detail: format!("attempt {} belongs to no run", id.0) });
    };
    let (steps, measurements, events) = (steps(db, id)?, measurements(db, id)?, events(db, id)?);
    let images = images(&summary, &events);
    let attempt = db
        .prepare_cached(&format!(
            "SELECT slot, number, serial, started_us, ended_us, ended_run_us - started_run_us, result, code, detail,
                 step, resolution, resolution_note, resolved_by_run, {}
             FROM attempts a WHERE id = ?1",
            is_try("a")
        ))?
        .query_row([id], |row| {
            Ok(AttemptHistory {
                attempt: id,
                run: summary,
                images,
                slot: row.get(0)?,
                number: row.get(1)?,
                serial: row.get(2)?,
                started: rfc3339(row.get(3)?),
                ended: row.get::<_, Option<_>>(4)?.map(rfc3339),
                seconds: seconds(row.get(5)?),
                result: row.get::<_, Option<_>>(6)?.unwrap_or(AttemptResult::InDoubt),
                code: row.get(7)?,
                detail: row.get(8)?,
                step: row.get(9)?,
                tried: row.get(13)?,
                resolution: row.get(10)?,
                resolution_note: row.get(11)?,
                resolved_by_run: row.get(12)?,
                steps,
                measurements,
                events,
            })
        })?;
    Ok(attempt)
}

/// The run's images, with those in place of them that are this board's own.
fn images(run: &RunSummary, events: &[EventRow]) -> Vec<Image> {
    let own = |event: &EventRow| {
        let is_image = event.kind == "note" && event.body["topic"] == IMAGE_NOTE;
        is_image.then(|| serde_json::from_value::<Image>(event.body["body"].clone()).ok()).flatten()
    };
    let own: Vec<Image> = events.iter().filter_map(own).collect();
    let given =
        |image: &Image| own.iter().rfind(|o| (&o.name, o.address) == (&image.name, image.address)).cloned();
    run.images.iter().map(|image| given(image).unwrap_or_else(|| image.clone())).collect()
}

fn steps(db: &Connection, attempt: AttemptId) -> Result<Vec<StepRow>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT name, started_us, ended_run_us - started_run_us, outcome FROM steps WHERE attempt = ?1 ORDER BY id",
    )?;
    let rows = statement.query_map([attempt], |row| {
        let (name, started) = (row.get(0)?, rfc3339(row.get(1)?));
        Ok(StepRow { name, started, seconds: seconds(row.get(2)?), outcome: row.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn measurements(db: &Connection, attempt: AttemptId) -> Result<Vec<MeasurementRow>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT name, value, unit, low, high, outcome, at_us FROM measurements WHERE attempt = ?1 ORDER BY id",
    )?;
    let rows = statement.query_map([attempt], |row| {
        Ok(MeasurementRow {
            name: row.get(0)?,
            value: row.get(1)?,
            unit: row.get(2)?,
            low: row.get(3)?,
            high: row.get(4)?,
            outcome: row.get(5)?,
            at: rfc3339(row.get(6)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn events(db: &Connection, attempt: AttemptId) -> Result<Vec<EventRow>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{EVENT} WHERE attempt = ?1 ORDER BY id"))?;
    let rows = statement.query_map([attempt], event_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All events of a run.
pub(crate) fn run_events(db: &Connection, run: RunId) -> Result<Vec<EventRow>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{EVENT} WHERE run = ?1 ORDER BY seq"))?;
    let rows = statement.query_map([run], event_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const EVENT: &str = "SELECT id, seq, at_us, run_us, kind, slot, attempt, body, hash FROM events";

fn event_from_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: row.get(0)?,
        seq: row.get(1)?,
        at: rfc3339(row.get(2)?),
        run_us: row.get(3)?,
        kind: row.get(4)?,
        slot: row.get(5)?,
        attempt: row.get(6)?,
        body: json(row.get(7)?),
        hash: row.get(8)?,
    })
}

/// A body as JSON; one that somebody spoilt stays visible as text.
fn json(body: String) -> serde_json::Value {
    serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body))
}

fn seconds(us: Option<i64>) -> Option<f64> {
    us.map(|us| us as f64 / 1e6)
}
