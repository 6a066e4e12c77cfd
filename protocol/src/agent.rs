//! What the RAM agent and whoever loads it have agreed on, beside the protocol that it then speaks.
//!
//! The agent is a node that is put into RAM through the chip's ROM bootloader and started with Go at its vector
//! table. Boards on one bus get it one after the other, at the ROM's bit rates; an agent that took part in the bus
//! at its own rate meanwhile would destroy that with error flags. So it waits for silence first, unless the loader
//! has told it that nobody is loaded over this bus any more.

use crate::time::Span;

/// Silence on the bus (no dominant bit) after which an agent takes part in it.
pub const JOIN_SILENCE: Span = Span::from_millis(250);

/// Where in the agent's image the loader may put [`JOIN_AT_ONCE`]: the vector of exception 7, which ARMv6-M and
/// ARMv7-M reserve.
pub const JOIN_WORD: usize = 0x1C;

/// Take part in the bus at once ("JOIN", little-endian).
pub const JOIN_AT_ONCE: u32 = u32::from_le_bytes(*b"JOIN");

/// Where in the agent's image the loader may put the board's place, [`slot_word`]: the vector of exception 8, reserved too.
pub const SLOT_WORD: usize = 0x20;

/// The word that tells an agent what it is to read as its address straps: the loader knows through whose lines it loads.
#[must_use]
pub const fn slot_word(strap: u16) -> u32 {
    !(strap as u32) << 16 | strap as u32
}

/// The straps in a word that [`slot_word`] made; `None` of any other.
#[must_use]
pub const fn slot_in(word: u32) -> Option<u16> {
    if slot_word(word as u16) == word { Some(word as u16) } else { None }
}
