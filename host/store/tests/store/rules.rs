//! What may be recorded, and what is refused.

use panel_store::{
    AttemptId, AttemptResult, Event, Measurement, Refusal, ResolutionKind, RunId, StepOutcome, Store,
    StoreError,
};

use crate::check;
use crate::sample::run_start;
use crate::support::{
    append, bad_attempt, end, ended, good_attempt, identified, new_store, passed, resolution, started, step,
    uid,
};

fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Refusal {
    match result.unwrap_err() {
        StoreError::Refused(refusal) => refusal,
        other => panic!("expected a refusal, got {other}"),
    }
}

#[test]
fn a_pass_without_a_verified_read_back_is_refused_and_nothing_of_its_batch_is_kept() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, [started(3), identified(3, 1)]).unwrap();
    let before = store.records().verify_chain().unwrap();
    let mut batch = step(3, "program").to_vec();
    batch.push(passed(3));
    let refused = refusal(append(&mut store, run, batch));
    assert_eq!(refused, Refusal::PassWithoutStep { slot: 3, step: "verify".into() });
    assert_eq!(store.records().verify_chain().unwrap(), before);
}

#[test]
fn a_required_step_that_is_missing_failed_or_was_skipped_refuses_the_pass() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, [started(3), identified(3, 1)]).unwrap();
    append(&mut store, run, step(3, "verify")).unwrap();
    let missing = Refusal::PassWithoutStep { slot: 3, step: "lock-proof".into() };
    assert_eq!(refusal(append(&mut store, run, [passed(3)])), missing);
    for outcome in [StepOutcome::Failed, StepOutcome::Skipped] {
        let [begin, _] = step(3, "lock-proof");
        let finish = Event::StepEnded { slot: 3, step: "lock-proof".into(), outcome };
        append(&mut store, run, [begin, finish]).unwrap();
        assert_eq!(refusal(append(&mut store, run, [passed(3)])), missing);
    }
    append(&mut store, run, step(3, "lock-proof")).unwrap();
    append(&mut store, run, [passed(3)]).unwrap();
}

#[test]
fn only_the_last_verify_of_the_same_attempt_counts() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, good_attempt(3, 1)).unwrap();
    append(&mut store, run, [started(3), identified(3, 1)]).unwrap();
    let missing = Refusal::PassWithoutStep { slot: 3, step: "verify".into() };
    assert_eq!(refusal(append(&mut store, run, [passed(3)])), missing);
    append(&mut store, run, step(3, "verify")).unwrap();
    let [begin, _] = step(3, "verify");
    let failed = Event::StepEnded { slot: 3, step: "verify".into(), outcome: StepOutcome::Failed };
    append(&mut store, run, [begin, failed]).unwrap();
    assert_eq!(refusal(append(&mut store, run, [passed(3)])), missing);
}

#[test]
fn a_board_passes_only_when_identified_and_with_no_step_running() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, [started(3)]).unwrap();
    append(&mut store, run, step(3, "verify")).unwrap();
    append(&mut store, run, step(3, "lock-proof")).unwrap();
    assert_eq!(refusal(append(&mut store, run, [passed(3)])), Refusal::PassWithoutUid { slot: 3 });
    let [begin, finish] = step(3, "identity");
    append(&mut store, run, [identified(3, 1), begin]).unwrap();
    let running = Refusal::PassDuringStep { slot: 3, step: "identity".into() };
    assert_eq!(refusal(append(&mut store, run, [passed(3)])), running);
    append(&mut store, run, [finish, passed(3)]).unwrap();
}

#[test]
fn two_boards_with_one_uid_on_a_panel_do_not_both_pass() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, good_attempt(3, 1)).unwrap();
    let twice = Refusal::UidTwice { slot: 4, other: 3, uid: uid(1) };
    assert_eq!(refusal(append(&mut store, run, good_attempt(4, 1))), twice);
    append(&mut store, run, bad_attempt(4, 1, AttemptResult::Fail, "E120")).unwrap();
    // The same board in another slot of another run is no twin.
    end(&mut store, run).unwrap();
    let next = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, next, good_attempt(4, 1)).unwrap();
}

#[test]
fn the_board_in_a_slot_does_not_change_during_an_attempt() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, [started(3), identified(3, 1), identified(3, 1)]).unwrap();
    let changed = Refusal::UidChanged { slot: 3, expected: uid(1), got: uid(2) };
    assert_eq!(refusal(append(&mut store, run, [identified(3, 2)])), changed);
}

#[test]
fn events_that_do_not_fit_the_state_of_their_slot_are_refused() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    let [begin, finish] = step(3, "erase");
    let no_attempt = Refusal::NoOpenAttempt { run, slot: 3, event: "step-started" };
    assert_eq!(refusal(append(&mut store, run, [begin.clone()])), no_attempt);
    append(&mut store, run, [started(3)]).unwrap();
    assert_eq!(refusal(append(&mut store, run, [started(3)])), Refusal::AttemptOpen { run, slot: 3 });
    let erase = || "erase".to_owned();
    let not_running = Refusal::StepNotOpen { slot: 3, step: erase() };
    assert_eq!(refusal(append(&mut store, run, [finish.clone()])), not_running);
    let twice = refusal(append(&mut store, run, [begin.clone(), begin]));
    assert_eq!(twice, Refusal::StepOpen { slot: 3, step: erase() });
    for value in [f64::NAN, f64::INFINITY] {
        let measurement =
            Measurement { name: "supply".into(), value, unit: "V".into(), low: None, high: None };
        let refused = refusal(append(&mut store, run, [Event::Measured { slot: 3, measurement }]));
        assert_eq!(refused, Refusal::NotFinite { slot: 3, name: "supply".into() });
    }
    let Event::AttemptEnded { mut verdict, .. } = ended(3, AttemptResult::Fail, "E1") else { unreachable!() };
    verdict.code = None;
    let no_code = Refusal::NoCode { slot: 3, result: AttemptResult::Fail };
    assert_eq!(refusal(append(&mut store, run, [Event::AttemptEnded { slot: 3, verdict }])), no_code);
}

#[test]
fn a_run_ends_only_after_its_attempts_and_takes_nothing_afterwards() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, [started(3), started(5)]).unwrap();
    assert_eq!(refusal(end(&mut store, run)), Refusal::OpenAttempts { run, slots: vec![3, 5] });
    append(&mut store, run, [ended(3, AttemptResult::Aborted, "E9"), ended(5, AttemptResult::Aborted, "E9")])
        .unwrap();
    end(&mut store, run).unwrap();
    assert_eq!(refusal(append(&mut store, run, [started(3)])), Refusal::RunNotLive { run });
    assert_eq!(refusal(end(&mut store, run)), Refusal::RunNotLive { run });
    assert_eq!(refusal(append(&mut store, RunId(9), [started(3)])), Refusal::RunNotLive { run: RunId(9) });
    assert_eq!(store.records().run(run).unwrap().unwrap().exit, Some(0));
    assert_eq!(store.records().run(RunId(9)).unwrap(), None);
}

#[test]
fn attempts_cut_off_by_a_crash_are_in_doubt_with_all_that_is_needed_to_find_the_board() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("panel-7")).unwrap();
    append(&mut store, run, good_attempt(1, 1)).unwrap();
    append(&mut store, run, [started(2), identified(2, 2)]).unwrap();
    let [begin, _] = step(2, "program");
    append(&mut store, run, step(2, "erase").into_iter().chain([begin, started(3)])).unwrap();
    assert_eq!(store.in_doubt().unwrap(), [], "a run that is going on is not in doubt");
    drop(store);

    let mut store = Store::open(dir.path()).unwrap();
    let doubt = store.in_doubt().unwrap();
    let [two, three] = doubt.as_slice() else { panic!("expected two, got {doubt:?}") };
    assert_eq!((two.slot, two.uid, two.panel.as_str(), two.run), (2, Some(uid(2)), "panel-7", run));
    assert_eq!((two.release_sha256, two.ended), ([0xab; 32].into(), false));
    assert_eq!((two.last_step.as_deref(), two.last_step_outcome), (Some("program"), None));
    assert_eq!((three.slot, three.uid, three.last_step.as_deref()), (3, None, None));

    let next = store.begin_run(&run_start("panel-7")).unwrap();
    append(&mut store, next, good_attempt(2, 2)).unwrap();
    store.resolve(two.attempt, &resolution(ResolutionKind::Reprogrammed, Some(next))).unwrap();
    store.resolve(three.attempt, &resolution(ResolutionKind::NotSeen, None)).unwrap();
    assert_eq!(store.in_doubt().unwrap(), []);
    let again = store.resolve(two.attempt, &resolution(ResolutionKind::Complete, None));
    assert_eq!(refusal(again), Refusal::NotInDoubt { attempt: two.attempt });

    let history = store.records().unit(&uid(2).to_string()).unwrap().remove(0);
    let [first, second] = history.attempts.as_slice() else { panic!("expected two attempts") };
    assert_eq!(
        (first.result, first.resolution),
        (AttemptResult::InDoubt, Some(ResolutionKind::Reprogrammed))
    );
    assert_eq!(first.resolved_by_run, Some(next));
    assert_eq!(first.events.last().unwrap().kind, "resolved");
    assert_eq!((second.result, history.passed_only_on_retest), (AttemptResult::Pass, true));
    end(&mut store, next).unwrap();
    check::store_in(dir.path(), &store);
}

#[test]
fn only_what_is_in_doubt_can_be_resolved() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    append(&mut store, run, good_attempt(1, 1)).unwrap();
    append(&mut store, run, [started(2), started(3), ended(3, AttemptResult::InDoubt, "E900")]).unwrap();
    for attempt in [AttemptId(1), AttemptId(2), AttemptId(99)] {
        let refused = refusal(store.resolve(attempt, &resolution(ResolutionKind::Scrapped, None)));
        assert_eq!(refused, Refusal::NotInDoubt { attempt });
    }
    // Ended as in doubt: a later step of the same run may find out.
    assert_eq!(store.in_doubt().unwrap().len(), 1);
    store.resolve(AttemptId(3), &resolution(ResolutionKind::Complete, Some(run))).unwrap();
    assert_eq!(store.in_doubt().unwrap(), []);
}

#[test]
fn notes_may_concern_a_slot_without_an_attempt_or_the_whole_run() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    let note = |slot| Event::Note { slot, topic: "bus".into(), body: serde_json::json!({"error_frames": 3}) };
    append(&mut store, run, [note(None), note(Some(4)), started(4), identified(4, 1), note(Some(4))])
        .unwrap();
    let history = store.records().unit(&uid(1).to_string()).unwrap().remove(0);
    let kinds: Vec<_> = history.attempts[0].events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["attempt-started", "identified", "note"]);
    assert_eq!(history.attempts[0].events[2].body["body"]["error_frames"], 3);
    let all = store.records().events(run).unwrap();
    let kinds: Vec<_> = all.iter().map(|event| (event.kind.as_str(), event.slot)).collect();
    let expected = [("run-started", None), ("note", None), ("note", Some(4)), ("attempt-started", Some(4))];
    assert_eq!(kinds[..4], expected);
    assert_eq!((all.len(), all[0].body["panel"].as_str()), (6, Some("p")));
}

#[test]
fn a_run_for_shipment_needs_a_work_order() {
    let (_dir, mut store) = new_store();
    let start = panel_store::RunStart { shipment: panel_store::Shipment::Allowed, ..run_start("p") };
    assert_eq!(refusal(store.begin_run(&start)), Refusal::ShipmentWithoutOrder);
    store.begin_run(&panel_store::RunStart { order: Some("WO-1".into()), ..start }).unwrap();
}

#[test]
fn the_line_of_a_unit_carries_the_hash_of_the_proof_of_its_lock_as_it_was_noted() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("p")).unwrap();
    let proof = serde_json::json!({"level": 1, "identify": "0101", "read": "06340800"});
    let note = Event::Note { slot: Some(1), topic: "lock-proof".into(), body: proof.clone() };
    let mut attempt = good_attempt(1, 1);
    attempt.insert(attempt.len() - 1, note);
    append(&mut store, run, attempt).unwrap();
    append(&mut store, run, good_attempt(2, 2)).unwrap();
    let lines = store.records().csv(&panel_store::Filter::default()).unwrap();
    use sha2::Digest as _;
    let expected = sha2::Sha256::digest(proof.to_string());
    assert_eq!(lines[0].lock_proof.map(|hash| hash.0), Some(expected.into()));
    assert_eq!(lines[1].lock_proof, None);
}

#[test]
fn runs_are_held_against_a_unit_by_class_until_it_passes() {
    let (_dir, mut store) = new_store();
    let standing = |store: &Store| {
        let s = store.records().standing("pump", &uid(1)).unwrap();
        (s.contact, s.station, s.board)
    };
    let mut run_with = |events: Vec<Event>| {
        let run = store.begin_run(&run_start("p")).unwrap();
        append(&mut store, run, events).unwrap();
        end(&mut store, run).unwrap();
        standing(&store)
    };
    assert_eq!(run_with(good_attempt(2, 2)), (0, 0, 0), "of another unit");
    assert_eq!(run_with(bad_attempt(1, 1, AttemptResult::Error, "E301 board-silent")), (1, 0, 0));
    assert_eq!(run_with(bad_attempt(4, 1, AttemptResult::Error, "E402 bus-dead")), (1, 1, 0));
    let twice = [
        bad_attempt(1, 1, AttemptResult::Fail, "E214 program-failed"),
        bad_attempt(1, 1, AttemptResult::Fail, "E214 program-failed"),
    ];
    assert_eq!(run_with(twice.concat()), (1, 1, 1), "what a run repeats by itself is one try");
    assert_eq!(run_with(bad_attempt(1, 1, AttemptResult::Fail, "E640 quarantined")), (1, 1, 1));
    let cured = [bad_attempt(1, 1, AttemptResult::Fail, "E214 program-failed"), good_attempt(1, 1)];
    assert_eq!(run_with(cured.concat()), (0, 0, 0));
}
