//! The chips that can be simulated.
//!
//! Identity, addresses and start-up times: AN2606 and the reference manuals. Flash times: typical datasheet
//! figures (F103, F405, F411, G030, L4 datasheets); where none was to hand the nearest family's stands, which
//! is good enough for pacing and no more. Values that are our own assumption say so.

use crate::flash::{FlashModel, Run};
use crate::model::{
    Autobaud, CanRom, Engineering, Entry, FdcanRom, MemoryMap, Model, OnePage, OptionLayout, Quirks,
    UidLayout, UsartRom,
};

/// Every simulated chip.
pub const MODELS: &[Model] = &[
    F103, F103HD, F103XL, F107, F072, F302, F405, F411, F746, G031, G071, G0B1, G431, G431_V13_3, G474, L053,
    L151, L152, L476, L496, H743, H563, C031, U575, WB55, CHECKSUM,
];

/// The chip of that name: `F405`, `f405` and `STM32F405` are the same.
#[must_use]
pub fn find(name: &str) -> Option<&'static Model> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("STM32").unwrap_or(&upper);
    MODELS.iter().find(|model| model.name == short)
}

// ---- command lists, as Get gives them (AN3155 section 3.1) ------------------------------------------------

const ERASE: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x43, 0x63, 0x73, 0x82, 0x92];
const EXTENDED: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82, 0x92];
const WB_LIST: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x50, 0x51, 0x63, 0x73, 0x82, 0x92];
const H5_LIST: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x50, 0x63, 0x73];
const CHECKSUM_LIST: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82, 0x92, 0xA1];

// ---- building blocks --------------------------------------------------------------------------------------

const HARDWARE: Autobaud = Autobaud { error_permille: 0, sure_baud: 1_000_000, most_baud: 1_000_000 };

/// Software timing of the first byte; no upper limit is known for these, so the limit is our assumption.
const fn software(error_permille: u16) -> Autobaud {
    Autobaud { error_permille, sure_baud: 500_000, most_baud: 1_000_000 }
}

/// F1 and F3: users report 256000 as safe, 4xxxxx as "sometimes", 9xxxxx as never.
const fn software_slow(error_permille: u16) -> Autobaud {
    Autobaud { error_permille, sure_baud: 256_000, most_baud: 500_000 }
}

const fn usart(version: u8, commands: &'static [u8], autobaud: Autobaud, startup_us: u32) -> UsartRom {
    UsartRom {
        version,
        behaves_as: version,
        commands,
        autobaud,
        startup_us,
        startup_without_crystal_us: startup_us,
    }
}

const PLAIN: Quirks = Quirks {
    most_pages_per_erase: u16::MAX,
    one_page: OnePage::NotNeeded,
    erase_clears_empty_flag: false,
    no_mass_erase: false,
    no_bank_erase: true,
    two_nacks_when_protected: false,
    resets_itself: false,
    unprotect_acks_first: false,
    engineering: Engineering::Readable,
    write_align: 4,
    misaligned_write_sticks: false,
    can_unprotect_broken: false,
    leaves_can: false,
};

const fn run(count: u16, size: u32, erase_us: u32) -> Run {
    Run { count, size, erase_us: [erase_us; 3] }
}

const fn pages(runs: &'static [Run], chunk: u32, chunk_ns: u32, mass_us: u32, banks: u8) -> FlashModel {
    FlashModel {
        base: 0x0800_0000,
        runs,
        chunk,
        word: chunk,
        chunk_ns,
        erased: 0xFF,
        clears_bits: false,
        mass_erase_us: [mass_us; 3],
        banks,
    }
}

// ---- F1 (RM0008, PM0075; F103 datasheet table 28: 52.5 us a half-word, page and mass erase 20 to 40 ms) ----

const F1_MAP: MemoryMap = MemoryMap {
    host_ram: (0x2000_0200, 0x2000_4FFF),
    system: (0x1FFF_F000, 0x1FFF_F7FF),
    option: Some((0x1FFF_F800, 0x1FFF_F80F)),
    uid: 0x1FFF_F7E8,
    uid_layout: UidLayout::Packed,
    flash_size: 0x1FFF_F7E0,
};

const F103: Model = Model {
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

const F103HD: Model = Model {
    name: "F103HD",
    part: "STM32F10x high-density",
    product_id: 0x414,
    map: MemoryMap { host_ram: (0x2000_0200, 0x2000_FFFF), ..F1_MAP },
    flash: pages(&[run(256, 2048, 30_000)], 2, 52_500, 30_000, 1),
    units_per_protection: 2,
    ..F103
};

const F103XL: Model = Model {
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

const F107: Model = Model {
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

const F072: Model = Model {
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

const F302: Model = Model {
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

const fn sector(count: u16, kib: u32, erase_ms: [u32; 3]) -> Run {
    Run { count, size: kib * 1024, erase_us: [erase_ms[0] * 1000, erase_ms[1] * 1000, erase_ms[2] * 1000] }
}

const fn sectors(runs: &'static [Run], mass_ms: [u32; 3]) -> FlashModel {
    FlashModel {
        clears_bits: true,
        mass_erase_us: [mass_ms[0] * 1000, mass_ms[1] * 1000, mass_ms[2] * 1000],
        ..pages(runs, 1, 16_000, 0, 1)
    }
}

const WHOLE_MHZ: &[u8] =
    &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26];

const F4_MAP: MemoryMap = MemoryMap {
    host_ram: (0x2000_2000, 0x2001_FFFF),
    system: (0x1FFF_0000, 0x1FFF_77FF),
    option: Some((0x1FFF_C000, 0x1FFF_C00F)),
    uid: 0x1FFF_7A10,
    uid_layout: UidLayout::Packed,
    flash_size: 0x1FFF_7A22,
};

/// Short reads of the engineering bytes are refused on F4 (stm32loader pull request 25).
const F4_QUIRKS: Quirks = Quirks { resets_itself: true, engineering: Engineering::WholeBlocks(256), ..PLAIN };

const F405: Model = Model {
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

const F411: Model = Model {
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

const F746: Model = Model {
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

// ---- G0, C0 (85 us a double word, page and mass erase 22 ms) -------------------------------------------------

const G0_MAP: MemoryMap = MemoryMap {
    host_ram: (0x2000_1000, 0x2000_1FFF),
    system: (0x1FFF_0000, 0x1FFF_1FFF),
    option: Some((0x1FFF_7800, 0x1FFF_787F)),
    uid: 0x1FFF_7590,
    uid_layout: UidLayout::Packed,
    flash_size: 0x1FFF_75E0,
};

const G031: Model = Model {
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

const G071: Model = Model {
    name: "G071",
    part: "STM32G07x/G08x",
    product_id: 0x460,
    bootloader_id: Some((0x1FFF_6FFE, 0xB3)),
    map: MemoryMap { host_ram: (0x2000_2700, 0x2000_8FFF), system: (0x1FFF_0000, 0x1FFF_6FFF), ..G0_MAP },
    flash: pages(&[run(64, 2048, 22_000)], 8, 85_000, 22_000, 1),
    quirks: Quirks { one_page: OnePage::Always, erase_clears_empty_flag: true, ..G031.quirks },
    ..G031
};

const G0B1: Model = Model {
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

const C031: Model = Model {
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

const G431: Model = Model {
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

const G431_V13_3: Model = Model {
    name: "G431-V13.3",
    bootloader_id: Some((0x1FFF_6FFE, 0xD3)),
    // This ROM hides the engineering bytes (AN2606, G43x/G44x limitations).
    quirks: Quirks { engineering: Engineering::Hidden, ..G431.quirks },
    ..G431
};

const G474: Model = Model {
    name: "G474",
    part: "STM32G471/473/474/483/484",
    product_id: 0x469,
    bootloader_id: Some((0x1FFF_6FFE, 0xD5)),
    map: MemoryMap { host_ram: (0x2000_4000, 0x2001_7FFF), ..G431.map },
    flash: pages(&[run(256, 2048, 22_000)], 8, 81_690, 22_000, 2),
    quirks: Quirks { no_bank_erase: false, ..G431.quirks },
    ..G431
};

const L476: Model = Model {
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

const L4_MHZ: &[u8] = &[4, 6, 8, 9, 12, 16, 18, 20, 24];

const L496: Model = Model {
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

const WB55: Model = Model {
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

const fn low_power(runs: &'static [Run], half_page: u32) -> FlashModel {
    // Mass erase is refused, its time is never used.
    FlashModel { erased: 0x00, word: 4, ..pages(runs, half_page, 3_200_000, 0, 1) }
}

const L053: Model = Model {
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

const L151: Model = Model {
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

const L152: Model = Model {
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

const H743: Model = Model {
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

const U575: Model = Model {
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

const H563: Model = Model {
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

// ---- not a part ----------------------------------------------------------------------------------------------------

/// No part is known to have protocol 3.3; this one lets a host's Get Checksum meet a device at all.
const CHECKSUM: Model = Model {
    name: "CHECKSUM",
    part: "no real part: an F405 with protocol 3.3 and Get Checksum",
    usart: usart(0x33, CHECKSUM_LIST, software(60), 84_590),
    ..F405
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_in_any_spelling() {
        for model in MODELS {
            assert_eq!(MODELS.iter().filter(|m| m.name == model.name).count(), 1, "{}", model.name);
        }
        assert_eq!(find("stm32f405").map(|m| m.product_id), Some(0x413));
        assert!(find("F999").is_none());
    }

    #[test]
    fn flash_sizes_are_the_ones_the_parts_are_sold_with() {
        let kib = |name: &str| find(name).map(|m| m.flash.size() / 1024);
        for (name, size) in [
            ("F103", 128),
            ("F103XL", 1024),
            ("F405", 1024),
            ("F411", 512),
            ("F746", 1024),
            ("G031", 64),
            ("L053", 64),
            ("L152", 512),
            ("H743", 2048),
            ("WB55", 1024),
        ] {
            assert_eq!(kib(name), Some(size), "{name}");
        }
    }

    #[test]
    fn no_region_of_a_chip_overlaps_another() {
        for model in MODELS {
            let flash = (model.flash.base, model.flash.base + model.flash.size() - 1);
            let regions = [Some(flash), Some(model.map.host_ram), Some(model.map.system)];
            let regions: Vec<_> = regions.into_iter().flatten().collect();
            for (i, a) in regions.iter().enumerate() {
                assert!(a.0 <= a.1, "{}", model.name);
                assert!(regions[i + 1..].iter().all(|b| a.1 < b.0 || b.1 < a.0), "{}", model.name);
            }
        }
    }
}
