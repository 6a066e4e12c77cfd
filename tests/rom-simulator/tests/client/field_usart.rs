//! What ROMs do on their USART in the field, each shown by a simulated chip: the client succeeds or names it.

use core::time::Duration;

use crate::uart::Bench;
use rom_simulator::wire::LineConfig;
use rom_simulator::{Settings, State};
use stm32_rom_bootloader::{
    Area, Command, Entry, EraseChoice, EraseFlash, EraseTarget, Error, Event, Execute, Field, Go, Identify,
    Inspect, LineAction, Note, Opcode, PlanOptions, Protect, Protection, Step, Wait, WriteOptions,
};

const FLASH: u32 = 0x0800_0000;
const DATA: [u8; 600] = [0x5A; 600];

fn touched() -> PlanOptions {
    PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() }
}

fn range(start: u32, bytes: u32) -> EraseFlash {
    EraseFlash::new(EraseTarget::Range(Area { start, end: start + bytes - 1 }))
}

#[test]
fn g07x_v11_3_gets_one_page_a_command_and_a_pause_after_each() {
    let mut bench = Bench::new("G071");
    bench.run(range(FLASH, 4 * 2048)).unwrap();
    assert_eq!(bench.times_sent(&[0x44, 0xBB]), 4);
    let pause = Event::Pausing { wait: Wait::EraseSettle, length: Duration::from_millis(40) };
    assert_eq!(bench.events.iter().filter(|event| **event == pause).count(), 4);
}

#[test]
fn g07x_v11_2_is_power_cycled_for_its_options_or_that_is_asked_for() {
    let lift = Protect { protection: Protection::LiftReadoutErasingAll };
    let protected = |bench: &mut Bench| bench.chip().set_protection(rom_simulator::Protection::Level1);
    let mut bench = Bench::with_lines("G071-V11.2");
    protected(&mut bench);
    bench.run(lift.clone()).unwrap();
    assert!(bench.actions.contains(&LineAction::PowerCycleIntoRom));
    // Protected, the ROM does not give out its version, so the one that needs most is assumed.
    let mut bench = Bench::new("G071-V11.2");
    protected(&mut bench);
    let told = bench.run(lift).unwrap_err();
    assert!(matches!(told, Error::ResetNeeded { power_cycle: true, .. }), "{told}");
}

#[test]
fn g0b1_v9_2_erases_bank_2_page_by_page() {
    let mut bench = Bench::new("G0B1");
    bench.chip().flash_mut().preload(256 * 1024, &[0; 16384]);
    bench.run(range(FLASH + 256 * 1024, 16384)).unwrap();
    assert!(bench.flash().iter().all(|byte| *byte == 0xFF));
}

#[test]
fn h74x_v13_3_and_l496_v9_3_have_their_banks_erased_by_units() {
    for (device, bytes) in [("H743-V13.3", 1 << 20), ("L496", 512 << 10)] {
        let mut bench = Bench::new(device);
        bench.chip().flash_mut().preload(bytes, &[0; 8192]);
        let erased = bench.run(EraseFlash::new(EraseTarget::Bank(2))).unwrap();
        assert!(!erased.units.is_empty() && bench.times_sent(&[0xFF, 0xFD, 0x02]) == 0, "{device}");
        assert!(bench.flash().iter().all(|byte| *byte == 0xFF), "{device}");
    }
}

#[test]
fn h74x_v9_1_is_given_time_after_its_early_ack() {
    let mut bench = Bench::new("H743-V9.1");
    bench.chip().flash_mut().preload(1 << 20, &[0; 8192]);
    bench.run(EraseFlash::new(EraseTarget::Bank(2))).unwrap();
    assert!(bench.flash().iter().all(|byte| *byte == 0xFF));
    bench.program(1 << 20, &DATA, &touched()).unwrap();
    assert_eq!(bench.line.device().overruns(), 0, "spoken to while it was erasing");
}

#[test]
fn h74x_v9_0_is_started_although_an_ack_is_missing() {
    let mut bench = Bench::new("H743-V9.0");
    bench.run(Go { address: FLASH }).unwrap();
    assert_eq!(bench.line.device().board().state(), State::Application(Some(FLASH)));
}

#[test]
fn h74x_v13_2_is_reset_into_its_application_because_go_hangs() {
    let mut bench = Bench::with_lines("H743-V13.2");
    bench.chip().flash_mut().preload(0, &[0, 0, 2, 0x20]);
    assert!(bench.run(Go { address: FLASH }).unwrap().by_reset);
    assert_eq!(bench.line.device().board().state(), State::Application(None));
    let told = Bench::new("H743-V13.2").run(Go { address: FLASH }).unwrap_err();
    assert!(matches!(told, Error::LinesUnavailable { step: Step::Start, .. }), "{told}");
}

#[test]
fn f105_with_pa9_high_answers_late_and_is_waited_for() {
    let mut bench = Bench::with_faults("F107", &["slow-ack:ms=105,answer=1"]);
    assert_eq!(bench.run(Identify).unwrap().product_id, 0x418);
}

#[test]
fn a_rom_that_has_chosen_another_interface_is_silent_and_named_so() {
    let mut bench = Bench::with_faults("L476", &["mute"]);
    let told = bench.run(Identify).unwrap_err();
    assert!(matches!(told, Error::NoAnswer { .. }), "{told}");
    assert!(told.to_string().contains("silence"), "{told}");
}

#[test]
fn slow_starters_without_their_crystal_are_waited_for() {
    // 561 ms and 2560 ms from reset; nobody has said which chip it is.
    for device in ["F302", "L476"] {
        let mut bench = Bench::cold(device, &Settings { crystals: false, ..Settings::default() });
        bench.run(Identify).unwrap_or_else(|e| panic!("{device}: {e}"));
    }
}

#[test]
fn a_g0_programmed_for_the_first_time_asks_for_a_power_cycle_and_then_runs() {
    let mut bench = Bench::new("G031");
    assert!(bench.program(0, &DATA, &touched()).unwrap().needs_power_cycle);
    assert!(bench.events.contains(&Event::Note(Note::PowerCycleToLeaveRom)));
    let now = bench.now;
    let device = bench.line.device_mut();
    device.reset(now);
    assert!(matches!(device.board().state(), State::Starting(_)), "a reset is not enough");
    device.power_off(now);
    device.power_on(now);
    assert_eq!(device.board().state(), State::Application(None));
}

#[test]
fn long_erases_are_cut_into_lists_that_every_rom_can_take() {
    // F103 XL hangs at 155 pages, L0 and L1 above 512.
    for device in ["F103XL", "L053", "L152"] {
        let mut bench = Bench::new(device);
        let (bytes, blank) = (bench.chip().model().flash.size(), bench.chip().model().flash.erased);
        bench.chip().flash_mut().preload(0, &vec![0x5A; bytes as usize]);
        bench.run(range(FLASH, bytes)).unwrap_or_else(|e| panic!("{device}: {e}"));
        assert!(bench.flash().iter().all(|byte| *byte == blank), "{device}");
    }
}

#[test]
fn l0_and_l1_have_everything_erased_by_pages() {
    for device in ["L053", "L152"] {
        let mut bench = Bench::new(device);
        bench.chip().flash_mut().preload(0, &[0x5A; 4096]);
        bench.run(EraseFlash::new(EraseTarget::Everything)).unwrap_or_else(|e| panic!("{device}: {e}"));
        assert!(bench.flash().iter().all(|byte| *byte == 0), "{device}");
    }
}

#[test]
fn sector_after_sector_of_an_f405_outlasts_no_timeout() {
    let mut bench = Bench::new("F405");
    let start = bench.now;
    bench.run(EraseFlash::new(EraseTarget::Units((0..12).collect()))).unwrap();
    assert!(bench.now.since(start) > Duration::from_secs(16), "by the datasheet");
}

#[test]
fn a_g4_that_never_acknowledges_a_mass_erase_is_named_with_the_ack_that_is_missing() {
    // Everything before that ACK: sync 1, Get 15, Get ID 5, version 4, command 1.
    let mut bench = Bench::with_faults("G431", &["lost:byte=27,from=device"]);
    bench.run(EraseFlash::new(EraseTarget::Everything)).unwrap();
    let named =
        |event: &Event| matches!(event, Event::Repeated { command: Opcode::ERASE, wait: Wait::Erased, .. });
    assert!(bench.events.iter().any(named), "{:?}", bench.events);
    // And if it never comes at all:
    let mut bench = Bench::with_faults("G431", &["mute:answer=6"]);
    let told = bench.run(EraseFlash::new(EraseTarget::Everything)).unwrap_err();
    assert!(matches!(told, Error::TimedOut { wait: Wait::Erased | Wait::Command, .. }), "{told}");
}

#[test]
fn an_f40x_is_not_spoken_to_too_early_after_write_unprotect() {
    let mut bench = Bench::new("F405");
    bench.run(Protect { protection: Protection::Write(vec![0, 1]) }).unwrap();
    assert_eq!(bench.chip().write_protected(), [0, 1]);
    bench.run(Protect { protection: Protection::LiftWrite }).unwrap();
    assert!(bench.chip().write_protected().is_empty());
    bench.program(0, &DATA, &touched()).unwrap();
}

#[test]
fn the_erase_command_that_is_listed_is_used_and_not_the_other() {
    for (device, code) in [("F103", [0x43, 0xBC]), ("F405", [0x44, 0xBB])] {
        let mut bench = Bench::new(device);
        bench.run(range(FLASH, 1024)).unwrap();
        assert_eq!(bench.times_sent(&code), 1, "{device}");
    }
}

#[test]
fn option_bytes_that_the_rom_refuses_are_named_with_the_step() {
    // Sync, Get 2, Get ID 2, version 3, command, address: the ninth answer is the write's own.
    let mut bench = Bench::with_faults("F405", &["nack:answer=11"]);
    let data = [0xFF, 0x55, 0xFF, 0xFF];
    let told = bench.run(WriteOptions { block: 0, data: &data, irreversible: false }).unwrap_err();
    assert!(matches!(told, Error::Refused { step: Step::Options, command: Opcode::WRITE, .. }), "{told}");
}

#[test]
fn write_protected_flash_is_named_and_lifted_when_allowed() {
    for (device, fill) in [("F103", Some(0)), ("F103", None), ("F405", Some(0)), ("F405", None)] {
        let mut bench = Bench::with_lines(device);
        if let Some(byte) = fill {
            bench.chip().flash_mut().preload(0, &[byte; 1024]);
        }
        bench.run(Protect { protection: Protection::Write(vec![0]) }).unwrap();
        let before = bench.flash().to_vec();
        let told = bench.program(0, &DATA, &touched()).unwrap_err();
        assert_eq!(told, Error::WriteProtected { address: FLASH }, "{device} {fill:?}");
        assert_eq!(bench.flash(), before, "{device} {fill:?}");
        bench.run(Protect { protection: Protection::LiftWrite }).unwrap();
        bench.program(0, &DATA, &touched()).unwrap();
    }
}

#[test]
fn a_bit_that_cannot_be_programmed_is_no_write_protection() {
    let mut bench = Bench::with_faults("F405", &["stuck:address=0x08000010"]);
    let told = bench.program(0, &DATA, &touched()).unwrap_err();
    assert!(
        matches!(told, Error::VerifyFailed { address: 0x0800_0010, expected: 0x5A, got: 0x5B, differing: 1 }),
        "{told}"
    );
}

#[test]
fn a_second_sync_byte_to_a_synchronised_rom_does_no_harm() {
    let mut bench = Bench::new("F405");
    for _ in 0..3 {
        bench.run(Identify).unwrap();
    }
    assert!(bench.events.contains(&Event::Synced { already: true }));
}

#[test]
fn noise_before_the_ack_is_passed_over() {
    for byte in ["stray:byte=0x00", "stray:byte=0xFF"] {
        Bench::with_faults("F103", &[byte]).run(Identify).unwrap();
    }
}

#[test]
fn a_glitch_before_the_sync_byte_is_cured_by_a_reset_or_named() {
    let mut bench = Bench::with_faults("G031", &["glitch"]);
    bench.lines = true;
    bench.settings.entry = Entry::Reset;
    bench.run(Identify).unwrap();
    assert!(bench.actions.len() > 1, "{:?}", bench.actions);
    let told = Bench::with_faults("G031", &["glitch"]).run(Identify).unwrap_err();
    assert!(matches!(told, Error::NoAnswer { .. } | Error::Garbled { .. }), "{told}");
}

#[test]
fn a_rom_that_refuses_its_first_command_is_asked_again() {
    let mut bench = Bench::with_faults("F411", &["nack:answer=2"]);
    bench.run(Identify).unwrap();
}

#[test]
fn an_h723_is_not_believed_when_it_reads_blank_just_after_a_write() {
    let mut bench = Bench::new("H723");
    bench.program(0, &[0x5A; 64], &touched()).unwrap();
    assert!(bench.events.iter().any(|event| matches!(event, Event::Repeated { command: Opcode::READ, .. })));
}

#[test]
fn rates_that_a_chip_cannot_measure_end_with_one_that_it_can() {
    for (device, baud, advice) in
        [("F103", 921_600, 115_200), ("F302", 921_600, 115_200), ("F378", 115_200, 115_200)]
    {
        let told = Bench::new(device).at(baud).run(Identify).unwrap_err();
        match told {
            Error::NoAnswer { try_baud, .. } if baud > advice => {
                assert_eq!(try_baud, Some(advice), "{device}")
            }
            Error::NoAnswer { .. } => {}
            other => panic!("{device}: {other}"),
        }
    }
    // Known beforehand, the F378 gets its own advice.
    let mut bench = Bench::new("F378");
    let f378 = stm32_rom_bootloader::Device::find(0x432, Some(0x50)).expect("in the table");
    bench.settings.chip = stm32_rom_bootloader::Chip::Expect(f378);
    let told = bench.run(Identify).unwrap_err();
    assert!(told.to_string().ends_with("; try 57600 baud"), "{told}");
    Bench::new("F378").at(57_600).run(Identify).unwrap();
}

#[test]
fn an_f746_at_115200_connects_in_the_end_if_it_can_be_reset() {
    for seed in 1..20 {
        let mut bench = Bench::cold("F746", &Settings { seed, ..Settings::default() });
        bench.lines = true;
        bench.settings.entry = Entry::Reset;
        bench.settings.limits.retries = 8;
        bench.run(Identify).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn an_h74x_on_pb14_gets_a_second_sync_byte() {
    let mut bench = Bench::new("H743-PB14");
    bench.run(Identify).unwrap();
    assert!(bench.times_sent(&[0x7F]) >= 2);
}

#[test]
fn a_g431_of_v13_3_hides_its_unique_id_and_is_not_asked_for_it() {
    let mut bench = Bench::new("G431-V13.3");
    let info = bench.run(Inspect).unwrap();
    assert_eq!((info.uid, info.flash_kib), (Field::Unreadable, Field::Unreadable));
    bench.program(0, &DATA, &touched()).unwrap();
}

#[test]
fn short_reads_that_are_refused_are_made_as_whole_blocks() {
    for device in ["F405", "L053"] {
        let mut bench = Bench::new(device);
        let uid = bench.chip().uid();
        assert_eq!(bench.run(Inspect).unwrap().uid, Field::Value(uid), "{device}");
    }
}

#[test]
fn two_refusals_of_a_protected_f40x_are_one() {
    let mut bench = Bench::with_faults("F405", &["protected"]);
    for _ in 0..2 {
        assert_eq!(bench.run(Identify).unwrap().protected, Some(true));
    }
}

#[test]
fn before_protocol_3_1_a_bad_address_is_told_although_the_rom_says_nothing() {
    let mut bench = Bench::new("F103");
    let read = Command::Read { address: 0x4000_0000, len: 4 };
    let told = bench.run(Execute { command: read }).unwrap_err();
    assert!(matches!(told, Error::Refused { at: Wait::Address, .. }), "{told}");
    bench.run(Identify).unwrap();
}

#[test]
fn missing_parity_is_named() {
    let told = Bench::with_faults("F405", &["parity"]).run(Identify).unwrap_err();
    assert_eq!(told, Error::ParityMissing);
}

#[test]
fn sixteen_milliseconds_of_adapter_latency_cost_time_and_nothing_else() {
    let mut bench = Bench::new("F405");
    bench.settings.latency = Duration::from_millis(16);
    let config = LineConfig { to_host: Duration::from_millis(16), ..bench.line.config() };
    bench.line.set_config(config);
    bench.program(0, &DATA, &touched()).unwrap();
    assert!(!bench.events.iter().any(|event| matches!(event, Event::Repeated { .. })));
}

#[test]
fn a_command_that_somebody_abandoned_is_ended_without_harm() {
    // A write of 256 bytes of which 100 have come.
    let mut bench = Bench::new("F405");
    bench.chip().flash_mut().preload(0, &[0x11; 4096]);
    for frame in [&[0x7F][..], &[0x31, 0xCE], &[0x08, 0, 0, 0, 8], &[0xFF; 100]] {
        let now = bench.now;
        bench.line.host_write(now, frame);
        bench.pass(Duration::from_millis(20));
    }
    bench.run(Identify).unwrap();
    assert!(bench.events.iter().any(|event| matches!(event, Event::Realigned { .. })));
    assert!(bench.flash()[..4096].iter().all(|byte| *byte == 0x11));
}
