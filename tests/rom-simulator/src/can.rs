//! The CAN end of a board: detection, bit rate, a receive FIFO of three, timed answers.
//!
//! Contract: [`CanDevice::handle_frame`] for every frame on the bus that is not the device's own, at the moment
//! it ends; [`CanDevice::handle_timeout`] when [`CanDevice::next_deadline`] comes; after either, drain
//! [`CanDevice::poll_tx`]. The device says when it asks for the bus; whoever plays the bus adds frame times.
//!
//! The commands of the two notes are in `can_classic` (AN3154) and `can_fd` (AN5405).

use crate::board::{Board, CanVariant, Settings};
use crate::chip::Chip;
use crate::command::Then;
use crate::model::Model;
use crate::time::Nanos;
use crate::usart::Work;
use core::time::Duration;
use std::collections::VecDeque;

/// From the end of a request to the moment the answer asks for the bus (our assumption).
const REACTION: Duration = Duration::from_micros(10);

/// Depth of bxCAN's and FDCAN's receive FIFO.
const FIFO_DEPTH: usize = 3;

/// Bit rate the AN3154 loader starts with.
const CLASSIC_BITRATE: u32 = 125_000;

/// Nominal bit rate of the AN5405 loader (AN2606 rev 70: 250 kbit/s, data at 1 Mbit/s).
const FD_BITRATE: u32 = 250_000;

/// A frame with an 11-bit identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanFrame {
    /// Identifier.
    pub id: u16,
    /// 0 to 8 bytes, or up to 64 in an FD frame.
    pub data: Vec<u8>,
    /// An FD frame with bit rate switch.
    pub fd: bool,
}

impl CanFrame {
    /// A classical frame.
    #[must_use]
    pub fn new(id: u16, data: &[u8]) -> Self {
        Self { id, data: data.to_vec(), fd: false }
    }

    /// An FD frame.
    #[must_use]
    pub fn fd(id: u16, data: &[u8]) -> Self {
        Self { id, data: data.to_vec(), fd: true }
    }

    /// Bits of a classical frame with its interframe space, without stuffing (ISO 11898-1).
    #[must_use]
    pub fn classic_bits(&self) -> u64 {
        47 + 8 * self.data.len() as u64
    }
}

/// A frame the device wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanTx {
    /// When it asks for the bus.
    pub at: Nanos,
    /// The (nominal) bit rate it uses.
    pub bitrate: u32,
    /// The frame.
    pub frame: CanFrame,
}

/// Which note the loader follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanKind {
    /// AN3154.
    Classic,
    /// AN5405.
    Fd,
}

/// Whether the ROM has settled on this interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detection {
    Waiting,
    Chosen,
    /// No crystal it knows, or unrelated traffic: it does not listen here until reset.
    Left,
}

/// Where the loader is in a command.
#[derive(Debug)]
pub(crate) enum CanPhase {
    Idle,
    /// Collecting the data of Write.
    Data {
        address: u32,
        len: usize,
        data: Vec<u8>,
    },
    /// Collecting page numbers of Erase.
    Pages {
        count: usize,
        pages: Vec<u16>,
    },
    /// Collecting sector codes of Write Protect.
    Sectors {
        count: usize,
        codes: Vec<u8>,
    },
}

/// A board whose ROM listens on CAN or FDCAN.
#[derive(Debug)]
pub struct CanDevice {
    pub(crate) board: Board,
    pub(crate) variant: CanVariant,
    pub(crate) phase: CanPhase,
    pub(crate) work: Option<CanWork>,
    pub(crate) bitrate: u32,
    kind: CanKind,
    crystal_known: bool,
    detection: Detection,
    generation: u64,
    fifo: VecDeque<CanFrame>,
    lost: u64,
    tx: VecDeque<CanTx>,
    now: Nanos,
}

/// Work in hand, with the identifier its ACK will carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CanWork {
    pub(crate) work: Work,
    pub(crate) id: u16,
    /// Bit rate to change to when it is done (Speed).
    pub(crate) bitrate: Option<u32>,
}

impl CanDevice {
    /// A factory-fresh board of this kind, powered at `now`; `None` if its ROM has no such loader.
    #[must_use]
    pub fn new(model: &'static Model, kind: CanKind, settings: &Settings, now: Nanos) -> Option<Self> {
        let crystal_known = match kind {
            CanKind::Classic => model.can?.crystals_mhz.contains(&settings.crystal_mhz) && settings.crystals,
            // FDCAN runs from the internal oscillator.
            CanKind::Fd => model.fdcan.is_some().then_some(true)?,
        };
        let board = Board::new(model, settings, now);
        let mut device = Self {
            generation: board.generation(),
            board,
            variant: settings.can,
            phase: CanPhase::Idle,
            work: None,
            bitrate: 0,
            kind,
            crystal_known,
            detection: Detection::Waiting,
            fifo: VecDeque::new(),
            lost: 0,
            tx: VecDeque::new(),
            now,
        };
        device.start_over();
        Some(device)
    }

    /// The board: state, chip, counters.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The board, to prepare its flash or set BOOT0.
    pub fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    /// Whether the device speaks CAN FD.
    #[must_use]
    pub fn is_fd(&self) -> bool {
        self.kind == CanKind::Fd
    }

    /// The (nominal) bit rate the device listens at.
    #[must_use]
    pub fn bitrate(&self) -> u32 {
        self.bitrate
    }

    /// Frames lost because the FIFO was full.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.lost
    }

    /// A pulse on NRST.
    pub fn reset(&mut self, now: Nanos) {
        self.handle_timeout(now);
        self.board.reset(now);
        self.follow_board();
    }

    /// Takes the board's power away.
    pub fn power_off(&mut self, now: Nanos) {
        self.handle_timeout(now);
        self.board.power_off(now);
        self.follow_board();
    }

    /// Gives it back.
    pub fn power_on(&mut self, now: Nanos) {
        self.handle_timeout(now);
        self.board.power_on(now);
        self.follow_board();
    }

    /// When [`Self::handle_timeout`] is to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        let sent = self.tx.front().map(|tx| tx.at);
        let done = self.work.map(|work| work.work.until);
        [self.board.next_deadline(), sent, done].into_iter().flatten().min()
    }

    /// The next frame that asks for the bus by now.
    pub fn poll_tx(&mut self) -> Option<CanTx> {
        self.tx.pop_front_if(|tx| tx.at <= self.now)
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        self.board.handle_timeout(self.now);
        self.follow_board();
        while let Some(done) = self.work.filter(|work| work.work.until <= self.now) {
            self.work = None;
            self.finish(done);
            self.follow_board();
            self.serve_fifo();
        }
    }

    /// A frame that ends at `now`, sent at this (nominal) bit rate.
    pub fn handle_frame(&mut self, now: Nanos, frame: &CanFrame, bitrate: u32) {
        self.handle_timeout(now);
        let arrives = self.board.arrives(self.now);
        self.follow_board();
        let readable = bitrate == self.bitrate && (self.kind == CanKind::Fd || !frame.fd);
        if !arrives || !readable || !self.board.listens() || !self.detect(frame) {
            return;
        }
        if self.fifo.len() == FIFO_DEPTH {
            self.lost += 1;
            return;
        }
        self.fifo.push_back(frame.clone());
        self.serve_fifo();
    }

    /// Whether this frame is for the loader at all.
    fn detect(&mut self, frame: &CanFrame) -> bool {
        match (self.kind, self.detection) {
            (_, Detection::Left) => return false,
            (CanKind::Classic, Detection::Waiting) => {
                // Other traffic before the start frame upsets the measurement of the crystal: the ROM does not
                // come up on CAN (several field reports; AN2606 wants a quiet bus).
                let good = frame.id == 0x79 && self.crystal_known;
                self.detection = if good { Detection::Chosen } else { Detection::Left };
                if good {
                    let now = self.now;
                    self.ack(now, 0x79);
                }
                return false;
            }
            (CanKind::Classic, Detection::Chosen) => {
                let command = frame.id == 0x79 || crate::can_classic::COMMANDS.contains(&frame.id);
                let in_write = matches!(self.phase, CanPhase::Data { .. });
                if !command && !in_write && self.board.chip().model().quirks.leaves_can {
                    self.detection = Detection::Left;
                    return false;
                }
            }
            // Any frame chooses FDCAN, and is a command already.
            (CanKind::Fd, _) => self.detection = Detection::Chosen,
        }
        true
    }

    fn serve_fifo(&mut self) {
        while self.work.is_none()
            && let Some(frame) = self.fifo.pop_front()
        {
            let now = self.now;
            match self.kind {
                CanKind::Classic => self.classic_frame(now, &frame),
                CanKind::Fd => self.fd_frame(now, &frame),
            }
            self.follow_board();
        }
    }

    fn finish(&mut self, done: CanWork) {
        let now = done.work.until;
        self.board.chip_mut().settle(now);
        if let Some(bitrate) = done.bitrate {
            self.bitrate = bitrate;
        }
        match done.work.then {
            Then::Ack => {
                self.ack(now, done.id);
            }
            Then::AckAndReset => {
                if self.ack(now, done.id) {
                    self.then_reset(now, done.id);
                }
            }
            Then::Reset if !self.board.chip().model().quirks.resets_itself => {}
            Then::Reset | Then::AlwaysReset => self.board.reset(now),
            Then::Jump(address) => self.board.start_application(address),
            Then::Checksum(_) | Then::Nothing => {}
        }
    }

    /// Resets (where this ROM does) a little later, when the ACK is out.
    pub(crate) fn then_reset(&mut self, now: Nanos, id: u16) {
        let until = now + Duration::from_millis(1);
        self.work = Some(CanWork { work: Work { until, then: Then::Reset }, id, bitrate: None });
    }

    fn follow_board(&mut self) {
        if self.generation != self.board.generation() {
            self.generation = self.board.generation();
            let now = self.now;
            self.tx.retain(|tx| tx.at <= now);
            self.start_over();
        }
    }

    fn start_over(&mut self) {
        self.phase = CanPhase::Idle;
        self.work = None;
        self.detection = Detection::Waiting;
        self.fifo.clear();
        self.bitrate = match self.kind {
            CanKind::Classic => CLASSIC_BITRATE,
            CanKind::Fd => FD_BITRATE,
        };
    }

    // ---- used by the two command interpreters -------------------------------------------------------------------

    /// Whether read-out protection refuses this command.
    pub(crate) fn refused(&self, code: u16) -> bool {
        self.board.chip().refuses() && !matches!(code, 0x00 | 0x01 | 0x02 | 0x03 | 0x79 | 0x92)
    }

    /// Sends a frame of data.
    pub(crate) fn send(&mut self, now: Nanos, id: u16, data: &[u8]) {
        self.send_at(now + REACTION, id, data);
    }

    fn send_at(&mut self, at: Nanos, id: u16, data: &[u8]) {
        if self.board.leaves() {
            let frame = CanFrame { id, data: data.to_vec(), fd: self.kind == CanKind::Fd };
            self.tx.push_back(CanTx { at, bitrate: self.bitrate, frame });
        }
    }

    /// Sends an ACK unless a fault turns it into a NACK; false if it did or if the board went away.
    pub(crate) fn ack(&mut self, now: Nanos, id: u16) -> bool {
        let nack = self.board.next_is_nack();
        self.answer(now, id, if nack { 0x1F } else { 0x79 });
        !nack && self.board.listens()
    }

    /// Sends a NACK.
    pub(crate) fn nack(&mut self, now: Nanos, id: u16) {
        self.answer(now, id, 0x1F);
    }

    fn answer(&mut self, now: Nanos, id: u16, code: u8) {
        let delay = self.board.answer(now);
        if self.board.listens() {
            self.send_at(now + delay + REACTION, id, &[code]);
        }
    }

    /// Starts work that an ACK will follow; a NACK at once if the chip refuses or a fault says so.
    pub(crate) fn start(
        &mut self,
        now: Nanos,
        id: u16,
        then: Then,
        work: impl FnOnce(&mut Chip, Nanos) -> Option<Nanos>,
    ) {
        if self.board.next_is_nack() {
            return self.nack(now, id);
        }
        match work(self.board.chip_mut(), now) {
            Some(until) => self.work = Some(CanWork { work: Work { until, then }, id, bitrate: None }),
            None => self.nack(now, id),
        }
    }
}

/// The address and length of a Read or Write request.
pub(crate) fn address_and_len(data: &[u8]) -> Option<(u32, usize)> {
    match data {
        [a, b, c, d, len, ..] => Some((u32::from_be_bytes([*a, *b, *c, *d]), usize::from(*len) + 1)),
        _ => None,
    }
}
