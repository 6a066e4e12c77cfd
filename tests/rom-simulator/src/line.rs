//! One UART frame on the wire, bit by bit: what a receiver at another rate or parity makes of it.
//!
//! Used in both directions: host bytes as the ROM samples them at the rate it measured, ROM bytes as the host
//! samples them. The first frame after reset is not sampled but measured: see [`falling_edges`].

use crate::time::{Nanos, bit_time};
use core::time::Duration;

/// What the sender puts between the data bits and the stop bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// Even parity, as AN3155 demands: 11 bits a byte.
    Even,
    /// No parity bit: 10 bits a byte (an adapter or driver that ignores the setting).
    None,
}

impl Parity {
    /// Bits of one frame with start and stop.
    #[must_use]
    pub const fn frame_bits(self) -> u64 {
        match self {
            Self::Even => 11,
            Self::None => 10,
        }
    }
}

/// A byte as the sender put it on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineByte {
    /// The eight data bits.
    pub value: u8,
    /// The sender's bit rate.
    pub baud: u32,
    /// The sender's parity.
    pub parity: Parity,
    /// The parity bit was hit on the way.
    pub parity_hit: bool,
    /// The next frame starts the moment this one ends.
    pub back_to_back: bool,
}

impl LineByte {
    /// A sound 8E1 byte followed by silence.
    #[must_use]
    pub const fn new(value: u8, baud: u32) -> Self {
        Self { value, baud, parity: Parity::Even, parity_hit: false, back_to_back: false }
    }

    /// Time from the start bit's edge to the end of the stop bit.
    #[must_use]
    pub fn duration(&self) -> Duration {
        bit_time(self.parity.frame_bits(), self.baud)
    }

    /// Level of bit cell `cell`; cell 0 is the start bit.
    fn level(&self, cell: u64) -> bool {
        let last = self.parity.frame_bits() - 1;
        match cell {
            0 => false,
            1..=8 => self.value >> (cell - 1) & 1 == 1,
            9 if self.parity == Parity::Even => (self.value.count_ones() % 2 == 1) ^ self.parity_hit,
            _ if cell == last + 1 => !self.back_to_back,
            _ => true,
        }
    }
}

/// Why a receiver threw a frame away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// The parity bit does not fit.
    Parity,
    /// There was no stop bit where it should have been.
    Framing,
}

/// What a receiver at `baud` with `parity` reads when `byte` is sent.
///
/// It samples the middle of each of its own bit cells, counted from the start bit's edge.
///
/// # Errors
/// [`LineError`] when parity or stop bit are wrong at the sampled places.
pub fn sample(byte: &LineByte, baud: u32, parity: Parity) -> Result<u8, LineError> {
    let at = |cell: u64| {
        // (cell + 1/2) receiver bits, in sender bits.
        let sender_cell = (2 * cell + 1) * u64::from(byte.baud) / (2 * u64::from(baud.max(1)));
        byte.level(sender_cell)
    };
    let value = (0..8).fold(0u8, |acc, bit| acc | u8::from(at(bit + 1)) << bit);
    let stop = parity.frame_bits() - 1;
    if !at(stop) {
        return Err(LineError::Framing);
    }
    if parity == Parity::Even && at(9) != (value.count_ones() % 2 == 1) {
        return Err(LineError::Parity);
    }
    Ok(value)
}

/// The first two falling edges of a frame that starts at `start`: all that the rate measurement sees.
///
/// The ROMs time the 0x7F, whose second falling edge (its bit 7) comes exactly 8 bits after the first. A frame
/// without a second falling edge, such as 0x00, leaves the measurement running into whatever comes next.
pub(crate) fn falling_edges(byte: &LineByte, start: Nanos) -> (Nanos, Option<Nanos>) {
    let second = (1..byte.parity.frame_bits()).find(|&cell| byte.level(cell - 1) && !byte.level(cell));
    (start, second.map(|cell| start + bit_time(cell, byte.baud)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_survives_the_four_percent_that_eleven_bits_allow() {
        for value in 0..=255 {
            let byte = LineByte::new(value, 115_200);
            for rate in [110_600, 115_200, 119_800] {
                assert_eq!(sample(&byte, rate, Parity::Even), Ok(value), "{value:#04x} at {rate}");
            }
        }
    }

    #[test]
    fn at_twice_the_rate_a_byte_is_something_else() {
        // 0x79 at 57600 seen at 115200: start 0 0, then 1 1 0 0 0 0 ...
        let byte = LineByte::new(0x79, 57_600);
        assert_ne!(sample(&byte, 115_200, Parity::Even), Ok(0x79));
    }

    #[test]
    fn without_parity_only_bytes_with_an_odd_number_of_ones_pass() {
        let none = |value, back_to_back| LineByte {
            parity: Parity::None,
            back_to_back,
            ..LineByte::new(value, 115_200)
        };
        assert_eq!(sample(&none(0x7F, false), 115_200, Parity::Even), Ok(0x7F));
        assert_eq!(sample(&none(0x00, false), 115_200, Parity::Even), Err(LineError::Parity));
        // The next start bit lies where the stop bit should be.
        assert_eq!(sample(&none(0x01, true), 115_200, Parity::Even), Err(LineError::Framing));
    }

    #[test]
    fn the_edges_of_7f_are_eight_bits_apart_and_00_has_only_one() {
        let seven_f = falling_edges(&LineByte::new(0x7F, 100_000), Nanos::ZERO);
        assert_eq!(seven_f, (Nanos::ZERO, Some(Nanos::from_micros(80))));
        assert_eq!(falling_edges(&LineByte::new(0x00, 100_000), Nanos::ZERO).1, None);
    }
}
