//! Every fault of the simulator's catalogue: the faulty board ends in its own code, the others pass in time.
//!
//! What one bad board may cost the others is docs/engineer-guide.md, "What one bad board costs"; the third column
//! here is that table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use panel_simulator::Scenario;

use super::harness::{Place, Run, job, scenario};

/// Seconds that a board may cost the others beyond 5 %: questions repeated for a board that misses most of them.
const DEAF: f64 = 0.4;
/// The same for a board whose frames are repeated for it: up to the job's `missed_per_mille` and the time they take.
const REPEATED: f64 = 0.45;

type Case = (&'static str, &'static [(u64, &'static str)], f64);

/// Scenario, the slots that fail with their codes, what they may cost the others.
#[rustfmt::skip]
const CASES: &[Case] = &[
    ("absent", &[(7, "E101 board-absent")], 0.0),
    ("same-uid", &[(3, "E102 duplicate-uid"), (7, "E102 duplicate-uid")], 0.0),
    ("wrong-chip", &[(7, "E103 wrong-chip")], 0.0),
    ("wrong-revision", &[(7, "E104 wrong-hardware-revision")], 0.0),
    ("protected-level-1", &[(7, "E105 already-protected")], 0.0),
    ("protected-level-2", &[(7, "E105 already-protected")], 0.0),
    ("supply-low", &[(7, "E106 supply-low")], 0.0),
    ("erase-fails", &[(7, "E210 erase-failed")], 0.0),
    ("erase-slow", &[(7, "E211 erase-too-slow")], 0.0),
    ("erase-slow-within-limits", &[], 0.0),
    ("program-fails", &[(7, "E214 program-failed")], 0.0),
    ("reads-back-wrong", &[(7, "E216 verify-mismatch")], 0.0),
    ("dead-at-start", &[(7, "E301 board-silent")], 0.0),
    ("dead-in-discovery", &[(7, "E301 board-silent")], 0.0),
    ("dead-at-time", &[(7, "E301 board-silent")], 0.0),
    ("dead-at-address", &[(7, "E301 board-silent")], 0.0),
    ("brown-out-at-time", &[(7, "E302 board-reset")], 0.0),
    ("brown-out-at-address", &[(7, "E302 board-reset")], 0.0),
    ("mute-after-erase", &[(7, "E303 silent-after-erase")], 0.0),
    ("babbling-in-discovery", &[(7, "E304 babbling")], 0.0),
    ("babbling-in-data", &[(7, "E304 babbling")], 0.0),
    ("babbling-in-verify", &[(7, "E304 babbling")], 0.0),
    ("babbling-near-top", &[(7, "E304 babbling")], 0.0),
    ("babbling-unassigned", &[(7, "E304 babbling")], 0.0),
    ("babbling-as-urgent", &[(7, "E304 babbling")], 0.0),
    ("babbling-as-another-hold", &[(7, "E304 babbling")], 0.0),
    ("babbling-as-hold", &[(7, "E304 babbling")], 0.0),
    ("babbling-as-data", &[(7, "E304 babbling")], 0.0),
    ("babbling-as-stop", &[(7, "E304 babbling")], 0.0),
    ("babbling-as-silence", &[(7, "E304 babbling")], 0.0),
    ("babbling-below-all", &[(7, "E304 babbling")], 0.0),
    ("bus-off-at-start", &[(7, "E305 board-bus-off")], 0.0),
    ("bus-off-in-data", &[(7, "E305 board-bus-off")], 0.0),
    ("loss-half", &[(7, "E306 reception-poor")], DEAF),
    ("loss-one-in-three", &[(7, "E306 reception-poor")], DEAF),
    ("loss-some", &[], REPEATED),
    ("slow-service", &[(7, "E307 receive-overrun")], DEAF),
    ("corruption-1-in-1000", &[], 0.0),
    ("corruption-1-in-100", &[], 0.0),
];

/// Scenarios about more than one board or about everything: only the results count.
#[rustfmt::skip]
const GROUPS: &[(&str, &[(u64, &str)])] = &[
    ("loss-1-in-1000", &[]),
    ("loss-1-in-100", &[]),
    ("five-faults", &[
        (2, "E101 board-absent"), (6, "E214 program-failed"), (11, "E302 board-reset"), (15, "E304 babbling"),
        (20, "E303 silent-after-erase"),
    ]),
    ("two-babblers", &[(4, "E304 babbling"), (18, "E304 babbling")]),
];

fn run(name: &str) -> Run {
    Place::new().run([std::ffi::OsStr::new("--scenario"), scenario(name).as_os_str()])
}

fn clean() -> f64 {
    static CLEAN: OnceLock<f64> = OnceLock::new();
    *CLEAN.get_or_init(|| {
        let run = Place::new().run::<&str>([]);
        run.assert_all_pass();
        run.last_pass(&[])
    })
}

fn parsed(name: &str) -> Scenario {
    let text = std::fs::read_to_string(scenario(name)).expect(name);
    Scenario::parse(&text).expect(name)
}

/// The name of a fault's variant.
fn kinds(scenario: &Scenario) -> impl Iterator<Item = (u16, String)> {
    scenario.faults.iter().map(|(slot, fault)| {
        let text = format!("{fault:?}");
        (*slot, text.split([' ', '{']).next().unwrap_or_default().to_owned())
    })
}

fn assert_failures(name: &str, run: &Run, expected: &[(u64, &str)]) {
    let got: Vec<(u64, &str)> = run.failures().iter().map(|&(slot, _, code)| (slot, code)).collect();
    assert_eq!(got, expected, "{name}: {}", run.stderr);
    assert_eq!(run.boards().len(), 21, "{name}");
    assert_eq!(run.exit, Some(i32::from(!expected.is_empty())), "{name}");
}

/// Each of the two threads that tests usually have takes every second case.
fn check_cases(odd: usize) {
    for (name, expected, cost) in CASES.iter().skip(odd).step_by(2) {
        let run = run(name);
        assert_failures(name, &run, expected);
        let limit = (clean() * 1.05).max(clean() + cost);
        let faulty: Vec<u16> = parsed(name).faults.iter().map(|(slot, _)| *slot).collect();
        let seconds = run.last_pass(&faulty);
        assert!(seconds <= limit, "{name}: {seconds} s, at most {limit} s allowed");
    }
}

#[test]
fn a_faulty_board_ends_in_its_own_code_and_holds_nobody_up() {
    check_cases(0);
}

#[test]
fn a_faulty_board_ends_in_its_own_code_and_holds_nobody_up_either() {
    check_cases(1);
}

#[test]
fn faults_at_once_are_told_apart() {
    for (name, expected) in GROUPS {
        assert_failures(name, &run(name), expected);
    }
}

#[test]
fn no_two_faults_share_a_code() {
    let mut fault_of: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, failing, _) in CASES {
        let kinds: BTreeSet<String> = kinds(&parsed(name)).map(|(_, kind)| kind).collect();
        failing.iter().for_each(|(_, code)| fault_of.entry(code).or_default().extend(kinds.iter().cloned()));
    }
    let shared: Vec<_> = fault_of.iter().filter(|(_, kinds)| kinds.len() != 1).collect();
    assert!(shared.is_empty(), "{shared:?}");
}

#[test]
fn every_fault_that_a_scenario_can_name_is_tried() {
    let error = Scenario::parse("[[slot]]\nslot = 1\nfault = \"?\"\n").expect_err("no fault").message;
    // What ROM bootloaders can have is tried in `rom_ways.rs`: these boards have another one.
    let known = error.split('`').skip(1).step_by(2).filter(|n| !["?", "rom"].contains(n));
    let known: BTreeSet<&str> = known.collect();
    assert!(known.len() >= 17, "{error}");
    let files: Vec<String> =
        CASES.iter().map(|(name, _, _)| std::fs::read_to_string(scenario(name)).expect(name)).collect();
    // Faults of identity, option bytes and lock need jobs of their own, beside these cases.
    let factory = [
        include_str!("locked.rs"),
        include_str!("../factory/keys.rs"),
        include_str!("../../../engine/tests/factory/trouble.rs"),
    ];
    let tried = |fault: &&str| {
        files.iter().any(|f| f.contains(&format!("fault = \"{fault}\"")))
            || factory.iter().any(|f| f.contains(&format!("fault = \\\"{fault}\\\"")))
    };
    let missing: Vec<_> = known.iter().filter(|f| !tried(f)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_scenario_file_is_used() {
    let directory = scenario("x").parent().expect("it has one").to_owned();
    let files = std::fs::read_dir(directory).expect("the scenarios").map(|e| e.expect("an entry").path());
    let used = |name: &str| {
        CASES.iter().any(|c| c.0 == name) || GROUPS.iter().any(|g| g.0 == name) || WHOLE.contains(&name)
    };
    for file in files {
        let name = file.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
        assert!(used(&name), "{name}");
    }
}

/// Scenarios in which the station is at fault, each with a test of its own below.
const WHOLE: &[&str] = &["empty-panel", "nobody-acknowledges", "noise-without-end"];

fn assert_everybody_ends_with(name: &str, code: &str, exit: i32) {
    let run = run(name);
    let expected: Vec<(u64, &str, &str)> = (1..=21).map(|slot| (slot, "error", code)).collect();
    assert_eq!(run.failures(), expected, "{name}");
    assert_eq!(run.exit, Some(exit), "{name}");
    let seconds = run.json["seconds"].as_f64().expect("a time");
    assert!(seconds < 0.5, "{name}: {seconds} s");
}

#[test]
fn an_empty_panel_is_told_at_once() {
    assert_everybody_ends_with("empty-panel", "E101 board-absent", 1);
}

#[test]
fn a_bus_on_which_nobody_acknowledges_is_the_stations_fault() {
    assert_everybody_ends_with("nobody-acknowledges", "E402 bus-dead", 3);
}

#[test]
fn a_bus_on_which_no_frame_gets_through_ends_with_an_error_and_not_never() {
    assert_everybody_ends_with("noise-without-end", "E406 bus-disturbed", 3);
}

#[test]
fn a_retry_cures_a_brown_out_and_says_so() {
    let place = Place::new();
    let job = place.file("job.toml", job("demo-f405-256k.bin", "retries = 1"));
    let run = place.run([job.as_os_str(), "--scenario".as_ref(), scenario("brown-out-at-time").as_os_str()]);
    run.assert_all_pass();
    let attempts = |slot: u64| run.board(slot)["attempts"].as_u64();
    assert_eq!((attempts(7), attempts(8)), (Some(2), Some(1)));
    assert!(run.last_pass(&[7]) < clean() * 1.05);
}

#[test]
fn a_slow_flash_holds_the_others_up_no_longer_than_the_job_says() {
    let place = Place::new();
    let slow = place.file("slow.toml", "[[slot]]\nslot = 7\nfault = \"erase-slow\"\nfactor = 1.9\n");
    // Small enough to wait for its erase in RAM: nobody has to pause for the slow board, only to wait at the end.
    let job = place.file("job.toml", job("bench-64k.bin", "limits = { straggler_wait = \"100 ms\" }"));
    let clean = place.run([job.as_os_str()]);
    clean.assert_all_pass();
    let run = place.run([job.as_os_str(), "--scenario".as_ref(), slow.as_os_str()]);
    run.assert_all_pass();
    assert!(run.last_pass(&[7]) <= clean.last_pass(&[]) + 0.101, "{} s", run.last_pass(&[7]));
}

#[test]
fn a_second_pass_that_takes_too_long_ends_with_a_code_of_its_own() {
    let place = Place::new();
    let slow = place.file("slow.toml", "[[slot]]\nslot = 7\nfault = \"erase-slow\"\nfactor = 1.9\n");
    let limits = "limits = { straggler_wait = \"100 ms\", straggler_pass = \"200 ms\" }";
    let job = place.file("job.toml", job("bench-64k.bin", limits));
    let run = place.run([job.as_os_str(), "--scenario".as_ref(), slow.as_os_str()]);
    assert_failures("slow", &run, &[(7, "E311 straggler")]);
}

#[test]
fn one_bus_of_two_is_not_troubled_by_the_other() {
    let place = Place::new();
    let panel = place.file(
        "panel.toml",
        "name = \"two\"\nrows = 3\ncolumns = 7\nsplit = [\"1-11\", \"12-21\"]\n\
         [[bus]]\nname = \"upper\"\n[[bus]]\nname = \"lower\"\n",
    );
    let with = |name: &str| {
        let (panel, scenario) = (panel.as_os_str(), scenario(name));
        place.run(["--panel".as_ref(), panel, "--scenario".as_ref(), scenario.as_os_str()])
    };
    for (name, slots) in [("five-faults", GROUPS[2].1), ("babbling-in-discovery", &[(7, "E304 babbling")])] {
        assert_failures(name, &with(name), slots);
    }
}

#[test]
fn slots_marked_bad_are_skipped_and_said_so() {
    let place = Place::new();
    let panel = "name = \"marks\"\nrows = 3\ncolumns = 7\nbad_marks = [3, 12]\nbus = [{ link = \"sim\" }]\n";
    let panel = place.file("panel.toml", panel);
    let run = place.run(["--panel".as_ref(), panel.as_os_str()]);
    assert_eq!(run.failures(), [(3, "skipped", ""), (12, "skipped", "")]);
    assert_eq!((run.exit, run.board(3)["attempts"].as_u64()), (Some(0), Some(0)));
}
