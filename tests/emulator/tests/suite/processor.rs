//! The processor and its exceptions, seen from programs that run on it.

use panel_emulator::{Board, BoardConfig, Chip};

use crate::tools::compile;

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
