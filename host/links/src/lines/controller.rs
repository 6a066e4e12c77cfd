//! A fixture controller on a serial port: its protocol is in `controller_protocol`, this moves the bytes.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use panel_protocol::time::{Micros, Span};
use rustix::io::Errno;

use super::controller_protocol::{Command, Conversation, Report};
use super::device::{Channel, DeadMan, Device, Patience};
use super::{FixtureError, Switched};
use crate::{Parity, SerialLink};

const BAUD: u32 = 115_200;
/// While an answer is due the port is looked at this often.
const LOOK: Span = Span(2_000);
/// Inputs are asked for this often.
const INPUT_EVERY: Span = Span(50_000);

/// What a fixture controller says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerIdentity {
    /// Outputs, counted from 1.
    pub outputs: u32,
    /// Inputs, counted from 1.
    pub inputs: u32,
    /// Longest watchdog time in milliseconds; 0 if it has none.
    pub watchdog_ms: u32,
    /// Its name.
    pub name: String,
}

/// Asks a fixture controller what it is, and switches nothing. Takes up to a second if nobody answers.
///
/// # Errors
/// [`FixtureError`]: no port, no answer, another answer.
pub fn identify(path: &Path) -> Result<ControllerIdentity, FixtureError> {
    Controller::connect(path).map(|controller| controller.identity)
}

/// One controller.
pub(super) struct Controller {
    link: SerialLink,
    talk: Conversation,
    set: VecDeque<(Channel, bool)>,
    inputs: BTreeMap<Channel, Input>,
    currents: VecDeque<(Channel, Option<u32>)>,
    identity: ControllerIdentity,
    polled: Micros,
}

#[derive(Default)]
struct Input {
    asked: Option<Micros>,
    level: Option<bool>,
}

impl Controller {
    /// Opens the port, asks who is there, and sets the watchdog if there is one; that waits for the answers.
    pub(super) fn open(path: &Path) -> Result<Self, FixtureError> {
        let mut controller = Self::connect(path)?;
        controller.talk.watch(controller.identity.watchdog_ms);
        controller.wait(&mut Patience(1_000))?;
        Ok(controller)
    }

    fn connect(path: &Path) -> Result<Self, FixtureError> {
        let device = format!("ascii-relay:{}", path.display());
        let link = SerialLink::open(path, BAUD, Parity::None)
            .map_err(|e| FixtureError::Open { line: device.clone(), reason: e.to_string() })?;
        let mut controller = Self {
            link,
            talk: Conversation::new(device),
            set: VecDeque::new(),
            inputs: BTreeMap::new(),
            currents: VecDeque::new(),
            identity: ControllerIdentity { outputs: 0, inputs: 0, watchdog_ms: 0, name: String::new() },
            polled: Micros::ZERO,
        };
        controller.wait(&mut Patience(1_000))?;
        Ok(controller)
    }

    fn step(&mut self, now: Micros) -> Result<(), FixtureError> {
        self.polled = now;
        let mut buffer = [0; 256];
        loop {
            match rustix::io::read(self.link.port(), &mut buffer) {
                Ok(0) | Err(Errno::WOULDBLOCK | Errno::INTR) => break,
                Ok(count) => self.talk.handle_bytes(&buffer[..count])?,
                Err(e) => return Err(self.gone(e.into())),
            }
        }
        self.talk.handle_timeout(now)?;
        while let Some(report) = self.talk.poll_report() {
            match report {
                Report::Identity(identity) => self.identity = identity,
                Report::Set(channel, high) => self.set.push_back((channel, high)),
                Report::Current(channel, ma) => self.currents.push_back((channel, ma)),
                Report::Input(channel, high) => self.inputs.entry(channel).or_default().level = Some(high),
            }
        }
        while let Some(line) = self.talk.poll_transmit(now) {
            self.link.send(line.as_bytes()).map_err(|e| self.gone(std::io::Error::other(e.to_string())))?;
        }
        Ok(())
    }

    /// Talks until nothing is left to say, outside the run's loop: at the beginning and on the way out. Time is
    /// counted in waits of a millisecond.
    fn wait(&mut self, patience: &mut Patience) -> Result<(), FixtureError> {
        let mut now = self.polled;
        loop {
            self.step(now)?;
            if self.talk.is_idle() {
                return Ok(());
            }
            if patience.0 == 0 {
                // Past every deadline: what is still unanswered is named.
                for _ in 0..3 {
                    now = now + super::controller_protocol::ANSWER_WAIT;
                    self.talk.handle_timeout(now)?;
                }
                return Ok(());
            }
            patience.0 -= 1;
            now = now + Span(1_000);
            let mut buffer = [0; 256];
            let got = self.link.receive(&mut buffer, Duration::from_millis(1));
            let got = got.map_err(|e| self.gone(std::io::Error::other(e.to_string())))?;
            self.talk.handle_bytes(&buffer[..got])?;
        }
    }

    fn gone(&self, error: std::io::Error) -> FixtureError {
        FixtureError::Open {
            line: format!("ascii-relay:{}", self.link.path().display()),
            reason: error.to_string(),
        }
    }
}

impl Device for Controller {
    fn set(&mut self, now: Micros, channel: Channel, high: bool) -> Result<Switched, FixtureError> {
        self.talk.say(Command::Set(channel, high));
        self.step(now)?;
        Ok(Switched::Waiting)
    }

    fn poll(&mut self, now: Micros) -> Result<Option<(Channel, bool)>, FixtureError> {
        if self.set.is_empty() {
            self.step(now)?;
        }
        Ok(self.set.pop_front())
    }

    fn next_timeout(&self) -> Option<Micros> {
        if self.talk.is_idle() { self.talk.next_timeout() } else { Some(self.polled + LOOK) }
    }

    fn force(&mut self, channel: Channel, high: bool, patience: &mut Patience) -> Result<(), FixtureError> {
        self.talk.hush();
        self.talk.say(Command::Set(channel, high));
        self.wait(patience)
    }

    fn read(&mut self, now: Micros, channel: Channel) -> Result<Option<bool>, FixtureError> {
        let input = self.inputs.entry(channel).or_default();
        if input.asked.is_none_or(|asked| now.since(asked) >= INPUT_EVERY) {
            input.asked = Some(now);
            self.talk.say(Command::Input(channel));
        }
        let level = input.level;
        self.step(now)?;
        Ok(level)
    }

    fn measure(&mut self, now: Micros, channel: Channel) -> Result<bool, FixtureError> {
        self.talk.say(Command::Measure(channel));
        self.step(now)?;
        Ok(true)
    }

    fn poll_current(&mut self) -> Option<(Channel, Option<u32>)> {
        self.currents.pop_front()
    }

    fn outputs(&self) -> u32 {
        self.identity.outputs
    }

    fn dead_man(&self) -> DeadMan {
        self.talk.watchdog().map_or(DeadMan::Stays, |ms| DeadMan::Watchdog { ms })
    }
}
