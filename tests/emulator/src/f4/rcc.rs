//! Reset and clock control and power control of F405 (RM0090 sections 7.3 and 5.4).
//!
//! Oscillators and the PLL are ready after the longest start-up times of DS8626 (tables 33, 35, 37); switching to
//! one that is not ready is refused and noted. Clock gates are enforced: a peripheral without clock does not answer.

use crate::csr::Csr;
use crate::oscillators::{Oscillators, shift};
use crate::wires::{Reset, Wires};

const HSI: u32 = 16_000_000;
/// DS8626, table 35 and 37; a crystal takes about 2 ms (table 33).
const HSI_START: u64 = 4_000;
const HSE_START: u64 = 2_000_000;
const PLL_LOCK: u64 = 200_000;
const LSI_START: u64 = 40_000;

#[derive(Debug, Clone)]
pub(crate) struct Rcc {
    pub(crate) oscillators: Oscillators,
    pllcfgr: u32,
    cfgr: u32,
    cir: u32,
    /// AHB1, AHB2, AHB3, -, APB1, APB2.
    enabled: [u32; 6],
    bdcr: u32,
    pub(crate) csr: Csr,
    pwr_cr: u32,
    /// Peripherals of AHB1 to APB2 that were reset by software since the last look.
    pub(crate) software_reset: [u32; 6],
}

impl Rcc {
    pub(crate) fn new(crystal: Option<u32>) -> Self {
        let starts = [HSI_START, HSE_START, PLL_LOCK];
        Self {
            oscillators: Oscillators::new(0x83, [1, 2], starts, crystal),
            pllcfgr: 0x2400_3010,
            cfgr: 0,
            cir: 0,
            enabled: [0x0010_0000, 0, 0, 0, 0, 0],
            bdcr: 0,
            csr: Csr::new(1 << 24, LSI_START),
            pwr_cr: 0xC000,
            software_reset: [0; 6],
        }
    }

    pub(crate) fn reset(&mut self, cause: Reset) {
        let flags = match cause {
            // POR sets the brown-out, pin and power flags together (RM0090 7.3.21).
            Reset::Power => 0x0E00_0000,
            Reset::Pin => 1 << 26,
            Reset::Software | Reset::Options => 1 << 28 | 1 << 26,
            Reset::Watchdog => 1 << 29 | 1 << 26,
        };
        let bdcr = if cause == Reset::Power { 0 } else { self.bdcr };
        *self = Self { csr: self.csr.after(cause, flags), bdcr, ..Self::new(self.oscillators.crystal) };
    }

    /// Whether the gate `bit` of bus register `bus` (0 AHB1 ... 4 APB1, 5 APB2) is open.
    pub(crate) fn is_enabled(&self, bus: usize, bit: u32) -> bool {
        self.enabled[bus] >> bit & 1 != 0
    }

    /// Backup domain write access (PWR_CR.DBP).
    pub(crate) fn backup_writable(&self) -> bool {
        self.pwr_cr & 0x100 != 0
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
            0x04 => self.pllcfgr,
            0x08 => self.cfgr | (self.cfgr & 3) << 2,
            0x0C => self.cir,
            0x10..=0x24 => 0,
            0x30..=0x44 => self.enabled[(offset as usize - 0x30) / 4],
            0x70 => self.bdcr,
            0x74 => self.csr.value,
            _ => {
                wires.complain(format!("read of unmodelled RCC register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32, latency: u32) {
        match offset {
            0x00 => self.oscillators.write(wires, value),
            0x04 => {
                if self.oscillators.cr & 1 << 24 != 0 {
                    wires.complain("RCC_PLLCFGR written while the PLL runs");
                }
                self.pllcfgr = value;
            }
            0x08 => self.switch(wires, value, latency),
            0x0C => self.cir = value & 0x7F00,
            0x10..=0x24 => self.software_reset[(offset as usize - 0x10) / 4] |= value,
            0x30..=0x44 => self.enabled[(offset as usize - 0x30) / 4] = value,
            // AHB1LPENR to APB2LPENR: clocks in sleep, as after reset.
            0x50..=0x64 => {}
            0x70 => self.bdcr = value,
            0x74 => self.csr.write(wires.now.ns, value),
            _ => wires.complain(format!("write of unmodelled RCC register {offset:#x}")),
        }
    }

    pub(crate) fn read_power(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => self.pwr_cr,
            // VOSRDY
            0x04 => 1 << 14,
            _ => {
                wires.complain(format!("read of unmodelled PWR register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write_power(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match offset {
            0x00 => self.pwr_cr = value,
            0x04 => {}
            _ => wires.complain(format!("write of unmodelled PWR register {offset:#x}")),
        }
    }

    fn switch(&mut self, wires: &mut Wires, value: u32, latency: u32) {
        let source = value & 3;
        let ready = match source {
            0 => self.oscillators.cr & 2 != 0,
            1 => self.oscillators.cr & 1 << 17 != 0,
            2 => self.oscillators.cr & 1 << 25 != 0,
            _ => false,
        };
        if !ready {
            wires.complain(format!("RCC_CFGR.SW switched to source {source}, which is not ready"));
            return;
        }
        self.cfgr = value & !0xC;
        let sysclk = match source {
            0 => HSI,
            1 => self.oscillators.crystal.unwrap_or(HSI),
            _ => self.pll(wires),
        };
        wires.hclk = sysclk >> shift(value, 4, 4);
        wires.pclk1 = wires.hclk >> shift(value, 10, 3);
        wires.pclk2 = wires.hclk >> shift(value, 13, 3);
        // RM0090 table 10, 2.7 to 3.6 V: one wait state for every 30 MHz.
        let needed = wires.hclk.saturating_sub(1) / 30_000_000;
        if latency < needed {
            wires.complain(format!(
                "HCLK {} Hz needs {needed} flash wait states, {latency} are set",
                wires.hclk
            ));
        }
        // DS8626 table 14.
        if wires.hclk > 168_000_000 || wires.pclk1 > 42_000_000 || wires.pclk2 > 84_000_000 {
            wires.complain(format!(
                "clocks beyond the datasheet: {}, {}, {} Hz",
                wires.hclk, wires.pclk1, wires.pclk2
            ));
        }
    }

    /// RM0090 7.3.2: VCO input 1 to 2 MHz, VCO output 100 to 432 MHz.
    fn pll(&self, wires: &mut Wires) -> u32 {
        let source = if self.pllcfgr & 1 << 22 != 0 { self.oscillators.crystal.unwrap_or(0) } else { HSI };
        let (m, n) = (self.pllcfgr & 0x3F, self.pllcfgr >> 6 & 0x1FF);
        let p = 2 * ((self.pllcfgr >> 16 & 3) + 1);
        let input = source / m.max(1);
        let vco = u64::from(input) * u64::from(n);
        if !(950_000..=2_000_000).contains(&input) || !(100_000_000..=432_000_000).contains(&vco) {
            wires.complain(format!("PLL out of range: input {input} Hz, VCO {vco} Hz"));
        }
        (vco / u64::from(p)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pll_is_ready_after_its_lock_time_and_not_before() {
        let (mut rcc, mut wires) = (Rcc::new(None), Wires::new(HSI));
        rcc.write(&mut wires, 0x04, 1 << 24 | 8 | 168 << 6, 0); // HSI / 8 * 168 / 2
        rcc.write(&mut wires, 0x00, 0x83 | 1 << 24, 0);
        rcc.write(&mut wires, 0x08, 2 | 0b101 << 10 | 0b100 << 13, 5);
        assert_eq!(wires.complaints().count(), 1, "not ready yet");
        wires.now.ns = PLL_LOCK;
        rcc.tick(&mut wires);
        assert_eq!(rcc.read(&mut wires, 0x00) >> 24 & 3, 3);
        rcc.write(&mut wires, 0x08, 2 | 0b101 << 10 | 0b100 << 13, 5);
        assert_eq!((wires.hclk, wires.pclk1, wires.pclk2), (168_000_000, 42_000_000, 84_000_000));
        assert_eq!(rcc.read(&mut wires, 0x08) & 0xF, 0b1010);
        assert_eq!(wires.complaints().count(), 1, "five wait states are enough");
    }

    #[test]
    fn too_few_wait_states_are_noticed() {
        let (mut rcc, mut wires) = (Rcc::new(None), Wires::new(HSI));
        rcc.oscillators.crystal = Some(40_000_000);
        rcc.write(&mut wires, 0x00, 0x83 | 1 << 16, 0);
        wires.now.ns = HSE_START;
        rcc.tick(&mut wires);
        rcc.write(&mut wires, 0x08, 1, 0);
        assert!(wires.complaints().next().unwrap().0.contains("wait states"));
    }

    #[test]
    fn the_cause_of_a_reset_stays_until_it_is_cleared() {
        let (mut rcc, mut wires) = (Rcc::new(None), Wires::new(HSI));
        rcc.reset(Reset::Power);
        rcc.reset(Reset::Watchdog);
        assert_eq!(rcc.read(&mut wires, 0x74) >> 24, 0b10_1110);
        rcc.write(&mut wires, 0x74, 1 << 24, 0);
        assert_eq!(rcc.read(&mut wires, 0x74) >> 24, 0);
    }
}
