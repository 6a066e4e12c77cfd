//! AN5405 from the ROM's side: FD frames, 64-byte data, some answers on identifier 0x111.
//!
//! The note itself was not to be had; this follows AN2606's remarks, RAMN's working host and reports. Frame
//! shapes marked "assumption" have no second source.

use crate::can::{CanDevice, CanFrame, CanPhase, CanWork, address_and_len};
use crate::chip::Mass;
use crate::command::Then;
use crate::model::Go;
use crate::time::Nanos;
use crate::usart::Work;
use core::time::Duration;

const WRITE: u16 = 0x31;
const ERASE: u16 = 0x44;

/// Where Readout Unprotect (and Special on H5) answer (AN2606, U5 limitations).
const ODD_ANSWERS: u16 = 0x111;

/// Page numbers that fit one list frame, as ST's published source counts them.
const MOST_PAGES: u16 = 31;

const PLAIN: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82, 0x92];
const H5: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x50, 0x63, 0x73, 0x82, 0x92];

impl CanDevice {
    pub(crate) fn fd_frame(&mut self, now: Nanos, frame: &CanFrame) {
        match core::mem::replace(&mut self.phase, CanPhase::Idle) {
            CanPhase::Idle => self.fd_command(now, frame.id, &frame.data),
            CanPhase::Data { address, len, mut data } => {
                // No ACK for each frame, and the last one is padded.
                data.extend_from_slice(&frame.data);
                data.truncate(len);
                if data.len() < len {
                    self.phase = CanPhase::Data { address, len, data };
                } else {
                    let then = self.after_write(address);
                    if len < usize::from(self.board.chip().model().quirks.fd_shortest_write) {
                        return self.nack(now, WRITE);
                    }
                    self.start(now, WRITE, then, |chip, now| chip.write(now, address, &data));
                }
            }
            CanPhase::Pages { count, .. } => {
                let numbers = frame.data.chunks_exact(2).map(|p| u16::from_be_bytes([p[0], p[1]]));
                let pages: Vec<u16> = numbers.take(count).collect();
                if pages.len() < count {
                    return self.nack(now, ERASE);
                }
                self.start(now, ERASE, Then::Ack, |chip, now| chip.erase(now, &pages));
            }
            CanPhase::Sectors { .. } => {}
        }
    }

    fn fd_command(&mut self, now: Nanos, id: u16, data: &[u8]) {
        let commands = if self.is_h5() { H5 } else { PLAIN };
        let listed = u8::try_from(id).is_ok_and(|code| commands.contains(&code));
        if listed {
            self.board.command(now);
            if !self.board.listens() {
                return;
            }
        }
        if !listed || self.refused(id) {
            return self.nack(now, id);
        }
        match id {
            0x00..=0x02 => self.fd_identity(now, id, commands),
            0x11 => self.fd_read(now, id, data),
            0x21 => match data {
                // Two ACKs: one for the command, one before the jump.
                [a, b, c, d, ..] => {
                    let address = u32::from_be_bytes([*a, *b, *c, *d]);
                    if self.board.chip().model().quirks.go == Go::NoFirstAck {
                        return self.go(now, id, address);
                    }
                    if !self.board.chip().go_address_ok(address) {
                        self.nack(now, id);
                    } else if self.ack(now, id) {
                        self.go(now, id, address);
                    }
                }
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
            ERASE => self.fd_erase(now, data),
            0x50 => self.fd_special(now, data),
            0x63 => match data {
                [count, codes @ ..] if *count > 0 && codes.len() >= usize::from(*count) => {
                    if self.ack(now, id) {
                        let codes = &codes[..usize::from(*count)];
                        self.start(now, id, Then::AckAndReset, |chip, now| {
                            Some(chip.protect_units(now, codes))
                        });
                    }
                }
                _ => self.nack(now, id),
            },
            _ => self.fd_protection(now, id),
        }
    }

    fn is_h5(&self) -> bool {
        self.board.chip().model().product_id == 0x484
    }

    fn fd_identity(&mut self, now: Nanos, id: u16, commands: &[u8]) {
        let model = self.board.chip().model();
        let version = model.fdcan.map_or(0, |fdcan| fdcan.version);
        if !self.ack(now, id) {
            return;
        }
        match id {
            0x00 => {
                let count = if model.quirks.fd_miscounts { 13 } else { commands.len() as u8 };
                self.send(now, id, &[count]);
                self.send(now, id, &[version]);
                for &command in commands {
                    self.send(now, id, &[command]);
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

    fn fd_read(&mut self, now: Nanos, id: u16, request: &[u8]) {
        let chip = self.board.chip();
        let data = address_and_len(request)
            .filter(|&(address, _)| chip.read_address_ok(address))
            .and_then(|(address, len)| chip.read(now, address, len));
        let Some(mut data) = data else { return self.nack(now, id) };
        if !self.ack(now, id) {
            return;
        }
        self.board.reads(&mut data);
        data.resize(data.len().next_multiple_of(64), 0xFF);
        for chunk in data.chunks(64) {
            self.send(now, id, chunk);
        }
        self.ack(now, id);
    }

    fn fd_erase(&mut self, now: Nanos, data: &[u8]) {
        let [high, low, ..] = data else { return self.nack(now, ERASE) };
        let mass = match u16::from_be_bytes([*high, *low]) {
            0xFFFF => Mass::All,
            0xFFFE => Mass::Bank(1),
            0xFFFD => Mass::Bank(2),
            count => return self.fd_erase_list(now, count),
        };
        if self.ack(now, ERASE) {
            self.start(now, ERASE, Then::Ack, |chip, now| chip.erase_mass(now, mass));
        }
    }

    fn fd_erase_list(&mut self, now: Nanos, count: u16) {
        let pages = count.saturating_add(u16::from(self.variant.fd_erase_count_less_one));
        if !(1..=MOST_PAGES).contains(&pages) {
            return self.nack(now, ERASE);
        }
        if self.ack(now, ERASE) && self.ack(now, ERASE) {
            self.phase = CanPhase::Pages { count: usize::from(pages), pages: Vec::new() };
        }
    }

    /// H5's only special command here: reset. Answered by one ACK (assumption).
    fn fd_special(&mut self, now: Nanos, data: &[u8]) {
        if !data.starts_with(&[0x00, 0x02]) {
            return self.nack(now, ODD_ANSWERS);
        }
        if self.ack(now, ODD_ANSWERS) {
            let until = now + Duration::from_millis(1);
            let work = Work { until, then: Then::AlwaysReset };
            self.work = Some(CanWork { work, id: ODD_ANSWERS, bitrate: None });
        }
    }

    fn fd_protection(&mut self, now: Nanos, id: u16) {
        // Readout Unprotect acknowledges twice before it starts to erase.
        if id == 0x92 {
            if self.ack(now, ODD_ANSWERS) && self.ack(now, ODD_ANSWERS) {
                let until = self.board.chip_mut().unprotect_readout(now);
                let work = Work { until, then: Then::Reset };
                self.work = Some(CanWork { work, id, bitrate: None });
            }
            return;
        }
        if self.ack(now, id) {
            self.start(now, id, Then::AckAndReset, |chip, now| {
                Some(if id == 0x73 { chip.protect_units(now, &[]) } else { chip.protect_readout(now) })
            });
        }
    }
}
