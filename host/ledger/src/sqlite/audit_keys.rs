//! The audit of keys, certificates and blobs: tables against the log, and blobs against their hashes.
//!
//! A key on two units means that one of them can pretend to be the other. The table cannot hold it twice; the log can
//! tell it twice, and so can a file that was put together by other means.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::convert::number_kind;
use crate::{
    error::LedgerError,
    report::{Audit, Finding},
    types::{Hash, NumberKind, UnitId},
};

/// Fingerprints as the log tells them: kind and value, and every unit that they were given to.
pub(super) type Told = BTreeMap<(NumberKind, String), BTreeSet<i64>>;

pub(super) fn check(connection: &Connection, told: &Told, audit: &mut Audit) -> Result<(), LedgerError> {
    check_fingerprints(connection, told, audit)?;
    check_blobs(connection, audit)
}

fn check_fingerprints(connection: &Connection, told: &Told, audit: &mut Audit) -> Result<(), LedgerError> {
    for ((kind, value), units) in told.iter().filter(|(_, units)| units.len() > 1) {
        let units = units.iter().copied().map(UnitId).collect();
        audit.findings.push(Finding::Duplicate { kind: *kind, value: value.clone(), units });
    }
    let mut missing: BTreeSet<(NumberKind, String, i64)> = told
        .iter()
        .flat_map(|((kind, value), units)| units.iter().map(|unit| (*kind, value.clone(), *unit)))
        .collect();
    let mut statement = connection
        .prepare("SELECT kind, value, unit FROM number WHERE kind IN ('key', 'certificate') ORDER BY unit")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let found = (number_kind(row, 0)?, row.get(1)?, row.get(2)?);
        if !missing.remove(&found) {
            let (kind, value, unit) = found;
            audit.findings.push(Finding::NotGiven { unit: UnitId(unit), kind, value });
        }
    }
    for (kind, value, unit) in missing {
        audit.findings.push(Finding::Forgotten { unit: UnitId(unit), kind, value });
    }
    Ok(())
}

fn check_blobs(connection: &Connection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut statement =
        connection.prepare("SELECT unit, name, sha256, bytes FROM blob ORDER BY unit, name")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (unit, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let (sha256, bytes): ([u8; 32], Vec<u8>) = (row.get(2)?, row.get(3)?);
        let (wanted, got) = (Hash(sha256), Hash::of(&bytes));
        if wanted != got {
            let detail = format!("blob {name} of {} has SHA-256 {got}, not {wanted}", UnitId(unit));
            audit.findings.push(Finding::Damaged { detail });
        }
    }
    Ok(())
}
