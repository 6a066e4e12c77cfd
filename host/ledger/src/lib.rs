//! The identity ledger: every number issued once, every unit of an order counted, for ever.
//!
//! [`Ledger`] is the trait and its rules; [`SqliteLedger`] keeps them in one file at the station. A chip is
//! reserved with its serial number and addresses before its first byte is programmed
//! ([`Ledger::reserve_many`], one durable step for a whole panel), then advances by [`Change`]s: writing,
//! written, confirmed, or failed, in doubt, void. [`Ledger::balance`] and [`Ledger::audit`] say whether
//! everything adds up, from tables and from a hash-chained log ([`chain`]) that do not depend on each other.
//!
//! Besides: the format of serial numbers ([`serial`]), address blocks ([`eui`]), keys and certificates of
//! units ([`UnitKey`], [`Issuer`], [`VerifiedRequest`]) and the identity region in the board's memory
//! ([`region`]).
//!
//! What it does not do: it reads no clock and no environment, prints nothing, talks to no board, keeps no
//! private key, and takes no part in deciding whether a unit passed. It never makes a number free again.

mod certificate;
mod check_digit;
mod error;
mod issuer_chain;
mod ledger;
mod report;
mod sqlite;
mod transfer;
mod types;
mod unit_key;

pub mod chain;
pub mod eui;
pub mod region;
pub mod serial;
#[cfg(feature = "suite")]
pub mod suite;

pub use certificate::{
    CertificateError, Contents, Issued, Issuer, VerifiedRequest, certificate_facts, certificate_pem,
    check_issued, self_signed,
};
pub use error::LedgerError;
pub use eui::{Assignment, Eui, EuiBlock, EuiError, EuiKind};
pub use ledger::{Ledger, room};
pub use report::{Audit, Balance, Checkpoint, Event, Finding};
pub use serial::{SerialError, SerialFormat};
pub use sqlite::{Moment, SqliteLedger};
pub use transfer::{
    BlobSource, ExportError, MAX_BLOB, MAX_ROWS, read_list, write_json_lines, write_units_csv,
};
pub use types::{
    Block, Change, Chip, Content, Hash, ListBlob, ListRow, MAX_PANEL, NamedBlob, Needs, NumberKind, Numbers,
    OrderTerms, Pool, PoolLevel, Request, Reservation, SerialBlock, State, Step, Supply, Uid, Unit, UnitId,
};
pub use unit_key::{KeyKind, UnitKey};
