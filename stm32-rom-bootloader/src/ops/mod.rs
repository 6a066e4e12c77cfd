//! Operations: what a session can be asked to do, from one command to a whole job.
//!
//! Each is a plain value that a session is created with; each begins by connecting and identifying the chip
//! and ends with an outcome that carries the chip's [`Identity`](crate::Identity), so that the next session
//! can go on with [`Entry::Connected`](crate::Entry::Connected).

mod compare;
mod erase;
mod execute;
mod identify;
mod info;
mod job;
mod memory;
mod options;
mod program;
mod protect;
mod prove;
mod shared;

use core::future::Future;

use crate::error::Error;
use crate::rom::Rom;

pub use compare::{Compare, Compared, Verified, Verify};
pub use erase::{EraseFlash, EraseTarget, Erased};
pub use execute::{Execute, Executed, Go, Started};
pub use identify::{Identify, Recognize, Recognized};
pub use info::{Field, Info, Inspect};
pub use memory::{MemoryRead, ReadMemory};
pub use options::{OptionsWritten, WriteOptions};
pub use program::{Finish, Program, Programmed, Resume};
pub use protect::{Protect, Protected, Protection};
pub use prove::{ProveReadout, ReadoutProof};
pub use shared::{Job, ProgramShared, SharedImage, WriteOptionsShared};

/// Something a session can do. The operations of this crate are all there are.
pub trait Operation<'a>: sealed::Sealed {
    /// What it ends with.
    type Outcome;

    #[doc(hidden)]
    fn run(self, rom: Rom) -> impl Future<Output = Result<Self::Outcome, Error>> + Send + 'a;
}

mod sealed {
    /// Keeps [`super::Operation`] to this crate.
    pub trait Sealed {}
}
