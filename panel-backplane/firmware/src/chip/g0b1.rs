//! STM32G0B1 and G0C1 (RM0444): clocks, pins, facts.

use super::{Clocks, erase_run, flash_kib};
use crate::board::{Can, ClockSource};
use crate::regs::{Block, read_word};
use crate::{flash, gpio};
use panel_protocol::node::{EraseRun, ResetCause};

/// DBG_IDCODE's device ID (RM0444 40.10.1).
pub(crate) const DEVICE_ID: u16 = 0x467;
pub(crate) const IDCODE: u32 = 0x4001_5800;
/// Unique device ID (RM0444 41.1).
pub(crate) const UID: u32 = 0x1FFF_7590;
/// Flash size in KiB (RM0444 41.2).
const FLASH_SIZE: u32 = 0x1FFF_75E0;
/// Bytes programmed at once.
pub(crate) const UNIT: u32 = 8;
/// Times of a double word, us (DS13560 table 45).
pub(crate) const PROGRAM_US: (u32, u32) = (85, 125);
/// Option bytes (RM0444 3.4.1).
pub(crate) const OPTION_AREA: (u32, u32) = (0x1FFF_7800, 0x1FFF_7880);
/// One-time programmable memory (RM0444 3.3.1).
pub(crate) const OTP: (u32, u32) = (0x1FFF_7000, 0x1FFF_7400);
/// Start and end of RAM.
pub(crate) const RAM: (u32, u32) = (0x2000_0000, 0x2002_4000);
/// Erase units of the first bank.
pub(crate) const PAGES_IN_BANK: u32 = 128;
/// The controller's number of the second bank's first page (RM0444 3.3.1).
pub(crate) const SECOND_BANK: u32 = 256;
pub(crate) const MESSAGE_RAM: u32 = 0x4000_B400;

pub(crate) const USART1: u32 = 0x4001_3800;

pub(crate) const CAN_IRQ: u32 = 21;
pub(crate) const USART_IRQ: u32 = 27;
/// Vectors beside those of the system: TIM16 with FDCAN line 0, USART1, none.
pub(crate) const IRQS: [usize; 3] = [21, 27, 28];

const RCC: Block = Block::at(0x4002_1000);
const CR: u32 = 0x00;
const CR_HSION: u32 = 1 << 8;
const CR_HSIRDY: u32 = 1 << 10;
const CR_HSIDIV: u32 = 0b111 << 11;
const CR_HSEON: u32 = 1 << 16;
const CR_HSERDY: u32 = 1 << 17;
const CR_PLLON: u32 = 1 << 24;
const CR_PLLRDY: u32 = 1 << 25;
const CFGR: u32 = 0x08;
const CFGR_SWS: u32 = 0b111 << 3;
const PLLCFGR: u32 = 0x0C;
const IOPRSTR: u32 = 0x24;
const APBRSTR1: u32 = 0x2C;
const APBRSTR2: u32 = 0x30;
const IOPENR: u32 = 0x34;
const APBENR1: u32 = 0x3C;
const APBENR2: u32 = 0x40;
const CSR2: u32 = 0x60;
const CSR2_RMVF: u32 = 1 << 23;
const PORTS: u32 = 0x3F;
const FDCANEN: u32 = 1 << 12;
const DBGEN: u32 = 1 << 27;
const USART1EN: u32 = 1 << 14;

const FLASH_ACR: Block = Block::at(0x4002_2000);
const INTERNAL_HZ: u32 = 16_000_000;
const PLL_HZ: u32 = 40_000_000;
/// Source of the PLL and divisor to 4 MHz: HSI16 / 4.
const INTERNAL: u32 = 3 << 4 | 0b10;

/// Clock and peripherals as after a reset, whatever ran before.
pub(crate) fn calm() {
    RCC.set(CR, CR_HSION);
    RCC.wait(CR, CR_HSIRDY, CR_HSIRDY);
    RCC.clear(CR, CR_HSIDIV);
    RCC.write(CFGR, 0);
    RCC.wait(CFGR, CFGR_SWS, 0);
    RCC.clear(CR, CR_PLLON | CR_HSEON);
    FLASH_ACR.replace(0, 0b111, 0);
    RCC.pulse(IOPRSTR, PORTS);
    RCC.pulse(APBRSTR1, FDCANEN);
    RCC.pulse(APBRSTR2, USART1EN);
}

/// 16 MHz, or 40 MHz from the PLL: with 64 MHz FD's usual 5 Mbit/s could not be made.
pub(crate) const CLOCKS: Clocks = match super::BOARD.clock {
    ClockSource::Internal => Clocks { core: INTERNAL_HZ, can: INTERNAL_HZ, usart: INTERNAL_HZ },
    ClockSource::Crystal { .. } => Clocks { core: PLL_HZ, can: PLL_HZ, usart: PLL_HZ },
};

/// Starts the clock that the board file asks for; false if the PLL does not run.
pub(crate) fn start_clock() -> bool {
    let ClockSource::Crystal { mhz } = super::BOARD.clock else { return true };
    RCC.set(CR, CR_HSEON);
    // A crystal starts within 2 ms; a broken one must not keep the board from its host.
    let source = if RCC.wait(CR, CR_HSERDY, CR_HSERDY) { (mhz / 4 - 1) << 4 | 0b11 } else { INTERNAL };
    start_pll(source, 40, 4)
}

/// 64 MHz from the internal oscillator, for the unpacking; a PLL that runs already is left alone.
pub(crate) fn hurry() {
    if RCC.read(CR) & CR_PLLON == 0 {
        start_pll(INTERNAL, 32, 2);
    }
}

/// Takes the clock from the PLL: 4 MHz into it, times `n`, divided by `r` (RM0444 5.4.4).
fn start_pll(source: u32, n: u32, r: u32) -> bool {
    RCC.write(PLLCFGR, (r - 1) << 29 | 1 << 28 | n << 8 | source);
    RCC.set(CR, CR_PLLON);
    if !RCC.wait(CR, CR_PLLRDY, CR_PLLRDY) {
        return false;
    }
    FLASH_ACR.replace(0, 0b111, 2); // two wait states (RM0444 table 13)
    RCC.write(CFGR, 0b010);
    RCC.wait(CFGR, CFGR_SWS, 0b010 << 3)
}

/// Clocks of all ports, FDCAN and USART1 on. FDCAN's clock is that of its bus after a reset.
pub(crate) fn power_peripherals() {
    RCC.set(IOPENR, PORTS);
    RCC.set(APBENR1, FDCANEN);
    RCC.set(APBENR2, USART1EN);
    RCC.read(APBENR2); // the clocks are there after a read back
}

/// The debug unit, which says what the chip is, has a clock gate (RM0444 5.4.15). The application finds it closed.
pub(crate) fn clock_debug_unit(on: bool) {
    if on {
        RCC.set(APBENR1, DBGEN);
        RCC.read(APBENR1); // the clock is there after a read back
    } else {
        RCC.clear(APBENR1, DBGEN);
    }
}

/// A port's registers.
pub(crate) const fn port(number: u32) -> Block {
    Block::at(0x5000_0000 + 0x400 * number)
}

/// Gives the CAN controller its pins.
pub(crate) fn connect_can(can: &Can) {
    gpio::alternate(can.rx, can.alternate, false);
    gpio::alternate(can.tx, can.alternate, true);
}

/// The flags of the last reset; they are cleared, so that the next one's are its own.
pub(crate) fn take_reset_flags() -> u32 {
    let flags = RCC.read(CSR2);
    RCC.set(CSR2, CSR2_RMVF);
    flags
}

/// The most telling of the flags (RM0444 5.4.25). Power-up and brown-out share one.
pub(crate) fn reset_cause(flags: u32) -> ResetCause {
    match flags >> 25 {
        f if f & 1 << 2 != 0 => ResetCause::PowerOn,
        f if f & (0b11 << 4) != 0 => ResetCause::Watchdog,
        f if f & 0b1001 != 0 => ResetCause::Software,
        f if f & 1 << 1 != 0 => ResetCause::Pin,
        _ => ResetCause::PowerOn,
    }
}

/// Loads the option bytes, which resets the chip.
pub(crate) fn reset_with_options() {
    flash::launch_options();
}

pub(crate) use flash::forgive_ecc_error;

/// Pages of 2 KiB: 22 ms typically, 40 ms at most (DS13560 table 45).
pub(crate) const ERASE_RUNS: [EraseRun; 1] = [erase_run(256, 2, 22_000, 40_000)];

/// As many pages as the chip has.
pub(crate) fn fit(pages: &mut EraseRun) {
    pages.count = flash_kib(read_word(FLASH_SIZE), 128, 512) / 2;
}
