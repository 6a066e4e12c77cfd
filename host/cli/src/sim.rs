//! `panelflash sim`: simulated boards on real links, for people and for other programs.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use panel_codes::Code;
use rom_simulator::fault::{FAULT_HELP, Fault};
use rom_simulator::pty::{Hangup, PtyBank, PtyConfig};
use rom_simulator::{Model, Settings, catalog};

use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Boards in their ROM bootloader, each on a pseudo-terminal.
    ///
    /// First prints the paths of the ports, one a line and nothing else, then serves them until it is stopped.
    /// Paced at the baud rate in real time unless told otherwise. A pseudo-terminal carries no parity bit: other
    /// programs open it as 8N1.
    #[command(after_help = format!("Faults:\n{FAULT_HELP}"))]
    Rom(RomArgs),
    /// A panel of boards on CAN interfaces, on pseudo-terminals or behind TCP, in real time.
    ///
    /// First prints one line for each bus with its link, then the socket of its fixture, then the panel.toml that
    /// leads there if none was given; then serves them until it is stopped. `panelflash run --panel THAT` programs
    /// the boards from another process.
    Panel(Box<crate::sim_panel::PanelArgs>),
}

#[derive(Debug, Args)]
struct RomArgs {
    /// How many boards.
    #[arg(long, value_name = "N", default_value_t = 1)]
    uart: usize,
    /// The chip, such as F405, G431, F103.
    #[arg(long, value_parser = model, default_value = "F405")]
    device: &'static Model,
    /// As fast as possible instead of at the baud rate.
    #[arg(long)]
    unpaced: bool,
    /// Baud rate of a port whose other end sets none.
    #[arg(long, default_value_t = 115_200)]
    baud: u32,
    /// What is wrong with the boards; may be given more than once.
    #[arg(long, value_name = "NAME[:ARGS]")]
    fault: Vec<Fault>,
    /// What closing a port does to its board.
    #[arg(long, value_enum, default_value_t = OnClose::Reset)]
    on_close: OnClose,
    /// Seed of UIDs and dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OnClose {
    /// A pulse on NRST.
    Reset,
    /// Power off and on.
    Power,
    /// Nothing.
    Keep,
}

fn model(name: &str) -> Result<&'static Model, String> {
    catalog::find(name).ok_or_else(|| {
        let names: Vec<&str> = catalog::MODELS.iter().map(|model| model.name).collect();
        format!("no simulated {name}; there are {}", names.join(", "))
    })
}

pub(crate) fn sim(args: SimArgs) -> Result<u8, Failure> {
    let args = match args.what {
        What::Rom(args) => args,
        What::Panel(args) => return crate::sim_panel::panel(&args),
    };
    let bank = PtyBank::open(&PtyConfig {
        ports: args.uart,
        model: args.device,
        settings: Settings { seed: args.seed, faults: args.fault, ..Settings::default() },
        baud: args.baud,
        paced: !args.unpaced,
        hangup: match args.on_close {
            OnClose::Reset => Hangup::Reset,
            OnClose::Power => Hangup::PowerCycle,
            OnClose::Keep => Hangup::Nothing,
        },
    })
    .map_err(|e| Failure::new(Code::Internal, format!("pseudo-terminals: {e}")))?;
    let stop = crate::run::stop_flag()?;
    let mut out = std::io::stdout().lock();
    let printed = bank.paths().try_for_each(|path| writeln!(out, "{path}")).and_then(|()| out.flush());
    printed.map_err(|e| Failure::new(Code::OutputFile, format!("standard output: {e}")))?;
    drop(out);
    serve(bank, &stop)?;
    Ok(0)
}

fn serve(bank: PtyBank, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    bank.serve(stop).map_err(|e| Failure::new(Code::PortGone, format!("pseudo-terminals: {e}")))
}
