//! What every kind of fixture device offers to [`Lines`](super::Lines): levels out, levels in, and what becomes of
//! the levels when the program is gone.

use panel_protocol::time::Micros;

use super::{FixtureError, Switched};

/// What becomes of a device's outputs when the program dies without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadMan {
    /// The device itself lets its outputs fall to low when nobody talks to it any more.
    Watchdog {
        /// After this many milliseconds.
        ms: u32,
    },
    /// The kernel takes the program's hands off: the fixture's pull resistor decides (GPIO lines become inputs, RTS
    /// and DTR fall when their port closes).
    Released,
    /// The outputs stay as they are.
    Stays,
    /// A person switches it.
    Operator,
}

/// An output or input of a device, counted as the device does.
pub(super) type Channel = u32;

/// One fixture device. A level is high (true) or low; what it means is the wire's business.
pub(super) trait Device {
    /// Sets an output.
    fn set(&mut self, now: Micros, channel: Channel, high: bool) -> Result<Switched, FixtureError>;

    /// The next output that [`Switched::Waiting`] was said of and that is set now, with its level.
    fn poll(&mut self, _now: Micros) -> Result<Option<(Channel, bool)>, FixtureError> {
        Ok(None)
    }

    /// When to poll at the latest.
    fn next_timeout(&self) -> Option<Micros> {
        None
    }

    /// Sets an output on the way out, waiting for the device if it must, at most as long as `patience` lasts.
    fn force(&mut self, channel: Channel, high: bool, patience: &mut Patience) -> Result<(), FixtureError>;

    /// Asks for an input's level; the answer is the newest that is known, `None` before the first.
    fn read(&mut self, now: Micros, channel: Channel) -> Result<Option<bool>, FixtureError>;

    /// Begins to measure the supply current of an output; false if the device measures none.
    fn measure(&mut self, _now: Micros, _channel: Channel) -> Result<bool, FixtureError> {
        Ok(false)
    }

    /// The next output that was measured, in milliamperes; `None` of those that cannot be.
    fn poll_current(&mut self) -> Option<(Channel, Option<u32>)> {
        None
    }

    /// How many outputs it says that it has; only a controller knows.
    fn outputs(&self) -> u32 {
        u32::MAX
    }

    /// What happens to outputs when the program is gone.
    fn dead_man(&self) -> DeadMan;
}

/// How many milliseconds all lines together may still take on the way out.
#[derive(Debug)]
pub(super) struct Patience(pub(super) u32);
