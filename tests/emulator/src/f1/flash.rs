//! Flash interface of F103 (PM0075): keys, half-words, pages. Typical times of DS5792 (table 29).
//!
//! A half-word is programmed only where the cells are erased, or with zeros; PGERR says so else (2.3.3). Option bytes are read;
//! a write of them is not modelled, and noted.

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
/// Mass erase and option bytes.
const OTHERS: u32 = 1 << 2 | 1 << 4 | 1 << 5;
/// Option bytes as delivered: each with its complement, nothing protected (table 4).
pub(crate) const OPTIONS: [u8; 16] =
    [0xA5, 0x5A, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0];
/// The same in FLASH_OBR and FLASH_WRPR: no RDPRT.
const OBR: u32 = 0x03FF_FFFC;

#[derive(Debug, Clone)]
pub(crate) struct FlashInterface {
    pub(crate) cells: Flash,
    acr: u32,
    sr: u32,
    cr: u32,
    ar: u32,
    keys: usize,
    /// A wrong key locks the register until the next reset.
    jammed: bool,
    seed: u64,
}

impl FlashInterface {
    pub(crate) fn new() -> Self {
        let cells = Flash::new(Cells::new(SIZE, false));
        Self { cells, acr: 0x30, sr: 0, cr: LOCK, ar: 0, keys: 0, jammed: false, seed: 0 }
    }

    pub(crate) fn reset(&mut self, wires: &Wires) {
        self.seed = self.seed.wrapping_add(1);
        self.cells.interrupt(wires.now.ns, self.seed);
        (self.acr, self.sr, self.cr, self.ar) = (0x30, 0, LOCK, 0);
        (self.keys, self.jammed) = (0, false);
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
            0x1C => OBR,
            0x20 => u32::MAX,
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
        if value & OTHERS != 0 {
            return wires.complain("mass erase and option bytes are not modelled");
        }
        self.cr = value & (PG | PER | LOCK);
        match value & (STRT | PER | PG) {
            v if v & STRT == 0 => {}
            v if v & (PER | PG) != PER => wires.complain("STRT without PER, or with PG"),
            _ if !self.cells.contains(self.ar, 1) => {
                wires.complain(format!("erase at {:#010x}, where no flash is", self.ar));
            }
            _ => {
                let page = (self.ar - FLASH_BASE) / PAGE * PAGE + FLASH_BASE;
                self.cells.begin(wires.now.ns, page, vec![0xFF; PAGE as usize], ERASE_NS);
            }
        }
    }

    /// A store of code into the array. While an operation runs the bus stalls (2.3.3).
    pub(crate) fn store(&mut self, wires: &mut Wires, address: u32, size: usize, value: u64) {
        if self.cells.is_busy() && self.cells.end() > wires.now.ns {
            wires.stall = self.cells.end();
            return;
        }
        if self.cr & (LOCK | PG) != PG {
            return wires.complain(format!("store to flash at {address:#010x} without PG"));
        }
        if size != 2 {
            return wires.complain(format!("{size} bytes stored at {address:#010x}: half-words only"));
        }
        let erased = self.cells.bytes(address, 2) == [0xFF, 0xFF];
        if !erased && value & 0xFFFF != 0 {
            self.sr |= PGERR;
            return;
        }
        self.cells.begin(wires.now.ns, address, (value as u16).to_le_bytes().to_vec(), PROGRAM_NS);
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
}
