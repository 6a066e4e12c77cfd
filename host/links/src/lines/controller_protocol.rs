//! The fixture controller's ASCII protocol from the host's end, without a port or a clock (docs/hardware.md).
//!
//! One command is under way at a time and is asked again when its answer stays out. Whenever nothing was said for a
//! third of the watchdog time, the watchdog is set again: that silence is what switches everything off when the
//! program is gone.

use std::collections::VecDeque;
use std::time::Duration;

use panel_protocol::time::{Micros, Span};

use super::FixtureError;
use super::controller::ControllerIdentity;

/// How long an answer may take: a relay operates in 10 ms, an adapter sits on bytes for 16 ms.
pub(super) const ANSWER_WAIT: Span = Span(250_000);
/// How often a command is sent before its controller counts as silent.
const TRIES: u8 = 3;
/// The watchdog that is asked for, in milliseconds: long beside a slow disk, short beside a person's hand.
const WATCHDOG_MS: u32 = 3_000;
/// The version of the protocol that is spoken.
const VERSION: &str = "1";
/// Longer lines are no answers.
const LONGEST_LINE: usize = 120;

/// What the host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Identify,
    Watchdog(u32),
    Set(u32, bool),
    Input(u32),
    Measure(u32),
}

impl Command {
    fn text(self) -> String {
        match self {
            Self::Identify => "ID".to_owned(),
            Self::Watchdog(ms) => format!("WD {ms}"),
            Self::Set(channel, high) => format!("SET {channel} {}", u8::from(high)),
            Self::Input(channel) => format!("IN {channel}"),
            Self::Measure(channel) => format!("MA {channel}"),
        }
    }
}

/// What an answer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// What it is.
    Identity(ControllerIdentity),
    /// An output is set.
    Set(u32, bool),
    /// An input's level.
    Input(u32, bool),
    /// The current that an output supplies, in milliamperes, if it can be measured.
    Current(u32, Option<u32>),
}

struct UnderWay {
    command: Command,
    deadline: Micros,
    tries: u8,
}

/// The conversation with one controller.
pub(super) struct Conversation {
    device: String,
    queue: VecDeque<Command>,
    under_way: Option<UnderWay>,
    /// The line under way is to be sent (again).
    to_send: bool,
    input: Vec<u8>,
    reports: VecDeque<Report>,
    /// Milliseconds, once it is known that the controller can do it.
    watchdog: Option<u32>,
    quiet_since: Micros,
}

impl Conversation {
    /// Begins by asking who is there.
    pub(super) fn new(device: String) -> Self {
        Self {
            device,
            queue: VecDeque::from([Command::Identify]),
            under_way: None,
            to_send: false,
            input: Vec::new(),
            reports: VecDeque::new(),
            watchdog: None,
            quiet_since: Micros::ZERO,
        }
    }

    /// Says this after what is waiting; switching overtakes questions about inputs.
    pub(super) fn say(&mut self, command: Command) {
        match command {
            Command::Set(..) => {
                let place = self.queue.iter().take_while(|c| !matches!(c, Command::Input(_))).count();
                self.queue.insert(place, command);
            }
            // One question about an input is enough.
            Command::Input(_) if self.queue.contains(&command) => {}
            other => self.queue.push_back(other),
        }
    }

    /// From now on the controller's watchdog is set, and fed, if it can watch so long as `longest_ms` says.
    pub(super) fn watch(&mut self, longest_ms: u32) {
        if longest_ms > 0 {
            let ms = longest_ms.min(WATCHDOG_MS);
            self.watchdog = Some(ms);
            self.queue.push_front(Command::Watchdog(ms));
        }
    }

    /// Forgets everything that was to be said.
    pub(super) fn hush(&mut self) {
        self.queue.clear();
        self.under_way = None;
        self.input.clear();
    }

    /// Nothing waits for an answer or for its turn.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none() && self.queue.is_empty()
    }

    /// The watchdog in force, in milliseconds.
    pub(super) const fn watchdog(&self) -> Option<u32> {
        self.watchdog
    }

    /// The next line to send, with its end.
    pub(super) fn poll_transmit(&mut self, now: Micros) -> Option<String> {
        if self.under_way.is_none() {
            let due = self.refresh_at().is_some_and(|at| now >= at);
            let refresh = self.watchdog.filter(|_| due && self.queue.is_empty()).map(Command::Watchdog);
            let command = self.queue.pop_front().or(refresh)?;
            self.under_way = Some(UnderWay { command, deadline: now + ANSWER_WAIT, tries: 1 });
            self.to_send = true;
        }
        if !core::mem::take(&mut self.to_send) {
            return None;
        }
        self.quiet_since = now;
        self.under_way.as_ref().map(|u| format!("{}\n", u.command.text()))
    }

    /// What came from the controller.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), FixtureError> {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&core::mem::take(&mut self.input)).trim().to_owned();
                    if !line.is_empty() {
                        self.line(&line)?;
                    }
                }
                _ if self.input.len() < LONGEST_LINE => self.input.push(byte),
                _ => {}
            }
        }
        Ok(())
    }

    /// A deadline may have passed.
    pub(super) fn handle_timeout(&mut self, now: Micros) -> Result<(), FixtureError> {
        let Some(under_way) = self.under_way.as_mut().filter(|u| now >= u.deadline) else { return Ok(()) };
        if under_way.tries == TRIES {
            return Err(FixtureError::Silent {
                device: self.device.clone(),
                command: under_way.command.text(),
                waited: Duration::from_micros(ANSWER_WAIT.0),
                tries: TRIES,
            });
        }
        under_way.tries += 1;
        under_way.deadline = now + ANSWER_WAIT;
        self.to_send = true;
        Ok(())
    }

    /// When something is to be done although nothing came.
    pub(super) fn next_timeout(&self) -> Option<Micros> {
        self.under_way.as_ref().map(|u| u.deadline).or_else(|| self.refresh_at())
    }

    /// The next thing that an answer said.
    pub(super) fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    fn refresh_at(&self) -> Option<Micros> {
        self.watchdog.map(|ms| self.quiet_since + Span(u64::from(ms) * 1000 / 3))
    }

    fn line(&mut self, line: &str) -> Result<(), FixtureError> {
        let Some(under_way) = &self.under_way else {
            // An answer that was given up: its command was asked again and answered since.
            return Ok(());
        };
        let command = under_way.command;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let report = match (command, words.as_slice()) {
            (Command::Identify, ["ID", "PANELFIX", VERSION, outputs, inputs, watchdog, name @ ..]) => {
                match (outputs.parse(), inputs.parse(), watchdog.parse()) {
                    (Ok(outputs), Ok(inputs), Ok(watchdog_ms)) => {
                        let name = name.join(" ");
                        Some(Report::Identity(ControllerIdentity { outputs, inputs, watchdog_ms, name }))
                    }
                    _ => return Err(self.wrong(command, line)),
                }
            }
            (Command::Watchdog(ms), ["OK", "WD", said]) if said.parse() == Ok(ms) => None,
            (Command::Set(channel, high), ["OK", "SET", n, level])
                if level_of(n, level) == Some((channel, high)) =>
            {
                Some(Report::Set(channel, high))
            }
            (Command::Input(channel), ["OK", "IN", n, level]) => match level_of(n, level) {
                Some((said, high)) if said == channel => Some(Report::Input(channel, high)),
                _ => return Err(self.wrong(command, line)),
            },
            (Command::Measure(channel), ["OK", "MA", n, ma]) => match (n.parse(), ma.parse()) {
                (Ok(said), Ok(ma)) if channel == said => Some(Report::Current(channel, Some(ma))),
                _ => return Err(self.wrong(command, line)),
            },
            (Command::Measure(channel), ["ERR", ..]) => Some(Report::Current(channel, None)),
            // The answer to the first asking of what was asked twice.
            (_, ["OK", ..]) if under_way.tries > 1 => return Ok(()),
            _ => return Err(self.wrong(command, line)),
        };
        self.under_way = None;
        self.reports.extend(report);
        Ok(())
    }

    fn wrong(&self, command: Command, got: &str) -> FixtureError {
        let expected = match command {
            Command::Identify => format!("ID PANELFIX {VERSION} OUTPUTS INPUTS WATCHDOG_MS NAME"),
            Command::Input(channel) => format!("OK IN {channel} 0|1"),
            Command::Measure(channel) => format!("OK MA {channel} MILLIAMPERES"),
            Command::Watchdog(_) | Command::Set(..) => format!("OK {}", command.text()),
        };
        FixtureError::Answer {
            device: self.device.clone(),
            command: command.text(),
            expected,
            got: got.to_owned(),
        }
    }
}

fn level_of(channel: &str, level: &str) -> Option<(u32, bool)> {
    let high = match level {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    Some((channel.parse().ok()?, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_identity(watchdog_ms: u32) -> Conversation {
        let mut talk = Conversation::new("/dev/f".to_owned());
        assert_eq!(talk.poll_transmit(Micros(1)).as_deref(), Some("ID\n"));
        talk.handle_bytes(format!("ID PANELFIX 1 24 4 {watchdog_ms} bench 3\r\n").as_bytes()).unwrap();
        let name = "bench 3".to_owned();
        let identity = ControllerIdentity { outputs: 24, inputs: 4, watchdog_ms, name };
        assert_eq!(talk.poll_report(), Some(Report::Identity(identity)));
        talk.watch(watchdog_ms);
        talk
    }

    #[test]
    fn a_controller_with_a_watchdog_is_never_left_unfed() {
        let mut talk = after_identity(60_000);
        assert_eq!(talk.poll_transmit(Micros(1_000)).as_deref(), Some("WD 3000\n"));
        talk.handle_bytes(b"OK WD 3000\n").unwrap();
        assert_eq!(talk.next_timeout(), Some(Micros(1_001_000)));
        assert_eq!(talk.poll_transmit(Micros(1_000_999)), None);
        assert_eq!(talk.poll_transmit(Micros(1_001_000)).as_deref(), Some("WD 3000\n"));
    }

    #[test]
    fn without_a_watchdog_nothing_is_said_unasked() {
        let mut talk = after_identity(0);
        assert_eq!(talk.poll_transmit(Micros(99_000_000)), None);
        assert_eq!(talk.next_timeout(), None);
        assert_eq!(talk.watchdog(), None);
    }

    #[test]
    fn commands_wait_for_the_answer_before_and_switching_overtakes_inputs() {
        let mut talk = after_identity(0);
        talk.say(Command::Input(1));
        talk.say(Command::Input(1));
        talk.say(Command::Set(3, true));
        assert_eq!(talk.poll_transmit(Micros(0)).as_deref(), Some("SET 3 1\n"));
        assert_eq!(talk.poll_transmit(Micros(1)), None);
        // The answer comes in pieces.
        talk.handle_bytes(b"OK S").unwrap();
        talk.handle_bytes(b"ET 3 1\r\n").unwrap();
        assert_eq!(talk.poll_report(), Some(Report::Set(3, true)));
        assert_eq!(talk.poll_transmit(Micros(2)).as_deref(), Some("IN 1\n"));
        talk.handle_bytes(b"OK IN 1 0\n").unwrap();
        assert_eq!(talk.poll_report(), Some(Report::Input(1, false)));
        assert_eq!(talk.poll_transmit(Micros(3)), None);
    }

    #[test]
    fn currents_are_numbers_or_cannot_be_measured_and_anything_else_is_an_error() {
        let mut talk = after_identity(0);
        for (n, answer, report) in [
            (4, "OK MA 4 118", Some(Some(118))),
            (5, "ERR MA no shunt there", Some(None)),
            (6, "OK MA 6 much", None),
            (6, "OK MA 7 1", None),
        ] {
            talk.hush();
            talk.say(Command::Measure(n));
            assert_eq!(talk.poll_transmit(Micros(0)), Some(format!("MA {n}\n")));
            let heard = talk.handle_bytes(format!("{answer}\n").as_bytes());
            assert_eq!(heard.is_ok(), report.is_some(), "{answer}");
            assert_eq!(talk.poll_report(), report.map(|ma| Report::Current(n, ma)), "{answer}");
        }
    }

    #[test]
    fn a_silent_controller_is_asked_three_times_and_then_named_with_the_command() {
        let mut talk = after_identity(0);
        talk.say(Command::Set(7, false));
        let mut now = Micros(0);
        for _ in 0..3 {
            assert_eq!(talk.poll_transmit(now).as_deref(), Some("SET 7 0\n"));
            now = talk.next_timeout().unwrap();
            if talk.handle_timeout(now).is_err() {
                assert_eq!(now, Micros(750_000));
                return;
            }
        }
        panic!("it was never given up");
    }

    #[test]
    fn a_late_answer_to_the_first_asking_counts_once() {
        let mut talk = after_identity(0);
        talk.say(Command::Set(7, true));
        talk.poll_transmit(Micros(0));
        talk.handle_timeout(Micros(250_000)).unwrap();
        assert!(talk.poll_transmit(Micros(250_000)).is_some());
        talk.handle_bytes(b"OK SET 7 1\nOK SET 7 1\n").unwrap();
        assert_eq!(talk.poll_report(), Some(Report::Set(7, true)));
        assert_eq!(talk.poll_report(), None);
    }

    #[test]
    fn another_answer_than_the_right_one_says_what_was_expected() {
        let mut talk = after_identity(0);
        talk.say(Command::Set(7, true));
        talk.poll_transmit(Micros(0));
        let error = talk.handle_bytes(b"ERR SET no such output\n").unwrap_err().to_string();
        assert_eq!(error, "/dev/f: answered `ERR SET no such output` to `SET 7 1`, expected `OK SET 7 1`");
        let mut other = Conversation::new("/dev/f".to_owned());
        other.poll_transmit(Micros(0));
        assert!(other.handle_bytes(b"AT OK\n").unwrap_err().to_string().contains("PANELFIX 1"));
    }
}
