//! `panelflash recover` against `panelflash sim rom`, each as its own process, over a pseudo-terminal.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const BIN: &str = env!("CARGO_BIN_EXE_panelflash");

const JOB: &str = r#"
name = "recovery"
product = "bench board"
start_application = false

[target]
chip = "STM32F405"
device_id = 0x413

[[image]]
file = "firmware.bin"
address = 0x08000000
"#;

/// One simulated board on its port.
struct Board {
    child: Child,
    port: String,
}

impl Board {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(BIN)
            .args(["sim", "rom", "--unpaced", "--on-close", "keep"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("a line").expect("a path");
        Self { child, port }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.child.kill().expect("running");
        self.child.wait().expect("ends");
    }
}

/// A directory with a job, its image and a place for records.
fn bench() -> TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("job.toml"), JOB).expect("writable");
    let firmware: Vec<u8> = (0..6000u32).map(|at| (at * 13 + at / 256) as u8).collect();
    std::fs::write(dir.path().join("firmware.bin"), firmware).expect("writable");
    dir
}

fn panelflash(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(BIN).current_dir(dir).args(arguments).stdin(Stdio::null()).output().expect("runs")
}

fn recover(dir: &Path, port: &str, more: &[&str]) -> (i32, Value, String) {
    let fixed = ["recover", "job.toml", "--json", "--records", "records", "--port", port];
    let output = panelflash(dir, &[&fixed, more].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().expect("exits"), value, errors)
}

#[test]
fn a_bricked_board_is_recovered_and_its_history_tells_of_it() {
    let board = Board::start(&["--device", "F405", "--fault", "protected"]);
    let dir = bench();
    let (exit, value, errors) = recover(dir.path(), &board.port, &[]);
    assert_eq!((exit, &value["code"]), (2, &Value::from("E708 rom-no-consent")), "{errors}");
    assert!(errors.contains("ERASES THE WHOLE CHIP"), "{errors}");

    let (exit, value, errors) = recover(dir.path(), &board.port, &["--yes"]);
    assert_eq!((exit, &value["result"]), (0, &Value::from("pass")), "{errors}");
    assert_eq!(value["board"]["found"], "protected");
    let uid = value["board"]["uid"].as_str().expect("a UID").to_owned();

    let (exit, value, errors) = recover(dir.path(), &board.port, &[]);
    assert_eq!((exit, &value["board"]["found"]), (0, &Value::from("this-release")), "{errors}");
    assert_eq!(value["board"]["blocks_written"], 0);

    let report = panelflash(dir.path(), &["report", "unit", &uid, "--records", "records"]);
    let history = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(
        report.status.success() && history.contains(": pass") && history.contains("recovery"),
        "{history}"
    );
}

/// Where the identity lies, for jobs of units that have one.
const IDENTITY: &str = "\n[identity]\naddress = 0x08010000\nlength = 512\nunit = 4\n";

#[test]
fn a_bricked_unit_gets_the_identity_again_that_the_ledger_has_for_its_uid() {
    let board = Board::start(&["--device", "F405", "--fault", "protected"]);
    let dir = bench();
    let (exit, value, errors) = recover(dir.path(), &board.port, &["--yes"]);
    assert_eq!((exit, &value["identity"]), (0, &Value::Null), "no ledger yet: {errors}");
    let uid = value["board"]["uid"].as_str().expect("a UID").to_owned();
    let ledger = |args: &[&str]| {
        let fixed = ["ledger", "--records", "records"];
        let output = panelflash(dir.path(), &[&fixed, args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ledger(&["add", "--product", "bench board", "--serial-format", "B-{counter:4}", "--count", "9"]);
    ledger(&["allocate", "--product", "bench board", "--serial", "--uid", &uid]);

    let (exit, value, errors) = recover(dir.path(), &board.port, &["--yes"]);
    assert_eq!((exit, &value["code"]), (2, &Value::from("E501 job-file")), "{errors}");
    assert!(errors.contains("unit B-0001") && errors.contains("[identity]"), "{errors}");

    std::fs::write(dir.path().join("job.toml"), JOB.to_owned() + IDENTITY).expect("writable");
    for again in [false, true] {
        let (exit, value, errors) = recover(dir.path(), &board.port, &["--yes"]);
        let identity = &value["identity"];
        assert_eq!((exit, &identity["serial"]), (0, &Value::from("B-0001")), "{again}: {errors}");
        assert_eq!(
            (&identity["restored"], &identity["state"]),
            (&Value::from(true), &Value::from("confirmed"))
        );
    }
    assert!(ledger(&["show", &uid]).contains("recovery"), "{}", ledger(&["show", &uid]));
    let read = ["rom", "read", "--address", "0x08010000", "--length", "340", "--output", "identity.bin"];
    let output = panelflash(dir.path(), &[&read[..], &["--port", &board.port]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let there = std::fs::read(dir.path().join("identity.bin")).expect("written");
    assert_eq!(panel_ledger::region::decode(&there).expect("an identity").serial(), "B-0001");

    // Taken out for ever: refused, and left alone.
    ledger(&["void", "1", "--reason", "dropped"]);
    let (exit, value, errors) = recover(dir.path(), &board.port, &["--yes"]);
    assert_eq!((exit, &value["code"]), (1, &Value::from("E642 unit-void")), "{errors}");
    assert!(errors.contains("dropped"), "{errors}");
}

#[test]
fn a_recovery_that_was_killed_is_finished_by_the_next_and_its_doubt_resolved() {
    let board = Board::start(&["--device", "F405"]);
    let dir = bench();
    let mut first = Command::new(BIN)
        .current_dir(dir.path())
        .args(["recover", "job.toml", "--records", "records", "--yes", "--port", &board.port])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // Kills it when the first quarter has been written.
    let mut lines = BufReader::new(first.stderr.take().expect("piped")).lines();
    let written = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("write: 25 %"));
    first.kill().expect("kill");
    first.wait().expect("ends");
    assert!(written, "it was writing");

    let (exit, value, errors) = recover(dir.path(), &board.port, &["--yes"]);
    assert_eq!((exit, &value["result"]), (0, &Value::from("pass")), "{errors}");
    let check = panelflash(dir.path(), &["report", "verify", "--records", "records"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn a_missing_port_and_a_bad_job_end_with_their_codes_before_anything_is_touched() {
    let dir = bench();
    let (exit, _, errors) = recover(dir.path(), "/dev/no-such-port", &[]);
    assert_eq!(exit, 3, "{errors}");
    assert!(errors.contains("E722"), "{errors}");
    std::fs::write(dir.path().join("job.toml"), JOB.replace("0x08000000", "0x07000000")).expect("writable");
    let (exit, _, errors) = recover(dir.path(), "/dev/no-such-port", &[]);
    assert_eq!(exit, 2, "{errors}");
}

#[test]
fn a_port_that_is_in_use_or_goes_away_is_named() {
    let board = Board::start(&["--device", "F405"]);
    let dir = bench();
    let mut reader = Command::new(BIN)
        .current_dir(dir.path())
        .args(["rom", "read", "--address", "0x08000000", "--length", "1MiB", "--output", "out.bin"])
        .args(["--port", &board.port])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(reader.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("read: 25 %")), "it was reading");
    let (exit, value, errors) = recover(dir.path(), &board.port, &["--yes"]);
    drop(board);
    let told: Vec<String> = lines.collect();
    let ended = reader.wait().expect("ends");
    assert_eq!(exit, 3, "{value} {errors}");
    assert!(errors.contains("E720"), "{errors}");
    assert_eq!(ended.code(), Some(3), "{told:?}");
    assert!(told.iter().any(|line| line.contains("E721")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("--resume goes on there")), "{told:?}");
}
