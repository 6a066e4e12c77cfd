//! Flash interface of F103 (PM0075): keys, half-words, pages, option bytes. Typical times of DS5792 (table 29).
//!
//! A half-word is programmed only where the cells are erased, or with zeros; PGERR says so else (2.3.3). An option byte is
//! programmed as a half-word whose upper half the controller makes (2.3.5). They are loaded by every reset; one that does not
//! fit its complement loads as erased (2.5), which for the protection byte means protected (2.4.1).

use crate::flash::{Cells, FLASH_BASE, Flash};
use crate::wires::Wires;

const KEYS: [u32; 2] = [0x4567_0123, 0xCDEF_89AB];
const SIZE: u32 = 512 * 1024;
const PAGE: u32 = 2048;
const ERASE_NS: u64 = 30_000_000;
const PROGRAM_NS: u64 = 52_500;

const BSY: u32 = 1;
const PGERR: u32 = 1 << 2;
const WRPRTERR: u32 = 1 << 4;
const EOP: u32 = 1 << 5;
const PG: u32 = 1;
const PER: u32 = 1 << 1;
const STRT: u32 = 1 << 6;
const LOCK: u32 = 1 << 7;
const MER: u32 = 1 << 2;
const OPTPG: u32 = 1 << 4;
const OPTER: u32 = 1 << 5;
const OPTWRE: u32 = 1 << 9;
const OPTION_BYTES: u32 = 0x1FFF_F800;
/// Option bytes as delivered: each with its complement, nothing protected (table 4).
const FACTORY_OPTIONS: [u8; 16] = [0xA5, 0x5A, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0];
/// The first option byte of a chip that is not protected.
const OPEN: u8 = 0xA5;
const OBR_OPTERR: u32 = 1;
const OBR_RDPRT: u32 = 1 << 1;
/// While protected, the first 4 KiB cannot be written (2.4.1).
const FIRST_PAGES: u32 = 2 * PAGE;

#[derive(Debug, Clone)]
pub(crate) struct FlashInterface {
    pub(crate) cells: Flash,
    acr: u32,
    sr: u32,
    cr: u32,
    ar: u32,
    keys: usize,
    option_keys: usize,
    /// Option bytes in force: protection, user, two of data, four of write protection; and whether all fitted.
    loaded: [u8; 8],
    fitted: bool,
    /// A wrong key locks the register until the next reset.
    jammed: bool,
    seed: u64,
}

impl FlashInterface {
    pub(crate) fn new() -> Self {
        let cells = Flash::new(Cells::new(SIZE, false).and(OPTION_BYTES, FACTORY_OPTIONS.to_vec()));
        let loaded = std::array::from_fn(|n| FACTORY_OPTIONS[2 * n]);
        Self {
            cells,
            acr: 0x30,
            sr: 0,
            cr: LOCK,
            ar: 0,
            keys: 0,
            option_keys: 0,
            loaded,
            fitted: true,
            jammed: false,
            seed: 0,
        }
    }

    pub(crate) fn reset(&mut self, wires: &Wires) {
        self.seed = self.seed.wrapping_add(1);
        self.cells.interrupt(wires.now.ns, self.seed);
        (self.acr, self.sr, self.cr, self.ar) = (0x30, 0, LOCK, 0);
        (self.keys, self.option_keys, self.jammed) = (0, 0, false);
        let bytes = self.cells.bytes(OPTION_BYTES, 16);
        let fits = |pair: &[u8]| pair[1] == !pair[0] || pair == [0xFF, 0xFF];
        self.fitted = bytes.chunks(2).all(fits);
        let mut pairs = bytes.chunks(2);
        self.loaded =
            std::array::from_fn(|_| pairs.next().filter(|pair| fits(pair)).map_or(0xFF, |pair| pair[0]));
    }

    /// The protection byte in force.
    pub(crate) fn protection(&self) -> u8 {
        self.loaded[0]
    }

    pub(crate) fn latency(&self) -> u32 {
        self.acr & 7
    }

    pub(crate) fn tick(&mut self, wires: &Wires) {
        if self.cells.settle(wires.now.ns) {
            self.sr |= if self.cells.failed { PGERR } else { EOP };
        }
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => self.acr,
            0x04 | 0x08 => 0,
            0x0C => self.sr | if self.cells.is_busy() { BSY } else { 0 },
            0x10 => self.cr,
            0x1C => {
                let [rdp, user, data0, data1, ..] = self.loaded.map(u32::from);
                let errors = if self.fitted { 0 } else { OBR_OPTERR };
                let protected = if rdp == u32::from(OPEN) { 0 } else { OBR_RDPRT };
                errors | protected | user << 2 | data0 << 10 | data1 << 18
            }
            0x20 => self.write_protection(),
            _ => {
                wires.complain(format!("read of unmodelled FLASH register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match offset {
            0x00 => self.acr = value & 0x1F | self.acr & 0x20,
            0x04 if self.jammed || KEYS.get(self.keys) != Some(&value) => self.jammed = true,
            0x04 => {
                self.keys = (self.keys + 1) % 2;
                if self.keys == 0 {
                    self.cr &= !LOCK;
                }
            }
            0x08 if self.jammed || KEYS.get(self.option_keys) != Some(&value) => self.jammed = true,
            0x08 => {
                self.option_keys = (self.option_keys + 1) % 2;
                if self.option_keys == 0 {
                    self.cr |= OPTWRE;
                }
            }
            0x0C => self.sr &= !(value & (PGERR | WRPRTERR | EOP)),
            0x10 if self.cr & LOCK != 0 => wires.complain("FLASH_CR written while locked"),
            0x10 => self.control(wires, value),
            0x14 => self.ar = value,
            _ => wires.complain(format!("write of unmodelled FLASH register {offset:#x}")),
        }
    }

    fn control(&mut self, wires: &mut Wires, value: u32) {
        if self.cells.is_busy() {
            return wires.complain("FLASH_CR written while the flash is busy");
        }
        if value & MER != 0 {
            return wires.complain("mass erase: a bootloader would erase itself");
        }
        // Keys set OPTWRE, software clears it.
        self.cr = value & (PG | PER | OPTPG | OPTER | LOCK) | value & self.cr & OPTWRE;
        if value & STRT == 0 {
            return;
        }
        match self.cr & (PER | PG | OPTER | OPTPG | OPTWRE) & !OPTWRE {
            OPTER if self.cr & OPTWRE != 0 => {
                let erased = vec![0xFF; FACTORY_OPTIONS.len()];
                self.cells.begin(wires.now.ns, OPTION_BYTES, erased, ERASE_NS);
            }
            OPTER => wires.complain("option bytes erased without their keys"),
            PER if !self.cells.is_main(self.ar) => {
                wires.complain(format!("erase at {:#010x}, where no flash is", self.ar));
            }
            PER => {
                let page = (self.ar - FLASH_BASE) / PAGE * PAGE + FLASH_BASE;
                if self.is_write_protected(page) {
                    self.sr |= WRPRTERR;
                    return;
                }
                self.cells.begin(wires.now.ns, page, vec![0xFF; PAGE as usize], ERASE_NS);
            }
            _ => wires.complain("STRT without PER or OPTER, or with another"),
        }
    }

    /// A store of code into the array. While an operation runs the bus stalls (2.3.3).
    pub(crate) fn store(&mut self, wires: &mut Wires, address: u32, size: usize, value: u64) {
        if self.cells.is_busy() && self.cells.end() > wires.now.ns {
            wires.stall = self.cells.end();
            return;
        }
        let main = self.cells.is_main(address);
        let allows = if main { PG } else { OPTPG | OPTWRE };
        if self.cr & (LOCK | PG | OPTPG | OPTWRE) & !(if main { OPTWRE } else { 0 }) != allows {
            return wires
                .complain(format!("store to flash at {address:#010x} without PG, or OPTPG and its keys"));
        }
        if size != 2 {
            return wires.complain(format!("{size} bytes stored at {address:#010x}: half-words only"));
        }
        let half_word = if main { value as u16 } else { u16::from_le_bytes([value as u8, !value as u8]) };
        let erased = self.cells.bytes(address, 2) == [0xFF, 0xFF];
        if !erased && half_word != 0 {
            self.sr |= PGERR;
            return;
        }
        if main && self.is_write_protected(address) {
            self.sr |= WRPRTERR;
            return;
        }
        if address == OPTION_BYTES && value as u8 == OPEN && self.protection() != OPEN {
            wires.complain("protection given up: mass erase");
        }
        self.cells.begin(wires.now.ns, address, half_word.to_le_bytes().to_vec(), PROGRAM_NS);
    }

    /// FLASH_WRPR: a 0 protects two pages, the last bit all from page 62 on.
    fn write_protection(&self) -> u32 {
        let [.., a, b, c, d] = self.loaded;
        u32::from_le_bytes([a, b, c, d])
    }

    fn is_write_protected(&self, address: u32) -> bool {
        let at = address - FLASH_BASE;
        let by_byte = self.write_protection() >> (at / PAGE / 2).min(31) & 1 == 0;
        by_byte || at < FIRST_PAGES && self.protection() != OPEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_word_is_programmed_once_unless_with_zeros_and_a_page_is_erased_by_its_address() {
        let (mut flash, mut wires) = (FlashInterface::new(), Wires::new(8_000_000));
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x04, k));
        flash.write(&mut wires, 0x10, PG);
        let at = FLASH_BASE + 0x8000;
        for (value, error, after) in
            [(0x1234, 0, [0x34, 0x12]), (0x1230, PGERR, [0x34, 0x12]), (0, 0, [0, 0])]
        {
            flash.write(&mut wires, 0x0C, PGERR | EOP);
            flash.store(&mut wires, at, 2, value);
            wires.now.ns += PROGRAM_NS;
            flash.tick(&wires);
            assert_eq!((flash.read(&mut wires, 0x0C) & PGERR, flash.cells.bytes(at, 2)), (error, &after[..]));
        }
        flash.write(&mut wires, 0x10, PER);
        flash.write(&mut wires, 0x14, at + 2046);
        flash.write(&mut wires, 0x10, PER | STRT);
        assert_eq!(flash.cells.running().map(|o| (o.address, o.after.len())), Some((at, 2048)));
        assert_eq!(wires.complaints().count(), 0);
        flash.store(&mut wires, at, 4, 0);
        assert_eq!(wires.stall, flash.cells.end());
    }

    #[test]
    fn option_bytes_are_erased_and_programmed_with_their_complements_and_loaded_by_a_reset() {
        let (mut flash, mut wires) = (FlashInterface::new(), Wires::new(8_000_000));
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x04, k));
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x08, k));
        flash.write(&mut wires, 0x10, OPTWRE | OPTER);
        flash.write(&mut wires, 0x10, OPTWRE | OPTER | STRT);
        wires.now.ns = flash.cells.end();
        flash.tick(&wires);
        flash.write(&mut wires, 0x10, OPTWRE | OPTPG);
        for (n, byte) in [0xA5, 0xFE, 0x12, 0x34, 0xFD, 0xFF, 0xFF, 0xFF].into_iter().enumerate() {
            flash.store(&mut wires, OPTION_BYTES + 2 * n as u32, 2, byte);
            wires.now.ns += PROGRAM_NS;
            flash.tick(&wires);
        }
        assert_eq!(flash.cells.bytes(OPTION_BYTES, 6), [0xA5, 0x5A, 0xFE, 0x01, 0x12, 0xED]);
        assert_eq!((flash.read(&mut wires, 0x1C), flash.read(&mut wires, 0x20)), (0x03FF_FFFC, u32::MAX));
        flash.reset(&wires);
        assert_eq!(flash.read(&mut wires, 0x1C), 0x34 << 18 | 0x12 << 10 | 0xFE << 2);
        assert_eq!(flash.read(&mut wires, 0x20), 0xFFFF_FFFD);
        KEYS.iter().for_each(|&k| flash.write(&mut wires, 0x04, k));
        flash.write(&mut wires, 0x10, PER);
        flash.write(&mut wires, 0x14, FLASH_BASE + 2 * PAGE);
        flash.write(&mut wires, 0x10, PER | STRT);
        assert_eq!((flash.sr & WRPRTERR, flash.cells.is_busy()), (WRPRTERR, false));
        assert_eq!(wires.complaints().count(), 0);
    }

    #[test]
    fn option_bytes_that_a_cut_left_in_between_protect_the_chip() {
        let (mut flash, wires) = (FlashInterface::new(), Wires::new(8_000_000));
        for (pair, obr) in
            [([0xA5, 0x00], OBR_RDPRT | OBR_OPTERR), ([0xFF, 0xFF], OBR_RDPRT), ([0xA5, 0x5A], 0)]
        {
            flash.cells.preset(OPTION_BYTES, &pair);
            flash.reset(&wires);
            assert_eq!(flash.read(&mut wires.clone(), 0x1C) & 3, obr);
        }
    }
}
