//! What reports say of known productions.

use panel_store::{
    AttemptResult, Event, Filter, Measurement, MeasurementOutcome, Ratio, Refusal, RunId, RunStart, Store,
    StoreError,
};

use crate::sample::run_start;
use crate::support::{append, bad_attempt, end, ended, good_attempt, new_store, started, step, uid};

/// Records one run of whole attempts on a panel.
fn record(store: &mut Store, start: &RunStart, attempts: impl IntoIterator<Item = Vec<Event>>) -> RunId {
    let run = store.begin_run(start).unwrap();
    for attempt in attempts {
        append(store, run, attempt).unwrap();
    }
    end(store, run).unwrap();
    run
}

fn share(ratio: Ratio) -> (u64, u64) {
    (ratio.passed, ratio.of)
}

#[test]
fn a_unit_is_found_by_serial_uid_or_the_beginning_of_either_and_tells_its_whole_story() {
    let (_dir, mut store) = new_store();
    let run = store.begin_run(&run_start("panel-7")).unwrap();
    let measurement =
        Measurement { name: "supply".into(), value: 2.9, unit: "V".into(), low: Some(3.0), high: None };
    let serial = Event::SerialGiven { slot: 4, serial: "PMP-0042".into() };
    append(&mut store, run, bad_attempt(4, 9, AttemptResult::Fail, "E214")).unwrap();
    append(&mut store, run, [started(4), Event::Identified { slot: 4, uid: uid(9) }, serial]).unwrap();
    append(&mut store, run, step(4, "verify")).unwrap();
    append(&mut store, run, step(4, "lock-proof")).unwrap();
    append(&mut store, run, [Event::Measured { slot: 4, measurement }]).unwrap();
    append(&mut store, run, [Event::AttemptEnded { slot: 4, verdict: panel_store::Verdict::pass() }])
        .unwrap();

    let whole_uid = uid(9).to_string();
    for query in ["PMP-0042", "PMP", whole_uid.as_str(), &whole_uid.to_uppercase(), &whole_uid[..7]] {
        let found = store.records().unit(query).unwrap();
        assert_eq!(found.len(), 1, "{query}");
        let unit = &found[0];
        assert_eq!((unit.uid, unit.serial.as_deref()), (uid(9), Some("PMP-0042")));
        assert_eq!((unit.result, unit.passed_only_on_retest), (Some(AttemptResult::Pass), true));
        assert_eq!(unit.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
        let attempt = &unit.attempts[1];
        assert_eq!(attempt.run.release_sha256, [0xab; 32].into());
        assert_eq!(attempt.run.images[0].crc32, 0xdead_beef);
        assert_eq!(attempt.run.simulation.unwrap().seed, u64::MAX);
        assert_eq!(attempt.steps.len(), 2);
        assert_eq!(attempt.measurements[0].outcome, MeasurementOutcome::Fail);
        assert_eq!(attempt.events.last().unwrap().body["result"], "pass");
        let json = serde_json::to_value(unit).unwrap();
        assert_eq!(json["attempts"][0]["code"], "E214");
    }
}

#[test]
fn a_beginning_shared_by_units_names_them_and_an_unknown_one_is_refused() {
    let (_dir, mut store) = new_store();
    record(&mut store, &run_start("p"), (1..=20).map(|slot| good_attempt(slot, slot as u8)));
    let Err(StoreError::Refused(Refusal::AmbiguousUnit { candidates, .. })) = store.records().unit("1111")
    else {
        panic!("expected an ambiguity");
    };
    assert_eq!(candidates.len(), 10);
    assert_eq!(candidates[0], uid(1).to_string());
    for unknown in ["2222", "nobody", "", "1111%", "é"] {
        let error = store.records().unit(unknown).unwrap_err();
        assert!(matches!(error, StoreError::Refused(Refusal::NoSuchUnit { .. })), "{unknown:?}: {error}");
    }
}

#[test]
fn yields_count_units_by_their_first_and_last_try_with_and_without_errors() {
    let (_dir, mut store) = new_store();
    let (fail, error) = (AttemptResult::Fail, AttemptResult::Error);
    record(
        &mut store,
        &run_start("panel-1"),
        [
            good_attempt(1, 1),
            good_attempt(2, 2),
            bad_attempt(3, 3, fail, "E214"),
            bad_attempt(4, 4, error, "E101"),
            good_attempt(4, 4),
            bad_attempt(5, 5, fail, "E214"),
            good_attempt(5, 5),
            // Never identified: a unit all the same. Skipped and aborted ones are not.
            vec![started(6), ended(6, fail, "E105")],
            vec![started(7), ended(7, AttemptResult::Skipped, "E000")],
            bad_attempt(8, 8, AttemptResult::Aborted, "E130"),
        ],
    );
    let report = store.records().yields(&Filter::default()).unwrap();
    assert_eq!(share(report.units.first_pass), (2, 6));
    assert_eq!(share(report.units.at_last), (4, 6));
    assert_eq!(share(report.units_without_errors.first_pass), (3, 6));
    assert_eq!(share(report.units_without_errors.at_last), (4, 6));
    let codes: Vec<_> = report.pareto.iter().map(|count| (count.code.as_str(), count.attempts)).collect();
    assert_eq!(codes, [("E214", 2), ("E101", 1), ("E105", 1)]);
    assert_eq!((report.pareto[0].percent, report.pareto[2].cumulative_percent), (50.0, 100.0));
    let retests: Vec<_> =
        report.passed_only_on_retest.iter().map(|unit| (unit.uid, unit.failed_before, unit.tries)).collect();
    assert_eq!(retests, [(uid(4), false, 2), (uid(5), true, 2)]);
    let counts = report.attempts;
    assert_eq!((counts.pass, counts.fail, counts.error, counts.skipped, counts.aborted), (4, 3, 1, 1, 1));
}

#[test]
fn a_board_that_answers_only_at_the_second_try_is_one_unit() {
    let (_dir, mut store) = new_store();
    let silent = vec![started(1), ended(1, AttemptResult::Error, "E105")];
    record(&mut store, &run_start("panel-1"), [silent, good_attempt(1, 1)]);
    let report = store.records().yields(&Filter::default()).unwrap();
    assert_eq!(share(report.units.first_pass), (0, 1));
    assert_eq!(share(report.units.at_last), (1, 1));
    assert_eq!(report.passed_only_on_retest.len(), 1);
}

#[test]
fn a_unit_belongs_to_the_period_of_its_first_try() {
    let (_dir, mut store) = new_store();
    let day = 86_400_000_000;
    let first = run_start("panel-1");
    let later = RunStart { utc_us: first.utc_us + day, product: "valve".into(), ..run_start("panel-2") };
    let again = run_start("panel-1");
    record(&mut store, &first, [bad_attempt(1, 1, AttemptResult::Fail, "E214")]);
    let run = record(&mut store, &again, [good_attempt(1, 1)]);
    record(&mut store, &later, [good_attempt(1, 1)]);

    let of = |filter: &Filter| store.records().yields(filter).unwrap();
    let retest = of(&Filter { run: Some(run), ..Filter::default() });
    assert_eq!((share(retest.units.first_pass), retest.attempts.pass), ((0, 0), 1));
    assert_eq!(retest.units.first_pass.percent, None);
    let pump = of(&Filter { product: Some("pump".into()), ..Filter::default() });
    assert_eq!((share(pump.units.first_pass), share(pump.units.at_last)), ((0, 1), (1, 1)));
    let valve = of(&Filter { panel: Some("panel-2".into()), ..Filter::default() });
    assert_eq!(share(valve.units.first_pass), (1, 1));
    let none = of(&Filter { from_us: Some(first.utc_us + 2 * day), ..Filter::default() });
    assert_eq!((share(none.units.first_pass), none.slots.len()), ((0, 0), 0));
    let all = Filter { until_us: Some(first.utc_us + 2 * day), ..Filter::default() };
    assert_eq!(store.records().csv(&all).unwrap().len(), 3);
    // The same chip is another unit in another product: a whole uid finds both.
    assert_eq!(store.records().unit(&uid(1).to_string()).unwrap().len(), 2);
}

#[test]
fn a_slot_with_far_more_contact_signs_than_the_others_is_suspect_and_a_bad_panel_is_not() {
    let (_dir, mut store) = new_store();
    let mut chip = 0;
    for panel in 0..4 {
        let mut attempts = Vec::new();
        for slot in 1..=5 {
            chip += 1;
            if slot == 2 {
                let result = if panel % 2 == 0 { AttemptResult::Error } else { AttemptResult::Fail };
                attempts.push(bad_attempt(slot, chip, result, "E101"));
            }
            attempts.push(good_attempt(slot, chip));
        }
        record(&mut store, &run_start("panel-1"), attempts);
    }
    let report = store.records().yields(&Filter::default()).unwrap();
    let suspects: Vec<_> =
        report.slots.iter().filter(|slot| slot.contact_suspect).map(|slot| slot.slot).collect();
    assert_eq!(suspects, [2]);
    assert_eq!((report.slots[1].contact_signs, report.slots[0].contact_signs), (4, 0));

    let (_dir, mut store) = new_store();
    for _ in 0..4 {
        let attempts = (1..=5).map(|slot| bad_attempt(slot, slot as u8, AttemptResult::Error, "E101"));
        record(&mut store, &run_start("panel-1"), attempts);
    }
    let report = store.records().yields(&Filter::default()).unwrap();
    assert!(report.slots.iter().all(|slot| slot.contact_signs == 4 && !slot.contact_suspect));
}
