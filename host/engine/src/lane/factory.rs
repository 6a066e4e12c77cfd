//! What a factory adds to a board beside its image: the order of it, and how boards are asked.
//!
//! Reserve comes before the first erase, key and identity after the read-back, options and lock after the valid mark.
//! Every question goes to each board by itself, so that a board that is still behind never hears it; what a board
//! missed or could not do just then is asked again. `key.rs`, `identity.rs`, `protect.rs` and `restart.rs` have the
//! steps.
//! Invariant: nothing of an identity is sent before its reservation was answered, nothing is locked before it is
//! verified, committed and bound anew, and a board whose recipe asks for a lock passes only with the proof.

use std::collections::{BTreeMap, BTreeSet};

use panel_backplane::Slot;
use panel_protocol::host::{Answer, Request};
use panel_protocol::ident::NodeId;
use panel_protocol::message::Refusal;
use panel_protocol::node::Protection;
use panel_protocol::time::Micros;
use zeroize::Zeroizing;

use super::{Lane, Stage};
use crate::board::{Board, SlotState};
use crate::event::Step;
use crate::finishing::{Refused, Reserved};

/// Times a board may miss a part of a question, or be busy, before it fails.
const ROUNDS: u8 = 8;

/// What boards are asked, or waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factory {
    KeyMake,
    KeyRead,
    IdentityWrite,
    IdentityRead,
    OptionsRead,
    OptionsWrite,
    /// Who are you, before the lock.
    Bound,
    Lock,
    /// What protection do you have, after it.
    ProofInfo,
    ProofRead,
    /// Boards that the fixture cannot switch reset themselves,
    ResetTold,
    /// the others lose their power,
    PowerCycle,
    /// they start,
    StartUp(Micros),
    /// are looked for,
    Find,
    /// and who does not come back is measured.
    Sense,
}

/// The work under way.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Boards that the question is about.
    pub(super) boards: BTreeSet<Slot>,
    /// Those of them that have not answered well yet.
    pub(super) todo: BTreeSet<Slot>,
    /// Times the question was repeated.
    pub(super) rounds: u8,
    /// Where in the region the question is.
    pub(super) offset: usize,
    /// What was read from each board so far.
    pub(super) read: BTreeMap<Slot, Zeroizing<Vec<u8>>>,
    /// Times that writing was begun again because something else was read back.
    pub(super) rewrites: u8,
    /// Boards that start anew by power, the others by a reset; and the step they do it for.
    pub(super) by_power: BTreeSet<Slot>,
    pub(super) restart_for: Option<Step>,
    /// Discoveries of boards that start anew.
    pub(super) looks: u8,
    /// What boards answered to Identify, as received.
    pub(super) identify: BTreeMap<Slot, Vec<u8>>,
}

impl Work {
    /// A piece was read from a board. Growing must leave no copy of a key behind.
    pub(super) fn took(&mut self, slot: Slot, bytes: &[u8]) {
        let before = self.read.remove(&slot).unwrap_or_default();
        let mut read = Zeroizing::new(Vec::with_capacity(before.len() + bytes.len()));
        read.extend_from_slice(&before);
        read.extend_from_slice(bytes);
        self.read.insert(slot, read);
    }
}

impl Board {
    /// Its memory cannot be read, because it was found locked.
    pub(super) fn was_locked(&self) -> bool {
        self.info.is_some_and(|i| i.protection != Protection::Open)
    }
}

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
            Ok(mut reserved) => {
                let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active()) else { return };
                self.events.push_back(reserved.event(slot));
                let images = core::mem::take(&mut reserved.images);
                board.reserved = Some(reserved);
                self.give_image(now, slot, &images);
            }
            Err(refused) => self.fail(now, slot, refused.code, refused.text),
        }
        let waits = |s: &Slot| self.boards.get(s).is_some_and(|b| b.is_active() && b.reserved.is_none());
        if !self.group.iter().any(waits) {
            self.program(now);
        }
    }

    /// Slots of the group whose boards take part in what comes now.
    pub(super) fn active_slots(&self) -> BTreeSet<Slot> {
        self.active().into_iter().filter_map(|node| self.slot_of(node)).collect()
    }

    /// Asks these boards, each by itself.
    pub(super) fn question(&mut self, now: Micros, stage: Factory, slots: BTreeSet<Slot>) {
        self.work.todo = slots;
        self.work.rounds = 0;
        self.put_question(now, stage);
    }

    fn put_question(&mut self, now: Micros, stage: Factory) {
        self.stage = Stage::Factory(stage);
        let mut requests: BTreeMap<NodeId, Request> = BTreeMap::new();
        for slot in self.work.todo.clone() {
            let node = self.boards.get(&slot).filter(|b| b.is_active()).and_then(|b| b.node);
            match (node, self.request(slot, stage)) {
                (Some(node), Some(request)) => _ = requests.insert(node, request),
                _ => _ = self.work.todo.remove(&slot),
            }
        }
        if requests.is_empty() {
            self.factory_done(now, stage);
        } else {
            let patience = self.factory_patience(stage);
            self.master.ask_each(now, requests, patience);
        }
    }

    /// A board's answer that is as it should be.
    pub(super) fn answered_well(&mut self, slot: Slot) {
        self.work.todo.remove(&slot);
    }

    pub(super) fn factory_answer(&mut self, now: Micros, slot: Slot, stage: Factory, answer: &Answer) {
        if let Answer::Done { refusal: Some(Refusal::BadBlock | Refusal::WrongState), .. } = answer {
            return; // a frame was lost, or its flash is at work: it is asked again
        }
        match stage {
            Factory::KeyMake | Factory::KeyRead => self.key_answer(now, slot, stage, answer),
            Factory::IdentityWrite | Factory::IdentityRead => self.identity_answer(now, slot, answer),
            Factory::OptionsRead
            | Factory::OptionsWrite
            | Factory::Bound
            | Factory::Lock
            | Factory::ProofInfo
            | Factory::ProofRead => self.protection_answer(now, slot, stage, answer),
            Factory::ResetTold => self.answered_well(slot),
            Factory::PowerCycle | Factory::StartUp(_) | Factory::Find | Factory::Sense => {}
        }
    }

    /// Boards may be writing option bytes. Power that goes then can cost a G4 or G0 for good (RM0440 and RM0444, 3.4.2): the
    /// operator waits for the end of it, half a second at most.
    pub(super) fn writes_options(&self) -> bool {
        matches!(self.stage, Stage::Factory(Factory::OptionsWrite | Factory::Lock))
    }

    /// Everybody has answered, or is silent for good.
    pub(super) fn factory_asked(&mut self, now: Micros, stage: Factory) {
        if self.interrupted {
            self.end_interrupted(now);
            return;
        }
        let active = self.active_slots();
        self.work.todo.retain(|slot| active.contains(slot));
        if self.work.todo.is_empty() || stage == Factory::ResetTold {
            self.factory_done(now, stage);
            return;
        }
        self.work.rounds += 1;
        if self.work.rounds < ROUNDS {
            self.put_question(now, stage);
            return;
        }
        for slot in core::mem::take(&mut self.work.todo) {
            let code = Self::code_of(stage);
            let text =
                format!("no useful answer to {stage:?} in {ROUNDS} rounds: frames are lost, or it is busy");
            self.fail(now, slot, code, text);
        }
        self.factory_done(now, stage);
    }

    /// The question is answered by all that are left.
    fn factory_done(&mut self, now: Micros, stage: Factory) {
        if self.active().is_empty() {
            self.after_group(now);
            return;
        }
        match stage {
            Factory::KeyMake => self.read_requests(now),
            Factory::KeyRead => self.requests_read(now),
            Factory::IdentityWrite => self.identity_sent(now),
            Factory::IdentityRead => self.identity_read(now),
            Factory::OptionsRead => self.options_read(now),
            Factory::OptionsWrite => self.restart_boards(now, Step::Options),
            Factory::Bound => self.set_lock(now),
            Factory::Lock => self.lock_set(now),
            Factory::ProofInfo => self.ask_memory(now),
            Factory::ProofRead => self.start_or_pass(now),
            Factory::ResetTold => self.power_cycle(now),
            Factory::PowerCycle | Factory::StartUp(_) | Factory::Find | Factory::Sense => {}
        }
    }
}
