//! What single ROMs do differently, as data with its source.
//!
//! A [`Quirk`] names the products and ROM versions it concerns; [`Traits`] is all of them folded together for
//! one chip, and is what sessions and the planner look at. Where the ROM's version could not be read, quirks
//! that only cost time are assumed to be there; those that would forbid something are not.

use core::time::Duration;

use super::{BankOption, Device, Family};

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

const ANY: Roms = Roms::Any;

const fn quirk(kind: QuirkKind, products: Products, roms: Roms, source: &'static str) -> Quirk {
    Quirk { kind, products, roms, source }
}

const fn product(kind: QuirkKind, ids: &'static [u16], roms: Roms, source: &'static str) -> Quirk {
    quirk(kind, Products::Ids(ids), roms, source)
}

const fn family(kind: QuirkKind, families: &'static [Family], source: &'static str) -> Quirk {
    quirk(kind, Products::Families(families), ANY, source)
}

/// Every known quirk.
pub static QUIRKS: &[Quirk] = &[
    quirk(
        QuirkKind::PagesPerErase(100),
        Products::All,
        ANY,
        "no figure in AN3155; stm32flash tickets 140 and 157: 154 pages work on F103 XL, 155 hang; \
         STM32CubeProgrammer sends 100",
    ),
    // Erase.
    product(
        QuirkKind::PagesPerErase(1),
        &[0x460],
        Roms::Ids(&[0xB3]),
        "AN2606, STM32G07xxx/08xxx V11.3: erasing several sectors in one command fails",
    ),
    product(
        QuirkKind::SettleAfterErase(Duration::from_millis(40)),
        &[0x460],
        Roms::Ids(&[0xB3]),
        "AN2606, STM32G07xxx/08xxx V11.3: wait 40 ms after each erase command",
    ),
    product(
        QuirkKind::PagesPerErase(1),
        &[0x467],
        Roms::Ids(&[0xD0, 0x92]),
        "AN2606, STM32G0B0 V13.0 and STM32G0B1/0C1 V9.2: multi-page erase fails in bank 2",
    ),
    family(
        QuirkKind::NoMassErase,
        &[Family::L0, Family::L1],
        "stm32flash dev_table (F_NO_ME) on L0 and L1; community.st.com td-p/228962: L041 refuses 0xFFFF",
    ),
    product(
        QuirkKind::NoBankErase,
        &[0x450],
        Roms::Ids(&[0xD3]),
        "AN2606, STM32H74xxx/75xxx V13.3: bank erase",
    ),
    product(
        QuirkKind::EraseAnswersEarly,
        &[0x450],
        Roms::Ids(&[0x91]),
        "AN2606, STM32H74xxx/75xxx V9.1: bank 2 erase is acknowledged early",
    ),
    product(
        QuirkKind::NoBankErase,
        &[0x461],
        Roms::Ids(&[0x93]),
        "AN2606, STM32L496xx/4A6xx V9.3: bank erase NACKs",
    ),
    // Write and read.
    family(
        QuirkKind::WriteAlign(8),
        &[Family::G0],
        "AN2606 asks for 4, but the flash programs double words (RM0444)",
    ),
    product(
        QuirkKind::WriteAlign(32),
        &[0x450, 0x483],
        ANY,
        "AN2606 asks for 8, but the flash programs 32-byte words (RM0433, RM0468)",
    ),
    product(
        QuirkKind::WriteAlign(16),
        &[0x480],
        ANY,
        "AN2606 asks for 8, but the flash programs 16-byte words (RM0455)",
    ),
    product(
        QuirkKind::FdCanShortestWrite(64),
        &[0x450],
        Roms::Ids(&[0x90]),
        "AN2606, STM32H74xxx/75xxx V9.0: FDCAN writes of 63 bytes and less fail",
    ),
    product(
        QuirkKind::StaleReads,
        &[0x483],
        ANY,
        "community.st.com td-p/115022: H723 reads 0xFF just after a write",
    ),
    family(
        QuirkKind::WholeBlockReads,
        &[Family::F4, Family::L0],
        "stm32loader pull request 25: short reads of the unique ID are refused, whole blocks work",
    ),
    product(
        QuirkKind::UidUnreadable,
        &[0x468],
        Roms::Ids(&[0xD3]),
        "AN2606, STM32G431xx/441xx V13.3: engineering bytes are not readable",
    ),
    product(
        QuirkKind::UidUnreadable,
        &[0x466],
        Roms::Ids(&[0x50, 0x51, 0x52, 0x53]),
        "AN2606, STM32G03xxx/04xxx: engineering bytes are readable from V5.4 on",
    ),
    product(
        QuirkKind::SecondNack,
        &[0x411, 0x413],
        Roms::Ids(&[0x31, 0x33]),
        "AN2606, STM32F2 V3.3 and STM32F40x V3.1: Read and Write under RDP level 1 answer two NACKs",
    ),
    family(
        QuirkKind::VoltageRange,
        &[Family::F2, Family::F4, Family::F7],
        "AN2606, STM32F2/F4/F7 remarks: write to virtual address 0xFFFF0000",
    ),
    // Protection, options, resets.
    family(
        QuirkKind::ResetsItself,
        &[Family::F0, Family::F2, Family::F4, Family::F7],
        "AN3155, sections on (un)protect commands: system reset by the ROM",
    ),
    product(
        QuirkKind::ResetsItself,
        &[0x464, 0x435, 0x462],
        ANY,
        "AN3155: L412/422, L43x/44x and L45x/46x are reset by the ROM",
    ),
    product(
        QuirkKind::OptionsNeedPowerCycle,
        &[0x460],
        Roms::Ids(&[0xB2]),
        "AN2606, STM32G07xxx/08xxx V11.2: no option byte launch over USART",
    ),
    family(
        QuirkKind::EmptyFlagUntilPowerCycle,
        &[Family::G0, Family::C0],
        "RM0444 and RM0490, empty check: evaluated at power-on and option byte loading only",
    ),
    product(
        QuirkKind::EmptyFlagUntilPowerCycle,
        &[0x435, 0x462, 0x461],
        ANY,
        "stm32flash ticket 180 (L43x), dev_table F_PEMPTY (L45x); AN2606 pattern 6 (L49x)",
    ),
    product(
        QuirkKind::EmptyFlagUntilPowerCycle,
        &[0x442],
        Roms::Ids(&[0x52]),
        "stm32flash dev_table F_OBLL: F030xC wants an option byte launch",
    ),
    product(QuirkKind::ClearsEmptyFlag, &[0x460], Roms::Ids(&[0xB3]), "AN2606, STM32G07xxx/08xxx V11.3"),
    product(
        QuirkKind::ClearsEmptyFlag,
        &[0x467],
        Roms::Ids(&[0xD0, 0x92]),
        "AN2606, STM32G0B0 V13.0 and STM32G0B1/0C1 V9.2",
    ),
    product(
        QuirkKind::CanWriteUnprotectBroken,
        &[0x411, 0x413],
        Roms::Ids(&[0x31, 0x33]),
        "AN2606, STM32F2 V3.3 and STM32F40x V3.1: CAN Write Unprotect does not work",
    ),
    // Go.
    product(
        QuirkKind::GoWithoutFirstAck,
        &[0x450],
        Roms::Ids(&[0x90]),
        "AN2606, STM32H74xxx/75xxx V9.0: the first ACK of Go is missing",
    ),
    product(
        QuirkKind::GoBroken,
        &[0x450],
        Roms::Ids(&[0xD2]),
        "AN2606, STM32H74xxx/75xxx V13.2: Go does not work",
    ),
    family(
        QuirkKind::GoLeavesClocksOff,
        &[Family::F4],
        "AN2606, STM32F4 remarks: AHB1ENR is 0 after Go, so CCM RAM is off at start-up",
    ),
    // Connecting.
    product(
        QuirkKind::MaxBaud(57_600),
        &[0x432],
        Roms::Ids(&[0x50]),
        "AN2606, STM32F378xx: limited to 57600 baud",
    ),
    product(
        QuirkKind::PreferBaud(57_600),
        &[0x449, 0x451, 0x452],
        ANY,
        "AN2606, STM32F74xxx/F76xxx: 115200 baud may fail to connect",
    ),
    product(
        QuirkKind::TwoSyncBytes,
        &[0x450],
        ANY,
        "AN2606, STM32H74xxx/75xxx on PB14/PB15: two 0x7F bytes, at most 115200 baud",
    ),
    product(
        QuirkKind::FdCanMiscountsCommands,
        &[0x450],
        Roms::Ids(&[0x90]),
        "AN2606, STM32H74xxx/75xxx V9.0: Get over FDCAN says 13 instead of 11",
    ),
    // Page size by option bit.
    product(bank_option(0x1FFF_7800, 22, true, "RM0440, FLASH_OPTR.DBANK"), &[0x469], ANY, "RM0440, DBANK"),
    product(
        bank_option(0x1FF0_0000, 22, true, "RM0432, FLASH_OPTR.DBANK"),
        &[0x470, 0x471],
        ANY,
        "RM0432, DBANK",
    ),
    product(bank_option(0x4002_2040, 22, true, "RM0438, FLASH_OPTR.DBANK"), &[0x472], ANY, "RM0438, DBANK"),
    product(
        bank_option(0x1FFF_0008, 13, false, "RM0410, option bytes, nDBANK"),
        &[0x451],
        ANY,
        "RM0410, nDBANK",
    ),
    // For people.
    product(
        QuirkKind::Advice("PA3 low hangs this ROM: hold the pin high while connecting"),
        &[0x466],
        Roms::Ids(&[0x51, 0x52]),
        "AN2606, STM32G03xxx/04xxx V5.1 and V5.2",
    ),
    product(
        QuirkKind::Advice(
            "PB15 low blocks this ROM; a started application's stack must end below RAM end - 16",
        ),
        &[0x450],
        ANY,
        "AN2606, STM32H74xxx/75xxx",
    ),
    product(
        QuirkKind::Advice(
            "in 64-pin packages with a date code below 937 the ROM is unusable; PA9 high delays its start",
        ),
        &[0x418],
        ANY,
        "AN2606, STM32F105xx/107xx",
    ),
    product(
        QuirkKind::Advice("erase goes wrong if nDBANK was changed without a reset"),
        &[0x451],
        ANY,
        "AN2606, STM32F76xxx/77xxx",
    ),
    product(
        QuirkKind::Advice("writing may fail where PCROP is active"),
        &[0x415],
        ANY,
        "AN2606, STM32L47xxx/48xxx",
    ),
    product(
        QuirkKind::Advice("Go disables the debug port"),
        &[0x467],
        Roms::Ids(&[0x92]),
        "AN2606, STM32G0B1/0C1 V9.2",
    ),
    family(
        QuirkKind::Advice(
            "BOOT0 is ignored by default (nBOOT0_SEL = 1): the ROM starts only while the flash is empty; \
             BOOT_LOCK closes it altogether",
        ),
        &[Family::G0, Family::C0],
        "AN2606, pattern 11",
    ),
];

const fn bank_option(address: u32, bit: u32, set_is_dual: bool, source: &'static str) -> QuirkKind {
    QuirkKind::BankOption(BankOption { address, mask: 1 << bit, set_is_dual, source })
}
