//! Units kept apart: by what they did, by what a person ruled, and until when.

use panel_store::{
    AttemptResult, Event, Filter, Refusal, RetestPolicy, RetestRefusal, Ruling, RulingKind, RunStart, Store,
    StoreError, Verdict,
};

use crate::check;
use crate::sample::{START_US, run_start};
use crate::support::{append, bad_attempt, end, good_attempt, identified, new_store, started, uid};

const POLICY: RetestPolicy = RetestPolicy { contact: 2, station: 2, board: 1, strikes: 3 };

fn ordered(panel: &str) -> RunStart {
    RunStart { order: Some("WO-1".into()), retests: Some(POLICY), ..run_start(panel) }
}

fn record(store: &mut Store, attempts: impl IntoIterator<Item = Vec<Event>>) {
    let run = store.begin_run(&ordered("panel-1")).unwrap();
    for attempt in attempts {
        append(store, run, attempt).unwrap();
    }
    end(store, run).unwrap();
}

fn ruling(kind: RulingKind, why: &str) -> Ruling {
    Ruling { utc_us: START_US + 7_200_000_000, kind, who: "Kim".into(), why: why.into() }
}

/// An attempt that was refused before anything was done to its board.
fn refused(slot: u16, n: u8) -> Vec<Event> {
    let verdict = Verdict {
        result: AttemptResult::Fail,
        code: Some("E641 retests-used-up".into()),
        detail: None,
        step: Some("reserve".into()),
    };
    vec![started(slot), identified(slot, n), Event::AttemptEnded { slot, verdict }]
}

#[test]
fn a_unit_beyond_its_retests_is_listed_with_its_reason_until_a_person_releases_it() {
    let (dir, mut store) = new_store();
    let fail = || bad_attempt(3, 3, AttemptResult::Fail, "E214 program-failed");
    record(&mut store, [good_attempt(1, 1), fail()]);
    assert_eq!(store.records().kept_apart(None).unwrap(), []);
    record(&mut store, [fail()]);
    record(&mut store, [refused(3, 3)]);

    let list = store.records().kept_apart(Some("pump")).unwrap();
    assert_eq!(list.len(), 1);
    let unit = &list[0];
    assert_eq!((unit.uid, unit.standing.board, unit.policy), (uid(3), 2, Some(POLICY)));
    assert_eq!(unit.reason, "2 runs ended with board trouble, and 1 retests are the most after that");
    assert_eq!(
        (unit.last.run.0, unit.last.code.as_deref()),
        (2, Some("E214 program-failed")),
        "its last try"
    );
    assert_eq!(store.records().kept_apart(Some("valve")).unwrap(), []);

    store.rule("pump", &uid(3), &ruling(RulingKind::Released, "socket cleaned")).unwrap();
    assert_eq!(store.records().kept_apart(None).unwrap(), []);
    assert_eq!(store.records().standing("pump", &uid(3)).unwrap().allows(Some(&POLICY)), Ok(()));
    record(&mut store, [good_attempt(2, 3)]);
    let unit = store.records().unit(&uid(3).to_string()).unwrap().remove(0);
    assert_eq!((unit.result, unit.passed_only_on_retest), (Some(AttemptResult::Pass), true), "for ever");
    assert_eq!(unit.rulings, [ruling(RulingKind::Released, "socket cleaned")]);
    assert_eq!(unit.attempts.iter().map(|a| a.tried).collect::<Vec<_>>(), [true, true, false, true]);
    check::store_in(dir.path(), &store);
}

#[test]
fn a_unit_that_a_person_keeps_apart_stays_so_whatever_it_does_and_a_scrapped_one_is_off_the_list() {
    let (dir, mut store) = new_store();
    record(&mut store, [good_attempt(1, 1), good_attempt(2, 2)]);
    store.rule("pump", &uid(1), &ruling(RulingKind::Held, "smells")).unwrap();
    record(&mut store, [good_attempt(1, 1)]);
    let standing = store.records().standing("pump", &uid(1)).unwrap();
    let refusal = standing.allows(Some(&POLICY)).unwrap_err();
    assert_eq!(refusal, RetestRefusal::Kept(ruling(RulingKind::Held, "smells")));
    assert_eq!(refusal.to_string(), "held by Kim: smells");
    assert_eq!(store.records().kept_apart(None).unwrap()[0].reason, "held by Kim: smells");

    store.rule("pump", &uid(1), &ruling(RulingKind::Scrapped, "burnt")).unwrap();
    assert_eq!(store.records().kept_apart(None).unwrap(), [], "dealt with");
    let standing = store.records().standing("pump", &uid(1)).unwrap();
    assert_eq!(standing.allows(None).unwrap_err().to_string(), "scrapped by Kim: burnt");
    store.rule("pump", &uid(1), &ruling(RulingKind::Released, "it was the other one")).unwrap();
    assert_eq!(store.records().standing("pump", &uid(1)).unwrap().allows(Some(&POLICY)), Ok(()));
    check::store_in(dir.path(), &store);
}

#[test]
fn a_ruling_needs_a_known_unit_a_name_and_a_reason() {
    let (_dir, mut store) = new_store();
    record(&mut store, [good_attempt(1, 1)]);
    let events = store.records().verify_chain().unwrap().events;
    let nameless = Ruling { who: " ".into(), ..ruling(RulingKind::Held, "smells") };
    for (n, ruling, wanted) in [
        (9, ruling(RulingKind::Held, "smells"), Refusal::NoSuchUnit { query: uid(9).to_string() }),
        (1, ruling(RulingKind::Held, ""), Refusal::RulingWithoutReason),
        (1, nameless, Refusal::RulingWithoutReason),
    ] {
        let Err(StoreError::Refused(refusal)) = store.rule("pump", &uid(n), &ruling) else {
            panic!("taken: {ruling:?}");
        };
        assert_eq!(refusal, wanted);
    }
    assert_eq!(store.records().verify_chain().unwrap().events, events);
}

#[test]
fn errors_of_the_station_are_not_held_against_the_contact_nor_its_slot() {
    let (_dir, mut store) = new_store();
    for _ in 0..3 {
        let station = bad_attempt(1, 1, AttemptResult::Error, "E720 port-busy");
        let contact = bad_attempt(2, 2, AttemptResult::Error, "E101 board-absent");
        record(&mut store, [station, contact, good_attempt(3, 3), good_attempt(4, 4)]);
    }
    let standing = |n| store.records().standing("pump", &uid(n)).unwrap();
    assert_eq!((standing(1).station, standing(1).contact), (3, 0));
    assert_eq!((standing(2).station, standing(2).contact), (0, 3));
    let report = store.records().yields(&Filter::default()).unwrap();
    let suspects: Vec<_> = report.slots.iter().filter(|s| s.contact_suspect).map(|s| s.slot).collect();
    assert_eq!(suspects, [2]);
}

#[test]
fn a_pass_that_came_only_on_a_retest_says_so_in_its_csv_line_for_ever() {
    let (dir, mut store) = new_store();
    record(&mut store, [bad_attempt(1, 1, AttemptResult::Error, "E101 board-absent"), good_attempt(2, 2)]);
    record(&mut store, [refused(2, 2), good_attempt(1, 1), good_attempt(3, 3)]);
    record(&mut store, [good_attempt(1, 1), good_attempt(2, 2)]);
    let lines = store.records().csv(&Filter::default()).unwrap();
    let marked: Vec<_> = lines.iter().map(|l| (l.run.0, l.slot, l.passed_only_on_retest)).collect();
    let wanted = [
        (1, 1, false),
        (1, 2, false),
        (2, 2, false),
        (2, 1, true),
        (2, 3, false),
        (3, 1, true),
        (3, 2, false),
    ];
    assert_eq!(marked, wanted);
    check::store_in(dir.path(), &store);
}
