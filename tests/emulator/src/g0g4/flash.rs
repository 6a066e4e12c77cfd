//! Flash interface of G4 (RM0440 sections 3.3 to 3.7) and G0 (RM0444, the same sections): keys, double words, pages, check
//! bits, options.
//!
//! A double word takes two stores of a word and is programmed once between erases, in one-time programmable memory
//! (3.3.1) once for ever; every error flag that is left standing refuses the next store (PGSERR). Option bytes come into
//! force by OBL_LAUNCH or power-up, by no other reset (3.4.2, `options.rs`). What one chip has in another way than its relatives is in [`Geometry`]. Not modelled, and noted when asked for:
//! fast programming, mass erase, another number of banks than as delivered.

use super::options::{HIDDEN, OPTION_BYTES, OptionRegister, Options};
use crate::flash::{Cells, FLASH_BASE, Flash};
use crate::wires::{Reset, Wires};

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const OPTION_KEYS: [u32; 2] = [0x0819_2A3B, 0x4C5D_6E7F];
const PAGE: u32 = 2048;

/// A chip's flash.
#[derive(Debug)]
pub(crate) struct Geometry {
    /// Bytes of a bank, and how many banks there are.
    pub(crate) bank: u32,
    pub(crate) banks: u32,
    /// The bit that chooses the second bank for an erase (BKER), and the number of that bank's first page.
    pub(crate) bker: u32,
    pub(crate) second: u32,
    /// Bits of the page's number in CR (PNB).
    pub(crate) pnb: u32,
    /// Busy flag of each bank.
    pub(crate) busy: [u32; 2],
    /// Whether each bank has an ECC register of its own, which counts double words; else one counts bytes and has a bit
    /// for the bank.
    pub(crate) own_ecc: bool,
    /// Typical times of a page's erase and of a double word.
    pub(crate) erase_ns: u64,
    pub(crate) program_ns: u64,
    /// Option registers, OPTR first.
    pub(crate) options: &'static [OptionRegister],
    /// Which of them protect pages of each bank from writing.
    pub(crate) protects: [[usize; 2]; 2],
}

/// One-time programmable memory (3.3.1).
const OTP: u32 = 0x1FFF_7000;
const OTP_SIZE: u32 = 1024;
const EOP: u32 = 1;
const OPERR: u32 = 1 << 1;
const PROGERR: u32 = 1 << 3;
const WRPERR: u32 = 1 << 4;
const PGAERR: u32 = 1 << 5;
const SIZERR: u32 = 1 << 6;
const PGSERR: u32 = 1 << 7;
/// Flags of software's errors: with one of them set nothing is programmed.
const SEQUENCE: u32 = PROGERR | WRPERR | PGAERR | SIZERR | PGSERR | 1 << 8 | 1 << 9;
const OPTVERR: u32 = 1 << 15;
const FLAGS: u32 = SEQUENCE | EOP | OPERR | 1 << 14 | OPTVERR;

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

const ECCIE: u32 = 1 << 24;
const ECCC: u32 = 1 << 30;
const ECCD: u32 = 1 << 31;
/// The error is not in the main flash (SYSF_ECC).
const SYSF_ECC: u32 = 1 << 22;
/// The bank in an ECC register that serves both (BK_ECC).
const ECC_BANK2: u32 = 1 << 21;
/// The number of banks in OPTR: DBANK of G4, DUAL_BANK of G0.
const BANKS: u32 = 0b11 << 21;

#[derive(Debug, Clone)]
pub(crate) struct FlashInterface {
    pub(crate) cells: Flash,
    geometry: &'static Geometry,
    acr: u32,
    sr: u32,
    cr: u32,
    eccr: [u32; 2],
    keys: usize,
    option_keys: usize,
    /// A wrong key locks the register until the next reset.
    jammed: bool,
    /// Address and value of the first half of a double word.
    half: Option<(u32, u32)>,
    options: Options,
    seed: u64,
}

impl FlashInterface {
    pub(crate) fn new(geometry: &'static Geometry) -> Self {
        let options = Options::new(geometry.options);
        let cells = Cells::new(geometry.bank * geometry.banks, true)
            .and(OTP, vec![0xFF; OTP_SIZE as usize])
            .and(OPTION_BYTES, options.delivered());
        Self {
            cells: Flash::with_banks(cells, geometry.bank),
            geometry,
            acr: 0x0004_0600,
            sr: 0,
            cr: LOCK | OPTLOCK,
            eccr: [0; 2],
            keys: 0,
            option_keys: 0,
            jammed: false,
            half: None,
            options,
            seed: 0,
        }
    }

    pub(crate) fn reset(&mut self, wires: &mut Wires, cause: Reset) {
        self.seed = self.seed.wrapping_add(1);
        if self.cells.running().is_some_and(|o| o.address >= OPTION_BYTES && o.end > wires.now.ns) {
            wires.complain("a reset in the middle of a write of option bytes");
        }
        self.cells.interrupt(wires.now.ns, self.seed);
        (self.acr, self.sr, self.cr, self.eccr) = (0x0004_0600, 0, LOCK | OPTLOCK, [0; 2]);
        (self.keys, self.option_keys, self.jammed) = (0, 0, false);
        self.half = None;
        if matches!(cause, Reset::Power | Reset::Options) {
            if !self.options.load(&mut self.cells) {
                self.sr |= OPTVERR;
            }
            if self.cells.hidden {
                wires.complain(HIDDEN);
            }
        }
        self.options.renew();
    }

    pub(crate) fn latency(&self) -> u32 {
        self.acr & 0xF
    }

    /// Option bytes in force, in the order of their registers.
    pub(crate) fn loaded(&self) -> &[u32] {
        &self.options.loaded
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
            0x10 => self.sr | self.busy_flags(),
            0x14 => self.cr,
            0x18 => self.eccr[0],
            0x1C if self.geometry.own_ecc => self.eccr[1],
            _ => match self.options.find(offset) {
                Some(n) => self.options.registers[n],
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
            0x18 => self.clear_ecc(0, value),
            0x1C if self.geometry.own_ecc => self.clear_ecc(1, value),
            _ => match self.options.find(offset) {
                Some(_) if self.cr & OPTLOCK != 0 => {
                    wires.complain(format!("option register {offset:#x} written while locked"));
                }
                Some(n) => self.options.registers[n] = value,
                None => wires.complain(format!("write of unmodelled FLASH register {offset:#x}")),
            },
        }
    }

    /// Flags are cleared by writing 1.
    fn clear_ecc(&mut self, n: usize, value: u32) {
        self.eccr[n] = self.eccr[n] & !(value & (ECCC | ECCD) | ECCIE) | value & ECCIE;
    }

    /// Code read a double word whose check bits do not fit (RM0440 3.3.2): flag, address and NMI. While the flag
    /// stands no other address is kept.
    pub(crate) fn ecc_error(&mut self, wires: &mut Wires, address: u32) {
        let bank = self.bank_of(address);
        let offset = address % self.geometry.bank;
        let (n, place) = match self.geometry.own_ecc {
            _ if !self.cells.is_main(address) => (0, SYSF_ECC),
            true => (bank, offset / 8),
            false => (0, offset & !7 | if bank == 1 { ECC_BANK2 } else { 0 }),
        };
        if self.eccr[n] & ECCD == 0 {
            self.eccr[n] = self.eccr[n] & ECCIE | ECCD | place;
            wires.nmi = true;
        }
    }

    /// The bank of an address; what is not main flash belongs to the first.
    fn bank_of(&self, address: u32) -> usize {
        if self.cells.is_main(address) { ((address - FLASH_BASE) / self.geometry.bank) as usize } else { 0 }
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
        let main = self.cells.is_main(address);
        if main && self.is_write_protected(address) || address >= OPTION_BYTES {
            self.sr |= WRPERR;
            return;
        }
        let old = self.cells.bytes(address, 8);
        let used = old.iter().any(|&b| b != 0xFF) || self.cells.cells().is_spoilt(address);
        if used && (value != 0 || !main) {
            self.sr |= PROGERR;
            return;
        }
        self.cells.begin(wires.now.ns, address, value.to_le_bytes().to_vec(), self.geometry.program_ns);
    }

    fn busy_flags(&self) -> u32 {
        self.cells.running().map_or(0, |o| self.geometry.busy[self.bank_of(o.address)])
    }

    /// Stalls the bus if the flash is busy.
    fn stalls(&self, wires: &mut Wires) -> bool {
        let busy = self.cells.is_busy() && self.cells.end() > wires.now.ns;
        if busy {
            wires.stall = self.cells.idle_from();
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
        self.cr = value & (EOPIE | ERRIE | self.geometry.bker | self.geometry.pnb | PG | PER) | locks;
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
                PER => self.erase(wires, value),
                _ => {
                    self.sr |= PGSERR;
                    wires.complain("STRT without PER, or with PG");
                }
            }
        }
    }

    fn erase(&mut self, wires: &mut Wires, value: u32) {
        let Geometry { bank, banks, bker, second, pnb, .. } = *self.geometry;
        let number = (value & pnb) >> pnb.trailing_zeros();
        let (first, from) = if value & bker != 0 { (second, bank) } else { (0, 0) };
        let page = number.wrapping_sub(first);
        if page >= bank / PAGE || from >= bank * banks {
            let which = if from == 0 { "first" } else { "second" };
            return wires
                .complain(format!("erase of page {number} of the {which} bank, which does not exist"));
        }
        let address = FLASH_BASE + from + page * PAGE;
        if self.is_write_protected(address) {
            self.sr |= WRPERR;
            return;
        }
        self.cells.begin(wires.now.ns, address, vec![0xFF; PAGE as usize], self.geometry.erase_ns);
    }

    fn write_options(&mut self, wires: &mut Wires) {
        let level = |options: &[u32]| options[0] & 0xFF;
        if level(self.loaded()) == 0xCC {
            return wires.complain("option bytes cannot be changed at protection level 2");
        }
        if level(self.loaded()) != 0xAA && level(&self.options.registers) == 0xAA {
            wires.complain("protection level 1 given up: mass erase");
        }
        if self.geometry.banks > 1 && (self.options.registers[0] ^ self.options.loaded[0]) & BANKS != 0 {
            wires.complain("another number of banks is not modelled");
        }
        let operations = self.options.operations(self.geometry.erase_ns, self.geometry.program_ns);
        if !self.cells.begin_all(wires.now.ns, operations) {
            wires.complain("OPTSTRT while the flash is busy");
        }
    }

    /// WRPxA and WRPxB: first page in bits 6 to 0, last one in bits 22 to 16, counted in their bank; none if the first is
    /// behind the last.
    fn is_write_protected(&self, address: u32) -> bool {
        let page = (address - FLASH_BASE) % self.geometry.bank / PAGE;
        let areas = self.geometry.protects[self.bank_of(address)].map(|n| self.options.loaded[n]);
        areas.iter().any(|area| (area & 0x7F..=area >> 16 & 0x7F).contains(&page))
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

    use crate::g0g4::chips::{G0B1, G431};

    const AT: u32 = FLASH_BASE + 0x8000;

    fn unlocked() -> (FlashInterface, Wires) {
        unlocked_of(&G431.flash)
    }

    fn unlocked_of(geometry: &'static Geometry) -> (FlashInterface, Wires) {
        let (mut flash, mut wires) = (FlashInterface::new(geometry), Wires::new(16_000_000));
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
    fn pages_of_the_second_bank_of_g0_begin_with_number_256() {
        let (mut flash, mut wires) = unlocked_of(&G0B1.flash);
        flash.write(&mut wires, 0x14, PER | 1 << 13 | 128 << 3 | STRT);
        assert!(!flash.cells.is_busy() && wires.complaints().count() == 1);
        flash.write(&mut wires, 0x14, PER | 1 << 13 | 257 << 3 | STRT);
        assert_eq!(flash.cells.running().map(|o| o.address), Some(FLASH_BASE + 0x4_0800));
        assert_eq!(flash.read(&mut wires, 0x10) >> 16, 0b110, "BSY2 and CFGBSY");
        flash.ecc_error(&mut wires, FLASH_BASE + 0x4_0010);
        assert_eq!((flash.read(&mut wires, 0x18), flash.read(&mut wires, 0x1C)), (0, ECCD | 2));
    }

    #[test]
    fn write_protected_pages_refuse() {
        let (mut flash, mut wires) = unlocked();
        flash.options.loaded[3] = 0xFF80_FF80 | 16 << 16 | 15;
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
        flash.write(&mut wires, 0x20, 0xFFEF_F8BB);
        flash.write(&mut wires, 0x14, OPTSTRT);
        assert_ne!(flash.read(&mut wires, 0x10) & 1 << 16, 0);
        assert_eq!(flash.cells.running().map(|o| (o.address, o.end)), Some((OPTION_BYTES, 22_020_000)));
        wires.now.ns = flash.cells.idle_from();
        flash.tick(&mut wires);
        assert_eq!((flash.read(&mut wires, 0x10), wires.now.ns), (0, 22_020_000 + 6 * 81_690));
        flash.reset(&mut wires, Reset::Software);
        assert_eq!(flash.loaded()[0] & 0xFF, 0xAA);
        flash.reset(&mut wires, Reset::Options);
        assert_eq!(flash.loaded()[0] & 0xFF, 0xBB);
    }

    #[test]
    fn a_double_word_of_one_time_memory_is_programmed_once_even_with_zeros() {
        let (mut flash, mut wires) = unlocked();
        flash.write(&mut wires, 0x14, PG);
        for (value, error) in [(0x1122_3344_5566_7788_u64, 0), (0, PROGERR)] {
            flash.store(&mut wires, OTP + 8, 4, value & 0xFFFF_FFFF);
            flash.store(&mut wires, OTP + 12, 4, value >> 32);
            assert_eq!(flash.sr, error);
            wires.now.ns += 100_000;
            flash.tick(&mut wires);
        }
        assert_eq!(flash.cells.bytes(OTP + 8, 8), 0x1122_3344_5566_7788_u64.to_le_bytes());
    }
}
