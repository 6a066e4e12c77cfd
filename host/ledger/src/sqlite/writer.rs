//! One write transaction: the clock check, the log entry for everything done, the commit.
//!
//! Nothing in the ledger changes outside a [`Writer`], so nothing changes without its entry in the log.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Serialize;

use super::convert::{blob_hash, time};
use crate::{chain, error::LedgerError, types::Hash};

/// A transaction that keeps the log.
pub(super) struct Writer<'c> {
    pub(super) tx: Transaction<'c>,
    /// Time of the transaction in microseconds.
    pub(super) at: i64,
    seq: u64,
    hash: Hash,
}

impl<'c> Writer<'c> {
    /// Begins; takes the write lock at once, so that what is read here cannot be changed by others.
    pub(super) fn begin(connection: &'c mut Connection, now: Timestamp) -> Result<Self, LedgerError> {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let last = tx
            .prepare_cached("SELECT seq, at, hash FROM event ORDER BY seq DESC LIMIT 1")?
            .query_row([], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)?, blob_hash(row, 2)?))
            })
            .optional()?;
        let at = now.as_microsecond();
        let (seq, hash) = match last {
            Some((_, last, _)) if at < last => {
                return Err(LedgerError::ClockBehind { last: time(last), now });
            }
            Some((seq, _, hash)) => (seq, hash),
            None => (0, chain::START),
        };
        Ok(Self { tx, at, seq, hash })
    }

    /// Writes an entry into the log.
    pub(super) fn log(&mut self, kind: &str, body: &impl Serialize) -> Result<(), LedgerError> {
        let body = serde_json::to_string(body)
            .map_err(|error| LedgerError::Corrupt { detail: format!("log entry: {error}") })?;
        self.seq += 1;
        self.hash = chain::link(self.hash, self.seq, self.at, kind, &body);
        self.tx
            .prepare_cached("INSERT INTO event (seq, at, kind, body, hash) VALUES (?, ?, ?, ?, ?)")?
            .execute(params![self.seq as i64, self.at, kind, body, self.hash.0])?;
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn commit(self) -> Result<(), LedgerError> {
        Ok(self.tx.commit()?)
    }
}
