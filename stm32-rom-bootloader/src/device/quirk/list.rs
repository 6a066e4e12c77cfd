//! Every known quirk, with its source, in the order in which a session meets them: erasing, writing and reading,
//! protection, starting, connecting; then what only people can mind.
//!
//! To add one: a row here, a line in `Traits::fold` if a session can do something about it, and a test in
//! `tests/suite/quirks.rs`.

use core::time::Duration;

use super::super::{BankOption, Family};
use super::{Products, Quirk, QuirkKind, Roms};

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
