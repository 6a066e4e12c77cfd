//! Recoveries with records and ledger: a board gets its own identity again and never another, whatever dies when.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser as _;
use jiff::Timestamp;
use panel_codes::Code;
use panel_ledger::region::{self, Identity};
use panel_ledger::{Change, Chip, Hash, Needs, Request, SerialBlock, State, Step};
use rom_simulator::{Protection as Level, Settings, catalog};
use stm32_rom_bootloader::Inspect;

use super::*;
use crate::args::{Cli, Command};
use crate::order::soak::{fixture, place};
use crate::rom::virtual_port::VirtualPort;

/// Place of the identity in the fixture's release, from the start of flash.
const REGION: usize = 0x1_F000;
const APP: usize = 0x8000;
const JOB: &str = r#"
name = "put back"
product = "soaked"
start_application = false

[target]
chip = "STM32G431"
device_id = 0x468

[[image]]
file = "app.bin"
address = 0x08008000

[finish]
lock = "level-1"

[identity]
address = 0x0801F000
length = 512
unit = 8
"#;

/// A station, its records and ledger, and a board with its unit.
struct Line {
    dir: tempfile::TempDir,
    port: VirtualPort,
    uid: Uid,
    clock: Arc<AtomicI64>,
}

impl Line {
    fn new(keyed: bool) -> Self {
        let dir = place();
        fixture::station(dir.path(), fixture::Kind { keyed, ..fixture::Kind::default() });
        std::fs::create_dir(dir.path().join("records")).expect("writable");
        std::fs::write(dir.path().join("job.toml"), JOB).expect("writable");
        std::fs::write(dir.path().join("app.bin"), app()).expect("writable");
        let model = catalog::find("G431").expect("simulated");
        let mut port = VirtualPort::new(model, 115_200, Duration::ZERO, &Settings::default());
        port.settings.limits.connect = STILL_ERASING;
        port.has_power_line = true;
        let info = port.run(Inspect, None, &mut |_| {}).expect("answers");
        let uid = Uid(*info.uid.value().expect("readable"));
        let start = "2030-01-01T00:00:00Z".parse::<Timestamp>().expect("a time");
        Self { dir, port, uid, clock: Arc::new(AtomicI64::new(start.as_microsecond())) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn now(&self) -> Timestamp {
        let now = self.clock.fetch_add(1000, Ordering::Relaxed);
        Timestamp::from_microsecond(now).expect("a time")
    }

    fn ledger(&self) -> SqliteLedger {
        SqliteLedger::open(&crate::ledger::path(&self.path("records"))).expect("a ledger")
    }

    /// Reserves the chip's unit by hand, for the fixture's order or for none.
    fn reserve(&self, ordered: bool) -> Unit {
        let mut ledger = self.ledger();
        let serials = SerialBlock { format: "S-{counter:4}".parse().expect("a format"), first: 1, count: 20 };
        let block = panel_ledger::Block::Serial(serials);
        let order = ordered.then(|| "WO-SOAK".to_owned());
        if ordered {
            let records = self.path("records");
            let station = self.path("station.toml");
            let (loaded, _) = crate::order::load("WO-SOAK", &station, None, &records).expect("an order");
            let store = panel_store::Store::open(&records).expect("a store");
            loaded.prepare(&mut ledger, store.records(), self.now()).expect("prepared");
        } else {
            let pool = panel_ledger::Pool { product: Some("soaked".to_owned()), order: None, block };
            ledger.add_pool(&pool, self.now()).expect("added");
        }
        let request = Request {
            product: "soaked".to_owned(),
            order,
            release: None,
            run: "by hand".to_owned(),
            station: "soak".to_owned(),
            panel: None,
            needs: Needs { serial: true, ..Needs::default() },
            chips: vec![Chip { slot: 1, uid: self.uid }],
        };
        ledger.reserve_many(&request, self.now()).expect("reserved");
        self.unit()
    }

    fn change(&self, change: Change) {
        let step = Step { unit: self.unit().unit, run: "by hand".to_owned(), change };
        self.ledger().advance(&[step], self.now()).expect("a step");
    }

    fn unit(&self) -> Unit {
        let mut units = self.ledger().find_chip("soaked", self.uid).expect("found");
        assert_eq!(units.len(), 1, "never a second unit: {units:?}");
        units.remove(0)
    }

    /// Somebody filled the flash with something else.
    fn brick(&mut self) {
        self.port.chip_mut().flash_mut().preload(0, &[0x12; 0x2_0000]);
    }

    /// Recovers by these arguments; records and ledger die when `left` has counted down to nothing.
    fn recover(&mut self, by: &[&str], left: u64) -> Result<Done, Failure> {
        let paths = [self.path("station.toml"), self.path("records")].map(|p| p.display().to_string());
        let fixed = ["panelflash", "recover", "--yes", "--station-file", &paths[0], "--records", &paths[1]];
        let Command::Recover(args) = Cli::parse_from(fixed.iter().chain(by)).command else {
            unreachable!("it was asked to recover")
        };
        let records = self.path("records");
        let (target, source) = match &args.order {
            Some(order) => Target::of_order(&args, order, &records)?,
            None => Target::of_job(&args, &self.path("job.toml"))?,
        };
        target.check(None)?;
        let left = Arc::new(AtomicU64::new(left));
        let (in_store, in_ledger) = (Arc::clone(&left), Arc::clone(&left));
        let clock = Arc::clone(&self.clock);
        let now =
            move || Timestamp::from_microsecond(clock.fetch_add(1000, Ordering::Relaxed)).expect("a time");
        let start = panel_store::RunStart { utc_us: self.now().as_microsecond(), ..target.start.clone() };
        self.clock.fetch_add(3_600_000_000, Ordering::Relaxed);
        let books = source.open_books(&records, &start, Box::new(now), |store, ledger| {
            store.stop_at(move |_| died(&in_store));
            if let Some(ledger) = ledger {
                ledger.stop_at(move |_| died(&in_ledger));
            }
        })?;
        let image = target.image()?;
        let mut books = books;
        books.permit(args.permit.as_deref());
        let mut bench = Bench::new(books, driver_clock(), true);
        let result = carry_out(&mut self.port, &target.work(&image), &mut bench, "bench");
        let ended = bench.end(&result);
        drop(bench);
        self.port.reconnect(true);
        ended.and(result)
    }

    /// What must hold after a recovery that passed.
    fn check(&mut self, what: &str) {
        let unit = self.unit();
        assert_eq!(unit.state, State::Confirmed, "{what}: {unit:?}");
        assert_eq!(unit.panel.as_deref(), Some(target::PANEL), "{what}: marked as recovered");
        assert_eq!(unit.numbers.serial.as_deref(), Some("S-0001"), "{what}");
        assert!(unit.record.is_some() && unit.lock_proof.is_some(), "{what}: {unit:?}");
        let chip = self.port.chip_mut();
        assert_eq!(chip.protection(), Level::Level1, "{what}");
        let flash = chip.flash().bytes();
        assert_eq!(flash[APP..APP + 1500], app(), "{what}");
        let there = region::decode(&flash[REGION..REGION + 512]).expect("an identity");
        assert_eq!(there.serial(), "S-0001", "{what}");
        let audit = self.ledger().audit(&[]).expect("readable");
        assert!(audit.findings.is_empty(), "{what}: {audit:?}");
    }
}

fn died(left: &AtomicU64) -> bool {
    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(1)));
    before.unwrap_or(0) <= 1
}

#[expect(clippy::disallowed_methods, reason = "a bench shows real time")]
fn driver_clock() -> Instant {
    Instant::now()
}

/// The fixture's application.
fn app() -> Vec<u8> {
    (0..1500_u32).map(|n| (n * 7 + n / 256) as u8).collect()
}

/// The region of unit S-0001 of the fixture.
fn region() -> Vec<u8> {
    let identity = Identity {
        product: "soaked",
        hardware: "",
        serial: "S-0001",
        date: 20_300_101,
        eui48: &[],
        eui64: &[],
        keys: &[],
    };
    let mut bytes = vec![0; region::padded_length(8).expect("a unit")];
    region::encode(&identity, 8, &mut bytes).expect("fits");
    bytes
}

const ORDER: &[&str] = &["--order", "WO-SOAK"];
const BY_JOB: &[&str] = &["job.toml"];

#[test]
fn a_bricked_unit_of_an_order_gets_its_identity_again_and_is_locked() {
    for keyed in [false, true] {
        let mut line = Line::new(keyed);
        line.reserve(true);
        line.brick();
        let done = line.recover(ORDER, u64::MAX).expect("recovered");
        assert!(done.identity_restored && done.locked && done.serial.as_deref() == Some("S-0001"));
        line.check("by its order");
        let done = line.recover(ORDER, u64::MAX).expect("recovered again");
        assert!(done.unprotected, "it was locked");
        line.check("by its order, again");
        assert_eq!(line.ledger().balance("WO-SOAK").expect("known").passed, 1, "counted once");
    }
}

#[test]
fn a_job_puts_a_unit_back_that_had_passed_and_it_stays_passed() {
    let mut line = Line::new(false);
    line.reserve(true);
    line.recover(ORDER, u64::MAX).expect("passed once");
    let before = line.unit();
    line.recover(BY_JOB, u64::MAX).expect("recovered");
    line.check("by a job");
    assert_eq!(line.unit().read_back, before.read_back, "the very same bytes");
    assert_eq!(line.unit().read_back, Some(Hash::of(&region())));
}

#[test]
fn a_recovery_that_dies_at_any_durable_write_is_finished_by_the_next_with_the_same_numbers() {
    for by in [ORDER, BY_JOB] {
        let mut line = Line::new(false);
        line.reserve(true);
        line.recover(ORDER, u64::MAX).expect("passed once");
        let mut deaths = 0;
        while line.recover(by, deaths + 1).is_err() {
            deaths += 1;
            let what = format!("{by:?} died at moment {deaths}");
            assert_ne!(line.unit().state, State::Void, "{what}");
            line.recover(by, u64::MAX).unwrap_or_else(|e| panic!("{what}: {e}"));
            line.check(&what);
        }
        assert!(deaths > 40, "{deaths} moments");
    }
}

#[test]
fn a_unit_that_its_order_has_yet_to_pass_is_not_passed_by_a_job() {
    let mut line = Line::new(false);
    line.reserve(true);
    line.recover(BY_JOB, u64::MAX).expect("recovered");
    let unit = line.unit();
    assert_eq!(unit.state, State::InDoubt);
    assert!(unit.reason.expect("a reason").contains("run the order"));
    assert_eq!(line.ledger().balance("WO-SOAK").expect("known").passed, 0);
    let mut line = Line::new(false);
    line.reserve(false);
    line.recover(BY_JOB, u64::MAX).expect("recovered");
    assert_eq!(line.unit().state, State::Confirmed, "a developer's unit is no order's");
}

#[test]
fn what_must_not_be_recovered_is_refused_with_the_reason_and_nothing_is_touched() {
    let refused = |line: &mut Line, by: &[&str], code: Code, says: &str| {
        line.brick();
        let before = line.port.chip_mut().flash().bytes().to_vec();
        let failure = line.recover(by, u64::MAX).expect_err("refused");
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(says), "{failure}");
        assert_eq!(line.port.chip_mut().flash().bytes(), before, "{failure}");
    };
    let job = |line: &Line, from: &str, to: &str| {
        let text = JOB.replace(from, to);
        assert_ne!(text, JOB);
        std::fs::write(line.path("job.toml"), text).expect("writable");
    };
    let mut line = Line::new(false);
    refused(&mut line, ORDER, Code::UnitUnknown, "never given an identity");
    line.reserve(true);
    job(&line, "lock = \"level-1\"", "");
    refused(&mut line, BY_JOB, Code::JobFile, "leaves locked");
    job(&line, "[identity]\naddress = 0x0801F000\nlength = 512\nunit = 8\n", "");
    refused(&mut line, BY_JOB, Code::JobFile, "where its identity lies");
    line.change(Change::Writing);
    line.change(Change::Written { read_back: Hash::of(&region()) });
    job(&line, "unit = 8\n", "unit = 8\nhardware = \"7\"\n");
    refused(&mut line, BY_JOB, Code::JobFile, "another identity region");
    job(&line, "address = 0x0801F000", "address = 0x08008400");
    refused(&mut line, BY_JOB, Code::JobFile, "shares a block");
    line.change(Change::Void { reason: "burnt".to_owned() });
    for by in [ORDER, BY_JOB] {
        std::fs::write(line.path("job.toml"), JOB).expect("writable");
        refused(&mut line, by, Code::UnitVoid, "burnt");
    }
    let mut line = Line::new(true);
    line.reserve(true);
    line.recover(ORDER, u64::MAX).expect("passed once");
    let failure = line.recover(BY_JOB, u64::MAX).expect_err("refused");
    assert!(failure.message.contains("--order WO-SOAK"), "a key cannot be had from a job: {failure}");
}

#[test]
fn a_unit_in_quarantine_is_recovered_only_with_a_reason() {
    let mut line = Line::new(false);
    line.reserve(true);
    for _ in 0..2 {
        line.port.cut_after = Some(line.port.sent + 1000);
        line.recover(ORDER, u64::MAX).expect_err("cut");
    }
    line.port.cut_after = None;
    let failure = line.recover(ORDER, u64::MAX).expect_err("used up");
    assert_eq!(failure.code, Code::RetestsUsedUp, "{failure}");
    line.recover(&["--order", "WO-SOAK", "--permit", "the cable was loose"], u64::MAX).expect("recovered");
    line.check("permitted");
}
