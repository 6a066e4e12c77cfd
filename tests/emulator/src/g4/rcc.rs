//! Reset and clock control and power control of G4 (RM0440 sections 7.4 and 6.4).
//!
//! Oscillators and the PLL are ready after the longest start-up times of DS12589; switching to one that is not ready
//! is refused and noted. Clock gates are enforced: a peripheral without clock does not answer.

use crate::wires::{NEVER, Reset, Wires};

const HSI: u32 = 16_000_000;
const HSI_START: u64 = 3_800;
const HSE_START: u64 = 2_000_000;
const PLL_LOCK: u64 = 40_000;
const LSI_START: u64 = 130_000;

const HSIRDY: u32 = 1 << 10;
const HSERDY: u32 = 1 << 17;
const HSEBYP: u32 = 1 << 18;
const PLLON: u32 = 1 << 24;
const PLLRDY: u32 = 1 << 25;

/// Enable registers, at 0x48 and on: AHB1, AHB2, AHB3, -, APB1 (two), APB2.
pub(crate) const AHB2: usize = 1;
pub(crate) const APB1: usize = 4;
pub(crate) const APB2: usize = 6;

/// An oscillator that takes time to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    enable: u32,
    ready: u32,
    start: u64,
    at: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Rcc {
    cr: u32,
    pllcfgr: u32,
    cfgr: u32,
    enabled: [u32; 7],
    ccipr: u32,
    csr: u32,
    sources: [Source; 3],
    lsi_at: u64,
    /// Frequency of the crystal on the board, if one is fitted.
    pub(crate) crystal: Option<u32>,
    power: [u32; 36],
    /// Peripherals that were reset by software since the last look, by bus.
    pub(crate) software_reset: [u32; 7],
}

impl Rcc {
    pub(crate) fn new() -> Self {
        let source = |enable: u32, ready, start| Source { enable, ready, start, at: NEVER };
        let mut power = [0; 36];
        power[0] = 0x200; // PWR_CR1: range 1
        power[0x80 / 4] = 0x100; // PWR_CR5: normal mode, no boost
        Self {
            cr: 1 << 8 | HSIRDY,
            pllcfgr: 0x1000,
            cfgr: 1,
            enabled: [0x100, 0, 0, 0, 0x400, 0, 0],
            ccipr: 0,
            csr: 0,
            sources: [
                source(1 << 8, HSIRDY, HSI_START),
                source(1 << 16, HSERDY, HSE_START),
                source(PLLON, PLLRDY, PLL_LOCK),
            ],
            lsi_at: NEVER,
            crystal: None,
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
        let old = if cause == Reset::Power { 0 } else { self.csr & 0xFE00_0000 };
        *self = Self { csr: old | flags, crystal: self.crystal, ..Self::new() };
    }

    /// Whether the gate `bit` of bus register `bus` is open.
    pub(crate) fn is_enabled(&self, bus: usize, bit: u32) -> bool {
        self.enabled[bus] >> bit & 1 != 0
    }

    /// FDCAN's kernel clock, Hz; 0: none (CCIPR.FDCANSEL).
    pub(crate) fn fdcan_clock(&self, wires: &Wires) -> u32 {
        match self.ccipr >> 24 & 3 {
            0 if self.cr & HSERDY != 0 => self.crystal.unwrap_or(0),
            1 if self.cr & PLLRDY != 0 && self.pllcfgr & 1 << 20 != 0 => {
                self.vco().1 / (2 * ((self.pllcfgr >> 21 & 3) + 1))
            }
            2 => wires.pclk1,
            _ => 0,
        }
    }

    /// A USART's kernel clock: `select` is the lowest bit of its field in CCIPR, `bus` the clock of its bus.
    pub(crate) fn usart_clock(&self, select: u32, bus: u32, wires: &Wires) -> u32 {
        match self.ccipr >> select & 3 {
            0 => bus,
            1 => wires.hclk, // SYSCLK; `switch` notes an AHB divider
            2 => HSI,
            _ => 32_768,
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.sources.iter().map(|s| s.at).min().unwrap_or(NEVER).min(self.lsi_at)
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        for source in &mut self.sources {
            if source.at <= wires.now.ns {
                source.at = NEVER;
                self.cr |= source.ready;
            }
        }
        if self.lsi_at <= wires.now.ns {
            self.lsi_at = NEVER;
            self.csr |= 2;
        }
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => self.cr,
            0x08 => self.cfgr | (self.cfgr & 3) << 2,
            0x0C => self.pllcfgr,
            0x18..=0x20 => 0,
            0x28..=0x40 => 0,
            0x48..=0x60 => self.enabled[(offset as usize - 0x48) / 4],
            0x88 => self.ccipr,
            0x94 => self.csr,
            _ => {
                wires.complain(format!("read of unmodelled RCC register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32, latency: u32) {
        match offset {
            0x00 => self.control(wires, value),
            0x08 => self.switch(wires, value, latency),
            0x0C => {
                if self.cr & PLLON != 0 {
                    wires.complain("RCC_PLLCFGR written while the PLL runs");
                }
                self.pllcfgr = value;
            }
            0x18 | 0x20 => {}
            0x28..=0x40 => self.software_reset[(offset as usize - 0x28) / 4] |= value,
            0x48..=0x60 => self.enabled[(offset as usize - 0x48) / 4] = value,
            // Clocks in sleep mode, as after reset.
            0x68..=0x80 => {}
            0x88 => self.ccipr = value,
            0x94 => {
                if value & 1 << 23 != 0 {
                    self.csr &= 0x00FF_FFFF;
                }
                self.lsi(wires.now.ns, value & 1 != 0);
            }
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

    /// The watchdog forces the LSI on.
    pub(crate) fn force_lsi(&mut self, now: u64) {
        self.lsi(now, true);
    }

    fn lsi(&mut self, now: u64, on: bool) {
        if on && self.csr & 3 == 0 {
            self.lsi_at = now + LSI_START;
        }
        self.csr = self.csr & !1 | u32::from(on);
    }

    fn control(&mut self, wires: &mut Wires, value: u32) {
        for source in &mut self.sources {
            let (was, is) = (self.cr & source.enable != 0, value & source.enable != 0);
            if is && !was {
                let crystal = source.ready == HSERDY;
                let starts = !crystal || self.crystal.is_some() || value & HSEBYP != 0;
                source.at = if starts { wires.now.ns + source.start } else { NEVER };
            } else if was && !is {
                source.at = NEVER;
                self.cr &= !source.ready;
            }
        }
        let ready = self.cr & (HSIRDY | HSERDY | PLLRDY);
        self.cr = value & !(HSIRDY | HSERDY | PLLRDY) | ready;
    }

    fn switch(&mut self, wires: &mut Wires, value: u32, latency: u32) {
        let source = value & 3;
        let ready = match source {
            1 => HSIRDY,
            2 => HSERDY,
            3 => PLLRDY,
            _ => 0,
        };
        if self.cr & ready == 0 {
            wires.complain(format!("RCC_CFGR.SW switched to source {source}, which is not ready"));
            return;
        }
        self.cfgr = value & !0xC;
        let sysclk = match source {
            1 => HSI,
            2 => self.crystal.unwrap_or(0),
            _ => self.pll(wires),
        };
        let divide = |field: u32, first: u32, shift: [u32; 8]| {
            if field < first { 0 } else { shift[(field - first) as usize] }
        };
        wires.hclk = sysclk >> divide(value >> 4 & 0xF, 8, [1, 2, 3, 4, 6, 7, 8, 9]);
        wires.pclk1 = wires.hclk >> divide(value >> 8 & 7, 4, [1, 2, 3, 4, 0, 0, 0, 0]);
        wires.pclk2 = wires.hclk >> divide(value >> 11 & 7, 4, [1, 2, 3, 4, 0, 0, 0, 0]);
        if wires.hclk != sysclk && self.ccipr & 0b11 == 1 {
            wires.complain("USART1 from SYSCLK with an AHB divider is not modelled");
        }
        // RM0440 table 29: range 1, 30 MHz for each wait state without boost, 34 with it (PWR_CR5.R1MODE = 0).
        let boost = self.power[0x80 / 4] & 0x100 == 0;
        let (step, most) = if boost { (34_000_000, 170_000_000) } else { (30_000_000, 150_000_000) };
        let needed = wires.hclk.saturating_sub(1) / step;
        if latency < needed {
            wires.complain(format!(
                "HCLK {} Hz needs {needed} flash wait states, {latency} are set",
                wires.hclk
            ));
        }
        if wires.hclk > most {
            wires.complain(format!("HCLK {} Hz, {most} are allowed", wires.hclk));
        }
    }

    /// Input of the PLL and of its dividers, Hz.
    fn vco(&self) -> (u32, u32) {
        let source = match self.pllcfgr & 3 {
            2 => HSI,
            3 => self.crystal.unwrap_or(0),
            _ => 0,
        };
        let input = source / ((self.pllcfgr >> 4 & 0xF) + 1);
        (input, input * (self.pllcfgr >> 8 & 0x7F))
    }

    /// RM0440 7.4.4, DS12589 "PLL characteristics": input 2.66 to 16 MHz, VCO 96 to 344 MHz.
    fn pll(&self, wires: &mut Wires) -> u32 {
        let (input, vco) = self.vco();
        if !(2_660_000..=16_000_000).contains(&input) || !(96_000_000..=344_000_000).contains(&vco) {
            wires.complain(format!("PLL out of range: input {input} Hz, VCO {vco} Hz"));
        }
        if self.pllcfgr & 1 << 24 == 0 {
            wires.complain("PLLR is not enabled");
        }
        vco / (2 * ((self.pllcfgr >> 25 & 3) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pll_gives_what_its_dividers_say_when_it_is_locked() {
        let (mut rcc, mut wires) = (Rcc::new(), Wires::new(HSI));
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
    fn fdcan_has_the_clock_that_is_selected_or_none() {
        let (mut rcc, mut wires) = (Rcc::new(), Wires::new(HSI));
        assert_eq!(rcc.fdcan_clock(&wires), 0, "HSE is off");
        rcc.write(&mut wires, 0x88, 2 << 24, 0);
        assert_eq!(rcc.fdcan_clock(&wires), HSI);
    }

    #[test]
    fn the_cause_of_a_reset_stays_until_it_is_cleared() {
        let (mut rcc, mut wires) = (Rcc::new(), Wires::new(HSI));
        rcc.reset(Reset::Power);
        rcc.reset(Reset::Options);
        assert_eq!(rcc.read(&mut wires, 0x94) >> 24, 0b1110);
        rcc.write(&mut wires, 0x94, 1 << 23, 0);
        assert_eq!(rcc.read(&mut wires, 0x94) >> 24, 0);
    }
}
