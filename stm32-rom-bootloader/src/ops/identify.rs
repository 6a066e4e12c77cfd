//! Who is there, and whether it lets itself be read: what a plan needs, and nothing more than that.

use super::{Operation, sealed::Sealed};
use crate::command::Opcode;
use crate::device::Device;
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

/// Connects and reads so much of the chip as a plan for its flash depends on: its product, its ROM's version where
/// versions differ in that, and, if asked for, the size of its flash. Every answer costs time; this is the least.
///
/// [`Identity::protected`] stays unknown where nothing had to be read: a protected chip refuses the first command
/// that matters. Over CAN, and for an image with parts in RAM, take [`Identify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recognize {
    /// Whether the flash size is read too.
    pub flash_size: bool,
}

/// What [`Recognize`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recognized {
    /// The chip.
    pub identity: Identity,
    /// The size of its flash in KiB, if it was asked for and is given out.
    pub flash_kib: Option<u16>,
}

impl Sealed for Recognize {}

impl Operation<'_> for Recognize {
    type Outcome = Recognized;

    async fn run(self, mut rom: Rom) -> Result<Recognized, Error> {
        let mut identity = rom.start_reading_version_if(Device::version_matters_for_flash).await?;
        let mut flash_kib = None;
        let address = rom.device().and_then(|device| device.flash_size_address);
        if let (true, true, Some(address)) = (self.flash_size, rom.traits().uid_readable, address) {
            rom.begin(Step::Read);
            match rom.read_system(address, 2).await {
                Ok(Some(bytes)) => {
                    identity.protected = Some(false);
                    let raw = bytes.iter().rev().fold(0, |raw, byte| raw << 8 | u16::from(*byte));
                    flash_kib = rom.device().and_then(|device| device.decode_flash_size(raw));
                }
                Ok(None) => {}
                Err(Error::Protected { .. }) => identity.protected = Some(true),
                Err(error) => return Err(error),
            }
        }
        Ok(Recognized { identity, flash_kib })
    }
}
