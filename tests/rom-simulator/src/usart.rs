//! The USART loader's end of the line: start-up, rate measurement, a receiver without FIFO, timed answers.
//!
//! Contract: [`UsartDevice::handle_rx`] for every byte at the moment its stop bit ends, in order of time;
//! [`UsartDevice::handle_timeout`] when [`UsartDevice::next_deadline`] comes; after either, drain
//! [`UsartDevice::poll_tx`]. Calls with an earlier `now` than before are taken as the latest time seen.
//!
//! While the ROM programs, erases or sends, one byte waits in the receive register and all further ones are
//! lost, as in hardware.

use crate::board::{Board, Settings};
use crate::command::{Phase, Then};
use crate::line::{LineByte, Parity, falling_edges, sample};
use crate::model::Model;
use crate::time::{Nanos, bit_time};
use core::time::Duration;
use std::collections::VecDeque;

/// From the last byte of a request to the start bit of the answer (our assumption: a polling loop on 8 to
/// 48 MHz).
const REACTION: Duration = Duration::from_micros(5);

/// Rates below cannot be set in the baud rate register of any part.
const SLOWEST_BAUD: u32 = 1_000;

/// A byte the device has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxByte {
    /// When its stop bit ends.
    pub at: Nanos,
    /// As it is on the wire: 8E1 at the rate the ROM measured.
    pub byte: LineByte,
}

/// What the ROM has made of the line so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Waiting for the second falling edge; the first may have been seen.
    Measuring(Option<Nanos>),
    /// Talking at this rate.
    Synced(u32),
    /// The measured rate cannot be set: deaf until reset.
    Deaf,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) until: Nanos,
    pub(crate) then: Then,
}

/// A board whose ROM listens on a USART (AN3155).
#[derive(Debug)]
pub struct UsartDevice {
    pub(crate) board: Board,
    pub(crate) phase: Phase,
    pub(crate) work: Option<Work>,
    generation: u64,
    link: Link,
    /// The byte waiting in the receive register while the ROM is busy.
    held: Option<u8>,
    /// Sync bytes still to be ignored.
    deaf_to_syncs: u8,
    lost: u64,
    tx: VecDeque<TxByte>,
    pub(crate) tx_free: Nanos,
    now: Nanos,
}

impl UsartDevice {
    /// A factory-fresh board of this kind that gets its power at `now`.
    #[must_use]
    pub fn new(model: &'static Model, settings: &Settings, now: Nanos) -> Self {
        let board = Board::new(model, settings, now);
        Self {
            generation: board.generation(),
            board,
            phase: Phase::Code,
            work: None,
            link: Link::Measuring(None),
            held: None,
            deaf_to_syncs: u8::from(model.quirks.second_sync_only),
            lost: 0,
            tx: VecDeque::new(),
            tx_free: now,
            now,
        }
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

    /// Bytes lost because the ROM was busy.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.lost
    }

    /// The rate the ROM talks at, once it has measured one.
    #[must_use]
    pub fn baud(&self) -> Option<u32> {
        match self.link {
            Link::Synced(rate) => Some(rate),
            Link::Measuring(_) | Link::Deaf => None,
        }
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
        let sent = self.tx.front().map(|byte| byte.at);
        let done = self.work.map(|work| work.until);
        let held = self.held.filter(|_| self.work.is_none()).map(|_| self.tx_free);
        [self.board.next_deadline(), sent, done, held].into_iter().flatten().min()
    }

    /// When the device has something to do by itself, bytes that it is sending aside.
    #[must_use]
    pub fn next_change(&self) -> Option<Nanos> {
        let done = self.work.map(|work| work.until);
        let held = self.held.filter(|_| self.work.is_none()).map(|_| self.tx_free);
        [self.board.next_deadline(), done, held].into_iter().flatten().min()
    }

    /// When the last byte of the answer now being sent will be out; `None` if nothing is.
    #[must_use]
    pub fn answer_ends(&self) -> Option<Nanos> {
        self.tx.back().map(|byte| byte.at)
    }

    /// The next byte whose last bit is out by now.
    pub fn poll_tx(&mut self) -> Option<TxByte> {
        self.tx.pop_front_if(|byte| byte.at <= self.now)
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Nanos) {
        self.now = self.now.max(now);
        self.board.handle_timeout(self.now);
        self.follow_board();
        while let Some(work) = self.work.filter(|work| work.until <= self.now) {
            self.work = None;
            self.finish(work.until, work.then);
            self.follow_board();
        }
        if !self.is_busy(self.now)
            && let Some(value) = self.held.take()
        {
            self.take(self.now, value);
        }
    }

    /// A byte whose stop bit ends at `now`.
    pub fn handle_rx(&mut self, now: Nanos, byte: LineByte) {
        self.handle_timeout(now);
        let now = self.now;
        if matches!(self.link, Link::Measuring(None))
            && self.board.listens()
            && let Some(noise) = self.board.take_glitch()
        {
            // It ended two bit times before the host's start bit.
            let noise = LineByte::new(noise, byte.baud);
            let start = now.0.saturating_sub((byte.duration() + bit_time(2, byte.baud)).as_nanos() as u64);
            self.receive(Nanos(start), noise);
        }
        let arrives = self.board.arrives(now);
        self.follow_board();
        if !arrives || !self.board.listens() {
            return;
        }
        let parity = if self.board.adapter_sends_parity() { byte.parity } else { Parity::None };
        let parity_hit = byte.parity_hit || self.board.parity_is_hit();
        self.receive(now, LineByte { parity, parity_hit, ..byte });
    }

    fn receive(&mut self, now: Nanos, byte: LineByte) {
        match self.link {
            Link::Deaf => {}
            Link::Measuring(first) => self.measure(now, first, &byte),
            Link::Synced(rate) => {
                // A frame with a bad parity or stop bit is dropped without a word.
                let Ok(value) = sample(&byte, rate, Parity::Even) else { return };
                if !self.is_busy(now) {
                    self.take(now, value);
                } else if self.held.is_none() {
                    self.held = Some(value);
                } else {
                    self.lost += 1;
                }
            }
        }
    }

    fn measure(&mut self, now: Nanos, first: Option<Nanos>, byte: &LineByte) {
        if self.deaf_to_syncs > 0 {
            self.deaf_to_syncs -= 1;
            return;
        }
        let start = Nanos(now.0.saturating_sub(byte.duration().as_nanos() as u64));
        let (edge, second) = match (first, falling_edges(byte, start)) {
            (None, (edge, second)) => (edge, second),
            (Some(earlier), (edge, _)) => (earlier, Some(edge)),
        };
        let Some(second) = second else {
            self.link = Link::Measuring(Some(edge));
            return;
        };
        let eight_bits = second.since(edge).as_nanos().max(1) as u64;
        let measured = 8_000_000_000 / eight_bits;
        let autobaud = self.board.chip().model().usart.autobaud;
        let most = u64::from(autobaud.most_baud);
        if measured < u64::from(SLOWEST_BAUD) || measured > most + most / 20 {
            self.link = Link::Deaf;
            return;
        }
        // Parts per hundred thousand, towards slow. The note's worst case is never reached here: an everyday
        // attempt is off by up to a tenth of it, an unlucky one so far that the line does not work.
        let dice = self.board.rng().unit();
        let error =
            if measured > u64::from(autobaud.sure_baud) + u64::from(autobaud.sure_baud) / 20 && dice < 0.5 {
                8_000
            } else {
                (f64::from(autobaud.error_permille) * 10.0 * dice) as u64
            };
        let rate = measured * (100_000 - error) / 100_000;
        self.link = Link::Synced(rate as u32);
        self.tx_free = now;
        if let Some(stray) = self.board.take_stray() {
            self.send(now, &[stray]);
        }
        self.ack(now);
    }

    fn take(&mut self, now: Nanos, value: u8) {
        self.handle_byte(now, value);
        self.follow_board();
    }

    pub(crate) fn is_busy(&self, now: Nanos) -> bool {
        self.work.is_some() || self.tx_free > now
    }

    /// If the board restarted, forgets all that the loader had in hand; bytes on the wire are cut off.
    fn follow_board(&mut self) {
        if self.generation == self.board.generation() {
            return;
        }
        self.generation = self.board.generation();
        self.phase = Phase::Code;
        self.work = None;
        self.link = Link::Measuring(None);
        self.held = None;
        self.deaf_to_syncs = u8::from(self.board.chip().model().quirks.second_sync_only);
        let now = self.now;
        self.tx.retain(|byte| byte.at <= now);
        self.tx_free = now;
    }

    // ---- sending, used by the command interpreter ------------------------------------------------------------

    /// Sends `bytes` one after the other, the first as soon as the line is free.
    pub(crate) fn send(&mut self, now: Nanos, bytes: &[u8]) {
        let Link::Synced(rate) = self.link else { return };
        let mut start = (now + REACTION).max(self.tx_free);
        for &value in bytes {
            let byte = LineByte::new(value, rate);
            let at = start + byte.duration();
            if self.board.leaves() {
                self.tx.push_back(TxByte { at, byte });
            }
            start = at;
        }
        self.tx_free = start;
    }

    /// Sends an ACK unless a fault turns it into a NACK; false if it did or if the board went away.
    pub(crate) fn ack(&mut self, now: Nanos) -> bool {
        let nack = self.board.next_is_nack();
        self.answer(now, if nack { 0x1F } else { 0x79 });
        !nack && self.board.listens()
    }

    /// Sends a NACK.
    pub(crate) fn nack(&mut self, now: Nanos) {
        self.answer(now, 0x1F);
    }

    fn answer(&mut self, now: Nanos, code: u8) {
        let delay = self.board.answer(now);
        if self.board.listens() {
            // A fault's delay counts from when this answer would have been sent.
            let at = if delay.is_zero() { now } else { now.max(self.tx_free) + delay };
            self.send(at, &[code]);
        }
    }
}
