//! bxCAN of F1 and F4 (RM0090 32, RM0008 24: the same registers).
//!
//! Frames go out in the order of request (TXFP): parts of a reply have one identifier, and by identifier the
//! lowest mailbox would overtake.

use super::RECEIVED;
use super::timing::{Timing, timing};
use crate::chip::{BOARD, CLOCKS};
use crate::regs::Block;
use panel_protocol::frame::{Frame, Id};
use panel_protocol::ident::HOST_FILTERS;
use panel_protocol::node::BusCounters;

const CAN1: Block = Block::at(0x4000_6400);
const CAN2: Block = Block::at(0x4000_6800);

const MCR: u32 = 0x00;
const MCR_INRQ: u32 = 1 << 0;
const MCR_TXFP: u32 = 1 << 2;
const MCR_RFLM: u32 = 1 << 3;
const MCR_ABOM: u32 = 1 << 6;
const MSR: u32 = 0x04;
const MSR_INAK: u32 = 1 << 0;
const TSR: u32 = 0x08;
const TSR_TME: u32 = 0b111 << 26;
const RF0R: u32 = 0x0C;
const RF0R_FMP: u32 = 0b11;
const RF0R_FULL: u32 = 1 << 3;
const RF0R_FOVR: u32 = 1 << 4;
const RF0R_RFOM: u32 = 1 << 5;
const IER: u32 = 0x14;
const IER_FMPIE0: u32 = 1 << 1;
const IER_FOVIE0: u32 = 1 << 3;
const ESR: u32 = 0x18;
const ESR_LEC: u32 = 0b111 << 4;
const BTR: u32 = 0x1C;
const TIR: u32 = 0x180;
const TDTR: u32 = 0x184;
const TDLR: u32 = 0x188;
const TDHR: u32 = 0x18C;
const RIR: u32 = 0x1B0;
const RDTR: u32 = 0x1B4;
const RDLR: u32 = 0x1B8;
const FMR: u32 = 0x200;
const FA1R: u32 = 0x21C;
const FILTERS: u32 = 0x240;
/// First filter bank of CAN2 (RM0090 32.9.4, CAN2SB).
const CAN2_BANKS: u32 = 14;

/// Identifier bits of a mailbox's first word (RM0090 32.9.3).
const IDE: u32 = 1 << 2;
const TXRQ: u32 = 1 << 0;

const fn registers() -> Block {
    if BOARD.can.instance == 2 { CAN2 } else { CAN1 }
}

/// Sets it up; it joins the bus after eleven recessive bits. The pins and its clock are on already.
pub(crate) fn start() {
    const TIMING: Timing = timing(CLOCKS.can, BOARD.can.bitrate, (16, 8));
    let (regs, t) = (registers(), TIMING);
    regs.write(MCR, MCR_INRQ | MCR_TXFP | MCR_RFLM | MCR_ABOM); // and out of sleep
    regs.wait(MSR, MSR_INAK, MSR_INAK);
    regs.write(BTR, (t.after_sample - 1) << 20 | (t.before_sample - 1) << 16 | (t.prescaler - 1));
    filter(if BOARD.can.instance == 2 { CAN2_BANKS } else { 0 });
    regs.write(IER, IER_FMPIE0 | IER_FOVIE0);
    regs.write(ESR, ESR_LEC);
    regs.clear(MCR, MCR_INRQ);
}

/// Lets the host's identifiers in and nothing else. After its reset the controller takes filters, and all of them are inactive
/// 16-bit masks, two in a bank, into FIFO 0 (RM0090 32.9.4).
fn filter(first_bank: u32) {
    // Filters belong to CAN1 even for CAN2 (RM0090 32.7.4). Identifier in bits 15..5, RTR bit 4, IDE bit 3.
    let pack = |(id, mask): (u16, u16)| u32::from(id) << 5 | (u32::from(mask) << 5 | 0b1_1000) << 16;
    let banks = 0b11 << first_bank;
    for (n, &filter) in HOST_FILTERS.iter().enumerate() {
        CAN1.write(FILTERS + first_bank * 8 + n as u32 * 4, pack(filter));
    }
    CAN1.write(FA1R, banks);
    CAN1.clear(FMR, 1);
}

/// The controller.
pub(crate) struct Controller {
    errors: u16,
}

impl Controller {
    /// No error seen yet.
    pub(crate) const NEW: Self = Self { errors: 0 };

    /// A mailbox is free.
    pub(crate) fn can_send(&self) -> bool {
        registers().read(TSR) & TSR_TME != 0
    }

    /// Every mailbox is free.
    pub(crate) fn all_sent(&self) -> bool {
        registers().read(TSR) & TSR_TME == TSR_TME
    }

    /// Puts a frame of at most eight bytes into a free mailbox; without one nothing happens.
    pub(crate) fn send(&mut self, frame: &Frame) {
        let regs = registers();
        let free = (regs.read(TSR) & TSR_TME) >> 26;
        if free == 0 {
            return;
        }
        let mailbox = 0x10 * free.trailing_zeros();
        let [a, b, c, d, e, f, g, h] = *frame.first();
        regs.write(TDTR + mailbox, frame.len() as u32);
        regs.write(TDLR + mailbox, u32::from_le_bytes([a, b, c, d]));
        regs.write(TDHR + mailbox, u32::from_le_bytes([e, f, g, h]));
        let id = match frame.id() {
            Id::Standard(id) => u32::from(id) << 21,
            Id::Extended(id) => id << 3 | IDE,
        };
        regs.write(TIR + mailbox, id | TXRQ);
    }

    /// Counters; to be called often, because the controller keeps only the last error's kind.
    pub(crate) fn counters(&mut self) -> BusCounters {
        let esr = registers().read(ESR);
        let kind = (esr & ESR_LEC) >> 4;
        if kind != 0 && kind != 7 {
            self.errors = self.errors.saturating_add(1);
            registers().write(ESR, ESR_LEC); // 7: no error since
        }
        BusCounters {
            tec: (esr >> 16) as u8,
            rec: (esr >> 24) as u8,
            overruns: super::lost(),
            errors: self.errors,
        }
    }
}

/// From the interrupt: everything in the receive FIFO into the ring.
pub(crate) fn take_received() {
    let regs = registers();
    loop {
        let state = regs.read(RF0R);
        if state & RF0R_RFOM != 0 {
            continue; // the next frame comes to the front, within a few cycles
        }
        if state & RF0R_FOVR != 0 {
            RECEIVED.count_lost();
            regs.write(RF0R, RF0R_FOVR | RF0R_FULL);
        }
        if state & RF0R_FMP == 0 {
            return;
        }
        let id = regs.read(RIR) >> 21; // the filters take base identifiers only
        let len = (regs.read(RDTR) & 0xF).min(8);
        RECEIVED.push(id, len, |n| regs.read(RDLR + 4 * n));
        regs.write(RF0R, RF0R_RFOM);
    }
}
