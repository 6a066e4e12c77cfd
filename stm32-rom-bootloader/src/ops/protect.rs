//! Protection on request, with the reset each family needs and the way back in.

use super::{Operation, sealed::Sealed};
use crate::error::Error;
use crate::rom::{Identity, Rom};

/// What to protect or unprotect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// Set RDP level 1.
    Readout,
    /// Go back to RDP level 0. **Erases the whole flash.**
    LiftReadoutErasingAll,
    /// Protect these units, and no others, against writing.
    Write(Vec<u8>),
    /// Lift all write protection.
    LiftWrite,
}

/// Connects, changes protection, and comes back connected with the new option bytes loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protect {
    /// What to change.
    pub protection: Protection,
}

/// What [`Protect`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Protected {
    /// The chip.
    pub identity: Identity,
}

impl Sealed for Protect {}

impl Operation<'_> for Protect {
    type Outcome = Protected;

    async fn run(self, mut rom: Rom) -> Result<Protected, Error> {
        let mut identity = rom.start().await?;
        identity.protected = match self.protection {
            Protection::Readout => {
                rom.readout_protect().await?;
                Some(true)
            }
            Protection::LiftReadoutErasingAll => {
                rom.readout_unprotect().await?;
                Some(false)
            }
            Protection::Write(units) => {
                rom.write_protect(&units).await?;
                identity.protected
            }
            Protection::LiftWrite => {
                rom.write_unprotect().await?;
                identity.protected
            }
        };
        Ok(Protected { identity })
    }
}
