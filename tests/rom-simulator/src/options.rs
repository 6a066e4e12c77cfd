//! Option bytes: which byte of the area means what, for the layouts the simulated chips have.
//!
//! Sources: PM0075 (F1), RM0091 and RM0316 (F0, F3), RM0090 (F4), RM0385 (F7), RM0367 and RM0440 (L0, G4).
//! A half-word whose complement does not fit loads as 0xFF, so a blank or torn area reads as protected.

use crate::model::OptionLayout;
use std::collections::BTreeSet;

/// Read-out protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Level 0.
    Open,
    /// Level 1: reading and writing refused, Readout Unprotect erases everything.
    Level1,
    /// Level 2: the ROM no longer starts, for ever.
    Level2,
}

/// What the option bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) protection: Protection,
    /// Codes of protected sector groups.
    pub(crate) write_protected: BTreeSet<u8>,
}

impl Options {
    pub(crate) fn factory() -> Self {
        Self { protection: Protection::Open, write_protected: BTreeSet::new() }
    }

    /// What `area` says; layouts that keep write protection elsewhere take it over from `before`.
    pub(crate) fn parse(layout: OptionLayout, area: &[u8], before: &Self) -> Self {
        let byte = |at: usize| area.get(at).copied().unwrap_or(0xFF);
        let half_word = |at: usize| if byte(at) == !byte(at + 1) { byte(at) } else { 0xFF };
        let clear_bits = |mask: u32, count: u8| (0..count).filter(|bit| mask & (1 << bit) == 0).collect();
        match layout {
            OptionLayout::HalfWordsF1 | OptionLayout::HalfWords => {
                let wrp = [8, 10, 12, 14].map(half_word);
                let protection = match (layout, half_word(0)) {
                    (OptionLayout::HalfWordsF1, 0xA5) | (OptionLayout::HalfWords, 0xAA) => Protection::Open,
                    (OptionLayout::HalfWords, 0xCC) => Protection::Level2,
                    _ => Protection::Level1,
                };
                Self { protection, write_protected: clear_bits(u32::from_le_bytes(wrp), 32) }
            }
            OptionLayout::F4 => Self {
                protection: level(byte(1)),
                write_protected: clear_bits(u32::from(byte(8)) | u32::from(byte(9)) << 8, 12),
            },
            OptionLayout::F7 => {
                Self { protection: level(byte(1)), write_protected: clear_bits(u32::from(byte(2)), 8) }
            }
            OptionLayout::LowByte => {
                Self { protection: level(byte(0)), write_protected: before.write_protected.clone() }
            }
            OptionLayout::Hidden => before.clone(),
        }
    }

    /// Writes what these options mean into `area`, leaving unrelated bytes alone.
    pub(crate) fn render(&self, layout: OptionLayout, area: &mut [u8]) {
        let mut put = |at: usize, byte: u8| {
            if let Some(cell) = area.get_mut(at) {
                *cell = byte;
            }
        };
        let level = match self.protection {
            Protection::Open => 0xAA,
            Protection::Level1 => 0x55,
            Protection::Level2 => 0xCC,
        };
        let mask = self.write_protected.iter().filter(|c| **c < 32).fold(u32::MAX, |m, c| m & !(1 << c));
        match layout {
            OptionLayout::HalfWordsF1 | OptionLayout::HalfWords => {
                let rdp = match (layout, self.protection) {
                    (OptionLayout::HalfWordsF1, Protection::Open) => 0xA5,
                    (OptionLayout::HalfWordsF1, _) => 0x00,
                    // 0xBB rather than 0x55: what ST's own driver writes for level 1.
                    (_, Protection::Level1) => 0xBB,
                    _ => level,
                };
                let bytes = [(0, rdp), (8, mask as u8), (10, (mask >> 8) as u8), (12, (mask >> 16) as u8)];
                for (at, byte) in bytes.into_iter().chain([(14, (mask >> 24) as u8)]) {
                    put(at, byte);
                    put(at + 1, !byte);
                }
            }
            OptionLayout::F4 => {
                put(1, level);
                put(8, mask as u8);
                put(9, (mask >> 8) as u8 & 0x0F);
            }
            OptionLayout::F7 => {
                put(1, level);
                put(2, mask as u8);
            }
            OptionLayout::LowByte => put(0, if self.protection == Protection::Level1 { 0xBB } else { level }),
            OptionLayout::Hidden => {}
        }
    }
}

fn level(byte: u8) -> Protection {
    match byte {
        0xAA => Protection::Open,
        0xCC => Protection::Level2,
        _ => Protection::Level1,
    }
}

/// The area as it leaves the factory.
pub(crate) fn factory_area(layout: OptionLayout, len: usize) -> Vec<u8> {
    let mut area = vec![0xFF; len];
    if matches!(layout, OptionLayout::HalfWordsF1 | OptionLayout::HalfWords) {
        for (at, cell) in area.iter_mut().enumerate() {
            *cell = if at % 2 == 0 { 0xFF } else { 0x00 };
        }
    }
    Options::factory().render(layout, &mut area);
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_parses_back() {
        for layout in [
            OptionLayout::HalfWordsF1,
            OptionLayout::HalfWords,
            OptionLayout::F4,
            OptionLayout::F7,
            OptionLayout::LowByte,
        ] {
            for protection in [Protection::Open, Protection::Level1, Protection::Level2] {
                if layout == OptionLayout::HalfWordsF1 && protection == Protection::Level2 {
                    continue; // F1 has none
                }
                let options = Options { protection, write_protected: BTreeSet::from([0, 3]) };
                let mut area = factory_area(layout, 16);
                options.render(layout, &mut area);
                assert_eq!(Options::parse(layout, &area, &options), options, "{layout:?}");
            }
        }
    }

    #[test]
    fn a_blank_area_reads_as_protected() {
        for layout in [OptionLayout::HalfWordsF1, OptionLayout::HalfWords, OptionLayout::F4] {
            let parsed = Options::parse(layout, &[0xFF; 16], &Options::factory());
            assert_eq!(parsed.protection, Protection::Level1, "{layout:?}");
        }
    }

    #[test]
    fn f1_factory_bytes_are_the_documented_half_words() {
        // RDP A5 with complement, then USER, DATA0, DATA1, WRP0..3 all FF with complements.
        let area = factory_area(OptionLayout::HalfWordsF1, 16);
        assert_eq!(area, [0xA5, 0x5A, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0]);
    }
}
