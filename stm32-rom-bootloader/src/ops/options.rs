//! Writing option bytes, guarded against what cannot be taken back.

use super::{Operation, sealed::Sealed};
use crate::command::{Command, Opcode};
use crate::device::{OptionBytes, RdpLevel};
use crate::error::Error;
use crate::event::Step;
use crate::rom::{Identity, Rom};

/// Connects, writes one block of option bytes from its base on, has them loaded, and reads them back.
///
/// The ROM erases and rewrites the whole block, so `data` should be what was read ([`crate::Inspect`]) with the
/// change in it. Reserved bits may read back differently from what was written; comparing is up to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions<'a> {
    /// Which block, where the chip has one for each bank; else 0.
    pub block: usize,
    /// The bytes, from the block's first address on; a multiple of four.
    pub data: &'a [u8],
    /// Allow a value that closes the chip for ever (RDP level 2, H5 locked).
    pub irreversible: bool,
}

/// What [`WriteOptions`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionsWritten {
    /// The chip.
    pub identity: Identity,
    /// The block as it reads after reloading; `None` if the chip is readout protected by now.
    pub after: Option<Vec<u8>>,
}

impl Sealed for WriteOptions<'_> {}

impl<'a> Operation<'a> for WriteOptions<'a> {
    type Outcome = OptionsWritten;

    async fn run(self, mut rom: Rom) -> Result<OptionsWritten, Error> {
        let mut identity = rom.start().await?;
        rom.begin(Step::Options);
        let address = self.checked(&rom)?;
        rom.run_once(&Command::Write { address, data: self.data }).await?;
        rom.reload_options(false).await?;
        let after = match rom.read_system(address, self.data.len()).await {
            Ok(bytes) => {
                identity.protected = Some(false);
                bytes
            }
            Err(Error::Protected { .. }) => {
                identity.protected = Some(true);
                None
            }
            Err(error) => return Err(error),
        };
        rom.set_protected(identity.protected);
        Ok(OptionsWritten { identity, after })
    }
}

impl WriteOptions<'_> {
    /// The block's address, if these bytes may be written there.
    fn checked(&self, rom: &Rom) -> Result<u32, Error> {
        let bad = |reason| Err(Error::BadArgument { command: Opcode::WRITE, reason });
        let device = rom.known_device()?;
        let OptionBytes::Memory(areas) = device.option_bytes else {
            return bad("this chip shows its option bytes only as registers, or nobody knows where");
        };
        let Some(area) = areas.get(self.block) else { return bad("there is no such block of option bytes") };
        if self.data.is_empty()
            || self.data.len() > area.len().min(256) as usize
            || !self.data.len().is_multiple_of(4)
        {
            return bad("option bytes are a multiple of four and must fit their block");
        }
        let rdp = self.data.get(device.family.rdp_offset()).filter(|_| self.block == 0);
        match rdp.and_then(|byte| device.readout.level(*byte)) {
            Some(RdpLevel::Two) if !self.irreversible => bad("RDP level 2 closes the chip for ever"),
            _ => Ok(area.start),
        }
    }
}
