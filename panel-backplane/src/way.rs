//! The ways to a board: which protocol reaches it, and over what.

use core::fmt;

use toml::de::DeValue;

use crate::document::{FromToml, Mismatch, word};

/// How a board is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// All boards of a bus at once, by their resident bootloader.
    Multidrop,
    /// The ROM bootloader over the slot's own port (AN3155).
    RomUart,
    /// The ROM bootloader over CAN, one board of a bus at a time (AN3154).
    RomCan,
    /// The ROM bootloader over FDCAN, one board of a bus at a time (AN5405).
    RomFdcan,
    /// The RAM agent is loaded by `RomUart`, then as `Multidrop`.
    RomUartAgent,
    /// The RAM agent is loaded by `RomCan`, then as `Multidrop`.
    RomCanAgent,
    /// The RAM agent is loaded by `RomFdcan`, then as `Multidrop`.
    RomFdcanAgent,
}

impl Way {
    /// Every way with its name in the files.
    pub const ALL: [(&str, Self); 7] = [
        ("multidrop", Self::Multidrop),
        ("rom-uart", Self::RomUart),
        ("rom-can", Self::RomCan),
        ("rom-fdcan", Self::RomFdcan),
        ("rom-uart+agent", Self::RomUartAgent),
        ("rom-can+agent", Self::RomCanAgent),
        ("rom-fdcan+agent", Self::RomFdcanAgent),
    ];

    /// Its name in the files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multidrop => "multidrop",
            Self::RomUart => "rom-uart",
            Self::RomCan => "rom-can",
            Self::RomFdcan => "rom-fdcan",
            Self::RomUartAgent => "rom-uart+agent",
            Self::RomCanAgent => "rom-can+agent",
            Self::RomFdcanAgent => "rom-fdcan+agent",
        }
    }

    /// Whether the slot needs a port of its own.
    #[must_use]
    pub const fn needs_port(self) -> bool {
        matches!(self, Self::RomUart | Self::RomUartAgent)
    }

    /// Whether the slot needs a bus.
    #[must_use]
    pub const fn needs_bus(self) -> bool {
        !matches!(self, Self::RomUart)
    }

    /// Whether the ROM answers on the bus, where every board answers alike: one board at a time.
    #[must_use]
    pub const fn rom_on_bus(self) -> bool {
        matches!(self, Self::RomCan | Self::RomFdcan | Self::RomCanAgent | Self::RomFdcanAgent)
    }

    /// Whether the image is sent to all boards of a bus at once.
    #[must_use]
    pub const fn broadcasts(self) -> bool {
        matches!(self, Self::Multidrop | Self::RomUartAgent | Self::RomCanAgent | Self::RomFdcanAgent)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromToml for Way {
    const EXPECTED: &'static str = "the name of a way in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        word(value, &Self::ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_list_are_the_names_of_the_ways() {
        for (name, way) in Way::ALL {
            assert_eq!(way.name(), name);
        }
    }
}
