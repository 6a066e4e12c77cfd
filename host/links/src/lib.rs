//! Links to real boards: the only place that opens devices.
//!
//! So far serial ports ([`SerialLink`]). A link moves bytes and lines and reports what became of them; it knows
//! no protocol, reads no clock and never waits longer than it was told.

mod serial;

pub use serial::{Latency, LinkError, Parity, SerialLink};
