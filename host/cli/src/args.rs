//! The command line: names, help texts, defaults. The only place that reads the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Programs a whole panel of STM32 boards at once over one CAN bus, and says for every board PASS or exactly
/// what went wrong, where, and what to do next.
///
/// Exit codes: 0 every board passed; 1 at least one board failed; 2 usage, job or file error (nothing was
/// touched); 3 station error (what was done is recorded); 130 interrupted (boards left safe, record complete).
/// Error codes such as E214 are explained in docs/errors.md.
#[derive(Debug, Parser)]
#[command(name = "panelflash", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Program a panel: a batch run.
    ///
    /// Without arguments this is the demonstration: 21 simulated STM32F405 boards get a 256 KiB image over one
    /// simulated CAN bus at 1 Mbit/s, in real time, with a live view.
    Run(RunArgs),
    /// Print what a run would do, and its physical time bound; touches nothing.
    Plan(PlanArgs),
    /// Measure achieved time against the physical bound, in virtual time.
    Bench(crate::bench::BenchArgs),
    /// One board in its ROM bootloader, over a serial port: for engineers.
    Rom(crate::rom::RomArgs),
    /// Recover one bricked board over a serial port, end to end, with its record.
    Recover(crate::recover::RecoverArgs),
    /// What is on a bus: find boards, look at the interface, listen.
    Bus(crate::bus::BusArgs),
    /// Simulated boards on real links.
    Sim(crate::sim::SimArgs),
    /// Signed releases, work orders and root documents: pack, sign, verify, show.
    Release(crate::release::ReleaseArgs),
    /// A station that runs work orders: what it trusts, which orders and releases it can use.
    Station(crate::order::station::StationArgs),
    /// Serial numbers and addresses given to boards, and the balance of work orders.
    Ledger(crate::ledger::LedgerArgs),
    /// Units that may not be run again: list them, keep one apart, release or scrap one.
    Quarantine(crate::quarantine::QuarantineArgs),
    /// Check whether this station is fit to run: links, ports, fixture, records, clock; says what to do.
    Doctor(crate::doctor::DoctorArgs),
    /// Read back what was recorded.
    Report(crate::report::ReportArgs),
}

/// What is to be done, to which panel.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job; without it, the demonstration.
    pub(crate) job: Option<PathBuf>,
    /// The panel and its fixture; without it, the demonstration's 3 x 7 slots on one simulated bus.
    #[arg(long, value_name = "PANEL.toml")]
    pub(crate) panel: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Run a work order by its number, as scanned: it selects the one release, and boards get identities. The
    /// operator chooses no file; station.toml says where orders and releases lie.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["job", "station"])]
    pub(crate) order: Option<String>,
    #[command(flatten)]
    pub(crate) station_file: crate::order::station::StationFile,
    /// Run units just once more that have used up their retests (E640, E641); who permits it and why goes into their
    /// records. `panelflash quarantine` lists such units and releases them.
    #[arg(long, value_name = "REASON", requires = "order")]
    pub(crate) permit: Option<String>,
    /// What is wrong with the simulated boards and buses.
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// Seed of the simulation; the same seed gives the same events.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// As fast as the processor allows instead of in real time.
    #[arg(long)]
    pub(crate) virtual_time: bool,
    /// Where records are kept: records.db and units.csv [default: the user's data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) records: Option<PathBuf>,
    /// Print one JSON object with the result of every board to stdout; progress goes to stderr.
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the simulated boards' flash in files of this directory, so that the next run meets them as they are.
    #[arg(long, value_name = "DIR")]
    pub(crate) boards: Option<PathBuf>,
    /// Write every event of the run, one JSON object a line; the same seed gives the same file.
    #[arg(long, value_name = "FILE")]
    pub(crate) event_log: Option<PathBuf>,
    /// Identification of this panel, such as its barcode [default: the panel file's name].
    #[arg(long, value_name = "ID")]
    pub(crate) panel_id: Option<String>,
    /// Station, for the record.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_STATION")]
    pub(crate) station: Option<String>,
    /// Operator, for the record.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_OPERATOR")]
    pub(crate) operator: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The record directory: as given, else `panelflash` in the user's data directory (XDG base directories).
#[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
pub(crate) fn records_dir(given: Option<&PathBuf>) -> PathBuf {
    if let Some(dir) = given {
        return dir.clone();
    }
    let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    data.unwrap_or_else(|| PathBuf::from(".")).join("panelflash")
}

/// The folders in which programs are looked for.
pub(crate) fn program_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// How the names of directories for temporary files begin; the process's id follows.
pub(crate) const SCRATCH: &str = "panelflash-sim-";

/// A directory for temporary files of this process.
pub(crate) fn scratch_dir() -> PathBuf {
    std::env::temp_dir().join(format!("{SCRATCH}{}", std::process::id()))
}

/// The user wants no colour (no-color.org).
#[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
pub(crate) fn colour_refused() -> bool {
    std::env::var("NO_COLOR").is_ok_and(|v| !v.is_empty())
}

/// The terminal cannot move its cursor.
#[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
pub(crate) fn terminal_is_dumb() -> bool {
    std::env::var("TERM").is_ok_and(|v| v == "dumb")
}
