//! The boards of a run that are talked to by their ROM: who works, who waits, what the fixture owes.
//!
//! Boards with ports of their own work side by side; on a bus one board runs at a time, because every ROM answers
//! on the same identifiers. Each has an [`Attempt`]; this lane gives it power, lines and the link, and makes
//! engine events of what it tells. Boards that were given the RAM agent are handed to their bus's own lane.
//!
//! `outputs.rs` carries out what attempts want, `entry.rs` brings boards into their ROM and out of it, `channels.rs`
//! gives boards their turns where a port serves several, `reserve.rs` has boards wait for their identities.

mod channels;
mod entry;
mod outputs;
mod reserve;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use panel_backplane::{BusIndex, Request, Slot, Way};
use panel_codes::Code;
use panel_protocol::frame::Frame;
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;

use self::channels::Channels;
use super::attempt::Attempt;
use super::session::Packet;
use crate::board::{Board, SlotState};
use crate::event::{BusRate, Event, LinkEvent, Phase, PortOutput, Step};
use crate::plan::Plan;
use crate::verdict::{Outcome, STOPPED, Verdict};
use reserve::Waiting;

/// A request to the fixture whose end is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u32);

/// What is to go on when the fixture, or the adapter, is ready.
#[derive(Debug)]
enum Purpose {
    /// These boards start their ROM now.
    Entry(Vec<Slot>),
    /// The line action of this board's session is done.
    Line(Slot),
}

/// Why the adapter of the bus changes its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RateFor {
    /// The next board's ROM begins.
    NextBoard,
    /// The session of this board asked for it.
    Session(Slot),
    /// The bus goes back to the panel's rate.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing to do, or all done.
    Done,
    Working,
    /// All attempts are over; the bus gets its rate back.
    Leaving,
    /// Boards can be taken.
    Ready,
}

/// A board that is being worked on.
#[derive(Debug)]
struct Working {
    attempt: Attempt,
    wait: Micros,
    /// The fixture has just started the board's ROM: the session need not ask for that.
    fresh: bool,
    /// Bytes done and to do, of what is written and read back.
    done: (u64, u64),
}

/// Boards reached through their ROM.
pub(crate) struct RomLane {
    /// The bus of phases and progress, and of boards that share one.
    pub(crate) index: BusIndex,
    plan: Arc<Plan>,
    pub(crate) boards: BTreeMap<Slot, Board>,
    stage: Stage,
    /// Boards of the bus that wait for their turn.
    queue: VecDeque<Slot>,
    /// The board whose turn it is.
    turn: Option<Slot>,
    channels: Channels,
    working: BTreeMap<Slot, Working>,
    again: BTreeSet<Slot>,
    tickets: u32,
    waits: BTreeMap<Ticket, Purpose>,
    rate_for: VecDeque<RateFor>,
    waiting: Waiting,
    /// Boards whose identities are to be reserved.
    pub(crate) reserve: Vec<(Slot, Uid)>,
    pub(crate) fixture: VecDeque<(Request, Option<Ticket>)>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) rates: VecDeque<BusRate>,
    frames: VecDeque<Frame>,
    ports: BTreeMap<Slot, VecDeque<PortOutput>>,
    phase: Option<Phase>,
    told: u64,
    interrupted: bool,
}

impl RomLane {
    pub(crate) fn new(plan: &Arc<Plan>, index: BusIndex) -> Self {
        Self {
            index,
            plan: Arc::clone(plan),
            boards: BTreeMap::new(),
            stage: Stage::Done,
            queue: VecDeque::new(),
            turn: None,
            channels: Channels::default(),
            working: BTreeMap::new(),
            again: BTreeSet::new(),
            tickets: 0,
            waits: BTreeMap::new(),
            rate_for: VecDeque::new(),
            waiting: Waiting::default(),
            reserve: Vec::new(),
            fixture: VecDeque::new(),
            events: VecDeque::new(),
            rates: VecDeque::new(),
            frames: VecDeque::new(),
            ports: BTreeMap::new(),
            phase: None,
            told: 0,
            interrupted: false,
        }
    }

    /// Begins an attempt with each of these boards; slots marked bad are only told so.
    pub(crate) fn begin(&mut self, now: Micros, boards: impl IntoIterator<Item = Board>) {
        let boards: BTreeMap<Slot, Board> = boards.into_iter().map(|b| (b.slot, b)).collect();
        let slots: Vec<Slot> = boards.values().filter(|b| !b.bad).map(|b| b.slot).collect();
        let bad: Vec<Slot> = boards.values().filter(|b| b.bad).map(|b| b.slot).collect();
        self.boards.extend(boards);
        for slot in bad {
            self.conclude(now, slot, Verdict::skipped());
        }
        if slots.is_empty() {
            return;
        }
        self.stage = Stage::Working;
        self.phase(Phase::Power);
        slots.iter().for_each(|&slot| self.begin_attempt(now, slot));
        self.enter(now, &slots);
    }

    /// Takes boards that an agent has given image and identity: option bytes and lock are left, in the same attempt.
    pub(crate) fn finish_boards(&mut self, now: Micros, boards: Vec<Board>) {
        let slots: Vec<Slot> = boards.iter().map(|b| b.slot).collect();
        self.boards.extend(boards.into_iter().map(|b| (b.slot, b)));
        self.stage = Stage::Working;
        self.phase(Phase::Finish);
        self.restart_all(now, &slots);
    }

    fn begin_attempt(&mut self, now: Micros, slot: Slot) {
        let Some(board) = self.boards.get_mut(&slot) else { return };
        board.verdict = None;
        board.begin_attempt(now);
        self.events.push_back(Event::Attempt { slot, number: board.attempt });
        self.events.push_back(Event::StepBegan { slot, step: Step::Power });
        self.events.push_back(Event::State { slot, state: SlotState::Searching });
    }

    // Inputs

    pub(crate) fn handle_frame(&mut self, now: Micros, frame: &Frame) {
        let Some(slot) = self.turn else { return };
        let panel_protocol::frame::Id::Standard(id) = frame.id() else { return };
        let make = if frame.is_fd() {
            stm32_rom_bootloader::Frame::fd
        } else {
            stm32_rom_bootloader::Frame::classic
        };
        if let (Some(working), Some(frame)) = (self.working.get_mut(&slot), make(id, frame.data())) {
            working.attempt.handle_rx(now, &Packet::Frame(frame));
            self.pump(now, slot);
        }
        self.gather(now);
    }

    pub(crate) fn handle_bytes(&mut self, now: Micros, slot: Slot, bytes: &[u8]) {
        if let Some(working) = self.working.get_mut(&slot) {
            working.attempt.handle_rx(now, &Packet::Bytes(bytes.to_vec()));
            self.pump(now, slot);
        }
        self.gather(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Micros) {
        let due: Vec<Slot> =
            self.working.iter().filter(|(_, w)| w.wait <= now).map(|(slot, _)| *slot).collect();
        for slot in due {
            if let Some(working) = self.working.get_mut(&slot) {
                working.attempt.handle_timeout(now);
                self.pump(now, slot);
            }
        }
        self.gather(now);
    }

    pub(crate) fn handle_fixture_done(&mut self, now: Micros, ticket: Ticket) {
        match self.waits.remove(&ticket) {
            Some(Purpose::Entry(slots)) => slots.into_iter().for_each(|slot| self.start(now, slot)),
            Some(Purpose::Line(slot)) => self.line_done(now, slot, true),
            None => {}
        }
    }

    /// The adapter has the rate that was asked for, or cannot have it.
    pub(crate) fn handle_bit_rate(&mut self, now: Micros, done: bool) {
        match self.rate_for.pop_front() {
            Some(RateFor::Session(slot)) => self.line_done(now, slot, done),
            Some(RateFor::NextBoard | RateFor::End) if !done => {
                self.give_up(now, Code::LinkDown, "the adapter cannot change its bit rate");
            }
            Some(RateFor::NextBoard) => self.release_turn(now),
            Some(RateFor::End) => self.stage = Stage::Ready,
            None => {}
        }
    }

    /// Something about the bus.
    pub(crate) fn handle_link(&mut self, now: Micros, event: LinkEvent) {
        match event {
            LinkEvent::Down => self.give_up(now, Code::LinkDown, "the link to the bus is gone"),
            // Sessions notice by themselves that nobody answers.
            LinkEvent::BusError
            | LinkEvent::ErrorPassive
            | LinkEvent::BusOff
            | LinkEvent::Restarted
            | LinkEvent::NoAck
            | LinkEvent::Stuck => {}
        }
    }

    /// Something about a slot's port.
    pub(crate) fn handle_port_link(&mut self, now: Micros, slot: Slot, event: LinkEvent) {
        let text = match event {
            LinkEvent::Down => "the port is gone",
            LinkEvent::Stuck => "the port takes no bytes",
            _ => return,
        };
        self.handle_port_fault(now, slot, Code::PortGone, text);
    }

    /// A slot's port cannot be used.
    pub(crate) fn handle_port_fault(&mut self, now: Micros, slot: Slot, code: Code, why: &str) {
        if self.boards.get(&slot).is_some_and(Board::is_active) {
            self.fail(now, slot, code, why);
            self.gather(now);
        }
    }

    /// Every board that is still worked on ends with this code.
    pub(crate) fn give_up(&mut self, now: Micros, code: Code, why: &str) {
        self.again.clear();
        self.queue.clear();
        let slots: Vec<Slot> = self.boards.values().filter(|b| b.verdict.is_none()).map(|b| b.slot).collect();
        for slot in slots {
            let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
            self.end_attempt(now, slot, Verdict::failure(code, step, why), false);
        }
        if self.stage != Stage::Done {
            self.phase(Phase::Done);
            self.stage = Stage::Ready;
        }
    }

    /// Boards whose ROM writes option bytes have until the end of that (`pump`): power that goes then can cost them for good.
    pub(crate) fn interrupt(&mut self, now: Micros) {
        self.interrupted = true;
        let writing = |slot: &Slot| self.working.get(slot).is_some_and(|w| w.attempt.writes_options());
        let (writes, others): (Vec<Slot>, Vec<Slot>) =
            self.boards.values().filter(|b| b.verdict.is_none()).map(|b| b.slot).partition(writing);
        if writes.is_empty() && self.is_busy() {
            self.give_up(now, Code::Interrupted, STOPPED);
            return;
        }
        self.again.clear();
        self.queue.clear();
        for slot in others {
            let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
            self.end_attempt(now, slot, Verdict::failure(Code::Interrupted, step, STOPPED), false);
        }
    }

    // Outputs

    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        self.working.values().map(|w| w.wait).chain(self.waiting.until()).min()
    }

    pub(crate) fn poll_bytes(&mut self, slot: Slot) -> Option<PortOutput> {
        self.ports.get_mut(&slot)?.pop_front()
    }

    /// The next frame; none while the adapter changes its rate.
    pub(crate) fn poll_transmit(&mut self) -> Option<Frame> {
        if self.rate_for.is_empty() { self.frames.pop_front() } else { None }
    }

    /// Whether this board's ROM is being talked to.
    pub(crate) fn is_working(&self, slot: Slot) -> bool {
        self.working.contains_key(&slot)
    }

    /// Whether some board is still worked on.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.stage, Stage::Working | Stage::Leaving)
    }

    /// The boards, once all of their attempts are over.
    pub(crate) fn take_ready(&mut self) -> Option<BTreeMap<Slot, Board>> {
        if self.stage != Stage::Ready {
            return None;
        }
        self.stage = Stage::Done;
        Some(core::mem::take(&mut self.boards))
    }

    /// The boards stay; there is nobody to hand them to.
    pub(crate) fn keep_ready(&mut self) {
        if self.stage == Stage::Ready {
            self.stage = Stage::Done;
        }
    }

    // Shared

    fn way(&self, slot: Slot) -> Way {
        self.plan.ways.get(&slot).copied().unwrap_or(Way::Multidrop)
    }

    fn phase(&mut self, phase: Phase) {
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            self.events.push_back(Event::Phase { bus: self.index, phase });
        }
    }

    fn set_state(&mut self, slot: Slot, state: SlotState) {
        if let Some(board) = self.boards.get_mut(&slot)
            && board.state != state
        {
            board.state = state;
            self.events.push_back(Event::State { slot, state });
        }
    }

    fn enter_step(&mut self, slot: Slot, step: Step) {
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active() && b.step != step) else {
            return;
        };
        self.events.push_back(Event::StepEnded { slot, step: board.step, ok: true });
        board.step = step;
        self.events.push_back(Event::StepBegan { slot, step });
    }

    fn fail(&mut self, now: Micros, slot: Slot, code: Code, detail: impl Into<String>) {
        let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
        self.conclude(now, slot, Verdict::failure(code, step, detail));
    }

    fn conclude(&mut self, now: Micros, slot: Slot, verdict: Verdict) {
        let retries = self.plan.recipe.retries;
        let again = self.boards.get(&slot).is_some_and(|b| b.attempt > 0 && b.attempt <= retries)
            && verdict.is_worth_a_retry()
            && !self.working.get(&slot).is_some_and(|w| w.attempt.may_be_locked())
            && !self.interrupted;
        self.end_attempt(now, slot, verdict, again);
        self.go_on(now);
    }

    fn end_attempt(&mut self, now: Micros, slot: Slot, mut verdict: Verdict, again: bool) {
        let locks = self.plan.recipe.finishing.lock.level().is_some();
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.verdict.is_none()) else { return };
        if verdict.outcome == Outcome::Pass && locks && !board.proved {
            verdict = Verdict::failure(Code::LockNotProven, board.step, "no proof of its lock");
        }
        let (ok, begun) = (verdict.code.is_none(), board.attempt > 0);
        if begun {
            self.events.push_back(Event::StepEnded { slot, step: board.step, ok });
        }
        board.ended = now;
        board.state = SlotState::Ended;
        board.verdict = Some(verdict.clone());
        // Another attempt of a board that ran an agent begins on its bus.
        let here = again && !board.to_finish;
        board.again = again && board.to_finish;
        self.events.push_back(Event::Ended { slot, verdict, again });
        self.dismiss(slot);
        if begun {
            self.leave(slot, ok);
        }
        if here {
            self.again.insert(slot);
        }
    }

    /// Nothing more is heard of a board's session.
    fn dismiss(&mut self, slot: Slot) {
        self.working.remove(&slot);
        self.ports.remove(&slot);
        self.waiting.forget(slot);
        self.reserve.retain(|(s, _)| *s != slot);
        self.queue.retain(|s| *s != slot);
        self.channels.release(slot);
        self.waits.retain(|_, purpose| match purpose {
            Purpose::Entry(slots) => {
                slots.retain(|s| *s != slot);
                !slots.is_empty()
            }
            Purpose::Line(s) => *s != slot,
        });
        if self.turn == Some(slot) {
            self.turn = None;
            self.frames.clear();
        }
    }

    /// The next board of the bus, then further attempts, then the end.
    fn go_on(&mut self, now: Micros) {
        if self.stage != Stage::Working {
            return;
        }
        // A board with a port of its own need not wait for the others to have another try.
        let ready: Vec<Slot> = self.again.iter().copied().filter(|s| self.way(*s).needs_port()).collect();
        for slot in ready {
            self.again.remove(&slot);
            self.begin_attempt(now, slot);
            self.enter_again(slot);
        }
        self.connect_next();
        if self.turn.is_none() && self.queue.is_empty() {
            let again = core::mem::take(&mut self.again);
            for slot in again {
                self.begin_attempt(now, slot);
                self.queue.push_back(slot);
            }
        }
        if self.turn.is_none() && !self.queue.is_empty() {
            self.next_turn(now);
        }
        let waiting = !self.queue.is_empty() || !self.channels.is_empty();
        if self.turn.is_none() && self.working.is_empty() && self.waits.is_empty() && !waiting {
            self.finish(now);
        }
    }

    fn finish(&mut self, now: Micros) {
        self.phase(Phase::Done);
        let bus = self.plan.panel.buses.get(self.index.index());
        let used = bus.filter(|_| self.boards.values().any(|b| self.way(b.slot).rom_on_bus()));
        match used.cloned() {
            Some(bus) => {
                self.stage = Stage::Leaving;
                self.want_rate(now, entry::panel_rate(&bus), RateFor::End);
            }
            None => self.stage = Stage::Ready,
        }
    }
}
