//! `panelflash bench` as other programs use it: keys, order, bounds, and what happens to wrong arguments.

use std::process::{Command, Output};

use serde_json::Value;

/// The keys that every row has, in this order, before any other.
const KEYS: [&str; 15] = [
    "way",
    "family",
    "boards",
    "image_bytes",
    "bus",
    "loss",
    "latency_ms",
    "seconds",
    "bound_seconds",
    "ratio",
    "one_by_one_seconds",
    "frames",
    "frames_repeated",
    "bus_load",
    "host_cpu_seconds",
];

fn bench(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panelflash"));
    command.arg("bench").args(arguments.split_whitespace()).output().expect("the program starts")
}

fn rows(arguments: &str) -> Vec<Value> {
    let output = bench(&format!("--json {arguments}"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("stdout is one JSON array")
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {row}"))
}

#[test]
fn json_rows_are_flat_have_the_fixed_keys_and_beat_no_bound() {
    let text = bench("--json --boards 1,4 --image 64K").stdout;
    let text = String::from_utf8(text).expect("UTF-8");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("one JSON array");
    assert_eq!(rows.iter().map(|r| number(r, "boards")).collect::<Vec<_>>(), [1.0, 4.0]);
    let mut at = 0;
    for key in KEYS {
        at += text[at..].find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} comes in its place"));
    }
    for row in &rows {
        for (key, value) in row.as_object().expect("an object") {
            assert!(value.is_number() || value.is_string(), "{key} is flat");
        }
        assert_eq!(row["way"], "multidrop");
        assert_eq!((&row["family"], &row["bus"]), (&"F4".into(), &"can-1M".into()));
        assert_eq!(number(row, "image_bytes"), 65536.0);
        assert_eq!(number(row, "passed"), number(row, "boards"));
        let ratio = number(row, "seconds") / number(row, "bound_seconds");
        assert!((ratio - number(row, "ratio")).abs() < 1e-9);
        assert!((1.0..1.2).contains(&ratio), "{row}");
        assert!((0.0..=1.0).contains(&number(row, "bus_load")));
        let frames = 65536.0 / 8.0 * 0.8;
        assert!(number(row, "frames") > frames, "the image cannot travel in fewer frames");
    }
    assert_eq!(number(&rows[0], "one_by_one_seconds"), number(&rows[0], "seconds"));
    assert_eq!(number(&rows[1], "one_by_one_seconds"), 4.0 * number(&rows[0], "seconds"));
}

#[test]
fn identity_lock_and_proof_add_less_than_promised_beyond_the_boards_own_times() {
    let rows = rows("--way factory,factory+certificate");
    let names: Vec<_> = rows.iter().map(|r| (r["way"].as_str(), r["family"].as_str())).collect();
    let [f4, g4, f1] = ["F4", "G4", "F1"].map(|family| (Some("factory"), Some(family)));
    assert_eq!(names, [f4, g4, f1, (Some("factory+certificate"), Some("F4"))]);
    assert!(number(&rows[3], "added_seconds") > number(&rows[0], "added_seconds"), "{rows:?}");
    for row in &rows {
        assert_eq!((number(row, "boards"), number(row, "passed")), (21.0, 21.0));
        let added = number(row, "added_seconds");
        assert!(added > 0.0 && added <= 1.5, "{row}");
        assert!((1.0..1.2).contains(&number(row, "ratio")), "{row}");
    }
}

#[test]
fn rows_come_out_the_same_every_time_but_for_processor_time() {
    let measure = || {
        let mut rows = rows("--boards 3 --image 64K --loss 0.01 --family G4 --bus can-1M,fd-1M-5M");
        for row in &mut rows {
            row["host_cpu_seconds"] = Value::Null;
        }
        rows
    };
    let first = measure();
    assert!(first.iter().all(|r| number(r, "frames_repeated") > 0.0), "boards miss frames: {first:?}");
    assert_eq!(first, measure());
}

#[test]
fn two_buses_work_in_parallel() {
    let rows = rows("--boards 8 --buses 1,2 --image 64K");
    let (one, two) = (&rows[0], &rows[1]);
    assert!(number(two, "seconds") <= number(one, "seconds"), "{rows:?}");
    assert!(number(two, "frames") > 1.9 * number(one, "frames"));
}

#[test]
fn what_no_chip_has_room_for_is_left_out_with_a_note() {
    let output = bench("--json --family F1 --image 1M");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]");
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(note.contains("no row for F1 with 1 MiB"), "{note}");
}

#[test]
fn unknown_values_are_usage_errors_that_name_what_exists() {
    for (arguments, known) in [("--bus can-2M", "can-500k"), ("--image 2M", "256K"), ("--family H7", "F4")] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains(known), "{arguments}");
    }
}

#[test]
fn people_get_one_aligned_line_for_each_row() {
    let output = bench("--boards 1,4 --image 64K");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("family") && lines[0].contains("ratio"), "{text}");
    assert!(lines.iter().all(|l| l.len() == lines[0].len()), "{text}");
}

#[test]
fn a_board_in_its_rom_is_programmed_within_two_percent_of_the_bound() {
    let all = rows("--way rom-uart");
    assert_eq!(all.len(), 33);
    for row in &all {
        let most = if number(row, "latency_ms") > 0.0 { 1.05 } else { 1.02 };
        let ratio = number(row, "ratio");
        assert!((1.0..=most).contains(&ratio), "{row}");
        assert_eq!((number(row, "passed"), number(row, "frames_repeated")), (1.0, 0.0), "{row}");
    }
    // What word parallelism saves: 192 microseconds for each of the 16 times 16 bytes of 256, and in erasing.
    let f4: Vec<&Value> = all.iter().filter(|r| r["family"] == "F4").collect();
    let (bytes, words): (Vec<&Value>, Vec<&Value>) =
        f4.iter().partition(|r| number(r, "program_bits") == 8.0);
    for (slow, fast) in bytes.iter().zip(&words) {
        assert_eq!(number(fast, "program_bits"), 32.0);
        assert!(number(slow, "seconds") - number(fast, "seconds") > 1.0 + 128.0 * 0.003, "{fast}");
    }
}

#[test]
fn blank_panels_are_programmed_close_to_the_bound_whatever_the_way() {
    let ways = "--way rom-uart,rom-can,rom-uart+agent,rom-can+agent,rom-fdcan,rom-fdcan+agent";
    let all = rows(&format!("{ways} --boards 21 --image 64K"));
    let most = [
        ("rom-uart", 1.02),
        ("rom-can", 1.03),
        ("rom-uart+agent", 1.08),
        ("rom-can+agent", 1.10),
        ("rom-fdcan", 1.03),
        ("rom-fdcan+agent", 1.10),
    ];
    assert_eq!(all.len(), most.len());
    for (row, (way, most)) in all.iter().zip(most) {
        assert_eq!(row["way"], way);
        let ratio = number(row, "ratio");
        assert!((1.0..=most).contains(&ratio), "{row}");
        assert_eq!(number(row, "passed"), 21.0, "{row}");
    }
}
