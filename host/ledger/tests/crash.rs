//! A station that is killed (SIGKILL) at any moment: no number twice, no unit lost, the balance exact.
//!
//! The test runs itself as a child that works on a ledger and says on its output what it was told is done.
//! The parent kills it after a seeded number of lines and a seeded moment, opens the ledger again and checks
//! everything the child was ever told. Round after round on the same ledger, as a station would.
//!
//! A killed process leaves what it wrote with the kernel, so this shows that transactions are whole, not that
//! a disk keeps what it was told to sync; that is `synchronous=FULL`'s part.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use jiff::Timestamp;
use panel_ledger::{
    Block, Change, Chip, Eui, EuiBlock, EuiKind, Event, Hash, Ledger, Needs, NumberKind, OrderTerms, Request,
    SerialBlock, SqliteLedger, State, Step, Uid,
};

const DIRECTORY: &str = "PANEL_LEDGER_CRASH_DIRECTORY";
const ROUND: &str = "PANEL_LEDGER_CRASH_ROUND";
const CHIPS: u64 = 300;
const ROUNDS: u64 = 60;

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("ledger.db")
}

fn order() -> OrderTerms {
    let first = Eui::parse(EuiKind::Eui48, "70b3d5000000").expect("an address");
    let format = "7-{counter:6}{check:luhn}".parse().expect("a format");
    OrderTerms {
        id: "CRASH".to_owned(),
        document: Hash::of(b"crash"),
        product: "crash".to_owned(),
        quantity: CHIPS * 9 / 10,
        lock_required: true,
        blocks: vec![
            Block::Serial(SerialBlock { format, first: 1, count: CHIPS * 20 }),
            Block::Eui(EuiBlock { first, count: CHIPS * 40, step: 2, local: false }),
        ],
    }
}

fn uid(number: u64) -> Uid {
    let mut bytes = [0x5A; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Uid(bytes)
}

/// What the child does until it is killed. Ignored as a test of its own: the parent calls it.
#[test]
#[ignore = "the child process of the crash test"]
fn child_works_until_it_is_killed() {
    let variable = |name| std::env::var_os(name).expect("set by the parent").into_string().expect("text");
    let (directory, round) = (variable(DIRECTORY), variable(ROUND).parse::<u64>().expect("a number"));
    let mut random = Random(round);
    let mut ledger = SqliteLedger::open(&path(Path::new(&directory))).expect("the ledger opens");
    let mut clock = i64::try_from(round).expect("a small number") * 1_000_000;
    let mut now = || {
        clock += 1;
        Timestamp::from_second(1_780_000_000 + clock).expect("a time")
    };
    ledger.open_order(&order(), now()).expect("the order opens");
    ledger.doubt_interrupted(now()).expect("doubts");
    loop {
        let chips: BTreeSet<u64> = (0..1 + random.below(12)).map(|_| random.below(CHIPS)).collect();
        let request = Request {
            product: "crash".to_owned(),
            order: Some("CRASH".to_owned()),
            release: None,
            run: format!("run-{round}-{}", random.next()),
            station: "crash".to_owned(),
            panel: None,
            needs: Needs { serial: true, eui48: 2, ..Needs::default() },
            chips: (0..).zip(&chips).map(|(slot, chip)| Chip { slot, uid: uid(*chip) }).collect(),
        };
        let reserved = match ledger.reserve_many(&request, now()) {
            Ok(reserved) => reserved,
            Err(panel_ledger::LedgerError::QuotaExhausted { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let mut out = std::io::stdout().lock();
        for one in &reserved {
            let serial = one.numbers.serial.as_deref().expect("a serial number");
            writeln!(out, "reserved {} {} {serial}", one.unit.0, one.chip.uid).expect("the parent listens");
        }
        drop(out);
        let step = |unit, change| Step { unit, run: request.run.clone(), change };
        let all = |change: &Change| -> Vec<Step> {
            reserved.iter().map(|one| step(one.unit, change.clone())).collect()
        };
        ledger.advance(&all(&Change::Writing), now()).expect("writing");
        ledger.advance(&all(&Change::Written { read_back: Hash::of(b"r") }), now()).expect("written");
        for one in &reserved {
            let change = match random.below(10) {
                0 => Change::Failed { code: "E214".to_owned() },
                1 => Change::Void { reason: "torn off".to_owned() },
                2 => continue,
                _ => Change::Confirmed { record: Hash::of(b"rec"), lock_proof: Some(Hash::of(b"NACK")) },
            };
            let word = match change {
                Change::Confirmed { .. } => "confirmed",
                Change::Void { .. } => "void",
                _ => "failed",
            };
            ledger.advance(&[step(one.unit, change)], now()).expect("an end");
            println!("{word} {} {}", one.unit.0, request.run);
        }
    }
}

/// Starts the child, reads `lines` of it, waits `spins` more, kills it, and gives what it was told.
fn run_and_kill(directory: &Path, round: u64, lines: usize, spins: u64) -> Vec<String> {
    let mut child: Child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_works_until_it_is_killed", "--ignored", "--nocapture", "--quiet"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let mut told = Vec::new();
    let mut line = String::new();
    while told.len() < lines && output.read_line(&mut line).expect("a line") > 0 {
        told.push(std::mem::take(&mut line));
    }
    assert_eq!(told.len(), lines, "the child ended by itself: {told:?}");
    (0..spins).for_each(|spin| {
        std::hint::black_box(spin);
    });
    child.kill().expect("the child is killed");
    child.wait().expect("the child is gone");
    // What it still said before it died counts too; a line cut short does not.
    while output.read_line(&mut line).expect("a line") > 0 && line.ends_with('\n') {
        told.push(std::mem::take(&mut line));
    }
    told
}

fn is_about(event: &Event, unit: &str, run: &str) -> bool {
    let body: serde_json::Value = serde_json::from_str(&event.body).expect("JSON");
    body["unit"].as_i64() == unit.parse().ok() && body["run"] == run
}

#[test]
fn a_station_killed_at_any_moment_issues_nothing_twice_and_loses_no_unit() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Random(6);
    // Everything any child was told: the chip's serial number by unit, and units whose end was told.
    let mut numbers: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut owner: BTreeMap<String, String> = BTreeMap::new();
    let (mut told_ends, mut doubts) = (0, 0);
    for round in 0..ROUNDS {
        let (lines, spins) = (random.below(60) as usize + 4, random.below(3_000_000));
        let told = run_and_kill(directory.path(), round, lines, spins);
        let ledger = SqliteLedger::open(&path(directory.path())).expect("the ledger opens again");
        let balance = ledger.balance("CRASH").expect("a balance");
        assert!(balance.adds_up(), "round {round}: {:?}", balance.discrepancies);
        assert_eq!(ledger.audit(&[]).expect("an audit").findings, [], "round {round}");
        let events = ledger.events(0, usize::MAX).expect("the log");
        for line in told.iter().filter(|line| !line.starts_with("running")) {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["reserved", unit, chip, serial] => {
                    let known = numbers
                        .entry((*unit).to_owned())
                        .or_insert_with(|| ((*chip).to_owned(), (*serial).to_owned()));
                    assert_eq!((known.0.as_str(), known.1.as_str()), (*chip, *serial), "round {round}");
                    let holder = owner.entry((*serial).to_owned()).or_insert_with(|| (*unit).to_owned());
                    assert_eq!(holder.as_str(), *unit, "{serial} was given twice");
                }
                [word @ ("confirmed" | "failed" | "void"), unit, run] => {
                    told_ends += 1;
                    let found = events.iter().any(|event| event.kind == *word && is_about(event, unit, run));
                    assert!(found, "round {round}: {line} was told and is not in the log");
                }
                _ => {}
            }
        }
        for (unit, (chip, serial)) in &numbers {
            let found = ledger.find_number(NumberKind::Serial, serial).expect("the ledger answers");
            assert_eq!(found.len(), 1, "round {round}: {serial}");
            assert_eq!(found[0].unit.0.to_string(), *unit);
            assert_eq!(found[0].uid.to_string(), *chip);
        }
        let open = |state| matches!(state, State::Writing | State::Written);
        let units = ledger.units(None, usize::MAX).expect("units");
        doubts += usize::from(units.iter().any(|unit| open(unit.state) && unit.failed.is_none()));
    }
    println!(
        "{ROUNDS} kills: {} units, {told_ends} ends told, {doubts} left units in the middle",
        numbers.len()
    );
    assert!(numbers.len() > 100 && told_ends > 100, "the children must have done something");
    assert!(doubts > 0, "some kills must have come in the middle of a panel");
}
