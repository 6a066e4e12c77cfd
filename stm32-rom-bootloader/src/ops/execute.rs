//! Single commands: any one as it is, and Go with what its ROMs do differently.

use super::{Operation, sealed::Sealed};
use crate::command::{Command, Opcode, Reply};
use crate::error::Error;
use crate::event::{LineAction, Step};
use crate::rom::{Identity, Rom};

/// Connects and carries out one command as it is, without looking after what it causes: after a protection
/// command the chip resets, or waits for a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The command.
    pub command: Command<'a>,
}

/// What [`Execute`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Executed {
    /// The chip.
    pub identity: Identity,
    /// Its answer.
    pub reply: Reply,
}

impl Sealed for Execute<'_> {}

impl<'a> Operation<'a> for Execute<'a> {
    type Outcome = Executed;

    async fn run(self, mut rom: Rom) -> Result<Executed, Error> {
        let identity = rom.start().await?;
        rom.begin(Step::Execute);
        let reply = rom.run(&self.command).await?;
        Ok(Executed { identity, reply })
    }
}

/// Connects and starts the application at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Go {
    /// Address of the vector table, in flash or RAM.
    pub address: u32,
}

/// What [`Go`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Started {
    /// The chip.
    pub identity: Identity,
    /// Whether it was reset into its application because its ROM's Go does not work.
    pub by_reset: bool,
}

impl Sealed for Go {}

impl Operation<'_> for Go {
    type Outcome = Started;

    async fn run(self, mut rom: Rom) -> Result<Started, Error> {
        let identity = rom.start().await?;
        let by_reset = rom.go(self.address).await?;
        Ok(Started { identity, by_reset })
    }
}

impl Rom {
    /// Starts the application; whether by a reset because Go does not work on this ROM.
    pub(super) async fn go(&mut self, address: u32) -> Result<bool, Error> {
        self.begin(Step::Start);
        if self.traits().go_works {
            self.run_once(&Command::Go { address }).await?;
            return Ok(false);
        }
        if self.device().and_then(|device| device.flash).is_none_or(|flash| flash.start != address) {
            let reason = "Go does not work on this ROM (AN2606), and a reset starts only the flash";
            return Err(Error::BadArgument { command: Opcode::GO, reason });
        }
        self.start_application().await?;
        Ok(true)
    }

    /// Resets into the application.
    pub(super) async fn start_application(&mut self) -> Result<(), Error> {
        self.line(LineAction::StartApplication).await
    }
}
