//! From reset to the main loop, and the two ways out of it: the application, or staying.
//!
//! Invariant: the resident hands over only to an image that `panel-protocol` has found whole in flash in this
//! very start, before a clock or a peripheral was touched.

use crate::chip::{self, BOARD, IS_AGENT};
use crate::mailbox::Note;
use crate::memory;
use crate::run::Board;
use crate::{core_registers, gpio, mailbox, regs, vectors};
use panel_protocol::node::startable;

/// What the start-up code calls, once, with interrupts masked.
pub fn main() -> ! {
    let board = memory::board();
    let starts = set_up(board);
    board.run(starts)
}

/// Makes the board listen; whether it starts its application. Not inlined, so that what it needs leaves the stack again.
#[inline(never)]
fn set_up(board: &mut Board) -> bool {
    core_registers::quiet();
    chip::calm();
    core_registers::use_vectors(vectors::address());
    regs::unmask();
    let flags = chip::take_reset_flags();
    let port = board.port();
    port.wake(chip::reset_cause(flags));
    let mut starts = !IS_AGENT;
    if !IS_AGENT {
        match mailbox::take() {
            None => {}
            Some(Note::Stay) => starts = false,
            Some(Note::Start(asked)) => {
                if let Some(vectors) = startable(port, asked) {
                    mailbox::leave_reset_flags(flags);
                    hand_over(vectors);
                }
                starts = false; // an image that is not whole is not tried again
            }
        }
    }
    chip::power_peripherals();
    BOARD.straps.iter().for_each(|&pin| gpio::input(pin, true));
    if let Some(stay) = BOARD.stay.filter(|_| !IS_AGENT) {
        gpio::input(stay.pin, !stay.high);
        settle();
        starts &= gpio::is_high(stay.pin) != stay.high;
    }
    board.listen();
    starts
}

/// A pull resistor of 40 kOhm charges a pin within a microsecond; this is ten or more at any clock.
fn settle() {
    (0..100).for_each(|_| regs::barrier());
}

/// Gives the chip to the program whose vector table is here, as after a reset.
pub(crate) fn hand_over(vectors: u32) -> ! {
    regs::mask();
    core_registers::quiet();
    chip::calm();
    core_registers::use_vectors(vectors);
    regs::jump(vectors)
}
