//! Makes the fixture of the present database format: `fixture DIR`.
//!
//! Run it once, when a format is released, and keep `DIR/records.db` as `tests/fixtures/records-vN.db`.

use std::error::Error;
use std::path::Path;

use panel_store::{Resolution, ResolutionKind, Store};

#[path = "../tests/store/sample.rs"]
mod sample;
#[path = "../tests/store/script.rs"]
mod script;

use script::{Script, apply};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: fixture DIR")?;
    // A crash in the middle of a run, ...
    write(&mut Store::open(Path::new(&dir))?, 1, 200)?;
    // ... what one of its boards was found to be, and the same once more.
    let mut store = Store::open(Path::new(&dir))?;
    let doubtful = store.in_doubt()?.first().ok_or("nothing in doubt")?.attempt;
    let kind = ResolutionKind::Reprogrammed;
    let (utc_us, note) = (sample::START_US + 60_000_000, "read back: sector 3 is blank".to_owned());
    store.resolve(doubtful, &Resolution { utc_us, kind, note, by_run: None })?;
    write(&mut store, 2, 200)
}

/// Writes at least so many events and stops in the middle of whatever it is doing.
fn write(store: &mut Store, seed: u64, at_least: u64) -> Result<(), Box<dyn Error>> {
    let (mut script, mut run, mut events) = (Script::new(seed), None, 0);
    while events < at_least {
        let op = script.next_op();
        apply(store, &mut run, &op)?;
        events += op.events();
    }
    Ok(())
}
