//! Flash interface of G431, one bank (RM0440 sections 3.3 to 3.7): keys, double words, pages, check bits, options.
//!
//! A double word takes two stores of a word and is programmed once between erases; every error flag that is left
//! standing refuses the next store (PGSERR). Typical times of DS12589 (table "Flash memory characteristics").
//! Option bytes come into force by OBL_LAUNCH or power-up, by no other reset (3.4.2).

use crate::flash::{Cells, FLASH_BASE, Flash};
use crate::wires::{Reset, Wires};

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const OPTION_KEYS: [u32; 2] = [0x0819_2A3B, 0x4C5D_6E7F];
const SIZE: u32 = 128 * 1024;
const PAGE: u32 = 2048;
const ERASE_NS: u64 = 22_020_000;
const PROGRAM_NS: u64 = 81_690;
/// The options' page is erased and its six double words programmed.
const OPTIONS_NS: u64 = ERASE_NS + 6 * PROGRAM_NS;

const EOP: u32 = 1;
const OPERR: u32 = 1 << 1;
const PROGERR: u32 = 1 << 3;
const WRPERR: u32 = 1 << 4;
const PGAERR: u32 = 1 << 5;
const SIZERR: u32 = 1 << 6;
const PGSERR: u32 = 1 << 7;
/// Flags of software's errors: with one of them set nothing is programmed.
const SEQUENCE: u32 = PROGERR | WRPERR | PGAERR | SIZERR | PGSERR | 1 << 8 | 1 << 9;
const FLAGS: u32 = SEQUENCE | EOP | OPERR | 0b11 << 14;
const BSY: u32 = 1 << 16;

const PG: u32 = 1;
const PER: u32 = 1 << 1;
const MER1: u32 = 1 << 2;
const STRT: u32 = 1 << 16;
const OPTSTRT: u32 = 1 << 17;
const FSTPG: u32 = 1 << 18;
const EOPIE: u32 = 1 << 24;
const ERRIE: u32 = 1 << 25;
const OBL_LAUNCH: u32 = 1 << 27;
const OPTLOCK: u32 = 1 << 30;
const LOCK: u32 = 1 << 31;

const ECCC: u32 = 1 << 30;
const ECCD: u32 = 1 << 31;

/// OPTR, PCROP1SR, PCROP1ER, WRP1AR, WRP1BR, SEC1R as delivered: nothing protected, areas empty.
const FACTORY: [u32; 6] = [0xFFEF_F8AA, 0xFFFF_FFFF, 0x7FFF_0000, 0xFF80_FFFF, 0xFF80_FFFF, 0];
const OPTION_REGISTERS: [u32; 6] = [0x20, 0x24, 0x28, 0x2C, 0x30, 0x70];

#[derive(Debug, Clone)]
pub(crate) struct FlashInterface {
    pub(crate) cells: Flash,
    acr: u32,
    sr: u32,
    cr: u32,
    eccr: u32,
    keys: usize,
    option_keys: usize,
    /// A wrong key locks the register until the next reset.
    jammed: bool,
    /// Address and value of the first half of a double word.
    half: Option<(u32, u32)>,
    /// Option bytes in their cells, in force, and in the registers as software left them.
    options: [u32; 6],
    loaded: [u32; 6],
    registers: [u32; 6],
    option_busy: u64,
    seed: u64,
}

impl FlashInterface {
    pub(crate) fn new() -> Self {
        Self {
            cells: Flash::new(Cells::new(SIZE, true)),
            acr: 0x0004_0600,
            sr: 0,
            cr: LOCK | OPTLOCK,
            eccr: 0,
            keys: 0,
            option_keys: 0,
            jammed: false,
            half: None,
            options: FACTORY,
            loaded: FACTORY,
            registers: FACTORY,
            option_busy: 0,
            seed: 0,
        }
    }

    pub(crate) fn reset(&mut self, wires: &mut Wires, cause: Reset) {
        self.seed = self.seed.wrapping_add(1);
        self.cells.interrupt(wires.now.ns, self.seed);
        if self.option_busy > wires.now.ns {
            wires.complain("a reset in the middle of a write of option bytes");
        }
        (self.acr, self.sr, self.cr, self.eccr) = (0x0004_0600, 0, LOCK | OPTLOCK, 0);
        (self.keys, self.option_keys, self.jammed, self.option_busy) = (0, 0, false, 0);
        self.half = None;
        if matches!(cause, Reset::Power | Reset::Options) {
            self.loaded = self.options;
        }
        self.registers = self.loaded;
    }

    pub(crate) fn latency(&self) -> u32 {
        self.acr & 0xF
    }

    /// Option bytes in force, in the order of their registers.
    pub(crate) fn loaded(&self) -> [u32; 6] {
        self.loaded
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        if self.cells.settle(wires.now.ns) {
            // EOP and OPERR are set only while their interrupts are enabled (RM0440 3.7.5).
            match self.cells.failed {
                true if self.cr & ERRIE != 0 => self.sr |= OPERR,
                false if self.cr & EOPIE != 0 => self.sr |= EOP,
                _ => {}
            }
        }
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => self.acr,
            0x04..=0x0C => 0,
            0x10 => self.sr | if self.is_busy(wires) { BSY } else { 0 },
            0x14 => self.cr,
            0x18 => self.eccr,
            _ => match OPTION_REGISTERS.iter().position(|&r| r == offset) {
                Some(n) => self.registers[n],
                None => {
                    wires.complain(format!("read of unmodelled FLASH register {offset:#x}"));
                    0
                }
            },
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match offset {
            0x00 => self.acr = value & 0x0004_7F0F,
            0x08 => {
                if unlock(&mut self.keys, &mut self.jammed, KEYS, value) {
                    self.cr &= !LOCK;
                }
            }
            0x0C if self.cr & LOCK != 0 => wires.complain("FLASH_OPTKEYR written while FLASH_CR is locked"),
            0x0C => {
                if unlock(&mut self.option_keys, &mut self.jammed, OPTION_KEYS, value) {
                    self.cr &= !OPTLOCK;
                }
            }
            0x10 => self.sr &= !(value & FLAGS),
            0x14 if self.stalls(wires) => {}
            0x14 => self.control(wires, value),
            0x18 => self.eccr = self.eccr & !(value & (ECCC | ECCD)) & !(1 << 24) | value & 1 << 24,
            _ => match OPTION_REGISTERS.iter().position(|&r| r == offset) {
                Some(_) if self.cr & OPTLOCK != 0 => {
                    wires.complain(format!("option register {offset:#x} written while locked"));
                }
                Some(n) => self.registers[n] = value,
                None => wires.complain(format!("write of unmodelled FLASH register {offset:#x}")),
            },
        }
    }

    /// Code read a double word whose check bits do not fit (RM0440 3.3.2): flag, address and NMI. While the flag
    /// stands no other address is kept.
    pub(crate) fn ecc_error(&mut self, wires: &mut Wires, address: u32) {
        if self.eccr & ECCD == 0 {
            self.eccr = self.eccr & 1 << 24 | ECCD | (address - FLASH_BASE) & 0x7_FFF8;
            wires.nmi = true;
        }
    }

    /// A store of code into the array.
    pub(crate) fn store(&mut self, wires: &mut Wires, address: u32, size: usize, value: u64) {
        if self.stalls(wires) {
            return;
        }
        if self.cr & LOCK != 0 || self.cr & PG == 0 {
            self.sr |= PGSERR;
            return wires.complain(format!("store to flash at {address:#010x} without PG"));
        }
        if self.sr & SEQUENCE != 0 {
            self.sr |= PGSERR;
            return wires.complain(format!("store to flash at {address:#010x} with an old error flag"));
        }
        if size != 4 {
            self.sr |= SIZERR;
            return wires.complain(format!("{size} bytes stored at {address:#010x}: double words only"));
        }
        match self.half.take() {
            None if address.is_multiple_of(8) => self.half = Some((address, value as u32)),
            Some((first, low)) if address == first + 4 => {
                self.double_word(wires, first, u64::from(low) | value << 32);
            }
            _ => {
                self.sr |= PGAERR;
                wires.complain(format!("store at {address:#010x} is no half of the double word begun"));
            }
        }
    }

    fn double_word(&mut self, wires: &mut Wires, address: u32, value: u64) {
        if self.is_write_protected(address) {
            self.sr |= WRPERR;
            return;
        }
        let old = self.cells.bytes(address, 8);
        let used = old.iter().any(|&b| b != 0xFF) || self.cells.cells().is_spoilt(address);
        if used && value != 0 {
            self.sr |= PROGERR;
            return;
        }
        self.cells.begin(wires.now.ns, address, value.to_le_bytes().to_vec(), PROGRAM_NS);
    }

    fn is_busy(&self, wires: &Wires) -> bool {
        self.cells.is_busy() || self.option_busy > wires.now.ns
    }

    /// Stalls the bus if the flash is busy.
    fn stalls(&self, wires: &mut Wires) -> bool {
        let busy = self.cells.is_busy() && self.cells.end() > wires.now.ns;
        if busy {
            wires.stall = self.cells.end();
        }
        busy
    }

    fn control(&mut self, wires: &mut Wires, value: u32) {
        if self.cr & LOCK != 0 {
            return wires.complain("FLASH_CR written while locked");
        }
        // LOCK and OPTLOCK can be set, and are cleared by their keys only.
        let locks = (self.cr | value) & (LOCK | OPTLOCK);
        let open = self.cr & OPTLOCK == 0;
        self.cr = value & 0x0300_03FF | locks;
        if value & (OPTSTRT | OBL_LAUNCH) != 0 && !open {
            return wires.complain("OPTSTRT or OBL_LAUNCH while the option bytes are locked");
        }
        if value & OBL_LAUNCH != 0 {
            wires.reset = Some(Reset::Options);
        } else if value & OPTSTRT != 0 {
            self.write_options(wires);
        } else if value & (FSTPG | MER1) != 0 {
            wires.complain("fast programming and mass erase are not for a bootloader");
        } else if value & STRT != 0 && self.sr & SEQUENCE != 0 {
            self.sr |= PGSERR;
            wires.complain("an erase is begun with an old error flag");
        } else if value & STRT != 0 {
            match value & (PER | PG) {
                PER => self.erase(wires, value >> 3 & 0x7F),
                _ => {
                    self.sr |= PGSERR;
                    wires.complain("STRT without PER, or with PG");
                }
            }
        }
    }

    fn erase(&mut self, wires: &mut Wires, page: u32) {
        let address = FLASH_BASE + page * PAGE;
        if page >= SIZE / PAGE {
            return wires.complain(format!("erase of page {page}, which does not exist"));
        }
        if self.is_write_protected(address) {
            self.sr |= WRPERR;
            return;
        }
        self.cells.begin(wires.now.ns, address, vec![0xFF; PAGE as usize], ERASE_NS);
    }

    fn write_options(&mut self, wires: &mut Wires) {
        let level = |options: &[u32; 6]| options[0] & 0xFF;
        if level(&self.loaded) == 0xCC {
            return wires.complain("option bytes cannot be changed at protection level 2");
        }
        if level(&self.loaded) != 0xAA && level(&self.registers) == 0xAA {
            wires.complain("protection level 1 given up: mass erase");
        }
        self.options = self.registers;
        self.option_busy = wires.now.ns + OPTIONS_NS;
    }

    /// WRP1A and WRP1B: first page in bits 6 to 0, last one in bits 22 to 16; none if the first is behind the last.
    fn is_write_protected(&self, address: u32) -> bool {
        let page = (address - FLASH_BASE) / PAGE;
        self.loaded[3..5].iter().any(|area| (area & 0x7F..=area >> 16 & 0x7F).contains(&page))
    }
}

/// Takes one key; true when the second right one came.
fn unlock(state: &mut usize, jammed: &mut bool, keys: [u32; 2], value: u32) -> bool {
    if *jammed || keys.get(*state) != Some(&value) {
        *jammed = true;
        return false;
    }
    *state = (*state + 1) % 2;
    *state == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u32 = FLASH_BASE + 0x8000;

    fn unlocked() -> (FlashInterface, Wires) {
        let (mut flash, mut wires) = (FlashInterface::new(), Wires::new(16_000_000));
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x08, k));
        (flash, wires)
    }

    fn finish(flash: &mut FlashInterface, wires: &mut Wires) {
        wires.now.ns = flash.cells.end();
        flash.tick(wires);
    }

    fn double_word(flash: &mut FlashInterface, wires: &mut Wires, value: u64) {
        flash.store(wires, AT, 4, value & 0xFFFF_FFFF);
        flash.store(wires, AT + 4, 4, value >> 32);
    }

    #[test]
    fn a_double_word_is_programmed_once_unless_with_zeros() {
        let (mut flash, mut wires) = unlocked();
        flash.write(&mut wires, 0x14, PG);
        double_word(&mut flash, &mut wires, 0x8877_6655_4433_2211);
        assert_eq!(flash.cells.end(), 81_690);
        finish(&mut flash, &mut wires);
        assert_eq!(flash.cells.bytes(AT, 8), [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        double_word(&mut flash, &mut wires, 0x0077_6655_4433_2211);
        assert_eq!(flash.read(&mut wires, 0x10), PROGERR);
        flash.write(&mut wires, 0x10, PROGERR);
        double_word(&mut flash, &mut wires, 0);
        finish(&mut flash, &mut wires);
        assert_eq!(flash.cells.bytes(AT, 8), [0; 8]);
        assert_eq!(wires.complaints().count(), 0);
    }

    #[test]
    fn stores_of_another_width_out_of_order_or_after_an_error_are_refused() {
        let (mut flash, mut wires) = unlocked();
        flash.write(&mut wires, 0x14, PG);
        flash.store(&mut wires, AT, 2, 1);
        assert_eq!(flash.sr, SIZERR);
        flash.store(&mut wires, AT, 4, 1);
        assert_eq!(flash.sr, SIZERR | PGSERR);
        flash.write(&mut wires, 0x10, FLAGS);
        flash.store(&mut wires, AT + 4, 4, 1);
        assert_eq!(flash.sr, PGAERR);
        assert!(!flash.cells.is_busy());
    }

    #[test]
    fn a_page_erase_takes_22_ms_and_stalls_the_control_register() {
        let (mut flash, mut wires) = unlocked();
        flash.write(&mut wires, 0x14, PER | 16 << 3);
        flash.write(&mut wires, 0x14, PER | 16 << 3 | STRT);
        assert_eq!(flash.cells.running().map(|o| (o.address, o.end)), Some((AT, 22_020_000)));
        flash.write(&mut wires, 0x14, 0);
        assert_eq!(wires.stall, 22_020_000);
    }

    #[test]
    fn write_protected_pages_refuse() {
        let (mut flash, mut wires) = unlocked();
        flash.loaded[3] = 0xFF80_FF80 | 16 << 16 | 15;
        flash.write(&mut wires, 0x14, PER | 16 << 3 | STRT);
        assert_eq!(flash.sr, WRPERR);
        flash.write(&mut wires, 0x10, WRPERR);
        flash.write(&mut wires, 0x14, PER | 17 << 3 | STRT);
        assert!(flash.cells.is_busy());
    }

    #[test]
    fn a_spoilt_double_word_raises_one_nmi_until_its_flag_is_cleared() {
        let (mut flash, mut wires) = unlocked();
        flash.ecc_error(&mut wires, AT);
        flash.ecc_error(&mut wires, AT + 8);
        assert!(wires.nmi);
        assert_eq!(flash.read(&mut wires, 0x18), ECCD | 0x8000);
        wires.nmi = false;
        flash.write(&mut wires, 0x18, ECCD);
        assert_eq!(flash.read(&mut wires, 0x18) & ECCD, 0);
        flash.ecc_error(&mut wires, AT + 8);
        assert!(wires.nmi);
    }

    #[test]
    fn protection_acts_after_the_options_are_loaded_and_not_after_a_system_reset() {
        let (mut flash, mut wires) = unlocked();
        OPTION_KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x0C, k));
        flash.write(&mut wires, 0x20, FACTORY[0] & !0xFF | 0xBB);
        flash.write(&mut wires, 0x14, OPTSTRT);
        assert_ne!(flash.read(&mut wires, 0x10) & BSY, 0);
        wires.now.ns += OPTIONS_NS;
        flash.reset(&mut wires, Reset::Software);
        assert_eq!(flash.loaded()[0] & 0xFF, 0xAA);
        flash.reset(&mut wires, Reset::Options);
        assert_eq!(flash.loaded()[0] & 0xFF, 0xBB);
    }
}
