//! From a panel file whose values are each allowed to a panel in which they go together.
//!
//! Unique here: slot numbers, places, bus names and links, straps on a bus, ports, line connections of
//! different functions. Required here: what each way and the binding method need of bus, port and lines.

mod mux;

use std::collections::BTreeMap;

use crate::bus::{BusIndex, Link, Port};
use crate::document::{At, Document, Located};
use crate::fixture::{Fixture, LineFunction, LineIndex, Wire};
use crate::layout::{Numbering, Split};
use crate::nearest::nearest;
use crate::panel::{
    Binding, Panel, PanelSlot, SLOT_FUNCTIONS, Slot, add_lines, connect, regular, simulated_wire,
};
use crate::panel_file::{PanelFile, SlotEntry, Template};
use crate::problem::ProblemKind;
use crate::way::Way;

pub(crate) fn build(document: &Document<'_>, file: PanelFile) -> Option<Panel> {
    let check = Check { document, file: &file };
    let entries = check.entries();
    let mut slots = check.slots(&entries);
    check.buses();
    check.assign_buses(&mut slots, &entries);
    check.assign_straps(&mut slots, &entries);
    check.assign_ports(&mut slots, &entries);
    check.mark_bad(&mut slots);
    let mut fixture = check.fixture(&mut slots, &entries);
    check.multiplexers(&mut slots, &entries, &mut fixture);
    check.ways(&slots, &entries, &fixture);
    check.binding(&slots, &entries, &fixture);

    let PanelFile { name, rows, columns, mark, binding, baud, buses, .. } = file;
    let buses = buses.into_iter().map(|b| b.value).collect();
    Some(Panel { name, rows, columns, mark, buses, slots, binding, baud, fixture })
}

type Entries<'f> = BTreeMap<Slot, &'f SlotEntry>;

struct Check<'d, 'f> {
    document: &'d Document<'d>,
    file: &'f PanelFile,
}

impl<'f> Check<'_, 'f> {
    fn clash(&self, at: At, what: String, first: Option<At>) {
        let first = first.map(|at| self.document.position(at));
        self.document.report(at, ProblemKind::Clash { what, first });
    }

    /// Where a slot is written down, or else where the grid is.
    fn at(&self, slot: Slot, entries: &Entries<'_>) -> At {
        entries.get(&slot).map_or(self.file.size_at, |e| e.at)
    }

    fn entries(&self) -> Entries<'f> {
        let mut entries: Entries<'f> = BTreeMap::new();
        for entry in &self.file.entries {
            let slot = Slot(entry.number.value);
            match entries.get(&slot) {
                Some(first) => {
                    let what = format!("slot {slot} is defined twice");
                    self.clash(entry.number.at, what, Some(first.number.at));
                }
                None => {
                    entries.insert(slot, entry);
                }
            }
        }
        entries
    }

    fn slots(&self, entries: &Entries<'_>) -> Vec<PanelSlot> {
        let file = self.file;
        if file.numbering == Numbering::Listed {
            return self.listed(entries);
        }
        let places = file.numbering.places(file.rows, file.columns).unwrap_or_default();
        for (slot, entry) in entries {
            if usize::from(slot.0) > places.len() {
                let reason =
                    format!("slot {slot} is outside the panel, whose slots are 1 to {}", places.len());
                self.document.contradiction(entry.number.at, reason);
            }
            if let Some(place) = entry.row.or(entry.column) {
                let reason = "the place of a slot follows from `numbering`; with `numbering = \"listed\"` each slot \
                              says its own";
                self.document.contradiction(place.at, reason);
            }
        }
        places.into_iter().map(|(n, row, column)| regular(n, row, column)).collect()
    }

    fn listed(&self, entries: &Entries<'_>) -> Vec<PanelSlot> {
        let file = self.file;
        if entries.is_empty() {
            self.document.contradiction(file.size_at, "`numbering = \"listed\"` needs at least one [[slot]]");
        }
        let mut taken: BTreeMap<(u16, u16), (Slot, At)> = BTreeMap::new();
        let mut slots = Vec::new();
        for (&slot, entry) in entries {
            let (Some(row), Some(column)) = (entry.row, entry.column) else {
                let reason = format!("slot {slot} needs `row` and `column`");
                self.document.contradiction(entry.at, reason);
                continue;
            };
            for (name, place, count) in [("row", row, file.rows), ("column", column, file.columns)] {
                if place.value == 0 || place.value > count {
                    let reason =
                        format!("slot {slot} is outside the grid: {name} {} of {count}", place.value);
                    self.document.contradiction(place.at, reason);
                }
            }
            let place = (row.value, column.value);
            if let Some((first, at)) = taken.get(&place) {
                let what = format!(
                    "slot {slot} is at the place of slot {first}: row {}, column {}",
                    place.0, place.1
                );
                self.clash(row.at, what, Some(*at));
            }
            taken.entry(place).or_insert((slot, row.at));
            slots.push(regular(slot.0, row.value.clamp(1, file.rows), column.value.clamp(1, file.columns)));
        }
        slots
    }

    fn buses(&self) {
        let buses = &self.file.buses;
        for (i, bus) in buses.iter().enumerate() {
            if let Some(first) = buses[..i].iter().find(|b| b.value.name == bus.value.name) {
                self.clash(bus.at, format!("two buses have the name `{}`", bus.value.name), Some(first.at));
            }
            if bus.value.link != Link::Sim
                && let Some(first) = buses[..i].iter().find(|b| b.value.link == bus.value.link)
            {
                self.clash(bus.at, format!("two buses have the link `{}`", bus.value.link), Some(first.at));
            }
        }
    }

    fn assign_buses(&self, slots: &mut [PanelSlot], entries: &Entries<'_>) {
        let file = self.file;
        let Ok(bus_count) = u8::try_from(file.buses.len()) else { return };
        if let Split::Lists(lists) = &file.split.value {
            self.split_lists(lists.len(), slots);
        }
        let (count, size) = (slots.len(), (file.rows, file.columns));
        for (i, slot) in slots.iter_mut().enumerate() {
            slot.bus = file.split.value.bus_of(i, slot, count, size, bus_count);
            if let Some(named) = entries.get(&slot.slot).and_then(|e| e.bus.as_ref()) {
                slot.bus = self.bus_named(named);
            } else if slot.bus.is_none() && bus_count > 0 {
                let reason = format!("slot {} is on no bus: add it to `split`", slot.slot);
                self.document.contradiction(file.split.at, reason);
            }
            let entry_ways = entries.get(&slot.slot).and_then(|e| e.ways.as_ref()).map(|w| &w.value);
            let bus_ways = slot.bus.and_then(|b| file.buses.get(b.index())).map(|b| &b.value.ways);
            slot.ways =
                entry_ways.or_else(|| bus_ways.filter(|w| !w.is_empty())).unwrap_or(&file.ways).clone();
        }
        for (index, bus) in (0..).map(BusIndex).zip(&file.buses) {
            if !slots.iter().any(|s| s.bus == Some(index)) {
                self.document.contradiction(bus.at, format!("no slot is on bus `{}`", bus.value.name));
            }
        }
    }

    fn split_lists(&self, lists: usize, slots: &[PanelSlot]) {
        let Located { value: Split::Lists(sets), at } = &self.file.split else { return };
        if lists != self.file.buses.len() {
            let reason = format!("`split` has {lists} lists for {} buses", self.file.buses.len());
            self.document.contradiction(*at, reason);
        }
        for slot in slots {
            if sets.iter().filter(|s| s.contains(slot.slot)).count() > 1 {
                self.clash(*at, format!("slot {} is in two lists of `split`", slot.slot), None);
            }
        }
        for &(first, last) in sets.iter().flat_map(|s| &s.0) {
            let known = slots.iter().filter(|s| (first..=last).contains(&s.slot.0)).count();
            if known != usize::from(last - first) + 1 {
                let reason = format!("`split` names slots that the panel does not have: {first}-{last}");
                self.document.contradiction(*at, reason);
            }
        }
    }

    fn bus_named(&self, named: &Located<String>) -> Option<BusIndex> {
        let names = || self.file.buses.iter().map(|b| b.value.name.as_str());
        let found = (0..).map(BusIndex).zip(names()).find(|(_, name)| *name == named.value);
        if found.is_none() {
            let hint =
                nearest(&named.value, names()).map(|n| format!(", did you mean `{n}`?")).unwrap_or_default();
            self.document.contradiction(named.at, format!("there is no bus `{}`{hint}", named.value));
        }
        found.map(|(index, _)| index)
    }

    fn assign_straps(&self, slots: &mut [PanelSlot], entries: &Entries<'_>) {
        let mut on_bus: BTreeMap<Option<BusIndex>, u16> = BTreeMap::new();
        let mut taken: BTreeMap<(BusIndex, u16), (Slot, Option<At>)> = BTreeMap::new();
        for slot in slots.iter_mut() {
            let nth = on_bus.entry(slot.bus).or_default();
            *nth += 1;
            let usual = if self.file.straps_per_bus { *nth } else { slot.slot.0 };
            let written = entries.get(&slot.slot).and_then(|e| e.strap);
            slot.strap = written.map_or(usual, |s| s.value);
            let (Some(bus), Binding::Straps) = (slot.bus, self.file.binding) else { continue };
            let mine = (slot.slot, written.map(|s| s.at));
            if let Some(&(first, first_at)) = taken.get(&(bus, slot.strap)) {
                let what =
                    format!("slot {} has strap {} on one bus with slot {first}", slot.slot, slot.strap);
                let first_at = first_at.or_else(|| entries.get(&first).map(|e| e.at));
                // If only the earlier one is written down, that is the line to look at.
                match (mine.1, first_at) {
                    (None, Some(at)) => self.clash(at, what, None),
                    (at, first_at) => self.clash(at.unwrap_or(self.file.size_at), what, first_at),
                }
            }
            taken.entry((bus, slot.strap)).or_insert(mine);
        }
    }

    fn assign_ports(&self, slots: &mut [PanelSlot], entries: &Entries<'_>) {
        let mut taken: BTreeMap<Port, (Slot, At)> = BTreeMap::new();
        let mut reported = None;
        for slot in slots {
            let written = entries.get(&slot.slot).and_then(|e| e.port.clone());
            let port = match (written, &self.file.port) {
                (Some(port), _) => port,
                (None, Some(rule)) => match expand(rule, slot).parse() {
                    Ok(value) => Located { value, at: rule.at },
                    // One report for the rule; the slot gets some port so that nothing else is reported.
                    Err(error) => {
                        if reported.replace(rule.at).is_none() {
                            self.unusable("port", rule.at, &error);
                        }
                        Located { value: Port::Sim, at: rule.at }
                    }
                },
                (None, None) => continue,
            };
            match taken.get(&port.value) {
                // Through a multiplexer, one port serves several slots.
                Some((first, at))
                    if self.file.mux.is_empty() && port.value != Port::Sim && reported != Some(port.at) =>
                {
                    let what = format!("slot {} has the port of slot {first}: {}", slot.slot, port.value);
                    self.clash(port.at, what, Some(*at));
                    reported = Some(port.at);
                }
                Some(_) => {}
                None => {
                    taken.insert(port.value.clone(), (slot.slot, port.at));
                }
            }
            slot.port = Some(port.value);
        }
    }

    fn unusable(&self, key: &str, at: At, reason: &impl ToString) {
        let kind = ProblemKind::BadValue { key: key.to_owned(), reason: reason.to_string() };
        self.document.report(at, kind);
    }

    fn mark_bad(&self, slots: &mut [PanelSlot]) {
        for mark in &self.file.bad_marks {
            match slots.iter_mut().find(|s| s.slot.0 == mark.value) {
                Some(slot) => slot.bad = true,
                None => {
                    let reason =
                        format!("`bad_marks` names slot {}, which the panel does not have", mark.value);
                    self.document.contradiction(mark.at, reason);
                }
            }
        }
        let bad = |slot: &PanelSlot| self.file.entries.iter().any(|e| e.bad && e.number.value == slot.slot.0);
        slots.iter_mut().filter(|s| bad(s)).for_each(|s| s.bad = true);
    }

    /// Lines of all slots. A panel that is wholly simulated and names no lines has all of them.
    fn fixture(&self, slots: &mut [PanelSlot], entries: &Entries<'_>) -> Fixture {
        let file = self.file;
        let real = file.buses.iter().any(|b| b.value.link != Link::Sim)
            || slots.iter().any(|s| s.port.as_ref().is_some_and(|p| *p != Port::Sim));
        let mut fixture = Fixture { lines: Vec::new(), timing: file.timing, inputs: file.inputs.clone() };
        for function in SLOT_FUNCTIONS {
            let template = file.wires.iter().find(|(f, _)| *f == function).map(|(_, t)| t);
            let mut wires: Vec<(Slot, Wire)> = Vec::new();
            for slot in slots.iter() {
                let written = entries.get(&slot.slot).map(|e| &e.wires).into_iter().flatten();
                let written = written.clone().find(|(f, _)| *f == function).map(|(_, w)| w.value.clone());
                let wire = match (written, template) {
                    (Some(wire), _) => Some(wire),
                    (None, Some(template)) => match expand(template, slot).parse() {
                        Ok(wire) => Some(wire),
                        Err(error) => {
                            self.unusable(function.name(), template.at, &error);
                            break;
                        }
                    },
                    (None, None) => {
                        (!real && file.wires.is_empty()).then(|| simulated_wire(function, slot.slot))
                    }
                };
                wires.extend(wire.map(|w| (slot.slot, w)));
            }
            self.connections(&fixture, function, &wires, entries);
            add_lines(&mut fixture, function, wires);
        }
        connect(slots, &fixture.lines);
        fixture
    }

    /// One connection has one function and one polarity.
    fn connections(
        &self,
        fixture: &Fixture,
        function: LineFunction,
        wires: &[(Slot, Wire)],
        entries: &Entries<'_>,
    ) {
        for (i, (slot, wire)) in wires.iter().enumerate() {
            let other = fixture.lines.iter().find(|l| l.wire.connection == wire.connection);
            if let Some(other) = other {
                let (name, used) = (function.name(), other.function.name());
                self.clash(
                    self.at(*slot, entries),
                    format!("`{wire}` is both a {name} and a {used} line"),
                    None,
                );
                return;
            }
            let flipped = |w: &Wire| w.connection == wire.connection && w.active_low != wire.active_low;
            if wires[..i].iter().any(|(_, w)| flipped(w)) {
                let what = format!("`{wire}` is written with both polarities");
                self.clash(self.at(*slot, entries), what, None);
                return;
            }
        }
    }

    fn ways(&self, slots: &[PanelSlot], entries: &Entries<'_>, fixture: &Fixture) {
        let ways: Vec<Way> = Way::ALL.into_iter().map(|(_, w)| w).collect();
        for way in ways {
            let mut offered = slots.iter().filter(|s| s.ways.contains(&way));
            let lacking = offered.find_map(|slot| Some((slot, lacks(way, slot, slots, fixture)?)));
            if let Some((slot, lack)) = lacking {
                let reason = format!("the way \"{way}\" needs {lack} for slot {}", slot.slot);
                self.document.contradiction(self.at(slot.slot, entries), reason);
            }
        }
    }

    fn binding(&self, slots: &[PanelSlot], entries: &Entries<'_>, fixture: &Fixture) {
        let own = |line: Option<LineIndex>| line.is_some_and(|l| fixture.lines[l.index()].slots.len() == 1);
        let shared = slots.iter().filter(|s| s.bus.is_some() && s.ways.iter().any(|w| w.broadcasts()));
        let lacking = match self.file.binding {
            Binding::Straps => None,
            Binding::Select => {
                shared.clone().find(|s| !own(s.lines.select)).map(|s| (s, "a select line of its own"))
            }
            Binding::PowerGroups => {
                let found = shared.clone().find(|s| !own(s.lines.power) && !own(s.lines.nrst));
                found.map(|s| (s, "a power or NRST line of its own"))
            }
        };
        if let Some((slot, need)) = lacking {
            let reason = format!("this `binding` needs {need} for slot {}", slot.slot);
            self.document.contradiction(self.at(slot.slot, entries), reason);
        }
    }
}

fn expand(template: &Located<Template>, slot: &PanelSlot) -> String {
    let bus = slot.bus.map_or(0, |b| u16::from(b.0) + 1);
    template.value.expand([slot.slot.0, slot.row, slot.column, bus])
}

/// What `slot` lacks for `way`, if anything.
fn lacks(way: Way, slot: &PanelSlot, slots: &[PanelSlot], fixture: &Fixture) -> Option<&'static str> {
    if way.needs_bus() && slot.bus.is_none() {
        return Some("a bus");
    }
    if way.needs_port() && slot.port.is_none() {
        return Some("a port");
    }
    let own = |line: Option<LineIndex>| line.is_some_and(|l| fixture.lines[l.index()].slots.len() == 1);
    let alone = slots.iter().filter(|s| s.bus == slot.bus).count() == 1;
    let separable = alone || own(slot.lines.power) || own(slot.lines.nrst);
    (way.rom_on_bus() && !separable).then_some("a power or NRST line of its own")
}
