//! The log: an entry for everything, a chain over all, and time that does not go back.

use super::{Case, Rig, assert_sound, at, open, pass, request, reserve, step, terms};
use crate::{
    LedgerError, chain,
    report::{Checkpoint, Finding},
    types::{Change, Hash},
};

pub(super) const CASES: &[Case] = &[
    ("a clock before the last entry is refused", clock),
    ("everything that happened stands in the log, in a chain", log),
    ("a refused call leaves no entry", refused_leaves_nothing),
    ("an entry that somebody wrote down is found again, or its loss is", checkpoints),
];

fn clock(rig: &mut dyn Rig) {
    open(rig, 5);
    let unit = reserve(rig, [1]).remove(0).unit;
    rig.reopen();
    let ledger = rig.ledger();
    let refused = [
        ledger.reserve_many(&request([2]), at(0)).err(),
        ledger.advance(&[step(unit, Change::Writing)], at(0)).err(),
        ledger.open_order(&terms(5), at(0)).err(),
        ledger.doubt_interrupted(at(0)).err(),
    ];
    for error in refused {
        let Some(LedgerError::ClockBehind { last, now }) = error else { panic!("{error:?}") };
        assert_eq!((last, now), (at(1), at(0)));
    }
    ledger.reserve_many(&request([2]), at(1)).unwrap();
}

fn log(rig: &mut dyn Rig) {
    open(rig, 5);
    let unit = reserve(rig, [1, 2])[0].unit;
    pass(rig, unit);
    rig.reopen();
    let events = rig.ledger().events(0, usize::MAX).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["order-opened", "pool-added", "pool-added", "reserved", "writing", "written", "confirmed"]
    );
    let mut before = chain::START;
    for (number, event) in (1..).zip(&events) {
        assert_eq!(event.seq, number);
        let hash = chain::link(before, event.seq, event.at.as_microsecond(), &event.kind, &event.body);
        assert_eq!(hash, event.hash, "entry {number}");
        before = hash;
    }
    assert!(events[3].body.contains("SH-00001") && events[3].body.contains("70b3d5abc001"));
    assert_eq!(rig.ledger().events(5, 1).unwrap(), [events[5].clone()]);
    assert_eq!(rig.ledger().head().unwrap(), Some(Checkpoint { seq: 7, hash: before }));
    assert_sound(rig);
}

fn refused_leaves_nothing(rig: &mut dyn Rig) {
    open(rig, 1);
    let before = rig.ledger().head().unwrap();
    assert!(rig.ledger().reserve_many(&request([1, 2]), at(1)).is_err());
    rig.reopen();
    assert_eq!(rig.ledger().head().unwrap(), before);
    assert_eq!(rig.ledger().pools().unwrap().iter().map(|pool| pool.left).collect::<Vec<_>>(), [100, 100]);
}

fn checkpoints(rig: &mut dyn Rig) {
    assert_eq!(rig.ledger().head().unwrap(), None);
    open(rig, 5);
    let early = rig.ledger().head().unwrap().unwrap();
    reserve(rig, [1]);
    let late = rig.ledger().head().unwrap().unwrap();
    assert_eq!(rig.ledger().audit(&[early, late]).unwrap().findings, []);
    let other = Checkpoint { hash: Hash::of(b"of another copy"), ..early };
    let beyond = Checkpoint { seq: late.seq + 1, hash: late.hash };
    let findings = rig.ledger().audit(&[other, late, beyond]).unwrap().findings;
    assert_eq!(findings, [Finding::Rollback { seq: other.seq }, Finding::Rollback { seq: beyond.seq }]);
}
