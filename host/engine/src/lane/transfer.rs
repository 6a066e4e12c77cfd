//! The image on its way: who fails, who is lost, who is left behind.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::host::{Demotion, ProgramOptions};
use panel_protocol::ident::NodeId;
use panel_protocol::message::{ErrorReport, NodeFault, Refusal, Status, StatusFlags};
use panel_protocol::node::Capabilities;
use panel_protocol::reply::{ImageState, Info};
use panel_protocol::time::{Micros, Span};

use super::own::short_id;
use super::{Lane, Stage};
use crate::board::{Board, SlotState};
use crate::event::{Phase, Step};

/// Times a deaf board is told to leave the session.
const FAREWELLS: u8 = 12;

impl Lane {
    pub(super) fn program(&mut self, now: Micros) {
        let nodes = self.active();
        let Some(image) = self.plan.images.get(self.bus.index()).cloned() else { return };
        if nodes.is_empty() {
            self.next_group(now);
            return;
        }
        self.phase(Phase::Program);
        self.advance_step(Step::Program, SlotState::Erasing);
        let nodes = if self.has_windows() { self.sharing() } else { nodes };
        if nodes.is_empty() || self.has_windows() && self.all_hold_their_own() {
            self.give_own(now);
            return;
        }
        self.stage = Stage::Program;
        let options = ProgramOptions { compare: self.worth_comparing(), ..self.options() };
        self.master.program(now, &image, &nodes, options);
    }

    pub(super) fn options(&self) -> ProgramOptions {
        let limits = &self.plan.recipe.limits;
        ProgramOptions {
            compare: false,
            // Erase units of a second slot are others than those of the image's place; one more of them at most.
            flash_time: self.plan.flash_time + self.move_records(),
            patience: limits.patience,
            erase_first: self.erase_first(),
            missed_per_mille: limits.missed_per_mille,
            only: None,
        }
    }

    /// What boards that hear nothing while they erase may take to erase the whole image, and the records if they are full.
    fn erase_first(&self) -> Span {
        if !self.any_deaf() {
            return Span::ZERO;
        }
        let longest = self.plan.units.iter().map(|u| u.longest.0);
        let records = longest.clone().max().unwrap_or(0);
        Span(longest.sum::<u64>() + records + self.move_records().0)
    }

    /// Whether a board hears nothing while its flash is at work.
    pub(super) fn any_deaf(&self) -> bool {
        let boards = self.group.iter().filter_map(|s| self.boards.get(s)).filter(|b| b.is_active());
        let deaf = |i: Info| !i.capabilities.contains(Capabilities::RECEIVES_WHILE_BUSY);
        boards.filter_map(|b| b.info).any(deaf)
    }

    /// First four bytes of the image's ID, as boards report it.
    pub(super) fn image_id(&self) -> Option<u32> {
        self.plan.images.get(self.bus.index()).map(|image| short_id(image))
    }

    /// A board that holds a part of this very image, or all of it, is only sent what it lacks.
    fn worth_comparing(&self) -> bool {
        let id = self.image_id();
        let boards = self.group.iter().filter_map(|s| self.boards.get(s)).filter(|b| b.is_active());
        let own = |b: &Board, id| b.image.as_deref().is_some_and(|own| short_id(own) == id);
        let holds = |b: &Board, i: Info| Some(i.image_id) == id || own(b, i.image_id);
        boards.into_iter().any(|b| b.info.is_some_and(|i| i.image != ImageState::None && holds(b, i)))
    }

    pub(super) fn refused(&mut self, now: Micros, node: NodeId, opcode: u8, refusal: Refusal) {
        let Some(slot) = self.slot_of(node) else { return };
        if matches!(refusal, Refusal::BadBlock | Refusal::ManifestIncomplete) {
            self.leave_out(slot);
            return;
        }
        let code = match refusal {
            Refusal::WrongChip => Code::WrongChip,
            Refusal::Protected => Code::AlreadyProtected,
            Refusal::NotSealed => Code::NotSealed,
            Refusal::BadSeal => Code::BadSeal,
            Refusal::Downgrade => Code::Downgrade,
            Refusal::OutsideFlash | Refusal::TooLarge | Refusal::Reserved | Refusal::Unaligned => {
                Code::DoesNotFit
            }
            _ => Code::Refused,
        };
        self.fail(now, slot, code, format!("refused command {opcode:#04x}: {refusal:?}"));
    }

    pub(super) fn fault(&mut self, now: Micros, node: NodeId, report: ErrorReport) {
        let Some(slot) = self.slot_of(node) else { return };
        let ErrorReport { fault, address, expected, got } = report;
        let code = match fault {
            NodeFault::EraseFailed => Code::EraseFailed,
            NodeFault::EraseTooSlow => Code::EraseTooSlow,
            NodeFault::ProgramFailed => Code::ProgramFailed,
            NodeFault::ProgramTooSlow => Code::ProgramTooSlow,
            NodeFault::ReadbackDiffers => Code::VerifyMismatch,
            NodeFault::RecordFailed => Code::RecordAreaFailed,
        };
        let unit = self.plan.recipe.chip.flash.erase_unit(address);
        let text = match (fault, unit) {
            (NodeFault::ReadbackDiffers, _) => {
                format!("at {address:#010x}: {expected:#04x} expected, {got:#04x} read back")
            }
            (NodeFault::EraseTooSlow, Some(u)) => {
                format!("unit at {address:#010x}: longer than {} ms", u.longest.0 / 1000)
            }
            (NodeFault::EraseFailed, Some(u)) => format!("unit {} at {address:#010x}", u.index),
            _ => format!("at {address:#010x}"),
        };
        self.fail(now, slot, code, text);
    }

    /// A board that misses so much that the others would wait for it: it takes no further part.
    fn leave_out(&mut self, slot: Slot) {
        self.note(Some(slot), "deaf", "misses too many frames".to_owned());
        self.set_state(slot, SlotState::Straggling);
        self.deaf.insert(slot, FAREWELLS);
        self.dismiss_deaf();
    }

    /// Tells boards that take no further part so, a few times: they miss many frames, and one that goes on asking
    /// for what it misses fills the bus as soon as the data ends.
    pub(super) fn dismiss_deaf(&mut self) {
        for (slot, left) in self.deaf.iter_mut().filter(|(_, left)| **left > 0) {
            *left -= 1;
            if let Some(node) = self.boards.get(slot).and_then(|b| b.node) {
                self.master.leave_out(node);
            }
        }
    }

    pub(super) fn lost(&mut self, node: NodeId, last: Option<Status>, missed: u64, began: bool) {
        let Some(slot) = self.slot_of(node) else { return };
        if let Some(board) = self.boards.get_mut(&slot) {
            board.began = began;
            // Each frame is missed by chance now and then; one in twenty is not chance.
            board.deaf = missed > 64 && missed * 20 > self.sent;
        }
        self.mark_lost(slot, last);
    }

    /// The board stopped answering; its current is read now, its verdict is found at the end.
    pub(super) fn mark_lost(&mut self, slot: Slot, last: Option<Status>) {
        if let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active()) {
            board.lost = Some(last.or(board.status));
            self.sense.push_back(vec![slot]);
            self.set_state(slot, SlotState::Lost);
        }
    }

    pub(super) fn demoted(&mut self, node: NodeId, why: Demotion) {
        let Some(slot) = self.slot_of(node) else { return };
        match why {
            Demotion::Deaf => self.leave_out(slot),
            Demotion::Slow => self.leave_behind(slot),
        }
    }

    pub(super) fn leave_behind(&mut self, slot: Slot) {
        let text = "its flash is slower than declared: left to a second pass";
        self.note(Some(slot), "straggler", text.to_owned());
        self.set_state(slot, SlotState::Straggling);
        self.stragglers.insert(slot);
    }

    pub(super) fn census(&mut self, node: NodeId, status: Status) {
        let Some(slot) = self.slot_of(node) else { return };
        let segments = self.plan.images.get(self.bus.index()).map_or(1, |i| i.begin().segments().max(1));
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active()) else { return };
        board.status = Some(status);
        let straggles = board.state == SlotState::Straggling;
        self.look_where_it_goes(slot, status);
        if straggles {
            return;
        }
        let percent = (u32::from(status.programmed) * 100 / segments).min(100) as u8;
        let erasing = status.flags.contains(StatusFlags::ERASING) && percent == 0;
        let state = if erasing { SlotState::Erasing } else { SlotState::Programming(percent) };
        self.set_state(slot, state);
    }

    pub(super) fn streamed(
        &mut self,
        now: Micros,
        complete: &[NodeId],
        _left: &[NodeId],
        starved: &[NodeId],
    ) {
        for &node in starved {
            self.slot_of(node).into_iter().for_each(|slot| self.leave_out(slot));
        }
        match self.stage {
            Stage::Own => self.next_own(now),
            _ if self.has_windows() => self.ask_shared(now, 0),
            _ if complete.is_empty() => self.after_group(now),
            _ => self.verify(now),
        }
    }

    /// A second pass for boards of the same session that were left behind.
    pub(super) fn catch_up(&mut self, now: Micros) {
        let slots = core::mem::take(&mut self.stragglers);
        self.group =
            slots.into_iter().filter(|s| self.boards.get(s).is_some_and(|b| b.is_active())).collect();
        for slot in self.group.clone() {
            self.set_state(slot, SlotState::Programming(0));
        }
        let nodes = if self.has_windows() { self.sharing() } else { self.active() };
        let image = self.plan.images.get(self.bus.index()).cloned();
        let (Some(image), false) = (image, nodes.is_empty()) else {
            self.after_group(now);
            return;
        };
        self.stage = Stage::Program;
        self.deadline = Some(now + self.plan.recipe.limits.straggler_pass);
        let options = self.options();
        self.master.catch_up(now, &image, &nodes, options);
    }
}
