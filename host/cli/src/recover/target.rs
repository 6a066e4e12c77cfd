//! What a recovered board is to hold, by a job or by a work order, and what is recorded of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use panel_codes::Code;
use panel_engine::chip::Chip;
use panel_engine::{Lock, OptionWrite, Step};
use panel_job::{Job, JobLock};
use panel_ledger::SqliteLedger;
use panel_store as store;
use sha2::{Digest, Sha256};
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::Device;
use stm32_rom_bootloader::device::SupplyVoltage;

use super::{BENCH, RecoverArgs};
use crate::books::Books;
use crate::failure::Failure;
use crate::order::Ordered;
use crate::order::keeper::{Clock, Terms};
use crate::order::recovery::{self, Recovery};
use crate::rom::attempt::Work;
use crate::rom::plan_failure;
use crate::setup;

/// The panel of a recovery in records and ledger: there a unit is told to have been recovered.
pub(super) const PANEL: &str = "recovery";
/// What the ROM writes at once.
const BLOCK: u32 = 256;

/// What one board is to hold afterwards.
pub(super) struct Target {
    device: &'static Device,
    regions: Vec<(u32, Vec<u8>)>,
    /// Address and length of the place of its identity.
    identity: Option<(u32, u32)>,
    options: Vec<OptionWrite>,
    start_application: bool,
    lock: bool,
    /// How its record begins.
    pub(super) start: store::RunStart,
}

/// Who says what the board's unit is.
pub(super) enum Source {
    /// A job's image is put back into a unit that is there.
    Job(Box<Terms>),
    /// A signed release makes the unit anew.
    Order(Box<Ordered>, Arc<panel_engine::Plan>),
}

impl Source {
    /// Opens records and ledger and settles what an earlier run left. `arm` sees both before anything is written.
    pub(super) fn open_books(
        self,
        dir: &Path,
        start: &store::RunStart,
        clock: Clock,
        arm: impl FnOnce(&mut store::Store, Option<&mut SqliteLedger>),
    ) -> Result<Books, Failure> {
        match self {
            Self::Job(terms) => Books::open_recovery(dir, start, *terms, clock, arm),
            Self::Order(ordered, plan) => {
                let arm = |store: &mut store::Store, ledger: &mut SqliteLedger| arm(store, Some(ledger));
                Books::open(dir, start, Some(*ordered), &plan, clock, arm)
            }
        }
    }
}

impl Target {
    /// Reads a job with its images.
    pub(super) fn of_job(args: &RecoverArgs, file: &Path) -> Result<(Self, Source), Failure> {
        let name = file.display().to_string();
        let text = setup::read(file, Code::JobFile)?;
        let directory = file.parent().map(PathBuf::from).unwrap_or_default();
        let job = Job::parse(&text, &directory).map_err(|p| setup::problems(&name, Code::JobFile, &p))?;
        let image = setup::image(&job, false)?;
        let regions: Vec<(u32, Vec<u8>)> =
            image.regions().iter().map(|r| (r.address(), r.data().to_vec())).collect();
        let lock = job.finish.lock == JobLock::Level1;
        let options = options(&job)?;
        let identity = job.identity.as_ref().map(|i| (i.address, i.length));
        let release = job.images.first().and_then(|f| f.path.file_name());
        let release = release.map_or_else(|| job.name.clone(), |n| n.to_string_lossy().into_owned());
        let named = |given: &Option<String>, job: &Option<String>| {
            given.clone().or_else(|| job.clone()).unwrap_or_else(|| "unnamed".to_owned())
        };
        let start = store::RunStart {
            product: job.product.clone(),
            job: job.name.clone(),
            job_sha256: store::Hex(Sha256::digest(text.as_bytes()).into()),
            release: crate::run::release(&release, &regions),
            station: named(&args.station, &job.station),
            operator: named(&args.operator, &job.operator),
            required_steps: steps(&options, lock),
            ..run_start(args)
        };
        let terms = recovery::terms_of(&job, &start.station, PANEL, lock);
        let target = Self {
            device: device(&job.target.chip, job.target.device_id)?,
            regions,
            identity,
            options,
            start_application: job.start_application,
            lock,
            start,
        };
        Ok((target, Source::Job(Box::new(terms))))
    }

    /// Selects an order and its release by the station's files.
    pub(super) fn of_order(
        args: &RecoverArgs,
        scanned: &str,
        records: &Path,
    ) -> Result<(Self, Source), Failure> {
        let (mut ordered, plan) = crate::order::load(scanned, &args.station_file.path, None, records)?;
        ordered.recovery = Some(Recovery::ByOrder);
        if let Some(window) = plan.recipe.finishing.windows.first() {
            let text = format!(
                "the release puts a value of each unit into its image (patch {:?}), and a recovery writes one image for all: \
                 run the order",
                window.name
            );
            return Err(Failure::new(Code::WayNotOffered, text));
        }
        let recipe = &plan.recipe;
        let lock = match recipe.finishing.lock {
            Lock::None => false,
            Lock::Level1 => true,
            Lock::Level2(_) => {
                let text =
                    "the order closes its units for ever (level 2); a recovery does not: run the order";
                return Err(Failure::new(Code::RomUnsupported, text));
            }
        };
        let options = recipe.finishing.options.clone();
        let mut required_steps = steps(&options, lock);
        required_steps.push(Step::Reserve.name().to_owned());
        // What is in one-time programmable memory outlasts the mass erase, and the ROM could not write it.
        let identity = recipe.finishing.identity.filter(|place| !recipe.chip.is_otp(place.address));
        if identity.is_some() {
            required_steps.push(Step::Identity.name().to_owned());
        }
        let start = store::RunStart {
            product: ordered.order.product.clone(),
            job: ordered.order.id.clone(),
            job_sha256: store::Hex(ordered.order_sha256()),
            release: ordered.stored_release(),
            order: Some(ordered.order.id.clone()),
            station: ordered.station.clone(),
            operator: args.operator.clone().unwrap_or_else(|| "unnamed".to_owned()),
            shipment: store::Shipment::Allowed,
            retests: Some(ordered.retests()),
            required_steps,
            ..run_start(args)
        };
        let target = Self {
            device: device(recipe.chip.name, recipe.chip.device_id)?,
            regions: plan.regions.clone(),
            identity: identity.map(|place| (place.address, place.length)),
            options,
            start_application: recipe.start_application,
            lock,
            start,
        };
        Ok((target, Source::Order(Box::new(ordered), Arc::new(plan))))
    }

    /// The image as the client takes it.
    pub(super) fn image(&self) -> Result<stm32::Image<'_>, Failure> {
        let regions = self.regions.iter().map(|(address, data)| stm32::Region { address: *address, data });
        stm32::Image::new(regions).map_err(|e| plan_failure(&e))
    }

    /// The work on a board.
    pub(super) fn work<'a>(&'a self, image: &'a stm32::Image<'a>) -> Work<'a> {
        let start = self.regions.first().map(|(address, _)| *address);
        Work {
            slot: BENCH,
            device: self.device,
            image,
            start: start.filter(|_| self.start_application),
            voltage: None,
            identity_at: self.identity.map(|(address, _)| address),
            options: &self.options,
            lock: self.lock,
        }
    }

    /// Refuses a release that no chip of this kind can hold, and an identity that the ROM cannot write by itself.
    pub(super) fn check(&self, voltage: Option<SupplyVoltage>) -> Result<(), Failure> {
        let options = stm32::PlanOptions { voltage, ..stm32::PlanOptions::default() };
        let plan = |image: &stm32::Image<'_>| {
            stm32::Plan::new(self.device, image, &options).map_err(|e| plan_failure(&e))
        };
        plan(&self.image()?)?;
        let Some((address, length)) = self.identity else { return Ok(()) };
        let blank = vec![0; length as usize];
        plan(&stm32::Image::new([stm32::Region { address, data: &blank }]).map_err(|e| plan_failure(&e))?)?;
        let blocks = address / BLOCK..=(address + length - 1) / BLOCK;
        let last = |from: u32, data: &[u8]| (from + data.len() as u32 - 1) / BLOCK;
        let shared = |(from, data): &&(u32, Vec<u8>)| {
            from / BLOCK <= *blocks.end() && *blocks.start() <= last(*from, data)
        };
        match self.regions.iter().find(shared) {
            Some((from, _)) => {
                let text = format!(
                    "the identity at {address:#010x}, {length} bytes, shares a block of 256 bytes with the image from \
                     {from:#010x}, and the ROM writes whole blocks: run such a board's order in a panel"
                );
                Err(Failure::new(Code::JobFile, text))
            }
            None => Ok(()),
        }
    }

    /// Refuses what cannot come to an end on a board that nobody can reset.
    pub(super) fn check_without_lines(&self) -> Result<(), Failure> {
        let device = self.device;
        if !self.lock && self.options.is_empty() || device.traits(None).resets_itself {
            return Ok(());
        }
        let text = format!(
            "{} takes over its lock and option bytes only when it is reset: name --reset or --power; `--power \
             manual:supply` asks a person to do it",
            device.name
        );
        Err(Failure::new(Code::Usage, text))
    }
}

/// What every record of a recovery begins with; whose it is has to be added.
fn run_start(args: &RecoverArgs) -> store::RunStart {
    let port = args.port.port.as_ref().map(|p| p.display().to_string());
    store::RunStart {
        utc_us: jiff::Timestamp::now().as_microsecond(),
        panel: PANEL.to_owned(),
        product: String::new(),
        job: String::new(),
        job_sha256: store::Hex([0; 32]),
        release: crate::run::release("", &[]),
        order: None,
        station: String::new(),
        operator: String::new(),
        fixture: port.or_else(|| args.port.can.clone()).unwrap_or_default(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        simulation: None,
        shipment: store::Shipment::Forbidden,
        required_steps: Vec::new(),
        retests: None,
    }
}

/// Steps without which the board does not pass.
fn steps(options: &[OptionWrite], lock: bool) -> Vec<String> {
    let wanted = [(Step::Options, !options.is_empty()), (Step::Lock, lock), (Step::ProveLock, lock)];
    wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(step, _)| step.name().to_owned()).collect()
}

fn device(name: &str, id: u16) -> Result<&'static Device, Failure> {
    Device::find(id, None).ok_or_else(|| {
        let text = format!("{name} with device ID {id:#05x} is in no table of ROM bootloaders");
        Failure::new(Code::JobFile, text)
    })
}

/// The option bytes that a job declares, in the terms of its chip.
fn options(job: &Job) -> Result<Vec<OptionWrite>, Failure> {
    if job.finish.options.is_empty() && !job.finish.protect_bootloader {
        return Ok(Vec::new());
    }
    let (name, id) = (&job.target.chip, job.target.device_id);
    let chip = Chip::by_name(name).filter(|c| c.device_id == id).ok_or_else(|| {
        let text = format!("[finish]: the option fields of {name} with device ID {id:#05x} are not known");
        Failure::new(Code::JobFile, text)
    })?;
    Ok(setup::finishing(job, chip)?.options)
}
