//! What a driver needs of a CAN link, whatever leads to the bus.
//!
//! [`CanLink`] is implemented by [`SocketCanLink`], [`SlcanLink`] and [`StreamLink`];
//! [`open_can`] picks by the name in panel.toml. A driver calls [`CanLink::receive`] until it has nothing
//! more, sends while there is room, then waits for the file descriptor or [`CanLink::next_timeout`]. Invariants: a
//! frame accepted leaves in the order of acceptance or the link reports [`CanEvent::Down`]; a full transmit queue is
//! waited for, never spun on; every wait has an end.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::SystemTime;

use panel_backplane::{Bus, BusKind, Link};
use panel_protocol::frame::Frame;
use panel_protocol::time::Micros;

use crate::serial::LinkError;
use crate::slcan::SlcanLink;
use crate::socketcan::SocketCanLink;
use crate::stream::StreamLink;

/// A CAN bus as a driver sees it. Links have one owner; nothing here waits.
pub trait CanLink {
    /// The link's name as panel.toml writes it.
    fn name(&self) -> &str;

    /// What becomes readable when there is something to receive; `None` while the link is down.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Whether to wait for the descriptor to become writable, too.
    fn wants_write(&self) -> bool {
        false
    }

    /// Whether a frame would be accepted now.
    fn has_room(&mut self, now: Micros) -> bool;

    /// Accepts a frame; call only after [`Self::has_room`] said yes.
    fn send(&mut self, now: Micros, frame: &Frame);

    /// What happened since the last call, one thing at a time; also hands waiting frames on.
    fn receive(&mut self, now: Micros) -> Option<CanInput>;

    /// When to call [`Self::receive`] or ask for room again, even if the descriptor is quiet.
    fn next_timeout(&self) -> Option<Micros>;

    /// Opens the link again after [`CanEvent::Down`]; what was under way is lost.
    ///
    /// # Errors
    /// Why it still cannot be used.
    fn restore(&mut self, now: Micros) -> Result<(), CanOpenError>;

    /// Goes to other rates, as boards reached through their ROM need it; what was under way is lost. `false` if the
    /// link cannot: a gateway has rates of its own, and those of a kernel's interface are set by whoever has the right to
    /// configure networks.
    fn set_rates(&mut self, now: Micros, rates: BusRates) -> bool;

    /// Counters since the link was first opened.
    fn counters(&self) -> CanCounters;
}

/// Something from a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanInput {
    /// A frame from somebody else, and when it was received, if that is known.
    Received(Frame, Option<Stamp>),
    /// The oldest frame under way has been sent.
    Sent(Frame),
    /// Anything else.
    Event(CanEvent),
}

/// When a frame was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// By the kernel.
    Kernel(SystemTime),
    /// By the adapter, in milliseconds of its own clock, which begins again every minute.
    AdapterMs(u16),
}

/// What a link reports beside frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanEvent {
    /// A bus error: stuff, form, bit or checksum.
    BusError,
    /// The controller lost arbitration; it tries again by itself.
    ArbitrationLost,
    /// The controller is error-passive.
    ErrorPassive,
    /// The controller is off the bus.
    BusOff,
    /// The controller takes part again after it was off the bus.
    Restarted,
    /// Nobody acknowledges.
    NoAck,
    /// Received frames were lost: by the controller, by the adapter, or because this program was not served in time.
    Overrun {
        /// How many at least.
        frames: u32,
    },
    /// No frame has left for as long as [`crate::STUCK`], though some wait.
    Stuck {
        /// Frames accepted and not sent.
        waiting: usize,
        /// How often the system said that its transmit queue is full, since the link was opened.
        queue_full: u64,
    },
    /// The link can no longer be used, with what the system said.
    Down {
        /// Such as `interface is down`.
        why: String,
    },
}

impl fmt::Display for CanEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BusError => f.write_str("bus error"),
            Self::ArbitrationLost => f.write_str("arbitration lost"),
            Self::ErrorPassive => f.write_str("error-passive"),
            Self::BusOff => f.write_str("bus-off"),
            Self::Restarted => f.write_str("restarted"),
            Self::NoAck => f.write_str("nobody acknowledges"),
            Self::Overrun { frames } => write!(f, "{frames} received frames lost"),
            Self::Stuck { waiting, queue_full } => {
                write!(f, "{waiting} frames waited too long, transmit queue full {queue_full} times")
            }
            Self::Down { why } => write!(f, "down: {why}"),
        }
    }
}

/// Counters of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CanCounters {
    /// Frames accepted.
    pub accepted: u64,
    /// Frames known to have been sent.
    pub sent: u64,
    /// Frames received from others.
    pub received: u64,
    /// How often the transmit queue was full (`ENOBUFS`, or the adapter refused); each time the frame was kept and
    /// given again.
    pub queue_full: u64,
    /// Received frames known to be lost.
    pub overruns: u64,
    /// Error frames and error reports.
    pub errors: u64,
}

/// Opens the link that panel.toml names; `None` for the built-in simulation.
///
/// # Errors
/// [`CanOpenError`].
pub fn open_can(link: &Link, rates: BusRates) -> Option<Result<Box<dyn CanLink>, CanOpenError>> {
    Some(match link {
        Link::Sim => return None,
        Link::SocketCan(name) => SocketCanLink::open(name, rates).map(|l| Box::new(l) as Box<dyn CanLink>),
        Link::Slcan(path) => SlcanLink::open(Path::new(path), rates).map(|l| Box::new(l) as _),
        Link::Tcp(address) => StreamLink::connect(address, rates).map(|l| Box::new(l) as _),
    })
}

/// The rates a bus should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusRates {
    /// Bits per second.
    pub nominal: u32,
    /// Bits per second of FD payloads; `None` for a classical bus.
    pub data: Option<u32>,
}

impl From<&Bus> for BusRates {
    fn from(bus: &Bus) -> Self {
        let data = match bus.kind {
            BusKind::Classical => None,
            BusKind::Fd { data_bit_rate } => Some(data_bit_rate.0),
        };
        Self { nominal: bus.bit_rate.0, data }
    }
}

/// Why a CAN link cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CanOpenError {
    /// The kernel has no SocketCAN.
    #[error(
        "socketcan:{interface}: this kernel has no CAN sockets; try `modprobe can-raw`, or use an slcan: or tcp:// link"
    )]
    NoSocketCan {
        /// The interface.
        interface: String,
    },
    /// There is no such interface.
    #[error("socketcan:{interface}: no such interface; CAN interfaces here: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    NoInterface {
        /// The interface.
        interface: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The interface is down.
    #[error("socketcan:{interface}: the interface is down; bring it up: {command}")]
    InterfaceDown {
        /// The interface.
        interface: String,
        /// What to type.
        command: String,
    },
    /// The interface has another bit rate than panel.toml says.
    #[error("socketcan:{interface}: {what} {expected} bit/s expected, {got} found; set it: {command}")]
    BitRate {
        /// The interface.
        interface: String,
        /// `bit rate` or `data bit rate`.
        what: &'static str,
        /// What panel.toml says.
        expected: u32,
        /// What the interface has.
        got: u32,
        /// What to type.
        command: String,
    },
    /// The bus carries FD frames, the interface does not.
    #[error("socketcan:{interface}: CAN FD expected, the interface is classical; set it: {command}")]
    NotFd {
        /// The interface.
        interface: String,
        /// What to type.
        command: String,
    },
    /// The controller is off the bus.
    #[error("socketcan:{interface}: the controller is off the bus ({errors}); restart it: {command}")]
    BusOff {
        /// The interface.
        interface: String,
        /// Its error counters.
        errors: String,
        /// What to type.
        command: String,
    },
    /// The system refused.
    #[error("{link}: cannot {what}: {source}")]
    System {
        /// The link.
        link: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The serial port cannot be used.
    #[error("slcan:{0}")]
    Port(#[from] LinkError),
    /// The adapter refused a command.
    #[error("slcan:{port}: the adapter refuses `{command}` ({meaning})")]
    Adapter {
        /// Its port.
        port: String,
        /// The command, as sent.
        command: String,
        /// What it means.
        meaning: &'static str,
    },
    /// The slcan protocol has no code for this rate.
    #[error("slcan:{port}: slcan adapters know no {what} of {rate} bit/s, only {known}")]
    Rate {
        /// The adapter's port.
        port: String,
        /// `bit rate` or `data bit rate`.
        what: &'static str,
        /// What panel.toml says.
        rate: u32,
        /// What there is.
        known: &'static str,
    },
}
