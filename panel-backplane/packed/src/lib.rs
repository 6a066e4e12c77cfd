//! Programs for STM32, packed: what is loaded into flash or through the ROM is a front of half a KiB and behind it the
//! program in three quarters of its size; the front unpacks it into RAM, where it runs.
//!
//! Here is what packer ([`pack`], with the feature of this name) and front (`panel-backplane/firmware/src/front.rs`) have
//! to agree on. The image is header, packed program, front; it moves to the end of RAM, so that what comes out does not catch
//! up with what is still packed. The packed program is upkr's format with two parity contexts, and what comes out of it has
//! to be [`restore`]d. Decision 0065 tells why this format.
#![no_std]

#[cfg(feature = "pack")]
extern crate std;

#[cfg(feature = "pack")]
pub mod pack;

/// What the image begins with: the beginning of a vector table. Numbers of 32-bit words.
pub mod header {
    /// Words of the header; the packed program is behind it.
    pub const WORDS: usize = 9;
    /// Stack pointer, reset, NMI, HardFault.
    pub const VECTORS: usize = 4;
    /// Two words for the program, which the front writes into the same slots of the program's vector table: a loader's
    /// notes to an agent (docs/protocol.md, section 18).
    pub const NOTES: usize = 7;
}

/// What the front begins with, for it to find the rest. Numbers of 32-bit words.
pub mod front {
    /// Bytes of the image before the front, a multiple of 4.
    pub const BEFORE: usize = 0;
    /// Bytes of the whole image, a multiple of 4.
    pub const BYTES: usize = 1;
    /// Address to which the image moves.
    pub const HOME: usize = 2;
    /// Bytes of the program when it is unpacked, a multiple of 4.
    pub const UNPACKED: usize = 3;
    /// [`checksum`](crate::checksum) of the unpacked program.
    pub const CHECKSUM: usize = 4;
    /// All of them.
    pub const WORDS: usize = 5;
}

/// Contexts of upkr's format, by number: an adaptive probability each.
pub mod upkr {
    /// What every probability begins with, of 256.
    pub const HALF: usize = 128;
    /// For even and for odd places: whether a match follows, then a literal's tree of bits.
    pub const LITERAL: usize = 256;
    /// Whether a match repeats the last distance.
    pub const REPEAT: usize = 2 * LITERAL;
    /// Two contexts for each bit of a distance.
    pub const DISTANCE: usize = REPEAT + 1;
    /// Two contexts for each bit of a length.
    pub const LENGTH: usize = DISTANCE + 64;
    /// All of them.
    pub const CONTEXTS: usize = LENGTH + 64;
}

/// Whether two half-words are BL, the call of Thumb, over less than 4 MiB: its two halves of the distance.
const fn call(first: u16, second: u16) -> bool {
    first & 0xF800 == 0xF000 && second & 0xF800 == 0xF800
}

/// Makes a program of what is packed in its place: the half-words have their upper byte first, because that is the one
/// that tells what instruction it is, and BL has its target instead of the distance, so that calls of one function are
/// alike. The front's way of it; the packer uses it to check itself.
pub fn restore(program: &mut [u8]) {
    let mut last = 0;
    for number in 0..program.len() / 2 {
        let now = half_word(program, number).swap_bytes();
        set_half_word(program, number, now);
        if call(last, now) {
            let target = u32::from(last & 0x7FF) << 11 | u32::from(now & 0x7FF);
            let distance = target.wrapping_sub(number as u32 + 1);
            set_half_word(program, number - 1, 0xF000 | (distance >> 11 & 0x7FF) as u16);
            set_half_word(program, number, 0xF800 | (distance & 0x7FF) as u16);
        }
        last = now;
    }
}

fn half_word(program: &[u8], number: usize) -> u16 {
    let bytes = program.get(2 * number..2 * number + 2);
    bytes.map_or(0, |b| u16::from(b[0]) | u16::from(b[1]) << 8)
}

fn set_half_word(program: &mut [u8], number: usize, value: u16) {
    if let Some(place) = program.get_mut(2 * number..2 * number + 2) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// An odd number, so that multiplying by it can be undone: 2^32 divided by the golden ratio.
pub const CHECKSUM_FACTOR: u32 = 0x9E37_79B1;

/// Sum over a program's words. Each step can be undone, so one wrong word always changes it, however many bits of it.
#[must_use]
pub fn checksum(program: &[u8]) -> u32 {
    let words = program.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word));
    words.fold(0, |sum, word| (sum.rotate_left(5) ^ word).wrapping_mul(CHECKSUM_FACTOR))
}
