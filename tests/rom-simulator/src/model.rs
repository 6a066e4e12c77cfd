//! What a simulated chip is: identity, memory map, ROM version and quirks, all as data.
//!
//! The rows are in [`crate::catalog`]. Sources are AN2606 (boot modes, ROM versions), AN3155, AN3154, AN5405,
//! the reference manuals for memory maps, and for quirks the field reports named there. Nothing here is
//! shared with any host program, so that two readings of the notes meet on the wire.

use crate::flash::FlashModel;

/// One kind of simulated chip.
#[derive(Debug, Clone)]
pub struct Model {
    /// The name `--device` takes, without `STM32`: `F405`.
    pub name: &'static str,
    /// What it stands for, as AN2606 words it.
    pub part: &'static str,
    /// Product ID that Get ID returns.
    pub product_id: u16,
    /// Address and value of the bootloader ID byte, if the ROM has one (AN2606 section 3.3).
    pub bootloader_id: Option<(u32, u8)>,
    /// The USART loader.
    pub usart: UsartRom,
    /// The CAN loader, if the ROM has one.
    pub can: Option<CanRom>,
    /// The FDCAN loader, if the ROM has one.
    pub fdcan: Option<FdcanRom>,
    /// Where things are.
    pub map: MemoryMap,
    /// The main flash.
    pub flash: FlashModel,
    /// How the option bytes are laid out.
    pub options: OptionLayout,
    /// Erase units that one write protection code covers.
    pub units_per_protection: u32,
    /// What makes the chip start its ROM.
    pub entry: Entry,
    /// Where this ROM departs from the plain protocol.
    pub quirks: Quirks,
}

/// The AN3155 side of a ROM.
#[derive(Debug, Clone, Copy)]
pub struct UsartRom {
    /// Protocol version as Get reports it: 0x31 is 3.1.
    pub version: u8,
    /// Protocol version it behaves as; differs from `version` on F105/F107 (AN3155 section 4).
    pub behaves_as: u8,
    /// Command codes in the order Get lists them.
    pub commands: &'static [u8],
    /// How it measures the host's baud rate.
    pub autobaud: Autobaud,
    /// From reset to the first accepted byte, with crystals fitted.
    pub startup_us: u32,
    /// The same without them.
    pub startup_without_crystal_us: u32,
}

/// How a ROM finds the host's baud rate (AN2606 table 6, AN3155 section 2.2).
#[derive(Debug, Clone, Copy)]
pub struct Autobaud {
    /// AN2606's measuring error in tenths of a percent, always towards slow; 0 is the USART's own hardware.
    /// That figure is the worst case: an everyday attempt is off by up to a tenth of it.
    pub error_permille: u16,
    /// Up to here every attempt succeeds.
    pub sure_baud: u32,
    /// From `sure_baud` to here every second attempt, on average, ends on an unusable rate; above all do.
    pub most_baud: u32,
}

/// The AN3154 side of a ROM.
#[derive(Debug, Clone, Copy)]
pub struct CanRom {
    /// Version byte that Get reports.
    pub version: u8,
    /// Crystal frequencies in MHz that its detection knows.
    pub crystals_mhz: &'static [u8],
}

/// The AN5405 side of a ROM.
#[derive(Debug, Clone, Copy)]
pub struct FdcanRom {
    /// Version byte that Get reports.
    pub version: u8,
}

/// Addresses a host can meet. Ranges are inclusive.
#[derive(Debug, Clone, Copy)]
pub struct MemoryMap {
    /// RAM the host may use; what lies below belongs to the ROM.
    pub host_ram: (u32, u32),
    /// System memory (the ROM itself).
    pub system: (u32, u32),
    /// Option bytes, where the ROM gives access to them.
    pub option: Option<(u32, u32)>,
    /// First byte of the unique ID.
    pub uid: u32,
    /// How its three words lie.
    pub uid_layout: UidLayout,
    /// The 16-bit flash size in KiB.
    pub flash_size: u32,
}

/// Where the three words of the unique ID are, counted from its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UidLayout {
    /// 0, 4, 8.
    Packed,
    /// 0, 4, 0x14 (L0 and L1: RM0367, RM0038 "Unique device ID registers").
    Spread,
}

impl UidLayout {
    /// Offsets of the three words.
    #[must_use]
    pub const fn offsets(self) -> [u32; 3] {
        match self {
            Self::Packed => [0x00, 0x04, 0x08],
            Self::Spread => [0x00, 0x04, 0x14],
        }
    }
}

/// Which bytes of the option area mean what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionLayout {
    /// F1: RDP and nRDP at 0/1, 0xA5 is unprotected, no level 2; WRP0..3 at 8, 10, 12, 14.
    HalfWordsF1,
    /// F0, F3: the same places, 0xAA level 0, 0xCC level 2.
    HalfWords,
    /// F2, F4, F7: RDP at byte 1; nWRP as 16 bits at 8 (F7: at bytes 2 and 3).
    F4,
    /// See [`Self::F4`].
    F7,
    /// L0, L1, L4, G0, G4, C0, WB: RDP at byte 0. Write protection is kept outside these bytes here.
    LowByte,
    /// The ROM gives no access to options as memory (H5, U5, H7).
    Hidden,
}

/// What makes a chip start its ROM after reset (AN2606 "boot patterns").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// BOOT0 high.
    Pin,
    /// BOOT0 high, or the empty flag (L496, pattern 6).
    PinOrEmpty,
    /// The empty flag only: factory G0 and C0 ignore the pin (nBOOT0_SEL = 1).
    Empty,
}

/// Which area of the engineering bytes (unique ID, flash size) the ROM lets a host read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engineering {
    /// Anything.
    Readable,
    /// Only from a 256-byte boundary and at least so many bytes at once.
    WholeBlocks(u16),
    /// Nothing: Read is refused.
    Hidden,
}

/// Which Extended Erase lists with more than one page fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnePage {
    /// None does.
    NotNeeded,
    /// All (G07x/G08x ROM V11.3).
    Always,
    /// Those that touch bank 2 (G0B0 V13.0, G0B1 V9.2).
    InBank2,
}

/// What is wrong with Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Nothing.
    Sound,
    /// The ACK of the command does not come (H74x V9.0).
    NoFirstAck,
    /// Acknowledged, but the chip hangs instead of jumping (H74x V13.2).
    Hangs,
}

/// Departures of one ROM from the plain protocol.
#[derive(Debug, Clone, Copy)]
pub struct Quirks {
    /// Longer page lists hang the ROM until reset.
    pub most_pages_per_erase: u16,
    /// See [`OnePage`].
    pub one_page: OnePage,
    /// An erase clears the empty flag.
    pub erase_clears_empty_flag: bool,
    /// Mass erase is refused (L0, L1).
    pub no_mass_erase: bool,
    /// Bank erase is refused (L496 V9.3; every single-bank part).
    pub no_bank_erase: bool,
    /// Read and Write are refused with two NACKs under read-out protection (F2, F40x ROM V3.x).
    pub two_nacks_when_protected: bool,
    /// The ROM resets itself after protection commands and option writes (AN3155: F0, F2, F4, F7, some L4).
    pub resets_itself: bool,
    /// Readout Unprotect sends both ACKs before it starts to erase.
    pub unprotect_acks_first: bool,
    /// See [`Engineering`].
    pub engineering: Engineering,
    /// Addresses and lengths of a write must be multiples of this.
    pub write_align: u16,
    /// After one misaligned write all later ones fail until reset (AN2606 table 7).
    pub misaligned_write_sticks: bool,
    /// Write Unprotect over CAN is acknowledged and does nothing (F2, F40x ROM V3.1).
    pub can_unprotect_broken: bool,
    /// Unrelated frames make the ROM leave CAN even after the connection (seen on F412).
    pub leaves_can: bool,
    /// New option bytes are loaded at power-on only (G07x ROM V11.2: no option byte launch over USART).
    pub options_at_power_on: bool,
    /// An erase of bank 2 is acknowledged before it is finished (H74x V9.1).
    pub bank2_acks_first: bool,
    /// See [`Go`].
    pub go: Go,
    /// The USART answers only the second sync byte (H74x on PB14 and PB15).
    pub second_sync_only: bool,
    /// Over FDCAN, shorter writes fail (H74x V9.0).
    pub fd_shortest_write: u16,
    /// Get over FDCAN announces 13 commands, whatever follows (H74x V9.0).
    pub fd_miscounts: bool,
    /// Reads that start this soon after a write still show erased flash, in microseconds (reported of H723).
    pub stale_read_us: u32,
}
