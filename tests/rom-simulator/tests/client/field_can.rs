//! What ROMs do on CAN and CAN FD in the field, each shown by a simulated chip: the client succeeds or names it.

use core::time::Duration;

use crate::can::CanBench;
use rom_simulator::{CanFrame, CanKind, CanVariant, Settings, State};
use stm32_rom_bootloader::{
    CanRate, EraseChoice, EraseFlash, EraseTarget, Error, Go, Identify, Opcode, PlanOptions, Protect,
    Protection,
};

const DATA: [u8; 600] = [0x5A; 600];

fn touched() -> PlanOptions {
    PlanOptions { erase: EraseChoice::Touched, ..PlanOptions::default() }
}

fn variant(can: CanVariant) -> Settings {
    Settings { can, ..Settings::default() }
}

#[test]
fn erases_work_however_often_the_rom_acknowledges_them() {
    for extra_erase_ack in [false, true] {
        let can = CanVariant { extra_erase_ack, ..CanVariant::default() };
        let mut bench = CanBench::with("F405", CanKind::Classic, &variant(can));
        bench.chip().flash_mut().preload(0, &[0; 4096]);
        bench.program(0, &DATA, &touched()).unwrap();
        bench.run(EraseFlash::new(EraseTarget::Everything)).unwrap();
        assert!(bench.flash().iter().all(|byte| *byte == 0xFF));
    }
}

#[test]
fn the_second_ack_of_speed_is_taken_under_either_identifier() {
    for speed_ack_id in [0x02, 0x03] {
        let can = CanVariant { speed_ack_id, ..CanVariant::default() };
        let mut bench = CanBench::with("F405", CanKind::Classic, &variant(can)).with_speed(CanRate::Mbit1);
        bench.program(0, &DATA, &touched()).unwrap();
        assert_eq!((bench.device.bitrate(), bench.rate), (1_000_000, 1_000_000));
    }
}

#[test]
fn the_rest_of_a_read_is_taken_in_one_frame_or_in_many() {
    for remainder_in_single_bytes in [false, true] {
        let can = CanVariant { remainder_in_single_bytes, ..CanVariant::default() };
        let mut bench = CanBench::with("L476", CanKind::Classic, &variant(can));
        bench.chip().flash_mut().preload(0, &DATA);
        let read = stm32_rom_bootloader::ReadMemory { address: 0x0800_0000, len: 301 };
        assert_eq!(bench.run(read).unwrap().data, DATA[..301]);
    }
}

#[test]
fn fdcan_page_lists_erase_the_same_pages_however_the_rom_counts() {
    for fd_erase_count_less_one in [false, true] {
        let can = CanVariant { fd_erase_count_less_one, ..CanVariant::default() };
        let mut bench = CanBench::with("U575", CanKind::Fd, &variant(can));
        bench.chip().flash_mut().preload(0, &[0; 65536]);
        bench.program(8192, &DATA, &touched()).unwrap();
        assert!(bench.flash()[..8192].iter().all(|byte| *byte == 0), "the page before");
        assert!(bench.flash()[16384..65536].iter().all(|byte| *byte == 0), "the page behind");
    }
}

#[test]
fn traffic_of_other_nodes_keeps_a_rom_off_the_bus_until_it_is_reset() {
    let spoil = |bench: &mut CanBench| {
        let now = bench.now;
        bench.device.handle_frame(now, &CanFrame::new(0x123, &[1, 2, 3]), 125_000);
    };
    let mut bench = CanBench::classic("F405").without_lines();
    spoil(&mut bench);
    let told = bench.run(Identify).unwrap_err();
    assert!(matches!(told, Error::NoAnswer { .. }), "{told}");
    let mut bench = CanBench::classic("F405");
    spoil(&mut bench);
    bench.run(Identify).unwrap();
}

#[test]
fn an_f412_that_leaves_the_bus_in_the_middle_is_named_or_brought_back() {
    let mut bench = CanBench::classic("F412").without_lines();
    let identity = bench.run(Identify).unwrap();
    let now = bench.now;
    bench.device.handle_frame(now, &CanFrame::new(0x123, &[]), 125_000);
    bench.settings.entry = stm32_rom_bootloader::Entry::Connected(identity);
    let told = bench.program(0, &DATA, &touched()).unwrap_err();
    assert!(matches!(told, Error::TimedOut { .. }), "{told}");
    bench.lines = true;
    bench.settings.entry = stm32_rom_bootloader::Entry::Reset;
    bench.program(0, &DATA, &touched()).unwrap();
}

#[test]
fn without_its_crystal_a_rom_is_silent_on_can_and_named_so() {
    let settings = Settings { crystals: false, ..Settings::default() };
    let told = CanBench::with("F405", CanKind::Classic, &settings).run(Identify).unwrap_err();
    assert!(matches!(told, Error::NoAnswer { .. }), "{told}");
}

#[test]
fn write_unprotect_of_an_f40x_is_refused_because_it_would_do_nothing() {
    let mut bench = CanBench::classic("F405");
    let told = bench.run(Protect { protection: Protection::LiftWrite }).unwrap_err();
    assert!(matches!(told, Error::BadArgument { command: Opcode::WRITE_UNPROTECT, .. }), "{told}");
    assert!(bench.sent.iter().all(|frame| frame.id() != 0x73));
    CanBench::classic("L476").run(Protect { protection: Protection::LiftWrite }).unwrap();
}

#[test]
fn h74x_v9_0_miscounts_its_commands_and_refuses_short_writes_and_is_programmed_all_the_same() {
    let mut bench = CanBench::fd("H743-V9.0");
    assert!(bench.run(Identify).unwrap().lists(Opcode::READOUT_UNPROTECT));
    bench.program(0, &DATA[..10], &touched()).unwrap();
    bench.settings.entry = stm32_rom_bootloader::Entry::AsIs;
    bench.run(Go { address: 0x0800_0000 }).unwrap();
    assert_eq!(bench.device.board().state(), State::Application(Some(0x0800_0000)));
}

#[test]
fn a_second_start_frame_is_refused_and_that_is_an_answer() {
    let mut bench = CanBench::classic("F405").without_lines();
    for _ in 0..3 {
        bench.run(Identify).unwrap();
    }
}

#[test]
fn answers_under_identifier_0x111_are_taken() {
    let mut bench = CanBench::fd("U575");
    bench.chip().set_protection(rom_simulator::Protection::Level1);
    bench.run(Protect { protection: Protection::LiftReadoutErasingAll }).unwrap();
    bench.program(0, &DATA, &touched()).unwrap();
}

#[test]
fn a_lost_answer_is_made_up_for_or_named_at_any_place() {
    let mut finished = 0;
    for number in 1..=120 {
        for (device, kind) in [("L476", CanKind::Classic), ("G0B1", CanKind::Fd)] {
            let fault = format!("lost:byte={number},from=device");
            let mut bench = CanBench::faulty(device, kind, &fault);
            match bench.program(0, &DATA, &touched()) {
                Ok(_) => {
                    assert_eq!(bench.flash()[..600], DATA, "{device} {number}");
                    finished += 1;
                }
                Err(Error::TimedOut { .. } | Error::NoAnswer { .. } | Error::Garbled { .. }) => {}
                Err(other) => panic!("{device} without frame {number}: {other}"),
            }
        }
    }
    assert!(finished > 200, "only {finished} of 240 jobs were finished");
}

#[test]
fn a_pause_of_the_adapter_costs_time_and_nothing_else() {
    let mut bench = CanBench::faulty("F405", CanKind::Classic, "slow-ack:ms=30");
    bench.settings.latency = Duration::from_millis(30);
    bench.program(0, &DATA, &touched()).unwrap();
}
