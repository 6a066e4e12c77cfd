//! From reset to the main loop, and the two ways out of it: the application, or staying.
//!
//! Invariant: the resident hands over only to an image that `panel-protocol` has found whole in flash in this
//! very start, before a clock or a peripheral was touched.

use crate::chip::{self, BOARD, IS_AGENT};
use crate::mailbox::Note;
use crate::memory;
use crate::port::Port;
use crate::run::Board;
use crate::{core_registers, gpio, mailbox, regs, run, vectors};
use panel_protocol::node::startable;

/// What the start-up code calls, once, with interrupts masked.
pub fn main() -> ! {
    match set_up() {
        Some((board, starts)) => run::run(board, starts),
        None => core_registers::reset(), // cannot be: this is the first and only call
    }
}

/// The board, listening, and whether it starts its application; `None` the second time. Not inlined, so that what it needs leaves the stack again.
#[inline(never)]
fn set_up() -> Option<(&'static mut Board, bool)> {
    core_registers::quiet();
    chip::calm();
    core_registers::use_vectors(vectors::address());
    regs::unmask();
    let flags = chip::take_reset_flags();
    let mut port = Port::new(chip::reset_cause(flags));
    let note = if IS_AGENT { None } else { mailbox::take() };
    let mut stay = note == Some(Note::Stay);
    if let Some(Note::Start(asked)) = note {
        if let Some(vectors) = startable(&mut port, asked) {
            mailbox::leave_reset_flags(flags);
            hand_over(vectors);
        }
        stay = true; // an image that is not whole is not tried again
    }
    chip::power_peripherals();
    let stay_pin = BOARD.stay.filter(|_| !IS_AGENT);
    if let Some(pin) = stay_pin {
        gpio::input(pin.pin, !pin.high);
    }
    BOARD.straps.iter().for_each(|&pin| gpio::input(pin, true));
    if let Some(pin) = stay_pin {
        settle();
        stay |= gpio::is_high(pin.pin) == pin.high;
    }
    let board = Board::new(port, memory::take()?);
    Some((memory::keep(board), !IS_AGENT && !stay))
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
