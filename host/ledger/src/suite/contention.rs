//! Two programs at one ledger at once: each number, each chip and each unit of a quota still goes out once.

use std::sync::Barrier;

use super::{Case, ORDER, Rig, assert_sound, at, open, request, serials, terms};
use crate::{
    LedgerError,
    ledger::Ledger,
    types::{Needs, OrderTerms, Request, Reservation},
};

pub(super) const CASES: &[Case] = &[
    ("a chip that two programs reserve at once gets one identity and counts once", one_chip),
    ("the last number goes to one of two programs", last_number),
    ("the last unit of a quota goes to one of two programs", last_of_quota),
    ("two programs with a panel each share no number", two_panels),
];

/// Rounds, because two programs seldom meet in the very same moment.
const ROUNDS: u16 = 8;

type Answer = Result<Vec<Reservation>, LedgerError>;

/// Two connections ask at the same moment.
fn both(rig: &mut dyn Rig, requests: [Request; 2]) -> [Answer; 2] {
    let barrier = Barrier::new(2);
    let ask = |mut ledger: Box<dyn Ledger + Send>, request: Request| {
        let barrier = &barrier;
        move || {
            barrier.wait();
            ledger.reserve_many(&request, at(2))
        }
    };
    let [one, other] = requests;
    let (mut one, other) = (ask(rig.another(), one), ask(rig.another(), other));
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        [one, other.join().unwrap()]
    })
}

fn remaining(rig: &mut dyn Rig) -> u64 {
    let balance = rig.ledger().balance(ORDER).unwrap();
    assert!(balance.adds_up(), "{:?}", balance.discrepancies);
    balance.remaining
}

fn one_chip(rig: &mut dyn Rig) {
    open(rig, 50);
    for round in 0..ROUNDS {
        let [one, other] = both(rig, [request([round]), request([round])]).map(Result::unwrap);
        assert_eq!((&one[0].unit, &one[0].numbers), (&other[0].unit, &other[0].numbers));
        assert_eq!([&one, &other].iter().filter(|r| r[0].consumed).count(), 1);
        assert_eq!(remaining(rig), 49 - u64::from(round));
    }
    assert_sound(rig);
}

fn last_number(rig: &mut dyn Rig) {
    let order = OrderTerms { blocks: vec![serials(1, 2 * u64::from(ROUNDS) - 1)], ..terms(100) };
    rig.ledger().open_order(&order, at(0)).unwrap();
    let wanted = |chip| Request { needs: Needs { serial: true, ..Needs::default() }, ..request([chip]) };
    for round in 0..ROUNDS {
        let answers = both(rig, [wanted(2 * round), wanted(2 * round + 1)]);
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        if round + 1 < ROUNDS {
            assert!(refused.is_empty(), "{refused:?}");
        } else {
            assert!(matches!(refused[..], [LedgerError::PoolExhausted { left: 0, .. }]), "{refused:?}");
        }
    }
    assert_sound(rig);
}

fn last_of_quota(rig: &mut dyn Rig) {
    open(rig, 2 * u64::from(ROUNDS) - 1);
    for round in 0..ROUNDS {
        let answers = both(rig, [request([2 * round]), request([2 * round + 1])]);
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        if round + 1 < ROUNDS {
            assert!(refused.is_empty(), "{refused:?}");
        } else {
            assert!(matches!(refused[..], [LedgerError::QuotaExhausted { remaining: 0, .. }]), "{refused:?}");
        }
    }
    assert_eq!(remaining(rig), 0);
    assert_sound(rig);
}

fn two_panels(rig: &mut dyn Rig) {
    open(rig, 64);
    let [one, other] = both(rig, [request(0..30), request(25..55)]).map(Result::unwrap);
    let serial = |r: &Reservation| r.numbers.serial.clone();
    let shared = one.iter().filter(|a| other.iter().any(|b| serial(a) == serial(b))).count();
    assert_eq!(shared, 5, "those of the chips that both have");
    assert_eq!(remaining(rig), 64 - 55);
    assert_sound(rig);
}
