//! In which order and with which waits fixture lines are switched.
//!
//! The sequencer takes `now`, never a clock, and emits one [`LineAction`] after another; a driver carries them
//! out on a simulated or a real fixture. It keeps these rules, whatever it is asked for:
//!
//! 1. It begins with the safe state: every power line off, then BOOT0 low, no slot selected, multiplexers at channel
//!    0, NRST released.
//! 2. Power comes on in groups of at most `inrush_slots` slots with `stagger` between, and only after it was
//!    off for `discharge`.
//! 3. Switching power off never waits: it overtakes everything and takes its slots out of what was asked before.
//! 4. A slot marked bad is never powered by a line of its own.
//! 5. Lines that are switched by somebody else (a relay board, the operator) count from the moment that
//!    [`Sequencer::switched`] says so: no settle time begins before, and nothing is reported done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use panel_protocol::time::{Micros, Span};

use crate::fixture::{Fixture, LineFunction, LineIndex, Mux, SlotLines};
use crate::panel::{Panel, Slot};

/// One line to switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineAction {
    /// The line.
    pub line: LineIndex,
    /// On or off; which of them is high is the wire's polarity.
    pub on: bool,
}

/// Something to do with the lines of slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Power on, staggered, and wait until supplies stand. Slots without a power line have power already.
    PowerOn(Vec<Slot>),
    /// Power off at once. Slots that share a line go off with them.
    PowerOff(Vec<Slot>),
    /// Hold NRST, wait, release it.
    Reset(Vec<Slot>),
    /// Hold NRST until released.
    HoldReset(Vec<Slot>),
    /// Release NRST.
    ReleaseReset(Vec<Slot>),
    /// Set BOOT0 for the next reset.
    Boot0 {
        /// Whose.
        slots: Vec<Slot>,
        /// High: the ROM bootloader starts.
        on: bool,
    },
    /// Select one slot or none.
    Select(Option<Slot>),
    /// Set the multiplexers so that these slots are reached; they [go together](crate::Mux::goes_with).
    Mux(Vec<Slot>),
    /// The safe state at once; everything asked before is dropped and never reported done.
    Safe,
}

/// Number of a request, in the order of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// A request that cannot be carried out; nothing of it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The panel has no such slot.
    #[error("the panel has no slot {slot}")]
    UnknownSlot {
        /// The slot.
        slot: Slot,
    },
    /// The slot has no such line.
    #[error("slot {slot} has no {} line", function.name())]
    NoLine {
        /// The slot.
        slot: Slot,
        /// The line it lacks.
        function: LineFunction,
    },
    /// Power for a slot that is marked bad.
    #[error("slot {slot} is marked bad")]
    MarkedBad {
        /// The slot.
        slot: Slot,
    },
}

/// Why the sequencer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until a board that was off has lost its charge.
    Discharge,
    /// Between two groups that are switched on.
    Stagger,
    /// Until supplies stand.
    PowerSettle,
    /// While NRST is held.
    ResetPulse,
    /// Until BOOT0, slot select or a multiplexer counts.
    LineSettle,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Switch a line, then poll again.
    Line(LineAction),
    /// A request is finished; poll again.
    Done(RequestId),
    /// Nothing until then, unless something is asked for.
    Wait {
        /// When to poll again.
        until: Micros,
        /// What is waited for.
        why: Wait,
    },
    /// Nothing until this line is [`Sequencer::switched`], unless something is asked for.
    Switching(LineIndex),
    /// Nothing at all until something is asked for.
    Idle,
}

/// Whether a slot has power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotPower {
    /// The fixture has no power line for it.
    Unswitched,
    /// Off since then.
    Off {
        /// When it went off.
        since: Micros,
    },
    /// On since then.
    On {
        /// When it came on.
        since: Micros,
    },
}

#[derive(Debug, Clone, Copy)]
struct LineState {
    on: bool,
    since: Micros,
}

#[derive(Debug, Clone)]
enum Step {
    Act(LineAction),
    /// Until every one of these lines was off for the discharge time.
    Discharge(Vec<LineIndex>),
    Wait(Span, Wait),
    Done(RequestId),
}

/// Sequences the lines of one fixture. Call [`Sequencer::poll`] until it waits or is idle, and again after each
/// [`Sequencer::request`] and at the time it waits for.
#[derive(Debug, Clone)]
pub struct Sequencer {
    fixture: Fixture,
    slots: BTreeMap<Slot, (SlotLines, bool)>,
    muxes: BTreeMap<Slot, Mux>,
    lines: Vec<LineState>,
    /// Overtakes the rest: power off and safe state.
    urgent: VecDeque<LineAction>,
    /// Requests whose actions were all urgent.
    finished: VecDeque<RequestId>,
    steps: VecDeque<Step>,
    deadline: Option<Micros>,
    /// Lines that were emitted and whose driver has not said yet that they are switched.
    under_way: BTreeSet<LineIndex>,
    /// The safe state was asked for: nobody waits for the operator any more.
    closing: bool,
    /// The fixture failed: nobody waits for any line.
    broken: bool,
    pending: VecDeque<(RequestId, Request)>,
    next_id: u32,
}

impl Sequencer {
    /// A sequencer that first puts the fixture into its safe state; what the lines were before is unknown.
    #[must_use]
    pub fn new(panel: &Panel, now: Micros) -> Self {
        let fixture = panel.fixture.clone();
        Self {
            slots: panel.slots.iter().map(|s| (s.slot, (s.lines, s.bad))).collect(),
            muxes: panel.slots.iter().filter_map(|s| Some((s.slot, s.mux.clone()?))).collect(),
            lines: vec![LineState { on: true, since: now }; fixture.lines.len()],
            urgent: safe_state(&fixture).into(),
            finished: VecDeque::new(),
            steps: VecDeque::new(),
            deadline: None,
            under_way: BTreeSet::new(),
            closing: false,
            broken: false,
            pending: VecDeque::new(),
            next_id: 0,
            fixture,
        }
    }

    /// Asks for something; it is done after what was asked before, but power off and the safe state at once.
    ///
    /// # Errors
    /// A slot that the panel does not have, that lacks the line, or that is marked bad.
    pub fn request(&mut self, request: Request) -> Result<RequestId, RequestError> {
        self.allowed(&request)?;
        let id = RequestId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        match request {
            Request::PowerOff(slots) => {
                let lines = self.lines_of(&slots, LineFunction::Power);
                self.forget_power_on(&lines);
                self.urgent.extend(lines.into_iter().map(|line| LineAction { line, on: false }));
                self.finished.push_back(id);
            }
            Request::Safe => {
                self.pending.clear();
                self.steps.clear();
                self.deadline = None;
                self.closing = true;
                let Self { fixture, under_way, .. } = self;
                under_way.retain(|l| !fixture.lines[l.index()].wire.connection.is_manual());
                self.urgent = safe_state(&self.fixture).into();
                self.finished.clear();
                self.finished.push_back(id);
            }
            other => {
                self.closing = false;
                self.pending.push_back((id, other));
            }
        }
        Ok(id)
    }

    /// What to do next at `now`.
    pub fn poll(&mut self, now: Micros) -> Output {
        loop {
            if let Some(action) = self.urgent.pop_front() {
                return self.act(action, now);
            }
            if !matches!(self.steps.front(), Some(Step::Act(_)))
                && let Some(&line) = self.under_way.first()
            {
                return Output::Switching(line);
            }
            if let Some(id) = self.finished.pop_front() {
                return Output::Done(id);
            }
            match self.steps.front() {
                None => match self.pending.pop_front() {
                    Some((id, request)) => self.begin(id, request),
                    None => return Output::Idle,
                },
                Some(&Step::Act(action)) => {
                    self.steps.pop_front();
                    if self.lines[action.line.index()].on != action.on {
                        return self.act(action, now);
                    }
                }
                Some(&Step::Done(id)) => {
                    self.steps.pop_front();
                    return Output::Done(id);
                }
                Some(Step::Discharge(lines)) => {
                    let discharge = self.fixture.timing.discharge;
                    let ends = lines.iter().map(|l| self.lines[l.index()].since + discharge);
                    let until = ends.max().unwrap_or(now);
                    if now < until {
                        return Output::Wait { until, why: Wait::Discharge };
                    }
                    self.steps.pop_front();
                }
                Some(&Step::Wait(span, why)) => {
                    let until = *self.deadline.get_or_insert(now + span);
                    if now < until {
                        return Output::Wait { until, why };
                    }
                    self.deadline = None;
                    self.steps.pop_front();
                }
            }
        }
    }

    /// What [`Output::Line`] named is done since `now`. Needed for lines whose
    /// [`Connection::is_confirmed`](crate::Connection::is_confirmed); settle times begin now. What was overtaken by a later
    /// action on the same line says nothing.
    pub fn switched(&mut self, action: LineAction, now: Micros) {
        let Some(line) = self.lines.get_mut(action.line.index()) else { return };
        if line.on == action.on && self.under_way.remove(&action.line) {
            line.since = now;
        }
    }

    /// The fixture failed: what it has not confirmed it may never confirm. Lines are switched as before, but from now
    /// on none is waited for.
    pub fn stop_waiting(&mut self) {
        self.broken = true;
        self.under_way.clear();
    }

    /// Whether `slot` has power; `None` if the panel has no such slot.
    #[must_use]
    pub fn power(&self, slot: Slot) -> Option<SlotPower> {
        let (lines, _) = self.slots.get(&slot)?;
        let state = lines.power.map(|l| self.lines[l.index()]);
        Some(match state {
            None => SlotPower::Unswitched,
            Some(LineState { on: true, since }) => SlotPower::On { since },
            Some(LineState { on: false, since }) => SlotPower::Off { since },
        })
    }

    /// The slots that have power from a line of the fixture, by number.
    pub fn powered(&self) -> impl Iterator<Item = Slot> {
        let on = |lines: &SlotLines| lines.power.is_some_and(|l| self.lines[l.index()].on);
        self.slots.iter().filter(move |(_, (lines, _))| on(lines)).map(|(slot, _)| *slot)
    }

    fn act(&mut self, action: LineAction, now: Micros) -> Output {
        let line = &mut self.lines[action.line.index()];
        // A line that is off already keeps its time: it was off all along.
        if line.on != action.on {
            *line = LineState { on: action.on, since: now };
        }
        let connection = &self.fixture.lines[action.line.index()].wire.connection;
        if connection.is_confirmed() && !self.broken && !(self.closing && connection.is_manual()) {
            self.under_way.insert(action.line);
        }
        Output::Line(action)
    }

    fn allowed(&self, request: &Request) -> Result<(), RequestError> {
        let (slots, function): (&[Slot], _) = match request {
            Request::PowerOn(slots) | Request::PowerOff(slots) => (slots, LineFunction::Power),
            Request::Reset(slots) | Request::HoldReset(slots) | Request::ReleaseReset(slots) => {
                (slots, LineFunction::Nrst)
            }
            Request::Boot0 { slots, .. } => (slots, LineFunction::Boot0),
            Request::Select(slot) => (slot.as_slice(), LineFunction::Select),
            Request::Mux(slots) => (slots, LineFunction::Mux),
            Request::Safe => (&[], LineFunction::Power),
        };
        let power_on = matches!(request, Request::PowerOn(_));
        for &slot in slots {
            let &(lines, bad) = self.slots.get(&slot).ok_or(RequestError::UnknownSlot { slot })?;
            if power_on && bad {
                return Err(RequestError::MarkedBad { slot });
            }
            let has = match function {
                LineFunction::Mux => self.muxes.contains_key(&slot),
                _ => line_of(&lines, function).is_some(),
            };
            if !power_on && !has {
                return Err(RequestError::NoLine { slot, function });
            }
        }
        Ok(())
    }

    /// The lines of `slots`, each once, in the order of slots.
    fn lines_of(&self, slots: &[Slot], function: LineFunction) -> Vec<LineIndex> {
        let mut seen = BTreeSet::new();
        let lines = slots.iter().filter_map(|s| line_of(&self.slots.get(s)?.0, function));
        lines.filter(|l| seen.insert(*l)).collect()
    }

    /// Takes power-on of `lines` out of everything that was asked for and not yet done.
    fn forget_power_on(&mut self, lines: &[LineIndex]) {
        let off =
            |step: &Step| matches!(step, Step::Act(LineAction { line, on: true }) if lines.contains(line));
        self.steps.retain(|s| !off(s));
        for step in &mut self.steps {
            if let Step::Discharge(waited) = step {
                waited.retain(|l| !lines.contains(l));
            }
        }
        let slots = &self.slots;
        let cut =
            |slot: &Slot| slots.get(slot).and_then(|(l, _)| l.power).is_some_and(|l| lines.contains(&l));
        for (_, request) in &mut self.pending {
            if let Request::PowerOn(slots) = request {
                slots.retain(|s| !cut(s));
            }
        }
    }

    fn begin(&mut self, id: RequestId, request: Request) {
        let timing = self.fixture.timing;
        let switch =
            |lines: Vec<LineIndex>, on| lines.into_iter().map(move |line| Step::Act(LineAction { line, on }));
        let mut steps = VecDeque::new();
        match request {
            Request::PowerOn(slots) => steps = self.power_on(&slots),
            Request::Reset(slots) => {
                let lines = self.lines_of(&slots, LineFunction::Nrst);
                steps.extend(switch(lines.clone(), true));
                steps.push_back(Step::Wait(timing.reset_pulse, Wait::ResetPulse));
                steps.extend(switch(lines, false));
            }
            Request::HoldReset(slots) => {
                steps.extend(switch(self.lines_of(&slots, LineFunction::Nrst), true))
            }
            Request::ReleaseReset(slots) => {
                steps.extend(switch(self.lines_of(&slots, LineFunction::Nrst), false))
            }
            Request::Boot0 { slots, on } => {
                steps.extend(switch(self.lines_of(&slots, LineFunction::Boot0), on));
                steps.push_back(Step::Wait(timing.line_settle, Wait::LineSettle));
            }
            Request::Select(slot) => {
                let chosen = self.lines_of(slot.as_slice(), LineFunction::Select);
                let all = self.fixture.lines.iter().zip((0..).map(LineIndex));
                let others = all.filter(|(l, i)| l.function == LineFunction::Select && !chosen.contains(i));
                steps.extend(switch(others.map(|(_, i)| i).collect(), false));
                steps.extend(switch(chosen, true));
                steps.push_back(Step::Wait(timing.line_settle, Wait::LineSettle));
            }
            Request::Mux(slots) => {
                let muxes = slots.iter().filter_map(|slot| self.muxes.get(slot));
                let levels: BTreeMap<LineIndex, bool> = muxes.flat_map(Mux::levels).collect();
                steps.extend(levels.into_iter().map(|(line, on)| Step::Act(LineAction { line, on })));
                steps.push_back(Step::Wait(timing.line_settle, Wait::LineSettle));
            }
            // These never wait in line.
            Request::PowerOff(_) | Request::Safe => {}
        }
        steps.push_back(Step::Done(id));
        self.steps = steps;
    }

    fn power_on(&self, slots: &[Slot]) -> VecDeque<Step> {
        let timing = self.fixture.timing;
        let lines = self.lines_of(slots, LineFunction::Power);
        let lines: Vec<LineIndex> = lines.into_iter().filter(|l| !self.lines[l.index()].on).collect();
        let mut steps = VecDeque::new();
        if lines.is_empty() {
            return steps;
        }
        steps.push_back(Step::Discharge(lines.clone()));
        for (i, group) in inrush_groups(&self.fixture, &lines).into_iter().enumerate() {
            if i > 0 {
                steps.push_back(Step::Wait(timing.stagger, Wait::Stagger));
            }
            steps.extend(group.into_iter().map(|line| Step::Act(LineAction { line, on: true })));
        }
        steps.push_back(Step::Wait(timing.power_settle, Wait::PowerSettle));
        steps
    }
}

impl Panel {
    /// How long it takes from the safe state until every good slot's supply stands.
    #[must_use]
    pub fn power_on_time(&self) -> Span {
        let good: BTreeSet<LineIndex> =
            self.slots.iter().filter(|s| !s.bad).filter_map(|s| s.lines.power).collect();
        let lines: Vec<LineIndex> = good.into_iter().collect();
        let timing = self.fixture.timing;
        match inrush_groups(&self.fixture, &lines).len() {
            0 => Span::ZERO,
            groups => {
                let staggers = timing.stagger.0.saturating_mul(groups as u64 - 1);
                timing.discharge + Span(staggers) + timing.power_settle
            }
        }
    }
}

/// Every line to its safe state: power off first, then BOOT0 low, no slot selected, multiplexers at channel 0, NRST
/// released. For exit paths
/// that have no time for a sequencer.
#[must_use]
pub fn safe_state(fixture: &Fixture) -> Vec<LineAction> {
    use LineFunction::{Boot0, Mux, Nrst, Power, Select};
    let order = [Power, Boot0, Select, Mux, Nrst];
    let lines = || (0..).map(LineIndex).zip(&fixture.lines);
    let of = |function| lines().filter(move |(_, l)| l.function == function);
    order.into_iter().flat_map(of).map(|(line, _)| LineAction { line, on: false }).collect()
}

/// Lines in groups that together power at most `inrush_slots` slots; a line that powers more stands alone.
fn inrush_groups(fixture: &Fixture, lines: &[LineIndex]) -> Vec<Vec<LineIndex>> {
    let mut groups: Vec<Vec<LineIndex>> = Vec::new();
    let mut room = 0;
    for &line in lines {
        let slots = fixture.lines[line.index()].slots.len();
        match groups.last_mut() {
            Some(group) if slots <= room => {
                group.push(line);
                room -= slots;
            }
            _ => {
                groups.push(vec![line]);
                room = usize::from(fixture.timing.inrush_slots).saturating_sub(slots);
            }
        }
    }
    groups
}

fn line_of(lines: &SlotLines, function: LineFunction) -> Option<LineIndex> {
    match function {
        LineFunction::Power => lines.power,
        LineFunction::Nrst => lines.nrst,
        LineFunction::Boot0 => lines.boot0,
        LineFunction::Select => lines.select,
        LineFunction::Mux => None,
    }
}
