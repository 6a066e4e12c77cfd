//! FDCAN of G0 and G4 (RM0440 44, RM0444 36: the same registers and the same fixed layout of message RAM).
//!
//! Frames go out first in, first out: parts of a reply have one identifier. Nodes send only frames of eight
//! bytes at most, so the transmitter needs no delay compensation.

use super::timing::{Timing, timing};
use super::{FD, RECEIVED};
use crate::chip::{self, BOARD, CLOCKS};
use crate::regs::Block;
use panel_protocol::frame::{Frame, Id};
use panel_protocol::ident::HOST_FILTERS;
use panel_protocol::node::BusCounters;

const FDCAN: Block = Block::at(0x4000_6400);
const RAM: Block = Block::at(chip::MESSAGE_RAM);

const DBTP: u32 = 0x0C;
const CCCR: u32 = 0x18;
const CCCR_INIT: u32 = 1 << 0;
const CCCR_CCE: u32 = 1 << 1;
const CCCR_FDOE: u32 = 1 << 8;
const CCCR_BRSE: u32 = 1 << 9;
const NBTP: u32 = 0x1C;
const ECR: u32 = 0x40;
const PSR: u32 = 0x44;
const PSR_BUS_OFF: u32 = 1 << 7;
const IR: u32 = 0x50;
/// New message in FIFO 0, message lost.
const IR_RECEIVE: u32 = 1 << 0 | 1 << 2;
const IR_LOST: u32 = 1 << 2;
const IE: u32 = 0x54;
const ILE: u32 = 0x5C;
const RXGFC: u32 = 0x80;
const RXF0S: u32 = 0x90;
const RXF0A: u32 = 0x94;
const TXFQS: u32 = 0xC4;
const TXFQS_FULL: u32 = 1 << 21;
const TXBRP: u32 = 0xC8;
const TXBAR: u32 = 0xCC;

/// Message RAM (RM0440 figure 668): standard filters, receive FIFO 0, transmit buffers; elements of 18 words.
const RAM_FILTERS: u32 = 0x000;
const RAM_RECEIVE: u32 = 0x0B0;
const RAM_SEND: u32 = 0x278;
const ELEMENT: u32 = 72;
/// Identifier word: extended format.
const XTD: u32 = 1 << 30;
/// Second word: FD format.
const FDF: u32 = 1 << 21;

/// Payload lengths by DLC (ISO 11898-1).
const LENGTHS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];

/// Sets it up; it joins the bus after eleven recessive bits. The pins and its clock are on already.
pub(crate) fn start() {
    const NOMINAL: Timing = timing(CLOCKS.can, BOARD.can.bitrate, (256, 128));
    FDCAN.write(CCCR, CCCR_INIT | CCCR_CCE); // it is in initialisation since its reset
    let Timing { prescaler, before_sample, after_sample } = NOMINAL;
    let jump = after_sample - 1;
    FDCAN.write(NBTP, jump << 25 | (prescaler - 1) << 16 | (before_sample - 1) << 8 | jump);
    if BOARD.can.data_bitrate != 0 {
        const DATA_BITRATE: u32 =
            if BOARD.can.data_bitrate == 0 { BOARD.can.bitrate } else { BOARD.can.data_bitrate };
        const DATA: Timing = timing(CLOCKS.can, DATA_BITRATE, (32, 16));
        let Timing { prescaler, before_sample, after_sample } = DATA;
        let jump = after_sample - 1;
        FDCAN.write(DBTP, (prescaler - 1) << 16 | (before_sample - 1) << 8 | jump << 4 | jump);
        FDCAN.set(CCCR, CCCR_FDOE | CCCR_BRSE);
    }
    for (n, &(id, mask)) in HOST_FILTERS.iter().enumerate() {
        // Identifier and mask, into FIFO 0 (RM0440 table 412).
        let element = 0b10 << 30 | 0b001 << 27 | u32::from(id) << 16 | u32::from(mask);
        RAM.write(RAM_FILTERS + 4 * n as u32, element);
    }
    // So many standard filters; what they do not take, extended and remote frames are rejected.
    FDCAN.write(RXGFC, (HOST_FILTERS.len() as u32) << 16 | 0b1010 << 2 | 0b11);
    FDCAN.write(IE, IR_RECEIVE);
    FDCAN.write(ILE, 1);
    FDCAN.clear(CCCR, CCCR_INIT);
}

/// The controller.
pub(crate) struct Controller {
    errors: u16,
}

impl Controller {
    /// No error seen yet.
    pub(crate) const NEW: Self = Self { errors: 0 };

    /// A transmit buffer is free.
    pub(crate) fn can_send(&self) -> bool {
        FDCAN.read(TXFQS) & TXFQS_FULL == 0
    }

    /// Every transmit buffer is free.
    pub(crate) fn all_sent(&self) -> bool {
        FDCAN.read(TXBRP) == 0
    }

    /// Puts a frame of at most eight bytes into a free buffer; without one nothing happens.
    pub(crate) fn send(&mut self, frame: &Frame) {
        let state = FDCAN.read(TXFQS);
        if state & TXFQS_FULL != 0 {
            return;
        }
        let free = state >> 16 & 0b11;
        let buffer = RAM_SEND + ELEMENT * free;
        let [a, b, c, d, e, f, g, h] = *frame.first();
        let id = match frame.id() {
            Id::Standard(id) => u32::from(id) << 18,
            Id::Extended(id) => id | XTD,
        };
        RAM.write(buffer, id);
        RAM.write(buffer + 4, (frame.len() as u32) << 16);
        RAM.write(buffer + 8, u32::from_le_bytes([a, b, c, d]));
        RAM.write(buffer + 12, u32::from_le_bytes([e, f, g, h]));
        FDCAN.write(TXBAR, 1 << free);
    }

    /// Counters; to be called often, because the controller keeps only the last error's kind, and after bus-off
    /// waits for the program.
    pub(crate) fn counters(&mut self) -> BusCounters {
        let (ecr, psr) = (FDCAN.read(ECR), FDCAN.read(PSR));
        let logged = (ecr >> 16 & 0xFF) as u16; // errors since the last look
        self.errors = self.errors.saturating_add(logged);
        if psr & PSR_BUS_OFF != 0 {
            FDCAN.clear(CCCR, CCCR_INIT); // back after 128 times eleven recessive bits
        }
        BusCounters {
            tec: ecr as u8,
            rec: (ecr >> 8) as u8 & 0x7F,
            overruns: super::lost(),
            errors: self.errors,
        }
    }
}

/// From the interrupt: everything in the receive FIFO into the ring.
pub(crate) fn take_received() {
    let flags = FDCAN.read(IR) & IR_RECEIVE;
    FDCAN.write(IR, flags);
    if flags & IR_LOST != 0 {
        RECEIVED.count_lost();
    }
    loop {
        let state = FDCAN.read(RXF0S);
        if state & 0xF == 0 {
            return;
        }
        let index = state >> 8 & 0b11;
        let element = RAM_RECEIVE + ELEMENT * index;
        let (head, format) = (RAM.read(element), RAM.read(element + 4));
        let id = head >> 18; // extended frames are rejected
        let len = LENGTHS[(format >> 16 & 0xF) as usize];
        let (id, len) = if format & FDF != 0 { (id | FD, len) } else { (id, len.min(8)) };
        RECEIVED.push(id, len.into(), |n| RAM.read(element + 8 + 4 * n));
        FDCAN.write(RXF0A, index);
    }
}
