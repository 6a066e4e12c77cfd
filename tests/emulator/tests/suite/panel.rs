//! The shipped bootloader on a panel of emulated boards, programmed by the real engine over the simulated bus.

use panel_codes::Code;
use panel_emulator::Program;
use panel_engine::{Finishing, Lock, Outcome};
use panel_protocol::time::Span;

use crate::tools::{F103, F405, G0B1, G431, G474, Kit, Station, all_pass};

#[test]
fn four_f405_boards_are_programmed_verified_and_start_their_application() {
    four_boards(&F405);
}

#[test]
fn four_g431_boards_are_programmed_over_can_fd_verified_and_start_their_application() {
    four_boards(&G431);
}

#[test]
fn four_f103_boards_are_programmed_verified_and_start_their_application() {
    // At 8 MHz a start takes longer.
    programmed(&F103, &F103.application("1.0", 60_000), 1000);
}

#[test]
fn four_g474_boards_are_programmed_across_both_banks_verified_and_start_their_application() {
    two_banks(&G474);
}

#[test]
fn four_g0b1_boards_are_programmed_across_both_banks_verified_and_start_their_application() {
    two_banks(&G0B1);
}

fn four_boards(kit: &Kit) {
    programmed(kit, &kit.application("1.0", 60_000), 700);
}

/// The image's second part lies across the end of the first bank of 256 KiB; all of it is checked at the start.
fn two_banks(kit: &Kit) {
    let mut image = kit.application("1.0", 20_000);
    image.segments.push((panel_emulator::FLASH_BASE + 0x3_F000, vec![0x5A; 0x2000]));
    programmed(kit, &image, 2000);
}

/// Programs four boards, and lets their application start within so many milliseconds of power-up.
fn programmed(kit: &Kit, image: &Program, starts_ms: u64) {
    let mut station = Station::new(kit, 4);
    let reports = station.program(image, true);
    all_pass(&station, &reports);
    let ended = station.now().0 / 1000;
    // The fixture has switched everything off; the boards go to the customer, who switches them on.
    station.world.set_power(&[1, 2, 3, 4], true);
    panel_emulator::station::wait(&mut station.world, Span::from_millis(starts_ms));
    let (address, bytes) = image.flat();
    for fitted in &station.boards {
        let mut board = fitted.board();
        let at = (address - panel_emulator::FLASH_BASE) as usize;
        assert_eq!(board.flash().data()[at..at + bytes.len()], bytes);
        let said = String::from_utf8(board.usart(1).take_sent()).unwrap();
        assert!(said.ends_with("application 1.0\r\n"), "{said:?}");
        let led = board.pin_changes().last().copied().unwrap();
        assert_eq!((led.port, led.outputs & 2, led.levels & 2), (2, 2, 2), "PC1 is lit");
        assert_eq!(board.complaints(), []);
        assert_eq!(board.can_counters().overruns, 0);
    }
    println!("measured: 4 {} boards in {} ms of virtual time", kit.name, ended);
}

#[test]
fn g474_boards_are_locked_and_prove_it_after_the_option_bytes_were_loaded() {
    locked(&G474, |options| options & 0xFF);
}

#[test]
fn g0b1_boards_are_locked_and_prove_it_after_the_option_bytes_were_loaded() {
    locked(&G0B1, |options| options & 0xFF);
}

#[test]
fn f405_boards_are_locked_and_prove_it_after_the_option_bytes_were_loaded() {
    locked(&F405, |options| options >> 8 & 0xFF);
}

#[test]
fn g431_boards_are_locked_and_prove_it_after_the_option_bytes_were_loaded() {
    locked(&G431, |options| options & 0xFF);
}

#[test]
fn f103_boards_are_locked_and_prove_it_after_the_option_bytes_were_loaded() {
    // The protection byte; this chip has no level 2.
    locked(&F103, |byte| if byte == 0xA5 { 0xAA } else { byte });
}

fn locked(kit: &Kit, level: fn(u32) -> u32) {
    let mut station = Station::new(kit, 2);
    let image = kit.application("1.0", 3000);
    let finishing = Finishing { lock: Lock::Level1, ..Finishing::default() };
    let reports = station.finish(&image, false, finishing);
    all_pass(&station, &reports);
    station.world.set_power(&[1, 2], true);
    panel_emulator::station::wait(&mut station.world, Span::from_millis(900));
    for fitted in &station.boards {
        let mut board = fitted.board();
        assert!(!matches!(level(board.option_word()), 0xAA | 0xCC), "{:#010x}", board.option_word());
        let said = String::from_utf8(board.usart(1).take_sent()).unwrap();
        assert!(said.ends_with("application 1.0\r\n"), "a locked board starts its application: {said:?}");
        assert_eq!(board.complaints(), []);
    }
    // A locked board takes no other image.
    let reports = station.program(&kit.application("2.0", 3000), false);
    let ends: Vec<_> = reports.iter().filter_map(|r| r.verdict.as_ref()).map(|v| v.code).collect();
    assert_eq!(ends, [Some(Code::AlreadyProtected); 2]);
}

#[test]
fn bad_cells_fail_their_boards_with_the_address_and_no_other() {
    let mut station = Station::new(&F405, 3);
    station.boards[1].board().flash_mut().defects.program_fails = Some(0x0800_8100);
    station.boards[2].board().flash_mut().defects.reads_back_wrong = Some(0x0800_8204);
    let reports = station.program(&F405.application("1.0", 4000), false);
    let ends: Vec<_> = reports
        .iter()
        .filter_map(|r| r.verdict.as_ref())
        .map(|v| (v.outcome, v.code, v.detail.clone()))
        .collect();
    assert_eq!(ends[0].0, Outcome::Pass, "{ends:?}");
    assert_eq!((ends[1].0, ends[2].0), (Outcome::Fail, Outcome::Fail), "{ends:?}");
    assert!(ends[1].2.contains("0x08008100"), "{ends:?}");
    assert!(ends[2].2.contains("0x08008204"), "{ends:?}");
    assert_ne!(ends[1].1, ends[2].1, "an error of the controller is told from a cell that reads back wrong");
}
