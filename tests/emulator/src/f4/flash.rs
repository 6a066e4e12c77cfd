//! Flash interface of F405 (RM0090 sections 3.5 to 3.9): keys, parallelism, sectors, error flags, option bytes,
//! one-time programmable memory.
//!
//! Cells can be cleared bit by bit and never set without an erase; no error tells of an attempt. Typical times of
//! DS8626 (tables 39 and 40) at 2.7 to 3.6 V. A register or array write while busy stalls the bus until the end.
//! A change of option bytes erases their sector, then programs it (3.6.2). The manual does not say what a chip makes of
//! option bytes that a power cut left in between: here it takes them as they are, whatever their complements say.

use crate::flash::{Cells, FLASH_BASE, Flash};
use crate::wires::{Reset, Wires};

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const OPTION_KEYS: [u32; 2] = [0x0819_2A3B, 0x4C5D_6E7F];
/// Sizes of the sectors in KiB.
const SECTORS: [u32; 12] = [16, 16, 16, 16, 64, 128, 128, 128, 128, 128, 128, 128];
/// Option bytes as delivered: no protection, no write protection (RM0090 table 17).
const FACTORY_OPTIONS: u32 = 0x0FFF_AAEC;
/// Where they are in memory (3.6.1), and how many bytes; bits of FLASH_OPTCR that are option bits.
const OPTION_BYTES: u32 = 0x1FFF_C000;
const OPTION_AREA: u32 = 16;
const OPTION_BITS: u32 = 0x0FFF_FFEC;
/// The watchdog is started by software only (WDG_SW).
const WDG_SW: u32 = 1 << 5;
/// One-time programmable memory (3.7): blocks of 32 bytes, behind them a lock byte for each; 0 locks.
const OTP: u32 = 0x1FFF_7800;
const OTP_BLOCKS: u32 = 16;
const OTP_DATA: u32 = OTP_BLOCKS * 32;

const OPERR: u32 = 1 << 1;
const WRPERR: u32 = 1 << 4;
const PGAERR: u32 = 1 << 5;
const PGPERR: u32 = 1 << 6;
const PGSERR: u32 = 1 << 7;
const BSY: u32 = 1 << 16;
const PG: u32 = 1;
const SER: u32 = 1 << 1;
const MER: u32 = 1 << 2;
const STRT: u32 = 1 << 16;
const EOPIE: u32 = 1 << 24;
const LOCK: u32 = 1 << 31;
const OPTLOCK: u32 = 1;
const OPTSTRT: u32 = 2;

/// Times in microseconds for x8, x16 and x32 parallelism.
const ERASE_16K: [u64; 3] = [400_000, 300_000, 250_000];
const ERASE_64K: [u64; 3] = [1_200_000, 700_000, 550_000];
const ERASE_128K: [u64; 3] = [2_000_000, 1_300_000, 1_000_000];
const PROGRAM_US: u64 = 16;

#[derive(Debug, Clone)]
pub(crate) struct FlashInterface {
    pub(crate) cells: Flash,
    acr: u32,
    sr: u32,
    cr: u32,
    keys: usize,
    option_keys: usize,
    /// A wrong key locks the register until the next reset.
    jammed: bool,
    /// Option bytes as the last reset loaded them.
    loaded: u32,
    /// OPTCR as software left it.
    optcr: u32,
    pub(crate) seed: u64,
}

impl FlashInterface {
    pub(crate) fn new() -> Self {
        Self {
            cells: Flash::new(
                Cells::new(1024 * 1024, false)
                    .and(OTP, vec![0xFF; (OTP_DATA + OTP_BLOCKS) as usize])
                    .and(OPTION_BYTES, option_bytes(FACTORY_OPTIONS)),
            ),
            acr: 0,
            sr: 0,
            cr: LOCK,
            keys: 0,
            option_keys: 0,
            jammed: false,
            loaded: FACTORY_OPTIONS,
            optcr: FACTORY_OPTIONS | OPTLOCK,
            seed: 0,
        }
    }

    pub(crate) fn reset(&mut self, wires: &Wires, _: Reset) {
        self.seed = self.seed.wrapping_add(1);
        self.cells.interrupt(wires.now.ns, self.seed);
        (self.acr, self.sr, self.cr) = (0, 0, LOCK);
        (self.keys, self.option_keys, self.jammed) = (0, 0, false);
        let half = |at: u32| {
            let bytes = self.cells.bytes(OPTION_BYTES + at, 2);
            u32::from(bytes[0]) | u32::from(bytes[1]) << 8
        };
        self.loaded = (half(0) | half(8) << 16) & OPTION_BITS;
        self.optcr = self.loaded | OPTLOCK;
    }

    pub(crate) fn latency(&self) -> u32 {
        self.acr & 7
    }

    /// Option bytes in force.
    pub(crate) fn loaded(&self) -> u32 {
        self.loaded
    }

    /// The option bytes start the independent watchdog with every reset.
    pub(crate) fn starts_watchdog(&self) -> bool {
        self.loaded & WDG_SW == 0
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        if self.cells.settle(wires.now.ns) {
            if self.cells.failed {
                self.sr |= OPERR;
            } else if self.cr & EOPIE != 0 {
                self.sr |= 1;
            }
        }
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => self.acr,
            0x04 | 0x08 => 0,
            0x0C => self.sr | if self.cells.is_busy() { BSY } else { 0 },
            0x10 => self.cr,
            0x14 => self.optcr,
            _ => {
                wires.complain(format!("read of unmodelled FLASH register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match offset {
            0x00 => {
                self.acr = value & 0x1F07;
            }
            0x04 => {
                if unlock(&mut self.keys, &mut self.jammed, KEYS, value) {
                    self.cr &= !LOCK;
                }
            }
            0x08 => {
                if unlock(&mut self.option_keys, &mut self.jammed, OPTION_KEYS, value) {
                    self.optcr &= !OPTLOCK;
                }
            }
            0x0C => self.sr &= !(value & 0xF3),
            0x10 if self.stalls(wires) => {}
            0x10 => self.control(wires, value),
            0x14 => self.option_control(wires, value),
            _ => wires.complain(format!("write of unmodelled FLASH register {offset:#x}")),
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
        if 1 << (self.cr >> 8 & 3) != size {
            self.sr |= PGPERR;
            return wires.complain(format!("{size} bytes stored at {address:#010x} against PSIZE"));
        }
        if !(address as usize).is_multiple_of(size) {
            self.sr |= PGAERR;
            return wires.complain(format!("unaligned store of {size} bytes at {address:#010x}"));
        }
        if size == 8 {
            return wires.complain("x64 parallelism needs an external programming voltage");
        }
        if self.is_write_protected(address) {
            self.sr |= WRPERR;
            return;
        }
        let bytes = &value.to_le_bytes()[..size];
        let old = self.cells.bytes(address, size as u32);
        if old.iter().zip(bytes).any(|(o, n)| !o & n != 0) {
            wires.complain(format!("bits set at {address:#010x} without an erase"));
        }
        let after = old.iter().zip(bytes).map(|(o, n)| o & n).collect();
        self.cells.begin(wires.now.ns, address, after, PROGRAM_US * 1000);
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
        self.cr = value & 0x8300_037F;
        if value & STRT == 0 || value & LOCK != 0 {
            return;
        }
        match (value & SER != 0, value & MER != 0) {
            (true, false) => self.erase(wires, (value >> 3 & 0xF) as usize),
            (false, true) => wires.complain("mass erase: a bootloader would erase itself"),
            _ => {
                self.sr |= PGSERR;
                wires.complain("STRT without SER");
            }
        }
    }

    fn erase(&mut self, wires: &mut Wires, sector: usize) {
        let Some(&kib) = SECTORS.get(sector) else {
            return wires.complain(format!("erase of sector {sector}, which does not exist"));
        };
        let address = FLASH_BASE + SECTORS[..sector].iter().sum::<u32>() * 1024;
        if self.is_write_protected(address) {
            self.sr |= WRPERR;
            return;
        }
        let parallel = (self.cr >> 8 & 3).min(2) as usize;
        let time = match kib {
            16 => ERASE_16K,
            64 => ERASE_64K,
            _ => ERASE_128K,
        };
        self.cells.begin(wires.now.ns, address, vec![0xFF; kib as usize * 1024], time[parallel] * 1000);
    }

    fn option_control(&mut self, wires: &mut Wires, value: u32) {
        if self.optcr & OPTLOCK != 0 {
            return wires.complain("FLASH_OPTCR written while locked");
        }
        self.optcr = value & 0x0FFF_FFED;
        if value & OPTSTRT != 0 {
            if self.loaded >> 8 & 0xFF == 0xCC {
                return wires.complain("option bytes cannot be changed at protection level 2");
            }
            let options = value & OPTION_BITS;
            let erased = vec![0xFF; OPTION_AREA as usize];
            // An option sector is erased as a 16 KiB sector is.
            let operations = vec![
                (OPTION_BYTES, erased, ERASE_16K[2] * 1000),
                (OPTION_BYTES, option_bytes(options), u64::from(OPTION_AREA / 4) * PROGRAM_US * 1000),
            ];
            if !self.cells.begin_all(wires.now.ns, operations) {
                return wires.complain("OPTSTRT while the flash is busy");
            }
            if self.loaded >> 8 & 0xFF != 0xAA && options >> 8 & 0xFF == 0xAA {
                wires.complain("protection level 1 given up: mass erase");
            }
        }
    }

    /// The block of one-time programmable memory that has this address is locked; option bytes are no store's aim.
    fn is_locked(&self, address: u32) -> bool {
        match address.wrapping_sub(OTP) {
            at if at < OTP_DATA => self.cells.bytes(OTP + OTP_DATA + at / 32, 1) == [0],
            at => at >= OTP_DATA + OTP_BLOCKS,
        }
    }

    fn is_write_protected(&self, address: u32) -> bool {
        if !self.cells.is_main(address) {
            return self.is_locked(address);
        }
        let mut end = FLASH_BASE;
        let sector = SECTORS.iter().position(|kib| {
            end += kib * 1024;
            address < end
        });
        sector.is_some_and(|n| self.loaded >> (16 + n) & 1 == 0)
    }
}

/// Option bytes in memory: each half-word with its complement behind it (3.6.1).
fn option_bytes(options: u32) -> Vec<u8> {
    let pair = |half: u32| [(half as u16).to_le_bytes(), (!half as u16).to_le_bytes()].concat();
    [pair(options), vec![0xFF; 4], pair(options >> 16), vec![0xFF; 4]].concat()
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

    fn unlocked() -> (FlashInterface, Wires) {
        let (mut flash, mut wires) = (FlashInterface::new(), Wires::new(16_000_000));
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x04, k));
        (flash, wires)
    }

    fn finish(flash: &mut FlashInterface, wires: &mut Wires) {
        wires.now.ns = flash.cells.end();
        flash.tick(wires);
    }

    #[test]
    fn words_are_programmed_at_32_bits_and_only_clear_bits() {
        let (mut flash, mut wires) = unlocked();
        flash.write(&mut wires, 0x10, PG | 2 << 8);
        flash.store(&mut wires, FLASH_BASE + 0x8000, 4, 0xFFFF_00F0);
        assert_ne!(flash.read(&mut wires, 0x0C) & BSY, 0);
        assert_eq!(flash.cells.end(), 16_000);
        finish(&mut flash, &mut wires);
        flash.store(&mut wires, FLASH_BASE + 0x8000, 4, 0xFFFF_00FF);
        finish(&mut flash, &mut wires);
        assert_eq!(flash.cells.bytes(FLASH_BASE + 0x8000, 4), [0xF0, 0x00, 0xFF, 0xFF]);
        assert_eq!(flash.sr, 0);
        assert!(wires.complaints().next().unwrap().0.contains("without an erase"));
    }

    #[test]
    fn a_wrong_key_locks_the_registers_until_the_next_reset() {
        let (mut flash, mut wires) = (FlashInterface::new(), Wires::new(1));
        flash.write(&mut wires, 0x04, 1);
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x04, k));
        assert_ne!(flash.read(&mut wires, 0x10) & LOCK, 0);
        flash.reset(&wires, Reset::Software);
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x04, k));
        assert_eq!(flash.read(&mut wires, 0x10) & LOCK, 0);
    }

    #[test]
    fn stores_of_another_width_without_pg_or_unaligned_are_refused() {
        let (mut flash, mut wires) = unlocked();
        flash.store(&mut wires, FLASH_BASE, 4, 0);
        assert_eq!(flash.sr, PGSERR);
        flash.write(&mut wires, 0x0C, 0xF3);
        flash.write(&mut wires, 0x10, PG);
        flash.store(&mut wires, FLASH_BASE, 4, 0);
        assert_eq!(flash.sr, PGPERR);
        assert!(!flash.cells.is_busy());
    }

    #[test]
    fn a_sector_erase_takes_its_time_and_stalls_the_control_register() {
        let (mut flash, mut wires) = unlocked();
        flash.write(&mut wires, 0x10, SER | 4 << 3 | 2 << 8 | STRT);
        assert_eq!(flash.cells.end(), 550_000_000, "64 KiB");
        flash.write(&mut wires, 0x10, 0);
        assert_eq!(wires.stall, 550_000_000);
    }

    #[test]
    fn write_protected_sectors_refuse() {
        let (mut flash, mut wires) = unlocked();
        flash.loaded &= !(1 << 18);
        flash.write(&mut wires, 0x10, SER | 2 << 3 | STRT);
        assert_eq!(flash.sr, WRPERR);
        assert!(!flash.cells.is_busy());
    }

    #[test]
    fn protection_acts_after_the_next_reset() {
        let (mut flash, mut wires) = unlocked();
        OPTION_KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x08, k));
        let value = flash.read(&mut wires, 0x14) & !0xFF00 | 0x5500;
        flash.write(&mut wires, 0x14, value | OPTSTRT);
        assert_ne!(flash.read(&mut wires, 0x0C) & BSY, 0);
        assert_eq!(flash.loaded() >> 8 & 0xFF, 0xAA);
        finish(&mut flash, &mut wires);
        assert!(flash.cells.is_busy(), "erased, and yet to be programmed");
        finish(&mut flash, &mut wires);
        assert_eq!((flash.cells.is_busy(), flash.loaded() >> 8 & 0xFF), (false, 0xAA));
        flash.reset(&wires, Reset::Pin);
        assert_eq!(flash.loaded() >> 8 & 0xFF, 0x55);
    }

    #[test]
    fn a_cut_in_the_erase_of_the_option_bytes_leaves_the_chip_protected_or_as_it_was() {
        let levels = (0..16).map(|seed| {
            let (mut flash, mut wires) = unlocked();
            OPTION_KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x08, k));
            let value = flash.read(&mut wires, 0x14) & !0xFF00 | 0x5500;
            flash.write(&mut wires, 0x14, value | OPTSTRT);
            flash.seed = seed;
            flash.reset(&wires, Reset::Power);
            assert!(!flash.cells.is_busy(), "what was to follow does not");
            flash.loaded() >> 8 & 0xFF
        });
        let open = levels.filter(|&level| level == 0xAA).count();
        assert!((1..16).contains(&open), "{open}");
    }

    #[test]
    fn one_time_memory_takes_bits_once_and_a_locked_block_none() {
        let (mut flash, mut wires) = unlocked();
        flash.write(&mut wires, 0x10, PG | 2 << 8);
        for word in [0xFFFF_0F0F, 0xFFFF_00FF] {
            flash.store(&mut wires, OTP + 32, 4, word);
            finish(&mut flash, &mut wires);
        }
        assert_eq!(flash.cells.bytes(OTP + 32, 4), [0x0F, 0x00, 0xFF, 0xFF]);
        assert!(wires.complaints().next().unwrap().0.contains("without an erase"));
        flash.write(&mut wires, 0x10, PG);
        flash.store(&mut wires, OTP + OTP_DATA + 1, 1, 0);
        finish(&mut flash, &mut wires);
        flash.store(&mut wires, OTP + 63, 1, 0);
        assert_eq!((flash.sr, flash.cells.is_busy()), (WRPERR, false));
        flash.write(&mut wires, 0x0C, WRPERR);
        flash.store(&mut wires, OTP + 64, 1, 0);
        assert!(flash.cells.is_busy(), "the next block is open");
    }
}
