//! The factory part of blank boards, which their ROM bootloader does: identity, option bytes, lock and its proof.

use std::collections::BTreeMap;

use panel_backplane::Way;
use panel_engine::chip::Chip;
use panel_engine::{Consent, Event, Finishing, IdentityPlace, Lock, OptionWrite, RestartedBy, Step, options};
use panel_protocol::node::Protection;
use panel_protocol::time::Micros;

use crate::station::{IDENTITY_BYTES, Report, Station, Until, whole};

/// Behind the image, in an erase unit of its own.
const PLACE: u32 = 0x0802_0000;
/// Fixtures with a BOOT0 line.
const LINES: &str = "power = \"sim:p{slot}\"\nnrst = \"sim:r{slot}\"\nboot0 = \"sim:boot\"";

fn blank(chip: &'static str, way: Way, boards: u16, finishing: Finishing) -> Station {
    let mut station = Station::new(chip, boards, finishing);
    station.way = way;
    station.fixture = LINES;
    station
}

/// An identity in the last page but one of a chip, and level 1.
fn whole_of(chip: &str) -> Finishing {
    let end = Chip::by_name(chip).unwrap().flash_end();
    whole(if chip == "STM32F405" { PLACE } else { end - 4096 })
}

fn place(station: &Station) -> u32 {
    station.finishing.identity.unwrap().address
}

fn check_passed(station: &Station, report: &Report, slots: &[u16]) {
    assert_eq!(report.passed(), slots, "{:?} {}", report.failures(), report.detail(1));
    for &slot in slots {
        let uid = report.world.uid(slot).unwrap();
        let identity = &station.identities[&uid].0;
        assert_eq!(report.memory(slot, place(station), IDENTITY_BYTES), *identity, "slot {slot}");
        assert_eq!(report.world.options(slot).unwrap().protection, Protection::Level1, "slot {slot}");
    }
}

#[test]
fn every_family_gets_its_identity_through_its_port_and_leaves_locked_and_proven() {
    for chip in ["STM32F405", "STM32F103xE", "STM32G474", "STM32G431", "STM32G0B1", "STM32L496"] {
        let mut station = blank(chip, Way::RomUart, 3, whole_of(chip));
        let report = station.run("", Until::End);
        check_passed(&station, &report, &[1, 2, 3]);
        let steps = [
            "power",
            "discover",
            "identify",
            "reserve",
            "program",
            "verify",
            "identity",
            "lock",
            "prove-lock",
        ];
        assert_eq!(report.steps(2), steps, "{chip}");
        let proof = report.proofs()[&2];
        let id = Chip::by_name(chip).unwrap().device_id.to_be_bytes();
        assert_eq!(proof.identify, [0x79, 0x01, id[0], id[1], 0x79], "{chip}: Get ID, byte by byte");
        // The F4's ROM refuses twice (AN2606, limitations).
        let refusal: &[u8] = if chip == "STM32F405" { &[0x1F, 0x1F] } else { &[0x1F] };
        assert_eq!(proof.read, refusal, "{chip}");
        assert_eq!(proof.restarted_by, Some(RestartedBy::Reset));
        assert_eq!((proof.level, proof.found_locked), (Protection::Level1, false));
    }
}

#[test]
fn boards_that_share_a_bus_are_locked_one_after_the_other() {
    let mut station = blank("STM32F405", Way::RomCan, 3, whole(PLACE));
    let report = station.run("", Until::End);
    check_passed(&station, &report, &[1, 2, 3]);
    // ACK, the product ID, ACK: a frame each, as AN3154 has it.
    assert_eq!(report.proofs()[&3].identify, [0x79, 0x04, 0x13, 0x79]);
    assert_eq!(report.proofs()[&3].read, [0x1F]);
}

#[test]
fn boards_with_an_fdcan_loader_are_programmed_and_locked_over_a_bus_with_fd_frames() {
    for way in [Way::RomFdcan, Way::RomFdcanAgent] {
        let mut station = blank("STM32G0B1", way, 3, whole(PLACE));
        let report = station.run("", Until::End);
        check_passed(&station, &report, &[1, 2, 3]);
        assert_eq!(report.proofs()[&3].read, [0x1F], "{way}");
        let fault = "[[slot]]\nslot = 2\nfault = \"rom\"\nrom = \"mute\"\n";
        let mut station = blank("STM32G0B1", way, 3, whole(PLACE));
        assert_eq!(station.run(fault, Until::End).failures(), [(2, "E701 rom-no-sync".to_owned())], "{way}");
    }
}

#[test]
fn boards_that_were_written_by_an_agent_get_option_bytes_and_lock_through_their_rom() {
    for way in [Way::RomUartAgent, Way::RomCanAgent] {
        let mut station = blank("STM32F405", way, 3, whole(PLACE));
        station.finishing.options =
            vec![options::named(Chip::by_name("STM32F405").unwrap(), "BOR_LEV", 1).unwrap()];
        let report = station.run("", Until::End);
        check_passed(&station, &report, &[1, 2, 3]);
        let steps = report.steps(2);
        let from = steps.iter().position(|s| *s == "verify").unwrap();
        assert_eq!(steps[from..], ["verify", "identity", "commit", "options", "lock", "prove-lock"], "{way}");
        assert_eq!(report.world.options(2).unwrap().bytes[0] & 0x0C, 0x04, "{way}");
    }
}

#[test]
fn boards_without_straps_are_known_by_the_slot_that_their_agents_were_told() {
    for way in [Way::RomUartAgent, Way::RomCanAgent] {
        let mut station = blank("STM32F405", way, 4, whole(PLACE));
        station.straps = false;
        let report = station.run("", Until::End);
        check_passed(&station, &report, &[1, 2, 3, 4]);
    }
}

#[test]
fn an_agents_board_that_fails_in_its_rom_has_its_code_and_the_others_pass() {
    for way in [Way::RomUartAgent, Way::RomCanAgent] {
        let mut station = blank("STM32F405", way, 3, whole(PLACE));
        let report = station.run("[[slot]]\nslot = 2\nfault = \"lock-ignored\"\n", Until::End);
        assert_eq!(report.failures(), [(2, "E661 lock-failed".to_owned())], "{way}: {}", report.detail(2));
    }
}

#[test]
fn option_bytes_are_loaded_by_a_restart_and_read_back_and_not_written_twice() {
    for (chip, name, value) in
        [("STM32F405", "BOR_LEV", 1), ("STM32F103xE", "DATA0", 0x5A), ("STM32G474", "nSWBOOT0", 0)]
    {
        let known = Chip::by_name(chip).unwrap();
        let mut station = blank(chip, Way::RomUart, 2, Finishing::default());
        station.finishing.options =
            vec![options::named(known, name, value).unwrap(), options::protect_bootloader(known, false)];
        let notes = |report: &Report| {
            report.events.iter().filter(|(_, e)| matches!(e, Event::Note { topic: "options", .. })).count()
        };
        let first = station.run("", Until::End);
        assert_eq!((first.failures(), notes(&first)), (vec![], 2), "{chip}: {}", first.detail(1));
        for option in &station.finishing.options {
            let bytes = &first.world.options(1).unwrap().bytes[usize::from(option.offset)..];
            for ((got, want), mask) in bytes.iter().zip(&option.bytes).zip(&option.mask) {
                assert_eq!(got & mask, *want, "{chip} {}", option.name);
            }
        }
        let second = station.run("", Until::End);
        assert_eq!((second.failures(), notes(&second)), (vec![], 0), "{chip}: {}", second.detail(1));
    }
}

#[test]
fn each_fault_of_the_factory_part_has_its_code_and_leaves_the_other_boards_alone() {
    for (way, lines, code) in [
        (Way::RomUart, "fault = \"option-write-fails\"", "E660 option-bytes-failed"),
        (Way::RomCan, "fault = \"option-write-fails\"", "E660 option-bytes-failed"),
        (Way::RomUart, "fault = \"lock-ignored\"", "E661 lock-failed"),
        (Way::RomCan, "fault = \"lock-ignored\"", "E661 lock-failed"),
        (Way::RomUart, "fault = \"reads-when-locked\"", "E662 lock-not-proven"),
        (Way::RomCan, "fault = \"reads-when-locked\"", "E662 lock-not-proven"),
        (Way::RomUart, "fault = \"dead\"\nwhen = \"locked\"", "E662 lock-not-proven"),
        (Way::RomCan, "fault = \"dead\"\nwhen = \"locked\"", "E662 lock-not-proven"),
        (Way::RomUart, "fault = \"reads-back-wrong\"\naddress = 0x08020010", "E634 identity-mismatch"),
    ] {
        let mut station = blank("STM32F405", way, 3, whole(PLACE));
        station.finishing.options =
            vec![options::protect_bootloader(Chip::by_name("STM32F405").unwrap(), false)];
        // A second attempt must not make another code of a board that is locked by then.
        station.retries = 1;
        let report = station.run(&format!("[[slot]]\nslot = 2\n{lines}\n"), Until::End);
        assert_eq!(report.failures(), [(2, code.to_owned())], "{way} {lines}: {}", report.detail(2));
        assert!(!report.proofs().contains_key(&2), "{way} {lines}");
        assert!(report.detail(2).len() > 10, "{way} {lines}: {}", report.detail(2));
    }
}

#[test]
fn a_message_about_an_identity_never_shows_its_bytes() {
    let mut station = blank("STM32F405", Way::RomUart, 1, whole(PLACE));
    let report =
        station.run("[[slot]]\nslot = 1\nfault = \"reads-back-wrong\"\naddress = 0x08020011\n", Until::End);
    assert_eq!(report.detail(1), "differs from 0x08020011 on");
}

#[test]
fn a_board_that_loses_power_between_lock_and_proof_is_proven_in_the_same_attempt() {
    for way in [Way::RomUart, Way::RomCan] {
        let mut station = blank("STM32F405", way, 2, whole(PLACE));
        let report =
            station.run("[[slot]]\nslot = 2\nfault = \"brown-out\"\nwhen = \"locked\"\n", Until::End);
        check_passed(&station, &report, &[1, 2]);
    }
}

#[test]
fn a_run_that_is_stopped_while_a_rom_writes_option_bytes_waits_for_its_answer() {
    let station = || blank("STM32F405", Way::RomUart, 1, whole(PLACE));
    let undisturbed = station().run("", Until::End);
    let step = |step: Step| {
        let is = |event: &Event| matches!(event, Event::StepBegan { step: s, .. } if *s == step);
        undisturbed.events.iter().find(|(_, event)| is(event)).expect("it comes there").0
    };
    let proved = step(Step::ProveLock);
    let (early, late) = (Micros(step(Step::Program).0 + 5000), Micros(proved.0 - 1000));
    let ended = [early, late].map(|at| {
        let report = station().run("", Until::Stopped(at));
        assert_eq!(report.failures(), [(1, "E407 interrupted".to_owned())]);
        let is_end = |(_, event): &&(Micros, Event)| matches!(event, Event::Ended { .. });
        report.events.iter().find(is_end).expect("an end").0
    });
    assert_eq!(ended, [early, proved], "at once, but not while it is locked");
}

#[test]
fn a_locked_board_is_left_as_it_is_because_its_rom_no_longer_says_who_it_is() {
    let mut station = blank("STM32G474", Way::RomUart, 2, whole_of("STM32G474"));
    let first = station.run("", Until::End);
    check_passed(&station, &first, &[1, 2]);
    let again = station.run("", Until::End);
    let code = "E705 rom-protected".to_owned();
    assert_eq!(again.failures(), [(1, code.clone()), (2, code)]);
    assert!(again.detail(1).contains("UID") && again.detail(1).contains("recover"), "{}", again.detail(1));
    assert_eq!(again.memory(1, place(&station), 340), first.memory(1, place(&station), 340));
}

#[test]
fn an_identity_of_another_unit_is_erased_where_that_is_allowed_and_kept_where_it_is_not() {
    let mut station = blank("STM32F405", Way::RomUart, 1, Finishing { lock: Lock::None, ..whole(PLACE) });
    let first = station.run("", Until::End);
    assert_eq!(first.failures(), []);
    for identity in station.identities.values_mut() {
        identity.0.reverse();
    }
    let second = station.run("", Until::End);
    assert_eq!(second.failures(), [], "{}", second.detail(1));
    let uid = second.world.uid(1).unwrap();
    assert_eq!(second.memory(1, PLACE, 340), station.identities[&uid].0);
    for identity in station.identities.values_mut() {
        identity.0.reverse();
    }
    station.finishing.identity = Some(IdentityPlace { address: PLACE, length: 512, may_erase: false });
    let third = station.run("", Until::End);
    assert_eq!(third.failures(), [(1, "E633 identity-write-failed".to_owned())], "{}", third.detail(1));
    assert!(third.detail(1).contains("may not be erased"), "{}", third.detail(1));
}

#[test]
fn an_identity_beside_the_image_is_written_without_an_erase_of_the_image() {
    // The image's 8 KiB and the identity lie in one sector of 64 KiB.
    let mut station = blank("STM32F405", Way::RomUart, 1, whole(0x0801_4000));
    for _ in 0..2 {
        let report = station.run("", Until::End);
        if report.failures().is_empty() {
            check_passed(&station, &report, &[1]);
            let image: Vec<u8> = (0..8192_u32).map(|i| (i * 7 + i / 256) as u8 ^ 1).collect();
            assert_eq!(report.memory(1, 0x0801_0000, 8192), image);
        } else {
            assert_eq!(report.failures(), [(1, "E705 rom-protected".to_owned())]);
        }
    }
}

#[test]
fn boards_at_ports_of_their_own_are_reserved_in_one_go_and_one_that_is_late_is_not_waited_for() {
    let mut station = blank("STM32F405", Way::RomUart, 4, whole(PLACE));
    station.refused = vec![3];
    let mute = "[[slot]]\nslot = 2\nfault = \"rom\"\nrom = \"mute\"\n";
    let report = station.run(mute, Until::End);
    let codes = [(2, "E701 rom-no-sync".to_owned()), (3, "E625 quota-exhausted".to_owned())];
    assert_eq!(report.failures(), codes);
    assert_eq!(report.steps(3).last(), Some(&"reserve"));
    assert!(report.memory(3, 0x0801_0000, 8192).iter().all(|&b| b == 0xFF), "nothing was written");
    let reserved: Vec<Micros> = report
        .events
        .iter()
        .filter(|(_, e)| matches!(e, Event::Reserved { .. }))
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(reserved.len(), 2);
    assert_eq!(reserved[0], reserved[1], "together");
    let begun = report
        .events
        .iter()
        .find(|(_, e)| matches!(e, Event::StepBegan { step, .. } if step.name() == "reserve"));
    assert!(reserved[0].0 - begun.unwrap().0.0 <= 250_000);
}

#[test]
fn a_port_that_is_unplugged_at_any_step_ends_its_slot_with_its_code_and_no_other() {
    let whole_run = blank("STM32F405", Way::RomUart, 3, whole(PLACE)).run("", Until::End).seconds;
    for part in 0..8 {
        let mut station = blank("STM32F405", Way::RomUart, 3, whole(PLACE));
        station.retries = 1;
        station.unplug = Some((2, Micros((whole_run * 1e6) as u64 * part / 8)));
        let report = station.run("", Until::End);
        assert_eq!(
            report.failures(),
            [(2, "E721 port-gone".to_owned())],
            "part {part}: {}",
            report.detail(2)
        );
        assert_eq!(report.passed(), [1, 3], "part {part}");
    }
}

#[test]
fn two_boards_with_one_uid_are_both_stopped_before_anything_is_written() {
    let twin = "[[slot]]\nslot = 3\nfault = \"same-uid\"\nas = 1\n";
    let mut station = blank("STM32F405", Way::RomUart, 3, whole(PLACE));
    let report = station.run(twin, Until::End);
    let code = "E102 duplicate-uid".to_owned();
    assert_eq!(report.failures(), [(1, code.clone()), (3, code)], "{}", report.detail(1));
    for slot in [1, 3] {
        assert!(report.memory(slot, 0x0801_0000, 8192).iter().all(|&b| b == 0xFF), "slot {slot}");
        assert!(report.detail(slot).contains("slots"), "{}", report.detail(slot));
    }
}

#[test]
fn a_rom_that_hides_the_uid_is_named_and_the_board_not_touched() {
    let hidden = "[[slot]]\nslot = 2\nfault = \"wrong-chip\"\nchip = \"G431-V13.3\"\n";
    let mut station = blank("STM32G431", Way::RomUart, 3, whole_of("STM32G431"));
    let report = station.run(hidden, Until::End);
    let failures = report.failures();
    let [(2, code)] = failures.as_slice() else { panic!("{failures:?}") };
    assert!(code.ends_with("rom-unsupported"), "{code}");
    assert!(
        report.detail(2).contains("UID") && report.detail(2).contains("rom write"),
        "{}",
        report.detail(2)
    );
    assert_eq!(report.steps(2).last(), Some(&"identify"));
    assert!(report.memory(2, 0x0801_0000, 8192).iter().all(|&b| b == 0xFF), "nothing was written");
}

#[test]
fn a_run_cut_off_at_any_event_is_finished_by_the_next_or_the_board_is_locked_and_says_so() {
    let mut batch = 1;
    let mut locked = 0;
    loop {
        let mut station = blank("STM32G431", Way::RomUart, 2, whole_of("STM32G431"));
        let cut = station.run("", Until::Batch(batch));
        let before: BTreeMap<_, _> = station.identities.clone();
        let done = station.run("", Until::End);
        for (slot, code) in done.failures() {
            assert_eq!(code, "E705 rom-protected", "cut at batch {batch}: {}", done.detail(slot));
            assert_eq!(cut.world.options(slot).unwrap().protection, Protection::Level1, "batch {batch}");
            locked += 1;
        }
        let passed = done.passed();
        check_passed(&station, &done, &passed);
        for (uid, (identity, _)) in before {
            assert_eq!(station.identities[&uid].0, identity, "cut at batch {batch}: another identity");
        }
        if cut.ended {
            break;
        }
        batch += 1;
    }
    assert!(batch > 15 && locked > 0, "{batch} batches, {locked} locked");
}

#[test]
fn what_a_rom_cannot_do_is_refused_before_anything_is_touched() {
    let refused = |station: &Station, finishing: Finishing| {
        let plan = station.plan();
        let recipe = panel_engine::Recipe { finishing, ..plan.recipe.clone() };
        let ways = panel_engine::rom::Ways { of: plan.ways.clone(), ..panel_engine::rom::Ways::default() };
        panel_engine::Plan::with_ways(recipe, station.panel(), ways).unwrap_err().to_string()
    };
    let station = blank("STM32L496", Way::RomUart, 1, Finishing::default());
    let by = Consent { by: "owner".to_owned() };
    let level2 = refused(&station, Finishing { lock: Lock::Level2(by), ..Finishing::default() });
    assert!(level2.contains("level 2") && level2.contains("rom-uart"), "{level2}");
    let options = vec![options::protect_bootloader(Chip::by_name("STM32L496").unwrap(), false)];
    let beyond = refused(&station, Finishing { options, ..Finishing::default() });
    assert!(beyond.contains("WRP") && beyond.contains("STM32L496"), "{beyond}");
    let mut shared = blank("STM32F405", Way::RomUart, 2, Finishing::default());
    shared.fixture = "power = \"sim:all\"";
    let text = refused(&shared, Finishing { lock: Lock::Level1, ..Finishing::default() });
    assert!(text.contains("line of its own"), "{text}");
    let option =
        OptionWrite { name: "X".to_owned(), offset: 0, bytes: vec![1], mask: vec![1], protects_to: None };
    let text = refused(&shared, Finishing { options: vec![option], ..Finishing::default() });
    assert!(text.contains("line of its own"), "{text}");
}

#[test]
fn an_agent_takes_part_in_its_bus_only_when_nobody_is_loaded_over_it_any_more() {
    // Slot 2 has another try after slot 3, the last of the first round: 125 kbit/s, with an agent at 1 Mbit/s on the bus.
    let mut station = blank("STM32F405", Way::RomCanAgent, 3, whole(PLACE));
    station.retries = 1;
    let fault = "[[slot]]\nslot = 2\nfault = \"rom\"\nrom = \"kill:byte=90,off-ms=5000\"\n";
    let report = station.run(fault, Until::End);
    check_passed(&station, &report, &[1, 2, 3]);
    let again = |e: &Event| matches!(e, Event::Attempt { slot, number: 2 } if slot.0 == 2);
    assert!(report.events.iter().any(|(_, e)| again(e)), "the fault has struck");
    assert_eq!(report.world.bus_stats(0).wrong_rate, 0);
}
