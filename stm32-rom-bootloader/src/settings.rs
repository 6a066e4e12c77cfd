//! What a session is told about its link and its chip. Every limit is here, with its unit.

use core::time::Duration;

use crate::command::CanRate;
use crate::device::Device;
use crate::rom::Identity;

/// How a session finds the chip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Entry {
    /// In whatever state: freshly reset, synchronised, or in the middle of a command somebody abandoned.
    #[default]
    AsIs,
    /// Ask the driver for a reset into the ROM first ([`crate::LineAction::EnterRom`]); also used to recover.
    Reset,
    /// Connected by an earlier session, and idle. Nothing is asked again.
    Connected(Identity),
}

/// Which chip is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chip {
    /// Whatever answers.
    #[default]
    Detect,
    /// This product; another one is an error. Its start-up time is known before it answers.
    Expect(&'static Device),
    /// Treat whatever answers as this product.
    Force(&'static Device),
}

impl Chip {
    pub(crate) const fn device(self) -> Option<&'static Device> {
        match self {
            Self::Detect => None,
            Self::Expect(device) | Self::Force(device) => Some(device),
        }
    }
}

/// Time and retry limits. Flash times are added where a command programs or erases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the first sync until giving up, beyond the chip's start-up time.
    pub connect: Duration,
    /// For any answer, beyond transfer, adapter latency and flash time.
    pub answer: Duration,
    /// For the driver to carry out a [`crate::LineAction`].
    pub lines: Duration,
    /// How often a command that went wrong on the wire is repeated, and how often a reset into the ROM.
    pub retries: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(1),
            lines: Duration::from_secs(30),
            retries: 2,
        }
    }
}

/// A USART link: 8 data bits, even parity, 1 stop bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UartSettings {
    /// Bits per second; a byte takes 11.
    pub baud: u32,
    /// How long the adapter may sit on a received byte (16 ms for an FTDI left alone).
    pub latency: Duration,
    /// How the chip is found.
    pub entry: Entry,
    /// Which chip.
    pub chip: Chip,
    /// Limits.
    pub limits: Limits,
}

impl UartSettings {
    /// A link at `baud`, an adapter without latency, any chip in any state, default limits.
    #[must_use]
    pub fn new(baud: u32) -> Self {
        Self {
            baud: baud.max(1),
            latency: Duration::ZERO,
            entry: Entry::default(),
            chip: Chip::default(),
            limits: Limits::default(),
        }
    }
}

/// A CAN or FDCAN link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanSettings {
    /// Classic CAN or CAN FD.
    pub kind: CanKind,
    /// How long the adapter may sit on a received frame.
    pub latency: Duration,
    /// How the chip is found.
    pub entry: Entry,
    /// Which chip.
    pub chip: Chip,
    /// Limits.
    pub limits: Limits,
}

/// Which of the two CAN protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanKind {
    /// AN3154: 8-byte frames. The ROM starts at 125 kbit/s.
    Classic {
        /// Rate to change to after connecting, with the Speed command.
        speed: Option<CanRate>,
    },
    /// AN5405: 64-byte frames, 250 kbit/s arbitration, 1 Mbit/s data (AN2606 Rev 70).
    Fd,
}

impl CanSettings {
    /// Classic CAN at 125 kbit/s, any chip in any state, default limits.
    #[must_use]
    pub fn classic() -> Self {
        Self {
            kind: CanKind::Classic { speed: None },
            latency: Duration::ZERO,
            entry: Entry::default(),
            chip: Chip::default(),
            limits: Limits::default(),
        }
    }

    /// CAN FD, any chip in any state, default limits.
    #[must_use]
    pub fn fd() -> Self {
        Self { kind: CanKind::Fd, ..Self::classic() }
    }
}
