//! Reserving: identity and quota for all chips of a panel in one transaction.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};
use serde_json::json;

use super::{advance, convert::state, read, take::Takes, writer::Writer};
use crate::{
    error::LedgerError,
    eui::Eui,
    types::{Change, Chip, MAX_PANEL, Numbers, Request, Reservation, State, Step, UnitId},
};

/// What the ledger already has for a chip.
struct Known {
    unit: UnitId,
    state: State,
}

/// An order as far as a reservation needs it.
struct Order {
    id: String,
    remaining: u64,
    lock_required: bool,
}

pub(super) fn supersede(
    writer: &mut Writer<'_>,
    old: UnitId,
    request: &Request,
) -> Result<Reservation, LedgerError> {
    if request.chips.len() != 1 {
        return Err(LedgerError::PanelSize { got: request.chips.len() });
    }
    let reason = format!("replaced: chip {} takes its place", request.chips[0].uid);
    let void = Step { unit: old, run: request.run.clone(), change: Change::Void { reason } };
    advance::step(writer, &void)?;
    let mut reserved = reserve_many(writer, request, Some(old))?;
    reserved.pop().ok_or(LedgerError::PanelSize { got: 0 })
}

pub(super) fn reserve_many(
    writer: &mut Writer<'_>,
    request: &Request,
    supersedes: Option<UnitId>,
) -> Result<Vec<Reservation>, LedgerError> {
    let chips = checked_chips(request)?;
    let order = read_order(writer, request)?;
    let mut known = Vec::with_capacity(chips.len());
    let mut consuming = Vec::with_capacity(chips.len());
    for chip in &chips {
        known.push(find(writer, &request.product, chip)?);
        consuming.push(order.is_some() && !has_consumed(writer, &request.product, chip)?);
    }
    take_quota(writer, order.as_ref(), consuming.iter().filter(|new| **new).count() as u64)?;
    let fresh = known.iter().filter(|known| !is_live(known.as_ref())).count() as u64;
    let mut takes = Takes::load(writer, request, fresh)?;
    let mut out = Vec::with_capacity(chips.len());
    for ((chip, known), consumed) in chips.into_iter().zip(known).zip(consuming) {
        let lock_required = order.as_ref().is_some_and(|order| order.lock_required);
        let mut making = Making { request, order: order.as_ref(), chip, consumed, lock_required };
        out.push(match known {
            Some(Known { unit, state }) if state != State::Void => {
                making.resume(writer, unit, state, supersedes, &mut takes)?
            }
            void => making.make(writer, void.map(|void| void.unit).or(supersedes), &mut takes)?,
        });
    }
    takes.store(writer)?;
    Ok(out)
}

fn is_live(known: Option<&Known>) -> bool {
    known.is_some_and(|known| known.state != State::Void)
}

/// The chips in the order of their slots, so that labels on a panel are in order.
fn checked_chips(request: &Request) -> Result<Vec<Chip>, LedgerError> {
    let got = request.chips.len();
    if got == 0 || got > MAX_PANEL {
        return Err(LedgerError::PanelSize { got });
    }
    let mut chips = request.chips.clone();
    chips.sort_by_key(|chip| chip.slot);
    let mut seen = BTreeMap::new();
    for Chip { slot, uid } in &chips {
        if !uid.is_plausible() {
            return Err(LedgerError::ImplausibleUid { uid: *uid, slot: *slot });
        }
        if let Some(first) = seen.insert(*uid, *slot) {
            return Err(LedgerError::DuplicateUid { uid: *uid, first, second: *slot });
        }
    }
    Ok(chips)
}

fn read_order(writer: &Writer<'_>, request: &Request) -> Result<Option<Order>, LedgerError> {
    let Some(id) = &request.order else { return Ok(None) };
    let row = writer
        .tx
        .prepare_cached("SELECT product, remaining, lock_required FROM work_order WHERE id = ?")?
        .query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get(2)?)))
        .optional()?;
    let Some((product, remaining, lock_required)) = row else {
        return Err(LedgerError::UnknownOrder { order: id.clone() });
    };
    if product != request.product {
        return Err(LedgerError::WrongProduct {
            order: id.clone(),
            expected: request.product.clone(),
            got: product,
        });
    }
    Ok(Some(Order { id: id.clone(), remaining: remaining as u64, lock_required }))
}

fn find(writer: &Writer<'_>, product: &str, chip: &Chip) -> Result<Option<Known>, LedgerError> {
    let known = writer
        .tx
        .prepare_cached("SELECT id, state FROM unit WHERE product = ? AND uid = ? ORDER BY id DESC LIMIT 1")?
        .query_row(params![product, chip.uid.0], |row| {
            Ok(Known { unit: UnitId(row.get(0)?), state: state(row, 1)? })
        })
        .optional()?;
    Ok(known)
}

fn has_consumed(writer: &Writer<'_>, product: &str, chip: &Chip) -> Result<bool, LedgerError> {
    let mut statement =
        writer.tx.prepare_cached("SELECT 1 FROM consumption WHERE product = ? AND uid = ?")?;
    Ok(statement.exists(params![product, chip.uid.0])?)
}

fn take_quota(writer: &Writer<'_>, order: Option<&Order>, needed: u64) -> Result<(), LedgerError> {
    let Some(Order { id, remaining, .. }) = order else { return Ok(()) };
    if needed == 0 {
        return Ok(());
    }
    if needed > *remaining {
        return Err(LedgerError::QuotaExhausted { order: id.clone(), needed, remaining: *remaining });
    }
    writer
        .tx
        .prepare_cached("UPDATE work_order SET remaining = remaining - ? WHERE id = ?")?
        .execute(params![needed as i64, id])?;
    Ok(())
}

/// One chip's reservation on its way into the database.
struct Making<'a> {
    request: &'a Request,
    order: Option<&'a Order>,
    chip: Chip,
    consumed: bool,
    lock_required: bool,
}

impl Making<'_> {
    /// A new unit with new numbers.
    fn make(
        &mut self,
        writer: &mut Writer<'_>,
        supersedes: Option<UnitId>,
        takes: &mut Takes,
    ) -> Result<Reservation, LedgerError> {
        let Request { product, release, run, station, panel, .. } = self.request;
        let owner = self.owning_order(writer)?;
        writer
            .tx
            .prepare_cached(
                "INSERT INTO unit (product, uid, order_id, lock_required, state, release, run, station,
                                   panel, slot, supersedes, reserved_at, changed_at)
                 VALUES (?1, ?2, ?3, ?4, 'reserved', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)",
            )?
            .execute(params![
                product,
                self.chip.uid.0,
                owner,
                self.lock_required,
                release.map(|hash| hash.0),
                run,
                station,
                panel,
                self.chip.slot,
                supersedes.map(|unit| unit.0),
                writer.at,
            ])?;
        let unit = UnitId(writer.tx.last_insert_rowid());
        let numbers = takes.take(writer, self.request, &Numbers::default(), unit)?;
        self.consume(writer)?;
        self.log(writer, "reserved", unit, State::Reserved, &numbers, supersedes)?;
        Ok(Reservation {
            unit,
            chip: self.chip,
            numbers,
            before: None,
            state: State::Reserved,
            consumed: self.consumed,
        })
    }

    /// The same numbers again for a chip that is known.
    fn resume(
        &mut self,
        writer: &mut Writer<'_>,
        unit: UnitId,
        before: State,
        supersedes: Option<UnitId>,
        takes: &mut Takes,
    ) -> Result<Reservation, LedgerError> {
        // A run is about to overwrite the chip: what was known about its content is not known any more.
        let state = match before {
            State::Reserved => State::Reserved,
            State::Writing | State::Written | State::Confirmed | State::InDoubt | State::Void => {
                State::InDoubt
            }
        };
        let Request { release, run, station, panel, .. } = self.request;
        let owner = self.owning_order(writer)?;
        writer
            .tx
            .prepare_cached(
                "UPDATE unit SET state = ?2, failed = NULL, release = ?3, run = ?4, station = ?5, panel = ?6,
                        slot = ?7, changed_at = ?8, order_id = coalesce(order_id, ?9),
                        lock_required = max(lock_required, ?10), supersedes = coalesce(supersedes, ?11),
                        record = NULL, lock_proof = NULL, read_back = NULL,
                        reason = CASE WHEN ?2 = 'in_doubt' THEN 'run again' END
                 WHERE id = ?1",
            )?
            .execute(params![
                unit.0,
                state.word(),
                release.map(|hash| hash.0),
                run,
                station,
                panel,
                self.chip.slot,
                writer.at,
                owner,
                self.lock_required,
                supersedes.map(|unit| unit.0),
            ])?;
        let have = read::holdings(&writer.tx, unit)?.numbers;
        let numbers = takes.take(writer, self.request, &have, unit)?;
        self.consume(writer)?;
        self.log(writer, "resumed", unit, state, &numbers, supersedes)?;
        Ok(Reservation {
            unit,
            chip: self.chip,
            numbers,
            before: Some(before),
            state,
            consumed: self.consumed,
        })
    }

    /// The order whose quota the chip consumed or consumes now.
    fn owning_order(&self, writer: &Writer<'_>) -> Result<Option<String>, LedgerError> {
        if self.consumed {
            return Ok(self.order.map(|order| order.id.clone()));
        }
        let mut statement =
            writer.tx.prepare_cached("SELECT order_id FROM consumption WHERE product = ? AND uid = ?")?;
        Ok(statement
            .query_row(params![self.request.product, self.chip.uid.0], |row| row.get(0))
            .optional()?)
    }

    fn consume(&self, writer: &Writer<'_>) -> Result<(), LedgerError> {
        let Some(order) = self.order.filter(|_| self.consumed) else { return Ok(()) };
        writer
            .tx
            .prepare_cached("INSERT INTO consumption (product, uid, order_id) VALUES (?, ?, ?)")?
            .execute(params![self.request.product, self.chip.uid.0, order.id])?;
        Ok(())
    }

    fn log(
        &self,
        writer: &mut Writer<'_>,
        kind: &str,
        unit: UnitId,
        state: State,
        numbers: &Numbers,
        supersedes: Option<UnitId>,
    ) -> Result<(), LedgerError> {
        let Request { product, release, run, station, panel, .. } = self.request;
        let texts = |list: &[Eui]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let body = json!({
            "unit": unit, "state": state, "uid": self.chip.uid, "slot": self.chip.slot, "product": product,
            "order": self.order.map(|order| order.id.as_str()), "consumed": self.consumed, "run": run,
            "station": station, "panel": panel, "release": release, "serial": numbers.serial,
            "eui48": texts(&numbers.eui48), "eui64": texts(&numbers.eui64), "supersedes": supersedes,
        });
        writer.log(kind, &body)
    }
}
