//! Short words for the tests.

use panel_store::{
    AttemptResult, Event, EventRecord, Resolution, ResolutionKind, RunEnd, RunId, StepOutcome, Store,
    StoreError, Uid, Verdict,
};

use crate::sample::START_US;

/// A new store in a new directory.
pub(crate) fn new_store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// A UID that ends with `n`.
pub(crate) fn uid(n: u8) -> Uid {
    let mut bytes = [0x11; 12];
    bytes[11] = n;
    bytes.into()
}

/// Events at a time in seconds since the run began, which was at the script's start.
pub(crate) fn at(seconds: u32, events: impl IntoIterator<Item = Event>) -> Vec<EventRecord> {
    let run_us = u64::from(seconds) * 1_000_000;
    let utc_us = START_US + run_us as i64;
    events.into_iter().map(|event| EventRecord { utc_us, run_us, event }).collect()
}

/// Appends events.
pub(crate) fn append(
    store: &mut Store,
    run: RunId,
    events: impl IntoIterator<Item = Event>,
) -> Result<(), StoreError> {
    store.append(run, &at(1, events))
}

pub(crate) fn started(slot: u16) -> Event {
    Event::AttemptStarted { slot }
}

pub(crate) fn identified(slot: u16, n: u8) -> Event {
    Event::Identified { slot, uid: uid(n) }
}

/// A step that ends well.
pub(crate) fn step(slot: u16, name: &str) -> [Event; 2] {
    [
        Event::StepStarted { slot, step: name.into() },
        Event::StepEnded { slot, step: name.into(), outcome: StepOutcome::Ok },
    ]
}

pub(crate) fn passed(slot: u16) -> Event {
    Event::AttemptEnded { slot, verdict: Verdict::pass() }
}

pub(crate) fn ended(slot: u16, result: AttemptResult, code: &str) -> Event {
    let verdict = Verdict { result, code: Some(code.into()), detail: None, step: Some("program".into()) };
    Event::AttemptEnded { slot, verdict }
}

/// A whole attempt that passes.
pub(crate) fn good_attempt(slot: u16, n: u8) -> Vec<Event> {
    let mut events = vec![started(slot), identified(slot, n)];
    events.extend(step(slot, "verify"));
    events.extend(step(slot, "lock-proof"));
    events.push(passed(slot));
    events
}

/// A whole attempt of an identified board that does not.
pub(crate) fn bad_attempt(slot: u16, n: u8, result: AttemptResult, code: &str) -> Vec<Event> {
    vec![started(slot), identified(slot, n), ended(slot, result, code)]
}

pub(crate) fn end(store: &mut Store, run: RunId) -> Result<(), StoreError> {
    store.end_run(run, &RunEnd { utc_us: START_US + 60_000_000, run_us: 60_000_000, exit: 0 })
}

pub(crate) fn resolution(kind: ResolutionKind, by_run: Option<RunId>) -> Resolution {
    Resolution { utc_us: START_US + 3_600_000_000, kind, note: "read back".into(), by_run }
}
