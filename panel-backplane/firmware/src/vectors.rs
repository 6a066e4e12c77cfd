//! The vector table, the first instructions, the interrupts, and what happens when something goes wrong.
//!
//! All of the program lies in RAM, where its front has unpacked it (`front.rs`; G431's lies in flash). Whatever traps
//! resets the chip: a board comes back into its bootloader.
#![expect(unsafe_code, reason = "entry points are called by the hardware")]

use crate::{can, chip, core_registers, regs, usart};

core::arch::global_asm!(
    ".section .vectors, \"a\"",
    ".word _stack_top",
    ".word start",
    ".word {nmi}",
    ".word fault",
    ".rept 3",
    ".word {trap}",
    ".endr",
    ".word 0, 0", // reserved: the front puts a loader's notes there, which are 0 if there are none
    ".rept 6",
    ".word {trap}",
    ".endr",
    ".word {tick}",
    ".rept {first}",
    ".word {trap}",
    ".endr",
    ".word {can}",
    ".rept {second}",
    ".word {trap}",
    ".endr",
    ".word {usart}",
    ".rept {third}",
    ".word {trap}",
    ".endr",
    ".word {can}",
    // The program's first instructions: stack, cleared variables.
    ".section .text.start, \"ax\"",
    ".global start",
    ".type start, %function",
    ".thumb_func",
    "start:",
    "cpsid i",
    "ldr r0, =_stack_top",
    "mov sp, r0",
    "ldr r1, =_bss_start",
    "ldr r2, =_bss_end",
    "movs r3, #0",
    "1:",
    "cmp r1, r2",
    "bhs 2f",
    "stm r1!, {{r3}}",
    "b 1b",
    "2:",
    "bl main",
    "udf #0",
    // A copy to r0 from r1, r2 bytes, whose loads may fault, and the handler that makes an answer of it; any other fault is a
    // reset. Whole words where addresses and length allow it.
    ".global read_memory",
    ".type read_memory, %function",
    ".thumb_func",
    "read_memory:",
    "movs r3, r0",
    "orrs r3, r1",
    "orrs r3, r2",
    "lsls r3, r3, #30",
    "bne 2f",
    "1:",
    "subs r2, #4",
    "bcc 3f",
    "ldr r3, [r1, r2]",
    "str r3, [r0, r2]",
    "b 1b",
    "2:",
    "subs r2, #1",
    "bcc 3f",
    "ldrb r3, [r1, r2]",
    "strb r3, [r0, r2]",
    "b 2b",
    "3:",
    "movs r0, #1",
    "bx lr",
    "read_failed:",
    "movs r0, #0",
    "bx lr",
    ".type fault, %function",
    ".thumb_func",
    "fault:",
    "ldr r0, [sp, #24]", // the program counter in the exception frame
    "ldr r1, =read_failed",
    "subs r0, r1, r0",
    "cmp r0, #32", // read_memory's length
    "bhi 4f",
    "str r1, [sp, #24]",
    "bx lr",
    "4:",
    "ldr r0, ={trap}",
    "bx r0",
    ".pool",
    nmi = sym nmi,
    trap = sym trap,
    tick = sym tick,
    can = sym can_interrupt,
    usart = sym usart_interrupt,
    first = const chip::IRQS[0],
    second = const chip::IRQS[1] - chip::IRQS[0] - 1,
    third = const chip::IRQS[2] - chip::IRQS[1] - 1,
);

unsafe extern "C" {
    static _program_start: u32;
}

/// Where the vector table lies: the program begins with it.
pub(crate) fn address() -> u32 {
    (&raw const _program_start) as u32
}

extern "C" fn tick() {
    core_registers::tick();
}

extern "C" fn can_interrupt() {
    can::take_received();
}

extern "C" fn usart_interrupt() {
    usart::take_received();
}

/// Flash that a power cut left half programmed reads with an ECC error on G0 and G4.
extern "C" fn nmi() {
    if !chip::forgive_ecc_error() {
        core_registers::reset();
    }
    regs::note_spoilt();
}

extern "C" fn trap() {
    core_registers::reset();
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    core_registers::reset()
}
