//! Boards that make keys of their own: which do, when, what is passed on, and what becomes of those that cannot.

use panel_engine::Event;
use panel_protocol::node::KeyKind;

use crate::station::{Report, Station, Until, whole};

const PLACE: u32 = 0x0802_0000;
const ABLE: &str = "[all]\nmakes_keys = true\n";

fn station(boards: u16) -> Station {
    let mut station = Station::new("STM32G474", boards, whole(PLACE));
    station.finishing.key = Some(KeyKind::P256);
    station
}

/// What the board in this slot was asked to prove and what it carries now.
fn carried(station: &Station, report: &Report, slot: u16) -> (Vec<u8>, Vec<u8>) {
    let wanted = station.identities[&report.world.uid(slot).unwrap()].0.clone();
    let got = report.memory(slot, PLACE, wanted.len()).to_vec();
    (wanted, got)
}

#[test]
fn boards_that_can_make_their_keys_after_the_read_back_and_before_their_identity() {
    let mut station = station(3);
    let report = station.run(ABLE, Until::End);
    assert_eq!(report.failures(), [], "{}", report.detail(1));
    let steps = report.steps(2);
    let at = |name| steps.iter().position(|step| *step == name).unwrap();
    assert!(at("verify") < at("key") && at("key") < at("identity") && at("identity") < at("commit"));
    let mut requests: Vec<_> = (1..=3).map(|slot| carried(&station, &report, slot)).collect();
    for (wanted, got) in &requests {
        assert_eq!(wanted, got);
        assert_eq!((&wanted[..2], wanted.len() - 3), (&[0x30, 0x81][..], usize::from(wanted[2])));
    }
    requests.dedup();
    assert_eq!(requests.len(), 3, "each has a key of its own");
}

#[test]
fn a_key_lost_frames_and_all_is_made_once_and_its_request_read_whole() {
    let mut station = station(4);
    station.retries = 2;
    let report = station.run(&format!("{ABLE}loss = 0.02\n"), Until::End);
    assert_eq!(report.failures(), [], "{}", report.detail(1));
    for slot in 1..=4 {
        let (wanted, got) = carried(&station, &report, slot);
        assert_eq!(wanted, got);
    }
}

#[test]
fn boards_that_cannot_and_boards_that_were_found_locked_skip_the_step() {
    let mut station = station(2);
    let report = station.run("", Until::End);
    assert_eq!(report.failures(), [], "{}", report.detail(1));
    assert!(!report.steps(1).contains(&"key"));
    let again = station.run(ABLE, Until::End);
    assert_eq!(again.failures(), [], "{}", again.detail(1));
    assert!(!again.steps(1).contains(&"key"), "it is locked and keeps what it has");
}

#[test]
fn a_board_whose_key_fails_or_is_not_certified_fails_alone() {
    for (fault, code, words) in [
        ("fault = \"key-fails\"", "E637 board-key", "KeyFailed"),
        ("fault = \"key-hangs\"", "E637 board-key", "never came back from making its key"),
        ("fault = \"absent\"", "E101 board-absent", ""),
    ] {
        let mut station = station(4);
        let report = station.run(&format!("{ABLE}[[slot]]\nslot = 3\n{fault}\n"), Until::End);
        assert_eq!(report.failures(), [(3, code.to_owned())], "{fault}: {}", report.detail(3));
        assert!(report.detail(3).contains(words), "{fault}: {}", report.detail(3));
        assert!(!report.proofs().contains_key(&3) && report.seconds < 12.0, "{fault}: {} s", report.seconds);
    }
    let mut station = station(3);
    station.uncertified = vec![1, 2, 3];
    let report = station.run(ABLE, Until::End);
    assert_eq!((report.passed(), report.failures().len()), (vec![], 3));
    assert!(report.memory(1, PLACE, 64).iter().all(|&b| b == 0xFF), "nothing of an identity was written");
}

#[test]
fn the_station_is_asked_for_certificates_before_anything_of_them_is_sent() {
    let report = station(2).run(ABLE, Until::End);
    let at = |wanted: &dyn Fn(&Event) -> bool| report.events.iter().position(|(_, e)| wanted(e)).unwrap();
    let made = at(&|e| matches!(e, Event::Note { topic: "key", .. }));
    let began = at(&|e| matches!(e, Event::StepBegan { step, .. } if step.name() == "identity"));
    assert!(made < began);
}
