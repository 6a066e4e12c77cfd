//! A toy ROM that speaks AN3155, byte by byte.

use core::time::Duration;
use std::collections::VecDeque;

use super::memory::{Memory, Quirks};
use crate::device::Device;

const ACK: u8 = 0x79;
const NACK: u8 = 0x1F;

/// A chip in its ROM, on a UART.
#[derive(Debug, Clone)]
pub struct ToyUart {
    /// Its memory and what was done to it.
    pub memory: Memory,
    /// The commands it lists; the list decides between 0x43 and 0x44.
    pub commands: Vec<u8>,
    /// The version it reports.
    pub version: u8,
    /// The product ID it reports.
    pub product_id: u16,
    /// The address it was told to start at.
    pub started_at: Option<u32>,
    /// How many bytes came while it could not listen.
    pub bytes_lost: u32,
    state: State,
    command: Vec<u8>,
    listens_from: Duration,
    syncs_seen: u32,
    out: VecDeque<(Duration, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Measuring: the next byte decides the baud rate.
    Unsynced,
    /// At a wrong rate until the next reset.
    Deaf,
    /// Collecting what a command still needs.
    Command,
}

impl ToyUart {
    /// A blank chip with the largest flash of its die, reset at time zero.
    #[must_use]
    pub fn new(device: &'static Device, quirks: Quirks) -> Self {
        let kib = device.flash.map_or(0, |flash| flash.max_kib);
        Self::with_flash(device, kib, quirks)
    }

    /// A blank chip with `kib` KiB of flash, reset at time zero.
    #[must_use]
    pub fn with_flash(device: &'static Device, kib: u16, quirks: Quirks) -> Self {
        let version = device.usart_protocol.unwrap_or(0x31);
        let erase = if version < 0x30 { 0x43 } else { 0x44 };
        let memory = Memory::new(device, kib, quirks);
        Self {
            listens_from: memory.startup(),
            memory,
            commands: vec![0x00, 0x01, 0x02, 0x11, 0x21, 0x31, erase, 0x63, 0x73, 0x82, 0x92],
            version,
            product_id: device.product_id,
            started_at: None,
            bytes_lost: 0,
            state: State::Unsynced,
            command: Vec::new(),
            syncs_seen: 0,
            out: VecDeque::new(),
        }
    }

    /// Resets it, or cycles its power.
    pub fn reset(&mut self, now: Duration, power_cycle: bool) {
        self.memory.reset(power_cycle);
        self.state = State::Unsynced;
        self.command.clear();
        self.syncs_seen = 0;
        self.listens_from = now + self.memory.startup();
    }

    /// Puts it into the middle of a command, as if somebody had sent `bytes` and gone away.
    pub fn abandon(&mut self, bytes: &[u8]) {
        self.state = State::Command;
        self.listens_from = Duration::ZERO;
        bytes.iter().for_each(|byte| self.receive(Duration::ZERO, *byte));
        self.out.clear();
        self.listens_from = Duration::ZERO;
    }

    /// Until when it does not listen.
    #[must_use]
    pub const fn busy_until(&self) -> Duration {
        self.listens_from
    }

    /// The next byte it sends, with the time from which it could leave.
    pub fn pop(&mut self) -> Option<(Duration, u8)> {
        self.out.pop_front()
    }

    /// One byte has arrived.
    pub fn receive(&mut self, now: Duration, byte: u8) {
        if now < self.listens_from {
            self.bytes_lost += 1;
            return;
        }
        if self.memory.quirks.no_parity && byte.count_ones().is_multiple_of(2) {
            return;
        }
        match self.state {
            State::Deaf => {}
            State::Unsynced if byte == 0x7F => {
                self.syncs_seen += 1;
                if self.memory.quirks.two_sync_bytes && self.syncs_seen == 1 {
                    return;
                }
                self.state = State::Command;
                let noise = self.memory.quirks.noise_before_ack.clone();
                let at = now + self.memory.quirks.sync_answer_delay;
                noise.into_iter().for_each(|byte| self.say(at, byte));
                if self.memory.quirks.garbled {
                    self.state = State::Deaf;
                    return;
                }
                self.say(at, ACK);
                if self.memory.quirks.nack_after_sync {
                    self.say(at, NACK);
                }
            }
            State::Unsynced => self.state = State::Deaf,
            State::Command => {
                self.command.push(byte);
                self.advance(now);
            }
        }
    }

    fn say(&mut self, at: Duration, byte: u8) {
        self.out.push_back((at, byte));
    }

    /// Ends the command.
    fn end(&mut self, at: Duration, answer: u8) {
        self.say(at, answer);
        if answer == NACK && self.memory.quirks.second_nack && matches!(self.command[0], 0x11 | 0x31) {
            self.say(at, NACK);
        }
        self.command.clear();
    }

    /// Ends the command with an ACK when `time` has passed, or at once and is busy afterwards.
    fn end_busy(&mut self, now: Duration, time: Duration, early: bool) {
        self.listens_from = now + time;
        self.end(if early { now } else { now + time }, ACK);
    }

    /// Looks whether what has come so far completes a block, and answers it.
    fn advance(&mut self, now: Duration) {
        let len = self.command.len();
        if len < 2 {
            return;
        }
        if len == 2 {
            let code = self.command[0];
            let known = self.command[1] == !code && self.commands.contains(&code);
            let open = !self.memory.quirks.protected || matches!(code, 0x00..=0x02 | 0x92);
            if !(known && open) {
                return self.end(now, NACK);
            }
            if !(code == 0x21 && self.memory.quirks.go_without_first_ack) {
                self.say(now, ACK);
            }
        }
        match self.command[0] {
            0x00 => {
                self.say(now, self.commands.len() as u8);
                self.say(now, self.version);
                self.commands.clone().into_iter().for_each(|code| self.say(now, code));
                self.end(now, ACK);
            }
            0x01 => {
                [self.version, 0, 0].into_iter().for_each(|byte| self.say(now, byte));
                self.end(now, ACK);
            }
            0x02 => {
                let [high, low] = self.product_id.to_be_bytes();
                [1, high, low].into_iter().for_each(|byte| self.say(now, byte));
                self.end(now, ACK);
            }
            0x11 | 0x21 | 0x31 => self.with_address(now),
            0x43 => self.erase_bytes(now),
            0x44 => self.erase_words(now),
            0x63 => self.write_protect(now),
            0x73 | 0x82 => {
                self.memory.options_pending = true;
                self.memory.quirks.protected |= self.command[0] == 0x82;
                self.end(now, ACK);
                self.after_options(now);
            }
            0x92 => {
                let erase = self.memory.mass_erase();
                self.memory.quirks.protected = false;
                let early = self.memory.quirks.early_unprotect_ack;
                self.end_busy(now, erase, early);
                self.after_options(now + erase);
            }
            _ => self.end(now, NACK),
        }
    }

    fn after_options(&mut self, at: Duration) {
        if self.memory.quirks.resets_itself {
            self.reset(at, false);
        }
    }

    fn with_address(&mut self, now: Duration) {
        let len = self.command.len();
        if len < 7 {
            return;
        }
        let address = self.command[2..6].iter().fold(0, |address, byte| address << 8 | u32::from(*byte));
        if len == 7 {
            if !xor_is_zero(&self.command[2..7]) {
                return self.end(now, NACK);
            }
            // Whether a read is too short is seen only with its length.
            let good = match self.command[0] {
                0x31 => self.memory.is_writable(address),
                _ => self.memory.is_readable(address, 256),
            };
            if !good && self.memory.quirks.silent_on_bad_address {
                self.command.clear();
                return;
            }
            if !good {
                return self.end(now, NACK);
            }
            if self.command[0] == 0x21 {
                self.started_at = Some(address);
                self.state = State::Deaf;
                return self.end(now, ACK);
            }
            return self.say(now, ACK);
        }
        let count = usize::from(self.command[7]) + 1;
        if self.command[0] == 0x11 && len == 9 {
            if self.command[7] != !self.command[8] || !self.memory.is_readable(address, count) {
                return self.end(now, NACK);
            }
            self.say(now, ACK);
            let data = self.memory.read(address, count);
            data.into_iter().for_each(|byte| self.say(now, byte));
            self.command.clear();
        } else if self.command[0] == 0x31 && len == 7 + 1 + count + 1 {
            if !xor_is_zero(&self.command[7..]) || count % 4 != 0 {
                return self.end(now, NACK);
            }
            let data = self.command[8..8 + count].to_vec();
            match self.memory.write(address, &data) {
                Some((time, options)) => {
                    self.end_busy(now, time, false);
                    if options {
                        self.after_options(now + time);
                    }
                }
                None => self.end(now, NACK),
            }
        }
    }

    fn erase_bytes(&mut self, now: Duration) {
        let Some((count, list)) = self.command[2..].split_first() else { return };
        if *count == 0xFF {
            if !list.is_empty() {
                let refused = list[0] != 0 || self.memory.quirks.no_mass_erase;
                self.finish_erase(now, if refused { None } else { Some(Vec::new()) });
            }
        } else if list.len() == usize::from(*count) + 2 {
            let good = xor_is_zero(&self.command[2..]);
            let units = list[..list.len() - 1].iter().map(|unit| u16::from(*unit)).collect();
            self.finish_erase(now, good.then_some(units));
        }
    }

    fn erase_words(&mut self, now: Duration) {
        let Some((count, list)) = self.command[2..].split_first_chunk::<2>() else { return };
        let count = u16::from_be_bytes(*count);
        if count >= 0xFFF0 {
            if !list.is_empty() {
                let refused =
                    !xor_is_zero(&self.command[2..]) || self.memory.quirks.no_mass_erase || count != 0xFFFF;
                self.finish_erase(now, if refused { None } else { Some(Vec::new()) });
            }
        } else if list.len() == 2 * (usize::from(count) + 1) + 1 {
            let good = xor_is_zero(&self.command[2..]);
            let (pages, _) = list.as_chunks::<2>();
            let units = pages.iter().map(|page| u16::from_be_bytes(*page)).collect();
            self.finish_erase(now, good.then_some(units));
        }
    }

    /// `None`: refused. No units: all of them.
    fn finish_erase(&mut self, now: Duration, units: Option<Vec<u16>>) {
        let Some(units) = units else { return self.end(now, NACK) };
        if self.memory.quirks.hang_above_pages.is_some_and(|most| units.len() > most) {
            self.state = State::Deaf;
            return;
        }
        let time = if units.is_empty() { self.memory.mass_erase() } else { self.memory.erase_units(&units) };
        let early = self.memory.quirks.erase_answers_early;
        self.end_busy(now, time, early);
    }

    fn write_protect(&mut self, now: Duration) {
        let Some((count, list)) = self.command[2..].split_first() else { return };
        if list.len() == usize::from(*count) + 2 {
            let good = xor_is_zero(&self.command[2..]);
            self.memory.options_pending |= good;
            self.end(now, if good { ACK } else { NACK });
            if good {
                self.after_options(now);
            }
        }
    }
}

fn xor_is_zero(block: &[u8]) -> bool {
    block.iter().fold(0, |xor, byte| xor ^ byte) == 0
}
