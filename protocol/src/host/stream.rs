//! The stream of image data: begin, manifest, start, windows of one segment each, repairs, the closing census.
//!
//! Nobody is waited for who is fine: repairs are the union of what nodes report, a hold pauses the stream only
//! as long as its node keeps to its declared times, and a node that holds the others up or misses too much is
//! demoted: left alone until the others are done, then served in a second pass ([`Stream::resume`]).

use super::ask::{Answer, Ask, Request, Verdict};
use super::chunks::ChunkSet;
use super::image::Image;
use super::{BusEvent, ProgramOptions, Timing};
use crate::block::{Begin, BeginFlags, MAX_BLOCK};
use crate::frame::Frame;
use crate::ident::{DataPosition, NodeId};
use crate::message::{BlockKind, Control, HostMessage, NodeMessage, NodeState, Refusal, Seek, Status};
use crate::time::{Micros, Span};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// Windows between two censuses.
const CENSUS_WINDOWS: u32 = 16;
/// How long a hold counts unless it is repeated: three times the node's own period.
const HOLD_LEASE: Span = Span::from_millis(150);
/// Wait between two closing censuses while nodes still check what they have.
const CLOSING_WAIT: Span = Span::from_millis(3);
/// The same wait while a node asks for a pause: flash is slower than that.
const PAUSED_WAIT: Span = Span::from_millis(20);
/// Closing rounds without progress after which nodes that miss data are given up.
const CLOSING_ROUNDS: u8 = 12;
/// Times the whole image that a node may miss before it is given up.
const HOPELESS: u64 = 4;
/// Times the time that boards may need after which holding on is a fault of its own.
const OVERDUE: u64 = 10;
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

struct Window {
    segment: u16,
    left: ChunkSet,
    repair: bool,
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
        begin.flags.set(BeginFlags::COMPARE, options.compare);
        let ask = ask_begin(now, timing, &begin, nodes, out);
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
        out.push_back(control(Control::QueryMissing));
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

    pub(super) fn drop_node(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        if let Stage::Begin(ask) | Stage::Start(ask) | Stage::Closing(ask) = &mut self.stage {
            ask.forget(node);
        }
        if let Some(census) = &mut self.census {
            census.forget(node);
        }
    }

    /// Goes on without this node, which has been told to leave the session. It still counts as one left behind.
    pub(super) fn leave_out(&mut self, node: NodeId) {
        if let Some(progress) = self.nodes.get_mut(&node) {
            (progress.demoted, progress.left) = (true, true);
        }
        if let Stage::Begin(ask) | Stage::Start(ask) | Stage::Closing(ask) = &mut self.stage {
            ask.forget(node);
        }
        if let Some(census) = &mut self.census {
            census.forget(node);
        }
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

    pub(super) fn handle_message(
        &mut self,
        now: Micros,
        node: NodeId,
        message: &NodeMessage,
        events: &mut VecDeque<BusEvent>,
    ) {
        let Some(progress) = self.nodes.get_mut(&node) else { return };
        match *message {
            NodeMessage::Hold { .. } => progress.hold_until = Some(now + HOLD_LEASE),
            NodeMessage::Resume => progress.hold_until = None,
            NodeMessage::MissingSegments { first, count } => {
                for n in first..first.saturating_add(count) {
                    if let Some(ranges) = self.image.segments().get(usize::from(n)).and_then(|s| s.ranges) {
                        self.missing(node, n, ChunkSet::of(ranges), true, events);
                    }
                }
            }
            NodeMessage::MissingSpan { segment, chunks } => {
                let mut set = ChunkSet::default();
                set.insert_range(chunks);
                self.missing(node, segment, set, false, events);
            }
            NodeMessage::Missing { segment, chunks, len } => {
                let mut set = ChunkSet::default();
                chunks[..usize::from(len)].iter().for_each(|&c| set.insert(c));
                self.missing(node, segment, set, false, events);
            }
            NodeMessage::Error(_) | NodeMessage::Status(_) | NodeMessage::ReplyPart { .. } => {}
        }
    }

    /// Notes what a node misses, as far as it was ever to be sent. A node that misses a `whole` segment can
    /// wait for its turn; one that misses a part has a buffer waiting for it.
    fn missing(
        &mut self,
        node: NodeId,
        segment: u16,
        mut set: ChunkSet,
        whole: bool,
        events: &mut VecDeque<BusEvent>,
    ) {
        let Some(ranges) = self.image.segments().get(usize::from(segment)).and_then(|s| s.ranges) else {
            return;
        };
        set.intersect(ChunkSet::of(ranges));
        let Some(progress) = self.nodes.get_mut(&node).filter(|p| !p.demoted) else { return };
        let querying = matches!(self.stage, Stage::Query(_));
        if whole && querying {
            let todo = self.todo.entry(segment).or_default();
            let before = todo.len();
            todo.union(set);
            self.total += u64::from(todo.len() - before);
            return;
        }
        if whole && self.todo.contains_key(&segment) {
            return; // it comes anyway
        }
        if querying {
            self.repairs.entry(segment).or_default().union(set);
            return;
        }
        progress.missed += u64::from(set.len());
        let allowed = 512 + self.sent * u64::from(self.options.missed_per_mille) / 1000;
        let hopeless = progress.missed > 512 + HOPELESS * self.image.frames();
        if progress.missed > allowed && self.may_demote() {
            self.demote(node, Demotion::Deaf, events);
            return;
        }
        if hopeless {
            self.starved.push(node);
            self.drop_node(node);
            return;
        }
        // An empty set too: the node did not hear what to expect, and `Seek` tells it.
        self.repairs.entry(segment).or_default().union(set);
    }

    fn demote(&mut self, node: NodeId, why: Demotion, events: &mut VecDeque<BusEvent>) {
        if let Some(progress) = self.nodes.get_mut(&node) {
            progress.demoted = true;
            if let Stage::Closing(ask) = &mut self.stage {
                ask.forget(node);
            }
            events.push_back(BusEvent::Demoted(node, why));
        }
    }

    /// A quarter of the boards at most is left behind: more than that, and it is the group that is slow.
    fn may_demote(&self) -> bool {
        let demoted = self.nodes.values().filter(|p| p.demoted).count();
        self.nodes.len() > 1 && demoted * 4 < self.nodes.len()
    }

    fn main_nodes(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, p)| !p.demoted).map(|(&n, _)| n).collect()
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
                        self.stage = Stage::Begin(ask_begin(now, timing, &self.begin, &nodes, out));
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

    /// Censuses, holds and their limits, in every stage that has begun.
    fn watch(&mut self, now: Micros, out: &mut VecDeque<Frame>, events: &mut VecDeque<BusEvent>) {
        self.looked = now;
        if let Some(census) = &mut self.census
            && let Verdict::Done(silent) = verdict(census, now, out)
        {
            self.census = None;
            self.lose(&silent, events);
        }
        let late = now.since(self.started) > self.schedule();
        let mut slow = None;
        for (&node, progress) in &mut self.nodes {
            if progress.hold_until.is_some_and(|until| now >= until) {
                progress.hold_until = None;
            }
            if late && progress.hold_until.is_some() && !progress.demoted {
                slow = slow.or(Some(node));
            }
        }
        let overdue = now.since(self.started) > self.overdue();
        match slow {
            Some(node) if self.may_demote() => self.demote(node, Demotion::Slow, events),
            Some(node) if overdue => self.lose(&[node], events),
            _ => {}
        }
    }

    /// When boards that keep to their typical times would be ready for more than what was sent so far.
    fn schedule(&self) -> Span {
        let share = (self.options.flash_time.0 * self.sent).checked_div(self.total).unwrap_or(0);
        Span(share + share / 50) + self.options.patience
    }

    /// When even a group of slow boards would long be done.
    fn overdue(&self) -> Span {
        Span((self.options.flash_time.0 + self.options.patience.0) * OVERDUE)
    }

    fn lose(&mut self, silent: &[NodeId], events: &mut VecDeque<BusEvent>) {
        for &node in silent {
            let (last, missed, began) =
                self.nodes.get(&node).map_or((None, 0, false), |p| (p.last, p.missed, p.began));
            self.drop_node(node);
            events.push_back(BusEvent::Lost { node, last, missed, began });
        }
    }

    /// Nodes that missed a frame of block or manifest, if another try is left.
    fn take_again(&mut self) -> Vec<NodeId> {
        self.tries = self.tries.saturating_sub(u8::from(!self.again.is_empty()));
        core::mem::take(&mut self.again).into_iter().filter(|n| self.nodes.contains_key(n)).collect()
    }

    fn send_manifest(&mut self, now: Micros, timing: &Timing, nodes: &[NodeId], out: &mut VecDeque<Frame>) {
        for (n, segment) in self.image.segments().iter().enumerate() {
            out.push_back(control(Control::Manifest { segment: n as u16, crc: segment.crc }));
        }
        let start = Request::Control(Control::Start { session: self.begin.session });
        start.frames(None, out);
        // Comparing reads the whole image: allow 1 us a byte, ten times what the slowest board needs.
        let compare = if self.options.compare { self.image.segments().len() as u64 * 2048 } else { 0 };
        self.stage = Stage::Start(ask(now, timing, nodes, &start, Span(compare), out));
    }

    fn begin_data(&mut self, now: Micros, timing: &Timing, out: &mut VecDeque<Frame>) {
        self.started = now;
        self.census_due = now + timing.census;
        if self.options.compare {
            out.push_back(control(Control::QueryMissing));
            self.stage = Stage::Query(now + timing.answer);
        } else {
            self.stage = Stage::Data;
        }
    }

    /// Everything is sent: ask everybody what is missing.
    fn close(&mut self, now: Micros, timing: &Timing, out: &mut VecDeque<Frame>) {
        out.push_back(control(Control::QueryMissing));
        let request = Request::Control(Control::Census);
        request.frames(None, out);
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

    /// The bus was of no use for a while: every deadline begins anew.
    pub(super) fn postpone(&mut self, now: Micros, timing: &Timing) {
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

    fn paused(&self) -> bool {
        self.nodes.values().any(|p| p.hold_until.is_some() && !p.demoted)
    }

    pub(super) fn poll_transmit(
        &mut self,
        now: Micros,
        timing: &Timing,
        out: &mut VecDeque<Frame>,
        counters: &mut StreamCounters,
        events: &mut VecDeque<BusEvent>,
    ) -> Option<Frame> {
        if !matches!(self.stage, Stage::Data) {
            return None;
        }
        if self.census.is_none() && (now >= self.census_due || self.windows >= CENSUS_WINDOWS) {
            self.take_census(now, timing, out);
            return out.pop_front();
        }
        if self.window.is_none() {
            // A window once open is finished: what a node holds for is the room for the next one. Repairs fill
            // room that is taken already, and without them it would never be free.
            if self.repairs.is_empty() && self.paused() {
                return None;
            }
            self.next_window(now, timing, out, events);
            return out.pop_front();
        }
        let window = self.window.as_mut()?;
        let (segment, repair) = (window.segment, window.repair);
        let index = window.left.pop();
        if window.left.is_empty() {
            self.window = None;
        }
        let index = index?;
        let bytes = self.image.chunk_at(segment, index)?;
        let position = DataPosition { tag: (segment % 4) as u8, index };
        if repair {
            counters.repeated += 1;
        } else {
            counters.data += 1;
            self.sent += 1;
        }
        Some(HostMessage::Data(position, bytes).to_frame())
    }

    fn take_census(&mut self, now: Micros, timing: &Timing, out: &mut VecDeque<Frame>) {
        self.windows = 0;
        self.census_due = now + timing.census;
        let request = Request::Control(Control::Census);
        request.frames(None, out);
        let nodes: Vec<NodeId> = self.nodes.iter().filter(|(_, p)| !p.left).map(|(&n, _)| n).collect();
        self.census = Some(ask(now, timing, &nodes, &request, Span::ZERO, out));
    }

    /// Opens the next window: first what nodes reported missing, then the stream, then the closing census.
    fn next_window(
        &mut self,
        now: Micros,
        timing: &Timing,
        out: &mut VecDeque<Frame>,
        events: &mut VecDeque<BusEvent>,
    ) {
        let (repair, next) = match self.repairs.pop_first() {
            Some(next) => (true, Some(next)),
            None => (false, self.todo.pop_first()),
        };
        let Some((segment, left)) = next else {
            self.close(now, timing, out);
            return;
        };
        let Some(ranges) = self.image.segments().get(usize::from(segment)).and_then(|s| s.ranges) else {
            return;
        };
        let seek = control(Control::Seek(Seek { segment, repair, ranges }));
        out.push_back(seek);
        if repair {
            out.push_back(seek); // whoever misses it would miss the whole repair
        } else {
            self.windows += 1;
            events.push_back(BusEvent::Progress { sent: self.sent, total: self.total });
        }
        self.window = (!left.is_empty()).then_some(Window { segment, left, repair });
    }
}

fn control(control: Control) -> Frame {
    HostMessage::Control(None, control).to_frame()
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
    nodes: &[NodeId],
    out: &mut VecDeque<Frame>,
) -> Ask {
    let mut block = [0; MAX_BLOCK];
    let len = begin.encode(&mut block);
    let request = Request::Block(BlockKind::Begin, block[..len].to_vec());
    request.frames(None, out);
    ask(now, timing, nodes, &request, Span::ZERO, out)
}

fn verdict(ask: &mut Ask, now: Micros, out: &mut VecDeque<Frame>) -> Verdict {
    if ask.is_done() { Verdict::Done(vec![]) } else { ask.handle_timeout(now, out) }
}
