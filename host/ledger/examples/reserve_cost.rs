//! What it costs to reserve 64 identities for one panel, as a multiple of one fsync on the same disk.
//!
//! Usage: `cargo run --release -p panel-ledger --example reserve_cost [DIRECTORY] [PANELS]`. The directory
//! must lie on the disk of interest; the default is the present one. The unit is one append of 4 KiB with
//! fsync, the least any durable record costs. Target: at most 3 (median and mean).

#![expect(clippy::print_stdout, reason = "a measuring program for people")]
#![expect(clippy::disallowed_methods, reason = "it measures real time")]

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use panel_ledger::{
    Block, Chip, Hash, Ledger, Needs, OrderTerms, Request, SerialBlock, SqliteLedger, Uid,
    eui::{Eui, EuiBlock, EuiKind},
};

type Failure = Box<dyn std::error::Error>;

const BOARDS: u64 = 64;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let panels: u64 = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let place = tempfile::tempdir_in(&directory)?;
    // Alternating, so that both see the same disk in the same mood.
    let mut ledger = open(place.path(), panels)?;
    let mut file = OpenOptions::new().create(true).append(true).open(place.path().join("fsync"))?;
    let (mut syncs, mut reservations) = (Vec::new(), Vec::new());
    for panel in 0..panels {
        syncs.push(timed(|| {
            file.write_all(&[panel as u8; 4096])?;
            Ok(file.sync_all()?)
        })?);
        let request = request(panel);
        let now = Timestamp::from_second(1_800_000_000 + panel as i64)?;
        reservations.push(timed(|| {
            let reserved = ledger.reserve_many(&request, now)?;
            if reserved.len() == BOARDS as usize { Ok(()) } else { Err("not all were reserved".into()) }
        })?);
    }
    let (sync, reserve) = (Summary::of(syncs), Summary::of(reservations));
    println!("panels             {panels} of {BOARDS} boards, serial and two EUI-48 each");
    println!("one fsync          median {:?}  mean {:?}  p99 {:?}", sync.median, sync.mean, sync.p99);
    println!(
        "reserve one panel  median {:?}  mean {:?}  p99 {:?}",
        reserve.median, reserve.mean, reserve.p99
    );
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "multiple of fsync  median {:.2}  mean {:.2}",
        ratio(reserve.median, sync.median),
        ratio(reserve.mean, sync.mean)
    );
    let balance = ledger.balance("BENCH")?;
    println!("balance            adds up: {}, {} in doubt", balance.adds_up(), balance.in_doubt);
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

struct Summary {
    median: Duration,
    mean: Duration,
    p99: Duration,
}

impl Summary {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
        let sum: Duration = times.iter().sum();
        Self { median: at(50), mean: sum / times.len().max(1) as u32, p99: at(99) }
    }
}

fn open(directory: &Path, panels: u64) -> Result<SqliteLedger, Failure> {
    let mut ledger = SqliteLedger::open(&directory.join("ledger.db"))?;
    let units = panels * BOARDS;
    let first = Eui::parse(EuiKind::Eui48, "70b3d5000000")?;
    let order = OrderTerms {
        id: "BENCH".to_owned(),
        document: Hash::of(b"bench"),
        product: "bench".to_owned(),
        quantity: units,
        lock_required: true,
        blocks: vec![
            Block::Serial(SerialBlock {
                format: "B-{date:YYWW}-{counter:8}{check:mod37}".parse()?,
                first: 1,
                count: units,
            }),
            Block::Eui(EuiBlock { first, count: units * 2, step: 2, local: false }),
        ],
    };
    ledger.open_order(&order, Timestamp::from_second(1_700_000_000)?)?;
    Ok(ledger)
}

fn request(panel: u64) -> Request {
    let chip = |slot: u64| Chip { slot: slot as u16, uid: uid(panel * BOARDS + slot) };
    Request {
        product: "bench".to_owned(),
        order: Some("BENCH".to_owned()),
        release: Some(Hash::of(b"release")),
        run: format!("run-{panel}"),
        station: "bench".to_owned(),
        panel: Some(format!("P{panel:06}")),
        needs: Needs { serial: true, eui48: 2, eui64: 0, blobs: Vec::new() },
        chips: (0..BOARDS).map(chip).collect(),
    }
}

/// A unique id as ST makes it (RM0090, 39.1): die coordinates, wafer number, lot in ASCII. A wafer has some
/// 60 by 60 dies; the chips come off the reel as they were sawn, every fifth die being a reject.
fn uid(number: u64) -> Uid {
    let die = number * 5 / 4;
    let (wafer, die) = (die / 3600, die % 3600);
    let (x, y) = ((die % 60) as u16, (die / 60) as u16);
    let mut bytes = *b"....\0Q123456";
    bytes[..2].copy_from_slice(&x.to_le_bytes());
    bytes[2..4].copy_from_slice(&y.to_le_bytes());
    bytes[4] = wafer as u8;
    Uid(bytes)
}
