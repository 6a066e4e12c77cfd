//! What a factory adds to a board: its identity, option bytes, protection, and the proof of that.
//!
//! Invariant: nothing of an identity is sent before its reservation was answered, nothing is locked before it is
//! verified, committed and bound anew, and a board whose recipe asks for a lock passes only with the proof.

use panel_backplane::Slot;
use panel_protocol::time::Micros;

use super::{Lane, Stage};
use crate::board::SlotState;
use crate::event::{Event, Step};
use crate::finishing::{Refused, Reserved};

impl Lane {
    /// Boards are found and checked: whoever keeps the identities is asked before anything is erased.
    pub(super) fn reserve(&mut self, now: Micros) {
        if !self.plan.recipe.finishing.reserve || self.active().is_empty() {
            self.program(now);
            return;
        }
        self.advance_step(Step::Reserve, SlotState::Found);
        self.stage = Stage::Reserve;
        let boards = self.group.iter().filter_map(|s| self.boards.get(s)).filter(|b| b.is_active());
        self.reserve = boards.filter_map(|b| Some((b.slot, b.uid?))).collect();
    }

    /// The answer for one board.
    pub(crate) fn reserved(&mut self, now: Micros, slot: Slot, answer: Result<Reserved, Refused>) {
        if self.stage != Stage::Reserve {
            return;
        }
        match answer {
            Ok(reserved) => {
                let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active()) else { return };
                self.events.push_back(Event::Reserved { slot, serial: reserved.serial.clone() });
                board.reserved = Some(reserved);
            }
            Err(refused) => self.fail(now, slot, refused.code, refused.text),
        }
        let waits = |s: &Slot| self.boards.get(s).is_some_and(|b| b.is_active() && b.reserved.is_none());
        if !self.group.iter().any(waits) {
            self.program(now);
        }
    }
}
