//! Starting boards anew so that option bytes are loaded, and finding them again.
//!
//! By the fixture's power where every slot of the line can do without it; else the boards are told to reset
//! themselves. Afterwards they are known by their UID and must read the same straps as before; who does not come
//! back fails with its supply current.

use std::collections::BTreeSet;

use panel_backplane::{Binding, Request as FixtureRequest, Slot};
use panel_codes::Code;
use panel_protocol::host::Discovered;
use panel_protocol::time::Micros;

use super::factory::Factory;
use super::find::LOOKS;
use super::{Lane, Stage};
use crate::event::Step;

impl Lane {
    /// Boards that were just written start anew; `step` goes on when they are back.
    pub(super) fn restart_boards(&mut self, now: Micros, step: Step) {
        let active = self.active_slots();
        self.work.boards.retain(|slot| active.contains(slot));
        self.work.restart_for = Some(step);
        self.work.looks = 0;
        if self.work.boards.is_empty() {
            self.restarted(now);
            return;
        }
        let boards = self.work.boards.clone();
        self.work.by_power =
            boards.iter().copied().filter(|&slot| self.may_lose_power(slot, &boards)).collect();
        let by_reset = boards.difference(&self.work.by_power).copied().collect();
        self.question(now, Factory::ResetTold, by_reset);
    }

    /// Whether nobody beside `boards` needs the power line of this slot.
    fn may_lose_power(&self, slot: Slot, boards: &BTreeSet<Slot>) -> bool {
        let line = self.plan.panel.slot(slot).and_then(|s| s.lines.power);
        let over = |s: &Slot| self.boards.get(s).is_some_and(|b| b.bad || b.verdict.is_some());
        let free = |s: &Slot| boards.contains(s) || over(s);
        line.and_then(|l| self.plan.panel.line(l)).is_some_and(|line| line.slots.iter().all(free))
    }

    /// Who resets itself has been told; the others lose their power and get it back.
    pub(super) fn power_cycle(&mut self, now: Micros) {
        for slot in &self.work.boards {
            if let Some(board) = self.boards.get_mut(slot) {
                board.node = None;
            }
        }
        let slots: Vec<Slot> = self.work.by_power.iter().copied().collect();
        if slots.is_empty() {
            self.start_up(now);
            return;
        }
        self.stage = Stage::Factory(Factory::PowerCycle);
        self.fixture.push_back((FixtureRequest::PowerOff(slots.clone()), false));
        self.switch(FixtureRequest::PowerOn(slots));
    }

    /// Power is back, or the resets are done.
    pub(super) fn start_up(&mut self, now: Micros) {
        self.stage = Stage::Factory(Factory::StartUp(now + self.plan.recipe.limits.start_up));
    }

    pub(super) fn find_restarted(&mut self, now: Micros) {
        self.stage = Stage::Factory(Factory::Find);
        // Numbers begin anew if nobody keeps one.
        let all =
            |b: &crate::board::Board| self.work.boards.contains(&b.slot) || b.verdict.is_some() || b.bad;
        let restart = self.work.looks == 0 && self.boards.values().all(all);
        self.master.discover(now, restart);
    }

    /// Boards without a number were found.
    pub(super) fn found_restarted(&mut self, now: Micros, found: &Discovered) {
        let straps = self.plan.panel.binding == Binding::Straps;
        for board in &found.found {
            let ours = |b: &&mut crate::board::Board| b.uid == Some(board.uid) && b.node.is_none();
            let mut waiting = self.boards.values_mut().filter(|b| b.is_active());
            let Some(b) = waiting.find(ours).filter(|b| self.work.boards.contains(&b.slot)) else {
                self.master.release(board.node);
                continue;
            };
            let (slot, strap) = (b.slot, b.strap);
            if straps && board.strap != Some(strap) {
                let text = format!("UID {} read straps {strap} and now reads {:?}", board.uid, board.strap);
                self.master.release(board.node);
                self.fail(now, slot, Code::Rebound, text);
            } else {
                (b.node, b.nonce) = (Some(board.node), board.nonce);
            }
        }
        let missing = self.not_back();
        if missing.is_empty() {
            self.restarted(now);
        } else if self.work.looks < LOOKS {
            self.work.looks += 1;
            self.find_restarted(now);
        } else {
            self.stage = Stage::Factory(Factory::Sense);
            self.sense.push_back(missing);
        }
    }

    fn not_back(&self) -> Vec<Slot> {
        let waits = |s: &&Slot| self.boards.get(s).is_some_and(|b| b.is_active() && b.node.is_none());
        self.work.boards.iter().filter(waits).copied().collect()
    }

    /// Who did not come back has been measured.
    pub(super) fn never_back(&mut self, now: Micros) {
        let code = match self.work.restart_for {
            Some(Step::Options) => Code::OptionBytesFailed,
            _ => Code::LockNotProven,
        };
        for slot in self.not_back() {
            let current = self.boards.get(&slot).and_then(|b| b.current);
            let draws = current.map_or_else(String::new, |ma| format!(", draws {ma} mA"));
            self.fail(now, slot, code, format!("does not answer after its restart{draws}"));
        }
        self.restarted(now);
    }
}
