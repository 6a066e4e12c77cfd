//! What a session tells on its way: steps, progress, labelled waits, and what it asks of the driver's lines.

use core::fmt;
use core::time::Duration;

use crate::command::{CanRate, Opcode};
use crate::rom::Identity;

/// The step of an operation; errors and progress name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Reset, sync, bit rate.
    Connect,
    /// Commands, product ID, ROM version.
    Identify,
    /// Checking the bank mode, telling the ROM the supply voltage.
    Prepare,
    /// Lifting or setting protection.
    Protect,
    /// Reading UID, size, option bytes or memory.
    Read,
    /// Comparing what is there with what should be.
    Compare,
    /// Erasing.
    Erase,
    /// Writing.
    Write,
    /// Reading back.
    Verify,
    /// Writing option bytes.
    Options,
    /// Starting the application.
    Start,
    /// A single command on request.
    Execute,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Identify => "identify",
            Self::Prepare => "prepare",
            Self::Protect => "protect",
            Self::Read => "read",
            Self::Compare => "compare",
            Self::Erase => "erase",
            Self::Write => "write",
            Self::Verify => "verify",
            Self::Options => "options",
            Self::Start => "start",
            Self::Execute => "execute",
        })
    }
}

/// What a session is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wait {
    /// The driver, to carry out a line action.
    Lines,
    /// The chip, to start its ROM.
    Startup,
    /// The chip, to come back from the reset it gives itself.
    SelfReset,
    /// An answer to the sync byte or frame.
    Sync,
    /// Stray bytes to end.
    Quiet,
    /// A NACK that shows the ROM at the start of a command again.
    Realign,
    /// The ACK of the command code.
    Command,
    /// The ACK of an address.
    Address,
    /// The ACK of a length or of another argument.
    Argument,
    /// The number of bytes to come.
    Count,
    /// Bytes announced or asked for.
    Data,
    /// The ACK of one data frame (CAN).
    DataFrame,
    /// The ACK after programming.
    Programmed,
    /// The ACK after erasing.
    Erased,
    /// A pause this ROM needs after an erase.
    EraseSettle,
    /// The second ACK of a protection command.
    Protection,
    /// The ACK that ends an answer.
    End,
    /// The ACK at the new bit rate (CAN).
    NewRate,
    /// A pause before reading again.
    ReadAgain,
    /// Nothing: the session has ended.
    Finished,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "completion of the line action",
            Self::Startup => "start of the ROM",
            Self::SelfReset => "end of the chip's own reset",
            Self::Sync => "answer to the sync",
            Self::Quiet => "pause on the line",
            Self::Realign => "NACK to filler bytes",
            Self::Command => "ACK of the command",
            Self::Address => "ACK of the address",
            Self::Argument => "ACK of an argument",
            Self::Count => "byte count",
            Self::Data => "data",
            Self::DataFrame => "ACK of a data frame",
            Self::Programmed => "ACK after programming",
            Self::Erased => "ACK after erasing",
            Self::EraseSettle => "pause after erasing",
            Self::Protection => "second ACK",
            Self::End => "final ACK",
            Self::NewRate => "ACK at the new bit rate",
            Self::ReadAgain => "pause before reading again",
            Self::Finished => "nothing",
        })
    }
}

/// What a session asks of the driver's lines. Answer with `handle_line` when it is done, or cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineAction {
    /// Reset (or power cycle) the chip with the boot pins set for the ROM, and leave the pins so.
    EnterRom,
    /// Take the power away and give it back, with the boot pins set for the ROM.
    PowerCycleIntoRom,
    /// Reset the chip with the boot pins set for the application.
    StartApplication,
    /// Change the adapter's bit rate (CAN).
    BitRate(CanRate),
}

impl LineAction {
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::EnterRom => "reset the chip into its ROM",
            Self::PowerCycleIntoRom => "power cycle the chip into its ROM",
            Self::StartApplication => "reset the chip into its application",
            Self::BitRate(_) => "change the bit rate",
        }
    }
}

/// The driver's answer to a [`LineAction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineResult {
    /// Carried out; for a reset, the chip is running again from now on.
    Done,
    /// This driver cannot do it.
    Unavailable,
}

/// What happens on the way. For an operation the order is: `Step(Connect)`, any number of `Syncing`, `Synced`,
/// `Step(Identify)`, `Identified`, then for each further step its `Step` followed by its `Progress`; `Repeated`,
/// `Realigned` and `Note` may come anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A step begins.
    Step(Step),
    /// A sync byte or frame is sent.
    Syncing {
        /// From 1.
        attempt: u32,
    },
    /// The ROM answered the sync.
    Synced {
        /// Whether it had been synchronised before.
        already: bool,
    },
    /// The chip is known.
    Identified(Identity),
    /// Work done of work to do, in bytes; for erase in units.
    Progress {
        /// Step.
        step: Step,
        /// Done.
        done: u32,
        /// Of.
        total: u32,
    },
    /// A command went wrong on the wire and is repeated.
    Repeated {
        /// Command.
        command: Opcode,
        /// Its address.
        address: Option<u32>,
        /// The wait that went wrong.
        wait: Wait,
    },
    /// The ROM was in the middle of a command; this many filler bytes brought it back.
    Realigned {
        /// Bytes.
        filler: u32,
    },
    /// A pause that a quirk of this chip asks for.
    Pausing {
        /// Why.
        wait: Wait,
        /// How long.
        length: Duration,
    },
    /// Something the operator may want to know.
    Note(Note),
}

/// Remarks that are not errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Note {
    /// The ROM refused to be told the supply voltage: programming goes on byte by byte.
    VoltageRangeRefused,
    /// The option word that decides the page size could not be read; the plan's assumption stands.
    BankModeUnread,
    /// The chip will enter its ROM again until power is cycled.
    PowerCycleToLeaveRom,
    /// The chip did not reset itself though its family should.
    NoSelfReset,
    /// This ROM has no sound mass erase, or refused it: pages are erased instead.
    MassEraseReplaced,
}
