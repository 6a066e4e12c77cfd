//! Programs for STM32, packed: what is loaded into flash or through the ROM is the program in less than two thirds of its size and
//! behind it a front of 0.6 KiB; the front unpacks it into RAM, where it runs.
//!
//! Here is what packer ([`pack`], with the feature of this name) and front (`panel-backplane/firmware/src/front.rs`) have
//! to agree on. The image is header, packed program, front; it moves to the end of RAM, so that what comes out does not catch
//! up with what is still packed. The packed program is a stream of half-words and of matches with what came before, each
//! bit of it coded by what two windows of [weights](windows) foretell; what comes out has to be [`restore`]d. Decision 0065
//! tells why this format.
#![no_std]

#[cfg(feature = "pack")]
extern crate std;

#[cfg(feature = "pack")]
mod coder;
#[cfg(feature = "pack")]
mod model;
#[cfg(feature = "pack")]
pub mod pack;
#[cfg(feature = "pack")]
mod parse;

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

/// What a byte's bits are foretold by: windows of weights, by number. Each begins where [`windows::place`] says.
pub mod windows {
    /// Upper byte of an instruction.
    pub const UPPER: u32 = 0;
    /// Upper and lower byte of a match's distance, in half-words.
    pub const DISTANCE: [u32; 2] = [1, 2];
    /// Half-words of a match.
    pub const LENGTH: u32 = 3;
    /// Upper byte of an instruction, by the upper six bits of the half-word before.
    pub const AFTER: u32 = 4;
    /// Lower byte of an instruction, by the upper four bits of its upper byte.
    pub const CLASS: u32 = AFTER + 64;
    /// Lower byte of an instruction, by its upper byte.
    pub const LOWER: u32 = CLASS + 16;
    /// The weight that tells whether a match begins; those before it are the tree of a byte's bits, with the root at 1.
    pub const MATCH: u32 = 256;
    /// Weights of a window, an even number.
    pub const WEIGHTS: u32 = MATCH + 2;

    /// The weight that a window begins with, if windows begin at one of `span` weights. They overlap: of most trees little is
    /// ever used.
    #[must_use]
    pub const fn place(window: u32, span: u32) -> u32 {
        ((window.wrapping_mul(super::FACTOR) >> 16) * span) >> 16
    }
}

/// How the weights give a chance, and learn.
pub mod odds {
    /// Bits of a weight below one binary digit of the odds.
    pub const FRACTION: u32 = 8;
    /// The least chance that anything has, of 65,536.
    pub const FLOOR: u32 = 32;
    /// What a weight learns of an error of 65,536: so many digits less.
    pub const RATE: u32 = 10;
}

/// Whether two half-words are BL, the call of Thumb, over less than 4 MiB: its two halves of the distance.
const fn call(first: u16, second: u16) -> bool {
    first & 0xF800 == 0xF000 && second & 0xF800 == 0xF800
}

/// Makes a program of what comes out of the packed one, in its place: there BL has its target instead of the distance, so that
/// calls of one function are alike. The front's way of it; the packer uses it to check itself.
pub fn restore(program: &mut [u16]) {
    let mut last = 0;
    for number in 0..program.len() {
        let now = program[number];
        if call(last, now) {
            let target = u32::from(last & 0x7FF) << 11 | u32::from(now & 0x7FF);
            let distance = target.wrapping_sub(number as u32 + 1);
            program[number - 1] = 0xF000 | (distance >> 11 & 0x7FF) as u16;
            program[number] = 0xF800 | (distance & 0x7FF) as u16;
        }
        last = now;
    }
}

/// An odd number, so that multiplying by it can be undone, and its multiples spread: 2^32 divided by the golden ratio.
pub const FACTOR: u32 = 0x9E37_79B1;

/// Sum over a program's words. Each step can be undone, so one wrong word always changes it, however many bits of it.
#[must_use]
pub fn checksum(program: &[u8]) -> u32 {
    let words = program.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word));
    words.fold(0, |sum, word| (sum.rotate_left(5) ^ word).wrapping_mul(FACTOR))
}
