//! What a panel is: a grid of slots, the buses they hang on, and the fixture around them, as values.
//!
//! A [`Panel`] is made by [`Panel::parse`] from panel.toml or by [`Panel::grid`], which both see to it that
//! slot numbers, places, straps and ports are unique and that every bus exists. Slots are in the order of their
//! numbers.

use core::fmt;

use crate::bus::{Bus, BusIndex, Port};
use crate::fixture::{Fixture, Line, LineFunction, LineIndex, Mux, SlotLines, Wire};
use crate::layout::{MAX_SLOTS, Numbering, Split};
use crate::way::Way;

/// Number of a slot, from 1, as printed on the fixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The corner of the panel that carries the mark, as the operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// Beside row 1, column 1.
    #[default]
    TopLeft,
    /// Beside row 1, last column.
    TopRight,
    /// Beside the last row, column 1.
    BottomLeft,
    /// Beside the last row and column.
    BottomRight,
}

/// How it is found out which board sits in which slot of a shared bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// Each slot has address straps that its board reads.
    #[default]
    Straps,
    /// The fixture selects one slot after the other by a line.
    Select,
    /// The fixture powers or releases groups of slots, about log2 of their number times.
    PowerGroups,
}

/// One slot of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanelSlot {
    /// Its number.
    pub slot: Slot,
    /// Row, from 1 at the top.
    pub row: u16,
    /// Column, from 1 at the left.
    pub column: u16,
    /// The bus it hangs on, if any.
    pub bus: Option<BusIndex>,
    /// Value of its address straps; counts only with [`Binding::Straps`].
    pub strap: u16,
    /// Its port, if any; its own unless there is a multiplexer.
    pub port: Option<Port>,
    /// How it is reached through its port's multiplexer, if the port has one.
    pub mux: Option<Mux>,
    /// The ways to its board, the preferred one first; at least one.
    pub ways: Vec<Way>,
    /// Marked bad: skipped, and never given power, image or identity.
    pub bad: bool,
    /// Its lines.
    pub lines: SlotLines,
}

impl PanelSlot {
    /// Whether both hang on one port, through its multiplexer.
    #[must_use]
    pub fn shares_port(&self, other: &Self) -> bool {
        match (&self.mux, &other.mux) {
            (Some(mine), Some(theirs)) => self.port == other.port && mine.lines == theirs.lines,
            _ => false,
        }
    }
}

/// A panel with its fixture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Panel {
    /// Name, as in records.
    pub name: String,
    /// Rows of the grid.
    pub rows: u16,
    /// Columns of the grid.
    pub columns: u16,
    /// Where the orientation mark is.
    pub mark: Mark,
    /// The buses; [`BusIndex`] counts them.
    pub buses: Vec<Bus>,
    /// The slots, by number.
    pub slots: Vec<PanelSlot>,
    /// How boards are bound to slots on a shared bus.
    pub binding: Binding,
    /// Baud rate of the slots' ports.
    pub baud: u32,
    /// Lines and times.
    pub fixture: Fixture,
}

/// Baud rate of a slot's port if the panel says nothing: the highest that AN3155 promises.
pub(crate) const DEFAULT_BAUD: u32 = 115_200;

/// A grid that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// No slots, or too many.
    #[error("{rows} rows of {columns} slots is not 1 to {} slots", MAX_SLOTS)]
    Size {
        /// Rows asked for.
        rows: u16,
        /// Columns asked for.
        columns: u16,
    },
    /// No buses, or more buses than slots.
    #[error("{slots} slots cannot be shared among {buses} buses")]
    Buses {
        /// Number of slots.
        slots: usize,
        /// Number of buses.
        buses: usize,
    },
}

/// A slot that the panel does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the panel has no slot {0}")]
pub struct UnknownSlot(pub Slot);

impl Panel {
    /// A regular simulated panel for demonstrations and benches: numbered row by row, slot number as strap, every
    /// line simulated, consecutive slots shared equally among `buses`.
    ///
    /// # Errors
    /// [`GridError`] if there are no slots, more than 1024, or not at least one for each bus.
    pub fn grid(rows: u16, columns: u16, buses: Vec<Bus>) -> Result<Self, GridError> {
        let places = Numbering::Rows.places(rows, columns).ok_or(GridError::Size { rows, columns })?;
        let count = places.len();
        let bus_count = u8::try_from(buses.len()).ok().filter(|&n| n > 0 && usize::from(n) <= count);
        let bus_count = bus_count.ok_or(GridError::Buses { slots: count, buses: buses.len() })?;
        let mut slots: Vec<PanelSlot> =
            places.into_iter().map(|(n, row, column)| regular(n, row, column)).collect();
        for (i, slot) in slots.iter_mut().enumerate() {
            slot.bus = Split::Slots.bus_of(i, slot, count, (rows, columns), bus_count);
            slot.ways = vec![Way::Multidrop];
        }
        let mut fixture = Fixture::default();
        for function in SLOT_FUNCTIONS {
            let wires = slots.iter().map(|s| (s.slot, simulated_wire(function, s.slot)));
            add_lines(&mut fixture, function, wires.collect());
        }
        connect(&mut slots, &fixture.lines);
        Ok(Self {
            name: format!("grid-{rows}x{columns}"),
            rows,
            columns,
            mark: Mark::default(),
            buses,
            slots,
            binding: Binding::default(),
            baud: DEFAULT_BAUD,
            fixture,
        })
    }

    /// The slot with this number.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Option<&PanelSlot> {
        self.slots.binary_search_by_key(&slot, |s| s.slot).ok().map(|i| &self.slots[i])
    }

    /// The slot at this place, both counted from 1.
    #[must_use]
    pub fn at(&self, row: u16, column: u16) -> Option<&PanelSlot> {
        self.slots.iter().find(|s| (s.row, s.column) == (row, column))
    }

    /// A bus.
    #[must_use]
    pub fn bus(&self, bus: BusIndex) -> Option<&Bus> {
        self.buses.get(bus.index())
    }

    /// The slots of a bus, by number, without those marked bad.
    pub fn on_bus(&self, bus: BusIndex) -> impl Iterator<Item = &PanelSlot> {
        self.slots.iter().filter(move |s| s.bus == Some(bus) && !s.bad)
    }

    /// A line of the fixture.
    #[must_use]
    pub fn line(&self, line: LineIndex) -> Option<&Line> {
        self.fixture.lines.get(line.index())
    }

    /// Marks slots bad, for one panel's own bad marks.
    ///
    /// # Errors
    /// The first slot that the panel does not have; then nothing is marked.
    pub fn mark_bad(&mut self, slots: &[Slot]) -> Result<(), UnknownSlot> {
        if let Some(&unknown) = slots.iter().find(|s| self.slot(**s).is_none()) {
            return Err(UnknownSlot(unknown));
        }
        self.slots.iter_mut().filter(|s| slots.contains(&s.slot)).for_each(|s| s.bad = true);
        Ok(())
    }
}

/// The functions of which each slot has a line, or shares one with others.
pub(crate) const SLOT_FUNCTIONS: [LineFunction; 4] =
    [LineFunction::Power, LineFunction::Nrst, LineFunction::Boot0, LineFunction::Select];

/// A slot of a regular grid, without bus, port, ways and lines.
pub(crate) fn regular(number: u16, row: u16, column: u16) -> PanelSlot {
    PanelSlot {
        slot: Slot(number),
        row,
        column,
        bus: None,
        strap: number,
        port: None,
        mux: None,
        ways: Vec::new(),
        bad: false,
        lines: SlotLines::default(),
    }
}

/// The line that a simulated fixture has for a slot.
pub(crate) fn simulated_wire(function: LineFunction, slot: Slot) -> Wire {
    let connection = crate::fixture::Connection::Sim(format!("{}/{slot}", function.name()));
    Wire { connection, active_low: false }
}

/// Appends the lines of one function: equal wires are one line.
pub(crate) fn add_lines(fixture: &mut Fixture, function: LineFunction, wires: Vec<(Slot, Wire)>) {
    let first = fixture.lines.len();
    for (slot, wire) in wires {
        match fixture.lines[first..].iter_mut().find(|l| l.wire == wire) {
            Some(line) => line.slots.push(slot),
            None => fixture.lines.push(Line { function, wire, slots: vec![slot] }),
        }
    }
}

/// Tells each slot its lines; those of its multiplexer it knows.
pub(crate) fn connect(slots: &mut [PanelSlot], lines: &[Line]) {
    // At most four lines a slot and 1024 slots: the index fits.
    for (index, line) in (0..).map(LineIndex).zip(lines) {
        for slot in slots.iter_mut().filter(|s| line.slots.contains(&s.slot)) {
            let place = match line.function {
                LineFunction::Power => &mut slot.lines.power,
                LineFunction::Nrst => &mut slot.lines.nrst,
                LineFunction::Boot0 => &mut slot.lines.boot0,
                LineFunction::Select => &mut slot.lines.select,
                LineFunction::Mux => continue,
            };
            *place = Some(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::BusKind;
    use crate::units::BitRate;

    fn buses(n: usize) -> Vec<Bus> {
        (0..n).map(|i| Bus::simulated(&format!("bus{i}"), BusKind::Classical, BitRate::M1)).collect()
    }

    #[test]
    fn a_grid_is_numbered_row_by_row_and_shared_equally() {
        let panel = Panel::grid(8, 16, buses(4)).unwrap();
        assert_eq!(panel.slots.len(), 128);
        let last = panel.slot(Slot(17)).unwrap();
        assert_eq!((last.row, last.column, last.strap), (2, 1, 17));
        for bus in 0..4 {
            assert_eq!(panel.on_bus(BusIndex(bus)).count(), 32);
        }
        assert_eq!(panel.at(8, 16).unwrap().slot, Slot(128));
        let power = panel.line(last.lines.power.unwrap()).unwrap();
        assert_eq!((power.function, &power.slots[..]), (LineFunction::Power, &[Slot(17)][..]));
        assert_eq!(power.wire.to_string(), "sim:power/17");
    }

    #[test]
    fn grids_that_cannot_be_are_refused() {
        assert_eq!(Panel::grid(0, 4, buses(1)), Err(GridError::Size { rows: 0, columns: 4 }));
        assert_eq!(Panel::grid(600, 600, buses(1)), Err(GridError::Size { rows: 600, columns: 600 }));
        assert_eq!(Panel::grid(1, 1, buses(2)), Err(GridError::Buses { slots: 1, buses: 2 }));
        assert_eq!(Panel::grid(1, 1, buses(0)), Err(GridError::Buses { slots: 1, buses: 0 }));
    }

    #[test]
    fn bad_marks_take_slots_off_their_bus() {
        let mut panel = Panel::grid(1, 4, buses(1)).unwrap();
        assert_eq!(panel.mark_bad(&[Slot(2), Slot(9)]), Err(UnknownSlot(Slot(9))));
        assert_eq!(panel.on_bus(BusIndex(0)).count(), 4);
        panel.mark_bad(&[Slot(2)]).unwrap();
        let left: Vec<u16> = panel.on_bus(BusIndex(0)).map(|s| s.slot.0).collect();
        assert_eq!(left, [1, 3, 4]);
    }
}
