//! What a durable batch costs, as a multiple of one fsync of the same file system: `begin_cost [DIR]`.
//!
//! Give a directory on the disk that the records will be on; the default is the current directory.

#![expect(clippy::print_stdout, reason = "the figures are the purpose of this program")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use panel_store::{Event, EventRecord, RunId, StepOutcome, Store, Verdict};

#[path = "../tests/store/sample.rs"]
mod sample;

const ROUNDS: usize = 200;
const SLOTS: u16 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let mut file = File::create(dir.path().join("fsync"))?;
    let mut store = Store::open(dir.path())?;
    let (mut begins, mut starts, mut steps, mut ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut fsyncs = Vec::new();
    for round in 0..ROUNDS {
        // In every round, so that whatever else the disk is doing falls on all figures alike.
        fsyncs.push(fsync_time(&mut file)?);
        let begin = Instant::now();
        let run = store.begin_run(&sample::run_start("panel"))?;
        begins.push(begin.elapsed());
        let slots = |event: &dyn Fn(u16) -> Event| (0..SLOTS).map(event).collect::<Vec<_>>();
        starts.push(append(&mut store, run, slots(&|slot| Event::AttemptStarted { slot }))?);
        append(&mut store, run, slots(&|slot| Event::Identified { slot, uid: uid(round, slot) }))?;
        for step in ["verify", "lock-proof"] {
            let name = || step.to_owned();
            steps.push(append(&mut store, run, slots(&|slot| Event::StepStarted { slot, step: name() }))?);
            let ok = StepOutcome::Ok;
            append(&mut store, run, slots(&|slot| Event::StepEnded { slot, step: name(), outcome: ok }))?;
        }
        let passed = |slot| Event::AttemptEnded { slot, verdict: Verdict::pass() };
        ends.push(append(&mut store, run, slots(&passed))?);
        store.end_run(run, &panel_store::RunEnd { utc_us: sample::START_US, run_us: 0, exit: 0 })?;
    }
    let fsync = median(fsyncs);
    println!("one fsync of one 4 KiB page: {fsync:?} (medians of {ROUNDS})");
    for (what, times) in [
        ("begin a run", begins),
        ("start 64 attempts", starts),
        ("start a step of 64", steps),
        ("end 64 attempts, with their lines in units.csv", ends),
    ] {
        let time = median(times);
        println!("{what}: {time:?}, {:.2} fsyncs", time.as_secs_f64() / fsync.as_secs_f64());
    }
    Ok(())
}

fn uid(round: usize, slot: u16) -> panel_store::Uid {
    let mut uid = [0; 12];
    uid[..8].copy_from_slice(&(round as u64).to_le_bytes());
    uid[8..10].copy_from_slice(&slot.to_le_bytes());
    uid.into()
}

/// Appends one batch and returns the time it took.
fn append(store: &mut Store, run: RunId, events: Vec<Event>) -> Result<Duration, Box<dyn Error>> {
    let events: Vec<_> =
        events.into_iter().map(|event| EventRecord { utc_us: sample::START_US, run_us: 0, event }).collect();
    let begin = Instant::now();
    store.append(run, &events)?;
    Ok(begin.elapsed())
}

fn fsync_time(file: &mut File) -> Result<Duration, Box<dyn Error>> {
    file.write_all(&[0x5a; 4096])?;
    let begin = Instant::now();
    file.sync_all()?;
    Ok(begin.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
