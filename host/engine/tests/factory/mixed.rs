//! Panels whose boards are not alike: some locked already, some slow, some cut off at any moment.

use panel_engine::Event;
use panel_engine::chip::Chip;
use panel_engine::options;

use crate::station::{Station, Until, whole};

const PLACE: u32 = 0x0802_0000;

#[test]
fn locked_and_fresh_boards_of_one_panel_are_finished_together() {
    for chip in ["STM32G474", "STM32F405"] {
        let mut station = Station::new(chip, 4, whole(PLACE));
        station.finishing.options = vec![options::protect_bootloader(Chip::by_name(chip).unwrap(), false)];
        let absent = "[[slot]]\nslot = 2\nfault = \"absent\"\n[[slot]]\nslot = 3\nfault = \"absent\"\n";
        assert_eq!(station.run(absent, Until::End).passed(), [1, 4]);
        let report = station.run("", Until::End);
        assert_eq!(report.failures(), [], "{chip}: {}", report.detail(1));
        let found: Vec<bool> = report.proofs().values().map(|p| p.found_locked).collect();
        assert_eq!(found, [true, false, false, true], "{chip}");
    }
}

#[test]
fn a_board_left_to_a_second_pass_is_neither_locked_before_nor_disturbed_by_the_others_restart() {
    let slow = "[[slot]]\nslot = 2\nfault = \"erase-slow\"\nfactor = 1.9\n";
    for fixture in ["power = \"sim:p{slot}\"", "power = \"sim:all\"", "nrst = \"sim:r{slot}\""] {
        let mut station = Station::new("STM32F405", 4, whole(0x0808_0000));
        station.fixture = fixture;
        station.image_bytes = 200_000;
        let report = station.run(slow, Until::End);
        assert_eq!(report.failures(), [], "{fixture}: {}", report.detail(2));
        let late = |e: &Event| matches!(e, Event::Note { topic: "straggler", .. });
        assert!(report.events.iter().any(|(_, e)| late(e)), "{fixture}: nobody was late");
        assert_eq!(report.proofs().len(), 4);
    }
}

#[test]
fn a_board_whose_supply_dips_at_any_moment_passes_at_its_second_attempt_or_says_why() {
    for chip in ["STM32G474", "STM32F405"] {
        let mut whole_run = Station::new(chip, 2, whole(PLACE));
        whole_run.finishing.options = vec![options::protect_bootloader(Chip::by_name(chip).unwrap(), false)];
        let milliseconds = (whole_run.run("", Until::End).seconds * 1000.0) as u32;
        let mut passed = 0;
        for part in 1..=60 {
            let at = milliseconds * part / 60;
            let scenario = format!("[[slot]]\nslot = 2\nfault = \"brown-out\"\nat_ms = {at}\n");
            let mut station = Station::new(chip, 2, whole(PLACE));
            station.finishing.options = whole_run.finishing.options.clone();
            station.retries = 2;
            let report = station.run(&scenario, Until::End);
            assert!(report.passed().contains(&1), "{chip} at {at} ms: {}", report.detail(1));
            match report.failures().as_slice() {
                [] => passed += 1,
                // Option bytes that were cut off lock the chip, and are then not what they should be.
                [(2, code)] => {
                    assert_eq!(code, "E660 option-bytes-failed", "{chip} at {at} ms: {}", report.detail(2))
                }
                more => panic!("{chip} at {at} ms: {more:?}"),
            }
        }
        assert!(passed > 30, "{chip}: {passed} of 60");
    }
}
