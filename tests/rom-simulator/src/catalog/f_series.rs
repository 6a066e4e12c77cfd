//! F0, F1, F3, F4, F7, and the part that is none.

use super::parts::*;
use crate::flash::{FlashModel, Run};
use crate::model::{
    Autobaud, CanRom, Engineering, Entry, MemoryMap, Model, OptionLayout, Quirks, UidLayout, UsartRom,
};

// ---- F1 (RM0008, PM0075; F103 datasheet table 28: 52.5 us a half-word, page and mass erase 20 to 40 ms) ----

pub(super) const F1_MAP: MemoryMap = MemoryMap {
    host_ram: (0x2000_0200, 0x2000_4FFF),
    system: (0x1FFF_F000, 0x1FFF_F7FF),
    option: Some((0x1FFF_F800, 0x1FFF_F80F)),
    uid: 0x1FFF_F7E8,
    uid_layout: UidLayout::Packed,
    flash_size: 0x1FFF_F7E0,
};

pub(super) const F103: Model = Model {
    name: "F103",
    part: "STM32F10x medium-density",
    product_id: 0x410,
    bootloader_id: None,
    usart: usart(0x22, ERASE, software_slow(30), 1_227),
    can: None,
    fdcan: None,
    map: F1_MAP,
    flash: pages(&[run(128, 1024, 30_000)], 2, 52_500, 30_000, 1),
    options: OptionLayout::HalfWordsF1,
    units_per_protection: 4,
    entry: Entry::Pin,
    quirks: PLAIN,
};

pub(super) const F103HD: Model = Model {
    name: "F103HD",
    part: "STM32F10x high-density",
    product_id: 0x414,
    map: MemoryMap { host_ram: (0x2000_0200, 0x2000_FFFF), ..F1_MAP },
    flash: pages(&[run(256, 2048, 30_000)], 2, 52_500, 30_000, 1),
    units_per_protection: 2,
    ..F103
};

pub(super) const F103XL: Model = Model {
    name: "F103XL",
    part: "STM32F101/103 XL-density",
    product_id: 0x430,
    bootloader_id: Some((0x1FFF_F7D6, 0x21)),
    usart: usart(0x30, EXTENDED, software_slow(30), 1_227),
    map: MemoryMap { host_ram: (0x2000_0800, 0x2001_7FFF), system: (0x1FFF_E000, 0x1FFF_F7FF), ..F1_MAP },
    flash: pages(&[run(512, 2048, 30_000)], 2, 52_500, 60_000, 2),
    // 154 pages in one command work, 155 hang (stm32flash tickets 140 and 157).
    quirks: Quirks { most_pages_per_erase: 154, no_bank_erase: false, ..PLAIN },
    units_per_protection: 2,
    ..F103
};

pub(super) const F107: Model = Model {
    name: "F107",
    part: "STM32F105/107",
    product_id: 0x418,
    // ROM V1.0/2.0 report 0x20 though they follow 2.2 (AN3155 section 4).
    usart: UsartRom { version: 0x20, behaves_as: 0x22, ..usart(0x20, ERASE, software_slow(30), 1_396) },
    can: Some(CanRom { version: 0x20, crystals_mhz: &[8, 14, 25] }),
    map: MemoryMap { host_ram: (0x2000_1000, 0x2000_FFFF), system: (0x1FFF_B000, 0x1FFF_F7FF), ..F1_MAP },
    flash: pages(&[run(128, 2048, 30_000)], 2, 52_500, 30_000, 1),
    units_per_protection: 2,
    ..F103
};

// ---- F0, F3 (53.5 us a half-word) --------------------------------------------------------------------------

pub(super) const F072: Model = Model {
    name: "F072",
    part: "STM32F071/F072/F078",
    product_id: 0x448,
    bootloader_id: Some((0x1FFF_F6A6, 0xA1)),
    usart: usart(0x31, EXTENDED, software(10), 58),
    can: None,
    fdcan: None,
    map: MemoryMap {
        host_ram: (0x2000_1800, 0x2000_3FFF),
        system: (0x1FFF_C800, 0x1FFF_F7FF),
        option: Some((0x1FFF_F800, 0x1FFF_F80F)),
        uid: 0x1FFF_F7AC,
        uid_layout: UidLayout::Packed,
        flash_size: 0x1FFF_F7CC,
    },
    flash: pages(&[run(64, 2048, 30_000)], 2, 53_500, 30_000, 1),
    options: OptionLayout::HalfWords,
    units_per_protection: 2,
    entry: Entry::Pin,
    quirks: Quirks { resets_itself: true, ..PLAIN },
};

pub(super) const F302: Model = Model {
    name: "F302",
    part: "STM32F301, F302x4/6/8",
    product_id: 0x439,
    bootloader_id: Some((0x1FFF_F796, 0x40)),
    usart: UsartRom {
        startup_without_crystal_us: 560_800,
        ..usart(0x31, EXTENDED, software_slow(20), 45_000)
    },
    map: MemoryMap { system: (0x1FFF_D800, 0x1FFF_F7FF), ..F072.map },
    flash: pages(&[run(32, 2048, 30_000)], 2, 53_500, 30_000, 1),
    quirks: PLAIN,
    ..F072
};

// ---- F4, F7 (16 us a write of any width; erase times at x8, x16, x32 from the F405 datasheet) ---------------

pub(super) const fn sector(count: u16, kib: u32, erase_ms: [u32; 3]) -> Run {
    Run { count, size: kib * 1024, erase_us: [erase_ms[0] * 1000, erase_ms[1] * 1000, erase_ms[2] * 1000] }
}

pub(super) const fn sectors(runs: &'static [Run], mass_ms: [u32; 3]) -> FlashModel {
    FlashModel {
        clears_bits: true,
        mass_erase_us: [mass_ms[0] * 1000, mass_ms[1] * 1000, mass_ms[2] * 1000],
        ..pages(runs, 1, 16_000, 0, 1)
    }
}

pub(super) const WHOLE_MHZ: &[u8] =
    &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26];

pub(super) const F4_MAP: MemoryMap = MemoryMap {
    host_ram: (0x2000_2000, 0x2001_FFFF),
    system: (0x1FFF_0000, 0x1FFF_77FF),
    option: Some((0x1FFF_C000, 0x1FFF_C00F)),
    uid: 0x1FFF_7A10,
    uid_layout: UidLayout::Packed,
    flash_size: 0x1FFF_7A22,
};

/// Short reads of the engineering bytes are refused on F4 (stm32loader pull request 25).
pub(super) const F4_QUIRKS: Quirks =
    Quirks { resets_itself: true, engineering: Engineering::WholeBlocks(256), ..PLAIN };

pub(super) const F405: Model = Model {
    name: "F405",
    part: "STM32F405/407/415/417",
    product_id: 0x413,
    bootloader_id: Some((0x1FFF_77DE, 0x31)),
    usart: usart(0x31, EXTENDED, software(60), 84_590),
    can: Some(CanRom { version: 0x20, crystals_mhz: WHOLE_MHZ }),
    fdcan: None,
    map: F4_MAP,
    flash: sectors(
        &[
            sector(4, 16, [400, 300, 250]),
            sector(1, 64, [1200, 700, 550]),
            sector(7, 128, [2000, 1300, 1000]),
        ],
        [16_000, 11_000, 8_000],
    ),
    options: OptionLayout::F4,
    units_per_protection: 1,
    entry: Entry::Pin,
    quirks: Quirks { two_nacks_when_protected: true, can_unprotect_broken: true, ..F4_QUIRKS },
};

pub(super) const F411: Model = Model {
    name: "F411",
    part: "STM32F411",
    product_id: 0x431,
    bootloader_id: Some((0x1FFF_76DE, 0xD0)),
    usart: usart(0x31, EXTENDED, software(60), 74_500),
    can: None,
    map: MemoryMap { host_ram: (0x2000_3000, 0x2001_FFFF), ..F4_MAP },
    flash: sectors(
        &[
            sector(4, 16, [400, 300, 250]),
            sector(1, 64, [1200, 700, 550]),
            sector(3, 128, [2000, 1300, 1000]),
        ],
        [8_000, 5_500, 4_000],
    ),
    quirks: F4_QUIRKS,
    ..F405
};

pub(super) const F746: Model = Model {
    name: "F746",
    part: "STM32F745/746/750/756",
    product_id: 0x449,
    bootloader_id: Some((0x1FF0_EDBE, 0x70)),
    // 115200 may fail to connect; up to 57600 is safe (AN2606, F74x section).
    usart: usart(
        0x31,
        EXTENDED,
        Autobaud { error_permille: 60, sure_baud: 57_600, most_baud: 500_000 },
        16_630,
    ),
    can: Some(CanRom { version: 0x20, crystals_mhz: WHOLE_MHZ }),
    fdcan: None,
    map: MemoryMap {
        host_ram: (0x2000_4000, 0x2004_FFFF),
        system: (0x1FF0_0000, 0x1FF0_EDBF),
        option: Some((0x1FFF_0000, 0x1FFF_001F)),
        uid: 0x1FF0_F420,
        uid_layout: UidLayout::Packed,
        flash_size: 0x1FF0_F442,
    },
    flash: sectors(
        &[
            sector(4, 32, [400, 300, 250]),
            sector(1, 128, [1100, 800, 500]),
            sector(3, 256, [2000, 1400, 1000]),
        ],
        [16_000, 11_000, 8_000],
    ),
    options: OptionLayout::F7,
    units_per_protection: 1,
    entry: Entry::Pin,
    quirks: Quirks { resets_itself: true, write_align: 8, misaligned_write_sticks: true, ..PLAIN },
};

// ---- not a part ----------------------------------------------------------------------------------------------------

/// No part is known to have protocol 3.3; this one lets a host's Get Checksum meet a device at all.
pub(super) const CHECKSUM: Model = Model {
    name: "CHECKSUM",
    part: "no real part: an F405 with protocol 3.3 and Get Checksum",
    usart: usart(0x33, CHECKSUM_LIST, software(60), 84_590),
    ..F405
};
