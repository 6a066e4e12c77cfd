//! Pins: alternate functions, inputs with pulls, one output.
//!
//! F4, G0 and G4 share one kind of port (RM0090 8.4); F1 has another (RM0008 9.2).

use crate::board::Pin;
use crate::chip;

#[cfg(not(feature = "f103"))]
mod kind {
    use super::*;

    const MODER: u32 = 0x00;
    const OSPEEDR: u32 = 0x08;
    const PUPDR: u32 = 0x0C;
    pub(super) const IDR: u32 = 0x10;
    pub(super) const BSRR: u32 = 0x18;
    const AFR: u32 = 0x20;

    fn field(pin: Pin, register: u32, value: u32) {
        chip::port(pin.port).replace(register, 0b11 << (2 * pin.number), value << (2 * pin.number));
    }

    pub(super) fn alternate(pin: Pin, function: u32, _output: bool) {
        let shift = 4 * (pin.number % 8);
        chip::port(pin.port).replace(AFR + 4 * (pin.number / 8), 0xF << shift, function << shift);
        field(pin, PUPDR, 0b01);
        field(pin, OSPEEDR, 0b10);
        field(pin, MODER, 0b10);
    }

    pub(super) fn input(pin: Pin, pull_up: bool) {
        field(pin, PUPDR, if pull_up { 0b01 } else { 0b10 });
        field(pin, MODER, 0b00);
    }

    pub(super) fn output(pin: Pin) {
        field(pin, MODER, 0b01);
    }
}

#[cfg(feature = "f103")]
mod kind {
    use super::*;

    pub(super) const IDR: u32 = 0x08;
    pub(super) const BSRR: u32 = 0x10;
    const PULLED_INPUT: u32 = 0b1000;
    const OUTPUT: u32 = 0b0010;
    const ALTERNATE: u32 = 0b1011;

    fn configure(pin: Pin, value: u32) {
        let shift = 4 * (pin.number % 8);
        chip::port(pin.port).replace(4 * (pin.number / 8), 0xF << shift, value << shift);
    }

    pub(super) fn alternate(pin: Pin, _function: u32, output: bool) {
        if output { configure(pin, ALTERNATE) } else { input(pin, true) }
    }

    pub(super) fn input(pin: Pin, pull_up: bool) {
        set(pin, pull_up); // the output register chooses the pull
        configure(pin, PULLED_INPUT);
    }

    pub(super) fn output(pin: Pin) {
        configure(pin, OUTPUT);
    }
}

/// Gives a pin to a peripheral, as its output or with a pull-up as its input.
pub(crate) fn alternate(pin: Pin, function: u32, output: bool) {
    kind::alternate(pin, function, output);
}

/// Makes a pin an input with a pull-up or pull-down.
pub(crate) fn input(pin: Pin, pull_up: bool) {
    kind::input(pin, pull_up);
}

/// Makes a pin an output.
pub(crate) fn output(pin: Pin) {
    kind::output(pin);
}

/// The level of a pin.
pub(crate) fn is_high(pin: Pin) -> bool {
    chip::port(pin.port).read(kind::IDR) >> pin.number & 1 != 0
}

/// Sets an output's level.
pub(crate) fn set(pin: Pin, high: bool) {
    let shift = if high { 0 } else { 16 };
    chip::port(pin.port).write(kind::BSRR, 1 << (pin.number + shift));
}
