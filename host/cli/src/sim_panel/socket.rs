//! The simulated fixture as other programs switch it: a local socket, one command a line, one answer a line.
//!
//! ```text
//! power on 1 2 3      also nrst, boot0, select; on or off
//! mux on NAME         also off: a line of the panel's multiplexers, by its name in panel.toml
//! current 1 2 3       answers `ok 1=45 2=0 3=-`, in mA; `-` where there is no slot
//! safe                everything off, NRST released
//! ```
//!
//! A client that switched something and goes away leaves everything off: no board stays powered when its host is
//! gone.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use panel_backplane::{LineFunction, Panel};
use panel_codes::Code;
use panel_simulator::World;

use crate::failure::Failure;
use crate::sim_mux::SimMux;

/// The socket and its clients.
pub(super) struct FixtureSocket {
    path: PathBuf,
    listener: UnixListener,
    clients: Vec<Client>,
    /// Slots with a power line; the others have power all the time.
    switched: Vec<u16>,
    slots: Vec<u16>,
    mux: SimMux,
}

struct Client {
    stream: UnixStream,
    line: Vec<u8>,
    switched: bool,
}

impl FixtureSocket {
    pub(super) fn listen(path: &Path, panel: &Panel) -> Result<Self, Failure> {
        let refuse = |e: &dyn std::fmt::Display| {
            Failure::new(Code::LinkMissing, format!("fixture socket {}: {e}", path.display()))
        };
        if UnixStream::connect(path).is_ok() {
            return Err(refuse(&"another program listens there"));
        }
        // What a program that was killed left behind.
        _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(|e| refuse(&e))?;
        listener.set_nonblocking(true).map_err(|e| refuse(&e))?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            clients: Vec::new(),
            switched: panel.slots.iter().filter(|s| s.lines.power.is_some()).map(|s| s.slot.0).collect(),
            slots: panel.slots.iter().map(|s| s.slot.0).collect(),
            mux: SimMux::new(panel),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where ports lead.
    pub(super) const fn mux(&self) -> &SimMux {
        &self.mux
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.clients.iter().map(|c| c.stream.as_fd()).chain([self.listener.as_fd()])
    }

    /// Accepts, obeys, answers.
    pub(super) fn work(&mut self, world: &mut World) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client { stream, line: Vec::new(), switched: false });
            }
        }
        let mut n = 0;
        while n < self.clients.len() {
            if self.serve(n, world) {
                n += 1;
            } else if self.clients.swap_remove(n).switched {
                self.all_off(world);
            }
        }
    }

    /// False if the client is gone.
    fn serve(&mut self, n: usize, world: &mut World) -> bool {
        let mut buffer = [0; 1024];
        loop {
            let count = match self.clients[n].stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            for &byte in &buffer[..count] {
                if byte != b'\n' {
                    self.clients[n].line.push(byte);
                    continue;
                }
                let line = std::mem::take(&mut self.clients[n].line);
                let answer = match self.obey(&String::from_utf8_lossy(&line), world) {
                    Ok((answer, switched)) => {
                        self.clients[n].switched |= switched;
                        format!("ok{answer}\n")
                    }
                    Err(why) => format!("error {why}\n"),
                };
                // An answer is shorter than any socket's buffer; a client that reads none is gone.
                if self.clients[n].stream.write_all(answer.as_bytes()).is_err() {
                    return false;
                }
            }
        }
    }

    /// The answer after `ok`, and whether something was switched.
    fn obey(&mut self, line: &str, world: &mut World) -> Result<(String, bool), String> {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("safe") => {
                self.all_off(world);
                Ok((String::new(), false))
            }
            Some("current") => {
                let slots = self.numbers(words)?;
                let text = |slot: &u16| match world.current_ma(*slot) {
                    Some(ma) => format!(" {slot}={ma}"),
                    None => format!(" {slot}=-"),
                };
                Ok((slots.iter().map(text).collect(), false))
            }
            Some("mux") => {
                let on = on_or_off(words.next())?;
                let name = words.next().unwrap_or_default();
                let known = self.mux.switch_named(name, on);
                known.then(|| (String::new(), true)).ok_or_else(|| format!("there is no mux line `{name}`"))
            }
            Some(name) => {
                let known =
                    [LineFunction::Power, LineFunction::Nrst, LineFunction::Boot0, LineFunction::Select];
                let function = known.into_iter().find(|f| f.name() == name);
                let function = function.ok_or_else(|| format!("`{name}` is no command"))?;
                let on = on_or_off(words.next())?;
                let slots = self.numbers(words)?;
                crate::sim_drive::switch_slots(world, function, &slots, on);
                Ok((String::new(), true))
            }
            None => Err("empty line".to_owned()),
        }
    }

    fn numbers<'w>(&self, words: impl Iterator<Item = &'w str>) -> Result<Vec<u16>, String> {
        let slot = |word: &str| {
            let number = word.parse().ok().filter(|n| self.slots.contains(n));
            number.ok_or_else(|| format!("there is no slot {word}"))
        };
        words.map(slot).collect()
    }

    fn all_off(&mut self, world: &mut World) {
        use LineFunction::{Boot0, Nrst, Power, Select};
        self.mux.all_off();
        crate::sim_drive::switch_slots(world, Power, &self.switched, false);
        for function in [Boot0, Select, Nrst] {
            crate::sim_drive::switch_slots(world, function, &self.slots, false);
        }
    }
}

fn on_or_off(word: Option<&str>) -> Result<bool, String> {
    match word {
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        other => Err(format!("on or off expected, got `{}`", other.unwrap_or_default())),
    }
}

impl Drop for FixtureSocket {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}
