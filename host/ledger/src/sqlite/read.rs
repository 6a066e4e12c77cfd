//! Reading: units, numbers, the log, and the balance of an order.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::convert::{blob_hash, blobs, euis, number_kind, optional_hash, reversed, state, time, uid};
use crate::{
    error::LedgerError,
    eui::EuiKind,
    report::{Balance, Checkpoint, Event},
    types::{Hash, NumberKind, Numbers, State, Uid, Unit, UnitId},
};

const COLUMNS: &str =
    "id, product, chip, order_id, state, failed, reason, release, run, station, panel, slot,
    read_back, record, lock_proof, supersedes, reserved_at, changed_at, serial, eui48, eui64, blobs,
    lock_required";

pub(super) fn unit(connection: &Connection, unit: UnitId) -> Result<Option<Unit>, LedgerError> {
    Ok(select(connection, "WHERE id = ?", [unit.0])?.pop())
}

pub(super) fn find_chip(connection: &Connection, product: &str, uid: Uid) -> Result<Vec<Unit>, LedgerError> {
    select(connection, "WHERE chip = ? AND product = ? ORDER BY id", params![reversed(&uid), product])
}

pub(super) fn find_number(
    connection: &Connection,
    kind: NumberKind,
    value: &str,
) -> Result<Vec<Unit>, LedgerError> {
    let filter = "WHERE id IN (SELECT unit FROM number WHERE kind = ? AND value = ?) ORDER BY id";
    select(connection, filter, [kind.word(), value])
}

pub(super) fn units(
    connection: &Connection,
    after: Option<UnitId>,
    limit: usize,
) -> Result<Vec<Unit>, LedgerError> {
    let after = after.map_or(0, |unit| unit.0);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    select(connection, "WHERE id > ? ORDER BY id LIMIT ?", [after, limit])
}

/// Units whose identity was being written, or was written, when nobody finished the run.
pub(super) fn interrupted(connection: &Connection) -> Result<Vec<Unit>, LedgerError> {
    select(connection, "WHERE state IN ('writing', 'written') AND failed IS NULL ORDER BY id", [])
}

pub(super) fn blob(
    connection: &Connection,
    unit: UnitId,
    sha256: Hash,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT bytes FROM blob WHERE unit = ? AND sha256 = ? LIMIT 1")?;
    Ok(statement.query_row(params![unit.0, sha256.0], |row| row.get(0)).optional()?)
}

fn select(connection: &Connection, filter: &str, values: impl Params) -> Result<Vec<Unit>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM unit {filter}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut units = statement.query_map(values, read_unit)?.collect::<Result<Vec<_>, _>>()?;
    for unit in &mut units {
        add_fingerprints(connection, unit)?;
        let mut blobs = connection
            .prepare_cached("SELECT name, sha256 FROM blob WHERE unit = ? ORDER BY name, sha256")?;
        unit.blobs = blobs
            .query_map([unit.unit.0], |row| Ok((row.get(0)?, blob_hash(row, 1)?)))?
            .collect::<Result<_, _>>()?;
    }
    Ok(units)
}

fn read_unit(row: &Row<'_>) -> rusqlite::Result<Unit> {
    Ok(Unit {
        unit: UnitId(row.get(0)?),
        product: row.get(1)?,
        uid: uid(row, 2)?,
        order: row.get(3)?,
        state: state(row, 4)?,
        lock_required: row.get(22)?,
        failed: row.get(5)?,
        reason: row.get(6)?,
        release: optional_hash(row, 7)?,
        run: row.get(8)?,
        station: row.get(9)?,
        panel: row.get(10)?,
        slot: row.get(11)?,
        numbers: read_numbers(row, 18)?,
        keys: Vec::new(),
        certificates: Vec::new(),
        blobs: Vec::new(),
        read_back: optional_hash(row, 12)?,
        record: optional_hash(row, 13)?,
        lock_proof: optional_hash(row, 14)?,
        supersedes: row.get::<_, Option<i64>>(15)?.map(UnitId),
        reserved_at: time(row.get(16)?),
        changed_at: time(row.get(17)?),
    })
}

fn read_numbers(row: &Row<'_>, first: usize) -> rusqlite::Result<Numbers> {
    Ok(Numbers {
        serial: row.get(first)?,
        eui48: euis(row, first + 1, EuiKind::Eui48)?,
        eui64: euis(row, first + 2, EuiKind::Eui64)?,
        blobs: blobs(row, first + 3)?,
    })
}

/// The numbers a unit has.
pub(super) fn numbers(connection: &Connection, unit: UnitId) -> Result<Numbers, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT serial, eui48, eui64, blobs FROM unit WHERE id = ?")?;
    Ok(statement.query_row([unit.0], |row| read_numbers(row, 0))?)
}

fn add_fingerprints(connection: &Connection, unit: &mut Unit) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, value FROM number WHERE unit = ? AND kind IN ('key', 'certificate')
         ORDER BY kind, ordinal",
    )?;
    let mut rows = statement.query([unit.unit.0])?;
    while let Some(row) = rows.next()? {
        match number_kind(row, 0)? {
            NumberKind::Key => unit.keys.push(row.get(1)?),
            NumberKind::Certificate => unit.certificates.push(row.get(1)?),
            NumberKind::Serial | NumberKind::Eui48 | NumberKind::Eui64 | NumberKind::Blob => {}
        }
    }
    Ok(())
}

pub(super) fn events(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Event>, LedgerError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = connection
        .prepare_cached("SELECT seq, at, kind, body, hash FROM event WHERE seq > ? ORDER BY seq LIMIT ?")?;
    let events = statement.query_map([after, limit], |row| {
        Ok(Event {
            seq: row.get::<_, i64>(0)? as u64,
            at: time(row.get(1)?),
            kind: row.get(2)?,
            body: row.get(3)?,
            hash: blob_hash(row, 4)?,
        })
    })?;
    Ok(events.collect::<Result<_, _>>()?)
}

pub(super) fn head(connection: &Connection) -> Result<Option<Checkpoint>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1")?;
    let head = statement
        .query_row([], |row| Ok(Checkpoint { seq: row.get::<_, i64>(0)? as u64, hash: blob_hash(row, 1)? }));
    Ok(head.optional()?)
}

pub(super) fn orders(connection: &Connection) -> Result<Vec<String>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT id FROM work_order ORDER BY id")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The quota is counted in ways that do not depend on each other: what the order says is left, and what the
/// chips that took from it are now. They must agree.
pub(super) fn balance(connection: &Connection, order: &str) -> Result<Balance, LedgerError> {
    let row: Option<(i64, i64)> = connection
        .prepare_cached("SELECT quantity, remaining FROM work_order WHERE id = ?")?
        .query_row([order], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((ordered, remaining)) = row else {
        return Err(LedgerError::UnknownOrder { order: order.to_owned() });
    };
    let mut balance = Balance {
        order: order.to_owned(),
        ordered: ordered as u64,
        passed: 0,
        failed: 0,
        scrapped: 0,
        in_doubt: 0,
        remaining: remaining as u64,
        discrepancies: Vec::new(),
    };
    count_chips(connection, &mut balance)?;
    find_strangers(connection, &mut balance)?;
    let Balance { ordered, passed, failed, scrapped, in_doubt, remaining, .. } = balance;
    let sum = passed + failed + scrapped + in_doubt + remaining;
    if sum != ordered {
        balance.discrepancies.push(format!(
            "ordered {ordered} is not passed {passed} + failed {failed} + scrapped {scrapped} + in doubt \
             {in_doubt} + remaining {remaining} = {sum}"
        ));
    }
    Ok(balance)
}

/// Counts the chips that took from the order by what their newest unit is.
fn count_chips(connection: &Connection, balance: &mut Balance) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT newest.state, newest.failed IS NOT NULL FROM unit AS taker
         JOIN unit AS newest ON newest.id =
             (SELECT max(id) FROM unit WHERE chip = taker.chip AND product = taker.product)
         WHERE taker.order_id = ? AND taker.took = 1",
    )?;
    let mut rows = statement.query([&balance.order])?;
    while let Some(row) = rows.next()? {
        let failed: bool = row.get(1)?;
        match state(row, 0)? {
            State::Confirmed => balance.passed += 1,
            State::Void => balance.scrapped += 1,
            _ if failed => balance.failed += 1,
            State::Reserved | State::Writing | State::Written | State::InDoubt => balance.in_doubt += 1,
        }
    }
    Ok(())
}

/// Chips that took twice, and units that name the order while their chip never took from it.
fn find_strangers(connection: &Connection, balance: &mut Balance) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT chip, sum(took) FROM unit WHERE (chip, product) IN
             (SELECT chip, product FROM unit WHERE order_id = ?1)
         GROUP BY chip, product HAVING sum(took) <> 1 ORDER BY min(id)",
    )?;
    let mut rows = statement.query([&balance.order])?;
    while let Some(row) = rows.next()? {
        let (chip, times): (Uid, i64) = (uid(row, 0)?, row.get(1)?);
        balance.discrepancies.push(format!("chip {chip} took {times} times from the quota, expected once"));
    }
    Ok(())
}
