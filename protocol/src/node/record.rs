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

use super::port::{EraseUnit, NodePort, Seals};
use super::slot;
use crate::CRC32;
use crate::block::{Begin, MAX_REGIONS, Seal};
use crate::bytes::Reader;
use crate::reply::ImageState;

pub(super) const RECORD: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"PFR1");
/// Where a record has its kind.
const KIND: usize = 4;
/// Words of a record: its number, the first three of its content, CRC-32.
const SEQUENCE: usize = 2;
const CONTENT: usize = 3;
const CRC: usize = 14;
/// Where what is longer than three words has the rest: image ID or SHA-256.
const DIGEST: usize = 24;
pub(super) const INCOMPLETE: u8 = 1;
pub(super) const VALID: u8 = 2;
pub(super) const REGION: u8 = 3;
pub(super) const SEAL: u8 = 4;
pub(super) const TRUSTED: u8 = 5;
pub(super) const FLOOR: u8 = 6;
pub(super) const STAGED: u8 = 7;
pub(super) const INSTALLED: u8 = 8;
/// Records that a seal takes.
pub(super) const SEAL_RECORDS: u8 = 2;
/// Bytes of the signature in the first of them, behind counter and floor.
const SIGNATURE_HEAD: usize = 32;

/// What the records say of the newest image.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) state: ImageState,
    /// A record behind it says that its seal is good.
    pub(super) trusted: bool,
    /// The board takes no image with a lower counter; 0 where no seal is asked for.
    pub(super) floor: u32,
    /// Sequence and floor of the seal last seen.
    seal: (u32, u32),
    /// Address of its record.
    pub(super) place: u32,
    record: Record,
}

impl Mark {
    const NONE: Self = Self {
        state: ImageState::None,
        trusted: false,
        floor: 0,
        seal: (0, 0),
        place: 0,
        record: Record([0; RECORD]),
    };

    /// Its number, one more than that of the mark before it.
    pub(super) fn sequence(&self) -> u32 {
        self.record.word(SEQUENCE)
    }

    fn next_sequence(&self) -> u32 {
        self.sequence().wrapping_add(1)
    }

    /// Regions of the image; their records stand before a `Valid` one.
    fn regions(&self) -> u8 {
        self.record.word(CONTENT).min(255) as u8
    }

    /// The image ID.
    pub(super) fn id(&self) -> &[u8; 32] {
        self.record.0[DIGEST..].first_chunk().unwrap_or(&[0; 32])
    }

    /// First four bytes of the image ID, as the node reports it.
    pub(super) fn short_id(&self) -> u32 {
        self.record.word(DIGEST / 4)
    }

    /// It says that the image with this ID is good.
    pub(super) fn vouches_for(&self, id: &[u8; 32]) -> bool {
        self.state == ImageState::Valid && self.id() == id
    }

    /// The image that stands between these addresses is good and must stay so.
    pub(super) fn guards(&self, from: u32, end: u32) -> bool {
        let (first, last) = (self.record.word(CONTENT + 1), self.record.word(CONTENT + 2));
        self.state == ImageState::Valid && from < last && first < end
    }

    /// Sequence and floor go on where they ended in records that are gone.
    pub(super) fn go_on(&mut self, sequence: u32, floor: u32) {
        self.record.set(SEQUENCE, sequence);
        self.floor = floor;
    }

    /// The record of this kind and number that comes after this mark, for the image of this session.
    pub(super) fn next(&self, begin: &Begin, id: &[u8; 32], (kind, number): (u8, u8)) -> Record {
        let mut record = Record::new(kind, number, self.next_sequence());
        let regions = begin.regions();
        match kind {
            SEAL => begin.seal().into_iter().for_each(|seal| record.put_seal(number, seal)),
            REGION => {
                if let Some(region) = regions.get(usize::from(number)) {
                    record.put([region.address, region.len, region.crc], &region.sha256);
                }
            }
            FLOOR => record.set(CONTENT, self.floor),
            TRUSTED | INSTALLED => return self.remark(kind),
            _ => {
                let first = regions.first().map_or(0, |r| r.address);
                let end = regions.last().map_or(0, |r| r.address + r.len);
                record.put([regions.len() as u32, first, end], id);
            }
        }
        record.close();
        record
    }

    /// A record about this mark: that its seal is good, or that it has come to its place.
    pub(super) fn remark(&self, kind: u8) -> Record {
        let mut record = Record::new(kind, 0, self.sequence());
        record.close();
        record
    }

    /// The `n`th of the records that say with the next number what this mark says and what belongs to it; `None` behind
    /// the last one. An image that was installed is simply `Valid`.
    pub(super) fn again(&self, port: &mut impl NodePort, n: u32) -> Option<Record> {
        let before = match self.state {
            ImageState::Valid | ImageState::Staged => u32::from(self.regions()) + u32::from(SEAL_RECORDS),
            ImageState::Incomplete | ImageState::None => 0,
        };
        let left = (before + 1).checked_sub(n);
        let mut record = Record::BLANK;
        // What does not belong to the mark stands behind nothing: the place before a mark that has no seal.
        let belongs = n > 0
            && left.is_some_and(|left| record.read(port, self.place.wrapping_sub(left * RECORD as u32)))
            && record.is_record()
            && record.word(SEQUENCE) == self.sequence();
        match left {
            None if self.trusted && n == before + 2 => record = Record::new(TRUSTED, 0, 0),
            None => return None,
            Some(0) if belongs => record.0[KIND] = kind_of(self.state),
            Some(_) if belongs => {}
            Some(_) => {
                record = Record::new(FLOOR, 0, 0);
                record.set(CONTENT, self.floor);
            }
        }
        record.set(SEQUENCE, self.next_sequence());
        record.close();
        Some(record)
    }

    /// A newer mark takes the place of this one, an older one does not. What was said of older images stays.
    fn replace(&mut self, state: ImageState, slot: &Record, place: u32) {
        let sequence = slot.word(SEQUENCE);
        if sequence <= self.sequence() {
            return;
        }
        if self.seal.0 == sequence && state != ImageState::Incomplete {
            self.floor = self.floor.max(self.seal.1);
        }
        (self.state, self.trusted, self.place) = (state, false, place);
        self.record.0 = slot.0;
    }

    /// Reads the image as its records tell it; whether they are whole and say this very image. Session, flags and seal are
    /// not theirs.
    pub(super) fn image(&self, port: &mut impl NodePort, begin: &mut Begin) -> bool {
        begin.device_id = port.facts().device_id;
        let Some(regions) = begin.regions_mut(self.regions()) else { return false };
        for (n, region) in regions.iter_mut().enumerate() {
            let left = self.regions() - n as u8;
            let Some(slot) = self.before(port, left, REGION, n as u8) else { return false };
            region.read(&mut Reader::new(&slot.0[4 * CONTENT..]));
        }
        begin.image_id() == *self.id()
    }

    /// Its seal, as it was recorded.
    pub(super) fn seal(&self, port: &mut impl NodePort) -> Option<Seal> {
        let slots = self.regions().checked_add(SEAL_RECORDS)?;
        let first = self.before(port, slots, SEAL, 0)?;
        let second = self.before(port, slots - 1, SEAL, 1)?;
        let mut signature = [0; 64];
        let (front, back) = signature.split_at_mut(SIGNATURE_HEAD);
        front.copy_from_slice(&first.0[4 * CONTENT + 8..][..SIGNATURE_HEAD]);
        back.copy_from_slice(&second.0[4 * CONTENT..][..64 - SIGNATURE_HEAD]);
        Some(Seal { counter: first.word(CONTENT), floor: first.word(CONTENT + 1), signature })
    }

    /// The record so many slots before it, if it is of this kind and number, and belongs to it.
    fn before(&self, port: &mut impl NodePort, slots: u8, kind: u8, number: u8) -> Option<Record> {
        let mut slot = Record::BLANK;
        let there = slot.read(port, self.place.checked_sub(u32::from(slots) * RECORD as u32)?);
        let fits = (slot.kind(), slot.number(), slot.word(SEQUENCE)) == (kind, number, self.sequence());
        (there && slot.is_record() && fits).then_some(slot)
    }

    /// Takes note of what follows, at `place`.
    #[inline(never)]
    fn follow(&mut self, port: &impl NodePort, slot: &Record, place: u32) {
        // Where a mark is kept elsewhere, what is no record hides none that was lost.
        let keeps = slot::spare(port).is_some();
        if !slot.is_record() {
            if self.state == ImageState::Valid && !keeps {
                self.state = ImageState::Incomplete; // an update was begun over that image
            }
            return;
        }
        let demands = port.seals() == Seals::Demanded;
        let of_this = slot.word(SEQUENCE) == self.sequence();
        match slot.kind() {
            INCOMPLETE => self.replace(ImageState::Incomplete, slot, place),
            VALID => self.replace(ImageState::Valid, slot, place),
            STAGED if keeps => self.replace(ImageState::Staged, slot, place),
            INSTALLED if keeps && of_this && self.state == ImageState::Staged => {
                self.state = ImageState::Valid;
            }
            SEAL if demands && slot.number() == 0 => {
                self.seal = (slot.word(SEQUENCE), slot.word(CONTENT + 1));
            }
            TRUSTED if demands => self.trusted |= of_this && self.state >= ImageState::Valid,
            FLOOR if demands => self.floor = self.floor.max(slot.word(CONTENT)),
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
        if let Some(spare) = slot::spare(port) {
            // The mark that was kept while the records' area was erased.
            for place in (spare.address..).step_by(RECORD).take(KEPT) {
                if slot.read(port, place) {
                    self.newest.follow(port, &slot, place);
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
            if port.is_blank(address, RECORD as u32) {
                if self.free_slots == 0 {
                    self.free = address;
                }
                self.free_slots += 1;
            } else {
                self.free_slots = 0; // slots before a used one are never used again
                if !slot.read(port, address) {
                    slot.0 = [0; RECORD]; // no record, and not blank: a power cut left it so
                }
                self.newest.follow(port, &slot, address);
            }
            address += RECORD as u32;
        }
    }

    /// Takes note of the first blank slot, which has been written; whether it holds what was wanted.
    #[inline(never)]
    pub(super) fn written(&mut self, port: &mut impl NodePort, wanted: &Record) -> bool {
        let mut slot = Record::BLANK;
        let read = slot.read(port, self.free);
        if read {
            self.newest.follow(port, &slot, self.free);
        }
        self.free_slots = self.free_slots.saturating_sub(1);
        self.free += RECORD as u32;
        read && slot == *wanted
    }
}

/// One slot of the record area.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(4))]
pub(super) struct Record(pub(super) [u8; RECORD]);

impl Record {
    pub(super) const BLANK: Self = Self([0xFF; RECORD]);

    /// A record without content.
    fn new(kind: u8, number: u8, sequence: u32) -> Self {
        let mut record = Self::BLANK;
        record.set(0, MAGIC);
        (record.0[KIND], record.0[KIND + 1]) = (kind, number);
        record.set(SEQUENCE, sequence);
        record
    }

    pub(super) fn read(&mut self, port: &mut impl NodePort, address: u32) -> bool {
        port.read(address, &mut self.0)
    }

    fn kind(&self) -> u8 {
        self.0[KIND]
    }

    fn number(&self) -> u8 {
        self.0[KIND + 1]
    }

    fn word(&self, n: usize) -> u32 {
        u32::from_le_bytes([self.0[4 * n], self.0[4 * n + 1], self.0[4 * n + 2], self.0[4 * n + 3]])
    }

    fn set(&mut self, n: usize, word: u32) {
        self.0[4 * n..4 * n + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// Three words of content, and 32 bytes behind them.
    fn put(&mut self, words: [u32; 3], digest: &[u8; 32]) {
        words.iter().enumerate().for_each(|(n, &word)| self.set(CONTENT + n, word));
        self.0[DIGEST..DIGEST + 32].copy_from_slice(digest);
    }

    /// A half of a seal.
    fn put_seal(&mut self, half: u8, seal: &Seal) {
        let (front, back) = seal.signature.split_at(SIGNATURE_HEAD);
        if half > 0 {
            self.0[4 * CONTENT..][..back.len()].copy_from_slice(back);
            return;
        }
        self.set(CONTENT, seal.counter);
        self.set(CONTENT + 1, seal.floor);
        self.0[4 * CONTENT + 8..][..front.len()].copy_from_slice(front);
    }

    fn is_record(&self) -> bool {
        let known = (INCOMPLETE..=INSTALLED).contains(&self.kind());
        known && self.word(0) == MAGIC && self.word(CRC) == self.checksum()
    }

    /// Puts the CRC-32 behind the content.
    fn close(&mut self) {
        self.set(CRC, self.checksum());
    }

    fn checksum(&self) -> u32 {
        CRC32.checksum(&self.0[..4 * CRC])
    }
}

/// The kind of the record of a mark.
pub(super) const fn kind_of(state: ImageState) -> u8 {
    match state {
        ImageState::Staged => STAGED,
        other => other as u8,
    }
}
