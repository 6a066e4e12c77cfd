//! How a program goes wrong: faults, as the tests see them.

/// Blocks that a fault remembers.
pub(super) const TRAIL: usize = 8;

/// A fault: what happened, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at {address:#010x}, pc {pc:#010x}, lr {lr:#010x}")]
pub struct Crash {
    /// What happened.
    pub kind: CrashKind,
    /// Address accessed.
    pub address: u32,
    /// Program counter, as far as unicorn knows it.
    pub pc: u32,
    /// Link register.
    pub lr: u32,
    /// Stack pointer.
    pub sp: u32,
    /// Where the last blocks of code began, the latest last.
    pub trail: [u32; TRAIL],
}

/// What a processor dies of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrashKind {
    /// An access to an address where nothing is.
    #[error("bus fault")]
    Bus,
    /// An instruction that does not exist.
    #[error("undefined instruction")]
    Undefined,
    /// BKPT without a debugger, or an exception that is not modelled.
    #[error("exception {0}")]
    Exception(u32),
    /// The vector of an exception leads nowhere.
    #[error("no vector for exception {0}")]
    Vector(u16),
}
