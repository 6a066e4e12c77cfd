//! The three links behind one face: connect, carry out one command, come back to the start of a command.
//!
//! A link knows the bytes or frames of its application note and the answers' timing; it knows nothing of flash
//! layouts or operations. The layer above gives it the flash time to allow for ([`Budget`]) and the chip's
//! traits, and turns its [`Fault`]s into errors with step and address.

mod can;
mod uart;

use core::time::Duration;

use crate::command::{CanRate, Command, Reply};
use crate::device::Traits;
use crate::error::Fault;

pub(crate) use can::Can;
pub(crate) use uart::Uart;

/// Positive answer (AN3155, section 2; AN3154, section 2).
const ACK: u8 = 0x79;
/// Negative answer.
const NACK: u8 = 0x1F;

/// When and how long to try to connect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connecting {
    /// The chip cannot listen before this.
    pub(crate) earliest: Duration,
    /// Give up after this.
    pub(crate) until: Duration,
    /// Whether the chip may be inside a command, so that filler may be needed; not just after a reset.
    pub(crate) abandoned: bool,
}

/// How the ROM answered the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// ACK: it had been waiting for it.
    Fresh,
    /// NACK, or an ACK after filler: it was synchronised before.
    Already,
}

/// Flash time to allow for before the last ACK of a command.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    pub(crate) flash: Duration,
}

/// A link to a ROM.
#[derive(Debug)]
pub(crate) enum Wire {
    Uart(Uart),
    Can(Can),
}

impl Wire {
    /// Synchronises. Errors: [`Fault::NoAnswer`], [`Fault::Echo`], [`Fault::Cancelled`].
    pub(crate) async fn connect(&mut self, connecting: Connecting) -> Result<Greeting, Fault> {
        match self {
            Self::Uart(uart) => uart.connect(connecting).await,
            Self::Can(can) => can.connect(connecting).await,
        }
    }

    /// Carries out one command.
    pub(crate) async fn execute(&mut self, command: &Command<'_>, budget: Budget) -> Result<Reply, Fault> {
        if let Some(reason) = command.fault() {
            return Err(Fault::Argument(reason));
        }
        match self {
            Self::Uart(uart) => uart.execute(command, budget).await,
            Self::Can(can) => can.execute(command, budget).await,
        }
    }

    /// Lets stray answers pass. The ROM is at the start of a command already.
    pub(crate) async fn settle(&mut self) -> Result<(), Fault> {
        match self {
            Self::Uart(uart) => uart.settle().await,
            Self::Can(can) => can.settle().await,
        }
    }

    /// Brings the ROM back to the start of a command from anywhere inside one; returns the filler sent.
    pub(crate) async fn realign(&mut self) -> Result<u32, Fault> {
        match self {
            Self::Uart(uart) => uart.realign().await,
            Self::Can(can) => can.realign().await,
        }
    }

    /// Changes to another bit rate (classic CAN only).
    pub(crate) async fn change_rate(&mut self, rate: CanRate, limit: Duration) -> Result<(), Fault> {
        match self {
            Self::Uart(_) => Ok(()),
            Self::Can(can) => can.change_rate(rate, limit).await,
        }
    }

    /// Takes note of what the chip does in its own way and which protocol version it speaks.
    pub(crate) fn adopt(&mut self, traits: &Traits, protocol: u8, extended_erase: bool) {
        match self {
            Self::Uart(uart) => uart.adopt(traits, protocol, extended_erase),
            Self::Can(_) => {}
        }
    }

    /// Most pages that one erase command of this link can name.
    pub(crate) const fn pages_per_erase(&self) -> u16 {
        match self {
            Self::Uart(uart) => uart.pages_per_erase(),
            Self::Can(can) => can.pages_per_erase(),
        }
    }

    /// Highest page number that an erase command of this link can name.
    pub(crate) const fn highest_page(&self) -> u16 {
        match self {
            Self::Uart(uart) => uart.highest_page(),
            Self::Can(can) => can.highest_page(),
        }
    }

    /// Whether Readout Unprotect and its relatives go over CAN, where some of them are broken.
    pub(crate) const fn is_can(&self) -> bool {
        matches!(self, Self::Can(_))
    }

    /// Whether frames have 64 bytes.
    pub(crate) const fn is_fd(&self) -> bool {
        match self {
            Self::Uart(_) => false,
            Self::Can(can) => can.is_fd(),
        }
    }

    /// Bits per second of a UART.
    pub(crate) const fn baud(&self) -> Option<u32> {
        match self {
            Self::Uart(uart) => Some(uart.baud()),
            Self::Can(_) => None,
        }
    }
}
