//! Which line of the fixture holds back one slot and no other.

use panel_backplane::{LineIndex, Panel, Slot};

/// The line with which one slot can be held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnLine {
    Nrst,
    Power,
}

/// NRST if the slot has one of its own, which is faster, else power.
pub(crate) fn own_line(panel: &Panel, slot: Slot) -> Option<OwnLine> {
    let lines = panel.slot(slot)?.lines;
    is_own(panel, lines.nrst)
        .then_some(OwnLine::Nrst)
        .or_else(|| is_own(panel, lines.power).then_some(OwnLine::Power))
}

/// Whether the slot has a power line of its own.
pub(crate) fn has_own_power(panel: &Panel, slot: Slot) -> bool {
    panel.slot(slot).is_some_and(|s| is_own(panel, s.lines.power))
}

fn is_own(panel: &Panel, line: Option<LineIndex>) -> bool {
    line.and_then(|l| panel.line(l)).is_some_and(|line| line.slots.len() == 1)
}
