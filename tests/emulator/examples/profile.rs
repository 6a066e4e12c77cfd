//! Where a program spends its time: `cargo run --example profile -- ELF [MILLISECONDS [SYMBOLS]]`, where SYMBOLS is the ELF
//! file of what was packed into ELF.
//!
//! The program starts on an F405 board with an otherwise blank flash and nobody on its bus; the program counter is
//! looked at every 10 us while the processor is awake. Prints the share of each function, and what went wrong.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::collections::BTreeMap;

use panel_emulator::{Board, BoardConfig, Chip, Program};

/// Functions shown.
const SHOWN: usize = 25;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(path), ms) = (args.next(), args.next()) else {
        println!("usage: profile ELF [MILLISECONDS [SYMBOLS]]");
        return;
    };
    let ms: u64 = ms.and_then(|t| t.parse().ok()).unwrap_or(100);
    let program = Program::read(path.as_ref()).expect("an ELF file");
    let symbols = args.next().map(|path| Program::read(path.as_ref()).expect("an ELF file"));
    let symbols = symbols.as_ref().unwrap_or(&program);
    let mut board = Board::new(BoardConfig::new(Chip::F405, 1)).expect("unicorn works");
    board.program(&program);
    board.set_power(0, true);
    let mut samples: BTreeMap<&str, u32> = BTreeMap::new();
    let mut awake = 0;
    for step in 1..=ms * 100 {
        board.run(step * 10_000, None);
        if !board.is_asleep() {
            awake += 1;
            *samples.entry(symbols.function(board.program_counter()).unwrap_or("?")).or_default() += 1;
        }
    }
    println!("{} instructions in {ms} ms, awake {:.1} ms", board.instructions(), f64::from(awake) / 100.0);
    let mut samples: Vec<_> = samples.into_iter().collect();
    samples.sort_by_key(|s| std::cmp::Reverse(s.1));
    for (name, count) in samples.iter().take(SHOWN) {
        println!("{:>8.2} ms  {name}", f64::from(*count) / 100.0);
    }
    for complaint in board.complaints() {
        println!("complaint: {complaint}");
    }
    println!("resets: {:?}", board.resets());
}
