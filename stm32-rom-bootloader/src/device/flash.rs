//! The main flash as erase units.
//!
//! A unit is what one entry of an erase command clears: a page on most families, a sector on F2, F4, F7 and H7.
//! Units are numbered from the start of the flash through both banks, which is how the ROM numbers them.

/// How a flash with two banks is used; an option bit decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BankMode {
    /// One bank over everything.
    Single,
    /// Two banks of half the size each.
    Dual,
}

/// A run of equal sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectorRun {
    /// How many.
    pub count: u16,
    /// Size of each, in KiB.
    pub kib: u16,
}

/// The units of one bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Equal pages of this many bytes.
    Pages(u32),
    /// Sectors of different sizes, from the bank's first address on.
    Sectors(&'static [SectorRun]),
}

/// The option bit that switches between one bank and two, where a ROM shows it as memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BankOption {
    /// Address of the option word.
    pub address: u32,
    /// The bit in it.
    pub mask: u32,
    /// Whether the bit set means two banks.
    pub set_is_dual: bool,
    /// Reference manual and section.
    pub source: &'static str,
}

impl BankOption {
    /// The mode an option word says.
    #[must_use]
    pub const fn mode(&self, word: u32) -> BankMode {
        if ((word & self.mask) != 0) == self.set_is_dual { BankMode::Dual } else { BankMode::Single }
    }
}

/// Where the main flash is and how it is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flash {
    /// First address.
    pub start: u32,
    /// The largest size of this die in KiB; the chip's own size is in its flash size register.
    pub max_kib: u16,
    /// Units when used as one bank.
    pub single: Option<Layout>,
    /// Units of each of two banks.
    pub dual: Option<Layout>,
    /// As delivered by ST.
    pub default_mode: BankMode,
}

/// One erase unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EraseUnit {
    /// Its number in erase commands.
    pub index: u16,
    /// First address.
    pub address: u32,
    /// Size in bytes.
    pub bytes: u32,
}

impl EraseUnit {
    /// First address behind the unit.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.address + self.bytes
    }
}

impl Flash {
    /// The mode of a part with `kib` KiB as delivered. Sector parts with half the die are one bank unless DB1M
    /// says otherwise (RM0090, flash module organisation).
    #[must_use]
    pub fn usual_mode(&self, kib: u16) -> BankMode {
        let half_a_die = matches!(self.dual, Some(Layout::Sectors(_))) && kib <= self.max_kib / 2;
        if half_a_die { BankMode::Single } else { self.default_mode }
    }

    /// The units of a part with `kib` KiB, or `None` if the die has no such mode.
    #[must_use]
    pub fn units(&self, kib: u16, mode: BankMode) -> Option<Vec<EraseUnit>> {
        let size = u32::from(kib) * 1024;
        match (mode, self.single, self.dual) {
            (BankMode::Single, Some(layout), _) => Some(bank_units(self.start, size, layout, 0)),
            // A part with half the die: the first bank's layout is all there is.
            (BankMode::Single, None, Some(layout @ Layout::Sectors(_))) if kib <= self.max_kib / 2 => {
                Some(bank_units(self.start, size, layout, 0))
            }
            (BankMode::Dual, _, Some(layout)) => {
                let half = size / 2;
                let mut units = bank_units(self.start, half, layout, 0);
                let first_of_second = match layout {
                    Layout::Pages(_) => units.len() as u16,
                    Layout::Sectors(runs) => runs.iter().map(|run| run.count).sum(),
                };
                units.extend(bank_units(self.start + half, half, layout, first_of_second));
                Some(units)
            }
            (BankMode::Single | BankMode::Dual, _, _) => None,
        }
    }
}

fn bank_units(start: u32, size: u32, layout: Layout, first_index: u16) -> Vec<EraseUnit> {
    let mut units = Vec::new();
    let mut offset = 0;
    let mut add = |bytes: u32| {
        let fits = offset + bytes <= size;
        if fits {
            let index = first_index + units.len() as u16;
            units.push(EraseUnit { index, address: start + offset, bytes });
            offset += bytes;
        }
        fits
    };
    match layout {
        Layout::Pages(bytes) => while add(bytes) {},
        Layout::Sectors(runs) => {
            for run in runs {
                for _ in 0..run.count {
                    if !add(u32::from(run.kib) * 1024) {
                        return units;
                    }
                }
            }
        }
    }
    units
}
