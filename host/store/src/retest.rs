//! Whether a unit may be run again: retests per class of failure, and strikes after which it is kept apart.
//!
//! Runs are counted, not attempts: what a run repeats by itself is one try of it. A FAIL is the board's, an ERROR the
//! station's if its code is E4xx and else the contact's; nothing counts of runs that were aborted or that nobody
//! knows the end of, or of runs that were refused for these very reasons. A PASS ends the matter: what came before
//! it is marked for ever, and no longer held against the unit.

use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::hex::Uid;
use crate::record::AttemptResult;

/// How often a unit may be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Runs of a unit that did not pass since it last did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Trouble with the contact.
    pub contact: u64,
    /// Errors of the station.
    pub station: u64,
    /// Failures of the board.
    pub board: u64,
}

/// Why a unit may not be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetestRefusal {
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

impl Standing {
    /// Whether the unit may be run again.
    ///
    /// # Errors
    /// Why not.
    pub fn allows(&self, policy: &RetestPolicy) -> Result<(), RetestRefusal> {
        let Self { contact, station, board } = *self;
        let failed = contact + station + board;
        if failed >= u64::from(policy.strikes) && failed > 0 {
            return Err(RetestRefusal::Quarantined { failed, strikes: policy.strikes });
        }
        let classes = [
            ("contact", contact, policy.contact),
            ("station", station, policy.station),
            ("board", board, policy.board),
        ];
        match classes.into_iter().find(|(_, failed, retests)| *failed > u64::from(*retests)) {
            Some((class, failed, retests)) => Err(RetestRefusal::UsedUp { class, failed, retests }),
            None => Ok(()),
        }
    }
}

/// What is held against a unit; nothing if it is not known. What was refused before anything was done to it is not.
pub(crate) fn standing(db: &Connection, product: &str, uid: &Uid) -> Result<Standing, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT a.result, coalesce(a.code, '') FROM attempts a JOIN units u ON u.id = a.unit
         WHERE u.product = ?1 AND u.uid = ?2 AND a.result IN ('pass', 'fail', 'error')
             AND substr(coalesce(a.code, ''), 1, 4) NOT IN ('E501', 'E640', 'E641', 'E642', 'E643', 'E708')
             AND a.number = (SELECT max(b.number) FROM attempts b
                 WHERE b.run = a.run AND b.slot = a.slot AND b.unit = a.unit AND b.result IS NOT NULL)
         ORDER BY a.id",
    )?;
    let rows = statement.query_map(params![product, uid], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut standing = Standing::default();
    for row in rows {
        let (result, code): (AttemptResult, String) = row?;
        match result {
            AttemptResult::Pass => standing = Standing::default(),
            AttemptResult::Fail => standing.board += 1,
            _ if code.starts_with("E4") => standing.station += 1,
            _ => standing.contact += 1,
        }
    }
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetestPolicy = RetestPolicy { contact: 2, station: 4, board: 1, strikes: 3 };

    #[test]
    fn each_class_has_its_retests_and_all_together_their_strikes() {
        let allows = |contact, station, board| Standing { contact, station, board }.allows(&POLICY);
        assert_eq!(allows(0, 0, 0), Ok(()));
        assert_eq!((allows(2, 0, 0), allows(1, 0, 1)), (Ok(()), Ok(())));
        let used_up = RetestRefusal::UsedUp { class: "board", failed: 2, retests: 1 };
        assert_eq!(allows(0, 0, 2), Err(used_up));
        let three = RetestRefusal::Quarantined { failed: 3, strikes: 3 };
        assert_eq!((allows(0, 3, 0), allows(1, 1, 1)), (Err(three), Err(three)));
        assert_eq!(three.to_string(), "3 runs did not pass, and 3 are the most");
    }

    #[test]
    fn a_policy_without_strikes_keeps_no_new_unit_away() {
        assert_eq!(Standing::default().allows(&RetestPolicy { strikes: 0, ..POLICY }), Ok(()));
    }
}
