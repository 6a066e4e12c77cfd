//! What a lane asks of the fixture: starting boards, holding them back, cutting one off without touching another.
//!
//! Invariant: a line that serves several slots is only switched off when every one of them has ended. Where a
//! slot has no power line of its own, its NRST line serves instead.

use panel_backplane::{Request, Slot};

use super::Lane;
use crate::board::Board;
use crate::lines::{self, OwnLine};

impl Lane {
    /// Asks the fixture for something that this lane then waits for.
    pub(crate) fn switch(&mut self, request: Request) {
        self.owed += 1;
        self.fixture.push_back((request, true));
    }

    /// Asks the fixture for something and goes on.
    fn tell(&mut self, request: Request) {
        self.fixture.push_back((request, false));
    }

    /// The line with which this slot can be held back, if any.
    pub(super) fn own_line(&self, slot: Slot) -> Option<OwnLine> {
        lines::own_line(&self.plan.panel, slot)
    }

    fn with_line(&self, slots: &[Slot], line: OwnLine) -> Vec<Slot> {
        slots.iter().copied().filter(|&s| self.own_line(s) == Some(line)).collect()
    }

    /// Holds boards back.
    pub(super) fn hold(&mut self, slots: &[Slot]) {
        let (reset, power) = (self.with_line(slots, OwnLine::Nrst), self.with_line(slots, OwnLine::Power));
        if !reset.is_empty() {
            self.switch(Request::HoldReset(reset));
        }
        if !power.is_empty() {
            self.tell(Request::PowerOff(power));
        }
    }

    /// Lets boards start that were held back.
    pub(super) fn wake(&mut self, slots: &[Slot]) {
        let (reset, power) = (self.with_line(slots, OwnLine::Nrst), self.with_line(slots, OwnLine::Power));
        if !reset.is_empty() {
            self.switch(Request::ReleaseReset(reset));
        }
        if !power.is_empty() {
            self.switch(Request::PowerOn(power));
        }
    }

    /// Starts boards anew, those that can be.
    pub(super) fn restart(&mut self, slots: &[Slot]) {
        let (reset, power) = (self.with_line(slots, OwnLine::Nrst), self.with_line(slots, OwnLine::Power));
        if !reset.is_empty() {
            self.switch(Request::Reset(reset));
        }
        if !power.is_empty() {
            self.tell(Request::PowerOff(power.clone()));
            self.switch(Request::PowerOn(power));
        }
    }

    /// The same for boards that have just been given power, and may have had it before.
    pub(super) fn restart_by_reset(&mut self, slots: &[Slot]) {
        let reset = self.with_line(slots, OwnLine::Nrst);
        if !reset.is_empty() {
            self.switch(Request::Reset(reset));
        }
    }

    /// Cuts one board off the bus: by its own power line, else by reset. False if neither is its own.
    pub(super) fn isolate(&mut self, slot: Slot) -> bool {
        let powered = lines::has_own_power(&self.plan.panel, slot);
        match self.own_line(slot) {
            _ if powered => self.tell(Request::PowerOff(vec![slot])),
            Some(_) => self.tell(Request::HoldReset(vec![slot])),
            None => return false,
        }
        if let Some(board) = self.boards.get_mut(&slot) {
            board.cut = true;
        }
        true
    }

    /// Takes the power of a slot that has failed, unless another board still needs the line.
    pub(super) fn cut(&mut self, slot: Slot) {
        let line = self.plan.panel.slot(slot).and_then(|s| s.lines.power);
        let Some(line) = line.and_then(|l| self.plan.panel.line(l)) else { return };
        let over = |s: &Slot| match self.boards.get(s) {
            Some(board) => board.bad || board.verdict.is_some(),
            // Another bus's, or nobody's.
            None => false,
        };
        if line.slots.iter().all(over) {
            for slot in line.slots.clone() {
                if let Some(board) = self.boards.get_mut(&slot) {
                    board.cut = true;
                }
            }
            self.tell(Request::PowerOff(vec![slot]));
        }
    }

    /// Slots of these that still take part.
    pub(super) fn still_active(&self, slots: &[Slot]) -> Vec<Slot> {
        slots.iter().copied().filter(|s| self.boards.get(s).is_some_and(Board::is_active)).collect()
    }
}
