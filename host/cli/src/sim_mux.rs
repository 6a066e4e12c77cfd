//! The multiplexers of a simulated fixture: which slot a port reaches, by the lines as they are switched.
//!
//! What the run believes does not count: bytes go where the lines lead, and what other slots say is lost.

use std::collections::{BTreeMap, BTreeSet};

use panel_backplane::{Connection, LineFunction, LineIndex, Panel};

/// The lines of multiplexers, and what they mean for each slot.
pub(crate) struct SimMux {
    reached_by: BTreeMap<u16, Vec<(LineIndex, bool)>>,
    by_name: BTreeMap<String, LineIndex>,
    on: BTreeSet<LineIndex>,
}

impl SimMux {
    pub(crate) fn new(panel: &Panel) -> Self {
        let muxes = panel.slots.iter().filter_map(|s| Some((s.slot.0, s.mux.as_ref()?.levels().collect())));
        let lines = (0..).map(LineIndex).zip(&panel.fixture.lines);
        let lines = lines.filter(|(_, line)| line.function == LineFunction::Mux);
        let name = |connection: &Connection| connection.sim_name().map(str::to_owned);
        Self {
            reached_by: muxes.collect(),
            by_name: lines.filter_map(|(index, l)| Some((name(&l.wire.connection)?, index))).collect(),
            on: BTreeSet::new(),
        }
    }

    pub(crate) fn switch(&mut self, line: LineIndex, on: bool) {
        if on {
            self.on.insert(line)
        } else {
            self.on.remove(&line)
        };
    }

    /// Switches the line with this name at the fixture's socket; false if there is none.
    pub(crate) fn switch_named(&mut self, name: &str, on: bool) -> bool {
        let line = self.by_name.get(name).copied();
        line.inspect(|line| self.switch(*line, on)).is_some()
    }

    pub(crate) fn all_off(&mut self) {
        self.on.clear();
    }

    /// Whether the port of this slot leads to it now; always without a multiplexer.
    pub(crate) fn reaches(&self, slot: u16) -> bool {
        let levels = self.reached_by.get(&slot).into_iter().flatten();
        levels.clone().all(|(line, on)| self.on.contains(line) == *on)
    }
}
