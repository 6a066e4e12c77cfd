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
mod control;
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

use crate::block::{MAX_BLOCK, Seal};
use crate::bytes::Writer;
use crate::frame::{Frame, Id};
use crate::ident::{self, DataPosition, NodeId};
use crate::message::{NodeFault, NodeState, Refusal, SEGMENT, SILENCE_WORD, STOP_WORD, put_status, says};
use crate::reply::{ImageState, Statistics};
use crate::time::{Micros, Span};
use discovery::Number;
use finish::WriteJob;
use outbox::Outbox;
use record::{Record, Scan};
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

/// One board on the bus. In this order, in which a Cortex-M0+ was measured to take the fewest bytes to reach the fields.
#[repr(C)]
pub struct Node<P: NodePort, M: NodeMemory> {
    session: Session,
    out: Outbox,
    number: Number,
    records: Scan,
    farewell: Option<Farewell>,
    /// What a write or an abandoned session began in the flash has ended by then, or never will.
    settling: Option<Micros>,
    statistics: Statistics,
    write: WriteJob,
    /// An abandoned session was writing a record: its slot is not blank any more.
    record_left: bool,
    block: [u8; MAX_BLOCK],
    muted: bool,
    port: P,
    memory: M,
}

impl<P: NodePort, M: NodeMemory> Node<P, M> {
    /// A node that has just started and has read the image records.
    pub fn new(port: P, memory: M, _now: Micros) -> Self {
        let mut node = Self::asleep(port, memory);
        node.wake();
        node
    }

    /// A node for [`Self::wake`] to be called on before anything else. A constant, so that a board's firmware is linked with
    /// it in its place, and no code makes it.
    pub const fn asleep(port: P, memory: M) -> Self {
        Self {
            port,
            memory,
            number: Number::NONE,
            muted: false,
            out: Outbox::EMPTY,
            block: [0; MAX_BLOCK],
            session: Session::none(),
            write: WriteJob::NONE,
            records: Scan::NONE,
            statistics: Statistics::NONE,
            farewell: None,
            settling: None,
            record_left: false,
        }
    }

    /// Takes the board's identity from its port and reads what the records say at the start. A seal that has not been looked at yet is (after an image that the RAM agent
    /// wrote, or a commit that the power did not outlast), and that it is good is written behind it; without a good seal
    /// the image does not count.
    pub fn wake(&mut self) {
        let Self { port, memory, records, session, number, .. } = self;
        number.begin(port);
        records.read(port);
        let mark = &records.newest;
        let mut good = true;
        if port.seals() == Seals::Demanded && mark.state >= ImageState::Valid && !mark.trusted {
            let seal = mark.seal(port).filter(|seal| {
                let message = Seal::message(port.facts().device_id, seal.counter, seal.floor, mark.id());
                port.seal_is_good(&message, &seal.signature)
            });
            let free = seal.and_then(|_| records.free());
            good = free.is_some();
            free.into_iter().for_each(|free| self.write.trust(free, &mark.remark(record::TRUSTED)));
        }
        if !good || !slot::resume(port, memory, mark, session) {
            records.newest.state = ImageState::Incomplete;
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
        self.records.newest.state
    }

    /// Where the node stands.
    pub fn state(&self) -> NodeState {
        self.session.state
    }

    /// Takes one frame from the bus. Frames that are no message for this node are ignored.
    #[inline(never)]
    pub fn handle_frame(&mut self, now: Micros, frame: &Frame) {
        let Id::Standard(id) = frame.id() else { return };
        if self.muted {
            return; // whoever may not answer must not act either
        }
        let number = self.number.number;
        match id {
            ident::DATA.. => {
                if let Some((session, mut io)) = self.session(now) {
                    io.statistics.data_frames += 1;
                    session.data(&mut io, DataPosition::of(id), frame.data());
                }
            }
            ident::CONTROL_ALL => self.control(now, frame, false),
            ident::STOP if says(frame.data(), STOP_WORD) => self.stop(now),
            ident::SILENCE => {
                let (node, word) = frame.data().split_first().unwrap_or((&0, &[]));
                if number.is_some_and(|n| n.get() == *node) && says(word, SILENCE_WORD) {
                    self.stop(now);
                    self.muted = true;
                }
            }
            _ if number.is_some_and(|n| id == ident::CONTROL + u16::from(n.get())) => {
                self.control(now, frame, true);
            }
            _ => {}
        }
    }

    /// The next frame to send, most urgent first. Call while a mailbox is free.
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        if self.muted {
            return None;
        }
        if let Some(answer) = self.number.poll_transmit(&self.out) {
            return Some(Frame::empty(answer.id()));
        }
        let node = self.number.number?;
        Frame::written(|w| self.say(w).map(|channel| ident::of_node(channel, node)))
    }

    /// Writes the next message, and says on which channel.
    fn say(&mut self, w: &mut Writer<'_>) -> Option<u16> {
        if let Some(channel) = self.out.poll_urgent(w, self.session.failed.as_ref()) {
            return Some(channel);
        }
        if let Some((session, mut io)) = self.session(Micros::ZERO)
            && let Some(channel) = session.poll_missing(&mut io, w)
        {
            return Some(channel);
        }
        if self.out.poll_status() {
            return Some(put_status(w, &self.status()));
        }
        self.out.poll_reply(w)
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
            let state = self.port.flash_poll();
            if state == FlashState::Busy && now.is_before(until) {
                return Poll { wake: Wake::At(until), work: Work::None };
            }
            self.settling = None;
            if self.write.operates() && state != FlashState::Idle {
                self.end_write(Err(Refusal::Flash));
            } else if state == FlashState::Busy {
                self.never_settles();
            }
            if core::mem::take(&mut self.record_left) {
                self.records.written(&mut self.port, &Record::BLANK);
            }
        }
        if self.write.is_some() {
            return self.poll_write(now);
        }
        match self.session(now) {
            Some((session, mut io)) => session.poll(&mut io),
            None => Poll { wake: Wake::Idle, work: Work::None },
        }
    }

    /// The session, if there is one, and what it works with.
    fn session(&mut self, now: Micros) -> Option<(&mut Session, Io<'_, P>)> {
        let Self { port, memory, out, session, statistics, records, .. } = self;
        if session.is_none() {
            return None;
        }
        let (buffers, manifest) = memory.parts();
        Some((session, Io { port, out, buffers, manifest, records, statistics, now }))
    }

    fn stop(&mut self, now: Micros) {
        self.end_session(now);
        self.out.clear();
        self.farewell = None;
    }

    fn end_session(&mut self, now: Micros) {
        if self.installs() {
            return; // nobody stops what will replace the application
        }
        self.record_left |= self.session.writes_record();
        self.session.clear();
        let (buffers, _) = self.memory.parts();
        buffers.iter_mut().for_each(SegmentBuffer::release);
        self.settle(now);
    }

    /// The flash may still be busy with what was abandoned: nothing is begun, read or compared before it has ended.
    fn settle(&mut self, now: Micros) {
        let longest = self.port.facts().flash.runs.iter().map(|run| run.longest).max();
        self.settling = Some(now + longest.unwrap_or_default() + SLACK);
    }

    /// An image in the second slot is committed and has not come to its place.
    fn installs(&self) -> bool {
        P::HAS_SLOT && self.session.is_committed()
    }

    fn never_settles(&mut self) {
        if self.write.is_some() {
            self.end_write(Err(Refusal::Flash));
        }
        if !self.session.is_none() {
            let address = self.session.begin.regions().first().map_or(0, |r| r.address);
            self.session.fail(&mut self.out, NodeFault::EraseTooSlow, address, 0, 0);
        }
    }
}

const _: () = assert!(SEGMENT.is_multiple_of(STEP));
