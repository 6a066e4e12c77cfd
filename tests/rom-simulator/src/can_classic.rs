//! AN3154 from the ROM's side: identifier = command, answers on the same identifier.
//!
//! Where note, ST's published sources and working hosts differ, [`crate::CanVariant`] decides.

use crate::can::{CanDevice, CanFrame, CanPhase, CanWork, address_and_len};
use crate::chip::Mass;
use crate::command::Then;
use crate::time::Nanos;
use crate::usart::Work;
use core::time::Duration;

/// Identifiers the loader knows, in the order Get lists them.
pub(crate) const COMMANDS: [u16; 12] =
    [0x00, 0x01, 0x02, 0x03, 0x11, 0x21, 0x31, 0x43, 0x63, 0x73, 0x82, 0x92];

const WRITE: u16 = 0x31;
const ERASE: u16 = 0x43;
const PROTECT: u16 = 0x63;

/// Re-initialising the controller at a new rate (our assumption; ST's published source waits far longer).
const SPEED_CHANGE: Duration = Duration::from_millis(10);

impl CanDevice {
    pub(crate) fn classic_frame(&mut self, now: Nanos, frame: &CanFrame) {
        match core::mem::replace(&mut self.phase, CanPhase::Idle) {
            CanPhase::Idle => self.classic_command(now, frame.id, &frame.data),
            // The identifier of data frames is not looked at (AN3154, Write Memory).
            CanPhase::Data { address, len, data } => self.classic_data(now, address, len, data, &frame.data),
            CanPhase::Pages { count, mut pages } if frame.id == ERASE => {
                pages.extend(frame.data.iter().map(|&p| u16::from(p)));
                self.classic_pages(now, count, pages);
            }
            CanPhase::Sectors { count, mut codes } if frame.id == PROTECT => {
                codes.extend_from_slice(&frame.data);
                if codes.len() < count {
                    self.phase = CanPhase::Sectors { count, codes };
                } else {
                    codes.truncate(count);
                    self.start(now, PROTECT, Then::AckAndReset, |chip, now| {
                        Some(chip.protect_units(now, &codes))
                    });
                }
            }
            other => self.phase = other,
        }
    }

    fn classic_command(&mut self, now: Nanos, id: u16, data: &[u8]) {
        // Unrelated traffic is not answered; a second start frame is.
        if id == 0x79 {
            return self.nack(now, id);
        }
        if !COMMANDS.contains(&id) {
            return;
        }
        self.board.command(now);
        if !self.board.listens() {
            return;
        }
        if self.refused(id) {
            return self.nack(now, id);
        }
        match id {
            0x00..=0x02 => self.classic_identity(now, id),
            0x03 => self.speed(now, data),
            0x11 => self.classic_read(now, id, data),
            0x21 => match data {
                [a, b, c, d, ..] => self.go(now, id, u32::from_be_bytes([*a, *b, *c, *d])),
                _ => self.nack(now, id),
            },
            WRITE => match address_and_len(data) {
                Some((address, len)) if self.board.chip().write_address_ok(address) => {
                    if self.ack(now, id) {
                        self.phase = CanPhase::Data { address, len, data: Vec::new() };
                    }
                }
                _ => self.nack(now, id),
            },
            ERASE => self.classic_erase(now, data),
            PROTECT => match data {
                [count, ..] if *count > 0 => {
                    if self.ack(now, id) {
                        self.phase = CanPhase::Sectors { count: usize::from(*count), codes: Vec::new() };
                    }
                }
                _ => self.nack(now, id),
            },
            _ => self.protection(now, id),
        }
    }

    fn classic_identity(&mut self, now: Nanos, id: u16) {
        let model = self.board.chip().model();
        let version = model.can.map_or(0, |can| can.version);
        if !self.ack(now, id) {
            return;
        }
        match id {
            0x00 => {
                self.send(now, id, &[COMMANDS.len() as u8]);
                self.send(now, id, &[version]);
                for command in COMMANDS {
                    self.send(now, id, &[command as u8]);
                }
            }
            0x01 => {
                self.send(now, id, &[version]);
                self.send(now, id, &[0x00, 0x00]);
            }
            _ => self.send(now, id, &self.board.chip().product_id().to_be_bytes()),
        }
        self.ack(now, id);
    }

    fn speed(&mut self, now: Nanos, data: &[u8]) {
        let bitrate = match data {
            [0x01, ..] => 125_000,
            [0x02, ..] => 250_000,
            [0x03, ..] => 500_000,
            [0x04, ..] => 1_000_000,
            _ => return self.nack(now, 0x03),
        };
        if self.ack(now, 0x03) {
            self.work = Some(CanWork {
                work: Work { until: now + SPEED_CHANGE, then: Then::Ack },
                id: self.variant.speed_ack_id,
                bitrate: Some(bitrate),
            });
        }
    }

    fn classic_read(&mut self, now: Nanos, id: u16, request: &[u8]) {
        let chip = self.board.chip();
        let data = address_and_len(request)
            .filter(|&(address, _)| chip.read_address_ok(address))
            .and_then(|(address, len)| chip.read(now, address, len));
        let Some(mut data) = data else { return self.nack(now, id) };
        if !self.ack(now, id) {
            return;
        }
        self.board.reads(&mut data);
        let (whole, rest) = data.split_at(data.len() - data.len() % 8);
        for chunk in
            whole.chunks(8).chain(rest.chunks(if self.variant.remainder_in_single_bytes { 1 } else { 8 }))
        {
            self.send(now, id, chunk);
        }
        self.ack(now, id);
    }

    /// Go: the jump comes when the ACK is out.
    pub(crate) fn go(&mut self, now: Nanos, id: u16, address: u32) {
        if !self.board.chip().go_address_ok(address) {
            return self.nack(now, id);
        }
        if self.ack(now, id) {
            let until = now + Duration::from_millis(1);
            self.work = Some(CanWork { work: Work { until, then: Then::Jump(address) }, id, bitrate: None });
        }
    }

    fn classic_data(&mut self, now: Nanos, address: u32, len: usize, mut data: Vec<u8>, more: &[u8]) {
        data.extend_from_slice(more);
        data.truncate(len);
        if !self.ack(now, WRITE) {
            return;
        }
        if data.len() < len {
            self.phase = CanPhase::Data { address, len, data };
            return;
        }
        let then = self.after_write(address);
        self.start(now, WRITE, then, |chip, now| chip.write(now, address, &data));
    }

    /// Option bytes take effect by a reset.
    pub(crate) fn after_write(&self, address: u32) -> Then {
        if self.board.chip().is_option_write(address) { Then::AckAndReset } else { Then::Ack }
    }

    fn classic_erase(&mut self, now: Nanos, data: &[u8]) {
        let Some(&first) = data.first() else { return self.nack(now, ERASE) };
        if !self.ack(now, ERASE) || (self.variant.extra_erase_ack && !self.ack(now, ERASE)) {
            return;
        }
        if first == 0xFF {
            self.start(now, ERASE, Then::Ack, |chip, now| chip.erase_mass(now, Mass::All));
        } else {
            self.phase = CanPhase::Pages { count: usize::from(first) + 1, pages: Vec::new() };
        }
    }

    fn classic_pages(&mut self, now: Nanos, count: usize, mut pages: Vec<u16>) {
        if pages.len() < count {
            self.phase = CanPhase::Pages { count, pages };
            return;
        }
        pages.truncate(count);
        if self.variant.extra_erase_ack || self.ack(now, ERASE) {
            self.start(now, ERASE, Then::Ack, |chip, now| chip.erase(now, &pages));
        }
    }

    /// Write Unprotect, Readout Protect, Readout Unprotect: ACK, work, ACK, reset.
    fn protection(&mut self, now: Nanos, id: u16) {
        if !self.ack(now, id) {
            return;
        }
        let broken = self.board.chip().model().quirks.can_unprotect_broken;
        match id {
            0x73 if broken => {
                self.ack(now, id);
            }
            0x73 => self.start(now, id, Then::AckAndReset, |chip, now| Some(chip.protect_units(now, &[]))),
            0x82 => self.start(now, id, Then::AckAndReset, |chip, now| Some(chip.protect_readout(now))),
            _ => self.start(now, id, Then::AckAndReset, |chip, now| Some(chip.unprotect_readout(now))),
        }
    }
}
