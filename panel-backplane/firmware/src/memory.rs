//! The node's share of RAM, segment buffers and manifest, and the board itself.
//!
//! How many buffers fit is a constant per chip; the linker refuses an image that does not fit.
#![expect(unsafe_code, reason = "statics handed out once")]

use crate::regs::read_word;
use crate::run::Board;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};
use panel_protocol::CRC32;
use panel_protocol::node::{ManifestEntry, NodeMemory, SegmentBuffer};

/// Segment buffers of 2 KiB, and segments of the largest image.
const SIZES: (usize, usize) = if cfg!(feature = "f405") {
    (34, 512)
} else if cfg!(feature = "g431") {
    (8, 64)
} else if cfg!(feature = "g474") {
    (31, 256)
} else if cfg!(feature = "g0b1") {
    (36, 256)
} else {
    (9, 256)
};

/// Buffers and manifest.
pub struct Memory {
    buffers: [SegmentBuffer; SIZES.0],
    manifest: [ManifestEntry; SIZES.1],
}

/// All zero, so that it is cleared with the rest of the program's RAM and takes no code to set up.
static mut MEMORY: Memory = Memory {
    buffers: [const { SegmentBuffer::empty() }; SIZES.0],
    manifest: [ManifestEntry::EMPTY; SIZES.1],
};
static TAKEN: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" {
    /// In the linker script: a KiB of RAM that no program of this firmware writes.
    static _noise: u32;
}

/// Bits that differ between two boards: what RAM held when power came.
pub(crate) fn noise() -> u32 {
    let from = (&raw const _noise) as u32;
    let word = |at| read_word(at).unwrap_or(0).to_le_bytes();
    (from..from + 1024).step_by(4).fold(0, |crc, at| CRC32.update(crc, &word(at)))
}

/// The memory, empty; `None` the second time.
pub(crate) fn take() -> Option<&'static mut Memory> {
    if TAKEN.load(Ordering::Relaxed) != 0 {
        return None;
    }
    TAKEN.store(1, Ordering::Relaxed);
    // SAFETY: no other reference exists (TAKEN), and no interrupt calls this.
    unsafe { Some(&mut *(&raw mut MEMORY)) }
}

#[unsafe(link_section = ".noinit.board")]
static mut BOARD: MaybeUninit<Board> = MaybeUninit::uninit();

/// Keeps the board for ever; there is one, so this is called once.
pub(crate) fn keep(board: Board) -> &'static mut Board {
    // SAFETY: called once, by the set-up; no interrupt knows of it.
    unsafe { (*(&raw mut BOARD)).write(board) }
}

impl NodeMemory for &'static mut Memory {
    fn parts(&mut self) -> (&mut [SegmentBuffer], &mut [ManifestEntry]) {
        (&mut self.buffers, &mut self.manifest)
    }
}
