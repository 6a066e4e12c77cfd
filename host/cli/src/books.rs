//! Everything of a run that is kept: records first, then the identities of the ledger.
//!
//! Both happen before the effects that follow the events, and before anybody is told. A failure of either stops
//! the run; boards whose PASS the ledger did not take are withdrawn from the result.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, Reserved};
use panel_ledger::Hash;
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;

use crate::failure::Failure;
use crate::order::keeper::Keeper;
use crate::records::Recorder;
use crate::result::RunResult;
use crate::sim_drive::Reservation;

/// Records, and the ledger if the run is one of a work order.
pub(crate) struct Books {
    pub(crate) recorder: Recorder,
    pub(crate) keeper: Option<Keeper>,
}

impl Books {
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
