//! Keeps identities through a run: the glue between a run's events and the ledger.
//!
//! 1. A board is reserved, with its quota, before its first byte: one durable transaction for a panel.
//! 2. `Writing` is durable before the first byte of an identity goes out, because the event that says so is.
//! 3. A unit is confirmed after its PASS is in the records and never before; whoever dies between the two finds
//!    that out at the next start ([`settle`]).
//! 4. Once the ledger has failed, nothing passes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, Outcome, Plan, Refused, Reserved, Step, Verdict};
use panel_ledger as ledger;
use panel_ledger::{Change, Hash, Ledger, LedgerError, NumberKind, SqliteLedger, State, Unit, UnitId};
use panel_protocol::node::Uid;
use panel_release::{Refusal, Sha256Hash, VerifiedRelease};
use panel_store::{AttemptResult, Records, StoreError};

use super::identity::{Kept, Made, Owner, Template};
use super::recovery::Recovery;
use crate::failure::Failure;
use crate::room::Room;
use crate::sim_drive::Reservation;

/// Name of the blob that holds a unit's certificate.
pub(crate) const CERTIFICATE: &str = "certificate";

/// Tells the time; a value so that tests need not wait for it.
pub(crate) type Clock = Box<dyn FnMut() -> Timestamp>;

/// What the keeper needs to know of a run.
pub(crate) struct Terms {
    /// `None` where a job's bare image is put back into a unit that is there already.
    pub(crate) order: Option<Signed>,
    pub(crate) product: String,
    pub(crate) station: String,
    pub(crate) panel: String,
    pub(crate) template: Template,
    /// Set where one board is recovered.
    pub(crate) recovery: Option<Recovery>,
}

/// A signed order with its release, and how that lies on the chip.
pub(crate) struct Signed {
    pub(crate) order: String,
    pub(crate) release: VerifiedRelease,
    pub(crate) plan: Arc<Plan>,
}

/// The identities of one run.
pub(crate) struct Keeper {
    pub(super) ledger: SqliteLedger,
    clock: Clock,
    now: Timestamp,
    pub(super) run: String,
    pub(super) terms: Terms,
    pub(super) units: BTreeMap<Slot, Held>,
    failed: Option<Failed>,
    room: Rc<Room>,
}

/// Why the ledger cannot be used any more.
#[derive(Debug, Clone)]
struct Failed {
    code: Code,
    text: String,
}

/// A board's unit in this run.
pub(super) struct Held {
    pub(super) unit: UnitId,
    pub(super) owner: Owner,
    pub(super) kept: Kept,
    /// The ledger has fingerprint and certificate already.
    pub(super) recorded: bool,
    /// What an earlier run read back from this chip.
    read_before: Option<Hash>,
    /// Why a pass leaves the unit in doubt instead of confirming it.
    unconfirmable: Option<&'static str>,
    proof: Option<Hash>,
}

impl Keeper {
    /// `ledger` knows the order already; `run` is the number of the run in the records.
    pub(crate) fn new(
        ledger: SqliteLedger,
        mut clock: Clock,
        run: String,
        terms: Terms,
        room: Rc<Room>,
    ) -> Self {
        let now = clock();
        Self { ledger, clock, now, run, terms, units: BTreeMap::new(), failed: None, room }
    }

    /// The product and the recovery this is about, if it is one.
    pub(crate) fn recovery_mut(&mut self) -> Option<(&str, &mut Recovery)> {
        Some((&self.terms.product, self.terms.recovery.as_mut()?))
    }

    /// What ended the ledger's work, if anything did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failed.as_ref().map(|f| Failure::with_exit(f.code, f.text.clone(), 3))
    }

    /// The records have failed: nothing is confirmed from now on.
    pub(crate) fn stop(&mut self, why: &str) {
        self.failed.get_or_insert_with(|| Failed { code: Code::RecordStore, text: why.to_owned() });
    }

    /// Where the ledger's log ends now, for the records.
    pub(crate) fn head_note(&mut self) -> Option<Event> {
        match super::same_ledger::head_note(&self.ledger) {
            Ok(note) => note,
            Err(error) => {
                self.note_failure(&error);
                None
            }
        }
    }

    /// The time, which never goes back within a run even if the station's clock does.
    pub(super) fn now(&mut self) -> Timestamp {
        self.now = self.now.max((self.clock)());
        self.now
    }

    /// Writes into the ledger; where its disk is full, once more with the room that was kept for that.
    pub(super) fn durable<T>(
        &mut self,
        write: impl Fn(&mut SqliteLedger, Timestamp) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let now = self.now();
        match write(&mut self.ledger, now) {
            Err(LedgerError::Full) if self.room.give_back() => write(&mut self.ledger, now),
            other => other,
        }
    }

    /// Reserves identities and quota for boards, durably.
    pub(crate) fn reserve(&mut self, boards: &[(Slot, Uid)]) -> Vec<Reservation> {
        let all = |code, text: String| {
            let refused = Refused { code, text };
            boards.iter().map(|&(slot, _)| (slot, Err(refused.clone()))).collect()
        };
        if let Some(Failed { code, text }) = &self.failed {
            return all(*code, text.clone());
        }
        if let Err(refusal) = self.check_image() {
            return all(refusal.code(panel_release::Kind::Release), refusal.to_string());
        }
        match self.try_reserve(boards) {
            Ok(answers) => answers,
            Err(error) => {
                self.note_failure(&error);
                all(error.code(), error.to_string())
            }
        }
    }

    /// What will be sent is what was signed, hashed once more before the first byte is.
    fn check_image(&self) -> Result<(), Refusal> {
        let Some(Signed { release, plan, .. }) = &self.terms.order else { return Ok(()) };
        for image in release.images() {
            let entry = image.entry();
            let Some(planned) = planned(plan, entry.address, entry.length) else { continue };
            let got = Sha256Hash::of(planned);
            if got != entry.sha256 {
                let name = entry.name.clone();
                return Err(Refusal::ChangedSinceVerified { name, expected: entry.sha256, got });
            }
        }
        Ok(())
    }

    fn try_reserve(&mut self, boards: &[(Slot, Uid)]) -> Result<Vec<Reservation>, LedgerError> {
        let mut answers = Vec::new();
        let mut wanted: Vec<(Slot, Uid, Option<Unit>)> = Vec::new();
        for &(slot, uid) in boards {
            let unit = self.ledger.find_chip(&self.terms.product, ledger::Uid(uid.0))?.pop();
            match &self.terms.recovery {
                Some(recovery) => match recovery.admit(unit.as_ref(), uid, &mut self.terms.template) {
                    Ok(true) => wanted.push((slot, uid, unit)),
                    Ok(false) => answers.push((slot, Ok(Reserved::default()))),
                    Err(refused) => answers.push((slot, Err(refused))),
                },
                None => wanted.push((slot, uid, unit)),
            }
        }
        wanted.sort_by_key(|(slot, ..)| *slot);
        let reserved = loop {
            if wanted.is_empty() {
                return Ok(answers);
            }
            let request = self.request(&wanted);
            match self.durable(|ledger, now| ledger.reserve_many(&request, now)) {
                Ok(reserved) => break reserved,
                Err(error) => {
                    // As many as there is quota, numbers, a plausible chip for; the others are told why not.
                    let refused = leave_out(&mut wanted, &error);
                    if refused.is_empty() {
                        return Err(error);
                    }
                    let why = |slot| (slot, Err(Refused { code: error.code(), text: error.to_string() }));
                    answers.extend(refused.into_iter().map(why));
                }
            }
        };
        for reservation in reserved {
            let slot = Slot(reservation.chip.slot);
            let known = wanted.iter().find(|(s, ..)| *s == slot).and_then(|(.., unit)| unit.as_ref());
            let known = known.filter(|unit| unit.unit == reservation.unit);
            let reserved = known.map_or(self.now, |unit| unit.reserved_at);
            let read_before = known.and_then(|unit| unit.read_back);
            let uid = Uid(reservation.chip.uid.0);
            let mut owner = Owner { uid, numbers: reservation.numbers, reserved, blobs: Vec::new() };
            let blobs = super::blobs::open(&self.ledger, &owner.numbers, &self.terms.template);
            let own = blobs.and_then(|blobs| {
                owner.blobs = blobs;
                let made = self.terms.template.make(&owner, self.now)?;
                let signed = self.terms.order.as_ref();
                let images = signed.map(|s| super::windows::own_images(&s.release, &owner.numbers));
                Ok((made, images.transpose()?.unwrap_or_default()))
            });
            let answer = match own {
                Ok((Made { region, kept }, images)) => {
                    let facts = facts(&owner.numbers);
                    let written = read_before.is_some_and(|before| is_same(before, &kept));
                    let serial = owner.numbers.serial.clone();
                    let unit = reservation.unit;
                    let recovery = self.terms.recovery.as_ref();
                    let unconfirmable = recovery.zip(known).and_then(|(r, unit)| r.unconfirmable(unit));
                    let recorded = false;
                    let held = Held { unit, owner, kept, recorded, read_before, unconfirmable, proof: None };
                    self.units.insert(slot, held);
                    Ok(Reserved { identity: region.map(Into::into), images, serial, facts, written })
                }
                Err(failure) => Err(Refused { code: failure.code, text: failure.message }),
            };
            answers.push((slot, answer));
        }
        Ok(answers)
    }

    fn request(&self, wanted: &[(Slot, Uid, Option<Unit>)]) -> ledger::Request {
        let Terms { order, product, station, panel, template, .. } = &self.terms;
        let needs = &template.needs;
        ledger::Request {
            product: product.clone(),
            order: order.as_ref().map(|signed| signed.order.clone()),
            release: order.as_ref().map(|signed| Hash(signed.release.manifest_sha256().0)),
            run: self.run.clone(),
            station: station.clone(),
            panel: Some(panel.clone()),
            needs: ledger::Needs {
                serial: needs.serial,
                eui48: needs.eui48,
                eui64: needs.eui64,
                blobs: needs.blobs.clone(),
            },
            chips: wanted
                .iter()
                .map(|(slot, uid, _)| ledger::Chip { slot: slot.0, uid: ledger::Uid(uid.0) })
                .collect(),
        }
    }

    /// Makes what these events mean for identities durable; they are in the records already. `record` gives the
    /// hash of the record of a slot's result.
    pub(crate) fn events(
        &mut self,
        events: &[Event],
        record: impl Fn(u16) -> Result<Option<Hash>, StoreError>,
    ) -> Result<(), String> {
        let steps = match self.steps(events, record) {
            Ok(steps) if steps.is_empty() => return self.state(),
            Ok(steps) => steps,
            Err(error) => {
                self.failed
                    .get_or_insert_with(|| Failed { code: Code::RecordStore, text: error.to_string() });
                Vec::new()
            }
        };
        if self.failed.is_none()
            && let Err(error) = self.durable(|ledger, now| ledger.advance(&steps, now))
        {
            self.note_failure(&error);
        }
        self.state()
    }

    fn state(&self) -> Result<(), String> {
        self.failed.as_ref().map_or(Ok(()), |failed| Err(failed.text.clone()))
    }

    pub(super) fn note_failure(&mut self, error: &LedgerError) {
        self.failed.get_or_insert_with(|| Failed { code: error.code(), text: format!("ledger: {error}") });
    }

    fn steps(
        &mut self,
        events: &[Event],
        record: impl Fn(u16) -> Result<Option<Hash>, StoreError>,
    ) -> Result<Vec<ledger::Step>, StoreError> {
        // A board that was found locked is told to have its identity before anything can have been sent to it: it
        // keeps what an earlier run read back.
        let kept: BTreeSet<Slot> = events
            .iter()
            .filter_map(|event| match event {
                Event::IdentityWritten { slot } => Some(*slot),
                _ => None,
            })
            .filter(|slot| {
                events
                    .iter()
                    .any(|e| matches!(e, Event::StepBegan { slot: s, step: Step::Identity } if s == slot))
            })
            .collect();
        let mut steps = Vec::new();
        let has_region = self.terms.template.needs.region.is_some();
        for event in events {
            let Some(held) = slot_of(event).and_then(|slot| self.units.get_mut(&slot)) else { continue };
            let mut push =
                |change| steps.push(ledger::Step { unit: held.unit, run: self.run.clone(), change });
            match event {
                Event::StepBegan { step: Step::Identity, slot } if has_region && !kept.contains(slot) => {
                    if !held.recorded {
                        held.kept.changes().into_iter().for_each(&mut push);
                    }
                    push(Change::Writing);
                }
                // Without a region the board itself becomes the unit when it is programmed.
                Event::StepBegan { step: Step::Program, .. } if !has_region => push(Change::Writing),
                Event::IdentityWritten { slot } if kept.contains(slot) => {
                    push(Change::Written { read_back: held.read_before.unwrap_or(Hash([0; 32])) });
                }
                Event::IdentityWritten { .. } => push(Change::Written { read_back: held.kept.region }),
                Event::LockProved { proof, .. } => {
                    held.proof = Some(Hash::of(crate::result::lock_proof(proof).to_string().as_bytes()));
                }
                Event::Ended { slot, verdict, again: false } => {
                    let proof = held.proof;
                    let record = match verdict.outcome {
                        Outcome::Pass => record(slot.0)?,
                        _ => None,
                    };
                    if verdict.outcome == Outcome::Pass && !has_region {
                        push(Change::Written { read_back: held.kept.region });
                    }
                    let change =
                        end(verdict, record, proof).map(|change| match (change, held.unconfirmable) {
                            (Change::Confirmed { .. }, Some(why)) => {
                                Change::InDoubt { reason: why.to_owned() }
                            }
                            (change, _) => change,
                        });
                    change.into_iter().for_each(push);
                }
                _ => {}
            }
        }
        Ok(steps)
    }
}

/// Whether what was read back before is what would be written now. A key is made anew each time and cannot be
/// compared; its chip has the numbers of the same unit, which never change.
fn is_same(before: Hash, kept: &Kept) -> bool {
    kept.key.is_some() || kept.region == before
}

impl Kept {
    /// The fingerprints and the certificate. The last key named is the one in the chip, so this belongs right before
    /// the identity is sent.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(value) = self.key {
            changes.push(Change::Fingerprint { kind: NumberKind::Key, value });
        }
        if let Some(issued) = &self.certificate {
            changes.push(Change::Fingerprint { kind: NumberKind::Certificate, value: issued.fingerprint });
            changes.push(Change::Blob { name: CERTIFICATE.to_owned(), bytes: issued.der.clone() });
        }
        changes
    }
}

/// What the end of a board's last attempt means for its unit.
fn end(verdict: &Verdict, record: Option<Hash>, lock_proof: Option<Hash>) -> Option<Change> {
    match (verdict.outcome, verdict.code) {
        (Outcome::Pass, _) => record.map(|record| Change::Confirmed { record, lock_proof }),
        (Outcome::Skipped, _) => None,
        (Outcome::Aborted, _) | (_, None | Some(Code::RecordStore)) => {
            Some(Change::InDoubt { reason: format!("the run was stopped: {}", verdict.detail) })
        }
        (Outcome::Fail | Outcome::Error, Some(code)) => Some(Change::Failed { code: code.to_string() }),
    }
}

/// What a record says of an identity beside its serial number.
fn facts(numbers: &ledger::Numbers) -> Vec<(String, String)> {
    let euis = |kind: NumberKind, list: &[ledger::Eui]| {
        list.iter().map(|eui| (kind.word().to_owned(), eui.to_string())).collect::<Vec<_>>()
    };
    let eui48 = euis(NumberKind::Eui48, &numbers.eui48);
    let blobs = numbers.blobs.iter();
    let blobs = blobs.map(|b| (NumberKind::Blob.word().to_owned(), format!("{}={}", b.name, b.sha256)));
    eui48.into_iter().chain(euis(NumberKind::Eui64, &numbers.eui64)).chain(blobs).collect()
}

fn slot_of(event: &Event) -> Option<Slot> {
    match event {
        Event::StepBegan { slot, .. }
        | Event::IdentityWritten { slot }
        | Event::LockProved { slot, .. }
        | Event::Ended { slot, .. } => Some(*slot),
        _ => None,
    }
}

/// Takes out of a request what made it be refused; nothing if it is not a matter of some boards.
fn leave_out(wanted: &mut Vec<(Slot, Uid, Option<Unit>)>, error: &LedgerError) -> Vec<Slot> {
    let chosen: Vec<Slot> = match error {
        LedgerError::QuotaExhausted { remaining, .. } => {
            let new =
                wanted.iter().filter(|(.., unit)| unit.as_ref().is_none_or(|unit| unit.order.is_none()));
            new.map(|(slot, ..)| *slot).skip(*remaining as usize).collect()
        }
        LedgerError::PoolExhausted { left, slot: first, .. }
        | LedgerError::BlobsExhausted { left, slot: first, .. } => {
            let new =
                wanted.iter().filter(|(.., unit)| unit.as_ref().is_none_or(|unit| unit.state == State::Void));
            let beyond: Vec<_> = new.map(|(slot, ..)| *slot).skip(*left as usize).collect();
            // A known unit that lacks what its release asks for now is none of the new ones.
            if beyond.is_empty() { vec![Slot(*first)] } else { beyond }
        }
        LedgerError::NeedsGrew { uid, .. } => {
            wanted.iter().filter(|(_, u, _)| u.0 == uid.0).map(|(slot, ..)| *slot).collect()
        }
        LedgerError::ImplausibleUid { slot, .. } => vec![Slot(*slot)],
        LedgerError::DuplicateUid { first, second, .. } => vec![Slot(*first), Slot(*second)],
        _ => Vec::new(),
    };
    wanted.retain(|(slot, ..)| !chosen.contains(slot));
    chosen
}

/// The bytes a plan writes at an image's place.
fn planned(plan: &Plan, address: u32, length: u32) -> Option<&[u8]> {
    plan.regions.iter().find_map(|(from, bytes)| {
        let at = address.checked_sub(*from)? as usize;
        bytes.get(at..at + length as usize)
    })
}

/// At the start of a station: what an earlier run left. A unit whose PASS is in the records is confirmed, every
/// other one that was being written is in doubt from now on. Returns how many are.
///
/// # Errors
/// Of ledger and records; the station must not go on then.
pub(crate) fn settle(ledger: &mut SqliteLedger, records: &Records, now: Timestamp) -> Result<usize, Failure> {
    let broken = |e: LedgerError| Failure::with_exit(e.code(), e.to_string(), 3);
    let mut passed = Vec::new();
    for unit in ledger.interrupted().map_err(broken)? {
        if unit.state == State::Written
            && let Some((record, lock_proof)) =
                recorded_pass(records, &unit).map_err(|e| crate::records::failure(&e))?
        {
            let change = Change::Confirmed { record, lock_proof };
            passed.push(ledger::Step { unit: unit.unit, run: unit.run, change });
        }
    }
    if !passed.is_empty() {
        ledger.advance(&passed, now).map_err(broken)?;
    }
    ledger.doubt_interrupted(now).map(|units| units.len()).map_err(broken)
}

/// The hashes of the record and the proof of lock of the pass of a unit's last run, if it did pass.
fn recorded_pass(records: &Records, unit: &Unit) -> Result<Option<(Hash, Option<Hash>)>, StoreError> {
    let histories = match records.unit(&unit.uid.to_string()) {
        Ok(histories) => histories,
        Err(StoreError::Refused(panel_store::Refusal::NoSuchUnit { .. })) => return Ok(None),
        Err(error) => return Err(error),
    };
    let attempts = histories.into_iter().filter(|h| h.product == unit.product).flat_map(|h| h.attempts);
    let mut in_run = attempts.filter(|a| a.run.run.0.to_string() == unit.run);
    let Some(pass) = in_run.rfind(|a| a.result == AttemptResult::Pass) else { return Ok(None) };
    // A bare image makes no unit of an order pass.
    if unit.order.is_some() && pass.run.order.is_none() {
        return Ok(None);
    }
    let ended = pass.events.iter().rev().find(|e| e.kind == "attempt-ended");
    let proof = pass.events.iter().rev().find(|e| e.kind == "note" && e.body["topic"] == "lock-proof");
    let proof = proof.map(|e| Hash::of(e.body["body"].to_string().as_bytes()));
    Ok(ended.map(|e| (Hash(e.hash.0), proof)))
}
