//! `panelflash run`: a batch run from files to exit code.
//!
//! Order: everything is read and planned, records are opened, only then is the panel touched. The observer here
//! makes events durable first and shows them second, so that nothing is on the screen that is not on disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use panel_backplane::{BusIndex, Slot};
use panel_codes::Code;
use panel_engine::{Event, KeyMade, Outcome, Plan, Run};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use panel_simulator::Scenario;
use panel_store as store;

use crate::args::{RunArgs, records_dir};
use crate::books::Books;
use crate::event_log::EventLog;
use crate::failure::Failure;
use crate::order::Ordered;
use crate::result::RunResult;
use crate::setup::{self, Setup};
use crate::sim_drive::{Certification, Observer, Reservation};
use crate::stage::{Stage, Traffic, is_simulation};
use crate::view::{Closing, View};

/// Seed of the simulation if neither command line nor scenario names one.
const DEFAULT_SEED: u64 = 1;
/// Station and operator of whom nobody said who they are.
const UNNAMED: &str = "unnamed";

pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    let dir = records_dir(args.records.as_ref());
    let Work { plan, scenario, seed, start, ordered } = match &args.order {
        Some(scanned) => order_work(args, scanned, &dir)?,
        None => job_work(args)?,
    };
    let mut plan = plan;
    if let Some(panel) = &args.panel_id {
        plan.finished = crate::records::finished(&dir, &start.product, panel)?;
    }
    let plan = Arc::new(plan);
    Books::check(&dir, ordered.is_some(), &plan)?;
    let mut stage = Stage::open(args, &plan, scenario, seed)?;
    let log = args.event_log.as_ref().map(|path| EventLog::create(path)).transpose()?;
    let mut books = Books::open(&dir, &start, ordered, &plan, Box::new(jiff::Timestamp::now), |_, _| {})?;
    books.permit(args.permit.as_deref());
    let mut watcher = Watcher {
        stop: stop_flag()?,
        view: View::new(&plan, crate::bounds::of(&plan).0, books.recorder.doubtful(), args.json),
        books,
        log,
    };
    let number = watcher.books.recorder.run().0.unsigned_abs();
    let cpu = setup::cpu_seconds();
    let (run, mut traffic) = stage.drive(&plan, number, &mut watcher);
    traffic.cpu = setup::cpu_seconds() - cpu;
    finish(args, &start, &dir, &run, &traffic, watcher)
}

fn finish(
    args: &RunArgs,
    start: &store::RunStart,
    dir: &Path,
    run: &Run,
    traffic: &Traffic,
    mut watcher: Watcher,
) -> Result<u8, Failure> {
    let planned = crate::bounds::of(run.plan()).0;
    let bound = if run.has_installed() { planned.installed() } else { planned };
    let mut result = RunResult::new(start, run, bound.total_ns, traffic);
    watcher.books.correct(&mut result);
    let interrupted = watcher.stop.load(Ordering::Relaxed);
    let failure = watcher.books.failure();
    let exit = match &failure {
        Some(_) => 3,
        None if interrupted => 130,
        None => result.exit(),
    };
    let ended = match failure {
        None => watcher.books.recorder.end(traffic.ended, exit).map_err(|e| crate::records::failure(&e)),
        Some(failure) => Err(failure),
    };
    let closing = Closing {
        records: dir.join("records.db").display().to_string(),
        doubtful: watcher.books.recorder.doubtful(),
        not_for_shipment: start.shipment == store::Shipment::Forbidden,
    };
    watcher.view.finish(&result, &closing);
    if args.json {
        crate::out::line(&serde_json::to_string(&result).unwrap_or_default());
    }
    ended?;
    watcher.log.map_or(Ok(()), EventLog::finish)?;
    Ok(exit)
}

/// What is to be run.
pub(crate) struct Work {
    pub(crate) plan: Plan,
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) start: store::RunStart,
    pub(crate) ordered: Option<Ordered>,
}

/// A developer's job: images as they are, marked NOT FOR SHIPMENT.
fn job_work(args: &RunArgs) -> Result<Work, Failure> {
    let Setup { job, job_sha256, plan, scenario } =
        setup::load(args.job.job.as_deref(), args.job.panel.as_deref(), args.scenario.as_deref())?;
    if job.production {
        let text = "the job says `production = true`, and its images carry no signature: a work order \
                    (`panelflash run --order`) programs a signed release";
        return Err(Failure::new(Code::ReleaseUnsigned, text));
    }
    let seed = args.seed.or(scenario.seed).unwrap_or(DEFAULT_SEED);
    let named = |given: &Option<String>, job: &Option<String>| {
        given.clone().or_else(|| job.clone()).unwrap_or_else(|| UNNAMED.to_owned())
    };
    let start = store::RunStart {
        product: job.product.clone(),
        job: job.name.clone(),
        job_sha256: store::Hex(job_sha256),
        release: release(&plan.recipe.release, &plan.regions),
        station: named(&args.station, &job.station),
        operator: named(&args.operator, &job.operator),
        ..run_start(args, &plan, seed)
    };
    Ok(Work { plan, scenario, seed, start, ordered: None })
}

/// A work order: a signed release, identities, and a record that lets its units be shipped.
pub(crate) fn order_work(args: &RunArgs, scanned: &str, records: &Path) -> Result<Work, Failure> {
    let panel = args.job.panel.as_deref();
    let (ordered, plan) = crate::order::load(scanned, &args.station_file.path, panel, records)?;
    let scenario = setup::scenario(args.scenario.as_deref(), &plan.panel)?;
    let seed = args.seed.or(scenario.seed).unwrap_or(DEFAULT_SEED);
    let start = store::RunStart {
        product: ordered.order.product.clone(),
        job: ordered.order.id.clone(),
        job_sha256: store::Hex(ordered.order_sha256()),
        release: ordered.stored_release(),
        order: Some(ordered.order.id.clone()),
        station: ordered.station.clone(),
        shipment: store::Shipment::Allowed,
        retests: Some(ordered.retests()),
        ..run_start(args, &plan, seed)
    };
    Ok(Work { plan, scenario, seed, start, ordered: Some(ordered) })
}

/// What every record of a run begins with; whose run it is has to be added.
fn run_start(args: &RunArgs, plan: &Plan, seed: u64) -> store::RunStart {
    store::RunStart {
        utc_us: jiff::Timestamp::now().as_microsecond(),
        panel: args.panel_id.clone().unwrap_or_else(|| plan.panel.name.clone()),
        product: String::new(),
        job: String::new(),
        job_sha256: store::Hex([0; 32]),
        release: release("", &[]),
        order: None,
        station: UNNAMED.to_owned(),
        operator: args.operator.clone().unwrap_or_else(|| UNNAMED.to_owned()),
        fixture: plan.panel.name.clone(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        simulation: is_simulation(&plan.panel)
            .then_some(store::Simulation { seed, virtual_time: args.virtual_time }),
        shipment: store::Shipment::Forbidden,
        required_steps: plan.required_steps().iter().map(|step| step.name().to_owned()).collect(),
        retests: None,
    }
}

/// A bare image as a release: regions as they are written, and the hash over them.
pub(crate) fn release(name: &str, regions: &[(u32, Vec<u8>)]) -> store::Release {
    use sha2::{Digest, Sha256};
    let mut whole = Sha256::new();
    let images = regions.iter().enumerate().map(|(n, (address, bytes))| {
        whole.update(address.to_le_bytes());
        whole.update(bytes);
        store::Image {
            name: format!("region-{n}"),
            address: *address,
            length: bytes.len() as u32,
            crc32: panel_protocol::CRC32.checksum(bytes),
            sha256: store::Hex(Sha256::digest(bytes).into()),
        }
    });
    let images = images.collect();
    let sha256 = store::Hex(whole.finalize().into());
    store::Release { name: name.to_owned(), version: String::new(), sha256, images }
}

/// Set by Ctrl-C, SIGTERM, a terminal that is closed, and a panic in another thread: the run ends with its boards safe
/// and its record complete. A panic in this thread unwinds, and the fixture's lines go off as they are dropped.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let (on_panic, report) = (Arc::clone(&flag), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        on_panic.store(true, Ordering::Relaxed);
        report(panic);
    }));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|e| Failure::new(Code::Internal, format!("signal {signal}: {e}")))?;
    }
    Ok(flag)
}

/// Records first, then the screen.
struct Watcher {
    books: Books,
    view: View,
    log: Option<EventLog>,
    stop: Arc<AtomicBool>,
}

impl Observer for Watcher {
    fn events(&mut self, now: Micros, events: &[Event]) -> Result<(), String> {
        let durable = self.books.events(now, events);
        for event in events {
            if let Some(log) = &mut self.log {
                log.event(now, event);
            }
            self.view.event(now, event);
        }
        durable
    }

    fn reserve(&mut self, now: Micros, boards: &[(Slot, Uid)]) -> Vec<Reservation> {
        self.books.reserve(now, boards)
    }

    fn certify(&mut self, _: Micros, made: &[KeyMade]) -> Vec<Certification> {
        self.books.certify(made)
    }

    fn tick(&mut self, now: Micros) -> bool {
        self.view.tick(now);
        self.stop.load(Ordering::Relaxed)
    }
}

/// Exit code of a run whose boards ended so.
pub(crate) fn exit_of(outcomes: impl Iterator<Item = Outcome>) -> u8 {
    outcomes.fold(0, |exit, outcome| match outcome {
        Outcome::Pass | Outcome::Skipped => exit,
        Outcome::Fail | Outcome::Error | Outcome::Aborted => exit.max(1),
    })
}

/// Buses of a run.
pub(crate) fn buses(run: &Run) -> impl Iterator<Item = BusIndex> {
    (0..run.plan().panel.buses.len()).map(|b| BusIndex(b as u8))
}
