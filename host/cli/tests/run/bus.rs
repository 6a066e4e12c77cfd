//! `panelflash bus`: boards are found, frames decoded, logs written and replayed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread::spawn;

use serde_json::Value;

use super::harness::{Place, panelflash};
use super::links::{Far, ask, panel};

fn bus(what: &str, args: &[&str]) -> Output {
    let mut command: Command = panelflash("bus");
    command.arg(what).args(args).stdin(Stdio::null()).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_scan_finds_the_boards_that_have_power_and_asks_what_they_are() {
    let place = Place::new();
    let (adapter, socket) = (place.path("adapter"), place.path("fixture"));
    let file = place.file("panel.toml", panel(&format!("slcan:{}", adapter.display()), &socket, ""));
    let _far = Far::start(&["--panel".as_ref(), file.as_os_str()]);
    let adapter = adapter.to_str().expect("text");

    let nobody = bus("scan", &["--slcan", adapter]);
    assert_eq!(nobody.status.code(), Some(1), "{}", text(&nobody.stderr));
    assert!(text(&nobody.stderr).contains("no board answers"), "{}", text(&nobody.stderr));

    let mut power = std::os::unix::net::UnixStream::connect(&socket).expect("it listens");
    writeln!(power, "power on 1 2 4").expect("it listens");
    while ask(&socket, "current 4").ends_with("=0") {}
    // The boards need some 75 ms to start.
    let scan = || {
        let found = bus("scan", &["--slcan", adapter, "--json"]);
        let rows: Vec<Value> = serde_json::from_slice(&found.stdout).unwrap_or_default();
        (found, rows)
    };
    let (found, rows) = (0..20).map(|_| scan()).find(|(_, rows)| rows.len() == 3).expect("they start");
    let straps: Vec<Option<u64>> = rows.iter().map(|r| r["straps"].as_u64()).collect();
    assert_eq!((found.status.code(), straps), (Some(0), vec![Some(1), Some(2), Some(4)]));
    assert!(rows.iter().all(|r| r["device_id"] == "0x413" && r["image"] == "none"), "{rows:?}");
    let table = text(&bus("scan", &["--slcan", adapter]).stdout);
    assert!(table.ends_with("3 boards\n"), "{table}");
}

const LOG: &str = "(1700000000.000000) can0 300#21\n\
                   (1700000000.000250) can0 087#0102\n\
                   (1700000000.000500) can0 0C3A4105#\n\
                   \n\
                   (1700000000.001000) can0 400#0011223344556677 T\n\
                   (1700000000.002000) can0 20000004#0001000000000000\n\
                   (1700000000.003000) can0 18DAF110#023E00\n";

#[test]
fn a_log_of_candump_is_replayed_decoded() {
    let place = Place::new();
    let log = place.file("log", LOG);
    let log = log.to_str().expect("text");
    let lines = text(&bus("monitor", &["--replay", log]).stdout);
    let expected = [
        ("0.000000", "host", "to all: census", "300#21"),
        ("0.000250", "node 7", "hold, 2 buffers free", "087#0102"),
        ("0.000500", "board", "here, UID key 3A4105", "x0C3A4105#"),
        ("0.001000", "host", "data, segment tag 0, chunk 0, 8 bytes", "400#0011223344556677"),
        ("0.003000", "?", "nobody's identifier", "x18DAF110#023E00"),
    ];
    assert_eq!(lines.lines().count(), expected.len(), "{lines}");
    for (line, (time, from, meaning, raw)) in lines.lines().zip(expected) {
        assert!(line.trim_start().starts_with(time), "{line}");
        assert!(line.contains(from) && line.contains(meaning) && line.ends_with(raw), "{line}");
    }
    let json = text(&bus("monitor", &["--replay", log, "--json"]).stdout);
    let first: Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&first["id"], &first["from"], &first["meaning"]),
        (&0x300.into(), &"host".into(), &"to all: census".into())
    );
    let again = text(&bus("monitor", &["--replay", log, "--candump"]).stdout);
    let kept = |line: &&str| !line.is_empty() && !line.contains("20000004");
    let wanted: Vec<&str> = LOG.lines().filter(kept).map(|l| l.trim_end_matches(" T")).collect();
    assert_eq!(again.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn a_line_that_is_no_frame_is_named() {
    let place = Place::new();
    let log = place.file("log", "(1700000000.000000) can0 300#21\n(1700000000.000000) can0 300#2\n");
    let output = bus("monitor", &["--replay", log.to_str().expect("text")]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("E513 file-unreadable") && error.contains("line 2: `300#2` is no frame"),
        "{error}"
    );
}

/// A gateway that sends one census, as docs/protocol.md section 14 writes it, and stays until it is left.
fn gateway() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    spawn(move || {
        while let Ok((mut peer, _)) = listener.accept() {
            _ = peer.write_all(&[0, 1, 2, 3, 1, 6, 0x21, 0xAD, 0x48, 0xFE, 0x98, 0]);
            _ = peer.read(&mut [0; 16]);
        }
    });
    address
}

#[test]
fn what_passes_on_a_bus_is_written_as_candump_writes_it_and_counted() {
    let address = gateway();
    let log = text(&bus("monitor", &["--tcp", &address, "--candump", "--seconds", "1"]).stdout);
    let line = log.lines().next().expect("a frame passed");
    let (time, rest) = line.split_once(' ').expect("a line of a log");
    assert!(time.starts_with("(1") && time.ends_with(')') && rest.ends_with(" 300#21"), "{line}");
    let status = bus("status", &["--tcp", &address, "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!((&status["frames"], &status["foreign"]), (&1.into(), &0.into()), "{status}");
}

#[test]
fn a_bus_that_is_not_named_or_not_there_is_an_error() {
    let unnamed = bus("status", &[]);
    assert_eq!(unnamed.status.code(), Some(2), "{}", text(&unnamed.stderr));
    let absent = bus("scan", &["--slcan", "/dev/no-such-adapter"]);
    let error = text(&absent.stderr);
    assert_eq!(absent.status.code(), Some(3), "{error}");
    assert!(error.contains("E417 link-missing") && error.contains("/dev/no-such-adapter"), "{error}");
}
