//! panelflash: programs a whole panel of STM32 boards at once.
//!
//! The binary knows all crates, prints, exits and reads the environment; nothing else does. Each command is a
//! module of its own: `args` says what can be asked, `setup` turns files into a plan, `sim_drive` moves frames
//! between a run and the simulated panel, `records` writes down, `view` shows.

mod args;
mod bench;
mod bounds;
mod failure;
mod out;
mod plan;
mod records;
mod recover;
mod report;
mod result;
mod rom;
mod run;
mod setup;
mod sim;
mod sim_drive;
mod view;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Rom(args) => rom::rom(args),
        Command::Recover(args) => recover::recover(&args),
        Command::Sim(args) => sim::sim(args),
        Command::Report(args) => report::report(&args),
    };
    match outcome {
        Ok(exit) => ExitCode::from(exit),
        Err(failure) => {
            out::note(&failure.to_string());
            ExitCode::from(failure.exit())
        }
    }
}
