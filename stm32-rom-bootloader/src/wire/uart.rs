//! AN3155: bytes with even parity, a command and its complement, checksums, one ACK after each block.
//!
//! Every frame is sent in one piece and the next one as soon as its ACK is in. Connecting and realigning, the
//! part that has to live with ROMs in an unknown state, are in `sync.rs`.

mod sync;

use core::time::Duration;
use std::collections::VecDeque;

use super::{ACK, Budget, NACK};
use crate::command::{Command, Erase, Opcode, Reply};
use crate::device::Traits;
use crate::error::Fault;
use crate::event::Wait;
use crate::port::Port;
use crate::settings::UartSettings;

/// A byte on the line: start, 8 data, parity, stop (AN3155, section 2.1).
const BITS_PER_BYTE: u64 = 11;

/// A refusal with more of the frame than this still to be sent cannot be an answer to all of it.
const LONGEST_CLEAR_FRAME: usize = 16;

/// More than this without a pause is no ROM.
const FLOOD: usize = 4096;

#[derive(Debug)]
pub(crate) struct Uart {
    port: Port,
    baud: u32,
    latency: Duration,
    answer: Duration,
    received: VecDeque<u8>,
    /// The frame sent last, for filler that cannot complete it by accident.
    last_frame: Vec<u8>,
    /// The command it belongs to.
    last_code: Opcode,
    /// When the last frame has left the line.
    line_free: Duration,
    /// Whether the last command was refused.
    refused: bool,
    /// Whether it was refused before all of it was sent: the ROM has taken the rest for commands.
    refused_early: bool,
    silent_on_bad_address: bool,
    go_without_first_ack: bool,
    extended_erase: bool,
    filler: u8,
}

impl Uart {
    pub(crate) fn new(port: Port, settings: &UartSettings) -> Self {
        Self {
            port,
            baud: settings.baud.max(1),
            latency: settings.latency,
            answer: settings.limits.answer,
            received: VecDeque::new(),
            last_frame: Vec::new(),
            last_code: Opcode::GET,
            line_free: Duration::ZERO,
            refused: false,
            refused_early: false,
            silent_on_bad_address: false,
            go_without_first_ack: false,
            extended_erase: true,
            filler: 0,
        }
    }

    pub(crate) const fn baud(&self) -> u32 {
        self.baud
    }

    pub(crate) const fn pages_per_erase(&self) -> u16 {
        if self.extended_erase { u16::MAX } else { 255 }
    }

    pub(crate) const fn highest_page(&self) -> u16 {
        if self.extended_erase { 0xFFEF } else { 0xFF }
    }

    pub(crate) fn adopt(&mut self, traits: &Traits, protocol: u8, extended_erase: bool) {
        self.silent_on_bad_address = protocol < 0x31;
        self.go_without_first_ack = traits.go_without_first_ack;
        self.extended_erase = extended_erase;
    }

    pub(crate) async fn execute(&mut self, command: &Command<'_>, budget: Budget) -> Result<Reply, Fault> {
        if self.refused {
            self.refused = false;
            self.settle().await?;
        }
        // Whatever came late belongs to something that is over.
        self.forget_received();
        let result = match *command {
            Command::Get => self.get().await,
            Command::GetVersion => self.get_version().await,
            Command::GetId => self.get_id().await,
            Command::Read { address, len } => self.read(address, len).await,
            Command::Go { address } => self.go(address).await,
            Command::Write { address, data } => self.write(address, data, budget).await,
            Command::Erase(erase) => self.erase(erase, budget).await,
            Command::Special { opcode, data } => self.special(opcode, data, budget).await,
            Command::ExtendedSpecial { opcode, first, second } => {
                self.extended_special(opcode, first, second, budget).await
            }
            Command::WriteProtect { units } => self.write_protect(units, budget).await,
            Command::WriteUnprotect => self.protection(Opcode::WRITE_UNPROTECT, budget).await,
            Command::ReadoutProtect => self.protection(Opcode::READOUT_PROTECT, budget).await,
            Command::ReadoutUnprotect => self.protection(Opcode::READOUT_UNPROTECT, budget).await,
            Command::GetChecksum { address, words, polynomial, initial } => {
                self.checksum(address, words, polynomial, initial, budget).await
            }
        };
        self.refused = matches!(result, Err(Fault::Refused { .. }));
        result
    }

    async fn get(&mut self) -> Result<Reply, Fault> {
        self.code(Opcode::GET).await?;
        let count = self.byte(Wait::Count).await?;
        let answer = self.bytes(usize::from(count) + 1).await?;
        self.ack(Wait::End, Duration::ZERO).await?;
        let (version, codes) =
            answer.split_first().map_or((0, &[][..]), |(version, codes)| (*version, codes));
        Ok(Reply::Commands { version, commands: codes.iter().map(|code| Opcode(*code)).collect() })
    }

    async fn get_version(&mut self) -> Result<Reply, Fault> {
        self.code(Opcode::GET_VERSION).await?;
        let answer = self.bytes(3).await?;
        self.ack(Wait::End, Duration::ZERO).await?;
        Ok(Reply::Version(answer[0]))
    }

    async fn get_id(&mut self) -> Result<Reply, Fault> {
        self.code(Opcode::GET_ID).await?;
        let count = self.byte(Wait::Count).await?;
        let answer = self.bytes(usize::from(count) + 1).await?;
        self.ack(Wait::End, Duration::ZERO).await?;
        // Before protocol 2.1 it was one byte.
        Ok(Reply::Id(answer.iter().take(2).fold(0, |id, byte| id << 8 | u16::from(*byte))))
    }

    async fn read(&mut self, address: u32, len: u16) -> Result<Reply, Fault> {
        self.code(Opcode::READ).await?;
        self.address(address).await?;
        let code = (len - 1) as u8;
        self.send(vec![code, !code]);
        self.ack(Wait::Argument, Duration::ZERO).await?;
        self.bytes(usize::from(len)).await.map(Reply::Data)
    }

    async fn go(&mut self, address: u32) -> Result<Reply, Fault> {
        match self.code(Opcode::GO).await {
            Err(Fault::TimedOut { .. }) if self.go_without_first_ack => {}
            other => other?,
        }
        self.address(address).await?;
        Ok(Reply::Done)
    }

    async fn write(&mut self, address: u32, data: &[u8], budget: Budget) -> Result<Reply, Fault> {
        self.code(Opcode::WRITE).await?;
        self.address(address).await?;
        let mut frame = Vec::with_capacity(data.len() + 2);
        frame.push((data.len() - 1) as u8);
        frame.extend_from_slice(data);
        self.send_checked(frame);
        self.ack(Wait::Programmed, budget.flash).await?;
        Ok(Reply::Done)
    }

    async fn erase(&mut self, erase: Erase<'_>, budget: Budget) -> Result<Reply, Fault> {
        let highest = self.highest_page();
        let too_many =
            |units: &[u16], most: usize| units.len() > most || units.iter().any(|unit| *unit > highest);
        let mut frame = Vec::new();
        if self.extended_erase {
            match erase {
                Erase::Units(units) if too_many(units, 0xFFF0) => {
                    return Err(Fault::Argument("no such page"));
                }
                Erase::Units(units) => {
                    frame.extend_from_slice(&((units.len() - 1) as u16).to_be_bytes());
                    units.iter().for_each(|unit| frame.extend_from_slice(&unit.to_be_bytes()));
                }
                Erase::Mass => frame.extend_from_slice(&[0xFF, 0xFF]),
                Erase::Bank1 => frame.extend_from_slice(&[0xFF, 0xFE]),
                Erase::Bank2 => frame.extend_from_slice(&[0xFF, 0xFD]),
            }
            self.code(Opcode::EXTENDED_ERASE).await?;
            self.send_checked(frame);
        } else {
            match erase {
                Erase::Units(units) if too_many(units, 255) => return Err(Fault::Argument("no such page")),
                Erase::Units(units) => {
                    frame.push((units.len() - 1) as u8);
                    frame.extend(units.iter().map(|unit| *unit as u8));
                }
                Erase::Mass => frame.push(0xFF),
                Erase::Bank1 | Erase::Bank2 => return Err(Fault::NotListed(Opcode::EXTENDED_ERASE)),
            }
            self.code(Opcode::ERASE).await?;
            match erase {
                // A single byte is checked by its complement, not by its xor.
                Erase::Mass => self.send(vec![0xFF, 0x00]),
                _ => self.send_checked(frame),
            }
        }
        self.ack(Wait::Erased, budget.flash).await?;
        Ok(Reply::Done)
    }

    async fn special(&mut self, opcode: u16, data: &[u8], budget: Budget) -> Result<Reply, Fault> {
        self.code(Opcode::SPECIAL).await?;
        self.send_checked(opcode.to_be_bytes().to_vec());
        self.ack(Wait::Argument, Duration::ZERO).await?;
        self.send_checked(sized(data));
        self.ack(Wait::Argument, Duration::ZERO).await?;
        let data = self.sized_answer(budget.flash).await?;
        let status = self.sized_answer(Duration::ZERO).await?;
        self.ack(Wait::End, Duration::ZERO).await?;
        Ok(Reply::Special { data, status })
    }

    async fn extended_special(
        &mut self,
        opcode: u16,
        first: &[u8],
        second: &[u8],
        budget: Budget,
    ) -> Result<Reply, Fault> {
        self.code(Opcode::EXTENDED_SPECIAL).await?;
        self.send_checked(opcode.to_be_bytes().to_vec());
        self.ack(Wait::Argument, Duration::ZERO).await?;
        for packet in [first, second] {
            self.send_checked(sized(packet));
            self.ack(Wait::Argument, Duration::ZERO).await?;
        }
        let status = self.sized_answer(budget.flash).await?;
        self.ack(Wait::End, Duration::ZERO).await?;
        Ok(Reply::Special { data: Vec::new(), status })
    }

    async fn write_protect(&mut self, units: &[u8], budget: Budget) -> Result<Reply, Fault> {
        self.code(Opcode::WRITE_PROTECT).await?;
        let mut frame = vec![(units.len() - 1) as u8];
        frame.extend_from_slice(units);
        self.send_checked(frame);
        self.ack(Wait::Protection, budget.flash).await?;
        Ok(Reply::Done)
    }

    async fn protection(&mut self, code: Opcode, budget: Budget) -> Result<Reply, Fault> {
        self.code(code).await?;
        self.ack(Wait::Protection, budget.flash).await?;
        Ok(Reply::Done)
    }

    async fn checksum(
        &mut self,
        address: u32,
        words: u32,
        polynomial: u32,
        initial: u32,
        budget: Budget,
    ) -> Result<Reply, Fault> {
        self.code(Opcode::GET_CHECKSUM).await?;
        self.address(address).await?;
        for argument in [words, polynomial, initial] {
            self.send_checked(argument.to_be_bytes().to_vec());
            self.ack(Wait::Argument, Duration::ZERO).await?;
        }
        self.ack(Wait::Data, budget.flash).await?;
        let answer = self.bytes(5).await?;
        match answer[..] {
            [a, b, c, d, check] if a ^ b ^ c ^ d == check => {
                Ok(Reply::Checksum(u32::from_be_bytes([a, b, c, d])))
            }
            _ => Err(Fault::Garbled { wait: Wait::Data, got: answer[4] }),
        }
    }

    /// Sends a command code with its complement and takes its ACK.
    async fn code(&mut self, code: Opcode) -> Result<(), Fault> {
        self.last_code = code;
        self.send(vec![code.0, !code.0]);
        self.ack(Wait::Command, Duration::ZERO).await
    }

    async fn address(&mut self, address: u32) -> Result<(), Fault> {
        self.send_checked(address.to_be_bytes().to_vec());
        match self.ack(Wait::Address, Duration::ZERO).await {
            // Protocols before 3.1 say nothing to a bad address and take what follows for a command.
            Err(Fault::TimedOut { wait, .. }) if self.silent_on_bad_address => {
                self.realign().await?;
                Err(Fault::Refused { at: wait })
            }
            other => other,
        }
    }

    /// Sends a block with the byte that makes the xor of all of it zero.
    fn send_checked(&mut self, mut block: Vec<u8>) {
        block.push(block.iter().fold(0, |xor, byte| xor ^ byte));
        self.send(block);
    }

    fn send(&mut self, frame: Vec<u8>) {
        self.line_free = self.line_free.max(self.port.now()) + self.time_of(frame.len());
        self.last_frame.clone_from(&frame);
        self.port.send(0, frame);
    }

    /// Waits for an ACK; `extra` is flash time.
    async fn ack(&mut self, wait: Wait, extra: Duration) -> Result<(), Fault> {
        match self.answered(1, wait, extra).await? {
            ACK => Ok(()),
            NACK => {
                let left = self.line_free.saturating_sub(self.port.now());
                self.refused_early = left > self.time_of(LONGEST_CLEAR_FRAME) && wait != Wait::Command;
                Err(Fault::Refused { at: wait })
            }
            got => Err(Fault::Garbled { wait, got }),
        }
    }

    async fn byte(&mut self, wait: Wait) -> Result<u8, Fault> {
        self.answered(1, wait, Duration::ZERO).await
    }

    /// The next byte, which is the first of `count`.
    async fn answered(&mut self, count: usize, wait: Wait, extra: Duration) -> Result<u8, Fault> {
        let start = self.port.now();
        let until = self.line_free.max(start) + self.time_of(count) + self.answer + 2 * self.latency + extra;
        match self.next(until, wait).await? {
            Some(byte) => Ok(byte),
            None => Err(Fault::TimedOut { wait, after: self.port.now().saturating_sub(start) }),
        }
    }

    /// Exactly `count` bytes.
    async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        let start = self.port.now();
        let until = self.line_free.max(start) + self.time_of(count) + self.answer + 2 * self.latency;
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            match self.next(until, Wait::Data).await? {
                Some(byte) => bytes.push(byte),
                None => {
                    let after = self.port.now().saturating_sub(start);
                    return Err(Fault::TimedOut { wait: Wait::Data, after });
                }
            }
        }
        Ok(bytes)
    }

    /// A two-byte size and as many bytes.
    async fn sized_answer(&mut self, extra: Duration) -> Result<Vec<u8>, Fault> {
        let high = self.answered(2, Wait::Count, extra).await?;
        let low = self.byte(Wait::Count).await?;
        self.bytes(usize::from(u16::from_be_bytes([high, low]))).await
    }

    async fn next(&mut self, until: Duration, wait: Wait) -> Result<Option<u8>, Fault> {
        loop {
            if let Some(byte) = self.received.pop_front() {
                return Ok(Some(byte));
            }
            match self.port.receive(until, wait).await? {
                Some(packet) => self.received.extend(packet.data),
                None => return Ok(None),
            }
        }
    }

    /// After a refusal: waits until the line has been silent long enough, because some ROMs refuse twice. If
    /// the refusal came in the middle of a block, the ROM has lost count and has to be brought back.
    pub(crate) async fn settle(&mut self) -> Result<(), Fault> {
        if core::mem::take(&mut self.refused_early) {
            self.realign().await?;
        }
        self.silence().await
    }

    /// Waits until the line has been silent long enough for anything still on its way.
    async fn silence(&mut self) -> Result<(), Fault> {
        let rest = self.line_free.saturating_sub(self.port.now());
        self.port.pause(rest, Wait::Quiet).await?;
        let mut count = 0;
        while self.next(self.port.now() + self.quiet(), Wait::Quiet).await?.is_some() {
            count += 1;
            if count > FLOOD {
                return Err(Fault::Flooded { wait: Wait::Quiet });
            }
        }
        Ok(())
    }

    fn forget_received(&mut self) {
        self.received.clear();
        self.port.clear();
    }

    /// How long silence must last to mean that nothing more comes: longer than the 16 ms of an adapter whose
    /// latency nobody has stated.
    fn quiet(&self) -> Duration {
        Duration::from_millis(20) + 2 * self.latency + self.time_of(4)
    }

    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * BITS_PER_BYTE * 1_000_000_000 / u64::from(self.baud))
    }
}

fn sized(data: &[u8]) -> Vec<u8> {
    let mut packet = (data.len() as u16).to_be_bytes().to_vec();
    packet.extend_from_slice(data);
    packet
}
