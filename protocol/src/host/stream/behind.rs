//! Who is waited for, and who is left behind: reports of what is missing, pauses and their limits.
//!
//! Invariant: whatever a node reports, it cannot keep the others for ever: it is demoted, given up or lost.

use super::{Demotion, Stage, Stream, verdict};
use crate::frame::Frame;
use crate::host::BusEvent;
use crate::host::ask::{Ask, Verdict};
use crate::host::chunks::ChunkSet;
use crate::ident::NodeId;
use crate::message::NodeMessage;
use crate::time::{Micros, Span};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How long a hold counts unless it is repeated: three times the node's own period.
const HOLD_LEASE: Span = Span::from_millis(150);
/// Times the whole image that a node may miss before it is given up.
const HOPELESS: u64 = 4;
/// Times the time that boards may need after which holding on is a fault of its own.
const OVERDUE: u64 = 10;

impl Stream {
    pub(in crate::host) fn handle_message(
        &mut self,
        now: Micros,
        node: NodeId,
        message: &NodeMessage,
        events: &mut VecDeque<BusEvent>,
    ) {
        let Some(progress) = self.nodes.get_mut(&node) else { return };
        match *message {
            NodeMessage::Hold { .. } => progress.hold_until = Some(now + HOLD_LEASE),
            NodeMessage::Resume => progress.hold_until = None,
            NodeMessage::MissingSegments { first, count } => {
                for n in first..first.saturating_add(count) {
                    if let Some(ranges) = self.image.segments().get(usize::from(n)).and_then(|s| s.ranges) {
                        self.missing(node, n, ChunkSet::of(ranges), true, events);
                    }
                }
            }
            NodeMessage::MissingSpan { segment, chunks } => {
                let mut set = ChunkSet::default();
                set.insert_range(chunks);
                self.missing(node, segment, set, false, events);
            }
            NodeMessage::Missing { segment, chunks, len } => {
                let mut set = ChunkSet::default();
                chunks[..usize::from(len)].iter().for_each(|&c| set.insert(c));
                self.missing(node, segment, set, false, events);
            }
            NodeMessage::Error(_) | NodeMessage::Status(_) | NodeMessage::ReplyPart { .. } => {}
        }
    }

    /// Whether this is the first word of a pause, and not one of those that prolong it.
    pub(in crate::host) fn begins_pause(&self, node: NodeId, message: &NodeMessage) -> bool {
        matches!(message, NodeMessage::Hold { .. })
            && self.nodes.get(&node).is_some_and(|p| p.hold_until.is_none() && !p.demoted)
    }

    /// Notes what a node misses, as far as it was ever to be sent. A node that misses a `whole` segment can
    /// wait for its turn; one that misses a part has a buffer waiting for it.
    pub(super) fn missing(
        &mut self,
        node: NodeId,
        segment: u16,
        mut set: ChunkSet,
        whole: bool,
        events: &mut VecDeque<BusEvent>,
    ) {
        let Some(ranges) = self.image.segments().get(usize::from(segment)).and_then(|s| s.ranges) else {
            return;
        };
        set.intersect(ChunkSet::of(ranges));
        let Some(progress) = self.nodes.get_mut(&node).filter(|p| !p.demoted) else { return };
        let querying = matches!(self.stage, Stage::Query(_));
        if whole && querying {
            let todo = self.todo.entry(segment).or_default();
            let before = todo.len();
            todo.union(set);
            self.total += u64::from(todo.len() - before);
            return;
        }
        if whole && self.todo.contains_key(&segment) {
            return; // it comes anyway
        }
        if querying {
            self.repairs.entry(segment).or_default().union(set);
            return;
        }
        progress.missed += u64::from(set.len());
        let allowed = 512 + self.excused + self.sent * u64::from(self.options.missed_per_mille) / 1000;
        let hopeless = progress.missed > 512 + HOPELESS * self.image.frames();
        if progress.missed > allowed && self.may_demote() {
            self.demote(node, Demotion::Deaf, events);
            return;
        }
        if hopeless {
            self.starved.push(node);
            self.drop_node(node);
            return;
        }
        // An empty set too: the node did not hear what to expect, and `Seek` tells it.
        self.repairs.entry(segment).or_default().union(set);
    }

    /// Censuses, holds and their limits, in every stage that has begun.
    pub(super) fn watch(&mut self, now: Micros, out: &mut VecDeque<Frame>, events: &mut VecDeque<BusEvent>) {
        if self.census.as_ref().is_some_and(Ask::is_unheard) {
            // Nobody is slow because the bus stands still.
            self.options.patience = self.options.patience + now.since(self.looked);
        }
        self.looked = now;
        if let Some(census) = &mut self.census
            && let Verdict::Done(silent) = verdict(census, now, out)
        {
            self.census = None;
            self.lose(&silent, events);
        }
        let late = now.since(self.started) > self.schedule();
        let mut slow = None;
        for (&node, progress) in &mut self.nodes {
            if progress.hold_until.is_some_and(|until| now >= until) {
                progress.hold_until = None;
            }
            if late && progress.hold_until.is_some() && !progress.demoted {
                slow = slow.or(Some(node));
            }
        }
        let overdue = now.since(self.started) > self.overdue();
        match slow {
            Some(node) if self.may_demote() => self.demote(node, Demotion::Slow, events),
            Some(node) if overdue => self.lose(&[node], events),
            _ => {}
        }
    }

    pub(super) fn paused(&self) -> bool {
        self.nodes.values().any(|p| p.hold_until.is_some() && !p.demoted)
    }

    pub(in crate::host) fn drop_node(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        if let Stage::Begin(ask) | Stage::Start(ask) | Stage::Closing(ask) = &mut self.stage {
            ask.forget(node);
        }
        if let Some(census) = &mut self.census {
            census.forget(node);
        }
    }

    /// Goes on without this node, which has been told to leave the session. It still counts as one left behind.
    pub(in crate::host) fn leave_out(&mut self, node: NodeId) {
        if let Some(progress) = self.nodes.get_mut(&node) {
            (progress.demoted, progress.left) = (true, true);
        }
        if let Stage::Begin(ask) | Stage::Start(ask) | Stage::Closing(ask) = &mut self.stage {
            ask.forget(node);
        }
        if let Some(census) = &mut self.census {
            census.forget(node);
        }
    }

    pub(super) fn lose(&mut self, silent: &[NodeId], events: &mut VecDeque<BusEvent>) {
        for &node in silent {
            let (last, missed, began) =
                self.nodes.get(&node).map_or((None, 0, false), |p| (p.last, p.missed, p.began));
            self.drop_node(node);
            events.push_back(BusEvent::Lost { node, last, missed, began });
        }
    }

    pub(super) fn demote(&mut self, node: NodeId, why: Demotion, events: &mut VecDeque<BusEvent>) {
        if let Some(progress) = self.nodes.get_mut(&node) {
            progress.demoted = true;
            if let Stage::Closing(ask) = &mut self.stage {
                ask.forget(node);
            }
            events.push_back(BusEvent::Demoted(node, why));
        }
    }

    /// A quarter of the boards at most is left behind: more than that, and it is the group that is slow.
    pub(super) fn may_demote(&self) -> bool {
        let demoted = self.nodes.values().filter(|p| p.demoted).count();
        self.nodes.len() > 1 && demoted * 4 < self.nodes.len()
    }

    pub(super) fn main_nodes(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, p)| !p.demoted).map(|(&n, _)| n).collect()
    }

    /// When boards that keep to their typical times would be ready for more than what was sent so far.
    pub(super) fn schedule(&self) -> Span {
        let share = (self.options.flash_time.0 * self.sent).checked_div(self.total).unwrap_or(0);
        Span(share + share / 50) + self.options.patience
    }

    /// When even a group of slow boards would long be done.
    pub(super) fn overdue(&self) -> Span {
        Span((self.options.flash_time.0 + self.options.patience.0) * OVERDUE)
    }
}
