//! The programmer's end of one bus: discovery, questions, and the stream of image data.
//!
//! [`BusMaster`] does one operation at a time ([`BusMaster::discover`], [`BusMaster::ask_all`],
//! [`BusMaster::program`], [`BusMaster::catch_up`]) and reports with events; who takes part, what a failure
//! means and what comes next is the engine's business. Contract: after every `handle_*` call or new operation,
//! drain [`BusMaster::poll_event`], then send what [`BusMaster::poll_transmit`] gives while the link has room,
//! then wait for a frame or for [`BusMaster::next_timeout`].

mod ask;
mod assemble;
mod chunks;
mod discover;
mod image;
mod pauses;
mod stream;

pub use ask::{Answer, Request};
pub use discover::{Discovered, Duplicate, Found};
pub use image::{Image, ImageError};
pub use stream::{Demotion, StreamCounters};

use crate::frame::Frame;
use crate::ident::{Channel, NodeId};
use crate::message::{Control, ErrorReport, HostMessage, NodeMessage, Refusal, Status};
use crate::reply::Reply;
use crate::time::{Micros, Span};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use ask::{Ask, Verdict};
use assemble::Assembler;
use discover::Discover;
use pauses::Pauses;
use stream::Stream;

/// Waits of one bus, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Silence after which nobody has more to say: node reaction plus the adapter's round trip.
    pub quiet: Span,
    /// How long one answer may take, beside what the request itself needs.
    pub answer: Span,
    /// The longest frame's time on this bus.
    pub frame: Span,
    /// How often an unanswered question is asked.
    pub tries: u8,
    /// Longest time between two censuses while data flows.
    pub census: Span,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Span::from_millis(4),
            answer: Span::from_millis(40),
            frame: Span(150),
            tries: 3,
            census: Span::from_millis(400),
        }
    }
}

/// What happened on the bus.
#[derive(Debug, Clone, PartialEq)]
pub enum BusEvent {
    /// A discovery has ended.
    Discovered(Discovered),
    /// A node has answered a question.
    Answered(NodeId, Answer),
    /// Every question is answered, or these nodes stayed silent.
    Asked {
        /// Nodes that owe an answer for good.
        silent: Vec<NodeId>,
    },
    /// A node refused to take part in programming.
    Refused {
        /// The node.
        node: NodeId,
        /// Opcode of what it refused.
        opcode: u8,
        /// Why.
        refusal: Refusal,
    },
    /// A node reported an error and dropped out.
    Fault(NodeId, ErrorReport),
    /// A node stopped answering while data flowed.
    Lost {
        /// The node.
        node: NodeId,
        /// What it last said of itself.
        last: Option<Status>,
        /// Chunks it had reported missing.
        missed: u64,
        /// Whether it had confirmed that it begins to erase.
        began: bool,
    },
    /// A node holds the others up and is left to a second pass.
    Demoted(NodeId, Demotion),
    /// A node's answer to a census.
    Census(NodeId, Status),
    /// Data frames of the image sent so far.
    Progress {
        /// Frames sent for the first time.
        sent: u64,
        /// Frames of the pass.
        total: u64,
    },
    /// The pass is over.
    Streamed {
        /// Nodes that have received everything.
        complete: Vec<NodeId>,
        /// Nodes left to a second pass ([`BusMaster::catch_up`]).
        stragglers: Vec<NodeId>,
        /// Nodes that still miss data after every repair.
        starved: Vec<NodeId>,
    },
}

/// Frames seen, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusTally {
    /// Frames received that are no answer of ours.
    pub foreign: u64,
    /// Frames received that ask for image data when none is being sent.
    pub late: u64,
    /// Frames received.
    pub received: u64,
    /// Frames handed to the link.
    pub sent: u64,
}

/// Identical frames without a pause that are babble and not an answer.
const BABBLE_FRAMES: u32 = 8;
const BABBLE_GAP: Span = Span::from_millis(5);

enum Operation {
    Idle,
    Discover(Discover),
    Ask(Ask),
    Stream(Box<Stream>),
}

/// The programmer's end of one bus.
pub struct BusMaster {
    timing: Timing,
    operation: Operation,
    out: VecDeque<Frame>,
    events: VecDeque<BusEvent>,
    assemblers: BTreeMap<NodeId, Assembler>,
    next_number: u8,
    session: u8,
    counters: StreamCounters,
    tally: BusTally,
    /// The last frame received, when, and how often it was repeated without a pause.
    repeat: (Option<Frame>, Micros, u32),
    pauses: Pauses,
}

impl BusMaster {
    /// A bus on which nothing has happened yet. `session` tells this run's sessions from an earlier one's.
    #[must_use]
    pub fn new(timing: Timing, session: u8) -> Self {
        Self {
            timing,
            operation: Operation::Idle,
            out: VecDeque::new(),
            events: VecDeque::new(),
            assemblers: BTreeMap::new(),
            next_number: 0,
            session,
            counters: StreamCounters::default(),
            tally: BusTally::default(),
            repeat: (None, Micros::ZERO, 0),
            pauses: Pauses::default(),
        }
    }

    /// Whether an operation is under way.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        !matches!(self.operation, Operation::Idle)
    }

    /// Frame counts of the data stream.
    #[must_use]
    pub const fn counters(&self) -> StreamCounters {
        self.counters
    }

    /// Frame counts of everything.
    #[must_use]
    pub const fn tally(&self) -> BusTally {
        self.tally
    }

    // Operations

    /// Finds boards without a number. `restart`: every board first forgets number and session.
    pub fn discover(&mut self, now: Micros, restart: bool) {
        if restart {
            self.next_number = 0;
            self.assemblers.clear();
        }
        let discover = Discover::new(now, &self.timing, restart, &mut self.out);
        self.operation = Operation::Discover(discover);
    }

    /// Asks every node of `to` the same, by one broadcast. Nodes not in `to` hear it too: release those that
    /// must not act on it.
    pub fn ask_all(&mut self, now: Micros, request: &Request, to: &[NodeId], patience: Span) {
        request.frames(None, &mut self.out);
        let pending = to.iter().map(|&node| (node, request.clone())).collect();
        self.begin_ask(now, pending, patience);
    }

    /// Asks each node its own question.
    pub fn ask_each(&mut self, now: Micros, requests: BTreeMap<NodeId, Request>, patience: Span) {
        requests.iter().for_each(|(node, request)| request.frames(Some(*node), &mut self.out));
        self.begin_ask(now, requests, patience);
    }

    fn begin_ask(&mut self, now: Micros, pending: BTreeMap<NodeId, Request>, patience: Span) {
        let ask = Ask::new(pending, &self.timing, patience, self.out.len(), now);
        self.operation = Operation::Ask(ask);
    }

    /// Tells a node to forget its number; it takes no further part.
    pub fn release(&mut self, node: NodeId) {
        self.out.push_back(HostMessage::Control(Some(node), Control::Release).to_frame());
    }

    /// Tells a node to fall silent until it is reset.
    pub fn silence(&mut self, node: NodeId) {
        self.out.push_back(HostMessage::Silence(node).to_frame());
        self.drop_node(node);
    }

    /// Tells every node to abandon everything.
    pub fn stop(&mut self) {
        self.operation = Operation::Idle;
        self.out.clear();
        self.out.push_back(HostMessage::Stop.to_frame());
    }

    /// Sends an image to `nodes`, all at once. An image for one node only is sent in the session of the image that
    /// all got before it, so that what follows can be asked of all of them again. Nodes may put it into a second slot
    /// ([`crate::message::StatusFlags::STAGED`]): Commit is not the end for them, but [`crate::message::NodeState::Committed`].
    pub fn program(&mut self, now: Micros, image: &Arc<Image>, nodes: &[NodeId], options: ProgramOptions) {
        if options.only.is_none() {
            self.session = self.session.wrapping_add(1);
        }
        let stream = Stream::new(now, &self.timing, image, self.session, nodes, options, &mut self.out);
        self.operation = Operation::Stream(Box::new(stream));
    }

    /// A second pass for nodes of the same session that miss data.
    pub fn catch_up(&mut self, now: Micros, image: &Arc<Image>, nodes: &[NodeId], options: ProgramOptions) {
        let stream = Stream::resume(now, &self.timing, image, self.session, nodes, options, &mut self.out);
        self.operation = Operation::Stream(Box::new(stream));
    }

    /// A node's last reply as it was received, until its next one begins: for records that keep raw answers.
    #[must_use]
    pub fn raw_answer(&self, node: NodeId) -> Option<&[u8]> {
        self.assemblers.get(&node)?.whole()
    }

    /// The number of the session last begun.
    #[must_use]
    pub const fn session(&self) -> u8 {
        self.session
    }

    /// Tells a node to leave the session, so that it no longer asks for what nobody will send it; it keeps its
    /// number. Worth repeating for a node that misses frames.
    pub fn leave_out(&mut self, node: NodeId) {
        self.out.push_back(HostMessage::Control(Some(node), Control::Abort).to_frame());
        if let Operation::Stream(stream) = &mut self.operation {
            stream.leave_out(node);
        }
    }

    /// The operation goes on without this node.
    pub fn drop_node(&mut self, node: NodeId) {
        match &mut self.operation {
            Operation::Ask(ask) => ask.forget(node),
            Operation::Stream(stream) => stream.drop_node(node),
            Operation::Idle | Operation::Discover(_) => {}
        }
    }

    /// The bus was of no use for a while: deadlines begin anew.
    pub fn postpone(&mut self, now: Micros) {
        match &mut self.operation {
            Operation::Idle => {}
            Operation::Discover(discover) => discover.deadline = now + self.timing.answer,
            Operation::Ask(ask) => ask.postpone(now + self.timing.answer),
            Operation::Stream(stream) => stream.postpone(now, &self.timing),
        }
    }

    /// The bus is back after the link or the controller was away: what was under way is lost to everybody, and held
    /// against nobody.
    pub fn bus_is_back(&mut self) {
        if let Operation::Stream(stream) = &mut self.operation {
            stream.excuse();
        }
    }

    // Inputs

    /// Takes a frame from the bus.
    pub fn handle_frame(&mut self, now: Micros, frame: &Frame) {
        self.tally.received += 1;
        if self.babbled(now, frame) {
            self.tally.foreign += 1;
            return;
        }
        if let Some(Channel::Discovery(answer)) = Channel::of(frame.id()) {
            match &mut self.operation {
                Operation::Discover(discover) => discover.handle(now, &self.timing, answer),
                _ => self.tally.foreign += 1,
            }
            return;
        }
        let Ok((node, message)) = NodeMessage::decode(frame) else {
            self.tally.foreign += 1;
            return;
        };
        match message {
            NodeMessage::ReplyPart { sequence, last, bytes, len } => {
                let assembler = self.assemblers.entry(node).or_default();
                let whole = assembler.handle(sequence, last, &bytes[..usize::from(len)]);
                if let Some(answer) = whole.and_then(Reply::decode).map(Answer::from) {
                    self.handle_answer(node, answer);
                }
            }
            NodeMessage::Status(status) => self.handle_answer(node, Answer::Status(status)),
            NodeMessage::Error(report) => {
                self.drop_node(node);
                self.events.push_back(BusEvent::Fault(node, report));
            }
            NodeMessage::Hold { .. }
            | NodeMessage::Resume
            | NodeMessage::MissingSegments { .. }
            | NodeMessage::MissingSpan { .. }
            | NodeMessage::Missing { .. } => match &mut self.operation {
                Operation::Stream(stream) => {
                    self.counters.holds += u64::from(stream.begins_pause(node, &message));
                    stream.handle_message(now, node, &message, &mut self.events);
                }
                _ if self.pauses.excuse(now, node, &message) => {}
                _ => self.tally.late += 1,
            },
        }
        self.advance(now);
    }

    /// A deadline may have passed.
    pub fn handle_timeout(&mut self, now: Micros) {
        self.advance(now);
    }

    // Outputs

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Micros> {
        match &self.operation {
            Operation::Idle => None,
            Operation::Discover(discover) => Some(discover.deadline),
            Operation::Ask(ask) => Some(ask.deadline()),
            Operation::Stream(stream) => stream.next_timeout(),
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<BusEvent> {
        self.events.pop_front()
    }

    /// The next frame to send, if the link has room.
    pub fn poll_transmit(&mut self, now: Micros) -> Option<Frame> {
        let frame = match (self.out.pop_front(), &mut self.operation) {
            (Some(frame), _) => Some(frame),
            (None, Operation::Stream(stream)) => {
                stream.poll_transmit(now, &self.timing, &mut self.out, &mut self.counters, &mut self.events)
            }
            (None, _) => None,
        };
        self.tally.sent += u64::from(frame.is_some());
        frame
    }

    /// The same frame again and again, without a pause: no node of ours speaks so.
    fn babbled(&mut self, now: Micros, frame: &Frame) -> bool {
        let (last, at, count) = &mut self.repeat;
        let again = *last == Some(*frame) && now.since(*at) < BABBLE_GAP;
        *count = if again { *count + 1 } else { 0 };
        (*last, *at) = (Some(*frame), now);
        *count >= BABBLE_FRAMES
    }

    fn handle_answer(&mut self, node: NodeId, answer: Answer) {
        match &mut self.operation {
            Operation::Ask(ask) => {
                if ask.handle(node, &answer) {
                    self.events.push_back(BusEvent::Answered(node, answer));
                }
            }
            Operation::Stream(stream) => stream.handle_answer(node, &answer, &mut self.events),
            Operation::Idle | Operation::Discover(_) => self.tally.foreign += 1,
        }
    }

    fn advance(&mut self, now: Micros) {
        let finished = match &mut self.operation {
            Operation::Idle => None,
            Operation::Discover(discover) => {
                let queued = self.out.len();
                let mut next = || {
                    let node = NodeId::new(self.next_number)?;
                    self.next_number += 1;
                    Some(node)
                };
                let done = discover.handle_timeout(now, &self.timing, &mut next, &mut self.out);
                let sent = (self.out.len() - queued.min(self.out.len())) as u64;
                discover.deadline = discover.deadline + Span(sent * self.timing.frame.0);
                done.map(BusEvent::Discovered)
            }
            Operation::Ask(ask) if ask.is_done() => Some(BusEvent::Asked { silent: Vec::new() }),
            Operation::Ask(ask) => match ask.handle_timeout(now, &mut self.out) {
                Verdict::Wait => None,
                Verdict::Done(silent) => Some(BusEvent::Asked { silent }),
            },
            Operation::Stream(stream) => {
                stream.handle_timeout(now, &self.timing, &mut self.out, &mut self.events)
            }
        };
        if let Some(event) = finished {
            self.operation = Operation::Idle;
            self.events.push_back(event);
        }
    }
}

/// How an image is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramOptions {
    /// Boards compare their flash first and ask only for what differs.
    pub compare: bool,
    /// Time the boards need for erasing the image's units and programming it, by their declared typical times.
    pub flash_time: Span,
    /// How much longer than that a board may take before the others stop waiting for it.
    pub patience: Span,
    /// Time that boards which hear nothing while they erase may take to erase the image's units before they confirm the
    /// start; zero if there are none.
    pub erase_first: Span,
    /// Share of data frames a board may miss before the others stop repeating for it, in per mille.
    pub missed_per_mille: u32,
    /// Begin, manifest and questions go to this node alone, the only one of the pass; nodes that are not receiving
    /// ignore the data. `None`: everybody hears everything.
    pub only: Option<NodeId>,
}
