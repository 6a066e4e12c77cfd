//! The lines of a simulated panel in another process, over its local socket (`sim:/SOCKET#NAME` in panel.toml).
//!
//! One request a line, one answer a line; docs/job-files.md describes them. The other process is on this machine
//! and answers within milliseconds; an answer is waited for at most two seconds. Closing the connection switches
//! everything off there, so no slot stays powered when this program is gone.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use panel_backplane::{Fixture, LineAction, LineFunction, Slot};
use panel_protocol::time::Micros;

use super::sensing::Currents;
use super::{FixtureDriver, FixtureError, Switched};

const PATIENCE: Duration = Duration::from_secs(2);

/// The fixture of a simulated panel.
#[derive(Debug)]
pub struct SimLines {
    socket: String,
    fixture: Fixture,
    stream: BufReader<UnixStream>,
}

impl SimLines {
    /// Connects to the socket that the lines of `fixture` name.
    ///
    /// # Errors
    /// [`FixtureError::Open`] if nobody listens there, or lines name different sockets or other connections.
    pub fn connect(fixture: &Fixture) -> Result<Self, FixtureError> {
        let open = |line: String, reason: String| FixtureError::Open { line, reason };
        let mut sockets = fixture.lines.iter().map(|line| (line, line.wire.connection.sim_socket()));
        let socket = sockets.next().and_then(|(_, socket)| socket).unwrap_or_default().to_owned();
        if let Some((line, _)) = sockets.find(|(_, other)| *other != Some(&socket)) {
            let reason = format!("all lines must lead to the same simulated panel, others to {socket}");
            return Err(open(line.wire.to_string(), reason));
        }
        let connect = || {
            let stream = UnixStream::connect(&socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(BufReader::new(stream))
        };
        let stream = connect().map_err(|e: std::io::Error| open(format!("sim:{socket}"), e.to_string()))?;
        Ok(Self { socket, fixture: fixture.clone(), stream })
    }

    /// The rest of the answer after `ok`.
    fn ask(&mut self, command: &str) -> Result<String, FixtureError> {
        let read = |reason: String| FixtureError::Read { input: format!("sim:{}", self.socket), reason };
        let mut answer = String::new();
        let exchanged = self
            .stream
            .get_mut()
            .write_all(format!("{command}\n").as_bytes())
            .and_then(|()| self.stream.read_line(&mut answer));
        match exchanged {
            Ok(0) => Err(read("the simulated panel is gone".to_owned())),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(FixtureError::Silent {
                    device: format!("sim:{}", self.socket),
                    command: command.to_owned(),
                    waited: PATIENCE,
                    tries: 1,
                })
            }
            Err(e) => Err(read(e.to_string())),
            Ok(_) => match answer.trim_end().strip_prefix("ok") {
                Some(rest) => Ok(rest.trim().to_owned()),
                None => Err(FixtureError::Answer {
                    device: format!("sim:{}", self.socket),
                    command: command.to_owned(),
                    expected: "ok".to_owned(),
                    got: answer.trim_end().to_owned(),
                }),
            },
        }
    }
}

impl FixtureDriver for SimLines {
    fn switch(&mut self, _now: Micros, action: LineAction) -> Result<Switched, FixtureError> {
        let Some(line) = self.fixture.lines.get(action.line.index()) else { return Ok(Switched::Done) };
        let to = if action.on { "on" } else { "off" };
        let command = match (line.function, line.wire.connection.sim_name()) {
            (LineFunction::Mux, Some(name)) => format!("mux {to} {name}"),
            _ => format!("{} {to}{}", line.function.name(), numbers(&line.slots)),
        };
        self.ask(&command).map(|_| Switched::Done)
    }

    fn sense(&mut self, _now: Micros, slots: &[Slot]) -> Result<Option<Currents>, FixtureError> {
        let answer = self.ask(&format!("current{}", numbers(slots)))?;
        let current = |slot: Slot| {
            answer.split(' ').find_map(|word| {
                let (number, value) = word.split_once('=')?;
                (number == slot.0.to_string()).then(|| value.parse().ok()).flatten()
            })
        };
        Ok(Some(slots.iter().map(|&slot| (slot, current(slot))).collect()))
    }

    fn safe(&mut self) -> Result<(), FixtureError> {
        self.ask("safe").map(|_| ())
    }
}

fn numbers(slots: &[Slot]) -> String {
    slots.iter().map(|slot| format!(" {}", slot.0)).collect()
}
