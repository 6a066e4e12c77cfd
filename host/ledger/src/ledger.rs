//! The ledger as a trait: what any implementation must do, whatever stores it.
//!
//! The meaning of each method is held by one test suite ([`crate::suite`]); an implementation on another
//! database must pass that very suite.

use jiff::Timestamp;

use crate::{
    error::LedgerError,
    eui::Assignment,
    report::{Audit, Balance, Checkpoint, Event},
    types::{
        Content, Hash, NamedBlob, NumberKind, OrderTerms, Pool, PoolLevel, Request, Reservation, Step,
        Supply, Uid, Unit, UnitId,
    },
};

/// A unit with key, certificate and two addresses takes 4 KiB, log and indices included.
const UNIT: u64 = 16 << 10;
/// The write-ahead log begins anew after 4 MiB.
const JOURNAL: u64 = 6 << 20;

/// Numbers issued once, and the count of what was made.
///
/// 1. Every method is one durable transaction: it has happened when it returns, and not at all if it fails.
/// 2. A number that was given is never given again, also when its unit is void.
/// 3. The same chip of the same product gets the same numbers again, for as long as its unit is not void.
/// 4. The order's quota is consumed when a chip is reserved, once per chip and product, for ever.
/// 5. A unit is confirmed only from [`crate::State::Written`], and with the proof of its lock where its order
///    asks for that.
/// 6. Times never go back: `now` before the last entry is refused.
pub trait Ledger {
    /// Makes an order known, with its blocks. The same order again is no error and does nothing.
    ///
    /// # Errors
    /// [`LedgerError::OrderChanged`], the refusals of [`Ledger::add_pool`], [`LedgerError::Number`].
    fn open_order(&mut self, order: &OrderTerms, now: Timestamp) -> Result<(), LedgerError>;

    /// Adds numbers to give out.
    ///
    /// # Errors
    /// [`LedgerError::Serial`], [`LedgerError::Eui`], [`LedgerError::Overlap`],
    /// [`LedgerError::DuplicateNumber`], [`LedgerError::Number`], [`LedgerError::UnknownOrder`].
    fn add_pool(&mut self, pool: &Pool, now: Timestamp) -> Result<(), LedgerError>;

    /// Registers a range of addresses as owned. Once one is registered, blocks outside all are refused.
    ///
    /// # Errors
    /// [`LedgerError::Eui`].
    fn add_assignment(&mut self, assignment: &Assignment, now: Timestamp) -> Result<(), LedgerError>;

    /// Reserves identity and quota for all chips of a panel, or for none.
    ///
    /// A chip that is known keeps its numbers and consumes nothing. If its identity was being written, was
    /// written or was confirmed, it is in doubt from now on: the new run may overwrite it. What was read back last
    /// stays known until it is written again: a board that is found locked cannot be read. A void unit's chip
    /// gets a new unit that supersedes the void one.
    ///
    /// # Errors
    /// [`LedgerError::QuotaExhausted`], [`LedgerError::PoolExhausted`], [`LedgerError::BlobsExhausted`],
    /// [`LedgerError::NeedsGrew`], [`LedgerError::DuplicateNumber`], [`LedgerError::DuplicateUid`],
    /// [`LedgerError::ImplausibleUid`], [`LedgerError::PanelSize`], [`LedgerError::UnknownOrder`],
    /// [`LedgerError::WrongProduct`].
    fn reserve_many(&mut self, request: &Request, now: Timestamp) -> Result<Vec<Reservation>, LedgerError>;

    /// Makes all steps, in their order, or none.
    ///
    /// # Errors
    /// [`LedgerError::Transition`], [`LedgerError::UnknownUnit`], [`LedgerError::LockNotProven`],
    /// [`LedgerError::NoReason`], [`LedgerError::DuplicateNumber`] for a key that another unit has.
    fn advance(&mut self, steps: &[Step], now: Timestamp) -> Result<(), LedgerError>;

    /// Voids `old` because its chip was replaced and reserves for the new chip (the only one of `request`),
    /// which supersedes it.
    ///
    /// # Errors
    /// Those of [`Ledger::reserve_many`] and [`Ledger::advance`].
    fn supersede(
        &mut self,
        old: UnitId,
        request: &Request,
        now: Timestamp,
    ) -> Result<Reservation, LedgerError>;

    /// The units that [`Ledger::doubt_interrupted`] would put in doubt. Who has a durable record that one of them
    /// passed confirms it before that.
    ///
    /// # Errors
    /// Only those of the database.
    fn interrupted(&self) -> Result<Vec<Unit>, LedgerError>;

    /// After a crash: puts every identity that was being written, or written and not confirmed, in doubt.
    /// Called once when the station starts, before the first panel. Returns the units.
    ///
    /// # Errors
    /// Only those of the database.
    fn doubt_interrupted(&mut self, now: Timestamp) -> Result<Vec<UnitId>, LedgerError>;

    /// The bytes of a blob that a unit was given ([`crate::Change::Blob`]), by their SHA-256.
    ///
    /// # Errors
    /// Only those of the database.
    fn blob(&self, unit: UnitId, sha256: Hash) -> Result<Option<Vec<u8>>, LedgerError>;

    /// The bytes of a blob that came from a list.
    ///
    /// # Errors
    /// Only those of the database.
    fn content(&self, blob: &NamedBlob) -> Result<Option<Content>, LedgerError>;

    /// What the lists that may serve `product` under `order` have of the blobs called `name`.
    ///
    /// # Errors
    /// Only those of the database.
    fn supply(&self, product: &str, order: Option<&str>, name: &str) -> Result<Supply, LedgerError>;

    /// The unit, if the ledger has it.
    ///
    /// # Errors
    /// Only those of the database.
    fn unit(&self, unit: UnitId) -> Result<Option<Unit>, LedgerError>;

    /// All units of a chip of a product, oldest first; at most the last one is not void.
    ///
    /// # Errors
    /// Only those of the database.
    fn find_chip(&self, product: &str, uid: Uid) -> Result<Vec<Unit>, LedgerError>;

    /// The units that have this number: for a serial number one per product at most.
    ///
    /// # Errors
    /// Only those of the database.
    fn find_number(&self, kind: NumberKind, value: &str) -> Result<Vec<Unit>, LedgerError>;

    /// All units, by their number; `after` continues a listing.
    ///
    /// # Errors
    /// Only those of the database.
    fn units(&self, after: Option<UnitId>, limit: usize) -> Result<Vec<Unit>, LedgerError>;

    /// What is left of every pool.
    ///
    /// # Errors
    /// Only those of the database.
    fn pools(&self) -> Result<Vec<PoolLevel>, LedgerError>;

    /// The numbers of all orders that were opened, ascending.
    ///
    /// # Errors
    /// Only those of the database.
    fn orders(&self) -> Result<Vec<String>, LedgerError>;

    /// Where every unit of an order is.
    ///
    /// # Errors
    /// [`LedgerError::UnknownOrder`].
    fn balance(&self, order: &str) -> Result<Balance, LedgerError>;

    /// Entries of the log after number `after`, at most `limit`.
    ///
    /// # Errors
    /// Only those of the database.
    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, LedgerError>;

    /// The last entry of the log, to be written down elsewhere.
    ///
    /// # Errors
    /// Only those of the database.
    fn head(&self) -> Result<Option<Checkpoint>, LedgerError>;

    /// Looks through everything: duplicates, gaps, states against the log, orders, the chain, and whether
    /// the entries somebody wrote down are still there.
    ///
    /// # Errors
    /// Only those of the database; what is wrong with the content stands in the report.
    fn audit(&self, written_down: &[Checkpoint]) -> Result<Audit, LedgerError>;
}

/// Most bytes that a panel of so many boards adds to a ledger, with its certificates.
#[must_use]
pub const fn room(boards: usize) -> u64 {
    JOURNAL + boards as u64 * UNIT
}
