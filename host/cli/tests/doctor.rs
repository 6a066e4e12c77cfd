//! `panelflash doctor` as a process: what it says about stations that are fit and unfit, and with which exit code.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn doctor(dir: &Path, panel: &str) -> (Output, Value) {
    std::fs::write(dir.join("panel.toml"), panel).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_panelflash"))
        .args(["doctor", "--json", "--panel", "panel.toml", "--records", "records"])
        .current_dir(dir)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, report)
}

/// The findings of a level, as `about: found`.
fn findings(report: &Value, level: &str) -> Vec<String> {
    let list = report["findings"].as_array().unwrap().iter().filter(|f| f["level"] == level);
    list.map(|f| format!("{}: {}", f["about"].as_str().unwrap(), f["found"].as_str().unwrap())).collect()
}

#[test]
fn a_simulated_panel_needs_nothing_of_the_station_but_room_for_records() {
    let dir = tempfile::tempdir().unwrap();
    let (output, report) = doctor(dir.path(), "name='s'\nrows=1\ncolumns=3\nbus=[{}]\n");
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["fail"], 0);
    let ok = findings(&report, "ok");
    assert!(ok.iter().any(|f| f == "bus bus1, sim: simulated"), "{ok:?}");
    assert!(ok.iter().any(|f| f.starts_with("clock: ")), "{ok:?}");
    assert!(!dir.path().join("records").exists(), "looking makes nothing");
}

#[test]
fn what_is_missing_is_named_with_what_to_do_and_the_exit_code_is_3() {
    let dir = tempfile::tempdir().unwrap();
    let panel = "name='r'\nrows=1\ncolumns=2\nbus=[{link='socketcan:nocan0'}]\nport='/dev/ttyNONE{slot}'\n\
                 [fixture]\npower='lcus:/dev/ttyNONE9#{slot}'\nnrst='gpio:no-such-chip/R{slot}'\n";
    let (output, report) = doctor(dir.path(), panel);
    assert_eq!(output.status.code(), Some(3));
    let fail = findings(&report, "fail");
    for wanted in [
        "socketcan:nocan0",
        "slot 2, port /dev/ttyNONE2",
        "relay board /dev/ttyNONE9",
        "nrst gpio:no-such-chip/R1",
    ] {
        assert!(fail.iter().any(|f| f.contains(wanted)), "{wanted} is missing in {fail:#?}");
    }
    let warn = findings(&report, "warn");
    assert!(warn.iter().any(|f| f.starts_with("power if this program dies: it stays on")), "{warn:?}");
    let unhelpful = |f: &&Value| f["level"] != "ok" && f["do"].as_str().is_none_or(str::is_empty);
    assert_eq!(report["findings"].as_array().unwrap().iter().find(unhelpful), None);
}

#[test]
fn a_damaged_record_database_and_a_fixture_that_nobody_serves_fail() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("records")).unwrap();
    std::fs::write(dir.path().join("records/records.db"), [7_u8; 9000]).unwrap();
    let panel = "name='s'\nrows=1\ncolumns=1\nbus=[{link='tcp://127.0.0.1:1'}]\n[fixture]\n\
                 power='sim:/nowhere/fixture#p{slot}'\n";
    let (output, report) = doctor(dir.path(), panel);
    assert_eq!(output.status.code(), Some(3));
    let fail = findings(&report, "fail");
    for wanted in ["records in records: ", "fixture /nowhere/fixture: ", "bus bus1, tcp://127.0.0.1:1: "] {
        assert!(fail.iter().any(|f| f.starts_with(wanted)), "{wanted} is missing in {fail:#?}");
    }
}

#[test]
fn a_panel_file_that_is_wrong_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    let (output, _) = doctor(dir.path(), "name='s'\nrows=1\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("E502"));
}
