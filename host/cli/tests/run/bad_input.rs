//! What a user can get wrong: one clear message with code and place, the right exit code, and nothing touched.

use std::ffi::OsString;
use std::path::Path;

use super::harness::{Place, Run, firmware};

/// The run ended before anything was touched, with this code and with every one of these texts in its message.
#[track_caller]
fn assert_refused(place: &Place, run: &Run, exit: i32, code: &str, texts: &[&str]) {
    assert_eq!(run.exit, Some(exit), "{}", run.stderr);
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors, [format!("error: {code}")], "{}", run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "`{text}` is not in: {}", run.stderr);
    }
    assert!(!place.records().exists(), "records were made: {}", run.stderr);
    assert!(!place.path("boards").exists(), "boards were touched: {}", run.stderr);
}

fn run(place: &Place, args: &[(&str, &Path)]) -> Run {
    let mut all: Vec<OsString> = vec!["--boards".into(), place.path("boards").into_os_string()];
    for (option, path) in args {
        all.extend((!option.is_empty()).then(|| option.into()));
        all.push(path.into());
    }
    place.run(all)
}

/// A job whose images are these lines.
fn job(images: &str) -> String {
    format!("name = \"bad\"\n[target]\nchip = \"STM32F405\"\ndevice_id = 0x413\n{images}")
}

/// A job with one image file of this name.
fn job_of(name: &str, address: Option<u32>) -> String {
    let address = address.map_or_else(String::new, |a| format!("address = {a:#x}\n"));
    job(&format!("[[image]]\nfile = \"{name}\"\n{address}"))
}

#[track_caller]
fn refuse_image(name: &str, bytes: &[u8], address: Option<u32>, code: &str, texts: &[&str]) {
    let place = Place::new();
    place.file(name, bytes);
    let job = place.file("job.toml", job_of(name, address));
    let run = run(&place, &[("", &job)]);
    assert_refused(&place, &run, 2, code, texts);
}

fn demo(extension: &str) -> Vec<u8> {
    std::fs::read(firmware("demo-f405").with_extension(extension)).expect("test data")
}

#[test]
fn a_damaged_hex_file_is_told_by_line() {
    let hex = ":020000040802F0\n:0400000000000220DB\n:00000001FF\n";
    refuse_image("a.hex", hex.as_bytes(), None, "E504 image-file", &["a.hex", "line 2"]);
    let hex = ":020000040802F0\n:04000000000002\n:00000001FF\n";
    refuse_image("a.hex", hex.as_bytes(), None, "E504 image-file", &["a.hex", "line 2"]);
}

#[test]
fn a_truncated_file_of_every_format_is_refused() {
    for (extension, at) in [("hex", 300_000), ("srec", 200_000), ("elf", 100_000), ("elf", 40)] {
        let whole = demo(extension);
        let name = format!("cut.{extension}");
        refuse_image(&name, &whole[..at], None, "E504 image-file", &[&name]);
    }
}

#[test]
fn a_broken_byte_in_a_record_is_told_by_line() {
    for extension in ["hex", "srec"] {
        let mut whole = demo(extension);
        let line = 1 + whole[..5000].iter().filter(|&&b| b == b'\n').count();
        whole[5000] = if whole[5000] == b'7' { b'8' } else { b'7' };
        let name = format!("broken.{extension}");
        refuse_image(&name, &whole, None, "E504 image-file", &[&name, &format!("line {line}")]);
    }
}

#[test]
fn a_raw_binary_needs_an_address_and_others_must_not_have_one() {
    refuse_image("raw.bin", &[0x55; 64], None, "E504 image-file", &["raw.bin", "address"]);
    let hex = demo("hex");
    refuse_image("a.hex", &hex, Some(0x0802_0000), "E504 image-file", &["a.hex", "address"]);
}

#[test]
fn an_empty_file_is_nothing_to_program() {
    let place = Place::new();
    place.file("empty.bin", []);
    let job = place.file("job.toml", job_of("empty.bin", Some(0x0802_0000)));
    let run = run(&place, &[("", &job)]);
    assert_refused(&place, &run, 2, "E512 image-empty", &[]);
}

#[test]
fn overlapping_images_are_told_with_both_files() {
    let place = Place::new();
    place.file("one.bin", [1; 256]);
    place.file("two.bin", [2; 256]);
    let images = "[[image]]\nfile = \"one.bin\"\naddress = 0x08020000\n\
                  [[image]]\nfile = \"two.bin\"\naddress = 0x08020080\n";
    let job = place.file("job.toml", job(images));
    let run = run(&place, &[("", &job)]);
    assert_refused(&place, &run, 2, "E505 image-overlap", &["one.bin", "two.bin", "0x08020080"]);
}

#[test]
fn images_that_do_not_fit_the_chip_are_told_by_address() {
    let big = vec![0x55; 1 << 20];
    refuse_image("big.bin", &big, Some(0x0800_8000), "E507 image-too-large", &["1048576", "STM32F405"]);
    let small = [0x55; 64];
    refuse_image(
        "low.bin",
        &small,
        Some(0x0700_0000),
        "E506 image-outside-flash",
        &["0x07000000", "low.bin"],
    );
    refuse_image("ram.bin", &small, Some(0x2000_0000), "E506 image-outside-flash", &["0x20000000"]);
    refuse_image("end.bin", &small, Some(0x080F_FFE0), "E506 image-outside-flash", &["0x08100000"]);
    refuse_image(
        "boot.bin",
        &small,
        Some(0x0800_0000),
        "E514 image-reserved-area",
        &["0x08000000", "32 KiB", "0x08008000"],
    );
    refuse_image("low.bin", &small, Some(0x0800_4000), "E514 image-reserved-area", &["0x08004000"]);
    for (address, first) in [(0x080D_FFE0, "0x080e0000"), (0x080E_0040, "0x080e0040")] {
        let words = ["record.bin", first, "0x080fffff"];
        refuse_image("record.bin", &small, Some(address), "E514 image-reserved-area", &words);
    }
}

#[test]
fn an_image_for_another_chip_shows_in_its_stack_pointer() {
    let place = Place::new();
    let text = job_of(&firmware("small-g474-64k.bin").display().to_string(), Some(0x0800_8000));
    let job = place.file("job.toml", text.replace("STM32F405", "STM32G431").replace("0x413", "0x468"));
    let run = run(&place, &[("", &job)]);
    assert_refused(&place, &run, 2, "E508 image-wrong-chip", &["STM32G431", "stack pointer"]);
}

#[test]
fn data_that_is_no_program_may_be_written_but_not_started() {
    let place = Place::new();
    place.file("data.bin", [0x55; 4096]);
    let text = job_of("data.bin", Some(0x080C_0000));
    let job = place.file("job.toml", &text);
    let refused = run(&place, &[("", &job)]);
    assert_refused(&place, &refused, 2, "E508 image-wrong-chip", &["start_application = false"]);
    let job = place.file("job.toml", format!("start_application = false\n{text}"));
    place.run([job.as_os_str()]).assert_all_pass();
}

#[test]
fn files_that_are_not_there_are_named() {
    let place = Place::new();
    let missing = place.path("missing.toml");
    for args in [[("", missing.as_path())], [("--panel", &missing)], [("--scenario", &missing)]] {
        let run = run(&place, &args);
        assert_refused(&place, &run, 2, "E513 file-unreadable", &["missing.toml"]);
    }
    let job = place.file("job.toml", job_of("missing.bin", Some(0x0802_0000)));
    let run = run(&place, &[("", &job)]);
    assert_refused(&place, &run, 2, "E513 file-unreadable", &["missing.bin"]);
}

#[test]
fn unknown_keys_are_told_with_place_and_the_nearest_known_key() {
    let place = Place::new();
    let job = place.file("job.toml", "name = \"bad\"\nretires = 1\n");
    let run_ = run(&place, &[("", &job)]);
    assert_refused(&place, &run_, 2, "E501 job-file", &["job.toml", "line 2, column 1", "`retries`"]);

    let panel = place.file("panel.toml", "name = \"p\"\nrows = 3\ncolums = 7\nbus = [{ link = \"sim\" }]\n");
    let run_ = run(&place, &[("--panel", &panel)]);
    assert_refused(&place, &run_, 2, "E502 panel-file", &["panel.toml", "line 3, column 1", "`columns`"]);

    let scenario = place.file("s.toml", "[[slot]]\nslot = 7\nfault = \"brownout\"\nat_ms = 900\n");
    let run_ = run(&place, &[("--scenario", &scenario)]);
    assert_refused(&place, &run_, 2, "E503 scenario-file", &["s.toml", "line 3, column 9", "`brown-out`"]);
}

#[test]
fn a_chip_nobody_knows_is_refused_with_those_that_are_known() {
    let place = Place::new();
    let text = job_of("x.bin", Some(0x0802_0000)).replace("STM32F405", "STM32F999");
    place.file("x.bin", [0x55; 64]);
    let job = place.file("job.toml", text);
    let run = run(&place, &[("", &job)]);
    assert_refused(&place, &run, 2, "E501 job-file", &["STM32F999", "STM32F405"]);
}

#[test]
fn a_scenario_for_a_slot_that_is_not_there_is_refused() {
    let place = Place::new();
    let scenario = place.file("s.toml", "[[slot]]\nslot = 22\nfault = \"absent\"\n");
    let run = run(&place, &[("--scenario", &scenario)]);
    assert_refused(&place, &run, 2, "E503 scenario-file", &["slot 22"]);
}

#[test]
fn panels_that_cannot_be_are_refused() {
    const BUS: &str = "bus = [{ link = \"sim\" }]\n";
    let twice = "numbering = \"listed\"\n\
                 slot = [{ number = 1, row = 1, column = 1 }, { number = 1, row = 1, column = 2 }]\n";
    let cases = [
        (BUS, twice, "E509 duplicate-slot", "line 6"),
        (BUS, "bad_marks = [1, 2]\n", "E502 panel-file", "marked bad"),
        (BUS, "binding = \"select\"\n[fixture]\nselect = \"sim:s{slot}\"\n", "E502 panel-file", "slot 1"),
        ("", "ways = [\"rom-uart\"]\nport = \"sim\"\n", "E515 way-not-offered", "rom-uart"),
    ];
    for (bus, lines, code, text) in cases {
        let place = Place::new();
        let panel = place.file("panel.toml", format!("name = \"p\"\nrows = 1\ncolumns = 2\n{bus}{lines}"));
        let run = run(&place, &[("--panel", &panel)]);
        assert_refused(&place, &run, 2, code, &[text]);
    }
}

#[test]
fn can_fd_is_refused_for_a_chip_that_would_destroy_its_frames() {
    let place = Place::new();
    let bus = "bus = [{ link = \"sim\", kind = \"fd\" }]";
    let panel = place.file("panel.toml", format!("name = \"p\"\nrows = 1\ncolumns = 2\n{bus}\n"));
    let run = run(&place, &[("--panel", &panel)]);
    assert_refused(&place, &run, 2, "E515 way-not-offered", &["STM32F405", "FD"]);
}

#[test]
fn links_that_are_not_there_and_panels_half_simulated_are_refused_before_anything_is_touched() {
    let place = Place::new();
    let head = "name = \"p\"\nrows = 1\ncolumns = 2\n";
    let panel = place.file("panel.toml", format!("{head}bus = [{{ link = \"socketcan:no-can\" }}]\n"));
    // Real links take no --virtual-time.
    let link = Run::of(&place.command().arg("--panel").arg(&panel).output().expect("the binary starts"));
    assert_refused(&place, &link, 3, "E417 link-missing", &["socketcan:no-can"]);
    let can = "{ link = \"socketcan:no-can\" }";
    for (lines, named) in [
        (
            "bus = [{ link = \"sim\" }]\n[fixture]\npower = \"gpio:backplane/PWR{slot}\"\n".to_owned(),
            "gpio:backplane/PWR1",
        ),
        (format!("bus = [{can}]\n[fixture]\npower = \"sim:p{{slot}}\"\n"), "sim:p1"),
        (format!("bus = [{{ link = \"sim\" }}, {can}]\n"), "bus bus2 (socketcan:no-can) is not"),
    ] {
        let panel = place.file("panel.toml", format!("{head}{lines}"));
        let run = run(&place, &[("--panel", &panel)]);
        assert_refused(&place, &run, 2, "E502 panel-file", &[named]);
    }
}

#[test]
fn a_record_directory_that_cannot_be_is_refused() {
    let place = Place::new();
    let file = place.file("records", "in the way");
    let run = place.run::<&str>([]);
    assert_eq!(run.exit, Some(2), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: E510 records-unwritable"), "{}", run.stderr);
    assert_eq!(std::fs::read(file).expect("still there"), b"in the way");
}

#[test]
fn an_event_log_that_cannot_be_written_is_refused_before_the_run() {
    let place = Place::new();
    let log = place.path("no-such-directory/log");
    let run = place.run(["--event-log".as_ref(), log.as_os_str()]);
    assert_refused(&place, &run, 2, "E516 output-file", &["no-such-directory"]);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let place = Place::new();
    place.run::<&str>([]).assert_all_pass();
    let path = place.records().join("records.db");
    let mut database = std::fs::read(&path).expect("records");
    // SQLite file format, 1.3: the user version is at offset 60.
    database[60..64].copy_from_slice(&0x7FFF_FFFF_u32.to_be_bytes());
    std::fs::write(&path, &database).expect("the test's own file");
    let run = place.run::<&str>([]);
    assert_eq!(run.exit, Some(3), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: E411 database-newer"), "{}", run.stderr);
    assert_eq!(std::fs::read(&path).expect("still there"), database);
}

#[test]
fn a_clock_before_the_newest_record_stops_a_run_before_the_panel() {
    let place = Place::new();
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let text = || "x".to_owned();
    let nothing = || panel_store::Hex([0; 32]);
    let release =
        panel_store::Release { name: text(), version: text(), sha256: nothing(), images: Vec::new() };
    let start = panel_store::RunStart {
        utc_us: ahead.as_microsecond(),
        panel: text(),
        product: text(),
        job: text(),
        job_sha256: nothing(),
        release,
        order: None,
        station: text(),
        operator: text(),
        fixture: text(),
        program_version: text(),
        simulation: None,
        shipment: panel_store::Shipment::Forbidden,
        required_steps: Vec::new(),
        retests: None,
    };
    panel_store::Store::open(&place.records())
        .expect("records")
        .begin_run(&start)
        .expect("a run of tomorrow");
    // In real time: simulated time has no clock that could be wrong.
    let mut command = place.command();
    let refused = Run::of(&command.arg("--json").output().expect("the binary starts"));
    assert_eq!(refused.exit, Some(3), "{}", refused.stderr);
    for words in ["error: E409 station-clock", "it says 20", &ahead.to_string()[..16], "do this: "] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    let store = panel_store::Store::open(&place.records()).expect("records");
    let next = store.records().run(panel_store::RunId(2)).expect("it can be asked");
    assert_eq!(next, None, "no run was begun");
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.records()).expect("the test's own directory");
    let path = place.file("records/records.db", "this is no database, whatever its name says\n".repeat(100));
    let before = std::fs::read(&path).expect("just written");
    let run = place.run::<&str>([]);
    assert_eq!(run.exit, Some(3), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: E412 database-corrupt"), "{}", run.stderr);
    assert_eq!(std::fs::read(&path).expect("still there"), before);
}

#[test]
fn a_command_line_that_makes_no_sense_is_told_like_other_errors() {
    let place = Place::new();
    let refused = place.run(["--seed", "abc"]);
    assert_refused(&place, &refused, 2, "E511 usage", &["--seed", "abc"]);
    let refused = place.run(["--sceanrio", "x"]);
    assert_refused(&place, &refused, 2, "E511 usage", &["--sceanrio", "--scenario"]);
}
