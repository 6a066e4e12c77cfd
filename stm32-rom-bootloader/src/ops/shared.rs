//! Plan and image with shared owners, for sessions that outlive the function that made them.
//!
//! The other operations borrow both, which suits a driver that runs a session to its end. A program that keeps
//! many sessions at once, each inside a value of its own, cannot lend them anything; it gives them a [`Job`].

use std::sync::Arc;

use zeroize::Zeroizing;

use super::options::{OptionsWritten, WriteOptions};
use super::program::{Finish, Program, Programmed};
use super::{Operation, sealed::Sealed};
use crate::error::Error;
use crate::image::{Image, Region};
use crate::plan::{Plan, PlanError, PlanOptions};
use crate::rom::Rom;
use crate::{Device, Resume};

/// An image that owns its bytes; several jobs may share it. They are wiped when the last of them is dropped: an image
/// may hold a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedImage(Arc<[(u32, Zeroizing<Vec<u8>>)]>);

impl SharedImage {
    /// The image of these regions, each an address and its bytes.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn new(regions: Vec<(u32, Vec<u8>)>) -> Result<Self, PlanError> {
        let regions: Arc<[_]> =
            regions.into_iter().map(|(address, data)| (address, Zeroizing::new(data))).collect();
        view(&regions)?;
        Ok(Self(regions))
    }

    /// The plan to put it into `device`.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn plan(&self, device: &'static Device, options: &PlanOptions) -> Result<Job, PlanError> {
        let plan = Arc::new(Plan::new(device, &view(&self.0)?, options)?);
        Ok(Job { plan, image: self.clone() })
    }
}

fn view(regions: &[(u32, Zeroizing<Vec<u8>>)]) -> Result<Image<'_>, PlanError> {
    Image::new(regions.iter().map(|(address, data)| Region { address: *address, data }))
}

/// A plan and the image it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    plan: Arc<Plan>,
    image: SharedImage,
}

impl Job {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// [`Program`], unprotecting nothing, with shared owners.
#[derive(Debug, Clone)]
pub struct ProgramShared {
    /// What to program.
    pub job: Job,
    /// Where to begin.
    pub resume: Resume,
    /// Whether to read everything back that was written.
    pub verify: bool,
    /// What to do in the end.
    pub finish: Finish,
}

impl Sealed for ProgramShared {}

impl Operation<'static> for ProgramShared {
    type Outcome = Programmed;

    async fn run(self, rom: Rom) -> Result<Programmed, Error> {
        let image = view(&self.job.image.0).map_err(Error::Plan)?;
        let program = Program {
            resume: self.resume,
            verify: self.verify,
            finish: self.finish,
            ..Program::new(&self.job.plan, &image)
        };
        program.run(rom).await
    }
}

/// [`WriteOptions`] that owns its bytes and closes no chip for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptionsShared {
    /// Which block, where the chip has one for each bank; else 0.
    pub block: usize,
    /// The bytes, from the block's first address on; a multiple of four.
    pub data: Vec<u8>,
}

impl Sealed for WriteOptionsShared {}

impl Operation<'static> for WriteOptionsShared {
    type Outcome = OptionsWritten;

    async fn run(self, rom: Rom) -> Result<OptionsWritten, Error> {
        WriteOptions { block: self.block, data: &self.data, irreversible: false }.run(rom).await
    }
}
