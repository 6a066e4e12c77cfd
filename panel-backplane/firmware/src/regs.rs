//! Volatile access to device registers and the few instructions that Rust has no word for: with the vectors,
//! all of this firmware's `unsafe`.
//!
//! Invariant: a [`Block`] is made only from constants that name a peripheral of the chip (reference manual,
//! "Memory map"), and offsets are those of its register map. Registers are not memory that Rust knows of, so no
//! access can alias a Rust object.
#![expect(unsafe_code, reason = "registers are reached by address")]

use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU32, Ordering};

/// A peripheral's registers.
#[derive(Clone, Copy)]
pub(crate) struct Block(u32);

impl Block {
    /// The peripheral at this address.
    pub(crate) const fn at(address: u32) -> Self {
        Self(address)
    }

    pub(crate) fn read(self, offset: u32) -> u32 {
        // SAFETY: a register of this chip (module invariant).
        unsafe { read_volatile((self.0 + offset) as *const u32) }
    }

    pub(crate) fn write(self, offset: u32, value: u32) {
        // SAFETY: a register of this chip (module invariant).
        unsafe { write_volatile((self.0 + offset) as *mut u32, value) }
    }

    pub(crate) fn set(self, offset: u32, bits: u32) {
        self.write(offset, self.read(offset) | bits);
    }

    pub(crate) fn clear(self, offset: u32, bits: u32) {
        self.write(offset, self.read(offset) & !bits);
    }

    /// Sets these bits for a moment, in a register whose others are 0.
    pub(crate) fn pulse(self, offset: u32, bits: u32) {
        self.write(offset, bits);
        self.write(offset, 0);
    }

    /// Replaces the bits of `mask`.
    pub(crate) fn replace(self, offset: u32, mask: u32, bits: u32) {
        self.write(offset, self.read(offset) & !mask | bits);
    }

    /// Waits until `mask` reads as `value`; false if it does not for 50 ms at 16 MHz, the slowest clock but F1's.
    pub(crate) fn wait(self, offset: u32, mask: u32, value: u32) -> bool {
        let mut tries = 100_000;
        while self.read(offset) & mask != value {
            tries -= 1;
            if tries == 0 {
                return false;
            }
        }
        true
    }
}

unsafe extern "C" {
    /// In `vectors.rs`: copies memory; 0 if a part of it is not there or protected, which is a bus fault.
    fn read_memory(to: *mut u8, address: u32, bytes: usize) -> u32;
}

/// Reads one aligned word of memory; `None` if there is none or the chip protects it.
pub(crate) fn read_word(address: u32) -> Option<u32> {
    let mut word = 0;
    // SAFETY: writes the word only, and reads from whatever address: a bus fault is caught (`vectors.rs`).
    let read = unsafe { read_memory((&raw mut word).cast(), address & !3, 4) };
    (read != 0).then_some(word)
}

/// The flash has check bits (RM0440, 3.3.2; RM0444, 3.3.2): what a power cut left half programmed or half erased may look
/// erased, and cannot be programmed.
const HAS_ECC: bool = cfg!(any(feature = "g431", feature = "g474", feature = "g0b1"));
/// Check bits did not fit in the present read.
static SPOILT: AtomicU32 = AtomicU32::new(0);

/// For the handler of the interrupt that tells so.
pub(crate) fn note_spoilt() {
    SPOILT.store(1, Ordering::Relaxed);
}

/// Reads memory; false if a part of it cannot be read, or has check bits that do not fit.
pub(crate) fn read_bytes(address: u32, out: &mut [u8]) -> bool {
    if !HAS_ECC {
        return copy(address, out);
    }
    SPOILT.store(0, Ordering::Relaxed);
    let read = copy(address, out);
    barrier();
    read && SPOILT.load(Ordering::Relaxed) == 0
}

fn copy(address: u32, out: &mut [u8]) -> bool {
    // SAFETY: writes `out` only, and reads from whatever address: a bus fault is caught (`vectors.rs`).
    unsafe { read_memory(out.as_mut_ptr(), address, out.len()) != 0 }
}

/// Whether so many bytes of readable flash without error correction (F1, F4) are erased, both numbers multiples of
/// 64: 2 KiB in 0.2 ms at 16 MHz, for a record area of 128 KiB is looked through at every start.
#[cfg(any(feature = "f405", feature = "f103"))]
pub(crate) fn is_erased(address: u32, len: u32) -> bool {
    let (mut at, end) = (address, address + len);
    while at < end {
        // SAFETY: reads only, and the caller knows that flash is there and not protected.
        let word = |n: u32| unsafe { read_volatile((at + 4 * n) as *const u32) };
        let all = word(0) & word(1) & word(2) & word(3) & word(4) & word(5) & word(6) & word(7);
        if all != u32::MAX {
            return false;
        }
        at += 32;
    }
    true
}

/// Writes one word to flash: the flash controller, unlocked and set to program, takes it.
#[cfg(not(feature = "f103"))]
pub(crate) fn program_word(address: u32, word: u32) {
    // SAFETY: no Rust object lies in flash while this runs: code and constants are in RAM.
    unsafe { write_volatile(address as *mut u32, word) }
}

/// Writes one half-word to flash.
#[cfg(feature = "f103")]
pub(crate) fn program_half_word(address: u32, half_word: u16) {
    // SAFETY: no Rust object lies in flash while this runs: code and constants are in RAM.
    unsafe { write_volatile(address as *mut u16, half_word) }
}

/// Sleeps until an interrupt is pending, even one that is masked (ARMv7-M, B1.5.19).
pub(crate) fn wait_for_interrupt() {
    // SAFETY: no effect but the pause.
    unsafe { core::arch::asm!("wfi", options(nomem, nostack, preserves_flags)) }
}

/// Masks interrupts.
pub(crate) fn mask() {
    // SAFETY: delays interrupts, nothing else.
    unsafe { core::arch::asm!("cpsid i", options(nostack, preserves_flags)) }
}

/// Lets interrupts in.
pub(crate) fn unmask() {
    // SAFETY: the handlers share nothing with the main loop but atomics.
    unsafe { core::arch::asm!("cpsie i", options(nostack, preserves_flags)) }
}

/// Runs `work` with interrupts masked; they are let in afterwards.
pub(crate) fn masked<R>(work: impl FnOnce() -> R) -> R {
    mask();
    let result = work();
    unmask();
    result
}

/// Lets everything written so far take effect before what follows.
pub(crate) fn barrier() {
    // SAFETY: no effect but the order.
    unsafe { core::arch::asm!("dsb", "isb", options(nostack, preserves_flags)) }
}

/// Gives the processor to the program whose vector table is at `vectors`: stack pointer, then reset vector.
pub(crate) fn jump(vectors: u32) -> ! {
    // SAFETY: nothing of this program runs any more; the caller has checked that a program is there.
    unsafe {
        core::arch::asm!(
            "ldr r1, [r0, #4]",
            "ldr r0, [r0]",
            "msr msp, r0",
            "cpsie i",
            "bx r1",
            in("r0") vectors,
            options(noreturn, nostack),
        )
    }
}
