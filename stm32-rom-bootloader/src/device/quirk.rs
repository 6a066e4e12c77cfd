//! What single ROMs do differently, as data with its source.
//!
//! A [`Quirk`] names the products and ROM versions it concerns; [`Traits`] is all of them folded together for
//! one chip, and is what sessions and the planner look at. Where the ROM's version could not be read, quirks
//! that only cost time are assumed to be there; those that would forbid something are not.

mod list;

use core::time::Duration;

use super::{BankOption, Device, Family};

pub use list::QUIRKS;

/// What is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuirkKind {
    /// An erase command with more pages than this fails or hangs.
    PagesPerErase(u16),
    /// The ROM needs this long after the ACK of an erase command.
    SettleAfterErase(Duration),
    /// Mass erase is refused or unsound: erase pages.
    NoMassErase,
    /// Bank erase is refused or unsound: erase pages.
    NoBankErase,
    /// A mass or bank erase is acknowledged before it is finished: wait its datasheet time.
    EraseAnswersEarly,
    /// Writes must start and end on multiples of this many bytes, more than AN2606 asks for.
    WriteAlign(u16),
    /// Over FDCAN, writes shorter than this fail.
    FdCanShortestWrite(u16),
    /// Unique ID and flash size cannot be read through the ROM.
    UidUnreadable,
    /// Reads of the system area must cover a whole 256-byte block.
    WholeBlockReads,
    /// A refused Read or Write is answered by two NACKs.
    SecondNack,
    /// The chip resets itself after protection and option commands; all others wait for a reset.
    ResetsItself,
    /// New option bytes are loaded only by a power cycle, not by a reset.
    OptionsNeedPowerCycle,
    /// After its first programming the chip keeps entering the ROM until power is cycled.
    EmptyFlagUntilPowerCycle,
    /// The ROM clears the empty flag by itself.
    ClearsEmptyFlag,
    /// The first of Go's two ACKs does not come.
    GoWithoutFirstAck,
    /// Go does not work: reset into the application.
    GoBroken,
    /// Go starts the application with peripheral clocks off that a reset would leave on.
    GoLeavesClocksOff,
    /// Above this rate the USART does not connect.
    MaxBaud(u32),
    /// If connecting fails, go down to this rate.
    PreferBaud(u32),
    /// The first sync byte is ignored; the second is answered.
    TwoSyncBytes,
    /// A word written to 0xFFFF0000 tells the ROM the supply voltage, see [`super::SupplyVoltage`].
    VoltageRange,
    /// Write Unprotect over CAN does not work: write the option bytes.
    CanWriteUnprotectBroken,
    /// The number of commands in the FDCAN answer to Get is wrong.
    FdCanMiscountsCommands,
    /// A read just after a write may show the flash as it was.
    StaleReads,
    /// This option bit decides the size of a page.
    BankOption(BankOption),
    /// Nothing a program can do, but somebody should know.
    Advice(&'static str),
}

/// Products a quirk concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// All of them.
    All,
    /// Whole families.
    Families(&'static [Family]),
    /// By product ID.
    Ids(&'static [u16]),
}

impl QuirkKind {
    /// Whether it changes what a session over USART does to erase, write and read flash.
    pub(crate) const fn bears_on_flash(self) -> bool {
        match self {
            Self::SecondNack
            | Self::TwoSyncBytes
            | Self::FdCanShortestWrite(_)
            | Self::FdCanMiscountsCommands
            | Self::UidUnreadable
            | Self::GoWithoutFirstAck
            | Self::GoBroken
            | Self::GoLeavesClocksOff
            | Self::CanWriteUnprotectBroken
            | Self::Advice(_) => false,
            Self::PagesPerErase(_)
            | Self::SettleAfterErase(_)
            | Self::NoMassErase
            | Self::NoBankErase
            | Self::EraseAnswersEarly
            | Self::WriteAlign(_)
            | Self::WholeBlockReads
            | Self::ResetsItself
            | Self::OptionsNeedPowerCycle
            | Self::EmptyFlagUntilPowerCycle
            | Self::ClearsEmptyFlag
            | Self::MaxBaud(_)
            | Self::PreferBaud(_)
            | Self::VoltageRange
            | Self::StaleReads
            | Self::BankOption(_) => true,
        }
    }
}

/// ROM versions a quirk concerns, by bootloader ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roms {
    /// All of them.
    Any,
    /// These.
    Ids(&'static [u16]),
}

/// One difference, whom it concerns, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirk {
    /// What is different.
    pub kind: QuirkKind,
    /// Products.
    pub products: Products,
    /// ROM versions.
    pub roms: Roms,
    /// Where it is documented or was reported.
    pub source: &'static str,
}

impl Quirk {
    /// Whether the quirk concerns a chip; `bootloader_id` is `None` if it could not be read.
    #[must_use]
    pub fn applies(&self, family: Family, product_id: u16, bootloader_id: Option<u16>) -> bool {
        let rom = match (self.roms, bootloader_id) {
            (Roms::Any, _) => true,
            (Roms::Ids(ids), Some(id)) => ids.contains(&id),
            (Roms::Ids(_), None) => self.only_costs_time(),
        };
        rom && self.concerns(family, product_id)
    }

    /// Whether the quirk concerns some but not all ROM versions of a product.
    #[must_use]
    pub fn depends_on_version(&self, family: Family, product_id: u16) -> bool {
        self.roms != Roms::Any && self.concerns(family, product_id)
    }

    fn concerns(&self, family: Family, product_id: u16) -> bool {
        match self.products {
            Products::All => true,
            Products::Families(families) => families.contains(&family),
            Products::Ids(ids) => ids.contains(&product_id),
        }
    }

    fn only_costs_time(&self) -> bool {
        matches!(
            self.kind,
            QuirkKind::PagesPerErase(_)
                | QuirkKind::SettleAfterErase(_)
                | QuirkKind::NoBankErase
                | QuirkKind::EraseAnswersEarly
                | QuirkKind::FdCanShortestWrite(_)
                | QuirkKind::OptionsNeedPowerCycle
        )
    }
}

/// Everything [`QUIRKS`] says about one chip.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about a ROM, none excludes another")]
#[non_exhaustive]
pub struct Traits {
    /// Most pages in one erase command.
    pub pages_per_erase: u16,
    /// Pause after each erase command.
    pub settle_after_erase: Duration,
    /// Whether mass erase is sound.
    pub mass_erase: bool,
    /// Whether bank erase is sound.
    pub bank_erase: bool,
    /// Whether mass and bank erase are acknowledged too early.
    pub erase_answers_early: bool,
    /// What a write's address and length must be a multiple of.
    pub write_align: u32,
    /// Fewest bytes in a write over FDCAN.
    pub fdcan_shortest_write: u32,
    /// Whether unique ID and flash size can be read at all.
    pub uid_readable: bool,
    /// Whether the system area is read in whole blocks only.
    pub whole_block_reads: bool,
    /// Whether the chip resets itself after protection commands.
    pub resets_itself: bool,
    /// Whether new option bytes need a power cycle.
    pub options_need_power_cycle: bool,
    /// Whether the first programming must be followed by a power cycle.
    pub empty_flag_until_power_cycle: bool,
    /// Whether Go's first ACK may be missing.
    pub go_without_first_ack: bool,
    /// Whether Go works at all.
    pub go_works: bool,
    /// Highest usable USART rate, if there is a known one.
    pub max_baud: Option<u32>,
    /// Rate to fall back to.
    pub prefer_baud: Option<u32>,
    /// Whether the supply voltage can be told to the ROM.
    pub voltage_range: bool,
    /// Whether Write Unprotect works over CAN.
    pub can_write_unprotect: bool,
    /// Whether a mismatch just after writing deserves more patience.
    pub stale_reads: bool,
    /// The option bit that decides the size of a page.
    pub bank_option: Option<BankOption>,
}

impl Traits {
    /// A chip about which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        let mut traits = Self {
            pages_per_erase: u16::MAX,
            settle_after_erase: Duration::ZERO,
            mass_erase: true,
            bank_erase: true,
            erase_answers_early: false,
            write_align: 32,
            fdcan_shortest_write: 1,
            uid_readable: true,
            whole_block_reads: false,
            resets_itself: false,
            options_need_power_cycle: false,
            empty_flag_until_power_cycle: false,
            go_without_first_ack: false,
            go_works: true,
            max_baud: None,
            prefer_baud: None,
            voltage_range: false,
            can_write_unprotect: true,
            stale_reads: false,
            bank_option: None,
        };
        for quirk in QUIRKS.iter().filter(|quirk| quirk.products == Products::All) {
            traits.fold(quirk.kind);
        }
        traits
    }

    /// Everything that applies to `device` with this ROM version.
    #[must_use]
    pub fn of(device: &Device, bootloader_id: Option<u16>) -> Self {
        let mut traits = Self::unknown();
        traits.write_align = u32::from(device.write_align.unwrap_or(32));
        for quirk in device.quirks(bootloader_id) {
            traits.fold(quirk.kind);
        }
        let clears_flag = device.quirks(bootloader_id).any(|quirk| quirk.kind == QuirkKind::ClearsEmptyFlag);
        traits.empty_flag_until_power_cycle &= !clears_flag;
        traits
    }

    fn fold(&mut self, kind: QuirkKind) {
        match kind {
            QuirkKind::PagesPerErase(pages) => self.pages_per_erase = self.pages_per_erase.min(pages),
            QuirkKind::SettleAfterErase(pause) => {
                self.settle_after_erase = self.settle_after_erase.max(pause)
            }
            QuirkKind::NoMassErase => self.mass_erase = false,
            QuirkKind::NoBankErase => self.bank_erase = false,
            QuirkKind::EraseAnswersEarly => self.erase_answers_early = true,
            QuirkKind::WriteAlign(bytes) => self.write_align = self.write_align.max(bytes.into()),
            QuirkKind::FdCanShortestWrite(bytes) => self.fdcan_shortest_write = bytes.into(),
            QuirkKind::UidUnreadable => self.uid_readable = false,
            QuirkKind::WholeBlockReads => self.whole_block_reads = true,
            QuirkKind::ResetsItself => self.resets_itself = true,
            QuirkKind::OptionsNeedPowerCycle => self.options_need_power_cycle = true,
            QuirkKind::EmptyFlagUntilPowerCycle => self.empty_flag_until_power_cycle = true,
            QuirkKind::GoWithoutFirstAck => self.go_without_first_ack = true,
            QuirkKind::GoBroken => self.go_works = false,
            QuirkKind::MaxBaud(baud) => self.max_baud = Some(baud),
            QuirkKind::PreferBaud(baud) => self.prefer_baud = Some(baud),
            QuirkKind::VoltageRange => self.voltage_range = true,
            QuirkKind::CanWriteUnprotectBroken => self.can_write_unprotect = false,
            QuirkKind::StaleReads => self.stale_reads = true,
            QuirkKind::BankOption(option) => self.bank_option = Some(option),
            // Sessions do without: connecting repeats the sync byte, a refusal is followed by a pause for a second
            // one, FDCAN command lists are read to their ACK. The rest is for people.
            QuirkKind::TwoSyncBytes
            | QuirkKind::FdCanMiscountsCommands
            | QuirkKind::SecondNack
            | QuirkKind::ClearsEmptyFlag
            | QuirkKind::GoLeavesClocksOff
            | QuirkKind::Advice(_) => {}
        }
    }
}
