//! A toy ROM that speaks AN3154, or AN5405 over CAN FD.

use core::time::Duration;
use std::collections::VecDeque;

use super::memory::{Memory, Quirks};
use crate::device::Device;
use crate::frame::Frame;

const ACK: u8 = 0x79;
const NACK: u8 = 0x1F;

/// A chip in its ROM, on a bus of its own.
#[derive(Debug, Clone)]
pub struct ToyCan {
    /// Its memory and what was done to it.
    pub memory: Memory,
    /// The commands it lists.
    pub commands: Vec<u8>,
    /// The address it was told to start at.
    pub started_at: Option<u32>,
    fd: bool,
    rate: u32,
    synced: bool,
    state: State,
    listens_from: Duration,
    /// Frames that came while it was busy, as many as its hardware holds.
    held: VecDeque<Frame>,
    out: VecDeque<(Duration, Frame)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Write { address: u32, len: usize, data: Vec<u8> },
    ErasePages { count: usize, pages: Vec<u8> },
    Protect { count: usize, units: usize },
    SpecialSize,
    SpecialData { left: usize },
}

impl ToyCan {
    /// A blank chip with the largest flash of its die, reset at time zero.
    #[must_use]
    pub fn new(device: &'static Device, fd: bool, quirks: Quirks) -> Self {
        let kib = device.flash.map_or(0, |flash| flash.max_kib);
        let memory = Memory::new(device, kib, quirks);
        let erase = if fd { 0x44 } else { 0x43 };
        let mut commands = vec![0x00, 0x01, 0x02, 0x11, 0x21, 0x31, erase, 0x63, 0x73, 0x82, 0x92];
        commands.insert(3, if fd { 0x50 } else { 0x03 });
        Self {
            listens_from: memory.startup(),
            memory,
            commands,
            started_at: None,
            fd,
            rate: 125_000,
            synced: false,
            state: State::Idle,
            held: VecDeque::new(),
            out: VecDeque::new(),
        }
    }

    /// Resets it.
    pub fn reset(&mut self, now: Duration) {
        self.memory.reset(false);
        (self.rate, self.synced, self.state) = (125_000, false, State::Idle);
        self.listens_from = now + self.memory.startup();
        self.held.clear();
    }

    /// Puts it into the middle of a write, as if somebody had gone away.
    pub fn abandon_write(&mut self, address: u32, len: usize) {
        self.synced = true;
        self.listens_from = Duration::ZERO;
        self.state = State::Write { address, len, data: Vec::new() };
    }

    /// The next frame it sends, with the time from which it could.
    pub fn pop(&mut self) -> Option<(Duration, Frame)> {
        if self.out.is_empty()
            && let Some(held) = self.held.pop_front()
        {
            self.handle(self.listens_from, &held);
        }
        self.out.pop_front()
    }

    /// A frame has arrived at `rate` bits per second.
    pub fn receive(&mut self, now: Duration, frame: &Frame, rate: u32) {
        if frame.is_fd() != self.fd || (!self.fd && rate != self.rate) {
            return;
        }
        if now < self.listens_from {
            if self.synced && self.held.len() < 3 {
                self.held.push_back(*frame);
            }
            return;
        }
        self.handle(now, frame);
    }

    fn handle(&mut self, now: Duration, frame: &Frame) {
        if !self.synced {
            if frame.id() == 0x79 {
                self.synced = true;
                self.say(now, 0x79, &[ACK]);
            }
            return;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle if frame.id() == 0x79 => self.say(now, 0x79, &[NACK]),
            State::Idle => self.command(now, frame),
            State::Write { address, len, mut data } => {
                data.extend(frame.data());
                if !self.fd {
                    self.say(now, 0x31, &[ACK]);
                }
                if data.len() >= len {
                    data.truncate(len);
                    self.finish_write(now, address, &data);
                } else {
                    self.state = State::Write { address, len, data };
                }
            }
            State::ErasePages { count, mut pages } => {
                pages.extend(frame.data());
                let bytes = if self.fd { 2 * count } else { count };
                if pages.len() >= bytes {
                    self.finish_erase(now, &pages[..bytes]);
                } else {
                    self.say(now, 0x43, &[ACK]);
                    self.state = State::ErasePages { count, pages };
                }
            }
            State::Protect { count, units } => {
                let units = units + frame.data().len();
                if units >= count {
                    self.say(now, 0x63, &[ACK]);
                    self.options_changed(now);
                } else {
                    self.state = State::Protect { count, units };
                }
            }
            State::SpecialSize => {
                let left = frame.data().iter().take(2).fold(0, |size, byte| size << 8 | usize::from(*byte));
                self.special_data(now, left);
            }
            State::SpecialData { left } => self.special_data(now, left.saturating_sub(frame.data().len())),
        }
    }

    fn say(&mut self, at: Duration, id: u16, data: &[u8]) {
        let frame = if self.fd { Frame::fd_padded(id, data) } else { Frame::classic(id, data) };
        self.out.extend(frame.map(|frame| (at, frame)));
    }

    fn command(&mut self, now: Duration, frame: &Frame) {
        let (id, data) = (frame.id(), frame.data());
        let open = !self.memory.quirks.protected || matches!(id, 0x00..=0x03 | 0x92);
        if !(open && u8::try_from(id).is_ok_and(|code| self.commands.contains(&code))) {
            return self.say(now, id, &[NACK]);
        }
        let address = data.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        match id {
            0x00 => {
                let count = self.memory.quirks.command_count.unwrap_or(self.commands.len() as u8);
                let list = [ACK, count, 0x20].into_iter().chain(self.commands.clone()).chain([ACK]);
                list.for_each(|byte| self.say(now, id, &[byte]));
            }
            0x01 => [&[ACK][..], &[0x20], &[0, 0], &[ACK]].iter().for_each(|data| self.say(now, id, data)),
            0x02 => {
                let product_id = self.memory.device.product_id.to_be_bytes();
                [&[ACK][..], &product_id, &[ACK]].iter().for_each(|data| self.say(now, id, data));
            }
            0x03 => self.speed(now, data),
            0x11 => self.read(now, address, usize::from(data.get(4).copied().unwrap_or(0)) + 1),
            0x21 => {
                self.say(now, id, &[ACK]);
                if self.fd && !self.memory.quirks.go_without_first_ack {
                    self.say(now, id, &[ACK]);
                }
                self.started_at = Some(address);
            }
            0x31 => {
                let len = usize::from(data.get(4).copied().unwrap_or(0)) + 1;
                if !self.memory.is_writable(address) || len < self.memory.quirks.shortest_write {
                    return self.say(now, id, &[NACK]);
                }
                self.say(now, id, &[ACK]);
                self.state = State::Write { address, len, data: Vec::new() };
            }
            0x43 | 0x44 => self.erase(now, id, data),
            0x50 => {
                self.say(now, self.answer_id(id), &[ACK]);
                self.state = State::SpecialSize;
            }
            0x63 => {
                self.say(now, id, &[ACK]);
                let count = usize::from(data.first().copied().unwrap_or(0));
                if self.fd {
                    self.say(now, id, &[ACK]);
                    self.options_changed(now);
                } else {
                    self.state = State::Protect { count, units: 0 };
                }
            }
            _ => self.protection(now, id),
        }
    }

    fn protection(&mut self, now: Duration, id: u16) {
        let answer = self.answer_id(id);
        self.say(now, answer, &[ACK]);
        let mut at = now;
        match id {
            0x82 => self.memory.quirks.protected = true,
            0x92 => {
                let erase = self.memory.mass_erase();
                self.memory.quirks.protected = false;
                self.listens_from = now + erase;
                if !self.memory.quirks.early_unprotect_ack {
                    at += erase;
                }
            }
            _ => {}
        }
        self.say(at, answer, &[ACK]);
        self.options_changed(self.listens_from.max(now));
    }

    fn options_changed(&mut self, at: Duration) {
        self.memory.options_pending = true;
        if self.memory.quirks.resets_itself {
            self.reset(at);
        }
    }

    fn answer_id(&self, id: u16) -> u16 {
        if self.fd && self.memory.quirks.stray_answers && matches!(id, 0x50 | 0x92) { 0x111 } else { id }
    }

    fn speed(&mut self, now: Duration, data: &[u8]) {
        let rate = match data.first() {
            Some(1) => 125_000,
            Some(2) => 250_000,
            Some(3) => 500_000,
            Some(4) => 1_000_000,
            _ => return self.say(now, 0x03, &[NACK]),
        };
        self.say(now, 0x03, &[ACK]);
        self.rate = rate;
        let id = self.memory.quirks.speed_ack_id.unwrap_or(0x03);
        self.say(now + Duration::from_millis(303), id, &[ACK]);
    }

    fn read(&mut self, now: Duration, address: u32, len: usize) {
        if !self.memory.is_readable(address, len) {
            return self.say(now, 0x11, &[NACK]);
        }
        self.say(now, 0x11, &[ACK]);
        let data = self.memory.read(address, len);
        if self.fd {
            for chunk in data.chunks(64) {
                let mut padded = [0xFF; 64];
                padded[..chunk.len()].copy_from_slice(chunk);
                self.say(now, 0x11, &padded);
            }
        } else {
            let (whole, rest) = data.as_chunks::<8>();
            whole.iter().for_each(|chunk| self.say(now, 0x11, chunk));
            rest.iter().for_each(|byte| self.say(now, 0x11, &[*byte]));
        }
        self.say(now, 0x11, &[ACK]);
    }

    fn finish_write(&mut self, now: Duration, address: u32, data: &[u8]) {
        match self.memory.write(address, data) {
            Some((time, options)) => {
                self.listens_from = now + time;
                self.say(now + time, 0x31, &[ACK]);
                if options {
                    self.options_changed(now + time);
                }
            }
            None => self.say(now, 0x31, &[NACK]),
        }
    }

    fn erase(&mut self, now: Duration, id: u16, data: &[u8]) {
        let count = if self.fd {
            data.first_chunk::<2>().map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)))
        } else {
            usize::from(data.first().copied().unwrap_or(0))
        };
        let everything = if self.fd { count == 0xFFFF } else { count == 0xFF };
        if everything && self.memory.quirks.no_mass_erase {
            return self.say(now, id, &[NACK]);
        }
        self.say(now, id, &[ACK]);
        if everything {
            let time = self.memory.mass_erase();
            self.listens_from = now + time;
            let early = self.memory.quirks.erase_answers_early;
            self.say(if early { now } else { now + time }, id, &[ACK]);
            if self.memory.quirks.three_mass_acks {
                self.say(now + time, id, &[ACK]);
            }
            return;
        }
        if !self.memory.quirks.one_erase_ack {
            self.say(now, id, &[ACK]);
        }
        let count = if self.fd && !self.memory.quirks.erase_count_minus_one { count } else { count + 1 };
        self.state = State::ErasePages { count, pages: Vec::new() };
    }

    fn finish_erase(&mut self, now: Duration, pages: &[u8]) {
        let (id, units): (u16, Vec<u16>) = if self.fd {
            (0x44, pages.as_chunks::<2>().0.iter().map(|page| u16::from_be_bytes(*page)).collect())
        } else {
            (0x43, pages.iter().map(|page| u16::from(*page)).collect())
        };
        let time = self.memory.erase_units(&units);
        self.listens_from = now + time;
        self.say(now + time, id, &[ACK]);
    }

    /// Answers Special with the status 0x0000 once all data is there.
    fn special_data(&mut self, now: Duration, left: usize) {
        if left > 0 {
            self.state = State::SpecialData { left };
            return;
        }
        let id = self.answer_id(0x50);
        self.say(now, id, &[ACK]);
        self.say(now, id, &[0, 1, 0xD5, 0, 2, 0, 0]);
        self.say(now, id, &[ACK]);
    }
}
