//! What is told of boards as they get on: phases, steps, states, and how their attempts end.
//!
//! Every stage of a lane goes through here, so that each step that was begun ends, and no attempt ends twice.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::ident::NodeId;
use panel_protocol::time::Micros;

use super::Lane;
use crate::board::SlotState;
use crate::event::{Event, Phase, Step};
use crate::verdict::{Outcome, Verdict};

impl Lane {
    pub(crate) fn phase(&mut self, phase: Phase) {
        self.events.push_back(Event::Phase { bus: self.bus, phase });
    }

    pub(crate) fn note(&mut self, slot: Option<Slot>, topic: &'static str, text: String) {
        self.events.push_back(Event::Note { slot, topic, text });
    }

    pub(crate) fn slot_of(&self, node: NodeId) -> Option<Slot> {
        self.boards.values().find(|b| b.node == Some(node)).map(|b| b.slot)
    }

    /// Nodes of the group that still take part, in order.
    pub(crate) fn active(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self
            .group
            .iter()
            .filter_map(|s| self.boards.get(s))
            .filter(|b| b.is_active() && b.state != SlotState::Straggling)
            .filter_map(|b| b.node)
            .collect();
        nodes.sort_unstable();
        nodes
    }

    pub(crate) fn set_state(&mut self, slot: Slot, state: SlotState) {
        if let Some(board) = self.boards.get_mut(&slot)
            && board.state != state
        {
            board.state = state;
            self.events.push_back(Event::State { slot, state });
        }
    }

    /// Ends the running step of every active board well and begins the next.
    pub(crate) fn advance_step(&mut self, step: Step, state: SlotState) {
        let nodes = self.active();
        for node in nodes {
            if let Some(slot) = self.slot_of(node) {
                self.enter_step(slot, step);
                self.set_state(slot, state);
            }
        }
    }

    pub(crate) fn enter_step(&mut self, slot: Slot, step: Step) {
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active()) else { return };
        if board.step != step {
            self.events.push_back(Event::StepEnded { slot, step: board.step, ok: true });
            board.step = step;
            self.events.push_back(Event::StepBegan { slot, step });
        }
    }

    /// The board's attempt ends with a failure at its present step.
    pub(crate) fn fail(&mut self, now: Micros, slot: Slot, code: Code, detail: impl Into<String>) {
        let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
        self.conclude(now, slot, Verdict::failure(code, step, detail));
    }

    pub(crate) fn conclude(&mut self, now: Micros, slot: Slot, verdict: Verdict) {
        let retries = self.plan.recipe.retries;
        let again = self.boards.get(&slot).is_some_and(|b| b.attempt > 0 && b.attempt <= retries)
            && verdict.is_worth_a_retry()
            && !self.interrupted;
        self.end_attempt(now, slot, verdict, again);
    }

    /// Ends an attempt; `again`: another one follows.
    pub(crate) fn end_attempt(&mut self, now: Micros, slot: Slot, mut verdict: Verdict, again: bool) {
        let locks = self.plan.recipe.finishing.lock.level().is_some();
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.verdict.is_none()) else { return };
        if verdict.outcome == Outcome::Pass && locks && !board.proved {
            verdict = Verdict::failure(Code::LockNotProven, board.step, "no proof of its lock");
        }
        let ok = verdict.code.is_none();
        if !ok {
            verdict.detail += board.after_failure();
        }
        if board.attempt > 0 {
            self.events.push_back(Event::StepEnded { slot, step: board.step, ok });
        }
        board.ended = now;
        board.state = SlotState::Ended;
        if let Some(reserved) = &mut board.reserved {
            reserved.identity = None; // nobody needs it any more, and it may hold a key
        }
        let node = board.node.take();
        let powered = board.attempt > 0;
        board.verdict = Some(verdict.clone());
        self.events.push_back(Event::Ended { slot, verdict, again });
        if let Some(node) = node {
            self.master.drop_node(node);
            self.master.release(node);
        }
        if again {
            self.again.insert(slot);
        }
        if powered && !ok {
            self.cut(slot);
        }
    }
}
