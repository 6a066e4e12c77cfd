//! Commands and replies as values, the same for USART, CAN and FDCAN (AN3155, AN3154, AN5405).

use core::fmt;

/// A command code: on USART the first byte of a command, on CAN its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u8);

impl Opcode {
    /// Protocol version and the list of commands.
    pub const GET: Self = Self(0x00);
    /// Protocol version.
    pub const GET_VERSION: Self = Self(0x01);
    /// Product ID.
    pub const GET_ID: Self = Self(0x02);
    /// Bit rate (CAN only).
    pub const SPEED: Self = Self(0x03);
    /// Read memory.
    pub const READ: Self = Self(0x11);
    /// Jump to an address.
    pub const GO: Self = Self(0x21);
    /// Write memory.
    pub const WRITE: Self = Self(0x31);
    /// Erase with one-byte page numbers.
    pub const ERASE: Self = Self(0x43);
    /// Erase with two-byte page numbers.
    pub const EXTENDED_ERASE: Self = Self(0x44);
    /// Product specific command.
    pub const SPECIAL: Self = Self(0x50);
    /// Product specific command with a second packet.
    pub const EXTENDED_SPECIAL: Self = Self(0x51);
    /// Protect flash sectors against writing.
    pub const WRITE_PROTECT: Self = Self(0x63);
    /// Lift all write protection.
    pub const WRITE_UNPROTECT: Self = Self(0x73);
    /// Protect against reading (RDP level 1).
    pub const READOUT_PROTECT: Self = Self(0x82);
    /// Lift readout protection, which erases everything.
    pub const READOUT_UNPROTECT: Self = Self(0x92);
    /// CRC over a memory range.
    pub const GET_CHECKSUM: Self = Self(0xA1);

    const fn name(self) -> &'static str {
        match self {
            Self::GET => "Get",
            Self::GET_VERSION => "Get Version",
            Self::GET_ID => "Get ID",
            Self::SPEED => "Speed",
            Self::READ => "Read Memory",
            Self::GO => "Go",
            Self::WRITE => "Write Memory",
            Self::ERASE => "Erase Memory",
            Self::EXTENDED_ERASE => "Extended Erase Memory",
            Self::SPECIAL => "Special",
            Self::EXTENDED_SPECIAL => "Extended Special",
            Self::WRITE_PROTECT => "Write Protect",
            Self::WRITE_UNPROTECT => "Write Unprotect",
            Self::READOUT_PROTECT => "Readout Protect",
            Self::READOUT_UNPROTECT => "Readout Unprotect",
            Self::GET_CHECKSUM => "Get Checksum",
            Self(_) => "unknown command",
        }
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.name(), self.0)
    }
}

/// What an erase command clears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erase<'a> {
    /// These pages or sectors, by number; at least one.
    Units(&'a [u16]),
    /// The whole flash.
    Mass,
    /// Bank 1 (Extended Erase only).
    Bank1,
    /// Bank 2 (Extended Erase only).
    Bank2,
}

/// Bit rates of AN3154's Speed command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CanRate {
    /// 125 kbit/s, at which every ROM starts.
    Kbit125,
    /// 250 kbit/s.
    Kbit250,
    /// 500 kbit/s.
    Kbit500,
    /// 1 Mbit/s.
    Mbit1,
}

impl CanRate {
    /// In bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u32 {
        match self {
            Self::Kbit125 => 125_000,
            Self::Kbit250 => 250_000,
            Self::Kbit500 => 500_000,
            Self::Mbit1 => 1_000_000,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Kbit125 => 1,
            Self::Kbit250 => 2,
            Self::Kbit500 => 3,
            Self::Mbit1 => 4,
        }
    }
}

/// One command with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// Protocol version and command list.
    Get,
    /// Protocol version alone.
    GetVersion,
    /// Product ID.
    GetId,
    /// 1 to 256 bytes from `address` on.
    Read {
        /// First address.
        address: u32,
        /// How many bytes.
        len: u16,
    },
    /// Start the application whose vector table is at `address`.
    Go {
        /// Address of the initial stack pointer; the reset vector follows it.
        address: u32,
    },
    /// 1 to 256 bytes to `address`; flash must be blank there, and aligned as the family needs.
    Write {
        /// First address.
        address: u32,
        /// What to write.
        data: &'a [u8],
    },
    /// Erase Memory or Extended Erase Memory, whichever the ROM lists.
    Erase(Erase<'a>),
    /// A product specific command: up to 128 bytes.
    Special {
        /// Sub-opcode.
        opcode: u16,
        /// Arguments.
        data: &'a [u8],
    },
    /// A product specific command with a second packet of up to 1024 bytes.
    ExtendedSpecial {
        /// Sub-opcode.
        opcode: u16,
        /// First packet, up to 128 bytes.
        first: &'a [u8],
        /// Second packet.
        second: &'a [u8],
    },
    /// Protect these sectors, and no others, against writing. The chip is reset, or has to be.
    WriteProtect {
        /// 1 to 255 sector codes; a code stands for a protection unit, not for a page.
        units: &'a [u8],
    },
    /// Lift all write protection. The chip is reset, or has to be.
    WriteUnprotect,
    /// Set RDP level 1. The chip is reset, or has to be.
    ReadoutProtect,
    /// Go back to RDP level 0: **erases the whole flash**. The chip is reset, or has to be.
    ReadoutUnprotect,
    /// CRC over `words` 32-bit words; only where Get lists it.
    GetChecksum {
        /// First address.
        address: u32,
        /// Length in 32-bit words.
        words: u32,
        /// CRC polynomial.
        polynomial: u32,
        /// Initial value.
        initial: u32,
    },
}

impl Command<'_> {
    /// The code that names the command in errors; for Erase the classic one.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        match self {
            Self::Get => Opcode::GET,
            Self::GetVersion => Opcode::GET_VERSION,
            Self::GetId => Opcode::GET_ID,
            Self::Read { .. } => Opcode::READ,
            Self::Go { .. } => Opcode::GO,
            Self::Write { .. } => Opcode::WRITE,
            Self::Erase(_) => Opcode::ERASE,
            Self::Special { .. } => Opcode::SPECIAL,
            Self::ExtendedSpecial { .. } => Opcode::EXTENDED_SPECIAL,
            Self::WriteProtect { .. } => Opcode::WRITE_PROTECT,
            Self::WriteUnprotect => Opcode::WRITE_UNPROTECT,
            Self::ReadoutProtect => Opcode::READOUT_PROTECT,
            Self::ReadoutUnprotect => Opcode::READOUT_UNPROTECT,
            Self::GetChecksum { .. } => Opcode::GET_CHECKSUM,
        }
    }

    /// The address argument, where there is one.
    #[must_use]
    pub const fn address(&self) -> Option<u32> {
        match self {
            Self::Read { address, .. }
            | Self::Go { address }
            | Self::Write { address, .. }
            | Self::GetChecksum { address, .. } => Some(*address),
            _ => None,
        }
    }

    /// What is wrong with the arguments, if anything (AN3155, limits in the command descriptions).
    pub(crate) const fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Read { len: 1..=256, .. } => None,
            Self::Read { .. } => Some("a read is 1 to 256 bytes"),
            Self::Write { data, .. } if data.is_empty() || data.len() > 256 => {
                Some("a write is 1 to 256 bytes")
            }
            Self::Erase(Erase::Units(units)) if units.is_empty() || units.len() > 0xFFF0 => {
                Some("an erase names 1 to 65520 pages")
            }
            Self::WriteProtect { units } if units.is_empty() || units.len() > 255 => {
                Some("write protection names 1 to 255 sectors")
            }
            Self::Special { data: first, .. } | Self::ExtendedSpecial { first, .. } if first.len() > 128 => {
                Some("the first packet has at most 128 bytes")
            }
            Self::ExtendedSpecial { second, .. } if second.len() > 1024 => {
                Some("the second packet has at most 1024 bytes")
            }
            _ => None,
        }
    }
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Acknowledged; there is nothing more to say.
    Done,
    /// Get.
    Commands {
        /// Protocol version, `0x31` for 3.1.
        version: u8,
        /// The codes listed.
        commands: Vec<Opcode>,
    },
    /// Get Version: `0x31` for 3.1.
    Version(u8),
    /// Get ID.
    Id(u16),
    /// Read.
    Data(Vec<u8>),
    /// Special and Extended Special.
    Special {
        /// Data; Extended Special has none.
        data: Vec<u8>,
        /// Status.
        status: Vec<u8>,
    },
    /// Get Checksum.
    Checksum(u32),
}
