//! One UID in two slots of a panel, on buses or ports that know nothing of each other.
//!
//! A lane tells twins on its own bus apart by itself. Across lanes they meet where identities are reserved: the second
//! is turned away before anything is done to it, and the first with it if it waits as well, so that no UID gets two
//! identities, is counted twice or passes twice. The run calls this before anybody is asked for a reservation.

use std::collections::BTreeMap;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::node::Uid;

use crate::finishing::Refused;

/// Which slot had which UID when it asked first.
#[derive(Debug, Default)]
pub(crate) struct Twins(BTreeMap<Uid, Slot>);

impl Twins {
    /// The boards among those that wait which are not to be reserved, and why.
    pub(crate) fn among(&mut self, waiting: &[(Slot, Uid)]) -> BTreeMap<Slot, Refused> {
        let mut refused = BTreeMap::new();
        for &(slot, uid) in waiting {
            let first = *self.0.entry(uid).or_insert(slot);
            if first == slot {
                continue;
            }
            let why = Refused {
                code: Code::DuplicateUid,
                text: format!("UID {uid} is in slots {}, {}", first.min(slot), first.max(slot)),
            };
            if waiting.contains(&(first, uid)) {
                refused.insert(first, why.clone());
            }
            refused.insert(slot, why);
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_wait_neither_goes_on_and_of_two_one_after_the_other_the_second_does_not() {
        let (one, other) = (Uid([1; 12]), Uid([2; 12]));
        let mut twins = Twins::default();
        assert!(twins.among(&[(Slot(1), one), (Slot(2), other)]).is_empty());
        assert!(twins.among(&[(Slot(1), one)]).is_empty(), "a second attempt of the same board");
        let late = twins.among(&[(Slot(7), one)]);
        assert_eq!(late.keys().collect::<Vec<_>>(), [&Slot(7)]);
        assert_eq!(late[&Slot(7)].code, Code::DuplicateUid);
        assert!(late[&Slot(7)].text.ends_with("is in slots 1, 7"), "{}", late[&Slot(7)].text);
        let both = Twins::default().among(&[(Slot(3), one), (Slot(5), one)]);
        assert_eq!(both.keys().collect::<Vec<_>>(), [&Slot(3), &Slot(5)]);
    }
}
