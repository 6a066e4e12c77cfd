//! Why the ledger refuses, each with the values somebody needs to act.

use jiff::Timestamp;
use panel_codes::Code;

use crate::{
    eui::EuiError,
    serial::SerialError,
    types::{MAX_PANEL, NumberKind, State, Uid, UnitId},
};

/// A refusal or failure of the ledger. After any of them nothing of the call was done.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The station's clock is before the last entry: a wrong clock, or an old copy of the ledger.
    #[error("the clock says {now}, the ledger's last entry is from {last}")]
    ClockBehind {
        /// Time of the last entry.
        last: Timestamp,
        /// Time given.
        now: Timestamp,
    },
    /// The order's quantity does not suffice for the chips that are new.
    #[error("order {order}: {needed} new units wanted, {remaining} left")]
    QuotaExhausted {
        /// The order.
        order: String,
        /// New chips in the request.
        needed: u64,
        /// Units left.
        remaining: u64,
    },
    /// No order of that number was opened here.
    #[error("order {order} is not known to this ledger")]
    UnknownOrder {
        /// The order.
        order: String,
    },
    /// An order of this number and other content was opened before.
    #[error("order {order} was opened before with other content (document {known}, now {got})")]
    OrderChanged {
        /// The order.
        order: String,
        /// Hash of the document opened before.
        known: String,
        /// Hash of this document.
        got: String,
    },
    /// The order is for another product.
    #[error("order {order} is for product {got:?}, expected {expected:?}")]
    WrongProduct {
        /// The order.
        order: String,
        /// The product asked for.
        expected: String,
        /// The product of the order.
        got: String,
    },
    /// No pool has enough numbers left.
    #[error("{kind} numbers for {product:?} are used up: {needed} wanted, {left} left")]
    PoolExhausted {
        /// Kind of number.
        kind: NumberKind,
        /// The product.
        product: String,
        /// Sets wanted.
        needed: u64,
        /// Sets left in all pools that may be used.
        left: u64,
        /// Slot of the first chip that got none.
        slot: u16,
    },
    /// No list has enough blobs of a name left.
    #[error("blobs {name:?} for {product:?} are used up: {needed} wanted, {left} left")]
    BlobsExhausted {
        /// Their name.
        name: String,
        /// The product.
        product: String,
        /// Blobs wanted.
        needed: u64,
        /// Blobs left in all lists that may be used.
        left: u64,
        /// Slot of the first chip that got none.
        slot: u16,
    },
    /// A known unit has fewer addresses than are needed now; its numbers are never changed.
    #[error("chip {uid} has {have} {kind} numbers, more are needed now: void its unit for a new set")]
    NeedsGrew {
        /// The chip.
        uid: Uid,
        /// Kind of number.
        kind: NumberKind,
        /// How many it has.
        have: usize,
    },
    /// The number is on another unit or in another list.
    #[error("{kind} {value} exists already ({place})")]
    DuplicateNumber {
        /// Kind of number.
        kind: NumberKind,
        /// The number.
        value: String,
        /// Where.
        place: String,
    },
    /// One chip stands twice in the request: a copied chip or a wrong binding of slots.
    #[error("uid {uid} stands in slot {first} and in slot {second}")]
    DuplicateUid {
        /// The chip.
        uid: Uid,
        /// One slot.
        first: u16,
        /// The other.
        second: u16,
    },
    /// No chip has this id.
    #[error("uid {uid} in slot {slot} is what a failed read looks like")]
    ImplausibleUid {
        /// The id.
        uid: Uid,
        /// Its slot.
        slot: u16,
    },
    /// No chip, or more than a panel has.
    #[error("{got} chips in one reservation, allowed are 1 to {MAX_PANEL}")]
    PanelSize {
        /// Chips in the request.
        got: usize,
    },
    /// The ledger has no such unit.
    #[error("{unit} is not in this ledger")]
    UnknownUnit {
        /// The unit.
        unit: UnitId,
    },
    /// The change is not possible in the unit's state.
    #[error("{unit} is {state}: it cannot become {wanted}")]
    Transition {
        /// The unit.
        unit: UnitId,
        /// Its state.
        state: State,
        /// What was wanted.
        wanted: &'static str,
    },
    /// The order asks for a lock and no proof of it was given.
    #[error("{unit} cannot pass: order {order} asks for a proven lock")]
    LockNotProven {
        /// The unit.
        unit: UnitId,
        /// The order.
        order: String,
    },
    /// A void needs a reason.
    #[error("{unit}: a reason is needed")]
    NoReason {
        /// The unit.
        unit: UnitId,
    },
    /// A serial format or number is wrong.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// An address or block is wrong.
    #[error(transparent)]
    Eui(#[from] EuiError),
    /// A block wants numbers that another block has.
    #[error("{kind} block from {first} overlaps pool {pool}")]
    Overlap {
        /// Kind of number.
        kind: NumberKind,
        /// Its first number.
        first: String,
        /// The pool it overlaps.
        pool: i64,
    },
    /// A number is too great for the ledger, or zero where it cannot be.
    #[error("{field} is {got}, allowed are 1 to 2^53 - 1")]
    Number {
        /// Which number.
        field: &'static str,
        /// Its value.
        got: u64,
    },
    /// A list to import is wrong.
    #[error("line {line}: {detail}")]
    Import {
        /// Line in the file, from 1.
        line: u64,
        /// What is wrong.
        detail: String,
    },
    /// Made by a newer version of the program.
    #[error("ledger has schema {found}, this program knows up to {known}")]
    Newer {
        /// Schema in the file.
        found: i64,
        /// Newest schema known.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{path} is not a ledger (application id {found:#010x})")]
    NotALedger {
        /// The file.
        path: String,
        /// Application id found.
        found: i32,
    },
    /// The file is damaged.
    #[error("ledger is damaged: {detail}")]
    Corrupt {
        /// What was found.
        detail: String,
    },
    /// Another program holds the ledger.
    #[error("ledger is held by another program")]
    Locked,
    /// The file is gone, or another one is in its place.
    #[error("the ledger {path} was removed or replaced while it was in use")]
    Vanished {
        /// The file.
        path: String,
    },
    /// The disk is full.
    #[error("the ledger's disk is full")]
    Full,
    /// A test stopped the ledger, as a crash would.
    #[error("the ledger was stopped by a test")]
    Stopped,
    /// Anything else the database says.
    #[error("ledger database: {0}")]
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { detail: error.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Database(error),
        }
    }
}

impl LedgerError {
    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::ClockBehind { .. } => Code::StationClock,
            Self::QuotaExhausted { .. } => Code::QuotaExhausted,
            Self::UnknownOrder { .. }
            | Self::OrderChanged { .. }
            | Self::WrongProduct { .. }
            | Self::Serial(_)
            | Self::Eui(_)
            | Self::Overlap { .. }
            | Self::Number { .. }
            | Self::NeedsGrew { .. }
            | Self::Import { .. } => Code::OrderFile,
            Self::PoolExhausted { .. } | Self::BlobsExhausted { .. } => Code::IdentityExhausted,
            Self::DuplicateNumber { .. } => Code::IdentityDuplicate,
            Self::DuplicateUid { .. } => Code::DuplicateUid,
            Self::ImplausibleUid { .. } => Code::ImplausibleUid,
            Self::PanelSize { .. } | Self::UnknownUnit { .. } | Self::NoReason { .. } => Code::Usage,
            Self::Transition { state: State::InDoubt, .. } => Code::IdentityInDoubt,
            Self::Transition { .. } => Code::Internal,
            Self::LockNotProven { .. } => Code::LockNotProven,
            Self::Full => Code::DiskNearlyFull,
            Self::Locked => Code::StationBusy,
            Self::Newer { .. } => Code::DatabaseNewer,
            Self::NotALedger { .. } | Self::Corrupt { .. } => Code::DatabaseCorrupt,
            Self::Vanished { .. } | Self::Stopped | Self::Database(_) => Code::RecordStore,
        }
    }
}
