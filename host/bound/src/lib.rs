//! How fast a panel could be programmed at all: the denominator of every ratio panelflash reports.
//!
//! The bound counts what physics and the parts' data sheets charge for the job: bits that must cross the wire,
//! flash that must be erased and programmed, time to start up. It charges nothing for the host, for gaps
//! between frames, for repeats or for any message of a protocol that could be left out. Where a cost depends
//! on a free choice, the cheapest choice is taken, and fractions of a nanosecond are dropped.
//!
//! [`Multidrop`] is one bus of boards that receive an image together, and erase and program while they
//! receive; [`Factory`] is what a factory adds to them beside the image; [`Rom`] is boards talked to through the
//! bootloader in their ROM, which does one thing at a time; [`Agent`] is both, one after the other.
//! All are plain values with a method `bound`; [`Bound`] is the answer, part by part. Several buses or ports
//! work in parallel: the bound of the panel is the largest of theirs.
//!
//! The crate deliberately uses nothing else of panelflash, neither the protocol nor the simulator with its
//! frame lengths: a mistake there must show as a wrong ratio. It opens nothing, and knows no chip.

mod agent;
mod factory;
mod frame;
mod image;
mod multidrop;
mod rom;
mod wire;

use core::num::NonZeroU32;

pub use agent::Agent;
pub use factory::{Factory, FactoryBound};
pub use multidrop::Multidrop;
pub use rom::{Rom, RomLink};

/// The least time a job can take, and what it consists of. All times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// Fixture and start-up, before a board can be talked to.
    pub power_ns: u64,
    /// The RAM agent's way into the boards, where they need one.
    pub load_ns: u64,
    /// Finding out which boards are there.
    pub discover_ns: u64,
    /// The image on the wire.
    pub bus_ns: u64,
    /// Erasing what the image touches, typical times.
    pub erase_ns: u64,
    /// Programming what is not blank, typical times.
    pub program_ns: u64,
    /// The shortest proof that every board holds the image.
    pub verify_ns: u64,
    /// Bringing the image from a second slot to its place, where boards have one; 0 otherwise.
    pub install_ns: u64,
    /// What the adapter's latency adds; 0 unless the job says otherwise.
    pub latency_ns: u64,
    /// The whole job. Less than the sum of the parts where they overlap.
    pub total_ns: u64,
    /// Frames in `bus_ns`; characters on a UART.
    pub frames: u64,
    /// Bits in `bus_ns`, stuffing and interframe space included.
    pub bits: u64,
}

impl Bound {
    /// The bound of boards that received the image into a second slot: it is erased for and programmed once more, at its
    /// place, after it was verified.
    #[must_use]
    pub const fn installed(mut self) -> Self {
        self.install_ns = self.erase_ns.saturating_add(self.program_ns);
        self.total_ns = self.total_ns.saturating_add(self.install_ns);
        self
    }
}

/// Bit rates of a CAN bus, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusSpeed {
    /// Classical frames, up to 8 bytes.
    Classical {
        /// The only rate.
        bit_rate: NonZeroU32,
    },
    /// FD frames with bit rate switch, up to 64 bytes.
    Fd {
        /// Rate of the arbitration phase.
        nominal: NonZeroU32,
        /// Rate of the data phase.
        data: NonZeroU32,
    },
}

/// A sector or page of flash: what one erase operation erases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EraseUnit {
    /// Its first address.
    pub address: u32,
    /// Its size in bytes.
    pub size: u32,
    /// Typical time to erase it.
    pub typical_ns: u64,
}

/// A chip's flash and its typical times from the data sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlashTimes {
    /// Every erase unit the image may touch, in any order, without overlap.
    pub units: Vec<EraseUnit>,
    /// Bytes programmed by one operation, on addresses that are a multiple of it.
    pub program_unit: NonZeroU32,
    /// Typical time of one such operation.
    pub program_typical_ns: u64,
}

/// What passes before the first board can hear anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PowerOn {
    /// Declared by the fixture: staggering of the supplies, settling.
    pub fixture_ns: u64,
    /// From a board's supply to its readiness.
    pub start_up_ns: u64,
}
