//! A record of what happened, for tests that compare two runs and for people who look for a cause.

use std::fmt;

use panel_protocol::frame::Frame;

use crate::stats::ErrorKind;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceEvent {
    /// A frame was delivered.
    Frame {
        /// The bus, from 0.
        bus: usize,
        /// The slot that sent it (the lowest of several), `None` for the host.
        sender: Option<u16>,
        /// The frame.
        frame: Frame,
    },
    /// A frame was destroyed.
    Error {
        /// The bus, from 0.
        bus: usize,
        /// Why.
        kind: ErrorKind,
    },
    /// The fixture switched a slot's power.
    Power {
        /// The slot.
        slot: u16,
        /// On or off.
        on: bool,
    },
    /// The fixture moved a slot's reset line.
    Reset {
        /// The slot.
        slot: u16,
        /// Held in reset or released.
        asserted: bool,
    },
}

/// Events with their times in nanoseconds, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// The events.
    pub events: Vec<(u64, TraceEvent)>,
}

impl Trace {
    pub(crate) fn push(&mut self, at: u64, event: TraceEvent) {
        self.events.push((at, event));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, event) in &self.events {
            write!(f, "{:>9}.{:03} us  ", at / 1000, at % 1000)?;
            match event {
                TraceEvent::Frame { bus, sender: None, frame } => {
                    writeln!(f, "bus {bus}  host     {frame:?}")?
                }
                TraceEvent::Frame { bus, sender: Some(slot), frame } => {
                    writeln!(f, "bus {bus}  slot {slot:<3} {frame:?}")?;
                }
                TraceEvent::Error { bus, kind } => writeln!(f, "bus {bus}  error    {kind:?}")?,
                TraceEvent::Power { slot, on } => {
                    writeln!(f, "slot {slot}: power {}", if *on { "on" } else { "off" })?
                }
                TraceEvent::Reset { slot, asserted } => {
                    writeln!(f, "slot {slot}: reset {}", if *asserted { "asserted" } else { "released" })?;
                }
            }
        }
        Ok(())
    }
}
