//! Keys that boards made for themselves: their requests are checked, certified, and made durable before any answer.
//!
//! The ledger has the fingerprint of a key and the certificate before the certificate is sent to the board. A key that
//! another unit has, as from a broken source of randomness, fails its own board and no other.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{IdentityBytes, KeyMade, Refused};
use panel_ledger::{self as ledger, Hash, Ledger, LedgerError, UnitId};

use super::identity::Made;
use super::keeper::Keeper;
use crate::failure::Failure;
use crate::sim_drive::Certification;

impl Keeper {
    /// Answers the requests of boards that made their keys, durably.
    pub(crate) fn certify(&mut self, made: &[KeyMade]) -> Vec<Certification> {
        let now = self.now();
        let mut answers = Vec::new();
        let mut good: Vec<(Slot, Made)> = Vec::new();
        for key in made {
            match self.open_request(key, now) {
                Ok(identity) => good.push((key.slot, identity)),
                Err(Failure { code, message, .. }) => {
                    answers.push((key.slot, Err(Refused { code, text: message })));
                }
            }
        }
        let refused = self.record(&good);
        for (slot, made) in good {
            let answer = match refused.iter().find(|(of, _)| *of == slot) {
                Some((_, refused)) => Err(refused.clone()),
                None => self.take(slot, made),
            };
            answers.push((slot, answer));
        }
        answers
    }

    fn open_request(&self, key: &KeyMade, now: jiff::Timestamp) -> Result<Made, Failure> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let Some(held) = self.units.get(&key.slot) else {
            return Err(Failure::new(Code::Internal, "nothing was reserved for this board"));
        };
        let known = self.known_certificate(held.unit).map_err(|e| Failure::new(e.code(), e.to_string()))?;
        self.terms.template.certify(&held.owner, &key.request, known, now)
    }

    /// The newest certificate that the ledger has of a unit.
    fn known_certificate(&self, unit: UnitId) -> Result<Option<Vec<u8>>, LedgerError> {
        let newest = self.ledger.unit(unit)?.and_then(|unit| unit.certificates.last().cloned());
        let mut sha256 = [0; 32];
        match newest.map(|text| hex::decode_to_slice(text, &mut sha256)) {
            Some(Ok(())) => self.ledger.blob(unit, Hash(sha256)),
            _ => Ok(None),
        }
    }

    /// Fingerprints and certificates of all these, in one durable step if nothing is wrong with any. Returns who is
    /// refused and why.
    fn record(&mut self, good: &[(Slot, Made)]) -> Vec<(Slot, Refused)> {
        match self.record_some(good) {
            Ok(()) => return Vec::new(),
            Err(LedgerError::DuplicateNumber { .. }) => {}
            // Asking once for each board would wait as often for a ledger that does not answer.
            Err(error) => {
                self.note_failure(&error);
                let refused = Refused { code: error.code(), text: error.to_string() };
                return good.iter().map(|(slot, _)| (*slot, refused.clone())).collect();
            }
        }
        let mut refused = Vec::new();
        for one in good {
            if let Err(error) = self.record_some(core::slice::from_ref(one)) {
                if !matches!(error, LedgerError::DuplicateNumber { .. }) {
                    self.note_failure(&error);
                }
                refused.push((one.0, Refused { code: error.code(), text: error.to_string() }));
            }
        }
        refused
    }

    fn record_some(&mut self, good: &[(Slot, Made)]) -> Result<(), LedgerError> {
        let mut steps = Vec::new();
        for (slot, made) in good {
            let Some(held) = self.units.get(slot) else { continue };
            let step = |change| ledger::Step { unit: held.unit, run: self.run.clone(), change };
            steps.extend(made.kept.changes().into_iter().map(step));
        }
        self.durable(|ledger, now| ledger.advance(&steps, now))
    }

    /// From now on this is what the unit has; the key that was made here for it is gone.
    fn take(&mut self, slot: Slot, made: Made) -> Result<IdentityBytes, Refused> {
        let nothing =
            || Refused { code: Code::Internal, text: "the release has no identity region".to_owned() };
        let bytes = made.region.ok_or_else(nothing)?;
        if let Some(held) = self.units.get_mut(&slot) {
            held.kept = made.kept;
            held.recorded = true;
        }
        Ok(bytes.into())
    }
}
