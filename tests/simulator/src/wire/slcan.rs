//! A serial-line CAN adapter, after LAWICEL's "CAN232 Manual", version 3: commands S, O, L, C, t, T, F, V, N, Z.
//! FD frames (b, B, d, D) and data rates (Y) as CANable 2.0 has them; states and errors are reported as the Linux
//! driver slcan reads them (drivers/net/can/slcan: `s`, `e`).
//!
//! Two things a real adapter may do differently: a frame is answered when it has been on the bus, not when it was
//! taken into the queue, and a rate that is not the bus's drives the adapter off the bus with its first frame.

use std::collections::VecDeque;
use std::fmt::Write as _;

use panel_protocol::frame::{Frame, Id};

use super::WirePeer;
use crate::config::BusSpeed;
use crate::world::HostEvent;

const OK: &[u8] = b"\r";
const ERROR: &[u8] = b"\x07";
/// Frames that the adapter's queue holds.
const QUEUE: usize = 64;

const BIT_RATES: [u32; 9] = [10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 800_000, 1_000_000];

/// An slcan adapter on one bus.
#[derive(Debug)]
pub struct SlcanAdapter {
    bus: BusSpeed,
    rate: Option<u32>,
    data_rate: Option<u32>,
    open: bool,
    listen_only: bool,
    stamps: bool,
    flags: u8,
    /// Off the bus for good: its rate is not the bus's.
    off: bool,
    command: Vec<u8>,
    queue: VecDeque<Frame>,
    /// The answers due to frames on their way, in order.
    answers: VecDeque<u8>,
    output: Vec<u8>,
}

impl SlcanAdapter {
    /// A closed adapter at a bus of this speed.
    #[must_use]
    pub fn new(bus: BusSpeed) -> Self {
        Self {
            bus,
            rate: None,
            data_rate: None,
            open: false,
            listen_only: false,
            stamps: false,
            flags: 0,
            off: false,
            command: Vec::new(),
            queue: VecDeque::new(),
            answers: VecDeque::new(),
            output: Vec::new(),
        }
    }

    fn obey(&mut self) {
        let command = std::mem::take(&mut self.command);
        let Some((&name, rest)) = command.split_first() else {
            self.output.extend(OK);
            return;
        };
        let done = match name {
            b'S' if !self.open => {
                digit(rest).and_then(|n| BIT_RATES.get(n)).map(|&rate| self.rate = Some(rate))
            }
            b'Y' if !self.open && self.bus.data.is_some() => {
                digit(rest).filter(|n| *n > 0).map(|n| self.data_rate = Some(n as u32 * 1_000_000))
            }
            b'O' | b'L' if !self.open && self.rate.is_some() => {
                (self.open, self.listen_only, self.off) = (true, name == b'L', false);
                Some(())
            }
            // Closing what is closed is an error to the manual; every program does it first and ignores that.
            b'C' if self.open => {
                self.open = false;
                self.queue.clear();
                Some(())
            }
            b'Z' => digit(rest).map(|n| self.stamps = n > 0),
            b'F' if self.open => {
                let flags = std::mem::take(&mut self.flags);
                _ = write!(Text(&mut self.output), "F{flags:02X}");
                Some(())
            }
            b'V' => {
                self.output.extend(b"V1013");
                Some(())
            }
            b'N' => {
                self.output.extend(b"NSIM0");
                Some(())
            }
            b't' | b'T' | b'b' | b'B' | b'd' | b'D' => return self.transmit(name, rest),
            _ => None,
        };
        self.output.extend(if done.is_some() { OK } else { ERROR });
    }

    /// A frame for the bus; its answer follows when it has been there.
    fn transmit(&mut self, name: u8, text: &[u8]) {
        let ready = self.open && !self.listen_only && self.queue.len() < QUEUE;
        match frame(name, text).filter(|f| ready && (!f.is_fd() || self.bus.data.is_some())) {
            None => self.output.extend(ERROR),
            Some(_) if self.off => {}
            Some(_) if !self.has_the_bus_rates() => {
                self.off = true;
                self.output.extend(b"e2af\rsf255000\r");
            }
            Some(frame) => {
                self.answers.push_back(if name.is_ascii_lowercase() { b'z' } else { b'Z' });
                self.queue.push_back(frame);
            }
        }
    }

    fn has_the_bus_rates(&self) -> bool {
        self.rate == Some(self.bus.nominal) && self.data_rate.or(self.bus.data) == self.bus.data
    }

    fn report(&mut self, frame: &Frame, ms: u64) {
        let data = frame.data();
        let code = match data.len() {
            0..=8 => data.len(),
            12 => 9,
            16 => 10,
            20 => 11,
            24 => 12,
            32 => 13,
            48 => 14,
            _ => 15,
        };
        let mut out = Text(&mut self.output);
        _ = match (frame.id(), frame.is_fd()) {
            (Id::Standard(id), false) => write!(out, "t{id:03X}{code:X}"),
            (Id::Standard(id), true) => write!(out, "b{id:03X}{code:X}"),
            (Id::Extended(id), false) => write!(out, "T{id:08X}{code:X}"),
            (Id::Extended(id), true) => write!(out, "B{id:08X}{code:X}"),
        };
        data.iter().for_each(|byte| _ = write!(out, "{byte:02X}"));
        if self.stamps {
            _ = write!(out, "{:04X}", ms % 60_000);
        }
        self.output.extend(OK);
    }
}

impl WirePeer for SlcanAdapter {
    fn handle_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\r' => self.obey(),
                _ if self.command.len() < 160 => self.command.push(byte),
                _ => {}
            }
        }
    }

    fn poll_frame(&mut self) -> Option<Frame> {
        self.queue.pop_front()
    }

    fn handle_event(&mut self, event: &HostEvent) {
        if !self.open {
            return;
        }
        match event {
            HostEvent::Received { frame, at, .. } if self.has_the_bus_rates() => {
                self.report(frame, at.0 / 1000)
            }
            HostEvent::Received { .. } => self.flags |= 0x80,
            HostEvent::Sent { .. } => {
                if let Some(answer) = self.answers.pop_front() {
                    self.output.extend([answer, b'\r']);
                }
            }
            HostEvent::BusError { .. } => {
                self.flags |= 0x80;
                self.output.extend(b"e1f\r");
            }
            HostEvent::NoAck { .. } => self.output.extend(b"e1a\r"),
            HostEvent::Readable { .. } => {}
            HostEvent::ErrorPassive { .. } => {
                self.flags |= 0x20;
                self.output.extend(b"sp128000\r");
            }
            HostEvent::BusOff { .. } => {
                self.queue.clear();
                self.answers.clear();
                // It comes back by itself, as the world's adapters do.
                self.output.extend(b"sf255000\rsa000000\r");
            }
        }
    }

    fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn hang_up(&mut self) {
        *self = Self::new(self.bus);
    }
}

/// Bytes that text is written to.
struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend(text.bytes());
        Ok(())
    }
}

fn digit(text: &[u8]) -> Option<usize> {
    match text {
        [d @ b'0'..=b'9'] => Some(usize::from(d - b'0')),
        _ => None,
    }
}

fn frame(name: u8, text: &[u8]) -> Option<Frame> {
    let text = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let digits = if name.is_ascii_lowercase() { 3 } else { 8 };
    let id = u32::from_str_radix(text.get(..digits)?, 16).ok()?;
    let id = match digits {
        3 if id <= 0x7FF => Id::Standard(id as u16),
        8 if id <= 0x1FFF_FFFF => Id::Extended(id),
        _ => return None,
    };
    let code = usize::from_str_radix(text.get(digits..=digits)?, 16).ok()?;
    let fd = !matches!(name, b't' | b'T');
    let length = match code {
        0..=8 => code,
        _ if !fd => return None,
        9..=12 => 12 + 4 * (code - 9),
        13 => 32,
        _ => 48 + 16 * (code - 14),
    };
    let data = text.get(digits + 1..)?;
    if data.len() != 2 * length {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..length).map(|n| u8::from_str_radix(data.get(2 * n..2 * n + 2)?, 16).ok()).collect();
    if fd { Frame::fd(id, &bytes?) } else { Frame::classical(id, &bytes?) }
}

#[cfg(test)]
mod tests {
    use panel_protocol::time::Micros;

    use super::*;

    fn said(adapter: &mut SlcanAdapter, bytes: &[u8]) -> String {
        adapter.handle_bytes(bytes);
        String::from_utf8(adapter.take_output()).unwrap()
    }

    #[test]
    fn a_frame_is_answered_when_it_has_been_on_the_bus() {
        let mut adapter = SlcanAdapter::new(BusSpeed::CAN_1M);
        assert_eq!(said(&mut adapter, b"S8\rO\rZ1\r"), "\r\r\r");
        assert_eq!(said(&mut adapter, b"t3002AB01\r"), "");
        let frame = Frame::classical(Id::Standard(0x300), &[0xAB, 1]).unwrap();
        assert_eq!(adapter.poll_frame(), Some(frame));
        adapter.handle_event(&HostEvent::Sent { bus: 0, at: Micros(0) });
        adapter.handle_event(&HostEvent::Received { bus: 0, at: Micros(61_016_000), frame });
        assert_eq!(said(&mut adapter, b""), "z\rt3002AB0103F8\r");
    }

    #[test]
    fn fd_lengths_follow_the_data_length_codes() {
        let mut adapter = SlcanAdapter::new(BusSpeed::FD_1M_5M);
        said(&mut adapter, b"S8\rY5\rO\r");
        for (code, length) in [(9, 12), (10, 16), (12, 24), (13, 32), (14, 48), (15, 64)] {
            let line = format!("b400{code:X}{}\r", "5A".repeat(length));
            assert_eq!(said(&mut adapter, line.as_bytes()), "");
            let frame = adapter.poll_frame().unwrap();
            assert_eq!((frame.data().len(), frame.is_fd()), (length, true));
            adapter.handle_event(&HostEvent::Received { bus: 0, at: Micros(0), frame });
            assert_eq!(said(&mut adapter, b""), line);
        }
    }

    #[test]
    fn nonsense_and_frames_on_a_closed_channel_are_refused() {
        let mut adapter = SlcanAdapter::new(BusSpeed::CAN_1M);
        assert_eq!(said(&mut adapter, b"t3000\rO\rS9\rQ\r"), "\x07\x07\x07\x07");
        said(&mut adapter, b"S8\rO\r");
        assert_eq!(said(&mut adapter, b"t8000\rt3001\rt3009\rb3000\rS8\r"), "\x07\x07\x07\x07\x07");
    }

    #[test]
    fn the_wrong_rate_drives_it_off_the_bus() {
        let mut adapter = SlcanAdapter::new(BusSpeed::CAN_1M);
        assert_eq!(said(&mut adapter, b"S6\rO\rt3000\rt3000\r"), "\r\re2af\rsf255000\r");
        assert_eq!(adapter.poll_frame(), None);
    }
}
