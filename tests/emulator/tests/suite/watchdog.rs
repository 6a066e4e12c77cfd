//! The independent watchdog of a shipped bootloader whose board file starts it: fed by all that works, by nothing that hangs.
//!
//! `boards/f405-crystal.rs`: LSI divided by 64, 4096 counts, 8.2 s at 32 kHz (RM0090, 21.3).

use panel_emulator::Reset;

use crate::tools::{F405_CRYSTAL, Station, all_pass};

const MS: u64 = 1_000_000;
/// The watchdog's time, ms.
const PATIENCE: u64 = 8192;

#[test]
fn a_bootloader_that_waits_feeds_its_watchdog_and_one_that_hangs_is_reset_by_it() {
    let mut board = F405_CRYSTAL.board(1);
    board.program(&F405_CRYSTAL.bootloader());
    board.set_power(0, true);
    board.run(2 * PATIENCE * MS, None);
    assert_eq!(board.resets(), [Reset::Power], "it waits twice as long as an unfed watchdog would let it");
    // A core that runs in circles where it was last: 400 times NOP, and back.
    let mut circle = [0x00, 0xBF].repeat(400);
    circle.extend(0xE66E_u16.to_le_bytes()); // b .-800
    let hung = (2 * PATIENCE..).find(|ms| {
        board.run(ms * MS, None);
        board.is_asleep()
    });
    let hung = hung.expect("it sleeps between two ticks");
    assert!(board.spoil_memory(board.program_counter() & !1, &circle));
    let reset = (hung..hung + 2 * PATIENCE).find(|ms| {
        board.run(ms * MS, None);
        board.resets().len() > 1
    });
    let pc = board.program_counter();
    let waited = reset.unwrap_or_else(|| panic!("no watchdog reset; pc {pc:#010x}")) - hung;
    println!("measured: f405-crystal: a core that runs in circles is reset after {waited} ms");
    assert_eq!(board.resets(), [Reset::Power, Reset::Watchdog]);
    assert!((PATIENCE - 2..=PATIENCE + 1).contains(&waited), "{waited} ms");
    board.run((hung + 4 * PATIENCE) * MS, None);
    assert_eq!(board.resets().len(), 2, "the program is whole again, and feeds");
    assert_eq!(board.complaints(), []);
}

#[test]
fn an_update_that_takes_longer_than_the_watchdog_is_not_broken_off_by_it() {
    let mut station = Station::new(&F405_CRYSTAL, 1);
    // Every sector takes as long as the datasheet allows, 2 s for 128 KiB.
    station.boards[0].board().flash_mut().defects.erase_factor = 2;
    // This board keeps the sector behind its bootloader for its identity: images begin where a sealed one's do.
    let image = F405_CRYSTAL.linked("app-48k.ld", "long", 360_000);
    let reports = station.program(&image, false);
    all_pass(&station, &reports);
    let mut board = station.boards[0].board();
    let operations = board.flash_mut().take_journal();
    let erased = operations.iter().map(|o| (o.end - o.start) / MS).max().unwrap_or(0);
    println!(
        "measured: f405-crystal: an update of {} ms, erases of up to {erased} ms, watchdog of {PATIENCE} ms fed",
        station.now().0 / 1000
    );
    assert!(erased == 2000 && station.now().0 / 1000 > PATIENCE);
    assert!(!board.resets().contains(&Reset::Watchdog), "{:?}", board.resets());
    assert_eq!(board.complaints(), []);
}
