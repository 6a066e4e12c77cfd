//! AN3154 (classic CAN) and AN5405 (CAN FD): the identifier is the command, the data bytes its arguments.
//!
//! The two differ in frame size, in the erase command, and in whether data frames are acknowledged one by one.
//! Where the notes, ST's OpenBL and other hosts disagree on the number of ACKs, both numbers are accepted: what
//! is missing is not waited for long, what is too much is dropped by its identifier or before the next command.

use core::time::Duration;

use super::{ACK, Budget, Connecting, Greeting, NACK};
use crate::command::{CanRate, Command, Erase, Opcode, Reply};
use crate::error::{Fault, Heard};
use crate::event::{Event, LineAction, LineResult, Wait};
use crate::port::{Packet, Port};
use crate::settings::{CanKind, CanSettings};

/// Identifier of the frame that starts a connection (AN3154, section 2).
const SYNC_ID: u16 = 0x79;
/// Identifier of data frames; the ROM does not check it (AN3154, Write Memory).
const DATA_ID: u16 = 0x04;
/// Where Readout Unprotect and Special may answer over FDCAN (AN2606, STM32U5 limitations).
const STRAY_ANSWER_ID: u16 = 0x111;

/// Pause after a sync frame; doubles up to ten times this.
const SYNC_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait for an ACK that some ROMs send and others do not.
const GRACE: Duration = Duration::from_millis(10);
/// Data frames in the longest write, and one more.
const FILLER_FRAMES: u32 = 33;
/// More frames than this without a pause are no ROM.
const FLOOD: usize = 1024;
/// Pages in one list frame. Classic: 8 would be acknowledged once more by some ROMs. FD: OpenBL's buffer.
const CLASSIC_PAGES: u16 = 7;
const FD_PAGES: u16 = 30;

#[derive(Debug)]
pub(crate) struct Can {
    port: Port,
    fd: bool,
    latency: Duration,
    answer: Duration,
}

impl Can {
    pub(crate) fn new(port: Port, settings: &CanSettings) -> Self {
        Self {
            port,
            fd: settings.kind == CanKind::Fd,
            latency: settings.latency,
            answer: settings.limits.answer,
        }
    }

    pub(crate) const fn is_fd(&self) -> bool {
        self.fd
    }

    pub(crate) const fn pages_per_erase(&self) -> u16 {
        if self.fd { FD_PAGES } else { CLASSIC_PAGES }
    }

    pub(crate) const fn highest_page(&self) -> u16 {
        if self.fd { 0xFFEF } else { 0xFF }
    }

    pub(crate) async fn connect(&mut self, connecting: Connecting) -> Result<Greeting, Fault> {
        let start = self.port.now();
        if let Some(wait) = connecting.earliest.checked_sub(start).filter(|wait| !wait.is_zero()) {
            self.port.pause(wait, Wait::Startup).await?;
        }
        self.port.clear();
        let mut heard = Heard::default();
        let mut filler_left = if connecting.abandoned { FILLER_FRAMES } else { 0 };
        let mut attempts = 0;
        let mut interval = SYNC_INTERVAL + 2 * self.latency;
        while attempts == 0 || self.port.now() < connecting.until {
            attempts += 1;
            self.port.event(Event::Syncing { attempt: attempts });
            self.send(SYNC_ID, &[]);
            let until = self.port.now() + interval;
            while let Some(packet) = self.port.receive(until, Wait::Sync).await? {
                match (packet.id, packet.data.first()) {
                    (SYNC_ID, Some(&ACK)) => return Ok(Greeting::Fresh),
                    (SYNC_ID, Some(&NACK)) => return Ok(Greeting::Already),
                    // An ACK for a data frame: the ROM is inside a write that somebody abandoned.
                    (id, Some(&ACK)) if id == u16::from(Opcode::WRITE.0) && filler_left > 0 => {
                        filler_left -= 1;
                        self.send(DATA_ID, &[0xFF; 64][..self.frame_bytes()]);
                    }
                    (_, byte) => {
                        heard.note(byte.copied().unwrap_or(0));
                        if heard.count as usize > FLOOD {
                            return Err(Fault::Flooded { wait: Wait::Sync });
                        }
                    }
                }
            }
            interval = (interval * 2).min(10 * SYNC_INTERVAL + 2 * self.latency);
        }
        Err(Fault::NoAnswer { attempts, waited: self.port.now().saturating_sub(start), heard })
    }

    pub(crate) async fn execute(&mut self, command: &Command<'_>, budget: Budget) -> Result<Reply, Fault> {
        self.port.clear();
        let code = |code: Opcode| u16::from(code.0);
        match *command {
            Command::Get => self.get().await,
            Command::GetVersion => {
                self.request(Opcode::GET_VERSION, &[]).await?;
                let version = self.data(code(Opcode::GET_VERSION), 1, Duration::ZERO).await?;
                self.data(code(Opcode::GET_VERSION), 2, Duration::ZERO).await?;
                self.ack(code(Opcode::GET_VERSION), Wait::End, Duration::ZERO).await?;
                Ok(Reply::Version(version[0]))
            }
            Command::GetId => {
                self.request(Opcode::GET_ID, &[]).await?;
                let id = self.data(code(Opcode::GET_ID), 2, Duration::ZERO).await?;
                self.ack(code(Opcode::GET_ID), Wait::End, Duration::ZERO).await?;
                Ok(Reply::Id(u16::from_be_bytes([id[0], id[1]])))
            }
            Command::Read { address, len } => {
                self.request(Opcode::READ, &address_and_len(address, len)).await?;
                let data = self.data(code(Opcode::READ), usize::from(len), Duration::ZERO).await?;
                self.ack(code(Opcode::READ), Wait::End, Duration::ZERO).await?;
                Ok(Reply::Data(data))
            }
            Command::Go { address } => self.go(address).await,
            Command::Write { address, data } => self.write(address, data, budget).await,
            Command::Erase(erase) => self.erase(erase, budget).await,
            Command::Special { opcode, data } if self.fd => {
                self.special(Opcode::SPECIAL, opcode, &[data], budget).await
            }
            Command::ExtendedSpecial { opcode, first, second } if self.fd => {
                self.special(Opcode::EXTENDED_SPECIAL, opcode, &[first, second], budget).await
            }
            Command::WriteProtect { units } => self.write_protect(units, budget).await,
            Command::WriteUnprotect | Command::ReadoutProtect | Command::ReadoutUnprotect => {
                self.request(command.opcode(), &[]).await?;
                self.ack(code(command.opcode()), Wait::Protection, budget.flash).await?;
                Ok(Reply::Done)
            }
            Command::Special { .. } | Command::ExtendedSpecial { .. } | Command::GetChecksum { .. } => {
                Err(Fault::NotListed(command.opcode()))
            }
        }
    }

    /// Over FDCAN some ROMs announce a wrong number of commands, but a frame may also have been lost: asked twice,
    /// the longer list is whole.
    async fn get(&mut self) -> Result<Reply, Fault> {
        let (count, version, mut commands) = self.command_list().await?;
        if self.fd && commands.len() != count {
            let (_, _, again) = self.command_list().await?;
            commands = if again.len() > commands.len() { again } else { commands };
        }
        Ok(Reply::Commands { version, commands })
    }

    /// Announced number, version, list. The list ends with the ACK, whose value is no command code.
    async fn command_list(&mut self) -> Result<(usize, u8, Vec<Opcode>), Fault> {
        let id = u16::from(Opcode::GET.0);
        self.request(Opcode::GET, &[]).await?;
        let mut bytes = Vec::new();
        for _ in 0..64 {
            let packet = self.answer(id, Wait::Data, Duration::ZERO).await?;
            match packet.data.first() {
                Some(&ACK) if !bytes.is_empty() => break,
                _ if self.fd && packet.data.len() > 8 => bytes.extend(packet.data.first()),
                _ => bytes.extend(packet.data),
            }
        }
        match bytes[..] {
            [count, version, ref codes @ ..] if self.fd || codes.len() == usize::from(count) => {
                Ok((count.into(), version, codes.iter().map(|code| Opcode(*code)).collect()))
            }
            _ => Err(Fault::Garbled { wait: Wait::Data, got: bytes.first().copied().unwrap_or(0) }),
        }
    }

    async fn go(&mut self, address: u32) -> Result<Reply, Fault> {
        self.request(Opcode::GO, &address.to_be_bytes()).await?;
        if self.fd {
            // The first ACK is for the command, the second for the address; not all ROMs send both.
            self.optional_ack(Opcode::GO, Wait::Address).await?;
        }
        Ok(Reply::Done)
    }

    async fn write(&mut self, address: u32, data: &[u8], budget: Budget) -> Result<Reply, Fault> {
        let id = u16::from(Opcode::WRITE.0);
        self.request(Opcode::WRITE, &address_and_len(address, data.len() as u16)).await?;
        let mut missing = false;
        for chunk in data.chunks(self.frame_bytes()) {
            if self.fd {
                let mut frame = [0xFF; 64];
                frame[..chunk.len()].copy_from_slice(chunk);
                self.send(DATA_ID, &frame);
            } else {
                self.send(DATA_ID, chunk);
                // One ACK may get lost in an adapter; the ROM has the frame all the same.
                missing = match self.ack(id, Wait::DataFrame, Duration::ZERO).await {
                    Err(Fault::TimedOut { .. }) if !missing => true,
                    other => other.map(|()| false)?,
                };
            }
        }
        self.ack(id, Wait::Programmed, budget.flash).await?;
        Ok(Reply::Done)
    }

    async fn erase(&mut self, erase: Erase<'_>, budget: Budget) -> Result<Reply, Fault> {
        let code = if self.fd { Opcode::EXTENDED_ERASE } else { Opcode::ERASE };
        let id = u16::from(code.0);
        match erase {
            Erase::Units(units) => {
                let (most, highest) = (usize::from(self.pages_per_erase()), self.highest_page());
                if units.len() > most || units.iter().any(|unit| *unit > highest) {
                    return Err(Fault::Argument("no such page"));
                }
                if self.fd {
                    self.request(code, &(units.len() as u16).to_be_bytes()).await?;
                } else {
                    self.request(code, &[(units.len() - 1) as u8]).await?;
                }
                let second = self.optional_ack(code, Wait::Argument).await?;
                self.send(id, &self.page_list(units));
                self.ack(id, Wait::Erased, budget.flash).await?;
                if !second {
                    // It may have been only late.
                    self.optional_ack(code, Wait::Erased).await?;
                }
            }
            Erase::Mass if self.fd => self.erase_all(code, &[0xFF, 0xFF], budget).await?,
            Erase::Bank1 if self.fd => self.erase_all(code, &[0xFF, 0xFE], budget).await?,
            Erase::Bank2 if self.fd => self.erase_all(code, &[0xFF, 0xFD], budget).await?,
            Erase::Mass => self.erase_all(code, &[0xFF], budget).await?,
            Erase::Bank1 | Erase::Bank2 => return Err(Fault::NotListed(Opcode::EXTENDED_ERASE)),
        }
        self.erased(id, budget).await
    }

    /// The last ACK may have been for the list, with the ROM still erasing: only when it answers another command has
    /// it certainly finished. An ACK that still comes is told by its identifier.
    async fn erased(&mut self, erase_id: u16, budget: Budget) -> Result<Reply, Fault> {
        let id = u16::from(Opcode::GET_ID.0);
        let start = self.port.now();
        self.send(id, &[]);
        let until = start + budget.flash + self.answer + 2 * self.latency;
        while let Some(packet) = self.port.receive(until, Wait::Erased).await? {
            match (packet.id, packet.data.first()) {
                (got, Some(&NACK)) if got == erase_id => return Err(Fault::Refused { at: Wait::Erased }),
                (got, Some(&ACK)) if got == id => {
                    self.data(id, 2, Duration::ZERO).await?;
                    self.ack(id, Wait::End, Duration::ZERO).await?;
                    return Ok(Reply::Done);
                }
                _ => {}
            }
        }
        Err(Fault::TimedOut { wait: Wait::Erased, after: self.port.now().saturating_sub(start) })
    }

    async fn erase_all(&mut self, code: Opcode, argument: &[u8], budget: Budget) -> Result<(), Fault> {
        self.request(code, argument).await?;
        self.ack(u16::from(code.0), Wait::Erased, budget.flash).await
    }

    /// The page numbers of one erase command. FDCAN: whether the count before it is n or n - 1 is not certain,
    /// so the last page stands twice, and erasing one more is erasing it again.
    fn page_list(&self, units: &[u16]) -> Vec<u8> {
        if !self.fd {
            return units.iter().map(|unit| *unit as u8).collect();
        }
        let last = units.last().copied().unwrap_or(0);
        let padded = units.iter().copied().chain(std::iter::repeat(last));
        padded.take(32).flat_map(u16::to_be_bytes).collect()
    }

    async fn special(
        &mut self,
        code: Opcode,
        opcode: u16,
        packets: &[&[u8]],
        budget: Budget,
    ) -> Result<Reply, Fault> {
        let id = u16::from(code.0);
        self.request(code, &opcode.to_be_bytes()).await?;
        for packet in packets {
            self.send(id, &(packet.len() as u16).to_be_bytes());
            packet.chunks(64).for_each(|chunk| self.send(id, chunk));
            self.ack(id, Wait::Argument, Duration::ZERO).await?;
        }
        let mut answer = Vec::new();
        for _ in 0..FLOOD {
            let packet = self.answer(id, Wait::Data, budget.flash).await?;
            match packet.data[..] {
                [ACK] => break,
                [NACK] => return Err(Fault::Refused { at: Wait::Data }),
                _ => answer.extend(packet.data),
            }
        }
        let mut parts = sized_parts(&answer);
        let data = if code == Opcode::SPECIAL { parts.next().unwrap_or_default() } else { Vec::new() };
        Ok(Reply::Special { data, status: parts.next().unwrap_or_default() })
    }

    /// Some ROMs count n sectors, some n + 1 where n is sent. The last sector stands as often as makes both
    /// readings end in the same frame.
    async fn write_protect(&mut self, units: &[u8], budget: Budget) -> Result<Reply, Fault> {
        let id = u16::from(Opcode::WRITE_PROTECT.0);
        let last = units.last().copied().unwrap_or(0);
        if self.fd {
            if units.len() > 62 {
                return Err(Fault::Argument("FDCAN write protection names at most 62 sectors"));
            }
            let mut frame = vec![units.len() as u8];
            frame.extend(units.iter().copied().chain(std::iter::repeat(last)).take(63));
            self.request(Opcode::WRITE_PROTECT, &frame).await?;
        } else {
            let count = units.len() + usize::from(units.len().is_multiple_of(8));
            let frames = count.div_ceil(8);
            self.request(Opcode::WRITE_PROTECT, &[count as u8]).await?;
            let list: Vec<u8> =
                units.iter().copied().chain(std::iter::repeat(last)).take(frames * 8).collect();
            for (number, chunk) in list.chunks(8).enumerate() {
                self.send(id, chunk);
                if number + 1 < frames {
                    self.optional_ack(Opcode::WRITE_PROTECT, Wait::DataFrame).await?;
                }
            }
        }
        self.ack(id, Wait::Protection, budget.flash).await?;
        self.optional_ack(Opcode::WRITE_PROTECT, Wait::Protection).await?;
        Ok(Reply::Done)
    }

    pub(crate) async fn change_rate(&mut self, rate: CanRate, limit: Duration) -> Result<(), Fault> {
        let id = u16::from(Opcode::SPEED.0);
        self.send(id, &[rate.code()]);
        self.ack(id, Wait::Command, Duration::ZERO).await?;
        let action = LineAction::BitRate(rate);
        match self.port.line(action, limit).await? {
            Some(LineResult::Done) => {}
            Some(LineResult::Unavailable) => return Err(Fault::LinesUnavailable(action.describe())),
            None => return Err(Fault::TimedOut { wait: Wait::Lines, after: limit }),
        }
        // Printed as identifier 0x03 in one place and 0x02 in another. It may have come before this end was
        // ready for it, so silence is no error; a NACK is.
        let until = self.port.now() + self.answer + 2 * self.latency;
        while let Some(packet) = self.port.receive(until, Wait::NewRate).await? {
            match (packet.id, packet.data.first()) {
                (0x02 | 0x03, Some(&ACK)) => return Ok(()),
                (0x02 | 0x03, Some(&NACK)) => return Err(Fault::Refused { at: Wait::NewRate }),
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets stray frames pass.
    pub(crate) async fn settle(&mut self) -> Result<(), Fault> {
        for _ in 0..FLOOD {
            let until = self.port.now() + GRACE + 2 * self.latency;
            if self.port.receive(until, Wait::Quiet).await?.is_none() {
                return Ok(());
            }
        }
        Err(Fault::Flooded { wait: Wait::Quiet })
    }

    /// A sync frame, and data frames as long as they are acknowledged as such.
    pub(crate) async fn realign(&mut self) -> Result<u32, Fault> {
        self.settle().await?;
        let start = self.port.now();
        let connecting = Connecting { earliest: start, until: start + self.answer, abandoned: true };
        match self.connect(connecting).await {
            Ok(_) => {
                self.port.event(Event::Realigned { filler: 0 });
                Ok(0)
            }
            Err(Fault::NoAnswer { waited, .. }) => {
                Err(Fault::TimedOut { wait: Wait::Realign, after: waited })
            }
            Err(fault) => Err(fault),
        }
    }

    /// Sends a command frame and takes its ACK.
    async fn request(&mut self, code: Opcode, arguments: &[u8]) -> Result<(), Fault> {
        self.send(u16::from(code.0), arguments);
        self.ack(u16::from(code.0), Wait::Command, Duration::ZERO).await
    }

    fn send(&self, id: u16, data: &[u8]) {
        self.port.send(id, data.to_vec());
    }

    async fn ack(&mut self, id: u16, wait: Wait, extra: Duration) -> Result<(), Fault> {
        match self.answer(id, wait, extra).await?.data.first().copied() {
            Some(ACK) => Ok(()),
            Some(NACK) => Err(Fault::Refused { at: wait }),
            got => Err(Fault::Garbled { wait, got: got.unwrap_or(0) }),
        }
    }

    /// An ACK that may or may not come; whether it did.
    async fn optional_ack(&mut self, code: Opcode, wait: Wait) -> Result<bool, Fault> {
        let until = self.port.now() + GRACE + 2 * self.latency;
        while let Some(packet) = self.port.receive(until, wait).await? {
            match (accepts(u16::from(code.0), packet.id, self.fd), packet.data.first()) {
                (true, Some(&ACK)) => return Ok(true),
                (true, Some(&NACK)) => return Err(Fault::Refused { at: wait }),
                _ => {}
            }
        }
        Ok(false)
    }

    /// `count` bytes from as many frames as it takes; what a frame has too much is padding.
    async fn data(&mut self, id: u16, count: usize, extra: Duration) -> Result<Vec<u8>, Fault> {
        let mut data = Vec::with_capacity(count);
        while data.len() < count {
            let packet = self.answer(id, Wait::Data, extra).await?;
            if packet.data.is_empty() {
                return Err(Fault::Garbled { wait: Wait::Data, got: 0 });
            }
            let missing = count - data.len();
            data.extend(packet.data.into_iter().take(missing));
        }
        Ok(data)
    }

    /// The next frame that answers command `id`.
    async fn answer(&mut self, id: u16, wait: Wait, extra: Duration) -> Result<Packet, Fault> {
        let start = self.port.now();
        let until = start + extra + self.answer + 2 * self.latency;
        while let Some(packet) = self.port.receive(until, wait).await? {
            if accepts(id, packet.id, self.fd) {
                return Ok(packet);
            }
        }
        Err(Fault::TimedOut { wait, after: self.port.now().saturating_sub(start) })
    }

    const fn frame_bytes(&self) -> usize {
        if self.fd { 64 } else { 8 }
    }
}

fn address_and_len(address: u32, len: u16) -> [u8; 5] {
    let [a, b, c, d] = address.to_be_bytes();
    [a, b, c, d, (len - 1) as u8]
}

/// Whether a frame answers command `id`.
fn accepts(id: u16, got: u16, fd: bool) -> bool {
    let may_stray = [Opcode::READOUT_UNPROTECT, Opcode::SPECIAL, Opcode::EXTENDED_SPECIAL];
    got == id || (fd && got == STRAY_ANSWER_ID && may_stray.iter().any(|code| u16::from(code.0) == id))
}

/// The parts of an answer made of a two-byte size and as many bytes, repeated.
fn sized_parts(mut bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let (size, rest) = bytes.split_first_chunk::<2>()?;
        let size = usize::from(u16::from_be_bytes(*size)).min(rest.len());
        let (part, rest) = rest.split_at(size);
        bytes = rest;
        Some(part.to_vec())
    })
}
