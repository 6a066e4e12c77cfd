//! What the ledger says when it is asked: units, orders, whether everything adds up.

use panel_codes::Code;
use panel_ledger::{Balance, Checkpoint, Hash, Ledger, NumberKind, SqliteLedger, State, Uid, Unit, UnitId};
use serde_json::json;

use super::failure;
use crate::failure::Failure;
use crate::out::{line, print_json};

/// Units fetched at a time.
const PAGE: usize = 1000;

pub(super) fn show(ledger: &SqliteLedger, as_json: bool) -> Result<u8, Failure> {
    let states = ledger.audit(&[]).map_err(|e| failure(&e))?.states;
    let pools = ledger.pools().map_err(|e| failure(&e))?;
    let orders = ledger.orders().map_err(|e| failure(&e))?;
    if as_json {
        let states: Vec<_> = states.iter().map(|(s, n)| json!({ "state": s, "units": n })).collect();
        print_json(&json!({ "states": states, "pools": pools, "orders": orders }))?;
        return Ok(0);
    }
    states.iter().for_each(|(state, units)| line(&format!("{units:>8} units {state}")));
    for pool in &pools {
        let of = pool.order.as_ref().map_or_else(String::new, |order| format!(" of order {order}"));
        line(&format!("pool {}: {}{of}, {} of {} units left", pool.pool, pool.holds, pool.left, pool.units));
    }
    orders.iter().for_each(|order| line(&format!("order {order}")));
    Ok(0)
}

pub(super) fn show_unit(ledger: &SqliteLedger, query: &str, as_json: bool) -> Result<u8, Failure> {
    let units = find(ledger, query)?;
    if units.is_empty() {
        return Err(Failure::new(Code::Usage, format!("no unit has UID, serial number or address {query}")));
    }
    print_units(&units, as_json)?;
    Ok(0)
}

/// Units by UID, serial number, address, fingerprint, or the ledger's own number.
pub(super) fn find(ledger: &SqliteLedger, query: &str) -> Result<Vec<Unit>, Failure> {
    let mut found = Vec::new();
    if let Ok(number) = query.trim_start_matches("unit ").parse() {
        found.extend(ledger.unit(UnitId(number)).map_err(|e| failure(&e))?);
    }
    let low = query.to_ascii_lowercase();
    let address: String = low.chars().filter(|c| !matches!(c, ':' | '-')).collect();
    let kinds = [
        (NumberKind::Serial, query),
        (NumberKind::Eui48, &address),
        (NumberKind::Eui64, &address),
        (NumberKind::Key, &low),
        (NumberKind::Certificate, &low),
        (NumberKind::Blob, &low),
    ];
    for (kind, value) in kinds {
        found.extend(ledger.find_number(kind, value).map_err(|e| failure(&e))?);
    }
    if let Ok(uid) = parse_uid(query) {
        each_unit(ledger, |unit| {
            if unit.uid == uid {
                found.push(unit);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

pub(super) fn show_state(ledger: &SqliteLedger, state: &str, as_json: bool) -> Result<u8, Failure> {
    let known =
        [State::Reserved, State::Writing, State::Written, State::Confirmed, State::InDoubt, State::Void];
    let Some(state) = known.into_iter().find(|s| s.word() == state.replace('-', "_")) else {
        let words: Vec<_> = known.iter().map(|s| s.word()).collect();
        return Err(Failure::new(Code::Usage, format!("--state {state} is none of {}", words.join(", "))));
    };
    let mut units = Vec::new();
    each_unit(ledger, |unit| {
        if unit.state == state {
            units.push(unit);
        }
        Ok(())
    })?;
    print_units(&units, as_json)?;
    Ok(0)
}

pub(super) fn balance(ledger: &SqliteLedger, order: Option<&str>, as_json: bool) -> Result<u8, Failure> {
    let orders = match order {
        Some(order) => vec![order.to_owned()],
        None => ledger.orders().map_err(|e| failure(&e))?,
    };
    let balances: Vec<Balance> = orders
        .iter()
        .map(|order| ledger.balance(order))
        .collect::<Result<_, _>>()
        .map_err(|e| failure(&e))?;
    if as_json {
        print_json(&balances)?;
    } else {
        balances.iter().for_each(print_balance);
    }
    Ok(u8::from(!balances.iter().all(Balance::adds_up)))
}

fn print_balance(balance: &Balance) {
    let Balance { order, ordered, passed, failed, scrapped, in_doubt, remaining, discrepancies } = balance;
    let sign = if balance.adds_up() { "=" } else { "IS NOT" };
    line(&format!(
        "{order}: {ordered} ordered {sign} {passed} passed + {failed} failed + {scrapped} scrapped + \
         {in_doubt} in doubt + {remaining} remaining"
    ));
    discrepancies.iter().for_each(|what| line(&format!("  {}: {what}", Code::LedgerUnbalanced)));
}

pub(super) fn audit(ledger: &SqliteLedger, checkpoints: &[String], as_json: bool) -> Result<u8, Failure> {
    let written_down =
        checkpoints.iter().map(|text| parse_checkpoint(text)).collect::<Result<Vec<_>, _>>()?;
    let audit = ledger.audit(&written_down).map_err(|e| failure(&e))?;
    let head = ledger.head().map_err(|e| failure(&e))?;
    let good = audit.findings.is_empty();
    if as_json {
        let findings: Vec<_> = audit.findings.iter().map(ToString::to_string).collect();
        let states: Vec<_> = audit.states.iter().map(|(s, n)| json!({ "state": s, "units": n })).collect();
        print_json(&json!({ "good": good, "findings": findings, "states": states, "events": audit.events,
                            "explained": audit.explained, "checkpoint": head }))?;
        return Ok(u8::from(!good));
    }
    audit.findings.iter().for_each(|finding| line(&format!("{}: {finding}", Code::LedgerBroken)));
    for (number, reason) in &audit.explained {
        line(&format!("void: {number}: {reason}"));
    }
    if let Some(Checkpoint { seq, hash }) = head {
        line(&format!("{} entries; checkpoint to write down: {seq}:{hash}", audit.events));
    }
    line(if good { "the ledger is as it was written" } else { "THE LEDGER IS NOT AS IT WAS WRITTEN" });
    Ok(u8::from(!good))
}

/// Every unit, page by page.
pub(super) fn each_unit(
    ledger: &SqliteLedger,
    mut take: impl FnMut(Unit) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let units = ledger.units(after, PAGE).map_err(|e| failure(&e))?;
        let Some(last) = units.last() else { return Ok(()) };
        after = Some(last.unit);
        units.into_iter().try_for_each(&mut take)?;
    }
}

fn print_units(units: &[Unit], as_json: bool) -> Result<(), Failure> {
    if as_json {
        return print_json(&units);
    }
    for unit in units {
        let of = unit.order.as_ref().map_or_else(String::new, |order| format!(" of order {order}"));
        line(&format!("{}: {} {}{of}: {}", unit.unit, unit.product, unit.uid, unit.state));
        line(&format!("  {}", numbers_text(&unit.numbers)));
        let run = &unit.run;
        let panel = unit.panel.as_ref().map_or_else(String::new, |panel| format!(", panel {panel}"));
        line(&format!("  run {run} at {}{panel}, slot {}, {}", unit.station, unit.slot, unit.changed_at));
        let facts = [
            ("failed", unit.failed.clone()),
            ("reason", unit.reason.clone()),
            ("key", unit.keys.last().cloned()),
            ("certificate", unit.certificates.last().cloned()),
            ("release", unit.release.map(|h| h.to_string())),
            ("record", unit.record.map(|h| h.to_string())),
            ("proof of lock", unit.lock_proof.map(|h| h.to_string())),
            ("supersedes", unit.supersedes.map(|u| u.to_string())),
        ];
        for (name, value) in facts {
            value.iter().for_each(|value| line(&format!("  {name} {value}")));
        }
        for blob in &unit.numbers.blobs {
            line(&format!("  blob {} {}", blob.name, blob.sha256));
        }
        for (name, list) in [("key", &unit.keys), ("certificate", &unit.certificates)] {
            let replaced = list.split_last().map_or(&[][..], |(_, replaced)| replaced);
            replaced.iter().for_each(|value| line(&format!("  replaced {name} {value}")));
        }
    }
    Ok(())
}

pub(super) fn numbers_text(numbers: &panel_ledger::Numbers) -> String {
    let serial = numbers.serial.clone().unwrap_or_else(|| "no serial number".to_owned());
    let euis = numbers.eui48.iter().chain(&numbers.eui64);
    euis.fold(serial, |text, eui| format!("{text} {eui}"))
}

pub(super) fn parse_uid(text: &str) -> Result<Uid, Failure> {
    let mut uid = [0; 12];
    hex::decode_to_slice(text, &mut uid)
        .map_err(|e| Failure::new(Code::Usage, format!("UID {text:?} is not 24 hex digits: {e}")))?;
    Ok(Uid(uid))
}

fn parse_checkpoint(text: &str) -> Result<Checkpoint, Failure> {
    let wrong = || Failure::new(Code::Usage, format!("checkpoint {text:?} is not NUMBER:HASH"));
    let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash, &mut bytes).map_err(|_| wrong())?;
    Ok(Checkpoint { seq: seq.parse().map_err(|_| wrong())?, hash: Hash(bytes) })
}
