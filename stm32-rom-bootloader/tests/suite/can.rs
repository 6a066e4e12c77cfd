//! AN3154 and AN5405: frames, bit rates, ACKs that some ROMs send and others do not.

use core::time::Duration;

use stm32_rom_bootloader::testing::{CanLink, Quirks, Run, ToyCan, run_can};
use stm32_rom_bootloader::{
    CanKind, CanRate, CanSession, CanSettings, Command, Entry, Erase, EraseChoice, EraseFlash, EraseTarget,
    Error, Event, Execute, Go, Image, Inspect, LineAction, Opcode, Operation, Plan, PlanOptions, Program,
    Programmed, Protect, Protection, Region, Reply, Resume, Step, Wait,
};

use crate::common::device;

fn run<'a, O: Operation<'a>>(operation: O, toy: &mut ToyCan, settings: CanSettings) -> Run<O::Outcome>
where
    O::Outcome: 'a,
{
    let mut session = CanSession::new(operation, settings, Duration::ZERO);
    run_can(&mut session, toy, &CanLink::default(), Duration::ZERO)
}

fn classic(product_id: u16, quirks: Quirks) -> ToyCan {
    ToyCan::new(device(product_id), false, quirks)
}

fn fd(product_id: u16, quirks: Quirks) -> ToyCan {
    ToyCan::new(device(product_id), true, quirks)
}

fn program(toy: &mut ToyCan, product_id: u16, settings: CanSettings, resume: Resume) -> Run<Programmed> {
    let data: Vec<u8> = (0..5000).map(|at| (at * 13 + 1) as u8 & 0x7F).collect();
    let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
    let options = PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() };
    let plan = Plan::new(device(product_id), &image, &options).unwrap();
    let mut job = Program::new(&plan, &image);
    job.resume = resume;
    let run = run(job, toy, settings);
    let right = (0x0800_0000..).zip(&data).all(|(address, byte)| toy.memory.peek(address) == *byte);
    assert!(right || run.result.as_ref().unwrap().is_err());
    run
}

#[test]
fn a_classic_job_has_the_frames_of_the_application_note() {
    let mut toy = classic(0x413, Quirks::default());
    let settings = CanSettings {
        entry: Entry::Reset,
        chip: stm32_rom_bootloader::Chip::Expect(device(0x413)),
        ..CanSettings::classic()
    };
    let run = program(&mut toy, 0x413, settings, Resume::FromStart);
    // Sync, Get, Get ID, ROM version, erase with its list and proof that it is over, then the first write.
    assert_eq!(run.ids[..9], [0x79, 0x00, 0x02, 0x11, 0x43, 0x43, 0x02, 0x31, 0x04]);
    assert_eq!(run.sent[4..8], [&[0x00][..], &[0x00], &[], &[0x08, 0x00, 0x00, 0x00, 0xFF]]);
    assert_eq!(run.sent[8].len(), 8);
    assert!(run.result.unwrap().is_ok());
}

#[test]
fn a_rom_that_is_synchronised_answers_nack_and_is_taken() {
    let mut toy = classic(0x413, Quirks::default());
    assert!(run(Inspect, &mut toy, CanSettings::classic()).result.unwrap().is_ok());
    let again = run(Inspect, &mut toy, CanSettings::classic());
    assert!(again.events.contains(&Event::Synced { already: true }));
    assert!(again.result.unwrap().is_ok());
}

#[test]
fn the_bit_rate_is_changed_and_the_second_ack_taken_under_either_identifier() {
    for id in [0x02, 0x03] {
        let mut toy = classic(0x413, Quirks { speed_ack_id: Some(id), ..Quirks::default() });
        let kind = CanKind::Classic { speed: Some(CanRate::Kbit500) };
        let run = program(&mut toy, 0x413, CanSettings { kind, ..CanSettings::classic() }, Resume::FromStart);
        assert_eq!(run.lines, [LineAction::BitRate(CanRate::Kbit500)]);
        assert!(run.result.unwrap().is_ok());
    }
}

#[test]
fn a_second_ack_that_is_lost_does_not_stop_a_change_of_rate() {
    let mut toy = classic(0x413, Quirks::default());
    let kind = CanKind::Classic { speed: Some(CanRate::Mbit1) };
    let settings = CanSettings { kind, ..CanSettings::classic() };
    let mut session = CanSession::new(Inspect, settings, Duration::ZERO);
    let link = CanLink { lose_received_frame: Some(2), ..CanLink::default() };
    assert!(run_can(&mut session, &mut toy, &link, Duration::ZERO).result.unwrap().is_ok());
}

#[test]
fn without_an_adapter_that_changes_its_rate_the_session_says_so() {
    let mut toy = classic(0x413, Quirks::default());
    let kind = CanKind::Classic { speed: Some(CanRate::Mbit1) };
    let mut session =
        CanSession::new(Inspect, CanSettings { kind, ..CanSettings::classic() }, Duration::ZERO);
    let link = CanLink { lines: false, ..CanLink::default() };
    let result = run_can(&mut session, &mut toy, &link, Duration::ZERO).result.unwrap();
    let expected = Error::LinesUnavailable { step: Step::Connect, action: "change the bit rate" };
    assert_eq!(result.unwrap_err(), expected);
}

#[test]
fn erases_with_one_two_or_three_acks_all_work() {
    for one_erase_ack in [false, true] {
        for three_mass_acks in [false, true] {
            for erase_answers_early in [false, true] {
                let quirks =
                    Quirks { one_erase_ack, three_mass_acks, erase_answers_early, ..Quirks::default() };
                let mut toy = classic(0x413, quirks.clone());
                let settings = CanSettings::classic();
                assert!(
                    program(&mut toy, 0x413, settings.clone(), Resume::FromStart).result.unwrap().is_ok()
                );
                let mut toy = classic(0x413, quirks);
                let data = [7; 300];
                let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
                let options = PlanOptions { erase: EraseChoice::Everything, ..PlanOptions::default() };
                let plan = Plan::new(device(0x413), &image, &options).unwrap();
                let run = run(Program::new(&plan, &image), &mut toy, settings);
                assert!(
                    run.result.unwrap().is_ok(),
                    "{one_erase_ack} {three_mass_acks} {erase_answers_early}"
                );
                assert_eq!(toy.memory.mass_erases, 1);
            }
        }
    }
}

#[test]
fn a_refused_mass_erase_is_no_protection_and_pages_are_erased_instead() {
    let mut toy = classic(0x413, Quirks { no_mass_erase: true, ..Quirks::default() });
    let run = run(EraseFlash::new(EraseTarget::Everything), &mut toy, CanSettings::classic());
    assert_eq!(run.result.unwrap().unwrap().units.len(), 12);
    assert_eq!(toy.memory.erased_units.len(), 12);
}

#[test]
fn many_sectors_are_erased_seven_at_a_time() {
    let mut toy = classic(0x413, Quirks::default());
    let target = EraseTarget::Units((0..12).collect());
    let run = run(EraseFlash::new(target), &mut toy, CanSettings::classic());
    assert!(run.result.unwrap().is_ok());
    assert_eq!(toy.memory.erased_units, (0..12).collect::<Vec<u16>>());
}

#[test]
fn pages_beyond_one_byte_are_refused_before_anything_is_erased() {
    let mut toy = classic(0x415, Quirks::default());
    let target = EraseTarget::Units(vec![1, 256]);
    let run = run(EraseFlash::new(target), &mut toy, CanSettings::classic());
    assert!(matches!(run.result, Some(Err(Error::BadArgument { command: Opcode::ERASE, .. }))));
    assert!(toy.memory.erased_units.is_empty());
}

#[test]
fn a_write_somebody_abandoned_is_filled_up_and_the_job_done() {
    for done in [8, 200, 256] {
        let mut toy = classic(0x413, Quirks::default());
        toy.abandon_write(0x0800_0000, done);
        let run = program(&mut toy, 0x413, CanSettings::classic(), Resume::FromStart);
        assert!(run.result.unwrap().is_ok(), "{done}");
    }
}

#[test]
fn a_lost_answer_is_made_up_for() {
    let mut failed = Vec::new();
    for number in 0..120 {
        let mut toy = classic(0x413, Quirks::default());
        let data: Vec<u8> = (0..300).map(|at| at as u8 & 0x7F | 1).collect();
        let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
        let options = PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() };
        let plan = Plan::new(device(0x413), &image, &options).unwrap();
        let mut session =
            CanSession::new(Program::new(&plan, &image), CanSettings::classic(), Duration::ZERO);
        let link = CanLink { lose_received_frame: Some(number), ..CanLink::default() };
        match run_can(&mut session, &mut toy, &link, Duration::ZERO).result.unwrap() {
            Ok(_) => assert_eq!(toy.memory.peek(0x0800_0001), data[1]),
            Err(error) => failed.push((number, error)),
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn protection_and_a_bad_address_are_told_apart_although_they_look_the_same() {
    let read = |address| Execute { command: Command::Read { address, len: 8 } };
    let mut toy = classic(0x413, Quirks::default());
    let refused = run(read(0x6000_0000), &mut toy, CanSettings::classic()).result.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Refused { at: Wait::Address, .. }), "{refused:?}");
    let mut toy = classic(0x413, Quirks { protected: true, ..Quirks::default() });
    let refused = run(read(0x0800_1000), &mut toy, CanSettings::classic()).result.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Protected { command: Opcode::READ, .. }), "{refused:?}");
}

#[test]
fn readout_protection_is_lifted_over_both_kinds_of_can() {
    let lift = || Protect { protection: Protection::LiftReadoutErasingAll };
    for early_unprotect_ack in [false, true] {
        let quirks =
            Quirks { protected: true, resets_itself: true, early_unprotect_ack, ..Quirks::default() };
        let mut toy = classic(0x413, quirks.clone());
        let kind = CanKind::Classic { speed: Some(CanRate::Kbit250) };
        let run_classic = run(lift(), &mut toy, CanSettings { kind, ..CanSettings::classic() });
        // The chip is back at 125 kbit/s after its reset, and is asked for 250 again.
        let rates = [CanRate::Kbit250, CanRate::Kbit125, CanRate::Kbit250].map(LineAction::BitRate);
        assert_eq!(run_classic.lines, rates);
        assert!(run_classic.result.unwrap().is_ok());
        for stray_answers in [false, true] {
            let mut toy = fd(0x482, Quirks { stray_answers, ..quirks.clone() });
            assert!(run(lift(), &mut toy, CanSettings::fd()).result.unwrap().is_ok());
            assert_eq!(toy.memory.mass_erases, 1);
        }
    }
}

#[test]
fn write_protection_reaches_the_same_sectors_however_the_rom_counts() {
    for count in [1, 7, 8, 9, 16] {
        let units: Vec<u8> = (0..count).collect();
        let command = Command::WriteProtect { units: &units };
        let mut toy = classic(0x413, Quirks::default());
        let run_classic = run(Execute { command }, &mut toy, CanSettings::classic());
        assert!(run_classic.result.unwrap().is_ok(), "{count}");
        let lists: Vec<u8> = run_classic.sent[run_classic.sent.len() - usize::from(count / 8 + 1)..].concat();
        assert_eq!(lists[..units.len()], units);
        assert!(lists[units.len()..].iter().all(|unit| *unit == count - 1), "{lists:?}");
        let mut toy = fd(0x472, Quirks::default());
        assert!(run(Execute { command }, &mut toy, CanSettings::fd()).result.unwrap().is_ok(), "{count}");
    }
}

#[test]
fn an_fdcan_job_sends_data_in_frames_of_64_bytes_without_waiting() {
    let mut toy = fd(0x472, Quirks::default());
    let run = program(&mut toy, 0x472, CanSettings::fd(), Resume::FromStart);
    let first = run.ids.iter().position(|id| *id == 0x31).unwrap();
    assert_eq!(run.ids[first..first + 6], [0x31, 0x04, 0x04, 0x04, 0x04, 0x31]);
    assert!(run.sent[first + 1..first + 5].iter().all(|data| data.len() == 64));
    assert!(run.result.unwrap().is_ok());
}

#[test]
fn fdcan_page_lists_erase_the_same_pages_however_the_rom_counts() {
    for erase_count_minus_one in [false, true] {
        let mut toy = fd(0x472, Quirks { erase_count_minus_one, ..Quirks::default() });
        let target = EraseTarget::Units((3..70).collect());
        assert!(run(EraseFlash::new(target), &mut toy, CanSettings::fd()).result.unwrap().is_ok());
        let mut erased = toy.memory.erased_units.clone();
        erased.dedup();
        assert_eq!(erased, (3..70).collect::<Vec<u16>>());
    }
}

#[test]
fn a_short_read_over_fdcan_drops_the_padding() {
    let mut toy = fd(0x472, Quirks::default());
    toy.memory.poke(0x0800_0000, b"panel");
    let command = Command::Read { address: 0x0800_0000, len: 5 };
    let reply = run(Execute { command }, &mut toy, CanSettings::fd()).result.unwrap().unwrap().reply;
    assert_eq!(reply, Reply::Data(b"panel".to_vec()));
}

#[test]
fn special_commands_work_over_fdcan_and_answer_under_either_identifier() {
    for stray_answers in [false, true] {
        let mut toy = fd(0x484, Quirks { stray_answers, ..Quirks::default() });
        let data = [9; 100];
        let command = Command::Special { opcode: 0x82, data: &data };
        let reply = run(Execute { command }, &mut toy, CanSettings::fd()).result.unwrap().unwrap().reply;
        assert_eq!(reply, Reply::Special { data: vec![0xD5], status: vec![0, 0] });
    }
    let mut toy = classic(0x413, Quirks::default());
    let command = Command::Special { opcode: 1, data: &[] };
    let refused = run(Execute { command }, &mut toy, CanSettings::classic()).result.unwrap();
    assert!(matches!(refused, Err(Error::NotListed { command: Opcode::SPECIAL, .. })));
}

#[test]
fn banks_are_erased_at_once_only_where_can_has_a_way_to_say_it() {
    let mut toy = classic(0x415, Quirks::default());
    let command = Command::Erase(Erase::Bank1);
    let refused = run(Execute { command }, &mut toy, CanSettings::classic()).result.unwrap();
    assert!(matches!(refused, Err(Error::NotListed { command: Opcode::EXTENDED_ERASE, .. })));
}

#[test]
fn applications_are_started_with_one_ack_or_two() {
    let mut toy = classic(0x413, Quirks::default());
    assert!(run(Go { address: 0x0800_0000 }, &mut toy, CanSettings::classic()).result.unwrap().is_ok());
    assert_eq!(toy.started_at, Some(0x0800_0000));
    for go_without_first_ack in [false, true] {
        let mut toy = fd(0x472, Quirks { go_without_first_ack, ..Quirks::default() });
        assert!(run(Go { address: 0x0800_0000 }, &mut toy, CanSettings::fd()).result.unwrap().is_ok());
        assert_eq!(toy.started_at, Some(0x0800_0000));
    }
}

#[test]
fn silence_on_the_bus_ends_in_a_bounded_time() {
    let mut toy = classic(0x413, Quirks { startup: Some(Duration::from_secs(999)), ..Quirks::default() });
    let run = run(Inspect, &mut toy, CanSettings::classic());
    assert!(matches!(run.result, Some(Err(Error::NoAnswer { .. }))));
    assert!(run.time < Duration::from_secs(4), "{:?}", run.time);
}
