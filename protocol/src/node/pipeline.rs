//! From RAM to flash and back: erase, program, read back, hash, each in bounded steps.
//!
//! Order of the flash: records first; then the lowest checked segment whose units are erased; then the erase
//! that such a segment waits for; then, when there is nothing to program, the image's next erase. So erasing
//! and programming hide behind reception, and RAM fills only while a unit is being erased.

use super::outbox::Outbox;
use super::port::{FlashFault, FlashState, NodePort, Protection, Seals};
use super::receive::{BufferState, EntryState, SegmentBuffer};
use super::record::Entry;
use super::session::{Io, Session};
use super::{Poll, SLACK, STEP, Wake, Work, record};
use crate::CRC32;
use crate::block::SegmentPlace;
use crate::crc32::Digest as Digest32;
use crate::message::{ErrorReport, NodeFault, NodeState, SEGMENT, op};
use crate::reply::{ImageState, RegionCheck, put_check};
use crate::sha256::Sha256;
use crate::time::{Count, Micros, Span};

/// What the flash is doing.
pub(super) enum Op {
    None,
    Erase { address: u32, until: Micros },
    Program { buffer: u8, from: u16, len: u16, until: Micros },
    Readback { buffer: u8, from: u16, len: u16 },
    RecordErase { until: Micros },
    Record { address: u32, until: Micros },
}

impl Op {
    pub(super) const fn is_erase(&self) -> bool {
        matches!(self, Self::Erase { .. } | Self::RecordErase { .. })
    }

    /// The flash controller is at work.
    pub(super) const fn is_busy(&self) -> bool {
        !matches!(self, Self::None | Self::Readback { .. })
    }

    const fn until(&self) -> Option<Micros> {
        match self {
            Self::None | Self::Readback { .. } => None,
            Self::Erase { until, .. }
            | Self::Program { until, .. }
            | Self::RecordErase { until }
            | Self::Record { until, .. } => Some(*until),
        }
    }
}

/// Comparison of flash with the manifest, segment by segment.
pub(super) struct Compare {
    segment: u16,
    at: u16,
    crc: Digest32,
    blank: bool,
}

impl Compare {
    pub(super) fn new() -> Self {
        Self { segment: 0, at: 0, crc: CRC32.digest(), blank: true }
    }
}

/// The read-back hash of the image, running behind the programming.
pub(super) struct Hash {
    region: u8,
    at: u32,
    crc: Digest32,
    sha: Sha256,
}

impl Hash {
    pub(super) fn new() -> Self {
        Self { region: 0, at: 0, crc: CRC32.digest(), sha: Sha256::new() }
    }
}

impl Session {
    pub(super) fn poll(&mut self, io: &mut Io<'_, impl NodePort>) -> Poll {
        if self.failed.is_some() || self.state == NodeState::Manifest {
            return Poll { wake: Wake::Idle, work: Work::None };
        }
        if self.state == NodeState::Comparing {
            return self.compare_step(io);
        }
        let mut work = self.finish_op(io);
        if matches!(self.op, Op::None) && self.failed.is_none() {
            let looked = self.start_op(io);
            work = if work == Work::None { looked } else { work };
        }
        if work == Work::None {
            work = self.check_step(io);
        }
        // Reading flash while it is busy would stall the processor: hashing waits for a pause.
        if work == Work::None && matches!(self.op, Op::None) {
            work = self.hash_step(io);
        }
        if self.start_reply
            && self.record.is_none()
            && matches!(self.op, Op::None)
            && self.next_unerased(&io.port.facts().flash).is_none()
        {
            self.started(io.out); // everything is erased
        }
        self.answer(io.out);
        let hold = self.renew_hold(io);
        let wake = match (work, self.op.until().into_iter().chain(hold).min_by_key(|at| at.since(io.now))) {
            (Work::None, _) if matches!(self.op, Op::Readback { .. }) => Wake::Now,
            (Work::None, Some(at)) => Wake::At(at),
            (Work::None, None) => Wake::Idle,
            _ => Wake::Now,
        };
        Poll { wake, work }
    }

    pub(super) fn fail(&mut self, out: &mut Outbox, fault: NodeFault, address: u32, expected: u8, got: u8) {
        let report = ErrorReport { fault, address, expected, got };
        self.failed = Some(report);
        self.state = NodeState::Failed;
        self.op = Op::None;
        out.error(report);
    }

    fn finish_op(&mut self, io: &mut Io<'_, impl NodePort>) -> Work {
        if let Op::Readback { buffer, from, len } = self.op {
            self.op = Op::None;
            self.read_back(io, buffer, from, len);
            return Work::Copy(len.into());
        }
        let Some(until) = self.op.until() else { return Work::None };
        match io.port.flash_poll() {
            FlashState::Busy if io.now.is_before(until) => {}
            FlashState::Busy => self.too_slow(io.buffers, io.out),
            FlashState::Failed(fault) => self.flash_failed(fault, io.buffers, io.out),
            FlashState::Idle => self.op_done(io),
        }
        Work::None
    }

    fn too_slow(&mut self, buffers: &[SegmentBuffer], out: &mut Outbox) {
        match self.op {
            Op::Erase { address, .. } => self.fail(out, NodeFault::EraseTooSlow, address, 0, 0),
            Op::Program { buffer, from, .. } => {
                let address = self.address_of(&buffers[usize::from(buffer)], from);
                self.fail(out, NodeFault::ProgramTooSlow, address, 0, 0);
            }
            Op::Record { address, .. } => self.fail(out, NodeFault::RecordFailed, address, 0, 0),
            Op::RecordErase { .. } => self.fail(out, NodeFault::RecordFailed, 0, 0, 0),
            Op::None | Op::Readback { .. } => {}
        }
    }

    fn flash_failed(&mut self, fault: FlashFault, buffers: &[SegmentBuffer], out: &mut Outbox) {
        match (&self.op, fault) {
            (Op::Record { address, .. }, _) => self.fail(out, NodeFault::RecordFailed, *address, 0, 0),
            (Op::RecordErase { .. }, _) => self.fail(out, NodeFault::RecordFailed, 0, 0, 0),
            (_, FlashFault::Program { address }) => self.fail(out, NodeFault::ProgramFailed, address, 0, 0),
            (Op::Erase { address, .. }, FlashFault::Erase) => {
                self.fail(out, NodeFault::EraseFailed, *address, 0, 0);
            }
            (Op::Program { buffer, from, .. }, FlashFault::Erase) => {
                let address = self.address_of(&buffers[usize::from(*buffer)], *from);
                self.fail(out, NodeFault::ProgramFailed, address, 0, 0);
            }
            (Op::None | Op::Readback { .. }, FlashFault::Erase) => {}
        }
    }

    #[inline(never)]
    fn op_done<P: NodePort>(&mut self, io: &mut Io<'_, P>) {
        match core::mem::replace(&mut self.op, Op::None) {
            Op::Erase { address, .. } => {
                let unit = io.port.facts().flash.erase_unit(address);
                unit.into_iter().for_each(|unit| self.set_erased(unit.index, true));
            }
            Op::Program { buffer, from, len, .. } => self.op = Op::Readback { buffer, from, len },
            Op::Record { address, .. } if P::HAS_SLOT && self.kept > 0 => self.kept_one(io, address),
            Op::Record { address, .. } => self.record_written(io, address),
            Op::RecordErase { .. } => {
                let before = self.records.as_ref().map(|scan| (scan.newest.floor, scan.newest.sequence));
                let mut scan = record::scan(io.port);
                // Numbers go on where they ended: an older mark that is kept in a second slot must not count.
                (self.floor, scan.newest.sequence) = before.unwrap_or_default();
                if scan.free.is_none() {
                    let address = io.port.facts().flash.record_base;
                    self.fail(io.out, NodeFault::RecordFailed, address, 0, 0);
                }
                self.records = Some(scan);
            }
            Op::None | Op::Readback { .. } => {}
        }
    }

    fn address_of(&self, buffer: &SegmentBuffer, offset: u16) -> u32 {
        self.place(buffer.segment.into()).map_or(0, |p| p.address + u32::from(offset))
    }

    /// Chooses the next flash operation and begins it.
    #[inline(never)]
    fn start_op<P: NodePort>(&mut self, io: &mut Io<'_, P>) -> Work {
        if self.record.is_some() {
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
        let programming = io.buffers.iter().position(|b| b.state == BufferState::Programming);
        let next = programming.or_else(|| lowest_ready(io.buffers));
        let flash = &io.port.facts().flash;
        let unit = match next {
            None => self.next_unerased(flash),
            Some(n) => match self.unerased_of(flash, io.buffers[n].segment.into()) {
                None => {
                    self.start_program(io, n);
                    return Work::None;
                }
                waiting => waiting,
            },
        };
        if let Some(unit) = unit {
            io.port.start_erase(&unit);
            self.op = Op::Erase { address: unit.address, until: io.now + unit.longest + SLACK };
        }
        Work::None
    }

    /// Begins the next piece of a buffer that is not blank; a piece is at most [`STEP`] bytes.
    fn start_program(&mut self, io: &mut Io<'_, impl NodePort>, n: usize) {
        let buffer = &mut io.buffers[n];
        buffer.state = BufferState::Programming;
        let Some(place) = self.place(buffer.segment.into()) else { return };
        let from = skip_blank(buffer, &place, buffer.at);
        if from >= place.len {
            buffer.at = place.len;
            self.op = Op::Readback { buffer: n as u8, from, len: 0 };
            return;
        }
        let len = (place.len - from).min(STEP as u16 - from % STEP as u16);
        let data = &buffer.data[usize::from(from)..usize::from(from + len)];
        io.port.start_program(place.address + u32::from(from), data);
        let flash = &io.port.facts().flash;
        let units = u32::from(len) / u32::from(flash.unit.max(1));
        let until = io.now + Span(Count::from(units) * flash.program_longest.0) + SLACK;
        self.op = Op::Program { buffer: n as u8, from, len, until };
    }

    fn read_back(&mut self, io: &mut Io<'_, impl NodePort>, n: u8, from: u16, len: u16) {
        let buffer = &mut io.buffers[usize::from(n)];
        let Some(place) = self.place(buffer.segment.into()) else { return };
        let mut found = [0; STEP];
        let found = &mut found[..usize::from(len)];
        let address = place.address + u32::from(from);
        if !io.port.read(address, found) {
            self.fail(io.out, NodeFault::ReadbackDiffers, address, 0, 0);
            return;
        }
        let wanted = &buffer.data[usize::from(from)..usize::from(from + len)];
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
        let n = self.hash.region;
        let Some(&region) = self.begin.regions().get(usize::from(n)) else {
            if P::HAS_SLOT && self.state == NodeState::Installing {
                return self.hashed(io);
            }
            self.all_programmed(io.port);
            return Work::None;
        };
        let segment = self.begin.first_segment(n) + self.hash.at / SEGMENT as u32;
        let ready = match io.manifest.get(segment as usize).map(|e| e.state) {
            Some(EntryState::Done) => true,
            Some(EntryState::Blank) => self.unerased_of(&io.port.facts().flash, segment).is_none(),
            _ => false,
        };
        if !ready {
            return Work::None;
        }
        let len = (region.len - self.hash.at).min(STEP as u32);
        let mut bytes = [0; STEP];
        let bytes = &mut bytes[..len as usize];
        if !io.port.read(region.address + self.shift + self.hash.at, bytes) {
            return Work::None;
        }
        self.hash.crc.update(bytes);
        self.hash.sha.update(bytes);
        self.hash.at += len;
        if self.hash.at == region.len {
            let crc = core::mem::replace(&mut self.hash.crc, CRC32.digest()).finalize();
            let digest = self.hash.sha.finish();
            self.checks[usize::from(n)] = Some((crc, crc == region.crc && digest == region.sha256));
            self.digests[usize::from(n)] = digest;
            (self.hash.region, self.hash.at) = (n + 1, 0);
            self.all_programmed(io.port);
        }
        Work::Digest(len)
    }

    fn all_programmed(&mut self, port: &impl NodePort) {
        if self.state == NodeState::Receiving
            && self.programmed == self.segments
            && self.record.is_none()
            && self.next_unerased(&port.facts().flash).is_none()
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
        if self.checks_requested == 0 || out.reply_busy() {
            return;
        }
        let due = (0..self.begin.regions().len() as u8).find_map(|region| {
            let check = self.checks[usize::from(region)].filter(|_| self.checks_requested >> region & 1 != 0);
            check.map(|(crc, matches)| RegionCheck { region, matches, crc })
        });
        if let Some(check) = due {
            out.reply(|w| put_check(w, check));
            self.checks_requested &= !(1 << check.region);
        }
    }

    fn start_record(&mut self, io: &mut Io<'_, impl NodePort>) -> Work {
        let (Some(state), Some(unit)) = (self.record, record::unit(io.port)) else { return Work::None };
        // A record area may be large: it is looked through once, and the clock read again before an operation is timed.
        let Some(scan) = &self.records else {
            self.records = Some(record::scan(io.port));
            return Work::Copy(unit.size);
        };
        let needed = self.records_needed(state);
        let free = scan.free.filter(|_| self.trust || scan.free_slots >= needed);
        if let Some(work) = self.keep(io, free.is_none()) {
            return work;
        }
        let Some(scan) = &self.records else { return Work::None };
        match free {
            Some(address) => {
                let bytes = scan.newest.next(&self.begin, self.entry(state));
                io.port.start_program(address, &bytes);
                let longest = io.port.facts().flash.program_longest.0 * record::RECORD as Count;
                self.op = Op::Record { address, until: io.now + Span(longest) + SLACK };
            }
            None => {
                io.port.start_erase(&unit);
                self.op = Op::RecordErase { until: io.now + unit.longest + SLACK };
            }
        }
        Work::None
    }

    /// Slots that an update needs from here on: for the mark that it began, for its seal and regions, for the mark that it
    /// ended, and for what is said of that one. An update that was begun must not find itself without.
    fn records_needed(&self, state: ImageState) -> u32 {
        if self.state == NodeState::Installing {
            return 1;
        }
        let begun = u32::from(state == ImageState::Incomplete);
        let remarks = u32::from(self.begin.seal().is_some()) + u32::from(self.shift != 0);
        begun + u32::from(self.records_before_mark() - self.recorded) + 1 + remarks
    }

    /// Records of seal and regions.
    fn records_before_mark(&self) -> u8 {
        let seal = if self.begin.seal().is_some() { record::SEAL_RECORDS } else { 0 };
        seal + self.begin.regions().len() as u8
    }

    /// The record that is due on the way to a mark of this state.
    fn entry(&self, state: ImageState) -> Entry {
        let seals = self.records_before_mark() - self.begin.regions().len() as u8;
        match self.recorded {
            _ if self.floor > 0 => Entry::Floor(self.floor),
            _ if self.trust => Entry::Trust,
            _ if self.state == NodeState::Installing => Entry::Installed,
            n if state != ImageState::Incomplete && n < seals => Entry::Seal(n),
            n if state != ImageState::Incomplete && n < self.records_before_mark() => {
                Entry::Region(n - seals)
            }
            _ => Entry::Mark(state),
        }
    }

    fn record_written<P: NodePort>(&mut self, io: &mut Io<'_, P>, address: u32) {
        let Some(state) = self.record else { return };
        let entry = self.entry(state);
        let Some(records) = &mut self.records else { return };
        let wanted = records.newest.next(&self.begin, entry);
        records.written(io.port, address);
        let newest = records.newest;
        let mut found = [0; record::RECORD];
        if !io.port.read(address, &mut found) || found != wanted {
            self.fail(io.out, NodeFault::RecordFailed, address, state as u8, newest.state as u8);
            return;
        }
        match entry {
            Entry::Floor(_) => self.floor = 0,
            Entry::Seal(_) | Entry::Region(_) => self.recorded += 1,
            Entry::Mark(ImageState::Valid | ImageState::Staged) if io.port.seals() == Seals::Demanded => {
                self.trust = true;
            }
            Entry::Mark(_) | Entry::Trust | Entry::Installed => {
                (self.record, self.recorded, self.trust) = (None, 0, false);
                self.image = Some(newest);
                let asked = state != ImageState::Incomplete && self.state == NodeState::Programmed;
                match state {
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
        let place = self.place(self.compare.segment.into());
        let compare = &mut self.compare;
        let Some(SegmentPlace { address, len, .. }) = place else {
            return self.compared(io);
        };
        let mut bytes = [0xFF; STEP];
        let part = usize::from(len.saturating_sub(compare.at)).min(STEP);
        if part > 0 && !io.port.read(address + u32::from(compare.at), &mut bytes[..part]) {
            compare.blank = false;
        }
        compare.blank &= bytes[..part].iter().all(|&b| b == 0xFF);
        compare.crc.update(&bytes);
        compare.at += STEP as u16;
        if usize::from(compare.at) >= SEGMENT {
            let entry = &mut io.manifest[usize::from(compare.segment)];
            let done =
                core::mem::replace(compare, Compare { segment: compare.segment + 1, ..Compare::new() });
            if done.crc.finalize() == entry.crc {
                entry.state = EntryState::Done;
            } else if !done.blank {
                entry.state = EntryState::Dirty;
            }
        }
        Poll { wake: Wake::Now, work: Work::Checksum(STEP as u32) }
    }

    /// Every segment is compared: units with something dirty must be erased, and lose what they had.
    fn compared(&mut self, io: &mut Io<'_, impl NodePort>) -> Poll {
        let flash = &io.port.facts().flash;
        self.erased = [u32::MAX; super::session::MAX_UNITS / 32];
        for n in 0..self.segments {
            if io.manifest[usize::from(n)].state == EntryState::Dirty {
                while let Some(unit) = self.unit_of(flash, n.into(), true) {
                    self.set_erased(unit.index, false);
                }
            }
        }
        for n in 0..self.segments {
            if self.unerased_of(flash, n.into()).is_some() {
                let entry = &mut io.manifest[usize::from(n)];
                entry.state =
                    if entry.crc == super::session::BLANK_CRC { EntryState::Blank } else { EntryState::Need };
            }
        }
        let wrong = self.first_wrong(flash, io.manifest);
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

fn lowest_ready(buffers: &[SegmentBuffer]) -> Option<usize> {
    let ready = buffers.iter().enumerate().filter(|(_, b)| b.state == BufferState::Ready);
    ready.min_by_key(|(_, b)| b.segment).map(|(n, _)| n)
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
