//! The link against an adapter that is played by the test, over a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::thread::{JoinHandle, spawn};

use panel_protocol::frame::Id;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::*;

const RATES: BusRates = BusRates { nominal: 500_000, data: None };

/// The adapter's end of a raw pseudo-terminal, and the path of the other end.
fn terminal() -> (File, PathBuf) {
    let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut raw = tcgetattr(&master).unwrap();
    raw.make_raw();
    tcsetattr(&master, OptionalActions::Now, &raw).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (File::from(master), PathBuf::from(path))
}

fn read_line(adapter: &mut File) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        adapter.read_exact(&mut byte).unwrap();
        if byte[0] == CR {
            return String::from_utf8(line).unwrap();
        }
        line.push(byte[0]);
    }
}

/// Answers commands until the channel is open and its status was asked for, and returns them.
fn greet(mut adapter: File, refused: &'static str, status: &'static [u8]) -> JoinHandle<(File, Vec<String>)> {
    spawn(move || {
        let mut heard = Vec::new();
        loop {
            let line = read_line(&mut adapter);
            let answer: &[u8] = match line.as_str() {
                "F" => status,
                l if l == refused => &[BELL],
                _ => &[CR],
            };
            adapter.write_all(answer).unwrap();
            let done = line == "F" || line == refused;
            heard.push(line);
            if done {
                return (adapter, heard);
            }
        }
    })
}

fn open(status: &'static [u8]) -> (SlcanLink, File) {
    let (adapter, path) = terminal();
    let greeting = greet(adapter, "-", status);
    let link = SlcanLink::open(&path, RATES).unwrap();
    let (adapter, heard) = greeting.join().unwrap();
    assert_eq!(heard, ["", "", "C", "S6", "Z1", "O", "F"]);
    (link, adapter)
}

fn frame(n: u16) -> Frame {
    Frame::classical(Id::Standard(0x400 + n), &[n as u8]).unwrap()
}

/// The next input, waiting for the adapter's bytes to arrive.
fn next(link: &mut SlcanLink, now: Micros) -> CanInput {
    for _ in 0..500 {
        if let Some(input) = link.receive(now) {
            return input;
        }
        let fd = link.fd().expect("open");
        let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&wait)).unwrap();
    }
    panic!("nothing came");
}

#[test]
fn opening_sets_rate_and_timestamps_and_frames_go_both_ways() {
    let (mut link, mut adapter) = open(b"\r");
    assert!(link.has_room(Micros(1)));
    link.send(Micros(1), &frame(1));
    assert_eq!(read_line(&mut adapter), "t401101");
    adapter.write_all(b"z\rt2802A1B20010\r").unwrap();
    assert_eq!(next(&mut link, Micros(2)), CanInput::Sent(frame(1)));
    let answer = Frame::classical(Id::Standard(0x280), &[0xA1, 0xB2]).unwrap();
    assert_eq!(next(&mut link, Micros(2)), CanInput::Received(answer, Some(Stamp::AdapterMs(16))));
}

#[test]
fn a_refused_frame_is_given_again_and_none_is_lost() {
    let (mut link, mut adapter) = open(b"\r");
    for n in 0..3 {
        link.send(Micros(1), &frame(n));
    }
    for n in 0..3 {
        assert_eq!(read_line(&mut adapter), format!("t40{n}10{n}"));
    }
    adapter.write_all(b"z\r\x07z\r").unwrap();
    assert_eq!(next(&mut link, Micros(2)), CanInput::Sent(frame(0)));
    assert_eq!(next(&mut link, Micros(2)), CanInput::Sent(frame(2)));
    assert_eq!(read_line(&mut adapter), "t401101");
    adapter.write_all(b"\r").unwrap();
    assert_eq!(next(&mut link, Micros(3)), CanInput::Sent(frame(1)));
    assert_eq!((link.counters().queue_full, link.counters().sent), (1, 3));
}

#[test]
fn an_adapter_that_answers_nothing_is_paced_by_the_bit_rate() {
    let (mut link, _adapter) = open(b"\r");
    link.send(Micros(0), &frame(0));
    assert_eq!(link.receive(Micros(99_000)), None);
    assert_eq!(next(&mut link, Micros(100_001)), CanInput::Sent(frame(0)));
    link.send(Micros(200_000), &frame(1));
    // 55 bits at 500 kbit/s.
    assert_eq!(link.next_timeout(), Some(Micros(200_110)));
    assert_eq!(link.receive(Micros(200_110)), Some(CanInput::Sent(frame(1))));
}

#[test]
fn an_adapter_that_refuses_the_rate_is_not_used() {
    let (adapter, path) = terminal();
    let greeting = greet(adapter, "S6", b"\r");
    let error = SlcanLink::open(&path, RATES).expect_err("refused").to_string();
    greeting.join().unwrap();
    assert_eq!(error, format!("slcan:{}: the adapter refuses `S6` (bit rate)", path.display()));
}

#[test]
fn status_flags_are_asked_for_and_reports_become_events() {
    let (mut link, mut adapter) = open(b"F00\r");
    assert_eq!(link.receive(Micros(1)), None);
    assert_eq!(read_line(&mut adapter), "F");
    adapter.write_all(b"F20\re1a\rsf000255\r").unwrap();
    assert_eq!(next(&mut link, Micros(2)), CanInput::Event(CanEvent::ErrorPassive));
    assert_eq!(next(&mut link, Micros(2)), CanInput::Event(CanEvent::NoAck));
    assert_eq!(next(&mut link, Micros(2)), CanInput::Event(CanEvent::BusOff));
    assert_eq!(link.next_timeout(), Some(Micros(1) + STATUS));
}

#[test]
fn an_adapter_that_is_unplugged_is_down() {
    let (mut link, adapter) = open(b"\r");
    link.send(Micros(1), &frame(0));
    drop(adapter);
    let down = next(&mut link, Micros(2));
    assert!(matches!(down, CanInput::Event(CanEvent::Down { .. })), "{down:?}");
    assert!(link.fd().is_none() && !link.has_room(Micros(2)) && link.restore(Micros(3)).is_err());
}

#[test]
fn a_write_that_the_system_does_not_take_waits_in_order() {
    let (mut link, adapter) = open(b"\r");
    // The terminal holds some thousand frames at most; nobody reads them.
    for n in 0..10_000 {
        link.send(Micros(1), &frame(n % 256));
    }
    assert!(link.wants_write() && !link.has_room(Micros(1)));
    fcntl_setfl(&adapter, OFlags::empty()).unwrap();
    let mut adapter = adapter;
    for n in 0..10_000_u16 {
        assert_eq!(read_line(&mut adapter), format!("t4{:02X}1{:02X}", n % 256, n % 256));
        assert_eq!(link.receive(Micros(2)), None);
    }
    assert!(!link.wants_write());
}
