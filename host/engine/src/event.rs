//! What a run tells: the only thing that records, screens and JSON are made of.
//!
//! Order per slot: `Attempt`, then `Identified`, then `StepBegan`/`StepEnded` pairs with `Measured`, `Reserved`,
//! `ImageGiven`, `IdentityWritten` and `LockProved` between them, then `Ended`. A driver makes an event durable before it carries out any effect that the run asked for
//! after it.

use panel_backplane::{BusIndex, Slot};
use panel_protocol::node::Uid;
use panel_protocol::reply::ImageState;

use crate::board::SlotState;
use crate::finishing::{ImageFacts, LockProof};
use crate::verdict::Verdict;

/// A step of a board's attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Power comes on, the board starts.
    Power,
    /// The RAM agent is loaded through the ROM and started.
    Load,
    /// The board is found, numbered and bound to its slot.
    Discover,
    /// The board says what it is, and it is what the job wants.
    Identify,
    /// Whoever keeps the identities reserves one for it.
    Reserve,
    /// Erase, receive, program.
    Program,
    /// Flash is read back: CRC-32 and SHA-256 per region.
    Verify,
    /// It makes a key of its own, which is certified.
    Key,
    /// Its identity is written and read back.
    Identity,
    /// The valid mark is written.
    Commit,
    /// A board with a second slot brings the image from there to its place.
    Install,
    /// Option bytes are set, loaded and read back.
    Options,
    /// Readout protection is set.
    Lock,
    /// The board has started anew: it answers, reports its protection and refuses to be read.
    ProveLock,
    /// The application is started.
    Start,
}

impl Step {
    /// The step's name in records and on screens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Load => "load",
            Self::Discover => "discover",
            Self::Identify => "identify",
            Self::Reserve => "reserve",
            Self::Program => "program",
            Self::Verify => "verify",
            Self::Key => "key",
            Self::Identity => "identity",
            Self::Commit => "commit",
            Self::Install => "install",
            Self::Options => "options",
            Self::Lock => "lock",
            Self::ProveLock => "prove-lock",
            Self::Start => "start",
        }
    }
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a bus as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Power and start-up.
    Power,
    /// Finding and identifying boards.
    Discover,
    /// Sending the image.
    Program,
    /// Reading back.
    Verify,
    /// Valid mark, start.
    Finish,
    /// Nothing more.
    Done,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 6] =
        [Self::Power, Self::Discover, Self::Program, Self::Verify, Self::Finish, Self::Done];

    /// The phase's name on screens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Discover => "discover",
            Self::Program => "program",
            Self::Verify => "verify",
            Self::Finish => "finish",
            Self::Done => "done",
        }
    }
}

/// Something that happened, or is about to.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// From here on things may be done to the board.
    Attempt {
        /// Slot.
        slot: Slot,
        /// 1 for the first.
        number: u8,
    },
    /// The board said which chip it is.
    Identified {
        /// Slot.
        slot: Slot,
        /// Its unique ID.
        uid: Uid,
    },
    /// What the board's image records said before anything was done to it.
    ImageFound {
        /// Slot.
        slot: Slot,
        /// State of the newest record.
        state: ImageState,
        /// Whether it is about this very image.
        same: bool,
    },
    /// An identity is reserved for the board.
    Reserved {
        /// Slot.
        slot: Slot,
        /// Its serial number, if it gets one.
        serial: Option<String>,
        /// What else a record says of the identity: name and value.
        facts: Vec<(String, String)>,
    },
    /// The board gets an image of its own; this is what will be in its flash.
    ImageGiven {
        /// Slot.
        slot: Slot,
        /// The image.
        image: ImageFacts,
    },
    /// The identity was read back from the board and is right. The step [`Step::Identity`] began before the first
    /// byte of it was sent.
    IdentityWritten {
        /// Slot.
        slot: Slot,
    },
    /// The board is locked and has proved it.
    LockProved {
        /// Slot.
        slot: Slot,
        /// What it answered.
        proof: LockProof,
    },
    /// A step begins.
    StepBegan {
        /// Slot.
        slot: Slot,
        /// Step.
        step: Step,
    },
    /// A step ended.
    StepEnded {
        /// Slot.
        slot: Slot,
        /// Step.
        step: Step,
        /// Whether it ended well.
        ok: bool,
    },
    /// A quantity was measured.
    Measured {
        /// Slot.
        slot: Slot,
        /// Name.
        name: &'static str,
        /// Value.
        value: f64,
        /// Unit.
        unit: &'static str,
        /// Lowest good value.
        low: Option<f64>,
    },
    /// What the slot's cell shows has changed.
    State {
        /// Slot.
        slot: Slot,
        /// New state.
        state: SlotState,
    },
    /// A bus enters a phase.
    Phase {
        /// Bus.
        bus: BusIndex,
        /// Phase.
        phase: Phase,
    },
    /// Image data on a bus.
    Progress {
        /// Bus.
        bus: BusIndex,
        /// Data frames sent.
        sent: u64,
        /// Data frames of the pass.
        total: u64,
    },
    /// A slot's attempt ended.
    Ended {
        /// Slot.
        slot: Slot,
        /// With what result.
        verdict: Verdict,
        /// Whether another attempt follows.
        again: bool,
    },
    /// Anything else worth keeping.
    Note {
        /// Slot, if it is one slot's.
        slot: Option<Slot>,
        /// What it is about.
        topic: &'static str,
        /// The values.
        text: String,
    },
}

/// What a link reports beside frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// An error frame.
    BusError,
    /// The adapter is error-passive.
    ErrorPassive,
    /// The adapter is bus-off.
    BusOff,
    /// The adapter takes part again after it was bus-off or gone.
    Restarted,
    /// Nobody acknowledges.
    NoAck,
    /// The link is gone.
    Down,
    /// A frame has waited for its transmission for longer than the driver allows.
    Stuck,
}

/// What a port is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOutput {
    /// Set the line: 8 data bits, even parity, 1 stop bit (AN3155), at this rate. Throws away what is on its way.
    Configure {
        /// Bits per second.
        baud: u32,
    },
    /// Send these bytes in one piece.
    Write(Vec<u8>),
}

/// The rates that a bus's adapter is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusRate {
    /// Bits per second, of arbitration on FD.
    pub nominal: u32,
    /// Bits per second of the data phase; `None` for classical frames.
    pub data: Option<u32>,
}
