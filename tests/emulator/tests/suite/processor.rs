//! The processor and its exceptions, seen from programs that run on it.

use panel_emulator::{Board, BoardConfig, Chip};

use crate::tools::{F103, F405, G0B1, G431, Kit, compile};

const RESULT: u32 = 0x2000_3000;
const MS: u64 = 1_000_000;

/// Runs a program of our own for at most so long; gives the words that it left.
fn run(name: &str, ms: u64) -> (Board, Vec<u32>) {
    let program = compile(name, "cortex-m4", "link.ld", &["start.c", &format!("{name}.c")], &[]);
    let mut board = Board::new(BoardConfig::new(Chip::F405, 1)).unwrap();
    board.program(&program);
    board.set_power(0, true);
    board.run(ms * MS, None);
    let words = board.memory(RESULT, 64);
    let words = words.as_chunks::<4>().0.iter().map(|&w| u32::from_le_bytes(w)).collect::<Vec<_>>();
    assert_eq!(board.crash(), None);
    assert_eq!(words[0], 0x600D, "{name} came to its end; pc {:#010x}", board.program_counter());
    (board, words)
}

#[test]
fn exceptions_nest_return_and_leave_registers_alone() {
    let (board, words) = run("exceptions", 100);
    assert_eq!(words[1], 1, "the sum is the same with and without interrupts");
    assert!((10..40).contains(&words[2]), "{} ticks of 1 ms while 20000 rounds were computed", words[2]);
    assert_eq!(words[3], 1, "the nested interrupt came with every tick");
    assert_eq!(words[4], 1, "one supervisor call");
    assert_eq!(words[5], 0, "no tick while masked");
    assert_eq!(words[6], 1, "the one held back comes when unmasked");
    assert_eq!(words[7], 21, "the higher priority ran first, within the lower one");
    assert_eq!(board.complaints(), []);
}

#[test]
fn code_in_ram_goes_on_while_the_flash_erases_and_code_in_flash_stalls() {
    let (board, words) = run("flash", 1000);
    assert!(words[1] > 100_000, "{} turns of a loop in 250 ms", words[1]);
    assert!((4_000_000..4_010_000).contains(&words[2]), "{} cycles are 250 ms", words[2]);
    assert!(words[3] <= 1, "{} turns: the loop itself stalled", words[3]);
    assert!((4_000_000..4_010_000).contains(&words[4]), "{} cycles", words[4]);
    assert_eq!((words[5], words[6]), (0x1234_5678, 0xCAFE_F00D));
    assert!(board.stalled() > 249 * MS);
    assert_eq!(board.complaints(), []);
}

#[test]
fn a_fault_is_an_exception_that_code_can_survive() {
    let (board, words) = run("fault", 20);
    assert_eq!(words[1], 2, "two faults");
    assert_eq!(words[2], 0x2000_4000, "a good address is read");
    let addresses: Vec<u32> = board.faults().iter().map(|f| f.address).collect();
    assert_eq!(addresses, [0x3000_0000, 0x0C00_0000]);
}

/// A board that has leapt over code is in every respect as one that has executed it, and goes on as that does.
#[test]
fn a_leap_over_code_that_is_known_cannot_be_told_from_its_execution() {
    for (kit, ram) in [(&F405, 128), (&G431, 32), (&G0B1, 144), (&F103, 64)] {
        // The first board of a kind in this process is the one that executes and records.
        started(kit, 1).run(100 * MS, None);
        // Whoever is looked at every now and then leaps over nothing.
        let (mut leaping, mut stepping) = (started(kit, 2), started(kit, 2));
        leaping.run(100 * MS, None);
        for step in 1..=1000 {
            stepping.run(step * MS / 10, None);
        }
        assert_eq!((leaping.leaps(), stepping.leaps()), (1, 0), "{}", kit.name);
        for ms in [100, 101, 500, 501] {
            leaping.run(ms * MS, None);
            stepping.run(ms * MS, None);
            assert_eq!(seen(&leaping, ram), seen(&stepping, ram), "{} after {ms} ms", kit.name);
        }
        assert_eq!(leaping.usart(1).take_sent(), stepping.usart(1).take_sent());
    }
}

#[test]
fn code_of_which_one_bit_is_another_is_not_leapt_over() {
    started(&F405, 1).run(100 * MS, None);
    let mut board = started(&F405, 1);
    let last =
        F405.bootloader().segments.iter().map(|(at, bytes)| at + bytes.len() as u32 - 8).max().unwrap();
    let mut cells = board.flash().cells().clone();
    cells.flip(last, 0);
    board.flash_mut().set_cells(&cells);
    board.run(100 * MS, None);
    assert_eq!(board.leaps(), 0);
}

/// A board with its bootloader that was just switched on.
fn started(kit: &Kit, number: u8) -> Board {
    let mut board = kit.board(number);
    board.program(&kit.bootloader());
    board.set_power(0, true);
    board
}

/// What a board with so many KiB of RAM shows to the outside; of its registers what they do later.
fn seen(board: &Board, ram: usize) -> impl PartialEq + std::fmt::Debug + use<> {
    let memory = panel_protocol::CRC32.checksum(&board.memory(0x2000_0000, ram * 1024));
    let counts = (board.instructions(), board.cycles_awake(), board.stalled(), board.program_counter());
    (memory, counts, board.crash(), board.faults(), board.complaints(), board.resets().to_vec())
}
