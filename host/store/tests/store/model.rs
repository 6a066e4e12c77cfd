//! Any events in any order, against a reference model of what may be recorded.

use std::collections::BTreeMap;

use panel_store::{AttemptResult, Event, StepOutcome, StoreError, Verdict};
use proptest::prelude::*;

use crate::check;
use crate::sample::run_start;
use crate::support::{append, new_store, uid};

const STEPS: [&str; 3] = ["verify", "lock-proof", "program"];

/// An attempt as the model knows it: chip, and per step whether it runs (`None`) or how it last ended.
#[derive(Clone, Default)]
struct Attempt {
    uid: Option<u8>,
    steps: BTreeMap<&'static str, Option<StepOutcome>>,
}

#[derive(Clone, Default)]
struct Model {
    open: BTreeMap<u16, Attempt>,
    passed: Vec<(u16, u8)>,
}

#[derive(Clone, Debug)]
enum Action {
    Start,
    Identify(u8),
    StepStart(usize),
    StepEnd(usize, StepOutcome),
    End(AttemptResult, bool),
}

impl Action {
    fn event(&self, slot: u16) -> Event {
        match self {
            Self::Start => Event::AttemptStarted { slot },
            Self::Identify(n) => Event::Identified { slot, uid: uid(*n) },
            Self::StepStart(step) => Event::StepStarted { slot, step: STEPS[*step].into() },
            Self::StepEnd(step, outcome) => {
                Event::StepEnded { slot, step: STEPS[*step].into(), outcome: *outcome }
            }
            Self::End(result, code) => {
                let code = code.then(|| "E1".to_owned());
                Event::AttemptEnded {
                    slot,
                    verdict: Verdict { result: *result, code, detail: None, step: None },
                }
            }
        }
    }
}

impl Model {
    /// Whether the records must take the action; does it if so.
    fn take(&mut self, slot: u16, action: &Action) -> bool {
        if let Action::Start = action {
            return !self.open.contains_key(&slot) && self.open.insert(slot, Attempt::default()).is_none();
        }
        let others: Vec<u8> =
            self.open.iter().filter(|(s, _)| **s != slot).filter_map(|(_, a)| a.uid).collect();
        let Some(attempt) = self.open.get_mut(&slot) else { return false };
        match action {
            Action::Start => unreachable!(),
            Action::Identify(n) => *attempt.uid.get_or_insert(*n) == *n,
            Action::StepStart(step) => {
                let free = attempt.steps.get(STEPS[*step]) != Some(&None);
                attempt.steps.insert(STEPS[*step], None);
                free
            }
            Action::StepEnd(step, outcome) => {
                attempt.steps.insert(STEPS[*step], Some(*outcome)) == Some(None)
            }
            Action::End(AttemptResult::Pass, _) => {
                let good = |step| attempt.steps.get(step) == Some(&Some(StepOutcome::Ok));
                let Some(n) = attempt.uid else { return false };
                let twin = others.contains(&n) || self.passed.iter().any(|(s, m)| *s != slot && *m == n);
                let idle = attempt.steps.values().all(Option::is_some);
                let may = good("verify") && good("lock-proof") && idle && !twin;
                self.passed.push((slot, n));
                self.open.remove(&slot);
                may
            }
            Action::End(result, code) => {
                let may = *code || !matches!(result, AttemptResult::Fail | AttemptResult::Error);
                self.open.remove(&slot);
                may
            }
        }
    }
}

fn action() -> impl Strategy<Value = (u16, Action)> {
    let outcome = prop_oneof![4 => Just(StepOutcome::Ok), 1 => Just(StepOutcome::Failed)];
    let result = prop_oneof![
        5 => Just(AttemptResult::Pass),
        1 => Just(AttemptResult::Fail),
        1 => Just(AttemptResult::Aborted),
        1 => Just(AttemptResult::InDoubt),
    ];
    let action = prop_oneof![
        3 => Just(Action::Start),
        3 => (0..2_u8).prop_map(Action::Identify),
        4 => (0..3_usize).prop_map(Action::StepStart),
        4 => ((0..3_usize), outcome).prop_map(|(step, outcome)| Action::StepEnd(step, outcome)),
        2 => (result, any::<bool>()).prop_map(|(result, code)| Action::End(result, code)),
    ];
    (0..2_u16, action)
}

/// Mostly the way of an attempt that passes, with anything in between.
fn batches() -> impl Strategy<Value = Vec<Vec<(u16, Action)>>> {
    let good = (0..2_u16, 0..2_u8).prop_map(|(slot, n)| {
        let ok = StepOutcome::Ok;
        let way = [Action::Start, Action::Identify(n), Action::StepStart(0), Action::StepEnd(0, ok)];
        let rest = [Action::StepStart(1), Action::StepEnd(1, ok), Action::End(AttemptResult::Pass, false)];
        way.into_iter().chain(rest).map(|action| (slot, action)).collect::<Vec<_>>()
    });
    let batch = prop_oneof![
        3 => prop::collection::vec(action(), 1..4),
        1 => good.clone(),
        1 => (good, 1..7_usize).prop_map(|(way, length)| way[..length].to_vec()),
    ];
    prop::collection::vec(batch, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_records_take_exactly_what_the_model_takes(batches in batches()) {
        let (dir, mut store) = new_store();
        let run = store.begin_run(&run_start("p")).unwrap();
        let mut model = Model::default();
        for batch in &batches {
            let mut next = model.clone();
            let expected = batch.iter().all(|(slot, action)| next.take(*slot, action));
            let got = append(&mut store, run, batch.iter().map(|(slot, action)| action.event(*slot)));
            match &got {
                Ok(()) => model = next,
                Err(StoreError::Refused(_)) => {}
                Err(other) => panic!("{other}"),
            }
            prop_assert_eq!(got.is_ok(), expected, "{:?}: {:?}", batch, got);
        }
        drop(store);
        let (_, doubt) = check::directory(dir.path());
        prop_assert!(doubt >= model.open.len());
    }
}
