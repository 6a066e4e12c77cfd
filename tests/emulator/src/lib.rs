//! STM32 boards that run the shipped ELF files instruction by instruction on the simulated buses.
//!
//! [`Board`] is a chip with its supply, pins and place on a bus; [`Fitted`] puts it into a slot of
//! `panel_simulator::World`. unicorn executes Thumb code; everything else is a model written from the reference
//! manuals, each with its sections, and from nothing else: the firmware is what is under test. What the code does
//! against the manual, and what a model does not know, ends up in [`Board::complaints`], which a test of correct
//! firmware expects to be empty.
//!
//! What the crate does not do: wait states, bus contention and pipelining are covered by one pessimistic cost model
//! (`cost.rs`), analogue behaviour and clock tolerance not at all.

mod board;
mod bxcan;
mod cost;
mod csr;
mod elf;
mod f1;
mod f4;
mod fdcan;
mod fitted;
mod flash;
mod g0g4;
mod gpio;
mod iwdg;
mod nvic;
mod oscillators;
mod processor;
mod rom;
mod serial;
mod soc;
pub mod station;
mod wires;

pub use board::{Board, BoardConfig, Chip, PinChange};
pub use elf::{ElfError, Program};
pub use fitted::Fitted;
pub use flash::{Broken, Cells, Defects, FLASH_BASE, Flash, Noise, Operation};
pub use processor::{Crash, CrashKind};
pub use serial::Usart;
pub use soc::CanCounters;
pub use wires::{Complaint, NEVER, Now, Reset};
