//! The processor's own registers: interrupt controller, SysTick, system control, cycle counter (ARMv7-M ARM, DDI
//! 0403E: B3.2 system control space, B3.3 SysTick, B3.4 NVIC, C1.8 DWT; PM0214 for what STM32 implements).
//!
//! Priorities have four bits on Cortex-M4 and two on M0+; grouping is not modelled: every bit pre-empts. Called by
//! the processor for accesses to 0xE000_0000 and at every boundary of a block.

use crate::soc::Core;
use crate::wires::{NEVER, Now, Reset, Wires, ns};

/// Exception numbers.
const NMI: u16 = 2;
pub(crate) const HARD_FAULT: u16 = 3;
pub(crate) const SVC: u16 = 11;
const PENDSV: u16 = 14;
const SYSTICK: u16 = 15;
const FIRST_IRQ: u16 = 16;

/// Priority of thread mode: lower than any exception.
const THREAD: i16 = 256;

#[derive(Debug, Clone)]
pub(crate) struct Nvic {
    core: Core,
    priority_mask: u8,
    cpuid: u32,
    pub(crate) vtor: u32,
    scr: u32,
    cpacr: u32,
    shcsr: u32,
    demcr: u32,
    shpr: [u8; 12],
    enabled: u128,
    pending: u128,
    ipr: Vec<u8>,
    pend_nmi: bool,
    pend_sv: bool,
    pend_systick: bool,
    pend_svc: bool,
    /// Exceptions being handled, the latest last.
    active: Vec<u16>,
    systick: SysTick,
    dwt_ctrl: u32,
    /// Cycle count at which CYCCNT was zero.
    cyccnt_base: u64,
}

#[derive(Debug, Clone, Default)]
struct SysTick {
    ctrl: u32,
    load: u32,
    /// When the counter held `load` last, in its own ticks.
    base_ns: u64,
    /// When it reaches zero next.
    due: u64,
    count_flag: bool,
}

impl Nvic {
    /// The registers of a core after reset.
    pub(crate) fn new(core: Core) -> Self {
        let (priority_mask, cpuid) = match core {
            Core::M0Plus => (0xC0, 0x410C_C601),
            Core::M3 => (0xF0, 0x411F_C231),
            Core::M4 => (0xF0, 0x410F_C241),
        };
        Self {
            core,
            priority_mask,
            cpuid,
            vtor: 0,
            scr: 0,
            cpacr: 0,
            shcsr: 0,
            demcr: 0,
            shpr: [0; 12],
            enabled: 0,
            pending: 0,
            ipr: vec![0; 128],
            pend_nmi: false,
            pend_sv: false,
            pend_systick: false,
            pend_svc: false,
            active: Vec::new(),
            systick: SysTick { due: NEVER, ..SysTick::default() },
            dwt_ctrl: 0x4000_0000,
            cyccnt_base: 0,
        }
    }

    pub(crate) fn read(&mut self, wires: &mut Wires, address: u32) -> u32 {
        let m0 = self.core == Core::M0Plus;
        match address {
            0xE000_1000 if !m0 => self.dwt_ctrl,
            0xE000_1004 if !m0 => self.cyccnt(wires.now),
            0xE000_E010 => {
                let flag = std::mem::take(&mut self.systick.count_flag);
                self.systick.ctrl | u32::from(flag) << 16
            }
            0xE000_E014 => self.systick.load,
            0xE000_E018 => self.systick.value(wires),
            0xE000_E01C => 0x4000_0000,
            0xE000_E100..=0xE000_E11C => bank(self.enabled, address),
            0xE000_E180..=0xE000_E19C => bank(self.enabled, address),
            0xE000_E200..=0xE000_E21C => bank(self.pending, address),
            0xE000_E280..=0xE000_E29C => bank(self.pending, address),
            0xE000_E300..=0xE000_E31C => {
                let active = self.active.iter().filter(|&&n| n >= FIRST_IRQ);
                bank(active.fold(0, |a, n| a | 1 << (n - FIRST_IRQ)), address)
            }
            0xE000_E400..=0xE000_E47C => word(&self.ipr, (address - 0xE000_E400) as usize),
            0xE000_ED00 => self.cpuid,
            0xE000_ED04 => {
                let active = u32::from(self.active.last().copied().unwrap_or(0));
                active | u32::from(self.pend_sv) << 28 | u32::from(self.pend_systick) << 26
            }
            0xE000_ED08 => self.vtor,
            0xE000_ED0C => 0xFA05_0000,
            0xE000_ED10 => self.scr,
            // CCR: STKALIGN is set after reset on these cores.
            0xE000_ED14 => 0x200,
            0xE000_ED18..=0xE000_ED20 => word(&self.shpr, (address - 0xE000_ED18) as usize),
            0xE000_ED24 => self.shcsr,
            0xE000_ED28..=0xE000_ED3C => 0,
            0xE000_ED88 => self.cpacr,
            // FPCCR: automatic and lazy state preservation, as after reset.
            0xE000_EF34 => 0xC000_0000,
            0xE000_EDFC => self.demcr,
            _ => {
                wires.complain(format!("read of unmodelled core register {address:#010x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, address: u32, size: usize, value: u32) {
        let m0 = self.core == Core::M0Plus;
        match address {
            0xE000_1000 if !m0 => self.dwt_ctrl = 0x4000_0000 | value & 1,
            0xE000_1004 if !m0 => self.cyccnt_base = running(wires.now).wrapping_sub(value.into()),
            0xE000_1FB0 | 0xE000_EFB0 => {} // lock access registers: not implemented on these parts
            0xE000_E010 => self.systick.control(wires, value),
            0xE000_E014 => self.systick.load = value & 0xFF_FFFF,
            0xE000_E018 => self.systick.restart(wires),
            0xE000_E100..=0xE000_E11C => self.enabled |= spread(value, address),
            0xE000_E180..=0xE000_E19C => self.enabled &= !spread(value, address),
            0xE000_E200..=0xE000_E21C => self.pending |= spread(value, address),
            0xE000_E280..=0xE000_E29C => self.pending &= !spread(value, address),
            0xE000_E400..=0xE000_E47F => {
                put(&mut self.ipr, (address - 0xE000_E400) as usize, size, value, self.priority_mask);
            }
            0xE000_ED04 => {
                self.pend_sv = (self.pend_sv || value & 1 << 28 != 0) && value & 1 << 27 == 0;
                self.pend_systick = (self.pend_systick || value & 1 << 26 != 0) && value & 1 << 25 == 0;
            }
            0xE000_ED08 => self.vtor = value & if m0 { !0xFF } else { !0x7F },
            0xE000_ED0C if value >> 16 != 0x05FA => wires.complain("AIRCR written without its key"),
            0xE000_ED0C if value & 4 != 0 => wires.reset = Some(Reset::Software),
            0xE000_ED0C => {}
            0xE000_ED10 => self.scr = value,
            0xE000_ED14 => {}
            0xE000_ED18..=0xE000_ED23 => {
                put(&mut self.shpr, (address - 0xE000_ED18) as usize, size, value, self.priority_mask);
            }
            0xE000_ED24 => self.shcsr = value,
            0xE000_ED28..=0xE000_ED3C => {}
            0xE000_ED88 => self.cpacr = value & 0x00F0_0000,
            0xE000_EF34 => {}
            0xE000_EDFC => self.demcr = value,
            _ => {
                wires.complain(format!("write of {value:#x} to unmodelled core register {address:#010x}"));
            }
        }
    }

    /// CYCCNT: counts the cycles in which the processor is not asleep, once TRCENA and CYCCNTENA are set.
    fn cyccnt(&self, now: Now) -> u32 {
        if self.demcr & 1 << 24 == 0 || self.dwt_ctrl & 1 == 0 {
            return 0;
        }
        running(now).wrapping_sub(self.cyccnt_base) as u32
    }

    /// When SysTick wants an exception.
    pub(crate) fn next_event(&self) -> u64 {
        if self.systick.ctrl & 3 == 3 { self.systick.due } else { NEVER }
    }

    /// Takes over the interrupt lines and lets SysTick run.
    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        self.pend_nmi |= std::mem::take(&mut wires.nmi);
        if self.systick.ctrl & 1 != 0 && self.systick.due <= wires.now.ns {
            self.systick.wrap(wires);
            self.pend_systick |= self.systick.ctrl & 2 != 0;
        }
        // A line that is high makes its interrupt pending, unless it is being handled (B1.5.5).
        let handled = self.active.iter().filter(|&&n| n >= FIRST_IRQ).fold(0_u128, |a, n| a | 1 << (n - 16));
        self.pending |= wires.irqs & !handled;
    }

    /// Something enabled is pending: what ends WFI, masked or not (B1.5.18).
    pub(crate) fn wakes(&self) -> bool {
        let candidate = self.candidate();
        candidate.is_some_and(|(priority, _)| priority < self.current())
    }

    /// The exception to take now.
    pub(crate) fn take(&mut self, primask: bool, basepri: u8) -> Option<u16> {
        let (priority, number) = self.candidate()?;
        let masked = priority >= 0 && (primask || (basepri != 0 && priority >= i16::from(basepri)));
        if masked || priority >= self.current() {
            return None;
        }
        match number {
            NMI => self.pend_nmi = false,
            SVC => self.pend_svc = false,
            PENDSV => self.pend_sv = false,
            SYSTICK => self.pend_systick = false,
            _ => self.pending &= !(1 << (number - FIRST_IRQ)),
        }
        self.active.push(number);
        Some(number)
    }

    /// Takes a HardFault; false if one is being handled already: lockup (B1.5.15).
    pub(crate) fn fault(&mut self) -> bool {
        let free = self.current() > self.priority(HARD_FAULT);
        if free {
            self.active.push(HARD_FAULT);
        }
        free
    }

    pub(crate) fn call_supervisor(&mut self) {
        self.pend_svc = true;
    }

    /// Ends the handler of the latest exception; gives the one below it, 0 for thread mode.
    pub(crate) fn end(&mut self) -> u16 {
        self.active.pop();
        self.active.last().copied().unwrap_or(0)
    }

    fn candidate(&self) -> Option<(i16, u16)> {
        let mut best: Option<(i16, u16)> = None;
        let mut offer = |number: u16, priority: i16| {
            if best.is_none_or(|b| (priority, number) < b) {
                best = Some((priority, number));
            }
        };
        if self.pend_nmi {
            offer(NMI, self.priority(NMI));
        }
        if self.pend_svc {
            offer(SVC, self.priority(SVC));
        }
        if self.pend_sv {
            offer(PENDSV, self.priority(PENDSV));
        }
        if self.pend_systick {
            offer(SYSTICK, self.priority(SYSTICK));
        }
        let mut ready = self.pending & self.enabled;
        while ready != 0 {
            let number = FIRST_IRQ + ready.trailing_zeros() as u16;
            offer(number, self.priority(number));
            ready &= ready - 1;
        }
        best
    }

    fn current(&self) -> i16 {
        self.active.iter().map(|&n| self.priority(n)).min().unwrap_or(THREAD)
    }

    fn priority(&self, number: u16) -> i16 {
        match number {
            HARD_FAULT => -1,
            4..FIRST_IRQ => self.shpr[usize::from(number) - 4].into(),
            FIRST_IRQ.. => self.ipr[usize::from(number - FIRST_IRQ)].into(),
            _ => -2,
        }
    }
}

impl SysTick {
    fn hz(&self, wires: &Wires) -> u32 {
        if self.ctrl & 4 != 0 { wires.hclk } else { wires.hclk / 8 }
    }

    fn control(&mut self, wires: &Wires, value: u32) {
        let started = self.ctrl & 1 == 0 && value & 1 != 0;
        self.ctrl = value & 7;
        if started {
            self.restart(wires);
        }
    }

    fn restart(&mut self, wires: &Wires) {
        self.base_ns = wires.now.ns;
        self.count_flag = false;
        self.due = self.base_ns + ns(u64::from(self.load) + 1, self.hz(wires));
    }

    fn wrap(&mut self, wires: &Wires) {
        let period = ns(u64::from(self.load) + 1, self.hz(wires)).max(1);
        let periods = (wires.now.ns - self.base_ns) / period;
        self.base_ns += periods.max(1) * period;
        self.due = self.base_ns + period;
        self.count_flag = true;
    }

    fn value(&self, wires: &Wires) -> u32 {
        if self.ctrl & 1 == 0 {
            return 0;
        }
        let ticks = u128::from(wires.now.ns.saturating_sub(self.base_ns)) * u128::from(self.hz(wires))
            / 1_000_000_000;
        let period = u128::from(self.load) + 1;
        (u128::from(self.load) - ticks % period) as u32
    }
}

/// Cycles in which the processor was awake.
fn running(now: Now) -> u64 {
    now.cycles - now.asleep
}

/// The 32 lines that the register at `address` shows; banks of registers are aligned to 128 bytes. There are no
/// lines above 127 on these chips: those registers read as zero and ignore writes.
fn bank(bits: u128, address: u32) -> u32 {
    bits.checked_shr((address & 0x1C) * 8).unwrap_or(0) as u32
}

fn spread(value: u32, address: u32) -> u128 {
    if address & 0x10 != 0 { 0 } else { u128::from(value) << ((address & 0xC) * 8) }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    (0..4).rev().fold(0, |w, i| w << 8 | u32::from(bytes.get((at & !3) + i).copied().unwrap_or(0)))
}

fn put(bytes: &mut [u8], at: usize, size: usize, value: u32, mask: u8) {
    for (i, byte) in value.to_le_bytes().into_iter().take(size).enumerate() {
        if let Some(place) = bytes.get_mut(at + i) {
            *place = byte & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(lines: u128) -> (Nvic, Wires) {
        let mut nvic = Nvic::new(Core::M4);
        nvic.enabled = lines;
        (nvic, Wires::new(16_000_000))
    }

    #[test]
    fn the_lower_priority_number_wins_and_pre_empts() {
        let (mut nvic, mut wires) = enabled(0b110);
        nvic.write(&mut wires, 0xE000_E401, 1, 0x40);
        nvic.write(&mut wires, 0xE000_E402, 1, 0x20);
        wires.irqs = 0b010;
        nvic.tick(&mut wires);
        assert_eq!(nvic.take(false, 0), Some(17));
        wires.irqs = 0b110;
        nvic.tick(&mut wires);
        assert_eq!(nvic.take(false, 0), Some(18), "0x20 interrupts 0x40");
        nvic.tick(&mut wires);
        assert_eq!(nvic.take(false, 0), None, "what is being handled is not taken again");
        assert_eq!(nvic.end(), 17);
        assert_eq!(nvic.end(), 0);
    }

    #[test]
    fn masked_interrupts_wait_but_end_a_sleep() {
        let (mut nvic, mut wires) = enabled(0b1);
        wires.irqs = 1;
        nvic.tick(&mut wires);
        assert_eq!(nvic.take(true, 0), None);
        assert!(nvic.wakes());
        assert_eq!(nvic.take(false, 0), Some(16));
    }

    #[test]
    fn the_nmi_is_taken_with_interrupts_masked_and_once() {
        let (mut nvic, mut wires) = enabled(0);
        wires.nmi = true;
        nvic.tick(&mut wires);
        assert_eq!(nvic.take(true, 0), Some(NMI));
        nvic.tick(&mut wires);
        assert_eq!(nvic.take(true, 0), None);
    }

    #[test]
    fn systick_wants_its_exception_every_period() {
        let (mut nvic, mut wires) = enabled(0);
        nvic.write(&mut wires, 0xE000_E014, 4, 15_999);
        nvic.write(&mut wires, 0xE000_E010, 4, 7);
        assert_eq!(nvic.next_event(), 1_000_000, "16000 cycles of 16 MHz");
        wires.now.ns = 1_000_000;
        nvic.tick(&mut wires);
        assert_eq!(nvic.take(false, 0), Some(SYSTICK));
        assert_eq!(nvic.next_event(), 2_000_000);
        wires.now.ns = 1_500_000;
        assert_eq!(nvic.read(&mut wires, 0xE000_E018), 15_999 - 8000);
    }

    #[test]
    fn the_cycle_counter_stands_still_in_sleep() {
        let (mut nvic, mut wires) = enabled(0);
        wires.now.cycles = 100;
        assert_eq!(nvic.read(&mut wires, 0xE000_1004), 0, "not enabled");
        nvic.write(&mut wires, 0xE000_EDFC, 4, 1 << 24);
        nvic.write(&mut wires, 0xE000_1000, 4, 1);
        nvic.write(&mut wires, 0xE000_1004, 4, 0);
        wires.now = Now { ns: 0, cycles: 350, asleep: 200 };
        assert_eq!(nvic.read(&mut wires, 0xE000_1004), 50);
    }
}
