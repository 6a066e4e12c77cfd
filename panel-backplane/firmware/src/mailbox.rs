//! Four words at the end of RAM through which application and bootloader leave each other notes over a reset.
//!
//! Nothing is linked there, and a reset leaves RAM as it is. Invariant: a note is read once; its complement
//! beside it tells it from what RAM holds after power-up. docs/node.md gives the layout to applications.

use crate::chip;
use crate::regs::Block;

/// Where the notes are (docs/node.md): note, complement, argument, reset flags.
const MAILBOX: Block = Block::at(chip::RAM.1 - 16);
const NOTE: u32 = 0;
const COMPLEMENT: u32 = 4;
const ARGUMENT: u32 = 8;
const RESET_FLAGS: u32 = 12;

const STAY: u32 = u32::from_le_bytes(*b"PFST");
const START: u32 = u32::from_le_bytes(*b"PFGO");

/// What to do after the reset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    /// Stay in the bootloader (the application's wish).
    Stay,
    /// Start the application whose vector table is here without listening first; 0: the image's own.
    Start(u32),
}

/// Reads the note and removes it.
pub(crate) fn take() -> Option<Note> {
    let note = MAILBOX.read(NOTE);
    let whole = MAILBOX.read(COMPLEMENT) == !note;
    MAILBOX.write(NOTE, 0);
    match note {
        STAY if whole => Some(Note::Stay),
        START if whole => Some(Note::Start(MAILBOX.read(ARGUMENT))),
        _ => None,
    }
}

/// Leaves a request to start the application after the reset that follows.
pub(crate) fn ask_to_start(vectors: u32) {
    MAILBOX.write(ARGUMENT, vectors);
    MAILBOX.write(COMPLEMENT, !START);
    MAILBOX.write(NOTE, START);
}

/// Leaves the reset flags for the application: the bootloader has cleared the register.
pub(crate) fn leave_reset_flags(flags: u32) {
    MAILBOX.write(RESET_FLAGS, flags);
}
