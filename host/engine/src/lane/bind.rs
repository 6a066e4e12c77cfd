//! Which board sits in which slot, where no straps say so.
//!
//! In each round some slots run while others are held in reset or without power. By select line: one slot after
//! the other starts while its line is on, and its board must say that it sees it. By groups: every slot runs in
//! its own half of the rounds, and the board whose UID was heard in exactly those rounds sits there; a UID heard
//! once too rarely or too often fits no slot, so that a lost answer never puts a board into another's slot.
//! Rounds grow with the logarithm of the slots: 7 for 21, 8 for 64.

use std::collections::{BTreeMap, BTreeSet};

use panel_backplane::{Binding, Request as FixtureRequest, Slot};
use panel_codes::Code;
use panel_protocol::host::{Discovered, Duplicate, Found};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;

use super::find::{LOOKS, list};
use super::{Lane, Stage};

/// The rounds of one binding.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Slots that run, by round.
    rounds: Vec<Vec<Slot>>,
    /// The round under way, `rounds.len()` when all are over.
    round: usize,
    /// By slot, the rounds in which it runs, as bits.
    codes: BTreeMap<Slot, u32>,
    /// By UID, the rounds in which it was heard, as bits.
    heard: BTreeMap<Uid, u32>,
    /// Boards that fit no slot.
    pub(super) strays: usize,
    /// Discoveries repeated in this round.
    looks: u8,
    /// Slots held back because nobody answered when they were selected.
    held: Vec<Slot>,
}

impl Rounds {
    fn select(slots: &BTreeSet<Slot>) -> Self {
        Self { rounds: slots.iter().map(|&slot| vec![slot]).collect(), ..Self::default() }
    }

    /// Each slot in half of the rounds; the last round, which decides nothing, has all of them.
    fn groups(slots: &BTreeSet<Slot>) -> Self {
        let bits = (2..32).find(|&m| choose(m, m / 2) >= slots.len() as u64).unwrap_or(32);
        let codes = (0..=u32::MAX >> (32 - bits)).filter(|code| code.count_ones() == bits / 2);
        let codes: BTreeMap<Slot, u32> = slots.iter().copied().zip(codes).collect();
        let runs =
            |bit: u32| codes.iter().filter(|(_, code)| *code >> bit & 1 != 0).map(|(&s, _)| s).collect();
        let mut rounds: Vec<Vec<Slot>> = (0..bits).map(runs).collect();
        rounds.push(slots.iter().copied().collect());
        Self { rounds, codes, ..Self::default() }
    }

    fn hear(&mut self, uid: Uid) {
        if self.round + 1 < self.rounds.len() {
            *self.heard.entry(uid).or_default() |= 1 << self.round;
        }
    }

    fn slot_of(&self, uid: &Uid) -> Option<Slot> {
        let heard = self.heard.get(uid)?;
        self.codes.iter().find(|(_, code)| *code == heard).map(|(&slot, _)| slot)
    }

    /// Slots that were running whenever this UID was to be heard, and so may hold it.
    fn slots_within(&self, uid: &Uid) -> Vec<Slot> {
        let heard = self.heard.get(uid).copied().unwrap_or(0);
        self.codes.iter().filter(|(_, code)| *code & !heard == 0).map(|(&slot, _)| slot).collect()
    }
}

/// Ways to choose `k` of `n`.
fn choose(n: u32, k: u32) -> u64 {
    (1..=u64::from(k)).fold(1, |ways, i| ways * (u64::from(n) - u64::from(k) + i) / i)
}

impl Lane {
    /// Boards have power: hold them all back, then let them start by rounds.
    pub(super) fn begin_binding(&mut self, now: Micros) {
        self.begin_search();
        if self.plan.panel.binding == Binding::Select {
            // One fixture selects one slot at a time, whatever its bus.
            self.stage = Stage::BindTurn;
        } else {
            self.binding = Rounds::groups(&self.group);
            self.next_round(now);
        }
    }

    /// Whether this bus waits for the fixture's select lines.
    pub(crate) fn wants_select(&self) -> bool {
        self.stage == Stage::BindTurn
    }

    /// Whether this bus uses the fixture's select lines.
    pub(crate) fn has_select(&self) -> bool {
        let binds = matches!(self.stage, Stage::BindSwitch | Stage::BindStartUp(_) | Stage::BindDiscover);
        binds && self.plan.panel.binding == Binding::Select
    }

    /// The fixture's select lines are this bus's now.
    pub(crate) fn take_select(&mut self, now: Micros) {
        self.binding = Rounds::select(&self.group);
        let all: Vec<Slot> = self.group.iter().copied().collect();
        self.hold(&all);
        self.next_round(now);
    }

    fn next_round(&mut self, now: Micros) {
        let by_select = self.plan.panel.binding == Binding::Select;
        let slots = self.binding.rounds.get(self.binding.round).cloned();
        self.binding.looks = 0;
        self.stage = Stage::BindSwitch;
        match slots {
            None if by_select => {
                self.switch(FixtureRequest::Select(None));
                // Their currents will say more when they run.
                let held = core::mem::take(&mut self.binding.held);
                self.wake(&self.still_active(&held));
            }
            None => self.sense_absent(now),
            Some(slots) if by_select => {
                self.switch(FixtureRequest::Select(slots.first().copied()));
                self.wake(&self.still_active(&slots));
            }
            Some(slots) => {
                let all: Vec<Slot> = self.group.iter().copied().collect();
                self.hold(&all);
                self.wake(&self.still_active(&slots));
                if self.owed == 0 {
                    // Whoever was to run in this round has failed meanwhile.
                    self.round_switched(now);
                }
            }
        }
    }

    /// The fixture has switched what the round needs.
    pub(super) fn round_switched(&mut self, now: Micros) {
        if self.binding.round < self.binding.rounds.len() {
            self.stage = Stage::BindStartUp(now + self.plan.recipe.limits.start_up);
        } else {
            self.sense_absent(now);
        }
    }

    pub(super) fn bind_discover(&mut self, now: Micros) {
        self.stage = Stage::BindDiscover;
        // Boards selected before keep their numbers; in a round of groups everybody has just started.
        let restart = self.plan.panel.binding == Binding::PowerGroups || self.is_first_round();
        self.master.discover(now, restart);
    }

    fn is_first_round(&self) -> bool {
        self.binding.round == 0 && self.boards.values().all(|b| b.attempt <= 1)
    }

    /// A round of discovery is over.
    pub(super) fn round_over(&mut self, now: Micros, discovered: &Discovered) {
        if self.plan.panel.binding == Binding::Select {
            let nobody = discovered.found.is_empty() && discovered.duplicates.is_empty();
            if nobody && self.binding.looks < LOOKS {
                self.binding.looks += 1;
                self.bind_discover(now);
                return;
            }
            self.selected(now, discovered);
        } else if self.binding.round + 1 < self.binding.rounds.len() {
            let found = discovered.found.iter().map(|f| f.uid);
            for uid in found.chain(discovered.duplicates.iter().map(|d| d.uid)) {
                self.binding.hear(uid);
            }
        } else {
            self.grouped(now, discovered);
        }
        self.binding.round += 1;
        self.next_round(now);
    }

    /// Who answers while one slot is selected.
    fn selected(&mut self, now: Micros, discovered: &Discovered) {
        let selected = self.binding.rounds.get(self.binding.round).and_then(|slots| slots.first().copied());
        let Some(slot) = selected else { return };
        for Duplicate { uid, .. } in &discovered.duplicates {
            self.fail(now, slot, Code::DuplicateUid, format!("two boards answer with UID {uid}"));
        }
        for found in &discovered.found {
            let Found { node, uid, strap, .. } = *found;
            let other = self.boards.values().find(|b| b.slot != slot && b.uid == Some(uid));
            let other = other.map(|b| (b.slot, b.verdict.is_none()));
            match (strap, other) {
                (Some(1), None | Some((_, false))) => self.bind_to(now, slot, found),
                (Some(1), Some((other, true))) => {
                    self.master.release(node);
                    let text = format!("UID {uid} is in slots {}", list(&[other, slot]));
                    self.fail(now, other, Code::DuplicateUid, text.clone());
                    self.fail(now, slot, Code::DuplicateUid, text);
                }
                // A board of another slot that restarted.
                (_, Some(_)) => self.master.release(node),
                (_, None) => {
                    self.master.release(node);
                    let text = format!("UID {uid} answers, but does not see the slot's select line");
                    self.fail(now, slot, Code::SlotBinding, text);
                }
            }
        }
        // A board that missed the question while it was selected would answer when another is.
        if self.boards.get(&slot).is_some_and(|b| b.is_active() && b.node.is_none()) {
            self.hold(&[slot]);
            self.binding.held.push(slot);
        }
    }

    /// All run and have numbers; what was heard of them before says where they sit.
    fn grouped(&mut self, now: Micros, discovered: &Discovered) {
        let known: BTreeSet<Uid> =
            self.boards.values().filter(|b| b.verdict.is_some()).filter_map(|b| b.uid).collect();
        for found in discovered.found.iter().filter(|f| !known.contains(&f.uid)) {
            match self.binding.slot_of(&found.uid) {
                Some(slot) => self.bind_to(now, slot, found),
                None => {
                    self.master.release(found.node);
                    self.binding.strays += 1;
                    let text = format!("UID {} was not heard in the rounds of any slot", found.uid);
                    self.note(None, "stray-board", text);
                }
            }
        }
        for Duplicate { uid, .. } in &discovered.duplicates {
            let free = |s: &Slot| self.boards.get(s).is_some_and(|b| b.is_active() && b.node.is_none());
            let slots: Vec<Slot> = self.binding.slots_within(uid).into_iter().filter(free).collect();
            let text = format!("UID {uid} is in slots {}", list(&slots));
            for slot in slots {
                self.fail(now, slot, Code::DuplicateUid, text.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(n: u16) -> BTreeSet<Slot> {
        (1..=n).map(Slot).collect()
    }

    #[test]
    fn rounds_grow_with_the_logarithm_of_the_slots() {
        let rounds = |n| Rounds::groups(&slots(n)).rounds.len() - 1;
        assert_eq!([1, 2, 3, 21, 64, 128, 1024].map(rounds), [2, 2, 3, 7, 8, 10, 13]);
    }

    #[test]
    fn a_lost_answer_fits_no_slot_instead_of_another() {
        for n in [1, 2, 21, 64] {
            let mut rounds = Rounds::groups(&slots(n));
            assert_eq!(rounds.codes.len(), usize::from(n));
            let uid = Uid([7; 12]);
            let codes: Vec<(Slot, u32)> = rounds.codes.iter().map(|(&s, &c)| (s, c)).collect();
            for (slot, code) in codes {
                rounds.heard.insert(uid, code);
                assert_eq!(rounds.slot_of(&uid), Some(slot));
                for bit in 0..32 {
                    rounds.heard.insert(uid, code & !(1 << bit));
                    assert!(code >> bit & 1 == 0 || rounds.slot_of(&uid).is_none());
                    rounds.heard.insert(uid, code | 1 << bit);
                    assert!(code >> bit & 1 != 0 || rounds.slot_of(&uid).is_none());
                }
            }
        }
    }
}
