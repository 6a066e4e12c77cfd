//! One update of a node: the image it was told of, where it stands, and how it was checked before anything
//! was touched. Reception is in `receive.rs`, flash in `pipeline.rs`.

use super::outbox::Outbox;
use super::pipeline::{Compare, Hash, Op};
use super::port::{BoardFacts, Capabilities, EraseUnit, FlashFacts, NodePort};
use super::receive::{EntryState, ManifestEntry, SegmentBuffer, Stream};
use super::record::{Mark, Scan};
use super::{Node, NodeMemory};
use crate::block::{Begin, BeginFlags, MAX_REGIONS, SegmentPlace};
use crate::message::{ErrorReport, NodeState, Refusal, SEGMENT, Status, StatusFlags};
use crate::reply::{ImageState, Statistics};
use crate::time::Micros;

/// Erase units that a node can keep track of.
pub(super) const MAX_UNITS: usize = 512;

/// A segment of nothing but 0xFF.
pub(super) const BLANK_CRC: u32 = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&[0xFF; SEGMENT]);

/// What the node lends its session for one call.
pub(super) struct Io<'a, P> {
    pub(super) port: &'a mut P,
    pub(super) out: &'a mut Outbox,
    pub(super) buffers: &'a mut [SegmentBuffer],
    pub(super) manifest: &'a mut [ManifestEntry],
    pub(super) statistics: &'a mut Statistics,
    pub(super) now: Micros,
}

/// Small fields stand first, and in this order: a board reaches them with the short forms of load and store.
#[repr(C)]
pub(super) struct Session {
    pub(super) state: NodeState,
    pub(super) checks_requested: u8,
    /// Records of seal and regions written for the valid mark to come.
    pub(super) recorded: u8,
    /// The valid mark is written, and that its seal is good is to be written behind it.
    pub(super) trust: bool,
    pub(super) start_reply: bool,
    pub(super) record: Option<ImageState>,
    pub(super) segments: u16,
    /// How far above its place the image is written: into the second slot, or 0.
    pub(super) shift: u32,
    /// Manifest entries received.
    pub(super) known: u16,
    /// Segments in flash (or blank and so without need of programming).
    pub(super) programmed: u16,
    /// Segments not yet whole in RAM or flash.
    pub(super) missing: u16,
    pub(super) op: Op,
    pub(super) failed: Option<ErrorReport>,
    /// First address, in segment order, that may still have to be erased.
    pub(super) erase_cursor: (u8, u32),
    /// What an erased record area said of older images, to be written first.
    pub(super) floor: u32,
    /// Steps done to bring the newest mark out of the records, or back.
    pub(super) kept: u32,
    pub(super) stream: Stream,
    pub(super) compare: Compare,
    pub(super) hash: Hash,
    pub(super) erased: [u32; MAX_UNITS / 32],
    pub(super) checks: [Option<(u32, bool)>; MAX_REGIONS],
    /// The record area as it is, once it has been looked through.
    pub(super) records: Option<Scan>,
    /// What the newest record says since the session wrote one.
    pub(super) image: Option<Mark>,
    pub(super) begin: Begin,
    /// CRC-32 of the block that began it: tells a repeated one.
    pub(super) block: u32,
    pub(super) digests: [[u8; 32]; MAX_REGIONS],
}

/// When a command that was not refused is answered.
pub(super) enum When {
    Now,
    /// By what it began, when that has ended; or it needs no answer.
    Later,
}

/// Whether the chip and its flash can take the image. Checked before anything is touched.
pub(super) fn check(facts: &BoardFacts, begin: &Begin) -> Result<(), Refusal> {
    let flash = &facts.flash;
    if begin.device_id != facts.device_id {
        return Err(Refusal::WrongChip);
    }
    let end_of_flash = flash.base + flash.size();
    let mut from = flash.base;
    for region in begin.regions() {
        let unit = u32::from(flash.unit);
        if !region.address.is_multiple_of(unit) || !region.len.is_multiple_of(unit) {
            return Err(Refusal::Unaligned);
        }
        let end = region.address + region.len; // checked when the block was decoded
        if region.address < from || end > end_of_flash {
            return Err(Refusal::OutsideFlash);
        }
        let kept = [Some(flash.record_base), facts.identity];
        let shares = |address| shares_unit(flash, region.address, end, address);
        if region.address < flash.app_base || kept.into_iter().flatten().any(shares) {
            return Err(Refusal::Reserved);
        }
        from = end;
    }
    let last = flash.erase_unit(end_of_flash - 1).map_or(0, |u| usize::from(u.index));
    if begin.segments() >= 0x8000 || last >= MAX_UNITS {
        return Err(Refusal::TooLarge);
    }
    Ok(())
}

/// Whether erasing the units of `from..end` would erase the unit that holds `address`.
pub(super) fn shares_unit(flash: &FlashFacts, from: u32, end: u32, address: u32) -> bool {
    let (Some(first), Some(last), Some(unit)) =
        (flash.erase_unit(from), flash.erase_unit(end - 1), flash.erase_unit(address))
    else {
        return false;
    };
    (first.index..=last.index).contains(&unit.index)
}

impl Session {
    pub(super) fn new(begin: Begin, block: u32, buffers: usize) -> Self {
        let first = begin.regions().first().map_or(0, |r| r.address);
        Self {
            begin,
            block,
            state: NodeState::Manifest,
            segments: begin.segments() as u16,
            shift: 0,
            known: 0,
            programmed: 0,
            missing: 0,
            stream: Stream::new(buffers),
            erased: [0; MAX_UNITS / 32],
            erase_cursor: (0, first),
            op: Op::None,
            compare: Compare::new(),
            hash: Hash::new(),
            checks: [None; MAX_REGIONS],
            digests: [[0; 32]; MAX_REGIONS],
            checks_requested: 0,
            record: None,
            recorded: 0,
            trust: false,
            floor: 0,
            start_reply: false,
            kept: 0,
            failed: None,
            image: None,
            records: None,
        }
    }

    /// Begins to compare, or to erase and receive. Asking twice is harmless.
    pub(super) fn start(
        &mut self,
        port: &impl NodePort,
        manifest: &mut [ManifestEntry],
    ) -> Result<When, Refusal> {
        if self.state > NodeState::Comparing && self.state != NodeState::Failed {
            return Ok(if self.start_reply { When::Later } else { When::Now });
        }
        if self.state != NodeState::Manifest {
            return if self.state == NodeState::Comparing {
                Ok(When::Later)
            } else {
                Err(Refusal::WrongState)
            };
        }
        if self.known < self.segments {
            return Err(Refusal::ManifestIncomplete);
        }
        for entry in &mut manifest[..usize::from(self.segments)] {
            entry.state = if entry.crc == BLANK_CRC { EntryState::Blank } else { EntryState::Need };
        }
        if self.begin.flags.contains(BeginFlags::COMPARE) {
            self.state = NodeState::Comparing;
            self.start_reply = true;
            return Ok(When::Later);
        }
        self.receive(port, manifest);
        self.start_reply = self.erases_first(port);
        Ok(if self.start_reply { When::Later } else { When::Now })
    }

    /// A board that hears nothing while it erases does all of that before it asks for data.
    pub(super) fn erases_first(&self, port: &impl NodePort) -> bool {
        (self.record.is_some() || self.shift != 0)
            && !port.facts().capabilities.contains(Capabilities::RECEIVES_WHILE_BUSY)
    }

    /// Everything needed is known: mark the image incomplete and begin.
    pub(super) fn receive(&mut self, port: &impl NodePort, manifest: &[ManifestEntry]) {
        let entries = &manifest[..usize::from(self.segments)];
        let need = entries.iter().filter(|e| e.state == EntryState::Need).count() as u16;
        self.missing = need;
        self.programmed = self.segments - need;
        self.state = NodeState::Receiving;
        let nothing_to_do = need == 0 && self.next_unerased(&port.facts().flash).is_none();
        // In the second slot nothing is replaced: the application stays what it is.
        if !nothing_to_do && self.shift == 0 {
            self.record = Some(ImageState::Incomplete);
        }
    }

    pub(super) const fn take_mark(&mut self) -> Option<Mark> {
        self.image.take()
    }

    pub(super) fn is_image_of(&self, mark: &Mark) -> bool {
        mark.id == self.begin.image_id()
    }

    pub(super) fn verified(&self) -> bool {
        self.checks[..self.begin.regions().len()].iter().all(|c| matches!(c, Some((_, true))))
    }

    pub(super) fn is_erased(&self, unit: &EraseUnit) -> bool {
        self.erased[usize::from(unit.index) / 32] >> (unit.index % 32) & 1 != 0
    }

    pub(super) fn set_erased(&mut self, index: u16, erased: bool) {
        let (word, bit) = (usize::from(index) / 32, 1 << (index % 32));
        if erased { self.erased[word] |= bit } else { self.erased[word] &= !bit }
    }

    /// The first unit of the image, in segment order, that is not erased yet.
    pub(super) fn next_unerased(&mut self, flash: &FlashFacts) -> Option<EraseUnit> {
        loop {
            let (region, address) = self.erase_cursor;
            let r = *self.begin.regions().get(usize::from(region))?;
            if address >= r.address + r.len {
                let next = self.begin.regions().get(usize::from(region) + 1)?;
                self.erase_cursor = (region + 1, next.address);
                continue;
            }
            let unit = flash.erase_unit(address + self.shift)?;
            if !self.is_erased(&unit) {
                return Some(unit);
            }
            self.erase_cursor = (region, unit.address + unit.size - self.shift);
        }
    }

    /// Address of the first segment that would have to be programmed, or of the first unit to be erased.
    pub(super) fn first_wrong(&mut self, flash: &FlashFacts, manifest: &[ManifestEntry]) -> Option<u32> {
        let needed = |n: &u16| manifest[usize::from(*n)].state == EntryState::Need;
        let segment = (0..self.segments).find(needed).and_then(|n| self.begin.place(n.into()));
        segment
            .map(|place| place.address + self.shift)
            .or_else(|| self.next_unerased(flash).map(|unit| unit.address))
    }

    /// Where segment `n` is written and read back.
    pub(super) fn place(&self, n: u32) -> Option<SegmentPlace> {
        let place = self.begin.place(n)?;
        Some(SegmentPlace { address: place.address + self.shift, ..place })
    }

    /// The first unit not yet erased among those that segment `n` touches.
    pub(super) fn unerased_of(&self, flash: &FlashFacts, n: u32) -> Option<EraseUnit> {
        self.unit_of(flash, n, false)
    }

    /// The first unit in this state among those that segment `n` touches.
    pub(super) fn unit_of(&self, flash: &FlashFacts, n: u32, erased: bool) -> Option<EraseUnit> {
        let place = self.place(n)?;
        let mut address = place.address;
        while address < place.address + u32::from(place.len) {
            let unit = flash.erase_unit(address)?;
            if self.is_erased(&unit) == erased {
                return Some(unit);
            }
            address = unit.address + unit.size;
        }
        None
    }
}

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    #[inline(never)]
    pub(super) fn status(&self) -> Status {
        let Some(s) = &self.session else {
            return Status {
                state: NodeState::Idle,
                flags: StatusFlags::empty(),
                missing: 0,
                programmed: 0,
                free: 0,
                detail: 0,
            };
        };
        let mut flags = StatusFlags::empty();
        flags.set(StatusFlags::HOLDING, s.stream.holding());
        flags.set(StatusFlags::ERASING, s.op.is_erase());
        flags.set(StatusFlags::FLASH_BUSY, !matches!(s.op, Op::None));
        flags.set(StatusFlags::MANIFEST_COMPLETE, s.known == s.segments);
        flags.set(StatusFlags::VERIFIED, s.verified());
        flags.set(StatusFlags::STAGED, s.shift != 0);
        Status {
            state: s.state,
            flags,
            missing: if s.state < NodeState::Receiving { s.segments } else { s.missing },
            programmed: s.programmed,
            free: s.stream.free(),
            detail: s.failed.map_or(0, |e| e.fault as u8),
        }
    }
}
