//! Boards on real pseudo-terminals, opened as any program opens a serial port.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use rom_simulator::pty::{Hangup, PtyBank, PtyConfig};
use rom_simulator::{Settings, catalog};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A served bank; stops when dropped.
struct Served {
    paths: Vec<String>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new(device: &str, ports: usize, paced: bool, hangup: Hangup) -> Self {
        let model = catalog::find(device).expect("device");
        let settings = Settings::default();
        let bank =
            PtyBank::open(&PtyConfig { ports, model, settings, baud: 115_200, paced, hangup }).expect("open");
        let paths = bank.paths().map(str::to_owned).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || bank.serve(&flag).expect("serve"));
        Self { paths, stop, thread: Some(thread) }
    }

    fn open(&self, port: usize) -> Port {
        Port(OpenOptions::new().read(true).write(true).open(&self.paths[port]).expect("open port"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

struct Port(File);

impl Port {
    /// Writes `bytes` and reads exactly `len` bytes.
    fn say(&mut self, bytes: &[u8], len: usize) -> Vec<u8> {
        self.0.write_all(bytes).expect("write");
        let mut answer = vec![0; len];
        self.0.read_exact(&mut answer).expect("read");
        answer
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests are about real time")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let result = work();
    (result, start.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "these tests are about real time")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn every_port_has_a_board_of_its_own() {
    let served = Served::new("F103", 3, false, Hangup::Reset);
    let uid = |port| {
        let mut port = served.open(port);
        assert_eq!(port.say(&[0x7F], 1), [0x79]);
        port.say(&[0x11, 0xEE], 1);
        // 0x1FFFF7E8, 12 bytes.
        port.say(&[0x1F, 0xFF, 0xF7, 0xE8, 0xFF], 1);
        port.say(&[0x0B, 0xF4], 13)
    };
    assert_ne!(uid(0), uid(1));
    assert_ne!(uid(1), uid(2));
}

#[test]
fn paced_a_block_takes_its_time_at_the_rate_the_host_has_set() {
    let served = Served::new("F405", 1, true, Hangup::Reset);
    for (baud, millis) in [(115_200, 24.4), (460_800, 6.1)] {
        let mut port = served.open(0);
        let mut settings = tcgetattr(&port.0).expect("settings");
        settings.set_speed(baud).expect("speed");
        tcsetattr(&port.0, OptionalActions::Now, &settings).expect("set");
        assert_eq!(port.say(&[0x7F], 1), [0x79]);
        port.say(&[0x11, 0xEE], 1);
        port.say(&[0x08, 0x00, 0x00, 0x00, 0x08], 1);
        // 2 bytes out, an ACK and 256 bytes back: 259 frames of 11 bits.
        let (_, time) = timed(|| port.say(&[0xFF, 0x00], 257));
        let time = time.as_secs_f64() * 1e3;
        assert!(time > millis && time < millis * 1.5 + 10.0, "{time} ms at {baud}");
        drop(port);
        pause();
    }
}

#[test]
fn closing_the_port_resets_the_board_unless_told_otherwise() {
    for (hangup, next) in [(Hangup::Reset, 0x79), (Hangup::PowerCycle, 0x79), (Hangup::Nothing, 0x1F)] {
        let served = Served::new("F405", 1, false, hangup);
        let mut port = served.open(0);
        assert_eq!(port.say(&[0x7F], 1), [0x79]);
        // Half a command is left behind.
        port.0.write_all(&[0x02]).expect("write");
        pause();
        drop(port);
        pause();
        assert_eq!(served.open(0).say(&[0x7F], 1), [next], "{hangup:?}");
    }
}

#[test]
fn what_one_host_did_not_read_does_not_reach_the_next() {
    let served = Served::new("F405", 1, false, Hangup::Reset);
    let mut port = served.open(0);
    port.say(&[0x7F], 1);
    port.0.write_all(&[0x00, 0xFF]).expect("write");
    pause();
    drop(port);
    pause();
    let mut port = served.open(0);
    assert_eq!(port.say(&[0x7F], 1), [0x79]);
    assert_eq!(port.say(&[0x02, 0xFD], 5), [0x79, 0x01, 0x04, 0x13, 0x79]);
}

#[test]
fn a_host_that_closes_and_opens_at_once_meets_a_fresh_board_every_time() {
    let served = Served::new("F405", 1, false, Hangup::Reset);
    for _ in 0..200 {
        assert_eq!(served.open(0).say(&[0x7F], 1), [0x79]);
    }
}
