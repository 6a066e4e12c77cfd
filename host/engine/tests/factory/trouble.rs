//! Boards that fail in the factory part, each with its own code, while the others pass.

use panel_engine::chip::Chip;
use panel_engine::{Event, Finishing, Lock, Step, options};
use panel_protocol::node::Protection;
use panel_protocol::time::Micros;

use crate::station::{Station, Until, whole};

const PLACE: u32 = 0x0802_0000;

/// Four boards with a scenario; `retries` further attempts.
fn run(chip: &'static str, scenario: &str, retries: u8) -> (Station, crate::station::Report) {
    let mut station = Station::new(chip, 4, whole(PLACE));
    station.retries = retries;
    station.finishing.options = vec![options::protect_bootloader(Chip::by_name(chip).unwrap(), false)];
    let report = station.run(scenario, Until::End);
    (station, report)
}

fn fault(lines: &str) -> String {
    format!("[[slot]]\nslot = 3\n{lines}\n")
}

#[test]
fn each_fault_of_the_factory_part_has_its_code_and_leaves_the_other_boards_alone() {
    for (lines, code) in [
        ("fault = \"reads-back-wrong\"\naddress = 0x08020010", "E633 identity-write-failed"),
        ("fault = \"program-fails\"\naddress = 0x08020100", "E633 identity-write-failed"),
        ("fault = \"option-write-fails\"", "E660 option-bytes-failed"),
        ("fault = \"lock-ignored\"", "E661 lock-failed"),
        ("fault = \"reads-when-locked\"", "E662 lock-not-proven"),
        ("fault = \"dead\"\nwhen = \"locked\"", "E662 lock-not-proven"),
        ("fault = \"dead\"\nat_address = 0x08020040", "E301 board-silent"),
    ] {
        let (_, report) = run("STM32G474", &fault(lines), 0);
        assert_eq!(report.failures(), [(3, code.to_owned())], "{lines}: {}", report.detail(3));
        assert_eq!(report.passed(), [1, 2, 4], "{lines}");
        assert!(!report.proofs().contains_key(&3), "{lines}");
        assert!(report.detail(3).len() > 10, "{lines}: {}", report.detail(3));
    }
}

#[test]
fn a_cell_that_fades_after_the_board_has_looked_at_it_is_found_by_reading_back() {
    // The second block of the identity takes longer than the cell holds.
    let (_, report) = run("STM32F103xE", &fault("fault = \"fades\"\naddress = 0x08020004"), 0);
    assert_eq!(report.failures(), [(3, "E634 identity-mismatch".to_owned())], "{}", report.detail(3));
    assert!(report.detail(3).contains("0x08020004"), "{}", report.detail(3));
}

#[test]
fn a_run_that_is_stopped_while_boards_write_their_option_bytes_keeps_them_powered_until_they_have() {
    let station = || {
        let mut station = Station::new("STM32G474", 4, whole(PLACE));
        station.finishing.options =
            vec![options::protect_bootloader(Chip::by_name("STM32G474").unwrap(), false)];
        station
    };
    let undisturbed = station().run("", Until::End);
    let began = |step: Step| {
        let is = |event: &Event| matches!(event, Event::StepBegan { step: s, .. } if *s == step);
        undisturbed.events.iter().find(|(_, event)| is(event)).expect("every board comes there").0
    };
    // They are locked between these two, a page erase of 22 ms.
    let (from, to) = (began(Step::Lock).0, began(Step::ProveLock).0);
    assert!(to - from > 20_000);
    for at in (from..to).step_by(3000) {
        let mut station = station();
        let report = station.run("", Until::Stopped(Micros(at)));
        assert!(report.ended);
        assert_eq!(report.failures(), [1, 2, 3, 4].map(|slot| (slot, "E407 interrupted".to_owned())));
        // Each has its option bytes whole, locked or as they were: the next run ends well.
        let again = station.run("", Until::End);
        assert_eq!(again.passed(), [1, 2, 3, 4], "stopped at {at}: {:?}", again.failures());
    }
}

#[test]
fn a_board_that_loses_its_power_while_option_bytes_are_written_is_left_locked_and_never_passes() {
    let (station, report) = run("STM32G474", &fault("fault = \"brown-out\"\nwhen = \"option-write\""), 0);
    assert_eq!(report.passed(), [1, 2, 4]);
    assert_eq!(report.world.options(3).unwrap().protection, Protection::Level1);
    let mut station = station;
    let again = station.run("", Until::End);
    // Locked, its image whole and its identity known; but its option bytes hold anything.
    assert_eq!(again.passed(), [1, 2, 4], "{}", again.detail(3));
}

#[test]
fn boards_whose_bootloader_ends_elsewhere_than_the_planned_write_protection_are_refused_and_keep_their_flash()
{
    let mut station = Station::new("STM32F405", 2, whole(PLACE));
    station.finishing.options = vec![options::protect_bootloader(Chip::by_name("STM32F405").unwrap(), true)];
    let report = station.run("", Until::End);
    let code = || "E110 does-not-fit".to_owned();
    assert_eq!(report.failures(), [(1, code()), (2, code())]);
    let text = report.detail(1);
    assert!(text.contains("to 0x0800c000") && text.contains("ends at 0x08008000"), "{text}");
    assert_eq!(report.memory(1, PLACE, 16), [0xFF; 16]);
}

#[test]
fn a_board_that_browns_out_when_it_is_locked_passes_at_its_next_attempt_by_proof() {
    let (_, report) = run("STM32G474", &fault("fault = \"brown-out\"\nwhen = \"locked\""), 1);
    assert_eq!(report.failures(), [], "{}", report.detail(3));
}

#[test]
fn boards_that_still_erase_a_large_blank_part_of_the_image_are_waited_for() {
    for chip in ["STM32G474", "STM32F405"] {
        let mut station = Station::new(chip, 2, Finishing::default());
        (station.image_bytes, station.hole) = (0x3_0000, 0x2000..0x2_F000);
        let report = station.run("", Until::End);
        assert_eq!(report.passed(), [1, 2], "{chip}: {}", report.detail(1));
    }
}

#[test]
fn lossy_boards_get_their_identity_whole() {
    let (station, report) = run("STM32G474", "[all]\nloss = 0.02\n", 2);
    assert_eq!(report.failures(), [], "{}", report.detail(1));
    for slot in 1..=4 {
        let identity = &station.identities[&report.world.uid(slot).unwrap()].0;
        assert_eq!(report.memory(slot, PLACE, identity.len()), *identity);
    }
}

#[test]
fn a_lock_that_is_asked_for_and_cannot_be_had_is_refused_before_anything_is_touched() {
    let station = Station::new("STM32F103xE", 1, Finishing::default());
    let plan = station.plan();
    let with = |finishing: Finishing| {
        let recipe = panel_engine::Recipe { finishing, ..plan.recipe.clone() };
        panel_engine::Plan::new(recipe, plan.panel.clone()).unwrap_err().to_string()
    };
    let by = panel_engine::Consent { by: "owner".to_owned() };
    let level2 = with(Finishing { lock: Lock::Level2(by), ..Finishing::default() });
    assert_eq!(level2, "STM32F103xE has no readout protection level 2");
    let option = |offset, bytes: &[u8], mask: &[u8]| panel_engine::OptionWrite {
        name: "X".to_owned(),
        offset,
        bytes: bytes.to_vec(),
        mask: mask.to_vec(),
        protects_to: None,
    };
    for (option, why) in [
        (option(0, &[0xCC], &[0xFF]), "set by `lock`"),
        (option(15, &[0; 2], &[1; 2]), "beyond the option area"),
        (option(2, &[], &[]), "at least one"),
        (option(2, &[1], &[]), "as many mask bytes"),
    ] {
        let text = with(Finishing { options: vec![option], ..Finishing::default() });
        assert!(text.contains(why), "{text}");
    }
    for (address, why) in [
        (0x0801_0000, "the image fills 0x08010000 to 0x08011fff"),
        (0x0800_4000, "below 0x08008000 is the bootloader"),
        (0x0802_0001, "not a multiple of the 2 bytes"),
        (0x0808_0000, "ends at 0x0807ffff"),
    ] {
        let text = with(whole(address));
        assert!(text.contains(why), "{text}");
    }
}
