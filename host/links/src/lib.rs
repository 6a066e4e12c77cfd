//! Links to real boards: the only place that opens devices.
//!
//! Serial ports ([`SerialLink`]) and fixture lines ([`FixtureDriver`]). A link moves bytes and lines and reports
//! what became of them; it knows no protocol, reads no clock and never waits longer than it was told.

pub mod lines;
mod serial;

pub use lines::{FixtureDriver, FixtureError, FixtureEvent, Switched};
pub use serial::{Latency, LinkError, Parity, SerialLink};
