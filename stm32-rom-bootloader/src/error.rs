//! Why a session ended early. One variant for each reaction a caller may have.

use core::fmt;
use core::time::Duration;

use crate::command::Opcode;
use crate::event::{Step, Wait};
use crate::plan::PlanError;

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing that could be a ROM bootloader answered.
    #[error("no answer to {attempts} sync attempts within {waited:?}: {heard}{}", TryBaud(*.try_baud))]
    NoAnswer {
        /// How often it was tried.
        attempts: u32,
        /// For how long.
        waited: Duration,
        /// What was heard instead.
        heard: Heard,
        /// A rate to try, if lower than the one used: what AN2606 advises for this chip if connecting fails, or the
        /// highest that AN3155 promises of any.
        try_baud: Option<u32>,
    },
    /// The chip synchronised, then ignored every command: the link sends no parity bit.
    #[error(
        "the chip acknowledges the sync byte but no command: the port or adapter does not send even parity"
    )]
    ParityMissing,
    /// Only our own bytes come back.
    #[error("every byte sent comes back: receive and transmit are joined, or no chip is there")]
    Echo,
    /// A labelled wait ran out.
    #[error("{step}: {}no {wait} within {after:?}", During(*.command, *.address))]
    TimedOut {
        /// Step of the operation.
        step: Step,
        /// Command under way.
        command: Option<Opcode>,
        /// Its address.
        address: Option<u32>,
        /// What was waited for.
        wait: Wait,
        /// For how long.
        after: Duration,
    },
    /// The ROM said NACK.
    #[error("{step}: {}refused instead of {at}", During(Some(*.command), *.address))]
    Refused {
        /// Step of the operation.
        step: Step,
        /// Command refused.
        command: Opcode,
        /// Its address.
        address: Option<u32>,
        /// The ACK that was due.
        at: Wait,
    },
    /// The ROM answered something that makes no sense.
    #[error("{step}: {}got {got:#04x} instead of {wait}", During(*.command, *.address))]
    Garbled {
        /// Step of the operation.
        step: Step,
        /// Command under way.
        command: Option<Opcode>,
        /// Its address.
        address: Option<u32>,
        /// What was due.
        wait: Wait,
        /// The byte that came.
        got: u8,
    },
    /// The other end does not stop sending.
    #[error("{step}: the other end sends without pause while waiting for {wait}")]
    Flooded {
        /// Step of the operation.
        step: Step,
        /// What was waited for.
        wait: Wait,
    },
    /// The ROM does not list a command that is needed.
    #[error("{step}: this ROM has no command {command}")]
    NotListed {
        /// Step of the operation.
        step: Step,
        /// The command.
        command: Opcode,
    },
    /// The product ID is in no table.
    #[error("unknown product ID {product_id:#05x}")]
    UnknownChip {
        /// What Get ID answered.
        product_id: u16,
    },
    /// Another chip than expected.
    #[error("wrong chip: expected product ID {expected:#05x}, got {got:#05x}")]
    WrongChip {
        /// Expected.
        expected: u16,
        /// What Get ID answered.
        got: u16,
    },
    /// Readout protection is on: the command was refused at once.
    #[error("{step}: {command} refused, the chip is readout protected")]
    Protected {
        /// Step of the operation.
        step: Step,
        /// The command refused.
        command: Opcode,
    },
    /// New option bytes are not loaded and the driver cannot reset: reset or power cycle, then go on.
    #[error("{step}: the chip must be {} before it goes on", if *.power_cycle { "power cycled" } else { "reset" })]
    ResetNeeded {
        /// Step of the operation.
        step: Step,
        /// Whether a reset is not enough.
        power_cycle: bool,
    },
    /// The driver cannot do what the operation needs.
    #[error("{step}: the driver cannot {action}")]
    LinesUnavailable {
        /// Step of the operation.
        step: Step,
        /// What was asked of it.
        action: &'static str,
    },
    /// A block cannot be written: it is neither blank nor already right.
    #[error("flash at {address:#010x} is not blank: read {got:#04x}")]
    NotBlank {
        /// First byte that is not.
        address: u32,
        /// What it reads as.
        got: u8,
    },
    /// Reading back shows other data.
    #[error(
        "verify failed at {address:#010x}: expected {expected:#04x}, got {got:#04x}, {differing} bytes of the block differ"
    )]
    VerifyFailed {
        /// First byte that differs.
        address: u32,
        /// What the image has there.
        expected: u8,
        /// What the chip has there.
        got: u8,
        /// How many bytes of the block differ.
        differing: u16,
    },
    /// Flash stays as it was although the ROM acknowledged erasing and writing it: AN3155 says that it reports no
    /// error for a write protected sector.
    #[error(
        "flash at {address:#010x} stays as it was although the ROM says it was written: is it write protected?"
    )]
    WriteProtected {
        /// First byte that differs.
        address: u32,
    },
    /// The chip is not as the plan assumed.
    #[error("the plan does not fit this chip: {reason}")]
    PlanMismatch {
        /// In what way.
        reason: &'static str,
    },
    /// A plan could not be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The arguments cannot be sent, or must not be.
    #[error("{command}: {reason}")]
    BadArgument {
        /// Command.
        command: Opcode,
        /// Why.
        reason: &'static str,
    },
    /// The operation was cancelled.
    #[error("{step}: cancelled")]
    Cancelled {
        /// Step of the operation.
        step: Step,
    },
}

/// What came in while nothing valid did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// How many bytes (or, on CAN, frames).
    pub count: u32,
    /// The first of them.
    pub first: [u8; 4],
}

impl Heard {
    pub(crate) fn note(&mut self, byte: u8) {
        if let Some(place) = self.first.get_mut(self.count as usize) {
            *place = byte;
        }
        self.count = self.count.saturating_add(1);
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.first.len().min(self.count as usize);
        match self.count {
            0 => f.write_str("silence"),
            1 => write!(f, "only {:#04x}", self.first[0]),
            count => write!(f, "{count} other bytes (another rate?), first {:02x?}", &self.first[..shown]),
        }
    }
}

struct TryBaud(Option<u32>);

impl fmt::Display for TryBaud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |baud| write!(f, "; try {baud} baud"))
    }
}

struct During(Option<Opcode>, Option<u32>);

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(command), Some(address)) => write!(f, "{command} at {address:#010x}: "),
            (Some(command), None) => write!(f, "{command}: "),
            (None, _) => Ok(()),
        }
    }
}

/// What a link layer reports; the layer above adds step, command and address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    NoAnswer { attempts: u32, waited: Duration, heard: Heard },
    TimedOut { wait: Wait, after: Duration },
    Refused { at: Wait },
    Garbled { wait: Wait, got: u8 },
    Flooded { wait: Wait },
    ParityMissing,
    Echo,
    NotListed(Opcode),
    Argument(&'static str),
    LinesUnavailable(&'static str),
    Cancelled,
}

impl Fault {
    /// Whether repeating may help: something went wrong on the wire.
    pub(crate) const fn is_noise(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Garbled { .. } | Self::Flooded { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_step_command_address_and_wait() {
        let error = Error::TimedOut {
            step: Step::Write,
            command: Some(Opcode::WRITE),
            address: Some(0x0800_1200),
            wait: Wait::Programmed,
            after: Duration::from_millis(1410),
        };
        assert_eq!(
            error.to_string(),
            "write: Write Memory (0x31) at 0x08001200: no ACK after programming within 1.41s"
        );
        let error =
            Error::Refused { step: Step::Erase, command: Opcode::ERASE, address: None, at: Wait::Erased };
        assert_eq!(error.to_string(), "erase: Erase Memory (0x43): refused instead of ACK after erasing");
    }

    #[test]
    fn what_was_heard_is_told_shortly() {
        let mut heard = Heard::default();
        assert_eq!(heard.to_string(), "silence");
        heard.note(0xFF);
        assert_eq!(heard.to_string(), "only 0xff");
        (0..9).for_each(|byte| heard.note(byte));
        assert_eq!(heard.to_string(), "10 other bytes (another rate?), first [ff, 00, 01, 02]");
    }
}
