//! G0, C0, G4, L4, WB, L0, L1, H7, H5, U5.

use super::parts::*;
use crate::flash::{FlashModel, Run};
use crate::model::{
    CanRom, Engineering, Entry, FdcanRom, MemoryMap, Model, OnePage, OptionLayout, Quirks, UidLayout,
    UsartRom,
};

// ---- G0, C0 (85 us a double word, page and mass erase 22 ms) -------------------------------------------------

pub(super) const G0_MAP: MemoryMap = MemoryMap {
    host_ram: (0x2000_1000, 0x2000_1FFF),
    system: (0x1FFF_0000, 0x1FFF_1FFF),
    option: Some((0x1FFF_7800, 0x1FFF_787F)),
    uid: 0x1FFF_7590,
    uid_layout: UidLayout::Packed,
    flash_size: 0x1FFF_75E0,
};

pub(super) const G031: Model = Model {
    name: "G031",
    part: "STM32G030/031/041",
    product_id: 0x466,
    bootloader_id: Some((0x1FFF_1FFE, 0x54)),
    usart: usart(0x31, EXTENDED, HARDWARE, 390),
    can: None,
    fdcan: None,
    map: G0_MAP,
    flash: pages(&[run(32, 2048, 22_000)], 8, 85_000, 22_000, 1),
    options: OptionLayout::LowByte,
    units_per_protection: 1,
    entry: Entry::Empty,
    quirks: Quirks { unprotect_acks_first: true, ..PLAIN },
};

pub(super) const G071: Model = Model {
    name: "G071",
    part: "STM32G07x/G08x",
    product_id: 0x460,
    bootloader_id: Some((0x1FFF_6FFE, 0xB3)),
    map: MemoryMap { host_ram: (0x2000_2700, 0x2000_8FFF), system: (0x1FFF_0000, 0x1FFF_6FFF), ..G0_MAP },
    flash: pages(&[run(64, 2048, 22_000)], 8, 85_000, 22_000, 1),
    quirks: Quirks { one_page: OnePage::Always, erase_clears_empty_flag: true, ..G031.quirks },
    ..G031
};

pub(super) const G0B1: Model = Model {
    name: "G0B1",
    part: "STM32G0B1/0C1",
    product_id: 0x467,
    bootloader_id: Some((0x1FFF_9FFE, 0x92)),
    fdcan: Some(FdcanRom { version: 0x10 }),
    map: MemoryMap { host_ram: (0x2000_4000, 0x2001_FFFF), system: (0x1FFF_0000, 0x1FFF_6FFF), ..G0_MAP },
    flash: pages(&[run(256, 2048, 22_000)], 8, 85_000, 22_000, 2),
    quirks: Quirks {
        one_page: OnePage::InBank2,
        erase_clears_empty_flag: true,
        no_bank_erase: false,
        ..G031.quirks
    },
    ..G031
};

pub(super) const C031: Model = Model {
    name: "C031",
    part: "STM32C031xx",
    product_id: 0x453,
    bootloader_id: Some((0x1FFF_17FE, 0x52)),
    usart: usart(0x31, EXTENDED, HARDWARE, 2_100),
    map: MemoryMap {
        // AN2606 misprints the range; 12 KiB of RAM with the G0's share for the ROM is our assumption.
        host_ram: (0x2000_1000, 0x2000_2FFF),
        system: (0x1FFF_0000, 0x1FFF_17FF),
        uid: 0x1FFF_7550,
        flash_size: 0x1FFF_75A0,
        ..G0_MAP
    },
    flash: pages(&[run(16, 2048, 22_000)], 8, 85_000, 22_000, 1),
    quirks: Quirks { write_align: 8, misaligned_write_sticks: true, ..G031.quirks },
    ..G031
};

// ---- G4, L4, WB (81.69 us a double word, page erase 22 ms) --------------------------------------------------

pub(super) const G431: Model = Model {
    name: "G431",
    part: "STM32G431/441",
    product_id: 0x468,
    bootloader_id: Some((0x1FFF_6FFE, 0xD4)),
    usart: usart(0x31, EXTENDED, HARDWARE, 390),
    can: None,
    fdcan: None,
    map: MemoryMap {
        host_ram: (0x2000_4000, 0x2000_57FF),
        system: (0x1FFF_0000, 0x1FFF_6FFF),
        option: Some((0x1FFF_7800, 0x1FFF_782F)),
        uid: 0x1FFF_7590,
        uid_layout: UidLayout::Packed,
        flash_size: 0x1FFF_75E0,
    },
    flash: pages(&[run(64, 2048, 22_000)], 8, 81_690, 22_000, 1),
    options: OptionLayout::LowByte,
    units_per_protection: 1,
    entry: Entry::Pin,
    quirks: Quirks { unprotect_acks_first: true, write_align: 8, misaligned_write_sticks: true, ..PLAIN },
};

pub(super) const G431_V13_3: Model = Model {
    name: "G431-V13.3",
    bootloader_id: Some((0x1FFF_6FFE, 0xD3)),
    // This ROM hides the engineering bytes (AN2606, G43x/G44x limitations).
    quirks: Quirks { engineering: Engineering::Hidden, ..G431.quirks },
    ..G431
};

pub(super) const G474: Model = Model {
    name: "G474",
    part: "STM32G471/473/474/483/484",
    product_id: 0x469,
    bootloader_id: Some((0x1FFF_6FFE, 0xD5)),
    map: MemoryMap { host_ram: (0x2000_4000, 0x2001_7FFF), ..G431.map },
    flash: pages(&[run(256, 2048, 22_000)], 8, 81_690, 22_000, 2),
    quirks: Quirks { no_bank_erase: false, ..G431.quirks },
    ..G431
};

pub(super) const L476: Model = Model {
    name: "L476",
    part: "STM32L471/475/476/485/486",
    product_id: 0x415,
    bootloader_id: Some((0x1FFF_6FFE, 0x92)),
    usart: UsartRom { startup_without_crystal_us: 2_560_000, ..usart(0x31, EXTENDED, software(50), 55_000) },
    can: Some(CanRom { version: 0x20, crystals_mhz: L4_MHZ }),
    map: MemoryMap {
        host_ram: (0x2000_3100, 0x2001_7FFF),
        option: Some((0x1FFF_7800, 0x1FFF_F80F)),
        ..G431.map
    },
    flash: pages(&[run(512, 2048, 22_000)], 8, 81_690, 22_000, 2),
    quirks: Quirks { unprotect_acks_first: false, no_bank_erase: false, ..G431.quirks },
    ..G431
};

pub(super) const L4_MHZ: &[u8] = &[4, 6, 8, 9, 12, 16, 18, 20, 24];

pub(super) const L496: Model = Model {
    name: "L496",
    part: "STM32L496/4A6",
    product_id: 0x461,
    bootloader_id: Some((0x1FFF_6FFE, 0x93)),
    usart: usart(0x31, EXTENDED, software(50), 76_930),
    map: MemoryMap { host_ram: (0x2000_3100, 0x2003_FFFF), ..L476.map },
    entry: Entry::PinOrEmpty,
    // ROM V9.3 refuses bank erase (AN2606, L496 limitations).
    quirks: Quirks { no_bank_erase: true, ..L476.quirks },
    ..L476
};

pub(super) const WB55: Model = Model {
    name: "WB55",
    part: "STM32WB30/35/50/55",
    product_id: 0x495,
    bootloader_id: Some((0x1FFF_6FFE, 0xD5)),
    usart: usart(0x32, WB_LIST, HARDWARE, 390),
    map: MemoryMap {
        host_ram: (0x2000_4000, 0x2000_BFFF),
        option: Some((0x1FFF_8000, 0x1FFF_807F)),
        ..G431.map
    },
    flash: pages(&[run(256, 4096, 22_000)], 8, 81_690, 22_000, 1),
    ..G431
};

// ---- L0, L1 (3.2 ms a half page or a page erase; erased cells read 0) ------------------------------------------

pub(super) const fn low_power(runs: &'static [Run], half_page: u32) -> FlashModel {
    // Mass erase is refused, its time is never used.
    FlashModel { erased: 0x00, word: 4, ..pages(runs, half_page, 3_200_000, 0, 1) }
}

pub(super) const L053: Model = Model {
    name: "L053",
    part: "STM32L051/052/053/062/063/010x8",
    product_id: 0x417,
    bootloader_id: Some((0x1FF0_0FFE, 0xC0)),
    usart: usart(0x31, EXTENDED, software(20), 220),
    can: None,
    fdcan: None,
    map: MemoryMap {
        host_ram: (0x2000_1000, 0x2000_1FFF),
        system: (0x1FF0_0000, 0x1FF0_0FFF),
        option: Some((0x1FF8_0000, 0x1FF8_001F)),
        uid: 0x1FF8_0050,
        uid_layout: UidLayout::Spread,
        flash_size: 0x1FF8_007C,
    },
    flash: low_power(&[run(512, 128, 3_200)], 64),
    options: OptionLayout::LowByte,
    units_per_protection: 32,
    entry: Entry::Pin,
    quirks: Quirks {
        no_mass_erase: true,
        most_pages_per_erase: 512,
        write_align: 8,
        misaligned_write_sticks: true,
        engineering: Engineering::WholeBlocks(128),
        ..PLAIN
    },
};

pub(super) const L151: Model = Model {
    name: "L151",
    part: "STM32L100/151/152 x6/8/B",
    product_id: 0x416,
    bootloader_id: Some((0x1FF0_0FFE, 0x20)),
    usart: usart(0x30, EXTENDED, software(30), 542),
    map: MemoryMap {
        host_ram: (0x2000_0800, 0x2000_3FFF),
        system: (0x1FF0_0000, 0x1FF0_1FFF),
        uid: 0x1FF8_0050,
        flash_size: 0x1FF8_004C,
        ..L053.map
    },
    flash: low_power(&[run(512, 256, 3_200)], 128),
    quirks: Quirks { engineering: Engineering::Readable, ..L053.quirks },
    units_per_protection: 16,
    ..L053
};

pub(super) const L152: Model = Model {
    name: "L152",
    part: "STM32L1xx xE",
    product_id: 0x437,
    bootloader_id: Some((0x1FF0_1FFE, 0x40)),
    usart: usart(0x31, EXTENDED, software(30), 708),
    map: MemoryMap {
        host_ram: (0x2000_1000, 0x2001_3FFF),
        option: Some((0x1FF8_0000, 0x1FF8_009F)),
        uid: 0x1FF8_00D0,
        flash_size: 0x1FF8_00CC,
        ..L151.map
    },
    flash: FlashModel { banks: 2, ..low_power(&[run(2048, 256, 3_200)], 128) },
    ..L151
};

// ---- H7, H5, U5 ---------------------------------------------------------------------------------------------------

pub(super) const H743: Model = Model {
    name: "H743",
    part: "STM32H742/743/745/747/750/753/755/757",
    product_id: 0x450,
    bootloader_id: Some((0x1FF1_E7FE, 0x92)),
    usart: usart(0x31, EXTENDED, HARDWARE, 53_975),
    can: None,
    fdcan: Some(FdcanRom { version: 0x11 }),
    map: MemoryMap {
        host_ram: (0x2000_4100, 0x2001_FFFF),
        system: (0x1FF0_0000, 0x1FF1_E7FF),
        option: None,
        uid: 0x1FF1_E800,
        uid_layout: UidLayout::Packed,
        flash_size: 0x1FF1_E880,
    },
    flash: pages(&[run(16, 131_072, 1_000_000)], 32, 100_000, 8_000_000, 2),
    options: OptionLayout::Hidden,
    units_per_protection: 1,
    entry: Entry::Pin,
    quirks: Quirks {
        unprotect_acks_first: true,
        no_bank_erase: false,
        write_align: 8,
        misaligned_write_sticks: true,
        ..PLAIN
    },
};

pub(super) const U575: Model = Model {
    name: "U575",
    part: "STM32U575/585",
    product_id: 0x482,
    bootloader_id: Some((0x0BF9_9EFE, 0x93)),
    usart: usart(0x31, EXTENDED, HARDWARE, 390),
    fdcan: Some(FdcanRom { version: 0x11 }),
    map: MemoryMap {
        host_ram: (0x2000_4000, 0x200B_FFFF),
        system: (0x0BF9_0000, 0x0BF9_FFFF),
        option: None,
        uid: 0x0BFA_0700,
        uid_layout: UidLayout::Packed,
        flash_size: 0x0BFA_07A0,
    },
    flash: pages(&[run(256, 8192, 1_500)], 16, 118_000, 200_000, 2),
    quirks: Quirks { write_align: 16, ..H743.quirks },
    ..H743
};

pub(super) const H563: Model = Model {
    name: "H563",
    part: "STM32H562/563/573",
    product_id: 0x484,
    bootloader_id: Some((0x0BF9_FAFE, 0xE5)),
    usart: usart(0x40, H5_LIST, HARDWARE, 1_800),
    fdcan: Some(FdcanRom { version: 0x20 }),
    map: MemoryMap {
        host_ram: (0x2000_0000, 0x2009_FFFF),
        system: (0x0BF9_7000, 0x0BF9_FFFF),
        option: None,
        uid: 0x08FF_F800,
        uid_layout: UidLayout::Packed,
        flash_size: 0x08FF_F80C,
    },
    ..U575
};
