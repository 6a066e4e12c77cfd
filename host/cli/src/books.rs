//! Everything of a run that is kept: records first, then the identities of the ledger.
//!
//! Both happen before the effects that follow the events, and before anybody is told. A failure of either stops
//! the run; boards whose PASS records or ledger did not take are withdrawn from the result.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, KeyMade, Outcome, Plan, Refused, Reserved};
use panel_ledger::{Hash, SqliteLedger};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use panel_store::{RetestPolicy, RetestRefusal, Ruling, RulingKind, RunStart, Store, StoreError};

use crate::failure::Failure;
use crate::order::Ordered;
use crate::order::keeper::{self, Clock, Keeper, Terms};
use crate::order::recovery::Recovery;
use crate::order::same_ledger;
use crate::out::note;
use crate::records::Recorder;
use crate::result::RunResult;
use crate::room::{self, Room};
use crate::sim_drive::{Certification, Reservation, no_ledger};

/// Records, and the ledger if the run is one of a work order.
pub(crate) struct Books {
    pub(crate) recorder: Recorder,
    pub(crate) keeper: Option<Keeper>,
    /// How often a unit of the order may be run again.
    retests: Option<Retests>,
    /// Slots whose PASS is not in both.
    unkept: BTreeSet<u16>,
}

struct Retests {
    product: String,
    policy: Option<RetestPolicy>,
    /// Why a person lets units run once more that may not any more.
    permit: Option<String>,
}

impl Books {
    /// Whether there is room, and whether records and ledger that are there can be opened, before anything else is opened
    /// or made. What is not there is not made either.
    pub(crate) fn check(dir: &Path, ordered: bool, plan: &Plan) -> Result<(), Failure> {
        let needed = room::needed(plan.panel.slots.len(), plan.recipe.retries, ordered);
        room::check(dir, needed)?;
        if dir.join("records.db").exists() {
            let store = Recorder::open(dir, needed)?;
            if ordered {
                same_ledger::open(dir, store.records())?;
            }
        } else if ordered && crate::ledger::path(dir).exists() {
            Ordered::open_ledger(dir)?;
        }
        Ok(())
    }

    /// Opens records and, for a work order, the ledger, and settles in both what an earlier run left. `arm` sees
    /// both before anything is written.
    pub(crate) fn open(
        dir: &Path,
        start: &RunStart,
        ordered: Option<Ordered>,
        plan: &Arc<Plan>,
        mut clock: Clock,
        arm: impl FnOnce(&mut Store, &mut SqliteLedger),
    ) -> Result<Self, Failure> {
        let needed = room::needed(plan.panel.slots.len(), plan.recipe.retries, ordered.is_some());
        let mut store = Recorder::open(dir, needed)?;
        let room = Room::take(dir, needed)?;
        let Some(ordered) = ordered else {
            return Ok(Self {
                recorder: Recorder::begin(store, start, room)?,
                keeper: None,
                retests: None,
                unkept: BTreeSet::new(),
            });
        };
        let mut ledger = match same_ledger::open(dir, store.records())? {
            Some(ledger) => ledger,
            None => Ordered::open_ledger(dir)?,
        };
        arm(&mut store, &mut ledger);
        let (product, policy) = (start.product.clone(), start.retests);
        let retests = Some(Retests { product, policy, permit: None });
        let doubtful = ordered.prepare(&mut ledger, store.records(), clock())?;
        if doubtful > 0 {
            note(&format!("{doubtful} identities are in doubt: run their boards again, they are read"));
        }
        let recorder = Recorder::begin(store, start, Rc::clone(&room))?;
        let run = recorder.run().0.to_string();
        let keeper = ordered.keeper(ledger, clock, run, start.panel.clone(), plan, room)?;
        Ok(Self { recorder, keeper: Some(keeper), retests, unkept: BTreeSet::new() })
    }

    /// Opens the books for one board that a job's image is put back into; without a ledger there are no identities.
    pub(crate) fn open_recovery(
        dir: &Path,
        start: &RunStart,
        terms: Terms,
        mut clock: Clock,
        arm: impl FnOnce(&mut Store, Option<&mut SqliteLedger>),
    ) -> Result<Self, Failure> {
        let needed = room::needed(1, 0, true);
        let mut store = Recorder::open(dir, needed)?;
        let room = Room::take(dir, needed)?;
        let mut ledger = same_ledger::open(dir, store.records())?;
        arm(&mut store, ledger.as_mut());
        if let Some(ledger) = &mut ledger {
            keeper::settle(ledger, store.records(), clock())?;
        }
        let recorder = Recorder::begin(store, start, Rc::clone(&room))?;
        let run = recorder.run().0.to_string();
        let keeper = ledger.map(|ledger| Keeper::new(ledger, clock, run, terms, room));
        Ok(Self { recorder, keeper, retests: None, unkept: BTreeSet::new() })
    }

    /// Makes events durable, or says why it could not.
    pub(crate) fn events(&mut self, now: Micros, events: &[Event]) -> Result<(), String> {
        let kept = self.keep(now, events);
        if kept.is_err() {
            let passed = events.iter().filter_map(|event| match event {
                Event::Ended { slot, verdict, .. } if verdict.outcome == Outcome::Pass => Some(slot.0),
                _ => None,
            });
            self.unkept.extend(passed);
        }
        kept
    }

    fn keep(&mut self, now: Micros, events: &[Event]) -> Result<(), String> {
        let Some(keeper) = &mut self.keeper else { return self.recorder.write(now, events) };
        let reserved = events.iter().any(|event| matches!(event, Event::Reserved { .. }));
        let head = if reserved { keeper.head_note() } else { None };
        let recorded = match head {
            Some(head) => self.recorder.write(now, &[events, &[head]].concat()),
            None => self.recorder.write(now, events),
        };
        if let Err(why) = &recorded {
            keeper.stop(why);
        }
        let recorder = &self.recorder;
        keeper.events(events, |slot| Ok(recorder.last_result(slot)?.map(Hash)))
    }

    /// Units that have used up their retests are run once more, for this reason.
    pub(crate) fn permit(&mut self, reason: Option<&str>) {
        if let Some(retests) = &mut self.retests {
            retests.permit = reason.map(str::to_owned);
        }
    }

    /// Reserves identities, durably; without a ledger nobody gets one. A unit that may not be run again consumes
    /// nothing.
    pub(crate) fn reserve(&mut self, now: Micros, boards: &[(Slot, Uid)]) -> Vec<Reservation> {
        let mut answers = Vec::new();
        let mut admitted = Vec::new();
        if let Err(refused) = self.look_up_passes(boards) {
            return boards.iter().map(|&(slot, _)| (slot, Err(refused.clone()))).collect();
        }
        for &(slot, uid) in boards {
            match self.admit(now, slot, uid) {
                Ok(()) => admitted.push((slot, uid)),
                Err(refused) => answers.push((slot, Err(refused))),
            }
        }
        match &mut self.keeper {
            _ if admitted.is_empty() => {}
            Some(keeper) => answers.extend(keeper.reserve(&admitted)),
            None => answers.extend(admitted.into_iter().map(|(slot, _)| (slot, Ok(Reserved::default())))),
        }
        answers
    }

    /// Tells a recovery by a job whether its unit had passed.
    fn look_up_passes(&mut self, boards: &[(Slot, Uid)]) -> Result<(), Refused> {
        let recovery = self.keeper.as_mut().and_then(Keeper::recovery_mut);
        let Some((product, Recovery::ByJob { passed, .. })) = recovery else { return Ok(()) };
        for (_, uid) in boards {
            let known = self.recorder.passed_an_order(product, *uid);
            *passed |= known.map_err(|e| Refused { code: Code::RecordStore, text: e.to_string() })?;
        }
        Ok(())
    }

    /// Answers boards that made keys of their own, durably; without a ledger nobody does.
    pub(crate) fn certify(&mut self, made: &[KeyMade]) -> Vec<Certification> {
        match &mut self.keeper {
            Some(keeper) => keeper.certify(made),
            None => made.iter().map(|key| (key.slot, Err(no_ledger()))).collect(),
        }
    }

    /// Whether a unit may be run once more, by the order's policy and what is recorded of it.
    fn admit(&mut self, now: Micros, slot: Slot, uid: Uid) -> Result<(), Refused> {
        let Some(Retests { product, policy, permit }) = &self.retests else { return Ok(()) };
        let unreadable = |error: StoreError| Refused { code: Code::RecordStore, text: error.to_string() };
        let standing = self.recorder.standing(product, uid).map_err(unreadable)?;
        let Err(refusal) = standing.allows(policy.as_ref()) else { return Ok(()) };
        let refused = |code| Refused { code, text: refusal.to_string() };
        let reason = match (&refusal, permit) {
            (RetestRefusal::Kept(Ruling { kind: RulingKind::Scrapped, .. }), _)
            | (RetestRefusal::Kept(_) | RetestRefusal::Quarantined { .. }, None) => {
                return Err(refused(Code::Quarantined));
            }
            (RetestRefusal::UsedUp { .. }, None) => return Err(refused(Code::RetestsUsedUp)),
            (_, Some(reason)) => reason,
        };
        let text = format!("{refusal}; permitted once more: {reason}");
        let note = Event::Note { slot: Some(slot), topic: "permitted", text };
        let refused = |text| Refused { code: Code::RecordStore, text };
        self.recorder.write(now, &[note]).map_err(refused)
    }

    /// Takes passes out of the result that could not be kept.
    pub(crate) fn correct(&self, result: &mut RunResult) {
        result.withdraw(&self.unkept, Code::RecordStore);
    }

    /// What went wrong with the books, if anything did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let recorder = self.recorder.error.as_ref().map(crate::records::failure);
        recorder.or_else(|| self.keeper.as_ref().and_then(Keeper::failure))
    }
}
