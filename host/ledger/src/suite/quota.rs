//! The quota: taken at reservation, once per chip, and the balance that always adds up.

use super::{
    Case, ORDER, PRODUCT, Rig, addresses, assert_sound, at, open, pass, request, reserve, serials, step,
    terms,
};
use crate::{
    LedgerError,
    types::{Change, Hash, OrderTerms, Request},
};

pub(super) const CASES: &[Case] = &[
    ("the quota is taken once per chip", once_per_chip),
    ("an exhausted quota refuses new chips and not known ones", exhausted),
    ("a panel that does not fit the quota takes nothing of it", all_or_nothing),
    ("the balance counts every unit by its fate", fates),
    ("void units do not give their quota back", void_keeps_quota),
    ("an order is opened once and never changed", reopened),
    ("an order serves its own product only", wrong_product),
    ("a chip counted in one order is not counted in the next", two_orders),
    ("without an order there is no quota, and with one later there is", developer_first),
];

fn counts(rig: &mut dyn Rig, order: &str) -> [u64; 6] {
    let balance = rig.ledger().balance(order).unwrap();
    assert!(balance.adds_up(), "{:?}", balance.discrepancies);
    [balance.ordered, balance.passed, balance.failed, balance.scrapped, balance.in_doubt, balance.remaining]
}

fn once_per_chip(rig: &mut dyn Rig) {
    open(rig, 10);
    for _ in 0..3 {
        reserve(rig, [1, 2]);
        rig.reopen();
    }
    assert_eq!(counts(rig, ORDER), [10, 0, 0, 0, 2, 8]);
}

fn exhausted(rig: &mut dyn Rig) {
    open(rig, 2);
    reserve(rig, [1, 2]);
    let refused = rig.ledger().reserve_many(&request([3]), at(2));
    let Err(LedgerError::QuotaExhausted { needed: 1, remaining: 0, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reserve(rig, [2, 1]).len(), 2);
    assert_eq!(counts(rig, ORDER), [2, 0, 0, 0, 2, 0]);
    assert_sound(rig);
}

fn all_or_nothing(rig: &mut dyn Rig) {
    open(rig, 3);
    reserve(rig, [1]);
    let refused = rig.ledger().reserve_many(&request([1, 2, 3, 4]), at(2));
    assert!(matches!(refused, Err(LedgerError::QuotaExhausted { needed: 3, remaining: 2, .. })));
    assert_eq!(counts(rig, ORDER), [3, 0, 0, 0, 1, 2]);
    assert_eq!(rig.ledger().units(None, 10).unwrap().len(), 1);
}

fn fates(rig: &mut dyn Rig) {
    open(rig, 10);
    let units: Vec<_> = reserve(rig, 1..=5).iter().map(|one| one.unit).collect();
    pass(rig, units[0]);
    let failed = Change::Failed { code: "E214".to_owned() };
    let void = Change::Void { reason: "burnt".to_owned() };
    let doubt = Change::InDoubt { reason: "silent".to_owned() };
    let steps = [step(units[1], failed), step(units[2], void), step(units[3], doubt)];
    rig.ledger().advance(&steps, at(3)).unwrap();
    assert_eq!(counts(rig, ORDER), [10, 1, 1, 1, 2, 5]);
    rig.reopen();
    // The failed board runs again, then passes.
    rig.ledger().reserve_many(&request([2]), at(4)).unwrap();
    assert_eq!(counts(rig, ORDER), [10, 1, 0, 1, 3, 5]);
    pass_at(rig, units[1], 5);
    assert_eq!(counts(rig, ORDER), [10, 2, 0, 1, 2, 5]);
    // A board that passed and is run again is not passed any more.
    rig.ledger().reserve_many(&request([1]), at(6)).unwrap();
    assert_eq!(counts(rig, ORDER), [10, 1, 0, 1, 3, 5]);
    assert_sound(rig);
}

fn pass_at(rig: &mut dyn Rig, unit: crate::UnitId, time: i64) {
    let steps = [Change::Writing, super::written(), super::confirmed()].map(|change| step(unit, change));
    rig.ledger().advance(&steps, at(time)).unwrap();
}

fn void_keeps_quota(rig: &mut dyn Rig) {
    open(rig, 2);
    let reserved = reserve(rig, [1, 2]);
    let void = Change::Void { reason: "cracked".to_owned() };
    rig.ledger().advance(&[step(reserved[0].unit, void)], at(2)).unwrap();
    assert_eq!(counts(rig, ORDER), [2, 0, 0, 1, 1, 0]);
    let refused = rig.ledger().supersede(reserved[1].unit, &request([3]), at(3));
    assert!(matches!(refused, Err(LedgerError::QuotaExhausted { .. })));
    assert_eq!(counts(rig, ORDER), [2, 0, 0, 1, 1, 0], "a refused replacement voids nothing");
    assert_sound(rig);
}

fn reopened(rig: &mut dyn Rig) {
    open(rig, 5);
    reserve(rig, [1]);
    rig.reopen();
    open_again(rig, &terms(5)).unwrap();
    assert_eq!(counts(rig, ORDER), [5, 0, 0, 0, 1, 4]);
    let changed = OrderTerms { quantity: 50, document: Hash::of(b"order 1, raised"), ..terms(5) };
    assert!(matches!(open_again(rig, &changed), Err(LedgerError::OrderChanged { .. })));
    assert_eq!(counts(rig, ORDER), [5, 0, 0, 0, 1, 4]);
    let empty = OrderTerms { id: "WO-0".to_owned(), quantity: 0, blocks: Vec::new(), ..terms(5) };
    assert!(matches!(open_again(rig, &empty), Err(LedgerError::Number { field: "quantity", got: 0 })));
}

fn open_again(rig: &mut dyn Rig, order: &OrderTerms) -> Result<(), LedgerError> {
    rig.ledger().open_order(order, at(1))
}

fn wrong_product(rig: &mut dyn Rig) {
    open(rig, 5);
    let wanted = Request { product: "gateway".to_owned(), ..request([1]) };
    let refused = rig.ledger().reserve_many(&wanted, at(1));
    assert!(matches!(refused, Err(LedgerError::WrongProduct { .. })));
    let wanted = Request { order: Some("WO-9".to_owned()), ..request([1]) };
    let refused = rig.ledger().reserve_many(&wanted, at(1));
    assert!(matches!(refused, Err(LedgerError::UnknownOrder { .. })));
    assert_eq!(rig.ledger().units(None, 10).unwrap(), []);
}

fn two_orders(rig: &mut dyn Rig) {
    open(rig, 2);
    let second = OrderTerms {
        id: "WO-2".to_owned(),
        document: Hash::of(b"order 2"),
        blocks: vec![serials(500, 5), addresses("70b3d5abd000", 10)],
        ..terms(2)
    };
    rig.ledger().open_order(&second, at(0)).unwrap();
    assert_eq!(rig.ledger().orders().unwrap(), [ORDER, "WO-2"]);
    let first = reserve(rig, [1]).remove(0);
    let wanted = Request { order: Some("WO-2".to_owned()), ..request([1, 2]) };
    let reserved = rig.ledger().reserve_many(&wanted, at(2)).unwrap();
    assert_eq!(reserved[0].numbers, first.numbers);
    assert!(!reserved[0].consumed && reserved[1].consumed);
    assert_eq!(reserved[1].numbers.serial.as_deref(), Some("SH-00500"));
    assert_eq!(counts(rig, ORDER), [2, 0, 0, 0, 1, 1]);
    assert_eq!(counts(rig, "WO-2"), [2, 0, 0, 0, 1, 1]);
    assert_sound(rig);
}

fn developer_first(rig: &mut dyn Rig) {
    open(rig, 2);
    let developer = Request { order: None, needs: crate::Needs::default(), ..request([1]) };
    let first = rig.ledger().reserve_many(&developer, at(1)).unwrap().remove(0);
    assert!(!first.consumed);
    assert_eq!(counts(rig, ORDER), [2, 0, 0, 0, 0, 2]);
    let ordered = reserve(rig, [1]).remove(0);
    assert_eq!(ordered.unit, first.unit);
    assert!(ordered.consumed);
    assert_eq!(counts(rig, ORDER), [2, 0, 0, 0, 1, 1]);
    let found = rig.ledger().find_chip(PRODUCT, super::uid(1)).unwrap();
    assert_eq!(found[0].order.as_deref(), Some(ORDER));
    assert_sound(rig);
}
