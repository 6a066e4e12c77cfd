//! The CAN controller: frames come in by interrupt into a ring in RAM and go out through three mailboxes.
//!
//! The hardware's receive FIFO holds three frames, 343 us at 1 Mbit/s; a step of the node may take longer, so the
//! interrupt empties the FIFO into [`Ring`]. Invariant: only the interrupt pushes, only the main loop pops. Both run on
//! the one core, so it is enough that the compiler keeps the order of what they read and write.

#[cfg_attr(any(feature = "f405", feature = "f103"), path = "bxcan.rs")]
#[cfg_attr(not(any(feature = "f405", feature = "f103")), path = "fdcan.rs")]
mod controller;
mod timing;

pub(crate) use controller::{Controller, start, take_received};

use crate::chip::BOARD;
use crate::core_registers::Clock;
use crate::{gpio, regs, vectors, watchdog};
use core::sync::atomic::{AtomicU32, Ordering, compiler_fence};
use panel_protocol::agent::{JOIN_AT_ONCE, JOIN_SILENCE, JOIN_WORD};
use panel_protocol::frame::Frame;

/// Longest payload the controller receives, in words.
const DATA_WORDS: usize = if cfg!(any(feature = "f405", feature = "f103")) { 2 } else { 16 };
/// Frames in the ring: what comes at 1 Mbit/s while the longest step runs (CRC-32 over 2 KiB, about 2 ms at 16
/// MHz), and as much again. Where RAM is short the processor is faster.
const RING: usize = if cfg!(feature = "g431") { 16 } else { 64 };

/// With the identifier of a received frame, which is a base one because the filters take no other: it is an FD frame.
const FD: u32 = 1 << 30;

struct Slot {
    id: AtomicU32,
    len: AtomicU32,
    data: [AtomicU32; DATA_WORDS],
}

/// Short fields first, which short instructions reach.
#[repr(C)]
struct Ring {
    /// Frames pushed, modulo the ring; only the interrupt writes it.
    head: AtomicU32,
    /// Frames popped, modulo the ring; only the main loop writes it.
    tail: AtomicU32,
    /// Frames lost, in the controller or for want of a slot.
    lost: AtomicU32,
    slots: [Slot; RING],
}

static RECEIVED: Ring = Ring {
    slots: [const {
        Slot {
            id: AtomicU32::new(0),
            len: AtomicU32::new(0),
            data: [const { AtomicU32::new(0) }; DATA_WORDS],
        }
    }; RING],
    head: AtomicU32::new(0),
    tail: AtomicU32::new(0),
    lost: AtomicU32::new(0),
};

impl Ring {
    /// From the interrupt: one frame. `id` carries [`FD`].
    fn push(&self, id: u32, len: u32, mut word: impl FnMut(u32) -> u32) {
        let head = self.head.load(Ordering::Relaxed);
        let next = (head + 1) % RING as u32;
        let Some(slot) = self.slots.get(head as usize) else { return };
        if next == self.tail.load(Ordering::Relaxed) {
            self.count_lost();
            return;
        }
        slot.id.store(id, Ordering::Relaxed);
        slot.len.store(len, Ordering::Relaxed);
        let words = len.div_ceil(4) as usize;
        for (n, place) in slot.data.iter().enumerate().take(words) {
            place.store(word(n as u32), Ordering::Relaxed);
        }
        compiler_fence(Ordering::Release);
        self.head.store(next, Ordering::Relaxed);
    }

    fn count_lost(&self) {
        self.lost.store(self.lost.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == self.tail.load(Ordering::Relaxed)
    }

    fn pop(&self, frame: &mut Frame) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        let Some(slot) = self.slots.get(tail as usize).filter(|_| !self.is_empty()) else { return false };
        compiler_fence(Ordering::Acquire);
        let (id, len) = (slot.id.load(Ordering::Relaxed), slot.len.load(Ordering::Relaxed));
        let word = |n| slot.data.get(n).map_or(0, |word: &AtomicU32| word.load(Ordering::Relaxed));
        frame.receive(id as u16 & 0x7FF, id & FD != 0, len as u8, word);
        compiler_fence(Ordering::Release);
        self.tail.store((tail + 1) % RING as u32, Ordering::Relaxed);
        true
    }
}

/// Looks at the receive pin between two looks at the clock: a bit at 1 Mbit/s is as long as one or two.
const LOOKS: u32 = 64;

/// For the agent, before its controller starts: returns when no dominant bit was seen for [`JOIN_SILENCE`], because ROM
/// bootloaders of other boards may still be talked to at rates of their own; at once if its loader says so.
pub(crate) fn await_silence(clock: &mut Clock) {
    if regs::read_word(vectors::address() + JOIN_WORD as u32) == Some(JOIN_AT_ONCE) {
        return;
    }
    let mut since = clock.now();
    while clock.now().since(since) < JOIN_SILENCE {
        watchdog::feed();
        if (0..LOOKS).any(|_| !gpio::is_high(BOARD.can.rx)) {
            since = clock.now();
        }
    }
}

/// Makes `frame` the next one received; false if there is none.
pub(crate) fn receive(frame: &mut Frame) -> bool {
    RECEIVED.pop(frame)
}

/// Whether a frame waits.
pub(crate) fn waiting() -> bool {
    !RECEIVED.is_empty()
}

/// Frames lost since the start.
pub(crate) fn lost() -> u16 {
    RECEIVED.lost.load(Ordering::Relaxed).min(0xFFFF) as u16
}
