//! One bus of a run: the order of stages, and who still takes part.
//!
//! Power, discovery, checks, the broadcast, verification and commit run for all boards of a bus together; a
//! board that fails leaves with its own verdict and the others go on. Boards that held the others up get a
//! second pass after the others are done, boards whose failure a new attempt may cure get that last.
//!
//! `find.rs` has everything up to a checked board, `transfer.rs` the image, `finish.rs` the rest.

mod find;
mod finish;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use panel_backplane::{BusIndex, Request as FixtureRequest, Slot};
use panel_codes::Code;
use panel_protocol::frame::Frame;
use panel_protocol::host::{BusEvent, BusMaster};
use panel_protocol::ident::NodeId;
use panel_protocol::time::{Micros, Span};

use crate::board::{Board, SlotState};
use crate::event::{Event, LinkEvent, Phase, Step};
use crate::plan::Plan;
use crate::verdict::Verdict;

/// Where a bus stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing asked yet.
    Idle,
    /// The fixture switches power.
    Power,
    /// Boards start.
    StartUp(Micros),
    Discover,
    /// Currents of slots where nobody answered are read.
    SenseAbsent,
    Info,
    Profile,
    Program,
    /// Full digests and region checks.
    Verify(u8),
    Digest(u8),
    Commit,
    Start,
    /// Boards that missed too much say how much they lost.
    Statistics,
    /// Who was lost is looked for again.
    Search,
    SearchInfo,
    /// Who was not found is reset,
    SearchReset,
    /// has time to start,
    SearchStart(Micros),
    /// and is looked for once more.
    SearchAgain,
    /// Everybody has a verdict.
    Done,
}

/// One bus of a run.
pub(crate) struct Lane {
    pub(crate) bus: BusIndex,
    pub(crate) plan: Arc<Plan>,
    pub(crate) master: BusMaster,
    pub(crate) boards: BTreeMap<Slot, Board>,
    pub(crate) stage: Stage,
    /// Slots that the present pass is about.
    pub(crate) group: BTreeSet<Slot>,
    /// Boards left to a second pass of the same session.
    pub(crate) stragglers: BTreeSet<Slot>,
    /// Boards that are left out because they miss too much; what they lost is asked at the end.
    pub(crate) deaf: BTreeSet<Slot>,
    /// Boards whose attempt may be repeated.
    pub(crate) again: BTreeSet<Slot>,
    pub(crate) fixture: VecDeque<FixtureRequest>,
    pub(crate) sense: VecDeque<Vec<Slot>>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) no_ack: bool,
    pub(crate) interrupted: bool,
    /// Frames of others seen at the last look, for telling a flooded bus.
    pub(crate) flood: Flood,
}

/// Watch over frames that are nobody's answer.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    pub(crate) seen: u64,
    pub(crate) since: Micros,
    /// Slots suspected, the likeliest first, while one is being isolated.
    pub(crate) suspects: VecDeque<Slot>,
    pub(crate) trial: Option<(Slot, Micros)>,
    pub(crate) sensing: bool,
}

/// Foreign frames within [`FLOOD_WINDOW`] that make a flood: a quarter of what 1 Mbit/s can carry.
const FLOOD_FRAMES: u64 = 100;
const FLOOD_WINDOW: Span = Span::from_millis(50);
/// Time without a foreign frame that proves that the slot switched off was the one.
const FLOOD_SILENCE: Span = Span::from_millis(5);

impl Lane {
    pub(crate) fn new(plan: &Arc<Plan>, bus: BusIndex, session: u8) -> Self {
        let slots = plan.panel.on_bus(bus);
        let boards = slots.map(|s| (s.slot, Board::new(s.slot, bus, s.strap, s.bad))).collect();
        Self {
            bus,
            plan: Arc::clone(plan),
            master: BusMaster::new(plan.timing(bus.index()), session),
            boards,
            stage: Stage::Idle,
            group: BTreeSet::new(),
            stragglers: BTreeSet::new(),
            deaf: BTreeSet::new(),
            again: BTreeSet::new(),
            fixture: VecDeque::new(),
            sense: VecDeque::new(),
            events: VecDeque::new(),
            no_ack: false,
            interrupted: false,
            flood: Flood::default(),
        }
    }

    /// Begins the first attempt of every slot that is not marked bad.
    pub(crate) fn start(&mut self, now: Micros) {
        let (bad, good): (Vec<Slot>, Vec<Slot>) = self.boards.keys().partition(|s| self.boards[s].bad);
        for slot in bad {
            self.conclude(now, slot, Verdict::skipped());
        }
        self.begin_attempts(now, good.into_iter().collect());
    }

    pub(crate) fn begin_attempts(&mut self, now: Micros, slots: BTreeSet<Slot>) {
        self.group = slots;
        if self.group.is_empty() {
            self.stage = Stage::Done;
            self.phase(Phase::Done);
            return;
        }
        self.phase(Phase::Power);
        for slot in &self.group {
            let Some(board) = self.boards.get_mut(slot) else { continue };
            board.begin_attempt(now);
            self.events.push_back(Event::Attempt { slot: *slot, number: board.attempt });
            self.events.push_back(Event::StepBegan { slot: *slot, step: Step::Power });
            self.events.push_back(Event::State { slot: *slot, state: SlotState::Searching });
        }
        let slots: Vec<Slot> = self.group.iter().copied().collect();
        self.fixture.push_back(FixtureRequest::PowerOn(slots));
        self.stage = Stage::Power;
    }

    // Inputs

    pub(crate) fn handle_frame(&mut self, now: Micros, frame: &Frame) {
        self.no_ack = false;
        self.master.handle_frame(now, frame);
        self.watch_flood(now);
        self.drain(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Micros) {
        self.check_trial(now);
        if self.is_flooded() {
            return;
        }
        match self.stage {
            Stage::StartUp(until) if now >= until => self.start_discovery(now),
            Stage::SearchStart(until) if now >= until => self.search_again(now),
            _ => {}
        }
        self.master.handle_timeout(now);
        self.drain(now);
    }

    /// The fixture has done what it was asked to do and this lane waits for.
    pub(crate) fn handle_fixture_done(&mut self, now: Micros) {
        let until = now + self.plan.recipe.limits.start_up;
        match self.stage {
            Stage::Power => self.stage = Stage::StartUp(until),
            Stage::SearchReset => self.stage = Stage::SearchStart(until),
            _ => {}
        }
    }

    /// The source of a flood is being looked for: nothing else can be done on the bus.
    const fn is_flooded(&self) -> bool {
        self.flood.sensing || self.flood.trial.is_some()
    }

    pub(crate) fn handle_link(&mut self, now: Micros, event: LinkEvent) {
        match event {
            LinkEvent::NoAck => self.no_ack = true,
            LinkEvent::BusError | LinkEvent::ErrorPassive | LinkEvent::BusOff => {}
            LinkEvent::Down => self.give_up(now, Code::LinkDown, "the link to the bus is gone"),
            LinkEvent::Stuck => {
                self.give_up(now, Code::TransmitStuck, "a frame waited too long for its transmission");
            }
        }
    }

    /// Every board of the bus ends with this code.
    pub(crate) fn give_up(&mut self, now: Micros, code: Code, why: &str) {
        self.master.stop();
        let slots: Vec<Slot> = self.boards.values().filter(|b| b.verdict.is_none()).map(|b| b.slot).collect();
        for slot in slots {
            let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
            self.conclude(now, slot, Verdict::failure(code, step, why));
        }
        self.again.clear();
        self.stragglers.clear();
        self.stage = Stage::Done;
        self.phase(Phase::Done);
    }

    pub(crate) fn interrupt(&mut self, now: Micros) {
        self.interrupted = true;
        if self.stage != Stage::Done {
            self.give_up(now, Code::Interrupted, "stopped by the operator");
        }
    }

    fn drain(&mut self, now: Micros) {
        while let Some(event) = self.master.poll_event() {
            self.handle_bus_event(now, event);
        }
    }

    fn handle_bus_event(&mut self, now: Micros, event: BusEvent) {
        match event {
            BusEvent::Discovered(discovered) => self.discovered(now, &discovered),
            BusEvent::Answered(node, answer) => self.answered(now, node, answer),
            BusEvent::Asked { silent } => self.asked(now, &silent),
            BusEvent::Refused { node, opcode, refusal } => self.refused(now, node, opcode, refusal),
            BusEvent::Fault(node, report) => self.fault(now, node, report),
            BusEvent::Lost { node, last, missed, began } => self.lost(node, last, missed, began),
            BusEvent::Demoted(node, why) => self.demoted(node, why),
            BusEvent::Census(node, status) => self.census(node, status),
            BusEvent::Progress { sent, total } => {
                self.events.push_back(Event::Progress { bus: self.bus, sent, total });
            }
            BusEvent::Streamed { complete, stragglers, starved } => {
                self.streamed(now, &complete, &stragglers, &starved);
            }
        }
    }

    // Outputs

    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        if self.is_flooded() {
            return self.flood.trial.map(|(_, at)| at + FLOOD_SILENCE);
        }
        let start_up = match self.stage {
            Stage::StartUp(until) | Stage::SearchStart(until) => Some(until),
            _ => None,
        };
        start_up.into_iter().chain(self.master.next_timeout()).min()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    // Shared by the stages

    pub(crate) fn phase(&mut self, phase: Phase) {
        self.events.push_back(Event::Phase { bus: self.bus, phase });
    }

    pub(crate) fn note(&mut self, slot: Option<Slot>, topic: &'static str, text: String) {
        self.events.push_back(Event::Note { slot, topic, text });
    }

    pub(crate) fn slot_of(&self, node: NodeId) -> Option<Slot> {
        self.boards.values().find(|b| b.node == Some(node)).map(|b| b.slot)
    }

    /// Nodes of the group that still take part, in order.
    pub(crate) fn active(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self
            .group
            .iter()
            .filter_map(|s| self.boards.get(s))
            .filter(|b| b.is_active() && b.state != SlotState::Straggling)
            .filter_map(|b| b.node)
            .collect();
        nodes.sort_unstable();
        nodes
    }

    pub(crate) fn set_state(&mut self, slot: Slot, state: SlotState) {
        if let Some(board) = self.boards.get_mut(&slot)
            && board.state != state
        {
            board.state = state;
            self.events.push_back(Event::State { slot, state });
        }
    }

    /// Ends the running step of every active board well and begins the next.
    pub(crate) fn advance_step(&mut self, step: Step, state: SlotState) {
        let nodes = self.active();
        for node in nodes {
            if let Some(slot) = self.slot_of(node) {
                self.enter_step(slot, step);
                self.set_state(slot, state);
            }
        }
    }

    pub(crate) fn enter_step(&mut self, slot: Slot, step: Step) {
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active()) else { return };
        if board.step != step {
            self.events.push_back(Event::StepEnded { slot, step: board.step, ok: true });
            board.step = step;
            self.events.push_back(Event::StepBegan { slot, step });
        }
    }

    /// The board's attempt ends with a failure at its present step.
    pub(crate) fn fail(&mut self, now: Micros, slot: Slot, code: Code, detail: impl Into<String>) {
        let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
        self.conclude(now, slot, Verdict::failure(code, step, detail));
    }

    pub(crate) fn conclude(&mut self, now: Micros, slot: Slot, verdict: Verdict) {
        let retries = self.plan.recipe.retries;
        let again = self.boards.get(&slot).is_some_and(|b| b.attempt > 0 && b.attempt <= retries)
            && verdict.is_worth_a_retry()
            && !self.interrupted;
        self.end_attempt(now, slot, verdict, again);
    }

    /// Ends an attempt; `again`: another one follows.
    fn end_attempt(&mut self, now: Micros, slot: Slot, verdict: Verdict, again: bool) {
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.verdict.is_none()) else { return };
        let ok = verdict.code.is_none();
        if board.attempt > 0 {
            self.events.push_back(Event::StepEnded { slot, step: board.step, ok });
        }
        board.ended = now;
        board.state = SlotState::Ended;
        let node = board.node.take();
        let powered = board.attempt > 0;
        board.verdict = Some(verdict.clone());
        self.events.push_back(Event::Ended { slot, verdict, again });
        if let Some(node) = node {
            self.master.drop_node(node);
            self.master.release(node);
        }
        if again {
            self.again.insert(slot);
        }
        let switchable = self.plan.panel.slot(slot).is_some_and(|s| s.lines.power.is_some());
        if powered && switchable && !ok {
            self.fixture.push_back(FixtureRequest::PowerOff(vec![slot]));
        }
    }

    // A board that floods the bus

    fn watch_flood(&mut self, now: Micros) {
        let foreign = self.master.tally().foreign;
        if now.since(self.flood.since) >= FLOOD_WINDOW {
            (self.flood.seen, self.flood.since) = (foreign, now);
        }
        let flooded = foreign - self.flood.seen >= FLOOD_FRAMES;
        if flooded && self.flood.trial.is_none() && !self.flood.sensing && self.stage != Stage::Done {
            self.flood.sensing = true;
            let powered = self.boards.values().filter(|b| b.attempt > 0 && b.verdict.is_none());
            self.sense.push_back(powered.map(|b| b.slot).collect());
        }
    }

    /// Supply currents have been read: the board that drives the bus draws most.
    pub(crate) fn handle_currents(&mut self, now: Micros, currents: &[(Slot, Option<u32>)]) {
        if self.flood.sensing {
            self.flood.sensing = false;
            let mut suspects: Vec<(Slot, u32)> =
                currents.iter().map(|&(s, ma)| (s, ma.unwrap_or(0))).collect();
            suspects.sort_by_key(|&(slot, ma)| (core::cmp::Reverse(ma), slot));
            self.flood.suspects = suspects.into_iter().map(|(slot, _)| slot).collect();
            self.next_trial(now);
            return;
        }
        for &(slot, current) in currents {
            if let Some(board) = self.boards.get_mut(&slot) {
                board.current = current;
            }
        }
        if self.stage == Stage::SenseAbsent {
            self.absent(now);
        }
        self.drain(now);
    }

    fn next_trial(&mut self, now: Micros) {
        let Some(slot) = self.flood.suspects.pop_front() else {
            self.give_up(now, Code::BusFlooded, "foreign frames flood the bus and no slot is their source");
            return;
        };
        self.fixture.push_back(FixtureRequest::PowerOff(vec![slot]));
        self.flood.trial = Some((slot, now));
        self.flood.seen = self.master.tally().foreign;
    }

    fn check_trial(&mut self, now: Micros) {
        let Some((slot, since)) = self.flood.trial else { return };
        if now < since + FLOOD_SILENCE {
            return;
        }
        self.flood.trial = None;
        let foreign = self.master.tally().foreign;
        let quiet = foreign - self.flood.seen < FLOOD_FRAMES / 20;
        (self.flood.seen, self.flood.since) = (foreign, now);
        if quiet {
            let text = "flooded the bus until its power was cut";
            self.fail(now, slot, Code::Babbling, text);
            self.flood.suspects.clear();
            self.master.postpone(now);
        } else {
            // It was not this one, but it has lost its power and all it had received.
            let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
            let text = "switched off while the source of a flood was looked for";
            self.end_attempt(now, slot, Verdict::failure(Code::BusFlooded, step, text), true);
            self.next_trial(now);
        }
    }
}
