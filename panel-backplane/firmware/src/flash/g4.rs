//! Flash interface of G4 (RM0440 3.7) and G0 (RM0444 3.7): pages, double words, error correction.

use crate::chip;
use crate::regs::{Block, program_word};
use crate::watchdog;
use panel_protocol::node::{EraseUnit, Protection};

const FLASH: Block = Block::at(0x4002_2000);
const KEYR: u32 = 0x08;
const OPTKEYR: u32 = 0x0C;
const SR: u32 = 0x10;
/// BSY; G0: BSY1, BSY2 and CFGBSY.
const SR_BUSY: u32 = if cfg!(feature = "g0b1") { 0b111 << 16 } else { 1 << 16 };
/// OPERR, PROGERR, WRPERR, PGAERR, SIZERR, PGSERR, MISSERR, FASTERR, RDERR, OPTVERR.
const SR_ERRORS: u32 = 1 << 1 | 0b111_1111 << 3 | 0b11 << 14;
const SR_EOP: u32 = 1 << 0;
const CR: u32 = 0x14;
const CR_PG: u32 = 1 << 0;
const CR_PER: u32 = 1 << 1;
/// BKER: the second bank's pages.
const CR_BANK2: u32 = if cfg!(feature = "g0b1") { 1 << 13 } else { 1 << 11 };
const CR_STRT: u32 = 1 << 16;
const CR_OPTSTRT: u32 = 1 << 17;
const CR_OBL_LAUNCH: u32 = 1 << 27;
const CR_OPTLOCK: u32 = 1 << 30;
const CR_LOCK: u32 = 1 << 31;
const ECCR: u32 = 0x18;
#[cfg(feature = "g0b1")]
const ECC2R: u32 = 0x1C;
/// ECCD: two wrong bits; G474 has another one for the second half of a word of 128 bits.
const ECC_DOUBLE: u32 = 1 << 31 | 1 << 29;
const OPTR: u32 = 0x20;
const WRP1AR: u32 = 0x2C;
const WRP1BR: u32 = 0x30;

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const OPTION_KEYS: [u32; 2] = [0x0819_2A3B, 0x4C5D_6E7F];

const RDP_LEVEL0: u8 = 0xAA;
const RDP_LEVEL1: u8 = 0xBB;
const RDP_LEVEL2: u8 = 0xCC;

/// How the operation begun last stands.
pub(super) enum Outcome {
    Busy,
    Done,
    Failed,
}

fn wait_idle() {
    while FLASH.read(SR) & SR_BUSY != 0 {
        watchdog::feed();
    }
}

pub(super) fn unlock() {
    wait_idle();
    if FLASH.read(CR) & CR_LOCK != 0 {
        KEYS.iter().for_each(|&key| FLASH.write(KEYR, key));
    }
    FLASH.write(SR, SR_ERRORS | SR_EOP);
}

pub(super) fn lock() {
    FLASH.write(CR, CR_LOCK);
}

pub(super) fn erase(unit: &EraseUnit) {
    let index = u32::from(unit.index);
    let (bank, page) = match index.checked_sub(chip::PAGES_IN_BANK) {
        Some(page) => (CR_BANK2, chip::SECOND_BANK + page),
        None => (0, index),
    };
    FLASH.write(CR, CR_PER | bank | page << 3);
    FLASH.set(CR, CR_STRT);
}

pub(super) fn begin_program() {
    FLASH.write(CR, CR_PG);
}

pub(super) fn program(address: u32, &[a, b, c, d, e, f, g, h]: &[u8; 8]) {
    program_word(address, u32::from_le_bytes([a, b, c, d]));
    program_word(address + 4, u32::from_le_bytes([e, f, g, h]));
}

pub(super) fn outcome() -> Outcome {
    match FLASH.read(SR) {
        sr if sr & SR_BUSY != 0 => Outcome::Busy,
        sr if sr & SR_ERRORS != 0 => Outcome::Failed,
        _ => Outcome::Done,
    }
}

/// What a power cut left half programmed reads with two wrong bits, and raises an NMI; the reader sees by its
/// checksums that it is nothing. False if the NMI came from elsewhere.
pub(crate) fn forgive_ecc_error() -> bool {
    let errors = FLASH.read(ECCR) & ECC_DOUBLE;
    FLASH.write(ECCR, FLASH.read(ECCR) | errors);
    #[cfg(feature = "g0b1")]
    let errors = {
        let second = FLASH.read(ECC2R) & ECC_DOUBLE;
        FLASH.write(ECC2R, FLASH.read(ECC2R) | second);
        errors | second
    };
    errors != 0
}

/// The options register as it was loaded.
#[cfg(any(feature = "g431", feature = "g474"))]
pub(crate) fn options_register() -> u32 {
    FLASH.read(OPTR)
}

/// Readout protection (RM0440 3.5.1): in force since the last start if called before anything is written.
pub(crate) fn protection() -> Protection {
    match FLASH.read(OPTR) as u8 {
        RDP_LEVEL0 => Protection::Open,
        RDP_LEVEL2 => Protection::Level2,
        _ => Protection::Level1,
    }
}

/// Sets the RDP byte and nothing else.
pub(crate) fn set_protection(level: Protection) -> bool {
    let rdp = match level {
        Protection::Open => RDP_LEVEL0,
        Protection::Level1 => RDP_LEVEL1,
        Protection::Level2 => RDP_LEVEL2,
    };
    options(|| FLASH.replace(OPTR, 0xFF, rdp.into()))
}

/// Writes option bytes. Offsets are those of the option area (RM0440 table 14, RM0444 table 12): 0 to 3 user
/// options, 0x18 and 0x20 write protection of the first bank. The RDP byte (0) and complements stay as they are.
pub(crate) fn write_options(offset: u8, data: &[u8]) -> bool {
    let register = |at: u32| match at & !7 {
        0x00 => Some(OPTR),
        0x18 => Some(WRP1AR),
        0x20 => Some(WRP1BR),
        _ => None,
    };
    let places = || (u32::from(offset)..).zip(data).filter(|&(at, _)| at != 0 && at & 4 == 0);
    places().all(|(at, _)| register(at).is_some())
        && options(|| {
            for (at, &byte) in places() {
                let shift = 8 * (at % 4);
                if let Some(register) = register(at) {
                    FLASH.replace(register, 0xFF << shift, u32::from(byte) << shift);
                }
            }
        })
}

fn unlock_options() {
    unlock();
    if FLASH.read(CR) & CR_OPTLOCK != 0 {
        OPTION_KEYS.iter().for_each(|&key| FLASH.write(OPTKEYR, key));
    }
}

/// Changes the option registers and writes them to flash (RM0440 3.4.2); waits some tens of milliseconds.
fn options(change: impl FnOnce()) -> bool {
    unlock_options();
    change();
    FLASH.set(CR, CR_OPTSTRT);
    wait_idle();
    let failed = FLASH.read(SR) & SR_ERRORS != 0;
    FLASH.set(CR, CR_OPTLOCK | CR_LOCK);
    !failed
}

/// Loads the option bytes, which resets the chip.
pub(crate) fn launch_options() {
    unlock_options();
    FLASH.set(CR, CR_OBL_LAUNCH);
}
