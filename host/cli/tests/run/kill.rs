//! The host dies in the middle of a run; the boards stay as they are, in their flash files.
//!
//! Whatever the moment: the database opens, says which units are in doubt, and the next run resolves each by
//! reading its board. No unit is ever recorded PASS whose flash does not hold the image and a valid mark.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use panel_simulator::{BusSpeed, Chip, World, WorldConfig};
use panel_store::{AttemptResult, Filter, InDoubt, Store};
use serde_json::Value;

use super::harness::{Place, Run, firmware, job};

const IMAGE: &str = "bench-64k.bin";
const IMAGE_BASE: u32 = 0x0802_0000;
/// Layout of image records: protocol/src/node/record.rs.
const RECORD_BASE: u32 = 0x080E_0000;
const RECORD_AREA: usize = 128 * 1024;
const RECORD: usize = 64;
const BOARDS: u16 = 21;

/// One panel and its records, through several runs of the program.
struct Station {
    place: Place,
    job: PathBuf,
}

impl Station {
    fn new() -> Self {
        let place = Place::new();
        let job = place.file("job.toml", job(IMAGE, ""));
        Self { place, job }
    }

    fn command(&self) -> Command {
        let mut command = self.place.command();
        command.arg(&self.job).arg("--boards").arg(self.boards());
        command.args(["--virtual-time", "--json"]).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn boards(&self) -> PathBuf {
        self.place.path("boards")
    }

    /// Runs and kills the program after this time.
    fn run_and_kill(&self, after: Duration) {
        let mut child = self.command().spawn().expect("the binary starts");
        wait(after);
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// A run to the end, and what each board said of itself before anything was done to it.
    fn run(&self) -> (Run, Vec<(u16, bool)>) {
        let log = self.place.path("log");
        let mut command = self.command();
        command.arg("--event-log").arg(&log).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = Run::of(&command.output().expect("the binary starts"));
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found = lines.filter(|e| e["event"] == "image-found").filter_map(|e| {
            let slot = u16::try_from(e["slot"].as_u64()?).ok()?;
            Some((slot, e["state"] == "Valid" && e["same"] == true))
        });
        (run, found.collect())
    }

    /// The records, if the program came so far as to make some.
    fn store(&self) -> Option<Store> {
        let made = self.place.records().join("records.db").exists();
        made.then(|| Store::open(&self.place.records()).expect("the database opens"))
    }

    fn in_doubt(&self) -> Vec<InDoubt> {
        self.store().map_or_else(Vec::new, |store| store.in_doubt().expect("it says who is in doubt"))
    }

    /// Slots that were ever recorded PASS.
    fn passed(&self) -> Vec<u16> {
        let Some(store) = self.store() else { return Vec::new() };
        let lines = store.records().csv(&Filter::default()).expect("attempts");
        lines.iter().filter(|l| l.result == AttemptResult::Pass).map(|l| l.slot).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "killing a process at a moment needs the moment")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "the moments are spread over the time that a whole run takes")]
fn clean_run() -> Duration {
    let station = Station::new();
    let begin = Instant::now();
    station.run().0.assert_all_pass();
    begin.elapsed()
}

/// Whether the flash of a board holds the image, and its newest record calls it valid.
fn holds_the_image(boards: &Path, slots: &[u16]) -> Vec<u16> {
    let chip = Chip::by_name("F405").expect("known");
    let mut config = WorldConfig::panel(BOARDS, chip, BusSpeed::CAN_1M);
    config.flash_dir = Some(boards.to_owned());
    let world = World::new(config, 1).expect("the boards' files");
    let image = std::fs::read(firmware(IMAGE)).expect("test data");
    let holds = |slot: &u16| {
        let flash = world.flash_bytes(*slot, IMAGE_BASE, image.len()).expect("in flash");
        let area = world.flash_bytes(*slot, RECORD_BASE, RECORD_AREA).expect("in flash");
        let newest = area.chunks(RECORD).rfind(|slot| slot.iter().any(|&b| b != 0xFF));
        flash == image && newest.is_some_and(|mark| mark.starts_with(b"PFR1\x02"))
    };
    slots.iter().copied().filter(holds).collect()
}

fn assert_passes_are_true(station: &Station) {
    let passed = station.passed();
    if !passed.is_empty() {
        assert_eq!(holds_the_image(&station.boards(), &passed), passed);
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Kills runs at `moments`, given in thousandths of a whole run, one after the other, and then lets one end.
/// Returns how many units were in doubt.
fn kill_at(moments: &[u64], whole: Duration) -> usize {
    let station = Station::new();
    let mut doubts = 0;
    for &moment in moments {
        let after = whole * u32::try_from(moment).expect("small") / 1000;
        station.run_and_kill(after);
        assert_passes_are_true(&station);
        doubts += station.in_doubt().len();
    }
    let passed = station.passed();
    let (run, found) = station.run();
    run.assert_all_pass();
    assert_passes_are_true(&station);
    assert_eq!(station.in_doubt(), [], "after {moments:?} of 1000");
    // Who had passed before said so itself when it was asked again.
    for slot in passed {
        let said = found.iter().rev().find(|(s, _)| *s == slot).is_some_and(|(_, whole)| *whole);
        assert!(said, "slot {slot} after {moments:?} of 1000");
    }
    doubts
}

fn kill_all(seeds: std::ops::Range<u64>) {
    let whole = clean_run();
    let count = seeds.end - seeds.start;
    let doubts = seeds.clone().map(|seed| {
        // One moment in each equal part of the run; every third station dies again in its next run.
        let moment = (1000 * (seed - seeds.start) + random(seed) % 1000) / count;
        let again = (seed % 3 == 0).then(|| random(seed + 100) % 1000);
        kill_at(&[moment].into_iter().chain(again).collect::<Vec<_>>(), whole)
    });
    // Otherwise the moments were all before or after what this is about.
    assert!(doubts.sum::<usize>() > usize::from(BOARDS));
}

#[test]
fn a_station_that_dies_at_any_moment_leaves_true_records() {
    kill_all(0..25);
}

#[test]
fn a_station_that_dies_at_any_other_moment_leaves_true_records_too() {
    kill_all(1000..1025);
}
