//! Records that go away while boards are being programmed: nothing passes, boards are left safe, the next run reads them.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use panel_store::{AttemptResult, Filter, Records, Store};
use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::harness::{Place, Run, job};

/// A run of four seconds in real time, as far as its first board being programmed.
fn programming(place: &Place) -> Child {
    let job = place.file("job.toml", job("demo-f405-256k.bin", ""));
    let mut command = place.command();
    command.arg(job).arg("--boards").arg(place.path("boards")).arg("--json");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    while !is_programming(&place.records()) {
        assert!(child.try_wait().expect("a child").is_none(), "the run ended before a board was programmed");
        #[expect(clippy::disallowed_methods, reason = "another process is at work, in real time")]
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn is_programming(records: &Path) -> bool {
    let Ok(records) = Records::open(records) else { return false };
    records.in_doubt().is_ok_and(|open| open.iter().any(|o| o.last_step.as_deref() == Some("program")))
}

/// Exit code 3, the code, no PASS on stdout or stderr.
fn assert_nothing_passed(run: &Run, code: &str) {
    assert_eq!(run.exit, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("error: {code}")), "{}", run.stderr);
    assert_eq!(run.boards().len(), 21);
    assert!(run.failures().iter().all(|(_, _, code)| *code == "E405 record-store"), "{:?}", run.failures());
    assert_eq!((run.failures().len(), &run.json["passed"]), (21, &0.into()));
}

fn end(child: Child) -> Run {
    Run::of(&child.wait_with_output().expect("it ends"))
}

/// The boards that the lost run left are read by the next one, which passes them all.
fn assert_resolved(place: &Place) {
    let store = Store::open(&place.records()).expect("the database opens");
    assert_eq!(store.in_doubt().expect("it says who is in doubt").len(), 21);
    drop(store);
    let boards = place.path("boards");
    let job = place.path("job.toml");
    place.run([job.as_os_str(), "--boards".as_ref(), boards.as_os_str()]).assert_all_pass();
    let store = Store::open(&place.records()).expect("the database opens");
    assert_eq!(store.in_doubt().expect("it says who is in doubt"), []);
    let lines = store.records().csv(&Filter::default()).expect("attempts");
    assert_eq!(lines.iter().filter(|l| l.result == AttemptResult::Pass).count(), 21);
}

#[test]
fn records_that_are_taken_away_in_the_middle_of_a_run_let_nothing_pass() {
    let place = Place::new();
    let child = programming(&place);
    std::fs::rename(place.records(), place.path("away")).expect("the directory can be renamed");
    assert_nothing_passed(&end(child), "E405 record-store");
    std::fs::rename(place.path("away"), place.records()).expect("and back");
    assert_resolved(&place);
}

#[test]
fn records_that_another_program_holds_are_waited_for_once_and_then_nothing_passes() {
    let place = Place::new();
    let child = programming(&place);
    let holder = Connection::open(place.records().join("records.db")).expect("the database");
    holder.busy_timeout(Duration::from_secs(5)).expect("a timeout");
    holder.execute_batch("BEGIN IMMEDIATE").expect("it is free between two writes");
    #[expect(clippy::disallowed_methods, reason = "this is about real time")]
    let held = std::time::Instant::now();
    let run = end(child);
    assert!(held.elapsed() < Duration::from_secs(9), "waited {:?}, once is 5 s", held.elapsed());
    drop(holder);
    assert_nothing_passed(&run, "E413 station-busy");
    assert_resolved(&place);
}

#[test]
fn records_that_may_not_grow_any_more_let_nothing_pass() {
    let place = Place::new();
    let child = programming(&place);
    let journal =
        std::fs::metadata(place.records().join("records.db-wal")).expect("it is being written").len();
    let limit = Rlimit { current: Some(journal), maximum: None };
    prlimit(Some(Pid::from_child(&child)), Resource::Fsize, limit).expect("our own child");
    assert_nothing_passed(&end(child), "E405 record-store");
    assert_resolved(&place);
}
