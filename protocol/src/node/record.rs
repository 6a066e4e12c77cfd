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
//! Before a `Valid` record stands one of kind 3 for each region, and before those two of kind 4 with the seal, if the
//! image has one: magic, kind, number, 2 bytes 0xFF, sequence of the `Valid` record (4), 44 bytes of content, CRC-32,
//! 4 bytes 0xFF. They say nothing by themselves; with them a bootloader can check the image without the host. Behind a
//! `Valid` record one of kind 5 says that its seal has been found good. Kind 6 keeps the floor when the area is erased.
//!
//! Boards with a second slot (`slot.rs`): kind 7 in the place of `Valid` says that the image is in the slot and is to be
//! installed, kind 8 behind it that it is. Before their area is erased the newest mark is written once more, with the next
//! number, to the slot's last unit, and afterwards from there to the empty area: the highest number counts, wherever it
//! stands. So there something that is no record hides no lost mark, and an image that is `Valid` stays so.

use super::port::{EraseUnit, NodePort};
use super::slot;
use crate::CRC32;
use crate::block::{Begin, MAX_REGIONS, Region, Seal};
use crate::bytes::{Reader, Writer};
use crate::reply::ImageState;

pub(super) const RECORD: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PFR1");
/// Where a record has its kind, and where its number.
const KIND: usize = 4;
const SEQUENCE: usize = 8;
/// Where the content begins.
const CONTENT: usize = 12;
const INCOMPLETE: u8 = 1;
const VALID: u8 = 2;
const REGION: u8 = 3;
const SEAL: u8 = 4;
const TRUSTED: u8 = 5;
const FLOOR: u8 = 6;
const STAGED: u8 = 7;
const INSTALLED: u8 = 8;
/// Records that a seal takes.
pub(super) const SEAL_RECORDS: u8 = 2;
/// Bytes of the signature in the first of them, behind counter and floor.
const SIGNATURE_HEAD: usize = 32;

/// One record that is to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// What the area said of older images, before it was erased.
    Floor(u32),
    /// A half of the image's seal.
    Seal(u8),
    /// A region of the image.
    Region(u8),
    /// The mark of the image itself.
    Mark(ImageState),
    /// The seal of the newest mark is good.
    Trust,
    /// The image of the newest mark has come from the slot to its place.
    Installed,
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) state: ImageState,
    /// The image ID.
    pub(super) id: [u8; 32],
    /// Its number, one more than that of the mark before it.
    pub(super) sequence: u32,
    /// Address of the record.
    pub(super) place: u32,
    /// Regions of the image; their records stand before a `Valid` one.
    pub(super) regions: u8,
    /// First address of the image, and the address after it.
    extent: (u32, u32),
    /// The board takes no image with a lower counter.
    pub(super) floor: u32,
    /// A record behind it says that its seal is good.
    pub(super) trusted: bool,
    /// Sequence and floor of the seal last seen.
    seal: Option<(u32, u32)>,
}

impl Mark {
    const NONE: Self = Self {
        state: ImageState::None,
        id: [0; 32],
        sequence: 0,
        place: 0,
        regions: 0,
        extent: (0, 0),
        floor: 0,
        trusted: false,
        seal: None,
    };

    /// First four bytes of the image ID, as the node reports it.
    pub(super) const fn short_id(&self) -> u32 {
        u32::from_le_bytes([self.id[0], self.id[1], self.id[2], self.id[3]])
    }

    /// It says that the image with this ID is good.
    pub(super) fn vouches_for(&self, id: &[u8; 32]) -> bool {
        self.state == ImageState::Valid && self.id == *id
    }

    /// The image that stands between these addresses is good and must stay so.
    pub(super) fn guards(&self, from: u32, end: u32) -> bool {
        self.state == ImageState::Valid && from < self.extent.1 && self.extent.0 < end
    }

    /// The bytes of the record that comes after this mark.
    pub(super) fn next(&self, begin: &Begin, id: &[u8; 32], entry: Entry) -> [u8; RECORD] {
        let sequence = self.sequence.wrapping_add(1);
        let mut bytes = [0xFF; RECORD];
        let mut w = Writer::new(&mut bytes);
        match entry {
            Entry::Floor(floor) => {
                head(&mut w, FLOOR, 0, sequence).u32(floor);
            }
            Entry::Seal(half) => {
                let w = head(&mut w, SEAL, half, sequence);
                match (begin.seal(), half) {
                    (Some(seal), 0) => {
                        w.u32(seal.counter).u32(seal.floor).put(&seal.signature[..SIGNATURE_HEAD]);
                    }
                    (Some(seal), _) => {
                        w.put(&seal.signature[SIGNATURE_HEAD..]);
                    }
                    (None, _) => {}
                }
            }
            Entry::Region(n) => {
                let w = head(&mut w, REGION, n, sequence);
                if let Some(region) = begin.regions().get(usize::from(n)) {
                    region.write(w);
                }
            }
            Entry::Mark(state) => {
                let first = begin.regions().first().map_or(0, |r| r.address);
                let end = begin.regions().last().map_or(0, |r| r.address + r.len);
                let w = head(&mut w, kind_of(state), begin.session, sequence);
                w.u32(begin.regions().len() as u32).u32(first).u32(end).put(id);
            }
            Entry::Trust => return remark(TRUSTED, self.sequence),
            Entry::Installed => return remark(INSTALLED, self.sequence),
        }
        close(bytes)
    }

    /// The record that says that the seal of this mark is good.
    pub(super) fn trust(&self) -> [u8; RECORD] {
        remark(TRUSTED, self.sequence)
    }

    /// The `n`th of the records that say with the next number what this mark says and what belongs to it; `None` behind
    /// the last one. An image that was installed is simply `Valid`.
    pub(super) fn again(&self, port: &mut impl NodePort, n: u32) -> Option<[u8; RECORD]> {
        let sequence = self.sequence.wrapping_add(1);
        let before = match self.state {
            ImageState::Valid | ImageState::Staged => u32::from(self.regions) + u32::from(SEAL_RECORDS),
            ImageState::Incomplete | ImageState::None => 0,
        };
        let Some(left) = (before + 1).checked_sub(n) else {
            return (self.trusted && n == before + 2).then(|| remark(TRUSTED, sequence));
        };
        let mut slot = Record::BLANK;
        // What does not belong to the mark stands behind nothing: the place before a mark that has no seal.
        let belongs = n > 0
            && slot.read(port, self.place.wrapping_sub(left * RECORD as u32))
            && slot.is_record()
            && slot.sequence() == self.sequence;
        let mut bytes = slot.0;
        if !belongs {
            bytes = [0xFF; RECORD];
            head(&mut Writer::new(&mut bytes), FLOOR, 0, sequence).u32(self.floor);
        } else if left == 0 {
            bytes[KIND] = kind_of(self.state);
        }
        bytes[SEQUENCE..SEQUENCE + 4].copy_from_slice(&sequence.to_le_bytes());
        Some(close(bytes))
    }

    /// A newer mark takes the place of this one, an older one does not. What was said of older images stays.
    fn replace(&mut self, state: ImageState, slot: &Record, place: u32) {
        let sequence = slot.sequence();
        if sequence <= self.sequence {
            return;
        }
        (self.state, self.sequence, self.place) = (state, sequence, place);
        self.regions = slot.word(3).min(255) as u8;
        self.extent = (slot.word(4), slot.word(5));
        self.id.copy_from_slice(&slot.0[24..56]);
        self.trusted = false;
        if let Some((of, floor)) = self.seal.take()
            && of == sequence
            && state != ImageState::Incomplete
        {
            self.floor = floor.max(self.floor);
        }
    }

    /// Reads the image as its records tell it; whether they are whole and say this very image. Session, flags and seal are
    /// not theirs.
    pub(super) fn image(&self, port: &mut impl NodePort, begin: &mut Begin) -> bool {
        begin.device_id = port.facts().device_id;
        let Some(regions) = begin.regions_mut(self.regions) else { return false };
        for (n, region) in regions.iter_mut().enumerate() {
            match self.region(port, n as u8) {
                Some(found) => *region = found,
                None => return false,
            }
        }
        begin.image_id() == self.id
    }

    /// The line of its region `n`, from its record.
    fn region(&self, port: &mut impl NodePort, n: u8) -> Option<Region> {
        let slot = self.before(port, self.regions.checked_sub(n)?, REGION, n)?;
        Some(Region::read(&mut Reader::new(&slot.0[CONTENT..])))
    }

    /// Its seal, as it was recorded.
    pub(super) fn seal(&self, port: &mut impl NodePort) -> Option<Seal> {
        let slots = self.regions.checked_add(SEAL_RECORDS)?;
        let first = self.before(port, slots, SEAL, 0)?;
        let second = self.before(port, slots - 1, SEAL, 1)?;
        let mut signature = [0; 64];
        let (front, back) = signature.split_at_mut(SIGNATURE_HEAD);
        front.copy_from_slice(&first.0[CONTENT + 8..][..SIGNATURE_HEAD]);
        back.copy_from_slice(&second.0[CONTENT..][..64 - SIGNATURE_HEAD]);
        Some(Seal { counter: first.word(3), floor: first.word(4), signature })
    }

    /// The record so many slots before it, if it is of this kind and number, and belongs to it.
    fn before(&self, port: &mut impl NodePort, slots: u8, kind: u8, number: u8) -> Option<Record> {
        let mut slot = Record::BLANK;
        let there = slot.read(port, self.place.checked_sub(u32::from(slots) * RECORD as u32)?);
        let fits = (slot.kind(), slot.number(), slot.sequence()) == (kind, number, self.sequence);
        (there && slot.is_record() && fits).then_some(slot)
    }

    /// Takes note of what follows, at `place`. `keeps`: what is no record hides no mark that was lost.
    #[inline(never)]
    fn follow(&mut self, slot: &Record, place: u32, keeps: bool) {
        if !slot.is_record() {
            if self.state == ImageState::Valid && !keeps {
                self.state = ImageState::Incomplete; // an update was begun over that image
            }
            return;
        }
        let of_this = slot.sequence() == self.sequence;
        match slot.kind() {
            INCOMPLETE => self.replace(ImageState::Incomplete, slot, place),
            VALID => self.replace(ImageState::Valid, slot, place),
            STAGED if keeps => self.replace(ImageState::Staged, slot, place),
            INSTALLED if keeps && of_this && self.state == ImageState::Staged => {
                self.state = ImageState::Valid;
            }
            SEAL if slot.number() == 0 => self.seal = Some((slot.sequence(), slot.word(4))),
            TRUSTED => self.trusted |= of_this && self.state >= ImageState::Valid,
            FLOOR => self.floor = self.floor.max(slot.word(3)),
            _ => {}
        }
    }
}

/// What a scan of the record area found.
pub(super) struct Scan {
    pub(super) newest: Mark,
    /// Address of the first blank slot, if there is one.
    free: u32,
    /// Number of blank slots.
    pub(super) free_slots: u32,
}

pub(super) fn unit(port: &impl NodePort) -> Option<EraseUnit> {
    let flash = &port.facts().flash;
    flash.erase_unit(flash.record_base)
}

/// Records of a mark, its floor and all that belongs to it, at most.
const KEPT: usize = 3 + SEAL_RECORDS as usize + MAX_REGIONS;

impl Scan {
    /// Nothing is there, not even room.
    pub(super) const NONE: Self = Self { newest: Mark::NONE, free: 0, free_slots: 0 };

    /// Address of the first blank slot.
    pub(super) fn free(&self) -> Option<u32> {
        (self.free_slots > 0).then_some(self.free)
    }

    /// Becomes what the record area says.
    #[inline(never)]
    pub(super) fn read(&mut self, port: &mut impl NodePort) {
        *self = Self::NONE;
        let mut slot = Record::BLANK;
        let spare = slot::spare(port);
        if let Some(spare) = &spare {
            // The mark that was kept while the records' area was erased.
            for place in (spare.address..).step_by(RECORD).take(KEPT) {
                if slot.read(port, place) {
                    self.newest.follow(&slot, place, true);
                }
            }
        }
        let Some(unit) = unit(port) else { return };
        let (mut address, end) = (unit.address, unit.address + unit.size);
        while address < end {
            // Mostly records stand at the front and nothing behind them: one look at the rest, not one at each slot.
            let rest = end - address;
            if self.free_slots == 0 && port.is_blank(address, rest) {
                (self.free, self.free_slots) = (address, rest / RECORD as u32);
                return;
            }
            if !slot.read(port, address) {
                slot.0 = [0; RECORD]; // no record, and not blank: a power cut left it so
            }
            if slot.0 == Record::BLANK.0 {
                if self.free_slots == 0 {
                    self.free = address;
                }
                self.free_slots += 1;
            } else {
                self.free_slots = 0; // slots before a used one are never used again
                self.newest.follow(&slot, address, spare.is_some());
            }
            address += RECORD as u32;
        }
    }

    /// Takes note of the first blank slot, which has been written; whether it holds what was wanted.
    #[inline(never)]
    pub(super) fn written(&mut self, port: &mut impl NodePort, wanted: &[u8]) -> bool {
        let mut slot = Record::BLANK;
        let keeps = slot::spare(port).is_some();
        let read = slot.read(port, self.free);
        if read {
            self.newest.follow(&slot, self.free, keeps);
        }
        self.free_slots = self.free_slots.saturating_sub(1);
        self.free += RECORD as u32;
        read && slot.0 == *wanted
    }
}

/// One slot of the record area.
#[repr(align(4))]
struct Record([u8; RECORD]);

impl Record {
    const BLANK: Self = Self([0xFF; RECORD]);

    fn read(&mut self, port: &mut impl NodePort, address: u32) -> bool {
        port.read(address, &mut self.0)
    }

    fn kind(&self) -> u8 {
        self.0[KIND]
    }

    fn number(&self) -> u8 {
        self.0[KIND + 1]
    }

    fn sequence(&self) -> u32 {
        self.word(SEQUENCE / 4)
    }

    fn word(&self, n: usize) -> u32 {
        u32::from_le_bytes([self.0[4 * n], self.0[4 * n + 1], self.0[4 * n + 2], self.0[4 * n + 3]])
    }

    fn is_record(&self) -> bool {
        let known = (INCOMPLETE..=INSTALLED).contains(&self.kind());
        known && self.word(0) == MAGIC && self.word(14) == CRC32.checksum(&self.0[..56])
    }
}

const fn kind_of(state: ImageState) -> u8 {
    match state {
        ImageState::Staged => STAGED,
        other => other as u8,
    }
}

/// A record about the mark with this number.
fn remark(kind: u8, sequence: u32) -> [u8; RECORD] {
    let mut bytes = [0xFF; RECORD];
    head(&mut Writer::new(&mut bytes), kind, 0, sequence);
    close(bytes)
}

/// Begins a record.
fn head<'w, 'b>(w: &'w mut Writer<'b>, kind: u8, number: u8, sequence: u32) -> &'w mut Writer<'b> {
    w.u32(MAGIC).u8(kind).u8(number).u16(0xFFFF).u32(sequence)
}

/// Puts the CRC-32 behind the content.
fn close(mut bytes: [u8; RECORD]) -> [u8; RECORD] {
    let crc = CRC32.checksum(&bytes[..56]);
    bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    bytes
}
