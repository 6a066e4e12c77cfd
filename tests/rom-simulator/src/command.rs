//! AN3155 from the ROM's side: what each byte completes, what it answers, what work it starts.
//!
//! The loader is in one [`Phase`]: waiting for a code, for its complement, or collecting one block. A block is
//! taken when it is whole; its check byte comes before anything else. There is no time-out inside a command.

use crate::chip::Mass;
use crate::model::{Go, OnePage};
use crate::time::Nanos;
use crate::usart::{UsartDevice, Work};

const READ: u8 = 0x11;
const GO: u8 = 0x21;
const WRITE: u8 = 0x31;

/// H5 and C5: reset the chip (AN2606, "special commands").
const SPECIAL_RESET: u16 = 0x0002;

/// Where the loader is in a command.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Waiting for a command code.
    Code,
    /// Waiting for its complement.
    Complement(u8),
    /// Collecting a block.
    Block(Block, Vec<u8>),
    /// Stuck until reset.
    Hung,
}

/// The blocks a host sends after a command's first ACK.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Block {
    /// Address and check byte of Read, Write, Go or Get Checksum.
    Address(u8),
    /// Length - 1 and its complement.
    ReadLength(u32),
    /// Length - 1, data, check byte.
    WriteData(u32),
    /// Count - 1, page numbers of one byte, check byte; or FF 00.
    Erase,
    /// Count - 1 and page numbers of two bytes, check byte; or FFFx and check byte.
    ExtendedErase,
    /// Count - 1, sector codes, check byte.
    WriteProtect,
    /// Operation code of two bytes, check byte.
    SpecialCode,
    /// Size of two bytes, data, check byte.
    SpecialData,
    /// The three further words of Get Checksum, collected so far.
    Checksum { address: u32, words: [u32; 2], have: u8 },
}

/// What happens when the work in hand is done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// ACK.
    Ack,
    /// ACK, then the reset that this ROM gives itself or leaves to the host.
    AckAndReset,
    /// Only that reset: the ACKs went out before the work.
    Reset,
    /// A reset on any family.
    AlwaysReset,
    /// Jump to this address.
    Jump(u32),
    /// Nothing: the ACK went out before the work.
    Nothing,
    /// ACK and the result of Get Checksum.
    Checksum(u32),
}

impl UsartDevice {
    pub(crate) fn handle_byte(&mut self, now: Nanos, value: u8) {
        match &mut self.phase {
            Phase::Hung => {}
            Phase::Code => self.phase = Phase::Complement(value),
            Phase::Complement(code) => {
                let code = *code;
                self.phase = Phase::Code;
                if code ^ value == 0xFF {
                    self.command(now, code);
                } else {
                    self.nack(now);
                }
            }
            Phase::Block(block, bytes) => {
                bytes.push(value);
                if bytes.len() < wanted(*block, bytes) {
                    return;
                }
                let (block, bytes) = (*block, core::mem::take(bytes));
                self.phase = Phase::Code;
                if check_byte_fits(block, &bytes) {
                    self.block(now, block, &bytes);
                } else {
                    self.nack(now);
                }
            }
        }
    }

    /// A command whose complement was right.
    fn command(&mut self, now: Nanos, code: u8) {
        self.board.command(now);
        if !self.board.listens() {
            return;
        }
        let model = self.board.chip().model();
        if !model.usart.commands.contains(&code) {
            return self.nack(now);
        }
        let protected = self.board.chip().refuses();
        if protected && !matches!(code, 0x00 | 0x01 | 0x02 | 0x92) {
            self.nack(now);
            if model.quirks.two_nacks_when_protected && matches!(code, READ | WRITE) {
                self.nack(now);
            }
            return;
        }
        if code == GO && model.quirks.go == Go::NoFirstAck {
            return self.collect(Block::Address(code));
        }
        if !self.ack(now) {
            return;
        }
        match code {
            0x00 => {
                let mut list = vec![model.usart.commands.len() as u8, model.usart.version];
                list.extend_from_slice(model.usart.commands);
                self.send(now, &list);
                self.ack(now);
            }
            0x01 => {
                self.send(now, &[model.usart.version, 0x00, 0x00]);
                self.ack(now);
            }
            0x02 => {
                let [high, low] = self.board.chip().product_id().to_be_bytes();
                self.send(now, &[0x01, high, low]);
                self.ack(now);
            }
            READ | GO | WRITE | 0xA1 => self.collect(Block::Address(code)),
            0x43 => self.collect(Block::Erase),
            0x44 => self.collect(Block::ExtendedErase),
            0x50 | 0x51 => self.collect(Block::SpecialCode),
            0x63 => self.collect(Block::WriteProtect),
            0x73 => self.work(now, Then::AckAndReset, |chip, now| Some(chip.protect_units(now, &[]))),
            0x82 => self.work(now, Then::AckAndReset, |chip, now| Some(chip.protect_readout(now))),
            _ => self.readout_unprotect(now),
        }
    }

    fn readout_unprotect(&mut self, now: Nanos) {
        if !self.board.chip().model().quirks.unprotect_acks_first {
            return self.work(now, Then::AckAndReset, |chip, now| Some(chip.unprotect_readout(now)));
        }
        if self.ack(now) {
            let until = self.board.chip_mut().unprotect_readout(now);
            self.work = Some(Work { until, then: Then::Reset });
        }
    }

    /// A whole block whose check byte fits.
    fn block(&mut self, now: Nanos, block: Block, bytes: &[u8]) {
        match block {
            Block::Address(command) => self.address(now, command, word(bytes)),
            Block::ReadLength(address) => {
                let len = usize::from(bytes[0]) + 1;
                match self.board.chip().read(now, address, len) {
                    Some(mut data) => {
                        if self.ack(now) {
                            self.board.reads(&mut data);
                            self.send(now, &data);
                        }
                    }
                    None => self.nack(now),
                }
            }
            Block::WriteData(address) => {
                let data = &bytes[1..bytes.len() - 1];
                let options = self.board.chip().is_option_write(address);
                let then = if options { Then::AckAndReset } else { Then::Ack };
                self.work(now, then, |chip, now| chip.write(now, address, data));
            }
            // FF with any check byte but 00 erases nothing and is acknowledged (AN3155, Erase).
            Block::Erase if bytes[0] == 0xFF && bytes[1] != 0x00 => {
                self.ack(now);
            }
            Block::Erase if bytes[0] == 0xFF => {
                self.work(now, Then::Ack, |chip, now| chip.erase_mass(now, Mass::All));
            }
            Block::Erase => {
                let pages: Vec<u16> = bytes[1..bytes.len() - 1].iter().map(|&p| u16::from(p)).collect();
                self.erase_pages(now, &pages);
            }
            Block::ExtendedErase => self.extended_erase(now, bytes),
            Block::WriteProtect => {
                let codes = &bytes[1..bytes.len() - 1];
                self.work(now, Then::AckAndReset, |chip, now| Some(chip.protect_units(now, codes)));
            }
            Block::SpecialCode => {
                let known = self.board.chip().model().product_id == 0x484;
                if !known || u16::from_be_bytes([bytes[0], bytes[1]]) != SPECIAL_RESET {
                    self.nack(now);
                } else if self.ack(now) {
                    self.collect(Block::SpecialData);
                }
            }
            Block::SpecialData => self.special_reset(now),
            Block::Checksum { address, words, have } => {
                self.checksum_word(now, address, words, have, word(bytes));
            }
        }
    }

    fn address(&mut self, now: Nanos, command: u8, address: u32) {
        let chip = self.board.chip();
        let accepted = match command {
            READ => chip.read_address_ok(address),
            WRITE => chip.write_address_ok(address),
            GO => chip.go_address_ok(address),
            _ => chip.read_address_ok(address) && address.is_multiple_of(4),
        };
        if !accepted {
            // Before 3.1 Read and Write say nothing here: what follows is taken for a command (AN3155
            // section 4).
            if chip.model().usart.behaves_as >= 0x31 || command == GO {
                self.nack(now);
            }
            return;
        }
        if !self.ack(now) {
            return;
        }
        match command {
            READ => self.collect(Block::ReadLength(address)),
            WRITE => self.collect(Block::WriteData(address)),
            GO if self.board.chip().model().quirks.go == Go::Hangs => self.phase = Phase::Hung,
            GO => self.work = Some(Work { until: self.tx_free, then: Then::Jump(address) }),
            _ => self.collect(Block::Checksum { address, words: [0; 2], have: 0 }),
        }
    }

    fn extended_erase(&mut self, now: Nanos, bytes: &[u8]) {
        let first = u16::from_be_bytes([bytes[0], bytes[1]]);
        let mass = match first {
            0xFFFF => Some(Mass::All),
            0xFFFE => Some(Mass::Bank(1)),
            0xFFFD => Some(Mass::Bank(2)),
            0xFFF0..=0xFFFC => return self.nack(now),
            _ => None,
        };
        if mass == Some(Mass::Bank(2)) && self.board.chip().model().quirks.bank2_acks_first {
            if self.ack(now) {
                let until = self.board.chip_mut().erase_mass(now, Mass::Bank(2)).unwrap_or(now);
                self.work = Some(Work { until, then: Then::Nothing });
            }
            return;
        }
        if let Some(mass) = mass {
            return self.work(now, Then::Ack, |chip, now| chip.erase_mass(now, mass));
        }
        let list = &bytes[2..bytes.len() - 1];
        let pages: Vec<u16> = list.chunks_exact(2).map(|p| u16::from_be_bytes([p[0], p[1]])).collect();
        self.erase_pages(now, &pages);
    }

    fn erase_pages(&mut self, now: Nanos, pages: &[u16]) {
        let model = self.board.chip().model();
        if pages.len() > usize::from(model.quirks.most_pages_per_erase) {
            self.phase = Phase::Hung;
            return;
        }
        let bank2 = model.flash.units() / 2;
        let fails = match model.quirks.one_page {
            OnePage::NotNeeded => false,
            OnePage::Always => pages.len() > 1,
            OnePage::InBank2 => pages.len() > 1 && pages.iter().any(|&p| u32::from(p) >= bank2),
        };
        if fails {
            return self.nack(now);
        }
        self.work(now, Then::Ack, |chip, now| chip.erase(now, pages));
    }

    fn special_reset(&mut self, now: Nanos) {
        if self.ack(now) {
            // No data, one status byte.
            self.send(now, &[0x00, 0x00, 0x00, 0x01, 0x00]);
            if self.ack(now) {
                self.work = Some(Work { until: self.tx_free, then: Then::AlwaysReset });
            }
        }
    }

    fn checksum_word(&mut self, now: Nanos, address: u32, mut words: [u32; 2], have: u8, word: u32) {
        if !self.ack(now) {
            return;
        }
        if let Some(slot) = words.get_mut(usize::from(have)) {
            *slot = word;
            return self.collect(Block::Checksum { address, words, have: have + 1 });
        }
        let [count, polynomial] = words;
        let bytes = usize::try_from(u64::from(count) * 4).unwrap_or(usize::MAX);
        let end = u64::from(address) + bytes as u64;
        let in_flash = end <= u64::from(self.board.chip().model().flash.base) + self.flash_len();
        let data = if bytes > 0 && in_flash { self.board.chip().read(now, address, bytes) } else { None };
        match data {
            Some(data) => {
                let crc = stm32_crc(&data, polynomial, word);
                self.work = Some(Work { until: self.tx_free, then: Then::Checksum(crc) });
            }
            None => self.nack(now),
        }
    }

    fn flash_len(&self) -> u64 {
        u64::from(self.board.chip().model().flash.size())
    }

    fn collect(&mut self, block: Block) {
        self.phase = Phase::Block(block, Vec::new());
    }

    /// Starts work that an ACK will follow; a NACK at once if the chip refuses or a fault says so.
    fn work(
        &mut self,
        now: Nanos,
        then: Then,
        start: impl FnOnce(&mut crate::chip::Chip, Nanos) -> Option<Nanos>,
    ) {
        if self.board.next_is_nack() {
            return self.nack(now);
        }
        match start(self.board.chip_mut(), now.max(self.tx_free)) {
            Some(until) => self.work = Some(Work { until, then }),
            None => self.nack(now),
        }
    }

    /// The work in hand is done.
    pub(crate) fn finish(&mut self, now: Nanos, then: Then) {
        self.board.chip_mut().settle(now);
        match then {
            Then::Ack => {
                self.ack(now);
            }
            Then::AckAndReset => {
                if self.ack(now) {
                    self.work = Some(Work { until: self.tx_free, then: Then::Reset });
                }
            }
            Then::Nothing => {}
            Then::Reset if !self.board.chip().model().quirks.resets_itself => {}
            Then::Reset | Then::AlwaysReset => self.board.reset(now),
            Then::Jump(address) => self.board.start_application(address),
            Then::Checksum(crc) => {
                if self.ack(now) {
                    let bytes = crc.to_be_bytes();
                    self.send(now, &bytes);
                    self.send(now, &[xor(&bytes)]);
                }
            }
        }
    }
}

/// How many bytes this block has, as far as its first ones tell.
fn wanted(block: Block, bytes: &[u8]) -> usize {
    let first = usize::from(bytes[0]);
    match block {
        Block::Address(_) | Block::Checksum { .. } => 5,
        Block::ReadLength(_) => 2,
        Block::Erase if first == 0xFF => 2,
        Block::WriteData(_) | Block::Erase | Block::WriteProtect => first + 3,
        Block::SpecialCode => 3,
        Block::ExtendedErase | Block::SpecialData if bytes.len() < 2 => 2,
        Block::ExtendedErase if first == 0xFF && bytes[1] >= 0xF0 => 3,
        Block::ExtendedErase => 2 + 2 * (usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 1) + 1,
        Block::SpecialData => 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 1,
    }
}

fn check_byte_fits(block: Block, bytes: &[u8]) -> bool {
    match block {
        // A block of one byte carries its complement.
        Block::ReadLength(_) => xor(bytes) == 0xFF,
        // FF 00 is that complement too; any other second byte is dealt with later.
        Block::Erase if bytes[0] == 0xFF => true,
        _ => xor(bytes) == 0x00,
    }
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |acc, b| acc ^ b)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |acc, &b| acc << 8 | u32::from(b))
}

/// The CRC unit of the STM32: 32-bit words, most significant bit first, no reflection, no final XOR (RM0090
/// "CRC calculation unit").
fn stm32_crc(data: &[u8], polynomial: u32, initial: u32) -> u32 {
    data.chunks_exact(4).fold(initial, |crc, chunk| {
        let word = chunk.iter().rev().fold(0, |acc, &b| acc << 8 | u32::from(b));
        (0..32).fold(crc ^ word, |crc, _| if crc >> 31 == 1 { crc << 1 ^ polynomial } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_unit_gives_its_well_known_values() {
        // CRC-32/MPEG-2 of "123456789..." fed as words: the unit's reset settings on one zero word and on
        // 0x12345678 (value printed in many ST examples: 0xDF8A8A2B).
        assert_eq!(stm32_crc(&[0; 4], 0x04C1_1DB7, 0xFFFF_FFFF), 0xC704_DD7B);
        assert_eq!(stm32_crc(&[0x78, 0x56, 0x34, 0x12], 0x04C1_1DB7, 0xFFFF_FFFF), 0xDF8A_8A2B);
    }
}
