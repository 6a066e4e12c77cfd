//! Writes records until it is killed: `store-writer DIR SEED`.
//!
//! Says on stdout how many events the database holds once an operation is durable (`done N`) and how many it
//! will hold after the next one (`next N`). What an earlier writer left in doubt it resolves first, as a run
//! that has read the boards would.

use std::io::Write as _;
use std::path::Path;

use panel_store::{Resolution, ResolutionKind, Store, StoreError};

#[path = "../store/sample.rs"]
mod sample;
#[path = "../store/script.rs"]
mod script;

use sample::START_US;
use script::{Rng, Script, apply};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, seed] = arguments.as_slice() else { return Err("usage: store-writer DIR SEED".into()) };
    write_for_ever(Path::new(dir), seed.parse()?)
}

fn write_for_ever(dir: &Path, seed: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut store = Store::open(dir)?;
    let mut events = store.records().verify_chain()?.events;
    resolve_all(&mut store, seed, &mut events)?;
    let (mut script, mut run) = (Script::new(seed), None);
    loop {
        let op = script.next_op();
        say("next", events + op.events())?;
        apply(&mut store, &mut run, &op)?;
        events += op.events();
        say("done", events)?;
    }
}

fn resolve_all(store: &mut Store, seed: u64, events: &mut u64) -> Result<(), Box<dyn std::error::Error>> {
    say("done", *events)?;
    let mut rng = Rng(seed);
    for entry in store.in_doubt()? {
        let kind = [ResolutionKind::Complete, ResolutionKind::Reprogrammed, ResolutionKind::NotSeen]
            [rng.below(3) as usize];
        say("next", *events + 1)?;
        let resolution = Resolution { utc_us: START_US, kind, note: "read back".into(), by_run: None };
        store.resolve(entry.attempt, &resolution).map_err(|error: StoreError| error.to_string())?;
        *events += 1;
        say("done", *events)?;
    }
    Ok(())
}

fn say(word: &str, events: u64) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word} {events}")?;
    out.flush()
}
