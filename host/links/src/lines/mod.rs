//! Fixture lines: what switches power, NRST, BOOT0 and slot select of a real panel.
//!
//! The sequencer of `panel-backplane` says which line and when; a [`FixtureDriver`] does it. The driver of a run
//! calls it from its one loop, so nothing here waits: a line that an operator switches by hand reports
//! [`Switched::Waiting`], and until it is done the clock of the run stands still. Invariant: [`FixtureDriver::safe`]
//! tries every line, whatever fails on the way.

use panel_backplane::{LineAction, Slot};

/// How far a line that was to be switched is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It is as it should be.
    Done,
    /// Somebody has yet to do it; ask [`FixtureDriver::poll`].
    Waiting,
}

/// A line that could not be switched or an input that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {reason}")]
pub struct FixtureError {
    /// The line as panel.toml names it, or the fixture's device.
    pub line: String,
    /// What was wanted and what came instead.
    pub reason: String,
}

/// The lines of one fixture.
pub trait FixtureDriver {
    /// Switches a line; `on` is what the line does, whatever its polarity.
    ///
    /// # Errors
    /// [`FixtureError`]; what the line is like then is unknown.
    fn switch(&mut self, action: LineAction) -> Result<Switched, FixtureError>;

    /// Whether the line that was waited for is as it should be. Called at least every 50 ms while waiting.
    ///
    /// # Errors
    /// [`FixtureError`], also if nobody did it in time.
    fn poll(&mut self) -> Result<Switched, FixtureError> {
        Ok(Switched::Done)
    }

    /// Supply currents in milliamperes; `None` where the fixture cannot measure.
    ///
    /// # Errors
    /// [`FixtureError`] if it can and the measurement failed.
    fn sense(&mut self, slots: &[Slot]) -> Result<Vec<(Slot, Option<u32>)>, FixtureError> {
        Ok(slots.iter().map(|&slot| (slot, None)).collect())
    }

    /// Everything off at once: power, then BOOT0, select, NRST released ([`panel_backplane::safe_state`]). Called
    /// on every way out, also after an error; tries all lines.
    ///
    /// # Errors
    /// The first line that could not be switched.
    fn safe(&mut self) -> Result<(), FixtureError>;
}
