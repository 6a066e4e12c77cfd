//! What a run writes down: engine events become durable records before their effects.
//!
//! Progress and cell states are for the screen and are not recorded. Attempts of an earlier run that nobody knows
//! the end of are resolved here, by what this run reads from the same boards.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, Outcome, Verdict};
use panel_protocol::reply::ImageState;
use panel_protocol::time::Micros;
use panel_store as store;
use panel_store::{InDoubt, ResolutionKind, Store, StoreError};

use crate::failure::Failure;
use crate::room::{self, Room};

/// Writes the events of one run.
pub(crate) struct Recorder {
    store: Store,
    run: store::RunId,
    started_us: i64,
    doubts: BTreeMap<[u8; 12], Vec<InDoubt>>,
    /// UID and whether the very image was found whole, by slot.
    seen: BTreeMap<u16, ([u8; 12], bool)>,
    pub(crate) error: Option<StoreError>,
    room: Rc<Room>,
}

/// A store error as a failure of the station.
pub(crate) fn failure(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Directory { .. } => return Failure::new(Code::RecordsUnwritable, error.to_string()),
        StoreError::NewerVersion { .. } => Code::DatabaseNewer,
        StoreError::Corrupt { .. } | StoreError::NotADatabase { .. } | StoreError::Foreign { .. } => {
            Code::DatabaseCorrupt
        }
        StoreError::InUse { .. } | StoreError::Busy => Code::StationBusy,
        StoreError::DiskFull => Code::DiskNearlyFull,
        StoreError::Refused(
            store::Refusal::NoSuchUnit { .. }
            | store::Refusal::AmbiguousUnit { .. }
            | store::Refusal::RulingWithoutReason,
        ) => return Failure::new(Code::Usage, error.to_string()),
        _ => Code::RecordStore,
    };
    Failure::with_exit(code, error.to_string(), 3)
}

/// What the records of this directory say of slots of a panel whose last board passed and proved its lock.
pub(crate) fn finished(dir: &Path, product: &str, panel: &str) -> Result<BTreeMap<Slot, String>, Failure> {
    let found = match store::Records::open(dir) {
        Ok(records) => records.finished(product, panel),
        // No run has been recorded yet, or not by this version.
        Err(StoreError::Missing { .. } | StoreError::OlderVersion { .. }) => return Ok(BTreeMap::new()),
        Err(error) => Err(error),
    };
    let found = found.map_err(|e| failure(&e))?;
    let words = |unit: store::Finished| {
        let store::Finished { slot, uid, serial, run } = unit;
        let name = serial.map_or_else(|| format!("UID {uid}"), |serial| format!("{serial} (UID {uid})"));
        (
            Slot(slot),
            format!("{name} passed in slot {slot} of panel {panel} in run {} and proved its lock", run.0),
        )
    };
    Ok(found.into_iter().map(words).collect())
}

impl Recorder {
    /// Opens the records if so many bytes are free on their disk.
    pub(crate) fn open(dir: &Path, needed: u64) -> Result<Store, Failure> {
        // Before anything is made there: opening writes, too.
        room::check(dir, needed)?;
        Store::open(dir).map_err(|e| failure(&e))
    }

    pub(crate) fn begin(mut store: Store, start: &store::RunStart, room: Rc<Room>) -> Result<Self, Failure> {
        if !start.simulation.is_some_and(|s| s.virtual_time) {
            check_clock(store.records().newest_us().map_err(|e| failure(&e))?, start.utc_us)?;
        }
        let open = store.in_doubt().map_err(|e| failure(&e))?;
        let mut doubts: BTreeMap<[u8; 12], Vec<InDoubt>> = BTreeMap::new();
        let mut unseen = Vec::new();
        for doubt in open {
            match doubt.uid {
                Some(uid) => doubts.entry(uid.0).or_default().push(doubt),
                None => unseen.push(doubt),
            }
        }
        let run = store.begin_run(start).map_err(|e| failure(&e))?;
        let mut recorder =
            Self { store, run, started_us: start.utc_us, doubts, seen: BTreeMap::new(), error: None, room };
        for doubt in unseen {
            let note = "the board had not been identified: nothing had been written to it";
            recorder.resolve(Micros::ZERO, &doubt, ResolutionKind::NotSeen, note).map_err(|e| failure(&e))?;
        }
        Ok(recorder)
    }

    /// What is held against a unit.
    pub(crate) fn standing(
        &self,
        product: &str,
        uid: panel_protocol::node::Uid,
    ) -> Result<store::Standing, StoreError> {
        self.store.records().standing(product, &store::Hex(uid.0))
    }

    /// Whether the product's unit with this chip has passed in a run of a work order.
    pub(crate) fn passed_an_order(
        &self,
        product: &str,
        uid: panel_protocol::node::Uid,
    ) -> Result<bool, StoreError> {
        let histories = match self.store.records().unit(&hex::encode(uid.0)) {
            Err(StoreError::Refused(store::Refusal::NoSuchUnit { .. })) => return Ok(false),
            other => other?,
        };
        let units = histories.iter().filter(|history| history.product == product);
        Ok(units
            .flat_map(|unit| &unit.attempts)
            .any(|a| a.result == store::AttemptResult::Pass && a.run.order.is_some()))
    }

    /// The run's number in the records.
    pub(crate) fn run(&self) -> store::RunId {
        self.run
    }

    /// The link in the chain of the last result that was recorded for a slot in this run.
    pub(crate) fn last_result(&self, slot: u16) -> Result<Option<[u8; 32]>, StoreError> {
        let events = self.store.records().events(self.run)?;
        let ended = |e: &&store::EventRow| e.slot == Some(slot) && e.kind == "attempt-ended";
        Ok(events.iter().rev().find(ended).map(|e| e.hash.0))
    }

    /// Units that an earlier run left in doubt.
    pub(crate) fn doubtful(&self) -> usize {
        self.doubts.values().map(Vec::len).sum()
    }

    /// Makes events durable, or says why it could not. After a failure nothing more is written, even if the database
    /// is there again: what is missing in between would make a whole attempt of it, and its board is in doubt.
    pub(crate) fn write(&mut self, now: Micros, events: &[Event]) -> Result<(), String> {
        if let Some(error) = &self.error {
            return Err(error.to_string());
        }
        let records: Vec<store::EventRecord> = events
            .iter()
            .flat_map(record)
            .map(|event| store::EventRecord { utc_us: self.utc(now), run_us: now.0, event })
            .collect();
        let run = self.run;
        let written = match records.as_slice() {
            [] => Ok(()),
            records => self.durable(|store| store.append(run, records)),
        };
        if let Err(error) = written.and_then(|()| self.follow(now, events)) {
            self.error = Some(error);
        }
        self.error.as_ref().map_or(Ok(()), |error| Err(error.to_string()))
    }

    pub(crate) fn end(&mut self, now: Micros, exit: u8) -> Result<(), StoreError> {
        let end = store::RunEnd { utc_us: self.utc(now), run_us: now.0, exit };
        let run = self.run;
        self.durable(|store| store.end_run(run, &end))
    }

    /// Writes; where the disk is full, once more with the room that was kept for that.
    fn durable(&mut self, write: impl Fn(&mut Store) -> Result<(), StoreError>) -> Result<(), StoreError> {
        match write(&mut self.store) {
            Err(StoreError::DiskFull) if self.room.give_back() => write(&mut self.store),
            Err(StoreError::UnitsCsv { .. }) if self.room.give_back() => self.store.complete_units(),
            other => other,
        }
    }

    fn utc(&self, now: Micros) -> i64 {
        self.started_us.saturating_add(i64::try_from(now.0).unwrap_or(i64::MAX))
    }

    /// Boards in doubt are resolved by what is read from them.
    fn follow(&mut self, now: Micros, events: &[Event]) -> Result<(), StoreError> {
        for event in events {
            match event {
                Event::Identified { slot, uid } => _ = self.seen.insert(slot.0, (uid.0, false)),
                Event::ImageFound { slot, state, same } => {
                    if let Some(seen) = self.seen.get_mut(&slot.0) {
                        seen.1 = *state == ImageState::Valid && *same;
                    }
                }
                Event::Ended { slot, verdict, .. } if verdict.outcome == Outcome::Pass => {
                    let Some(&(uid, whole)) = self.seen.get(&slot.0) else { continue };
                    for doubt in self.doubts.remove(&uid).unwrap_or_default() {
                        let (kind, note) = if whole {
                            (ResolutionKind::Complete, "read back: it held the whole release")
                        } else {
                            (ResolutionKind::Reprogrammed, "read back: incomplete, programmed again")
                        };
                        self.resolve(now, &doubt, kind, note)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn resolve(
        &mut self,
        now: Micros,
        doubt: &InDoubt,
        kind: ResolutionKind,
        note: &str,
    ) -> Result<(), StoreError> {
        let resolution =
            store::Resolution { utc_us: self.utc(now), kind, note: note.to_owned(), by_run: Some(self.run) };
        self.durable(|store| store.resolve(doubt.attempt, &resolution))
    }
}

/// A clock that stands before the newest record is wrong; a second is left for clocks that are being set.
fn check_clock(newest: Option<i64>, now: i64) -> Result<(), Failure> {
    const SLACK_US: i64 = 1_000_000;
    let Some(newest) = newest.filter(|newest| now.saturating_add(SLACK_US) < *newest) else { return Ok(()) };
    let time = |us| jiff::Timestamp::from_microsecond(us).map_or_else(|e| e.to_string(), |t| t.to_string());
    let text = format!("it says {}, and the newest record is of {}", time(now), time(newest));
    Err(Failure::with_exit(Code::StationClock, text, 3))
}

/// The records of an event.
fn record(event: &Event) -> Vec<store::Event> {
    vec![match event {
        Event::Attempt { slot, .. } => store::Event::AttemptStarted { slot: slot.0 },
        Event::Identified { slot, uid } => store::Event::Identified { slot: slot.0, uid: store::Hex(uid.0) },
        Event::StepBegan { slot, step } => {
            store::Event::StepStarted { slot: slot.0, step: step.name().to_owned() }
        }
        Event::StepEnded { slot, step, ok } => store::Event::StepEnded {
            slot: slot.0,
            step: step.name().to_owned(),
            outcome: if *ok { store::StepOutcome::Ok } else { store::StepOutcome::Failed },
        },
        Event::Measured { slot, name, value, unit, low } => store::Event::Measured {
            slot: slot.0,
            measurement: store::Measurement {
                name: (*name).to_owned(),
                value: *value,
                unit: (*unit).to_owned(),
                low: *low,
                high: None,
            },
        },
        // A slot marked bad has no attempt to end.
        Event::Ended { verdict, slot, .. } if verdict.outcome == Outcome::Skipped => {
            note(Some(slot.0), "skipped", serde_json::Value::String(verdict.detail.clone()))
        }
        Event::Ended { slot, verdict, .. } => {
            store::Event::AttemptEnded { slot: slot.0, verdict: stored_verdict(verdict) }
        }
        Event::Note { slot, topic, text } => {
            note(slot.map(|s| s.0), topic, serde_json::Value::String(text.clone()))
        }
        Event::ImageFound { slot, state, same } => note(
            Some(slot.0),
            "image-found",
            serde_json::json!({ "state": format!("{state:?}"), "same": same }),
        ),
        Event::Reserved { slot, serial, facts } => {
            let serial = serial.iter().cloned();
            let serial = serial.map(|serial| store::Event::SerialGiven { slot: slot.0, serial });
            let facts =
                (!facts.is_empty()).then(|| note(Some(slot.0), store::IDENTITY_NOTE, facts_json(facts)));
            return serial.chain(facts).collect();
        }
        Event::ImageGiven { slot, image } => {
            note(Some(slot.0), store::IMAGE_NOTE, crate::result::own_image(image))
        }
        Event::LockProved { slot, proof } => {
            note(Some(slot.0), "lock-proof", crate::result::lock_proof(proof))
        }
        Event::IdentityWritten { .. }
        | Event::State { .. }
        | Event::Phase { .. }
        | Event::Progress { .. } => return Vec::new(),
    }]
}

/// Several values of one name are one list.
fn facts_json(facts: &[(String, String)]) -> serde_json::Value {
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    facts.iter().for_each(|(name, value)| named.entry(name).or_default().push(value));
    serde_json::json!(named)
}

fn note(slot: Option<u16>, topic: &str, body: serde_json::Value) -> store::Event {
    store::Event::Note { slot, topic: topic.to_owned(), body }
}

fn stored_verdict(verdict: &Verdict) -> store::Verdict {
    let result = match verdict.outcome {
        Outcome::Pass => store::AttemptResult::Pass,
        Outcome::Fail => store::AttemptResult::Fail,
        Outcome::Error => store::AttemptResult::Error,
        Outcome::Skipped => store::AttemptResult::Skipped,
        Outcome::Aborted => store::AttemptResult::Aborted,
    };
    store::Verdict {
        result,
        code: verdict.code.map(|c| c.to_string()),
        detail: Some(verdict.detail.clone()).filter(|d| !d.is_empty()),
        step: verdict.step.map(|s| s.name().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_newest_record_is_refused_with_both_times() {
        const NOON: i64 = 1_700_000_000_000_000;
        assert!(check_clock(None, NOON).is_ok() && check_clock(Some(NOON), NOON).is_ok());
        assert!(check_clock(Some(NOON), NOON - 900_000).is_ok(), "a clock that is being set");
        let failure = check_clock(Some(NOON), NOON - 3_600_000_000).expect_err("an hour behind");
        assert_eq!((failure.code, failure.exit()), (Code::StationClock, 3));
        let text = failure.to_string();
        assert!(text.contains("2023-11-14T22:13:20Z") && text.contains("2023-11-14T21:13:20Z"), "{text}");
    }
}
