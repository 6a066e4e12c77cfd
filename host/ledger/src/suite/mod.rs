//! The behaviour every [`Ledger`] must show, as one test suite.
//!
//! An implementation gives a [`Rig`] that makes an empty ledger and opens it again, and calls [`run`] in a
//! test of its own. The cases use the trait only: nothing here knows what stores the ledger. A case that
//! fails panics with its name and place.

#![expect(clippy::unwrap_used, reason = "a test suite: a failed unwrap is a failed case")]

mod contention;
mod numbers;
mod quota;
mod states;
mod trace;

use jiff::{SignedDuration, Timestamp};

use crate::{
    eui::{Eui, EuiBlock, EuiKind},
    ledger::Ledger,
    types::{
        Block, Change, Chip, Hash, Needs, OrderTerms, Pool, Request, Reservation, SerialBlock, Step, Uid,
        Unit, UnitId,
    },
};

/// An implementation under test.
pub trait Rig {
    /// The ledger.
    fn ledger(&mut self) -> &mut dyn Ledger;
    /// Closes the ledger and opens it again: what was returned as done must still be there.
    fn reopen(&mut self);
    /// The same ledger, as another program has it open at the same time.
    fn another(&self) -> Box<dyn Ledger + Send>;
}

/// One case: its name and what it does with an empty ledger.
type Case = (&'static str, fn(&mut dyn Rig));

/// Runs every case, each on a new empty ledger of `make`.
///
/// # Panics
/// When a case fails; the case's own panic comes first and says what and where.
pub fn run(make: impl Fn() -> Box<dyn Rig>) {
    let cases = [contention::CASES, numbers::CASES, quota::CASES, states::CASES, trace::CASES].concat();
    assert!(cases.len() > 25, "the suite lost cases");
    let mut failed = Vec::new();
    for (name, case) in cases {
        let mut rig = make();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(rig.as_mut())));
        if outcome.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these cases failed: {failed:?}");
}

const PRODUCT: &str = "sensor-head";
const ORDER: &str = "WO-1";
const NEEDS: Needs = Needs { serial: true, eui48: 2, eui64: 0, blobs: Vec::new() };

/// A time so many seconds after the first of all.
fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_780_000_000 + seconds)
}

fn uid(number: u16) -> Uid {
    let mut bytes = *b"\x2a\x00\x41\x00lot-7-\x00\x00";
    bytes[10..].copy_from_slice(&number.to_be_bytes());
    Uid(bytes)
}

/// A request for chips of these numbers in slots 0, 1, 2 and so on.
fn request(chips: impl IntoIterator<Item = u16>) -> Request {
    Request {
        product: PRODUCT.to_owned(),
        order: Some(ORDER.to_owned()),
        release: Some(Hash::of(b"release 1.4.2")),
        run: "run-1".to_owned(),
        station: "line1-a".to_owned(),
        panel: Some("P-0001".to_owned()),
        needs: NEEDS,
        chips: chips
            .into_iter()
            .enumerate()
            .map(|(slot, number)| Chip { slot: slot as u16, uid: uid(number) })
            .collect(),
    }
}

fn serials(first: u64, count: u64) -> Block {
    let format = "SH-{counter:5}".parse().expect("a format");
    Block::Serial(SerialBlock { format, first, count })
}

fn addresses(first: &str, count: u64) -> Block {
    Block::Eui(EuiBlock { first: eui(first), count, step: 2, local: false })
}

fn eui(text: &str) -> Eui {
    Eui::parse(EuiKind::Eui48, text).expect("an address")
}

fn terms(quantity: u64) -> OrderTerms {
    OrderTerms {
        id: ORDER.to_owned(),
        document: Hash::of(b"order 1"),
        product: PRODUCT.to_owned(),
        quantity,
        lock_required: true,
        blocks: vec![serials(1, 100), addresses("70b3d5abc000", 200)],
    }
}

fn product_pool(block: Block) -> Pool {
    Pool { product: Some(PRODUCT.to_owned()), order: None, block }
}

/// Opens the usual order of `quantity` units.
fn open(rig: &mut dyn Rig, quantity: u64) {
    rig.ledger().open_order(&terms(quantity), at(0)).expect("the order opens");
}

fn reserve(rig: &mut dyn Rig, chips: impl IntoIterator<Item = u16>) -> Vec<Reservation> {
    rig.ledger().reserve_many(&request(chips), at(1)).expect("the chips are reserved")
}

fn step(unit: UnitId, change: Change) -> Step {
    Step { unit, run: "run-1".to_owned(), change }
}

fn written() -> Change {
    Change::Written { read_back: Hash::of(b"region") }
}

fn confirmed() -> Change {
    Change::Confirmed { record: Hash::of(b"record"), lock_proof: Some(Hash::of(b"NACK")) }
}

/// Takes a unit all the way.
fn pass(rig: &mut dyn Rig, unit: UnitId) {
    let steps = [Change::Writing, written(), confirmed()].map(|change| step(unit, change));
    rig.ledger().advance(&steps, at(2)).expect("the unit passes");
}

fn look(rig: &mut dyn Rig, unit: UnitId) -> Unit {
    rig.ledger().unit(unit).expect("the ledger answers").expect("the unit is there")
}

/// Every number of every unit stands once, and the audit finds nothing.
fn assert_sound(rig: &mut dyn Rig) {
    let ledger = rig.ledger();
    let units = ledger.units(None, usize::MAX).expect("the ledger answers");
    let mut numbers: Vec<String> = units
        .iter()
        .flat_map(|unit| {
            let euis = unit.numbers.eui48.iter().chain(&unit.numbers.eui64).map(ToString::to_string);
            unit.numbers.serial.iter().map(|serial| format!("{} {serial}", unit.product)).chain(euis)
        })
        .collect();
    numbers.sort();
    let before = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), before, "a number stands twice");
    let audit = ledger.audit(&[]).expect("the ledger answers");
    assert_eq!(audit.findings, [], "the audit finds nothing");
}
