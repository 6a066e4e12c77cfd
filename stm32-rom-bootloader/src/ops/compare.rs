//! Looking at what is in a chip against what a plan would put there, without changing anything.

use super::job::Job;
use super::{Operation, sealed::Sealed};
use crate::error::Error;
use crate::image::Image;
use crate::plan::Plan;
use crate::rom::{Identity, Rom};

/// Connects and reads back what a plan writes, without changing anything.
#[derive(Debug, Clone, Copy)]
pub struct Verify<'a> {
    /// The plan, made from `image`.
    pub plan: &'a Plan,
    /// The image.
    pub image: &'a Image<'a>,
}

/// What [`Verify`] ends with; a mismatch is [`Error::VerifyFailed`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The chip.
    pub identity: Identity,
    /// Blocks read, blank ones included.
    pub blocks: usize,
}

/// Connects and takes stock: how much of a plan is in the chip already. Tells a blank chip from a half-written
/// one, and both from one with other contents.
#[derive(Debug, Clone, Copy)]
pub struct Compare<'a> {
    /// The plan, made from `image`.
    pub plan: &'a Plan,
    /// The image.
    pub image: &'a Image<'a>,
}

/// What [`Compare`] ends with: the number of blocks in each state, of all that the image covers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compared {
    /// The chip.
    pub identity: Identity,
    /// As the plan would leave them, blank ones included.
    pub as_planned: usize,
    /// Blank where they should not be.
    pub blank: usize,
    /// Anything else, or unreadable.
    pub other: usize,
}

impl Sealed for Verify<'_> {}
impl Sealed for Compare<'_> {}

impl<'a> Operation<'a> for Verify<'a> {
    type Outcome = Verified;

    async fn run(self, mut rom: Rom) -> Result<Verified, Error> {
        let identity = rom.start().await?;
        let job = Job { plan: self.plan, image: self.image };
        job.check_chip(&rom)?;
        // Nothing was erased here, so blank blocks count too.
        let blocks = job.all_blocks();
        job.verify(&mut rom, &blocks, None).await?;
        Ok(Verified { identity, blocks: blocks.len() })
    }
}

impl<'a> Operation<'a> for Compare<'a> {
    type Outcome = Compared;

    async fn run(self, mut rom: Rom) -> Result<Compared, Error> {
        let identity = rom.start().await?;
        let job = Job { plan: self.plan, image: self.image };
        job.check_chip(&rom)?;
        let census = job.census(&mut rom).await?;
        Ok(Compared { identity, as_planned: census.as_planned, blank: census.blank, other: census.other })
    }
}
