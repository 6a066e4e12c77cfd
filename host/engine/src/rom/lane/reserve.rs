//! Boards that were found wait for the identities that somebody else keeps.
//!
//! Boards with ports of their own are found at nearly the same time: they are asked for together, so that their
//! reservations are one durable transaction. Nobody waits long for one that is slow to answer.

use std::collections::BTreeMap;

use panel_backplane::Slot;
use panel_protocol::node::Uid;
use panel_protocol::time::{Micros, Span};

use super::{Purpose, RomLane};
use crate::board::Board;
use crate::event::Step;
use crate::finishing::{Refused, Reserved};

/// What the first of the boards that wait gives the others.
const PATIENCE: Span = Span::from_millis(250);

/// Boards that wait to be asked for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    boards: BTreeMap<Slot, Uid>,
    until: Option<Micros>,
}

impl Waiting {
    /// When they are asked for at the latest.
    pub(super) fn until(&self) -> Option<Micros> {
        self.until.filter(|_| !self.boards.is_empty())
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.boards.remove(&slot);
    }
}

impl RomLane {
    pub(super) fn wait_for_identity(&mut self, now: Micros, slot: Slot) {
        let Some(uid) = self.boards.get(&slot).and_then(|b| b.uid) else { return };
        if self.waiting.boards.is_empty() {
            self.waiting.until = Some(now + PATIENCE);
        }
        self.waiting.boards.insert(slot, uid);
    }

    /// Asks for all that wait once nobody else is on the way, or has been for too long.
    pub(super) fn gather(&mut self, now: Micros) {
        let Some(until) = self.waiting.until() else { return };
        let early = |slot: &Slot| self.boards.get(slot).is_some_and(|b| b.step < Step::Reserve);
        let starting =
            self.waits.values().any(|p| matches!(p, Purpose::Entry(slots) if slots.iter().any(early)));
        let coming = starting || self.working.keys().any(early);
        if now >= until || !coming {
            self.reserve.extend(core::mem::take(&mut self.waiting.boards));
            self.waiting.until = None;
        }
    }

    /// The answer for one board.
    pub(crate) fn reserved(&mut self, now: Micros, slot: Slot, answer: Result<Reserved, Refused>) {
        let waits = |b: &&mut Board| b.is_active() && b.step == Step::Reserve && b.reserved.is_none();
        let Some(board) = self.boards.get_mut(&slot).filter(waits) else { return };
        match answer {
            Ok(reserved) => {
                self.events.push_back(reserved.event(slot));
                if let Some(working) = self.working.get_mut(&slot) {
                    working.attempt.handle_reserved(now, &reserved);
                }
                board.reserved = Some(reserved);
                self.pump(now, slot);
            }
            Err(refused) => self.fail(now, slot, refused.code, refused.text),
        }
        self.gather(now);
    }
}
