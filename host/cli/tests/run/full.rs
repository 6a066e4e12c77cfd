//! Files that cannot take what a run writes: a full disk behind the event log or the result, a limit on their size.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::symlink;
use std::process::Command;

use panel_store::{AttemptResult, Filter, Store};

use super::harness::{Place, Run};

fn recorded_passes(place: &Place) -> usize {
    let store = Store::open(&place.records()).expect("the database opens");
    assert_eq!(store.in_doubt().expect("it says who is in doubt"), []);
    let lines = store.records().csv(&Filter::default()).expect("attempts");
    lines.iter().filter(|l| l.result == AttemptResult::Pass).count()
}

#[test]
fn an_event_log_on_a_full_disk_is_told_after_the_result_and_stops_no_board() {
    let place = Place::new();
    symlink("/dev/full", place.path("log")).expect("a link");
    let run = place.run(["--event-log".as_ref(), place.path("log").as_os_str()]);
    assert_eq!((run.exit, run.boards().len(), run.failures()), (Some(3), 21, vec![]), "{}", run.stderr);
    for words in ["error: E516 output-file", "No space left", "event log is incomplete", "do this: "] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    assert_eq!(recorded_passes(&place), 21);
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error_and_the_record_is_complete() {
    let place = Place::new();
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("a device that is always full");
    let mut command = place.command();
    let run =
        Run::of(&command.args(["--virtual-time", "--json"]).stdout(full()).output().expect("it starts"));
    assert_eq!(run.exit, Some(3), "{}", run.stderr);
    for words in ["error: E516 output-file", "standard output: No space left"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    assert_eq!(recorded_passes(&place), 21);
    let mut report = super::harness::panelflash("report");
    report.arg("csv").arg("--records").arg(place.records());
    let lost = report.stdout(full()).output().expect("it starts");
    assert_eq!(lost.status.code(), Some(3), "a list that nobody got is no success");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["--virtual-time", "--json"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let run = Run::of(&command.stdout(writer).output().expect("it starts"));
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
}

#[test]
fn files_that_may_not_be_as_large_as_a_panel_needs_are_refused_before_it() {
    let place = Place::new();
    let script = "ulimit -f 512; exec \"$0\" \"$@\"";
    let run = place.command();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", script])
        .arg(run.get_program())
        .args(run.get_args())
        .args(["--virtual-time", "--json"]);
    let run = Run::of(&limited.output().expect("a shell"));
    assert_eq!(run.exit, Some(3), "{}", run.stderr);
    for words in ["error: E410 disk-nearly-full", "KiB for this panel", "too large", "do this: "] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    let store = Store::open(&place.records()).expect("the database opens");
    assert_eq!(store.records().csv(&Filter::default()).expect("attempts").len(), 0, "nothing was begun");
}

#[test]
fn a_panel_with_all_its_retries_takes_less_room_than_was_kept_for_it() {
    let place = Place::new();
    let brown_out =
        |slot| format!("[[slot]]\nslot = {slot}\nfault = \"brown-out\"\nat_address = 0x08021000\n");
    let faults: String = (1..=21).map(brown_out).collect();
    let scenario = place.file("scenario.toml", faults);
    let size = || {
        let files = std::fs::read_dir(place.records()).expect("records");
        files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).sum::<u64>()
    };
    let job = place.file("job.toml", super::harness::job("bench-64k.bin", "retries = 2"));
    let run = || place.run([job.as_os_str(), "--scenario".as_ref(), scenario.as_os_str()]);
    assert_eq!(run().boards().len(), 21);
    let before = size();
    let run = run();
    let attempts: u64 = run.boards().iter().filter_map(|b| b["attempts"].as_u64()).sum();
    assert!(attempts >= 42, "each was tried again: {attempts}");
    let kept = panel_store::room(attempts) - panel_store::room(0);
    assert!(size() - before < kept / 2, "{} of {kept}", size() - before);
    assert!(File::open(place.records().join("records.room")).is_err(), "nothing is left of it");
}
