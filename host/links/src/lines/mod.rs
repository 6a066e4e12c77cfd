//! Fixture lines: what switches power, NRST, BOOT0 and slot select of a real panel.
//!
//! The sequencer of `panel-backplane` says which line and when; a [`FixtureDriver`] does it. The driver of a run
//! calls it from its one loop, so nothing here waits or reads a clock. Lines that somebody else switches (a relay
//! board, the operator) answer [`Switched::Waiting`] and report [`FixtureEvent::Switched`] when it is done; the run
//! is told (`Run::handle_switched`), and until then its sequencer holds back what depends on the line. Invariant:
//! [`FixtureDriver::safe`] tries every line, whatever fails on the way.

mod controller;
mod controller_protocol;
mod device;
mod error;
mod fixture;
mod gpio;
mod lcus;
mod modem;
mod sensing;
mod sim;
mod watch;

pub use controller::{ControllerIdentity, identify as identify_controller};
pub use device::DeadMan;
pub use error::FixtureError;
pub use fixture::Lines;
pub use gpio::look as look_at_gpio;
pub use sim::SimLines;

use sensing::Currents;

use panel_backplane::{LineAction, Slot};
use panel_protocol::time::Micros;

/// How far a line that was to be switched is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It is as it should be.
    Done,
    /// Somebody has yet to do it; [`FixtureDriver::poll`] tells when.
    Waiting,
}

/// What a fixture reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FixtureEvent {
    /// A line that was waited for is as it should be.
    Switched(LineAction),
    /// The operator is to do this, and to say so ([`FixtureDriver::confirm`]); show it.
    Ask(String),
    /// The interlock was read for the first time, or has changed.
    Interlock {
        /// It is safe to work.
        closed: bool,
    },
    /// The start button was pressed.
    Start,
    /// The supply currents that [`FixtureDriver::sense`] began to measure; questions are answered in their order.
    Currents(Vec<(Slot, Option<u32>)>),
}

/// The lines of one fixture.
pub trait FixtureDriver {
    /// Switches a line; `on` is what the line does, whatever its polarity.
    ///
    /// # Errors
    /// [`FixtureError`]; what the line is like then is unknown.
    fn switch(&mut self, now: Micros, action: LineAction) -> Result<Switched, FixtureError>;

    /// What has happened; call until `None`, whenever the loop turns and at [`Self::next_timeout`].
    ///
    /// # Errors
    /// [`FixtureError`], also if a relay board did not answer in time.
    fn poll(&mut self, _now: Micros) -> Result<Option<FixtureEvent>, FixtureError> {
        Ok(None)
    }

    /// When to call [`Self::poll`] at the latest; `None` while nothing is waited for.
    fn next_timeout(&self) -> Option<Micros> {
        None
    }

    /// The operator says that what was asked is done; gives the action that is done with it.
    fn confirm(&mut self) -> Option<LineAction> {
        None
    }

    /// What the operator has switched on and is to switch off, now that nobody waits for him any more.
    fn left_on(&self) -> Vec<String> {
        Vec::new()
    }

    /// Supply currents in milliamperes; a slot's is `None` where the fixture cannot measure. `None` for all of them
    /// if that takes a while: [`FixtureEvent::Currents`] will tell.
    ///
    /// # Errors
    /// [`FixtureError`] if it can and the measurement failed.
    fn sense(&mut self, _now: Micros, slots: &[Slot]) -> Result<Option<Currents>, FixtureError> {
        Ok(Some(slots.iter().map(|&slot| (slot, None)).collect()))
    }

    /// Everything off at once: power, then BOOT0, select, NRST released ([`panel_backplane::safe_state`]). Called
    /// on every way out, also after an error; tries all lines, and may wait up to a second for a relay board.
    ///
    /// # Errors
    /// The first line that could not be switched.
    fn safe(&mut self) -> Result<(), FixtureError>;
}

/// The fixture of a panel without lines: everything has power all the time.
#[derive(Debug, Clone, Copy)]
pub struct NoLines;

impl FixtureDriver for NoLines {
    fn switch(&mut self, _now: Micros, _action: LineAction) -> Result<Switched, FixtureError> {
        Ok(Switched::Done)
    }

    fn safe(&mut self) -> Result<(), FixtureError> {
        Ok(())
    }
}
