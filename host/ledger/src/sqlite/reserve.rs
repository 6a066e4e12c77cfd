//! Reserving: identity and quota for all chips of a panel in one transaction.
//!
//! The statements are few and touch few pages per board: the cost of a panel should be that of the one fsync
//! at its end.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::{
    advance,
    convert::{join, join_blobs, reversed, state, uid},
    read,
    take::Takes,
    writer::Writer,
};
use crate::{
    error::LedgerError,
    types::{Change, Chip, Hash, MAX_PANEL, Numbers, Request, Reservation, State, Step, Uid, UnitId},
};

/// What the ledger already has for a chip.
#[derive(Default)]
struct Known {
    /// Its newest unit, void or not.
    newest: Option<(UnitId, State)>,
    /// The order from whose quota it took.
    order: Option<String>,
}

impl Known {
    /// Its unit, if that is not void.
    fn live(&self) -> Option<(UnitId, State)> {
        self.newest.filter(|(_, state)| *state != State::Void)
    }
}

/// An order as far as a reservation needs it.
struct Order {
    id: String,
    remaining: u64,
    lock_required: bool,
}

/// The log's entry for a reservation: one for the panel, since that is what happens at once.
#[derive(Serialize)]
struct PanelEntry<'a> {
    product: &'a str,
    order: Option<&'a str>,
    release: &'a Option<Hash>,
    run: &'a str,
    station: &'a str,
    panel: &'a Option<String>,
    units: Vec<UnitEntry>,
}

#[derive(Serialize)]
struct UnitEntry {
    unit: UnitId,
    uid: Uid,
    slot: u16,
    before: Option<State>,
    state: State,
    consumed: bool,
    numbers: Numbers,
    supersedes: Option<UnitId>,
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
    replaced: Option<UnitId>,
) -> Result<Vec<Reservation>, LedgerError> {
    let chips = checked_chips(request)?;
    let order = read_order(writer, request)?;
    let known = find(writer, request, &chips)?;
    let consumes = |known: &Known| order.is_some() && known.order.is_none();
    take_quota(writer, order.as_ref(), known.iter().filter(|known| consumes(known)).count() as u64)?;
    let fresh = known.iter().filter(|known| known.live().is_none()).count() as u64;
    let mut takes = Takes::load(writer, request, fresh)?;
    let mut out = Vec::with_capacity(chips.len());
    let mut units = Vec::with_capacity(chips.len());
    for (chip, known) in chips.into_iter().zip(known) {
        let consumed = consumes(&known);
        let making = Making { request, order: order.as_ref(), chip, known, consumed, replaced };
        let reservation = match making.known.live() {
            Some((unit, before)) => making.resume(writer, unit, before, &mut takes)?,
            None => making.make(writer, &mut takes)?,
        };
        units.push(making.entry(&reservation));
        out.push(reservation);
    }
    takes.store(writer)?;
    let Request { product, release, run, station, panel, .. } = request;
    let order = order.as_ref().map(|order| order.id.as_str());
    writer.log("reserved", &PanelEntry { product, order, release, run, station, panel, units })?;
    Ok(out)
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

/// What the ledger has for each chip, by one query.
fn find(writer: &Writer<'_>, request: &Request, chips: &[Chip]) -> Result<Vec<Known>, LedgerError> {
    let places = vec!["?"; chips.len()].join(",");
    let mut statement = writer.tx.prepare_cached(&format!(
        "SELECT chip, id, state, took, order_id FROM unit WHERE chip IN ({places}) AND product = ? ORDER BY id"
    ))?;
    for (place, chip) in (1..).zip(chips) {
        statement.raw_bind_parameter(place, reversed(&chip.uid))?;
    }
    statement.raw_bind_parameter(chips.len() + 1, &request.product)?;
    let mut found: BTreeMap<Uid, Known> = BTreeMap::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let known = found.entry(uid(row, 0)?).or_default();
        known.newest = Some((UnitId(row.get(1)?), state(row, 2)?));
        if row.get(3)? {
            known.order = row.get(4)?;
        }
    }
    Ok(chips.iter().map(|chip| found.remove(&chip.uid).unwrap_or_default()).collect())
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
    known: Known,
    /// Whether it takes from the order's quota now.
    consumed: bool,
    /// The unit whose chip was replaced by this one.
    replaced: Option<UnitId>,
}

impl Making<'_> {
    /// A new unit with new numbers.
    fn make(&self, writer: &Writer<'_>, takes: &mut Takes) -> Result<Reservation, LedgerError> {
        let Request { product, release, run, station, panel, .. } = self.request;
        let (numbers, taken) = takes.take(writer, self.request, &self.chip, Numbers::default())?;
        writer
            .tx
            .prepare_cached(
                "INSERT INTO unit (product, chip, order_id, took, lock_required, state, release, run, station,
                                   panel, slot, serial, eui48, eui64, blobs, supersedes, reserved_at,
                                   changed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'reserved', ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?16)",
            )?
            .execute(params![
                product,
                reversed(&self.chip.uid),
                self.owner(),
                self.consumed,
                self.lock_required(),
                release.map(|hash| hash.0),
                run,
                station,
                panel,
                self.chip.slot,
                numbers.serial,
                join(&numbers.eui48),
                join(&numbers.eui64),
                join_blobs(&numbers.blobs),
                self.supersedes().map(|unit| unit.0),
                writer.at,
            ])?;
        let unit = UnitId(writer.tx.last_insert_rowid());
        takes.give(unit, taken);
        let (chip, consumed) = (self.chip, self.consumed);
        Ok(Reservation { unit, chip, numbers, before: None, state: State::Reserved, consumed })
    }

    /// The same numbers again for a chip that is known.
    fn resume(
        &self,
        writer: &Writer<'_>,
        unit: UnitId,
        before: State,
        takes: &mut Takes,
    ) -> Result<Reservation, LedgerError> {
        // A run is about to overwrite the chip: what was known about its content is not known any more.
        let state = if before == State::Reserved { State::Reserved } else { State::InDoubt };
        let Request { release, run, station, panel, .. } = self.request;
        let have = read::numbers(&writer.tx, unit)?;
        let (numbers, taken) = takes.take(writer, self.request, &self.chip, have)?;
        writer
            .tx
            .prepare_cached(
                "UPDATE unit SET state = ?2, failed = NULL, release = ?3, run = ?4, station = ?5, panel = ?6,
                        slot = ?7, changed_at = ?8, order_id = coalesce(order_id, ?9), took = max(took, ?10),
                        lock_required = max(lock_required, ?11), supersedes = coalesce(supersedes, ?12),
                        serial = ?13, eui48 = ?14, eui64 = ?15, blobs = ?16,
                        record = NULL, lock_proof = NULL,
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
                self.owner(),
                self.consumed,
                self.lock_required(),
                self.supersedes().map(|unit| unit.0),
                numbers.serial,
                join(&numbers.eui48),
                join(&numbers.eui64),
                join_blobs(&numbers.blobs),
            ])?;
        takes.give(unit, taken);
        let (chip, consumed) = (self.chip, self.consumed);
        Ok(Reservation { unit, chip, numbers, before: Some(before), state, consumed })
    }

    /// The order from whose quota the chip took, or takes now.
    fn owner(&self) -> Option<&str> {
        match self.order.filter(|_| self.consumed) {
            Some(order) => Some(&order.id),
            None => self.known.order.as_deref(),
        }
    }

    fn lock_required(&self) -> bool {
        self.order.is_some_and(|order| order.lock_required)
    }

    /// The void unit this one takes the place of: of the replaced chip, or the chip's own.
    fn supersedes(&self) -> Option<UnitId> {
        let own = self.known.newest.filter(|(_, state)| *state == State::Void).map(|(unit, _)| unit);
        own.or(self.replaced)
    }

    fn entry(&self, reservation: &Reservation) -> UnitEntry {
        let Reservation { unit, chip, ref numbers, before, state, consumed } = *reservation;
        UnitEntry {
            unit,
            uid: chip.uid,
            slot: chip.slot,
            before,
            state,
            consumed,
            numbers: numbers.clone(),
            supersedes: self.supersedes(),
        }
    }
}
