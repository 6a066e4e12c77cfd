//! Option bytes of G4 (RM0440 3.4) and G0 (RM0444 3.4): their page of flash, the registers over it, and how they are loaded.
//!
//! Each word has its complement behind it. A change erases the page and programs it double word by double word; a cut of the
//! power in that leaves words that do not fit, and each loads as the mismatch value that the manual gives for it. Used by the
//! flash interface; which registers a chip has is in `chips.rs`.

use crate::flash::Flash;

/// An option register: offset, value as delivered, what is loaded where its word and complement do not match.
pub(crate) type OptionRegister = (u32, u32, Mismatch);

/// What is loaded in the place of option bytes that do not match (3.4.2).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mismatch {
    /// This value.
    Word(u32),
    /// A value that makes all of the flash execute-only (PCROP): a program that reads its own constants does not run.
    Hides(u32),
}

/// First address of the first bank's option bytes: each word of the registers with its complement behind it (RM0440 table
/// 14, RM0444 table 12). Those of the second bank, which lie elsewhere in memory, are kept behind them.
pub(super) const OPTION_BYTES: u32 = 0x1FFF_7800;

/// The option bytes of a chip, in the order of their registers.
#[derive(Debug, Clone)]
pub(super) struct Options {
    table: &'static [OptionRegister],
    /// In force.
    pub(super) loaded: Vec<u32>,
    /// In the registers as software left them.
    pub(super) registers: Vec<u32>,
}

impl Options {
    /// As delivered.
    pub(super) fn new(table: &'static [OptionRegister]) -> Self {
        let loaded: Vec<u32> = table.iter().map(|&(_, value, _)| value).collect();
        Self { table, registers: loaded.clone(), loaded }
    }

    /// What the page holds as delivered.
    pub(super) fn delivered(&self) -> Vec<u8> {
        self.table.iter().flat_map(|&(_, value, _)| with_complement(value)).collect()
    }

    /// The register at this offset.
    pub(super) fn find(&self, offset: u32) -> Option<usize> {
        self.table.iter().position(|&(register, ..)| register == offset)
    }

    /// Option byte loading (3.4.2); false if a word did not match. Says whether the flash is hidden from now on.
    pub(super) fn load(&mut self, flash: &mut Flash) -> bool {
        (flash.hidden, self.loaded) = (false, Vec::new());
        let mut all = true;
        for (place, &(_, _, mismatch)) in (OPTION_BYTES..).step_by(8).zip(self.table) {
            let bytes = flash.bytes(place, 8);
            let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let matches = bytes == with_complement(word) && !flash.cells().is_spoilt(place);
            all &= matches;
            self.loaded.push(match mismatch {
                _ if matches => word,
                Mismatch::Word(word) => word,
                Mismatch::Hides(word) => {
                    flash.hidden = true;
                    word
                }
            });
        }
        all
    }

    /// The registers show what is in force.
    pub(super) fn renew(&mut self) {
        self.registers.clone_from(&self.loaded);
    }

    /// What a change to what the registers hold does to the page, one operation behind the other, with their times.
    pub(super) fn operations(&self, erase_ns: u64, program_ns: u64) -> Vec<(u32, Vec<u8>, u64)> {
        let erase = (OPTION_BYTES, vec![0xFF; 8 * self.registers.len()], erase_ns);
        let words = (OPTION_BYTES..).step_by(8).zip(&self.registers);
        let programs = words.map(|(at, &word)| (at, with_complement(word).to_vec(), program_ns));
        [erase].into_iter().chain(programs).collect()
    }
}

/// What a chip says whose option bytes hide its flash. A power cut while they are written can do that (RM0440 3.4.2, RM0444
/// 3.4.2 with a word of warning), and no program on the chip can undo it.
pub(super) const HIDDEN: &str = "option bytes do not match: the flash is execute-only";

/// A word of option bytes in memory.
fn with_complement(word: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (word.to_le_bytes(), (!word).to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::flash::Cells;
    use crate::g0g4::chips::G431;

    #[test]
    fn option_bytes_that_do_not_match_load_as_a_protected_chip_and_those_of_pcrop_hide_the_flash() {
        let mut options = Options::new(G431.flash.options);
        let mut flash = Flash::new(Cells::new(2048, true).and(OPTION_BYTES, options.delivered()));
        assert!(options.load(&mut flash));
        let spoil = |flash: &mut Flash, n: u32| {
            let mut cells = flash.cells().clone();
            cells.flip(OPTION_BYTES + 8 * n, 0);
            flash.set_cells(&cells);
        };
        spoil(&mut flash, 0);
        assert!(!options.load(&mut flash));
        assert_eq!((options.loaded[0] & 0x7FF, flash.hidden), (0x0FF, false), "level 1, lowest brown-out");
        spoil(&mut flash, 2);
        assert!(!options.load(&mut flash) && flash.hidden);
        assert_eq!(options.loaded[2], u32::MAX, "to the end of the flash");
    }
}
