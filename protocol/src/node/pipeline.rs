//! From RAM to flash and back: erase, program, read back, hash, each in bounded steps.
//!
//! Order of the flash: records first; then the lowest checked segment whose units are erased; then the erase
//! that such a segment waits for; then, when there is nothing to program, the image's next erase. So erasing
//! and programming hide behind reception, and RAM fills only while a unit is being erased.

use super::outbox::Outbox;
use super::port::{EraseUnit, FlashFault, FlashState, NodePort, Protection, Seals};
use super::receive::{BufferState, EntryState, SegmentBuffer};
use super::record::Record;
use super::session::{Io, Session};
use super::{Poll, SLACK, STEP, Wake, Work, record};
use crate::CRC32;
use crate::block::{Region, SegmentPlace};
use crate::message::{ErrorReport, NodeFault, NodeState, SEGMENT, op};
use crate::reply::{ImageState, RegionCheck, put_check};
use crate::sha256::Sha256;
use crate::time::{Count, Micros, Span};

/// What the flash is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpKind {
    None,
    Erase,
    Program,
    /// Not the flash's work: what was programmed is to be compared.
    Readback,
    RecordErase,
    Record,
}

/// An operation of the flash, and where.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Op {
    pub(super) kind: OpKind,
    /// The segment buffer that is programmed, and the piece of it.
    buffer: u8,
    /// Or the erase unit.
    from: u16,
    len: u16,
    pub(super) address: u32,
    /// When it has failed.
    until: Micros,
}

impl Op {
    pub(super) const NONE: Self =
        Self { kind: OpKind::None, buffer: 0, from: 0, len: 0, address: 0, until: Micros::ZERO };

    pub(super) fn is_erase(&self) -> bool {
        matches!(self.kind, OpKind::Erase | OpKind::RecordErase)
    }

    /// The flash controller is at work.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.kind, OpKind::None | OpKind::Readback)
    }
}

/// Comparison of flash with the manifest, segment by segment.
#[repr(C)]
pub(super) struct Compare {
    segment: u16,
    at: u16,
    crc: u32,
    written: bool,
}

impl Compare {
    pub(super) const NONE: Self = Self { segment: 0, at: 0, crc: 0, written: false };
}

/// The read-back hash of the image, running behind the programming.
#[repr(C)]
pub(super) struct Hash {
    segment: u16,
    /// Bytes of it that are hashed.
    at: u16,
    /// Of the region, as far as it is hashed.
    crc: u32,
    sha: Sha256,
}

impl Hash {
    pub(super) const NONE: Self = Self { segment: 0, at: 0, crc: 0, sha: Sha256::new() };
}

impl Session {
    pub(super) fn poll(&mut self, io: &mut Io<'_, impl NodePort>) -> Poll {
        if self.failed.is_some() || self.state == NodeState::Manifest {
            return Poll { wake: Wake::Idle, work: Work::None };
        }
        if !io.port.is_agent() && self.state == NodeState::Comparing {
            return self.compare_step(io);
        }
        let mut work = self.finish_op(io);
        if self.op.kind == OpKind::None && self.failed.is_none() {
            let looked = self.start_op(io);
            work = if work == Work::None { looked } else { work };
        }
        if work == Work::None {
            work = self.check_step(io);
        }
        // Reading flash while it is busy would stall the processor: hashing waits for a pause.
        if work == Work::None && self.op.kind == OpKind::None {
            work = self.hash_step(io);
        }
        if !io.port.is_agent()
            && self.start_reply
            && self.mark == ImageState::None
            && self.op.kind == OpKind::None
            && self.next_unerased(io.port).is_none()
        {
            self.started(io.out); // everything is erased
        }
        self.answer(io.out);
        let hold = self.renew_hold(io);
        let end = self.op.is_busy().then_some(self.op.until);
        let wake = match end.into_iter().chain(hold).min_by_key(|at| at.since(io.now)) {
            _ if work != Work::None || self.op.kind == OpKind::Readback => Wake::Now,
            Some(at) => Wake::At(at),
            None => Wake::Idle,
        };
        Poll { wake, work }
    }

    #[inline(never)]
    pub(super) fn fail(&mut self, out: &mut Outbox, fault: NodeFault, address: u32, expected: u8, got: u8) {
        self.failed = Some(ErrorReport { fault, address, expected, got });
        self.state = NodeState::Failed;
        // A record that was begun has used its slot, whatever is there now: the end of the session takes note of it.
        if !self.writes_record() {
            self.op.kind = OpKind::None;
        }
        out.error();
    }

    fn finish_op(&mut self, io: &mut Io<'_, impl NodePort>) -> Work {
        if self.op.kind == OpKind::Readback {
            self.op.kind = OpKind::None;
            self.read_back(io);
            return Work::Copy(self.op.len.into());
        }
        if self.op.is_busy() {
            match io.port.flash_poll() {
                FlashState::Busy if io.now.is_before(self.op.until) => {}
                FlashState::Busy => {
                    self.op_failed(io.out, NodeFault::EraseTooSlow, NodeFault::ProgramTooSlow)
                }
                FlashState::Failed(fault) => {
                    if let (FlashFault::Program { address }, OpKind::Program) = (fault, self.op.kind) {
                        self.op.address = address;
                    }
                    self.op_failed(io.out, NodeFault::EraseFailed, NodeFault::ProgramFailed);
                }
                FlashState::Idle => self.op_done(io),
            }
        }
        Work::None
    }

    fn op_failed(&mut self, out: &mut Outbox, erase: NodeFault, program: NodeFault) {
        let fault = match self.op.kind {
            OpKind::Erase => erase,
            OpKind::Program => program,
            _ => NodeFault::RecordFailed,
        };
        self.fail(out, fault, self.op.address, 0, 0);
    }

    #[inline(never)]
    fn op_done<P: NodePort>(&mut self, io: &mut Io<'_, P>) {
        match core::mem::replace(&mut self.op.kind, OpKind::None) {
            OpKind::Erase => self.flip_erased(self.op.from),
            OpKind::Program => self.op.kind = OpKind::Readback,
            OpKind::Record if P::HAS_SLOT && self.kept > 0 => self.kept_one(io),
            OpKind::Record => self.record_written(io),
            OpKind::RecordErase => {
                let (sequence, floor) = (io.records.newest.sequence(), io.records.newest.floor);
                io.records.read(io.port);
                // Numbers go on where they ended: an older mark that is kept in a second slot must not count.
                io.records.newest.go_on(sequence, floor);
                self.floor = demands(io.port) && floor > 0;
                if io.records.free().is_none() {
                    self.fail(io.out, NodeFault::RecordFailed, self.op.address, 0, 0);
                }
            }
            OpKind::None | OpKind::Readback => {}
        }
    }

    /// Notes that the flash has begun something that takes so long.
    #[inline(never)]
    pub(super) fn begun(&mut self, io: &Io<'_, impl NodePort>, kind: OpKind, address: u32, longest: Span) {
        (self.op.kind, self.op.address, self.op.until) = (kind, address, io.now + longest + SLACK);
    }

    pub(super) fn erase(&mut self, io: &mut Io<'_, impl NodePort>, kind: OpKind, unit: &EraseUnit) {
        io.port.start_erase(unit);
        self.op.from = unit.index;
        self.begun(io, kind, unit.address, unit.longest);
    }

    /// Writes a record to this address.
    pub(super) fn write_record(&mut self, io: &mut Io<'_, impl NodePort>, address: u32, record: &Record) {
        io.port.start_program(address, &record.0);
        let longest = io.port.facts().flash.program_longest.0 * record::RECORD as Count;
        self.begun(io, OpKind::Record, address, Span(longest));
    }

    /// Chooses the next flash operation and begins it.
    #[inline(never)]
    fn start_op<P: NodePort>(&mut self, io: &mut Io<'_, P>) -> Work {
        if self.mark != ImageState::None {
            return self.start_record(io);
        }
        match self.state {
            NodeState::Receiving => {}
            NodeState::Installing if P::HAS_SLOT => {
                let fed = self.feed(io);
                if fed != Work::None {
                    return fed;
                }
            }
            _ => return Work::None,
        }
        let unit = match next_to_program(io.buffers) {
            None => self.next_unerased(io.port),
            Some(n) => match self.unerased_of(io.port, io.buffers[n].segment.into()) {
                None => {
                    self.start_program(io, n);
                    return Work::None;
                }
                waiting => waiting,
            },
        };
        if let Some(unit) = unit {
            self.erase(io, OpKind::Erase, &unit);
        }
        Work::None
    }

    /// Begins the next piece of a buffer that is not blank; a piece is at most [`STEP`] bytes.
    fn start_program(&mut self, io: &mut Io<'_, impl NodePort>, n: usize) {
        let buffer = &mut io.buffers[n];
        buffer.state = BufferState::Programming;
        let Some(place) = self.place(io.port, buffer.segment.into()) else { return };
        let from = skip_blank(buffer, &place, buffer.at);
        (self.op.buffer, self.op.from) = (n as u8, from);
        if from >= place.len {
            (self.op.kind, self.op.len) = (OpKind::Readback, 0);
            return;
        }
        let len = (place.len - from).min(STEP as u16 - from % STEP as u16);
        let data = &buffer.data[usize::from(from)..usize::from(from + len)];
        let address = place.address + u32::from(from);
        io.port.start_program(address, data);
        let flash = &io.port.facts().flash;
        let units = u32::from(len) / u32::from(flash.unit.max(1));
        let longest = Span(Count::from(units) * flash.program_longest.0);
        self.op.len = len;
        self.begun(io, OpKind::Program, address, longest);
    }

    fn read_back(&mut self, io: &mut Io<'_, impl NodePort>) {
        let Op { buffer: n, from, len, .. } = self.op;
        let buffer = &mut io.buffers[usize::from(n)];
        let Some(place) = self.place(io.port, buffer.segment.into()) else { return };
        let mut found = [0; STEP];
        let found = &mut found[..usize::from(len)];
        let address = place.address + u32::from(from);
        let wanted = &buffer.data[usize::from(from)..usize::from(from + len)];
        if !io.port.read(address, found) {
            self.fail(io.out, NodeFault::ReadbackDiffers, address, 0, 0);
            return;
        }
        if let Some(i) = wanted.iter().zip(found.iter()).position(|(w, f)| w != f) {
            self.fail(io.out, NodeFault::ReadbackDiffers, address + i as u32, wanted[i], found[i]);
            return;
        }
        buffer.at = from + len;
        if skip_blank(buffer, &place, buffer.at) >= place.len {
            io.manifest[usize::from(buffer.segment)].state = EntryState::Done;
            buffer.release();
            self.programmed += 1;
            self.buffer_freed(io.out);
        }
    }

    /// CRC-32 over the next piece of a buffer that has come in whole.
    fn check_step(&mut self, io: &mut Io<'_, impl NodePort>) -> Work {
        let Some(buffer) = io.buffers.iter_mut().find(|b| b.state == BufferState::Checking) else {
            return Work::None;
        };
        let entry = &mut io.manifest[usize::from(buffer.segment)];
        if CRC32.checksum(&buffer.data) == entry.crc {
            buffer.state = BufferState::Ready;
            buffer.at = 0;
            self.missing -= 1;
        } else {
            buffer.release();
            self.buffer_spoilt(entry, io.out);
        }
        Work::Checksum(SEGMENT as u32)
    }

    /// Hashes the next piece of flash, if what precedes it is programmed.
    #[inline(never)]
    fn hash_step<P: NodePort>(&mut self, io: &mut Io<'_, P>) -> Work {
        let segment = self.hash.segment;
        let Some(SegmentPlace { region, address, len }) = self.place(io.port, segment.into()) else {
            if P::HAS_SLOT && self.state == NodeState::Installing {
                return self.hashed(io);
            }
            self.all_programmed(io.port);
            return Work::None;
        };
        let ready = match io.manifest[usize::from(segment)].state {
            EntryState::Done => true,
            EntryState::Blank => self.unerased_of(io.port, segment.into()).is_none(),
            _ => false,
        };
        if !ready {
            return Work::None;
        }
        let part = (len - self.hash.at).min(STEP as u16);
        let mut bytes = [0; STEP];
        let bytes = &mut bytes[..usize::from(part)];
        let from = address + u32::from(self.hash.at);
        if !io.port.read(from, bytes) {
            self.fail(io.out, NodeFault::ReadbackDiffers, from, 0, 0);
            return Work::None;
        }
        self.hash.crc = CRC32.update(self.hash.crc, bytes);
        self.hash.sha.update(bytes);
        self.hash.at += part;
        if self.hash.at == len {
            (self.hash.segment, self.hash.at) = (segment + 1, 0);
            if self.begin.place(u32::from(segment) + 1).is_none_or(|next| next.region != region) {
                self.region_hashed(region);
            }
        }
        Work::Digest(part.into())
    }

    fn region_hashed(&mut self, n: u8) {
        let (crc, digest) = (self.hash.crc, self.hash.sha.finish());
        let region = usize::from(n);
        if let Some(Region { crc: wanted, sha256, .. }) = self.begin.regions().get(region)
            && crc == *wanted
            && digest == *sha256
        {
            self.right |= 1 << n;
        }
        self.checked |= 1 << n;
        self.crcs[region] = crc;
        self.digests[region] = digest;
        self.hash.crc = 0;
    }

    fn all_programmed(&mut self, port: &impl NodePort) {
        if self.state == NodeState::Receiving
            && self.programmed == self.segments
            && self.mark == ImageState::None
            && self.next_unerased(port).is_none()
        {
            self.state = NodeState::Programmed;
        }
    }

    pub(super) fn request_check(&mut self, region: u8) {
        if usize::from(region) < self.begin.regions().len() {
            self.checks_requested |= 1 << region;
        }
    }

    /// Sends what was asked for and is known now.
    fn answer(&mut self, out: &mut Outbox) {
        let due = self.checks_requested & self.checked;
        let Some(region) = (0..8).find(|n| due >> n & 1 != 0).filter(|_| !out.reply_busy()) else { return };
        let (bit, crc) = (1 << region, self.crcs[usize::from(region)]);
        out.reply(|w| put_check(w, RegionCheck { region, matches: self.right & bit != 0, crc }));
        self.checks_requested &= !bit;
    }

    fn start_record(&mut self, io: &mut Io<'_, impl NodePort>) -> Work {
        let Some(unit) = record::unit(io.port) else { return Work::None };
        let needed = self.records_needed(io.port);
        let trust = demands(io.port) && self.trust;
        let free = io.records.free().filter(|_| trust || io.records.free_slots >= needed);
        if let Some(work) = self.keep(io, free.is_none()) {
            return work;
        }
        match free {
            Some(address) => {
                let record = io.records.newest.next(&self.begin, &self.id, self.due(io.port));
                self.write_record(io, address, &record);
            }
            None => self.erase(io, OpKind::RecordErase, &unit),
        }
        Work::None
    }

    /// Slots that an update needs from here on: for the mark that it began, for its seal and regions, for the mark that it
    /// ended, and for what is said of that one. An update that was begun must not find itself without.
    fn records_needed<P: NodePort>(&self, port: &P) -> u32 {
        if P::HAS_SLOT && self.state == NodeState::Installing {
            return 1;
        }
        let begun = u32::from(self.mark == ImageState::Incomplete);
        let remarks = u32::from(self.begin.seal().is_some()) + u32::from(self.shift(port) != 0);
        begun + u32::from(self.records_before_mark() - self.recorded) + 1 + remarks
    }

    /// Records of seal and regions.
    fn records_before_mark(&self) -> u8 {
        let seal = if self.begin.seal().is_some() { record::SEAL_RECORDS } else { 0 };
        seal + self.begin.regions().len() as u8
    }

    /// Kind and number of the record that is due on the way to the mark.
    fn due<P: NodePort>(&self, port: &P) -> (u8, u8) {
        let demands = demands(port);
        let before = self.records_before_mark();
        let seals = before - self.begin.regions().len() as u8;
        match self.recorded {
            _ if demands && self.floor => (record::FLOOR, 0),
            _ if demands && self.trust => (record::TRUSTED, 0),
            _ if P::HAS_SLOT && self.state == NodeState::Installing => (record::INSTALLED, 0),
            n if self.mark == ImageState::Incomplete || n >= before => {
                (record::kind_of(self.mark), self.begin.session)
            }
            n if n < seals => (record::SEAL, n),
            n => (record::REGION, n - seals),
        }
    }

    fn record_written<P: NodePort>(&mut self, io: &mut Io<'_, P>) {
        let due = self.due(io.port);
        let wanted = io.records.newest.next(&self.begin, &self.id, due);
        let mark = self.mark;
        if !io.records.written(io.port, &wanted) {
            let got = io.records.newest.state;
            self.fail(io.out, NodeFault::RecordFailed, self.op.address, mark as u8, got as u8);
            return;
        }
        match due.0 {
            record::SEAL | record::REGION => self.recorded += 1,
            record::FLOOR if demands(io.port) => self.floor = false,
            record::VALID | record::STAGED if demands(io.port) => self.trust = true,
            _ => {
                (self.mark, self.recorded, self.trust) = (ImageState::None, 0, false);
                let asked = mark != ImageState::Incomplete && self.state == NodeState::Programmed;
                match mark {
                    ImageState::Staged if P::HAS_SLOT => self.install(io),
                    ImageState::Valid => self.state = NodeState::Committed,
                    _ => {}
                }
                if asked {
                    io.out.done(op::COMMIT, None, self.begin.session.into());
                }
            }
        }
    }

    /// Compares the next piece of flash with the manifest.
    fn compare_step(&mut self, io: &mut Io<'_, impl NodePort>) -> Poll {
        let place = self.place(io.port, self.compare.segment.into());
        let compare = &mut self.compare;
        let Some(SegmentPlace { address, len, .. }) = place else {
            return self.compared(io);
        };
        let mut bytes = [0xFF; STEP];
        let part = usize::from(len.saturating_sub(compare.at)).min(STEP);
        if part > 0 && !io.port.read(address + u32::from(compare.at), &mut bytes[..part]) {
            compare.written = true;
        }
        compare.written |= bytes.iter().any(|&b| b != 0xFF);
        compare.crc = CRC32.update(compare.crc, &bytes);
        compare.at += STEP as u16;
        if usize::from(compare.at) >= SEGMENT {
            let entry = &mut io.manifest[usize::from(compare.segment)];
            if compare.crc == entry.crc {
                entry.state = EntryState::Done;
            } else if compare.written {
                entry.state = EntryState::Dirty;
            }
            *compare = Compare { segment: compare.segment + 1, ..Compare::NONE };
        }
        Poll { wake: Wake::Now, work: Work::Checksum(STEP as u32) }
    }

    /// Every segment is compared: units with something dirty must be erased, and lose what they had.
    fn compared(&mut self, io: &mut Io<'_, impl NodePort>) -> Poll {
        self.erased = [u32::MAX; super::session::MAX_UNITS / 32];
        for n in 0..self.segments {
            if io.manifest[usize::from(n)].state == EntryState::Dirty {
                while let Some(unit) = self.unit_of(io.port, n.into(), true) {
                    self.flip_erased(unit.index);
                }
            }
        }
        for n in 0..self.segments {
            if self.unerased_of(io.port, n.into()).is_some() {
                let entry = &mut io.manifest[usize::from(n)];
                entry.state =
                    if entry.crc == super::session::BLANK_CRC { EntryState::Blank } else { EntryState::Need };
            }
        }
        let wrong = self.first_wrong(io.port, io.manifest);
        match wrong.filter(|_| io.port.protection() != Protection::Open) {
            // A locked board is compared and never changed.
            Some(address) => self.fail(io.out, NodeFault::ReadbackDiffers, address, 0, 0),
            None => self.receive(io.port, io.manifest),
        }
        if !self.erases_first(io.port) {
            self.started(io.out);
        }
        Poll { wake: Wake::Now, work: Work::None }
    }

    /// Answers the Start that waits for its answer.
    fn started(&mut self, out: &mut Outbox) {
        if core::mem::take(&mut self.start_reply) {
            out.done(op::START, None, self.begin.session.into());
        }
    }
}

/// The board takes only images with a good seal.
pub(super) fn demands(port: &impl NodePort) -> bool {
    port.seals() == Seals::Demanded
}

/// The buffer that is being programmed, or the ready one with the lowest segment.
fn next_to_program(buffers: &[SegmentBuffer]) -> Option<usize> {
    let (mut next, mut lowest) = (None, u32::MAX);
    for (n, buffer) in buffers.iter().enumerate() {
        let rank = match buffer.state {
            BufferState::Programming => 0,
            BufferState::Ready => u32::from(buffer.segment) + 1,
            _ => continue,
        };
        if rank < lowest {
            (next, lowest) = (Some(n), rank);
        }
    }
    next
}

/// First offset at or after `at` whose piece (aligned to [`STEP`]) is not blank; `place.len` if none is.
fn skip_blank(buffer: &SegmentBuffer, place: &SegmentPlace, mut at: u16) -> u16 {
    while at < place.len {
        let end = (at - at % STEP as u16 + STEP as u16).min(place.len);
        if buffer.data[usize::from(at)..usize::from(end)].iter().any(|&b| b != 0xFF) {
            return at;
        }
        at = end;
    }
    place.len
}
