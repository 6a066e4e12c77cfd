//! STM32F103xC, xD and xE (RM0008): clocks, pins, facts. Smaller ones have too little RAM for the program.

use super::{Clocks, erase_run, flash_kib};
use crate::board::{Can, ClockSource};
use crate::gpio;
use crate::regs::{Block, read_word};
use panel_protocol::node::{EraseRun, ResetCause};

/// DBGMCU_IDCODE's device ID of high-density parts (RM0008 31.6.1).
pub(crate) const DEVICE_ID: u16 = 0x414;
pub(crate) const IDCODE: u32 = 0xE004_2000;
/// Unique device ID (RM0008 30.2).
pub(crate) const UID: u32 = 0x1FFF_F7E8;
/// Flash size in KiB (RM0008 30.1).
const FLASH_SIZE: u32 = 0x1FFF_F7E0;
/// Bytes programmed at once.
pub(crate) const UNIT: u32 = 2;
/// Times of a half-word, us (DS5792 table 29).
pub(crate) const PROGRAM_US: (u32, u32) = (53, 70);
/// Option bytes (PM0075 2.5).
pub(crate) const OPTION_AREA: (u32, u32) = (0x1FFF_F800, 0x1FFF_F810);
/// It has no one-time programmable memory.
pub(crate) const OTP: (u32, u32) = (0, 0);
/// Start and end of RAM; the xC has 48 KiB, and takes part with a smaller build only.
pub(crate) const RAM: (u32, u32) = (0x2000_0000, 0x2001_0000);

pub(crate) const USART1: u32 = 0x4001_3800;

pub(crate) const CAN_IRQ: u32 = 20;
pub(crate) const USART_IRQ: u32 = 37;
/// Vectors beside those of the system: CAN receive, USART1, none.
pub(crate) const IRQS: [usize; 3] = [20, 37, 38];

const RCC: Block = Block::at(0x4002_1000);
const CR: u32 = 0x00;
const CR_HSION: u32 = 1 << 0;
const CR_HSIRDY: u32 = 1 << 1;
const CR_HSEON: u32 = 1 << 16;
const CR_HSERDY: u32 = 1 << 17;
const CR_PLLON: u32 = 1 << 24;
const CR_PLLRDY: u32 = 1 << 25;
const CFGR: u32 = 0x04;
const CFGR_SW: u32 = 0b11;
const CFGR_SWS: u32 = 0b11 << 2;
const CFGR_PLLSRC: u32 = 1 << 16;
const APB2RSTR: u32 = 0x0C;
const APB1RSTR: u32 = 0x10;
const APB2ENR: u32 = 0x18;
const APB1ENR: u32 = 0x1C;
const CSR: u32 = 0x24;
const CSR_RMVF: u32 = 1 << 24;
const CANEN: u32 = 1 << 25;
/// AFIO and ports A to G.
const PORTS: u32 = 0x1FD;
const USART1EN: u32 = 1 << 14;

const AFIO: Block = Block::at(0x4001_0000);
const MAPR: u32 = 0x04;
const CAN_REMAP: u32 = 0b11 << 13;

const FLASH_ACR: Block = Block::at(0x4002_2000);
const INTERNAL_HZ: u32 = 8_000_000;
const PLL_MHZ: u32 = 48;

/// Clock and peripherals as after a reset, whatever ran before.
pub(crate) fn calm() {
    RCC.set(CR, CR_HSION);
    RCC.wait(CR, CR_HSIRDY, CR_HSIRDY);
    RCC.clear(CFGR, CFGR_SW);
    RCC.wait(CFGR, CFGR_SWS, 0);
    RCC.clear(CR, CR_PLLON | CR_HSEON);
    RCC.write(CFGR, 0); // factor and source of a PLL that runs cannot be changed
    FLASH_ACR.replace(0, 0b111, 0);
    RCC.pulse(APB1RSTR, CANEN);
    RCC.pulse(APB2RSTR, USART1EN | PORTS);
}

/// 8 MHz, or 48 MHz from the PLL, which crystal and internal oscillator both can give.
pub(crate) const CLOCKS: Clocks = match super::BOARD.clock {
    ClockSource::Internal => Clocks { core: INTERNAL_HZ, can: INTERNAL_HZ, usart: INTERNAL_HZ },
    ClockSource::Crystal { .. } => Clocks { core: 48_000_000, can: 24_000_000, usart: 48_000_000 },
};

/// Starts the clock that the board file asks for; false if the PLL does not run.
pub(crate) fn start_clock() -> bool {
    let ClockSource::Crystal { mhz } = super::BOARD.clock else { return true };
    RCC.set(CR, CR_HSEON);
    // A crystal starts within 2 ms; a broken one must not keep the board from its host.
    let crystal = RCC.wait(CR, CR_HSERDY, CR_HSERDY);
    let (input, select) = if crystal { (mhz, CFGR_PLLSRC) } else { (4, 0) };
    start_pll(select, PLL_MHZ / input)
}

/// 64 MHz, the most that can be had of the internal oscillator, for the unpacking; a PLL that runs already is left alone.
pub(crate) fn hurry() {
    if RCC.read(CR) & CR_PLLON == 0 {
        start_pll(0, 16);
    }
}

/// Takes the clock from the PLL, which multiplies what comes from `select`: 4 MHz or the crystal.
fn start_pll(select: u32, factor: u32) -> bool {
    let pll = select | (factor - 2) << 18 | 0b100 << 8; // APB1 / 2
    RCC.write(CFGR, pll);
    RCC.set(CR, CR_PLLON);
    if !RCC.wait(CR, CR_PLLRDY, CR_PLLRDY) {
        return false;
    }
    FLASH_ACR.replace(0, 0b111, 2); // two wait states, for up to 72 MHz (PM0075 3.1)
    RCC.write(CFGR, pll | 0b10);
    RCC.wait(CFGR, CFGR_SWS, 0b10 << 2)
}

/// Clocks of all ports, CAN and USART1 on.
pub(crate) fn power_peripherals() {
    RCC.set(APB2ENR, PORTS | USART1EN);
    RCC.set(APB1ENR, CANEN);
    RCC.read(APB1ENR); // the clocks are there after a read back
}

/// The debug unit's identity is always there.
pub(crate) const fn clock_debug_unit(_: bool) {}

/// A port's registers.
pub(crate) const fn port(number: u32) -> Block {
    Block::at(0x4001_0800 + 0x400 * number)
}

/// Gives the CAN controller its pins (RM0008 9.3.3).
pub(crate) fn connect_can(can: &Can) {
    AFIO.replace(MAPR, CAN_REMAP, can.alternate << 13);
    gpio::alternate(can.rx, can.alternate, false);
    gpio::alternate(can.tx, can.alternate, true);
}

/// The flags of the last reset; they are cleared, so that the next one's are its own.
pub(crate) fn take_reset_flags() -> u32 {
    let flags = RCC.read(CSR);
    RCC.set(CSR, CSR_RMVF);
    flags
}

/// The most telling of the flags (RM0008 7.3.10). This chip tells no brown-out from power-up.
pub(crate) fn reset_cause(flags: u32) -> ResetCause {
    match flags >> 25 {
        f if f & 1 << 2 != 0 => ResetCause::PowerOn,
        f if f & (0b11 << 4) != 0 => ResetCause::Watchdog,
        f if f & 1 << 3 != 0 => ResetCause::Software,
        f if f & 1 << 1 != 0 => ResetCause::Pin,
        _ => ResetCause::PowerOn,
    }
}

/// A reset loads the option bytes here.
pub(crate) const fn reset_with_options() {}

/// F1 has no error correction in its flash: no NMI comes from there.
pub(crate) const fn forgive_ecc_error() -> bool {
    false
}

/// Pages of 2 KiB (DS5792 table 29: 20 to 40 ms).
pub(crate) const ERASE_RUNS: [EraseRun; 1] = [erase_run(256, 2, 30_000, 40_000)];

/// As many pages as the chip has.
pub(crate) fn fit(pages: &mut EraseRun) {
    pages.count = flash_kib(read_word(FLASH_SIZE), 256, 512) / 2;
}
