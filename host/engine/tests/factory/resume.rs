//! Runs that are cut off at any durable event and begun again: no chip gets another identity, none is erased once
//! it is locked, and none passes without proof.

use std::collections::BTreeMap;

use panel_engine::Event;
use panel_protocol::node::Protection;
use panel_protocol::time::Micros;

use crate::station::{Report, Station, Until, whole};

const PLACE: u32 = 0x0802_0000;

#[test]
fn a_locked_board_of_this_job_is_proven_again_and_nothing_of_it_is_erased() {
    for chip in ["STM32F405", "STM32G474", "STM32F103xE"] {
        let mut station = Station::new(chip, 3, whole(PLACE));
        let first = station.run("", Until::End);
        assert_eq!(first.failures(), [], "{chip}");
        let again = station.run("", Until::End);
        assert_eq!(again.failures(), [], "{chip}: {}", again.detail(1));
        assert!(again.proofs().values().all(|p| p.found_locked && p.restarted_by.is_none()), "{chip}");
        assert_eq!(again.proofs().len(), 3);
        assert_eq!(again.memory(1, PLACE, 340), first.memory(1, PLACE, 340), "{chip}");
    }
}

#[test]
fn a_locked_board_from_elsewhere_is_refused_and_left_as_it_is() {
    let mut station = Station::new("STM32G474", 2, whole(PLACE));
    station.run("", Until::End);
    station.image = 2;
    let other = station.run("", Until::End);
    let code = "E105 already-protected".to_owned();
    assert_eq!(other.failures(), [(1, code.clone()), (2, code)], "{}", other.detail(1));
    assert!(other.detail(1).contains("another image"), "{}", other.detail(1));
    station.image = 1;
    station.identities.values_mut().for_each(|(_, written)| *written = false);
    let unknown = station.run("", Until::End);
    let code = "E632 identity-in-doubt".to_owned();
    assert_eq!(unknown.failures(), [(1, code.clone()), (2, code)], "{}", unknown.detail(1));
}

#[test]
fn a_run_cut_off_at_any_event_is_finished_by_the_next() {
    let mut batch = 1;
    loop {
        let mut station = Station::new("STM32G474", 2, whole(PLACE));
        let cut = station.run("", Until::Batch(batch));
        let done = station.run("", Until::End);
        assert_eq!(done.failures(), [], "cut at batch {batch}: {}", done.detail(1));
        check(&station, &done);
        if cut.ended {
            break;
        }
        batch += 1;
    }
    assert!(batch > 15, "{batch} batches");
}

#[test]
fn a_run_cut_off_at_any_time_is_finished_by_the_next() {
    for chip in ["STM32G474", "STM32F103xE", "STM32F405"] {
        let length = Station::new(chip, 2, whole(PLACE)).run("", Until::End).seconds;
        for part in 1..=40 {
            let at = Micros((length * 1e6) as u64 * part / 40);
            let mut station = Station::new(chip, 2, whole(PLACE));
            station.retries = 1;
            station.run("", Until::Time(at));
            let done = station.run("", Until::End);
            assert_eq!(done.failures(), [], "{chip} cut at {} us: {}", at.0, done.detail(1));
            check(&station, &done);
        }
    }
}

/// What must hold of boards that have passed.
fn check(station: &Station, report: &Report) {
    let mut seen = BTreeMap::new();
    for slot in report.passed() {
        let uid = report.world.uid(slot).unwrap();
        let identity = &station.identities[&uid].0;
        assert_eq!(report.memory(slot, PLACE, identity.len()), *identity);
        assert_eq!(seen.insert(identity.clone(), uid), None, "two chips with one identity");
        assert!(report.proofs().contains_key(&slot));
        assert_eq!(report.world.options(slot).unwrap().protection, Protection::Level1);
        let proved = report
            .events
            .iter()
            .position(|(_, e)| matches!(e, Event::LockProved { slot: s, .. } if s.0 == slot));
        let ended =
            report.events.iter().position(|(_, e)| matches!(e, Event::Ended { slot: s, .. } if s.0 == slot));
        assert!(proved < ended);
    }
}
