//! The node's share of RAM, segment buffers and manifest, and the board itself.
//!
//! How many buffers fit is a constant per chip; the linker refuses an image that does not fit.
#![expect(unsafe_code, reason = "statics handed out once")]

use crate::chip;
use crate::run::Board;
use core::hint::black_box;
use panel_protocol::node::{ManifestEntry, NodeMemory, SegmentBuffer};

/// Segment buffers of 2 KiB, and segments of the largest image.
const SIZES: (usize, usize) = if cfg!(feature = "f405") {
    (34, 512)
} else if cfg!(feature = "g431") {
    (G431_BUFFERS, 64)
} else if cfg!(feature = "g474") {
    (31, 256)
} else if cfg!(feature = "g0b1") {
    (36, 256)
} else {
    (9, 256)
};

/// What 32 KiB leave beside the program.
const G431_BUFFERS: usize = if chip::BOARD.slot.is_some() { 2 } else { 3 };

// All zero, so that they are cleared with the rest of the program's RAM.
static mut BUFFERS: [SegmentBuffer; SIZES.0] = [const { SegmentBuffer::empty() }; SIZES.0];
static mut MANIFEST: [ManifestEntry; SIZES.1] = [ManifestEntry::EMPTY; SIZES.1];

/// All buffers and the manifest; there is one, in the one board.
pub(crate) struct Memory(());

impl Memory {
    pub(crate) const ALL: Self = Self(());
}

impl NodeMemory for Memory {
    fn parts(&mut self) -> (&mut [SegmentBuffer], &mut [ManifestEntry]) {
        // SAFETY: no other reference exists: nothing else names the two, and the only `Memory` is borrowed for as long.
        unsafe { (&mut *(&raw mut BUFFERS), &mut *(&raw mut MANIFEST)) }
    }
}

/// Linked as it is when it starts.
static mut BOARD: Board = Board::ASLEEP;

/// The board. To be called once, by the program's first function.
pub(crate) fn board() -> &'static mut Board {
    let board = &raw mut BOARD;
    // An address that the compiler knows, it puts into every access instead of a register. Where instructions reach only a
    // little way from a register (Cortex-M0+) that takes two constants each time: 0.7 KiB. Elsewhere it takes less.
    let board = if cfg!(feature = "g0b1") { black_box(board) } else { board };
    // SAFETY: called once; no interrupt knows of it.
    unsafe { &mut *board }
}

unsafe extern "C" {
    /// In the linker script: RAM that no program of this firmware writes.
    static _noise: [u32; 64];
}

/// Bits that differ between two boards: what RAM held when power came.
pub(crate) fn noise() -> u32 {
    (0..64).fold(0, |mixed: u32, n| {
        // SAFETY: a word of RAM that is not Rust's, read as it is.
        let word = unsafe { (&raw const _noise).cast::<u32>().add(n).read_volatile() };
        (mixed.rotate_left(5) ^ word).wrapping_mul(panel_packed::FACTOR)
    })
}
