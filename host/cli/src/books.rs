//! Everything of a run that is kept: records first, then the identities of the ledger.
//!
//! Both happen before the effects that follow the events, and before anybody is told. A failure of either stops
//! the run; boards whose PASS the ledger did not take are withdrawn from the result.

use std::path::Path;
use std::sync::Arc;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, Plan, Reserved};
use panel_ledger::{Hash, SqliteLedger};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use panel_store::{RunStart, Store};

use crate::failure::Failure;
use crate::order::Ordered;
use crate::order::keeper::{Clock, Keeper};
use crate::out::note;
use crate::records::Recorder;
use crate::result::RunResult;
use crate::sim_drive::Reservation;

/// Records, and the ledger if the run is one of a work order.
pub(crate) struct Books {
    pub(crate) recorder: Recorder,
    pub(crate) keeper: Option<Keeper>,
}

impl Books {
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
        let mut store = Recorder::open(dir)?;
        let Some(ordered) = ordered else {
            return Ok(Self { recorder: Recorder::begin(store, start)?, keeper: None });
        };
        let mut ledger = Ordered::open_ledger(dir, plan.panel.slots.len())?;
        arm(&mut store, &mut ledger);
        let doubtful = ordered.prepare(&mut ledger, store.records(), clock())?;
        if doubtful > 0 {
            note(&format!("{doubtful} identities are in doubt: run their boards again, they are read"));
        }
        let recorder = Recorder::begin(store, start)?;
        let run = recorder.run().0.to_string();
        let keeper = ordered.keeper(ledger, clock, run, start.panel.clone(), plan)?;
        Ok(Self { recorder, keeper: Some(keeper) })
    }

    /// Makes events durable, or says why it could not.
    pub(crate) fn events(&mut self, now: Micros, events: &[Event]) -> Result<(), String> {
        let recorded = self.recorder.write(now, events);
        let Some(keeper) = &mut self.keeper else { return recorded };
        if let Err(why) = &recorded {
            keeper.stop(why);
        }
        let recorder = &self.recorder;
        keeper.events(events, |slot| Ok(recorder.last_result(slot)?.map(Hash)))
    }

    /// Reserves identities, durably; without a ledger nobody gets one.
    pub(crate) fn reserve(&mut self, boards: &[(Slot, Uid)]) -> Vec<Reservation> {
        match &mut self.keeper {
            Some(keeper) => keeper.reserve(boards),
            None => boards.iter().map(|&(slot, _)| (slot, Ok(Reserved::default()))).collect(),
        }
    }

    /// Takes passes out of the result that could not be kept.
    pub(crate) fn correct(&self, result: &mut RunResult) {
        if let Some(keeper) = &self.keeper {
            result.withdraw(keeper.unconfirmed(), Code::RecordStore);
        }
    }

    /// What went wrong with the books, if anything did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let recorder = self.recorder.error.as_ref().map(crate::records::failure);
        recorder.or_else(|| self.keeper.as_ref().and_then(Keeper::failure))
    }
}
