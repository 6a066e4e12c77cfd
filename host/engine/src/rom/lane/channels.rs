//! Turns at ports that serve several slots through multiplexers.
//!
//! One slot of a port is reached at a time; slots of different ports side by side, as far as the lines that their
//! multiplexers share agree. A slot keeps its channel until its attempt is over.

use std::collections::{BTreeSet, VecDeque};

use panel_backplane::{Request, Slot};

use super::{Purpose, RomLane};
use crate::lines::OwnLine;

/// Who is reached through a multiplexer, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct Channels {
    waiting: VecDeque<Slot>,
    connected: BTreeSet<Slot>,
}

impl Channels {
    /// These slots wait for their turns, after those that wait already.
    pub(super) fn wait(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.waiting.extend(slots);
    }

    /// The slot needs no turn any more.
    pub(super) fn release(&mut self, slot: Slot) {
        self.waiting.retain(|s| *s != slot);
        self.connected.remove(&slot);
    }

    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl RomLane {
    pub(super) fn is_multiplexed(&self, slot: Slot) -> bool {
        self.plan.panel.slot(slot).is_some_and(|s| s.mux.is_some())
    }

    /// Sets the multiplexers for the next slots, and starts their ROMs.
    pub(super) fn connect_next(&mut self) {
        let mut slots: Vec<Slot> = Vec::new();
        for &slot in &self.channels.waiting {
            if self
                .channels
                .connected
                .iter()
                .chain(&slots)
                .all(|other| self.can_both_be_reached(slot, *other))
            {
                slots.push(slot);
            }
        }
        if slots.is_empty() {
            return;
        }
        self.channels.waiting.retain(|slot| !slots.contains(slot));
        self.channels.connected.extend(&slots);
        self.tell(Request::Mux(slots.clone()));
        self.boot0(&slots, true);
        let reset = self.with_line(&slots, OwnLine::Nrst);
        let entry = Purpose::Entry(slots.clone());
        if reset.is_empty() {
            self.ask(Request::PowerOn(slots), entry);
        } else {
            self.tell(Request::PowerOn(slots));
            self.ask(Request::Reset(reset), entry);
        }
    }

    fn can_both_be_reached(&self, one: Slot, other: Slot) -> bool {
        let slots = (self.plan.panel.slot(one), self.plan.panel.slot(other));
        let (Some(one), Some(other)) = slots else { return false };
        let agree = one.mux.as_ref().zip(other.mux.as_ref()).is_some_and(|(a, b)| a.goes_with(b));
        agree && !one.shares_port(other)
    }
}
