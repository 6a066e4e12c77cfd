#![doc = include_str!("../README.md")]

pub mod command;
pub mod device;
mod error;
mod event;
mod frame;
mod image;
mod ops;
mod plan;
mod port;
mod rom;
mod session;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

pub use command::{CanRate, Command, Erase, Opcode, Reply};
pub use device::{Area, Device};
pub use error::{Error, Heard};
pub use event::{Event, LineAction, LineResult, Note, Step, Wait};
pub use frame::Frame;
pub use image::{Image, Region};
pub use ops::{
    Compare, Compared, EraseFlash, EraseTarget, Erased, Execute, Executed, Field, Finish, Go, Identify, Info,
    Inspect, Job, MemoryRead, Operation, OptionsWritten, Program, ProgramShared, Programmed, Protect,
    Protected, Protection, ProveReadout, ReadMemory, ReadoutProof, Recognize, Recognized, Resume,
    SharedImage, Started, Verified, Verify, WriteOptions, WriteOptionsShared,
};
pub use plan::{
    Block, EraseChoice, Erasing, Estimate, LinkModel, LinkSpeed, Plan, PlanError, PlanEstimate, PlanOptions,
};
pub use rom::Identity;
pub use session::{CanSession, Output, UartSession};
pub use settings::{CanKind, CanSettings, Chip, Entry, Limits, UartSettings};
