//! One flat line per attempt: the columns of `units.csv` and of the CSV report, which are the same.
//!
//! The line of an ended attempt never changes. RFC 4180: a header, CRLF, quotes where needed; control
//! characters become spaces, so that a line of text is a line of the file.

use std::io;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use sha2::Digest as _;

use super::Filter;
use crate::error::StoreError;
use crate::hex::{Sha256, Uid};
use crate::record::{AttemptId, AttemptResult, RunId, Shipment};
use crate::text::rfc3339;
use crate::trouble::is_try;

/// One attempt, with all that a reader of a spreadsheet needs. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitLine {
    /// Serial number, if one was given.
    pub serial: Option<String>,
    /// The chip's unique id, if it was identified.
    pub uid: Option<Uid>,
    /// Product.
    pub product: String,
    /// Panel.
    pub panel: String,
    /// Slot on the panel.
    pub slot: u16,
    /// Name of the release.
    pub release: String,
    /// Its version.
    pub release_version: String,
    /// Its hash.
    pub release_sha256: Sha256,
    /// The result.
    pub result: AttemptResult,
    /// Code of the failure.
    pub code: Option<String>,
    /// The step in which it failed.
    pub step: Option<String>,
    /// It is a PASS, and an earlier try of the unit was none.
    pub passed_only_on_retest: bool,
    /// When the attempt began.
    pub started: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Station.
    pub station: String,
    /// Operator.
    pub operator: String,
    /// Fixture.
    pub fixture: String,
    /// Job.
    pub job: String,
    /// Work order.
    pub order: Option<String>,
    /// Whether the unit may be shipped if it passed.
    pub shipment: Shipment,
    /// Version of panelflash.
    pub program_version: String,
    /// SHA-256 of the job file, or of the work order.
    pub job_sha256: Sha256,
    /// What was to be in its flash: name, address and SHA-256 of each image, its own ones as they were written.
    pub images: String,
    /// What it was given beside its serial number, such as addresses, as JSON.
    pub identity: Option<String>,
    /// Its steps in the order in which they began: name, seconds, and how it ended unless that was well.
    pub steps: Option<String>,
    /// The raw proof of its lock, as JSON: what it answered, in hexadecimal.
    pub lock_answers: Option<String>,
    /// SHA-256 of the raw proof of its lock, as in the attempt's note `lock-proof`; none if it was not locked.
    pub lock_proof: Option<Sha256>,
    /// The run.
    pub run: RunId,
    /// The attempt. Stays the last column: `units.csv` is continued from it.
    pub attempt: AttemptId,
}

/// The header's words, in the order of the fields of [`UnitLine`].
const HEADER: [&str; 29] = [
    "serial",
    "uid",
    "product",
    "panel",
    "slot",
    "release",
    "release_version",
    "release_sha256",
    "result",
    "code",
    "step",
    "passed_only_on_retest",
    "started",
    "ended",
    "station",
    "operator",
    "fixture",
    "job",
    "order",
    "shipment",
    "program_version",
    "job_sha256",
    "images",
    "identity",
    "steps",
    "lock_answers",
    "lock_proof",
    "run",
    "attempt",
];

/// The query for lines, up to its condition. Only what had happened when an attempt ended counts, so that its line
/// never changes.
fn select() -> String {
    format!(
        "{SELECT},
             a.result IS 'pass' AND EXISTS (SELECT 1 FROM attempts b WHERE b.unit = a.unit
                 AND (b.run < a.run OR b.end_event < a.end_event) AND b.result IS NOT 'pass' AND {})
         {FROM}",
        is_try("b")
    )
}

const SELECT: &str = "SELECT a.serial, u.uid, r.product, r.panel, a.slot, l.name, l.version, l.sha256, a.result,
         a.code, a.step, a.started_us, a.ended_us, r.station, r.operator, r.fixture, r.job, r.order_id, r.shipment,
         r.program_version, a.run, a.id, a.end_event,
         (SELECT json_extract(e.body, '$.body') FROM events e WHERE e.attempt = a.id AND e.kind = 'note'
              AND json_extract(e.body, '$.topic') = 'lock-proof' ORDER BY e.id DESC LIMIT 1),
         r.job_sha256,
         (SELECT group_concat(i.name || printf('@0x%08x=', i.address) || coalesce(
                 (SELECT json_extract(e.body, '$.body.sha256') FROM events e WHERE e.attempt = a.id
                      AND e.kind = 'note' AND json_extract(e.body, '$.topic') = 'image-given'
                      AND json_extract(e.body, '$.body.address') = i.address ORDER BY e.id DESC LIMIT 1),
                 lower(hex(i.sha256))), ' ' ORDER BY i.id)
             FROM images i WHERE i.release = r.release),
         (SELECT json_extract(e.body, '$.body') FROM events e WHERE e.attempt = a.id AND e.kind = 'note'
              AND json_extract(e.body, '$.topic') = 'identity' ORDER BY e.id DESC LIMIT 1),
         (SELECT group_concat(s.name || printf('=%.3f', (s.ended_run_us - s.started_run_us) / 1e6)
                 || CASE WHEN s.outcome = 'ok' THEN '' ELSE '(' || coalesce(s.outcome, 'not ended') || ')' END,
                 ' ' ORDER BY s.id)
             FROM steps s WHERE s.attempt = a.id)";

const FROM: &str = "FROM attempts a
     JOIN runs r ON r.id = a.run
     JOIN releases l ON l.id = r.release
     LEFT JOIN units u ON u.id = a.unit";

/// Writes lines as CSV with a header.
///
/// # Errors
/// Those of the writer.
pub fn write_csv<'l>(
    lines: impl IntoIterator<Item = &'l UnitLine>,
    mut to: impl io::Write,
) -> io::Result<()> {
    to.write_all(&header_text())?;
    write_lines(lines, to)
}

/// Writes lines as CSV without a header.
pub(crate) fn write_lines<'l>(
    lines: impl IntoIterator<Item = &'l UnitLine>,
    to: impl io::Write,
) -> io::Result<()> {
    let mut writer =
        csv::WriterBuilder::new().has_headers(false).terminator(csv::Terminator::CRLF).from_writer(to);
    for line in lines {
        writer.serialize(line).map_err(io::Error::other)?;
    }
    writer.flush()
}

/// The header line.
pub(crate) fn header_text() -> Vec<u8> {
    format!("{}\r\n", HEADER.join(",")).into_bytes()
}

/// The lines that a filter selects, in the order in which the attempts began.
pub(crate) fn lines(db: &Connection, filter: &Filter) -> Result<Vec<UnitLine>, StoreError> {
    let (condition, parameters) = filter.sql();
    let mut statement = db.prepare(&format!("{} WHERE {condition} ORDER BY a.id", select()))?;
    let rows = statement.query_map(parameters.as_slice(), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first `limit` lines of attempts that ended after an event, each with the event that ended it, in the
/// order of those events.
pub(crate) fn lines_after(
    db: &Connection,
    event: i64,
    limit: usize,
) -> Result<Vec<(i64, UnitLine)>, StoreError> {
    let sql = format!("{} WHERE a.end_event > ?1 ORDER BY a.end_event LIMIT ?2", select());
    let mut statement = db.prepare_cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![event, limit], |row| Ok((row.get(22)?, from_row(row)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The line of one attempt.
pub(crate) fn line_of(db: &Connection, attempt: AttemptId) -> Result<Option<UnitLine>, StoreError> {
    Ok(db.query_row(&format!("{} WHERE a.id = ?1", select()), [attempt], from_row).optional()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<UnitLine> {
    let text = |column: usize| row.get::<_, String>(column).map(one_line);
    let optional = |column: usize| row.get::<_, Option<String>>(column).map(|text| text.map(one_line));
    Ok(UnitLine {
        serial: optional(0)?,
        uid: row.get(1)?,
        product: text(2)?,
        panel: text(3)?,
        slot: row.get(4)?,
        release: text(5)?,
        release_version: text(6)?,
        release_sha256: row.get(7)?,
        result: row.get::<_, Option<_>>(8)?.unwrap_or(AttemptResult::InDoubt),
        code: optional(9)?,
        step: optional(10)?,
        passed_only_on_retest: row.get(28)?,
        started: rfc3339(row.get(11)?),
        ended: row.get::<_, Option<_>>(12)?.map(rfc3339),
        station: text(13)?,
        operator: text(14)?,
        fixture: text(15)?,
        job: text(16)?,
        order: optional(17)?,
        shipment: row.get(18)?,
        program_version: text(19)?,
        job_sha256: row.get(24)?,
        images: row.get::<_, Option<String>>(25)?.unwrap_or_default(),
        identity: row.get(26)?,
        steps: row.get(27)?,
        lock_proof: row.get::<_, Option<String>>(23)?.map(|proof| hash_of(&proof)),
        lock_answers: row.get(23)?,
        run: row.get(20)?,
        attempt: row.get(21)?,
    })
}

/// Hash of a proof as it was noted: SQLite gives the JSON back without a change in order or spacing.
fn hash_of(proof: &str) -> Sha256 {
    crate::hex::Hex(sha2::Sha256::digest(proof.as_bytes()).into())
}

fn one_line(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_fields_in_their_order_and_awkward_texts_stay_in_their_column() {
        let line = UnitLine {
            serial: Some("A-1".into()),
            uid: Some([1; 12].into()),
            product: "pump, big".into(),
            panel: "P\"1\"".into(),
            slot: 3,
            release: one_line("two\r\nlines".into()),
            release_version: String::new(),
            release_sha256: [2; 32].into(),
            result: AttemptResult::Fail,
            code: Some("E214".into()),
            step: None,
            passed_only_on_retest: false,
            started: rfc3339(0),
            ended: None,
            station: "s".into(),
            operator: "Zoë".into(),
            fixture: "f".into(),
            job: "j".into(),
            order: None,
            shipment: Shipment::Forbidden,
            program_version: "0.1.0".into(),
            job_sha256: [4; 32].into(),
            images: "app@0x08008000=55".into(),
            identity: None,
            steps: Some("power=0.050 verify=1.000(failed)".into()),
            lock_answers: None,
            lock_proof: Some([3; 32].into()),
            run: RunId(4),
            attempt: AttemptId(5),
        };
        let mut text = Vec::new();
        write_csv([&line], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("\r\n").count(), 2);
        assert!(text.contains(r#","pump, big","P""1""",3,two  lines,,0202"#), "{text}");

        // The csv crate names the columns after the fields.
        let mut named = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        named.serialize(&line).unwrap();
        assert_eq!(String::from_utf8(named.into_inner().unwrap()).unwrap(), text);
    }
}
