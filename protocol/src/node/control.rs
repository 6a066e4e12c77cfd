//! What a node does when the host tells it something: one arm for each opcode, fields read where they are used.
//!
//! Called by [`Node::handle_frame`]. Invariant: a command is answered with one reply, at once or when it is done, and
//! asking again is harmless; what the host says to all is answered by those whom it concerns.

use super::session::{Answer, Instead, Session};
use super::{
    BusCounters, Capabilities, Farewell, ManifestEntry, Node, NodeMemory, NodePort, Protection, Seals,
    session, slot,
};
use crate::block::{BeginFlags, MakeKey, Seal, Write};
use crate::frame::Frame;
use crate::message::{BLOCK_PART, BlockKind, IdentifyPart, LEVEL2_CONSENT, NodeState, Payload, Refusal, op};
use crate::reply::{self, ImageState, Info, MAX_READ, Statistics};
use crate::time::Micros;
use crate::{CRC32, version};

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    #[inline(never)]
    pub(super) fn control(&mut self, now: Micros, frame: &Frame, to_me: bool) {
        let Ok(p) = &Payload::new(frame) else { return };
        let discovery = p.opcode() < op::IDENTIFY;
        if discovery {
            self.number.handle(p, to_me);
        }
        match self.number.number {
            Some(_) if !discovery => {}
            None if discovery => return self.stop(now), // who has no number takes part in nothing
            _ => return,
        }
        let short = u32::from(p.u8(1));
        let (outcome, detail) = match p.opcode() {
            op::BLOCK_END => (self.block_end(p, now), short),
            op::START => (self.start(p.u8(1)), short),
            op::DIGEST => (self.digest(p.u8(1)), short),
            op::COMMIT => (self.commit(p.u8(1)), short),
            op::READ => (self.read_memory(p), p.u32(1)),
            op::SET_PROTECTION => (self.protect(p), short),
            op::TEST => (self.test(p), short),
            op::START_APPLICATION => (self.start_application(p.u32(1)), p.u32(1)),
            op::RESET => (self.part(Farewell::Reset), 0),
            _ => return self.notice(now, p),
        };
        match outcome {
            Ok(()) => self.out.done(p.opcode(), None, detail),
            Err(Instead::Later) => {}
            Err(Instead::Refused(refusal)) => self.out.done(p.opcode(), Some(refusal), detail),
        }
    }

    /// What is not answered with an outcome.
    fn notice(&mut self, now: Micros, p: &Payload<'_>) {
        let (_, manifest) = self.memory.parts();
        match p.opcode() {
            op::IDENTIFY => self.identify(p.u8(1)),
            op::BLOCK_DATA => self.block_data(p),
            op::MANIFEST => self.session.manifest(manifest, p.u16(1), p.u32(4)),
            op::SEEK => {
                if let Some((session, mut io)) = self.session(now) {
                    session.seek(&mut io, p.u16(1), p.ranges());
                }
            }
            op::CENSUS => {
                self.out.error();
                self.out.request_status();
            }
            op::QUERY_MISSING => self.session.report_all(manifest),
            op::VERIFY => self.session.request_check(p.u8(1)),
            op::ABORT => self.end_session(now),
            op::STATISTICS => {
                let BusCounters { tec, rec, overruns, errors } = self.port.bus_counters();
                let statistics = Statistics { tec, rec, overruns, errors, ..self.statistics };
                self.out.reply(|w| reply::put_statistics(w, &statistics));
            }
            _ => {}
        }
    }

    fn identify(&mut self, part: u8) {
        let (buffers, manifest) = self.memory.parts();
        let (buffers, segments) = (buffers.len() as u16, manifest.len() as u16);
        let Some(mut w) = self.out.draft() else { return };
        let facts = self.port.facts();
        reply::put_profile(&mut w, facts.silicon_revision, &facts.flash, buffers, segments);
        let mut len = w.len();
        if part == IdentifyPart::Info as u8 {
            let profile_crc = CRC32.checksum(w.written());
            let (supply_mv, protection) = (self.port.supply_mv().unwrap_or(0), self.port.protection());
            let (facts, newest) = (self.port.facts(), &self.records.newest);
            let info = Info {
                version: version::CURRENT,
                device_id: facts.device_id,
                hardware_revision: facts.hardware_revision,
                bootloader_version: facts.bootloader_version,
                capabilities: facts.capabilities,
                reset_cause: facts.reset_cause,
                protection,
                supply_mv,
                image: newest.state,
                image_id: newest.short_id(),
                profile_crc,
                uid_check: reply::uid_check(&facts.uid, self.number.nonce()),
                floor: newest.floor,
            };
            w.restart();
            reply::put_info(&mut w, &info);
            len = w.len();
        } else if part != IdentifyPart::Profile as u8 {
            return;
        }
        self.out.send(len);
    }

    fn block_data(&mut self, p: &Payload<'_>) {
        let (at, bytes) = (usize::from(p.u8(1)) * BLOCK_PART, p.part());
        if let Some(space) = self.block.get_mut(at..at + bytes.len()) {
            space.copy_from_slice(bytes);
        }
    }

    fn block_end(&mut self, p: &Payload<'_>, now: Micros) -> Answer {
        let Some(kind) = BlockKind::from_byte(p.u8(1)) else { return Err(Instead::Later) };
        let (len, crc) = (usize::from(p.u16(2)), p.u32(4));
        if self.block.get(..len).is_none_or(|block| CRC32.checksum(block) != crc) {
            return Err(Refusal::BadBlock.into());
        }
        match kind {
            BlockKind::Begin => self.begin(len, crc, now)?,
            BlockKind::Identity => {
                self.write_identity(len, now)?;
                return Err(Instead::Later);
            }
            BlockKind::Options => self.write_options(len)?,
            BlockKind::Key => self.make_key(len)?,
        }
        Ok(())
    }

    #[inline(never)]
    fn begin(&mut self, block: usize, crc: u32, now: Micros) -> Result<(), Refusal> {
        if self.session.block == crc && self.session.state == NodeState::Manifest {
            return Ok(()); // the host asks again because our answer was lost
        }
        if self.write.is_some() || self.installs() {
            return Err(Refusal::WrongState);
        }
        // Whatever the board did for a host before: this is what it is asked for now.
        self.end_session(now);
        let Self { port, memory, session, records, .. } = self;
        let (buffers, manifest) = memory.parts();
        let begin = &mut session.begin;
        if !self.block.get(..block).is_some_and(|block| begin.read(block)) {
            return Err(Refusal::BadBlock);
        }
        session.id = begin.image_id();
        let id = &session.id;
        // A locked board may be read back as the image that it says it holds, and in no other way.
        let read_back =
            !port.is_agent() && begin.flags.contains(BeginFlags::COMPARE) && records.newest.vouches_for(id);
        if port.protection() != Protection::Open && !read_back {
            return Err(Refusal::Protected);
        }
        session::check(port.facts(), begin)?;
        if port.seals() == Seals::Demanded {
            let seal = begin.seal().ok_or(Refusal::NotSealed)?;
            if seal.counter < records.newest.floor {
                return Err(Refusal::Downgrade);
            }
            let message = Seal::message(begin.device_id, seal.counter, seal.floor, id);
            if !port.seal_is_good(&message, &seal.signature) {
                return Err(Refusal::BadSeal);
            }
        }
        let entries = manifest.get_mut(..begin.segments() as usize).ok_or(Refusal::TooLarge)?;
        entries.fill(ManifestEntry::EMPTY);
        session.shift = slot::shift(port, &records.newest, id, begin);
        session.block = crc;
        session.set_up(NodeState::Manifest, buffers.len());
        Ok(())
    }

    fn start(&mut self, number: u8) -> Answer {
        if !self.session.is_the(number) {
            return Err(Refusal::WrongState.into());
        }
        let (_, manifest) = self.memory.parts();
        self.session.start(&self.port, manifest)
    }

    fn digest(&mut self, region: u8) -> Answer {
        let Session { digests, checked, .. } = &self.session;
        let sha256 = digests.get(usize::from(region)).filter(|_| checked >> region & 1 != 0);
        let sha256 = sha256.ok_or(Refusal::WrongState)?;
        self.out.reply(|w| reply::put_digest(w, region, sha256));
        Err(Instead::Later)
    }

    /// Option bytes can be changed, and nothing else is going on in the flash.
    fn options_are_free(&self) -> Result<(), Refusal> {
        if self.flash_in_use() {
            return Err(Refusal::WrongState);
        }
        let able = self.port.facts().capabilities.contains(Capabilities::OPTIONS);
        if able { Ok(()) } else { Err(Refusal::Unsupported) }
    }

    fn protect(&mut self, p: &Payload<'_>) -> Answer {
        if self.port.is_agent() {
            return Err(Refusal::Unsupported.into());
        }
        let Some(level) = Protection::from_byte(p.u8(1)) else { return Err(Instead::Later) };
        if level == Protection::Level2 && p.u16(2) != LEVEL2_CONSENT {
            return Err(Refusal::NoConsent.into());
        }
        self.options_are_free()?;
        if self.port.set_protection(level) { Ok(()) } else { Err(Refusal::Flash.into()) }
    }

    fn write_options(&mut self, block: usize) -> Result<(), Refusal> {
        if self.port.is_agent() {
            return Err(Refusal::Unsupported);
        }
        let write = self.block.get(..block).and_then(Write::decode).ok_or(Refusal::BadBlock)?;
        let offset = u8::try_from(write.place).map_err(|_| Refusal::OutsideFlash)?;
        self.options_are_free()?;
        if self.port.write_options(offset, write.bytes) { Ok(()) } else { Err(Refusal::Flash) }
    }

    fn make_key(&mut self, block: usize) -> Result<(), Refusal> {
        if !P::MAKES_KEYS || !self.port.facts().capabilities.contains(Capabilities::KEYS) {
            return Err(Refusal::Unsupported);
        }
        let block = self.block.get(..block).and_then(MakeKey::decode);
        let MakeKey { kind, name } = block.ok_or(Refusal::BadBlock)?;
        if self.port.protection() != Protection::Open {
            return Err(Refusal::Protected);
        }
        if self.flash_in_use() {
            return Err(Refusal::WrongState);
        }
        if self.port.make_key(kind, name) { Ok(()) } else { Err(Refusal::KeyFailed) }
    }

    #[inline(never)]
    fn read_memory(&mut self, p: &Payload<'_>) -> Answer {
        let (address, len) = (p.u32(1), usize::from(p.u8(5)));
        if len == 0 || len > MAX_READ {
            return Err(Refusal::TooLarge.into());
        }
        // Readout protection hides flash and OTP. Option bytes are no secret, and say whether the board was set up.
        let hidden = self.port.facts().flash.contains(address) || self.port.otp().contains(&address);
        if hidden && self.port.protection() != Protection::Open {
            return Err(Refusal::Protected.into());
        }
        if self.flash_in_use() {
            return Err(Refusal::WrongState.into());
        }
        if let Some(mut w) = self.out.draft() {
            let space = reply::put_memory(&mut w, address).space(len);
            if !space.is_some_and(|space| self.port.read(address, space)) {
                return Err(Refusal::OutsideFlash.into());
            }
            let len = w.len();
            self.out.send(len);
        }
        Err(Instead::Later)
    }

    fn test(&mut self, p: &Payload<'_>) -> Answer {
        let reading = self.port.run_test(p.u8(1), p.u32(3)).ok_or(Refusal::Unsupported)?;
        self.out.reply(|w| reply::put_reading(w, p.u8(1), p.u8(2), reading.unit, reading.value));
        Err(Instead::Later)
    }

    fn start_application(&mut self, address: u32) -> Answer {
        if self.records.newest.state != ImageState::Valid {
            return Err(Refusal::NotVerified.into());
        }
        self.part(Farewell::Start(address))
    }

    /// Leaves the bus when the answer has left. With a reply still under way there is no room for the answer: the host
    /// will ask again.
    fn part(&mut self, farewell: Farewell) -> Answer {
        if !self.out.reply_busy() {
            self.farewell = Some(farewell);
        }
        Ok(())
    }

    /// Reading or changing anything in flash has to wait.
    fn flash_in_use(&self) -> bool {
        self.session.op.is_busy() || self.write.is_some() || self.settling.is_some()
    }
}
