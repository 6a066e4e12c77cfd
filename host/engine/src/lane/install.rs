//! Boards with a second slot keep their application until the new image is committed: which of them do, and the wait until
//! they have brought the image from there to its place.
//!
//! A board installs by itself and is ended by nobody; the host asks how far it is, and when all are done, what is in the
//! place now. Boards that lost their power in it go on when they start again, and are waited for before anything is
//! asked of them. Called by the lane behind identification and behind the commit.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::host::Request;
use panel_protocol::ident::NodeId;
use panel_protocol::message::{Control, NodeState, Status, StatusFlags};
use panel_protocol::node::Capabilities;
use panel_protocol::reply::{ImageState, Info};
use panel_protocol::time::{Micros, Span};

use super::{Lane, Stage};
use crate::board::{Board, SlotState};
use crate::event::Step;

/// Time between two questions.
const PAUSE: Span = Span::from_millis(200);
/// An installation is overdue after so many times what erasing, programming and hashing take at most.
const MARGIN: u64 = 3;

/// What comes when everybody's image is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The update that is to be made.
    Update,
    /// What comes after the commit.
    Finish,
}

impl Board {
    fn has_slot(&self) -> bool {
        self.is_active() && self.info.is_some_and(|i| i.capabilities.contains(Capabilities::SLOT))
    }

    /// What a board with a second slot does all the same after it failed.
    pub(super) fn after_failure(&self) -> &'static str {
        match (self.staged, self.step) {
            (Some(true), step) if step < Step::Commit => "; its application is untouched, and starts",
            (Some(true), Step::Install) => "; it begins anew to install the image when it next starts",
            _ => "",
        }
    }
}

impl Lane {
    /// The first status from the transfer says whether the image goes to the second slot.
    pub(super) fn look_where_it_goes(&mut self, slot: Slot, status: Status) {
        let id = self.image_id();
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.has_slot()) else { return };
        let staged = status.flags.contains(StatusFlags::STAGED);
        if board.staged.replace(staged) == Some(staged) {
            return;
        }
        let keeps = |i: Info| i.image == ImageState::Valid && Some(i.image_id) != id;
        let text = if staged {
            "the image goes to the second slot; the application stays until the commit"
        } else if board.info.is_some_and(keeps) {
            "the image goes to its place: it does not fit the second slot, or the application reaches into that"
        } else {
            return; // there is no other application that could be kept
        };
        self.note(Some(slot), "second-slot", text.to_owned());
    }

    /// What boards with a second slot may need besides to move their newest record out of a full area, and back.
    pub(super) fn move_records(&self) -> Span {
        let longest = self.plan.recipe.chip.flash.runs.iter().map(|run| run.longest).max();
        let any = self.boards.values().any(Board::has_slot);
        longest.filter(|_| any).unwrap_or_default()
    }

    /// Boards are found and checked; some may have been interrupted in an installation.
    pub(super) fn await_interrupted(&mut self, now: Micros) {
        let staged = |b: &Board| b.is_active() && b.info.is_some_and(|i| i.image == ImageState::Staged);
        if self.group.iter().filter_map(|s| self.boards.get(s)).any(staged) {
            self.begin_waiting(now, Then::Update);
        } else {
            self.reserve(now);
        }
    }

    /// The commit is done; boards whose image is in the second slot bring it to its place.
    pub(super) fn await_staged(&mut self, now: Micros) {
        if self.staged().is_empty() {
            self.committed(now);
            return;
        }
        for node in self.staged() {
            if let Some(slot) = self.slot_of(node) {
                self.enter_step(slot, Step::Install);
                self.set_state(slot, SlotState::Installing(0));
            }
        }
        self.begin_waiting(now, Then::Finish);
    }

    fn staged(&self) -> Vec<NodeId> {
        let staged = |slot| self.boards.get(&slot).is_some_and(|b| b.staged == Some(true));
        self.active().into_iter().filter(|&node| self.slot_of(node).is_some_and(staged)).collect()
    }

    fn begin_waiting(&mut self, now: Micros, then: Then) {
        let erase: u64 = self.plan.units.iter().map(|u| u.longest.0).sum();
        let bytes: usize = self.plan.regions.iter().map(|(_, bytes)| bytes.len()).sum();
        let once = erase + self.plan.flash_time.0 + self.move_records().0 + 2 * bytes as u64;
        self.installed_by = now + Span(MARGIN * once) + self.plan.recipe.limits.patience;
        // No pass ends while boards are at what nobody can end.
        self.deadline = self
            .deadline
            .map(|at| if at.is_before(self.installed_by) { self.installed_by + PAUSE } else { at });
        self.install_quarter = None;
        self.ask_installed(now, then);
    }

    pub(super) fn ask_installed(&mut self, now: Micros, then: Then) {
        self.stage = Stage::Install(then);
        let nodes = self.active();
        // Who hears nothing while a unit is erased answers when that is done.
        let longest = self.plan.units.iter().map(|u| u.longest).max().filter(|_| self.any_deaf());
        self.master.ask_all(now, &Request::Control(Control::Census), &nodes, longest.unwrap_or_default());
    }

    pub(super) fn installing(&mut self, slot: Slot, status: Status) {
        let segments = self.plan.images.get(self.bus.index()).map_or(1, |i| i.begin().segments().max(1));
        let Some(board) = self.boards.get_mut(&slot) else { return };
        board.status = Some(status);
        if status.state == NodeState::Installing {
            let percent = (u32::from(status.programmed) * 100 / segments).min(100) as u8;
            self.set_state(slot, SlotState::Installing(percent));
        }
    }

    /// Everybody has said how far it is.
    pub(super) fn install_asked(&mut self, now: Micros, then: Then) {
        let at_it = |b: &Board| b.is_active() && b.status.is_some_and(|s| s.state == NodeState::Installing);
        let late: Vec<Slot> =
            self.active_slots().into_iter().filter(|s| self.boards.get(s).is_some_and(at_it)).collect();
        if late.is_empty() {
            match then {
                Then::Update => self.reserve(now),
                Then::Finish => self.ask_place(now, 0),
            }
        } else if now.is_before(self.installed_by) {
            self.tell_installed(&late);
            self.stage = Stage::InstallPause(then, now + PAUSE);
        } else {
            for slot in late {
                let programmed = self.boards.get(&slot).and_then(|b| b.status).map_or(0, |s| s.programmed);
                let text = format!("{programmed} segments are in their place");
                self.fail(now, slot, Code::NotInstalled, text);
            }
            self.install_asked(now, then);
        }
    }

    /// How far the slowest is, whenever it has done another quarter.
    fn tell_installed(&mut self, late: &[Slot]) {
        let percent = |slot: &Slot| match self.boards.get(slot)?.state {
            SlotState::Installing(percent) => Some(percent),
            _ => None,
        };
        let slowest = late.iter().filter_map(percent).min().unwrap_or(0);
        if self.install_quarter.replace(slowest / 25) != Some(slowest / 25) {
            let text = format!(
                "boards that bring an image to its place: {}; the slowest has {slowest} % there",
                late.len()
            );
            self.note(None, "second-slot", text);
        }
    }

    /// What boards read back from the image's place now.
    pub(super) fn ask_place(&mut self, now: Micros, region: u8) {
        let nodes = self.staged();
        if self.active().is_empty() {
            self.after_group(now);
            return;
        }
        if nodes.is_empty() {
            self.committed(now);
            return;
        }
        self.stage = Stage::Installed(region);
        self.ask_check(now, region, &nodes);
    }
}
