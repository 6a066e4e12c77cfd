//! What one chip of the two families has in other places than its relatives: STM32G431 and G474 (RM0440; DS12589 and DS12288,
//! tables of alternate functions), STM32G0B1 (RM0444; DS13560).
//!
//! Times of the flash are the typical ones of the datasheets' tables "Flash memory characteristics".

use super::flash::Geometry;
use super::options::{Mismatch, OptionRegister};
use super::rcc::Family;
use crate::gpio::Gpio;

/// A pin: port (0 is A), number, and the alternate function that leads to the cell.
pub(super) type Pin = (usize, u32, u32);
/// A clock gate: which enable register of the RCC, and which bit.
pub(super) type Gate = (usize, u32);

/// A USART, with its place in CCIPR if it can choose its clock there.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) base: u32,
    pub(super) gate: Gate,
    pub(super) irq: u8,
    /// Lowest bit of its clock's field in CCIPR, and whether its bus is the second.
    pub(super) select: u32,
    pub(super) second_bus: bool,
    pub(super) receivers: &'static [Pin],
    pub(super) transmitters: &'static [Pin],
}

/// A chip.
#[derive(Debug)]
pub(crate) struct Model {
    pub(super) family: Family,
    /// The debug unit's identity: address, value, and the gate where it needs one.
    pub(super) idcode: (u32, u32, Option<Gate>),
    /// First port, number of ports, and the enable register whose bits they are.
    pub(super) gpio: (u32, u32, usize),
    /// Modes of ports A, B and all others after reset.
    pub(super) fresh: [Gpio; 3],
    pub(super) can_gate: Gate,
    pub(super) can_irqs: [u8; 2],
    pub(super) message_ram: u32,
    pub(super) can_rx: &'static [Pin],
    pub(super) can_tx: &'static [Pin],
    pub(super) usarts: &'static [Port],
    pub(super) pwr_gate: Gate,
    pub(crate) flash: Geometry,
}

/// Enable registers: G4 has AHB1, AHB2, AHB3, -, APB1 (two), APB2; G0 has the ports', AHB, APB1, APB2.
const G4_AHB2: usize = 1;
const G4_APB1: usize = 4;
const G4_APB2: usize = 6;
const G0_PORTS: usize = 0;
const G0_APB1: usize = 2;
const G0_APB2: usize = 3;

/// The debug port's pins are not analog after reset (RM0440 9.4, RM0444 7.4).
const G4_FRESH: [Gpio; 3] = [
    Gpio::new(0xABFF_FFFF, 0x0C00_0000, 0x6400_0000),
    Gpio::new(0xFFFF_FEBF, 0x0000_00C0, 0x0000_0100),
    Gpio::new(0xFFFF_FFFF, 0, 0),
];
const G0_FRESH: [Gpio; 3] = [
    Gpio::new(0xEBFF_FFFF, 0x0C00_0000, 0x2400_0000),
    Gpio::new(0xFFFF_FFFF, 0, 0),
    Gpio::new(0xFFFF_FFFF, 0, 0),
];

const G4_USARTS: &[Port] = &[
    Port {
        base: 0x4001_3800,
        gate: (G4_APB2, 14),
        irq: 37,
        select: 0,
        second_bus: true,
        receivers: &[(0, 10, 7), (1, 7, 7), (2, 5, 7), (4, 1, 7)],
        transmitters: &[(0, 9, 7), (1, 6, 7), (2, 4, 7), (4, 0, 7)],
    },
    Port {
        base: 0x4000_4400,
        gate: (G4_APB1, 17),
        irq: 38,
        select: 2,
        second_bus: false,
        receivers: &[(0, 3, 7), (0, 15, 7), (1, 4, 7), (3, 6, 7)],
        transmitters: &[(0, 2, 7), (0, 14, 7), (1, 3, 7), (3, 5, 7)],
    },
    Port {
        base: 0x4000_4800,
        gate: (G4_APB1, 18),
        irq: 39,
        select: 4,
        second_bus: false,
        receivers: &[(1, 8, 7), (1, 11, 7), (2, 11, 7), (3, 9, 7)],
        transmitters: &[(1, 9, 7), (1, 10, 7), (2, 10, 7), (3, 8, 7)],
    },
];

/// A mismatch protects from readout (level 1), has the lowest brown-out level, and sets every other user option.
const OPTR_MISMATCH: Mismatch = Mismatch::Word(0xFFFF_F8FF);
/// It leaves nothing protected from writing, all of the flash execute-only, and the boot from flash forced (BOOT_LOCK).
const G4_WRP: (u32, Mismatch) = (0xFF80_FFFF, Mismatch::Word(0xFF80_FFFF));
const G4_PCROP_START: (u32, Mismatch) = (0xFFFF_FFFF, Mismatch::Hides(0));
const G4_PCROP_END: (u32, Mismatch) = (0x7FFF_0000, Mismatch::Hides(0xFFFF_FFFF));
const G0_WRP: (u32, Mismatch) = (0x0000_007F, Mismatch::Word(0x0000_007F));
const G0_PCROP_START: (u32, Mismatch) = (0x0000_01FF, Mismatch::Hides(0));
const G0_PCROP_END: (u32, Mismatch) = (0, Mismatch::Hides(0x8000_01FF));
const SECURE: (u32, Mismatch) = (0, Mismatch::Word(1 << 16));

const fn option(offset: u32, (delivered, mismatch): (u32, Mismatch)) -> OptionRegister {
    (offset, delivered, mismatch)
}

/// OPTR, PCROP1SR, PCROP1ER, WRP1AR, WRP1BR, SEC1R as delivered: nothing protected, areas empty.
const G4_OPTIONS: [OptionRegister; 6] = [
    option(0x20, (0xFFEF_F8AA, OPTR_MISMATCH)),
    option(0x24, G4_PCROP_START),
    option(0x28, G4_PCROP_END),
    option(0x2C, G4_WRP),
    option(0x30, G4_WRP),
    option(0x70, SECURE),
];
/// And the second bank's: PCROP2SR, PCROP2ER, WRP2AR, WRP2BR, SEC2R.
const G474_OPTIONS: &[OptionRegister] = &[
    G4_OPTIONS[0],
    G4_OPTIONS[1],
    G4_OPTIONS[2],
    G4_OPTIONS[3],
    G4_OPTIONS[4],
    G4_OPTIONS[5],
    option(0x44, G4_PCROP_START),
    option(0x48, G4_PCROP_END),
    option(0x4C, G4_WRP),
    option(0x50, G4_WRP),
    option(0x74, (0, Mismatch::Word(0))),
];
/// OPTR, PCROP1ASR and 1AER, WRP1AR and 1BR, PCROP1BSR and 1BER, the same of the second bank, SECR.
const G0B1_OPTIONS: &[OptionRegister] = &[
    option(0x20, (0xFFFF_FEAA, OPTR_MISMATCH)),
    option(0x24, G0_PCROP_START),
    option(0x28, G0_PCROP_END),
    option(0x2C, G0_WRP),
    option(0x30, G0_WRP),
    option(0x34, G0_PCROP_START),
    option(0x38, G0_PCROP_END),
    option(0x44, G0_PCROP_START),
    option(0x48, G0_PCROP_END),
    option(0x4C, G0_WRP),
    option(0x50, G0_WRP),
    option(0x54, G0_PCROP_START),
    option(0x58, G0_PCROP_END),
    option(0x80, SECURE),
];

const G4_FLASH: Geometry = Geometry {
    bank: 128 * 1024,
    banks: 1,
    bker: 1 << 11,
    second: 0,
    pnb: 0x7F << 3,
    busy: [1 << 16; 2],
    own_ecc: false,
    erase_ns: 22_020_000,
    program_ns: 81_690,
    options: &G4_OPTIONS,
    protects: [[3, 4]; 2],
};

const G4: Model = Model {
    family: Family::G4,
    // Category 2, revision X (RM0440 47.6.1).
    idcode: (0xE004_2000, 0x2003_0468, None),
    gpio: (0x4800_0000, 7, G4_AHB2),
    fresh: G4_FRESH,
    can_gate: (G4_APB1, 25),
    can_irqs: [21, 22],
    message_ram: 0x4000_A400,
    can_rx: &[(0, 11, 9), (1, 8, 9), (3, 0, 9)],
    can_tx: &[(0, 12, 9), (1, 9, 9), (3, 1, 9)],
    usarts: G4_USARTS,
    pwr_gate: (G4_APB1, 28),
    flash: G4_FLASH,
};

/// STM32G431: 128 KiB in one bank.
pub(crate) static G431: Model = G4;

/// STM32G474: 512 KiB in two banks, as delivered (DBANK = 1).
pub(crate) static G474: Model = Model {
    // Category 3, revision X.
    idcode: (0xE004_2000, 0x2003_0469, None),
    flash: Geometry {
        bank: 256 * 1024,
        banks: 2,
        options: G474_OPTIONS,
        protects: [[3, 4], [8, 9]],
        ..G4_FLASH
    },
    ..G4
};

/// STM32G0B1: 512 KiB in two banks, as delivered (DUAL_BANK = 1); the second bank's pages begin with number 256 (RM0444
/// 3.3.1).
pub(crate) static G0B1: Model = Model {
    family: Family::G0,
    // Revision Z (RM0444 40.10.1). The debug unit has a clock gate, DBGEN.
    idcode: (0x4001_5800, 0x1001_0467, Some((G0_APB1, 27))),
    gpio: (0x5000_0000, 6, G0_PORTS),
    fresh: G0_FRESH,
    can_gate: (G0_APB1, 12),
    // Shared with TIM16 and TIM17 (RM0444 table 60).
    can_irqs: [21, 22],
    message_ram: 0x4000_B400,
    can_rx: &[(0, 11, 9), (1, 8, 3), (3, 0, 3)],
    can_tx: &[(0, 12, 9), (1, 9, 3), (3, 1, 3)],
    usarts: &[
        Port {
            base: 0x4001_3800,
            gate: (G0_APB2, 14),
            irq: 27,
            select: 0,
            second_bus: true,
            receivers: &[(0, 10, 1), (1, 7, 0), (2, 5, 1)],
            transmitters: &[(0, 9, 1), (1, 6, 0), (2, 4, 1)],
        },
        Port {
            base: 0x4000_4400,
            gate: (G0_APB1, 17),
            irq: 28,
            select: 2,
            second_bus: false,
            receivers: &[(0, 3, 1), (0, 15, 1), (3, 6, 0)],
            transmitters: &[(0, 2, 1), (0, 14, 1), (3, 5, 0)],
        },
    ],
    pwr_gate: (G0_APB1, 28),
    flash: Geometry {
        bank: 256 * 1024,
        banks: 2,
        bker: 1 << 13,
        second: 256,
        pnb: 0x3FF << 3,
        // BSY1 or BSY2, and CFGBSY.
        busy: [0b101 << 16, 0b110 << 16],
        own_ecc: true,
        erase_ns: 22_000_000,
        program_ns: 85_000,
        options: G0B1_OPTIONS,
        protects: [[3, 4], [9, 10]],
    },
};
