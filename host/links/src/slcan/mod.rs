//! CAN adapters on a serial line that speak the ASCII protocol of LAWICEL, "slcan".
//!
//! An adapter answers every frame: accepted, or refused because its queue is full (BEL). A frame refused is given
//! again, behind those that are already on their way to the adapter, and the window is halved so that it happens
//! less. There are adapters that answer nothing; after 100 ms without any answer their frames count as sent when
//! their time on the wire is over. USB adapters ignore the baud rate of their port, 115200 is set.

mod line;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use panel_protocol::frame::Frame;
use panel_protocol::time::{Micros, Span};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::can::{BusRates, CanCounters, CanEvent, CanInput, CanLink, CanOpenError, Stamp};
use crate::flight::{Flight, UNHEARD};
use crate::pipe::Pipe;
use crate::serial::{Parity, SerialLink};
use line::{BELL, CR, Line};

const BAUD: u32 = 115_200;
/// How long an adapter may take to answer a command while it is being opened.
const ANSWER_MS: i64 = 200;
/// Silence after which an adapter has said all it had to say.
const SILENCE_MS: i64 = 30;
/// How often the status flags are asked for.
const STATUS: Span = Span::from_millis(200);
/// A line longer than any: noise.
const LONGEST_LINE: usize = 160;

/// How a frame is known to have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirm {
    /// It is not known yet whether the adapter answers.
    Unknown,
    /// By the adapter's answer.
    Answer,
    /// By the time that it takes on the wire.
    Time,
}

/// An open adapter.
#[derive(Debug)]
pub struct SlcanLink {
    name: String,
    port: PathBuf,
    rates: BusRates,
    /// `None` while the adapter is away.
    pipe: Option<Pipe>,
    confirm: Confirm,
    /// The adapter answers `F`.
    has_status: bool,
    next_status: Option<Micros>,
    line: Vec<u8>,
    flight: Flight,
    inputs: VecDeque<CanInput>,
    counters: CanCounters,
}

impl SlcanLink {
    /// Opens the adapter at a serial port, sets its rates and connects it to the bus.
    ///
    /// # Errors
    /// [`CanOpenError`]: the port, a rate the protocol does not have, or a command that the adapter refuses.
    pub fn open(port: &Path, rates: BusRates) -> Result<Self, CanOpenError> {
        let mut link = Self {
            name: format!("slcan:{}", port.display()),
            port: port.to_owned(),
            rates,
            pipe: None,
            confirm: Confirm::Unknown,
            has_status: false,
            next_status: None,
            line: Vec::new(),
            flight: Flight::new(rates),
            inputs: VecDeque::new(),
            counters: CanCounters::default(),
        };
        link.connect()?;
        Ok(link)
    }

    fn connect(&mut self) -> Result<(), CanOpenError> {
        let commands = line::rate_commands(self.rates).map_err(|(what, rate, known)| CanOpenError::Rate {
            port: self.port.display().to_string(),
            what,
            rate,
            known,
        })?;
        let serial = SerialLink::open(&self.port, BAUD, Parity::None)?;
        let mut pipe = Pipe::new(Box::new(serial)).map_err(|e| self.system("set up the port", e))?;
        // Ends what another program may have left half said, and closes the channel: rates are set on a closed one.
        self.command(&mut pipe, "\r\rC")?;
        while !self.hear(&mut pipe, SILENCE_MS)?.is_empty() {}
        for command in commands {
            let meaning = if command.starts_with('S') { "bit rate" } else { "data bit rate" };
            self.ask(&mut pipe, command, meaning)?;
        }
        // Timestamps are welcome, not needed.
        self.command(&mut pipe, "Z1")?;
        self.answer(&mut pipe)?;
        self.ask(&mut pipe, "O", "connect to the bus")?;
        self.command(&mut pipe, "F")?;
        self.has_status = self.answer(&mut pipe)?.first() == Some(&b'F');
        self.next_status = self.has_status.then_some(Micros::ZERO);
        self.line.clear();
        self.pipe = Some(pipe);
        Ok(())
    }

    fn command(&self, pipe: &mut Pipe, text: &str) -> Result<(), CanOpenError> {
        let bytes = format!("{text}\r");
        pipe.write(bytes.as_bytes()).map_err(|e| self.system("write to the adapter", e))
    }

    /// A command that must not be refused.
    fn ask(&self, pipe: &mut Pipe, text: &str, meaning: &'static str) -> Result<(), CanOpenError> {
        self.command(pipe, text)?;
        if self.answer(pipe)?.contains(&BELL) {
            let port = self.port.display().to_string();
            return Err(CanOpenError::Adapter { port, command: text.to_owned(), meaning });
        }
        Ok(())
    }

    /// The answer to a command, up to CR or BEL; less if the adapter does not answer.
    fn answer(&self, pipe: &mut Pipe) -> Result<Vec<u8>, CanOpenError> {
        let mut answer = Vec::new();
        loop {
            let heard = self.hear(pipe, ANSWER_MS)?;
            answer.extend(&heard);
            if heard.is_empty() || answer.iter().any(|&b| b == CR || b == BELL) {
                return Ok(answer);
            }
        }
    }

    /// What comes within this time; nothing if nothing does.
    fn hear(&self, pipe: &mut Pipe, patience_ms: i64) -> Result<Vec<u8>, CanOpenError> {
        let wait = Timespec { tv_sec: 0, tv_nsec: patience_ms * 1_000_000 };
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(e) => return Err(self.system("wait for the adapter", e.into())),
        }
        let mut buffer = [0; 64];
        let count = pipe.read(&mut buffer).map_err(|e| self.system("read from the adapter", e))?;
        Ok(buffer[..count].to_vec())
    }

    fn system(&self, what: &'static str, source: io::Error) -> CanOpenError {
        CanOpenError::System { link: self.name.clone(), what, source }
    }

    fn lost(&mut self, now: Micros, error: &io::Error) {
        self.pipe = None;
        self.flight.clear(now);
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the adapter is gone".to_owned(),
            _ => format!("the adapter is gone ({error})"),
        };
        self.inputs.push_back(CanInput::Event(CanEvent::Down { why }));
    }

    fn write(&mut self, now: Micros, bytes: &[u8]) {
        if let Some(Err(e)) = self.pipe.as_mut().map(|pipe| pipe.write(bytes)) {
            self.lost(now, &e);
        }
    }

    /// Takes in what the adapter said.
    fn hear_out(&mut self, now: Micros) {
        let mut buffer = [0; 1024];
        while let Some(pipe) = &mut self.pipe {
            match pipe.flush().and_then(|()| pipe.read(&mut buffer)) {
                Ok(0) => return,
                Ok(count) => buffer[..count].iter().for_each(|&byte| self.handle_byte(now, byte)),
                Err(e) => self.lost(now, &e),
            }
        }
    }

    fn handle_byte(&mut self, now: Micros, byte: u8) {
        match byte {
            CR => {
                let line = std::mem::take(&mut self.line);
                self.handle_line(now, &line);
            }
            BELL => {
                self.line.clear();
                self.refused(now);
            }
            _ if self.line.len() < LONGEST_LINE => self.line.push(byte),
            _ => {}
        }
    }

    fn handle_line(&mut self, now: Micros, line: &[u8]) {
        match line::parse(line) {
            Line::Frame(frame, stamp) => {
                self.counters.received += 1;
                self.inputs.push_back(CanInput::Received(frame, stamp.map(Stamp::AdapterMs)));
            }
            Line::Accepted if self.confirm != Confirm::Time => {
                if let Some(frame) = self.flight.confirm(now) {
                    self.confirm = Confirm::Answer;
                    self.counters.sent += 1;
                    self.inputs.push_back(CanInput::Sent(frame));
                }
            }
            Line::Status(flags) => self.report(now, line::status_events(flags)),
            Line::Report(events) => self.report(now, events),
            Line::Accepted | Line::Other => {}
        }
    }

    fn report(&mut self, now: Micros, events: Vec<CanEvent>) {
        for event in events {
            self.counters.errors += 1;
            match event {
                CanEvent::Overrun { frames } => self.counters.overruns += u64::from(frames),
                CanEvent::BusOff => self.flight.clear(now),
                _ => {}
            }
            self.inputs.push_back(CanInput::Event(event));
        }
    }

    /// The adapter's queue was full: the frame is given again, and fewer are given at once.
    fn refused(&mut self, now: Micros) {
        let Some(frame) = self.flight.confirm(now) else { return };
        self.confirm = Confirm::Answer;
        self.counters.queue_full += 1;
        self.flight.narrow();
        self.flight.push(now, &frame);
        self.write(now, &line::encode(&frame));
    }

    fn confirm_by_time(&mut self, now: Micros) {
        if self.confirm == Confirm::Unknown && self.flight.waited(now) >= UNHEARD {
            self.confirm = Confirm::Time;
        }
        if self.confirm == Confirm::Time && self.pipe.as_ref().is_some_and(|p| p.pending() == 0) {
            while let Some(frame) = self.flight.confirm_by_time(now) {
                self.counters.sent += 1;
                self.inputs.push_back(CanInput::Sent(frame));
            }
        }
    }
}

impl CanLink for SlcanLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    fn wants_write(&self) -> bool {
        self.pipe.as_ref().is_some_and(|p| p.pending() > 0)
    }

    fn has_room(&mut self, now: Micros) -> bool {
        self.pipe.as_ref().is_some_and(|p| p.pending() == 0) && self.flight.has_room(now)
    }

    fn send(&mut self, now: Micros, frame: &Frame) {
        self.counters.accepted += 1;
        self.flight.push(now, frame);
        self.write(now, &line::encode(frame));
    }

    fn receive(&mut self, now: Micros) -> Option<CanInput> {
        if self.inputs.is_empty() {
            self.hear_out(now);
            self.confirm_by_time(now);
            if self.next_status.is_some_and(|next| now >= next) {
                self.next_status = Some(now + STATUS);
                self.write(now, b"F\r");
            }
            let watched = self.flight.watch(now, self.counters.queue_full);
            self.inputs.extend(watched.map(CanInput::Event));
        }
        self.inputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Micros> {
        self.pipe.as_ref()?;
        let confirm = match self.confirm {
            Confirm::Time => self.flight.over(),
            Confirm::Unknown | Confirm::Answer => None,
        };
        self.flight.next_timeout().into_iter().chain(confirm).chain(self.next_status).min()
    }

    fn restore(&mut self, now: Micros) -> Result<(), CanOpenError> {
        self.pipe = None;
        self.flight.clear(now);
        self.connect()
    }

    fn set_rates(&mut self, now: Micros, rates: BusRates) -> bool {
        if rates == self.rates {
            return true;
        }
        (self.rates, self.flight) = (rates, Flight::new(rates));
        self.restore(now).is_ok()
    }

    fn counters(&self) -> CanCounters {
        self.counters
    }
}

impl Drop for SlcanLink {
    /// Takes the adapter off the bus, so that it does not acknowledge for nobody.
    fn drop(&mut self) {
        if let Some(pipe) = &mut self.pipe {
            _ = pipe.write(b"C\r");
        }
    }
}

#[cfg(test)]
mod tests;
