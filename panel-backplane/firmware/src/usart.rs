//! USART1 as a byte stream: bytes come in by interrupt into a ring, frames go out byte by byte.
//!
//! Old USART (F1, F4: RM0090 30.6) and new USART (G0, G4: RM0440 37.8) differ in where the registers are.
//! Invariant: only the interrupt pushes into the ring, only the main loop pops. An agent is loaded where nobody speaks the
//! byte-stream framing, and leaves the UART alone.

use crate::chip::{self, IS_AGENT};
use crate::regs::Block;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use panel_protocol::frame::Frame;
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};

const USART1: Block = Block::at(chip::USART1);

/// The old kind.
#[cfg(any(feature = "f405", feature = "f103"))]
mod map {
    pub(super) const STATUS: u32 = 0x00;
    pub(super) const RECEIVED: u32 = 0x04;
    pub(super) const SEND: u32 = 0x04;
    pub(super) const BRR: u32 = 0x08;
    pub(super) const CR1: u32 = 0x0C;
    /// UE, TE, RE, RXNEIE.
    pub(super) const ENABLE: u32 = 1 << 13 | 1 << 3 | 1 << 2 | 1 << 5;
    /// Reading status, then data, clears errors here: nothing to write.
    pub(super) const CLEAR: Option<u32> = None;
}

/// The new kind.
#[cfg(not(any(feature = "f405", feature = "f103")))]
mod map {
    pub(super) const STATUS: u32 = 0x1C;
    pub(super) const RECEIVED: u32 = 0x24;
    pub(super) const SEND: u32 = 0x28;
    pub(super) const BRR: u32 = 0x0C;
    pub(super) const CR1: u32 = 0x00;
    /// UE, TE, RE, RXNEIE.
    pub(super) const ENABLE: u32 = 1 << 0 | 1 << 3 | 1 << 2 | 1 << 5;
    pub(super) const CLEAR: Option<u32> = Some(0x20);
}

/// Parity, framing, noise and overrun errors: bits 3..0 in both kinds.
const ERRORS: u32 = 0b1111;
const RXNE: u32 = 1 << 5;
const TC: u32 = 1 << 6;
const TXE: u32 = 1 << 7;

/// Bytes that may wait: more than the longest record.
const RING: usize = 128;

static BYTES: [AtomicU8; RING] = [const { AtomicU8::new(0) }; RING];
static HEAD: AtomicU32 = AtomicU32::new(0);
static TAIL: AtomicU32 = AtomicU32::new(0);

/// Sets it up for 8N1. The pins and its clock are on already.
pub(crate) fn start() {
    if IS_AGENT {
        return;
    }
    const BAUD: u32 = chip::BOARD.usart.baud;
    USART1.write(map::CR1, 0);
    USART1.write(map::BRR, (chip::CLOCKS.usart + BAUD / 2) / BAUD);
    USART1.write(map::CR1, map::ENABLE);
}

/// The UART, with one frame on its way in and out at most.
pub(crate) struct Usart {
    decoder: Decoder,
    out: [u8; MAX_ENCODED],
    len: usize,
    at: usize,
}

impl Usart {
    /// Nothing came or went yet.
    pub(crate) const NEW: Self = Self { decoder: Decoder::NEW, out: [0; MAX_ENCODED], len: 0, at: 0 };

    /// The next whole frame received, if any.
    pub(crate) fn receive(&mut self) -> Option<Frame> {
        loop {
            let tail = TAIL.load(Ordering::Relaxed);
            if IS_AGENT || tail == HEAD.load(Ordering::Acquire) {
                return None;
            }
            let byte = BYTES.get(tail as usize)?.load(Ordering::Relaxed);
            TAIL.store((tail + 1) % RING as u32, Ordering::Release);
            if let Some(frame) = self.decoder.handle_byte(byte) {
                return Some(frame);
            }
        }
    }

    /// A frame can be taken.
    pub(crate) const fn can_send(&self) -> bool {
        IS_AGENT || self.at == self.len
    }

    /// The last bit has left.
    pub(crate) fn all_sent(&self) -> bool {
        IS_AGENT || self.can_send() && USART1.read(map::STATUS) & TC != 0
    }

    /// Takes a frame to send, and sends its first byte if there is room.
    pub(crate) fn send(&mut self, frame: &Frame) {
        if !IS_AGENT {
            (self.len, self.at) = (encode(frame, &mut self.out), 0);
            self.pump();
        }
    }

    /// Sends the next byte if there is room; to be called often.
    pub(crate) fn pump(&mut self) {
        if !IS_AGENT
            && USART1.read(map::STATUS) & TXE != 0
            && let Some(&byte) = self.out.get(self.at).filter(|_| self.at < self.len)
        {
            USART1.write(map::SEND, byte.into());
            self.at += 1;
        }
    }
}

/// Whether bytes wait.
pub(crate) fn waiting() -> bool {
    !IS_AGENT && HEAD.load(Ordering::Acquire) != TAIL.load(Ordering::Relaxed)
}

/// From the interrupt: the byte received goes into the ring. A byte without room is lost; its frame's CRC-32
/// will tell.
pub(crate) fn take_received() {
    if IS_AGENT {
        return;
    }
    let status = USART1.read(map::STATUS);
    if status & (RXNE | ERRORS) == 0 {
        return;
    }
    let byte = USART1.read(map::RECEIVED) as u8;
    if let Some(clear) = map::CLEAR {
        USART1.write(clear, ERRORS);
    }
    let head = HEAD.load(Ordering::Relaxed);
    let next = (head + 1) % RING as u32;
    if status & RXNE != 0
        && next != TAIL.load(Ordering::Acquire)
        && let Some(place) = BYTES.get(head as usize)
    {
        place.store(byte, Ordering::Relaxed);
        HEAD.store(next, Ordering::Release);
    }
}
