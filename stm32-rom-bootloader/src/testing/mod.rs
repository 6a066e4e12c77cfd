//! A toy ROM and a driver in virtual time, for tests and fuzzing (feature `testing`).
//!
//! The toy is what this crate's own tests talk to: enough of AN3155 and AN3154/AN5405, with the misbehaviour of
//! single ROM versions as switches, to see that a session copes. It is not a model of any chip and takes flash
//! times from this crate's own table.
//!
//! [`run_uart`] and [`run_can`] move bytes and frames between a session and a toy, at the speed of the link and
//! without waiting for anything. [`fuzz()`] does the same with answers that are wrong in every way, and checks
//! what the session sends against its plan.

mod can;
mod check;
mod fuzz;
mod memory;
mod rig;
mod uart;

pub use can::ToyCan;
pub use fuzz::{Chaos, Hostility, Verdict, fuzz};
pub use memory::{Memory, Quirks};
pub use rig::{CanLink, Run, UartLink, run_can, run_uart, run_uart_with};
pub use uart::ToyUart;
