//! bxCAN (RM0090 section 32.9, the same cell on F1 with 14 filter banks: RM0008 section 24).
//!
//! Master control with its handshakes, bit timing, three mailboxes, two receive FIFOs of three with overrun, filter
//! banks, error state. Not modelled, and noted when asked for: no automatic retransmission, test modes, time triggered
//! communication. With TXFP = 0 the bus decides which of the mailboxes goes first, with TXFP = 1 the order of requests.

use std::collections::VecDeque;

use panel_protocol::frame::{Frame, Id};

use crate::soc::{CanAction, CanCounters, CanState};
use crate::wires::{NEVER, Wires, ns};

const FIFO: usize = 3;
const INRQ: u32 = 1;
const SLEEP: u32 = 1 << 1;
const TXFP: u32 = 1 << 2;
const RFLM: u32 = 1 << 3;
const NART: u32 = 1 << 4;
const ABOM: u32 = 1 << 6;
const TTCM: u32 = 1 << 7;
const TXRQ: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Sleep,
    Init,
    /// Waits for eleven recessive bits.
    Joining {
        at: u64,
    },
    Normal,
}

/// Registers of a mailbox or of a frame in a FIFO: identifier, length, data.
#[derive(Debug, Clone, Copy, Default)]
struct Mailbox([u32; 4]);

/// Filter banks are shared by the two cells of a chip.
#[derive(Debug, Clone)]
pub(crate) struct Filters {
    fmr: u32,
    mode: u32,
    scale: u32,
    fifo: u32,
    active: u32,
    banks: Vec<[u32; 2]>,
}

/// Interrupt numbers of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) transmit: u8,
    pub(crate) receive: [u8; 2],
    pub(crate) status: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct BxCan {
    lines: Lines,
    mode: Mode,
    mcr: u32,
    tsr: u32,
    ier: u32,
    btr: u32,
    mailboxes: [Mailbox; 3],
    fifos: [VecDeque<Mailbox>; 2],
    overrun: [bool; 2],
    full: [bool; 2],
    state: CanState,
    lec: u32,
    counters: CanCounters,
    actions: VecDeque<CanAction>,
    /// Frames that wait for those before them (TXFP).
    order: VecDeque<Frame>,
    /// Pins are routed to this cell; set by the chip.
    pub(crate) routed: bool,
    second: bool,
}

impl Filters {
    pub(crate) fn new(banks: usize) -> Self {
        Self { fmr: 0x2A1C_0E01, mode: 0, scale: 0, fifo: 0, active: 0, banks: vec![[0; 2]; banks] }
    }

    pub(crate) fn read(&self, wires: &mut Wires, offset: u32) -> u32 {
        match offset {
            0x200 => self.fmr,
            0x204 => self.mode,
            0x20C => self.scale,
            0x214 => self.fifo,
            0x21C => self.active,
            _ => match self.bank(offset) {
                Some((n, i)) => self.banks[n][i],
                None => {
                    wires.complain(format!("read of unmodelled CAN filter register {offset:#x}"));
                    0
                }
            },
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, offset: u32, value: u32) {
        // FM1R, FS1R and FFA1R can be written only in filter initialisation mode (RM0090 32.9.4).
        let init = self.fmr & 1 != 0;
        match offset {
            0x200 => self.fmr = self.fmr & !0x3F01 | value & 0x3F01,
            0x21C => self.active = value,
            0x204 | 0x20C | 0x214 if !init => wires.complain("CAN filter mode written outside FINIT"),
            0x204 => self.mode = value,
            0x20C => self.scale = value,
            0x214 => self.fifo = value,
            _ => match self.bank(offset) {
                Some((n, _)) if !init && self.active >> n & 1 != 0 => {
                    wires.complain("CAN filter bank written while active");
                }
                Some((n, i)) => self.banks[n][i] = value,
                None => wires.complain(format!("write of unmodelled CAN filter register {offset:#x}")),
            },
        }
    }

    fn bank(&self, offset: u32) -> Option<(usize, usize)> {
        let at = offset.checked_sub(0x240)? as usize / 4;
        (at / 2 < self.banks.len()).then_some((at / 2, at % 2))
    }

    /// The FIFO that a frame goes to, if a filter takes it.
    fn accept(&self, second: bool, id: Id) -> Option<usize> {
        if self.fmr & 1 != 0 {
            return None; // reception is off in FINIT mode
        }
        let split = (self.fmr >> 8 & 0x3F) as usize;
        let banks = if second { split..self.banks.len() } else { 0..split.min(self.banks.len()) };
        let long = register(id);
        let short = match id {
            Id::Standard(id) => u32::from(id) << 5,
            Id::Extended(id) => id >> 18 << 5 | 1 << 3 | id >> 15 & 7,
        };
        banks.into_iter().filter(|n| self.active >> n & 1 != 0).find_map(|n| {
            let [one, two] = self.banks[n];
            let list = self.mode >> n & 1 != 0;
            let hit = match (self.scale >> n & 1 != 0, list) {
                (true, false) => (long ^ one) & two & !1 == 0,
                (true, true) => long == one & !1 || long == two & !1,
                (false, false) => [one, two].iter().any(|w| (short ^ w) & (w >> 16) & 0xFFFF == 0),
                (false, true) => [one, two].iter().any(|w| short == w & 0xFFFF || short == w >> 16),
            };
            hit.then_some((self.fifo >> n & 1) as usize)
        })
    }
}

impl BxCan {
    /// A cell after reset; `second` is CAN2, which uses the upper filter banks.
    pub(crate) fn new(lines: Lines, second: bool) -> Self {
        Self {
            lines,
            mode: Mode::Sleep,
            mcr: 0x0001_0002,
            tsr: 0x1C00_0000,
            ier: 0,
            btr: 0x0123_0000,
            mailboxes: [Mailbox::default(); 3],
            fifos: [VecDeque::new(), VecDeque::new()],
            overrun: [false; 2],
            full: [false; 2],
            state: CanState::default(),
            lec: 0,
            counters: CanCounters::default(),
            actions: VecDeque::new(),
            order: VecDeque::new(),
            routed: false,
            second,
        }
    }

    pub(crate) fn reset(&mut self) {
        let counters = self.counters;
        *self = Self { counters, ..Self::new(self.lines, self.second) };
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
            if self.routed {
                let nominal = self.bit_rate(wires.pclk1);
                // Without ABOM software has to ask for initialisation and leave it again (32.7.6).
                let returns = self.mcr & ABOM != 0;
                self.actions.push_back(CanAction::Join { nominal, data: None, returns });
            } else {
                wires.complain("CAN is in normal mode, but its pins are not switched to it");
            }
        }
        let lines = self.lines;
        let done = self.tsr & 0x0001_0101 != 0;
        wires.irq(lines.transmit, self.ier & 1 != 0 && done);
        for n in 0..2 {
            let bits = self.ier >> (1 + 3 * n);
            let pending = !self.fifos[n].is_empty() && bits & 1 != 0;
            let wanted = pending || self.full[n] && bits & 2 != 0 || self.overrun[n] && bits & 4 != 0;
            wires.irq(lines.receive[n], wanted);
        }
        wires.irq(lines.status, false);
    }

    pub(crate) fn read(&self, wires: &mut Wires, filters: &Filters, offset: u32) -> u32 {
        match offset {
            0x00 => self.mcr,
            0x04 => self.msr(),
            0x08 => self.transmit_status(),
            0x0C | 0x10 => self.fifo_status((offset as usize - 0x0C) / 4),
            0x14 => self.ier,
            0x18 => self.esr(),
            0x1C => self.btr,
            0x180..=0x1AC => self.mailboxes[(offset as usize - 0x180) / 16].0[offset as usize % 16 / 4],
            0x1B0..=0x1CC => {
                let fifo = &self.fifos[(offset as usize - 0x1B0) / 16];
                fifo.front().map_or(0, |m| m.0[offset as usize % 16 / 4])
            }
            0x200.. => filters.read(wires, offset),
            _ => {
                wires.complain(format!("read of unmodelled CAN register {offset:#x}"));
                0
            }
        }
    }

    pub(crate) fn write(&mut self, wires: &mut Wires, filters: &mut Filters, offset: u32, value: u32) {
        match offset {
            0x00 => self.control(wires, value),
            0x04 => {} // interrupt flags that are never set here
            0x08 => self.transmit_control(value),
            0x0C | 0x10 => self.fifo_control((offset as usize - 0x0C) / 4, value),
            0x14 => self.ier = value & 0x38F7F,
            0x18 => self.lec = value >> 4 & 7,
            0x1C => {
                if self.mode != Mode::Init {
                    return wires.complain("CAN_BTR written outside initialisation mode");
                }
                if value >> 30 != 0 {
                    wires.complain("CAN test modes are not modelled");
                }
                self.btr = value;
            }
            0x180..=0x1AC => {
                self.fill(wires, (offset as usize - 0x180) / 16, offset as usize % 16 / 4, value)
            }
            0x200.. => filters.write(wires, offset, value),
            _ => wires.complain(format!("write of unmodelled CAN register {offset:#x}")),
        }
        self.tick(wires);
    }

    /// PCLK1 / ((BRP + 1) * (1 + TS1 + 1 + TS2 + 1)), RM0090 32.7.7.
    fn bit_rate(&self, clock: u32) -> u32 {
        let quanta = 3 + (self.btr >> 16 & 0xF) + (self.btr >> 20 & 7);
        clock / ((self.btr & 0x3FF) + 1) / quanta
    }

    /// Frames that filters let through.
    pub(crate) fn take(&mut self, wires: &mut Wires, filters: &Filters, frame: &Frame) {
        if self.mode != Mode::Normal || frame.is_fd() {
            return;
        }
        let Some(n) = filters.accept(self.second, frame.id()) else { return };
        let mailbox = pack(frame);
        let fifo = &mut self.fifos[n];
        if fifo.len() < FIFO {
            fifo.push_back(mailbox);
            self.counters.received += 1;
            self.full[n] |= fifo.len() == FIFO;
        } else {
            self.overrun[n] = true;
            self.counters.overruns += 1;
            if self.mcr & RFLM == 0 {
                // "the last message stored in the FIFO is overwritten by the new incoming message"
                fifo[FIFO - 1] = mailbox;
            }
        }
        self.counters.deepest = self.counters.deepest.max(self.fifos[n].len());
        self.tick(wires);
    }

    pub(crate) fn take_action(&mut self) -> Option<CanAction> {
        self.actions.pop_front()
    }

    pub(crate) fn sent(&mut self, wires: &mut Wires, frame: &Frame) {
        let waits = |m: &Mailbox| m.0[0] & TXRQ != 0 && unpack(m).as_ref() == Some(frame);
        if let Some(n) = self.mailboxes.iter().position(waits) {
            self.mailboxes[n].0[0] &= !TXRQ;
            self.tsr |= 3 << (8 * n) | 1 << (26 + n);
            self.counters.sent += 1;
            if self.order.pop_front().is_some()
                && let Some(&next) = self.order.front()
            {
                self.actions.push_back(CanAction::Send(next));
            }
        }
        self.tick(wires);
    }

    pub(crate) fn set_state(&mut self, wires: &mut Wires, state: CanState) {
        if state.off && !self.state.off {
            self.counters.bus_off += 1;
            if self.mcr & ABOM == 0 {
                wires.complain("bus-off without ABOM: the cell waits for software, which is not modelled");
            }
        }
        self.state = state;
    }

    pub(crate) fn counters(&self) -> CanCounters {
        self.counters
    }

    fn msr(&self) -> u32 {
        let mode = match self.mode {
            Mode::Sleep => 2,
            Mode::Init | Mode::Joining { .. } => 1,
            Mode::Normal => 0,
        };
        0xC00 | mode
    }

    fn control(&mut self, wires: &mut Wires, value: u32) {
        if value & 1 << 15 != 0 {
            return self.reset();
        }
        if value & (NART | TTCM) != 0 {
            wires.complain("CAN_MCR asks for NART or TTCM, which are not modelled");
        }
        self.mcr = value & 0x1_00FF;
        let wanted = (value & INRQ != 0, value & SLEEP != 0);
        let was = self.mode;
        self.mode = match (wanted, was) {
            // "INRQ ... hardware waits until the current frame ends": at once here.
            ((true, _), _) => Mode::Init,
            ((false, true), _) => Mode::Sleep,
            ((false, false), Mode::Normal) => Mode::Normal,
            ((false, false), Mode::Joining { at }) => Mode::Joining { at },
            ((false, false), _) => Mode::Joining { at: wires.now.ns + ns(11, self.bit_rate(wires.pclk1)) },
        };
        if was == Mode::Normal && self.mode != Mode::Normal {
            self.actions.push_back(CanAction::Leave);
        }
    }

    fn transmit_status(&self) -> u32 {
        // CODE is the next mailbox that is free.
        let free = (0..3).find(|n| self.tsr >> (26 + n) & 1 != 0).unwrap_or(0);
        self.tsr & !(3 << 24) | free << 24
    }

    fn transmit_control(&mut self, value: u32) {
        for n in 0..3 {
            if value & 1 << (8 * n) != 0 {
                self.tsr &= !(0xF << (8 * n));
            }
        }
        if value & 0x0080_8080 != 0 {
            // Every mailbox is withdrawn together: nothing in this project aborts one alone.
            self.actions.push_back(CanAction::Abort);
            self.order.clear();
            for n in 0..3 {
                if self.mailboxes[n].0[0] & TXRQ != 0 {
                    self.mailboxes[n].0[0] &= !TXRQ;
                    self.tsr |= 1 << (8 * n) | 1 << (26 + n);
                }
            }
        }
    }

    fn fifo_status(&self, n: usize) -> u32 {
        self.fifos[n].len() as u32 | u32::from(self.full[n]) << 3 | u32::from(self.overrun[n]) << 4
    }

    fn fifo_control(&mut self, n: usize, value: u32) {
        if value & 8 != 0 {
            self.full[n] = false;
        }
        if value & 16 != 0 {
            self.overrun[n] = false;
        }
        if value & 32 != 0 && self.fifos[n].pop_front().is_some() {
            self.counters.released += 1;
        }
    }

    fn fill(&mut self, wires: &mut Wires, n: usize, part: usize, value: u32) {
        if self.tsr >> (26 + n) & 1 == 0 {
            return wires.complain(format!("CAN mailbox {n} written while it is being sent"));
        }
        self.mailboxes[n].0[part] = value;
        if part != 0 || value & TXRQ == 0 {
            return;
        }
        if self.mode != Mode::Normal {
            wires.complain("a CAN frame is to be sent outside normal mode");
        }
        self.tsr &= !(1 << (26 + n) | 0xF << (8 * n));
        match unpack(&self.mailboxes[n]) {
            Some(frame) => self.send(frame),
            None => wires.complain("a CAN mailbox holds a remote frame or a length above 8"),
        }
    }

    fn send(&mut self, frame: Frame) {
        let in_order = self.mcr & TXFP != 0;
        if !in_order || self.order.is_empty() {
            self.actions.push_back(CanAction::Send(frame));
        }
        if in_order {
            self.order.push_back(frame);
        }
    }

    fn esr(&self) -> u32 {
        let CanState { tec, rec, off } = self.state;
        let (tec, rec) = (u32::from(tec.min(255)), u32::from(rec.min(255)));
        let warning = tec.max(rec) >= 96;
        let passive = tec.max(rec) > 127;
        u32::from(warning)
            | u32::from(passive) << 1
            | u32::from(off) << 2
            | self.lec << 4
            | tec << 16
            | rec << 24
    }
}

/// Identifier register: STID 31..21 or EXID 31..3, IDE bit 2.
fn register(id: Id) -> u32 {
    match id {
        Id::Standard(id) => u32::from(id) << 21,
        Id::Extended(id) => id << 3 | 1 << 2,
    }
}

fn pack(frame: &Frame) -> Mailbox {
    let mut data = [0; 8];
    data[..frame.data().len()].copy_from_slice(frame.data());
    let [a, b, c, d, e, f, g, h] = data;
    let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    Mailbox([register(frame.id()), frame.data().len() as u32, low, high])
}

fn unpack(mailbox: &Mailbox) -> Option<Frame> {
    let [id, length, low, high] = mailbox.0;
    if id & 2 != 0 || length & 0xF > 8 {
        return None;
    }
    let bytes: Vec<u8> = low.to_le_bytes().into_iter().chain(high.to_le_bytes()).collect();
    let name = if id & 4 != 0 { Id::Extended(id >> 3) } else { Id::Standard((id >> 21) as u16) };
    Frame::classical(name, &bytes[..(length & 0xF) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: u32 = 16_000_000;

    fn joined() -> (BxCan, Filters, Wires) {
        let lines = Lines { transmit: 19, receive: [20, 21], status: 22 };
        let (mut can, mut filters, mut wires) =
            (BxCan::new(lines, false), Filters::new(28), Wires::new(CLOCK));
        can.routed = true;
        let w = &mut wires;
        can.write(w, &mut filters, 0x00, INRQ | ABOM);
        assert_eq!(can.read(w, &filters, 0x04) & 3, 1, "INAK");
        can.write(w, &mut filters, 0x1C, 11 << 16 | 2 << 20); // 1 + 12 + 3 quanta
        for (offset, value) in [(0x240, 0), (0x244, 0), (0x20C, 1), (0x21C, 1), (0x200, 0x2A1C_0E00)] {
            can.write(w, &mut filters, offset, value);
        }
        can.write(w, &mut filters, 0x00, ABOM);
        wires.now.ns = 11_000;
        can.tick(&mut wires);
        (can, filters, wires)
    }

    fn frame(id: u16, byte: u8) -> Frame {
        Frame::classical(Id::Standard(id), &[byte]).unwrap()
    }

    #[test]
    fn it_joins_the_bus_eleven_bits_after_initialisation_at_the_rate_of_btr() {
        let (mut can, ..) = joined();
        let join = CanAction::Join { nominal: 1_000_000, data: None, returns: true };
        assert_eq!(can.take_action(), Some(join));
        assert_eq!(can.take_action(), None);
    }

    #[test]
    fn the_fourth_frame_overruns_and_replaces_the_third() {
        let (mut can, mut filters, mut wires) = joined();
        (0..4).for_each(|n| can.take(&mut wires, &filters, &frame(0x400, n)));
        assert_eq!(can.read(&mut wires, &filters, 0x0C), 3 | 8 | 16);
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(can.read(&mut wires, &filters, 0x1B8));
            can.write(&mut wires, &mut filters, 0x0C, 32);
        }
        assert_eq!(seen, [0, 1, 3]);
        assert_eq!(can.counters().overruns, 1);
        assert_eq!(can.read(&mut wires, &filters, 0x0C), 8 | 16, "flags stay until cleared");
    }

    #[test]
    fn filters_take_what_their_mask_says() {
        let (mut can, mut filters, mut wires) = joined();
        filters.banks[0] = [0x400 << 21, 0x400 << 21 | 4];
        can.take(&mut wires, &filters, &frame(0x3FF, 0));
        can.take(&mut wires, &filters, &Frame::empty(Id::Extended(0x1000_0000)));
        assert_eq!(can.read(&mut wires, &filters, 0x0C) & 3, 0);
        can.take(&mut wires, &filters, &frame(0x555, 0));
        assert_eq!(can.read(&mut wires, &filters, 0x0C) & 3, 1);
        assert_eq!(can.read(&mut wires, &filters, 0x1B0), 0x555 << 21);
    }

    #[test]
    fn a_mailbox_is_free_again_when_its_frame_has_been_sent() {
        let (mut can, mut filters, mut wires) = joined();
        can.take_action();
        can.write(&mut wires, &mut filters, 0x184, 1);
        can.write(&mut wires, &mut filters, 0x188, 0x42);
        can.write(&mut wires, &mut filters, 0x180, 0x123 << 21 | TXRQ);
        let sent = frame(0x123, 0x42);
        assert_eq!(can.take_action(), Some(CanAction::Send(sent)));
        assert_eq!(can.read(&mut wires, &filters, 0x08) >> 24, 0b0001_1001, "mailbox 1 is next");
        can.sent(&mut wires, &sent);
        assert_eq!(can.read(&mut wires, &filters, 0x08), 0x1C00_0003, "RQCP and TXOK");
    }

    #[test]
    fn with_txfp_frames_leave_in_the_order_of_their_requests() {
        let (mut can, mut filters, mut wires) = joined();
        can.take_action();
        can.write(&mut wires, &mut filters, 0x00, ABOM | TXFP);
        can.write(&mut wires, &mut filters, 0x180, 0x222 << 21 | TXRQ);
        can.write(&mut wires, &mut filters, 0x190, 0x111 << 21 | TXRQ);
        let (first, second) = (Frame::empty(Id::Standard(0x222)), Frame::empty(Id::Standard(0x111)));
        assert_eq!(can.take_action(), Some(CanAction::Send(first)));
        assert_eq!(can.take_action(), None);
        can.sent(&mut wires, &first);
        assert_eq!(can.take_action(), Some(CanAction::Send(second)));
    }

    #[test]
    fn bit_timing_can_be_changed_in_initialisation_mode_only() {
        let (mut can, mut filters, mut wires) = joined();
        can.write(&mut wires, &mut filters, 0x1C, 0);
        assert_eq!(wires.complaints().count(), 1);
    }
}
