//! Taking numbers from the pools for one reservation: lists first, then blocks, each in its turn.

use rusqlite::params;

use super::{
    advance::Giving,
    convert::{stored, time},
    pools::{self, Content, Stored},
    writer::Writer,
};
use crate::{
    error::LedgerError,
    eui::EuiKind,
    types::{Chip, NumberKind, Numbers, Request, UnitId},
};

const KINDS: [NumberKind; 3] = [NumberKind::Serial, NumberKind::Eui48, NumberKind::Eui64];

/// A number with the place it was taken from.
pub(super) struct Taken {
    kind: NumberKind,
    scope: String,
    value: String,
    ordinal: i64,
    pool: i64,
    place: u64,
}

/// The pools of one reservation and how far each was used by it.
pub(super) struct Takes {
    pools: Vec<(Stored, bool)>,
    /// Chips without numbers in the request, for the message when a pool runs out.
    fresh: u64,
    /// Chips that were given all they need so far, of those that lacked something.
    given: u64,
    /// Numbers to be given for good by [`Takes::store`].
    pending: Vec<(UnitId, Taken)>,
}

impl Takes {
    pub(super) fn load(writer: &Writer<'_>, request: &Request, fresh: u64) -> Result<Self, LedgerError> {
        let pools = pools::eligible(&writer.tx, &request.product, request.order.as_deref())?;
        let pools = pools.into_iter().map(|pool| (pool, false)).collect();
        Ok(Self { pools, fresh, given: 0, pending: Vec::new() })
    }

    /// Notes numbers of [`Takes::take`] as the unit's.
    pub(super) fn give(&mut self, unit: UnitId, taken: Vec<Taken>) {
        self.pending.extend(taken.into_iter().map(|number| (unit, number)));
    }

    /// Gives all noted numbers to their units for ever, and moves the pools on.
    pub(super) fn store(self, writer: &Writer<'_>) -> Result<(), LedgerError> {
        let mut giving = Giving::new(writer)?;
        for (unit, Taken { kind, scope, value, ordinal, pool, place }) in &self.pending {
            giving.give(*kind, scope, value, *unit, *ordinal, Some((*pool, *place as i64)))?;
        }
        for (pool, _) in self.pools.iter().filter(|(_, touched)| *touched) {
            writer
                .tx
                .prepare_cached("UPDATE pool SET used = ? WHERE id = ?")?
                .execute(params![stored("used", pool.used)?, pool.id])?;
        }
        Ok(())
    }

    /// Completes what the chip's unit has to what the request needs; [`Takes::give`] says whose it is.
    pub(super) fn take(
        &mut self,
        writer: &Writer<'_>,
        request: &Request,
        chip: &Chip,
        have: Numbers,
    ) -> Result<(Numbers, Vec<Taken>), LedgerError> {
        let mut numbers = have;
        let mut taken = Vec::new();
        if !lacks_something(request, &numbers) {
            return Ok((numbers, taken));
        }
        self.take_from_lists(writer, request, &mut numbers, &mut taken)?;
        for kind in KINDS {
            if !lacks(request, &numbers, kind) {
                continue;
            }
            let have = count(&numbers, kind);
            if have != 0 {
                return Err(LedgerError::NeedsGrew { uid: chip.uid, kind, have });
            }
            self.take_from_block(writer, request, kind, chip.slot, &mut numbers, &mut taken)?;
        }
        if let Some(name) = request.needs.blobs.iter().find(|name| !has_blob(&numbers, name)) {
            return Err(LedgerError::BlobsExhausted {
                name: name.clone(),
                product: request.product.clone(),
                needed: self.fresh.max(self.given + 1),
                left: self.given,
                slot: chip.slot,
            });
        }
        self.given += 1;
        Ok((numbers, taken))
    }

    /// Takes the next set of every list that has something the chip lacks. A set is given whole: a list whose next
    /// one holds what the chip has from elsewhere, or too few addresses, is not used for it.
    fn take_from_lists(
        &mut self,
        writer: &Writer<'_>,
        request: &Request,
        numbers: &mut Numbers,
        taken: &mut Vec<Taken>,
    ) -> Result<(), LedgerError> {
        for (pool, touched) in &mut self.pools {
            if !matches!(pool.content, Content::List { .. }) || pool.left() == 0 {
                continue;
            }
            let place = pool.used;
            let row = pools::list_row(&writer.tx, pool.id, place)?;
            if !suits(request, numbers, &row) {
                continue;
            }
            pool.used += 1;
            *touched = true;
            for (kind, ordinal, scope, value) in texts(&row, &request.product) {
                taken.push(Taken { kind, scope, value, ordinal, pool: pool.id, place });
            }
            let Numbers { serial, eui48, eui64, blobs } = row;
            numbers.serial = numbers.serial.take().or(serial);
            numbers.eui48.extend(eui48);
            numbers.eui64.extend(eui64);
            numbers.blobs.extend(blobs);
            if !lacks_something(request, numbers) {
                break;
            }
        }
        Ok(())
    }

    fn take_from_block(
        &mut self,
        writer: &Writer<'_>,
        request: &Request,
        kind: NumberKind,
        slot: u16,
        numbers: &mut Numbers,
        taken: &mut Vec<Taken>,
    ) -> Result<(), LedgerError> {
        let wanted = needed(request, kind);
        let usable = |pool: &Stored| {
            let fits = match &pool.content {
                Content::Serial(_) => kind == NumberKind::Serial,
                Content::Eui(block) => {
                    NumberKind::from(block.first.kind) == kind && block.step >= wanted as u64
                }
                Content::List { .. } => false,
            };
            fits && pool.left() > 0
        };
        let Some((pool, touched)) = self.pools.iter_mut().find(|(pool, _)| usable(pool)) else {
            return Err(LedgerError::PoolExhausted {
                kind,
                product: request.product.clone(),
                needed: self.fresh.max(self.given + 1),
                left: self.given,
                slot,
            });
        };
        let place = pool.used;
        match &pool.content {
            Content::Serial(block) => {
                let now = time(writer.at);
                let value = block.format.render(block.first.saturating_add(place), now)?;
                let scope = request.product.clone();
                taken.push(Taken { kind, scope, value: value.clone(), ordinal: 0, pool: pool.id, place });
                numbers.serial = Some(value);
            }
            Content::Eui(block) => {
                let addresses = block.addresses(place, wanted as u8);
                for (at, eui) in addresses.iter().enumerate() {
                    let (value, ordinal) = (eui.to_string(), at as i64);
                    let scope = String::new();
                    taken.push(Taken { kind, scope, value, ordinal, pool: pool.id, place });
                }
                match block.first.kind {
                    EuiKind::Eui48 => numbers.eui48 = addresses,
                    EuiKind::Eui64 => numbers.eui64 = addresses,
                }
            }
            Content::List { .. } => {}
        }
        pool.used += 1;
        *touched = true;
        Ok(())
    }
}

fn needed(request: &Request, kind: NumberKind) -> usize {
    match kind {
        NumberKind::Serial => usize::from(request.needs.serial),
        NumberKind::Eui48 => request.needs.eui48.into(),
        NumberKind::Eui64 => request.needs.eui64.into(),
        NumberKind::Key | NumberKind::Certificate | NumberKind::Blob => 0,
    }
}

fn count(numbers: &Numbers, kind: NumberKind) -> usize {
    match kind {
        NumberKind::Serial => usize::from(numbers.serial.is_some()),
        NumberKind::Eui48 => numbers.eui48.len(),
        NumberKind::Eui64 => numbers.eui64.len(),
        NumberKind::Key | NumberKind::Certificate | NumberKind::Blob => 0,
    }
}

fn lacks(request: &Request, numbers: &Numbers, kind: NumberKind) -> bool {
    count(numbers, kind) < needed(request, kind)
}

fn has_blob(numbers: &Numbers, name: &str) -> bool {
    numbers.blobs.iter().any(|blob| blob.name == name)
}

fn lacks_something(request: &Request, numbers: &Numbers) -> bool {
    KINDS.iter().any(|kind| lacks(request, numbers, *kind))
        || request.needs.blobs.iter().any(|name| !has_blob(numbers, name))
}

/// Whether the set `row` gives the chip something that it lacks, and nothing twice or by half.
fn suits(request: &Request, numbers: &Numbers, row: &Numbers) -> bool {
    let useful = KINDS.iter().any(|kind| lacks(request, numbers, *kind) && count(row, *kind) > 0)
        || request.needs.blobs.iter().any(|name| !has_blob(numbers, name) && has_blob(row, name));
    let enough = |kind| count(row, kind) == 0 || (count(numbers, kind) == 0 && !lacks(request, row, kind));
    useful && KINDS.into_iter().all(enough) && row.blobs.iter().all(|blob| !has_blob(numbers, &blob.name))
}

/// The numbers of a set: kind, place among its kind, scope, value.
fn texts(row: &Numbers, product: &str) -> Vec<(NumberKind, i64, String, String)> {
    let mut texts = Vec::new();
    let serial = row.serial.iter();
    texts.extend(serial.map(|serial| (NumberKind::Serial, 0, product.to_owned(), serial.clone())));
    for (kind, list) in [(NumberKind::Eui48, &row.eui48), (NumberKind::Eui64, &row.eui64)] {
        texts.extend((0..).zip(list).map(|(at, eui)| (kind, at, String::new(), eui.to_string())));
    }
    let blobs = (0..).zip(&row.blobs);
    texts.extend(blobs.map(|(at, blob)| (NumberKind::Blob, at, blob.name.clone(), blob.sha256.to_string())));
    texts
}
