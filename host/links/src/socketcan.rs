//! CAN interfaces of the Linux kernel (SocketCAN).
//!
//! Flow control is by frames seen back: the socket receives its own frames once the driver has sent them, marked
//! `MSG_CONFIRM` (Documentation/networking/can.rst, "Local Loopback of Sent Frames"). A full transmit queue answers
//! `ENOBUFS` and makes nothing readable or writable, so a frame refused is kept and given again when another one
//! is confirmed, or after a pause that doubles. Invariant: only the oldest frame kept is offered, so order holds.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::SystemTime;

use panel_protocol::frame::{Frame, Id};
use panel_protocol::time::{Micros, Span};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvFlags, SendFlags, SocketType, recvmsg};
use socketcan::{
    CanAnyFrame, CanDataFrame, CanErrorFrame, CanFdFrame, CanFdSocket, EmbeddedFrame, ErrorCause, ExtendedId,
    Socket, SocketOptions, StandardId, id::FdFlags,
};

use crate::can::{BusRates, CanCounters, CanEvent, CanInput, CanLink, CanOpenError, Stamp};
use crate::flight::Flight;
use crate::netlink::{self, CanInterfaceState};

/// First pause after a full queue; it doubles up to the longest.
const PAUSE: Span = Span(250);
const LONGEST_PAUSE: Span = Span(16_000);
/// How often the kernel is asked whether it dropped received frames.
const DROP_LOOK: Span = Span::from_millis(100);
/// Receive buffer asked for: some seconds of a full bus.
const RECEIVE_BUFFER: i32 = 8 << 20;
// asm-generic/socket.h and linux/sock_diag.h.
const SOL_SOCKET: i32 = 1;
const SO_RCVBUF: i32 = 8;
const SO_RCVBUFFORCE: i32 = 33;
const SO_MEMINFO: i32 = 55;
const SK_MEMINFO_DROPS: usize = 8;

/// An open CAN interface.
#[derive(Debug)]
pub struct SocketCanLink {
    name: String,
    interface: String,
    rates: BusRates,
    /// The rates with which the interface was found: it has them again when the link is closed.
    usual: BusRates,
    /// `None` while the interface is away.
    socket: Option<CanFdSocket>,
    flight: Flight,
    /// The youngest frames of the flight, which the kernel has not taken yet.
    kept: VecDeque<Frame>,
    pause: Span,
    again: Option<Micros>,
    events: VecDeque<CanEvent>,
    counters: CanCounters,
    drops_seen: u32,
    look: Micros,
}

impl SocketCanLink {
    /// Opens an interface after a look at whether it is up and has these rates.
    ///
    /// # Errors
    /// [`CanOpenError`], with the command that sets an interface right.
    pub fn open(interface: &str, rates: BusRates) -> Result<Self, CanOpenError> {
        Ok(Self {
            name: format!("socketcan:{interface}"),
            interface: interface.to_owned(),
            rates,
            usual: rates,
            socket: Some(open_socket(interface, rates)?),
            flight: Flight::new(rates),
            kept: VecDeque::new(),
            pause: PAUSE,
            again: None,
            events: VecDeque::new(),
            counters: CanCounters::default(),
            drops_seen: 0,
            look: Micros::ZERO,
        })
    }

    /// Hands kept frames to the kernel until it takes no more.
    fn offer(&mut self, now: Micros) {
        if self.again.is_some_and(|again| now < again) {
            return;
        }
        self.again = None;
        while let (Some(socket), Some(frame)) = (&self.socket, self.kept.front()) {
            match write(socket, frame) {
                Ok(()) => {
                    self.kept.pop_front();
                    self.pause = PAUSE;
                }
                Err(e) if is_full(&e) => {
                    self.counters.queue_full += 1;
                    self.again = Some(now + self.pause);
                    self.pause = Span((self.pause.0 * 2).min(LONGEST_PAUSE.0));
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    self.lost(now, &e);
                    return;
                }
            }
        }
    }

    fn lost(&mut self, now: Micros, error: &io::Error) {
        let why = match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::NETDOWN.raw_os_error() => {
                "the interface went down".to_owned()
            }
            Some(code) if is_gone(code) => "the interface was removed".to_owned(),
            _ => error.to_string(),
        };
        self.socket = None;
        self.kept.clear();
        self.again = None;
        self.flight.clear(now);
        self.events.push_back(CanEvent::Down { why });
    }

    /// The next thing of interest that the socket has.
    fn read(&mut self, now: Micros) -> Option<CanInput> {
        loop {
            match read(self.socket.as_ref()?) {
                Ok(None) => return None,
                Ok(Some((CanAnyFrame::Error(error), ..))) => {
                    self.report(now, &error);
                    if let Some(event) = self.events.pop_front() {
                        return Some(CanInput::Event(event));
                    }
                }
                Ok(Some((frame, at, own))) => {
                    let Some(frame) = plain(&frame) else { continue };
                    if !own {
                        self.counters.received += 1;
                        return Some(CanInput::Received(frame, at.map(Stamp::Kernel)));
                    }
                    self.again = None;
                    if self.flight.confirm_this(now, &frame) {
                        self.counters.sent += 1;
                        return Some(CanInput::Sent(frame));
                    }
                }
                Err(e) => self.lost(now, &e),
            }
        }
    }

    fn report(&mut self, now: Micros, error: &CanErrorFrame) {
        self.counters.errors += 1;
        for event in events(error) {
            match event {
                CanEvent::Overrun { frames } => self.counters.overruns += u64::from(frames),
                // What was under way when the controller left the bus will not be sent.
                CanEvent::BusOff => {
                    self.flight.clear(now);
                    self.kept.clear();
                }
                _ => {}
            }
            self.events.push_back(event);
        }
    }

    /// Frames that the kernel dropped because this program was not served in time.
    fn look_for_drops(&mut self, now: Micros) {
        if now < self.look {
            return;
        }
        self.look = now + DROP_LOOK;
        let Some(drops) = self.socket.as_ref().and_then(drops) else { return };
        let frames = drops.wrapping_sub(self.drops_seen);
        self.drops_seen = drops;
        if frames > 0 {
            self.counters.overruns += u64::from(frames);
            self.events.push_back(CanEvent::Overrun { frames });
        }
    }
}

impl CanLink for SocketCanLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    fn has_room(&mut self, now: Micros) -> bool {
        self.socket.is_some() && self.flight.has_room(now)
    }

    fn send(&mut self, now: Micros, frame: &Frame) {
        self.counters.accepted += 1;
        self.flight.push(now, frame);
        self.kept.push_back(*frame);
        self.offer(now);
    }

    fn receive(&mut self, now: Micros) -> Option<CanInput> {
        if let Some(event) = self.events.pop_front() {
            return Some(CanInput::Event(event));
        }
        // Before anything is read: what was lost explains what comes.
        self.look_for_drops(now);
        if let Some(event) = self.events.pop_front() {
            return Some(CanInput::Event(event));
        }
        let input = self.read(now);
        self.offer(now);
        if input.is_some() {
            return input;
        }
        self.events.extend(self.flight.watch(now, self.counters.queue_full));
        self.events.pop_front().map(CanInput::Event)
    }

    fn next_timeout(&self) -> Option<Micros> {
        self.socket.as_ref()?;
        self.flight.next_timeout().into_iter().chain(self.again).min()
    }

    fn restore(&mut self, now: Micros) -> Result<(), CanOpenError> {
        self.socket = Some(open_socket(&self.interface, self.rates)?);
        self.flight.clear(now);
        self.drops_seen = 0;
        Ok(())
    }

    fn set_rates(&mut self, now: Micros, rates: BusRates) -> bool {
        if rates == self.rates {
            return true;
        }
        let Ok(state) = CanInterfaceState::read(&self.interface) else { return false };
        // Without this the interface would go down and up for nothing.
        if rates.data.is_some() && !state.fd {
            return false;
        }
        if !state.is_virtual() && netlink::set_rates(&self.interface, rates).is_err() {
            return false;
        }
        self.rates = rates;
        self.kept.clear();
        (self.again, self.pause) = (None, PAUSE);
        self.flight = Flight::new(rates);
        self.restore(now).is_ok()
    }

    fn counters(&self) -> CanCounters {
        self.counters
    }
}

impl Drop for SocketCanLink {
    fn drop(&mut self) {
        // Best effort: if it fails, the next run says which rate it found and how to set it.
        let left = self.rates != self.usual;
        if left && CanInterfaceState::read(&self.interface).is_ok_and(|state| !state.is_virtual()) {
            _ = netlink::set_rates(&self.interface, self.usual);
        }
    }
}

fn open_socket(interface: &str, rates: BusRates) -> Result<CanFdSocket, CanOpenError> {
    let system = |what| {
        let link = format!("socketcan:{interface}");
        move |source| CanOpenError::System { link, what, source }
    };
    match rustix::net::socket(AddressFamily::CAN, SocketType::RAW, Some(CAN_RAW)) {
        Err(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::PROTONOSUPPORT) => {
            return Err(CanOpenError::NoSocketCan { interface: interface.to_owned() });
        }
        Err(e) => return Err(system("open a CAN socket")(e.into())),
        Ok(_) => {}
    }
    CanInterfaceState::read(interface)?.check(rates)?;
    let socket = CanFdSocket::open(interface).map_err(system("bind a socket to the interface"))?;
    let set = || {
        socket.set_nonblocking(true)?;
        socket.set_loopback(true)?;
        socket.set_recv_own_msgs(true)?;
        socket.set_error_filter_accept_all()?;
        socket.set_recv_timestamp(true)?;
        // Beyond net.core.rmem_max only with the right to; as much as possible otherwise.
        socket
            .set_socket_option_int(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            .or_else(|_| socket.set_socket_option_int(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER))
    };
    set().map_err(system("set the socket's options"))?;
    Ok(socket)
}

/// CAN_RAW of linux/can.h.
const CAN_RAW: rustix::net::Protocol = rustix::net::Protocol::from_raw(std::num::NonZeroU32::MIN);

fn write(socket: &CanFdSocket, frame: &Frame) -> io::Result<()> {
    match kernel_frame(frame) {
        Some(CanAnyFrame::Fd(fd)) => socket.write_frame(&fd),
        Some(CanAnyFrame::Normal(classical)) => socket.write_frame(&classical),
        _ => Err(ErrorKind::InvalidInput.into()),
    }
}

type Stamped = (CanAnyFrame, Option<SystemTime>, bool);

/// The next frame, when the kernel had it, and whether it is one of our own; `None` if there is none.
fn read(socket: &CanFdSocket) -> io::Result<Option<Stamped>> {
    let mut byte = [0; 1];
    let mut ancillary = RecvAncillaryBuffer::default();
    // The mark of own frames is only in the flags of recvmsg, which the crate does not give out: look first.
    let peeked = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::PEEK | RecvFlags::DONTWAIT,
    );
    let own = match peeked {
        Ok(message) => message.flags.bits() & SendFlags::CONFIRM.bits() != 0,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let (frame, stamps) = socket.read_frame_with_timestamps()?;
    Ok(Some((frame, stamps.socket, own)))
}

/// Frames dropped at the socket since it was opened.
fn drops(socket: &CanFdSocket) -> Option<u32> {
    let mut info = [0; 4 * (SK_MEMINFO_DROPS + 1)];
    let length = socket.get_socket_option_bytes(SOL_SOCKET, SO_MEMINFO, &mut info).ok()?;
    let bytes = info.get(4 * SK_MEMINFO_DROPS..length)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn kernel_frame(frame: &Frame) -> Option<CanAnyFrame> {
    let id: socketcan::Id = match frame.id() {
        Id::Standard(id) => StandardId::new(id)?.into(),
        Id::Extended(id) => ExtendedId::new(id)?.into(),
    };
    if frame.is_fd() {
        CanFdFrame::with_flags(id, frame.data(), FdFlags::BRS | FdFlags::FDF).map(CanAnyFrame::Fd)
    } else {
        CanDataFrame::new(id, frame.data()).map(CanAnyFrame::Normal)
    }
}

/// The frame as the protocol knows frames; remote frames are nobody's business here.
fn plain(frame: &CanAnyFrame) -> Option<Frame> {
    let id = match frame.id() {
        socketcan::Id::Standard(id) => Id::Standard(id.as_raw()),
        socketcan::Id::Extended(id) => Id::Extended(id.as_raw()),
    };
    match frame {
        CanAnyFrame::Normal(frame) => Frame::classical(id, frame.data()),
        CanAnyFrame::Fd(frame) => Frame::fd(id, frame.data()),
        CanAnyFrame::Remote(_) | CanAnyFrame::Error(_) => None,
    }
}

/// What an error frame says (linux/can/error.h); several things at once are several events.
fn events(frame: &CanErrorFrame) -> Vec<CanEvent> {
    use socketcan::errors::{ControllerProblems, Location};
    let error = socketcan::CanError::from(*frame);
    let mut events = Vec::new();
    for cause in error.causes() {
        let event = match cause {
            ErrorCause::BusOff => CanEvent::BusOff,
            ErrorCause::Restarted => CanEvent::Restarted,
            ErrorCause::NoAck | ErrorCause::Protocol { location: Location::AckSlot, .. } => CanEvent::NoAck,
            ErrorCause::LostArbitration(_) => CanEvent::ArbitrationLost,
            ErrorCause::Controller(problems) => {
                if problems.contains(ControllerProblems::RX_OVERFLOW) {
                    events.push(CanEvent::Overrun { frames: 1 });
                }
                if problems.intersects(ControllerProblems::RX_PASSIVE | ControllerProblems::TX_PASSIVE) {
                    events.push(CanEvent::ErrorPassive);
                }
                continue;
            }
            ErrorCause::Counters { .. } => continue,
            _ => CanEvent::BusError,
        };
        if !events.contains(&event) {
            events.push(event);
        }
    }
    events
}

/// The queue is full (raw sockets: ENOBUFS, whatever poll says; EAGAIN if the socket's own buffer is).
fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

fn is_gone(code: i32) -> bool {
    [rustix::io::Errno::NODEV, rustix::io::Errno::NXIO].iter().any(|e| e.raw_os_error() == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as `struct can_frame` has it: identifier and flags, length, padding, data.
    fn classical(id: u32, data: &[u8]) -> CanAnyFrame {
        let mut raw = libc_frame(id, data.len() as u8);
        raw.data[..data.len()].copy_from_slice(data);
        CanAnyFrame::from(raw)
    }

    fn libc_frame(id: u32, length: u8) -> libc::can_frame {
        let mut raw = socketcan::frame::can_frame_default();
        raw.can_id = id;
        raw.can_dlc = length;
        raw
    }

    fn events_of(class: u32, data: [u8; 8]) -> Vec<CanEvent> {
        // CAN_ERR_FLAG.
        match classical(0x2000_0000 | class, &data) {
            CanAnyFrame::Error(error) => events(&error),
            other => panic!("{other:?} is no error frame"),
        }
    }

    #[test]
    fn frames_keep_identifier_format_and_data_between_kernel_and_protocol() {
        let base = Frame::classical(Id::Standard(0x5A5), &[1, 2, 3]).unwrap();
        assert_eq!(plain(&classical(0x5A5, &[1, 2, 3])), Some(base));
        let extended = Frame::classical(Id::Extended(0x0C3A_4105), &[]).unwrap();
        // CAN_EFF_FLAG.
        assert_eq!(plain(&classical(0x8C3A_4105, &[])), Some(extended));
        let fd = Frame::fd(Id::Standard(0x7FF), &[0xA5; 64]).unwrap();
        for frame in [base, extended, fd] {
            assert_eq!(plain(&kernel_frame(&frame).unwrap()), Some(frame));
        }
        // CAN_RTR_FLAG: nothing of ours.
        assert_eq!(plain(&classical(0x4000_0123, &[])), None);
    }

    #[test]
    fn fd_frames_ask_for_the_bit_rate_switch() {
        let frame = Frame::fd(Id::Standard(0x400), &[0; 64]).unwrap();
        let Some(CanAnyFrame::Fd(fd)) = kernel_frame(&frame) else { panic!("not FD") };
        assert!(fd.flags().contains(FdFlags::BRS));
    }

    #[test]
    fn error_frames_become_events() {
        // Class bits and data bytes of linux/can/error.h.
        let none = [0; 8];
        assert_eq!(events_of(0x40, none), [CanEvent::BusOff]);
        assert_eq!(events_of(0x100, none), [CanEvent::Restarted]);
        assert_eq!(events_of(0x20, none), [CanEvent::NoAck]);
        assert_eq!(events_of(0x02, [11, 0, 0, 0, 0, 0, 0, 0]), [CanEvent::ArbitrationLost]);
        // Controller: RX overflow (data[1] bit 0), TX passive (bit 5).
        assert_eq!(events_of(0x04, [0, 0x01, 0, 0, 0, 0, 0, 0]), [CanEvent::Overrun { frames: 1 }]);
        assert_eq!(events_of(0x04, [0, 0x20, 0, 0, 0, 0, 0, 0]), [CanEvent::ErrorPassive]);
        // Warning levels alone are nothing to act on.
        assert_eq!(events_of(0x04, [0, 0x0C, 0, 0, 0, 0, 0, 0]), []);
        // Protocol violation with bus error: one event; at the ACK slot (0x19): nobody acknowledged.
        assert_eq!(events_of(0x88, [0, 0, 0x04, 0x02, 0, 0, 0, 0]), [CanEvent::BusError]);
        assert_eq!(
            events_of(0x88, [0, 0, 0, 0x19, 0, 0, 0, 0]),
            [CanEvent::NoAck, CanEvent::BusError],
            "the class of bus errors is set as well"
        );
    }

    #[test]
    fn a_full_queue_and_a_lost_interface_are_told_apart() {
        let os = |e: rustix::io::Errno| io::Error::from(e);
        assert!(is_full(&os(rustix::io::Errno::NOBUFS)) && is_full(&os(rustix::io::Errno::AGAIN)));
        assert!(!is_full(&os(rustix::io::Errno::NETDOWN)));
        assert!(is_gone(rustix::io::Errno::NODEV.raw_os_error()));
    }

    #[test]
    fn an_interface_that_cannot_be_used_is_named() {
        let rates = BusRates { nominal: 1_000_000, data: None };
        let error = SocketCanLink::open("no-such-can", rates).expect_err("there is none").to_string();
        let expected = ["no such interface", "this kernel has no CAN sockets"];
        assert!(error.starts_with("socketcan:no-such-can: "), "{error}");
        assert!(expected.iter().any(|e| error.contains(e)), "{error}");
    }
}
