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
//! are its only implementation, and [`stream`] carries the same frames where there is no CAN.
#![no_std]
#[cfg(feature = "host")]
extern crate alloc;

pub mod agent;
pub mod block;
mod bytes;
pub mod crc32;
pub mod frame;
#[cfg(feature = "host")]
pub mod host;
pub mod ident;
pub mod message;
pub mod node;
pub mod reply;
mod sha256;
pub mod stream;
pub mod time;
pub mod version;

/// CRC-32/ISO-HDLC.
pub static CRC32: crc32::Crc32 = crc32::Crc32;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
