//! Reset and clock control of F103 (RM0008 section 7.3).
//!
//! Start-up times of DS5792 (tables 22, 24, 27). Switching to a source that is not ready is refused and noted; a peripheral
//! without clock does not answer.

use crate::csr::Csr;
use crate::oscillators::{HSERDY, Oscillators, PLLON, PLLRDY, shift};
use crate::wires::{Reset, Wires};

const HSI: u32 = 8_000_000;
const HSI_START: u64 = 2_000;
const HSE_START: u64 = 2_000_000;
const PLL_LOCK: u64 = 200_000;
const LSI_START: u64 = 85_000;

/// Buses with gates: APB2, APB1.
pub(crate) const APB2: usize = 0;
pub(crate) const APB1: usize = 1;

#[derive(Debug, Clone)]
pub(crate) struct Rcc {
    oscillators: Oscillators,
    cfgr: u32,
    ahb: u32,
    enabled: [u32; 2],
    pub(crate) csr: Csr,
    /// Peripherals of APB2 and APB1 that were reset by software since the last look.
    pub(crate) software_reset: [u32; 2],
}

impl Rcc {
    pub(crate) fn new(crystal: Option<u32>) -> Self {
        Self {
            oscillators: Oscillators::new(0x83, [1, 2], [HSI_START, HSE_START, PLL_LOCK], crystal),
            cfgr: 0,
            ahb: 0x14,
            enabled: [0; 2],
            csr: Csr::new(1 << 24, LSI_START),
            software_reset: [0; 2],
        }
    }

    pub(crate) fn reset(&mut self, cause: Reset) {
        let flags = match cause {
            Reset::Power => 1 << 27 | 1 << 26,
            Reset::Pin => 1 << 26,
            Reset::Software | Reset::Options => 1 << 28 | 1 << 26,
            Reset::Watchdog => 1 << 29 | 1 << 26,
        };
        *self = Self { csr: self.csr.after(cause, flags), ..Self::new(self.oscillators.crystal) };
    }

    pub(crate) fn is_enabled(&self, bus: usize, bit: u32) -> bool {
        self.enabled[bus] >> bit & 1 != 0
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.oscillators.next_event().min(self.csr.next_event())
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        self.oscillators.tick(wires.now.ns);
        self.csr.tick(wires.now.ns);
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => self.oscillators.cr,
            0x04 => self.cfgr | (self.cfgr & 3) << 2,
            0x08..=0x10 => 0,
            0x14 => self.ahb,
            0x18 | 0x1C => self.enabled[(offset as usize - 0x18) / 4],
            0x24 => self.csr.value,
            _ => {
                wires.complain(format!("read of unmodelled RCC register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32, latency: u32) {
        match offset {
            0x00 => self.oscillators.write(wires, value),
            0x04 => self.switch(wires, value, latency),
            0x08 => {}
            0x0C | 0x10 => self.software_reset[(offset as usize - 0x0C) / 4] |= value,
            0x14 => self.ahb = value,
            0x18 | 0x1C => self.enabled[(offset as usize - 0x18) / 4] = value,
            0x24 => self.csr.write(wires.now.ns, value),
            _ => wires.complain(format!("write of unmodelled RCC register {offset:#x}")),
        }
    }

    fn switch(&mut self, wires: &mut Wires, value: u32, latency: u32) {
        const FACTORS: u32 = 0x3F << 16;
        if self.oscillators.cr & PLLON != 0 && (self.cfgr ^ value) & FACTORS != 0 {
            wires.complain("the PLL's source or factor is changed while it runs");
        }
        let ready = match value & 3 {
            0 => 2,
            1 => HSERDY,
            2 => PLLRDY,
            _ => 0,
        };
        if self.oscillators.cr & ready == 0 {
            return wires.complain(format!("RCC_CFGR.SW switched to {}, which is not ready", value & 3));
        }
        self.cfgr = value & !0xC;
        let crystal = self.oscillators.crystal.unwrap_or(0);
        let sysclk = match value & 3 {
            0 => HSI,
            1 => crystal,
            _ => {
                // PLLSRC: HSI / 2, or HSE, which PLLXTPRE halves; PLLMUL: 2 to 16.
                let external = crystal >> (value >> 17 & 1);
                let input = if value & 1 << 16 == 0 { HSI / 2 } else { external };
                input * ((value >> 18 & 0xF) + 2).min(16)
            }
        };
        wires.hclk = sysclk >> shift(value, 4, 4);
        wires.pclk1 = wires.hclk >> shift(value, 8, 3);
        wires.pclk2 = wires.hclk >> shift(value, 11, 3);
        // PM0075 3.1: one wait state for every 24 MHz.
        let needed = wires.hclk.saturating_sub(1) / 24_000_000;
        if latency < needed {
            wires.complain(format!("HCLK {} Hz needs {needed} wait states, {latency} are set", wires.hclk));
        }
        if wires.hclk > 72_000_000 || wires.pclk1 > 36_000_000 {
            wires.complain(format!("clocks beyond the datasheet: {}, {} Hz", wires.hclk, wires.pclk1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pll_multiplies_half_the_internal_oscillator_or_the_crystal() {
        let (mut rcc, mut wires) = (Rcc::new(Some(8_000_000)), Wires::new(HSI));
        rcc.write(&mut wires, 0x04, 10 << 18 | 0b100 << 8, 0); // HSI / 2 * 12
        rcc.write(&mut wires, 0x00, 0x83 | PLLON, 0);
        wires.now.ns = PLL_LOCK;
        rcc.tick(&mut wires);
        rcc.write(&mut wires, 0x04, 10 << 18 | 0b100 << 8 | 2, 1);
        assert_eq!((wires.hclk, wires.pclk1, wires.pclk2), (48_000_000, 24_000_000, 48_000_000));
        assert_eq!((rcc.read(&mut wires, 0x04) & 0xF, wires.complaints().count()), (0b1010, 0));
        rcc.write(&mut wires, 0x04, 4 << 18 | 1 << 16 | 2, 1);
        assert_eq!(wires.complaints().count(), 2, "it runs, and the first bus is too fast");
    }
}
