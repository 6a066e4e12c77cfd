//! Many seeded runs of one order with faults, the station killed between any two durable writes, boards run again
//! in other slots: no number twice, no unit lost, the balance always exact, no PASS without a proven lock.
//!
//! Kills happen in this process: records or ledger stop at a chosen moment of a chosen write, the run is dropped
//! where it stands, and the simulated boards keep the flash they had. Four tests of 500 runs;
//! `PANELFLASH_SOAK_RUNS=N cargo test -p panelflash soak` does N in each.

pub(crate) mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use clap::Parser as _;
use jiff::Timestamp;
use panel_backplane::Slot;
use panel_engine::{Event, KeyMade, Plan, Run};
use panel_ledger::region::{self, SlotUse};
use panel_ledger::{Checkpoint, Hash, KeyKind, Ledger, SqliteLedger, State, UnitKey};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use panel_release::WorkOrder;
use panel_simulator::World;
use panel_store::{AttemptResult, Records};

use crate::args::{Cli, Command, RunArgs};
use crate::books::Books;
use crate::failure::Failure;
use crate::run::Work;
use crate::sim_drive::{Certification, Observer, Pace, Reservation, drive};
use fixture::FAULTS;

/// Runs of each of the four tests below where a disk in memory makes waiting for it cheap, and where none is there.
/// What is written is as durable as needed in both cases: these deaths are of a program, not of a machine.
const RUNS: u64 = 500;
const RUNS_ON_A_DISK: u64 = 30;
const MEMORY_DISK: &str = "/dev/shm";
/// Runs with one set of boards, records and ledger.
const RUNS_PER_LINE: u64 = 12;
const BOARDS: usize = 6;
const SLOTS: usize = 4;
/// Where the identity is in flash, and its room.
const REGION: (u32, u32) = (0x0801_F000, 512);
const FLASH: u32 = 0x0800_0000;
/// Bytes before the flash in a board's file, where its protection and its UID are (tests/simulator).
const FILE_HEADER: u64 = 4096;
const FILE_PROTECTION: usize = 14;
const FILE_UID: std::ops::Range<usize> = 48..60;

#[test]
fn killed_and_faulty_runs_lose_no_unit_double_no_number_and_pass_no_unlocked_board_1() {
    soak(0, true);
}

#[test]
fn killed_and_faulty_runs_lose_no_unit_double_no_number_and_pass_no_unlocked_board_2() {
    soak(1_000_000, false);
}

#[test]
fn killed_and_faulty_runs_lose_no_unit_double_no_number_and_pass_no_unlocked_board_3() {
    soak(2_000_000, true);
}

#[test]
fn killed_and_faulty_runs_lose_no_unit_double_no_number_and_pass_no_unlocked_board_4() {
    soak(3_000_000, false);
}

/// Many lines from this seed on, of units with or without keys.
fn soak(seed: u64, keyed: bool) {
    let runs = asked_runs();
    let mut tally = Tally::default();
    for line in 0..runs.div_ceil(RUNS_PER_LINE) {
        let mut line = Line::new(seed + line, keyed);
        for _ in 0..RUNS_PER_LINE.min(runs - tally.runs) {
            line.run(&mut tally);
            line.check(&mut tally);
        }
        line.finish(&mut tally);
    }
    println!("{tally:?}");
    assert_eq!(tally.runs, runs);
    // What holds of many runs need not hold of a few.
    if runs >= RUNS_ON_A_DISK {
        assert!(tally.killed * 2 > tally.runs, "most deaths must hit: {tally:?}");
        assert!(tally.passes > tally.runs && tally.failures > 0, "{tally:?}");
    }
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

#[test]
fn a_clock_before_the_ledgers_last_entry_stops_the_station_before_the_panel() {
    let mut line = Line::new(77, false);
    line.panel(&[Some(0), None, None, None], "", u64::MAX, &mut Tally::default());
    let ledger = crate::ledger::path(&line.path("records"));
    let entries = SqliteLedger::open(&ledger).unwrap().head().unwrap();
    line.clock.fetch_sub(86_400_000_000, Ordering::Relaxed);
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let Work { plan, start, ordered, .. } = line.work();
    let failure = line.books(ordered, start, &Arc::new(plan), &left).err().unwrap();
    assert_eq!((failure.code, failure.exit()), (panel_codes::Code::StationClock, 3), "{failure}");
    assert_eq!(SqliteLedger::open(&ledger).unwrap().head().unwrap(), entries);
}

/// What happened in all.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    killed: u64,
    passes: u64,
    failures: u64,
    doubts: u64,
    /// Durable moments that were passed or died at.
    moments: u64,
    /// Most runs that a line needed at its end until every board had passed.
    clean_runs: u64,
}

/// A station with one order and its boards.
struct Line {
    dir: tempfile::TempDir,
    chance: Chance,
    clock: Arc<AtomicI64>,
    seed: u64,
    /// Files of the boards, by their number.
    boards: Vec<PathBuf>,
    written_down: Option<Checkpoint>,
    order: WorkOrder,
}

/// How a run ends by force: the content of the panic that stands for it.
struct Killed;

/// Deterministic chance (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Books whose death ends the run at once.
struct Watcher {
    books: Books,
    dead: Arc<AtomicU64>,
}

impl Watcher {
    fn live(&self) {
        if self.dead.load(Ordering::Relaxed) == 0 {
            resume_unwind(Box::new(Killed));
        }
    }
}

impl Observer for Watcher {
    fn events(&mut self, now: Micros, events: &[Event]) -> Result<(), String> {
        let done = self.books.events(now, events);
        self.live();
        done
    }

    fn reserve(&mut self, now: Micros, boards: &[(Slot, Uid)]) -> Vec<Reservation> {
        let answers = self.books.reserve(now, boards);
        self.live();
        answers
    }

    fn certify(&mut self, _: Micros, made: &[KeyMade]) -> Vec<Certification> {
        let answers = self.books.certify(made);
        self.live();
        answers
    }

    fn tick(&mut self, _now: Micros) -> bool {
        false
    }
}

impl Line {
    fn new(seed: u64, keyed: bool) -> Self {
        let dir = place();
        let path = |name: &str| dir.path().join(name);
        for folder in ["boards", "pool", "records"] {
            std::fs::create_dir(path(folder)).unwrap();
        }
        let order = fixture::station(dir.path(), keyed);
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let boards = (0..BOARDS).map(|n| path("pool").join(format!("board-{n}"))).collect();
        let chance = Chance(seed.wrapping_mul(0x1234_5678_9ABC_DEF1) ^ 0xD1CE);
        let clock = Arc::new(AtomicI64::new(time("2030-01-01T00:00:00Z").as_microsecond()));
        Self { dir, chance, clock, seed: seed.wrapping_mul(1000), boards, written_down: None, order }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A run with chosen boards in chosen slots, chosen faults, and mostly a death at a chosen moment.
    fn run(&mut self, tally: &mut Tally) {
        tally.runs += 1;
        let mut boards: Vec<Option<usize>> = (0..BOARDS).map(Some).collect();
        boards.push(None);
        for n in (1..boards.len()).rev() {
            boards.swap(n, self.chance.below(n as u64 + 1) as usize);
        }
        boards.truncate(SLOTS);
        let mut faults = String::new();
        for slot in 1..=SLOTS as u64 {
            if self.chance.below(4) == 0 {
                let fault = FAULTS[self.chance.below(FAULTS.len() as u64) as usize];
                let fault = fault.replace("AT", &(20 + self.chance.below(900)).to_string());
                _ = write!(faults, "[[slot]]\nslot = {slot}\n{fault}\n");
            }
        }
        // Some deaths come after the last write, where they are none.
        let death = if self.chance.below(8) == 0 { u64::MAX } else { 1 + self.chance.below(90) };
        if self.panel(&boards, &faults, death, tally) {
            tally.killed += 1;
        }
    }

    /// Puts boards into slots, runs, and takes them out again. Whether the station was killed.
    fn panel(&mut self, boards: &[Option<usize>], faults: &str, death: u64, tally: &mut Tally) -> bool {
        self.seed += 1;
        let mut scenario = faults.to_owned();
        for (slot, board) in (1..).zip(boards) {
            match board {
                Some(n) if self.boards[*n].exists() => {
                    std::fs::rename(&self.boards[*n], self.in_slot(slot)).unwrap();
                }
                Some(_) => {}
                None => {
                    scenario = scenario.replace(&format!("slot = {slot}\n"), "slot = 0\n");
                    _ = write!(scenario, "[[slot]]\nslot = {slot}\nfault = \"absent\"\n");
                }
            }
        }
        let blocks = scenario.split("[[slot]]").filter(|b| !b.contains("slot = 0\n") && !b.trim().is_empty());
        let blocks: String = blocks.map(|block| format!("[[slot]]{block}")).collect();
        // The same boards may have learnt to make keys of their own, or have forgotten it with other firmware.
        let makes_keys = self.chance.below(2) == 0;
        let scenario = format!("[all]\nmakes_keys = {makes_keys}\n{blocks}");
        std::fs::write(self.path("scenario.toml"), scenario).unwrap();
        let left = Arc::new(AtomicU64::new(death));
        let outcome = catch_unwind(AssertUnwindSafe(|| self.station(&left)));
        let killed = match outcome {
            Ok(()) => left.load(Ordering::Relaxed) == 0,
            Err(panic) if panic.is::<Killed>() => true,
            Err(panic) => resume_unwind(panic),
        };
        tally.moments += if death == u64::MAX { 0 } else { death - left.load(Ordering::Relaxed) };
        for (slot, board) in (1..).zip(boards) {
            let file = self.in_slot(slot);
            match board {
                Some(n) if file.exists() => std::fs::rename(file, &self.boards[*n]).unwrap(),
                _ => _ = std::fs::remove_file(file),
            }
        }
        killed
    }

    fn in_slot(&self, slot: usize) -> PathBuf {
        self.path("boards").join(format!("slot-{slot}-G431.flash"))
    }

    fn work(&self) -> Work {
        let records = self.path("records");
        crate::run::order_work(&self.args(), "WO-SOAK", &records).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Books that die when `left` has counted down to nothing.
    fn books(
        &self,
        ordered: Option<super::Ordered>,
        start: panel_store::RunStart,
        plan: &Arc<Plan>,
        left: &Arc<AtomicU64>,
    ) -> Result<Books, Failure> {
        let clock = Arc::clone(&self.clock);
        let now = move || Timestamp::from_microsecond(clock.fetch_add(1000, Ordering::Relaxed)).unwrap();
        let start = panel_store::RunStart { utc_us: now().as_microsecond(), ..start };
        let (in_store, in_ledger) = (Arc::clone(left), Arc::clone(left));
        let books =
            Books::open(&self.path("records"), &start, ordered, plan, Box::new(now), |store, ledger| {
                store.stop_at(move |_| passed(&in_store));
                ledger.stop_at(move |_| passed(&in_ledger));
            });
        let mut books = books?;
        books.permit(Some("every board is run until it passes"));
        Ok(books)
    }

    /// What the program does between its start and its end, or its death.
    fn station(&self, left: &Arc<AtomicU64>) {
        let Work { plan, scenario, start, ordered, .. } = self.work();
        let plan = Arc::new(plan);
        let mut config = crate::setup::world(&plan, scenario).unwrap_or_else(|e| panic!("{e}"));
        config.flash_dir = Some(self.path("boards"));
        let mut world = World::new(config, self.seed).unwrap();
        self.clock.fetch_add(3_600_000_000, Ordering::Relaxed);
        let books = match self.books(ordered, start, &plan, left) {
            Ok(books) => books,
            Err(_) if left.load(Ordering::Relaxed) == 0 => return,
            Err(failure) => panic!("{failure}"),
        };
        let mut watcher = Watcher { books, dead: Arc::clone(left) };
        let mut run = Run::new(&plan, world.now(), (self.seed % 251) as u8);
        drive(&mut run, &mut world, &Pace::Virtual, &mut watcher);
        let ended = watcher.books.recorder.end(world.now(), 0);
        assert!(ended.is_ok() || left.load(Ordering::Relaxed) == 0, "{ended:?}");
    }

    fn args(&self) -> RunArgs {
        let path = |name: &str| self.path(name).display().to_string();
        let args = ["panelflash", "run", "--order", "WO-SOAK", "--virtual-time", "--json"].map(str::to_owned);
        let files = [
            ["--station-file".to_owned(), path("station.toml")],
            ["--scenario".to_owned(), path("scenario.toml")],
            ["--records".to_owned(), path("records")],
        ];
        match Cli::parse_from(args.into_iter().chain(files.concat())).command {
            Command::Run(args) => args,
            _ => unreachable!("it was asked to run"),
        }
    }

    /// What must hold whatever happened.
    fn check(&mut self, tally: &mut Tally) {
        let path = crate::ledger::path(&self.path("records"));
        if !path.exists() {
            return;
        }
        let ledger = SqliteLedger::open(&path).unwrap();
        let audit = ledger.audit(self.written_down.as_slice()).unwrap();
        assert!(audit.findings.is_empty(), "{:?}", audit.findings);
        self.written_down = ledger.head().unwrap();
        let Ok(balance) = ledger.balance("WO-SOAK") else { return };
        assert!(balance.adds_up(), "{balance:?}");
        let chips: Vec<BoardFile> = self.boards.iter().filter_map(|path| BoardFile::read(path)).collect();
        let mut serials = BTreeSet::new();
        for chip in &chips {
            let units = ledger.find_chip(&self.order.product, panel_ledger::Uid(chip.uid)).unwrap();
            if let Some(serial) = &chip.serial {
                assert!(serials.insert(serial.clone()), "{serial} is in two chips");
                let known = units.iter().any(|unit| unit.numbers.serial.as_ref() == Some(serial));
                assert!(known, "the ledger does not know that {serial} is in {}", hex::encode(chip.uid));
            }
            let Some(unit) = units.last().filter(|unit| unit.state == State::Confirmed) else { continue };
            assert!(chip.locked, "{} passed and is not locked", unit.uid);
            assert!(unit.lock_proof.is_some() && unit.record.is_some(), "{unit:?}");
            assert_eq!(chip.serial, unit.numbers.serial, "{} passed with another identity", unit.uid);
            assert_eq!(chip.key_fingerprint(), unit.keys.last().cloned(), "{} carries another key", unit.uid);
        }
        if let Ok(records) = Records::open(&self.path("records")) {
            Self::check_records(&records, tally);
        }
    }

    /// Every PASS of the records has the proof of its lock before it.
    fn check_records(records: &Records, tally: &mut Tally) {
        tally.doubts = tally.doubts.max(records.in_doubt().unwrap().len() as u64);
        for line in records.csv(&panel_store::Filter::default()).unwrap() {
            if line.result != AttemptResult::Pass {
                continue;
            }
            let uid = line.uid.expect("a unit that passed is identified").to_string();
            let attempts = records.unit(&uid).unwrap().remove(0).attempts;
            for attempt in attempts.iter().filter(|a| a.result == AttemptResult::Pass) {
                let proof = attempt.events.iter().position(|e| e.body["topic"] == "lock-proof");
                let end = attempt.events.iter().position(|e| e.kind == "attempt-ended");
                assert!(proof.is_some() && proof < end, "{uid}: PASS without proof");
            }
        }
    }

    /// All boards again, without faults or deaths: in the end each has passed, with the number it had.
    fn finish(&mut self, tally: &mut Tally) {
        let before = self.serials();
        for round in 1..=2 {
            for boards in (0..BOARDS).collect::<Vec<_>>().chunks(SLOTS) {
                let mut slots: Vec<Option<usize>> = boards.iter().copied().map(Some).collect();
                slots.resize(SLOTS, None);
                assert!(!self.panel(&slots, "", u64::MAX, tally));
                self.check(tally);
            }
            tally.clean_runs = tally.clean_runs.max(round);
            let ledger = SqliteLedger::open(&crate::ledger::path(&self.path("records"))).unwrap();
            let balance = ledger.balance("WO-SOAK").unwrap();
            if balance.passed == BOARDS as u64 {
                assert_eq!(balance.remaining, self.order.quantity - BOARDS as u64, "{balance:?}");
                break;
            }
            let units = ledger.units(None, 100).unwrap();
            assert!(round < 2, "a unit is lost: {balance:?} {units:?}");
        }
        for (uid, serial) in &before {
            assert_eq!(self.serials().get(uid), Some(serial), "a chip has another number now");
        }
        let records = Records::open(&self.path("records")).unwrap();
        let csv = records.csv(&panel_store::Filter::default()).unwrap();
        tally.passes += csv.iter().filter(|l| l.result == AttemptResult::Pass).count() as u64;
        tally.failures += csv.iter().filter(|l| l.result == AttemptResult::Fail).count() as u64;
        assert!(records.verify_chain().unwrap().first_bad.is_none());
    }

    /// Serial numbers by UID, of units that are not void.
    fn serials(&self) -> BTreeMap<String, String> {
        let Ok(ledger) = SqliteLedger::open(&crate::ledger::path(&self.path("records"))) else {
            return BTreeMap::new();
        };
        let units = ledger.units(None, 100).unwrap().into_iter();
        units.filter_map(|unit| Some((unit.uid.to_string(), unit.numbers.serial?))).collect()
    }
}

/// Counts a durable moment down; `true` at the one to die at, and after it.
fn passed(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(1))).unwrap_or(0) <= 1
}

/// What a board's flash really holds, read past every protection.
struct BoardFile {
    uid: [u8; 12],
    locked: bool,
    serial: Option<String>,
    /// What its key slot holds, and whether that is the secret.
    key: Option<([u8; 32], SlotUse)>,
}

impl BoardFile {
    fn read(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let mut uid = [0; 12];
        uid.copy_from_slice(&bytes[FILE_UID]);
        let at = FILE_HEADER as usize + (REGION.0 - FLASH) as usize;
        let view = region::decode(&bytes[at..at + REGION.1 as usize]);
        let serial = view.ok().map(|view| view.serial().to_owned());
        let key = view.ok().and_then(|view| view.keys().next().map(|slot| (*slot.data, slot.holds)));
        Some(Self { uid, locked: bytes[FILE_PROTECTION] != 0, serial, key })
    }

    /// Fingerprint of the public half of the key in it.
    fn key_fingerprint(&self) -> Option<String> {
        let (data, holds) = self.key?;
        if holds == SlotUse::Fingerprint {
            return Some(Hash(data).to_string());
        }
        let entropy = |buffer: &mut [u8; 32]| {
            *buffer = data;
            Ok::<_, String>(())
        };
        let key = UnitKey::make(KeyKind::P256, entropy).ok()?;
        Some(key.fingerprint().unwrap().to_string())
    }
}
