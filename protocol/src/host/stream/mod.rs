//! The stream of image data: begin, manifest, start, windows of one segment each, repairs, the closing census.
//!
//! Nobody is waited for who is fine: repairs are the union of what nodes report, a hold pauses the stream only
//! as long as its node keeps to its declared times, and a node that holds the others up or misses too much is
//! demoted: left alone until the others are done, then served in a second pass ([`Stream::resume`]). Stages are
//! here, nodes that fall behind in `behind.rs`, what goes out next in `send.rs`.

mod behind;
mod send;

use super::ask::{Answer, Ask, Request, Verdict};
use super::chunks::ChunkSet;
use super::image::Image;
use super::{BusEvent, ProgramOptions, Timing};
use crate::block::{Begin, BeginFlags, MAX_BLOCK};
use crate::frame::Frame;
use crate::ident::NodeId;
use crate::message::{BlockKind, Control, HostMessage, NodeState, Refusal, Status};
use crate::time::{Micros, Span};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use send::Window;

/// Frames that an absence of the bus may cost everybody: a quarter of a second at 1 Mbit/s.
const OUTAGE: u64 = 2048;
/// How long a board may look at the signature of a seal before it answers.
const SEAL_CHECK: Span = Span::from_millis(3000);
/// Wait between two closing censuses while nodes still check what they have.
const CLOSING_WAIT: Span = Span::from_millis(3);
/// The same wait while a node asks for a pause: flash is slower than that.
const PAUSED_WAIT: Span = Span::from_millis(20);
/// Closing rounds without progress after which nodes that miss data are given up.
const CLOSING_ROUNDS: u8 = 12;
/// Times the block, and then the manifest, is sent again to nodes that missed a part.
const RESEND_TRIES: u8 = 3;

/// Why a node is left to a second pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demotion {
    /// Its flash is slower than declared and its holds kept the others waiting.
    Slow,
    /// It misses so many frames that repeating them kept the others waiting.
    Deaf,
}

/// Frames of the data stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounters {
    /// Data frames sent for the first time.
    pub data: u64,
    /// Data frames repeated.
    pub repeated: u64,
    /// Pauses that nodes asked for.
    pub holds: u64,
}

#[derive(Default)]
struct Progress {
    last: Option<Status>,
    hold_until: Option<Micros>,
    demoted: bool,
    missed: u64,
    /// Was told to leave the session.
    left: bool,
    /// Has confirmed the start.
    began: bool,
}

enum Stage {
    Begin(Ask),
    Start(Ask),
    /// Nodes have compared; what they lack is coming in until this time.
    Query(Micros),
    Data,
    Closing(Ask),
    /// Nodes still check what they have: look again then.
    Recheck(Micros),
}

pub(super) struct Stream {
    image: Arc<Image>,
    begin: Begin,
    options: ProgramOptions,
    nodes: BTreeMap<NodeId, Progress>,
    stage: Stage,
    /// Times the block or the manifest may still be sent again, and to whom.
    tries: u8,
    again: BTreeSet<NodeId>,
    /// What is to be sent, by segment; taken from the front.
    todo: BTreeMap<u16, ChunkSet>,
    repairs: BTreeMap<u16, ChunkSet>,
    window: Option<Window>,
    windows: u32,
    sent: u64,
    /// Frames that nobody is blamed for having missed.
    excused: u64,
    total: u64,
    census: Option<Ask>,
    census_due: Micros,
    started: Micros,
    closing_rounds: u8,
    closing_missing: u32,
    /// Nodes given up because no repeating helps.
    starved: Vec<NodeId>,
    /// When deadlines were last looked at.
    looked: Micros,
}

impl Stream {
    pub(super) fn new(
        now: Micros,
        timing: &Timing,
        image: &Arc<Image>,
        session: u8,
        nodes: &[NodeId],
        options: ProgramOptions,
        out: &mut VecDeque<Frame>,
    ) -> Self {
        let mut begin = *image.begin();
        begin.session = session;
        begin.flags |= BeginFlags::STAGE;
        begin.flags.set(BeginFlags::COMPARE, options.compare);
        let ask = ask_begin(now, timing, &begin, options.only, nodes, out);
        let mut stream = Self::with(now, image, begin, nodes, options, Stage::Begin(ask));
        if !options.compare {
            stream.send_all();
        }
        stream
    }

    pub(super) fn resume(
        now: Micros,
        timing: &Timing,
        image: &Arc<Image>,
        session: u8,
        nodes: &[NodeId],
        options: ProgramOptions,
        out: &mut VecDeque<Frame>,
    ) -> Self {
        let mut begin = *image.begin();
        begin.session = session;
        out.push_back(control(options.only, Control::QueryMissing));
        Self::with(now, image, begin, nodes, options, Stage::Query(now + timing.answer))
    }

    fn with(
        now: Micros,
        image: &Arc<Image>,
        begin: Begin,
        nodes: &[NodeId],
        options: ProgramOptions,
        stage: Stage,
    ) -> Self {
        Self {
            image: Arc::clone(image),
            begin,
            options,
            nodes: nodes.iter().map(|&node| (node, Progress::default())).collect(),
            stage,
            tries: RESEND_TRIES,
            again: BTreeSet::new(),
            todo: BTreeMap::new(),
            repairs: BTreeMap::new(),
            window: None,
            windows: 0,
            sent: 0,
            excused: 0,
            total: 0,
            census: None,
            census_due: now,
            started: now,
            closing_rounds: 0,
            closing_missing: u32::MAX,
            starved: Vec::new(),
            looked: now,
        }
    }

    /// Everything that is not blank is to be sent.
    fn send_all(&mut self) {
        let segments = self.image.segments().iter().enumerate();
        self.todo = segments.filter_map(|(n, s)| Some((n as u16, ChunkSet::of(s.ranges?)))).collect();
        self.total = self.image.frames();
    }

    // Inputs

    pub(super) fn handle_answer(&mut self, node: NodeId, answer: &Answer, events: &mut VecDeque<BusEvent>) {
        if let Answer::Status(status) = answer {
            let Some(progress) = self.nodes.get_mut(&node).filter(|p| !p.left) else { return };
            progress.last = Some(*status);
            let (missed, began) = (progress.missed, progress.began);
            if status.state == NodeState::Idle {
                // It has forgotten the session: it was reset.
                self.drop_node(node);
                events.push_back(BusEvent::Lost { node, last: Some(*status), missed, began });
                return;
            }
            events.push_back(BusEvent::Census(node, *status));
        }
        if let Some(census) = &mut self.census {
            census.handle(node, answer);
        }
        let starting = matches!(self.stage, Stage::Start(_));
        let (Stage::Begin(ask) | Stage::Start(ask) | Stage::Closing(ask)) = &mut self.stage else { return };
        if !ask.handle(node, answer) {
            return;
        }
        if starting
            && let Answer::Done { refusal: None, .. } = answer
            && let Some(progress) = self.nodes.get_mut(&node)
        {
            progress.began = true;
        }
        if let Answer::Done { opcode, refusal: Some(refusal), .. } = *answer {
            if matches!(refusal, Refusal::BadBlock | Refusal::ManifestIncomplete) && self.tries > 0 {
                self.again.insert(node); // it missed a frame
            } else {
                self.drop_node(node);
                events.push_back(BusEvent::Refused { node, opcode, refusal });
            }
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Micros,
        timing: &Timing,
        out: &mut VecDeque<Frame>,
        events: &mut VecDeque<BusEvent>,
    ) -> Option<BusEvent> {
        self.watch(now, out, events);
        match &mut self.stage {
            Stage::Begin(ask) => match verdict(ask, now, out) {
                Verdict::Wait => {}
                Verdict::Done(silent) => {
                    self.lose(&silent, events);
                    let nodes = self.take_again();
                    if nodes.is_empty() {
                        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
                        self.tries = RESEND_TRIES;
                        self.send_manifest(now, timing, &nodes, out);
                    } else {
                        self.stage =
                            Stage::Begin(ask_begin(now, timing, &self.begin, self.options.only, &nodes, out));
                    }
                }
            },
            Stage::Start(ask) => match verdict(ask, now, out) {
                Verdict::Wait => {}
                Verdict::Done(silent) => {
                    self.lose(&silent, events);
                    let nodes = self.take_again();
                    if nodes.is_empty() {
                        self.begin_data(now, timing, out);
                    } else {
                        self.send_manifest(now, timing, &nodes, out);
                    }
                }
            },
            Stage::Query(until) if now >= *until => self.stage = Stage::Data,
            Stage::Recheck(until) if now >= *until => self.close(now, timing, out),
            Stage::Closing(ask) => match verdict(ask, now, out) {
                Verdict::Wait => {}
                Verdict::Done(silent) => {
                    self.lose(&silent, events);
                    return self.closed(now);
                }
            },
            Stage::Query(_) | Stage::Recheck(_) | Stage::Data => {}
        }
        if self.nodes.is_empty() || (matches!(self.stage, Stage::Data) && self.main_nodes().is_empty()) {
            return Some(self.finish());
        }
        None
    }

    /// Nodes that missed a frame of block or manifest, if another try is left.
    fn take_again(&mut self) -> Vec<NodeId> {
        self.tries = self.tries.saturating_sub(u8::from(!self.again.is_empty()));
        core::mem::take(&mut self.again).into_iter().filter(|n| self.nodes.contains_key(n)).collect()
    }

    fn send_manifest(&mut self, now: Micros, timing: &Timing, nodes: &[NodeId], out: &mut VecDeque<Frame>) {
        for (n, segment) in self.image.segments().iter().enumerate() {
            let entry = Control::Manifest { segment: n as u16, crc: segment.crc };
            out.push_back(control(self.options.only, entry));
        }
        let start = Request::Control(Control::Start { session: self.begin.session });
        start.frames(self.options.only, out);
        // Comparing reads the whole image: allow 1 us a byte, ten times what the slowest board needs.
        let compare = if self.options.compare { self.image.segments().len() as u64 * 2048 } else { 0 };
        let patience = Span(compare) + self.options.erase_first;
        self.stage = Stage::Start(ask(now, timing, nodes, &start, patience, out));
    }

    fn begin_data(&mut self, now: Micros, timing: &Timing, out: &mut VecDeque<Frame>) {
        self.started = now;
        self.census_due = now + timing.census;
        if self.options.compare {
            out.push_back(control(self.options.only, Control::QueryMissing));
            self.stage = Stage::Query(now + timing.answer);
        } else {
            self.stage = Stage::Data;
        }
    }

    /// Everything is sent: ask everybody what is missing.
    fn close(&mut self, now: Micros, timing: &Timing, out: &mut VecDeque<Frame>) {
        out.push_back(control(self.options.only, Control::QueryMissing));
        let request = Request::Control(Control::Census);
        request.frames(self.options.only, out);
        self.census = None;
        let nodes = self.main_nodes();
        self.stage = Stage::Closing(ask(now, timing, &nodes, &request, Span::ZERO, out));
    }

    /// Everybody has said how much is missing.
    fn closed(&mut self, now: Micros) -> Option<BusEvent> {
        if !self.repairs.is_empty() {
            self.stage = Stage::Data;
            return None;
        }
        let missing = |p: &Progress| p.last.map_or(0, |s| u32::from(s.missing));
        let sum: u32 = self.nodes.values().filter(|p| !p.demoted).map(missing).sum();
        let paused = self.paused();
        self.closing_rounds = if sum < self.closing_missing || paused { 0 } else { self.closing_rounds + 1 };
        self.closing_missing = sum;
        if sum == 0 || self.closing_rounds > CLOSING_ROUNDS {
            return Some(self.finish());
        }
        self.stage = Stage::Recheck(now + if paused { PAUSED_WAIT } else { CLOSING_WAIT });
        None
    }

    fn finish(&mut self) -> BusEvent {
        let (mut complete, mut stragglers) = (Vec::new(), Vec::new());
        let mut starved = core::mem::take(&mut self.starved);
        for (&node, progress) in &self.nodes {
            match progress.last {
                _ if progress.demoted => stragglers.push(node),
                Some(status) if status.missing > 0 => starved.push(node),
                _ => complete.push(node),
            }
        }
        BusEvent::Streamed { complete, stragglers, starved }
    }

    /// The bus was of no use for a while: every deadline begins anew. Nobody knows who asked for a pause in that time, so who
    /// needs one says it again.
    pub(super) fn postpone(&mut self, now: Micros, timing: &Timing) {
        self.nodes.values_mut().for_each(|progress| progress.hold_until = None);
        match &mut self.stage {
            Stage::Begin(ask) | Stage::Start(ask) | Stage::Closing(ask) => ask.postpone(now + timing.answer),
            Stage::Query(until) | Stage::Recheck(until) => *until = now + timing.answer,
            Stage::Data => self.census_due = now + timing.census,
        }
        if let Some(census) = &mut self.census {
            census.postpone(now + timing.answer);
        }
        self.options.patience = self.options.patience + now.since(self.looked);
        self.looked = now;
    }

    /// The bus was away.
    pub(super) fn excuse(&mut self) {
        self.excused += OUTAGE;
    }

    // Outputs

    pub(super) fn next_timeout(&self) -> Option<Micros> {
        let stage = match &self.stage {
            Stage::Begin(ask) | Stage::Start(ask) | Stage::Closing(ask) => Some(ask.deadline()),
            Stage::Query(until) | Stage::Recheck(until) => Some(*until),
            // Once due, the census goes out with the next frame the link takes.
            Stage::Data => Some(self.census_due).filter(|&due| self.census.is_none() && due > self.looked),
        };
        let holds = self.nodes.values().filter_map(|p| p.hold_until);
        // Once late, every message looks whether somebody is to be demoted.
        let late = holds
            .clone()
            .next()
            .map(|_| self.started + self.schedule() + Span(1))
            .filter(|&l| l > self.looked);
        let census = self.census.as_ref().map(Ask::deadline);
        stage.into_iter().chain(census).chain(holds).chain(late).min()
    }
}

fn control(to: Option<NodeId>, control: Control) -> Frame {
    HostMessage::Control(to, control).to_frame()
}

fn ask(
    now: Micros,
    timing: &Timing,
    nodes: &[NodeId],
    request: &Request,
    patience: Span,
    out: &VecDeque<Frame>,
) -> Ask {
    let pending = nodes.iter().map(|&node| (node, request.clone())).collect();
    Ask::new(pending, timing, patience, out.len(), now)
}

fn ask_begin(
    now: Micros,
    timing: &Timing,
    begin: &Begin,
    only: Option<NodeId>,
    nodes: &[NodeId],
    out: &mut VecDeque<Frame>,
) -> Ask {
    let mut block = [0; MAX_BLOCK];
    let len = begin.encode(&mut block);
    let request = Request::Block(BlockKind::Begin, block[..len].to_vec());
    request.frames(only, out);
    let patience = if begin.seal().is_some() { SEAL_CHECK } else { Span::ZERO };
    ask(now, timing, nodes, &request, patience, out)
}

fn verdict(ask: &mut Ask, now: Micros, out: &mut VecDeque<Frame>) -> Verdict {
    if ask.is_done() { Verdict::Done(vec![]) } else { ask.handle_timeout(now, out) }
}
