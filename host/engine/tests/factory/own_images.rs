//! Boards with bytes of their own inside the image: what is sent to all, what to one, and what is checked.

use panel_engine::{Event, Window};
use panel_protocol::node::Protection;
use panel_protocol::time::Micros;

use crate::station::{Station, Until, whole};

const PLACE: u32 = 0x0802_0000;
/// The image's first address in these tests.
const IMAGE: u32 = 0x0801_0000;

/// A window across two segments, and one at the image's end.
fn station(chip: &'static str, boards: u16) -> Station {
    let window = |name: &str, address, length| Window { name: name.to_owned(), address, length };
    let mut station = Station::new(chip, boards, whole(PLACE));
    station.finishing.windows =
        vec![window("serial", IMAGE + 2048 - 5, 24), window("tail", IMAGE + 8192 - 8, 8)];
    station
}

fn holds_its_own(station: &Station, report: &crate::station::Report, slot: u16) {
    let uid = report.world.uid(slot).unwrap();
    let image = station.own_image(&station.identities[&uid].0);
    assert_eq!(report.memory(slot, IMAGE, 8192), image.bytes, "slot {slot}");
}

#[test]
fn every_board_gets_its_own_bytes_in_the_image_and_the_rest_goes_to_all_at_once() {
    for chip in ["STM32F405", "STM32F103xE", "STM32G474"] {
        let mut station = station(chip, 5);
        let report = station.run("", Until::End);
        assert_eq!(report.failures(), [], "{chip}: {}", report.detail(5));
        (1..=5).for_each(|slot| holds_its_own(&station, &report, slot));
        let images = |slot: u16| {
            let of = |e: &Event| match e {
                Event::ImageGiven { slot: s, image } if s.0 == slot => Some(image.crc32),
                _ => None,
            };
            report.events.iter().filter_map(|(_, e)| of(e)).collect::<Vec<_>>()
        };
        assert_eq!(images(1).len(), 1);
        assert_ne!(images(1), images(2));
        // One of the four segments has no window: sent once to all. The others: once to each.
        assert_eq!(report.counters.data, (1 + 3 * 5) * 256, "{chip}");
    }
}

#[test]
fn a_locked_board_proves_that_it_holds_its_own_image_and_one_with_another_is_refused() {
    let mut station = station("STM32G474", 3);
    let first = station.run("", Until::End);
    assert_eq!(first.failures(), [], "{}", first.detail(1));
    let again = station.run("", Until::End);
    assert_eq!(again.failures(), [], "{}", again.detail(1));
    assert!(again.proofs().values().all(|proof| proof.found_locked));
    assert_eq!(again.counters.data, 0, "nothing is sent to a board that has it");
    (1..=3).for_each(|slot| holds_its_own(&station, &again, slot));
    station.image = 2;
    let other = station.run("", Until::End);
    let code = "E105 already-protected".to_owned();
    assert_eq!(other.failures(), [(1, code.clone()), (2, code.clone()), (3, code)], "{}", other.detail(1));
}

#[test]
fn a_run_with_own_images_cut_off_at_any_time_is_finished_by_the_next() {
    let length = station("STM32G474", 2).run("", Until::End).seconds;
    for part in 1..=30 {
        let at = Micros((length * 1e6) as u64 * part / 30);
        let mut station = station("STM32G474", 2);
        station.retries = 1;
        station.run("", Until::Time(at));
        let done = station.run("", Until::End);
        assert_eq!(done.failures(), [], "cut at {} us: {}", at.0, done.detail(1));
        for slot in 1..=2 {
            holds_its_own(&station, &done, slot);
            assert_eq!(done.world.options(slot).unwrap().protection, Protection::Level1);
        }
    }
}

#[test]
fn a_board_whose_own_segment_fails_leaves_the_others_alone() {
    let mut station = station("STM32G474", 3);
    let fault = format!("[[slot]]\nslot = 2\nfault = \"program-fails\"\naddress = {:#x}\n", IMAGE + 2044);
    let report = station.run(&fault, Until::End);
    assert_eq!(report.failures(), [(2, "E214 program-failed".to_owned())], "{}", report.detail(2));
    holds_its_own(&station, &report, 1);
    holds_its_own(&station, &report, 3);
}

#[test]
fn own_images_arrive_on_a_bus_that_loses_one_frame_in_a_hundred() {
    let mut station = station("STM32G474", 4);
    let report = station.run("[all]\nloss = 0.01\n", Until::End);
    assert_eq!(report.failures(), [], "{}", report.detail(1));
    (1..=4).for_each(|slot| holds_its_own(&station, &report, slot));
}
