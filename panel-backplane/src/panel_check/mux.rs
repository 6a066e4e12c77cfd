//! Ports that serve several slots through multiplexers: their lines, and each slot's channel.
//!
//! All slots of a port hang on one multiplexer, whose channels are theirs alone. Several multiplexers may share
//! lines. Simulated ports have no names: those with the same lines are one.

use std::collections::BTreeMap;

use super::{Check, Entries, expand};
use crate::bus::Port;
use crate::document::At;
use crate::fixture::{Fixture, Line, LineFunction, LineIndex, Mux, Wire};
use crate::panel::{PanelSlot, Slot};

impl Check<'_, '_> {
    /// Adds the lines of multiplexers, and tells each slot with a port its channel.
    pub(super) fn multiplexers(&self, slots: &mut [PanelSlot], entries: &Entries<'_>, fixture: &mut Fixture) {
        let Some(first) = self.file.mux.first() else {
            for channel in entries.values().filter_map(|e| e.channel) {
                self.document.contradiction(channel.at, "`channel` belongs to a fixture with `mux` lines");
            }
            return;
        };
        if slots.iter().all(|s| s.port.is_none()) {
            self.document
                .contradiction(first.at, "`mux` leads a `port` to several slots, and no slot has one");
        }
        let mut lines_of: BTreeMap<Port, Vec<LineIndex>> = BTreeMap::new();
        let mut taken: BTreeMap<(Vec<LineIndex>, Port), BTreeMap<u16, Slot>> = BTreeMap::new();
        for slot in slots {
            let Some(port) = slot.port.clone() else { continue };
            let Some(lines) = self.mux_lines(slot, fixture) else { return };
            let at = self.at(slot.slot, entries);
            let usual = lines_of.entry(port.clone()).or_insert_with(|| lines.clone());
            if *usual != lines && port != Port::Sim {
                let reason =
                    format!("slots with the port {port} have different `mux` lines, slot {} too", slot.slot);
                self.document.contradiction(at, reason);
                return;
            }
            let taken = taken.entry((lines.clone(), port.clone())).or_default();
            let written = entries.get(&slot.slot).and_then(|e| e.channel);
            let channel = written.map_or(taken.len() as u16, |c| c.value);
            let at = written.map_or(at, |c| c.at);
            if u32::from(channel) >> lines.len() != 0 {
                let reason = format!(
                    "slot {} would be channel {channel} of port {port}: {} `mux` lines set channels 0 to {}",
                    slot.slot,
                    lines.len(),
                    (1_u32 << lines.len()) - 1
                );
                self.document.contradiction(at, reason);
                return;
            }
            if let Some(first) = taken.insert(channel, slot.slot) {
                let what =
                    format!("slot {} has channel {channel} of port {port} like slot {first}", slot.slot);
                self.clash(at, what, None);
            }
            slot.mux = Some(Mux { lines, channel });
        }
    }

    /// The lines of the multiplexer of this slot's port, new ones among them; `None` if they were reported.
    fn mux_lines(&self, slot: &PanelSlot, fixture: &mut Fixture) -> Option<Vec<LineIndex>> {
        let mut lines = Vec::new();
        for template in &self.file.mux {
            let wire: Wire = match expand(template, slot).parse() {
                Ok(wire) => wire,
                Err(error) => {
                    self.unusable("mux", template.at, &error);
                    return None;
                }
            };
            let line = self.mux_line(slot.slot, wire, template.at, fixture)?;
            if lines.contains(&line) {
                self.clash(template.at, "`mux` names one line twice".to_owned(), None);
                return None;
            }
            lines.push(line);
        }
        Some(lines)
    }

    fn mux_line(&self, slot: Slot, wire: Wire, at: At, fixture: &mut Fixture) -> Option<LineIndex> {
        let known = (0..).map(LineIndex).zip(&mut fixture.lines);
        match { known }.find(|(_, line)| line.wire.connection == wire.connection) {
            Some((_, line)) if line.function != LineFunction::Mux || line.wire != wire => {
                let (used, both) = (line.function.name(), line.wire.active_low != wire.active_low);
                let other = if both {
                    "written with both polarities".to_owned()
                } else {
                    format!("a {used} line, too")
                };
                self.clash(at, format!("`{wire}` of `mux` is {other}"), None);
                None
            }
            Some((index, line)) => {
                line.slots.push(slot);
                Some(index)
            }
            None => {
                // At most four lines a slot, 1024 slots and sixteen lines of a multiplexer for each: the index fits.
                let index = LineIndex(fixture.lines.len() as u16);
                fixture.lines.push(Line { function: LineFunction::Mux, wire, slots: vec![slot] });
                Some(index)
            }
        }
    }
}
