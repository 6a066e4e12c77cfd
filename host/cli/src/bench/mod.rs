//! `panelflash bench`: the performance table, achieved time against the physical bound, in virtual time.
//!
//! Each row is a whole run of the real engine, sessions and node code over the simulated panel, from power to
//! the last board's verdict; only the records are left out. Rows are independent and run on all processors;
//! they are printed in a fixed order and, but for processor time, come out the same every time.
//!
//! `matrix` says which rows there are, `firmware` what is sent, `measure` runs one, `rom` one board's session
//! with its ROM bootloader alone, `table` prints them.

mod firmware;
mod matrix;
mod measure;
mod rom;
mod table;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use panel_codes::Code;
use serde::Serialize;

use crate::failure::Failure;
use crate::out;
pub(crate) use matrix::Filters;
use matrix::Point;
use measure::Measured;

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    filters: Filters,
    /// Print one JSON array of flat rows to stdout; progress goes to stderr.
    #[arg(long)]
    json: bool,
}

/// One row of the table. Times in seconds of virtual time, but for `host_cpu_seconds`.
#[derive(Debug, Serialize)]
struct Row {
    way: &'static str,
    family: &'static str,
    boards: u16,
    image_bytes: usize,
    bus: &'static str,
    loss: f64,
    latency_ms: f64,
    /// From power on to the last board's verdict.
    seconds: f64,
    bound_seconds: f64,
    ratio: f64,
    /// The same job run for one board alone, times the boards.
    one_by_one_seconds: f64,
    /// Frames on all buses.
    frames: u64,
    /// Data frames among them that were repeats.
    frames_repeated: u64,
    /// Share of the time that the buses were not idle.
    bus_load: f64,
    /// Processor time of host and simulation.
    host_cpu_seconds: f64,
    buses: u8,
    passed: usize,
    /// From the first discovery frame until every board is bound to its slot, on the slowest bus.
    discover_seconds: f64,
    /// Bus time of that.
    discover_bus_seconds: f64,
    /// Error frames during it, on all buses.
    discover_bus_errors: u64,
    /// Bits that one flash operation programs.
    program_bits: u32,
    /// What identity, option bytes, lock and proof add beyond the boards' own option writes and restarts.
    #[serde(skip_serializing_if = "Option::is_none")]
    added_seconds: Option<f64>,
}

pub(crate) fn bench(args: &BenchArgs) -> Result<u8, Failure> {
    let (points, notes) = args.filters.points();
    notes.iter().for_each(|note| out::note(note));
    // The job for one board alone is measured too, once for every kind of row.
    let mut tasks = points.clone();
    for point in points.iter().map(Point::alone).chain(points.iter().map(Point::plain)) {
        if !tasks.contains(&point) {
            tasks.push(point);
        }
    }
    let results = run_all(&tasks)?;
    let mut rows: Vec<Row> = points
        .iter()
        .zip(&results)
        .map(|(point, measured)| {
            let alone = point.alone();
            let single = tasks.iter().position(|t| *t == alone).map_or(0.0, |n| results[n].seconds);
            let plain = tasks.iter().position(|t| *t == point.plain()).map_or(0.0, |n| results[n].seconds);
            let added = point.way.is_factory().then_some(measured.seconds - plain - measured.own_seconds);
            row(point, measured, single, added)
        })
        .collect();
    let (rom_points, notes) = args.filters.rom_points();
    notes.iter().for_each(|note| out::note(note));
    for point in rom_points {
        rows.push(rom::measure(&point)?);
    }
    if args.json {
        let json = serde_json::to_string_pretty(&rows);
        out::line(&json.map_err(|e| Failure::new(Code::Internal, e.to_string()))?);
    } else {
        table::lines(&rows).iter().for_each(|line| out::line(line));
    }
    let failed: Vec<&Row> = rows.iter().filter(|r| r.passed != usize::from(r.boards)).collect();
    for row in &failed {
        let Row { family, boards, bus, loss, passed, image_bytes, .. } = row;
        out::note(&format!(
            "{family}, {boards} boards, {image_bytes} bytes, {bus}, loss {loss}: only {passed} of {boards} boards passed"
        ));
    }
    Ok(u8::from(!failed.is_empty()))
}

/// Measures every point, on all processors; results in the points' order.
fn run_all(points: &[Point]) -> Result<Vec<Measured>, Failure> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<Measured, Failure>>>> =
        points.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some((point, result)) = {
            let n = next.fetch_add(1, Ordering::Relaxed);
            points.get(n).zip(results.get(n))
        } {
            let measured = measure::measure(point);
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            out::note(&format!("[{count}/{}] {point}", points.len()));
            if let Ok(mut place) = result.lock() {
                *place = Some(measured);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(points.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
    let lost = || Failure::new(Code::Internal, "a row of the table was not measured");
    let taken = results.into_iter().map(|m| m.into_inner().ok().flatten().ok_or_else(lost).flatten());
    taken.collect()
}

fn row(point: &Point, measured: &Measured, alone_seconds: f64, added_seconds: Option<f64>) -> Row {
    Row {
        way: point.way.name(),
        family: point.family.name(),
        boards: point.boards,
        image_bytes: point.image.bytes(),
        bus: point.bus.name(),
        loss: point.loss,
        latency_ms: point.latency_ms,
        seconds: measured.seconds,
        bound_seconds: measured.bound_seconds,
        ratio: measured.seconds / measured.bound_seconds,
        one_by_one_seconds: alone_seconds * f64::from(point.boards),
        frames: measured.frames,
        frames_repeated: measured.frames_repeated,
        bus_load: measured.bus_load,
        host_cpu_seconds: measured.cpu_seconds,
        buses: point.buses,
        passed: measured.passed,
        discover_seconds: measured.discovery.seconds,
        discover_bus_seconds: measured.discovery.bus_seconds,
        discover_bus_errors: measured.discovery.errors,
        program_bits: firmware::chip_for(point.family, point.image)
            .map_or(0, |c| 8 * u32::from(c.flash.unit)),
        added_seconds,
    }
}
