//! RCC_CSR of every family: the low-speed oscillator, which the independent watchdog forces on, and the flags of resets.
//!
//! Used by each family's RCC, which knows where the register is, the bit that clears its flags and the oscillator's start.

use crate::wires::{NEVER, Reset};

const LSION: u32 = 1 << 0;
const LSIRDY: u32 = 1 << 1;
/// Flags of resets.
const FLAGS: u32 = 0xFE00_0000;

/// The register and the oscillator that it switches.
#[derive(Debug, Clone)]
pub(crate) struct Csr {
    pub(crate) value: u32,
    /// Clears the flags.
    rmvf: u32,
    /// From switching the oscillator on until it is ready, ns.
    start: u64,
    ready_at: u64,
}

impl Csr {
    /// No flag set, the oscillator off.
    pub(crate) const fn new(rmvf: u32, start: u64) -> Self {
        Self { value: 0, rmvf, start, ready_at: NEVER }
    }

    /// After a reset, which sets `flags` beside those of earlier ones; power that was off takes these away.
    pub(crate) const fn after(&self, cause: Reset, flags: u32) -> Self {
        let old = if matches!(cause, Reset::Power) { 0 } else { self.value & FLAGS };
        Self { value: old | flags, ..Self::new(self.rmvf, self.start) }
    }

    pub(crate) const fn next_event(&self) -> u64 {
        self.ready_at
    }

    pub(crate) fn tick(&mut self, now: u64) {
        if self.ready_at <= now {
            self.ready_at = NEVER;
            self.value |= LSIRDY;
        }
    }

    pub(crate) fn write(&mut self, now: u64, value: u32) {
        if value & self.rmvf != 0 {
            self.value &= 0x00FF_FFFF;
        }
        self.switch(now, value & LSION != 0);
    }

    /// The watchdog forces the oscillator on.
    pub(crate) fn force_lsi(&mut self, now: u64) {
        self.switch(now, true);
    }

    fn switch(&mut self, now: u64, on: bool) {
        if on && self.value & (LSION | LSIRDY) == 0 {
            self.ready_at = now + self.start;
        }
        self.value = self.value & !LSION | u32::from(on);
    }
}
