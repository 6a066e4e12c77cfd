//! Links to real boards: the only place that opens devices.
//!
//! CAN links ([`CanLink`]: [`SocketCanLink`], [`SlcanLink`], [`StreamLink`]), serial ports ([`SerialLink`]) and fixture lines ([`FixtureDriver`]).
//! A link moves frames, bytes and lines and reports what became of them; it knows no protocol, reads no clock and
//! never waits longer than it was told.

mod can;
mod flight;
pub mod lines;
mod netlink;
mod pipe;
mod port;
mod serial;
mod slcan;
mod socketcan;
mod stream;

pub use self::socketcan::SocketCanLink;
pub use can::{BusRates, CanCounters, CanEvent, CanInput, CanLink, CanOpenError, Stamp, open_can};
pub use flight::{STUCK, frame_time_ns, window as frames_in_flight};
pub use lines::{FixtureDriver, FixtureError, FixtureEvent, Switched};
pub use netlink::{CanInterfaceState, can_interfaces};
pub use port::{PortInput, PortLink, PortOpenError};
pub use serial::{Latency, LinkError, Parity, SerialLink};
pub use slcan::SlcanLink;
pub use stream::StreamLink;
