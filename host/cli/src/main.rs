//! panelflash: programs a whole panel of STM32 boards at once.
//!
//! The binary knows all crates, prints, exits and reads the environment; nothing else does. Each command is a
//! module of its own: `args` says what can be asked, `setup` turns files into a plan, `sim_drive` moves frames
//! between a run and the simulated panel, `records` writes down, `view` shows.

mod args;
mod bench;
mod books;
mod bounds;
mod bus;
mod doctor;
mod event_log;
mod failure;
mod files;
mod ledger;
mod order;
mod out;
mod plan;
mod quarantine;
mod real_drive;
mod records;
mod recover;
mod release;
mod report;
mod result;
mod rom;
mod room;
mod run;
mod seal;
mod setup;
mod sim;
mod sim_drive;
mod sim_mux;
mod sim_panel;
mod stage;
mod view;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use panel_codes::Code;

use args::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    // A file that may not grow any more (`ulimit -f`) is an error of its write like a full disk, not the end of the
    // program: a handler is needed for that. If it cannot be had, the signal does what it does otherwise.
    _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Rom(args) => rom::rom(args),
        Command::Recover(args) => recover::recover(&args),
        Command::Bus(args) => bus::bus(&args),
        Command::Sim(args) => sim::sim(args),
        Command::Release(args) => release::release(&args),
        Command::Station(args) => order::station::station(&args),
        Command::Ledger(args) => ledger::ledger(&args),
        Command::Quarantine(args) => quarantine::quarantine(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Report(args) => report::report(&args),
    };
    match outcome {
        Ok(exit) => match out::failure() {
            None => ExitCode::from(exit),
            Some(lost) => {
                out::note(&lost.to_string());
                // What was worse stays: a run that was interrupted, for example.
                ExitCode::from(exit.max(lost.exit()))
            }
        },
        Err(failure) => {
            out::note(&failure.to_string());
            ExitCode::from(failure.exit())
        }
    }
}

/// Help and version are results; everything else that is wrong with a command line has a code like other errors.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        out::line(error.to_string().trim_end());
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let failure = Failure::new(Code::Usage, text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    out::note(&failure.to_string());
    ExitCode::from(failure.exit())
}
