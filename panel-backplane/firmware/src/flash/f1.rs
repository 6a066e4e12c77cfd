//! Flash interface of F103 (PM0075): pages, half-words.

use crate::regs::{Block, program_half_word, read_bytes};
use crate::watchdog;
use panel_protocol::node::{EraseUnit, Protection};

const FLASH: Block = Block::at(0x4002_2000);
const KEYR: u32 = 0x04;
const OPTKEYR: u32 = 0x08;
const SR: u32 = 0x0C;
const SR_BUSY: u32 = 1 << 0;
/// PGERR, WRPRTERR.
const SR_ERRORS: u32 = 1 << 2 | 1 << 4;
const SR_EOP: u32 = 1 << 5;
const CR: u32 = 0x10;
const CR_PG: u32 = 1 << 0;
const CR_PER: u32 = 1 << 1;
const CR_OPTPG: u32 = 1 << 4;
const CR_OPTER: u32 = 1 << 5;
const CR_STRT: u32 = 1 << 6;
const CR_LOCK: u32 = 1 << 7;
const CR_OPTWRE: u32 = 1 << 9;
const AR: u32 = 0x14;
const OBR: u32 = 0x1C;
const OBR_RDPRT: u32 = 1 << 1;

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
/// Option bytes: RDP, user, two of data, four of write protection, each with its complement (PM0075 table 4).
const OPTIONS: u32 = 0x1FFF_F800;
const RDP_OPEN: u8 = 0xA5;

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
    FLASH.write(CR, CR_PER);
    FLASH.write(AR, unit.address);
    FLASH.set(CR, CR_STRT);
}

pub(super) fn begin_program() {
    FLASH.write(CR, CR_PG);
}

pub(super) fn program(address: u32, unit: &[u8; 2]) {
    program_half_word(address, u16::from_le_bytes(*unit));
}

pub(super) fn outcome() -> Outcome {
    match FLASH.read(SR) {
        sr if sr & SR_BUSY != 0 => Outcome::Busy,
        sr if sr & SR_ERRORS != 0 => Outcome::Failed,
        _ => Outcome::Done,
    }
}

/// Readout protection as it was loaded at the last start (PM0075 2.4.1).
pub(crate) fn protection() -> Protection {
    if FLASH.read(OBR) & OBR_RDPRT == 0 { Protection::Open } else { Protection::Level1 }
}

/// Sets the RDP byte and nothing else. This chip has no level 2.
pub(crate) fn set_protection(level: Protection) -> bool {
    match level {
        Protection::Open => options(|bytes| bytes[0] = RDP_OPEN),
        Protection::Level1 => options(|bytes| bytes[0] = 0),
        Protection::Level2 => false,
    }
}

/// Writes option bytes. Offsets are those of the option area; the RDP byte (0) and complements (odd offsets) stay
/// as they are.
pub(crate) fn write_options(offset: u8, data: &[u8]) -> bool {
    let from = usize::from(offset);
    from + data.len() <= 16
        && options(|bytes| {
            for (at, &byte) in (from..).zip(data).filter(|&(at, _)| at != 0 && at % 2 == 0) {
                bytes[at / 2] = byte;
            }
        })
}

/// Changes the option bytes: they are erased and written anew (PM0075 2.3.5), some tens of milliseconds. They are
/// loaded at the next reset. Erased option bytes mean readout protection, so RDP is written first.
fn options(change: impl FnOnce(&mut [u8; 8])) -> bool {
    let mut area = [0; 16];
    if !read_bytes(OPTIONS, &mut area) {
        return false;
    }
    let mut bytes = core::array::from_fn(|n| area[2 * n]);
    change(&mut bytes);
    unlock();
    KEYS.iter().for_each(|&key| FLASH.write(OPTKEYR, key));
    FLASH.write(CR, CR_OPTWRE | CR_OPTER);
    FLASH.set(CR, CR_STRT);
    wait_idle();
    FLASH.write(CR, CR_OPTWRE | CR_OPTPG);
    for (address, &byte) in (OPTIONS..).step_by(2).zip(&bytes) {
        program_half_word(address, byte.into());
        wait_idle();
    }
    lock();
    let mut found = [0; 16];
    let whole = FLASH.read(SR) & SR_ERRORS == 0 && read_bytes(OPTIONS, &mut found);
    whole && bytes.iter().enumerate().all(|(n, &byte)| found[2 * n] == byte)
}
