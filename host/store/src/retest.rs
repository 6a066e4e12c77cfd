//! Whether a unit may be run again: retests per class of trouble, strikes after which it is kept apart, and what a
//! person ruled.
//!
//! Runs are counted, not attempts: what a run repeats by itself is one try of it. Nothing counts of runs that were
//! aborted or that nobody knows the end of, or of runs that were refused for these very reasons. A PASS ends the
//! matter, and so does a person who releases the unit: what came before is marked for ever, and no longer held
//! against it. A unit that a person keeps apart stays so until a person releases it.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::hex::Uid;
use crate::record::{AttemptResult, Ruling, RulingKind, RunId};
use crate::replay::Kind;
use crate::report::Filter;
use crate::text::rfc3339;
use crate::trouble::{Trouble, is_try};

/// How often a unit may be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetestPolicy {
    /// After trouble with its contact.
    pub contact: u8,
    /// After an error of the station.
    pub station: u8,
    /// After a failure of the board.
    pub board: u8,
    /// Runs that did not pass, of any class, after which it is in quarantine.
    pub strikes: u8,
}

/// What is held against a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Standing {
    /// Runs with trouble of the contact since it last passed or was released.
    pub contact: u64,
    /// With errors of the station.
    pub station: u64,
    /// With failures of the board.
    pub board: u64,
    /// The ruling by which a person keeps it apart, if one does.
    pub kept: Option<Ruling>,
}

/// Why a unit may not be run again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetestRefusal {
    /// A person keeps it apart.
    #[error("{} by {}: {}", .0.kind, .0.who, .0.why)]
    Kept(Ruling),
    /// Too many runs in all.
    #[error("{failed} runs did not pass, and {strikes} are the most")]
    Quarantined {
        /// Runs that did not pass.
        failed: u64,
        /// The policy's number.
        strikes: u8,
    },
    /// Too many of one class.
    #[error("{failed} runs ended with {class} trouble, and {retests} retests are the most after that")]
    UsedUp {
        /// `contact`, `station` or `board`.
        class: &'static str,
        /// Runs of the class.
        failed: u64,
        /// The policy's number.
        retests: u8,
    },
}

/// A unit that may not be run again until a person releases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptApart {
    /// Product.
    pub product: String,
    /// The chip.
    pub uid: Uid,
    /// Serial number, the last one given.
    pub serial: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// What is held against it.
    pub standing: Standing,
    /// The policy it was last run under; none if no order ever was.
    pub policy: Option<RetestPolicy>,
    /// Its last try.
    pub last: LastTry,
}

/// How a unit's last try ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastTry {
    /// The run.
    pub run: RunId,
    /// Its order.
    pub order: Option<String>,
    /// Its panel.
    pub panel: String,
    /// The slot there.
    pub slot: u16,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// The result; in doubt if it has not ended.
    pub result: AttemptResult,
    /// Code of the failure.
    pub code: Option<String>,
    /// What exactly happened.
    pub detail: Option<String>,
}

impl Standing {
    /// Whether the unit may be run again; without a policy only a person keeps it apart.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(&self, policy: Option<&RetestPolicy>) -> Result<(), RetestRefusal> {
        let Self { contact, station, board, kept } = self;
        if let Some(kept) = kept {
            return Err(RetestRefusal::Kept(kept.clone()));
        }
        let Some(policy) = policy else { return Ok(()) };
        let failed = contact + station + board;
        if failed >= u64::from(policy.strikes) && failed > 0 {
            return Err(RetestRefusal::Quarantined { failed, strikes: policy.strikes });
        }
        let classes = [
            ("contact", *contact, policy.contact),
            ("station", *station, policy.station),
            ("board", *board, policy.board),
        ];
        match classes.into_iter().find(|(_, failed, retests)| *failed > u64::from(*retests)) {
            Some((class, failed, retests)) => Err(RetestRefusal::UsedUp { class, failed, retests }),
            None => Ok(()),
        }
    }
}

/// What is held against a unit; nothing if it is not known.
pub(crate) fn standing(db: &Connection, product: &str, uid: &Uid) -> Result<Standing, StoreError> {
    let unit = db
        .prepare_cached("SELECT id FROM units WHERE product = ?1 AND uid = ?2")?
        .query_row(params![product, uid], |row| row.get(0))
        .optional()?;
    unit.map_or_else(|| Ok(Standing::default()), |unit| standing_of(db, unit))
}

fn standing_of(db: &Connection, unit: i64) -> Result<Standing, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT a.end_event, a.result, coalesce(a.code, ''), NULL FROM attempts a
         WHERE a.unit = ?1 AND a.result IN ('pass', 'fail', 'error') AND {}
             AND a.number = (SELECT max(b.number) FROM attempts b
                 WHERE b.run = a.run AND b.slot = a.slot AND b.unit = a.unit AND b.result IS NOT NULL)
         UNION ALL
         SELECT e.id, NULL, NULL, e.body FROM events e JOIN attempts a ON a.id = e.attempt
         WHERE a.unit = ?1 AND e.kind = ?2
         ORDER BY 1",
        is_try("a")
    ))?;
    let mut rows = statement.query(params![unit, Kind::RULED])?;
    let mut standing = Standing::default();
    while let Some(row) = rows.next()? {
        match (row.get::<_, Option<AttemptResult>>(1)?, row.get::<_, Option<String>>(3)?) {
            (Some(result), _) => standing.tried(result, &row.get::<_, String>(2)?),
            (None, body) => standing.ruled(ruling(&body.unwrap_or_default())?),
        }
    }
    Ok(standing)
}

/// A ruling from the body of its event.
pub(crate) fn ruling(body: &str) -> Result<Ruling, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Corrupt { detail: format!("ruling: {error}") })
}

impl Standing {
    fn tried(&mut self, result: AttemptResult, code: &str) {
        let Self { contact, station, board, kept: _ } = self;
        match Trouble::of(result, code) {
            Some(Trouble::Contact) => *contact += 1,
            Some(Trouble::Station) => *station += 1,
            Some(Trouble::Board) => *board += 1,
            None => (*contact, *station, *board) = (0, 0, 0),
        }
    }

    fn ruled(&mut self, ruling: Ruling) {
        match ruling.kind {
            RulingKind::Released => *self = Self::default(),
            RulingKind::Held | RulingKind::Scrapped => self.kept = Some(ruling),
        }
    }
}

/// Units that may not be run again, by their first try; those that were scrapped are dealt with and not among them.
pub(crate) fn kept_apart(db: &Connection, product: Option<&str>) -> Result<Vec<KeptApart>, StoreError> {
    let filter = Filter { product: product.map(str::to_owned), ..Filter::default() };
    let (condition, parameters) = filter.sql();
    let mut statement = db.prepare(&format!(
        "SELECT a.unit, min(a.id) FROM attempts a JOIN runs r ON r.id = a.run
         WHERE a.unit IS NOT NULL AND {condition} AND (a.result IN ('fail', 'error')
             OR EXISTS (SELECT 1 FROM events e WHERE e.attempt = a.id AND e.kind = '{}'))
         GROUP BY a.unit ORDER BY 2",
        Kind::RULED
    ))?;
    let units = statement.query_map(parameters.as_slice(), |row| row.get(0))?;
    let units = units.collect::<Result<Vec<i64>, _>>()?;
    let kept = units.into_iter().map(|unit| kept_unit(db, unit)).filter_map(Result::transpose);
    kept.collect()
}

fn kept_unit(db: &Connection, unit: i64) -> Result<Option<KeptApart>, StoreError> {
    let (standing, policy) = (standing_of(db, unit)?, policy_of(db, unit)?);
    let reason = match standing.allows(policy.as_ref()) {
        Ok(()) => return Ok(None),
        Err(RetestRefusal::Kept(Ruling { kind: RulingKind::Scrapped, .. })) => return Ok(None),
        Err(refusal) => refusal.to_string(),
    };
    let (product, uid, serial) = db
        .prepare_cached("SELECT product, uid, serial FROM units WHERE id = ?1")?
        .query_row([unit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let last = db
        .prepare_cached(&format!(
            "SELECT a.run, r.order_id, r.panel, a.slot, a.started_us, a.result, a.code, a.detail
             FROM attempts a JOIN runs r ON r.id = a.run WHERE a.unit = ?1 ORDER BY {} DESC, a.id DESC LIMIT 1",
            is_try("a")
        ))?
        .query_row([unit], |row| {
            Ok(LastTry {
                run: row.get(0)?,
                order: row.get(1)?,
                panel: row.get(2)?,
                slot: row.get(3)?,
                started: rfc3339(row.get(4)?),
                result: row.get::<_, Option<_>>(5)?.unwrap_or(AttemptResult::InDoubt),
                code: row.get(6)?,
                detail: row.get(7)?,
            })
        })?;
    Ok(Some(KeptApart { product, uid, serial, reason, standing, policy, last }))
}

/// The policy of the newest run of the unit that had one.
fn policy_of(db: &Connection, unit: i64) -> Result<Option<RetestPolicy>, StoreError> {
    let body: Option<String> = db
        .prepare_cached(
            "SELECT json_extract(e.body, '$.retests') FROM attempts a JOIN events e ON e.run = a.run AND e.seq = 1
             WHERE a.unit = ?1 AND json_extract(e.body, '$.retests') IS NOT NULL ORDER BY a.id DESC LIMIT 1",
        )?
        .query_row([unit], |row| row.get(0))
        .optional()?;
    let parse = |body: String| {
        serde_json::from_str(&body).map_err(|e| StoreError::Corrupt { detail: format!("retests: {e}") })
    };
    body.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetestPolicy = RetestPolicy { contact: 2, station: 4, board: 1, strikes: 3 };

    #[test]
    fn each_class_has_its_retests_and_all_together_their_strikes() {
        let allows =
            |contact, station, board| Standing { contact, station, board, kept: None }.allows(Some(&POLICY));
        assert_eq!(allows(0, 0, 0), Ok(()));
        assert_eq!((allows(2, 0, 0), allows(1, 0, 1)), (Ok(()), Ok(())));
        let used_up = RetestRefusal::UsedUp { class: "board", failed: 2, retests: 1 };
        assert_eq!(allows(0, 0, 2), Err(used_up));
        let three = RetestRefusal::Quarantined { failed: 3, strikes: 3 };
        assert_eq!((allows(0, 3, 0), allows(1, 1, 1)), (Err(three.clone()), Err(three.clone())));
        assert_eq!(three.to_string(), "3 runs did not pass, and 3 are the most");
    }

    #[test]
    fn a_policy_without_strikes_keeps_no_new_unit_away() {
        assert_eq!(Standing::default().allows(Some(&RetestPolicy { strikes: 0, ..POLICY })), Ok(()));
    }
}
