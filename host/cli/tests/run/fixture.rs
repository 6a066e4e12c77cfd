//! Fixtures with fewer lines than a slot could have: what one line serves is never cut for one board's sake.

use super::harness::{Place, Run, scenario};

fn run(lines: &str, name: &str) -> Run {
    let place = Place::new();
    let panel = format!(
        "name = \"lines\"\nrows = 3\ncolumns = 7\nbus = [{{ link = \"sim\" }}]\n[fixture]\n{lines}\n"
    );
    let panel = place.file("panel.toml", panel);
    let scenario = scenario(name);
    place.run(["--panel".as_ref(), panel.as_os_str(), "--scenario".as_ref(), scenario.as_os_str()])
}

fn codes(run: &Run) -> Vec<(u64, &str)> {
    run.failures().iter().map(|&(slot, _, code)| (slot, code)).collect()
}

#[test]
fn one_line_for_each_slot_is_enough_to_tell_faults_apart() {
    for lines in [
        "power = \"sim:p{slot}\"",
        "nrst = \"sim:r{slot}\"",
        "power = \"sim:p{row}\"\nnrst = \"sim:r{slot}\"",
    ] {
        for (name, code) in [
            ("absent", "E101 board-absent"),
            ("brown-out-at-time", "E302 board-reset"),
            ("mute-after-erase", "E303 silent-after-erase"),
            ("babbling-in-data", "E304 babbling"),
        ] {
            assert_eq!(codes(&run(lines, name)), [(7, code)], "{lines}: {name}");
        }
        let two = run(lines, "two-babblers");
        assert_eq!(codes(&two), [(4, "E304 babbling"), (18, "E304 babbling")], "{lines}");
    }
}

#[test]
fn a_power_line_for_a_whole_row_stays_on_for_the_others() {
    for (name, code) in [("absent", "E101 board-absent"), ("program-fails", "E214 program-failed")] {
        assert_eq!(codes(&run("power = \"sim:p{row}\"", name)), [(7, code)], "{name}");
    }
}

#[test]
fn a_flood_that_no_line_can_stop_ends_the_run_as_the_stations_fault() {
    let run = run("power = \"sim:p{row}\"", "babbling-in-data");
    let expected: Vec<(u64, &str)> = (1..=21).map(|slot| (slot, "E415 bus-flooded")).collect();
    assert_eq!((run.exit, codes(&run)), (Some(3), expected));
}
