//! Hostile devices for as long as one likes.
//!
//! ```text
//! cargo run --release --example fuzz -- 10000000 [FIRST_SEED]
//! ```
//!
//! Ends with the first seed whose session does something it must not.

use std::io::{self, Write};
use std::process::ExitCode;

use stm32_rom_bootloader::testing::{Chaos, fuzz};

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(count)), first) = (numbers.next(), numbers.next().transpose()) else {
        return say("usage: fuzz COUNT [FIRST_SEED]", ExitCode::FAILURE);
    };
    let Ok(first) = first.map(|first| first.unwrap_or(0)) else {
        return say("usage: fuzz COUNT [FIRST_SEED]", ExitCode::FAILURE);
    };
    let (mut succeeded, mut changes, mut polls) = (0u64, 0u64, 0u64);
    for seed in first..first.saturating_add(count) {
        match fuzz(&mut Chaos::from_seed(seed)) {
            Ok(verdict) => {
                succeeded += u64::from(verdict.error.is_none());
                changes += u64::from(verdict.changes);
                polls += u64::from(verdict.polls);
            }
            Err(wrong) => return say(&format!("seed {seed}: {wrong}"), ExitCode::FAILURE),
        }
    }
    let summary = format!(
        "{count} devices, {succeeded} jobs done, {changes} writes and erases all within their plans, {polls} polls"
    );
    say(&summary, ExitCode::SUCCESS)
}

fn say(line: &str, code: ExitCode) -> ExitCode {
    drop(writeln!(io::stdout(), "{line}"));
    code
}
