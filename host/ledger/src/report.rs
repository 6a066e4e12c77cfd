//! What the ledger tells about itself: the balance of an order, the log, and what an audit found.

use jiff::Timestamp;
use serde::Serialize;

use crate::types::{Hash, NumberKind, State, Uid, UnitId};

/// Where every unit of an order is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// The order.
    pub order: String,
    /// Units ordered.
    pub ordered: u64,
    /// Confirmed.
    pub passed: u64,
    /// The last run failed.
    pub failed: u64,
    /// Void.
    pub scrapped: u64,
    /// Neither passed nor failed nor void: in doubt, or a run is under way.
    pub in_doubt: u64,
    /// Not begun.
    pub remaining: u64,
    /// What does not add up; empty when everything does.
    pub discrepancies: Vec<String>,
}

impl Balance {
    /// Whether ordered = passed + failed + scrapped + in doubt + remaining, and every count has its rows.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.discrepancies.is_empty()
    }
}

/// One entry of the ledger's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number, from 1 without gaps.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// What happened, a word.
    pub kind: String,
    /// The particulars: a JSON object.
    pub body: String,
    /// SHA-256 over the entry before and this one; see [`crate::chain`].
    pub hash: Hash,
}

/// A place in the log that somebody else wrote down, to see later that nothing was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// Number of the entry.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Audit {
    /// Units per state.
    pub states: Vec<(State, u64)>,
    /// Entries of the log.
    pub events: u64,
    /// Void numbers with their reasons: the explained gaps.
    pub explained: Vec<(String, String)>,
    /// What is wrong; empty when nothing is.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The database itself is damaged.
    #[error("the database is damaged: {detail}")]
    Damaged {
        /// What its own check says.
        detail: String,
    },
    /// An entry of the log is missing or was changed.
    #[error("log entry {seq} does not follow from the one before it: changed, removed or put in")]
    Chain {
        /// The first entry that does not fit.
        seq: u64,
    },
    /// The log does not contain an entry that somebody wrote down.
    #[error("log entry {seq} is not the one that was written down: an older copy was put back")]
    Rollback {
        /// The entry.
        seq: u64,
    },
    /// One number on two units.
    #[error("{kind} {value} is on {} units", units.len())]
    Duplicate {
        /// Its kind.
        kind: NumberKind,
        /// The number.
        value: String,
        /// The units.
        units: Vec<UnitId>,
    },
    /// One chip with two live units of one product.
    #[error("chip {uid} has {} live units of {product:?}", units.len())]
    Chip {
        /// The chip.
        uid: Uid,
        /// The product.
        product: String,
        /// The units.
        units: Vec<UnitId>,
    },
    /// A unit shows a number that it was not given.
    #[error("{unit} shows {kind} {value}, which it was not given")]
    NotGiven {
        /// The unit.
        unit: UnitId,
        /// Kind of number.
        kind: NumberKind,
        /// The number.
        value: String,
    },
    /// A key or certificate that the log gave to a unit is not there any more.
    #[error("{unit} was given {kind} {value}, which is not in the ledger any more")]
    Forgotten {
        /// The unit.
        unit: UnitId,
        /// [`NumberKind::Key`] or [`NumberKind::Certificate`].
        kind: NumberKind,
        /// The fingerprint.
        value: String,
    },
    /// More or fewer numbers were given than units show.
    #[error("{given} numbers were given, units show {shown}")]
    Numbers {
        /// Numbers given.
        given: u64,
        /// Numbers on units.
        shown: u64,
    },
    /// Numbers of a pool were taken and no unit has them.
    #[error("pool {pool} has given {taken} sets, units have {found}")]
    Gap {
        /// The pool.
        pool: i64,
        /// Sets the pool says it gave.
        taken: u64,
        /// Sets found on units.
        found: u64,
    },
    /// A unit is not in the state that the log says.
    #[error("{unit} is {table} in the table and {log} in the log")]
    State {
        /// The unit.
        unit: UnitId,
        /// State in the table.
        table: String,
        /// State by the log.
        log: String,
    },
    /// An order does not add up.
    #[error("order {order}: {detail}")]
    Order {
        /// The order.
        order: String,
        /// What does not add up.
        detail: String,
    },
    /// A void identity has no reason.
    #[error("{unit} is void without a reason")]
    NoReason {
        /// The unit.
        unit: UnitId,
    },
}
