//! Jobs that lock their boards, through the binary: what passes, what each fault is called, what the records keep.

use super::harness::{Place, Run, job};

const IMAGE: &str = "demo-f405-256k.bin";
const FINISH: &str =
    "[finish]\nlock = \"level-1\"\nwrite_protect = \"bootloader\"\noptions = [\"BOR_LEV=1\"]\n";

/// Runs the locking job with a scenario of these lines; boards stay in the place.
fn run(place: &Place, scenario: &str) -> Run {
    place.run_again(&format!("{}{FINISH}", job(IMAGE, "start_application = false")), scenario)
}

fn fault(lines: &str) -> String {
    format!("[[slot]]\nslot = 7\n{lines}\n")
}

#[test]
fn a_panel_is_locked_and_proven_and_proven_again_by_the_next_run() {
    let place = Place::new();
    let first = run(&place, "");
    first.assert_all_pass();
    let again = run(&place, "");
    again.assert_all_pass();
    let seconds = |run: &Run| run.json["seconds"].as_f64().unwrap_or_default();
    assert!(seconds(&again) < seconds(&first) / 4.0, "nothing is erased or sent again");
    let csv = std::fs::read_to_string(place.records().join("units.csv")).expect("units.csv");
    let mut lines = csv.lines();
    // Counted from the end: the chip's own answers, in quotes before it, have commas.
    let column = lines.next().and_then(|h| h.rsplit(',').position(|name| name == "lock_proof"));
    let column = column.expect("a column for the proof");
    let proofs: Vec<&str> = lines.filter_map(|line| line.rsplit(',').nth(column)).collect();
    assert_eq!(proofs.len(), 42);
    assert!(proofs.iter().all(|proof| proof.len() == 64), "{csv}");
}

#[test]
fn each_fault_of_the_lock_has_its_code_and_the_other_boards_pass() {
    for (lines, code) in [
        ("fault = \"option-write-fails\"", "E660 option-bytes-failed"),
        ("fault = \"lock-ignored\"", "E661 lock-failed"),
        ("fault = \"reads-when-locked\"", "E662 lock-not-proven"),
        ("fault = \"dead\"\nwhen = \"locked\"", "E662 lock-not-proven"),
    ] {
        let run = run(&Place::new(), &fault(lines));
        assert_eq!(run.failures(), [(7, "fail", code)], "{lines}: {}", run.stderr);
        assert_eq!(run.exit, Some(1));
    }
}

#[test]
fn a_job_that_does_not_lock_refuses_boards_that_are() {
    let place = Place::new();
    run(&place, "").assert_all_pass();
    let job = place.file("plain.toml", job(IMAGE, "start_application = false"));
    let boards = place.boards();
    let plain = place.run([job.as_os_str(), "--boards".as_ref(), boards.as_os_str()]);
    assert_eq!(plain.failures().len(), 21);
    assert!(plain.failures().iter().all(|f| f.2 == "E105 already-protected"), "{:?}", plain.failures());
}

#[test]
fn an_option_field_that_the_chip_lacks_is_refused_with_those_it_has() {
    let place = Place::new();
    let finish = "[finish]\noptions = [\"nSWBOOT0=1\"]\n";
    let job = place.file("job.toml", format!("{}{finish}", job(IMAGE, "start_application = false")));
    let run = place.run([job.as_os_str()]);
    assert_eq!(run.exit, Some(2));
    assert!(run.stderr.contains("E501") && run.stderr.contains("BOR_LEV"), "{}", run.stderr);
}
