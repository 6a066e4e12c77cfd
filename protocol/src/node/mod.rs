//! The boards' end of the protocol: a state machine without clock, threads or allocation.
//!
//! The caller feeds it frames and time and lends it a [`NodePort`]; the same code runs in the firmware and in
//! the simulator. Contract: after every `handle_*` call, take frames from [`Node::poll_transmit`] while a
//! mailbox is free, and call [`Node::poll`] until it no longer says [`Wake::Now`]. Each `poll` does one bounded
//! step (at most 256 bytes), so that frames are never kept waiting longer than the receive FIFO can hold them.
//!
//! Functions here that are `#[inline(never)]` are so because a board's binary was measured to be smaller for it: merged
//! into one function of 5 KiB they need the long forms of branches and offsets.
//!
//! Invariant: flash is programmed only with segments whose CRC-32 is the manifest's, every byte programmed is
//! read back, and the valid mark is written last.

mod boot;
mod discovery;
mod finish;
mod outbox;
mod pipeline;
mod port;
mod receive;
mod record;
mod session;
mod slot;

pub use boot::{asks_to_stay, startable};
pub use port::*;
pub use receive::{ManifestEntry, SegmentBuffer};

use crate::block::{Begin, BeginFlags, MAX_BLOCK, MakeKey, Seal, Write};
use crate::frame::Frame;
use crate::ident::{Channel, NodeId};
use crate::message::{
    BLOCK_PART, BlockKind, Control, HostMessage, IdentifyPart, LEVEL2_CONSENT, NodeFault, NodeState, Refusal,
    SEGMENT,
};
use crate::reply::{self, ImageState, Info, MAX_READ, Profile, Reply, Statistics};
use crate::time::{Micros, Span};
use crate::{CRC32, version};
use discovery::Number;
use finish::WriteJob;
use outbox::Outbox;
use record::Mark;
use session::{Io, Session};

/// Bytes handled by one background step.
pub const STEP: usize = 256;

/// Slack beside the datasheet's longest time: the node's own clock and polling.
const SLACK: Span = Span::from_millis(2);

/// The node's share of the board's RAM.
pub trait NodeMemory {
    /// Segment buffers (2 KiB of data each) and one manifest entry per segment of the largest image.
    fn parts(&mut self) -> (&mut [SegmentBuffer], &mut [ManifestEntry]);
}

/// When [`Node::poll`] wants to be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// At once: there is more to do.
    Now,
    /// At this time, or earlier if a frame arrives or the flash ends its operation.
    At(Micros),
    /// When a frame arrives or the flash ends its operation.
    Idle,
}

/// What the step cost, in bytes: the simulator charges the CPU for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing worth counting.
    None,
    /// CRC-32 over so many bytes.
    Checksum(u32),
    /// SHA-256 and CRC-32 over so many bytes.
    Digest(u32),
    /// So many bytes copied or compared.
    Copy(u32),
}

/// Result of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    /// When to call again.
    pub wake: Wake,
    /// What it cost.
    pub work: Work,
}

/// What to do when the last reply has left the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Start(u32),
    Reset,
}

/// One board on the bus.
pub struct Node<P: NodePort, M: NodeMemory> {
    port: P,
    memory: M,
    number: Number,
    muted: bool,
    out: Outbox,
    block: [u8; MAX_BLOCK],
    session: Option<Session>,
    write: Option<WriteJob>,
    image: Mark,
    statistics: Statistics,
    farewell: Option<Farewell>,
    /// What an abandoned session began in the flash has ended by then, or never will.
    settling: Option<Micros>,
}

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    /// A node that has just started. Reads the image records from flash.
    pub fn new(mut port: P, memory: M, _now: Micros) -> Self {
        let nonce = (port.nonce() & 0x7FFF) as u16;
        let strap = port.strap();
        let number = Number::new(port.facts(), nonce, strap);
        let (mut image, write) = trusted(&mut port);
        let mut memory = memory;
        let session = slot::resume(&mut port, &mut memory, &mut image);
        Self {
            port,
            memory,
            number,
            muted: false,
            out: Outbox::default(),
            block: [0; MAX_BLOCK],
            session,
            write,
            image,
            statistics: Statistics::default(),
            farewell: None,
            settling: None,
        }
    }

    /// The board's port.
    pub const fn port(&self) -> &P {
        &self.port
    }

    /// The board's port.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// The number the host gave, if it did.
    pub const fn number(&self) -> Option<NodeId> {
        self.number.number
    }

    /// The node is writing something of its own accord or at a host's wish: no moment to reset the chip.
    pub const fn is_writing(&self) -> bool {
        self.write.is_some()
    }

    /// What the newest image record says.
    pub const fn image(&self) -> ImageState {
        self.image.state
    }

    /// Where the node stands.
    pub fn state(&self) -> NodeState {
        self.session.as_ref().map_or(NodeState::Idle, |s| s.state)
    }

    /// Takes one frame from the bus. Frames that are no message for this node are ignored.
    pub fn handle_frame(&mut self, now: Micros, frame: &Frame) {
        if self.muted {
            return; // whoever may not answer must not act either
        }
        let Some(channel) = Channel::of(frame.id()) else { return };
        if let Channel::Data(position) = channel {
            if let Some((session, mut io)) = self.session(now) {
                io.statistics.data_frames += 1;
                session.data(&mut io, position, frame.data());
            }
            return;
        }
        match HostMessage::command(channel, frame.data()) {
            Some(Ok(HostMessage::Stop)) => self.stop(now),
            Some(Ok(HostMessage::Silence(node))) if self.number.number == Some(node) => {
                self.stop(now);
                self.muted = true;
            }
            Some(Ok(HostMessage::Control(to, control))) if to.is_none() || to == self.number.number => {
                self.control(now, &control, to.is_some());
            }
            _ => {}
        }
    }

    /// The next frame to send, most urgent first. Call while a mailbox is free.
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        if self.muted {
            return None;
        }
        if let Some(frame) = self.number.poll_transmit(&self.out) {
            return Some(frame);
        }
        let number = self.number.number?;
        if !self.out.urgent_waits()
            && let Some((session, mut io)) = self.session(Micros::ZERO)
            && let Some(message) = session.poll_missing(&mut io)
        {
            return Some(message.to_frame(number));
        }
        if self.out.status_due() {
            let status = self.status();
            return Some(self.out.take_status(status).to_frame(number));
        }
        self.out.poll(number)
    }

    /// Every mailbox is empty: what was waiting for the last reply to leave happens now.
    pub fn handle_all_sent(&mut self, _now: Micros) {
        if !self.out.is_empty() || self.is_writing() {
            return;
        }
        match self.farewell.take() {
            Some(Farewell::Start(address)) => self.port.start_application(address),
            Some(Farewell::Reset) => self.port.reset(),
            None => {}
        }
    }

    /// One bounded step of background work.
    pub fn poll(&mut self, now: Micros) -> Poll {
        if let Some(until) = self.settling {
            match self.port.flash_poll() {
                FlashState::Busy if now.is_before(until) => {
                    return Poll { wake: Wake::At(until), work: Work::None };
                }
                FlashState::Busy => self.never_settles(),
                FlashState::Idle | FlashState::Failed(_) => {}
            }
            self.settling = None;
        }
        if self.write.is_some() {
            return self.poll_write(now);
        }
        let Some((session, mut io)) = self.session(now) else {
            return Poll { wake: Wake::Idle, work: Work::None };
        };
        let poll = session.poll(&mut io);
        if let Some(image) = session.take_mark() {
            self.image = image;
        }
        poll
    }

    /// The session, if there is one, and what it works with.
    fn session(&mut self, now: Micros) -> Option<(&mut Session, Io<'_, P>)> {
        let Self { port, memory, out, session, statistics, .. } = self;
        let (buffers, manifest) = memory.parts();
        Some((session.as_mut()?, Io { port, out, buffers, manifest, statistics, now }))
    }

    fn stop(&mut self, now: Micros) {
        self.end_session(now);
        self.out = Outbox::default();
        self.farewell = None;
    }

    fn end_session(&mut self, now: Micros) {
        if self.installs() {
            return; // nobody stops what will replace the application
        }
        self.session = None;
        let (buffers, _) = self.memory.parts();
        buffers.iter_mut().for_each(SegmentBuffer::release);
        self.settle(now);
    }

    /// The flash may still be busy with what was abandoned: nothing is begun, read or compared before it ends.
    fn settle(&mut self, now: Micros) {
        let longest = self.port.facts().flash.runs.iter().map(|run| run.longest).max();
        self.settling = Some(now + longest.unwrap_or_default() + SLACK);
    }

    /// An image in the second slot is committed and has not come to its place.
    fn installs(&self) -> bool {
        P::HAS_SLOT && self.session.as_ref().is_some_and(Session::is_committed)
    }

    fn never_settles(&mut self) {
        if self.write.is_some() {
            self.end_write(Err(Refusal::Flash));
        }
        if let Some(session) = &mut self.session {
            let address = session.begin.regions().first().map_or(0, |r| r.address);
            session.fail(&mut self.out, NodeFault::EraseTooSlow, address, 0, 0);
        }
    }

    /// Reading or changing anything in flash has to wait.
    fn flash_in_use(&self) -> bool {
        let busy = self.session.as_ref().is_some_and(|s| s.op.is_busy());
        busy || self.write.is_some() || self.settling.is_some()
    }

    #[inline(never)]
    fn control(&mut self, now: Micros, control: &Control, to_me: bool) {
        if self.number.handle(control, to_me) {
            if self.number.number.is_none() {
                self.stop(now); // who has no number takes part in nothing
            }
            return;
        }
        if self.number.number.is_none() {
            return;
        }
        match *control {
            Control::Identify(part) => self.identify(part),
            Control::BlockData { index, bytes, len } => self.block_data(index, &bytes[..usize::from(len)]),
            Control::BlockEnd { kind, len, crc } => self.block_end(kind, len, crc, control.opcode(), now),
            Control::Manifest { segment, crc } => {
                if let Some(session) = &mut self.session {
                    session.manifest(self.memory.parts().1, segment, crc);
                }
            }
            Control::Start { session } => self.start(session, control.opcode()),
            Control::Seek(seek) => {
                if let Some((session, mut io)) = self.session(now) {
                    session.seek(&mut io, seek);
                }
            }
            Control::Census => {
                if let Some(report) = self.session.as_ref().and_then(|s| s.failed) {
                    self.out.error(report);
                }
                self.out.request_status();
            }
            Control::QueryMissing => {
                if let Some(session) = &mut self.session {
                    session.report_all(self.memory.parts().1);
                }
            }
            Control::Verify { region } => {
                if let Some(session) = &mut self.session {
                    session.request_check(region);
                }
            }
            Control::Abort => self.end_session(now),
            Control::SetProtection { level, consent } => {
                let refusal = self.protect(level, consent).err();
                self.out.reply(&Reply::Done { opcode: control.opcode(), refusal, detail: level as u32 });
            }
            Control::Statistics => {
                let statistics = self.statistics();
                self.out.reply(&Reply::Statistics(statistics));
            }
            _ => self.command(control),
        }
    }

    fn identify(&mut self, part: IdentifyPart) {
        let profile = self.profile();
        match part {
            IdentifyPart::Profile => self.out.reply(&Reply::Profile(profile)),
            IdentifyPart::Info => {
                let supply_mv = self.port.supply_mv().unwrap_or(0);
                let protection = self.port.protection();
                let facts = self.port.facts();
                let info = Info {
                    version: version::CURRENT,
                    device_id: facts.device_id,
                    hardware_revision: facts.hardware_revision,
                    bootloader_version: facts.bootloader_version,
                    capabilities: facts.capabilities,
                    reset_cause: facts.reset_cause,
                    protection,
                    supply_mv,
                    image: self.image.state,
                    image_id: self.image.short_id(),
                    profile_crc: reply::profile_crc(&profile),
                    uid_check: reply::uid_check(&facts.uid, self.number.nonce),
                    floor: self.image.floor,
                };
                self.out.reply(&Reply::Info(info));
            }
        }
    }

    fn profile(&mut self) -> Profile {
        let (buffers, manifest) = self.memory.parts();
        let (buffers, max_segments) = (buffers.len() as u16, manifest.len() as u16);
        let facts = self.port.facts();
        Profile { silicon_revision: facts.silicon_revision, flash: facts.flash, buffers, max_segments }
    }

    fn statistics(&mut self) -> Statistics {
        let BusCounters { tec, rec, overruns, errors } = self.port.bus_counters();
        Statistics { tec, rec, overruns, errors, ..self.statistics }
    }

    fn block_data(&mut self, index: u8, bytes: &[u8]) {
        let at = usize::from(index) * BLOCK_PART;
        if let Some(space) = self.block.get_mut(at..at + bytes.len()) {
            space.copy_from_slice(bytes);
        }
    }

    fn block_end(&mut self, kind: BlockKind, len: u16, crc: u32, opcode: u8, now: Micros) {
        let block = self.block;
        let checked = block.get(..usize::from(len)).filter(|block| CRC32.checksum(block) == crc);
        let outcome = match (checked, kind) {
            (None, _) => Err(Refusal::BadBlock),
            (Some(block), BlockKind::Begin) => self.begin(block, crc, now),
            (Some(block), BlockKind::Identity) => match self.write_identity(block, now) {
                Ok(()) => return, // answered when it is done
                Err(refusal) => Err(refusal),
            },
            (Some(block), BlockKind::Options) => self.write_options(block),
            (Some(block), BlockKind::Key) => self.make_key(block),
        };
        self.out.reply(&Reply::Done { opcode, refusal: outcome.err(), detail: kind as u32 });
    }

    #[inline(never)]
    fn begin(&mut self, block: &[u8], crc: u32, now: Micros) -> Result<(), Refusal> {
        if self.session.as_ref().is_some_and(|s| s.block == crc && s.state == NodeState::Manifest) {
            return Ok(()); // the host asks again because our answer was lost
        }
        let begin = Begin::decode(block).ok_or(Refusal::BadBlock)?;
        if self.write.is_some() || self.installs() {
            return Err(Refusal::WrongState);
        }
        // A locked board may be read back as the image that it says it holds, and in no other way.
        let read_back = begin.flags.contains(BeginFlags::COMPARE) && self.image.vouches_for(&begin);
        if self.port.protection() != Protection::Open && !read_back {
            return Err(Refusal::Protected);
        }
        session::check(self.port.facts(), &begin)?;
        if self.port.seals() == Seals::Demanded {
            let seal = begin.seal().ok_or(Refusal::NotSealed)?;
            if seal.counter < self.image.floor {
                return Err(Refusal::Downgrade);
            }
            let message = Seal::message(begin.device_id, seal.counter, seal.floor, &begin.image_id());
            if !self.port.seal_is_good(&message, &seal.signature) {
                return Err(Refusal::BadSeal);
            }
        }
        let (buffers, manifest) = self.memory.parts();
        let segments = begin.segments() as usize;
        let entries = manifest.get_mut(..segments).ok_or(Refusal::TooLarge)?;
        entries.fill(ManifestEntry::EMPTY);
        buffers.iter_mut().for_each(SegmentBuffer::release);
        let shift = slot::shift(&self.port, &self.image, &begin);
        self.session = Some(Session { shift, ..Session::new(begin, crc, buffers.len()) });
        self.settle(now);
        Ok(())
    }

    fn start(&mut self, session: u8, opcode: u8) {
        let outcome = match &mut self.session {
            Some(s) if s.begin.session == session => {
                let (_, manifest) = self.memory.parts();
                s.start(&self.port, manifest)
            }
            _ => Err(Refusal::WrongState),
        };
        match outcome {
            Ok(session::Started::Now) => {
                self.out.reply(&Reply::Done { opcode, refusal: None, detail: session.into() });
            }
            Ok(session::Started::Later) => {} // answered when it has compared or erased
            Err(refusal) => {
                self.out.reply(&Reply::Done { opcode, refusal: Some(refusal), detail: session.into() })
            }
        }
    }

    fn protect(&mut self, level: Protection, consent: u16) -> Result<(), Refusal> {
        if level == Protection::Level2 && consent != LEVEL2_CONSENT {
            return Err(Refusal::NoConsent);
        }
        if self.flash_in_use() {
            return Err(Refusal::WrongState);
        }
        if !self.port.facts().capabilities.contains(Capabilities::OPTIONS) {
            return Err(Refusal::Unsupported);
        }
        if self.port.set_protection(level) { Ok(()) } else { Err(Refusal::Flash) }
    }

    fn write_options(&mut self, block: &[u8]) -> Result<(), Refusal> {
        let write = Write::decode(block).ok_or(Refusal::BadBlock)?;
        let offset = u8::try_from(write.place).map_err(|_| Refusal::OutsideFlash)?;
        if self.flash_in_use() {
            return Err(Refusal::WrongState);
        }
        if !self.port.facts().capabilities.contains(Capabilities::OPTIONS) {
            return Err(Refusal::Unsupported);
        }
        if self.port.write_options(offset, write.bytes) { Ok(()) } else { Err(Refusal::Flash) }
    }

    fn make_key(&mut self, block: &[u8]) -> Result<(), Refusal> {
        if !P::MAKES_KEYS || !self.port.facts().capabilities.contains(Capabilities::KEYS) {
            return Err(Refusal::Unsupported);
        }
        let MakeKey { kind, name } = MakeKey::decode(block).ok_or(Refusal::BadBlock)?;
        if self.port.protection() != Protection::Open {
            return Err(Refusal::Protected);
        }
        if self.flash_in_use() {
            return Err(Refusal::WrongState);
        }
        if self.port.make_key(kind, name) { Ok(()) } else { Err(Refusal::KeyFailed) }
    }

    /// Readout protection hides flash and OTP. Option bytes are no secret, and say whether the board was set up.
    fn is_guarded(&mut self, address: u32) -> bool {
        let flash = self.port.facts().flash;
        let in_flash = address.checked_sub(flash.base).is_some_and(|at| at < flash.size());
        (in_flash || self.port.otp().contains(&address)) && self.port.protection() != Protection::Open
    }

    fn read_memory(&mut self, address: u32, len: u8, opcode: u8) {
        let mut bytes = [0; MAX_READ];
        let refused = |refusal| Reply::Done { opcode, refusal: Some(refusal), detail: address };
        let reply = match bytes.get_mut(..usize::from(len)).filter(|b| !b.is_empty()) {
            None => refused(Refusal::TooLarge),
            Some(_) if self.is_guarded(address) => refused(Refusal::Protected),
            Some(_) if self.flash_in_use() => refused(Refusal::WrongState),
            Some(out) => {
                if self.port.read(address, out) {
                    Reply::Memory(address, out)
                } else {
                    refused(Refusal::OutsideFlash)
                }
            }
        };
        self.out.reply(&reply);
    }
}

/// What the newest record says at the start, and the record to write if its seal has not been looked at yet: after an
/// image that the RAM agent wrote, or a commit that the power did not outlast. Without a good seal it does not count.
fn trusted(port: &mut impl NodePort) -> (Mark, Option<WriteJob>) {
    let record::Scan { newest: mut mark, free, .. } = record::scan(port);
    if port.seals() != Seals::Demanded || mark.state < ImageState::Valid || mark.trusted {
        return (mark, None);
    }
    let good = mark.seal(port).is_some_and(|seal| {
        let chip = port.facts().device_id;
        let message = Seal::message(chip, seal.counter, seal.floor, &mark.id);
        port.seal_is_good(&message, &seal.signature)
    });
    let write = free.filter(|_| good).map(|slot| WriteJob::trust(slot, &mark.trust()));
    if write.is_none() {
        mark.state = ImageState::Incomplete;
    }
    (mark, write)
}

const _: () = assert!(SEGMENT.is_multiple_of(STEP));
