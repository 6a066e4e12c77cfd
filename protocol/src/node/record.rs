//! Image records: 64-byte marks appended to an erase unit of their own, the newest one counts.
//!
//! `Incomplete` is written before the first erase of an update, `Valid` after every region has been read back.
//! Invariant: a power cut never leaves a `Valid` record over another image. It leaves the old newest record or
//! the new one; or, where a record or the erase of the full area was broken off, something that is no record,
//! and then no older record counts as valid. A board without a `Valid` record stays in the bootloader.
//!
//! Layout, little-endian: magic "PFR1", kind (1 incomplete, 2 valid), session, 2 bytes 0xFF, sequence (4),
//! regions (4), address of the first region (4), address after the last region (4), image ID (32, SHA-256 over
//! the regions' table in the begin block), CRC-32 over the 56 bytes before it, 4 bytes 0xFF.
//!
//! Before a `Valid` record stands one of kind 3 for each region: magic, kind, number of the region, 2 bytes 0xFF,
//! sequence of the `Valid` record (4), the region's line of the table (44), CRC-32, 4 bytes 0xFF. They say nothing
//! by themselves; with them a bootloader can check the image without the host.

use super::port::{EraseUnit, NodePort};
use crate::CRC32;
use crate::block::{Begin, Region};
use crate::bytes::{Reader, Short, Writer};
use crate::reply::ImageState;

pub(super) const RECORD: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PFR1");
const REGION: u8 = 3;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) state: ImageState,
    /// The image ID.
    pub(super) id: [u8; 32],
    sequence: u32,
    /// Address of the record.
    pub(super) place: u32,
    /// Regions of the image; their records stand before a `Valid` one.
    pub(super) regions: u8,
    /// First address of the image, and the address after it.
    extent: (u32, u32),
}

impl Mark {
    const NONE: Self =
        Self { state: ImageState::None, id: [0; 32], sequence: 0, place: 0, regions: 0, extent: (0, 0) };

    /// First four bytes of the image ID, as the node reports it.
    pub(super) const fn short_id(&self) -> u32 {
        u32::from_le_bytes([self.id[0], self.id[1], self.id[2], self.id[3]])
    }

    /// It says that this very image is good.
    pub(super) fn vouches_for(&self, begin: &Begin) -> bool {
        self.state == ImageState::Valid && self.id == begin.image_id()
    }

    /// The image that stands between these addresses is good and must stay so.
    pub(super) fn guards(&self, from: u32, end: u32) -> bool {
        self.state == ImageState::Valid && from < self.extent.1 && self.extent.0 < end
    }

    /// The mark of this state that comes after this one.
    pub(super) fn next(&self, begin: &Begin, state: ImageState) -> [u8; RECORD] {
        encode(begin, state, self.sequence.wrapping_add(1))
    }

    /// The record of region `n` that belongs to the valid mark that comes after this one.
    pub(super) fn next_region(&self, begin: &Begin, n: u8) -> [u8; RECORD] {
        encode_region(begin, n, self.sequence.wrapping_add(1))
    }
}

/// What a scan of the record area found.
pub(super) struct Scan {
    pub(super) newest: Mark,
    /// Address of the first blank slot.
    pub(super) free: Option<u32>,
    /// Number of blank slots.
    pub(super) free_slots: u32,
}

pub(super) fn unit(port: &impl NodePort) -> Option<EraseUnit> {
    let flash = &port.facts().flash;
    flash.erase_unit(flash.record_base)
}

pub(super) fn scan(port: &mut impl NodePort) -> Scan {
    let mut found = Scan { newest: Mark::NONE, free: None, free_slots: 0 };
    let Some(unit) = unit(port) else { return found };
    let end = unit.address + unit.size;
    for address in (unit.address..end).step_by(RECORD) {
        // Mostly records stand at the front and nothing behind them: one look at the rest, not one at each slot.
        let rest = end - address;
        if found.free.is_none() && port.is_blank(address, rest) {
            (found.free, found.free_slots) = (Some(address), rest / RECORD as u32);
            break;
        }
        let mut bytes = [0; RECORD];
        if !port.read(address, &mut bytes) {
            break;
        }
        if bytes.iter().all(|&b| b == 0xFF) {
            found.free = found.free.or(Some(address));
            found.free_slots += 1;
            continue;
        }
        (found.free, found.free_slots) = (None, 0); // slots before a used one are never used again
        found.newest.follow(parse(&bytes, address));
    }
    found
}

impl Scan {
    /// Takes note of a slot that has been written: of the first blank one.
    pub(super) fn written(&mut self, port: &mut impl NodePort, address: u32) {
        let mut bytes = [0; RECORD];
        if port.read(address, &mut bytes) {
            self.newest.follow(parse(&bytes, address));
        }
        self.free_slots = self.free_slots.saturating_sub(1);
        self.free = (self.free_slots > 0).then_some(address + RECORD as u32);
    }
}

/// What stands in a slot that is not blank.
enum Slot {
    Mark(Mark),
    Region(Region, u8, u32),
    Broken,
}

impl Mark {
    /// Takes note of the slot that follows.
    fn follow(&mut self, slot: Slot) {
        match slot {
            Slot::Mark(mark) => *self = mark,
            // An update was begun over that image.
            Slot::Broken if self.state == ImageState::Valid => self.state = ImageState::Incomplete,
            Slot::Region(..) | Slot::Broken => {}
        }
    }
}

/// Region `n` of a valid mark, from its record.
pub(super) fn region(port: &mut impl NodePort, mark: &Mark, n: u8) -> Option<Region> {
    let slots = u32::from(mark.regions.checked_sub(n)?);
    let place = mark.place.checked_sub(slots * RECORD as u32)?;
    let mut bytes = [0; RECORD];
    if !port.read(place, &mut bytes) {
        return None;
    }
    match parse(&bytes, place) {
        Slot::Region(region, index, sequence) if index == n && sequence == mark.sequence => Some(region),
        _ => None,
    }
}

fn parse(bytes: &[u8; RECORD], place: u32) -> Slot {
    fields(bytes, place).unwrap_or(Slot::Broken)
}

fn fields(bytes: &[u8; RECORD], place: u32) -> Result<Slot, Short> {
    let mut r = Reader(bytes);
    let (magic, kind, number) = (r.u32()?, r.u8()?, r.u8()?);
    r.take(2)?;
    let sequence = r.u32()?;
    let whole = Reader(&bytes[56..]).u32()? == CRC32.checksum(&bytes[..56]);
    if magic != MAGIC || !whole {
        return Ok(Slot::Broken);
    }
    let state = match kind {
        1 => ImageState::Incomplete,
        2 => ImageState::Valid,
        REGION => return Ok(Slot::Region(Region::read(&mut r)?, number, sequence)),
        _ => return Ok(Slot::Broken),
    };
    let regions = r.u32()?.min(255) as u8;
    let (extent, id) = ((r.u32()?, r.u32()?), r.array()?);
    Ok(Slot::Mark(Mark { state, id, sequence, place, regions, extent }))
}

fn encode(begin: &Begin, state: ImageState, sequence: u32) -> [u8; RECORD] {
    let mut bytes = [0xFF; RECORD];
    let first = begin.regions().first().map_or(0, |r| r.address);
    let end = begin.regions().last().map_or(0, |r| r.address + r.len);
    let mut w = Writer::new(&mut bytes);
    w.u32(MAGIC).u8(state as u8).u8(begin.session).u16(0xFFFF).u32(sequence);
    w.u32(begin.regions().len() as u32).u32(first).u32(end).put(&begin.image_id());
    seal(bytes)
}

fn encode_region(begin: &Begin, n: u8, sequence: u32) -> [u8; RECORD] {
    let mut bytes = [0xFF; RECORD];
    let mut w = Writer::new(&mut bytes);
    w.u32(MAGIC).u8(REGION).u8(n).u16(0xFFFF).u32(sequence);
    if let Some(region) = begin.regions().get(usize::from(n)) {
        region.write(&mut w);
    }
    seal(bytes)
}

/// Puts the CRC-32 behind the fields.
fn seal(mut bytes: [u8; RECORD]) -> [u8; RECORD] {
    let crc = CRC32.checksum(&bytes[..56]);
    bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    bytes
}
