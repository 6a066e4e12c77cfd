//! Regular grids: in which order slots are numbered, and how they are shared among buses.

use toml::de::DeValue;

use crate::bus::BusIndex;
use crate::document::{FromToml, Mismatch, word};
use crate::panel::{PanelSlot, Slot};

/// The most slots that a panel may have.
pub(crate) const MAX_SLOTS: usize = 1024;

/// How the slots of a grid are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// Left to right, then down.
    Rows,
    /// Down, then left to right.
    Columns,
    /// As `Rows`, every second row backwards.
    SnakeRows,
    /// As `Columns`, every second column backwards.
    SnakeColumns,
    /// Each slot says where it is.
    Listed,
}

impl Numbering {
    /// Number, row and column of every place, by number; none for `Listed`. `None` if the grid has no slots or
    /// more than [`MAX_SLOTS`].
    pub(crate) fn places(self, rows: u16, columns: u16) -> Option<Vec<(u16, u16, u16)>> {
        let count = usize::from(rows) * usize::from(columns);
        if count == 0 || count > MAX_SLOTS {
            return None;
        }
        let flip = |line: u16, i: u16, last: u16| if line.is_multiple_of(2) { last + 1 - i } else { i };
        let by_rows = (1..=rows).flat_map(|r| (1..=columns).map(move |c| (r, c)));
        let by_columns = (1..=columns).flat_map(|c| (1..=rows).map(move |r| (r, c)));
        let places: Vec<(u16, u16)> = match self {
            Self::Rows => by_rows.collect(),
            Self::Columns => by_columns.collect(),
            Self::SnakeRows => by_rows.map(|(r, c)| (r, flip(r, c, columns))).collect(),
            Self::SnakeColumns => by_columns.map(|(r, c)| (flip(c, r, rows), c)).collect(),
            Self::Listed => Vec::new(),
        };
        Some((1..).zip(places).map(|(n, (r, c))| (n, r, c)).collect())
    }
}

impl FromToml for Numbering {
    const EXPECTED: &'static str = "a word in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        let words = [
            ("rows", Self::Rows),
            ("columns", Self::Columns),
            ("snake-rows", Self::SnakeRows),
            ("snake-columns", Self::SnakeColumns),
            ("listed", Self::Listed),
        ];
        word(value, &words)
    }
}

/// How slots are shared among several buses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Split {
    /// In runs of consecutive numbers, as equal as can be.
    Slots,
    /// Whole rows, from the top.
    Rows,
    /// Whole columns, from the left.
    Columns,
    /// The slots of each bus.
    Lists(Vec<SlotSet>),
}

impl Split {
    /// The bus of the slot that is number `i` (from 0) of `count`, among `buses` buses.
    pub(crate) fn bus_of(
        &self,
        i: usize,
        slot: &PanelSlot,
        count: usize,
        (rows, columns): (u16, u16),
        buses: u8,
    ) -> Option<BusIndex> {
        let share = |i: usize, n: usize| u8::try_from(i * usize::from(buses) / n.max(1)).ok().map(BusIndex);
        let found = match self {
            Self::Slots => share(i, count),
            Self::Rows => share(usize::from(slot.row) - 1, rows.into()),
            Self::Columns => share(usize::from(slot.column) - 1, columns.into()),
            Self::Lists(lists) => {
                (0..).map(BusIndex).zip(lists).find(|(_, l)| l.contains(slot.slot)).map(|(b, _)| b)
            }
        };
        found.filter(|b| b.0 < buses)
    }
}

impl FromToml for Split {
    const EXPECTED: &'static str = "`slots`, `rows`, `columns`, or a list such as [\"1-10\", \"11-21\"]";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        let Some(array) = value.as_array() else {
            return word(value, &[("slots", Self::Slots), ("rows", Self::Rows), ("columns", Self::Columns)]);
        };
        array.iter().map(|e| crate::document::parsed(e.get_ref())).collect::<Result<_, _>>().map(Self::Lists)
    }
}

/// Slot numbers and ranges of them: `1-10, 15`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotSet(pub(crate) Vec<(u16, u16)>);

impl SlotSet {
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&slot.0))
    }
}

impl core::str::FromStr for SlotSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (1 <= first && first <= last).then_some((first, last))
        };
        let ranges: Option<Vec<(u16, u16)>> = text.split(',').map(range).collect();
        ranges.map(Self).ok_or_else(|| format!("`{text}` is not a list of slots such as `1-10, 15`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(numbering: Numbering, rows: u16, columns: u16) -> Vec<Vec<u16>> {
        let mut grid = vec![vec![0; columns.into()]; rows.into()];
        for (n, r, c) in numbering.places(rows, columns).unwrap() {
            grid[usize::from(r) - 1][usize::from(c) - 1] = n;
        }
        grid
    }

    #[test]
    fn every_numbering_walks_the_grid_in_its_own_order() {
        assert_eq!(numbers(Numbering::Rows, 2, 3), [[1, 2, 3], [4, 5, 6]]);
        assert_eq!(numbers(Numbering::Columns, 2, 3), [[1, 3, 5], [2, 4, 6]]);
        assert_eq!(numbers(Numbering::SnakeRows, 2, 3), [[1, 2, 3], [6, 5, 4]]);
        assert_eq!(numbers(Numbering::SnakeColumns, 2, 3), [[1, 4, 5], [2, 3, 6]]);
    }

    #[test]
    fn slot_sets_are_ranges_and_numbers() {
        let set: SlotSet = "1-3, 7".parse().unwrap();
        let inside: Vec<u16> = (0..10).filter(|&n| set.contains(Slot(n))).collect();
        assert_eq!(inside, [1, 2, 3, 7]);
        for wrong in ["", "3-1", "0", "1-", "a", "1,,2"] {
            assert!(wrong.parse::<SlotSet>().is_err(), "{wrong}");
        }
    }
}
