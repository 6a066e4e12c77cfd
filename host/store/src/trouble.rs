//! What an attempt says of a unit: whether it was tried at all, and whose the trouble was.
//!
//! Retest budgets, yields, a unit's history and the CSV all ask here, so that they never count differently. An
//! attempt that was refused before anything was done to its board (its reservation, or a person's consent) is no
//! try of it, and neither is one that found a locked ROM, that was skipped or aborted.

use crate::record::AttemptResult;

/// Whose trouble it was that an attempt did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The contact's, as far as can be told from the station.
    Contact,
    /// The station's, its files' or its ledger's.
    Station,
    /// The board's.
    Board,
}

impl Trouble {
    /// An ERROR is the contact's unless its code is one of station, files, ledger or port; a FAIL is the board's unless
    /// its code says first of all to look at the contact: silent, restarted, off the bus, hard of hearing.
    pub(crate) fn of(result: AttemptResult, code: &str) -> Option<Self> {
        let is_one_of = |starts: &[&str]| starts.iter().any(|start| code.starts_with(start));
        match result {
            AttemptResult::Fail if is_one_of(&["E301", "E302", "E305", "E306", "E706", "E730"]) => {
                Some(Self::Contact)
            }
            AttemptResult::Fail => Some(Self::Board),
            AttemptResult::Error if is_one_of(&["E4", "E5", "E6", "E702", "E709", "E72"]) => {
                Some(Self::Station)
            }
            AttemptResult::Error => Some(Self::Contact),
            AttemptResult::Pass
            | AttemptResult::Skipped
            | AttemptResult::Aborted
            | AttemptResult::InDoubt => None,
        }
    }
}

/// The condition on an attempt, by the name of its row, that its board was tried. One that has not ended was.
pub(crate) fn is_try(row: &str) -> String {
    format!(
        "(coalesce({row}.result, 'in-doubt') NOT IN ('skipped', 'aborted') AND coalesce({row}.step, '') <> 'reserve'
          AND substr(coalesce({row}.code, ''), 1, 4) NOT IN ('E501', 'E640', 'E641', 'E642', 'E643', 'E705', 'E708', 'E712'))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_trouble_it_was_follows_from_result_and_code() {
        let error = |code| Trouble::of(AttemptResult::Error, code);
        for code in ["E101 board-absent", "E106 supply-low", "E303", "E701 rom-no-sync", "E710"] {
            assert_eq!(error(code), Some(Trouble::Contact), "{code}");
        }
        for code in ["E405 record-store", "E638 ledger-broken", "E702 rom-parity-missing", "E721 port-gone"] {
            assert_eq!(error(code), Some(Trouble::Station), "{code}");
        }
        let fail = |code| Trouble::of(AttemptResult::Fail, code);
        assert_eq!((fail("E302 board-reset"), fail("E214")), (Some(Trouble::Contact), Some(Trouble::Board)));
        assert_eq!(Trouble::of(AttemptResult::Aborted, "E407"), None);
    }
}
