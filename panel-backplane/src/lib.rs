//! What a panel and its fixture are.
//!
//! - [`Panel`]: rows, columns, slots, buses, ports, ways, marks and fixture lines, read from panel.toml by
//!   [`Panel::parse`] or made by [`Panel::grid`].
//! - [`Sequencer`]: the order and the waits in which fixture lines are switched, as a state machine that takes
//!   `now` and emits [`LineAction`]s; the same for a simulated and a real fixture.
//! - [`document`]: reading TOML so that every problem is reported with line, column and the nearest known key;
//!   also used for job and scenario files.
//!
//! The crate opens no file and no device, reads no clock, and knows no protocol.

mod bus;
pub mod document;
mod fixture;
mod input;
mod layout;
mod nearest;
mod panel;
mod panel_check;
mod panel_file;
mod problem;
mod sequencer;
pub mod units;
mod way;

pub use bus::{Bus, BusIndex, BusKind, Link, LinkError, Port};
pub use fixture::{
    Connection, Fixture, FixtureTiming, Line, LineFunction, LineIndex, Mux, SlotLines, Wire, WireError,
};
pub use input::{Input, InputSource, Inputs};
pub use panel::{Binding, GridError, Mark, Panel, PanelSlot, Slot, UnknownSlot};
pub use panel_file::error_code;
pub use problem::{Position, Problem, ProblemKind, Problems};
pub use sequencer::{
    LineAction, Output, Request, RequestError, RequestId, Sequencer, SlotPower, Wait, safe_state,
};
pub use way::Way;
