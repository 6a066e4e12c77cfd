//! job.toml: what a short file means, and what is said about a wrong one.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use panel_backplane::{Panel, Slot, Way};
use panel_codes::Code;
use panel_job::{Finish, FitError, IdentityArea, Job, JobLock, JobSeal, Limits, Verify, demo};
use panel_protocol::time::Span;
use proptest::prelude::*;

const SHORT: &str =
    "name = 'j'\n[target]\nchip = 'STM32F405'\ndevice_id = 0x413\n[[image]]\nfile = 'a.elf'\n";

fn parse(text: &str) -> Job {
    Job::parse(text, Path::new("jobs")).unwrap()
}

/// The messages of a file, each after its line.
fn messages(text: &str) -> Vec<String> {
    let problems = Job::parse(text, Path::new("")).unwrap_err();
    problems.list().iter().map(|p| format!("{}: {}", p.at.line, p.kind)).collect()
}

#[test]
fn a_short_job_has_careful_defaults() {
    let job = parse(SHORT);
    assert_eq!((job.name.as_str(), job.product.as_str(), job.production), ("j", "j", false));
    assert_eq!((job.retries, job.verify), (0, Verify::CrcAndSha256));
    assert_eq!((job.limits, job.minimum_supply_mv, job.start_application), (Limits::default(), None, true));
    assert_eq!((&job.target.chip[..], job.target.device_id), ("STM32F405", 0x413));
    assert!(job.ways.is_empty() && job.target.hardware_revisions.is_empty());
}

#[test]
fn relative_paths_begin_at_the_jobs_directory() {
    let job = parse(&SHORT.replace("a.elf", "../out/a.elf"));
    assert_eq!(job.images[0].path, PathBuf::from("jobs/../out/a.elf"));
    let job = parse(&SHORT.replace("a.elf", "/srv/a.elf"));
    assert_eq!(job.images[0].path, PathBuf::from("/srv/a.elf"));
}

#[test]
fn values_with_units_are_read() {
    let text = SHORT.to_owned()
        + "address = '0x0802_0000'\n[limits]\nanswer = '0.1 s'\nmissed_per_mille = 7\ntries = 9\n";
    let job = parse(&text);
    assert_eq!(job.images[0].address, Some(0x0802_0000));
    assert_eq!((job.limits.answer, job.limits.missed_per_mille), (Span::from_millis(100), 7));
    assert_eq!(job.limits.tries, 9);
}

#[test]
fn the_place_of_the_identity_is_read_and_a_place_that_cannot_be_is_named() {
    let identity = |text: &str| SHORT.to_owned() + "[identity]\n" + text;
    let job = parse(&identity("address = 0x080E0000\nlength = 512\nunit = 4\nhardware = '3'\n"));
    let expected = IdentityArea { address: 0x080E_0000, length: 512, unit: 4, hardware: "3".to_owned() };
    assert_eq!(job.identity, Some(expected));
    assert_eq!(parse(SHORT).identity, None);
    assert_eq!(
        messages(&identity("address = 0x080E0002\nlength = 0\nunit = 4\n")).len(),
        2,
        "neither aligned nor an area"
    );
    assert_eq!(messages(&identity("address = 0x080E0000\nlength = 8\nunit = 3\n")).len(), 1);
    assert_eq!(messages(&identity("unit = 4\n")).len(), 2, "both are needed");
}

#[test]
fn a_seal_needs_a_key_and_a_counter_that_its_floor_allows() {
    let seal = |lines: &str| format!("{SHORT}[seal]\n{lines}");
    let job = parse(&seal("key = 'p.pem'\ncounter = 4\nfloor = 4\n"));
    assert_eq!(job.seal, Some(JobSeal { key: PathBuf::from("jobs/p.pem"), counter: 4, floor: 4 }));
    assert_eq!(parse(&seal("key = 'p.pem'\ncounter = 4\n")).seal.unwrap().floor, 0);
    let problems = messages(&seal("counter = 3\nfloor = 4\n"));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|p| p.starts_with("9: ") && p.contains("4 is above")), "{problems:?}");
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let text = "nmae = 'x'\nretries = 11\nverify = 'crc'\nways = ['multi-drop']\nminimum_supply_mv = 33\n\
        start_application = 'yes'\noperator = ''\n\
        [target]\nchip = 5\ndevice_id = 0x1413\nhardware_revisions = []\n\
        [[image]]\naddress = '08020000'\n\
        [limits]\nanswer = '0 ms'\nquiet = 4\nmissed_per_mille = 0\ncensuss = '1 s'\n";
    assert_eq!(
        messages(text),
        [
            "1: the file needs the key `name`",
            "1: unknown key `nmae` in the file, did you mean `name`?",
            "2: `retries` is not usable: 11 is not 0 to 10",
            "3: `verify` is `crc`, which is none of `crc+sha256`, `digest`",
            "4: `ways` is not usable: it names no way that is known; leave it out to allow any",
            "4: `ways` is `multi-drop`, which is none of `multidrop`, `rom-uart`, `rom-can`, `rom-fdcan`, \
             `rom-uart+agent`, `rom-can+agent`, `rom-fdcan+agent`, did you mean `multidrop`?",
            "5: `minimum_supply_mv` is not usable: 33 is not 1620 to 5500",
            "6: `start_application` must be true or false, not a text in quotes",
            "7: `operator` is not usable: it is empty",
            "9: `chip` must be a text in quotes, not a whole number",
            "10: `device_id` is not usable: 0x1413 is not a 12-bit device ID such as 0x413",
            "11: `hardware_revisions` is not usable: it names no revision; leave it out to allow any",
            "12: [[image]] needs the key `file`",
            "13: `address` is not usable: `08020000` is not an address, such as 0x08020000",
            "15: `answer` is not usable: no time at all is not enough",
            "16: `quiet` must be a time with its unit, such as \"20 ms\", not a whole number",
            "17: `missed_per_mille` is not usable: 0 is not 1 to 1000",
            "18: unknown key `censuss` in [limits], did you mean `census`?",
        ]
    );
}

#[test]
fn what_boards_are_given_beside_the_image_is_read_and_level_2_is_refused() {
    let finish = |lines: &str| format!("{SHORT}\n[finish]\n{lines}\n");
    let job = parse(&finish(
        "lock = 'level-1'\nwrite_protect = 'bootloader'\noptions = ['BOR_LEV=2', 'DATA0 = 0x5A']",
    ));
    assert_eq!((job.finish.lock, job.finish.protect_bootloader), (JobLock::Level1, true));
    let options: Vec<_> = job.finish.options.iter().map(|o| (o.name.as_str(), o.value)).collect();
    assert_eq!(options, [("BOR_LEV", 2), ("DATA0", 0x5A)]);
    assert_eq!(parse(SHORT).finish, Finish::default());
    for (lines, why) in [
        ("lock = 'level-2'", "only a release with a second signature"),
        ("lock = 'level-3'", "level-1"),
        ("options = ['BOR_LEV']", "`BOR_LEV` is not a field with its value"),
        ("options = ['BOR_LEV=70000']", "`BOR_LEV=70000` is not a field with its value"),
    ] {
        let all = messages(&finish(lines)).join("\n");
        assert!(all.contains(why), "{all}");
    }
}

#[test]
fn a_job_without_chip_or_image_says_so() {
    assert_eq!(
        messages("name = 'x'"),
        ["1: the file needs the key `target`", "1: the file needs the key `image`"]
    );
    assert_eq!(
        messages("name='x'\nimage='a.elf'\ntarget='STM32F405'"),
        [
            "2: `image` must be a list of tables, each under `[[...]]`, not a text in quotes",
            "3: `target` must be a table, not a text in quotes"
        ]
    );
}

#[test]
fn each_slot_takes_the_first_of_its_ways_that_the_job_allows() {
    let panel = "name='p'\nrows=1\ncolumns=3\nways=['rom-uart','multidrop']\nport='/dev/ttyUSB{slot}'\n\
                 bad_marks=[3]\nbus=[{}]\nslot=[{number=2,ways=['multidrop']}]\n";
    let mut panel = Panel::parse(panel).unwrap();
    let any = parse(SHORT).ways_on(&panel).unwrap();
    assert_eq!(any.into_iter().collect::<Vec<_>>(), [(Slot(1), Way::RomUart), (Slot(2), Way::Multidrop)]);

    let job = parse(&format!("ways = ['rom-uart']\n{SHORT}"));
    let error = job.ways_on(&panel).unwrap_err();
    assert_eq!(error.to_string(), "slot 2 offers \"multidrop\", and the job allows only \"rom-uart\"");
    assert_eq!(error.code(), Code::WayNotOffered);

    let production = parse(&format!("production = true\n{SHORT}"));
    let error = production.ways_on(&panel).unwrap_err();
    assert!(matches!(error, FitError::UnstablePort { slot: Slot(1), .. }));
    assert_eq!(error.code(), Code::PortUnstable);

    panel.mark_bad(&[Slot(1), Slot(2)]).unwrap();
    assert_eq!(parse(SHORT).ways_on(&panel), Err(FitError::NoSlot));
}

#[test]
fn the_demonstration_is_21_boards_on_one_bus() {
    let panel = demo::panel().unwrap();
    let job = demo::job(Path::new("")).unwrap();
    assert_eq!((panel.rows, panel.columns, panel.slots.len(), panel.buses.len()), (3, 7, 21, 1));
    assert_eq!((panel.buses[0].speed(), job.target.device_id), ("can-1M".to_owned(), 0x413));
    let ways = job.ways_on(&panel).unwrap();
    assert!(ways.len() == 21 && ways.values().all(|w| *w == Way::Multidrop));
}

proptest! {
    #[test]
    fn any_text_is_a_job_or_a_list_of_problems(text in "(?s).{0,200}") {
        if let Err(problems) = Job::parse(&text, Path::new("")) {
            prop_assert!(!problems.list().is_empty());
        }
    }

    #[test]
    fn a_job_cut_anywhere_never_panics(cut in 0_usize..400) {
        let cut = demo::JOB_TOML.floor_char_boundary(cut);
        let _ = Job::parse(&demo::JOB_TOML[..cut], Path::new(""));
        let cut = demo::PANEL_TOML.floor_char_boundary(cut);
        let _ = Panel::parse(&demo::PANEL_TOML[..cut]);
    }

    #[test]
    fn a_byte_changed_anywhere_never_panics(at in 0_usize..400, byte in 0_u8..128) {
        for text in [demo::JOB_TOML, demo::PANEL_TOML] {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let text = String::from_utf8(bytes).unwrap();
            let _ = Job::parse(&text, Path::new(""));
            let _ = Panel::parse(&text);
        }
    }
}
