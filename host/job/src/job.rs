//! The job as a value. Made by [`Job::parse`]; every field is within its range.

use std::path::PathBuf;

use panel_backplane::Way;
use panel_protocol::time::Span;

use crate::finish::{Finish, IdentityArea};

/// What is to be done to the boards of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job {
    /// Name of the job, as in records.
    pub name: String,
    /// The product that the boards are or become part of.
    pub product: String,
    /// A production job takes no trial files and no unstable ports; otherwise its records are marked
    /// NOT FOR SHIPMENT.
    pub production: bool,
    /// The station, if the job says it.
    pub station: Option<String>,
    /// The operator, if the job says it.
    pub operator: Option<String>,
    /// The chip that the boards must have.
    pub target: Target,
    /// Image files, at least one, merged into one image.
    pub images: Vec<ImageFile>,
    /// The ways that may be taken; empty if any way that the panel offers will do.
    pub ways: Vec<Way>,
    /// How often a board that failed is tried again in the same run.
    pub retries: u8,
    /// How flash is compared with the image.
    pub verify: Verify,
    /// Boards that measure a lower supply are not touched.
    pub minimum_supply_mv: Option<u16>,
    /// Supply of the boards in millivolts, if stated: F2, F4 and F7 are then programmed by words through their ROM.
    pub supply_mv: Option<u16>,
    /// The RAM agent for ways that load one, if it is not the program's own.
    pub agent: Option<AgentFile>,
    /// What seals the image, for boards whose bootloader asks for that.
    pub seal: Option<JobSeal>,
    /// Whether the application is started at the end.
    pub start_application: bool,
    /// Option bytes, protection.
    pub finish: Finish,
    /// Where a unit's identity lies, for those who restore it.
    pub identity: Option<IdentityArea>,
    /// Waits and budgets.
    pub limits: Limits,
}

/// The chip that a job is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, such as `STM32F405`.
    pub chip: String,
    /// Its 12-bit device ID (DBGMCU_IDCODE, and the product ID of the ROM bootloader), 0x413 for the F405.
    pub device_id: u16,
    /// Hardware revisions of the board that the images are made for; empty for any.
    pub hardware_revisions: Vec<u16>,
}

/// One image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// The path, joined to the job's directory.
    pub path: PathBuf,
    /// Where the data of a raw binary belongs. The other formats have their own addresses.
    pub address: Option<u32>,
}

/// The RAM agent that is loaded through the ROM bootloader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFile {
    /// A raw binary, vector table first; the path is joined to the job's directory.
    pub path: PathBuf,
    /// Where it is loaded.
    pub address: u32,
}

/// A seal that is made when the job is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSeal {
    /// The product's secret key: Ed25519, PKCS#8 PEM; the path is joined to the job's directory.
    pub key: PathBuf,
    /// Release counter of the image.
    pub counter: u32,
    /// The boards then take nothing with a lower counter; not above `counter`.
    pub floor: u32,
}

/// How flash is compared with the image. Flash is read back in either case, never the received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Each board computes CRC-32 and SHA-256 of its flash and says whether they are right.
    #[default]
    CrcAndSha256,
    /// As `CrcAndSha256`, and each board sends its whole digest, which goes into the record.
    Digest,
}

/// Waits and budgets of a run, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From power (or the end of reset) until a board must listen; `None`: what its chip's bootloader needs, and a third more.
    pub startup: Option<Span>,
    /// Silence on the bus after which nobody has more to say.
    pub quiet: Span,
    /// How long one answer may take, beside what the request itself needs.
    pub answer: Span,
    /// How often an unanswered question is asked, at least once.
    pub tries: u8,
    /// Longest time between two censuses while data flows.
    pub census: Span,
    /// How much longer than its declared flash times a board may keep the others waiting.
    pub straggler_wait: Span,
    /// How long the second pass for stragglers may take.
    pub straggler_pass: Span,
    /// Share of data frames that a board may miss before the others stop repeating for it, in per mille.
    pub missed_per_mille: u16,
    /// How long a run waits for a link that went down; zero: it does not.
    pub link_wait: Span,
}

/// `quiet` and `answer` are a node's reaction plus the round trip of a USB adapter; `straggler_wait` is 5 % of
/// the four seconds that 256 KiB take at 1 Mbit/s; one missed frame in ten is far beyond a bus worth using; a
/// USB adapter that was shaken is back after one to two seconds.
impl Default for Limits {
    fn default() -> Self {
        Self {
            startup: None,
            quiet: Span::from_millis(4),
            answer: Span::from_millis(40),
            tries: 3,
            census: Span::from_millis(400),
            straggler_wait: Span::from_millis(200),
            straggler_pass: Span::from_millis(60_000),
            missed_per_mille: 100,
            link_wait: Span::from_millis(2_000),
        }
    }
}
