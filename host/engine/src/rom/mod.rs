//! Boards that are reached through the ROM bootloader of their chip.
//!
//! [`Attempt`] is one board's way through a job, over a UART or a CAN bus: connect, identify, erase, write, read
//! back, start. It takes bytes or frames, line results and `now`, and gives the same; batch runs keep one for
//! each port (`lane.rs`), `panelflash recover` drives a single one. The ROM's protocol is the crate
//! `stm32-rom-bootloader`, which nothing else of the engine uses.

mod attempt;
mod explain;
mod lane;
mod plan;
mod session;

pub use attempt::{Attempt, Done, Found, Goal, Output, Trouble, Work};
pub use explain::{explain, plan_code};
pub(crate) use lane::{RomLane, Ticket};
pub(crate) use plan::is_agent;
pub use plan::{Agent, PlanPort, RomPlan, Ways};
pub use session::{Link, Packet};
