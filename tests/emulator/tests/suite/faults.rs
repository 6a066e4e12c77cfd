//! The faults of a production panel that make sense for a real binary, several on one panel at once.
//!
//! The same rows as the simulator's catalogue (`tests/simulator/src/fault.rs`): noise on the bus, frames that one board alone
//! misses, a board that dies, one whose supply dips, one that hangs, flash that cannot be erased or takes too long, two boards
//! with one UID, a board with another chip or of another revision; and at the bus, on bxCAN and on FDCAN: a board that nobody
//! hears, one that goes bus-off for good or for a while, one that falls mute when it erases, one that babbles.
//! Cells that fail and boards that are protected are in `panel.rs`. Not here, because the shipped bootloaders cannot have
//! them: they measure no supply (`supply-low`) and make no keys. An empty slot (`absent`) has no binary, and nothing outside a chip
//! slows its processor alone (`slow-service`); how much of it reception takes is counted in `budget.rs`.

use panel_codes::Code;
use panel_emulator::{Board, BoardConfig, FLASH_BASE};
use panel_engine::{Outcome, SlotReport};
use panel_simulator::Device;

use crate::struck::{REPEAT_BXCAN2, REPEAT_FDCAN1, Strike, Struck};
use crate::tools::{F103, F405, F405_CRYSTAL, G431, Kit, Station, all_pass};

#[test]
fn each_faulty_board_fails_with_its_own_code_and_the_others_pass() {
    let image = F405.application("1.0", 12_000);
    let (address, bytes) = image.flat();
    let half = address + 6000;
    let strike = |slot| match slot {
        2 => Strike::Loss(20),
        3 => Strike::Dead(half),
        4 => Strike::BrownOut(half),
        _ => Strike::Nothing,
    };
    let resident = F405.bootloader();
    let boards: Vec<Board> = (1..=8)
        .map(|slot| {
            let twin = BoardConfig { uid: F405.config(7).uid, ..F405.config(slot) };
            let config = if slot == 8 { twin } else { F405.config(slot) };
            let mut board = Board::new(config).expect("unicorn works");
            board.program(&resident);
            let defects = &mut board.flash_mut().defects;
            match slot {
                5 => defects.erase_fails = Some(address),
                6 => defects.erase_factor = 5,
                _ => {}
            }
            board
        })
        .collect();
    let fit = |slot, board| -> Box<dyn Device> { Box::new(Struck::new(board, strike(slot))) };
    let mut station = Station::troubled(&F405, boards, 0.002, fit);
    let reports = station.program(&image, false);
    let ends = ends(&reports);
    println!("measured: 8 f405 boards with the catalogue's faults: {ends:?}");
    let fail = |code| (Outcome::Fail, Some(code));
    let expected = [
        (Outcome::Pass, None),
        (Outcome::Pass, None),
        fail(Code::BoardSilent),
        fail(Code::BoardReset),
        fail(Code::EraseFailed),
        fail(Code::EraseTooSlow),
    ];
    assert_eq!(ends[..6], expected, "{reports:?}");
    // Which of the twins sits where nobody can tell: nothing is written to either.
    assert!(
        ends[6..].iter().all(|end| matches!(end.1, Some(Code::SlotBinding | Code::DuplicateUid))),
        "{ends:?}"
    );
    for fitted in &station.boards[6..] {
        assert_eq!(fitted.board().flash_mut().take_journal(), []);
    }
    assert!(station.world.bus_stats(0).noise > 0, "frames were destroyed");
    for fitted in &station.boards[..2] {
        let board = fitted.board();
        let at = (address - FLASH_BASE) as usize;
        assert_eq!(board.flash().data()[at..at + bytes.len()], bytes);
        assert_eq!(board.complaints(), []);
    }
    // What the dead one and those that came to grief half way hold: on a sound board it is programmed again.
    let again = [3, 4, 5, 6].map(|slot: u8| {
        let mut board = F405.board(slot);
        board.flash_mut().set_cells(station.boards[usize::from(slot) - 1].board().flash().cells());
        board
    });
    let mut station = Station::with(&F405, again.into());
    let reports = station.program(&image, false);
    all_pass(&station, &reports);
}

#[test]
fn a_board_with_another_chip_and_one_whose_processor_hangs_fail_and_their_neighbour_passes() {
    let image = F405.application("1.0", 12_000);
    let half = image.flat().0 + 6000;
    let boards = [(1, &F405), (2, &F103), (3, &F405)].map(|(slot, kit)| {
        let mut board = kit.board(slot);
        board.program(&kit.bootloader());
        board
    });
    let strike = |slot| if slot == 3 { Strike::Hang(half) } else { Strike::Nothing };
    let fit = |slot, board| -> Box<dyn Device> { Box::new(Struck::new(board, strike(slot))) };
    let mut station = Station::troubled(&F405, boards.into(), 0.0, fit);
    station.start_up = F103.planned().start_up(false);
    let reports = station.program(&image, false);
    let ends = ends(&reports);
    println!("measured: f405, f103 in its panel, f405 that hangs: {ends:?}");
    let fail = |code| (Outcome::Fail, Some(code));
    assert_eq!(ends, [(Outcome::Pass, None), fail(Code::WrongChip), fail(Code::BoardSilent)], "{reports:?}");
    assert_eq!(
        station.boards[1].board().flash_mut().take_journal(),
        [],
        "nothing is written to another chip"
    );
}

#[test]
fn boards_with_bxcan_that_fail_at_the_bus_are_told_apart_and_their_neighbours_lose_no_time() {
    fail_at_the_bus(&F405, REPEAT_BXCAN2);
}

#[test]
fn boards_with_fdcan_that_fail_at_the_bus_are_told_apart_and_their_neighbours_lose_no_time() {
    fail_at_the_bus(&G431, REPEAT_FDCAN1);
}

/// How long one board's line is open: several times what bus-off lasts, much less than the host waits for an answer.
const OPEN_NS: u64 = 20_000_000;
/// What the faulty boards of a panel may cost the others, ms: a board that falls mute is waited for once, 120 ms, and a
/// babbling one is found within 50 (docs/engineer-guide.md, "What one bad board costs").
const COST_MS: u64 = 120 + 50;

fn fail_at_the_bus(kit: &Kit, repeat: &'static [u16]) {
    let image = kit.application("1.0", 12_000);
    let (address, bytes) = image.flat();
    let half = address + 6000;
    let sound = Station::new(kit, 7).program(&image, false);
    let strike = |slot| match slot {
        2 => Strike::Mute,
        3 => Strike::FallsMute(half),
        4 => Strike::Interrupted(half, OPEN_NS),
        5 => Strike::MuteAfterErase,
        6 => Strike::Babble(half, repeat),
        _ => Strike::Nothing,
    };
    let resident = kit.bootloader();
    let boards = (1..=7).map(|slot| {
        let mut board = kit.board(slot);
        board.program(&resident);
        board
    });
    let fit = |slot, board| -> Box<dyn Device> { Box::new(Struck::new(board, strike(slot))) };
    let mut station = Station::troubled(kit, boards.collect(), 0.0, fit);
    let reports = station.program(&image, false);
    let (usual, took) = (time(&sound, &[1, 7]), time(&reports, &[1, 7]));
    let off: Vec<u64> = station.boards.iter().map(|b| b.board().can_counters().bus_off).collect();
    println!("measured: 7 {} boards that fail at the bus: {:?}", kit.name, ends(&reports));
    println!(
        "measured: their neighbours pass after {took} ms, {usual} ms without them; bus-off {off:?} times"
    );
    let fail = |code| (Outcome::Fail, Some(code));
    let pass = (Outcome::Pass, None);
    let expected = [
        pass,
        fail(Code::BoardBusOff),
        fail(Code::BoardBusOff),
        pass,
        fail(Code::SilentAfterErase),
        fail(Code::Babbling),
        pass,
    ];
    assert_eq!(ends(&reports), expected, "{reports:?}");
    assert!(took <= usual + COST_MS, "{took} ms, {usual} ms without faulty boards");
    for slot in [2, 3, 4, 5] {
        assert!(off[slot - 1] > 0, "who is not heard goes bus-off: {off:?}");
    }
    for slot in [1, 4, 7] {
        let board = station.boards[slot - 1].board();
        let at = (address - FLASH_BASE) as usize;
        assert_eq!(board.flash().data()[at..at + bytes.len()], bytes);
        assert_eq!(board.complaints(), []);
    }
    assert_eq!(station.boards[1].board().flash_mut().take_journal(), [], "nobody knows the mute one");
}

#[test]
fn a_board_of_another_hardware_revision_is_refused_untouched_with_both_revisions() {
    let boards = [(1, &F405), (2, &F405_CRYSTAL), (3, &F405)].map(|(slot, kit)| {
        let mut board = kit.board(slot);
        board.program(&kit.bootloader());
        board
    });
    let mut station = Station::with(&F405, boards.into());
    station.revisions = vec![1];
    let reports = station.program(&F405.application("1.0", 3000), false);
    let (pass, fail) = ((Outcome::Pass, None), (Outcome::Fail, Some(Code::WrongHardwareRevision)));
    assert_eq!(ends(&reports), [pass, fail, pass], "{reports:?}");
    let detail = reports[1].verdict.as_ref().map(|v| v.detail.as_str());
    assert_eq!(detail, Some("revision 1 expected, 258 found"));
    assert_eq!(station.boards[1].board().flash_mut().take_journal(), []);
}

/// How each slot ended.
fn ends(reports: &[SlotReport]) -> Vec<(Outcome, Option<Code>)> {
    reports.iter().filter_map(|r| r.verdict.as_ref()).map(|v| (v.outcome, v.code)).collect()
}

/// From the first board's start to the last end of these slots, ms.
fn time(reports: &[SlotReport], slots: &[u16]) -> u64 {
    let began = reports.iter().map(|r| r.started.0).min().unwrap_or(0);
    let ended = reports.iter().filter(|r| slots.contains(&r.slot.0)).map(|r| r.ended.0).max();
    (ended.unwrap_or(u64::MAX) - began) / 1000
}
