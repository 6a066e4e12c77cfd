//! What happens to a unit after its reservation: the transitions, each with its entry in the log.

use rusqlite::{CachedStatement, ErrorCode, OptionalExtension, params};
use serde_json::json;

use super::{convert::state, read, writer::Writer};
use crate::{
    error::LedgerError,
    types::{Change, Hash, NumberKind, State, Step, Unit, UnitId},
};

/// What a transition has to know of the unit.
struct Current {
    state: State,
    run: String,
    order: Option<String>,
    lock_required: bool,
    record: Option<[u8; 32]>,
}

pub(super) fn step(writer: &mut Writer<'_>, step: &Step) -> Result<(), LedgerError> {
    let Step { unit, run, change } = step;
    let current = current(writer, *unit)?;
    if already_done(&current, run, change) {
        return Ok(());
    }
    let state = next(*unit, &current, change)?;
    let mut body = json!({ "unit": unit, "run": run, "state": state });
    let kind = match change {
        Change::Writing => {
            set(writer, *unit, state, run, None, None)?;
            set_hash(writer, *unit, "UPDATE unit SET read_back = ? WHERE id = ?", None)?;
            "writing"
        }
        Change::Written { read_back } => {
            set(writer, *unit, state, run, None, None)?;
            set_hash(writer, *unit, "UPDATE unit SET read_back = ? WHERE id = ?", Some(*read_back))?;
            body["read_back"] = json!(read_back);
            "written"
        }
        Change::Fingerprint { kind, value } => {
            add_fingerprint(writer, *unit, *kind, value)?;
            body["kind"] = json!(kind);
            body["fingerprint"] = json!(value);
            "fingerprint"
        }
        Change::Blob { name, bytes } => {
            let sha256 = Hash::of(bytes);
            writer
                .tx
                .prepare_cached("INSERT OR IGNORE INTO blob (unit, name, sha256, bytes) VALUES (?, ?, ?, ?)")?
                .execute(params![unit.0, name, sha256.0, bytes])?;
            body["name"] = json!(name);
            body["sha256"] = json!(sha256);
            "blob"
        }
        Change::Confirmed { record, lock_proof } => {
            set(writer, *unit, state, run, None, None)?;
            set_hash(writer, *unit, "UPDATE unit SET record = ? WHERE id = ?", Some(*record))?;
            set_hash(writer, *unit, "UPDATE unit SET lock_proof = ? WHERE id = ?", *lock_proof)?;
            body["record"] = json!(record);
            body["lock_proof"] = json!(lock_proof);
            "confirmed"
        }
        Change::Failed { code } => {
            let reason = (state == State::InDoubt).then_some("failed while the identity was written");
            set(writer, *unit, state, run, Some(code), reason)?;
            body["code"] = json!(code);
            "failed"
        }
        Change::InDoubt { reason } => {
            set(writer, *unit, state, run, None, Some(reason))?;
            body["reason"] = json!(reason);
            "in-doubt"
        }
        Change::Void { reason } => {
            set(writer, *unit, state, run, None, Some(reason))?;
            body["reason"] = json!(reason);
            "void"
        }
    };
    writer.log(kind, &body)
}

pub(super) fn doubt_interrupted(writer: &mut Writer<'_>) -> Result<Vec<UnitId>, LedgerError> {
    let units = read::interrupted(&writer.tx)?;
    for Unit { unit, run, .. } in &units {
        let change = Change::InDoubt { reason: "the station stopped in the middle of the run".to_owned() };
        step(writer, &Step { unit: *unit, run: run.clone(), change })?;
    }
    Ok(units.into_iter().map(|unit| unit.unit).collect())
}

/// A pass may be told twice: the station that died between the ledger and its own record tells it again.
fn already_done(current: &Current, run: &str, change: &Change) -> bool {
    match change {
        Change::Confirmed { record, .. } => {
            current.state == State::Confirmed && current.run == run && current.record == Some(record.0)
        }
        _ => false,
    }
}

/// The state a change leads to, or why it is not possible.
fn next(unit: UnitId, current: &Current, change: &Change) -> Result<State, LedgerError> {
    use State::{Confirmed, InDoubt, Reserved, Void, Writing, Written};
    let refuse = |wanted| Err(LedgerError::Transition { unit, state: current.state, wanted });
    match (change, current.state) {
        (Change::Writing, Reserved | Writing | Written | InDoubt) => Ok(Writing),
        (Change::Writing, Confirmed | Void) => refuse("writing"),
        (Change::Written { .. }, Writing | Written | InDoubt) => Ok(Written),
        (Change::Written { .. }, Reserved | Confirmed | Void) => refuse("written"),
        (Change::Fingerprint { .. }, Reserved | Writing | Written | InDoubt) => Ok(current.state),
        (Change::Fingerprint { .. }, Confirmed | Void) => refuse("given a key"),
        (Change::Blob { .. }, Reserved | Writing | Written | InDoubt) => Ok(current.state),
        (Change::Blob { .. }, Confirmed | Void) => refuse("given a blob"),
        (Change::Confirmed { lock_proof, .. }, Written) => match &current.order {
            _ if !current.lock_required || lock_proof.is_some() => Ok(Confirmed),
            order => Err(LedgerError::LockNotProven { unit, order: order.clone().unwrap_or_default() }),
        },
        (Change::Confirmed { .. }, Reserved | Writing | Confirmed | InDoubt | Void) => refuse("confirmed"),
        (Change::Failed { .. }, Writing) => Ok(InDoubt),
        (Change::Failed { .. }, Reserved | Written | InDoubt) => Ok(current.state),
        (Change::Failed { .. }, Confirmed | Void) => refuse("failed"),
        (Change::InDoubt { .. }, Void) => refuse("in doubt"),
        (Change::InDoubt { reason } | Change::Void { reason }, _) if reason.trim().is_empty() => {
            Err(LedgerError::NoReason { unit })
        }
        (Change::InDoubt { .. }, _) => Ok(InDoubt),
        (Change::Void { .. }, Void) => refuse("void"),
        (Change::Void { .. }, _) => Ok(Void),
    }
}

fn current(writer: &Writer<'_>, unit: UnitId) -> Result<Current, LedgerError> {
    writer
        .tx
        .prepare_cached("SELECT state, run, order_id, lock_required, record FROM unit WHERE id = ?")?
        .query_row([unit.0], |row| {
            Ok(Current {
                state: state(row, 0)?,
                run: row.get(1)?,
                order: row.get(2)?,
                lock_required: row.get(3)?,
                record: row.get(4)?,
            })
        })
        .optional()?
        .ok_or(LedgerError::UnknownUnit { unit })
}

fn set(
    writer: &Writer<'_>,
    unit: UnitId,
    state: State,
    run: &str,
    failed: Option<&str>,
    reason: Option<&str>,
) -> Result<(), LedgerError> {
    writer
        .tx
        .prepare_cached(
            "UPDATE unit SET state = ?2, run = ?3, failed = ?4, reason = ?5, changed_at = ?6 WHERE id = ?1",
        )?
        .execute(params![unit.0, state.word(), run, failed, reason, writer.at])?;
    Ok(())
}

fn set_hash(writer: &Writer<'_>, unit: UnitId, sql: &str, hash: Option<Hash>) -> Result<(), LedgerError> {
    writer.tx.prepare_cached(sql)?.execute(params![hash.map(|hash| hash.0), unit.0])?;
    Ok(())
}

fn add_fingerprint(
    writer: &Writer<'_>,
    unit: UnitId,
    kind: NumberKind,
    value: &Hash,
) -> Result<(), LedgerError> {
    let text = value.to_string();
    let owner: Option<i64> = writer
        .tx
        .prepare_cached("SELECT unit FROM number WHERE kind = ? AND scope = '' AND value = ?")?
        .query_row([kind.word(), &text], |row| row.get(0))
        .optional()?;
    let ordinal: i64 = writer
        .tx
        .prepare_cached("SELECT coalesce(max(ordinal) + 1, 0) FROM number WHERE unit = ? AND kind = ?")?
        .query_row(params![unit.0, kind.word()], |row| row.get(0))?;
    if owner == Some(unit.0) {
        // It is the one in the chip again, such as a board's own key after one from the station.
        let again =
            "UPDATE number SET ordinal = ? WHERE kind = ? AND scope = '' AND value = ? AND ordinal < ?";
        writer.tx.prepare_cached(again)?.execute(params![ordinal, kind.word(), &text, ordinal - 1])?;
        return Ok(());
    }
    Giving::new(writer)?.give(kind, "", &text, unit, ordinal, None)
}

/// Gives numbers to units for ever. One statement for many numbers.
pub(super) struct Giving<'t>(CachedStatement<'t>);

impl<'t> Giving<'t> {
    pub(super) fn new(writer: &'t Writer<'_>) -> Result<Self, LedgerError> {
        let insert = "INSERT INTO number (kind, scope, value, unit, ordinal, pool, place)
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        Ok(Self(writer.tx.prepare_cached(insert)?))
    }

    /// Refuses a number that any unit has or had.
    pub(super) fn give(
        &mut self,
        kind: NumberKind,
        scope: &str,
        value: &str,
        unit: UnitId,
        ordinal: i64,
        from: Option<(i64, i64)>,
    ) -> Result<(), LedgerError> {
        let (pool, place) = from.unzip();
        match self.0.execute(params![kind.word(), scope, value, unit.0, ordinal, pool, place]) {
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Err(LedgerError::DuplicateNumber {
                    kind,
                    value: value.to_owned(),
                    place: "given to another unit".to_owned(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}
