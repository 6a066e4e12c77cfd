//! The faults of a production panel that make sense for a real binary, all on one panel at once.
//!
//! The same rows as the simulator's catalogue (`tests/simulator/src/fault.rs`): noise on the bus, frames that one board alone
//! misses, a board that dies, one whose supply dips, one that hangs, flash that cannot be erased or takes too long, two boards
//! with one UID, a board with another chip.
//! Cells that fail and boards that are protected are in `panel.rs`. What only a model of a board can have (a node that
//! babbles, falls mute or lies about its lock) would be another binary.

use panel_codes::Code;
use panel_emulator::{Board, BoardConfig, FLASH_BASE, Fitted, NEVER, Noise};
use panel_engine::Outcome;
use panel_protocol::frame::Frame;
use panel_simulator::{CanPort, Device};

use crate::tools::{F103, F405, Station, all_pass};

/// What a chip draws whose processor stands still.
const STOPPED_MA: u32 = 10;
const DIP_NS: u64 = 20_000_000;
/// `b .`
const CIRCLE: [u8; 2] = 0xE7FE_u16.to_le_bytes();

/// What happens to a board from outside.
#[derive(Debug, Clone, Copy)]
enum Strike {
    Nothing,
    /// So many of a thousand frames do not reach it.
    Loss(u64),
    /// It stops for ever when this cell has been programmed.
    Dead(u32),
    /// Its supply dips once when this cell has been programmed.
    BrownOut(u32),
    /// Its processor runs in circles when this cell has been programmed.
    Hang(u32),
}

/// A board to which something happens.
struct Struck {
    board: Fitted,
    strike: Strike,
    noise: Noise,
    dead: bool,
    /// When the supply is back.
    back: u64,
}

impl Struck {
    fn new(board: Fitted, strike: Strike) -> Self {
        Self { board, strike, noise: Noise::new(3), dead: false, back: NEVER }
    }

    fn look(&mut self, now: u64, port: &mut CanPort<'_>) {
        let (Strike::Dead(at) | Strike::BrownOut(at) | Strike::Hang(at)) = self.strike else { return };
        if self.board.board().flash().data()[(at - FLASH_BASE) as usize] == 0xFF {
            return;
        }
        if matches!(self.strike, Strike::Hang(_)) {
            let mut board = self.board.board();
            let place = board.program_counter() & !1;
            assert!(board.spoil_memory(place, &CIRCLE.repeat(16)));
            self.strike = Strike::Nothing;
            return;
        }
        self.board.set_power(now, false, port);
        self.dead = matches!(self.strike, Strike::Dead(_));
        self.back = if self.dead { NEVER } else { now + DIP_NS };
        self.strike = Strike::Nothing;
    }
}

impl Device for Struck {
    fn due(&self) -> u64 {
        if self.dead { NEVER } else { self.board.due().min(self.back) }
    }

    fn run(&mut self, now: u64, port: &mut CanPort<'_>) -> bool {
        if self.back <= now {
            self.back = NEVER;
            self.board.set_power(now, true, port);
        }
        let readable = self.board.run(now, port);
        self.look(now, port);
        readable
    }

    fn receive(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>) {
        match self.strike {
            Strike::Loss(share) if self.noise.below(1000) < share => _ = self.run(now, port),
            _ => self.board.receive(now, frame, port),
        }
    }

    fn sent(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>) {
        self.board.sent(now, frame, port);
    }

    fn set_power(&mut self, now: u64, on: bool, port: &mut CanPort<'_>) {
        self.back = NEVER;
        if !self.dead {
            self.board.set_power(now, on, port);
        }
    }

    fn set_reset(&mut self, now: u64, asserted: bool, port: &mut CanPort<'_>) {
        self.board.set_reset(now, asserted, port);
    }

    fn set_select(&mut self, on: bool) {
        self.board.set_select(on);
    }

    fn current_ma(&self, now: u64) -> u32 {
        if self.dead { STOPPED_MA } else { self.board.current_ma(now) }
    }
}

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
    let ends: Vec<_> =
        reports.iter().filter_map(|r| r.verdict.as_ref()).map(|v| (v.outcome, v.code)).collect();
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
    let ends: Vec<_> =
        reports.iter().filter_map(|r| r.verdict.as_ref()).map(|v| (v.outcome, v.code)).collect();
    println!("measured: f405, f103 in its panel, f405 that hangs: {ends:?}");
    let fail = |code| (Outcome::Fail, Some(code));
    assert_eq!(ends, [(Outcome::Pass, None), fail(Code::WrongChip), fail(Code::BoardSilent)], "{reports:?}");
    assert_eq!(
        station.boards[1].board().flash_mut().take_journal(),
        [],
        "nothing is written to another chip"
    );
}
