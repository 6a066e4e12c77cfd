//! How long a family's flash takes: typical times for time bounds, maximum times for timeouts.
//!
//! The figures are datasheet figures (flash memory characteristics); where none was found, the value of the
//! nearest family stands in and `source` says so. Nothing here is measured.

use core::time::Duration;

use super::Family;

/// A typical and a maximum time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypMax {
    /// Typical, for estimates and bounds.
    pub typical: Duration,
    /// Maximum, for timeouts.
    pub max: Duration,
}

impl TypMax {
    const fn micros(typical: u64, max: u64) -> Self {
        Self { typical: Duration::from_micros(typical), max: Duration::from_micros(max) }
    }

    const fn millis(typical: u64, max: u64) -> Self {
        Self::micros(typical * 1000, max * 1000)
    }

    /// `n` times this.
    #[must_use]
    pub const fn times(self, n: u32) -> Self {
        Self { typical: self.typical.saturating_mul(n), max: self.max.saturating_mul(n) }
    }

    /// The sum of two.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { typical: self.typical.saturating_add(other.typical), max: self.max.saturating_add(other.max) }
    }
}

/// Bytes that an F2, F4 or F7 programs in one access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Parallelism {
    /// One: what the ROM starts with.
    #[default]
    X8,
    /// Two.
    X16,
    /// Four.
    X32,
}

/// The board's supply voltage, which decides the parallelism an F2, F4 or F7 may use
/// (AN2606, voltage range through the virtual address; RM0090, program/erase parallelism).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SupplyVoltage {
    /// 1.8 to 2.1 V.
    From1V8,
    /// 2.1 to 2.4 V.
    From2V1,
    /// 2.4 to 2.7 V.
    From2V4,
    /// 2.7 to 3.6 V.
    From2V7,
}

impl SupplyVoltage {
    /// The range a voltage lies in, or `None` outside 1.8 to 3.6 V.
    #[must_use]
    pub const fn from_millivolts(millivolts: u16) -> Option<Self> {
        Some(match millivolts {
            1800..2100 => Self::From1V8,
            2100..2400 => Self::From2V1,
            2400..2700 => Self::From2V4,
            2700..=3600 => Self::From2V7,
            _ => return None,
        })
    }

    /// The byte that tells the ROM.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::From1V8 => 0x00,
            Self::From2V1 => 0x01,
            Self::From2V4 => 0x02,
            Self::From2V7 => 0x03,
        }
    }

    /// What the flash then programs at once.
    #[must_use]
    pub const fn parallelism(self) -> Parallelism {
        match self {
            Self::From1V8 => Parallelism::X8,
            Self::From2V1 | Self::From2V4 => Parallelism::X16,
            Self::From2V7 => Parallelism::X32,
        }
    }
}

/// Flash times of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashTiming {
    family: Family,
    /// Bytes programmed at once (F2, F4, F7: at x8).
    pub unit: u16,
    /// Time for one such unit.
    pub program: TypMax,
    /// Time to erase a page; on sector families [`FlashTiming::erase_unit`] knows more.
    pub page: TypMax,
    /// Time to erase everything; likewise [`FlashTiming::mass_erase`].
    pub mass: TypMax,
    /// Where the figures are from and how sure they are.
    pub source: &'static str,
}

impl FlashTiming {
    /// The figures of a family.
    #[must_use]
    pub const fn of(family: Family) -> Self {
        let micros = TypMax::micros;
        let millis = TypMax::millis;
        let (unit, program, page, mass, source) = match family {
            Family::F1 | Family::W => {
                (2, (52, 70), millis(30, 40), millis(30, 40), "STM32F103x8/xB datasheet, table 28; W as F1")
            }
            Family::F0 | Family::F3 => {
                (2, (54, 70), millis(30, 40), millis(30, 40), "STM32F051 datasheet; F3 maximum as F1")
            }
            Family::F2 | Family::F4 | Family::F7 => (
                1,
                (16, 100),
                millis(400, 800),
                millis(16_000, 32_000),
                "STM32F411 and STM32F405 datasheets; F2 and F7 as F4, sector sizes scaled",
            ),
            // Typical: by half page of 64 (L0) or 128 bytes (L1). Maximum: word by word, as a ROM may do it.
            Family::L0 => (
                4,
                (200, 3940),
                micros(3200, 3940),
                millis(1000, 4000),
                "STM32L0 datasheets; whether the ROM programs words or half pages is not documented",
            ),
            Family::L1 => (
                4,
                (100, 3940),
                micros(3200, 3940),
                millis(1000, 4000),
                "STM32L1 datasheets; whether the ROM programs words or half pages is not documented",
            ),
            Family::G0 | Family::C0 => {
                (8, (85, 125), millis(22, 40), millis(22, 40), "STM32G030 datasheet; C0 program time as G0")
            }
            Family::L4 | Family::G4 | Family::L5 | Family::WB | Family::WL | Family::U0 => (
                8,
                (82, 91),
                micros(22_020, 24_470),
                micros(22_130, 24_590),
                "STM32L4 datasheets; the others as L4",
            ),
            Family::H7 => (
                32,
                (290, 580),
                millis(1100, 4000),
                millis(8000, 32_000),
                "STM32H743 datasheet, x8 parallelism",
            ),
            Family::U5 | Family::U3 | Family::WBA | Family::H5 | Family::H7RS | Family::C5 => (
                16,
                (118, 240),
                micros(1500, 5000),
                millis(400, 5000),
                "STM32U5 datasheets; the others assumed as U5",
            ),
        };
        Self { family, unit, program: micros(program.0, program.1), page, mass, source }
    }

    /// Time to program `bytes` bytes.
    #[must_use]
    pub const fn program_bytes(&self, bytes: u32, parallelism: Parallelism) -> TypMax {
        let unit = if self.by_sectors() { parallelism.bytes() } else { self.unit as u32 };
        self.program.times(bytes.div_ceil(unit))
    }

    /// Time to erase one unit of `bytes` bytes.
    #[must_use]
    pub const fn erase_unit(&self, bytes: u32, parallelism: Parallelism) -> TypMax {
        if !self.by_sectors() {
            return match (self.family, bytes) {
                (Family::H7, 0..=8192) => TypMax::micros(1500, 10_000), // H7A3: small pages, assumed as U5
                _ => self.page,
            };
        }
        let by_width = match bytes / 1024 {
            0..=16 => [(400, 800), (300, 600), (250, 500)],
            17..=32 => [(500, 1000), (400, 800), (350, 700)],
            33..=64 => [(1200, 2400), (700, 1400), (550, 1100)],
            65..=128 => [(2000, 4000), (1300, 2600), (1000, 2000)],
            _ => [(2500, 4500), (1800, 3600), (1300, 2600)],
        };
        let (typical, max) = by_width[parallelism as usize];
        TypMax::millis(typical, max)
    }

    /// Time to erase all `kib` KiB at once.
    #[must_use]
    pub const fn mass_erase(&self, kib: u32, parallelism: Parallelism) -> TypMax {
        if !self.by_sectors() {
            return self.mass;
        }
        // The datasheets give 16 s at x8, 11 s at x16, 8 s at x32 for 1 MB; smaller dies are proportional,
        // the maximum stays that of 1 MB so that a timeout is never short.
        let millis = [16_000, 11_000, 8000][parallelism as usize];
        let at_least_1_mib = if kib > 1024 { kib } else { 1024 };
        TypMax {
            typical: Duration::from_millis(millis * kib as u64 / 1024),
            max: Duration::from_millis(2 * millis * at_least_1_mib as u64 / 1024),
        }
    }

    const fn by_sectors(&self) -> bool {
        matches!(self.family, Family::F2 | Family::F4 | Family::F7)
    }
}

impl Parallelism {
    /// Bytes programmed at once.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::X8 => 1,
            Self::X16 => 2,
            Self::X32 => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_256_byte_write_takes_what_the_datasheets_add_up_to() {
        let block =
            |family, parallelism| FlashTiming::of(family).program_bytes(256, parallelism).typical.as_micros();
        assert_eq!(block(Family::F4, Parallelism::X8), 4096);
        assert_eq!(block(Family::F4, Parallelism::X32), 1024);
        assert_eq!(block(Family::F1, Parallelism::X8), 6656);
        assert_eq!(block(Family::L4, Parallelism::X8), 2624);
        assert_eq!(block(Family::L0, Parallelism::X32), 12_800);
    }

    #[test]
    fn a_maximum_is_never_below_the_typical_time() {
        for device in crate::Device::all() {
            let timing = FlashTiming::of(device.family);
            for parallelism in [Parallelism::X8, Parallelism::X16, Parallelism::X32] {
                for bytes in [128, 1024, 2048, 8192, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10] {
                    let erase = timing.erase_unit(bytes, parallelism);
                    assert!(erase.typical <= erase.max, "{} {bytes}", device.name);
                }
                let mass = timing.mass_erase(2048, parallelism);
                assert!(mass.typical <= mass.max, "{}", device.name);
            }
            assert!(timing.program.typical <= timing.program.max, "{}", device.name);
        }
    }

    #[test]
    fn more_parallelism_is_never_slower() {
        let timing = FlashTiming::of(Family::F7);
        for bytes in [32 << 10, 128 << 10, 256 << 10] {
            assert!(
                timing.erase_unit(bytes, Parallelism::X32).typical
                    < timing.erase_unit(bytes, Parallelism::X8).typical
            );
        }
        assert!(
            timing.mass_erase(1024, Parallelism::X32).typical
                < timing.mass_erase(1024, Parallelism::X16).typical
        );
    }

    #[test]
    fn a_voltage_falls_into_one_range_or_none() {
        assert_eq!(SupplyVoltage::from_millivolts(3300), Some(SupplyVoltage::From2V7));
        assert_eq!(SupplyVoltage::from_millivolts(2699), Some(SupplyVoltage::From2V4));
        assert_eq!(SupplyVoltage::from_millivolts(1799), None);
        assert_eq!(SupplyVoltage::from_millivolts(3601), None);
        assert_eq!(SupplyVoltage::From2V7.parallelism(), Parallelism::X32);
    }
}
