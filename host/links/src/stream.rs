//! Frames over TCP, in the byte-stream framing of docs/protocol.md section 14: gateways and emulators.
//!
//! A gateway to a CAN bus sends every frame of the host back once it has been on the bus; that is the flow control.
//! A peer without a bus (a board's serial port behind a terminal server, an emulator) sends nothing back; after
//! 100 ms without a frame seen back, frames count as sent when their time on the wire is over. Invariant: what a
//! TCP connection buffers never holds more than one window of frames from here.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use panel_protocol::frame::Frame;
use panel_protocol::stream::{Decoder, MAX_ENCODED, encode};
use panel_protocol::time::Micros;

use crate::can::{BusRates, CanCounters, CanEvent, CanInput, CanLink, CanOpenError};
use crate::flight::{Flight, UNHEARD};
use crate::pipe::Pipe;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How a frame is known to have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirm {
    Unknown,
    Echo,
    Time,
}

/// An open connection.
#[derive(Debug)]
pub struct StreamLink {
    name: String,
    address: String,
    rates: BusRates,
    /// `None` while there is no connection.
    pipe: Option<Pipe>,
    decoder: Decoder,
    confirm: Confirm,
    bad_seen: u32,
    flight: Flight,
    inputs: VecDeque<CanInput>,
    counters: CanCounters,
}

impl StreamLink {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// [`CanOpenError::System`].
    pub fn connect(address: &str, rates: BusRates) -> Result<Self, CanOpenError> {
        let pipe = connect(address)?;
        Ok(Self {
            name: format!("tcp://{address}"),
            address: address.to_owned(),
            rates,
            pipe: Some(pipe),
            decoder: Decoder::default(),
            confirm: Confirm::Unknown,
            bad_seen: 0,
            flight: Flight::new(rates),
            inputs: VecDeque::new(),
            counters: CanCounters::default(),
        })
    }

    fn lost(&mut self, now: Micros, error: &io::Error) {
        self.pipe = None;
        self.flight.clear(now);
        let why = match error.kind() {
            // A write may find out before a read does.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                "the other end closed the connection".to_owned()
            }
            _ => error.to_string(),
        };
        self.inputs.push_back(CanInput::Event(CanEvent::Down { why }));
    }

    fn hear_out(&mut self, now: Micros) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.flush().and_then(|()| pipe.read(&mut buffer)) {
                Ok(0) => break,
                Ok(count) => {
                    for &byte in &buffer[..count] {
                        if let Some(frame) = self.decoder.handle_byte(byte) {
                            self.handle_frame(now, frame);
                        }
                    }
                }
                Err(e) => self.lost(now, &e),
            }
        }
        let bad = self.decoder.bad().saturating_sub(self.bad_seen);
        if bad > 0 {
            self.bad_seen += bad;
            self.counters.errors += u64::from(bad);
            self.inputs.push_back(CanInput::Event(CanEvent::BusError));
        }
    }

    fn handle_frame(&mut self, now: Micros, frame: Frame) {
        if self.confirm != Confirm::Time && self.flight.oldest() == Some(&frame) {
            self.confirm = Confirm::Echo;
            self.flight.confirm(now);
            self.counters.sent += 1;
            self.inputs.push_back(CanInput::Sent(frame));
        } else {
            self.counters.received += 1;
            self.inputs.push_back(CanInput::Received(frame, None));
        }
    }

    fn confirm_by_time(&mut self, now: Micros) {
        if self.confirm == Confirm::Unknown && self.flight.waited(now) >= UNHEARD {
            self.confirm = Confirm::Time;
        }
        if self.confirm == Confirm::Time && self.pipe.as_ref().is_some_and(|p| p.pending() == 0) {
            while let Some(frame) = self.flight.confirm_by_time(now) {
                self.counters.sent += 1;
                self.inputs.push_back(CanInput::Sent(frame));
            }
        }
    }
}

impl CanLink for StreamLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    fn wants_write(&self) -> bool {
        self.pipe.as_ref().is_some_and(|p| p.pending() > 0)
    }

    fn has_room(&mut self, now: Micros) -> bool {
        self.pipe.as_ref().is_some_and(|p| p.pending() == 0) && self.flight.has_room(now)
    }

    fn send(&mut self, now: Micros, frame: &Frame) {
        self.counters.accepted += 1;
        self.flight.push(now, frame);
        let mut bytes = [0; MAX_ENCODED];
        let length = encode(frame, &mut bytes);
        if let Some(Err(e)) = self.pipe.as_mut().map(|pipe| pipe.write(&bytes[..length])) {
            self.lost(now, &e);
        }
    }

    fn receive(&mut self, now: Micros) -> Option<CanInput> {
        if self.inputs.is_empty() {
            self.hear_out(now);
            self.confirm_by_time(now);
            let watched = self.flight.watch(now, self.counters.queue_full);
            self.inputs.extend(watched.map(CanInput::Event));
        }
        self.inputs.pop_front()
    }

    fn next_timeout(&self) -> Option<Micros> {
        self.pipe.as_ref()?;
        let confirm = if self.confirm == Confirm::Time { self.flight.over() } else { None };
        self.flight.next_timeout().into_iter().chain(confirm).min()
    }

    fn restore(&mut self, now: Micros) -> Result<(), CanOpenError> {
        self.pipe = Some(connect(&self.address)?);
        (self.decoder, self.bad_seen) = (Decoder::default(), 0);
        self.flight.clear(now);
        Ok(())
    }

    fn set_rates(&mut self, _now: Micros, rates: BusRates) -> bool {
        rates == self.rates
    }

    fn counters(&self) -> CanCounters {
        self.counters
    }
}

fn connect(address: &str) -> Result<Pipe, CanOpenError> {
    let system = |what| {
        let link = format!("tcp://{address}");
        move |source| CanOpenError::System { link, what, source }
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in address.to_socket_addrs().map_err(system("find the address"))? {
        match TcpStream::connect_timeout(&candidate, CONNECT) {
            Ok(stream) => {
                // A frame must not wait for the next one.
                stream.set_nodelay(true).map_err(system("set up the connection"))?;
                return Pipe::new(Box::new(stream)).map_err(system("set up the connection"));
            }
            Err(e) => last = e,
        }
    }
    Err(system("connect")(last))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use panel_protocol::frame::Id;

    use super::*;

    const RATES: BusRates = BusRates { nominal: 1_000_000, data: None };

    fn pair() -> (StreamLink, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let link = StreamLink::connect(&address, RATES).unwrap();
        let peer = listener.accept().unwrap().0;
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (link, peer)
    }

    fn frame() -> Frame {
        Frame::classical(Id::Standard(0x300), &[0x21]).unwrap()
    }

    fn next(link: &mut StreamLink, now: Micros) -> CanInput {
        (0..500)
            .find_map(|_| {
                let input = link.receive(now);
                if input.is_none() {
                    let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                    let fd = link.fd()?;
                    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
                    rustix::event::poll(&mut fds, Some(&wait)).unwrap();
                }
                input
            })
            .expect("something comes")
    }

    /// docs/protocol.md section 14: the record of the frame above.
    const BYTES: [u8; 12] = [0, 1, 2, 3, 1, 6, 0x21, 0xAD, 0x48, 0xFE, 0x98, 0];

    #[test]
    fn a_frame_that_comes_back_was_sent_and_any_other_was_received() {
        let (mut link, mut peer) = pair();
        assert!(link.has_room(Micros(1)));
        link.send(Micros(1), &frame());
        let mut sent = [0; 12];
        peer.read_exact(&mut sent).unwrap();
        assert_eq!(sent, BYTES);
        peer.write_all(&sent).unwrap();
        assert_eq!(next(&mut link, Micros(2)), CanInput::Sent(frame()));
        peer.write_all(&sent).unwrap();
        assert_eq!(next(&mut link, Micros(3)), CanInput::Received(frame(), None));
        assert_eq!((link.counters().sent, link.counters().received), (1, 1));
    }

    #[test]
    fn a_peer_that_sends_nothing_back_is_given_frames_at_the_bit_rate() {
        let (mut link, _peer) = pair();
        link.send(Micros(0), &frame());
        assert_eq!(link.receive(Micros(50_000)), None);
        assert_eq!(link.receive(Micros(100_000)), Some(CanInput::Sent(frame())));
        link.send(Micros(100_000), &frame());
        // 55 bits.
        assert_eq!(link.next_timeout(), Some(Micros(100_055)));
        assert_eq!(link.receive(Micros(100_055)), Some(CanInput::Sent(frame())));
    }

    #[test]
    fn a_connection_that_is_closed_is_down_and_can_be_made_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut link = StreamLink::connect(&address, RATES).unwrap();
        drop(listener.accept().unwrap());
        let why = "the other end closed the connection".to_owned();
        assert_eq!(next(&mut link, Micros(1)), CanInput::Event(CanEvent::Down { why }));
        assert!(link.fd().is_none() && !link.has_room(Micros(1)));
        link.restore(Micros(2)).unwrap();
        assert!(link.has_room(Micros(2)));
        drop(listener);
        let error = StreamLink::connect(&address, RATES).expect_err("nobody listens").to_string();
        assert!(error.contains("cannot connect"), "{error}");
    }

    #[test]
    fn noise_is_an_error_and_the_next_frame_is_whole() {
        let (mut link, mut peer) = pair();
        peer.write_all(&[0x55, 0xAA]).unwrap();
        peer.write_all(&BYTES).unwrap();
        assert_eq!(next(&mut link, Micros(1)), CanInput::Received(frame(), None));
        assert_eq!(next(&mut link, Micros(1)), CanInput::Event(CanEvent::BusError));
    }
}
