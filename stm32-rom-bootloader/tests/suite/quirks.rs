//! Every quirk of the table: the chip it concerns shows it, and the session succeeds or names it.

use core::time::Duration;

use stm32_rom_bootloader::device::quirk::{QUIRKS, Quirk, QuirkKind};
use stm32_rom_bootloader::testing::{CanLink, Quirks, Run, ToyCan, ToyUart, UartLink, run_can, run_uart};
use stm32_rom_bootloader::{
    Area, CanSession, CanSettings, Chip, Command, Device, Entry, EraseChoice, EraseFlash, EraseTarget,
    Erasing, Error, Event, Execute, Field, Go, Image, Inspect, LineAction, Note, Opcode, Operation, Plan,
    PlanError, PlanOptions, Program, Protect, Protection, Region, Step, UartSession, UartSettings, Wait,
};

use crate::common::device;

/// A chip with this ROM version.
fn chip(product_id: u16, bootloader_id: u16, quirks: Quirks) -> ToyUart {
    let mut toy = ToyUart::new(device(product_id), quirks);
    toy.memory.poke(device(product_id).bootloader_id_address.unwrap(), &bootloader_id.to_le_bytes());
    toy
}

fn run<'a, O: Operation<'a>>(operation: O, toy: &mut ToyUart, lines: bool) -> Run<O::Outcome>
where
    O::Outcome: 'a,
{
    let entry = if lines { Entry::Reset } else { Entry::AsIs };
    let settings = UartSettings { entry, ..UartSettings::new(115_200) };
    let mut session = UartSession::new(operation, settings, Duration::ZERO);
    run_uart(&mut session, toy, &UartLink { lines, ..UartLink::new(115_200) }, Duration::ZERO)
}

/// Writes 600 bytes at the start of bank 2 or of the flash, and 2 KiB at the end of it.
fn program(
    toy: &mut ToyUart,
    product_id: u16,
    options: &PlanOptions,
) -> Run<stm32_rom_bootloader::Programmed> {
    let flash = device(product_id).flash.unwrap();
    let data = [0x5A; 600];
    let middle = flash.start + u32::from(flash.max_kib) * 512;
    let regions = [Region { address: middle, data: &data }, Region { address: middle + 0x2000, data: &data }];
    let image = Image::new(regions).unwrap();
    let plan = Plan::new(device(product_id), &image, options).unwrap();
    run(Program::new(&plan, &image), toy, false)
}

fn touched() -> PlanOptions {
    PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() }
}

fn has(product_id: u16, bootloader_id: u16, kind: fn(&QuirkKind) -> bool) -> bool {
    device(product_id).quirks(Some(bootloader_id)).any(|quirk| kind(&quirk.kind))
}

#[test]
fn this_file_has_a_test_for_each_kind_of_quirk() {
    let this = include_str!("quirks.rs");
    for Quirk { kind, .. } in QUIRKS {
        let name = format!("{kind:?}");
        let name = name.split(['(', ' ']).next().unwrap();
        assert!(this.contains(&format!("// {name}:")), "no test of {name}");
    }
}

// PagesPerErase:
#[test]
fn pages_are_erased_in_commands_as_long_as_the_rom_can_take() {
    // F103 XL: 154 pages work and 155 hang, so 100 are sent.
    let mut toy = ToyUart::new(device(0x430), Quirks { hang_above_pages: Some(154), ..Quirks::default() });
    let target = EraseTarget::Range(Area { start: 0x0800_0000, end: 0x0807_FFFF });
    let outcome = run(EraseFlash::new(target), &mut toy, false).result.unwrap().unwrap();
    assert_eq!((outcome.units.len(), toy.memory.erased_units.len()), (256, 256));

    // G07x V11.3 and G0B1 V9.2: one page each; other versions of the same chips take more.
    for (product_id, version, commands) in [(0x460, 0xB3, 2), (0x460, 0xB4, 1), (0x467, 0x92, 2)] {
        let most = if commands == 2 { Some(1) } else { None };
        let mut toy = chip(product_id, version, Quirks { hang_above_pages: most, ..Quirks::default() });
        let options = PlanOptions { bootloader_id: Some(version), ..touched() };
        let run = program(&mut toy, product_id, &options);
        assert_eq!(run.times_sent(&[0x44, 0xBB]), commands, "{product_id:#x} {version:#x}");
        assert!(run.result.unwrap().is_ok());
    }
}

// SettleAfterErase:
#[test]
fn a_g07x_of_version_11_3_gets_40_ms_after_each_erase() {
    let mut toy = chip(0x460, 0xB3, Quirks::default());
    let run = program(&mut toy, 0x460, &touched());
    let pause = Event::Pausing { wait: Wait::EraseSettle, length: Duration::from_millis(40) };
    assert_eq!(run.events.iter().filter(|event| **event == pause).count(), 2);
    assert!(run.result.unwrap().is_ok());
}

// NoMassErase:
#[test]
fn l0_and_l1_are_erased_by_pages_and_so_is_a_chip_that_refuses() {
    let data = [1; 2000];
    for product_id in [0x417, 0x427] {
        let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
        let plan = Plan::new(device(product_id), &image, &PlanOptions::default()).unwrap();
        assert_eq!(plan.erase(), Erasing::Units);
        let all = PlanOptions { erase: EraseChoice::Everything, ..PlanOptions::default() };
        assert!(matches!(Plan::new(device(product_id), &image, &all), Err(PlanError::NoMassErase { .. })));
        let mut toy = ToyUart::new(device(product_id), Quirks { no_mass_erase: true, ..Quirks::default() });
        let outcome = run(EraseFlash::new(EraseTarget::Everything), &mut toy, false).result.unwrap().unwrap();
        assert_eq!(outcome.units.len(), toy.memory.erased_units.len());
        assert_eq!(
            u32::from(device(product_id).flash.unwrap().max_kib) * 1024,
            outcome.units.iter().map(|unit| unit.bytes).sum()
        );
    }
    let mut toy = ToyUart::new(device(0x410), Quirks { no_mass_erase: true, ..Quirks::default() });
    let run =
        program(&mut toy, 0x410, &PlanOptions { erase: EraseChoice::Everything, ..PlanOptions::default() });
    assert!(run.events.contains(&Event::Note(Note::MassEraseReplaced)));
    assert!(run.result.unwrap().is_ok());
    assert_eq!(toy.memory.erased_units.len(), 2);
}

// NoBankErase:
#[test]
fn banks_are_erased_by_pages_where_the_rom_cannot() {
    for (product_id, version, by_pages) in [(0x461, 0x93, true), (0x450, 0xD3, true), (0x461, 0x92, false)] {
        let mut toy = chip(product_id, version, Quirks::default());
        let run = run(EraseFlash::new(EraseTarget::Bank(2)), &mut toy, false);
        assert_eq!(run.times_sent(&[0xFF, 0xFD, 0x02]) == 0, by_pages, "{product_id:#x} {version:#x}");
        if by_pages {
            let units = run.result.unwrap().unwrap().units;
            let flash = device(product_id).flash.unwrap();
            assert_eq!(units[0].address, flash.start + u32::from(flash.max_kib) * 512);
            assert_eq!(toy.memory.erased_units.len(), units.len());
        }
    }
}

// EraseAnswersEarly:
#[test]
fn an_h74x_of_version_9_1_is_given_the_time_of_its_datasheet() {
    let mut toy = chip(
        0x450,
        0x91,
        Quirks { erase_answers_early: true, startup: Some(Duration::ZERO), ..Quirks::default() },
    );
    let options = PlanOptions { erase: EraseChoice::Everything, ..PlanOptions::default() };
    let run = program(&mut toy, 0x450, &options);
    assert!(run.result.unwrap().is_ok());
    assert_eq!(toy.bytes_lost, 0, "it was still erasing");
    assert!(run.events.iter().any(|event| matches!(event, Event::Pausing { wait: Wait::EraseSettle, .. })));
}

// WriteAlign:
#[test]
fn blocks_are_multiples_of_what_the_flash_programs() {
    let data = [1; 5];
    for (product_id, align) in [(0x460, 8), (0x483, 32), (0x480, 16), (0x440, 4), (0x482, 16)] {
        let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
        let version = device(product_id).bootloader_id;
        let plan = Plan::new(
            device(product_id),
            &image,
            &PlanOptions { bootloader_id: version, ..PlanOptions::default() },
        );
        assert_eq!(u32::from(plan.unwrap().blocks()[0].len), 5u32.next_multiple_of(align), "{product_id:#x}");
    }
}

// FdCanShortestWrite:
#[test]
fn an_h74x_of_version_9_0_gets_no_short_writes_over_fdcan() {
    let data = [0x5A; 10];
    let image = Image::new([Region { address: 0x0800_0100, data: &data }]).unwrap();
    let plan = Plan::new(device(0x450), &image, &touched()).unwrap();
    let mut toy = ToyCan::new(device(0x450), true, Quirks { shortest_write: 64, ..Quirks::default() });
    toy.memory.poke(device(0x450).bootloader_id_address.unwrap(), &[0x90]);
    let mut session = CanSession::new(Program::new(&plan, &image), CanSettings::fd(), Duration::ZERO);
    assert!(run_can(&mut session, &mut toy, &CanLink::default(), Duration::ZERO).result.unwrap().is_ok());
}

// UidUnreadable:
#[test]
fn what_a_rom_version_hides_is_not_asked_for() {
    for (product_id, version, hidden) in [(0x468, 0xD3, true), (0x468, 0xD4, false), (0x466, 0x52, true)] {
        let mut toy = chip(product_id, version, Quirks { uid_unreadable: hidden, ..Quirks::default() });
        let info = run(Inspect, &mut toy, false).result.unwrap().unwrap();
        assert_eq!(info.uid == Field::Unreadable, hidden, "{product_id:#x} {version:#x}");
    }
    // Hidden by a version nobody knows of: refused, and told so.
    let mut toy = chip(0x468, 0xD4, Quirks { uid_unreadable: true, ..Quirks::default() });
    let info = run(Inspect, &mut toy, false).result.unwrap().unwrap();
    assert_eq!((info.uid, info.flash_kib), (Field::Refused, Field::Refused));
}

// WholeBlockReads:
#[test]
fn the_unique_id_is_read_through_its_whole_block_where_short_reads_are_refused() {
    for product_id in [0x413, 0x417, 0x440] {
        let mut toy =
            ToyUart::new(device(product_id), Quirks { whole_block_reads: true, ..Quirks::default() });
        let info = run(Inspect, &mut toy, false).result.unwrap().unwrap();
        let uid = [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C];
        assert_eq!(info.uid, Field::Value(uid), "{product_id:#x}");
        assert_eq!(
            info.flash_kib,
            Field::Value(device(product_id).flash.unwrap().max_kib),
            "{product_id:#x}"
        );
    }
}

// SecondNack:
#[test]
fn two_refusals_are_one_and_the_next_command_works() {
    for silent_on_bad_address in [false, true] {
        let quirks = Quirks { second_nack: true, silent_on_bad_address, ..Quirks::default() };
        let mut toy = ToyUart::new(device(0x411), quirks);
        toy.version = 0x30;
        // Reading beyond everything is refused; the unique ID behind it is read all the same.
        let read = Command::Read { address: 0x4000_0000, len: 4 };
        let refused = run(Execute { command: read }, &mut toy, false).result.unwrap().unwrap_err();
        let expected = Error::Refused {
            step: Step::Execute,
            command: Opcode::READ,
            address: Some(0x4000_0000),
            at: Wait::Address,
        };
        assert_eq!(refused, expected);
        toy.reset(Duration::ZERO, true);
        let info = run(Inspect, &mut toy, false).result.unwrap().unwrap();
        assert!(info.uid.value().is_some());
    }
    let quirks = Quirks { second_nack: true, protected: true, ..Quirks::default() };
    let mut toy = ToyUart::new(device(0x413), quirks);
    let info = run(Inspect, &mut toy, false).result.unwrap().unwrap();
    assert_eq!(info.identity.protected, Some(true));
    assert!(has(0x413, 0x31, |kind| *kind == QuirkKind::SecondNack));
}

// ResetsItself:
#[test]
fn chips_that_reset_themselves_are_taken_up_and_the_others_are_reset() {
    for (product_id, itself) in [(0x413, true), (0x440, true), (0x435, true), (0x410, false), (0x468, false)]
    {
        for lines in [true, false] {
            let quirks = Quirks {
                resets_itself: itself,
                early_unprotect_ack: true,
                protected: true,
                ..Quirks::default()
            };
            let mut toy = ToyUart::new(device(product_id), quirks);
            let run = run(Protect { protection: Protection::LiftReadoutErasingAll }, &mut toy, lines);
            let resets = run.lines.len() - usize::from(lines);
            match (itself, lines, run.result.unwrap()) {
                (true, _, Ok(_)) => assert_eq!(resets, 0, "{product_id:#x}"),
                (false, true, Ok(_)) => assert_eq!(resets, 1, "{product_id:#x}"),
                (false, false, Err(Error::ResetNeeded { step: Step::Protect, power_cycle: false })) => {}
                (_, _, other) => panic!("{product_id:#x} lines {lines}: {other:?}"),
            }
            assert_eq!(toy.memory.mass_erases, 1);
        }
    }
}

// OptionsNeedPowerCycle:
#[test]
fn a_g070_of_version_11_2_is_power_cycled_for_its_option_bytes() {
    let quirks = Quirks { options_need_power_cycle: true, ..Quirks::default() };
    let mut toy = chip(0x460, 0xB2, quirks);
    let run = run(Protect { protection: Protection::LiftWrite }, &mut toy, true);
    assert_eq!(run.lines, [LineAction::EnterRom, LineAction::PowerCycleIntoRom]);
    assert!(run.result.unwrap().is_ok() && !toy.memory.options_pending);
}

// EmptyFlagUntilPowerCycle:
// ClearsEmptyFlag:
#[test]
fn a_first_programming_that_needs_a_power_cycle_says_so() {
    for (product_id, version, sticky) in [
        (0x466, 0x54, true),
        (0x443, 0x51, true),
        (0x435, 0x91, true),
        (0x460, 0xB3, false),
        (0x460, 0xB4, true),
        (0x413, 0x31, false),
    ] {
        let mut toy = chip(product_id, version, Quirks::default());
        let run = program(&mut toy, product_id, &touched());
        let noted = run.events.contains(&Event::Note(Note::PowerCycleToLeaveRom));
        assert_eq!(
            (run.result.unwrap().unwrap().needs_power_cycle, noted),
            (sticky, sticky),
            "{product_id:#x} {version:#x}"
        );
    }
}

// GoWithoutFirstAck:
#[test]
fn an_h74x_of_version_9_0_starts_although_an_ack_is_missing() {
    let mut toy = chip(0x450, 0x90, Quirks { go_without_first_ack: true, ..Quirks::default() });
    run(Go { address: 0x0800_0000 }, &mut toy, false).result.unwrap().unwrap();
    assert_eq!(toy.started_at, Some(0x0800_0000));
}

// GoBroken:
#[test]
fn where_go_is_broken_the_chip_is_reset_into_its_application() {
    let mut toy = chip(0x450, 0xD2, Quirks::default());
    let run_with_lines = run(Go { address: 0x0800_0000 }, &mut toy, true);
    assert_eq!(run_with_lines.lines.last(), Some(&LineAction::StartApplication));
    assert!(run_with_lines.result.unwrap().unwrap().by_reset);
    let mut toy = chip(0x450, 0xD2, Quirks::default());
    let without = run(Go { address: 0x0800_0000 }, &mut toy, false).result.unwrap();
    assert!(matches!(without, Err(Error::LinesUnavailable { step: Step::Start, .. })));
    let mut toy = chip(0x450, 0xD2, Quirks::default());
    let ram = run(Go { address: 0x2400_0000 }, &mut toy, true).result.unwrap();
    assert!(matches!(ram, Err(Error::BadArgument { command: Opcode::GO, .. })));
}

// GoLeavesClocksOff:
// Advice:
#[test]
fn what_only_people_can_mind_is_found_with_its_source() {
    assert!(has(0x413, 0x31, |kind| *kind == QuirkKind::GoLeavesClocksOff));
    assert!(has(0x466, 0x51, |kind| matches!(kind, QuirkKind::Advice(text) if text.contains("PA3"))));
    assert!(!has(0x466, 0x54, |kind| matches!(kind, QuirkKind::Advice(text) if text.contains("PA3"))));
    assert!(has(0x443, 0x51, |kind| matches!(kind, QuirkKind::Advice(text) if text.contains("nBOOT0_SEL"))));
}

// MaxBaud:
// PreferBaud:
#[test]
fn a_chip_that_stays_silent_at_a_doubtful_rate_gets_the_rate_to_try() {
    let f378 = Device::find(0x432, Some(0x50)).unwrap();
    assert_eq!(f378.traits(Some(0x50)).max_baud, Some(57_600));
    for (product_id, baud, advice) in
        [(0x449, 115_200, Some(57_600)), (0x449, 57_600, None), (0x413, 115_200, None)]
    {
        let mut toy = ToyUart::new(
            device(product_id),
            Quirks { startup: Some(Duration::from_secs(999)), ..Quirks::default() },
        );
        let settings = UartSettings {
            chip: Chip::Expect(device(product_id)),
            entry: Entry::Reset,
            ..UartSettings::new(baud)
        };
        let mut session = UartSession::new(Inspect, settings, Duration::ZERO);
        let link = UartLink { lines: true, ..UartLink::new(baud) };
        match run_uart(&mut session, &mut toy, &link, Duration::ZERO).result {
            Some(Err(Error::NoAnswer { try_baud, .. })) => assert_eq!(try_baud, advice),
            other => panic!("{other:?}"),
        }
    }
}

// TwoSyncBytes:
#[test]
fn an_h74x_that_wants_two_sync_bytes_gets_them() {
    let mut toy = ToyUart::new(device(0x450), Quirks { two_sync_bytes: true, ..Quirks::default() });
    let run = run(Inspect, &mut toy, true);
    assert!(run.times_sent(&[0x7F]) >= 2 && run.result.unwrap().is_ok());
    assert!(has(0x450, 0x92, |kind| *kind == QuirkKind::TwoSyncBytes));
}

// VoltageRange:
#[test]
fn the_voltage_is_told_to_families_that_can_use_it_and_to_no_other() {
    let voltage = Some(stm32_rom_bootloader::device::SupplyVoltage::From2V7);
    for (product_id, told) in [(0x411, true), (0x413, true), (0x449, true), (0x410, false), (0x468, false)] {
        let options = PlanOptions { voltage, ..touched() };
        let mut toy = ToyUart::new(device(product_id), Quirks { voltage_range: told, ..Quirks::default() });
        let run = program(&mut toy, product_id, &options);
        assert_eq!(run.times_sent(&[0xFF, 0xFF, 0x00, 0x00, 0x00]), usize::from(told), "{product_id:#x}");
        assert!(run.result.unwrap().is_ok());
    }
}

// CanWriteUnprotectBroken:
#[test]
fn write_unprotect_over_can_is_refused_where_it_does_not_work() {
    let lift = Protect { protection: Protection::LiftWrite };
    let can = |version: u8| {
        let mut toy = ToyCan::new(device(0x413), false, Quirks { resets_itself: true, ..Quirks::default() });
        toy.memory.poke(0x1FFF_77DE, &[version]);
        let mut session = CanSession::new(lift.clone(), CanSettings::classic(), Duration::ZERO);
        run_can(&mut session, &mut toy, &CanLink::default(), Duration::ZERO)
    };
    let broken = can(0x31);
    assert!(!broken.ids.contains(&0x73));
    assert!(matches!(broken.result, Some(Err(Error::BadArgument { command: Opcode::WRITE_UNPROTECT, .. }))));
    assert!(can(0x91).result.unwrap().is_ok());
}

// FdCanMiscountsCommands:
#[test]
fn a_wrong_command_count_over_fdcan_does_not_matter() {
    for count in [Some(13), Some(11), Some(12), None] {
        let mut toy = ToyCan::new(device(0x450), true, Quirks { command_count: count, ..Quirks::default() });
        let mut session = CanSession::new(Inspect, CanSettings::fd(), Duration::ZERO);
        let run = run_can(&mut session, &mut toy, &CanLink::default(), Duration::ZERO);
        let identity = run.result.unwrap().unwrap().identity;
        assert!(identity.lists(Opcode::READOUT_UNPROTECT), "{count:?}");
    }
}

// StaleReads:
#[test]
fn an_h723_that_reads_blank_just_after_a_write_is_read_again() {
    let mut toy = ToyUart::new(device(0x483), Quirks { stale_reads: 0, ..Quirks::default() });
    let data = [0x5A; 300];
    let image = Image::new([Region { address: 0x0800_0000, data: &data }]).unwrap();
    let plan = Plan::new(device(0x483), &image, &touched()).unwrap();
    toy.memory.set_stale_reads(3);
    assert!(run(Program::new(&plan, &image), &mut toy, false).result.unwrap().is_ok());

    let mut other = ToyUart::new(device(0x440), Quirks::default());
    let plan = Plan::new(device(0x440), &image, &touched()).unwrap();
    other.memory.set_stale_reads(3);
    let failed = run(Program::new(&plan, &image), &mut other, false).result.unwrap();
    // On a chip that is not known for it, flash that stays blank is something else.
    assert_eq!(failed, Err(Error::WriteProtected { address: 0x0800_0000 }));
}

// BankOption:
#[test]
fn pages_of_another_size_than_planned_are_not_erased() {
    for (product_id, address, dual, single) in [
        (0x469, 0x1FFF_7800, [0xAA, 0xF8, 0xEF, 0xFF], [0xAA, 0xF8, 0xAF, 0xFF]),
        (0x470, 0x1FF0_0000, [0xAA, 0xF8, 0xEF, 0xFF], [0xAA, 0xF8, 0xAF, 0xFF]),
        (0x472, 0x4002_2040, [0xAA, 0xF8, 0xEF, 0xFF], [0xAA, 0xF8, 0xAF, 0xFF]),
        (0x451, 0x1FFF_0008, [0xFF, 0xCF, 0, 0], [0xFF, 0xFF, 0, 0]),
    ] {
        let usual = if product_id == 0x451 { single } else { dual };
        for (word, fits) in [(usual, true), (if usual == dual { single } else { dual }, false)] {
            let mut toy = ToyUart::new(device(product_id), Quirks::default());
            toy.memory.poke(address, &word);
            let run = program(&mut toy, product_id, &touched());
            match run.result.unwrap() {
                Ok(_) if fits => {}
                Err(Error::PlanMismatch { .. }) if !fits => assert!(toy.memory.erased_units.is_empty()),
                other => panic!("{product_id:#x} fits {fits}: {other:?}"),
            }
        }
    }
}
