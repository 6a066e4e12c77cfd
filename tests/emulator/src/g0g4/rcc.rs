//! Reset and clock control and power control of G4 (RM0440 sections 7.4 and 6.4) and G0 (RM0444 5.4 and 4.4).
//!
//! Oscillators and the PLL are ready after the longest start-up times of DS12589 (DS13560 has no longer ones); switching to one
//! that is not ready is refused and noted. Clock gates are enforced: a peripheral without clock does not answer.

use std::ops::RangeInclusive;

use crate::csr::Csr;
use crate::oscillators::{HSERDY, Oscillators, PLLON, PLLRDY, shift};
use crate::wires::{Reset, Wires};

const HSI: u32 = 16_000_000;
const HSI_START: u64 = 3_800;
const HSE_START: u64 = 2_000_000;
const PLL_LOCK: u64 = 40_000;
const LSI_START: u64 = 130_000;

const HSIRDY: u32 = 1 << 10;

/// Whose registers they are. The oscillators and the reset flags have the same bits in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    G0,
    G4,
}

/// Where a family has its registers.
struct Map {
    resets: RangeInclusive<u32>,
    enables: RangeInclusive<u32>,
    /// Clocks in sleep mode.
    sleeps: RangeInclusive<u32>,
    /// CCIPR; CCIPR2 of G0 is behind it.
    select: u32,
    csr: u32,
}

impl Family {
    fn map(self) -> Map {
        let [resets, enables, sleeps] = match self {
            Self::G0 => [0x24..=0x30, 0x34..=0x40, 0x44..=0x50],
            Self::G4 => [0x28..=0x40, 0x48..=0x60, 0x68..=0x80],
        };
        let (select, csr) = match self {
            Self::G0 => (0x54, 0x60),
            Self::G4 => (0x88, 0x94),
        };
        Map { resets, enables, sleeps, select, csr }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Rcc {
    family: Family,
    oscillators: Oscillators,
    pllcfgr: u32,
    cfgr: u32,
    enabled: [u32; 7],
    /// CCIPR, and CCIPR2 of G0.
    select: [u32; 2],
    pub(crate) csr: Csr,
    power: [u32; 36],
    /// Peripherals that were reset by software since the last look, by bus.
    pub(crate) software_reset: [u32; 7],
}

impl Rcc {
    pub(crate) fn new(family: Family, crystal: Option<u32>) -> Self {
        let g4 = family == Family::G4;
        let mut power = [0; 36];
        power[0] = if g4 { 0x200 } else { 0x208 }; // PWR_CR1: range 1
        power[0x80 / 4] = if g4 { 0x100 } else { 0 }; // PWR_CR5: normal mode, no boost
        Self {
            family,
            oscillators: Oscillators::new(0x500, [1 << 8, HSIRDY], [HSI_START, HSE_START, PLL_LOCK], crystal),
            pllcfgr: 0x1000,
            cfgr: u32::from(g4),
            enabled: if g4 { [0x100, 0, 0, 0, 0x400, 0, 0] } else { [0, 0x100, 0, 0, 0, 0, 0] },
            select: [0; 2],
            csr: Csr::new(1 << 23, LSI_START),
            power,
            software_reset: [0; 7],
        }
    }

    pub(crate) fn reset(&mut self, cause: Reset) {
        // RM0440 7.4.27; every internal reset drives the pin too (7.1.2).
        let flags = match cause {
            Reset::Power => 1 << 27 | 1 << 26,
            Reset::Pin => 1 << 26,
            Reset::Software => 1 << 28 | 1 << 26,
            Reset::Options => 1 << 25 | 1 << 26,
            Reset::Watchdog => 1 << 29 | 1 << 26,
        };
        *self =
            Self { csr: self.csr.after(cause, flags), ..Self::new(self.family, self.oscillators.crystal) };
    }

    /// Whether the gate `bit` of bus register `bus` is open.
    pub(crate) fn is_enabled(&self, bus: usize, bit: u32) -> bool {
        self.enabled[bus] >> bit & 1 != 0
    }

    /// FDCAN's kernel clock, Hz; 0: none (FDCANSEL).
    pub(crate) fn fdcan_clock(&self, wires: &Wires) -> u32 {
        let crystal =
            if self.oscillators.cr & HSERDY != 0 { self.oscillators.crystal.unwrap_or(0) } else { 0 };
        let (_, vco) = self.vco();
        match (self.family, self.select[0] >> 24 & 3, self.select[1] >> 8 & 3) {
            (Family::G4, 0, _) | (Family::G0, _, 2) => crystal,
            (Family::G4, 1, _) if self.oscillators.cr & PLLRDY != 0 && self.pllcfgr & 1 << 20 != 0 => {
                vco / (2 * ((self.pllcfgr >> 21 & 3) + 1))
            }
            (Family::G0, _, 1) if self.oscillators.cr & PLLRDY != 0 && self.pllcfgr & 1 << 24 != 0 => {
                vco / ((self.pllcfgr >> 25 & 7) + 1)
            }
            (Family::G4, 2, _) | (Family::G0, _, 0) => wires.pclk1,
            _ => 0,
        }
    }

    /// A USART's kernel clock: `select` is the lowest bit of its field in CCIPR, `bus` the clock of its bus.
    pub(crate) fn usart_clock(&self, select: u32, bus: u32, wires: &Wires) -> u32 {
        match self.select[0] >> select & 3 {
            0 => bus,
            1 => wires.hclk, // SYSCLK; `switch` notes an AHB divider
            2 => HSI,
            _ => 32_768,
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.oscillators.next_event().min(self.csr.next_event())
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        self.oscillators.tick(wires.now.ns);
        self.csr.tick(wires.now.ns);
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        let map = self.family.map();
        let word = |range: &RangeInclusive<u32>| ((offset - range.start()) / 4) as usize;
        match offset {
            0x00 => self.oscillators.cr,
            0x08 if self.family == Family::G4 => self.cfgr | (self.cfgr & 3) << 2,
            0x08 => self.cfgr | (self.cfgr & 7) << 3,
            0x0C => self.pllcfgr,
            0x18..=0x20 => 0,
            _ if map.resets.contains(&offset) => 0,
            _ if map.enables.contains(&offset) => self.enabled[word(&map.enables)],
            _ if offset == map.select => self.select[0],
            _ if offset == map.select + 4 && self.family == Family::G0 => self.select[1],
            _ if offset == map.csr => self.csr.value,
            _ => {
                wires.complain(format!("read of unmodelled RCC register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32, latency: u32) {
        let map = self.family.map();
        let word = |range: &RangeInclusive<u32>| ((offset - range.start()) / 4) as usize;
        match offset {
            0x00 => self.oscillators.write(wires, value),
            0x08 => self.switch(wires, value, latency),
            0x0C => {
                if self.oscillators.cr & PLLON != 0 {
                    wires.complain("RCC_PLLCFGR written while the PLL runs");
                }
                self.pllcfgr = value;
            }
            0x18 | 0x20 => {}
            _ if map.resets.contains(&offset) => self.software_reset[word(&map.resets)] |= value,
            _ if map.enables.contains(&offset) => self.enabled[word(&map.enables)] = value,
            // As after reset.
            _ if map.sleeps.contains(&offset) => {}
            _ if offset == map.select => self.select[0] = value,
            _ if offset == map.select + 4 && self.family == Family::G0 => self.select[1] = value,
            _ if offset == map.csr => self.csr.write(wires.now.ns, value),
            _ => wires.complain(format!("write of unmodelled RCC register {offset:#x}")),
        }
    }

    pub(crate) fn read_power(&self, wires: &mut Wires, offset: u32) -> u32 {
        match self.power.get(offset as usize / 4) {
            Some(&value) => value,
            None => {
                wires.complain(format!("read of unmodelled PWR register {offset:#x}"));
                0
            }
        }
    }

    /// Nothing of the power control is modelled but what its registers hold.
    pub(crate) fn write_power(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        match self.power.get_mut(offset as usize / 4) {
            Some(place) if matches!(offset, 0x00 | 0x18 | 0x80) => *place = value,
            _ => wires.complain(format!("write of unmodelled PWR register {offset:#x}")),
        }
    }

    fn switch(&mut self, wires: &mut Wires, value: u32, latency: u32) {
        let (source, field) = match self.family {
            // G0's first source is HSISYS, the internal oscillator divided by HSIDIV.
            Family::G0 => ((value & 7) + 1, 0b11_1000),
            Family::G4 => (value & 3, 0b1100),
        };
        let ready = match source {
            1 => HSIRDY,
            2 => HSERDY,
            3 => PLLRDY,
            _ => 0,
        };
        if self.oscillators.cr & ready == 0 {
            wires.complain(format!("RCC_CFGR.SW switched to {:#x}, which is not ready", value & 7));
            return;
        }
        self.cfgr = value & !field;
        let sysclk = match source {
            1 => HSI,
            2 => self.oscillators.crystal.unwrap_or(0),
            _ => self.pll(wires),
        };
        if self.family == Family::G0 && self.oscillators.cr >> 11 & 7 != 0 {
            wires.complain("RCC_CR.HSIDIV is not modelled");
        }
        let [ahb, apb1, apb2] = match self.family {
            Family::G0 => [8, 12, 12],
            Family::G4 => [4, 8, 11],
        };
        wires.hclk = sysclk >> shift(value, ahb, 4);
        wires.pclk1 = wires.hclk >> shift(value, apb1, 3);
        wires.pclk2 = wires.hclk >> shift(value, apb2, 3);
        if wires.hclk != sysclk && self.select[0] & 0b11 == 1 {
            wires.complain("USART1 from SYSCLK with an AHB divider is not modelled");
        }
        self.check_speed(wires, latency);
    }

    /// RM0440 table 29: range 1, 30 MHz for each wait state without boost, 34 with it (PWR_CR5.R1MODE = 0). RM0444 table 13:
    /// range 1, 24 MHz for each wait state.
    fn check_speed(&self, wires: &mut Wires, latency: u32) {
        let boost = self.power[0x80 / 4] & 0x100 == 0;
        let clock = wires.hclk;
        let (needed, most) = match self.family {
            Family::G0 => (clock.saturating_sub(1) / 24_000_000, 64_000_000),
            Family::G4 if boost => (clock.saturating_sub(1) / 34_000_000, 170_000_000),
            Family::G4 => (clock.saturating_sub(1) / 30_000_000, 150_000_000),
        };
        if latency < needed {
            wires.complain(format!("HCLK {clock} Hz needs {needed} flash wait states, {latency} are set"));
        }
        if clock > most {
            wires.complain(format!("HCLK {clock} Hz, {most} are allowed"));
        }
    }

    /// Input of the PLL and of its dividers, Hz.
    fn vco(&self) -> (u32, u32) {
        let source = match self.pllcfgr & 3 {
            2 => HSI,
            3 => self.oscillators.crystal.unwrap_or(0),
            _ => 0,
        };
        let most = if self.family == Family::G4 { 0xF } else { 7 };
        let input = source / ((self.pllcfgr >> 4 & most) + 1);
        (input, input * (self.pllcfgr >> 8 & 0x7F))
    }

    /// RM0440 7.4.4, RM0444 5.4.4; DS12589, DS13560 "PLL characteristics": input 2.66 to 16 MHz, VCO 96 to 344 MHz.
    fn pll(&self, wires: &mut Wires) -> u32 {
        let (input, vco) = self.vco();
        if !(2_660_000..=16_000_000).contains(&input) || !(96_000_000..=344_000_000).contains(&vco) {
            wires.complain(format!("PLL out of range: input {input} Hz, VCO {vco} Hz"));
        }
        let (enabled, divisor) = match self.family {
            Family::G0 => (self.pllcfgr & 1 << 28 != 0, (self.pllcfgr >> 29) + 1),
            Family::G4 => (self.pllcfgr & 1 << 24 != 0, 2 * ((self.pllcfgr >> 25 & 3) + 1)),
        };
        if !enabled {
            wires.complain("PLLR is not enabled");
        }
        vco / divisor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pll_gives_what_its_dividers_say_when_it_is_locked() {
        let (mut rcc, mut wires) = (Rcc::new(Family::G4, None), Wires::new(HSI));
        rcc.write(&mut wires, 0x0C, 1 << 24 | 40 << 8 | 3 << 4 | 2, 0); // HSI / 4 * 40 / 2
        rcc.write(&mut wires, 0x00, 0x500 | PLLON, 0);
        rcc.write(&mut wires, 0x08, 3, 4);
        assert_eq!((wires.hclk, wires.complaints().count()), (HSI, 1), "not locked yet");
        wires.now.ns = PLL_LOCK;
        rcc.tick(&mut wires);
        rcc.write(&mut wires, 0x08, 3 | 0b100 << 8, 4);
        assert_eq!((wires.hclk, wires.pclk1, wires.pclk2), (80_000_000, 40_000_000, 80_000_000));
        assert_eq!(rcc.read(&mut wires, 0x08) & 0xF, 0b1111);
        assert_eq!(wires.complaints().count(), 1);
    }

    #[test]
    fn the_pll_of_g0_divides_by_each_number() {
        let (mut rcc, mut wires) = (Rcc::new(Family::G0, None), Wires::new(HSI));
        rcc.write(&mut wires, 0x0C, 3 << 29 | 1 << 28 | 40 << 8 | 3 << 4 | 2, 0); // HSI / 4 * 40 / 4
        rcc.write(&mut wires, 0x00, 0x500 | PLLON, 0);
        wires.now.ns = PLL_LOCK;
        rcc.tick(&mut wires);
        rcc.write(&mut wires, 0x08, 2, 1);
        assert_eq!((wires.hclk, wires.pclk1, rcc.fdcan_clock(&wires)), (40_000_000, 40_000_000, 40_000_000));
        assert_eq!(rcc.read(&mut wires, 0x08) & 0x3F, 0b01_0010);
        assert_eq!(wires.complaints().count(), 0);
    }

    #[test]
    fn fdcan_has_the_clock_that_is_selected_or_none() {
        let (mut rcc, mut wires) = (Rcc::new(Family::G4, None), Wires::new(HSI));
        assert_eq!(rcc.fdcan_clock(&wires), 0, "HSE is off");
        rcc.write(&mut wires, 0x88, 2 << 24, 0);
        assert_eq!(rcc.fdcan_clock(&wires), HSI);
    }

    #[test]
    fn the_cause_of_a_reset_stays_until_it_is_cleared() {
        let (mut rcc, mut wires) = (Rcc::new(Family::G4, None), Wires::new(HSI));
        rcc.reset(Reset::Power);
        rcc.reset(Reset::Options);
        assert_eq!(rcc.read(&mut wires, 0x94) >> 24, 0b1110);
        rcc.write(&mut wires, 0x94, 1 << 23, 0);
        assert_eq!(rcc.read(&mut wires, 0x94) >> 24, 0);
    }
}
