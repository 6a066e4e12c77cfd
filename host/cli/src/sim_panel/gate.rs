//! Where a simulated bus meets the outside: a pseudo-terminal with an slcan adapter, a TCP port with a gateway, or
//! a CAN interface of the kernel.
//!
//! Behind bytes the simulated bus is the wire: it arbitrates, takes its time and loses what the scenario says.
//! Behind a kernel interface the wire is the kernel's or a real one; the simulated bus then runs a quarter faster than
//! its rate, so that stuff bits do not make it fall behind, and boards are not met by frames faster than they can be.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use panel_links::{BusRates, CanEvent, CanInput, CanLink, CanOpenError, SocketCanLink};
use panel_protocol::frame::Frame;
use panel_protocol::time::{Micros, Span};
use panel_simulator::wire::{SlcanAdapter, StreamGateway, WirePeer};
use panel_simulator::{BusSpeed, HostEvent, World};

use super::ports::Terminal;

/// The rate of the simulated bus behind a kernel's interface of this rate: hosts pace frames without their stuff bits,
/// which are at most a fifth.
pub(super) const fn behind_kernel(rate: u32) -> u32 {
    rate + rate / 4
}
/// Bytes for a host that does not read; more are lost, as in an adapter whose buffer is full.
const BACKLOG: usize = 1 << 16;
/// Frames from a kernel's interface that the simulated bus has not carried yet; more stay in the kernel.
const INBOX: usize = 4096;
/// How often an interface that went away is looked for.
const RETRY: Span = Span::from_millis(100);

/// The outside of one bus.
pub(super) enum Gate {
    Bytes { peer: Box<dyn WirePeer>, end: End, out: VecDeque<u8> },
    Kernel { link: Box<SocketCanLink>, inbox: VecDeque<Frame>, out: VecDeque<Frame>, retry: Option<Micros> },
}

/// What carries bytes.
pub(super) enum End {
    Terminal(Terminal),
    Tcp { listener: TcpListener, stream: Option<TcpStream> },
}

impl Gate {
    /// An slcan adapter on a pseudo-terminal, also reachable as `alias` if that is given.
    pub(super) fn terminal(speed: BusSpeed, alias: Option<&Path>) -> io::Result<Self> {
        let end = End::Terminal(Terminal::open(alias)?);
        Ok(Self::Bytes { peer: Box::new(SlcanAdapter::new(speed)), end, out: VecDeque::new() })
    }

    pub(super) fn tcp(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let end = End::Tcp { listener, stream: None };
        Ok(Self::Bytes { peer: Box::new(StreamGateway::default()), end, out: VecDeque::new() })
    }

    pub(super) fn kernel(interface: &str, rates: BusRates) -> Result<Self, CanOpenError> {
        let link = Box::new(SocketCanLink::open(interface, rates)?);
        Ok(Self::Kernel { link, inbox: VecDeque::new(), out: VecDeque::new(), retry: None })
    }

    /// The link as panel.toml names it.
    pub(super) fn link(&self) -> String {
        match self {
            Self::Bytes { end: End::Terminal(terminal), .. } => format!("slcan:{}", terminal.name()),
            Self::Bytes { end: End::Tcp { listener, .. }, .. } => {
                listener.local_addr().map_or_else(|_| "tcp://?".to_owned(), |a| format!("tcp://{a}"))
            }
            Self::Kernel { link, .. } => link.name().to_owned(),
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Bytes { end: End::Terminal(terminal), .. } => Some(terminal.master.as_fd()),
            Self::Bytes { end: End::Tcp { listener, stream }, .. } => {
                Some(stream.as_ref().map_or_else(|| listener.as_fd(), AsFd::as_fd))
            }
            Self::Kernel { link, .. } => link.fd(),
        }
    }

    /// Whether to wait for something to read: a host that is held back would only wake us up.
    pub(super) fn wants_read(&self, world: &World, bus: usize) -> bool {
        match self {
            Self::Bytes { .. } => world.host_queue_free(bus) > 0,
            Self::Kernel { inbox, .. } => inbox.len() < INBOX,
        }
    }

    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Bytes { out, .. } => !out.is_empty(),
            Self::Kernel { link, .. } => link.wants_write(),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Micros> {
        match self {
            Self::Bytes { .. } => None,
            Self::Kernel { link, retry, .. } => link.next_timeout().into_iter().chain(*retry).min(),
        }
    }

    /// What the adapter at the simulated bus saw.
    pub(super) fn handle_event(&mut self, event: &HostEvent) {
        match self {
            Self::Bytes { peer, .. } => peer.handle_event(event),
            Self::Kernel { out, .. } => {
                if let HostEvent::Received { frame, .. } = event {
                    out.push_back(*frame);
                }
            }
        }
    }

    /// Moves what there is to move, both ways.
    pub(super) fn work(&mut self, now: Micros, world: &mut World, bus: usize) {
        match self {
            Self::Bytes { peer, end, out } => {
                // The queue's room holds the host back: what does not fit stays in the terminal.
                if world.host_queue_free(bus) > 0 && !end.read(peer.as_mut()) {
                    peer.hang_up();
                    out.clear();
                    world.host_clear(bus);
                }
                while world.host_queue_free(bus) > 0
                    && let Some(frame) = peer.poll_frame()
                {
                    _ = world.host_send(bus, &frame);
                }
                let said = peer.take_output();
                if out.len() < BACKLOG {
                    out.extend(said);
                }
                end.write(out);
            }
            Self::Kernel { link, inbox, out, retry } => {
                if retry.is_some_and(|at| now >= at) {
                    *retry = link.restore(now).is_err().then_some(now + RETRY);
                }
                // Whatever waits for the simulated bus: the boards' own frames, seen back, come the same way, and
                // without them the boards could not go on.
                while inbox.len() < INBOX
                    && let Some(input) = link.receive(now)
                {
                    match input {
                        CanInput::Received(frame, _) => inbox.push_back(frame),
                        CanInput::Event(CanEvent::Down { .. }) => *retry = Some(now + RETRY),
                        CanInput::Sent(_) | CanInput::Event(_) => {}
                    }
                }
                while world.host_queue_free(bus) > 0
                    && let Some(frame) = inbox.pop_front()
                {
                    _ = world.host_send(bus, &frame);
                }
                while link.has_room(now)
                    && let Some(frame) = out.pop_front()
                {
                    link.send(now, &frame);
                }
            }
        }
    }
}

impl End {
    /// Hands on what there is to read; false if the host went away.
    fn read(&mut self, peer: &mut dyn WirePeer) -> bool {
        let mut buffer = [0; 512];
        match self {
            Self::Terminal(terminal) => {
                if let Ok(count) = rustix::io::read(&terminal.master, &mut buffer) {
                    peer.handle_bytes(&buffer[..count]);
                }
                true
            }
            Self::Tcp { listener, stream } => {
                if stream.is_none()
                    && let Ok((fresh, _)) = listener.accept()
                    && fresh.set_nonblocking(true).and_then(|()| fresh.set_nodelay(true)).is_ok()
                {
                    *stream = Some(fresh);
                }
                match stream.as_mut().map(|s| s.read(&mut buffer)) {
                    Some(Ok(0)) => {
                        *stream = None;
                        false
                    }
                    Some(Ok(count)) => {
                        peer.handle_bytes(&buffer[..count]);
                        true
                    }
                    Some(Err(e)) if e.kind() != io::ErrorKind::WouldBlock => {
                        *stream = None;
                        false
                    }
                    _ => true,
                }
            }
        }
    }

    fn write(&mut self, out: &mut VecDeque<u8>) {
        while !out.is_empty() {
            let bytes = out.as_slices().0;
            let written = match self {
                Self::Terminal(terminal) => {
                    rustix::io::write(&terminal.master, bytes).map_err(io::Error::from)
                }
                Self::Tcp { stream: Some(stream), .. } => stream.write(bytes),
                Self::Tcp { stream: None, .. } => Ok(bytes.len()),
            };
            // An error shows when reading.
            let Ok(count) = written else { return };
            out.drain(..count);
        }
    }
}
