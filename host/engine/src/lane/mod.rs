//! One bus of a run: the order of stages, and who still takes part.
//!
//! Power, discovery, checks, the broadcast, verification and commit run for all boards of a bus together; a
//! board that fails leaves with its own verdict and the others go on. Boards that held the others up get a
//! second pass after the others are done, boards whose failure a new attempt may cure get that last.
//!
//! `find.rs` and `bind.rs` have everything up to a checked board, `transfer.rs` the image, `own.rs` boards' own images, `factory.rs` what a
//! factory adds, `finish.rs` the rest, `install.rs` the wait for boards with a second slot,
//! `agents.rs` the boards that others load or finish through their ROM, `progress.rs` what is told of boards and how attempts end,
//! `lines.rs` what the fixture is asked for, `flood.rs` the watch over boards that flood the bus.

mod agents;
mod bind;
mod factory;
mod find;
mod finish;
mod flood;
mod identity;
mod install;
mod key;
mod lines;
mod own;
mod progress;
mod protect;
mod restart;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use panel_backplane::{Binding, BusIndex, Request as FixtureRequest, Slot};
use panel_codes::Code;
use panel_protocol::frame::Frame;
use panel_protocol::host::{BusEvent, BusMaster};
use panel_protocol::node::Uid;
use panel_protocol::time::{Micros, Span};

use crate::board::{Board, SlotState};
use crate::event::{Event, LinkEvent, Phase, Step};
use crate::finishing::KeyMade;
use crate::plan::{Home, Plan};
use crate::rom::is_agent;
use crate::verdict::{STOPPED, Verdict};
use bind::Rounds;
use factory::{Factory, Work};
use flood::Flood;
use install::Then;
pub(crate) use own::shared;

/// Where a bus stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing asked yet.
    Idle,
    /// Boards are given the RAM agent through their ROM, by others.
    Load,
    /// Option bytes and lock of boards that ran an agent go through their ROM, by others.
    RomFinish,
    /// The fixture switches power.
    Power,
    /// Boards start.
    StartUp(Micros),
    Discover,
    /// Another bus uses the fixture's select lines.
    BindTurn,
    /// One round of binding without straps: the fixture switches,
    BindSwitch,
    /// boards start,
    BindStartUp(Micros),
    /// and say who they are.
    BindDiscover,
    /// Currents of slots where nobody answered are read.
    SenseAbsent,
    Info,
    Profile,
    /// Whoever keeps the identities is asked.
    Reserve,
    Program,
    /// Boards with images of their own have what all have in common in flash; asked by region.
    Shared(u8),
    /// One board gets what is its own.
    Own,
    /// Full digests and region checks.
    Verify(u8),
    Digest(u8),
    /// Whoever keeps the identities certifies the keys that boards made.
    Certify,
    /// Boards prove that they are still those that were identified.
    Prove,
    Commit,
    /// Boards bring an image from their second slot to its place: how far are they?
    Install(Then),
    /// They are given some time.
    InstallPause(Then, Micros),
    /// What is in its place now; asked by region.
    Installed(u8),
    /// Identity, option bytes, protection.
    Factory(Factory),
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
    /// Boards that are left out because they miss too much, and how often they are yet to be told; what they lost
    /// is asked at the end.
    pub(crate) deaf: BTreeMap<Slot, u8>,
    /// Boards whose attempt may be repeated.
    pub(crate) again: BTreeSet<Slot>,
    /// Boards whose read-back check of the present region is in.
    pub(crate) verified: BTreeSet<Slot>,
    /// When the others go on without those that are still to be checked.
    pub(crate) hurry: Option<Micros>,
    /// What the fixture is asked for, and whether this lane waits for it.
    pub(crate) fixture: VecDeque<(FixtureRequest, bool)>,
    pub(crate) sense: VecDeque<Vec<Slot>>,
    /// Boards that wait for an identity and have not been asked for yet.
    pub(crate) reserve: Vec<(Slot, Uid)>,
    /// Boards that made their keys and wait for their certificates.
    pub(crate) certify: Vec<KeyMade>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) no_ack: bool,
    /// The station's own controller is off the bus.
    pub(crate) bus_off: bool,
    pub(crate) interrupted: bool,
    /// Data frames of the pass sent so far.
    pub(crate) sent: u64,
    /// Error frames since a frame of a board was last heard.
    pub(crate) errors: u32,
    /// When the pass under way is given up.
    pub(crate) deadline: Option<Micros>,
    /// When installations that are waited for are overdue.
    installed_by: Micros,
    /// Quarter of an image that the slowest board had in its place when that was last told.
    install_quarter: Option<u8>,
    /// Discoveries of this pass that were repeated for boards that draw current and do not answer.
    pub(crate) looks: u8,
    /// Actions that the fixture still owes.
    pub(crate) owed: u32,
    pub(crate) binding: Rounds,
    pub(crate) flood: Flood,
    /// Slots whose boards are to be given the RAM agent.
    pub(crate) to_load: BTreeSet<Slot>,
    /// Slots whose boards are to get option bytes and lock through their ROM.
    pub(crate) to_finish: BTreeSet<Slot>,
    /// Boards that are yet to get the image that is their own.
    to_give: BTreeSet<Slot>,
    /// Identity, option bytes, protection: what is under way.
    work: Work,
}

/// Error frames without a frame in between that make a bus useless: an error-active controller is off the bus
/// after 32 of its own.
const DISTURBED: u32 = 64;
/// Time for clearing up after a pass that used up its own.
const CLEARING: Span = Span::from_millis(5000);

impl Lane {
    pub(crate) fn new(plan: &Arc<Plan>, bus: BusIndex, session: u8) -> Self {
        let slots = plan.panel.slots.iter().filter(|s| plan.home(s) == Home::Bus(bus));
        let boards = slots.map(|s| (s.slot, Board::new(s.slot, bus, s.strap, s.bad))).collect();
        Self {
            bus,
            plan: Arc::clone(plan),
            master: BusMaster::new(plan.timing(bus.index()), session),
            boards,
            stage: Stage::Idle,
            group: BTreeSet::new(),
            stragglers: BTreeSet::new(),
            deaf: BTreeMap::new(),
            again: BTreeSet::new(),
            verified: BTreeSet::new(),
            hurry: None,
            fixture: VecDeque::new(),
            sense: VecDeque::new(),
            reserve: Vec::new(),
            certify: Vec::new(),
            events: VecDeque::new(),
            no_ack: false,
            bus_off: false,
            interrupted: false,
            sent: 0,
            errors: 0,
            deadline: None,
            installed_by: Micros::ZERO,
            install_quarter: None,
            looks: 0,
            owed: 0,
            binding: Rounds::default(),
            flood: Flood::default(),
            to_load: BTreeSet::new(),
            to_finish: BTreeSet::new(),
            to_give: BTreeSet::new(),
            work: Work::default(),
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
            if !self.boards.is_empty() {
                self.phase(Phase::Done);
            }
            return;
        }
        let agents = |s: &&Slot| self.plan.ways.get(s).is_some_and(|way| is_agent(*way));
        self.to_load = self.group.iter().filter(agents).copied().collect();
        if self.to_load.is_empty() {
            self.begin_group(now);
        } else {
            self.deadline = None;
            self.stage = Stage::Load;
        }
    }

    /// Boards that run an agent have their attempt already; the others begin theirs.
    pub(super) fn begin_group(&mut self, now: Micros) {
        self.phase(Phase::Power);
        for slot in &self.group {
            let Some(board) = self.boards.get_mut(slot).filter(|b| b.loaded.is_none() || b.verdict.is_some())
            else {
                continue;
            };
            board.begin_attempt(now);
            self.events.push_back(Event::Attempt { slot: *slot, number: board.attempt });
            self.events.push_back(Event::StepBegan { slot: *slot, step: Step::Power });
            self.events.push_back(Event::State { slot: *slot, state: SlotState::Searching });
        }
        self.looks = 0;
        self.deadline = Some(now + self.plan.budget(self.bus.index()));
        let slots: Vec<Slot> = self.group.iter().copied().collect();
        self.stage = Stage::Power;
        self.switch(FixtureRequest::PowerOn(slots.clone()));
        let again = |s: &Slot| self.boards.get(s).is_some_and(|b| b.attempt > 1 && b.loaded.is_none());
        let again: Vec<Slot> = slots.into_iter().filter(again).collect();
        // Power may have stayed on for others on the line, and NRST may still be held.
        self.restart_by_reset(&again);
    }

    // Inputs

    pub(crate) fn handle_frame(&mut self, now: Micros, frame: &Frame) {
        self.no_ack = false;
        self.errors = 0;
        if self.is_flooded() {
            self.master.postpone(now);
        }
        let before = self.master.tally();
        self.master.handle_frame(now, frame);
        let after = self.master.tally();
        if after.foreign > before.foreign || (after.late > before.late && !self.may_be_late(frame)) {
            self.watch_flood(now, frame);
        } else {
            self.watch_asking(now, frame);
        }
        self.drain(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Micros) {
        self.check_flood(now);
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.run_out(now);
        }
        if self.is_flooded() {
            return;
        }
        if self.hurry.is_some_and(|hurry| now >= hurry) {
            self.leave_unverified();
        }
        match self.stage {
            Stage::StartUp(until) if now >= until => self.start_discovery(now),
            Stage::BindStartUp(until) if now >= until => self.bind_discover(now),
            Stage::SearchStart(until) if now >= until => self.search_again(now),
            Stage::Factory(Factory::StartUp(until)) if now >= until => self.find_restarted(now),
            Stage::InstallPause(then, until) if now >= until => self.ask_installed(now, then),
            _ => {}
        }
        self.master.handle_timeout(now);
        self.drain(now);
    }

    /// The fixture has done what it was asked to do and this lane waits for.
    pub(crate) fn handle_fixture_done(&mut self, now: Micros) {
        self.owed = self.owed.saturating_sub(1);
        if self.owed > 0 {
            return;
        }
        let until = self.listens_at(now);
        match self.stage {
            Stage::Power if self.plan.panel.binding != Binding::Straps => self.begin_binding(now),
            Stage::Power => self.stage = Stage::StartUp(until),
            Stage::BindSwitch => self.round_switched(now),
            Stage::SearchReset => self.stage = Stage::SearchStart(until),
            Stage::Factory(Factory::PowerCycle) => self.start_up(now),
            _ => {}
        }
    }

    pub(crate) fn handle_link(&mut self, now: Micros, event: LinkEvent) {
        match event {
            LinkEvent::NoAck => self.no_ack = true,
            LinkEvent::BusError => self.errors = self.errors.saturating_add(1),
            LinkEvent::BusOff => self.bus_off = true,
            LinkEvent::Restarted => {
                self.bus_off = false;
                self.master.bus_is_back();
            }
            LinkEvent::ErrorPassive => {}
            LinkEvent::Down => self.give_up(now, Code::LinkDown, "the link to the bus is gone"),
            LinkEvent::Stuck => {
                self.handle_link_fault(
                    now,
                    Code::TransmitStuck,
                    "a frame waited too long for its transmission",
                );
            }
        }
    }

    /// The link cannot serve the bus any more.
    pub(crate) fn handle_link_fault(&mut self, now: Micros, code: Code, why: &str) {
        if code == Code::TransmitStuck && self.is_disturbed() {
            let text = format!("{} error frames and nothing else", self.errors);
            self.give_up(now, Code::BusDisturbed, &text);
        } else {
            self.give_up(now, code, why);
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
        self.reserve.clear();
        self.certify.clear();
        self.flood = Flood::default();
        self.stage = Stage::Done;
        self.phase(Phase::Done);
    }

    /// Error frames are all there is to hear.
    pub(crate) const fn is_disturbed(&self) -> bool {
        self.errors >= DISTURBED
    }

    /// The pass has used up its time: boards that still take part end here, and what is left of it has a little
    /// more; then the whole bus is given up.
    fn run_out(&mut self, now: Micros) {
        let late: Vec<Slot> = self.boards.values().filter(|b| b.is_active()).map(|b| b.slot).collect();
        let text = "did not finish within the time of its pass";
        if late.is_empty() {
            self.give_up(now, Code::Straggler, text);
            return;
        }
        self.deadline = Some(now + CLEARING);
        for slot in late {
            self.fail(now, slot, Code::Straggler, text);
        }
    }

    pub(crate) fn interrupt(&mut self, now: Micros) {
        self.interrupted = true;
        if self.writes_options() {
            let text = "the bus ends when its boards have written their option bytes".to_owned();
            self.note(None, "interrupted", text);
        } else if self.stage != Stage::Done {
            self.end_interrupted(now);
        }
    }

    fn end_interrupted(&mut self, now: Micros) {
        self.give_up(now, Code::Interrupted, STOPPED);
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
                self.sent = sent;
                if self.stage != Stage::Own {
                    self.events.push_back(Event::Progress { bus: self.bus, sent, total });
                }
                self.dismiss_deaf();
            }
            BusEvent::Streamed { complete, stragglers, starved } => {
                self.streamed(now, &complete, &stragglers, &starved);
            }
        }
    }

    // Outputs

    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        let deadline = self.deadline.filter(|_| self.stage != Stage::Done);
        if self.is_flooded() {
            return self.flood.deadline().into_iter().chain(deadline).min();
        }
        let start_up = match self.stage {
            Stage::StartUp(until)
            | Stage::BindStartUp(until)
            | Stage::SearchStart(until)
            | Stage::InstallPause(_, until)
            | Stage::Factory(Factory::StartUp(until)) => Some(until),
            _ => None,
        };
        start_up.into_iter().chain(deadline).chain(self.hurry).chain(self.master.next_timeout()).min()
    }

    /// The next frame for the bus.
    pub(crate) fn poll_transmit(&mut self, now: Micros) -> Option<Frame> {
        // A board that gives way to every frame of ours is only heard while we are silent.
        if self.is_flooded() {
            return None;
        }
        let frame = self.master.poll_transmit(now);
        self.drain(now); // how far the image is shows as it is sent, not when a board next speaks
        frame
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Supply currents have been read.
    pub(crate) fn handle_currents(&mut self, now: Micros, currents: &[(Slot, Option<u32>)]) {
        if self.rank_suspects(now, currents) {
            return;
        }
        for &(slot, current) in currents {
            if let Some(board) = self.boards.get_mut(&slot) {
                board.current = current;
            }
        }
        match self.stage {
            Stage::SenseAbsent => self.look_again_or_conclude(now),
            Stage::Factory(Factory::Sense) => self.never_back(now),
            _ => {}
        }
        self.drain(now);
    }
}
