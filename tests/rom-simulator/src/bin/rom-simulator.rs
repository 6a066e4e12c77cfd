//! Serves simulated ROM bootloaders on pseudo-terminals, for people and for other programs' tests.
//!
//! Prints the paths to open, one a line and nothing else, then serves until it is stopped. `panelflash sim
//! rom` offers the same through the same library calls. With `--can` it serves one device on standard input
//! and output instead, a frame a line, until the input ends.

use clap::Parser;
use rom_simulator::fault::{FAULT_HELP, Fault};
use rom_simulator::pty::{Hangup, PtyBank, PtyConfig, Tally};
use rom_simulator::{CanDevice, CanKind, Model, Nanos, Settings, bridge, catalog};
use std::io::Write;
use std::sync::atomic::AtomicBool;

/// Simulated STM32 ROM bootloaders on pseudo-terminals.
#[derive(Parser)]
#[command(after_help = format!("Faults:\n{FAULT_HELP}"))]
struct Arguments {
    /// How many boards, each on a serial port of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    uart: usize,
    /// One board on CAN instead: lines such as 31#0800000000FF on standard input and output
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "uart")]
    can: Option<Can>,
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
    /// Say on standard error, each time a host closes a port, what crossed it
    #[arg(long)]
    tally: bool,
    /// Fixes unique IDs and all dice
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Can {
    /// AN3154
    Classic,
    /// AN5405
    Fd,
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
    let settings = Settings { seed: arguments.seed, faults: arguments.fault, ..Settings::default() };
    if let Some(kind) = arguments.can {
        return serve_can(arguments.device, kind, &settings);
    }
    let bank = PtyBank::open(&PtyConfig {
        ports: arguments.uart,
        model: arguments.device,
        settings,
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
    bank.serve_told(&AtomicBool::new(false), &mut |port, tally| {
        if arguments.tally {
            let Tally { host_bytes, device_bytes, turnarounds, line, .. } = tally;
            let seconds = line.as_secs_f64();
            let line = format!("port {port}: {host_bytes} {device_bytes} {turnarounds} {seconds:.6}\n");
            // Nobody who listens is no reason to stop.
            _ = std::io::stderr().write_all(line.as_bytes());
        }
    })?;
    Ok(())
}

fn serve_can(
    model: &'static Model,
    kind: Can,
    settings: &Settings,
) -> Result<(), Box<dyn std::error::Error>> {
    let kind = match kind {
        Can::Classic => CanKind::Classic,
        Can::Fd => CanKind::Fd,
    };
    let mut device = CanDevice::new(model, kind, settings, Nanos::ZERO)
        .ok_or_else(|| format!("the ROM of {} has no such loader", model.name))?;
    bridge::serve(&mut device, std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(())
}
