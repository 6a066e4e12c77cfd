//! Many runs of one order with faults and with ends before their time: no number twice, no unit lost, the balance always
//! exact, no PASS without a proven lock.
//!
//! Four tests of 500 runs with chosen faults, of which most die at a chosen durable moment, boards run again in other
//! slots; `PANELFLASH_SOAK_RUNS=N cargo test -p panelflash soak` does N in each. Three tests end one panel at each of its
//! durable moments in turn, by death and by databases that refuse from there on, and at each look at the keyboard.
//! Deaths happen in this process: records or ledger stop at a moment of a write, the run is dropped where it stands, and
//! the simulated boards keep the flash they had.

mod chip;
pub(crate) mod fixture;
mod line;

use std::collections::BTreeSet;
use std::path::Path;

use fixture::Kind;
use line::{Ended, Line, SLOTS, Trouble};

/// Runs of each of the four tests below where a disk in memory makes waiting for it cheap, and where none is there.
/// What is written is as durable as needed in both cases: these deaths are of a program, not of a machine.
const RUNS: u64 = 500;
const RUNS_ON_A_DISK: u64 = 30;
const MEMORY_DISK: &str = "/dev/shm";
/// Runs with one set of boards, records and ledger; blank boards that have passed let nobody in any more.
const RUNS_PER_LINE: u64 = 12;
const RUNS_PER_BLANK_LINE: u64 = 4;

const PLAIN: Kind = Kind { keyed: false, certified: false, patched: false, blank: None };
const PATCHED: Kind = Kind { patched: true, ..PLAIN };
const KEYED: Kind = Kind { keyed: true, ..PLAIN };
const CERTIFIED: Kind = Kind { keyed: true, certified: true, patched: true, blank: None };
const BLANK: Kind = Kind { blank: Some("rom-uart"), ..KEYED };
const WITH_AGENT: Kind = Kind { blank: Some("rom-uart+agent"), ..PATCHED };

#[test]
fn killed_and_faulty_runs_lose_no_unit_double_no_number_and_pass_no_unlocked_board() {
    soak(0, &[KEYED, PLAIN]);
}

#[test]
fn killed_and_faulty_runs_of_boards_with_certificates_and_patched_applications_do_not_either() {
    soak(1_000_000, &[CERTIFIED, PATCHED]);
}

#[test]
fn killed_and_faulty_runs_of_blank_boards_through_their_rom_do_not_either() {
    soak(2_000_000, &[BLANK]);
}

#[test]
fn killed_and_faulty_runs_of_blank_boards_with_an_agent_do_not_either() {
    soak(3_000_000, &[WITH_AGENT]);
}

#[test]
fn a_panel_that_ends_at_any_durable_moment_is_settled_by_the_next_run() {
    end_everywhere(CERTIFIED);
}

#[test]
fn a_panel_of_blank_boards_that_ends_at_any_durable_moment_is_settled_by_the_next_run() {
    end_everywhere(BLANK);
}

#[test]
fn a_panel_with_an_agent_that_ends_at_any_durable_moment_is_settled_by_the_next_run() {
    end_everywhere(WITH_AGENT);
}

/// Many lines from this seed on, of units of these kinds in turn.
fn soak(seed: u64, kinds: &[Kind]) {
    let runs = asked_runs();
    let mut tally = Tally::default();
    let moments: Vec<u64> = kinds.iter().map(|kind| undisturbed(*kind).moments).collect();
    for number in 0.. {
        let of = number as usize % kinds.len();
        let most = if kinds[of].blank.is_some() { RUNS_PER_BLANK_LINE } else { RUNS_PER_LINE };
        let mut line = Line::new(seed + number, kinds[of]);
        for _ in 0..most.min(runs - tally.runs) {
            line.run(moments[of], &mut tally);
            line.check(&mut tally);
        }
        line.finish(line::BOARDS, &mut tally);
        if tally.runs == runs {
            break;
        }
    }
    println!(
        "{kinds:?}: {} runs, {} died at {} different moments of {moments:?}; {tally:?}",
        tally.runs,
        tally.killed,
        tally.died_at.len()
    );
    // What holds of many runs need not hold of a few.
    if runs >= RUNS_ON_A_DISK {
        assert!(tally.killed * 3 > tally.runs, "many deaths must hit: {tally:?}");
        assert!(tally.passes * 3 > tally.runs && tally.failures > 0, "{tally:?}");
    }
}

/// One panel of four boards to its end.
fn undisturbed(kind: Kind) -> Ended {
    Line::new(7, kind).panel(&ALL, "", Trouble::None)
}

const ALL: [Option<usize>; SLOTS] = [Some(0), Some(1), Some(2), Some(3)];

/// The same panel again and again, ended each time one moment later.
fn end_everywhere(kind: Kind) {
    let Ended { moments, looks, .. } = undisturbed(kind);
    assert!(moments > 20 && looks > 10, "{moments} durable moments, {looks} looks");
    let mut tally = Tally::default();
    let deaths = (1..=moments).map(Trouble::Death);
    let refusals = (1..=moments).map(Trouble::Books);
    for trouble in deaths.chain(refusals).chain((0..looks).map(Trouble::Interrupt)) {
        let mut line = Line::new(7, kind);
        let ended = line.panel(&ALL, "", trouble);
        assert!(ended.hit, "{trouble:?} of {moments} moments and {looks} looks");
        line.check(&mut tally);
        line.finish(SLOTS, &mut tally);
    }
    println!(
        "{kind:?}: died, and went on without databases, at each of {moments} durable moments; interrupted {looks} times"
    );
}

/// As many as asked for, else [`RUNS`] or [`RUNS_ON_A_DISK`].
#[expect(clippy::disallowed_methods, reason = "how long to go on is asked of the person who runs the test")]
fn asked_runs() -> u64 {
    let usual = if Path::new(MEMORY_DISK).is_dir() { RUNS } else { RUNS_ON_A_DISK };
    std::env::var("PANELFLASH_SOAK_RUNS").map_or(usual, |text| text.parse().expect("a number of runs"))
}

/// A place for a line.
pub(crate) fn place() -> tempfile::TempDir {
    let memory = Path::new(MEMORY_DISK);
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// What happened in all.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    killed: u64,
    passes: u64,
    failures: u64,
    doubts: u64,
    /// Durable moments that were died at, by their place in the run.
    died_at: BTreeSet<u64>,
    /// Most runs that a line needed at its end until every board had passed.
    clean_runs: u64,
}
