//! Proof that readout protection acts: who is there answers, and does not let itself be read.

use super::{Operation, sealed::Sealed};
use crate::command::{Command, Opcode};
use crate::device::{OptionBytes, RdpLevel};
use crate::error::Error;
use crate::event::Step;
use crate::rom::{Identity, Rom};

/// Connects, asks Get ID, and asks to read the first eight bytes of flash. Meant for a chip that has been reset since
/// its protection was set, so a session of its own with [`crate::Entry::Reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProveReadout;

/// What [`ProveReadout`] ends with. Answers are as they were received: bytes, or the data of frames one after the
/// other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadoutProof {
    /// The chip.
    pub identity: Identity,
    /// The whole answer to Get ID.
    pub get_id: Vec<u8>,
    /// Address of the read.
    pub address: u32,
    /// The whole answer to Read.
    pub read: Vec<u8>,
    /// Whether that was the refusal with which a protected chip answers.
    pub refused: bool,
    /// Where reading is possible: the protection that the option bytes say, if they say it.
    pub readout: Option<RdpLevel>,
}

impl Sealed for ProveReadout {}

impl Operation<'_> for ProveReadout {
    type Outcome = ReadoutProof;

    async fn run(self, mut rom: Rom) -> Result<ReadoutProof, Error> {
        let identity = rom.start().await?;
        rom.begin(Step::Read);
        let flash = rom.known_device()?.flash;
        let Some(flash) = flash else {
            return Err(Error::UnknownChip { product_id: identity.product_id });
        };
        rom.run(&Command::GetId).await?;
        let get_id = rom.heard();
        let refused = match rom.run(&Command::Read { address: flash.start, len: 8 }).await {
            Ok(_) => false,
            Err(Error::Protected { command: Opcode::READ, .. }) => true,
            Err(error) => return Err(error),
        };
        let read = rom.heard();
        let readout = if refused { None } else { readout(&mut rom).await? };
        Ok(ReadoutProof { identity, get_id, address: flash.start, read, refused, readout })
    }
}

/// The level that the option bytes say.
async fn readout(rom: &mut Rom) -> Result<Option<RdpLevel>, Error> {
    let device = rom.known_device()?;
    let OptionBytes::Memory([area, ..]) = device.option_bytes else { return Ok(None) };
    let bytes = rom.read_system(area.start, area.len() as usize).await?;
    let byte = bytes.as_ref().and_then(|bytes| bytes.get(device.family.rdp_offset()));
    Ok(byte.and_then(|byte| device.readout.level(*byte)))
}
