//! Numbers: given once, the same again for the same chip, never free again.

use super::{
    Case, ORDER, PRODUCT, Rig, addresses, assert_sound, at, eui, look, open, product_pool, request, reserve,
    serials, step, terms, uid,
};
use crate::{
    LedgerError,
    eui::{Assignment, EuiError},
    types::{
        Block, Change, Chip, Content, Hash, ListBlob, ListRow, MAX_PANEL, NamedBlob, Needs, NumberKind,
        OrderTerms, Pool, Request, State, Uid,
    },
};

pub(super) const CASES: &[Case] = &[
    ("numbers follow the slots of the panel", follow_the_slots),
    ("the same chip gets the same numbers again", same_chip_same_numbers),
    ("a void number is never given again", void_is_never_free),
    ("the chip of a void unit gets a new one that supersedes it", void_chip_comes_back),
    ("a replaced chip's unit is void and linked", replaced_chip),
    ("a panel of 64 is reserved, 65 or none or twins are not", panel_limits),
    ("what a failed read looks like is no chip", implausible_uids),
    ("a pool that runs out refuses the whole panel", exhausted_pool),
    ("the next pool follows when one is used up", next_pool),
    ("numbers of a list are given in its order, once", lists),
    ("lists of different kinds make one set together", lists_together),
    ("a list that runs out says how many it was enough for", short_list),
    ("a unit's blob is given once and stays the unit's", blobs),
    ("what a list has no block gives, and the other way round", lists_and_blocks),
    ("blocks that overlap are refused", overlaps),
    ("addresses outside the owned assignments are refused", assignments),
    ("serial numbers are unique per product, addresses everywhere", scopes),
    ("numbers already given are found by their value", find_by_number),
    ("a known unit's numbers never change when more are needed", needs_grow),
    ("a key belongs to one unit for ever", keys_are_unique),
];

fn follow_the_slots(rig: &mut dyn Rig) {
    open(rig, 10);
    let mut wanted = request([]);
    wanted.chips = vec![Chip { slot: 5, uid: uid(50) }, Chip { slot: 2, uid: uid(20) }];
    let reserved = rig.ledger().reserve_many(&wanted, at(1)).unwrap();
    let seen: Vec<_> = reserved
        .iter()
        .map(|one| (one.chip.slot, one.numbers.serial.clone().unwrap(), one.numbers.eui48.clone()))
        .collect();
    assert_eq!(
        seen,
        [
            (2, "SH-00001".to_owned(), vec![eui("70b3d5abc000"), eui("70b3d5abc001")]),
            (5, "SH-00002".to_owned(), vec![eui("70b3d5abc002"), eui("70b3d5abc003")]),
        ]
    );
    assert!(reserved.iter().all(|one| one.consumed && one.before.is_none()));
    assert_eq!(look(rig, reserved[0].unit).numbers, reserved[0].numbers);
    assert_sound(rig);
}

fn same_chip_same_numbers(rig: &mut dyn Rig) {
    open(rig, 10);
    let first = reserve(rig, [1, 2]);
    rig.reopen();
    // Other slots, another run, another station, a new chip between them.
    let again = Request { run: "run-2".to_owned(), station: "line1-b".to_owned(), ..request([2, 3, 1]) };
    let second = rig.ledger().reserve_many(&again, at(2)).unwrap();
    assert_eq!(second[0].numbers, first[1].numbers);
    assert_eq!(second[2].numbers, first[0].numbers);
    assert_eq!(second[0].before, Some(State::Reserved));
    assert_eq!([second[0].consumed, second[1].consumed, second[2].consumed], [false, true, false]);
    assert_eq!(second[1].numbers.serial.as_deref(), Some("SH-00003"));
    let unit = look(rig, first[0].unit);
    assert_eq!((unit.run.as_str(), unit.station.as_str(), unit.slot), ("run-2", "line1-b", 2));
    assert_sound(rig);
}

fn void_is_never_free(rig: &mut dyn Rig) {
    open(rig, 10);
    let first = reserve(rig, [1, 2]);
    let void = Change::Void { reason: "connector torn off".to_owned() };
    rig.ledger().advance(&[step(first[0].unit, void)], at(2)).unwrap();
    rig.reopen();
    let later = rig.ledger().reserve_many(&request([3, 4, 5]), at(3)).unwrap();
    for one in &later {
        assert!(first.iter().all(|other| other.numbers.serial != one.numbers.serial));
    }
    let audit = rig.ledger().audit(&[]).unwrap();
    let gap = ("SH-00001".to_owned(), "connector torn off".to_owned());
    assert!(audit.explained.contains(&gap), "{:?}", audit.explained);
    assert_sound(rig);
}

fn void_chip_comes_back(rig: &mut dyn Rig) {
    open(rig, 10);
    let first = reserve(rig, [1]).remove(0);
    let void = Change::Void { reason: "thrown away".to_owned() };
    rig.ledger().advance(&[step(first.unit, void)], at(2)).unwrap();
    let back = rig.ledger().reserve_many(&request([1]), at(3)).unwrap().remove(0);
    assert_ne!(back.unit, first.unit);
    assert_ne!(back.numbers, first.numbers);
    assert!(!back.consumed, "the quota is taken once per chip");
    assert_eq!(look(rig, back.unit).supersedes, Some(first.unit));
    let history = rig.ledger().find_chip(PRODUCT, uid(1)).unwrap();
    assert_eq!(history.iter().map(|unit| unit.state).collect::<Vec<_>>(), [State::Void, State::Reserved]);
    assert_sound(rig);
}

fn replaced_chip(rig: &mut dyn Rig) {
    open(rig, 10);
    let old = reserve(rig, [1]).remove(0);
    let new = rig.ledger().supersede(old.unit, &request([2]), at(2)).unwrap();
    assert!(new.consumed, "another chip is another unit of the quota");
    assert_ne!(new.numbers, old.numbers);
    assert_eq!(look(rig, new.unit).supersedes, Some(old.unit));
    let void = look(rig, old.unit);
    assert_eq!(void.state, State::Void);
    assert!(void.reason.unwrap().contains("replaced"));
    let twice = rig.ledger().supersede(old.unit, &request([3]), at(3));
    assert!(matches!(twice, Err(LedgerError::Transition { state: State::Void, .. })));
    let many = rig.ledger().supersede(new.unit, &request([3, 4]), at(3));
    assert!(matches!(many, Err(LedgerError::PanelSize { got: 2 })));
    assert_eq!(look(rig, new.unit).state, State::Reserved, "a refused call changes nothing");
    assert_sound(rig);
}

fn panel_limits(rig: &mut dyn Rig) {
    open(rig, 100);
    let panel = MAX_PANEL as u16;
    let too_many = rig.ledger().reserve_many(&request(0..panel + 1), at(1));
    assert!(matches!(too_many, Err(LedgerError::PanelSize { got: 65 })));
    assert!(matches!(rig.ledger().reserve_many(&request([]), at(1)), Err(LedgerError::PanelSize { got: 0 })));
    let twins = rig.ledger().reserve_many(&request([7, 8, 7]), at(1));
    assert!(matches!(twins, Err(LedgerError::DuplicateUid { first: 0, second: 2, .. })), "{twins:?}");
    assert_eq!(rig.ledger().units(None, 10).unwrap(), []);
    assert_eq!(reserve(rig, 0..panel).len(), MAX_PANEL);
    assert_sound(rig);
}

fn implausible_uids(rig: &mut dyn Rig) {
    open(rig, 10);
    for bytes in [[0; 12], [0xFF; 12]] {
        let mut wanted = request([1]);
        wanted.chips.push(Chip { slot: 9, uid: Uid(bytes) });
        let refused = rig.ledger().reserve_many(&wanted, at(1));
        assert!(matches!(refused, Err(LedgerError::ImplausibleUid { slot: 9, .. })));
    }
    assert_eq!(rig.ledger().units(None, 10).unwrap(), []);
}

fn exhausted_pool(rig: &mut dyn Rig) {
    let order = OrderTerms { blocks: vec![serials(1, 3), addresses("70b3d5abc000", 200)], ..terms(10) };
    rig.ledger().open_order(&order, at(0)).unwrap();
    reserve(rig, [1]);
    let refused = rig.ledger().reserve_many(&request([1, 2, 3, 4]), at(2));
    let Err(LedgerError::PoolExhausted { kind: NumberKind::Serial, needed: 3, left: 2, .. }) = refused else {
        panic!("{refused:?}");
    };
    let balance = rig.ledger().balance(ORDER).unwrap();
    assert_eq!((balance.in_doubt, balance.remaining), (1, 9), "a refused panel takes no quota");
    assert_eq!(reserve(rig, [1, 2, 3]).len(), 3);
    assert_sound(rig);
}

fn next_pool(rig: &mut dyn Rig) {
    let order = OrderTerms { blocks: vec![serials(1, 1), addresses("70b3d5abc000", 200)], ..terms(10) };
    rig.ledger().open_order(&order, at(0)).unwrap();
    rig.ledger().add_pool(&Pool { product: None, ..product_pool(serials(900, 5)) }, at(0)).unwrap();
    rig.ledger().add_pool(&product_pool(serials(500, 1)), at(0)).unwrap();
    let serials: Vec<_> =
        reserve(rig, [1, 2, 3]).into_iter().map(|one| one.numbers.serial.unwrap()).collect();
    // The order's own block first, then the product's, then the common one.
    assert_eq!(serials, ["SH-00001", "SH-00500", "SH-00900"]);
    let left: Vec<_> = rig.ledger().pools().unwrap().iter().map(|pool| (pool.units, pool.left)).collect();
    assert_eq!(left, [(1, 0), (100, 97), (5, 4), (1, 0)]);
    assert_sound(rig);
}

fn row(serial: &str, address: &str) -> ListRow {
    ListRow { serial: Some(serial.to_owned()), eui48: vec![eui(address)], ..ListRow::default() }
}

fn lists(rig: &mut dyn Rig) {
    rig.ledger().open_order(&OrderTerms { blocks: Vec::new(), ..terms(10) }, at(0)).unwrap();
    let list = vec![row("CUST-7", "70b3d5abd000"), row("CUST-3", "70b3d5abd007")];
    rig.ledger().add_pool(&product_pool(Block::List(list)), at(0)).unwrap();
    rig.reopen();
    let needs = Needs { serial: true, eui48: 1, ..Needs::default() };
    let reserved =
        rig.ledger().reserve_many(&Request { needs: needs.clone(), ..request([1, 2]) }, at(1)).unwrap();
    let serials: Vec<_> = reserved.iter().map(|one| one.numbers.serial.clone().unwrap()).collect();
    assert_eq!(serials, ["CUST-7", "CUST-3"]);
    assert_eq!(reserved[1].numbers.eui48, [eui("70b3d5abd007")]);
    let empty = rig.ledger().reserve_many(&Request { needs, ..request([3]) }, at(2));
    assert!(matches!(empty, Err(LedgerError::PoolExhausted { left: 0, .. })));

    // A number that was given, or stands in a list, is not taken in again.
    for again in [row("CUST-7", "70b3d5abd100"), row("CUST-8", "70b3d5abd007")] {
        let refused = rig.ledger().add_pool(&product_pool(Block::List(vec![again])), at(3));
        assert!(matches!(refused, Err(LedgerError::DuplicateNumber { .. })), "{refused:?}");
    }
    let twice = vec![row("CUST-9", "70b3d5abd110"), row("CUST-9", "70b3d5abd111")];
    let refused = rig.ledger().add_pool(&product_pool(Block::List(twice)), at(3));
    assert!(matches!(refused, Err(LedgerError::DuplicateNumber { kind: NumberKind::Serial, .. })));
    assert_eq!(rig.ledger().pools().unwrap().len(), 1, "a refused list leaves nothing");
    assert_sound(rig);
}

fn overlaps(rig: &mut dyn Rig) {
    open(rig, 10);
    let mut refused = |block| match rig.ledger().add_pool(&product_pool(block), at(1)) {
        Err(LedgerError::Overlap { .. }) => true,
        Ok(()) => false,
        Err(other) => panic!("{other}"),
    };
    assert!(refused(serials(100, 5)), "ends in the order's block");
    assert!(!refused(serials(101, 5)));
    assert!(refused(addresses("70b3d5abc0c6", 4)), "inside the order's block");
    assert!(!refused(addresses("70b3d5abc0c8", 4)));
    assert!(refused(Block::List(vec![row("X", "70b3d5abc0c9")])), "a listed address inside a block");
    let other = OrderTerms { id: "WO-2".to_owned(), ..terms(5) };
    let whole = rig.ledger().open_order(&other, at(1));
    assert!(matches!(whole, Err(LedgerError::Overlap { .. })));
    let unknown = rig.ledger().balance("WO-2");
    assert!(matches!(unknown, Err(LedgerError::UnknownOrder { .. })), "a refused order leaves nothing");
    let format = "{counter:2}".parse().unwrap();
    let too_long = Block::Serial(crate::SerialBlock { format, first: 90, count: 11 });
    assert!(matches!(rig.ledger().add_pool(&product_pool(too_long), at(1)), Err(LedgerError::Serial(_))));
    assert_sound(rig);
}

fn assignments(rig: &mut dyn Rig) {
    let assignment = Assignment { first: eui("70b3d5abc000"), prefix_bits: 36 };
    rig.ledger().add_assignment(&assignment, at(0)).unwrap();
    rig.ledger().add_assignment(&assignment, at(0)).unwrap();
    rig.reopen();
    assert!(rig.ledger().add_pool(&product_pool(addresses("70b3d5abc800", 16)), at(1)).is_ok());
    let outside = rig.ledger().add_pool(&product_pool(addresses("70b3d5abd000", 16)), at(1));
    assert!(matches!(outside, Err(LedgerError::Eui(EuiError::NotOwned { .. }))));
}

fn scopes(rig: &mut dyn Rig) {
    open(rig, 10);
    let other = Pool { product: Some("gateway".to_owned()), order: None, block: serials(1, 5) };
    rig.ledger().add_pool(&other, at(0)).unwrap();
    let ours = reserve(rig, [1]).remove(0);
    let wanted = Request {
        product: "gateway".to_owned(),
        order: None,
        needs: Needs { serial: true, ..Needs::default() },
        ..request([1])
    };
    let theirs = rig.ledger().reserve_many(&wanted, at(2)).unwrap().remove(0);
    assert_eq!(theirs.numbers.serial, ours.numbers.serial, "another product counts for itself");
    assert_ne!(theirs.unit, ours.unit, "one chip may be two products, one after the other");
    assert!(!theirs.consumed, "without an order there is no quota");
    assert_sound(rig);
}

fn find_by_number(rig: &mut dyn Rig) {
    open(rig, 10);
    let reserved = reserve(rig, [1, 2]);
    let ledger = rig.ledger();
    for (kind, value) in [(NumberKind::Serial, "SH-00002"), (NumberKind::Eui48, "70b3d5abc003")] {
        let found = ledger.find_number(kind, value).unwrap();
        assert_eq!(found.iter().map(|unit| unit.unit).collect::<Vec<_>>(), [reserved[1].unit]);
    }
    assert_eq!(ledger.find_number(NumberKind::Serial, "SH-00003").unwrap(), []);
    assert_eq!(ledger.unit(crate::UnitId(999)).unwrap(), None);
    assert_eq!(ledger.units(Some(reserved[0].unit), 10).unwrap().len(), 1);
}

fn needs_grow(rig: &mut dyn Rig) {
    open(rig, 10);
    let none = Needs { serial: true, ..Needs::default() };
    let first = rig.ledger().reserve_many(&Request { needs: none, ..request([1]) }, at(1)).unwrap().remove(0);
    let second = reserve(rig, [1]).remove(0);
    assert_eq!(second.numbers.serial, first.numbers.serial);
    assert_eq!(second.numbers.eui48.len(), 2, "a kind the unit has none of is added");
    let more = Needs { serial: true, eui48: 3, ..Needs::default() };
    let refused = rig.ledger().reserve_many(&Request { needs: more, ..request([1]) }, at(2));
    assert!(matches!(refused, Err(LedgerError::NeedsGrew { have: 2, .. })), "{refused:?}");
    assert_eq!(look(rig, first.unit).numbers, second.numbers);
    assert_sound(rig);
}

fn keys_are_unique(rig: &mut dyn Rig) {
    open(rig, 10);
    let reserved = reserve(rig, [1, 2]);
    let key = |text: &[u8]| Change::Fingerprint { kind: NumberKind::Key, value: Hash::of(text) };
    let (one, two) = (reserved[0].unit, reserved[1].unit);
    rig.ledger().advance(&[step(one, key(b"a")), step(one, key(b"a")), step(one, key(b"b"))], at(2)).unwrap();
    let stolen = rig.ledger().advance(&[step(two, key(b"c")), step(two, key(b"a"))], at(2));
    assert!(matches!(stolen, Err(LedgerError::DuplicateNumber { kind: NumberKind::Key, .. })));
    assert_eq!(look(rig, one).keys, [Hash::of(b"a").to_string(), Hash::of(b"b").to_string()]);
    assert_eq!(look(rig, two).keys, [] as [String; 0], "a refused call changes nothing");
    rig.ledger().advance(&[step(one, key(b"a")), step(one, key(b"d")), step(one, key(b"b"))], at(2)).unwrap();
    let last_is_in_the_chip = [b"a", b"d", b"b"].map(|text| Hash::of(text).to_string());
    assert_eq!(look(rig, one).keys, last_is_in_the_chip, "a key that comes back is the last one again");
    let blob = Change::Blob { name: "calibration".to_owned(), bytes: vec![1, 2, 3] };
    rig.ledger().advance(&[step(two, blob.clone()), step(two, blob)], at(2)).unwrap();
    assert_eq!(look(rig, two).blobs, [("calibration".to_owned(), Hash::of(&[1, 2, 3]))]);
    assert_sound(rig);
}

/// A list of one row per item.
fn list<T>(items: impl IntoIterator<Item = T>, row: impl Fn(T) -> ListRow) -> Pool {
    product_pool(Block::List(items.into_iter().map(row).collect()))
}

fn only_serial(serial: &str) -> ListRow {
    ListRow { serial: Some(serial.to_owned()), ..ListRow::default() }
}

fn only_eui(address: &str) -> ListRow {
    ListRow { eui48: vec![eui(address)], ..ListRow::default() }
}

fn only_blob(name: &str, bytes: &[u8]) -> ListRow {
    let blob = NamedBlob { name: name.to_owned(), sha256: Hash::of(bytes) };
    let listed = ListBlob { blob, length: bytes.len(), content: Content::Plain(bytes.to_vec()) };
    ListRow { blobs: vec![listed], ..ListRow::default() }
}

fn without_blocks(rig: &mut dyn Rig) {
    rig.ledger().open_order(&OrderTerms { blocks: Vec::new(), ..terms(10) }, at(0)).unwrap();
}

fn lists_together(rig: &mut dyn Rig) {
    without_blocks(rig);
    rig.ledger().add_pool(&list(["S-1", "S-2"], only_serial), at(0)).unwrap();
    rig.ledger().add_pool(&list(["70b3d5abd000", "70b3d5abd007"], only_eui), at(0)).unwrap();
    let needs = Needs { serial: true, eui48: 1, ..Needs::default() };
    let reserved = rig.ledger().reserve_many(&Request { needs, ..request([1, 2]) }, at(1)).unwrap();
    assert_eq!(reserved[1].numbers.serial.as_deref(), Some("S-2"));
    assert_eq!(reserved[1].numbers.eui48, [eui("70b3d5abd007")]);
    assert_sound(rig);
}

fn short_list(rig: &mut dyn Rig) {
    without_blocks(rig);
    rig.ledger().add_pool(&list(["S-1", "S-2"], only_serial), at(0)).unwrap();
    let needs = Needs { serial: true, ..Needs::default() };
    let refused = rig.ledger().reserve_many(&Request { needs, ..request([1, 2, 3]) }, at(1));
    let Err(LedgerError::PoolExhausted { needed: 3, left: 2, slot: 2, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_sound(rig);
}

fn blobs(rig: &mut dyn Rig) {
    open(rig, 10);
    rig.ledger().add_pool(&list([b"one", b"two"], |bytes| only_blob("cal", bytes)), at(0)).unwrap();
    let wanted = |chips: &[u16]| {
        let needs = Needs { serial: true, blobs: vec!["cal".to_owned()], ..Needs::default() };
        Request { needs, ..request(chips.iter().copied()) }
    };
    let first = rig.ledger().reserve_many(&wanted(&[1]), at(1)).unwrap().remove(0);
    let cal = first.numbers.blobs[0].clone();
    assert_eq!((cal.name.as_str(), cal.sha256), ("cal", Hash::of(b"one")));
    rig.reopen();
    let ledger = rig.ledger();
    assert_eq!(ledger.content(&cal).unwrap(), Some(Content::Plain(b"one".to_vec())));
    assert_eq!(ledger.reserve_many(&wanted(&[1]), at(2)).unwrap()[0].numbers, first.numbers);
    let supply = ledger.supply(PRODUCT, Some(ORDER), "cal").unwrap();
    assert_eq!((supply.listed, supply.left, supply.longest), (2, 1, 3));
    assert_eq!(ledger.supply("gateway", None, "cal").unwrap().listed, 0);
    let refused = ledger.reserve_many(&wanted(&[1, 2, 3]), at(3));
    assert!(
        matches!(refused, Err(LedgerError::BlobsExhausted { needed: 2, left: 1, slot: 2, .. })),
        "{refused:?}"
    );
    for again in [b"one", b"two"] {
        let refused = ledger.add_pool(&list([again], |bytes| only_blob("cal", bytes)), at(4));
        assert!(matches!(refused, Err(LedgerError::DuplicateNumber { kind: NumberKind::Blob, .. })));
    }
    ledger.add_pool(&list([b"one"], |bytes| only_blob("other", bytes)), at(4)).unwrap();
    let void = Change::Void { reason: "burnt".to_owned() };
    ledger.advance(&[step(first.unit, void)], at(5)).unwrap();
    let anew = ledger.reserve_many(&wanted(&[1]), at(6)).unwrap().remove(0);
    assert_eq!(anew.numbers.blobs[0].sha256, Hash::of(b"two"), "what a void unit had is given to nobody");
    assert_sound(rig);
}

fn lists_and_blocks(rig: &mut dyn Rig) {
    open(rig, 10);
    let overlaps = |found: Result<(), LedgerError>| {
        assert!(matches!(found, Err(LedgerError::Overlap { .. })), "{found:?}")
    };
    overlaps(rig.ledger().add_pool(&list(["SH-00100"], only_serial), at(1)));
    overlaps(rig.ledger().add_pool(&list(["70b3d5abc0c7"], only_eui), at(1)));
    rig.ledger().add_pool(&list(["SH-00101"], only_serial), at(1)).unwrap();
    rig.ledger().add_pool(&list(["70b3d5abc0c8"], only_eui), at(1)).unwrap();
    overlaps(rig.ledger().add_pool(&product_pool(serials(101, 1)), at(2)));
    overlaps(rig.ledger().add_pool(&product_pool(addresses("70b3d5abc0c8", 2)), at(2)));
    rig.ledger().add_pool(&product_pool(serials(102, 5)), at(2)).unwrap();
    rig.ledger().add_pool(&product_pool(addresses("70b3d5abc0ca", 2)), at(2)).unwrap();
}
