//! Reading a range of memory.

use super::{Operation, sealed::Sealed};
use crate::error::Error;
use crate::event::Step;
use crate::plan::BLOCK;
use crate::rom::{Identity, Rom};

/// Connects and reads memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMemory {
    /// First address.
    pub address: u32,
    /// Number of bytes; must not run over the end of the address space.
    pub len: u32,
}

/// What [`ReadMemory`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryRead {
    /// The chip.
    pub identity: Identity,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Sealed for ReadMemory {}

impl Operation<'_> for ReadMemory {
    type Outcome = MemoryRead;

    async fn run(self, mut rom: Rom) -> Result<MemoryRead, Error> {
        let identity = rom.start().await?;
        rom.begin(Step::Read);
        let mut data = Vec::new();
        let mut address = u64::from(self.address);
        let end = (address + u64::from(self.len)).min(1 << 32);
        while address < end {
            // Blocks on 256-byte boundaries: some ROMs refuse others in their own area.
            let len = (u64::from(BLOCK) - address % u64::from(BLOCK)).min(end - address) as usize;
            data.extend(rom.read(address as u32, len).await?);
            address += len as u64;
            rom.progress(data.len(), self.len as usize);
        }
        Ok(MemoryRead { identity, data })
    }
}
