//! Families, and how each codes its readout protection in the option bytes.

use core::fmt;

/// The STM32 family of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are ST's own")]
#[non_exhaustive]
pub enum Family {
    C0,
    C5,
    F0,
    F1,
    F2,
    F3,
    F4,
    F7,
    G0,
    G4,
    H5,
    H7,
    H7RS,
    L0,
    L1,
    L4,
    L5,
    U0,
    U3,
    U5,
    W,
    WB,
    WBA,
    WL,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "STM32{self:?}")
    }
}

impl Family {
    /// The byte an erased flash cell reads as: 0x00 on L0 and L1 (RM0038, RM0377), 0xFF everywhere else.
    #[must_use]
    pub const fn erased_value(self) -> u8 {
        match self {
            Self::L0 | Self::L1 => 0x00,
            _ => 0xFF,
        }
    }

    /// Offset of the RDP byte from the start of the option bytes: USER comes first on F2, F4 and F7
    /// (RM0033, RM0090, RM0385), RDP everywhere else.
    #[must_use]
    pub const fn rdp_offset(self) -> usize {
        match self {
            Self::F2 | Self::F4 | Self::F7 => 1,
            _ => 0,
        }
    }
}

/// Readout protection levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RdpLevel {
    /// Not protected.
    Zero,
    /// Only the secure half is closed (L5, U5 and WBA with TrustZone). Not the same as level 1.
    Half,
    /// Protected; going back erases everything.
    One,
    /// Closed for ever.
    Two,
}

/// How the RDP byte is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readout {
    /// Not found in any source.
    Unknown,
    /// F1: 0xA5 opens, anything else is level 1, there is no level 2.
    Key(u8),
    /// 0xAA opens, 0xCC is level 2, anything else is level 1.
    Levels,
    /// As `Levels`, and 0x55 is level 0.5.
    LevelsWithHalf,
    /// H5: PRODUCT_STATE, where 0xED is open and 0x5C locks for ever.
    ProductState,
}

impl Readout {
    /// What an RDP (or PRODUCT_STATE) byte means.
    #[must_use]
    pub const fn level(self, byte: u8) -> Option<RdpLevel> {
        Some(match (self, byte) {
            (Self::Unknown, _) => return None,
            (Self::Key(open), _) if byte == open => RdpLevel::Zero,
            (Self::Levels | Self::LevelsWithHalf, 0xAA) | (Self::ProductState, 0xED) => RdpLevel::Zero,
            (Self::Levels | Self::LevelsWithHalf, 0xCC) | (Self::ProductState, 0x5C) => RdpLevel::Two,
            (Self::LevelsWithHalf, 0x55) => RdpLevel::Half,
            _ => RdpLevel::One,
        })
    }
}
