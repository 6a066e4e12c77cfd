//! A station with one order and its boards through many runs: how a run is begun and ended, and what must hold after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use clap::Parser as _;
use jiff::Timestamp;
use panel_backplane::Slot;
use panel_engine::{Event, KeyMade, Plan, Run};
use panel_ledger::{Checkpoint, Ledger, SqliteLedger, State, Unit};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use panel_release::WorkOrder;
use panel_simulator::World;
use panel_store::{AttemptResult, Records};

use super::chip::BoardFile;
use super::fixture::{self, FAULTS, Kind};
use super::{Tally, place};
use crate::args::{Cli, Command, RunArgs};
use crate::books::Books;
use crate::failure::Failure;
use crate::result::RunResult;
use crate::run::Work;
use crate::sim_drive::{Certification, Observer, Pace, Reservation, drive};
use crate::stage::Traffic;

/// Boards of a line, and slots of its panel.
pub(super) const BOARDS: usize = 6;
pub(super) const SLOTS: usize = 4;

/// What ends a run before its time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    None,
    /// The station dies at this durable moment of records or ledger.
    Death(u64),
    /// Records and ledger refuse everything from this durable moment on, and the program lives.
    Books(u64),
    /// Ctrl-C, seen after so many looks at the keyboard.
    Interrupt(u64),
}

/// What became of a run.
pub(super) struct Ended {
    /// The trouble came before the run was over.
    pub(super) hit: bool,
    /// Durable moments that were passed.
    pub(super) moments: u64,
    /// Looks at the keyboard.
    pub(super) looks: u64,
}

/// A station with one order and its boards.
pub(super) struct Line {
    dir: tempfile::TempDir,
    kind: Kind,
    chance: Chance,
    clock: Arc<AtomicI64>,
    seed: u64,
    /// Files of the boards, by their number.
    boards: Vec<PathBuf>,
    written_down: Option<Checkpoint>,
    order: WorkOrder,
}

impl Line {
    pub(super) fn new(seed: u64, kind: Kind) -> Self {
        let dir = place();
        let path = |name: &str| dir.path().join(name);
        for folder in ["boards", "pool", "records", "blank"] {
            std::fs::create_dir(path(folder)).unwrap();
        }
        let order = fixture::station(dir.path(), kind);
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let boards = (0..BOARDS).map(|n| path("pool").join(format!("board-{n}"))).collect();
        let chance = Chance(seed.wrapping_mul(0x1234_5678_9ABC_DEF1) ^ 0xD1CE);
        let clock = Arc::new(AtomicI64::new(time("2030-01-01T00:00:00Z").as_microsecond()));
        Self { dir, kind, chance, clock, seed: seed.wrapping_mul(1000), boards, written_down: None, order }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A run with chosen boards in chosen slots, chosen faults, and mostly a death at a chosen one of so many moments.
    pub(super) fn run(&mut self, moments: u64, tally: &mut Tally) {
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
        let at = 1 + self.chance.below(moments);
        let trouble = if self.chance.below(8) == 0 { Trouble::None } else { Trouble::Death(at) };
        if self.panel(&boards, &faults, trouble).hit {
            tally.killed += 1;
            tally.died_at.insert(at);
        }
    }

    /// Puts boards into slots, runs, and takes them out again.
    pub(super) fn panel(&mut self, boards: &[Option<usize>], faults: &str, trouble: Trouble) -> Ended {
        self.seed += 1;
        let mut scenario = faults.to_owned();
        for (slot, board) in (1..).zip(boards) {
            match board {
                Some(n) if self.boards[*n].exists() => {
                    self.unlock(*n);
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
        let moments = match trouble {
            Trouble::Death(at) | Trouble::Books(at) => at,
            Trouble::None | Trouble::Interrupt(_) => u64::MAX,
        };
        let left = Arc::new(AtomicU64::new(moments));
        let looks = match catch_unwind(AssertUnwindSafe(|| self.station(trouble, &left))) {
            Ok(looks) => looks,
            Err(panic) if panic.is::<Killed>() => 0,
            Err(panic) => resume_unwind(panic),
        };
        let left = left.load(Ordering::Relaxed);
        for (slot, board) in (1..).zip(boards) {
            let file = self.in_slot(slot);
            match board {
                Some(n) if file.exists() => std::fs::rename(file, &self.boards[*n]).unwrap(),
                _ => _ = std::fs::remove_file(file),
            }
        }
        let hit = left == 0 || matches!(trouble, Trouble::Interrupt(at) if looks > at);
        Ended { hit, moments: moments - left, looks }
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
        ordered: Option<crate::order::Ordered>,
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

    /// What the program does between its start and its end, or its death. Returns how often it looked at the keyboard.
    fn station(&self, trouble: Trouble, left: &Arc<AtomicU64>) -> u64 {
        let Work { plan, scenario, start, ordered, .. } = self.work();
        let plan = Arc::new(plan);
        let mut config = crate::setup::world(&plan, scenario).unwrap_or_else(|e| panic!("{e}"));
        config.flash_dir = Some(self.path("boards"));
        let mut world = World::new(config, self.seed).unwrap();
        self.keep_blank();
        self.clock.fetch_add(3_600_000_000, Ordering::Relaxed);
        let books = match self.books(ordered, start.clone(), &plan, left) {
            Ok(books) => books,
            Err(_) if left.load(Ordering::Relaxed) == 0 => return 0,
            Err(failure) => panic!("{failure}"),
        };
        let mut watcher = Watcher { books, left: Arc::clone(left), trouble, looks: 0 };
        let mut run = Run::new(&plan, world.now(), (self.seed % 251) as u8);
        drive(&mut run, &mut world, &Pace::Virtual, &mut watcher);
        for slot in 1..=SLOTS as u16 {
            assert_eq!(world.current_ma(slot), Some(0), "slot {slot} has power after {trouble:?}");
        }
        let refused = left.load(Ordering::Relaxed) == 0;
        assert_eq!(watcher.books.failure().is_some(), refused, "{trouble:?}");
        let traffic = Traffic { ended: world.now(), frames: 0, queue_full: 0, frames_lost: 0, cpu: 0.0 };
        let mut result = RunResult::new(&start, &run, 0, &traffic);
        watcher.books.correct(&mut result);
        self.check_told(&result, &watcher.books.recorder.run().0.to_string());
        // It is refused as long as an attempt has not ended.
        let ended = watcher.books.recorder.end(world.now(), 0);
        assert!(ended.is_ok() || left.load(Ordering::Relaxed) == 0, "{trouble:?}: {ended:?}");
        watcher.looks
    }

    /// Whoever is told that a board passed can rely on it: both databases say so.
    fn check_told(&self, result: &RunResult, run: &str) {
        for board in result.boards.iter().filter(|board| board.result == "pass") {
            let uid = board.uid.as_deref().expect("who passed is known");
            let mut bytes = [0; 12];
            hex::decode_to_slice(uid, &mut bytes).unwrap();
            let unit = self.unit(bytes).expect("it was reserved");
            assert_eq!((unit.state, unit.run.as_str()), (State::Confirmed, run), "{uid}");
            let records = Records::open(&self.path("records")).unwrap();
            let attempts = records.unit(&uid.to_lowercase()).unwrap().remove(0).attempts;
            let passed = |a: &&panel_store::AttemptHistory| a.result == AttemptResult::Pass;
            assert!(attempts.iter().filter(passed).any(|a| a.run.run.0.to_string() == run), "{uid}");
        }
    }

    /// The newest unit of a chip.
    fn unit(&self, uid: [u8; 12]) -> Option<Unit> {
        let ledger = SqliteLedger::open(&crate::ledger::path(&self.path("records"))).unwrap();
        ledger.find_chip(&self.order.product, panel_ledger::Uid(uid)).unwrap().pop()
    }

    /// A copy of each board as it came from the chip's maker.
    fn keep_blank(&self) {
        for file in (1..=SLOTS).map(|slot| self.in_slot(slot)) {
            let Some(chip) = BoardFile::read(&file) else { continue };
            let copy = self.path("blank").join(hex::encode(chip.uid));
            if !copy.exists() {
                std::fs::copy(file, copy).unwrap();
            }
        }
    }

    /// The ROM of a blank board lets nobody in when it is locked: one that is known to be in doubt or to have failed is
    /// unlocked, which erases it (`rom unprotect`), before it is run again. Whether one that was written has passed, the
    /// next run finds out.
    fn unlock(&self, board: usize) {
        let blank = self.kind.blank.and_then(|_| BoardFile::read(&self.boards[board]));
        let Some(chip) = blank.filter(|chip| chip.locked) else { return };
        let is_known = |unit: &Unit| match unit.state {
            State::Confirmed => false,
            State::Written => unit.failed.is_some(),
            State::Reserved | State::Writing | State::InDoubt | State::Void => true,
        };
        if self.unit(chip.uid).as_ref().is_some_and(is_known) {
            std::fs::copy(self.path("blank").join(hex::encode(chip.uid)), &self.boards[board]).unwrap();
        }
    }

    fn has_passed(&self, board: usize) -> bool {
        let unit = BoardFile::read(&self.boards[board]).and_then(|chip| self.unit(chip.uid));
        unit.is_some_and(|unit| unit.state == State::Confirmed)
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
    pub(super) fn check(&mut self, tally: &mut Tally) {
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
            if self.kind.patched {
                let window = String::from_utf8_lossy(&chip.window);
                assert_eq!(Some(window.trim_end_matches('\0')), unit.numbers.serial.as_deref());
            }
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

    /// So many boards again, without faults or deaths: in the end each has passed, with the number it had.
    pub(super) fn finish(&mut self, boards: usize, tally: &mut Tally) {
        let before = self.serials();
        for round in 1..=2 {
            for boards in (0..boards).collect::<Vec<_>>().chunks(SLOTS) {
                let again = |board: &usize| self.kind.blank.is_none() || !self.has_passed(*board);
                let mut slots: Vec<Option<usize>> = boards.iter().map(|b| again(b).then_some(*b)).collect();
                slots.resize(SLOTS, None);
                if slots.iter().any(Option::is_some) {
                    self.panel(&slots, "", Trouble::None);
                    self.check(tally);
                }
            }
            tally.clean_runs = tally.clean_runs.max(round);
            let ledger = SqliteLedger::open(&crate::ledger::path(&self.path("records"))).unwrap();
            let balance = ledger.balance("WO-SOAK").unwrap();
            if balance.passed == boards as u64 {
                assert_eq!(balance.remaining, self.order.quantity - boards as u64, "{balance:?}");
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

/// How a run ends by force: the content of the panic that stands for it.
struct Killed;

/// Counts a durable moment down; `true` at the one to end at, and after it.
fn passed(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(1))).unwrap_or(0) <= 1
}

/// Books whose death ends the run at once, if the station dies with them.
struct Watcher {
    books: Books,
    left: Arc<AtomicU64>,
    trouble: Trouble,
    looks: u64,
}

impl Watcher {
    fn live(&self) {
        if self.left.load(Ordering::Relaxed) == 0 && matches!(self.trouble, Trouble::Death(_)) {
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
        self.looks += 1;
        matches!(self.trouble, Trouble::Interrupt(at) if self.looks > at)
    }
}

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

#[test]
fn a_clock_before_the_ledgers_last_entry_stops_the_station_before_the_panel() {
    let mut line = Line::new(77, Kind::default());
    line.panel(&[Some(0), None, None, None], "", Trouble::None);
    let ledger = crate::ledger::path(&line.path("records"));
    let entries = SqliteLedger::open(&ledger).unwrap().head().unwrap();
    line.clock.fetch_sub(86_400_000_000, Ordering::Relaxed);
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let Work { plan, start, ordered, .. } = line.work();
    let failure = line.books(ordered, start, &Arc::new(plan), &left).err().unwrap();
    assert_eq!((failure.code, failure.exit()), (panel_codes::Code::StationClock, 3), "{failure}");
    assert_eq!(SqliteLedger::open(&ledger).unwrap().head().unwrap(), entries);
}
