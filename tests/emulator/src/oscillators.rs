//! RCC_CR of every family: oscillators and PLL, each ready some time after it was switched on.
//!
//! A crystal that is not fitted never gets ready. Used by each family's RCC, which knows bits and times.

use crate::wires::{NEVER, Wires};

/// The external oscillator, its ready flag and its bypass have the same bits in every family; so has the PLL.
pub(crate) const HSEON: u32 = 1 << 16;
pub(crate) const HSERDY: u32 = 1 << 17;
const HSEBYP: u32 = 1 << 18;
pub(crate) const PLLON: u32 = 1 << 24;
pub(crate) const PLLRDY: u32 = 1 << 25;

#[derive(Debug, Clone)]
struct Source {
    enable: u32,
    ready: u32,
    start: u64,
    at: u64,
}

/// The register and what it switches.
#[derive(Debug, Clone)]
pub(crate) struct Oscillators {
    /// RCC_CR.
    pub(crate) cr: u32,
    /// Frequency of the crystal on the board, if one is fitted.
    pub(crate) crystal: Option<u32>,
    sources: [Source; 3],
}

impl Oscillators {
    /// As after a reset: the internal one runs. Its two bits, and the start-up times of it, the crystal and the PLL in ns.
    pub(crate) fn new(cr: u32, internal: [u32; 2], starts: [u64; 3], crystal: Option<u32>) -> Self {
        let source = |[enable, ready]: [u32; 2], start| Source { enable, ready, start, at: NEVER };
        let [internal_ns, crystal_ns, pll_ns] = starts;
        let sources = [
            source(internal, internal_ns),
            source([HSEON, HSERDY], crystal_ns),
            source([PLLON, PLLRDY], pll_ns),
        ];
        Self { cr, crystal, sources }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.sources.iter().map(|s| s.at).min().unwrap_or(NEVER)
    }

    pub(crate) fn tick(&mut self, now: u64) {
        for source in self.sources.iter_mut().filter(|s| s.at <= now) {
            source.at = NEVER;
            self.cr |= source.ready;
        }
    }

    pub(crate) fn write(&mut self, wires: &Wires, value: u32) {
        for source in &mut self.sources {
            let (was, is) = (self.cr & source.enable != 0, value & source.enable != 0);
            if is && !was {
                let starts = source.enable != HSEON || self.crystal.is_some() || value & HSEBYP != 0;
                source.at = if starts { wires.now.ns + source.start } else { NEVER };
            } else if was && !is {
                source.at = NEVER;
                self.cr &= !source.ready;
            }
        }
        let flags = self.sources.iter().fold(0, |all, s| all | s.ready);
        self.cr = value & !flags | self.cr & flags;
    }
}

/// How many bits a divider of processor or bus clock shifts it by: HPRE of four bits, PPRE of three (the same in every RCC_CFGR).
pub(crate) fn shift(cfgr: u32, at: u32, bits: u32) -> u32 {
    let field = cfgr >> at & ((1 << bits) - 1);
    let (first, shifts): (u32, &[u32]) =
        if bits == 4 { (8, &[1, 2, 3, 4, 6, 7, 8, 9]) } else { (4, &[1, 2, 3, 4]) };
    field.checked_sub(first).map_or(0, |n| shifts[n as usize])
}
