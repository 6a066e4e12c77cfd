//! `units.csv` follows the database, whatever happened to it.

use std::fs;
use std::path::Path;

use panel_store::{AttemptResult, CsvState, Filter, ResolutionKind, Store, write_csv};

use crate::check;
use crate::sample::run_start;
use crate::support::{append, bad_attempt, end, ended, good_attempt, new_store, resolution, started};

/// A directory with one ended run: slots 1 and 2 passed and failed.
fn two_units() -> tempfile::TempDir {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("panel-7")).unwrap();
    append(&mut store, run, good_attempt(1, 1)).unwrap();
    append(&mut store, run, bad_attempt(2, 2, AttemptResult::Fail, "E214")).unwrap();
    end(&mut store, run).unwrap();
    dir
}

fn csv(dir: &Path) -> String {
    fs::read_to_string(dir.join("units.csv")).unwrap()
}

fn reopen(dir: &Path) -> CsvState {
    let store = Store::open(dir).unwrap();
    check::store_in(dir, &store);
    store.csv_state().clone()
}

#[test]
fn each_ended_attempt_has_one_line_when_append_returns() {
    let (dir, mut store) = new_store();
    assert_eq!(*store.csv_state(), CsvState::Created);
    let run = store.begin_run(&run_start("panel-7")).unwrap();
    append(&mut store, run, [started(1), started(2)]).unwrap();
    assert_eq!(csv(dir.path()).lines().count(), 1);
    append(&mut store, run, [ended(2, AttemptResult::Error, "E101")]).unwrap();
    let text = csv(dir.path());
    let line = text.lines().nth(1).unwrap();
    assert_eq!(
        line,
        format!(
            ",,pump,panel-7,2,pump-fw,1.2.3,{},error,E101,program,false,2025-11-21T02:34:57.000000Z,\
             2025-11-21T02:34:57.000000Z,station-1,\"Anna, B\",fix-7,pump-job,,NOT FOR SHIPMENT,0.1.0,\
             {},application@0x08000000={},,,,,1,2",
            "ab".repeat(32),
            "0b".repeat(32),
            "cd".repeat(32)
        )
    );
}

#[test]
fn the_csv_report_has_the_same_lines() {
    let dir = two_units();
    let store = Store::open(dir.path()).unwrap();
    let mut report = Vec::new();
    write_csv(&store.records().csv(&Filter::default()).unwrap(), &mut report).unwrap();
    assert_eq!(String::from_utf8(report).unwrap(), csv(dir.path()));
}

#[test]
fn a_file_cut_off_anywhere_is_made_complete_again() {
    let dir = two_units();
    let whole = csv(dir.path());
    let header = whole.find('\n').unwrap() + 1;
    let first = header + whole[header..].find('\n').unwrap() + 1;
    // Every byte around the ends of lines, and every seventh in between.
    let near = |length: usize, place: usize| length.abs_diff(place) < 4;
    let tried = |length: &usize| {
        length.is_multiple_of(7) || [header, first, whole.len()].iter().any(|at| near(*length, *at))
    };
    for length in (header..=whole.len()).filter(tried) {
        fs::write(dir.path().join("units.csv"), &whole[..length]).unwrap();
        let store = Store::open(dir.path()).unwrap();
        let expected = if length == whole.len() {
            CsvState::Complete
        } else if length < first {
            CsvState::Repaired { cut: (length - header) as u64, added: 2 }
        } else {
            CsvState::Repaired { cut: (length - first) as u64, added: 1 }
        };
        assert_eq!(*store.csv_state(), expected, "cut at {length}");
        assert_eq!(csv(dir.path()), whole, "cut at {length}");
    }
}

#[test]
fn a_missing_file_is_written_again() {
    let dir = two_units();
    let whole = csv(dir.path());
    fs::remove_file(dir.path().join("units.csv")).unwrap();
    assert_eq!(reopen(dir.path()), CsvState::Created);
    assert_eq!(csv(dir.path()), whole);
}

#[test]
fn a_file_that_does_not_follow_from_the_database_is_kept_aside_and_written_anew() {
    let dir = two_units();
    let whole = csv(dir.path());
    let edits = [
        whole.replace("\r\n", "\n"),
        whole.replace("fail", "pass"),
        whole.replace(",2\r\n", ",999\r\n"),
        "serial;uid;result\n".to_owned(),
        format!("{whole}{}\r\n", "x".repeat(100_000)),
    ];
    for (number, edited) in edits.iter().enumerate() {
        assert_ne!(*edited, whole, "edit {number}");
        fs::write(dir.path().join("units.csv"), edited).unwrap();
        let CsvState::Replaced { kept_as } = reopen(dir.path()) else { panic!("edit {number}") };
        assert_eq!(fs::read_to_string(kept_as).unwrap(), *edited);
        assert_eq!(csv(dir.path()), whole);
    }
}

#[test]
fn a_file_that_changes_during_a_run_is_put_right_by_the_next_line() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("panel-7")).unwrap();
    append(&mut store, run, good_attempt(1, 1)).unwrap();
    let whole = csv(dir.path());
    for (slot, broken) in [(2, &whole[..whole.len() - 9]), (3, ""), (4, "something else")] {
        fs::write(dir.path().join("units.csv"), broken).unwrap();
        append(&mut store, run, good_attempt(slot, slot as u8)).unwrap();
        assert_eq!(csv(dir.path()).lines().count(), usize::from(slot) + 1);
        assert!(csv(dir.path()).starts_with(&whole));
    }
    fs::remove_file(dir.path().join("units.csv")).unwrap();
    append(&mut store, run, good_attempt(5, 5)).unwrap();
    assert_eq!(csv(dir.path()).lines().count(), 6);
}

#[test]
fn a_file_that_cannot_be_extended_is_an_error_that_says_so_while_the_events_are_kept() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("panel-7")).unwrap();
    fs::remove_file(dir.path().join("units.csv")).unwrap();
    fs::create_dir(dir.path().join("units.csv")).unwrap();
    let error = append(&mut store, run, good_attempt(1, 1)).unwrap_err();
    assert!(matches!(error, panel_store::StoreError::UnitsCsv { .. }), "{error}");
    assert_eq!(store.records().csv(&Filter::default()).unwrap().len(), 1);
    fs::remove_dir(dir.path().join("units.csv")).unwrap();
    append(&mut store, run, good_attempt(2, 2)).unwrap();
    assert_eq!(csv(dir.path()).lines().count(), 3);
}

#[test]
fn an_attempt_cut_off_by_a_crash_gets_its_line_when_it_is_resolved() {
    let (dir, mut store) = new_store();
    let run = store.begin_run(&run_start("panel-7")).unwrap();
    append(&mut store, run, [started(1)]).unwrap();
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(csv(dir.path()).lines().count(), 1);
    let attempt = store.in_doubt().unwrap()[0].attempt;
    store.resolve(attempt, &resolution(ResolutionKind::NotSeen, None)).unwrap();
    assert!(csv(dir.path()).lines().nth(1).unwrap().contains(",in-doubt,"));
}
