//! STM32F405 and F407 (RM0090): clocks, pins, facts.

use super::{Clocks, erase_run};
use crate::board::{Can, ClockSource};
use crate::gpio;
use crate::regs::{Block, read_word};
use panel_protocol::node::{EraseRun, ResetCause};

/// DBGMCU_IDCODE's device ID (RM0090 38.6.1). Not read from the chip: revision A answers with another chip's.
pub(crate) const DEVICE_ID: u16 = 0x413;
pub(crate) const IDCODE: u32 = 0xE004_2000;
/// Unique device ID (RM0090 39.1).
pub(crate) const UID: u32 = 0x1FFF_7A10;
/// The word whose upper half is the flash size in KiB (RM0090 39.2).
const FLASH_SIZE: u32 = 0x1FFF_7A20;
/// Bytes programmed at once.
pub(crate) const UNIT: u32 = 4;
/// Times of one word at 32 bits parallelism, us (DS8626 table 40).
pub(crate) const PROGRAM_US: (u32, u32) = (16, 100);
/// Option bytes (RM0090 3.6.1).
pub(crate) const OPTION_AREA: (u32, u32) = (0x1FFF_C000, 0x1FFF_C010);
/// One-time programmable memory, without its lock bytes (RM0090 3.7).
pub(crate) const OTP: (u32, u32) = (0x1FFF_7800, 0x1FFF_7A00);
/// Start and end of RAM without CCM, which cannot hold code.
pub(crate) const RAM: (u32, u32) = (0x2000_0000, 0x2002_0000);

pub(crate) const USART1: u32 = 0x4001_1000;

pub(crate) const CAN_IRQ: u32 = if super::BOARD.can.instance == 2 { 64 } else { 20 };
pub(crate) const USART_IRQ: u32 = 37;
/// Vectors beside those of the system: CAN1 receive, USART1, CAN2 receive.
pub(crate) const IRQS: [usize; 3] = [20, 37, 64];

const RCC: Block = Block::at(0x4002_3800);
const CR: u32 = 0x00;
const CR_HSION: u32 = 1 << 0;
const CR_HSIRDY: u32 = 1 << 1;
const CR_HSEON: u32 = 1 << 16;
const CR_HSERDY: u32 = 1 << 17;
const CR_PLLON: u32 = 1 << 24;
const CR_PLLRDY: u32 = 1 << 25;
const PLLCFGR: u32 = 0x04;
const PLLCFGR_HSE: u32 = 1 << 22;
const CFGR: u32 = 0x08;
const CFGR_SWS: u32 = 0b11 << 2;
const AHB1RSTR: u32 = 0x10;
const APB1RSTR: u32 = 0x20;
const APB2RSTR: u32 = 0x24;
const AHB1ENR: u32 = 0x30;
const APB1ENR: u32 = 0x40;
const APB2ENR: u32 = 0x44;
const CSR: u32 = 0x74;
const CSR_RMVF: u32 = 1 << 24;
const CAN1EN: u32 = 1 << 25;
const CAN2EN: u32 = 1 << 26;
const USART1EN: u32 = 1 << 4;

const FLASH_ACR: Block = Block::at(0x4002_3C00);
const INTERNAL_HZ: u32 = 16_000_000;

/// Clock and peripherals as after a reset, whatever ran before.
pub(crate) fn calm() {
    RCC.set(CR, CR_HSION);
    RCC.wait(CR, CR_HSIRDY, CR_HSIRDY);
    RCC.write(CFGR, 0);
    RCC.wait(CFGR, CFGR_SWS, 0);
    RCC.clear(CR, CR_PLLON | CR_HSEON);
    FLASH_ACR.write(0, 0);
    RCC.pulse(AHB1RSTR, 0x1FF);
    RCC.pulse(APB1RSTR, CAN1EN | CAN2EN);
    RCC.pulse(APB2RSTR, USART1EN);
}

/// 16 MHz, or 168 MHz from the PLL.
pub(crate) const CLOCKS: Clocks = match super::BOARD.clock {
    ClockSource::Internal => Clocks { core: INTERNAL_HZ, can: INTERNAL_HZ, usart: INTERNAL_HZ },
    ClockSource::Crystal { .. } => Clocks { core: 168_000_000, can: 42_000_000, usart: 84_000_000 },
};

/// Starts the clock that the board file asks for; false if the PLL does not run.
pub(crate) fn start_clock() -> bool {
    let ClockSource::Crystal { mhz } = super::BOARD.clock else { return true };
    RCC.set(CR, CR_HSEON);
    // DS8626: a crystal starts within 2 ms; a broken one must not keep the board from its host.
    let (input, select) = if RCC.wait(CR, CR_HSERDY, CR_HSERDY) { (mhz, PLLCFGR_HSE) } else { (16, 0) };
    start_pll(select | 168 << 6 | input / 2, 5) // five wait states from 2.7 V (RM0090 table 10)
}

/// 160 MHz, which every supply voltage allows with seven wait states (RM0090 table 10), for the unpacking; a PLL that runs
/// already is left alone.
pub(crate) fn hurry() {
    if RCC.read(CR) & CR_PLLON == 0 {
        start_pll(160 << 6 | 16 / 2, 7);
    }
}

/// Takes the clock from the PLL: 2 MHz into it, times 168 or 160, divided by 2 (RM0090 7.3.2); Q = 7 gives 48 MHz.
fn start_pll(factors: u32, wait_states: u32) -> bool {
    RCC.write(PLLCFGR, 7 << 24 | factors);
    RCC.set(CR, CR_PLLON);
    if !RCC.wait(CR, CR_PLLRDY, CR_PLLRDY) {
        return false;
    }
    FLASH_ACR.write(0, wait_states);
    RCC.write(CFGR, 0b101 << 10 | 0b100 << 13 | 0b10); // APB1 / 4, APB2 / 2, PLL
    RCC.wait(CFGR, CFGR_SWS, 0b10 << 2)
}

/// Clocks of all ports, the CAN controllers and USART1 on.
pub(crate) fn power_peripherals() {
    RCC.set(AHB1ENR, 0x1FF);
    RCC.set(APB1ENR, CAN1EN | CAN2EN);
    RCC.set(APB2ENR, USART1EN);
    RCC.read(APB2ENR); // RM0090 7.3: the clock is there after a read back
}

/// The debug unit's identity is always there.
pub(crate) const fn clock_debug_unit(_: bool) {}

/// A port's registers.
pub(crate) const fn port(number: u32) -> Block {
    Block::at(0x4002_0000 + 0x400 * number)
}

/// The flags of the last reset; they are cleared, so that the next one's are its own.
pub(crate) fn take_reset_flags() -> u32 {
    let flags = RCC.read(CSR);
    RCC.set(CSR, CSR_RMVF);
    flags
}

/// The most telling of the flags (RM0090 7.3.21).
pub(crate) fn reset_cause(flags: u32) -> ResetCause {
    match flags >> 25 {
        f if f & 1 << 2 != 0 => ResetCause::PowerOn,
        f if f & 1 << 0 != 0 => ResetCause::BrownOut,
        f if f & (0b11 << 4) != 0 => ResetCause::Watchdog,
        f if f & 1 << 3 != 0 => ResetCause::Software,
        f if f & 1 << 1 != 0 => ResetCause::Pin,
        _ => ResetCause::PowerOn,
    }
}

/// Sectors (RM0090 table 5) with the times of DS8626 table 40 at 32 bits parallelism.
pub(crate) const ERASE_RUNS: [EraseRun; 3] = [
    erase_run(4, 16, 250_000, 500_000),
    erase_run(1, 64, 550_000, 1_100_000),
    erase_run(7, 128, 1_000_000, 2_000_000),
];

/// Chips with half the flash have fewer of the large sectors.
pub(crate) fn fit(last: &mut EraseRun) {
    if read_word(FLASH_SIZE).is_some_and(|word| word >> 16 == 512) {
        last.count = 3;
    }
}

/// Gives the CAN controller its pins.
pub(crate) fn connect_can(can: &Can) {
    gpio::alternate(can.rx, can.alternate, false);
    gpio::alternate(can.tx, can.alternate, true);
}

/// F4 has no error correction in its flash: no NMI comes from there.
pub(crate) const fn forgive_ecc_error() -> bool {
    false
}

/// A reset loads the option bytes here.
pub(crate) const fn reset_with_options() {}
