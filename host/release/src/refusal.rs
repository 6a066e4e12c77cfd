//! Every reason for which a signed file is refused, as one typed enum.
//!
//! One variant per different reaction of a person: get another file, get more signatures, set the clock,
//! ask the owner. The caller maps variants to its stable error codes; nothing here is a bare string that
//! has to be searched.

use std::fmt;

use jiff::Timestamp;

use crate::{
    canonical::CanonicalError,
    envelope::Kind,
    hash::Sha256Hash,
    keys::{KeyError, PublicKey},
    root::RoleName,
};

/// The part of a file whose bytes are not the ones that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// No signature verifies: the document was changed, or every signature was.
    Document,
    /// The only signature does not verify: it was changed, or the document was.
    DocumentOrSignature,
    /// The document is right for the other signatures, so this signature (or the key it names) was changed.
    Signature {
        /// Position in the file, from 0.
        index: usize,
        /// Signatures in the file.
        count: usize,
    },
    /// One image of the payload.
    Image {
        /// The image's name.
        name: String,
        /// Its address.
        address: u32,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("the document (no signature matches it)"),
            Self::DocumentOrSignature => f.write_str("the document or its only signature"),
            Self::Signature { index, count } => write!(f, "signature {} of {count}", index + 1),
            Self::Image { name, address } => write!(f, "image {name:?} at {address:#010x}"),
        }
    }
}

/// Why a release, work order or root document is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file does not begin as one of ours.
    #[error("not a {expected} file: it begins with {got:02x?}")]
    NotOurs {
        /// What was wanted.
        expected: Kind,
        /// The first bytes found.
        got: Vec<u8>,
    },
    /// The file is one of ours, of another kind.
    #[error("this is a {got} file, expected a {expected}")]
    OtherKind {
        /// What was wanted.
        expected: Kind,
        /// What it is.
        got: Kind,
    },
    /// The container's format number is not known to this version of the program.
    #[error("container format {got} is not known here (known: {known}); a newer panelflash may read it")]
    UnknownFormat {
        /// Number in the file.
        got: u16,
        /// The number this version reads.
        known: u16,
    },
    /// The document's schema number is not known to this version of the program.
    #[error("document schema {got} is not known here (known: {known}); a newer panelflash may read it")]
    UnknownSchema {
        /// Number in the document.
        got: u64,
        /// The number this version reads.
        known: u64,
    },
    /// A part is greater than the limit; nothing of it was read.
    #[error("{part} has {got} bytes, more than the limit of {limit}")]
    Oversize {
        /// Which part.
        part: &'static str,
        /// Its stated or real size in bytes.
        got: u64,
        /// The greatest size allowed.
        limit: u64,
    },
    /// The file's length is not what its header and manifest say: cut short, or with something added.
    #[error("file has {got} bytes where its own {stated_by} says {stated}")]
    Length {
        /// What states the length: header or manifest.
        stated_by: &'static str,
        /// Length stated, in bytes.
        stated: u64,
        /// Length found, in bytes.
        got: u64,
    },
    /// The signatures are not in ascending order of their keys, or a key stands twice.
    #[error("signature {index} is out of order or its key stands twice")]
    SignatureOrder {
        /// Position of the second one of the pair, from 1.
        index: usize,
    },
    /// There is no signature at all.
    #[error("unsigned: {needed} signatures of role {role} are needed")]
    Unsigned {
        /// The role that must sign.
        role: RoleName,
        /// Threshold of the role.
        needed: usize,
    },
    /// Some but not enough keys of the role signed.
    #[error("half-signed: {have} of {needed} signatures of role {role}")]
    HalfSigned {
        /// The role that must sign.
        role: RoleName,
        /// Valid signatures by different keys of the role.
        have: usize,
        /// Threshold of the role.
        needed: usize,
    },
    /// It is signed, but by no key of the role.
    #[error("wrong key: signed by {} but by no key of role {role}", list(keys))]
    WrongKey {
        /// The role that must sign.
        role: RoleName,
        /// The keys that did sign.
        keys: Vec<PublicKey>,
    },
    /// Not enough signatures without the one of a revoked key.
    #[error("signed with the revoked key {key}; without it {have} of {needed} signatures of role {role}")]
    RevokedKey {
        /// The revoked key.
        key: PublicKey,
        /// The role that must sign.
        role: RoleName,
        /// Valid signatures by other keys of the role.
        have: usize,
        /// Threshold of the role.
        needed: usize,
    },
    /// A key in the file is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Some bytes are not the ones that were signed.
    #[error("altered: {part}")]
    Altered {
        /// Which part.
        part: Part,
    },
    /// The document is signed and still not well formed.
    #[error("malformed document: {0}")]
    Malformed(#[from] CanonicalError),
    /// The document is well formed and contradicts itself.
    #[error("invalid document: {0}")]
    Invalid(#[from] Invalid),
    /// The trusted root document itself is too old: fetch the owner's newer one.
    #[error("the trusted root document {counter} expired at {expired} (now {now})")]
    RootExpired {
        /// Counter of the root document.
        counter: u64,
        /// When it expired.
        expired: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// The file was signed under a newer root document than the one trusted here.
    #[error("signed under root document {needed}, this station trusts {have}: import the newer root first")]
    RootOutdated {
        /// Counter the file names.
        needed: u64,
        /// Counter trusted here.
        have: u64,
    },
    /// A new root document does not follow the trusted one by exactly one.
    #[error("root document {got} does not follow {trusted}; the next one must be {}", trusted + 1)]
    RootChain {
        /// Counter trusted here.
        trusted: u64,
        /// Counter of the document given.
        got: u64,
    },
    /// Its validity is over.
    #[error("expired at {expired} (now {now})")]
    Expired {
        /// When it expired.
        expired: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// Its validity has not begun.
    #[error("not valid before {not_before} (now {now})")]
    NotYetValid {
        /// When it becomes valid.
        not_before: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// The owner revoked it by name or hash.
    #[error("revoked by root document {root}: {what}")]
    Revoked {
        /// Counter of the root document that says so.
        root: u64,
        /// The revoked manifest hash or order number.
        what: String,
    },
    /// An older release than the floor.
    #[error("downgrade: release counter {counter} is below the floor {floor} for {product:?}")]
    Downgrade {
        /// The product.
        product: String,
        /// Counter of this release.
        counter: u64,
        /// The lowest counter accepted.
        floor: u64,
    },
    /// A debug build where only production builds are accepted.
    #[error("debug build in a production job")]
    DebugBuild,
    /// The order asks for what cannot be undone and the release was not signed for that.
    #[error(
        "the order asks for read-out protection level 2 and no signature of role irreversible permits it"
    )]
    NoConsent,
    /// The order is for other stations.
    #[error("this order is for {allowed:?}, not for station {station:?}")]
    OtherStation {
        /// This station.
        station: String,
        /// The stations the order names.
        allowed: Vec<String>,
    },
    /// The release or order is for another product.
    #[error("for product {got:?}, expected {expected:?}")]
    WrongProduct {
        /// The product wanted.
        expected: String,
        /// The product named.
        got: String,
    },
    /// The chip found is none of the release's targets.
    #[error("chip with device id {found:#05x} is not a target of this release ({allowed})")]
    WrongChip {
        /// Device id the board reported.
        found: u16,
        /// The targets, as text.
        allowed: String,
    },
    /// The board's hardware revision is not named by the release.
    #[error("hardware revision {found:?} is not supported by this release ({allowed:?})")]
    WrongHardware {
        /// The board's revision.
        found: String,
        /// The revisions named.
        allowed: Vec<String>,
    },
    /// An image is not the one that was verified, seen at the moment of writing.
    #[error("image {name:?} changed after it was verified: SHA-256 {got}, verified {expected}")]
    ChangedSinceVerified {
        /// The image's name.
        name: String,
        /// The hash in the manifest.
        expected: Sha256Hash,
        /// The hash now.
        got: Sha256Hash,
    },
}

/// How a well-formed document contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A name that could be a path, or is not a plain label.
    #[error("{field} {name:?} is not a plain label ({rule})")]
    Label {
        /// Which field.
        field: &'static str,
        /// The name, cut at 80 characters.
        name: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A list that must not be empty is, or has too many members.
    #[error("{field} has {got} members, allowed are {min} to {max}")]
    Count {
        /// Which field.
        field: &'static str,
        /// Members found.
        got: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// Something stands twice where once is meant.
    #[error("{field} names {what} twice")]
    Twice {
        /// Which field.
        field: &'static str,
        /// What stands twice.
        what: String,
    },
    /// An address range is empty or runs past the end of the address space.
    #[error("{what} at {address:#010x} with {length} bytes is empty or leaves the 32-bit address space")]
    Range {
        /// Which thing.
        what: String,
        /// Where it starts.
        address: u32,
        /// Its length in bytes.
        length: u32,
    },
    /// An address range lies outside the memory it belongs to.
    #[error("{what} at {address:#010x} with {length} bytes is not inside any {wanted} of the memory map")]
    Outside {
        /// Which thing.
        what: String,
        /// Where it starts.
        address: u32,
        /// Its length in bytes.
        length: u32,
        /// The kind of memory it must lie in.
        wanted: &'static str,
    },
    /// Two things want the same address.
    #[error("{a} and {b} overlap at {address:#010x}")]
    Overlap {
        /// The one.
        a: String,
        /// The other.
        b: String,
        /// First address both want.
        address: u32,
    },
    /// A window whose value the unit does not get, or that is of another length.
    #[error("patch {name:?} has {length} bytes, {}", match wanted {
        Some(wanted) => format!("its value has {wanted}"),
        None => "and `identity` gives no such value to a unit".to_owned(),
    })]
    Patch {
        /// The window.
        name: String,
        /// Its length.
        length: u32,
        /// Bytes of its value, if units get one.
        wanted: Option<u32>,
    },
    /// A number makes no sense in its field.
    #[error("{field} is {got}, {rule}")]
    Number {
        /// Which field.
        field: &'static str,
        /// The number.
        got: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A date window that ends before it begins.
    #[error("the window from {from} to {until} is empty")]
    Window {
        /// Its begin.
        from: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// A key has two parts that exclude each other.
    #[error("key {key} is revoked and still a key of role {role}")]
    RevokedInRole {
        /// The key.
        key: PublicKey,
        /// The role.
        role: RoleName,
    },
}

fn list(keys: &[PublicKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
