//! Simulated relay boards on pseudo-terminals. Also used by the tests of runs, whose boards get their power through
//! them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The far end of a port, and its name. The near end is kept open too: a pseudo-terminal whose last user leaves
/// would hang up.
struct Port {
    path: String,
    far: File,
    _near: File,
}

impl Port {
    fn new() -> Self {
        let far: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let path = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
        let near = File::options().read(true).write(true).open(&path).unwrap();
        // Raw from the first byte on, so that nothing is echoed before the host opens it.
        let mut settings = rustix::termios::tcgetattr(&near).unwrap();
        settings.make_raw();
        rustix::termios::tcsetattr(&near, rustix::termios::OptionalActions::Now, &settings).unwrap();
        Self { path, far: File::from(far), _near: near }
    }
}

/// What hangs on a board's outputs: told of every change, and asked what it draws, in milliamperes.
pub(crate) struct Wiring {
    pub(crate) switch: Box<dyn Fn(u8, bool) + Send + Sync>,
    pub(crate) draws: Box<dyn Fn(u8) -> Option<u32> + Send + Sync>,
}

impl Wiring {
    /// Nothing hangs there.
    pub(crate) fn none() -> Self {
        Self { switch: Box::new(|_, _| {}), draws: Box::new(|_| None) }
    }
}

/// What a board's thread and its test share.
#[derive(Default)]
struct State {
    outputs: BTreeMap<u8, bool>,
    inputs: BTreeMap<u8, bool>,
    damaged: usize,
    silent: bool,
    watchdog: Option<(Duration, Instant)>,
}

fn on(state: &State) -> Vec<u8> {
    state.outputs.iter().filter(|(_, on)| **on).map(|(n, _)| *n).collect()
}

/// Relay board with the four-byte protocol.
pub(crate) struct Lcus {
    path: String,
    state: Arc<Mutex<State>>,
    _near: File,
}

impl Lcus {
    pub(crate) fn new(wiring: Wiring) -> Self {
        let Port { path, mut far, _near } = Port::new();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut frame = Vec::new();
            let mut byte = [0];
            while far.read_exact(&mut byte).is_ok() {
                frame.push(byte[0]);
                if frame.len() < 4 {
                    continue;
                }
                let mut state = shared.lock().unwrap();
                let sum = frame[..3].iter().map(|b| u32::from(*b)).sum::<u32>() % 256;
                match (frame[0], frame[2], u32::from(frame[3]) == sum) {
                    (160, 0 | 1, true) => {
                        state.outputs.insert(frame[1], frame[2] == 1);
                        (wiring.switch)(frame[1], frame[2] == 1);
                    }
                    _ => state.damaged += 1,
                }
                frame.clear();
            }
        });
        Self { path, state, _near }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn on(&self) -> Vec<u8> {
        on(&self.state.lock().unwrap())
    }

    pub(crate) fn damaged(&self) -> usize {
        self.state.lock().unwrap().damaged
    }
}

/// Fixture controller with the ASCII protocol of docs/hardware.md.
pub(crate) struct Controller {
    path: String,
    state: Arc<Mutex<State>>,
    _near: File,
}

impl Controller {
    /// A controller with four inputs; `watchdog_ms` is the longest time that it can watch, 0 for none.
    pub(crate) fn new(outputs: u8, watchdog_ms: u64, wiring: Wiring) -> Self {
        let Port { path, far, _near } = Port::new();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let wiring = Arc::new(wiring);
        let hanging = Arc::clone(&wiring);
        std::thread::spawn(move || serve(far, &shared, outputs, watchdog_ms, &wiring));
        let watched = Arc::downgrade(&state);
        std::thread::spawn(move || {
            while let Some(state) = watched.upgrade() {
                bite(state.lock().unwrap(), &hanging);
                drop(state);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { path, state, _near }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn on(&self) -> Vec<u8> {
        on(&self.state.lock().unwrap())
    }

    pub(crate) fn input(&self, n: u8, high: bool) {
        self.state.lock().unwrap().inputs.insert(n, high);
    }

    /// From now on it hears and says nothing.
    pub(crate) fn silence(&self) {
        self.state.lock().unwrap().silent = true;
    }
}

fn bite(mut state: MutexGuard<'_, State>, wiring: &Wiring) {
    if let Some((time, fed)) = state.watchdog
        && fed.elapsed() > time
    {
        on(&state).into_iter().for_each(|output| (wiring.switch)(output, false));
        state.outputs.clear();
    }
}

fn serve(mut far: File, shared: &Mutex<State>, outputs: u8, watchdog_ms: u64, wiring: &Wiring) {
    let mut line = String::new();
    let mut byte = [0];
    while far.read_exact(&mut byte).is_ok() {
        if byte[0] != b'\n' {
            line.push(char::from(byte[0]));
            continue;
        }
        let mut state = shared.lock().unwrap();
        if state.silent {
            line.clear();
            continue;
        }
        let answer = obey(&mut state, line.trim(), (outputs, watchdog_ms), wiring);
        if let Some((_, fed)) = &mut state.watchdog {
            *fed = Instant::now();
        }
        drop(state);
        line.clear();
        far.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
    }
}

fn obey(state: &mut State, line: &str, (outputs, watchdog_ms): (u8, u64), wiring: &Wiring) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |n: usize| words.get(n).and_then(|w| w.parse::<u64>().ok());
    match (words[0], number(1), number(2)) {
        ("ID", None, None) => format!("ID PANELFIX 1 {outputs} 4 {watchdog_ms} simulated board"),
        ("WD", Some(ms), None) if ms <= watchdog_ms => {
            state.watchdog = (ms > 0).then(|| (Duration::from_millis(ms), Instant::now()));
            format!("OK WD {ms}")
        }
        ("SET", Some(n), Some(level @ (0 | 1))) if n >= 1 && n <= outputs.into() => {
            state.outputs.insert(n as u8, level == 1);
            (wiring.switch)(n as u8, level == 1);
            format!("OK SET {n} {level}")
        }
        ("IN", Some(n @ 1..=4), None) => {
            let level = state.inputs.get(&(n as u8)).copied().unwrap_or_default();
            format!("OK IN {n} {}", u8::from(level))
        }
        ("MA", Some(n), None) if n >= 1 && n <= outputs.into() => match (wiring.draws)(n as u8) {
            Some(ma) => format!("OK MA {n} {ma}"),
            None => "ERR MA no shunt at this output".to_owned(),
        },
        (word, ..) => format!("ERR {word} not understood"),
    }
}
