//! Every format that was ever released opens for ever: one database per format in `tests/fixtures`, made by
//! `cargo run -p panel-store --example fixture` of its day and never changed since. If a test here fails,
//! change the code, not the file.

use std::fs;
use std::path::Path;

use panel_store::{AttemptResult, CsvState, Filter, ResolutionKind, Store};

use crate::check;
use crate::sample::run_start;
use crate::support::{append, end, good_attempt, resolution};

/// Copies a fixture into a new directory.
fn directory_of(fixture: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let dir = tempfile::tempdir().unwrap();
    fs::copy(from, dir.path().join("records.db")).unwrap();
    dir
}

#[test]
fn a_database_of_format_1_opens_says_what_it_said_and_takes_more() {
    let dir = directory_of("records-v1.db");
    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(*store.csv_state(), CsvState::Created);
    let chain = store.records().verify_chain().unwrap();
    let head = "ec051f61fe9f0577d277786692accf1095e3958d3b37ad4d8f0a22761739a7cb";
    assert_eq!((chain.events, chain.head.to_string().as_str()), (411, head));
    check::store_in(dir.path(), &store);

    let report = store.records().yields(&Filter::default()).unwrap();
    let counts = report.attempts;
    assert_eq!((counts.pass, counts.fail, counts.error, counts.skipped, counts.in_doubt), (20, 1, 1, 1, 7));
    assert_eq!((report.units.first_pass.passed, report.units.first_pass.of), (20, 29));
    let doubt = store.in_doubt().unwrap();
    let who = doubt.iter().map(|entry| (entry.run.0, entry.slot, entry.uid.unwrap().0[..2].to_vec()));
    let open =
        [(2, 4, [0x27, 4]), (5, 4, [0x16, 4]), (5, 1, [0x11, 1]), (5, 3, [0x1c, 3]), (5, 2, [0x15, 2])];
    let expected =
        open.into_iter().chain([(5, 0, [0x02, 0])]).map(|(run, slot, uid)| (run, slot, uid.to_vec()));
    assert!(who.eq(expected), "{doubt:?}");
    let resolved = &store.records().unit("SN-33-1").unwrap()[0].attempts[0];
    assert_eq!(resolved.resolution, Some(ResolutionKind::Reprogrammed));
    assert_eq!(resolved.resolution_note.as_deref(), Some("read back: sector 3 is blank"));

    let run = store.begin_run(&run_start("panel-new")).unwrap();
    append(&mut store, run, good_attempt(1, 1)).unwrap();
    for entry in &doubt {
        store.resolve(entry.attempt, &resolution(ResolutionKind::NotSeen, Some(run))).unwrap();
    }
    end(&mut store, run).unwrap();
    check::store_in(dir.path(), &store);
    let last = store.records().csv(&Filter { run: Some(run), ..Filter::default() }).unwrap();
    assert_eq!(last[0].result, AttemptResult::Pass);
}
