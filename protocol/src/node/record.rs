//! Image records: 64-byte marks appended to an erase unit of their own, the newest one counts.
//!
//! `Incomplete` is written before the first erase of an update, `Valid` after every region has been read back.
//! Invariant: a power cut never leaves a `Valid` record over another image. It leaves the old newest record or
//! the new one; or, where a record or the erase of the full area was broken off, something that is no record,
//! and then no older record counts as valid. A board without a `Valid` record stays in the bootloader.
//!
//! Layout, little-endian: magic "PFR1", kind (1 incomplete, 2 valid), session, 2 bytes 0xFF, sequence (4),
//! regions (4), address of the first region (4), address after the last region (4), image ID (32, SHA-256 over
//! the regions' table in the begin block), CRC-32 over the 56 bytes before it, 4
//! bytes 0xFF.

use super::port::{EraseUnit, NodePort};
use crate::CRC32;
use crate::block::Begin;
use crate::bytes::{Reader, Short, Writer};
use crate::reply::ImageState;

pub(super) const RECORD: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PFR1");

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) state: ImageState,
    /// The image ID.
    pub(super) id: [u8; 32],
    sequence: u32,
    /// First address of the image, and the address after it.
    extent: (u32, u32),
}

impl Mark {
    const NONE: Self = Self { state: ImageState::None, id: [0; 32], sequence: 0, extent: (0, 0) };

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
    for address in (unit.address..unit.address + unit.size).step_by(RECORD) {
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
        match parse(&bytes) {
            Ok(Some(mark)) => found.newest = mark,
            Ok(None) | Err(Short) if found.newest.state == ImageState::Valid => {
                found.newest.state = ImageState::Incomplete; // an update was begun over that image
            }
            Ok(None) | Err(Short) => {}
        }
    }
    found
}

fn parse(bytes: &[u8; RECORD]) -> Result<Option<Mark>, Short> {
    let mut r = Reader(bytes);
    let (magic, kind) = (r.u32()?, r.u8()?);
    r.take(3)?;
    let sequence = r.u32()?;
    r.take(4)?;
    let (extent, id) = ((r.u32()?, r.u32()?), r.array()?);
    let state = match kind {
        1 => ImageState::Incomplete,
        2 => ImageState::Valid,
        _ => return Ok(None),
    };
    let whole = magic == MAGIC && r.u32()? == CRC32.checksum(&bytes[..56]);
    Ok(whole.then_some(Mark { state, id, sequence, extent }))
}

fn encode(begin: &Begin, state: ImageState, sequence: u32) -> [u8; RECORD] {
    let mut bytes = [0xFF; RECORD];
    let first = begin.regions().first().map_or(0, |r| r.address);
    let end = begin.regions().last().map_or(0, |r| r.address + r.len);
    let mut w = Writer::new(&mut bytes);
    w.u32(MAGIC).u8(state as u8).u8(begin.session).u16(0xFFFF).u32(sequence);
    w.u32(begin.regions().len() as u32).u32(first).u32(end).put(&begin.image_id());
    let crc = CRC32.checksum(&bytes[..56]);
    bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    bytes
}
