//! Boards that are reached through the ROM bootloader of their chip.
//!
//! `attempt.rs` is one board's way through a job, over a UART or a CAN bus: connect, identify, erase, write, read
//! back, start. It takes bytes or frames, line results and `now`, and gives the same; a run keeps one for each
//! board that is worked on (`lane.rs`). The ROM's protocol is the crate `stm32-rom-bootloader`, which nothing else
//! of the engine uses. `panelflash recover` has an attempt of its own: it looks first, asks before it destroys, lifts
//! protection and locks again, with a person before it, and a batch does none of that.

mod attempt;
mod explain;
mod lane;
mod plan;
mod session;

pub use explain::{explain, plan_code};
pub(crate) use lane::{RomLane, Ticket};
pub(crate) use plan::is_agent;
pub use plan::{Agent, PlanPort, RomPlan, Ways};
