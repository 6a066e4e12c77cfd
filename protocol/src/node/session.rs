//! One update of a node: the image it was told of, where it stands, and how it was checked before anything
//! was touched. Reception is in `receive.rs`, flash in `pipeline.rs`.

use super::outbox::Outbox;
use super::pipeline::{Compare, Hash, Op, OpKind};
use super::port::{BoardFacts, Capabilities, EraseUnit, FlashFacts, NodePort};
use super::receive::{EntryState, ManifestEntry, SegmentBuffer, Stream};
use super::record::Scan;
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
    pub(super) records: &'a mut Scan,
    pub(super) statistics: &'a mut Statistics,
    pub(super) now: Micros,
}

/// Small fields stand first, and in this order: a board reaches them with the short forms of load and store. Without a
/// session ([`NodeState::Idle`]) everything else is zero.
#[repr(C)]
pub(super) struct Session {
    pub(super) state: NodeState,
    pub(super) failed: Option<ErrorReport>,
    /// Regions whose check the host waits for, one bit each; those that are read back; those that are right.
    pub(super) checks_requested: u8,
    pub(super) checked: u8,
    pub(super) right: u8,
    /// The mark that is to be written; `None`: none is.
    pub(super) mark: ImageState,
    /// Records of seal and regions written for the valid mark to come.
    pub(super) recorded: u8,
    /// The valid mark is written, and that its seal is good is to be written behind it.
    pub(super) trust: bool,
    pub(super) start_reply: bool,
    /// The record area was erased, and the floor that stood there is to be written first.
    pub(super) floor: bool,
    pub(super) op: Op,
    /// Below it all of the image is erased.
    pub(super) erase_address: u32,
    pub(super) segments: u16,
    /// Manifest entries received.
    pub(super) known: u16,
    /// Segments in flash (or blank and so without need of programming).
    pub(super) programmed: u16,
    /// Segments not yet whole in RAM or flash.
    pub(super) missing: u16,
    /// See [`Self::shift()`].
    pub(super) shift: u32,
    /// Steps done to bring the newest mark out of the records, or back.
    pub(super) kept: u32,
    /// CRC-32 of the block that began it: tells a repeated one.
    pub(super) block: u32,
    pub(super) stream: Stream,
    pub(super) compare: Compare,
    pub(super) hash: Hash,
    /// The image's ID.
    pub(super) id: [u8; 32],
    pub(super) erased: [u32; MAX_UNITS / 32],
    pub(super) crcs: [u32; MAX_REGIONS],
    pub(super) digests: [[u8; 32]; MAX_REGIONS],
    pub(super) begin: Begin,
}

/// What a command is answered with, at once.
pub(super) type Answer = Result<(), Instead>;

/// What is said instead of "done".
pub(super) enum Instead {
    /// Nothing: what was begun answers when it has ended, or no answer is needed.
    Later,
    Refused(Refusal),
}

impl From<Refusal> for Instead {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
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
        // A unit is a power of two.
        if (region.address | region.len) & (u32::from(flash.unit) - 1) != 0 {
            return Err(Refusal::Unaligned);
        }
        let end = region.address + region.len; // checked when the block was decoded
        if region.address < from || end > end_of_flash {
            return Err(Refusal::OutsideFlash);
        }
        let shares = |address| shares_unit(flash, region.address, end, address);
        if region.address < flash.app_base || shares(flash.record_base) || facts.identity.is_some_and(shares)
        {
            return Err(Refusal::Reserved);
        }
        from = end;
    }
    let units: u16 = flash.runs.iter().map(|run| run.count).sum();
    if begin.segments() >= 0x8000 || usize::from(units) > MAX_UNITS {
        return Err(Refusal::TooLarge);
    }
    Ok(())
}

/// Whether erasing the units of `from..end` would erase the unit that holds `address`.
pub(super) fn shares_unit(flash: &FlashFacts, from: u32, end: u32, address: u32) -> bool {
    flash.erase_unit(address).is_some_and(|unit| from < unit.address + unit.size && unit.address < end)
}

impl Session {
    /// No session.
    pub(super) const fn none() -> Self {
        Self {
            state: NodeState::Idle,
            checks_requested: 0,
            checked: 0,
            right: 0,
            mark: ImageState::None,
            recorded: 0,
            trust: false,
            start_reply: false,
            floor: false,
            op: Op::NONE,
            failed: None,
            erase_address: 0,
            segments: 0,
            known: 0,
            programmed: 0,
            missing: 0,
            shift: 0,
            kept: 0,
            block: 0,
            stream: Stream::NONE,
            compare: Compare::NONE,
            hash: Hash::NONE,
            id: [0; 32],
            erased: [0; MAX_UNITS / 32],
            crcs: [0; MAX_REGIONS],
            digests: const { [[0; 32]; MAX_REGIONS] },
            begin: Begin::NONE,
        }
    }

    /// Nothing of it is left.
    #[inline(never)]
    pub(super) fn clear(&mut self) {
        *self = Self::none();
    }

    pub(super) fn is_none(&self) -> bool {
        self.state == NodeState::Idle
    }

    /// There is one, and the host means this one.
    pub(super) fn is_the(&self, number: u8) -> bool {
        !self.is_none() && self.begin.session == number
    }

    /// A record is on its way to the first blank slot.
    pub(super) fn writes_record(&self) -> bool {
        self.op.kind == OpKind::Record && self.kept == 0
    }

    /// The image is known: what follows from it.
    pub(super) fn set_up(&mut self, state: NodeState, buffers: usize) {
        self.state = state;
        self.segments = self.begin.segments() as u16;
        self.stream.begin(buffers);
    }

    /// Begins to compare, or to erase and receive. Asking twice is harmless.
    pub(super) fn start(&mut self, port: &impl NodePort, manifest: &mut [ManifestEntry]) -> Answer {
        if self.state > NodeState::Comparing && self.state != NodeState::Failed {
            return if self.start_reply { Err(Instead::Later) } else { Ok(()) };
        }
        if self.state != NodeState::Manifest {
            return if self.state == NodeState::Comparing {
                Err(Instead::Later)
            } else {
                Err(Refusal::WrongState.into())
            };
        }
        if self.known < self.segments {
            return Err(Refusal::ManifestIncomplete.into());
        }
        for entry in &mut manifest[..usize::from(self.segments)] {
            entry.state = if entry.crc == BLANK_CRC { EntryState::Blank } else { EntryState::Need };
        }
        if !port.is_agent() && self.begin.flags.contains(BeginFlags::COMPARE) {
            self.state = NodeState::Comparing;
            self.start_reply = true;
            return Err(Instead::Later);
        }
        self.receive(port, manifest);
        self.start_reply = self.erases_first(port);
        if self.start_reply { Err(Instead::Later) } else { Ok(()) }
    }

    /// A board that hears nothing while it erases does all of that before it asks for data.
    pub(super) fn erases_first(&self, port: &impl NodePort) -> bool {
        !port.is_agent()
            && (self.mark != ImageState::None || self.shift(port) != 0)
            && !port.facts().capabilities.contains(Capabilities::RECEIVES_WHILE_BUSY)
    }

    /// Everything needed is known: mark the image incomplete and begin.
    pub(super) fn receive(&mut self, port: &impl NodePort, manifest: &[ManifestEntry]) {
        let entries = &manifest[..usize::from(self.segments)];
        let need = entries.iter().filter(|e| e.state == EntryState::Need).count() as u16;
        self.missing = need;
        self.programmed = self.segments - need;
        self.state = NodeState::Receiving;
        let nothing_to_do = need == 0 && self.next_unerased(port).is_none();
        // In the second slot nothing is replaced: the application stays what it is.
        if !nothing_to_do && self.shift(port) == 0 {
            self.mark = ImageState::Incomplete;
        }
    }

    pub(super) fn verified(&self) -> bool {
        !self.is_none() && u32::from(self.right) + 1 == 1 << self.begin.regions().len()
    }

    fn is_erased(&self, unit: u16) -> bool {
        self.erased[usize::from(unit) % MAX_UNITS / 32] >> (unit % 32) & 1 != 0
    }

    /// A unit that was erased is not any more, or the other way round.
    pub(super) fn flip_erased(&mut self, unit: u16) {
        self.erased[usize::from(unit) % MAX_UNITS / 32] ^= 1 << (unit % 32);
    }

    /// How far above its place the image is written: into the second slot, or 0.
    pub(super) fn shift<P: NodePort>(&self, _: &P) -> u32 {
        if P::HAS_SLOT { self.shift } else { 0 }
    }

    /// The first unit of the image that is not erased yet.
    #[inline(never)]
    pub(super) fn next_unerased(&mut self, port: &impl NodePort) -> Option<EraseUnit> {
        for region in self.begin.regions() {
            let end = region.address + region.len;
            let from = self.erase_address.max(region.address);
            let unerased = self.unit_in(port, from, end, false);
            self.erase_address =
                unerased.map_or_else(|| from.max(end), |unit| unit.address - self.shift(port));
            if unerased.is_some() {
                return unerased;
            }
        }
        None
    }

    /// Address of the first segment that would have to be programmed, or of the first unit to be erased.
    pub(super) fn first_wrong(&mut self, port: &impl NodePort, manifest: &[ManifestEntry]) -> Option<u32> {
        let needed = |n: &u16| manifest[usize::from(*n)].state == EntryState::Need;
        let segment = (0..self.segments).find(needed).and_then(|n| self.begin.place(n.into()));
        segment
            .map(|place| place.address + self.shift(port))
            .or_else(|| self.next_unerased(port).map(|unit| unit.address))
    }

    /// Where segment `n` is written and read back.
    pub(super) fn place(&self, port: &impl NodePort, n: u32) -> Option<SegmentPlace> {
        let place = self.begin.place(n)?;
        Some(SegmentPlace { address: place.address + self.shift(port), ..place })
    }

    /// The first unit not yet erased among those that segment `n` touches.
    pub(super) fn unerased_of(&self, port: &impl NodePort, n: u32) -> Option<EraseUnit> {
        self.unit_of(port, n, false)
    }

    /// The first unit in this state among those that segment `n` touches.
    pub(super) fn unit_of(&self, port: &impl NodePort, n: u32, erased: bool) -> Option<EraseUnit> {
        let place = self.begin.place(n)?;
        self.unit_in(port, place.address, place.address + u32::from(place.len), erased)
    }

    /// The first unit in this state among those to which the image's bytes from one address to another go.
    #[inline(never)]
    fn unit_in(&self, port: &impl NodePort, from: u32, end: u32, erased: bool) -> Option<EraseUnit> {
        let mut address = from + self.shift(port);
        while address < end + self.shift(port) {
            let unit = port.facts().flash.erase_unit(address)?;
            if self.is_erased(unit.index) == erased {
                return Some(unit);
            }
            address = unit.address + unit.size;
        }
        None
    }
}

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    pub(super) fn status(&self) -> Status {
        let s = &self.session;
        let flag = |on: bool, flag: StatusFlags| if on { flag } else { StatusFlags::empty() };
        let known = !s.is_none() && s.known == s.segments;
        Status {
            state: s.state,
            flags: flag(s.stream.holding(), StatusFlags::HOLDING)
                | flag(s.op.is_erase(), StatusFlags::ERASING)
                | flag(s.op.kind != OpKind::None, StatusFlags::FLASH_BUSY)
                | flag(known, StatusFlags::MANIFEST_COMPLETE)
                | flag(s.verified(), StatusFlags::VERIFIED)
                | flag(s.shift(&self.port) != 0, StatusFlags::STAGED),
            missing: if s.state < NodeState::Receiving { s.segments } else { s.missing },
            programmed: s.programmed,
            free: s.stream.free(),
            detail: s.failed.map_or(0, |e| e.fault as u8),
        }
    }
}
