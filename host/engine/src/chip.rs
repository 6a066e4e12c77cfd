//! The chips that can be planned for: flash map, rules and times, as the boards' bootloader declares them.
//!
//! Times are the typical and longest values of the datasheets at 2.7 to 3.6 V. What a board says of itself is
//! compared with this table before anything is written.

use panel_layout::Resident;
use panel_protocol::node::{EraseRun, FlashFacts, MAX_RUNS};
use panel_protocol::time::Span;

use crate::options::{F1, F4, G0, G4, L4, OptionFacts};

/// A chip that panelflash can plan for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// Name as in job files.
    pub name: &'static str,
    /// Device ID (DBGMCU_IDCODE).
    pub device_id: u16,
    /// Family, as in bench rows.
    pub family: &'static str,
    /// RAM, for checking an image's initial stack pointer: first address and bytes, one or two areas.
    pub ram: &'static [(u32, u32)],
    /// Flash, as a bootloader without a key declares it.
    pub flash: FlashFacts,
    /// Flash that the bootloader keeps.
    pub resident: Resident,
    /// What the shipped bootloader without a key needs from power-on or the end of reset until it listens, on its internal
    /// clock and with unpacking (docs/node.md, "Measured").
    pub listens_after: Span,
    /// One-time programmable memory: first address and bytes; 0 bytes without one. Readout protection does not hide
    /// it on every family.
    pub otp: (u32, u32),
    /// Option bytes.
    pub options: &'static OptionFacts,
    /// Has an FDCAN controller; another one destroys every FD frame on its bus.
    pub fd: bool,
}

const BASE: u32 = 0x0800_0000;
const NONE: EraseRun = run(0, 0, 0, 0);

const fn run(count: u16, kib: u32, typical_us: u64, longest_us: u64) -> EraseRun {
    EraseRun { count, size: kib * 1024, typical: Span(typical_us), longest: Span(longest_us) }
}

const fn runs<const N: usize>(some: [EraseRun; N]) -> [EraseRun; MAX_RUNS] {
    let mut all = [NONE; MAX_RUNS];
    let mut i = 0;
    while i < N {
        all[i] = some[i];
        i += 1;
    }
    all
}

/// F4 sectors, x32 parallelism (DS8626, table "Flash memory programming").
const F4_16K: EraseRun = run(4, 16, 250_000, 500_000);
const F4_64K: EraseRun = run(1, 64, 550_000, 1_100_000);
const F4_128K: EraseRun = run(7, 128, 1_000_000, 2_000_000);

/// Records are in the last erase unit.
const fn records(all: &[EraseRun; MAX_RUNS]) -> u32 {
    let (mut end, mut last, mut i) = (BASE, 0, 0);
    while i < MAX_RUNS && all[i].count > 0 {
        end += all[i].count as u32 * all[i].size;
        last = all[i].size;
        i += 1;
    }
    end - last
}

const fn f4(some: [EraseRun; MAX_RUNS]) -> FlashFacts {
    FlashFacts {
        base: BASE,
        runs: some,
        unit: 4,
        program_typical: Span(16),
        program_longest: Span(100),
        app_base: BASE + panel_layout::F4.plain,
        record_base: records(&some),
    }
}

/// Flash of `count` pages of 2 KiB.
const fn pages(
    resident: Resident,
    count: u16,
    (typical, longest): (u64, u64),
    unit: u8,
    program: (u64, u64),
) -> FlashFacts {
    let all = runs([run(count, 2, typical, longest)]);
    FlashFacts {
        base: BASE,
        runs: all,
        unit,
        program_typical: Span(program.0),
        program_longest: Span(program.1),
        app_base: BASE + resident.plain,
        record_base: records(&all),
    }
}

/// G4 and L4: DS12288 and DS11585, 22 ms a page, 82 us a double word.
const fn g4(count: u16) -> FlashFacts {
    pages(panel_layout::G4, count, (22_000, 24_500), 8, (82, 91))
}

/// F1: DS5319 table 28, 20 to 40 ms a page, 52.5 us a half-word.
const fn f1(count: u16) -> FlashFacts {
    pages(panel_layout::F1, count, (30_000, 40_000), 2, (53, 70))
}

/// RM0090 3.7: 16 blocks of 32 bytes; the lock bytes behind them are left alone.
const F4_OTP: (u32, u32) = (0x1FFF_7800, 512);
/// RM0440, RM0444 and RM0351, 3.3.1.
const OTP: (u32, u32) = (0x1FFF_7000, 1024);

/// Every chip, by name.
pub const CHIPS: &[Chip] = &[
    Chip {
        name: "STM32F405",
        device_id: 0x413,
        family: "F4",
        ram: &[(0x2000_0000, 128 * 1024), (0x1000_0000, 64 * 1024)],
        flash: f4(runs([F4_16K, F4_64K, F4_128K])),
        resident: panel_layout::F4,
        listens_after: Span::from_millis(75),
        otp: F4_OTP,
        options: &F4,
        fd: false,
    },
    Chip {
        name: "STM32F429",
        device_id: 0x419,
        family: "F4",
        ram: &[(0x2000_0000, 192 * 1024), (0x1000_0000, 64 * 1024)],
        flash: f4(runs([F4_16K, F4_64K, F4_128K, F4_16K, F4_64K, F4_128K])),
        resident: panel_layout::F4,
        listens_after: Span::from_millis(75),
        otp: F4_OTP,
        options: &F4,
        fd: false,
    },
    Chip {
        name: "STM32G431",
        device_id: 0x468,
        family: "G4",
        ram: &[(0x2000_0000, 32 * 1024)],
        flash: g4(64),
        resident: panel_layout::G4,
        listens_after: Span::from_millis(90),
        otp: OTP,
        options: &G4,
        fd: true,
    },
    Chip {
        name: "STM32G474",
        device_id: 0x469,
        family: "G4",
        ram: &[(0x2000_0000, 128 * 1024)],
        flash: g4(256),
        resident: panel_layout::G4,
        listens_after: Span::from_millis(90),
        otp: OTP,
        options: &G4,
        fd: true,
    },
    Chip {
        name: "STM32G0B1",
        device_id: 0x467,
        family: "G0",
        ram: &[(0x2000_0000, 144 * 1024)],
        // DS13560: 22 to 40 ms a page, 85 to 125 us a double word.
        flash: pages(panel_layout::G0, 256, (22_000, 40_000), 8, (85, 125)),
        resident: panel_layout::G0,
        listens_after: Span::from_millis(160),
        otp: OTP,
        options: &G0,
        fd: true,
    },
    Chip {
        name: "STM32L496",
        device_id: 0x461,
        family: "L4",
        ram: &[(0x2000_0000, 320 * 1024)],
        flash: g4(512),
        resident: panel_layout::L4,
        listens_after: Span::from_millis(90),
        otp: OTP,
        options: &L4,
        fd: false,
    },
    Chip {
        name: "STM32F103xE",
        device_id: 0x414,
        family: "F1",
        ram: &[(0x2000_0000, 64 * 1024)],
        flash: f1(256),
        resident: panel_layout::F1,
        listens_after: Span::from_millis(165),
        otp: (0, 0),
        options: &F1,
        fd: false,
    },
    Chip {
        name: "STM32F103xG",
        device_id: 0x430,
        family: "F1",
        ram: &[(0x2000_0000, 96 * 1024)],
        flash: f1(512),
        resident: panel_layout::F1,
        listens_after: Span::from_millis(165),
        otp: (0, 0),
        options: &F1,
        fd: false,
    },
];

impl Chip {
    /// The chip of this name, whatever the case; package and size letters after it are ignored.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        let name = name.to_ascii_uppercase();
        CHIPS.iter().find(|c| name.starts_with(&c.name.to_ascii_uppercase()))
    }

    /// The chip with this device ID.
    #[must_use]
    pub fn by_id(device_id: u16) -> Option<&'static Self> {
        CHIPS.iter().find(|c| c.device_id == device_id)
    }

    /// Whether this address is in its one-time programmable memory.
    #[must_use]
    pub fn is_otp(&self, address: u32) -> bool {
        let (base, len) = self.otp;
        address.checked_sub(base).is_some_and(|at| at < len)
    }

    /// First address for images on boards with a bootloader: one that takes only sealed images, or one that takes any.
    #[must_use]
    pub const fn images_from(&self, sealed: bool) -> u32 {
        self.flash.base + self.resident.bytes(sealed)
    }

    /// What the shipped bootloader needs until it listens. One that takes only sealed images has the curve to unpack too: a
    /// third more.
    #[must_use]
    pub const fn listens(&self, sealed: bool) -> Span {
        if sealed { a_third_more(self.listens_after) } else { self.listens_after }
    }

    /// How long a run waits for boards to listen unless its job says otherwise: a third more than they need.
    #[must_use]
    pub const fn start_up(&self, sealed: bool) -> Span {
        a_third_more(self.listens(sealed))
    }

    /// Address behind the last byte of flash.
    #[must_use]
    pub fn flash_end(&self) -> u32 {
        self.flash.base + self.flash.size()
    }
}

const fn a_third_more(span: Span) -> Span {
    Span(span.0 * 4 / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flash_sizes_are_those_of_the_datasheets() {
        let kib = |name| Chip::by_name(name).map(|c| c.flash.size() / 1024);
        let names = [
            "STM32F405",
            "STM32F429",
            "STM32G431",
            "stm32g474",
            "STM32G0B1",
            "STM32L496",
            "STM32F103xE",
            "STM32F103xG",
        ];
        assert_eq!(names.map(kib), [1024, 2048, 128, 512, 512, 1024, 512, 1024].map(Some));
    }

    #[test]
    fn the_planned_layout_and_start_are_those_of_simulated_boards() {
        for chip in CHIPS {
            let simulated =
                panel_simulator::Chip::by_name(chip.name.trim_start_matches("STM32")).expect("known");
            assert_eq!(chip.listens_after, simulated.start_up, "{}", chip.name);
            for sealed in [false, true] {
                let board = simulated.flash_facts(sealed);
                let planned = (chip.images_from(sealed), chip.flash.record_base);
                assert_eq!(planned, (board.app_base, board.record_base), "{}", chip.name);
            }
        }
    }
}
