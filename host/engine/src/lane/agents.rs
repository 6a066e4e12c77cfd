//! Boards that others work on through their ROM: they leave the lane to be given the RAM agent, or for option bytes and lock
//! when the agent has done its part, and come back with or without a verdict.

use std::collections::{BTreeMap, BTreeSet};

use panel_backplane::Slot;
use panel_protocol::agent::JOIN_SILENCE;
use panel_protocol::time::{Micros, Span};

use super::{Lane, Stage};
use crate::board::Board;
use crate::rom::is_agent;

impl Lane {
    /// The boards that are to be given the agent, once.
    pub(crate) fn take_to_load(&mut self) -> Option<Vec<Board>> {
        let slots = core::mem::take(&mut self.to_load);
        let boards: Vec<Board> = slots.iter().filter_map(|s| self.boards.remove(s)).collect();
        (!boards.is_empty()).then_some(boards)
    }

    /// The boards that are to get option bytes and lock through their ROM, once.
    pub(crate) fn take_to_finish(&mut self) -> Option<Vec<Board>> {
        let slots = core::mem::take(&mut self.to_finish);
        let boards: Vec<Board> = slots.iter().filter_map(|s| self.boards.remove(s)).collect();
        (!boards.is_empty()).then_some(boards)
    }

    /// Whether this bus waits for boards that others work on.
    pub(crate) fn is_loading(&self) -> bool {
        let by_others = matches!(self.stage, Stage::Load | Stage::RomFinish);
        by_others || self.stage == Stage::Done && self.loads_agents()
    }

    fn loads_agents(&self) -> bool {
        self.plan.ways.iter().any(|(slot, way)| {
            is_agent(*way) && self.plan.panel.slot(*slot).is_some_and(|s| s.bus == Some(self.bus))
        })
    }

    /// Boards that have been given the agent come back, those that could not with their verdicts.
    pub(crate) fn handle_loaded(&mut self, now: Micros, boards: BTreeMap<Slot, Board>) {
        for (slot, mut board) in boards {
            board.bus = self.bus;
            if board.verdict.is_some() {
                self.group.remove(&slot);
            }
            self.boards.insert(slot, board);
        }
        if self.stage == Stage::RomFinish {
            self.rom_finished(now);
            return;
        }
        if self.stage != Stage::Load {
            return;
        }
        if self.group.is_empty() {
            self.begin_attempts(now, BTreeSet::new());
        } else {
            self.begin_group(now);
        }
    }

    /// When the boards listen: those that were switched on just now, and those that have an agent by now, which need no
    /// power-up. Nobody has talked over this bus since `now`.
    pub(super) fn listens_at(&self, now: Micros) -> Micros {
        let limits = &self.plan.recipe.limits;
        // From Go on: an agent has a sixth less to unpack than the bootloader (docs/node.md, "Measured").
        let listens = self.plan.recipe.chip.listens(false);
        let start = Span(listens.0 - listens.0 / 8);
        // By clocks of theirs, which nobody has trimmed.
        let silence = Span(JOIN_SILENCE.0 + JOIN_SILENCE.0 / 16);
        let at = |slot: &Slot| {
            let Some(board) = self.boards.get(slot) else { return now + limits.start_up };
            let Some(loaded) = board.loaded else { return now + limits.start_up };
            let waits = !board.joins && self.plan.ways.get(slot).is_some_and(|way| way.rom_on_bus());
            if waits { now.max(loaded + start) + silence } else { loaded + start }
        };
        self.group.iter().map(at).max().unwrap_or(now + limits.start_up)
    }
}
