//! What the ledger speaks of: chips, units, orders, pools, and the states of an identity.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    eui::{Eui, EuiBlock, EuiKind},
    serial::SerialFormat,
};

/// Most boards of one panel, and so of one reservation.
pub const MAX_PANEL: usize = 64;

/// The 96-bit unique id of a chip, all 96 bits, in the order of rising addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub [u8; 12]);

impl Uid {
    /// Whether a chip can have it: not all zeros and not all ones, which is what a failed read looks like.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.0 != [0; 12] && self.0 != [0xFF; 12]
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Uid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A SHA-256 value; shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The ledger's own number of a unit: one chip with one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct UnitId(pub i64);

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unit {}", self.0)
    }
}

/// Where an identity is on its way. A number that left FREE never comes back; there is no state for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Given to a chip; no byte of it was sent.
    Reserved,
    /// About to be sent, or sent in part.
    Writing,
    /// Read back from the chip and equal.
    Written,
    /// The unit passed, its lock is proven where asked for, its record is durable.
    Confirmed,
    /// Nobody knows what the chip holds; reading it decides.
    InDoubt,
    /// Never to be used; has a reason.
    Void,
}

impl State {
    pub(crate) const ALL: [Self; 6] =
        [Self::Reserved, Self::Writing, Self::Written, Self::Confirmed, Self::InDoubt, Self::Void];

    /// The state as it is stored and exported.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Writing => "writing",
            Self::Written => "written",
            Self::Confirmed => "confirmed",
            Self::InDoubt => "in_doubt",
            Self::Void => "void",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Kinds of values that may exist once only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// Serial number; unique within its product.
    Serial,
    /// EUI-48; unique everywhere.
    Eui48,
    /// EUI-64; unique everywhere.
    Eui64,
    /// SHA-256 of a unit's public key; unique everywhere.
    Key,
    /// SHA-256 of a unit's certificate; unique everywhere.
    Certificate,
    /// SHA-256 of a blob from a list; unique among the blobs of its name.
    Blob,
}

impl NumberKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Serial, Self::Eui48, Self::Eui64, Self::Key, Self::Certificate, Self::Blob];

    /// The kind as it is stored and exported.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Eui48 => "eui48",
            Self::Eui64 => "eui64",
            Self::Key => "key",
            Self::Certificate => "certificate",
            Self::Blob => "blob",
        }
    }
}

impl From<EuiKind> for NumberKind {
    fn from(kind: EuiKind) -> Self {
        match kind {
            EuiKind::Eui48 => Self::Eui48,
            EuiKind::Eui64 => Self::Eui64,
        }
    }
}

impl fmt::Display for NumberKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A block of serial numbers of one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialBlock {
    /// The format.
    pub format: SerialFormat,
    /// First counter.
    pub first: u64,
    /// Number of serial numbers.
    pub count: u64,
}

/// Numbers to give out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Serial numbers made from a counter.
    Serial(SerialBlock),
    /// Addresses.
    Eui(EuiBlock),
    /// Sets made elsewhere, one per unit.
    List(Vec<ListRow>),
}

/// One unit's set of numbers from a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRow {
    /// Serial number.
    pub serial: Option<String>,
    /// EUI-48 addresses.
    pub eui48: Vec<Eui>,
    /// EUI-64 addresses.
    pub eui64: Vec<Eui>,
    /// Blobs, each of another name.
    pub blobs: Vec<ListBlob>,
}

/// A unit's blob from a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBlob {
    /// Which it is, and of which name.
    pub blob: NamedBlob,
    /// Its length in bytes before it was sealed.
    pub length: usize,
    /// Its bytes.
    pub content: Content,
}

/// The bytes of a blob as the ledger keeps them.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// As they are written into the unit.
    Plain(Vec<u8>),
    /// A secret, encrypted by the caller to a key that the ledger does not have.
    Sealed(Vec<u8>),
}

/// Does not show the bytes.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, length) = match self {
            Self::Plain(bytes) => ("Plain", bytes.len()),
            Self::Sealed(bytes) => ("Sealed", bytes.len()),
        };
        write!(f, "{kind}({length} bytes)")
    }
}

/// A blob by its name and the SHA-256 of its bytes, unsealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedBlob {
    /// Its name, 1 to 23 of `A-Z a-z 0-9 . _ + -`.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
}

/// What lists have of one name of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supply {
    /// Blobs that were ever listed.
    pub listed: u64,
    /// Blobs not given yet.
    pub left: u64,
    /// Length of the longest in bytes.
    pub longest: usize,
    /// Whether any is a sealed secret.
    pub sealed: bool,
}

/// Numbers to give out, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The product, or all products.
    pub product: Option<String>,
    /// The order it belongs to, if it came with one.
    pub order: Option<String>,
    /// The numbers.
    pub block: Block,
}

/// How much is left of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolLevel {
    /// The pool's number in the ledger.
    pub pool: i64,
    /// What it holds, in words.
    pub holds: String,
    /// The product, or all.
    pub product: Option<String>,
    /// The order, if any.
    pub order: Option<String>,
    /// Units it was made for.
    pub units: u64,
    /// Units it is still enough for.
    pub left: u64,
}

/// What the ledger keeps of a work order whose signature was checked by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTerms {
    /// Order number.
    pub id: String,
    /// SHA-256 of the signed document.
    pub document: Hash,
    /// The product.
    pub product: String,
    /// Units that may be made.
    pub quantity: u64,
    /// Whether a unit passes only with the proof of its lock.
    pub lock_required: bool,
    /// Its number blocks.
    pub blocks: Vec<Block>,
}

/// Numbers each unit needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// A serial number.
    pub serial: bool,
    /// EUI-48 addresses.
    pub eui48: u8,
    /// EUI-64 addresses.
    pub eui64: u8,
    /// Names of blobs.
    pub blobs: Vec<String>,
}

/// A chip that is about to be programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// Its slot in the panel.
    pub slot: u16,
    /// Its unique id.
    pub uid: Uid,
}

/// What is reserved in one durable step before the first application byte is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The product.
    pub product: String,
    /// The order; `None` for developer jobs, which consume no quota.
    pub order: Option<String>,
    /// SHA-256 of the release's manifest; `None` for a bare image.
    pub release: Option<Hash>,
    /// The run that asks.
    pub run: String,
    /// The station that asks.
    pub station: String,
    /// The panel's number, if it has one.
    pub panel: Option<String>,
    /// Numbers each unit needs.
    pub needs: Needs,
    /// The chips, at most [`MAX_PANEL`]. Numbers are given in the order of their slots.
    pub chips: Vec<Chip>,
}

/// A chip's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Numbers {
    /// Serial number.
    pub serial: Option<String>,
    /// EUI-48 addresses.
    pub eui48: Vec<Eui>,
    /// EUI-64 addresses.
    pub eui64: Vec<Eui>,
    /// Blobs from lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<NamedBlob>,
}

/// What a chip was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The unit.
    pub unit: UnitId,
    /// The chip.
    pub chip: Chip,
    /// Its numbers.
    pub numbers: Numbers,
    /// State of the identity before; `None` when it was made now.
    pub before: Option<State>,
    /// State now.
    pub state: State,
    /// Whether it took one from the order's quota.
    pub consumed: bool,
}

/// One change of one unit, in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The unit.
    pub unit: UnitId,
    /// The run that does it.
    pub run: String,
    /// What happens.
    pub change: Change,
}

/// What can happen to a unit after its reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The identity is about to be sent.
    Writing,
    /// The identity was read back from the chip and is right; also the way out of doubt.
    Written {
        /// SHA-256 of what was read back.
        read_back: Hash,
    },
    /// A key or certificate of the unit, by its fingerprint only.
    Fingerprint {
        /// [`NumberKind::Key`] or [`NumberKind::Certificate`].
        kind: NumberKind,
        /// The fingerprint.
        value: Hash,
    },
    /// A named blob was given to the unit.
    Blob {
        /// Its name.
        name: String,
        /// Its bytes. Not for secrets: they are kept.
        bytes: Vec<u8>,
    },
    /// The unit passed.
    Confirmed {
        /// SHA-256 of its durable record.
        record: Hash,
        /// SHA-256 of the raw proof of its lock; needed where the order asks for the lock.
        lock_proof: Option<Hash>,
    },
    /// The run failed.
    Failed {
        /// The stable error code.
        code: String,
    },
    /// Nobody knows what the chip holds.
    InDoubt {
        /// Why.
        reason: String,
    },
    /// The identity will never be used (any more).
    Void {
        /// Why; must not be blank.
        reason: String,
    },
}

/// Everything the ledger knows of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its number.
    pub unit: UnitId,
    /// Its product.
    pub product: String,
    /// Its chip.
    pub uid: Uid,
    /// The order whose quota it consumed.
    pub order: Option<String>,
    /// Its state.
    pub state: State,
    /// Whether it is confirmed only with the proof of its lock.
    pub lock_required: bool,
    /// Error code of the last run, if that failed.
    pub failed: Option<String>,
    /// Reason of a void or doubtful identity.
    pub reason: Option<String>,
    /// Release of the last run.
    pub release: Option<Hash>,
    /// The last run.
    pub run: String,
    /// Station of the last run.
    pub station: String,
    /// Panel of the last run.
    pub panel: Option<String>,
    /// Slot of the last run.
    pub slot: u16,
    /// Its numbers.
    pub numbers: Numbers,
    /// Fingerprints of its keys, in the order in which they came last; the last one is in the chip.
    pub keys: Vec<String>,
    /// Fingerprints of its certificates, oldest first.
    pub certificates: Vec<String>,
    /// Blobs that were made for it, such as its certificate: name and SHA-256.
    pub blobs: Vec<(String, Hash)>,
    /// SHA-256 of the identity as read back.
    pub read_back: Option<Hash>,
    /// SHA-256 of the record of the passed run.
    pub record: Option<Hash>,
    /// SHA-256 of the proof of the lock.
    pub lock_proof: Option<Hash>,
    /// The unit it takes the place of.
    pub supersedes: Option<UnitId>,
    /// When it was reserved first.
    pub reserved_at: Timestamp,
    /// When it changed last.
    pub changed_at: Timestamp,
}
