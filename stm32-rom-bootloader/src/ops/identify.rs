//! Who is there, and whether it lets itself be read: what a plan needs, and nothing more.

use super::{Operation, sealed::Sealed};
use crate::command::Opcode;
use crate::error::Error;
use crate::event::Step;
use crate::rom::{Identity, Rom};

/// Connects and identifies the chip. [`Identity::protected`] is known afterwards, unless the ROM does not list
/// Read or the product is unknown. [`super::Inspect`] reads everything there is, which takes some 40 ms at
/// 115200 baud; this takes five, and nothing after [`crate::Entry::Connected`] if that says it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identify;

impl Sealed for Identify {}

impl Operation<'_> for Identify {
    type Outcome = Identity;

    async fn run(self, mut rom: Rom) -> Result<Identity, Error> {
        let mut identity = rom.start().await?;
        let flash = rom.device().and_then(|device| device.flash);
        if let (Some(flash), None, true) = (flash, identity.protected, identity.lists(Opcode::READ)) {
            rom.begin(Step::Read);
            // Eight bytes are one whole frame over CAN.
            identity.protected = match rom.read(flash.start, 8).await {
                Ok(_) | Err(Error::Refused { .. }) => Some(false),
                Err(Error::Protected { .. }) => Some(true),
                Err(error) => return Err(error),
            };
        }
        Ok(identity)
    }
}
