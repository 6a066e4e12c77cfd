//! Drivers in virtual time: the shortest correct ones, so that what they measure is the session's doing.

use core::time::Duration;
use std::collections::VecDeque;

use super::{ToyCan, ToyUart};
use crate::error::Error;
use crate::event::{Event, LineAction, LineResult};
use crate::frame::Frame;
use crate::session::{CanSession, Output, UartSession};

/// More polls than any session of these tests needs.
const MOST_POLLS: u32 = 3_000_000;

/// A serial link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UartLink {
    /// Bits per second.
    pub baud: u32,
    /// How much later than it arrives a byte is handed over.
    pub latency: Duration,
    /// Whether the driver can reset the chip.
    pub lines: bool,
    /// The host's byte with this number (from 0) is lost on the wire.
    pub lose_sent_byte: Option<usize>,
    /// The chip's byte with this number is lost.
    pub lose_received_byte: Option<usize>,
    /// The chip is reset when the host's byte with this number arrives.
    pub reset_at_byte: Option<usize>,
    /// The session is dropped after the host has sent this many bytes.
    pub cut_after_bytes: Option<usize>,
    /// Every byte sent comes back.
    pub echo: bool,
    /// Stop at this time.
    pub deadline: Duration,
}

impl UartLink {
    /// A perfect link without lines.
    #[must_use]
    pub const fn new(baud: u32) -> Self {
        Self {
            baud,
            latency: Duration::ZERO,
            lines: false,
            lose_sent_byte: None,
            lose_received_byte: None,
            reset_at_byte: None,
            cut_after_bytes: None,
            echo: false,
            deadline: Duration::from_secs(100_000),
        }
    }
}

/// What a run showed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Run<R> {
    /// How it ended; `None` if it was cut or ran into the deadline.
    pub result: Option<Result<R, Error>>,
    /// When it ended.
    pub time: Duration,
    /// Everything transmitted, one entry for each `Transmit`: its bytes, or a frame's data.
    pub sent: Vec<Vec<u8>>,
    /// Identifiers of the frames, on CAN.
    pub ids: Vec<u16>,
    /// Events.
    pub events: Vec<Event>,
    /// Line actions.
    pub lines: Vec<LineAction>,
    /// How often the session was polled.
    pub polls: u32,
}

impl<R> Run<R> {
    const fn new() -> Self {
        Self {
            result: None,
            time: Duration::ZERO,
            sent: Vec::new(),
            ids: Vec::new(),
            events: Vec::new(),
            lines: Vec::new(),
            polls: 0,
        }
    }

    /// How many frames or byte blocks equal to this were sent.
    #[must_use]
    pub fn times_sent(&self, block: &[u8]) -> usize {
        self.sent.iter().filter(|sent| *sent == block).count()
    }
}

/// Runs a session against a toy until it ends, from `now` on.
pub fn run_uart<'a, R: 'a>(
    session: &mut UartSession<'a, R>,
    toy: &mut ToyUart,
    link: &UartLink,
    now: Duration,
) -> Run<R> {
    run_uart_with(session, toy, link, now, |_, _| {})
}

/// As [`run_uart`], and `on_line` may do something to the chip after each line action.
pub fn run_uart_with<'a, R: 'a>(
    session: &mut UartSession<'a, R>,
    toy: &mut ToyUart,
    link: &UartLink,
    mut now: Duration,
    mut on_line: impl FnMut(&mut ToyUart, LineAction),
) -> Run<R> {
    let mut run = Run::new();
    let mut wires = Wires::new(link, now);
    loop {
        run.polls += 1;
        run.time = now;
        if run.polls > MOST_POLLS || now > link.deadline {
            return run;
        }
        let until = match session.poll() {
            Output::Transmit(bytes) => {
                let cut = wires.send(&bytes, now, toy);
                run.sent.push(bytes);
                if cut {
                    return run;
                }
                continue;
            }
            Output::Line(action) => {
                run.lines.push(action);
                let result = if link.lines { LineResult::Done } else { LineResult::Unavailable };
                if link.lines && !matches!(action, LineAction::BitRate(_)) {
                    toy.reset(now, action == LineAction::PowerCycleIntoRom);
                    wires.to_chip.clear();
                }
                on_line(toy, action);
                session.handle_line(now, result);
                continue;
            }
            Output::Event(event) => {
                run.events.push(event);
                continue;
            }
            Output::Wait { until, .. } => until,
            Output::Done(result) => {
                run.result = Some(result);
                return run;
            }
        };
        match next(&mut wires.to_chip, &mut wires.to_host, until) {
            Next::Chip(at, byte) => {
                now = now.max(at);
                toy.receive(at, byte);
                wires.collect(toy);
            }
            Next::Host(at, byte) => {
                now = now.max(at);
                session.handle_rx(now, &[byte]);
            }
            Next::Nothing => {
                now = now.max(until);
                session.handle_timeout(now);
            }
        }
    }
}

/// What arrives first on a link.
enum Next<P> {
    Chip(Duration, P),
    Host(Duration, P),
    Nothing,
}

/// The chip first: what it hears now may be answered before anything else happens.
fn next<P>(
    to_chip: &mut VecDeque<(Duration, P)>,
    to_host: &mut VecDeque<(Duration, P)>,
    until: Duration,
) -> Next<P> {
    let at = |queue: &VecDeque<(Duration, P)>| queue.front().map_or(Duration::MAX, |(at, _)| *at);
    let (chip, host) = (at(to_chip), at(to_host));
    let first = if chip <= until && chip <= host {
        to_chip.pop_front().map(|(at, packet)| Next::Chip(at, packet))
    } else if host <= until {
        to_host.pop_front().map(|(at, packet)| Next::Host(at, packet))
    } else {
        None
    };
    first.unwrap_or(Next::Nothing)
}

/// Both directions of a serial link, with the bytes on their way.
struct Wires<'l> {
    link: &'l UartLink,
    byte_time: Duration,
    to_chip: VecDeque<(Duration, u8)>,
    to_host: VecDeque<(Duration, u8)>,
    chip_line_free: Duration,
    host_line_free: Duration,
    sent: usize,
    received: usize,
}

impl<'l> Wires<'l> {
    fn new(link: &'l UartLink, now: Duration) -> Self {
        Self {
            link,
            byte_time: Duration::from_nanos(11_000_000_000 / u64::from(link.baud.max(1))),
            to_chip: VecDeque::new(),
            to_host: VecDeque::new(),
            chip_line_free: now,
            host_line_free: now,
            sent: 0,
            received: 0,
        }
    }

    /// Puts bytes on the line; whether the session is to be cut off now.
    fn send(&mut self, bytes: &[u8], now: Duration, toy: &mut ToyUart) -> bool {
        for byte in bytes {
            self.chip_line_free = self.chip_line_free.max(now) + self.byte_time;
            let arrives = self.chip_line_free;
            if self.link.lose_sent_byte != Some(self.sent) {
                self.to_chip.push_back((arrives, *byte));
            }
            if self.link.echo {
                self.to_host.push_back((arrives, *byte));
            }
            if self.link.reset_at_byte == Some(self.sent) {
                toy.reset(arrives, true);
            }
            self.sent += 1;
            if self.link.cut_after_bytes == Some(self.sent) {
                // What is on the line still arrives.
                self.to_chip.drain(..).for_each(|(at, byte)| toy.receive(at, byte));
                return true;
            }
        }
        false
    }

    /// Takes what the chip has to say.
    fn collect(&mut self, toy: &mut ToyUart) {
        while let Some((ready, byte)) = toy.pop() {
            self.host_line_free = self.host_line_free.max(ready) + self.byte_time;
            if self.link.lose_received_byte != Some(self.received) {
                self.to_host.push_back((self.host_line_free + self.link.latency, byte));
            }
            self.received += 1;
        }
    }
}

/// A CAN bus with one chip and the host on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanLink {
    /// How much later than it arrives a frame is handed over.
    pub latency: Duration,
    /// Whether the driver can reset the chip and change the bit rate.
    pub lines: bool,
    /// Stop at this time.
    pub deadline: Duration,
    /// The chip's frame with this number is lost.
    pub lose_received_frame: Option<usize>,
}

impl Default for CanLink {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            lines: true,
            deadline: Duration::from_secs(100_000),
            lose_received_frame: None,
        }
    }
}

/// Runs a session against a toy until it ends, from `now` on.
pub fn run_can<'a, R: 'a>(
    session: &mut CanSession<'a, R>,
    toy: &mut ToyCan,
    link: &CanLink,
    mut now: Duration,
) -> Run<R> {
    let mut run = Run::new();
    let mut rate = 125_000;
    let mut bus_free = now;
    let mut to_chip: VecDeque<(Duration, Frame)> = VecDeque::new();
    let mut to_host: VecDeque<(Duration, Frame)> = VecDeque::new();
    let mut received = 0;
    loop {
        run.polls += 1;
        run.time = now;
        if run.polls > MOST_POLLS || now > link.deadline {
            return run;
        }
        let until = match session.poll() {
            Output::Transmit(frame) => {
                bus_free = bus_free.max(now) + frame_time(&frame, rate);
                to_chip.push_back((bus_free, frame));
                run.ids.push(frame.id());
                run.sent.push(frame.data().to_vec());
                continue;
            }
            Output::Line(action) => {
                run.lines.push(action);
                let result = if link.lines { LineResult::Done } else { LineResult::Unavailable };
                match action {
                    LineAction::BitRate(new) if link.lines => rate = new.bits_per_second(),
                    _ if link.lines => toy.reset(now),
                    _ => {}
                }
                session.handle_line(now, result);
                continue;
            }
            Output::Event(event) => {
                run.events.push(event);
                continue;
            }
            Output::Wait { until, .. } => until,
            Output::Done(result) => {
                run.result = Some(result);
                return run;
            }
        };
        match next(&mut to_chip, &mut to_host, until) {
            Next::Chip(at, frame) => {
                now = now.max(at);
                toy.receive(at, &frame, rate);
                while let Some((ready, frame)) = toy.pop() {
                    bus_free = bus_free.max(ready) + frame_time(&frame, rate);
                    if link.lose_received_frame != Some(received) {
                        to_host.push_back((bus_free + link.latency, frame));
                    }
                    received += 1;
                }
            }
            Next::Host(at, frame) => {
                now = now.max(at);
                session.handle_rx(now, &frame);
            }
            Next::Nothing => {
                now = now.max(until);
                session.handle_timeout(now);
            }
        }
    }
}

/// Time of a frame without stuffing; the FD figure as in the crate's estimate.
fn frame_time(frame: &Frame, rate: u32) -> Duration {
    let len = frame.data().len() as u64;
    let nanos = if frame.is_fd() {
        let tail = if len > 16 { 28 } else { 23 };
        30 * 4000 + (9 + 8 * len + tail) * 1000
    } else {
        (47 + 8 * len) * 1_000_000_000 / u64::from(rate)
    };
    Duration::from_nanos(nanos)
}
