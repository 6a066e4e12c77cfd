//! What every Cortex-M has: SysTick as the clock, NVIC, the vector table's address, the system reset.
//!
//! Source: ARMv7-M Architecture Reference Manual (B3.2 system control, B3.3 SysTick, B3.4 NVIC), the same
//! registers in ARMv6-M.

use crate::chip::CLOCKS;
use crate::regs::{Block, barrier};
use core::sync::atomic::{AtomicU32, Ordering};
use panel_protocol::time::Micros;

const SYSTICK: Block = Block::at(0xE000_E010);
const CSR: u32 = 0x0;
const RVR: u32 = 0x4;
const CVR: u32 = 0x8;

const NVIC: Block = Block::at(0xE000_E100);
const ICER: u32 = 0x80;
const ICPR: u32 = 0x180;

const SCB: Block = Block::at(0xE000_ED00);
const VTOR: u32 = 0x08;
const AIRCR: u32 = 0x0C;
const AIRCR_RESET: u32 = 0x05FA_0004;

/// Milliseconds since the clock was started; only the SysTick handler writes it.
static MILLIS: AtomicU32 = AtomicU32::new(0);

/// Called by the SysTick interrupt, once a millisecond.
pub(crate) fn tick() {
    MILLIS.store(MILLIS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Microseconds since start; the count wraps.
pub(crate) struct Clock {
    last: Micros,
}

impl Clock {
    /// Before it was read.
    pub(crate) const ZERO: Self = Self { last: Micros::ZERO };

    /// Starts SysTick at the processor's clock, with an interrupt each millisecond.
    pub(crate) fn start() {
        SYSTICK.write(RVR, CLOCKS.core / 1000 - 1);
        SYSTICK.write(CVR, 0);
        SYSTICK.write(CSR, 0b111);
    }

    /// Now. Never goes back.
    pub(crate) fn now(&mut self) -> Micros {
        let (millis, count) = loop {
            let before = MILLIS.load(Ordering::Relaxed);
            let count = SYSTICK.read(CVR);
            if before == MILLIS.load(Ordering::Relaxed) {
                break (before, count);
            }
        };
        let within = (CLOCKS.core / 1000 - 1 - count) / (CLOCKS.core / 1_000_000);
        let now = Micros(millis.wrapping_mul(1000).wrapping_add(within));
        if self.last.is_before(now) {
            self.last = now;
        }
        self.last
    }
}

/// Whatever ran before (the ROM, an application) leaves no interrupt enabled or pending and no SysTick running.
pub(crate) fn quiet() {
    SYSTICK.write(CSR, 0);
    for word in (0..0x20).step_by(4) {
        NVIC.write(ICER + word, u32::MAX);
        NVIC.write(ICPR + word, u32::MAX);
    }
}

/// Lets an interrupt in.
pub(crate) fn enable_interrupt(number: u32) {
    NVIC.write(number / 32 * 4, 1 << (number % 32));
}

/// Interrupts use the vector table at this address.
pub(crate) fn use_vectors(address: u32) {
    SCB.write(VTOR, address);
    barrier();
}

/// Resets the chip.
pub(crate) fn reset() -> ! {
    barrier();
    SCB.write(AIRCR, AIRCR_RESET);
    loop {
        barrier();
    }
}
