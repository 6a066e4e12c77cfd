//! A board that floods the bus: noticed by frames that are nobody's answer, or by a node that asks for help without end, found by cutting one slot off
//! after the other: first those that draw far more than others, as a transceiver does that drives all the time,
//! then the board whose number the frames carry.
//!
//! While a slot is on trial the host is silent too, so that even a board that gives way to every other frame is
//! heard. Who was switched off in vain gets another attempt.

use core::cmp::Reverse;
use std::collections::VecDeque;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::frame::Frame;
use panel_protocol::ident::{Channel, NodeId};
use panel_protocol::time::{Micros, Span};

use super::{Lane, Stage};
use crate::event::Step;
use crate::verdict::Verdict;

/// Watch over frames that are nobody's answer, and over nodes that ask without end.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    /// Foreign frames so far, and at the last look.
    foreign: u64,
    seen: u64,
    since: Micros,
    /// When the bus was last listened to without a flood on it.
    quiet: Micros,
    state: State,
    /// Slots suspected, the likeliest first.
    suspects: VecDeque<Slot>,
    /// The slot whose number the last foreign frame carried.
    named: Option<Slot>,
    /// The node that asks most of late, and by how many frames more than all others together.
    asking: Option<(NodeId, u64)>,
    /// A node that asked too much: whatever it says is foreign.
    accused: Option<NodeId>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Usual,
    /// The host is silent since then: does the bus fall silent too?
    Listening(Micros),
    /// It did not; supply currents are being read.
    Sensing,
    /// This slot is cut off since then.
    Trial(Slot, Micros),
}

/// Foreign frames within [`WINDOW`] that make a flood likely: a quarter of what 1 Mbit/s can carry.
const FLOOD: u64 = 100;
/// Urgent frames and requests of one node within [`WINDOW`] that make a flood likely: what it lacks of a segment takes some forty, and
/// holds are few.
const ASKED: u64 = 200;
const WINDOW: Span = Span::from_millis(50);
/// Time without a foreign frame that proves that there is no flood, or that the slot switched off was its source.
const SILENCE: Span = Span::from_millis(5);
/// Foreign frames in that time that still pass for silence.
const STRAY: u64 = 5;
/// What a board draws more when its transceiver drives the bus all the time, in mA: half of the usual 50 to 70,
/// less what programming flash draws.
const DRIVING_MA: u32 = 20;

impl Flood {
    pub(super) fn deadline(&self) -> Option<Micros> {
        match self.state {
            State::Listening(since) | State::Trial(_, since) => Some(since + SILENCE),
            State::Usual | State::Sensing => None,
        }
    }

    /// Looks at the time since `now` only.
    fn look(&mut self, now: Micros) {
        (self.seen, self.since, self.asking) = (self.foreign, now, None);
    }

    /// The usual state is looked at window by window.
    fn begin_window(&mut self, now: Micros) {
        if self.state == State::Usual && now.since(self.since) >= WINDOW {
            self.look(now);
        }
    }

    /// One more request of this node; whether it asks so much that nobody else has a say.
    fn is_asking_too_much(&mut self, node: NodeId) -> bool {
        let (first, ahead) = match self.asking {
            None | Some((_, 0)) => (node, 1),
            Some((first, ahead)) if first == node => (node, ahead + 1),
            Some((first, ahead)) => (first, ahead - 1),
        };
        self.asking = Some((first, ahead));
        first == node && ahead >= ASKED
    }
}

impl Lane {
    /// The source of a flood is being looked for: nothing else can be done on the bus.
    pub(super) fn is_flooded(&self) -> bool {
        self.flood.state != State::Usual
    }

    /// A board that is left to a second pass goes on asking for what it lacks.
    pub(super) fn may_be_late(&self, frame: &Frame) -> bool {
        let slot = number(frame).and_then(|node| self.slot_of(node));
        slot.is_some_and(|slot| self.stragglers.contains(&slot))
    }

    /// Takes note of a frame that was nobody's answer.
    pub(super) fn watch_flood(&mut self, now: Micros, frame: &Frame) {
        let flood = &mut self.flood;
        flood.begin_window(now);
        flood.foreign += 1;
        // A frame that only the host may send does harm, and a board that gives way to all others sends few.
        let suspicious = flood.foreign - flood.seen >= FLOOD || is_ours(frame);
        if let Some(node) = number(frame) {
            self.flood.named = self.slot_of(node);
        }
        if suspicious {
            self.suspect(now);
        }
    }

    /// Takes note of a frame that may be sound: a node that asks for help again and again starves those it asks.
    pub(super) fn watch_asking(&mut self, now: Micros, frame: &Frame) {
        let Some(Channel::Urgent(node) | Channel::Missing(node)) = Channel::of(frame.id()) else { return };
        if self.flood.accused == Some(node) {
            return self.watch_flood(now, frame);
        }
        self.flood.begin_window(now);
        if self.flood.is_asking_too_much(node) {
            (self.flood.accused, self.flood.named) = (Some(node), self.slot_of(node));
            self.suspect(now);
        }
    }

    /// The host falls silent, unless it has just done so in vain.
    fn suspect(&mut self, now: Micros) {
        let recently = self.flood.quiet > Micros::ZERO && now.since(self.flood.quiet) < WINDOW;
        if !recently && !self.is_flooded() && self.stage != Stage::Done {
            self.flood.state = State::Listening(now);
            self.flood.look(now);
        }
    }

    /// Supply currents have been read: the board that drives the bus draws most. False if nobody waits for them
    /// here.
    pub(super) fn rank_suspects(&mut self, now: Micros, currents: &[(Slot, Option<u32>)]) -> bool {
        if self.flood.state != State::Sensing {
            return false;
        }
        let mut suspects: Vec<(Slot, u32)> = currents.iter().map(|&(s, ma)| (s, ma.unwrap_or(0))).collect();
        suspects.sort_by_key(|&(slot, ma)| (Reverse(ma), slot));
        let usual = suspects.get(suspects.len() / 2).map_or(0, |&(_, ma)| ma);
        let named = self.flood.named;
        // Boards that are done lose nothing by a trial.
        let done = |slot| self.boards.get(&slot).is_some_and(|b| b.verdict.is_some());
        suspects.sort_by_key(|&(slot, ma)| (ma <= usual + DRIVING_MA, !done(slot), named != Some(slot)));
        self.flood.suspects = suspects.into_iter().map(|(slot, _)| slot).collect();
        self.next_trial(now);
        true
    }

    fn next_trial(&mut self, now: Micros) {
        let slot = loop {
            let Some(slot) = self.flood.suspects.pop_front() else {
                let text = "foreign frames flood the bus and no slot that can be cut off is their source";
                self.give_up(now, Code::BusFlooded, text);
                return;
            };
            if self.isolate(slot) {
                break slot;
            }
        };
        self.flood.state = State::Trial(slot, now);
        self.flood.look(now);
    }

    /// The time of listening or of a trial may be over.
    pub(super) fn check_flood(&mut self, now: Micros) {
        if self.flood.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let silent = self.flood.foreign - self.flood.seen < STRAY;
        match (self.flood.state, silent) {
            (State::Listening(_), true) => self.resume(now),
            (State::Listening(_), false) => {
                self.flood.state = State::Sensing;
                let powered = self.boards.values().filter(|b| b.attempt > 0 && !b.cut);
                self.sense.push_back(powered.map(|b| b.slot).collect());
            }
            (State::Trial(slot, _), true) => {
                let text = "flooded the bus until it was cut off";
                self.note(Some(slot), "babbling", text.to_owned());
                self.fail(now, slot, Code::Babbling, text);
                self.resume(now);
            }
            (State::Trial(slot, _), false) => {
                // It was not this one, but it has lost all it had received.
                let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
                let text = "cut off while the source of a flood was looked for";
                self.end_attempt(now, slot, Verdict::failure(Code::BusFlooded, step, text), true);
                self.next_trial(now);
            }
            (State::Usual | State::Sensing, _) => {}
        }
    }

    fn resume(&mut self, now: Micros) {
        self.flood.state = State::Usual;
        (self.flood.quiet, self.flood.accused) = (now, None);
        self.flood.suspects.clear();
        self.flood.look(now);
        self.master.postpone(now);
    }
}

/// The number of the node that sent the frame, if it says so.
fn number(frame: &Frame) -> Option<NodeId> {
    match Channel::of(frame.id())? {
        Channel::Urgent(node) | Channel::Missing(node) | Channel::Status(node) | Channel::Reply(node) => {
            Some(node)
        }
        _ => None,
    }
}

/// Whether only the host may send this frame.
fn is_ours(frame: &Frame) -> bool {
    matches!(
        Channel::of(frame.id()),
        Some(Channel::Stop | Channel::Silence | Channel::Control(_) | Channel::ControlAll | Channel::Data(_))
    )
}
