//! `panelflash rom` against `panelflash sim rom`, each as its own process, over pseudo-terminals.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const BIN: &str = env!("CARGO_BIN_EXE_panelflash");

/// Simulated boards that live as long as this value.
struct Boards {
    child: Child,
    ports: Vec<String>,
}

impl Boards {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(BIN)
            .args(["sim", "rom", "--unpaced", "--on-close", "keep"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let count =
            arguments.iter().position(|a| *a == "--uart").map_or(1, |i| arguments[i + 1].parse().expect("n"));
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ports = lines.take(count).map(|l| l.expect("a path")).collect();
        Self { child, ports }
    }
}

impl Drop for Boards {
    fn drop(&mut self) {
        self.child.kill().expect("running");
        self.child.wait().expect("ends");
    }
}

fn rom(port: &str, arguments: &[&str]) -> Output {
    Command::new(BIN)
        .args(["rom", "--json", "--port", port])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("runs")
}

fn good(port: &str, arguments: &[&str]) -> Value {
    let output = rom(port, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Exit code and code of a command that must fail.
fn bad(port: &str, arguments: &[&str]) -> (i32, String) {
    let output = rom(port, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = errors.lines().find_map(|l| l.strip_prefix("error: ")).unwrap_or(&errors).to_owned();
    (output.status.code().expect("exits"), code)
}

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/firmware").join(name).display().to_string()
}

fn scratch(name: &str) -> PathBuf {
    let dir = tempfile::tempdir().expect("temporary directory").keep();
    dir.join(name)
}

#[test]
fn an_image_is_written_read_back_and_read_out_in_every_format() {
    let boards = Boards::start(&["--device", "F405"]);
    let port = &boards.ports[0];
    let written = good(port, &["write", &data("demo-f405.elf")]);
    assert_eq!((&written["verified"], &written["units_erased"]), (&Value::Bool(true), &Value::from(2)));
    assert_eq!(good(port, &["verify", &data("demo-f405.srec")])["equal"], true);
    let original = std::fs::read(data("demo-f405-256k.bin")).expect("committed");
    for name in ["out.bin", "out.hex", "out.srec"] {
        let out = scratch(name);
        let path = out.display().to_string();
        good(port, &["read", "--address", "0x08020000", "--length", "64KiB", "--output", &path]);
        let read = panel_image::parse(
            &std::fs::read(&out).expect("written"),
            name,
            (name == "out.bin").then_some(0x0802_0000),
        );
        assert_eq!(read.expect("parses").bytes(0x0802_0000..0x0803_0000), Some(&original[..65536]), "{name}");
    }
}

#[test]
fn info_says_what_the_chip_is() {
    let boards = Boards::start(&["--uart", "2", "--device", "G431"]);
    let info = good(&boards.ports[0], &["info"]);
    assert_eq!((&info["product_id"], &info["blank"]), (&Value::from("0x468"), &Value::from(true)));
    let other = good(&boards.ports[1], &["info"]);
    assert_ne!(info["uid"], other["uid"]);
}

#[test]
fn what_erases_everything_is_not_done_without_consent() {
    let boards = Boards::start(&["--device", "F405"]);
    let port = &boards.ports[0];
    good(port, &["write", &data("bench-64k.bin"), "--address", "0x08020000"]);
    assert_eq!(bad(port, &["erase"]), (2, "E708 rom-no-consent".to_owned()));
    assert_eq!(good(port, &["verify", &data("bench-64k.bin"), "--address", "0x08020000"])["equal"], true);
    good(port, &["protect"]);
    assert_eq!(
        bad(port, &["write", &data("bench-64k.bin"), "--address", "0x08020000"]).1,
        "E705 rom-protected"
    );
    assert_eq!(bad(port, &["unprotect"]), (2, "E708 rom-no-consent".to_owned()));
    good(port, &["unprotect", "--yes"]);
    assert_eq!(good(port, &["info"])["blank"], true);
}

#[test]
fn a_write_that_was_killed_is_resumed_where_it_stopped() {
    let boards = Boards::start(&["--device", "F405"]);
    let port = &boards.ports[0];
    let write = ["write", &data("bench-64k.bin"), "--address", "0x08020000"];
    let mut first = Command::new(BIN)
        .args(["rom", "--port", port])
        .args(write)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(first.stderr.take().expect("piped")).lines();
    let half = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("write: 50 %"));
    first.kill().expect("kill");
    first.wait().expect("ends");
    assert!(half, "it was writing");

    let resume = [&write[..], &["--resume"]].concat();
    let resumed = good(port, &resume);
    let blocks = resumed["blocks_written"].as_u64().expect("a number");
    assert!(blocks < 160 && resumed["units_erased"] == 0, "{resumed}");
    assert_eq!(good(port, &write[..])["verified"], true);
    assert_eq!(good(port, &resume)["blocks_written"], 0);
}

#[test]
fn write_protected_flash_is_named_and_can_be_opened() {
    let boards = Boards::start(&["--device", "F405"]);
    let port = &boards.ports[0];
    good(port, &["protect", "--write", "5"]);
    let write = ["write", &data("bench-64k.bin"), "--address", "0x08020000"];
    assert_eq!(bad(port, &write), (1, "E711 rom-write-protected".to_owned()));
    good(port, &["unprotect", "--write"]);
    assert_eq!(good(port, &write)["verified"], true);
}

#[test]
fn lines_that_cannot_be_had_are_named_before_the_chip_is_touched() {
    let boards = Boards::start(&["--device", "F405"]);
    let port = &boards.ports[0];
    assert_eq!(bad(port, &["info", "--boot", "rts"]).0, 2, "BOOT0 counts at a reset only");
    assert_eq!(bad(port, &["info", "--reset", "NRST"]).0, 2, "no such line");
    // A pseudo-terminal has no DTR, and no chip is called so.
    assert_eq!(bad(port, &["info", "--reset", "dtr"]), (3, "E404 fixture-fault".to_owned()));
    assert_eq!(bad(port, &["info", "--reset", "gpio:nochip/NRST"]), (3, "E404 fixture-fault".to_owned()));
}

#[test]
fn a_chip_is_never_closed_for_ever_by_accident() {
    let boards = Boards::start(&["--device", "G431"]);
    let port = &boards.ports[0];
    let before = good(port, &["option"])["option_bytes"].as_str().expect("readable").to_owned();
    let level2 = format!("CC{}", &before[2..]);
    assert_eq!(bad(port, &["option", "--write", &level2]).0, 2);
    assert_eq!(good(port, &["option"])["option_bytes"], before.as_str());
}

#[test]
fn closing_a_chip_for_ever_needs_the_flag_that_says_so() {
    let boards = Boards::start(&["--device", "G431"]);
    let port = &boards.ports[0];
    let before = good(port, &["option"]);
    assert_eq!(before["readout_protection"], "Zero");
    let level2 = format!("CC{}", &before["option_bytes"].as_str().expect("readable")[2..]);
    let (exit, code) = bad(port, &["option", "--write", &level2, "--close-the-chip-for-ever"]);
    // It must be reset before it takes the option bytes over, and this port has no lines.
    assert_eq!((exit, code.as_str()), (1, "E710 rom-power-cycle"));
    // Of an H5 no source says how the ROM gives out or takes its product state: it is said, and nothing is sent.
    let h5 = Boards::start(&["--device", "H563"]);
    let port = &h5.ports[0];
    let written = rom(port, &["option", "--write", "5C000000", "--close-the-chip-for-ever"]);
    let told = String::from_utf8_lossy(&written.stderr);
    assert_eq!(written.status.code(), Some(2), "{told}");
    assert!(told.contains("option bytes"), "{told}");
    assert_eq!(good(port, &["info"])["product_id"], "0x484");
}

#[test]
fn a_read_that_was_interrupted_goes_on_where_it_stopped() {
    let boards = Boards::start(&["--device", "F405"]);
    let port = &boards.ports[0];
    good(port, &["write", &data("bench-64k.bin"), "--address", "0x08020000"]);
    let out = scratch("out.bin");
    let path = out.display().to_string();
    let read = ["read", "--address", "0x08020000", "--length", "512KiB", "--output", &path];
    let mut expected = std::fs::read(data("bench-64k.bin")).expect("committed");
    expected.resize(512 * 1024, 0xFF);
    let mut first = Command::new(BIN)
        .args(["rom", "--port", port])
        .args(read)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(first.stderr.take().expect("piped")).lines();
    let half = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("read: 25 %"));
    let signal = Command::new("kill").args(["-INT", &first.id().to_string()]).status().expect("runs");
    let ended = first.wait().expect("ends");
    assert!(half && signal.success());
    assert_eq!(ended.code(), Some(130), "Ctrl-C");
    assert!(!out.exists(), "a file that is there is whole");
    let resumed = good(port, &[&read[..], &["--resume"]].concat());
    assert!(resumed["resumed_at"].as_u64().expect("a number") >= 16384, "{resumed}");
    assert!(std::fs::read(&out).expect("written") == expected);

    // What is left of another board is not gone on with.
    std::fs::write(format!("{path}.08020000.part"), [0x5A; 4096]).expect("writable");
    let anew = good(port, &[&read[..], &["--resume"]].concat());
    assert_eq!(anew["resumed_at"], 0);
    assert!(std::fs::read(&out).expect("written") == expected);
}

#[test]
fn ports_and_files_that_are_wrong_are_named_and_nothing_is_touched() {
    assert_eq!(bad("/dev/no-such-port", &["info"]), (3, "E722 port-missing".to_owned()));
    let boards = Boards::start(&["--device", "F405"]);
    let port = &boards.ports[0];
    assert_eq!(bad(port, &["write", "/no/such/file"]), (2, "E513 file-unreadable".to_owned()));
    assert_eq!(bad(port, &["write", &data("bench-64k.bin"), "--address", "0x07000000"]).0, 2);
    assert_eq!(good(port, &["info"])["blank"], true);
    assert_eq!(
        bad(port, &["verify", &data("bench-64k.bin"), "--address", "0x08020000"]),
        (1, "E216 verify-mismatch".to_owned())
    );
}

#[test]
fn a_silent_port_and_a_wrong_chip_end_with_their_codes() {
    let mute = Boards::start(&["--device", "F405", "--fault", "mute"]);
    assert_eq!(bad(&mute.ports[0], &["info"]), (3, "E701 rom-no-sync".to_owned()));
    // With the chip known, a person is told what to look at.
    let told = rom(&mute.ports[0], &["info", "--force-device", "F405"]).stderr;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("starts its ROM with BOOT0 = 1 and BOOT1 = 0"), "{told}");
    let boards = Boards::start(&["--device", "F103"]);
    let (exit, _) = bad(&boards.ports[0], &["write", &data("demo-f405.hex")]);
    assert_eq!(exit, 2, "0x08020000 is beyond the flash of a small F103");
}
