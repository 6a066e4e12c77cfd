//! What a job is: which images go on which boards, by which ways, and what a board may cost in time and tries.
//!
//! - [`Job`]: a job.toml as a value, read by [`Job::parse`], which reports every problem at once.
//! - [`Job::ways_on`]: whether the job fits a panel, and which way each slot takes.
//! - [`demo`]: the job and panel that `panelflash run` uses without arguments.
//!
//! The crate opens no file: paths in a job are joined to the job's directory and left to the caller. It knows
//! nothing of chips beyond the numbers in the job.

pub mod demo;
mod finish;
mod fit;
mod job;
mod job_file;

pub use finish::{Finish, IdentityArea, JobLock, OptionField};
pub use fit::{FitError, ways_on};
pub use job::{AgentFile, ImageFile, Job, JobSeal, Limits, Target, Verify};
