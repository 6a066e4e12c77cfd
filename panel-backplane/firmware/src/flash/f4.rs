//! Flash interface of F405 and F407 (RM0090 3.9): sectors, programming by words (2.7 V to 3.6 V).

use crate::regs::{Block, program_word};
use crate::watchdog;
use panel_protocol::node::{EraseUnit, Protection};

const FLASH: Block = Block::at(0x4002_3C00);
const KEYR: u32 = 0x04;
const OPTKEYR: u32 = 0x08;
const SR: u32 = 0x0C;
const SR_BUSY: u32 = 1 << 16;
/// OPERR, WRPERR, PGAERR, PGPERR, PGSERR.
const SR_ERRORS: u32 = 1 << 1 | 0b1111 << 4;
const SR_EOP: u32 = 1 << 0;
const CR: u32 = 0x10;
const CR_PG: u32 = 1 << 0;
const CR_SER: u32 = 1 << 1;
/// PSIZE: 32 bits at once (RM0090 table 7).
const CR_WORDS: u32 = 0b10 << 8;
const CR_STRT: u32 = 1 << 16;
const CR_LOCK: u32 = 1 << 31;
const OPTCR: u32 = 0x14;
const OPTCR_LOCK: u32 = 1 << 0;
const OPTCR_STRT: u32 = 1 << 1;
/// BOR level and user bits, RDP, write protection.
const OPTCR_OPTIONS: u32 = 0x0FFF_FFEC;

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const OPTION_KEYS: [u32; 2] = [0x0819_2A3B, 0x4C5D_6E7F];

const RDP_LEVEL0: u8 = 0xAA;
const RDP_LEVEL1: u8 = 0x55;
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
    // SNB counts sectors of the second bank from 16 (F42x); F405 has twelve in one bank.
    FLASH.write(CR, CR_WORDS | CR_SER | u32::from(unit.index) << 3);
    FLASH.set(CR, CR_STRT);
}

pub(super) fn begin_program() {
    FLASH.write(CR, CR_WORDS | CR_PG);
}

pub(super) fn program(address: u32, unit: &[u8; 4]) {
    program_word(address, u32::from_le_bytes(*unit));
}

pub(super) fn outcome() -> Outcome {
    match FLASH.read(SR) {
        sr if sr & SR_BUSY != 0 => Outcome::Busy,
        sr if sr & SR_ERRORS != 0 => Outcome::Failed,
        _ => Outcome::Done,
    }
}

/// Readout protection (RM0090 3.7.1): in force since the last start if called before anything is written.
pub(crate) fn protection() -> Protection {
    match (FLASH.read(OPTCR) >> 8) as u8 {
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
    options(|word| word & !0xFF00 | u32::from(rdp) << 8)
}

/// Writes option bytes. Offsets are those of the option area (RM0090 table 11): 0 user and BOR, 8 and 9 write
/// protection. The RDP byte (1) stays as it is; the others hold nothing.
pub(crate) fn write_options(offset: u8, data: &[u8]) -> bool {
    let (mut mask, mut bits) = (0, 0);
    for (at, &byte) in (u32::from(offset)..).zip(data) {
        let shift = match at {
            0 => 0,
            8 => 16,
            9 => 24,
            1..16 => continue,
            _ => return false,
        };
        mask |= 0xFF << shift;
        bits |= u32::from(byte) << shift;
    }
    options(|word| word & !(mask & OPTCR_OPTIONS) | bits & OPTCR_OPTIONS)
}

/// Changes the option bytes (RM0090 3.6.2) and waits: tens of milliseconds, up to a second.
fn options(change: impl FnOnce(u32) -> u32) -> bool {
    wait_idle();
    if FLASH.read(OPTCR) & OPTCR_LOCK != 0 {
        OPTION_KEYS.iter().for_each(|&key| FLASH.write(OPTKEYR, key));
    }
    FLASH.write(SR, SR_ERRORS | SR_EOP);
    let wanted = change(FLASH.read(OPTCR)) & OPTCR_OPTIONS;
    FLASH.write(OPTCR, wanted);
    FLASH.set(OPTCR, OPTCR_STRT);
    wait_idle();
    let failed = FLASH.read(SR) & SR_ERRORS != 0;
    FLASH.set(OPTCR, OPTCR_LOCK);
    !failed && FLASH.read(OPTCR) & OPTCR_OPTIONS == wanted
}
