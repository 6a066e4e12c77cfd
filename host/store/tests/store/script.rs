//! A made-up production, from a seed: runs over a panel of six slots, with failures, retests and skipped
//! positions, cut into batches of odd sizes. Never ends; takes no time.

use panel_store::{AttemptResult, Event, EventRecord, Measurement, RunEnd, RunStart, StepOutcome, Verdict};

use crate::sample::{START_US, run_start};

const SLOTS: u16 = 6;
const STEPS: [&str; 4] = ["erase", "program", "verify", "lock-proof"];

/// A seeded generator of numbers (splitmix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// One call of the store.
pub(crate) enum Op {
    Begin(Box<RunStart>),
    Append(Vec<EventRecord>),
    End(RunEnd),
}

impl Op {
    /// How many events it adds.
    pub(crate) fn events(&self) -> u64 {
        match self {
            Self::Begin(_) | Self::End(_) => 1,
            Self::Append(events) => events.len() as u64,
        }
    }
}

/// Where a slot is in its attempt: `None` done, else the next thing to happen.
type Progress = Option<usize>;

/// The production.
pub(crate) struct Script {
    rng: Rng,
    runs: u64,
    now_us: i64,
    run_us: u64,
    slots: Vec<Progress>,
    running: bool,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng(seed), runs: 0, now_us: START_US, run_us: 0, slots: Vec::new(), running: false }
    }

    /// What is done next.
    pub(crate) fn next_op(&mut self) -> Op {
        self.now_us += 1_000 + self.rng.below(5_000) as i64;
        if !self.running {
            self.running = true;
            self.runs += 1;
            self.run_us = 0;
            self.slots = vec![Some(0); SLOTS as usize];
            let panel = format!("panel-{}", self.rng.below(1_000));
            return Op::Begin(Box::new(RunStart { utc_us: self.now_us, ..run_start(&panel) }));
        }
        let mut events = Vec::new();
        for _ in 0..=self.rng.below(12) {
            let busy: Vec<usize> = (0..self.slots.len()).filter(|slot| self.slots[*slot].is_some()).collect();
            if busy.is_empty() {
                break;
            }
            let slot = busy[self.rng.below(busy.len() as u64) as usize];
            let happened = self.happen(slot);
            events.extend(happened.into_iter().map(|event| self.stamp(event)));
        }
        if events.is_empty() {
            self.running = false;
            return Op::End(RunEnd { utc_us: self.now_us, run_us: self.run_us, exit: 0 });
        }
        Op::Append(events)
    }

    fn stamp(&mut self, event: Event) -> EventRecord {
        self.run_us += 37;
        EventRecord { utc_us: self.now_us, run_us: self.run_us, event }
    }

    /// The next events of a slot.
    fn happen(&mut self, index: usize) -> Vec<Event> {
        let slot = index as u16;
        let at = self.slots[index].unwrap_or(0);
        self.slots[index] = Some(at + 1);
        if at == 0 {
            return self.begin(index);
        }
        if at == 1 {
            let mut uid = [0x5a; 12];
            uid[0] = self.rng.below(40) as u8;
            uid[1] = slot as u8;
            let serial = format!("SN-{:02}-{slot}", uid[0]);
            return vec![Event::Identified { slot, uid: uid.into() }, Event::SerialGiven { slot, serial }];
        }
        let Some(step) = STEPS.get((at - 2) / 2).map(|step| (*step).to_owned()) else {
            self.slots[index] = None;
            return vec![Event::AttemptEnded { slot, verdict: Verdict::pass() }];
        };
        if at.is_multiple_of(2) {
            return vec![Event::StepStarted { slot, step }];
        }
        if self.rng.below(25) == 0 {
            return self.fail(index, step);
        }
        let measurement = Measurement {
            name: "supply".into(),
            value: 3.0 + self.rng.below(1_000_000) as f64 / 1.7e6,
            unit: "V".into(),
            low: Some(3.1),
            high: Some(3.5),
        };
        vec![Event::Measured { slot, measurement }, Event::StepEnded { slot, step, outcome: StepOutcome::Ok }]
    }

    fn begin(&mut self, index: usize) -> Vec<Event> {
        let slot = index as u16;
        if self.rng.below(20) > 0 {
            return vec![Event::AttemptStarted { slot }];
        }
        self.slots[index] = None;
        let verdict = Verdict {
            result: AttemptResult::Skipped,
            code: None,
            detail: Some("bad mark".into()),
            step: None,
        };
        vec![Event::AttemptStarted { slot }, Event::AttemptEnded { slot, verdict }]
    }

    fn fail(&mut self, index: usize, step: String) -> Vec<Event> {
        let slot = index as u16;
        let (result, code) = match self.rng.below(3) {
            0 => (AttemptResult::Error, "E101"),
            1 => (AttemptResult::InDoubt, "E900"),
            _ => (AttemptResult::Fail, "E214"),
        };
        // A retest in one of two cases.
        self.slots[index] = (self.rng.below(2) == 0).then_some(0);
        let verdict = Verdict {
            result,
            code: Some(code.into()),
            detail: Some("expected 0x00, got 0xff".into()),
            step: Some(step.clone()),
        };
        let note = Event::Note {
            slot: Some(slot),
            topic: "raw".into(),
            body: serde_json::json!({ "answer": [121, 31], "retest": self.slots[index].is_some() }),
        };
        let ended = Event::StepEnded { slot, step, outcome: StepOutcome::Failed };
        vec![note, ended, Event::AttemptEnded { slot, verdict }]
    }
}

/// Does an operation; `run` is the current run, which beginning one replaces.
pub(crate) fn apply(
    store: &mut panel_store::Store,
    run: &mut Option<panel_store::RunId>,
    op: &Op,
) -> Result<(), panel_store::StoreError> {
    match (op, *run) {
        (Op::Begin(start), _) => *run = Some(store.begin_run(start)?),
        (Op::Append(events), Some(run)) => store.append(run, events)?,
        (Op::End(end), Some(id)) => {
            store.end_run(id, end)?;
            *run = None;
        }
        (Op::Append(_) | Op::End(_), None) => unreachable!("a script begins a run first"),
    }
    Ok(())
}
