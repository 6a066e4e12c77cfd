//! The chips that boards can carry: geometry, rules and times of their flash, speed of their processor.
//!
//! Times are the datasheets' typical and longest values (DS5792 and DS5319 for F1, DS8626 and DS9405 for F4 at
//! 32-bit parallelism, DS12589 and DS12288 for G4, DS13560 for G0, DS11585 for L4). Layout on every chip is that
//! of the boards' firmware: the bootloader with the flash that `panel-layout` keeps for it, the application, and image records
//! in the last erase unit.

use panel_layout::Resident;
use panel_protocol::node::{EraseRun, FlashFacts, MAX_RUNS, Slot};
use panel_protocol::time::Span;

use crate::flash::{F1_OPTIONS, F4_OPTIONS, G0_OPTIONS, G4_OPTIONS, L4_OPTIONS, OptionArea};

/// What a flash demands of a unit that is to be programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteRule {
    /// F4: bits can be cleared again and again, never set; no error is reported (RM0090, "Programming").
    ClearsBits,
    /// F1: the half-word must be erased unless zero is written, else PGERR (PM0075, 2.3.3).
    Erased,
    /// G4, L4: a double word is programmed once between erases, whatever it holds (ECC), else PROGERR (RM0440,
    /// 3.3.7).
    Once,
}

/// One chip type.
#[derive(Debug, PartialEq, Eq)]
pub struct Chip {
    /// Name in scenarios and panel files.
    pub name: &'static str,
    /// DBGMCU_IDCODE, 12 bits.
    pub device_id: u16,
    /// DBGMCU_IDCODE, 16 bits.
    pub silicon_revision: u16,
    /// Has an FDCAN controller.
    pub fd: bool,
    /// Erase units from 0x0800_0000 upwards.
    pub(crate) runs: &'static [EraseRun],
    /// Bytes programmed at once.
    pub unit: u8,
    /// Typical time to program one unit, ns.
    pub(crate) program_ns: u64,
    /// Longest time to program one unit, ns.
    pub(crate) program_longest_ns: u64,
    /// What must hold before a unit is programmed.
    pub rule: WriteRule,
    /// One-time programmable memory: first address and bytes; none has 0 bytes.
    pub(crate) otp: (u32, u32),
    /// Flash of the resident bootloader.
    pub(crate) resident: Resident,
    /// Longest time from power-on or the end of reset until that bootloader listens if it has no key, unpacking included
    /// (docs/node.md, "Measured").
    pub start_up: Span,
    /// 2 KiB buffers in RAM.
    pub segments: usize,
    /// SHA-256 in software, ns per byte.
    pub(crate) digest_ns: u64,
    /// CRC-32 in software, ns per byte.
    pub(crate) checksum_ns: u64,
    /// Copy in RAM, ns per byte.
    pub(crate) copy_ns: u64,
    /// Option bytes.
    pub(crate) options: &'static OptionArea,
}

/// First address of every chip's flash.
pub const FLASH_BASE: u32 = 0x0800_0000;

const fn run(count: u16, kib: u32, typical_us: u64, longest_us: u64) -> EraseRun {
    EraseRun { count, size: kib * 1024, typical: Span(typical_us), longest: Span(longest_us) }
}

const F4_16: EraseRun = run(4, 16, 250_000, 500_000);
const F4_64: EraseRun = run(1, 64, 550_000, 1_100_000);
const F4_128: EraseRun = run(7, 128, 1_000_000, 2_000_000);

const F4: Chip = Chip {
    name: "F405",
    device_id: 0x413,
    silicon_revision: 0x1007,
    fd: false,
    runs: &[F4_16, F4_64, F4_128],
    unit: 4,
    program_ns: 16_000,
    program_longest_ns: 100_000,
    rule: WriteRule::ClearsBits,
    otp: (0x1FFF_7800, 512), // RM0090 3.7
    resident: panel_layout::F4,
    start_up: Span::from_millis(75),
    segments: 48,
    digest_ns: 170,
    checksum_ns: 45,
    copy_ns: 6,
    options: &F4_OPTIONS,
};

const G4: Chip = Chip {
    name: "G474",
    device_id: 0x469,
    silicon_revision: 0x2003,
    fd: true,
    runs: &[run(256, 2, 22_020, 24_470)],
    unit: 8,
    program_ns: 81_690,
    program_longest_ns: 90_760,
    rule: WriteRule::Once,
    otp: (0x1FFF_7000, 1024), // RM0440, RM0444, RM0351: 3.3.1
    resident: panel_layout::G4,
    start_up: Span::from_millis(90),
    segments: 32,
    digest_ns: 170,
    checksum_ns: 45,
    copy_ns: 6,
    options: &G4_OPTIONS,
};

const F1: Chip = Chip {
    name: "F103xE",
    device_id: 0x414,
    silicon_revision: 0x1003,
    fd: false,
    runs: &[run(256, 2, 30_000, 40_000)],
    unit: 2,
    program_ns: 52_500,
    program_longest_ns: 70_000,
    rule: WriteRule::Erased,
    otp: (0, 0),
    resident: panel_layout::F1,
    start_up: Span::from_millis(165),
    segments: 20,
    digest_ns: 420,
    checksum_ns: 105,
    copy_ns: 14,
    options: &F1_OPTIONS,
};

/// Every chip type.
pub static CHIPS: [Chip; 9] = [
    F4,
    Chip { name: "F429", device_id: 0x419, runs: &[F4_16, F4_64, F4_128, F4_16, F4_64, F4_128], ..F4 },
    Chip { name: "G431", device_id: 0x468, runs: &[run(64, 2, 22_020, 24_470)], segments: 6, ..G4 },
    G4,
    // The ROM version that hides the unique ID (AN2606, STM32G431xx, limitations of V13.3).
    Chip { name: "G431-V13.3", device_id: 0x468, runs: &[run(64, 2, 22_020, 24_470)], segments: 6, ..G4 },
    // A Cortex-M0+ without the others' shifts and instruction cache is slower with software.
    Chip {
        name: "G0B1",
        device_id: 0x467,
        silicon_revision: 0x1000,
        runs: &[run(256, 2, 22_000, 40_000)],
        program_ns: 85_000,
        program_longest_ns: 125_000,
        resident: panel_layout::G0,
        start_up: Span::from_millis(160),
        segments: 48,
        digest_ns: 420,
        checksum_ns: 105,
        copy_ns: 14,
        options: &G0_OPTIONS,
        ..G4
    },
    Chip {
        name: "L496",
        device_id: 0x461,
        silicon_revision: 0x2000,
        fd: false,
        runs: &[run(512, 2, 22_020, 24_470)],
        resident: panel_layout::L4,
        segments: 48,
        digest_ns: 360,
        checksum_ns: 95,
        copy_ns: 13,
        options: &L4_OPTIONS,
        ..G4
    },
    F1,
    Chip { name: "F103xG", device_id: 0x430, runs: &[run(512, 2, 30_000, 40_000)], segments: 24, ..F1 },
];

impl Chip {
    /// The chip called `name` (upper or lower case).
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        CHIPS.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// The ROM bootloader of this chip, where one is simulated.
    #[must_use]
    pub fn rom(&self) -> Option<&'static rom_simulator::Model> {
        rom_simulator::catalog::find(match self.name {
            "F103xE" => "F103HD",
            "F103xG" => "F103XL",
            name => name,
        })
    }

    /// Size of the flash in bytes.
    #[must_use]
    pub fn flash_size(&self) -> u32 {
        self.runs.iter().map(|r| u32::from(r.count) * r.size).sum()
    }

    /// First address for images on boards without a key.
    #[must_use]
    pub const fn app_base(&self) -> u32 {
        FLASH_BASE + self.resident.plain
    }

    /// What a node on this chip knows and declares of its flash, with a bootloader that takes only sealed images or with one
    /// that takes any. Times are whole microseconds, rounded up.
    #[must_use]
    pub fn flash_facts(&self, sealed: bool) -> FlashFacts {
        let mut runs = [EraseRun::default(); MAX_RUNS];
        runs[..self.runs.len()].copy_from_slice(self.runs);
        let mut facts = FlashFacts {
            base: FLASH_BASE,
            runs,
            unit: self.unit,
            program_typical: Span(self.program_ns.div_ceil(1000)),
            program_longest: Span(self.program_longest_ns.div_ceil(1000)),
            app_base: FLASH_BASE + self.resident.bytes(sealed),
            record_base: FLASH_BASE,
        };
        let last = facts.erase_unit(FLASH_BASE + self.flash_size() - 1);
        facts.record_base = last.map_or(FLASH_BASE, |unit| unit.address);
        facts
    }
}

/// The second slot of boards that have one: from the erase unit on with which images have most room, in their place and in
/// the slot, up to the records. The slot's last unit is not for images.
#[must_use]
pub(crate) fn slot(flash: &FlashFacts) -> Slot {
    let end = flash.record_base;
    let room = flash.erase_unit(end - 1).map_or(end, |unit| unit.address);
    let next = |at: &u32| flash.erase_unit(*at).map(|unit| unit.address + unit.size);
    let units = core::iter::successors(Some(flash.app_base), next).take_while(|at| *at < room);
    let base = units.max_by_key(|at| (*at - flash.app_base).min(room - at));
    Slot { base: base.unwrap_or(end), end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_datasheets() {
        let sizes: Vec<_> = CHIPS.iter().map(|c| (c.name, c.flash_size() / 1024)).collect();
        assert_eq!(
            sizes,
            [
                ("F405", 1024),
                ("F429", 2048),
                ("G431", 128),
                ("G474", 512),
                ("G431-V13.3", 128),
                ("G0B1", 512),
                ("L496", 1024),
                ("F103xE", 512),
                ("F103xG", 1024)
            ]
        );
    }

    #[test]
    fn a_bootloader_keeps_whole_erase_units_and_records_are_in_the_last_one() {
        for chip in &CHIPS {
            for sealed in [false, true] {
                let facts = chip.flash_facts(sealed);
                let first = facts.erase_unit(facts.app_base).unwrap();
                assert_eq!(first.address, facts.app_base, "{}", chip.name);
                let last = facts.erase_unit(facts.record_base).unwrap();
                let end = FLASH_BASE + chip.flash_size();
                assert_eq!(
                    (last.address, last.address + last.size),
                    (facts.record_base, end),
                    "{}",
                    chip.name
                );
            }
        }
    }

    #[test]
    fn a_second_slot_is_where_the_board_files_have_it() {
        let boards = concat!(env!("CARGO_MANIFEST_DIR"), "/../../panel-backplane/firmware/boards/");
        for chip in ["F405", "G431"] {
            let file = format!("{boards}{}-slot.rs", chip.to_lowercase());
            let text = std::fs::read_to_string(&file).unwrap().replace('_', "");
            let said = text.split_once("slot: Some(0x").and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
            let facts = Chip::by_name(chip).unwrap().flash_facts(false);
            let base = u32::from_str_radix(said, 16).unwrap();
            assert_eq!(slot(&facts), Slot { base, end: facts.record_base }, "{file}");
        }
    }

    #[test]
    fn chips_are_found_by_name_in_either_case() {
        assert_eq!(Chip::by_name("f103XE").unwrap().device_id, 0x414);
        assert!(Chip::by_name("F999").is_none());
    }
}
