//! FDCAN (RM0440 section 44, RM0444 section 36): registers, interrupts and the fixed layout of message RAM.
//!
//! Two receive FIFOs and three transmit buffers of 18 words, filters, error state, the protected configuration. Not
//! modelled, and noted when asked for: test and restricted modes, automatic retransmission switched off, time stamps,
//! the transmit event FIFO, transmit queue mode. Called by the chip; the bus is behind [`CanAction`].

mod ram;

use std::collections::VecDeque;

use panel_protocol::frame::Frame;

use crate::soc::{CanAction, CanCounters, CanState};
use crate::wires::{NEVER, Wires, ns};
use ram::{Accepted, MessageRam};

const INIT: u32 = 1;
const CCE: u32 = 1 << 1;
const FDOE: u32 = 1 << 8;
const BRSE: u32 = 1 << 9;
/// Bits of CCCR that are modelled: INIT, CCE, FDOE, BRSE, PXHD.
const MODELLED: u32 = INIT | CCE | FDOE | BRSE | 1 << 12;

/// Interrupt flags (44.4.15): new message, full, lost of FIFO 0, the same of FIFO 1, transmission complete and
/// cancelled, error passive, error warning, bus-off.
const RF0N: u32 = 1;
const TC: u32 = 1 << 7;
const TCF: u32 = 1 << 8;
const EP: u32 = 1 << 17;
const EW: u32 = 1 << 18;
const BO: u32 = 1 << 19;
/// Flags of each group that ILS sends to one line or the other (44.4.17).
const GROUPS: [u32; 7] = [0x7, 0x38, 0x1C0, 0x1E00, 0xE000, 0x3_0000, 0xFC_0000];

/// Registers that are written only with INIT and CCE set: DBTP, TEST, RWD, NBTP, TSCC, TOCC, TDCR, RXGFC, XIDAM, TXBC.
const PROTECTED: [u32; 10] = [0x0C, 0x10, 0x14, 0x1C, 0x20, 0x28, 0x48, 0x80, 0x84, 0xC0];
const BUFFERS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Init,
    /// INIT was cleared: waits for eleven recessive bits.
    Joining {
        at: u64,
    },
    Normal,
}

#[derive(Debug, Clone)]
pub(crate) struct FdCan {
    lines: [u8; 2],
    mode: Mode,
    cccr: u32,
    nbtp: u32,
    dbtp: u32,
    tdcr: u32,
    divider: u32,
    ir: u32,
    ie: u32,
    ils: u32,
    ile: u32,
    rxgfc: u32,
    xidam: u32,
    pub(crate) ram: MessageRam,
    /// Buffers that wait, those that were sent, those that were withdrawn, and the order of the first.
    pending: u32,
    done: u32,
    cancelled: u32,
    queue: VecDeque<u32>,
    put: u32,
    state: CanState,
    /// Errors since the counter was last read (ECR.CEL).
    logged: u32,
    counters: CanCounters,
    actions: VecDeque<CanAction>,
    /// Pins are routed to this cell; set by the chip.
    pub(crate) routed: bool,
    /// Kernel clock, Hz; set by the chip.
    pub(crate) clock: u32,
}

impl FdCan {
    /// A cell after reset, with its two interrupt numbers.
    pub(crate) fn new(lines: [u8; 2]) -> Self {
        Self {
            lines,
            mode: Mode::Init,
            cccr: INIT,
            nbtp: 0x0600_0A03,
            dbtp: 0x0000_0A33,
            tdcr: 0,
            divider: 0,
            ir: 0,
            ie: 0,
            ils: 0,
            ile: 0,
            rxgfc: 0,
            xidam: 0x1FFF_FFFF,
            ram: MessageRam::default(),
            pending: 0,
            done: 0,
            cancelled: 0,
            queue: VecDeque::new(),
            put: 0,
            state: CanState::default(),
            logged: 0,
            counters: CanCounters::default(),
            actions: VecDeque::new(),
            routed: false,
            clock: 0,
        }
    }

    /// Reset of the cell; message RAM keeps what it holds.
    pub(crate) fn reset(&mut self) {
        let (counters, ram) = (self.counters, self.ram.kept());
        *self = Self { counters, ram, clock: self.clock, ..Self::new(self.lines) };
        self.actions.push_back(CanAction::Leave);
    }

    pub(crate) fn next_event(&self) -> u64 {
        match self.mode {
            Mode::Joining { at } => at,
            _ => NEVER,
        }
    }

    pub(crate) fn tick(&mut self, wires: &mut Wires) {
        if let Mode::Joining { at } = self.mode
            && at <= wires.now.ns
        {
            self.mode = Mode::Normal;
            self.join(wires);
        }
        let raised = self.ir & self.ie;
        for (line, &irq) in self.lines.iter().enumerate() {
            let groups = GROUPS.iter().enumerate().filter(|(n, _)| (self.ils >> n & 1) as usize == line);
            let mine: u32 = groups.map(|(_, bits)| bits).sum();
            wires.irq(irq, self.ile >> line & 1 != 0 && raised & mine != 0);
        }
    }

    pub(crate) fn read(&mut self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x00 => 0x3214_1218,
            0x04 => 0x8765_4321,
            0x0C => self.dbtp,
            0x18 => self.cccr,
            0x1C => self.nbtp,
            0x40 => {
                let logged = std::mem::take(&mut self.logged).min(255);
                let CanState { tec, rec, .. } = self.state;
                u32::from(tec.min(255))
                    | u32::from(rec.min(127)) << 8
                    | u32::from(rec > 127) << 15
                    | logged << 16
            }
            0x44 => self.protocol_status(),
            0x48 => self.tdcr,
            0x50 => self.ir,
            0x54 => self.ie,
            0x58 => self.ils,
            0x5C => self.ile,
            0x80 => self.rxgfc,
            0x84 => self.xidam,
            0x90 | 0x98 => self.ram.fifo_status((offset as usize - 0x90) / 8),
            0x94 | 0x9C => 0,
            0xC0 => 0,
            0xC4 => self.transmit_status(),
            0xC8 => self.pending,
            0xCC | 0xD0 => 0,
            0xD4 => self.done,
            0xD8 => self.cancelled,
            0xE4 => 0,
            0x100 => self.divider,
            _ => {
                wires.complain(format!("read of unmodelled FDCAN register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        let open = self.cccr & (INIT | CCE) == INIT | CCE;
        if PROTECTED.contains(&offset) && !open {
            return wires.complain(format!("FDCAN register {offset:#x} written without INIT and CCE"));
        }
        match offset {
            0x0C => self.dbtp = value,
            0x18 => self.control(wires, value),
            0x1C => self.nbtp = value,
            0x48 => self.tdcr = value,
            0x50 => self.ir &= !value,
            0x54 => self.ie = value & 0xFF_FFFF,
            0x58 => self.ils = value & 0x7F,
            0x5C => self.ile = value & 3,
            0x80 => self.rxgfc = value,
            0x84 => self.xidam = value & 0x1FFF_FFFF,
            0x94 | 0x9C => self.release(wires, (offset as usize - 0x94) / 8, value & 7),
            0xC0 if value != 0 => wires.complain("FDCAN transmit queue mode is not modelled"),
            0xC0 => {}
            0xCC => self.request(wires, value & 7),
            0xD0 => self.cancel(wires, value & 7),
            0x100 if !open => wires.complain("FDCAN_CKDIV written without INIT and CCE"),
            0x100 => self.divider = value & 0xF,
            _ => wires.complain(format!("write of {value:#x} to unmodelled FDCAN register {offset:#x}")),
        }
        self.tick(wires);
    }

    /// A frame ended on the bus.
    pub(crate) fn take(&mut self, wires: &mut Wires, frame: &Frame) {
        if self.mode != Mode::Normal || frame.is_fd() && self.cccr & FDOE == 0 {
            return;
        }
        let Some(n) = self.ram.accept(frame, self.rxgfc, self.xidam) else { return };
        let overwrite = self.rxgfc >> (9 - n) & 1 != 0; // F0OM is bit 9, F1OM bit 8
        let first = RF0N << (3 * n);
        match self.ram.push(n, frame, overwrite) {
            Accepted::Stored { waiting } => {
                self.ir |= first | if waiting == 3 { first << 1 } else { 0 };
                self.counters.received += 1;
                self.counters.deepest = self.counters.deepest.max(waiting);
            }
            Accepted::Lost => {
                self.ir |= first << 2;
                self.counters.overruns += 1;
            }
        }
        self.tick(wires);
    }

    pub(crate) fn take_action(&mut self) -> Option<CanAction> {
        self.actions.pop_front()
    }

    /// The frame at the head of the transmit FIFO has been sent.
    pub(crate) fn sent(&mut self, wires: &mut Wires, frame: &Frame) {
        let Some(&n) = self.queue.front() else { return };
        if self.ram.outgoing(n).as_ref() != Some(frame) {
            return wires.complain("a transmit buffer was changed while it waited");
        }
        self.queue.pop_front();
        self.pending &= !(1 << n);
        self.done |= 1 << n;
        self.ir |= TC;
        self.counters.sent += 1;
        self.offer(wires);
        self.tick(wires);
    }

    pub(crate) fn set_state(&mut self, wires: &mut Wires, state: CanState) {
        let before = std::mem::replace(&mut self.state, state);
        let grown = |new: u16, old: u16| u32::from(new > old);
        self.logged += grown(state.tec, before.tec) + grown(state.rec, before.rec);
        let most = |s: CanState| s.tec.max(s.rec);
        for (flag, limit) in [(EW, 96), (EP, 128)] {
            if (most(state) >= limit) != (most(before) >= limit) {
                self.ir |= flag;
            }
        }
        // "CCCR.INIT is set ... the device has to wait for 129 occurrences of bus idle once it is cleared."
        if state.off && !before.off {
            self.ir |= BO;
            self.cccr |= INIT;
            self.counters.bus_off += 1;
        }
        self.tick(wires);
    }

    pub(crate) fn counters(&self) -> CanCounters {
        self.counters
    }

    /// CCE is cleared with INIT and can be set only while INIT reads as set (44.4.6).
    fn control(&mut self, wires: &mut Wires, value: u32) {
        let was = self.cccr;
        let open = was & (INIT | CCE) == INIT | CCE;
        if value & !MODELLED != 0 {
            wires.complain(format!("FDCAN_CCCR asks for {:#x}, which is not modelled", value & !MODELLED));
        }
        let cce = if value & INIT != 0 && was & INIT != 0 { value & CCE } else { 0 };
        if value & CCE != 0 && was & INIT == 0 {
            wires.complain("FDCAN_CCCR.CCE set before INIT reads as set");
        }
        let config = if open { value & (FDOE | BRSE | 1 << 12) } else { was & (FDOE | BRSE | 1 << 12) };
        self.cccr = value & INIT | cce | config;
        match (was & INIT != 0, value & INIT != 0) {
            (true, false) if self.state.off => self.actions.push_back(CanAction::Recover),
            (true, false) => {
                let (nominal, _) = self.bit_rates();
                let wait = ns(11, nominal);
                self.mode = Mode::Joining { at: wires.now.ns + wait };
            }
            (false, true) => {
                self.mode = Mode::Init;
                self.actions.push_back(CanAction::Leave);
            }
            _ => {}
        }
        if cce != 0 && was & CCE == 0 {
            // "the FIFOs, their status and the transmit requests are reset with CCE".
            (self.pending, self.done, self.cancelled, self.put) = (0, 0, 0, 0);
            self.queue.clear();
            self.ram.forget();
        }
    }

    /// Nominal rate, and the data phase's where frames with it are taken: clock / (prescaler * quanta), 44.4.7 and 44.4.3.
    fn bit_rates(&self) -> (u32, Option<u32>) {
        let divide = if self.divider == 0 { 1 } else { 2 * self.divider };
        let clock = self.clock / divide;
        let quanta = 3 + (self.nbtp >> 8 & 0xFF) + (self.nbtp & 0x7F);
        let nominal = clock / ((self.nbtp >> 16 & 0x1FF) + 1) / quanta;
        let quanta = 3 + (self.dbtp >> 8 & 0x1F) + (self.dbtp >> 4 & 0xF);
        let data = clock / ((self.dbtp >> 16 & 0x1F) + 1) / quanta;
        (nominal, (self.cccr & FDOE != 0).then_some(data))
    }

    fn join(&mut self, wires: &mut Wires) {
        let (nominal, data) = self.bit_rates();
        if self.clock == 0 {
            wires.complain("FDCAN is started without a kernel clock");
        } else if self.routed {
            self.actions.push_back(CanAction::Join { nominal, data, returns: false });
        } else {
            wires.complain("FDCAN is started, but its pins are not switched to it");
        }
    }

    fn release(&mut self, wires: &mut Wires, n: usize, index: u32) {
        match self.ram.release(n, index) {
            Some(frames) => self.counters.released += frames,
            None => wires.complain(format!("FIFO {n}: element {index} acknowledged, which holds no frame")),
        }
    }

    fn transmit_status(&self) -> u32 {
        let free = BUFFERS - self.pending.count_ones();
        let get = self.queue.front().copied().unwrap_or(self.put);
        free | get << 8 | self.put << 16 | u32::from(free == 0) << 21
    }

    /// Buffers are requested in the order of the put index.
    fn request(&mut self, wires: &mut Wires, wanted: u32) {
        if self.mode != Mode::Normal {
            return wires.complain("an FDCAN frame is to be sent while the cell is not on the bus");
        }
        let mut rest = wanted;
        while rest != 0 {
            if rest & 1 << self.put == 0 || self.pending & 1 << self.put != 0 {
                return wires.complain(format!("transmit buffers {rest:#b} requested out of turn"));
            }
            rest &= !(1 << self.put);
            self.pending |= 1 << self.put;
            self.done &= !(1 << self.put);
            self.cancelled &= !(1 << self.put);
            self.queue.push_back(self.put);
            self.put = (self.put + 1) % BUFFERS;
            if self.queue.len() == 1 {
                self.offer(wires);
            }
        }
    }

    /// The oldest frame that waits goes to the bus.
    fn offer(&mut self, wires: &mut Wires) {
        let Some(&n) = self.queue.front() else { return };
        match self.ram.outgoing(n) {
            Some(frame) if frame.is_fd() && self.cccr & (FDOE | BRSE) != FDOE | BRSE => {
                wires.complain("an FD frame with bit-rate switch is to be sent without FDOE and BRSE");
            }
            Some(frame) if frame.is_fd() && self.dbtp & 1 << 23 == 0 => {
                self.actions.push_back(CanAction::Send(frame));
                wires.complain("an FD frame is sent without transmitter delay compensation");
            }
            Some(frame) => self.actions.push_back(CanAction::Send(frame)),
            None => wires.complain("a transmit buffer holds a remote frame or an FD frame without BRS"),
        }
    }

    fn cancel(&mut self, wires: &mut Wires, wanted: u32) {
        let hit = wanted & self.pending;
        if hit != self.pending {
            return wires.complain("cancelling some of several transmit buffers is not modelled");
        }
        self.actions.push_back(CanAction::Abort);
        self.queue.clear();
        (self.pending, self.cancelled) = (0, self.cancelled | hit);
        self.ir |= TCF;
    }

    /// LEC and DLEC read as "no change": the last error's kind is not modelled.
    fn protocol_status(&self) -> u32 {
        let CanState { tec, rec, off } = self.state;
        let most = tec.max(rec);
        let activity = if self.mode == Mode::Normal { 1 } else { 0 };
        7 | activity << 3
            | u32::from(most > 127) << 5
            | u32::from(most >= 96) << 6
            | u32::from(off) << 7
            | 7 << 8
    }
}

#[cfg(test)]
mod tests {
    use panel_protocol::frame::Id;

    use super::*;

    const CLOCK: u32 = 80_000_000;

    fn joined() -> (FdCan, Wires) {
        let (mut can, mut wires) = (FdCan::new([21, 22]), Wires::new(CLOCK));
        (can.clock, can.routed) = (CLOCK, true);
        let w = &mut wires;
        can.write(w, 0x18, INIT | CCE);
        can.write(w, 0x18, INIT | CCE | FDOE | BRSE);
        can.write(w, 0x1C, 15 << 25 | 62 << 8 | 15); // 1 + 63 + 16 quanta
        can.write(w, 0x0C, 3 << 4 | 10 << 8 | 3); // 1 + 11 + 4
        can.write(w, 0x80, 0); // what no filter takes goes to FIFO 0
        can.write(w, 0x54, RF0N);
        can.write(w, 0x5C, 1);
        can.write(w, 0x18, FDOE | BRSE);
        w.now.ns = 11_000;
        can.tick(w);
        let join = CanAction::Join { nominal: 1_000_000, data: Some(5_000_000), returns: false };
        assert_eq!(can.take_action(), Some(join));
        assert_eq!(w.complaints().count(), 0);
        (can, wires)
    }

    fn frame(id: u16, len: usize) -> Frame {
        let bytes: Vec<u8> = (0..len as u8).collect();
        if len > 8 { Frame::fd(Id::Standard(id), &bytes) } else { Frame::classical(Id::Standard(id), &bytes) }
            .expect("a frame")
    }

    #[test]
    fn a_fourth_frame_is_lost_and_flagged_and_the_three_stay() {
        let (mut can, mut wires) = joined();
        for id in 1..=4 {
            can.take(&mut wires, &frame(id, 64));
        }
        assert_ne!(wires.irqs & 1 << 21, 0);
        assert_eq!(can.read(&mut wires, 0x50) & 7, 0b111, "new, full, lost");
        let status = can.read(&mut wires, 0x90);
        assert_eq!((status & 0xF, status >> 8 & 3, status >> 24 & 3), (3, 0, 0b11));
        assert_eq!(can.ram.read(0xB0) >> 18, 1);
        can.write(&mut wires, 0x94, 0);
        assert_eq!(can.read(&mut wires, 0x90) & 0x30F, 0x102);
        can.write(&mut wires, 0x50, 0xFF_FFFF);
        assert_eq!(wires.irqs & 1 << 21, 0);
        assert_eq!((can.counters().received, can.counters().overruns), (3, 1));
    }

    #[test]
    fn frames_leave_in_the_order_of_their_requests() {
        let (mut can, mut wires) = joined();
        for (n, id) in [(0, 0x300_u32), (1, 0x100)] {
            can.ram.write(0x278 + 72 * n, id << 18);
            can.ram.write(0x278 + 72 * n + 4, 2 << 16);
            can.ram.write(0x278 + 72 * n + 8, 0x0100);
            can.write(&mut wires, 0xCC, 1 << n);
        }
        let (first, second) = (frame(0x300, 2), frame(0x100, 2));
        assert_eq!(can.take_action(), Some(CanAction::Send(first)));
        assert_eq!(can.take_action(), None, "the lower identifier waits");
        assert_eq!(can.read(&mut wires, 0xC4), 1 | 2 << 16);
        can.sent(&mut wires, &first);
        assert_eq!(can.take_action(), Some(CanAction::Send(second)));
        assert_eq!((can.read(&mut wires, 0xC8), can.read(&mut wires, 0xD4)), (2, 1));
        assert_eq!(wires.complaints().count(), 0);
    }

    #[test]
    fn the_configuration_is_protected_once_the_cell_runs() {
        let (mut can, mut wires) = joined();
        can.write(&mut wires, 0x1C, 0);
        assert_eq!(wires.complaints().count(), 1);
        assert_eq!(can.read(&mut wires, 0x1C) & 0x7F, 15);
    }

    #[test]
    fn after_bus_off_it_waits_for_software_to_clear_init() {
        let (mut can, mut wires) = joined();
        can.set_state(&mut wires, CanState { tec: 256, rec: 0, off: true });
        assert_eq!(can.read(&mut wires, 0x18) & INIT, INIT);
        assert_ne!(can.read(&mut wires, 0x44) & 1 << 7, 0);
        assert_eq!(can.take_action(), None);
        can.write(&mut wires, 0x18, FDOE | BRSE);
        assert_eq!(can.take_action(), Some(CanAction::Recover));
        can.set_state(&mut wires, CanState::default());
        assert_eq!((can.mode, can.take_action()), (Mode::Normal, None));
    }
}
