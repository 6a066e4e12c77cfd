//! States: the only ways from one to the next, and no pass without its proofs.

use super::{
    Case, Rig, assert_sound, at, confirmed, look, open, pass, request, reserve, step, terms, written,
};
use crate::{
    LedgerError,
    types::{Change, Hash, NumberKind, OrderTerms, Reservation, State, Step, UnitId},
};

pub(super) const CASES: &[Case] = &[
    ("the whole way from reserved to confirmed", whole_way),
    ("every change is possible in its states and in no other", table),
    ("no pass without the proof of the lock where the order asks for it", lock_proof),
    ("a pass told twice is one pass", confirmed_twice),
    ("a void or doubtful unit needs a reason", reasons),
    ("what a crash interrupted is in doubt and resolved by reading the chip", interrupted),
    ("running a written or confirmed chip again puts it in doubt", run_again),
    ("a failed run keeps the identity and says its code", failed),
    ("steps of a panel are made together or not at all", together),
];

fn one(rig: &mut dyn Rig) -> UnitId {
    reserve(rig, [1]).remove(0).unit
}

fn whole_way(rig: &mut dyn Rig) {
    open(rig, 5);
    let unit = one(rig);
    let mut seen = vec![look(rig, unit).state];
    for (seconds, change) in [(2, Change::Writing), (3, written()), (4, confirmed())] {
        rig.ledger().advance(&[step(unit, change)], at(seconds)).unwrap();
        rig.reopen();
        seen.push(look(rig, unit).state);
    }
    assert_eq!(seen, [State::Reserved, State::Writing, State::Written, State::Confirmed]);
    let unit = look(rig, unit);
    assert_eq!(unit.read_back, Some(Hash::of(b"region")));
    assert_eq!(unit.record, Some(Hash::of(b"record")));
    assert_eq!(unit.lock_proof, Some(Hash::of(b"NACK")));
    assert_eq!((unit.reserved_at, unit.changed_at), (at(1), at(4)));
    assert_sound(rig);
}

/// Brings a new unit of chip `number` into `state`.
fn unit_in(rig: &mut dyn Rig, number: u16, state: State) -> UnitId {
    let unit = reserve_at(rig, number, 5).unit;
    let path: Vec<Change> = match state {
        State::Reserved => Vec::new(),
        State::Writing => vec![Change::Writing],
        State::Written => vec![Change::Writing, written()],
        State::Confirmed => vec![Change::Writing, written(), confirmed()],
        State::InDoubt => vec![Change::InDoubt { reason: "test".to_owned() }],
        State::Void => vec![Change::Void { reason: "test".to_owned() }],
    };
    let steps: Vec<_> = path.into_iter().map(|change| step(unit, change)).collect();
    rig.ledger().advance(&steps, at(5)).unwrap();
    assert_eq!(look(rig, unit).state, state);
    unit
}

fn reserve_at(rig: &mut dyn Rig, number: u16, seconds: i64) -> Reservation {
    rig.ledger().reserve_many(&request([number]), at(seconds)).unwrap().remove(0)
}

fn table(rig: &mut dyn Rig) {
    open(rig, 100);
    let reason = || "test".to_owned();
    let fingerprint =
        |number: u16| Change::Fingerprint { kind: NumberKind::Key, value: Hash::of(&number.to_be_bytes()) };
    // For each state, where each change leads; None: refused.
    use State::{Confirmed, InDoubt, Reserved, Void, Writing, Written};
    let rows: [(State, [Option<State>; 7]); 6] = [
        // from      writing        written        key            confirmed        failed         doubt          void
        (Reserved, [Some(Writing), None, Some(Reserved), None, Some(Reserved), Some(InDoubt), Some(Void)]),
        (
            Writing,
            [Some(Writing), Some(Written), Some(Writing), None, Some(InDoubt), Some(InDoubt), Some(Void)],
        ),
        (
            Written,
            [
                Some(Writing),
                Some(Written),
                Some(Written),
                Some(Confirmed),
                Some(Written),
                Some(InDoubt),
                Some(Void),
            ],
        ),
        (Confirmed, [None, None, None, None, None, Some(InDoubt), Some(Void)]),
        (
            InDoubt,
            [Some(Writing), Some(Written), Some(InDoubt), None, Some(InDoubt), Some(InDoubt), Some(Void)],
        ),
        (Void, [None; 7]),
    ];
    let mut number = 0;
    for (from, expected) in rows {
        for (column, expected) in expected.into_iter().enumerate() {
            number += 1;
            let unit = unit_in(rig, number, from);
            let other_record =
                Change::Confirmed { record: Hash::of(b"other"), lock_proof: Some(Hash::of(b"x")) };
            let changes = [
                Change::Writing,
                written(),
                fingerprint(number),
                other_record,
                Change::Failed { code: "E214".to_owned() },
                Change::InDoubt { reason: reason() },
                Change::Void { reason: reason() },
            ];
            let change = changes[column].clone();
            let outcome = rig.ledger().advance(&[step(unit, change.clone())], at(5));
            match (expected, outcome) {
                (Some(to), Ok(())) => assert_eq!(look(rig, unit).state, to, "{from} by {change:?}"),
                (None, Err(LedgerError::Transition { state, .. })) => {
                    assert_eq!((state, look(rig, unit).state), (from, from), "{change:?}");
                }
                (_, outcome) => panic!("{from} by {change:?}: {outcome:?}"),
            }
        }
    }
    assert_sound(rig);
    let unknown = rig.ledger().advance(&[step(UnitId(9999), Change::Writing)], at(7));
    assert!(matches!(unknown, Err(LedgerError::UnknownUnit { unit: UnitId(9999) })));
}

fn lock_proof(rig: &mut dyn Rig) {
    open(rig, 5);
    let unit = unit_in(rig, 1, State::Written);
    let without = || Change::Confirmed { record: Hash::of(b"record"), lock_proof: None };
    let refused = rig.ledger().advance(&[step(unit, without())], at(6));
    assert!(matches!(refused, Err(LedgerError::LockNotProven { .. })), "{refused:?}");
    assert_eq!(look(rig, unit).state, State::Written);

    let open_order = OrderTerms {
        id: "WO-2".to_owned(),
        document: Hash::of(b"order 2"),
        lock_required: false,
        blocks: Vec::new(),
        ..terms(5)
    };
    rig.ledger().open_order(&open_order, at(6)).unwrap();
    let unlocked =
        crate::Request { order: Some("WO-2".to_owned()), needs: crate::Needs::default(), ..request([2]) };
    let second = rig.ledger().reserve_many(&unlocked, at(6)).unwrap().remove(0).unit;
    let steps = [Change::Writing, written(), without()].map(|change| step(second, change));
    rig.ledger().advance(&steps, at(7)).unwrap();
    assert_eq!(look(rig, second).state, State::Confirmed);
    // A unit that belongs to an order with a lock does not get rid of it by running under another order.
    let other = crate::Request { order: Some("WO-2".to_owned()), ..request([1]) };
    rig.ledger().reserve_many(&other, at(8)).unwrap();
    let steps = [written(), without()].map(|change| step(unit, change));
    assert!(matches!(rig.ledger().advance(&steps, at(8)), Err(LedgerError::LockNotProven { .. })));
    assert_sound(rig);
}

fn confirmed_twice(rig: &mut dyn Rig) {
    open(rig, 5);
    let unit = one(rig);
    pass(rig, unit);
    rig.reopen();
    let events = rig.ledger().head().unwrap();
    rig.ledger().advance(&[step(unit, confirmed())], at(3)).unwrap();
    assert_eq!(rig.ledger().head().unwrap(), events, "the second time nothing happens");
    let other_run = Step { run: "run-2".to_owned(), ..step(unit, confirmed()) };
    let refused = rig.ledger().advance(&[other_run], at(3));
    assert!(matches!(refused, Err(LedgerError::Transition { state: State::Confirmed, .. })));
}

fn reasons(rig: &mut dyn Rig) {
    open(rig, 5);
    let unit = one(rig);
    for reason in ["", "  \t\n"] {
        let reason = reason.to_owned();
        for change in [Change::Void { reason: reason.clone() }, Change::InDoubt { reason: reason.clone() }] {
            let refused = rig.ledger().advance(&[step(unit, change)], at(2));
            assert!(matches!(refused, Err(LedgerError::NoReason { .. })));
        }
    }
    let void = Change::Void { reason: "dropped".to_owned() };
    rig.ledger().advance(&[step(unit, void)], at(2)).unwrap();
    assert_eq!(look(rig, unit).reason.as_deref(), Some("dropped"));
}

fn interrupted(rig: &mut dyn Rig) {
    open(rig, 10);
    let units: Vec<_> = [State::Reserved, State::Writing, State::Written, State::Confirmed, State::Void]
        .into_iter()
        .enumerate()
        .map(|(number, state)| unit_in(rig, number as u16, state))
        .collect();
    rig.reopen();
    let doubtful = rig.ledger().doubt_interrupted(at(9)).unwrap();
    assert_eq!(doubtful, [units[1], units[2]]);
    let states: Vec<_> = units.iter().map(|unit| look(rig, *unit).state).collect();
    let expected = [State::Reserved, State::InDoubt, State::InDoubt, State::Confirmed, State::Void];
    assert_eq!(states, expected);
    assert_eq!(rig.ledger().doubt_interrupted(at(10)).unwrap(), []);
    // The chip was read: one holds its identity, the other is written again with the same one.
    let numbers = look(rig, units[1]).numbers;
    let steps = [
        step(units[2], written()),
        step(units[2], confirmed()),
        step(units[1], Change::Writing),
        step(units[1], written()),
        step(units[1], confirmed()),
    ];
    rig.ledger().advance(&steps, at(11)).unwrap();
    assert_eq!(look(rig, units[1]).numbers, numbers);
    assert_sound(rig);
}

fn run_again(rig: &mut dyn Rig) {
    open(rig, 10);
    for (number, state, after) in [
        (1, State::Reserved, State::Reserved),
        (2, State::Writing, State::InDoubt),
        (3, State::Written, State::InDoubt),
        (4, State::Confirmed, State::InDoubt),
        (5, State::InDoubt, State::InDoubt),
    ] {
        let unit = unit_in(rig, number, state);
        let again = reserve_at(rig, number, 5);
        assert_eq!((again.unit, again.before, again.state), (unit, Some(state), after));
        let seen = look(rig, unit);
        assert_eq!(seen.state, after);
        assert_eq!((seen.record, seen.lock_proof), (None, None), "old proofs are gone");
        let was_read = matches!(state, State::Written | State::Confirmed);
        assert_eq!(
            seen.read_back.is_some(),
            was_read,
            "what was read back last is known until it is written again"
        );
        rig.ledger().advance(&[step(unit, Change::Writing)], at(5)).unwrap();
        assert_eq!(look(rig, unit).read_back, None);
    }
    assert_sound(rig);
}

fn failed(rig: &mut dyn Rig) {
    open(rig, 10);
    let unit = unit_in(rig, 1, State::Written);
    let numbers = look(rig, unit).numbers;
    rig.ledger().advance(&[step(unit, Change::Failed { code: "E661".to_owned() })], at(6)).unwrap();
    rig.reopen();
    let seen = look(rig, unit);
    assert_eq!((seen.failed.as_deref(), seen.state), (Some("E661"), State::Written));
    assert_eq!(rig.ledger().doubt_interrupted(at(6)).unwrap(), [], "its fate is known: it failed");
    let again = reserve_at(rig, 1, 7);
    assert_eq!(again.numbers, numbers);
    assert_eq!(look(rig, unit).failed, None);
    assert_sound(rig);
}

fn together(rig: &mut dyn Rig) {
    open(rig, 10);
    let units: Vec<_> = reserve(rig, [1, 2, 3]).iter().map(|one| one.unit).collect();
    let steps =
        [step(units[0], Change::Writing), step(units[1], Change::Writing), step(units[2], confirmed())];
    let refused = rig.ledger().advance(&steps, at(2));
    assert!(matches!(refused, Err(LedgerError::Transition { unit, .. }) if unit == units[2]));
    rig.reopen();
    assert!(units.iter().all(|unit| look(rig, *unit).state == State::Reserved));
    rig.ledger().advance(&steps[..2], at(2)).unwrap();
    assert_eq!(look(rig, units[1]).state, State::Writing);
    rig.ledger().advance(&[], at(2)).unwrap();
    assert_sound(rig);
}
