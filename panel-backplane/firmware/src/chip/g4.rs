//! STM32G431, G441, G474, G484 and their kin (RM0440): clocks, pins, facts.

use super::{Clocks, erase_run, flash_kib};
use crate::board::{Can, ClockSource};
use crate::regs::{Block, read_word};
use crate::{flash, gpio};
use panel_protocol::node::{EraseRun, ResetCause};

/// DBGMCU_IDCODE's device ID (RM0440 47.6.1).
pub(crate) const DEVICE_ID: u16 = if cfg!(feature = "g431") { 0x468 } else { 0x469 };
pub(crate) const IDCODE: u32 = 0xE004_2000;
/// Unique device ID (RM0440 48.1).
pub(crate) const UID: u32 = 0x1FFF_7590;
/// Flash size in KiB (RM0440 48.2).
const FLASH_SIZE: u32 = 0x1FFF_75E0;
/// Bytes programmed at once.
pub(crate) const UNIT: u32 = 8;
/// Times of a double word, us (DS12589 table 46, DS12288 table 50).
pub(crate) const PROGRAM_US: (u32, u32) = (82, 91);
/// Option bytes of the first bank (RM0440 3.4.1).
pub(crate) const OPTION_AREA: (u32, u32) = (0x1FFF_7800, 0x1FFF_7830);
/// One-time programmable memory (RM0440 3.3.1).
pub(crate) const OTP: (u32, u32) = (0x1FFF_7000, 0x1FFF_7400);
/// Start and end of RAM: SRAM1, SRAM2 and CCM follow each other (RM0440 2.4).
pub(crate) const RAM: (u32, u32) =
    (0x2000_0000, if cfg!(feature = "g431") { 0x2000_8000 } else { 0x2002_0000 });
/// Erase units of the first bank; G431 has one bank.
pub(crate) const PAGES_IN_BANK: u32 = 128;
/// The controller's number of the second bank's first page (RM0440 3.3.1).
pub(crate) const SECOND_BANK: u32 = 0;
pub(crate) const MESSAGE_RAM: u32 = 0x4000_A400;

pub(crate) const USART1: u32 = 0x4001_3800;

pub(crate) const CAN_IRQ: u32 = 21;
pub(crate) const USART_IRQ: u32 = 37;
/// Vectors beside those of the system: FDCAN1 line 0, USART1, none.
pub(crate) const IRQS: [usize; 3] = [21, 37, 38];

const RCC: Block = Block::at(0x4002_1000);
const CR: u32 = 0x00;
const CR_HSION: u32 = 1 << 8;
const CR_HSIRDY: u32 = 1 << 10;
const CR_HSEON: u32 = 1 << 16;
const CR_HSERDY: u32 = 1 << 17;
const CR_PLLON: u32 = 1 << 24;
const CR_PLLRDY: u32 = 1 << 25;
const CFGR: u32 = 0x08;
const CFGR_SWS: u32 = 0b11 << 2;
/// HPRE: half the clock for processor and buses.
const CFGR_HALF: u32 = 0b1000 << 4;
const PLLCFGR: u32 = 0x0C;
const AHB2RSTR: u32 = 0x2C;
const APB1RSTR1: u32 = 0x38;
const APB2RSTR: u32 = 0x40;
const AHB2ENR: u32 = 0x4C;
const APB1ENR1: u32 = 0x58;
const APB2ENR: u32 = 0x60;
const CCIPR: u32 = 0x88;
const CSR: u32 = 0x94;
const CSR_RMVF: u32 = 1 << 23;
const PORTS: u32 = 0x7F;
const FDCANEN: u32 = 1 << 25;
const USART1EN: u32 = 1 << 14;
/// FDCAN's clock is that of its bus.
const FDCANSEL: u32 = 0b11 << 24;
const FDCANSEL_PCLK1: u32 = 0b10 << 24;

const FLASH_ACR: Block = Block::at(0x4002_2000);
const INTERNAL_HZ: u32 = 16_000_000;
const PLL_HZ: u32 = 80_000_000;
/// Source of the PLL and divisor to 4 MHz: HSI16 / 4.
const INTERNAL: u32 = 3 << 4 | 0b10;

/// Clock and peripherals as after a reset, whatever ran before.
pub(crate) fn calm() {
    RCC.set(CR, CR_HSION);
    RCC.wait(CR, CR_HSIRDY, CR_HSIRDY);
    RCC.write(CFGR, 0b01); // HSI, nothing divided
    RCC.wait(CFGR, CFGR_SWS, 0b01 << 2);
    RCC.clear(CR, CR_PLLON | CR_HSEON);
    FLASH_ACR.replace(0, 0xF, 0);
    RCC.pulse(AHB2RSTR, PORTS);
    RCC.pulse(APB1RSTR1, FDCANEN);
    RCC.pulse(APB2RSTR, USART1EN);
}

/// 16 MHz, or 80 MHz from the PLL.
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
    start_pll(source, 40)
}

/// 148 MHz from the internal oscillator, for the unpacking; a PLL that runs already is left alone.
pub(crate) fn hurry() {
    if RCC.read(CR) & CR_PLLON == 0 {
        start_pll(INTERNAL, 74);
    }
}

/// Takes the clock from the PLL: 4 MHz into it, times `n`, R = 2 (RM0440 7.4.4). More than 80 MHz are reached with the bus
/// at half the clock first (7.2.7).
fn start_pll(source: u32, n: u32) -> bool {
    RCC.write(PLLCFGR, 1 << 24 | n << 8 | source);
    RCC.set(CR, CR_PLLON);
    if !RCC.wait(CR, CR_PLLRDY, CR_PLLRDY) {
        return false;
    }
    FLASH_ACR.replace(0, 0xF, 4); // four wait states, up to 150 MHz (RM0440 table 29)
    RCC.write(CFGR, CFGR_HALF | 0b11);
    let switched = RCC.wait(CFGR, CFGR_SWS, 0b11 << 2);
    (0..100).for_each(|_| crate::regs::barrier()); // 1 us and more
    RCC.write(CFGR, 0b11);
    switched
}

/// Clocks of all ports, FDCAN1 and USART1 on.
pub(crate) fn power_peripherals() {
    RCC.set(AHB2ENR, PORTS);
    RCC.set(APB1ENR1, FDCANEN);
    RCC.set(APB2ENR, USART1EN);
    RCC.replace(CCIPR, FDCANSEL, FDCANSEL_PCLK1);
    RCC.read(CCIPR); // the clocks are there after a read back
}

/// The debug unit's identity is always there.
pub(crate) const fn clock_debug_unit(_: bool) {}

/// A port's registers.
pub(crate) const fn port(number: u32) -> Block {
    Block::at(0x4800_0000 + 0x400 * number)
}

/// Gives the CAN controller its pins.
pub(crate) fn connect_can(can: &Can) {
    gpio::alternate(can.rx, can.alternate, false);
    gpio::alternate(can.tx, can.alternate, true);
}

/// The flags of the last reset; they are cleared, so that the next one's are its own.
pub(crate) fn take_reset_flags() -> u32 {
    let flags = RCC.read(CSR);
    RCC.set(CSR, CSR_RMVF);
    flags
}

/// The most telling of the flags (RM0440 7.4.27). Power-up and brown-out share one.
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

/// Pages of 2 KiB: 22 ms typically, 24.5 ms at most (DS12589 table 46, DS12288 table 50).
pub(crate) const ERASE_RUNS: [EraseRun; 1] = [erase_run(MOST_KIB / 2, 2, 22_020, 24_470)];
const MOST_KIB: u16 = if cfg!(feature = "g431") { 128 } else { 512 };

/// As many pages as the chip has; of 4 KiB on a G474 whose banks are joined (DBANK, RM0440 table 13).
pub(crate) fn fit(pages: &mut EraseRun) {
    pages.count = flash_kib(read_word(FLASH_SIZE), 32, MOST_KIB) / 2;
    if cfg!(feature = "g474") && flash::options_register() & 1 << 22 == 0 {
        (pages.count, pages.size) = (pages.count / 2, 2 * pages.size);
    }
}
