//! The node's share of RAM: segment buffers and manifest, in a section that is not cleared at the start.
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

#[unsafe(link_section = ".noinit.memory")]
static mut MEMORY: MaybeUninit<Memory> = MaybeUninit::uninit();
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// Bits that differ between two boards: what RAM held when this program was started. To be called before
/// [`take`].
pub(crate) fn noise() -> u32 {
    let from = (&raw const MEMORY) as u32 & !3;
    let mut digest = CRC32.digest();
    (from..from + 1024).step_by(4).for_each(|a| digest.update(&read_word(a).unwrap_or(0).to_le_bytes()));
    digest.finalize()
}

/// The memory, empty; `None` the second time.
pub(crate) fn take() -> Option<&'static mut Memory> {
    if TAKEN.load(Ordering::Relaxed) != 0 {
        return None;
    }
    TAKEN.store(1, Ordering::Relaxed);
    let memory = (&raw mut MEMORY).cast::<Memory>();
    // SAFETY: no other reference exists (TAKEN), no interrupt calls this, and every element is written before a
    // reference is made.
    unsafe {
        let buffers = (&raw mut (*memory).buffers).cast::<SegmentBuffer>();
        (0..SIZES.0).for_each(|n| buffers.add(n).write(SegmentBuffer::empty()));
        let manifest = (&raw mut (*memory).manifest).cast::<ManifestEntry>();
        (0..SIZES.1).for_each(|n| manifest.add(n).write(ManifestEntry::EMPTY));
        Some(&mut *memory)
    }
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
