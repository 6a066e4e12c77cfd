//! `panelflash recover`: one bricked board, over its serial port, end to end, with its record.
//!
//! Nothing is destroyed without consent: the board is read first, its state is said, and what the release does
//! not match is erased only after a yes. A recovery that was interrupted anywhere is simply run again.

use std::path::{Path, PathBuf};

use panel_backplane::Slot;
use panel_codes::Code;
use panel_engine::{Event, Step};
use panel_job::{Job, JobLock};
use panel_ledger::{Ledger, SqliteLedger, Uid, Unit};
use panel_protocol::time::Micros;
use panel_store as store;
use sha2::{Digest, Sha256};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{Device, Identity, Operation, Plan};

use crate::args::records_dir;
use crate::failure::Failure;
use crate::out::{line, note};
use crate::records::Recorder;
use crate::rom::attempt::{Done, Found, Link, Overseer, STILL_ERASING, Work, attempt};
use crate::rom::{Port, PortArgs, Progress, consent, plan_failure, supply, with_the_way_in};
use crate::setup;

/// A board on the bench is in no panel: its records have this slot.
const BENCH: Slot = Slot(1);

#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    /// The job that the board is to hold afterwards.
    job: PathBuf,
    #[command(flatten)]
    port: PortArgs,
    /// Erase what is on the board without asking.
    #[arg(long)]
    yes: bool,
    /// Supply voltage of the board in volts: F2, F4 and F7 are then programmed by words, four times as fast. A
    /// wrong value corrupts flash.
    #[arg(long, value_name = "V")]
    voltage: Option<f64>,
    /// Where records are kept [default: the user's data directory].
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Print one JSON object with the result to stdout; progress goes to stderr.
    #[arg(long)]
    json: bool,
    /// Station, for the record.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_STATION")]
    station: Option<String>,
    /// Operator, for the record.
    #[arg(long, value_name = "NAME", env = "PANELFLASH_OPERATOR")]
    operator: Option<String>,
}

pub(crate) fn recover(args: &RecoverArgs) -> Result<u8, Failure> {
    let name = args.job.display().to_string();
    let text = setup::read(&args.job, Code::JobFile)?;
    let directory = args.job.parent().map(PathBuf::from).unwrap_or_default();
    let job = Job::parse(&text, &directory).map_err(|p| setup::problems(&name, Code::JobFile, &p))?;
    let image = setup::image(&job, false)?;
    let regions: Vec<(u32, Vec<u8>)> =
        image.regions().iter().map(|r| (r.address(), r.data().to_vec())).collect();
    let whole = regions.iter().map(|(address, data)| stm32::Region { address: *address, data });
    let whole = stm32::Image::new(whole).map_err(|e| plan_failure(&e))?;
    let work = Work {
        slot: BENCH,
        device: device(&job)?,
        image: &whole,
        start: regions.first().map(|(address, _)| *address).filter(|_| job.start_application),
        voltage: args.voltage.map(supply).transpose()?,
        lock: job.finish.lock == JobLock::Level1,
    };
    // A release that no chip of this kind can hold is refused before the port is touched.
    let options = stm32::PlanOptions { voltage: work.voltage, ..stm32::PlanOptions::default() };
    Plan::new(work.device, &whole, &options).map_err(|e| plan_failure(&e))?;

    let dir = records_dir(args.records.as_ref());
    let store = Recorder::open(&dir)?;
    let mut port = Port::open(&args.port)?;
    port.wait_for_chip(STILL_ERASING);
    let start = run_start(args, &job, Sha256::digest(text.as_bytes()).into(), &regions);
    let recorder = Recorder::begin(store, &start)?;
    let mut link = BenchPort { port, device: work.device };
    let mut bench =
        Bench { recorder, clock: link.port.clock(), progress: Progress::default(), yes: args.yes };
    bench.tell(Event::Note { slot: None, topic: "recovery", text: start.fixture.clone() })?;
    let result = attempt(&mut link, &work, 1, &mut bench);
    bench.progress.end();
    let exit = result.as_ref().map_or_else(Failure::exit, |_| 0);
    let ended = bench.recorder.end(bench.now(), exit).map_err(|e| crate::records::failure(&e));
    let uid = result.as_ref().ok().and_then(|done| done.uid.as_deref());
    let units = uid.map_or(Ok(Vec::new()), |uid| units_of(&dir, &job.product, uid));
    if args.json {
        let known = units.as_ref().map_or(&[][..], Vec::as_slice);
        line(&json(&result, known, bench.now()).to_string());
    }
    let done = result?;
    ended?;
    let units = units?;
    if !args.json {
        report(&done, &units);
    }
    Ok(0)
}

/// What the ledger beside the records knows of this chip: the newest unit last, nothing without a ledger.
fn units_of(records: &Path, product: &str, uid: &str) -> Result<Vec<Unit>, Failure> {
    let path = crate::ledger::path(records);
    let mut bytes = [0; 12];
    if !path.exists() || hex::decode_to_slice(uid, &mut bytes).is_err() {
        return Ok(Vec::new());
    }
    let ledger = SqliteLedger::open(&path).map_err(|e| crate::ledger::failure(&e))?;
    ledger.find_chip(product, Uid(bytes)).map_err(|e| crate::ledger::failure(&e))
}

fn device(job: &Job) -> Result<&'static Device, Failure> {
    let (name, id) = (&job.target.chip, job.target.device_id);
    Device::find(id, None).ok_or_else(|| {
        Failure::new(
            Code::JobFile,
            format!("{name} with device ID {id:#05x} is in no table of ROM bootloaders"),
        )
    })
}

fn run_start(
    args: &RecoverArgs,
    job: &Job,
    job_sha256: [u8; 32],
    regions: &[(u32, Vec<u8>)],
) -> store::RunStart {
    let named = |given: &Option<String>, job: &Option<String>| {
        given.clone().or_else(|| job.clone()).unwrap_or_else(|| "unnamed".to_owned())
    };
    let file = job.images.first().and_then(|f| f.path.file_name());
    let release = file.map_or_else(|| job.name.clone(), |n| n.to_string_lossy().into_owned());
    store::RunStart {
        utc_us: jiff::Timestamp::now().as_microsecond(),
        panel: "recovery".to_owned(),
        product: job.product.clone(),
        job: job.name.clone(),
        job_sha256: store::Hex(job_sha256),
        release: crate::run::release(&release, regions),
        order: None,
        station: named(&args.station, &job.station),
        operator: named(&args.operator, &job.operator),
        fixture: args.port.port.as_ref().map_or_else(String::new, |p| p.display().to_string()),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        simulation: None,
        shipment: store::Shipment::Forbidden,
        required_steps: match job.finish.lock {
            JobLock::Level1 => vec![Step::Lock.name().to_owned(), Step::ProveLock.name().to_owned()],
            JobLock::None => Vec::new(),
        },
    }
}

fn json(result: &Result<Done, Failure>, units: &[Unit], now: Micros) -> serde_json::Value {
    let seconds = now.0 as f64 / 1e6;
    match result {
        Ok(done) => {
            let identity = units.last().map(|unit| {
                serde_json::json!({ "serial": unit.numbers.serial, "order": unit.order, "state": unit.state })
            });
            serde_json::json!({ "result": "pass", "board": done, "identity": identity, "seconds": seconds })
        }
        Err(failure) => serde_json::json!({
            "result": if failure.exit() == 130 { "aborted" } else if failure.exit() == 1 { "fail" } else { "error" },
            "code": failure.code.to_string(), "detail": failure.message, "seconds": seconds,
        }),
    }
}

fn report(done: &Done, units: &[Unit]) {
    let uid = done.uid.as_deref().unwrap_or("not readable");
    line(&format!("PASS  {}  UID {uid}", done.chip));
    match done.blocks_written {
        0 => line("nothing had to be written: the board holds the release, read back whole"),
        n => line(&format!("{n} blocks written and read back, {} units erased", done.units_erased)),
    }
    if done.write_protection_lifted {
        line("write protection was lifted from all sectors, and stays lifted");
    }
    if done.locked {
        line(
            "readout protection is set, and the chip refuses to be read; the next reset starts its application",
        );
    }
    if done.needs_power_cycle {
        line("switch the board's power off and on: until then it starts its ROM and not its application");
    }
    if let Some(unit) = units.last() {
        line(&identity(unit));
    }
}

/// How the board comes by its identity again: a run reserves the same numbers for the same chip and reads them back.
fn identity(unit: &Unit) -> String {
    let serial = unit.numbers.serial.as_deref().unwrap_or("without a serial number");
    let Some(order) = &unit.order else {
        return format!("the ledger knows this chip as unit {serial}, of no work order");
    };
    format!(
        "the ledger knows this chip as unit {serial} of order {order}: `panelflash run --order {order}` gives it the \
         same numbers again, for nothing"
    )
}

/// A real port as a link.
struct BenchPort {
    port: Port,
    /// What the job says it is.
    device: &'static Device,
}

impl Link for BenchPort {
    fn run<'a, O: Operation<'a>>(
        &mut self,
        operation: O,
        connected: Option<&Identity>,
        on_event: &mut dyn FnMut(&stm32::Event),
    ) -> Result<O::Outcome, Failure>
    where
        O::Outcome: 'a,
    {
        let result = self.port.run(operation, connected, on_event);
        result.map_err(|failure| with_the_way_in(failure, Some(self.device)))
    }
}

/// Records first, then the screen; asks before anything is destroyed.
struct Bench {
    recorder: Recorder,
    clock: std::time::Instant,
    progress: Progress,
    yes: bool,
}

impl Bench {
    fn now(&self) -> Micros {
        Micros(u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl Overseer for Bench {
    fn tell(&mut self, event: Event) -> Result<(), Failure> {
        let written = self.recorder.write(self.now(), &[event]);
        written.map_err(|why| match &self.recorder.error {
            Some(error) => crate::records::failure(error),
            None => Failure::with_exit(Code::RecordStore, why, 3),
        })
    }

    fn may(&mut self, found: Found, plan: Option<&Plan>) -> Result<(), Failure> {
        self.progress.end();
        note(&format!("the board is {}", found.describe()));
        match found {
            Found::ThisRelease => Ok(()),
            Found::Protected => {
                consent(self.yes, "Readout Unprotect ERASES THE WHOLE CHIP, also what is not in the release")
            }
            Found::WriteProtected => consent(self.yes, "going on opens EVERY sector of the chip to writing"),
            Found::Blank if plan.is_some_and(|p| p.lost().is_empty()) => Ok(()),
            Found::Blank | Found::HalfWritten | Found::OtherContents => {
                consent(self.yes, &format!("going on erases {}", plan.map_or_else(String::new, erased)))
            }
        }
    }

    fn watch(&mut self, event: &stm32::Event) {
        if let stm32::Event::Syncing { attempt: 5 } = event {
            note("no answer yet; a chip that was interrupted while erasing may need half a minute more");
        }
        self.progress.show(event);
    }
}

/// What a plan destroys, in words.
fn erased(plan: &Plan) -> String {
    let units = plan.units();
    let all = units.first().zip(units.last());
    let range = all.map_or_else(String::new, |(first, last)| {
        format!("{} units of flash from {:#010x} to {:#010x}", units.len(), first.address, last.end() - 1)
    });
    match plan.lost() {
        [] => range,
        lost => {
            let bytes: u32 = lost.iter().map(stm32::Area::len).sum();
            format!("{range}, and with them {bytes} bytes outside the release")
        }
    }
}
