//! Pauses that nodes ask for when no image is being sent.
//!
//! A node programs on after its last byte has come, and asks for a pause again and again until it has room: that is
//! no sign of a fault. Invariant: of one node no more is excused than a node of ours says, a Hold in each half of its
//! period and one Resume after it. Used by [`super::BusMaster`] to tell a flood from boards at work.

use crate::ident::NodeId;
use crate::message::NodeMessage;
use crate::time::{Micros, Span};
use alloc::collections::BTreeMap;

/// Half of the time after which a node asks again: adapters and kernels hand frames on in bursts.
const PERIOD: Span = Span::from_millis(25);

/// Who asked last when, and may still say that the pause is over.
#[derive(Default)]
pub(super) struct Pauses(BTreeMap<NodeId, (Micros, bool)>);

impl Pauses {
    /// Whether a node at work may have said this now.
    pub(super) fn excuse(&mut self, now: Micros, node: NodeId, message: &NodeMessage) -> bool {
        let last = self.0.get_mut(&node);
        match (message, last) {
            (NodeMessage::Hold { .. }, Some((at, _))) if now.since(*at) < PERIOD => false,
            (NodeMessage::Hold { .. }, _) => {
                self.0.insert(node, (now, true));
                true
            }
            // The Hold before it may have come while data was still being sent.
            (NodeMessage::Resume, None) => {
                self.0.insert(node, (now, false));
                true
            }
            (NodeMessage::Resume, Some((_, open))) => core::mem::take(open),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: NodeMessage = NodeMessage::Hold { free: 2 };

    #[test]
    fn boards_that_program_on_may_ask_for_a_pause_as_often_as_boards_do() {
        let mut pauses = Pauses::default();
        for round in 1..20 {
            // Every other burst is handed on 20 ms late.
            let now = Micros(round * 50_000 + (round % 2) * 20_000);
            assert!((0..64).filter_map(NodeId::new).all(|node| pauses.excuse(now, node, &HOLD)));
        }
        let now = Micros(1_100_000);
        assert!((0..64).filter_map(NodeId::new).all(|node| pauses.excuse(now, node, &NodeMessage::Resume)));
    }

    #[test]
    fn a_board_that_asks_all_the_time_is_not_excused() {
        let (mut pauses, node) = (Pauses::default(), NodeId::new(7).unwrap());
        let said = |n: u64| if n.is_multiple_of(2) { HOLD } else { NodeMessage::Resume };
        let excused =
            (0..1000).filter(|&n| pauses.excuse(Micros(1_000_000 + n * 100), node, &said(n))).count();
        assert_eq!(excused, 8, "a Hold and a Resume in each of four periods");
    }
}
