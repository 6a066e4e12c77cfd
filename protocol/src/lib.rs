//! The panelflash multidrop protocol: many STM32 boards on one CAN bus, one image, sent once.
//!
//! Two state machines without a clock, a thread or a file:
//!
//! * [`node::Node`] is the boards' end. The firmware and the simulator run this very code; they differ
//!   only in their [`node::NodePort`].
//! * `host::BusMaster` (feature `host`) is the programmer's end of one bus.
//!
//! What the crate deliberately does not do: it opens no device, reads no clock, and decides nothing about
//! panels, retries or records. The wire format is specified in `docs/protocol.md`; [`message`] and [`ident`]
//! are its only implementation.
#![no_std]
#[cfg(feature = "host")]
extern crate alloc;

pub mod frame;
pub mod node;
pub mod time;
