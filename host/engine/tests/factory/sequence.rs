//! The order of the steps, and what a sound board is afterwards.

use panel_engine::chip::Chip;
use panel_engine::{Event, RestartedBy, options};
use panel_protocol::message::Refusal;
use panel_protocol::node::Protection;
use panel_protocol::reply::Reply;

use crate::station::{IDENTITY_BYTES, Station, Until, whole};

/// Behind the image, in an erase unit of its own.
const PLACE: u32 = 0x0802_0000;

#[test]
fn every_family_gets_its_identity_and_leaves_locked_and_proven() {
    for chip in ["STM32F405", "STM32F103xE", "STM32G474", "STM32L496"] {
        let mut station = Station::new(chip, 4, whole(PLACE));
        let report = station.run("", Until::End);
        assert_eq!(report.failures(), [], "{chip}: {}", report.detail(1));
        let steps =
            ["power", "discover", "identify", "reserve", "program", "verify", "identity", "commit", "lock"];
        let steps: Vec<&str> = steps.into_iter().chain(["prove-lock"]).collect();
        for slot in 1..=4 {
            assert_eq!(report.steps(slot), steps, "{chip}");
            let uid = report.world.uid(slot).unwrap();
            let identity = &station.identities[&uid].0;
            assert_eq!(report.memory(slot, PLACE, IDENTITY_BYTES), *identity, "{chip}");
            assert_eq!(report.world.options(slot).unwrap().protection, Protection::Level1, "{chip}");
            let proof = report.proofs()[&slot];
            assert_eq!((proof.level, proof.found_locked), (Protection::Level1, false));
            assert_eq!(proof.restarted_by, Some(RestartedBy::Power));
            let Some(Reply::Info(info)) = Reply::decode(&proof.identify) else {
                panic!("{:?}", proof.identify)
            };
            assert_eq!(info.protection, Protection::Level1);
            let read = Reply::decode(&proof.read);
            assert!(matches!(read, Some(Reply::Done { refusal: Some(Refusal::Protected), .. })), "{read:?}");
        }
    }
}

#[test]
fn the_identity_is_announced_before_its_first_byte_and_reported_before_the_lock() {
    let mut station = Station::new("STM32G474", 2, whole(PLACE));
    let report = station.run("", Until::End);
    let at = |wanted: &dyn Fn(&Event) -> bool| report.events.iter().position(|(_, e)| wanted(e)).unwrap();
    let began = at(&|e| matches!(e, Event::StepBegan { step, .. } if step.name() == "identity"));
    let written = at(&|e| matches!(e, Event::IdentityWritten { .. }));
    let lock = at(&|e| matches!(e, Event::StepBegan { step, .. } if step.name() == "lock"));
    let proved = at(&|e| matches!(e, Event::LockProved { .. }));
    let ended = at(&|e| matches!(e, Event::Ended { .. }));
    assert!(began < written && written < lock && lock < proved && proved < ended);
}

#[test]
fn option_bytes_are_set_loaded_and_read_back_and_a_second_run_writes_them_no_more() {
    for (chip, name, value) in
        [("STM32F405", "BOR_LEV", 1), ("STM32F103xE", "DATA0", 0x5A), ("STM32G474", "nSWBOOT0", 0)]
    {
        let known = Chip::by_name(chip).unwrap();
        let mut station = Station::new(chip, 3, panel_engine::Finishing::default());
        station.finishing.options =
            vec![options::named(known, name, value).unwrap(), options::protect_bootloader(known, false)];
        let first = station.run("", Until::End);
        assert_eq!(first.failures(), [], "{chip}: {}", first.detail(1));
        for option in &station.finishing.options {
            let bytes = &first.world.options(1).unwrap().bytes[usize::from(option.offset)..];
            for ((got, want), mask) in bytes.iter().zip(&option.bytes).zip(&option.mask) {
                assert_eq!(got & mask, *want, "{chip} {}", option.name);
            }
        }
        let notes = |r: &crate::station::Report| {
            r.events.iter().filter(|(_, e)| matches!(e, Event::Note { topic: "options", .. })).count()
        };
        let second = station.run("", Until::End);
        assert_eq!((second.failures(), notes(&first), notes(&second)), (vec![], 3, 0), "{chip}");
    }
}

#[test]
fn without_power_lines_of_their_own_boards_reset_themselves() {
    for fixture in ["power = \"sim:all\"", "nrst = \"sim:r{slot}\""] {
        let mut station = Station::new("STM32G474", 3, whole(PLACE));
        station.fixture = fixture;
        let report = station.run("", Until::End);
        assert_eq!(report.failures(), [], "{fixture}: {}", report.detail(1));
        let by = if fixture.contains("power") { RestartedBy::Power } else { RestartedBy::Reset };
        assert!(report.proofs().values().all(|p| p.restarted_by == Some(by)), "{fixture}");
    }
}

#[test]
fn a_board_that_gets_no_identity_is_not_touched() {
    let mut station = Station::new("STM32G474", 3, whole(PLACE));
    station.refused = vec![2];
    let report = station.run("", Until::End);
    assert_eq!(report.failures(), [(2, "E625 quota-exhausted".to_owned())]);
    assert_eq!(report.steps(2).last(), Some(&"reserve"));
    assert!(report.memory(2, 0x0801_0000, 8192).iter().all(|&b| b == 0xFF));
    assert_eq!(report.world.options(2).unwrap().protection, Protection::Open);
}
