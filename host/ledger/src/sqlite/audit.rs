//! The audit: everything the ledger claims, held against everything it wrote down.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use serde::Deserialize;

use super::{
    audit_keys::{self, Told},
    blobs,
    convert::{number_kind, state, uid},
    read,
};
use crate::{
    chain,
    error::LedgerError,
    report::{Audit, Checkpoint, Finding},
    types::{Hash, NumberKind, State, UnitId},
};

pub(super) fn audit(connection: &Connection, written_down: &[Checkpoint]) -> Result<Audit, LedgerError> {
    let mut audit = Audit::default();
    check_file(connection, &mut audit)?;
    let log = read_log(connection, written_down, &mut audit)?;
    check_states(connection, &log, &mut audit)?;
    check_chips(connection, &mut audit)?;
    check_numbers(connection, &mut audit)?;
    check_given(connection, &mut audit)?;
    audit_keys::check(connection, &log.fingerprints, &mut audit)?;
    blobs::check(connection, &mut audit)?;
    check_voids(connection, &mut audit)?;
    check_orders(connection, &log, &mut audit)?;
    Ok(audit)
}

/// What the log says there should be.
#[derive(Default)]
struct Log {
    states: BTreeMap<i64, String>,
    consumed: BTreeMap<String, u64>,
    fingerprints: Told,
}

fn check_file(connection: &Connection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let damage = lines.into_iter().filter(|line| line != "ok");
    audit.findings.extend(damage.map(|detail| Finding::Damaged { detail }));
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        let detail = format!("a row of {table} refers to a missing row of {parent}");
        audit.findings.push(Finding::Damaged { detail });
    }
    Ok(())
}

/// Follows the chain to its end; only the first break is told, since nothing after it can be trusted.
fn read_log(
    connection: &Connection,
    written_down: &[Checkpoint],
    audit: &mut Audit,
) -> Result<Log, LedgerError> {
    let mut log = Log::default();
    let mut missing: BTreeMap<u64, Hash> =
        written_down.iter().map(|checkpoint| (checkpoint.seq, checkpoint.hash)).collect();
    let mut before = chain::START;
    let mut expected = 1;
    let mut broken = false;
    let mut statement = connection.prepare("SELECT seq, at, kind, body, hash FROM event ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (kind, body): (String, String) = (row.get(2)?, row.get(3)?);
        let hash = Hash(row.get(4)?);
        let seq = seq as u64;
        if !broken && (seq != expected || chain::link(before, seq, at, &kind, &body) != hash) {
            audit.findings.push(Finding::Chain { seq: expected });
            broken = true;
        }
        if missing.get(&seq) == Some(&hash) {
            missing.remove(&seq);
        }
        log.take(&body);
        before = hash;
        expected = seq + 1;
        audit.events += 1;
    }
    audit.findings.extend(missing.into_keys().map(|seq| Finding::Rollback { seq }));
    Ok(log)
}

/// What the audit reads of an entry: one unit, or the units of a panel.
#[derive(Deserialize)]
struct Entry {
    order: Option<String>,
    #[serde(default)]
    units: Vec<UnitEntry>,
    unit: Option<i64>,
    state: Option<String>,
    kind: Option<NumberKind>,
    fingerprint: Option<String>,
}

#[derive(Deserialize)]
struct UnitEntry {
    unit: i64,
    state: String,
    consumed: bool,
}

impl Log {
    fn take(&mut self, body: &str) {
        // An entry that cannot be read was changed, which the chain has told.
        let Ok(entry) = serde_json::from_str::<Entry>(body) else { return };
        if let (Some(unit), Some(kind), Some(value)) = (entry.unit, entry.kind, entry.fingerprint) {
            self.fingerprints.entry((kind, value)).or_default().insert(unit);
        }
        self.states.extend(entry.unit.zip(entry.state));
        for UnitEntry { unit, state, consumed } in entry.units {
            self.states.insert(unit, state);
            if let Some(order) = entry.order.as_ref().filter(|_| consumed) {
                *self.consumed.entry(order.clone()).or_default() += 1;
            }
        }
    }
}

fn check_states(connection: &Connection, log: &Log, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut sums: BTreeMap<State, u64> = BTreeMap::new();
    let mut expected = log.states.clone();
    let mut statement = connection.prepare("SELECT id, state FROM unit ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (unit, table): (i64, State) = (row.get(0)?, state(row, 1)?);
        *sums.entry(table).or_default() += 1;
        let log = expected.remove(&unit).unwrap_or_else(|| "unknown".to_owned());
        if log != table.word() {
            let table = table.word().to_owned();
            audit.findings.push(Finding::State { unit: UnitId(unit), table, log });
        }
    }
    let gone = expected.into_iter();
    audit.findings.extend(gone.map(|(unit, log)| Finding::State {
        unit: UnitId(unit),
        table: "missing".to_owned(),
        log,
    }));
    audit.states = sums.into_iter().collect();
    Ok(())
}

fn check_chips(connection: &Connection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut statement = connection.prepare(
        "SELECT chip, product, group_concat(id) FROM unit WHERE state <> 'void'
         GROUP BY chip, product HAVING count(*) > 1 ORDER BY min(id)",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let units = unit_list(&row.get::<_, String>(2)?);
        audit.findings.push(Finding::Chip { uid: uid(row, 0)?, product: row.get(1)?, units });
    }
    Ok(())
}

fn unit_list(text: &str) -> Vec<UnitId> {
    text.split(',').filter_map(|unit| unit.parse().ok().map(UnitId)).collect()
}

/// The numbers a unit shows are the numbers it was given, and nothing was given that no unit shows.
fn check_given(connection: &Connection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut given =
        connection.prepare("SELECT unit FROM number WHERE kind = ? AND scope = ? AND value = ?")?;
    let mut units = connection.prepare("SELECT id, product FROM unit ORDER BY id")?;
    let mut rows = units.query([])?;
    let mut shown = 0;
    while let Some(row) = rows.next()? {
        let (unit, product) = (UnitId(row.get(0)?), row.get::<_, String>(1)?);
        let numbers = read::numbers(connection, unit)?;
        let serial = numbers.serial.into_iter().map(|value| (NumberKind::Serial, product.as_str(), value));
        let euis = numbers.eui48.iter().chain(&numbers.eui64);
        let euis = euis.map(|eui| (NumberKind::from(eui.kind), "", eui.to_string()));
        let blobs = numbers.blobs.iter();
        let blobs = blobs.map(|blob| (NumberKind::Blob, blob.name.as_str(), blob.sha256.to_string()));
        for (kind, scope, value) in serial.chain(euis).chain(blobs) {
            shown += 1;
            let owner: Option<i64> =
                given.query_row([kind.word(), scope, &value], |row| row.get(0)).optional()?;
            if owner != Some(unit.0) {
                audit.findings.push(Finding::NotGiven { unit, kind, value });
            }
        }
    }
    let given: i64 = connection.query_row(
        "SELECT count(*) FROM number WHERE kind IN ('serial', 'eui48', 'eui64', 'blob')",
        [],
        |row| row.get(0),
    )?;
    if given != shown {
        audit.findings.push(Finding::Numbers { given: given as u64, shown: shown as u64 });
    }
    Ok(())
}

/// Duplicates are impossible by the primary key; they are looked for all the same, since a file may have been
/// put together by other means. Then: every set a pool has given must be on a unit.
fn check_numbers(connection: &Connection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut statement = connection.prepare(
        "SELECT kind, value, group_concat(unit) FROM number
         GROUP BY kind, scope, value HAVING count(*) > 1 ORDER BY kind, value",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let units = unit_list(&row.get::<_, String>(2)?);
        audit.findings.push(Finding::Duplicate { kind: number_kind(row, 0)?, value: row.get(1)?, units });
    }
    let mut statement = connection.prepare(
        "SELECT p.id, p.used, count(DISTINCT n.place) FROM pool AS p
         LEFT JOIN number AS n ON n.pool = p.id AND n.place >= 0 AND n.place < p.used
         GROUP BY p.id HAVING p.used <> count(DISTINCT n.place) ORDER BY p.id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (pool, taken, found): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        audit.findings.push(Finding::Gap { pool, taken: taken as u64, found: found as u64 });
    }
    Ok(())
}

fn check_voids(connection: &Connection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut statement = connection.prepare(
        "SELECT u.id, u.reason, n.value FROM unit AS u
         LEFT JOIN number AS n ON n.unit = u.id AND n.kind IN ('serial', 'eui48', 'eui64')
         WHERE u.state = 'void' ORDER BY u.id, n.kind, n.ordinal",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (unit, reason, value): (i64, Option<String>, Option<String>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        match reason {
            Some(reason) => audit.explained.extend(value.map(|value| (value, reason))),
            None => audit.findings.push(Finding::NoReason { unit: UnitId(unit) }),
        }
    }
    Ok(())
}

fn check_orders(connection: &Connection, log: &Log, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut statement = connection.prepare("SELECT id, quantity - remaining FROM work_order ORDER BY id")?;
    let orders: Vec<(String, i64)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (order, taken) in orders {
        let logged = log.consumed.get(&order).copied().unwrap_or(0);
        if logged as i64 != taken {
            let detail = format!("{taken} units taken from the quota, {logged} by the log");
            audit.findings.push(Finding::Order { order: order.clone(), detail });
        }
        let balance = read::balance(connection, &order)?;
        let details = balance.discrepancies.into_iter();
        audit.findings.extend(details.map(|detail| Finding::Order { order: order.clone(), detail }));
    }
    Ok(())
}
