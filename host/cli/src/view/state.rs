//! What the view knows of a run: the events so far, reduced to what is shown.
//!
//! It holds no truth of its own: everything comes from the plan and from [`RunView::event`], which `View` calls
//! with each event in order. Drawing is done elsewhere, from a shared reference.

use std::collections::VecDeque;

use panel_backplane::{Mark, Slot};
use panel_bound::Bound;
use panel_engine::{Event, Outcome, Phase, Plan, SlotState, Step, Verdict};
use panel_protocol::node::Uid;
use panel_protocol::time::{Micros, Span};

/// The rate shown is that of the last two seconds: data leaves in bursts, as the boards make room.
const RATE_WINDOW: Span = Span::from_millis(2000);

/// One slot.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) slot: u16,
    pub(super) row: u16,
    pub(super) column: u16,
    pub(super) bad: bool,
    pub(super) state: SlotState,
    /// The last step of this attempt that ended well.
    pub(super) passed: Option<Step>,
    pub(super) attempt: u8,
    pub(super) uid: Option<Uid>,
    pub(super) verdict: Option<Verdict>,
    /// The attempt ended and another one follows.
    pub(super) again: bool,
}

impl Cell {
    /// The result, once it is final.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.verdict.as_ref().filter(|_| !self.again).map(|v| v.outcome)
    }

    fn has_passed(&self, step: Step) -> bool {
        self.outcome() == Some(Outcome::Pass) || self.passed >= Some(step)
    }
}

/// One bus.
#[derive(Debug, Clone)]
pub(super) struct BusView {
    pub(super) name: String,
    pub(super) phase: Phase,
    /// When power came on for the boards that are worked on now.
    began: Micros,
    sent: u64,
    total: u64,
    /// Passes over the image so far: 1 for the first.
    pub(super) pass: u32,
    pass_began: Micros,
    samples: VecDeque<(Micros, u64)>,
}

impl BusView {
    /// Data frames sent of this pass, as a share.
    pub(super) fn share(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (self.sent as f64 / self.total as f64).min(1.0) }
    }

    fn progress(&mut self, now: Micros, sent: u64, total: u64) {
        if self.pass == 0 || sent < self.sent {
            self.pass += 1;
            self.pass_began = now;
            self.samples.clear();
        }
        (self.sent, self.total) = (sent, total);
        self.samples.push_back((now, sent));
        while self.samples.get(1).is_some_and(|s| now.since(s.0).0 > RATE_WINDOW.0) {
            self.samples.pop_front();
        }
    }
}

/// A phase of all boards together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: usize,
    /// Boards that have done it or still may.
    pub(super) of: usize,
}

/// A run as it is shown.
#[derive(Debug, Clone)]
pub(super) struct RunView {
    pub(super) job: String,
    pub(super) release: String,
    pub(super) panel: String,
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) mark: Mark,
    /// By slot number.
    pub(super) cells: Vec<Cell>,
    pub(super) buses: Vec<BusView>,
    pub(super) image_bytes: u64,
    pub(super) bound: Bound,
    /// Boards that an earlier run left in doubt.
    pub(super) doubtful: usize,
    pub(super) now: Micros,
}

impl RunView {
    pub(super) fn new(plan: &Plan, bound: Bound, doubtful: usize) -> Self {
        let cells = plan.panel.slots.iter().map(|s| Cell {
            slot: s.slot.0,
            row: s.row,
            column: s.column,
            bad: s.bad,
            state: SlotState::Waiting,
            passed: None,
            attempt: 0,
            uid: None,
            verdict: s.bad.then(Verdict::skipped),
            again: false,
        });
        let names = plan.panel.buses.iter().map(|bus| bus.name.clone());
        let ports = plan.ports_group().map(|_| "ports".to_owned());
        let buses = names.chain(ports).map(|name| BusView {
            name,
            phase: Phase::Power,
            began: Micros::ZERO,
            sent: 0,
            total: 0,
            pass: 0,
            pass_began: Micros::ZERO,
            samples: VecDeque::new(),
        });
        Self {
            job: plan.recipe.job.clone(),
            release: plan.recipe.release.clone(),
            panel: plan.panel.name.clone(),
            rows: plan.panel.rows,
            columns: plan.panel.columns,
            mark: plan.panel.mark,
            cells: cells.collect(),
            buses: buses.collect(),
            image_bytes: plan.regions.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
            bound,
            doubtful,
            now: Micros::ZERO,
        }
    }

    pub(super) fn event(&mut self, now: Micros, event: &Event) {
        self.now = now;
        match event {
            Event::Attempt { slot, number } => self.on(*slot, |c| {
                *c = Cell { attempt: *number, passed: None, verdict: None, again: false, ..c.clone() };
            }),
            Event::Identified { slot, uid } => self.on(*slot, |c| c.uid = Some(*uid)),
            Event::StepEnded { slot, step, ok: true } => self.on(*slot, |c| c.passed = Some(*step)),
            Event::State { slot, state } => self.on(*slot, |c| c.state = *state),
            Event::Ended { slot, verdict, again } => self.on(*slot, |c| {
                c.state = SlotState::Ended;
                c.verdict = Some(verdict.clone());
                c.again = *again;
            }),
            Event::Phase { bus, phase } => {
                let Some(bus) = self.buses.get_mut(bus.index()) else { return };
                if *phase == Phase::Power {
                    bus.began = now;
                }
                bus.phase = *phase;
            }
            Event::Progress { bus, sent, total } => {
                if let Some(bus) = self.buses.get_mut(bus.index()) {
                    bus.progress(now, *sent, *total);
                }
            }
            Event::ImageFound { .. }
            | Event::Reserved { .. }
            | Event::ImageGiven { .. }
            | Event::IdentityWritten { .. }
            | Event::LockProved { .. }
            | Event::StepBegan { .. }
            | Event::StepEnded { ok: false, .. }
            | Event::Measured { .. }
            | Event::Note { .. } => {}
        }
    }

    pub(super) fn cell(&self, slot: Slot) -> Option<&Cell> {
        self.cells.binary_search_by_key(&slot.0, |c| c.slot).ok().map(|i| &self.cells[i])
    }

    /// How many boards have a phase behind them. [`Phase::Program`] counts boards too; bytes are the buses'.
    pub(super) fn tally(&self, phase: Phase) -> Tally {
        let step = match phase {
            Phase::Power => Step::Power,
            Phase::Discover => Step::Identify,
            Phase::Program => Step::Program,
            Phase::Verify => Step::Verify,
            Phase::Finish | Phase::Done => Step::Start,
        };
        let mut tally = Tally { done: 0, of: 0 };
        for cell in self.cells.iter().filter(|c| !c.bad) {
            let done = cell.has_passed(step);
            tally.done += usize::from(done);
            tally.of += usize::from(done || cell.outcome().is_none());
        }
        tally
    }

    /// Slots with a final result of this kind.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.cells.iter().filter(|c| c.outcome() == Some(outcome)).count()
    }

    /// Slots whose board is bad or could not be programmed, in order.
    pub(super) fn troubled(&self) -> impl Iterator<Item = (&Cell, &Verdict)> {
        let troubled =
            |c: &&Cell| matches!(c.outcome(), Some(Outcome::Fail | Outcome::Error | Outcome::Aborted));
        self.cells.iter().filter(troubled).filter_map(|c| c.verdict.as_ref().map(|v| (c, v)))
    }

    /// Bytes of the image sent in the running pass of a bus. Blank stretches are not sent, so this is the share
    /// of the frames, applied to the image.
    pub(super) fn bytes(&self, bus: &BusView) -> u64 {
        (bus.share() * self.image_bytes as f64) as u64
    }

    /// Image bytes per second of a bus over the last two seconds; `None` before there is anything to measure.
    pub(super) fn rate(&self, bus: &BusView) -> Option<f64> {
        let (first, last) = (bus.samples.front()?, bus.samples.back()?);
        let time = self.now.since(first.0).as_secs_f64();
        let share = (last.1 - first.1) as f64 / bus.total.max(1) as f64;
        (bus.phase == Phase::Program && time > 0.0).then(|| share * self.image_bytes as f64 / time)
    }

    /// Seconds left, of the slowest bus: the bound at first, and the more of the image is through, the more what
    /// was measured. `None` if nothing can be said.
    pub(super) fn left(&self) -> Option<f64> {
        let left = |bus: &BusView| {
            if bus.phase == Phase::Done {
                return Some(0.0);
            }
            let spent = self.now.since(bus.began).as_secs_f64();
            let by_bound = (self.bound.total_ns as f64 / 1e9 - spent).max(0.0);
            let share = bus.share();
            if bus.phase != Phase::Program || share == 0.0 {
                return (by_bound > 0.0).then_some(by_bound);
            }
            let measured = self.now.since(bus.pass_began).as_secs_f64() * (1.0 - share) / share;
            let rest = measured + self.bound.verify_ns as f64 / 1e9;
            Some(by_bound.max(share * rest + (1.0 - share) * by_bound))
        };
        let all = self.buses.iter().map(left);
        all.collect::<Option<Vec<f64>>>().map(|left| left.into_iter().fold(0.0, f64::max))
    }

    fn on(&mut self, slot: Slot, change: impl FnOnce(&mut Cell)) {
        if let Ok(i) = self.cells.binary_search_by_key(&slot.0, |c| c.slot) {
            change(&mut self.cells[i]);
        }
    }
}
