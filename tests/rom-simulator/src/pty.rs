//! Serves simulated boards on pseudo-terminals, for hosts that expect a serial port.
//!
//! Rules of these ports:
//! - The host's baud rate is read from the port's settings and followed; a host that sets none gets the rate the
//!   port was opened with. A PTY has neither parity nor modem lines: bytes count as sent with even parity,
//!   and DTR/RTS do not exist.
//! - When the last program closes the port, [`Hangup`] says what happens to the board; by default NRST is
//!   pulsed, as by a fixture that resets a board when its port is let go. The port itself is reset too: raw,
//!   first baud rate, nothing left to read.
//! - A board is up when its port is first opened and when it is opened again: a host that sends 0x7F once and
//!   waits for ever (stm32flash with `-b 0`) must not meet the start-up time. Resets by faults or by the ROM
//!   itself take their time.
//! - Paced, bytes and flash take the time they take. Unpaced, the device lives in virtual time that only runs
//!   while it has something to do.
//!
//! This is a driver: the one place here that reads the clock. One thread serves all ports.

use crate::board::Settings;
use crate::line::Parity;
use crate::model::Model;
use crate::time::Nanos;
use crate::usart::UsartDevice;
use crate::wire::{LineConfig, UartLine};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use std::time::Instant;

/// How often a port that nobody has open is looked at. Its first byte may wait this long.
const IDLE_LOOK: Duration = Duration::from_millis(20);

/// A port opened this soon after a close was closed for good in between, though the kernel never reported it.
const REOPENED: Duration = Duration::from_millis(100);

/// How often the stop flag is looked at when nothing happens.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// Bytes of one answer are handed over together unless that would hold them back for longer.
const BURST: Duration = Duration::from_millis(10);

/// What closing the port does to the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hangup {
    /// A pulse on NRST.
    #[default]
    Reset,
    /// Its power is taken away and given back.
    PowerCycle,
    /// Nothing, as with a bare cable.
    Nothing,
}

/// What to serve.
#[derive(Debug, Clone)]
pub struct PtyConfig {
    /// How many boards, each on a port of its own.
    pub ports: usize,
    /// Which chip.
    pub model: &'static Model,
    /// Circumstances; each board's seed is `seed` plus its number.
    pub settings: Settings,
    /// The rate a host gets that sets none.
    pub baud: u32,
    /// Real byte and flash times, or as fast as possible.
    pub paced: bool,
    /// What closing a port does.
    pub hangup: Hangup,
}

/// What crossed a line from one opening of its port to the next close. Unpaced, nothing of it depends on how busy
/// the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Bytes that the host wrote.
    pub host_bytes: u64,
    /// Bytes that the board answered.
    pub device_bytes: u64,
    /// How often the host wrote after it had been answered: each costs a real adapter its latency.
    pub turnarounds: u64,
    /// Time that line and flash took, unpaced; without what the host took to think.
    pub line: Duration,
    /// The last to speak was the board.
    answered: bool,
}

/// A port could not be opened or served.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} a pseudo-terminal")]
pub struct PtyError {
    what: &'static str,
    source: std::io::Error,
}

impl PtyError {
    fn at(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { what, source: errno.into() }
    }
}

/// Open ports with a board on each, ready to be served.
#[derive(Debug)]
pub struct PtyBank {
    ports: Vec<Port>,
    /// Reports every open and close of the ports.
    watch: OwnedFd,
    hangup: Hangup,
    paced: bool,
    started: Instant,
}

impl PtyBank {
    /// Opens the ports and powers the boards.
    ///
    /// # Errors
    /// [`PtyError`] when the system has no more pseudo-terminals or refuses one.
    pub fn open(config: &PtyConfig) -> Result<Self, PtyError> {
        let watch =
            inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(PtyError::at("watch"))?;
        let ports =
            (0..config.ports).map(|number| Port::open(config, number, &watch)).collect::<Result<_, _>>()?;
        #[expect(clippy::disallowed_methods, reason = "this driver is where real time comes in")]
        let started = Instant::now();
        Ok(Self { ports, watch, hangup: config.hangup, paced: config.paced, started })
    }

    /// The device paths to open, one for each board.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.ports.iter().map(|port| port.path.as_str())
    }

    /// Serves all ports until `stop` is set (looked at every 100 ms).
    ///
    /// # Errors
    /// [`PtyError`] when a port breaks; a program closing it is no error.
    pub fn serve(self, stop: &AtomicBool) -> Result<(), PtyError> {
        self.serve_told(stop, &mut |_, _| {})
    }

    /// As [`Self::serve`]; `told` hears at each close what crossed the port of that number.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub fn serve_told(
        mut self,
        stop: &AtomicBool,
        told: &mut dyn FnMut(usize, Tally),
    ) -> Result<(), PtyError> {
        while !stop.load(Ordering::Relaxed) {
            let now = Nanos::ZERO + self.started.elapsed();
            let mut wait = STOP_LOOK;
            for port in &mut self.ports {
                port.work(now, self.paced).map_err(PtyError::at("write to"))?;
                if let Some(due) = port.due(self.paced) {
                    wait = wait.min(due.since(now));
                }
                if port.closed {
                    wait = wait.min(IDLE_LOOK);
                }
            }
            self.wait(wait)?;
            for (number, port) in self.ports.iter_mut().enumerate() {
                port.tallied.take().into_iter().for_each(|tally| told(number, tally));
            }
        }
        Ok(())
    }

    /// Sleeps until a host opens, writes or closes, at most for `time`, and takes in what it did.
    fn wait(&mut self, time: Duration) -> Result<(), PtyError> {
        let time = Timespec { tv_sec: time.as_secs() as _, tv_nsec: i64::from(time.subsec_nanos()) as _ };
        // A port that nobody has open would report its hang-up without end.
        let open: Vec<usize> = (0..self.ports.len()).filter(|&i| !self.ports[i].closed).collect();
        let mut polls = vec![PollFd::new(&self.watch, PollFlags::IN)];
        polls.extend(open.iter().map(|&i| PollFd::new(&self.ports[i].master, PollFlags::IN)));
        match poll(&mut polls, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(PtyError::at("wait for")(errno)),
        }
        let events: Vec<PollFlags> = polls.iter().skip(1).map(PollFd::revents).collect();
        let now = Nanos::ZERO + self.started.elapsed();
        self.note_opens(now)?;
        for (i, events) in open.into_iter().zip(events) {
            let (paced, hangup) = (self.paced, self.hangup);
            let port = &mut self.ports[i];
            let reopened = port.reopened;
            if reopened {
                port.hung_up(now, paced, hangup).map_err(PtyError::at("reset"))?;
            }
            if reopened || events.intersects(PollFlags::IN | PollFlags::HUP) {
                let gone = port.take_in(now, paced).map_err(PtyError::at("read from"))?;
                if gone {
                    port.hung_up(now, paced, hangup).map_err(PtyError::at("reset"))?;
                    port.make_raw().map_err(PtyError::at("reset"))?;
                    port.closed = true;
                }
                if gone || reopened {
                    // What has been seen so far is dealt with, and some of it was our own doing.
                    self.note_opens(now)?;
                    self.ports[i].last_close = None;
                    self.ports[i].reopened = false;
                }
            }
        }
        for port in self.ports.iter_mut().filter(|port| port.closed) {
            port.look_for_opener()?;
        }
        Ok(())
    }

    /// Notes which ports were opened again just after a close. The kernel reports a hang-up only while it
    /// lasts; a host that closes and opens at once would find the board as it left it.
    fn note_opens(&mut self, now: Nanos) -> Result<(), PtyError> {
        let mut buffer = [core::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(errno) => return Err(PtyError::at("watch")(errno)),
            };
            let Some(port) = self.ports.iter_mut().find(|port| port.watch == event.wd()) else { continue };
            if event.events().contains(ReadFlags::OPEN) {
                port.reopened |= port.last_close.is_some_and(|close| now.since(close) < REOPENED);
            } else {
                port.last_close = Some(now);
            }
        }
    }
}

/// One pseudo-terminal and the board behind it.
#[derive(Debug)]
struct Port {
    master: OwnedFd,
    path: String,
    line: UartLine,
    first_baud: u32,
    /// Nobody has the port open any more.
    closed: bool,
    /// Its number among the watched paths.
    watch: i32,
    last_close: Option<Nanos>,
    /// Closed and opened again before anyone looked.
    reopened: bool,
    /// Written by the device, not yet taken by the kernel.
    pending: Vec<u8>,
    /// Unpaced: the device's own time.
    virtual_now: Nanos,
    /// What has crossed the line since the port was opened, and the device's time then.
    tally: Tally,
    since: Nanos,
    /// The same of the last host, which has closed the port.
    tallied: Option<Tally>,
}

impl Port {
    fn open(config: &PtyConfig, number: usize, watch: &OwnedFd) -> Result<Self, PtyError> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .map_err(PtyError::at("open"))?;
        grantpt(&master).and_then(|()| unlockpt(&master)).map_err(PtyError::at("unlock"))?;
        let path = ptsname(&master, Vec::new()).map_err(PtyError::at("name"))?;
        let watch = inotify::add_watch(watch, path.as_c_str(), WatchFlags::OPEN | WatchFlags::CLOSE)
            .map_err(PtyError::at("watch"))?;
        let flags = fcntl_getfl(&master).map_err(PtyError::at("set up"))?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK).map_err(PtyError::at("set up"))?;
        let settings =
            Settings { seed: config.settings.seed.wrapping_add(number as u64), ..config.settings.clone() };
        let mut device = UsartDevice::new(config.model, &settings, Nanos::ZERO);
        device.board_mut().finish_startup();
        let port = Self {
            master,
            path: path.to_string_lossy().into_owned(),
            line: UartLine::new(device, LineConfig { baud: config.baud, ..LineConfig::default() }),
            first_baud: config.baud,
            closed: false,
            watch,
            last_close: None,
            reopened: false,
            pending: Vec::new(),
            virtual_now: Nanos::ZERO,
            tally: Tally::default(),
            since: Nanos::ZERO,
            tallied: None,
        };
        port.make_raw().map_err(PtyError::at("set up"))?;
        Ok(port)
    }

    /// Raw, at the first baud rate. A PTY's settings are the same from both ends.
    fn make_raw(&self) -> Result<(), Errno> {
        let mut settings = tcgetattr(&self.master)?;
        settings.make_raw();
        settings.set_speed(self.first_baud)?;
        tcsetattr(&self.master, OptionalActions::Now, &settings)
    }

    /// Throws away what the last host did not read. Only the slave's end can do that.
    fn discard_unread(&self) -> Result<(), Errno> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let slave = rustix::fs::open(self.path.as_str(), flags, rustix::fs::Mode::empty())?;
        tcflush(&slave, QueueSelector::IFlush)
    }

    /// Lets the device catch up with `now` and hands its bytes to the host.
    fn work(&mut self, now: Nanos, paced: bool) -> Result<(), Errno> {
        if paced {
            self.line.advance(now);
            let ready = self.answer_due().is_none_or(|due| due <= now);
            if ready {
                self.pending.extend(self.line.host_read_all(now));
            }
        } else {
            self.run_dry();
        }
        self.flush()
    }

    /// Unpaced: runs the device until it waits for the host.
    fn run_dry(&mut self) {
        while let Some(due) = self.line.next_deadline() {
            self.virtual_now = self.virtual_now.max(due);
            self.line.advance(self.virtual_now);
            self.pending.extend(self.line.host_read_all(self.virtual_now));
        }
    }

    /// When [`Self::work`] is worth calling again.
    fn due(&self, paced: bool) -> Option<Nanos> {
        if !paced {
            return None;
        }
        match self.answer_due() {
            Some(due) => Some(due),
            None => self.line.next_deadline(),
        }
    }

    /// When the bytes of the answer that is being sent are to be handed over.
    fn answer_due(&self) -> Option<Nanos> {
        let first = self.line.next_deadline()?;
        let last = self.line.answer_ends()?;
        Some(last.min(first + BURST))
    }

    /// Takes in what the host has written; true if the last program has closed the port.
    fn take_in(&mut self, now: Nanos, paced: bool) -> Result<bool, Errno> {
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::io::read(&self.master, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
                Ok(len) => self.host_wrote(now, paced, &buffer[..len]),
                Err(Errno::IO) => return Ok(true),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn host_wrote(&mut self, now: Nanos, paced: bool, bytes: &[u8]) {
        self.tally.host_bytes += bytes.len() as u64;
        self.tally.turnarounds += u64::from(core::mem::take(&mut self.tally.answered));
        let speed = tcgetattr(&self.master).map_or(self.first_baud, |settings| settings.output_speed());
        // Speed 0 asks for a hang-up on a real port; here it means that the host does not care.
        let baud = if speed == 0 { self.first_baud } else { speed };
        self.line.set_config(LineConfig { baud, parity: Parity::Even, ..self.line.config() });
        self.line.host_write(if paced { now } else { self.virtual_now }, bytes);
        self.line.run_ahead();
    }

    fn hung_up(&mut self, now: Nanos, paced: bool, hangup: Hangup) -> Result<(), Errno> {
        if !paced {
            self.run_dry();
        }
        let line = self.virtual_now.since(self.since);
        self.tallied = Some(Tally { line, ..core::mem::take(&mut self.tally) });
        self.since = self.virtual_now;
        let now = if paced { now } else { self.virtual_now };
        let config = LineConfig { baud: self.first_baud, ..self.line.config() };
        self.line.set_config(config);
        match hangup {
            Hangup::Reset => self.line.device_mut().reset(now),
            Hangup::PowerCycle => {
                self.line.device_mut().power_off(now);
                self.line.device_mut().power_on(now);
            }
            Hangup::Nothing => {}
        }
        if hangup != Hangup::Nothing {
            self.line.device_mut().board_mut().finish_startup();
        }
        self.line.discard();
        self.pending.clear();
        self.discard_unread()
    }

    fn look_for_opener(&mut self) -> Result<(), PtyError> {
        let mut polls = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        poll(&mut polls, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(PtyError::at("wait for"))?;
        let events = polls[0].revents();
        if !events.contains(PollFlags::HUP) || events.contains(PollFlags::IN) {
            self.closed = false;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.tally.device_bytes += self.pending.len() as u64;
        self.tally.answered |= !self.pending.is_empty();
        while !self.pending.is_empty() {
            match rustix::io::write(&self.master, &self.pending) {
                Ok(len) => {
                    self.pending.drain(..len);
                }
                // The host does not read: as on a real line, what does not fit is gone. EIO: nobody is there.
                Err(Errno::AGAIN | Errno::IO) => self.pending.clear(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
