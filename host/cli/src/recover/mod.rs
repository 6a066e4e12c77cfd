//! `panelflash recover`: one bricked board, over its serial port or CAN bus, end to end, with its record.
//!
//! Nothing is destroyed without consent: the board is read first, its state is said, and what the release does
//! not match is erased only after a yes. A recovery that was interrupted anywhere is simply run again. `target` is
//! what the board is to hold, `bench` who decides and writes down, `told` what is said at the end. A board never
//! gets a new number here: it gets its own again, or none.

mod bench;
mod target;
#[cfg(test)]
mod tests;
mod told;

use std::path::{Path, PathBuf};

use panel_backplane::Slot;
use panel_engine::Event;
use panel_ledger::{Ledger, SqliteLedger, Uid, Unit};

use crate::args::records_dir;
use crate::failure::Failure;
use crate::order::station::StationFile;
use crate::out::line;
use crate::rom::attempt::{Done, Link, Overseer, STILL_ERASING, Work, attempt};
use crate::rom::{Port, PortArgs, supply};
use bench::{Bench, BenchPort};
use target::Target;

/// A board on the bench is in no panel: its records have this slot.
const BENCH: Slot = Slot(1);

#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    /// The job that the board is to hold afterwards. Its `[identity]` says where a unit's identity lies.
    #[arg(required_unless_present = "order")]
    job: Option<PathBuf>,
    /// Recover by a work order instead: its signed release, option bytes, lock, and the identity of the board's UID.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["job", "station"])]
    order: Option<String>,
    #[command(flatten)]
    station_file: StationFile,
    /// Recover a unit of the order that has used up its retests (E640, E641); the reason goes into its record.
    #[arg(long, value_name = "REASON", requires = "order")]
    permit: Option<String>,
    #[command(flatten)]
    port: PortArgs,
    /// Erase what is on the board without asking.
    #[arg(long)]
    yes: bool,
    /// Supply voltage of the board in volts: F2, F4 and F7 are then programmed by words, four times as fast. A
    /// wrong value corrupts flash.
    #[arg(long, value_name = "V")]
    voltage: Option<f64>,
    /// Where records and ledger are kept [default: the user's data directory].
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Print one JSON object with the result to stdout; progress goes to stderr.
    #[arg(long)]
    json: bool,
    /// Station, for the record.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_STATION")]
    station: Option<String>,
    /// Operator, for the record.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_OPERATOR")]
    operator: Option<String>,
}

pub(crate) fn recover(args: &RecoverArgs) -> Result<u8, Failure> {
    let dir = records_dir(args.records.as_ref());
    let (target, source) = match (&args.order, &args.job) {
        (Some(scanned), _) => Target::of_order(args, scanned, &dir)?,
        (None, job) => Target::of_job(args, job.as_deref().unwrap_or_else(|| Path::new("")))?,
    };
    let voltage = args.voltage.map(supply).transpose()?;
    target.check(voltage)?;
    let image = target.image()?;
    let work = Work { voltage, ..target.work(&image) };

    // Records that cannot be written are told before the port is touched.
    drop(crate::records::Recorder::open(&dir, crate::room::needed(1, 0, true))?);
    let mut port = Port::open(&args.port)?;
    port.wait_for_chip(STILL_ERASING);
    if !port.has_lines() {
        target.check_without_lines()?;
    }
    let clock = Box::new(jiff::Timestamp::now);
    let mut books = source.open_books(&dir, &target.start, clock, |_, _| {})?;
    books.permit(args.permit.as_deref());
    let mut bench = Bench::new(books, port.clock(), args.yes);
    let mut link = BenchPort { port, device: work.device };
    let result = carry_out(&mut link, &work, &mut bench, &target.start.fixture);
    let ended = bench.end(&result);
    let uid = result.as_ref().ok().and_then(|done| done.uid.as_deref());
    let unit = uid.map_or(Ok(None), |uid| unit_of(&dir, &target.start.product, uid));
    if args.json {
        let known = unit.as_ref().ok().and_then(Option::as_ref);
        line(&told::json(&result, known, bench.now()).to_string());
    }
    let done = result?;
    ended?;
    if !args.json {
        told::report(&done, unit?.as_ref());
    }
    Ok(0)
}

/// The recovery itself, with its note in the records.
fn carry_out(
    link: &mut impl Link,
    work: &Work<'_>,
    bench: &mut Bench,
    fixture: &str,
) -> Result<Done, Failure> {
    bench.tell(Event::Note { slot: None, topic: "recovery", text: fixture.to_owned() })?;
    attempt(link, work, 1, bench)
}

/// What the ledger beside the records knows of this chip: its newest unit; nothing without a ledger.
fn unit_of(records: &Path, product: &str, uid: &str) -> Result<Option<Unit>, Failure> {
    let path = crate::ledger::path(records);
    let mut bytes = [0; 12];
    if !path.exists() || hex::decode_to_slice(uid, &mut bytes).is_err() {
        return Ok(None);
    }
    let ledger = SqliteLedger::open(&path).map_err(|e| crate::ledger::failure(&e))?;
    Ok(ledger.find_chip(product, Uid(bytes)).map_err(|e| crate::ledger::failure(&e))?.pop())
}
