//! Reading: units, numbers, the log, and the balance of an order.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::convert::{blob_hash, number_kind, optional_hash, state, time, uid};
use crate::{
    error::LedgerError,
    eui::{Eui, EuiKind},
    report::{Balance, Checkpoint, Event},
    types::{NumberKind, Numbers, State, Uid, Unit, UnitId},
};

const COLUMNS: &str = "id, product, uid, order_id, state, failed, reason, release, run, station, panel, slot,
    read_back, record, lock_proof, supersedes, reserved_at, changed_at";

pub(super) fn unit(connection: &Connection, unit: UnitId) -> Result<Option<Unit>, LedgerError> {
    Ok(select(connection, "WHERE id = ?", [unit.0])?.pop())
}

pub(super) fn find_chip(connection: &Connection, product: &str, uid: Uid) -> Result<Vec<Unit>, LedgerError> {
    select(connection, "WHERE product = ? AND uid = ? ORDER BY id", params![product, uid.0])
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

fn select(connection: &Connection, filter: &str, values: impl Params) -> Result<Vec<Unit>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} FROM unit {filter}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut units = statement.query_map(values, read_unit)?.collect::<Result<Vec<_>, _>>()?;
    for unit in &mut units {
        let Holdings { numbers, keys, certificates } = holdings(connection, unit.unit)?;
        unit.numbers = numbers;
        unit.keys = keys;
        unit.certificates = certificates;
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
        failed: row.get(5)?,
        reason: row.get(6)?,
        release: optional_hash(row, 7)?,
        run: row.get(8)?,
        station: row.get(9)?,
        panel: row.get(10)?,
        slot: row.get(11)?,
        numbers: Numbers::default(),
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

/// What a unit holds that exists once only.
pub(super) struct Holdings {
    pub(super) numbers: Numbers,
    keys: Vec<String>,
    certificates: Vec<String>,
}

pub(super) fn holdings(connection: &Connection, unit: UnitId) -> Result<Holdings, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT kind, value FROM number WHERE unit = ? ORDER BY kind, ordinal")?;
    let rows = statement
        .query_map([unit.0], |row| Ok((number_kind(row, 0)?, row.get::<_, String>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut holdings = Holdings { numbers: Numbers::default(), keys: Vec::new(), certificates: Vec::new() };
    for (kind, value) in rows {
        match kind {
            NumberKind::Serial => holdings.numbers.serial = Some(value),
            NumberKind::Eui48 => holdings.numbers.eui48.push(Eui::parse(EuiKind::Eui48, &value)?),
            NumberKind::Eui64 => holdings.numbers.eui64.push(Eui::parse(EuiKind::Eui64, &value)?),
            NumberKind::Key => holdings.keys.push(value),
            NumberKind::Certificate => holdings.certificates.push(value),
        }
    }
    Ok(holdings)
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

/// The quota is counted three ways that do not depend on each other: what the order says is left, the chips
/// that took from it, and the units those chips have now. They must agree.
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
        "SELECT c.uid, u.state, u.failed IS NOT NULL FROM consumption AS c
         LEFT JOIN unit AS u ON u.id =
             (SELECT max(id) FROM unit WHERE product = c.product AND uid = c.uid)
         WHERE c.order_id = ?",
    )?;
    let mut rows = statement.query([&balance.order])?;
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_str_or_null().is_ok_and(|word| word.is_none()) {
            let chip = uid(row, 0)?;
            balance.discrepancies.push(format!("chip {chip} took from the quota and has no unit"));
            continue;
        }
        let failed: bool = row.get(2)?;
        match state(row, 1)? {
            State::Confirmed => balance.passed += 1,
            State::Void => balance.scrapped += 1,
            _ if failed => balance.failed += 1,
            State::Reserved | State::Writing | State::Written | State::InDoubt => balance.in_doubt += 1,
        }
    }
    Ok(())
}

/// Units that name the order and did not take from it.
fn find_strangers(connection: &Connection, balance: &mut Balance) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT u.id, u.uid FROM unit AS u
         LEFT JOIN consumption AS c ON c.product = u.product AND c.uid = u.uid AND c.order_id = u.order_id
         WHERE u.order_id = ? AND c.uid IS NULL ORDER BY u.id",
    )?;
    let mut rows = statement.query([&balance.order])?;
    while let Some(row) = rows.next()? {
        let (unit, chip) = (UnitId(row.get(0)?), uid(row, 1)?);
        balance
            .discrepancies
            .push(format!("{unit} with chip {chip} names the order and did not take from its quota"));
    }
    Ok(())
}
