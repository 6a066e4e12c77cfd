//! Option bytes: written in one go, in the datasheet's time, and loaded when the chip starts as its family does it.
//!
//! A write takes effect when it ends. Cut off in the middle it leaves a readout protection byte that is none of the
//! known values, and so level 1, and arbitrary other bytes. Addresses, defaults and rules are those of PM0075 (F1),
//! RM0090 (F4), RM0440 (G4) and RM0351 (L4).

use panel_protocol::node::{EraseUnit, Protection};

use crate::chip::FLASH_BASE;
use crate::rng::Rng;

/// Bytes of option area that can be written.
pub(crate) const OPTION_BYTES: usize = 32;

/// Option bytes as programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Readout protection.
    pub protection: Protection,
    /// The rest of the option area; the byte of the readout protection and complements do not count.
    pub bytes: [u8; OPTION_BYTES],
}

/// Which bytes are complements of others, made by the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complement {
    None,
    /// Every second byte (F1).
    Bytes,
    /// Every second word (G0, G4, L4).
    Words,
}

/// How a family keeps its option bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OptionArea {
    pub(crate) base: u32,
    /// Offset of the readout protection.
    pub(crate) rdp: usize,
    pub(crate) complement: Complement,
    /// Erase of the area and its programming, typically, ns.
    pub(crate) write_ns: u64,
    /// NRST loads them too, not only power and the launch bit.
    pub(crate) loaded_by_nrst: bool,
    /// Readout protection level 2 exists.
    level2: bool,
    /// Byte that stands for level 0.
    open: u8,
    /// Erase units whose write protection is off: offset and value where it is not 0xFF from the factory.
    factory: &'static [(usize, u8)],
    wrp: WriteProtection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteProtection {
    /// A cleared bit protects two pages of 2 KiB, the last bit all that are left.
    PagePairs,
    /// A cleared bit protects a sector.
    Sectors,
    /// Pages from the byte at 24 to the byte at 26, by so many bits.
    Range(u8),
}

pub(crate) static F1_OPTIONS: OptionArea = OptionArea {
    base: 0x1FFF_F800,
    rdp: 0,
    complement: Complement::Bytes,
    write_ns: 30_000_000 + 8 * 52_500,
    loaded_by_nrst: true,
    level2: false,
    open: 0xA5,
    factory: &[],
    wrp: WriteProtection::PagePairs,
};

/// The datasheet has no time for it: that of the smallest sector.
pub(crate) static F4_OPTIONS: OptionArea = OptionArea {
    base: 0x1FFF_C000,
    rdp: 1,
    complement: Complement::None,
    write_ns: 250_000_000,
    loaded_by_nrst: true,
    level2: true,
    open: 0xAA,
    factory: &[(0, 0xEF)],
    wrp: WriteProtection::Sectors,
};

pub(crate) static G4_OPTIONS: OptionArea = PAGED;

const PAGED: OptionArea = OptionArea {
    base: 0x1FFF_7800,
    rdp: 0,
    complement: Complement::Words,
    write_ns: 22_020_000 + 4 * 81_690,
    loaded_by_nrst: false,
    level2: true,
    open: 0xAA,
    factory: &[(1, 0xF8), (26, 0x00)],
    wrp: WriteProtection::Range(0x7F),
};

/// RM0444, 3.4.1: OPTR is 0xFFFF FEAA from the factory.
pub(crate) static G0_OPTIONS: OptionArea =
    OptionArea { write_ns: 22_000_000 + 4 * 85_000, factory: &[(1, 0xFE), (26, 0x00)], ..PAGED };

pub(crate) static L4_OPTIONS: OptionArea = OptionArea { wrp: WriteProtection::Range(0xFF), ..PAGED };

impl OptionArea {
    /// As the chip comes from its maker.
    pub(crate) fn factory(&self) -> Options {
        let mut bytes = [0xFF; OPTION_BYTES];
        self.factory.iter().for_each(|&(at, byte)| bytes[at] = byte);
        Options { protection: Protection::Open, bytes }
    }

    fn is_made(&self, at: usize) -> bool {
        at == self.rdp
            || match self.complement {
                Complement::None => false,
                Complement::Bytes => at % 2 == 1,
                Complement::Words => at / 4 % 2 == 1,
            }
    }

    /// The area as it reads.
    fn image(&self, options: &Options) -> [u8; OPTION_BYTES] {
        let mut bytes = options.bytes;
        bytes[self.rdp] = match options.protection {
            Protection::Open => self.open,
            Protection::Level1 => 0x00,
            Protection::Level2 => 0xCC,
        };
        for at in 0..OPTION_BYTES {
            match self.complement {
                Complement::Bytes if at % 2 == 1 => bytes[at] = !bytes[at - 1],
                Complement::Words if at / 4 % 2 == 1 => bytes[at] = !bytes[at - 4],
                _ => {}
            }
        }
        bytes
    }
}

/// The option bytes of one chip.
#[derive(Debug)]
pub(crate) struct OptionCells {
    area: &'static OptionArea,
    programmed: Options,
    loaded: Options,
    /// What is being written, and when that ends.
    pending: Option<(Options, u64)>,
    /// The option controller refuses to write.
    pub(crate) fails: bool,
    /// The readout protection is taken and never written.
    pub(crate) ignores_lock: bool,
}

impl OptionCells {
    pub(crate) fn new(area: &'static OptionArea) -> Self {
        let options = area.factory();
        Self { area, programmed: options, loaded: options, pending: None, fails: false, ignores_lock: false }
    }

    pub(crate) fn preset(&mut self, options: Options) {
        (self.programmed, self.loaded, self.pending) = (options, options, None);
    }

    pub(crate) fn programmed(&self) -> &Options {
        &self.programmed
    }

    /// The area as it will read once it is loaded.
    pub(crate) fn image(&self) -> [u8; OPTION_BYTES] {
        self.area.image(&self.programmed)
    }

    /// In force.
    pub(crate) fn loaded(&self) -> &Options {
        &self.loaded
    }

    /// A write that has ended takes effect; true if one has.
    pub(crate) fn settle(&mut self, now: u64) -> bool {
        let ended = self.pending.take_if(|(_, end)| *end <= now);
        if let Some((options, _)) = ended {
            self.programmed = options;
        }
        ended.is_some()
    }

    /// Power is lost; true if a write was cut off.
    pub(crate) fn interrupt(&mut self, now: u64, rng: &mut Rng) -> bool {
        self.settle(now);
        let Some((options, _)) = self.pending.take() else { return false };
        self.programmed = options;
        if self.programmed.protection != Protection::Level2 {
            self.programmed.protection = Protection::Level1;
        }
        for byte in &mut self.programmed.bytes {
            *byte |= rng.next() as u8;
        }
        true
    }

    /// Begins to write; returns when it ends, or `None` if the controller refuses.
    fn begin(&mut self, now: u64, options: Options) -> Option<u64> {
        self.settle(now);
        let locked_for_ever = self.loaded.protection == Protection::Level2;
        if self.fails || self.pending.is_some() || locked_for_ever {
            return None;
        }
        let end = now + self.area.write_ns;
        self.pending = Some((options, end));
        Some(end)
    }

    pub(crate) fn write(&mut self, now: u64, offset: u8, data: &[u8]) -> Option<u64> {
        let from = usize::from(offset);
        if from + data.len() > OPTION_BYTES {
            return None;
        }
        self.settle(now);
        let mut options = self.programmed;
        for (at, &byte) in (from..).zip(data).filter(|(at, _)| !self.area.is_made(*at)) {
            options.bytes[at] = byte;
        }
        self.begin(now, options)
    }

    pub(crate) fn protect(&mut self, now: u64, level: Protection) -> Option<u64> {
        self.settle(now);
        let options = if self.ignores_lock {
            self.programmed
        } else {
            Options { protection: level, ..self.programmed }
        };
        if self.loaded.protection == Protection::Level2 && level == Protection::Level2 {
            return Some(now);
        }
        if level == Protection::Level2 && !self.area.level2 {
            return None;
        }
        self.begin(now, options)
    }

    /// The chip starts and loads them. True: it leaves protection level 1, which erases its whole flash.
    pub(crate) fn load(&mut self) -> bool {
        let left =
            self.loaded.protection == Protection::Level1 && self.programmed.protection == Protection::Open;
        self.loaded = self.programmed;
        left
    }

    /// Whether NRST loads them.
    pub(crate) fn loaded_by_nrst(&self) -> bool {
        self.area.loaded_by_nrst
    }

    /// Reads option bytes in force; `None` outside the area.
    pub(crate) fn read(&self, address: u32, len: usize) -> Option<Vec<u8>> {
        let at = address.checked_sub(self.area.base)? as usize;
        Some(self.area.image(&self.loaded).get(at..at.checked_add(len)?)?.to_vec())
    }

    /// Whether the option bytes in force forbid to erase or program this unit.
    pub(crate) fn write_protects(&self, unit: &EraseUnit) -> bool {
        let bytes = &self.loaded.bytes;
        match self.area.wrp {
            WriteProtection::Sectors => {
                let cleared = |at: usize, bit: u16| bytes[at] >> bit & 1 == 0;
                unit.index < 12 && cleared(8 + usize::from(unit.index / 8), unit.index % 8)
            }
            WriteProtection::PagePairs => {
                let bit = usize::from((unit.index / 2).min(31));
                bytes[8 + bit / 8 * 2] >> (bit % 8) & 1 == 0
            }
            WriteProtection::Range(mask) => {
                let (first, last) = (u16::from(bytes[24] & mask), u16::from(bytes[26] & mask));
                unit.address >= FLASH_BASE && (first..=last).contains(&unit.index)
            }
        }
    }
}
