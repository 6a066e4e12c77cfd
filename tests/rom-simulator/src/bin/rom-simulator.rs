//! Serves simulated ROM bootloaders on pseudo-terminals, for people and for other programs' tests.
//!
//! Prints the paths to open, one a line and nothing else, then serves until it is stopped. `panelflash sim
//! rom` offers the same through the same library calls.

use clap::Parser;
use rom_simulator::fault::{FAULT_HELP, Fault};
use rom_simulator::pty::{Hangup, PtyBank, PtyConfig};
use rom_simulator::{Model, Settings, catalog};
use std::io::Write;
use std::sync::atomic::AtomicBool;

/// Simulated STM32 ROM bootloaders on pseudo-terminals.
#[derive(Parser)]
#[command(after_help = format!("Faults:\n{FAULT_HELP}"))]
struct Arguments {
    /// How many boards, each on a serial port of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    uart: usize,
    /// The chip, for example F405
    #[arg(long, value_parser = device)]
    device: &'static Model,
    /// As fast as possible instead of in real time
    #[arg(long)]
    unpaced: bool,
    /// The rate a host gets that sets none
    #[arg(long, default_value_t = 115_200)]
    baud: u32,
    /// A fault, see below; may be given more than once
    #[arg(long, value_name = "NAME[:ARGS]")]
    fault: Vec<Fault>,
    /// What closing a port does to the board
    #[arg(long, value_enum, default_value_t = OnClose::Reset)]
    on_close: OnClose,
    /// Fixes unique IDs and all dice
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum OnClose {
    /// A pulse on NRST
    Reset,
    /// Power off and on
    Power,
    /// Nothing
    Keep,
}

fn device(name: &str) -> Result<&'static Model, String> {
    catalog::find(name).ok_or_else(|| {
        let names: Vec<&str> = catalog::MODELS.iter().map(|model| model.name).collect();
        format!("unknown device; the devices are {}", names.join(" "))
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let bank = PtyBank::open(&PtyConfig {
        ports: arguments.uart,
        model: arguments.device,
        settings: Settings { seed: arguments.seed, faults: arguments.fault, ..Settings::default() },
        baud: arguments.baud,
        paced: !arguments.unpaced,
        hangup: match arguments.on_close {
            OnClose::Reset => Hangup::Reset,
            OnClose::Power => Hangup::PowerCycle,
            OnClose::Keep => Hangup::Nothing,
        },
    })?;
    let mut out = std::io::stdout().lock();
    for path in bank.paths() {
        writeln!(out, "{path}")?;
    }
    out.flush()?;
    drop(out);
    // Ended by a signal.
    bank.serve(&AtomicBool::new(false))?;
    Ok(())
}
