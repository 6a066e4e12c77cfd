//! From files to a plan: job, panel, image and scenario, read once, before anything is touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use panel_backplane::{Binding, Bus, BusKind, Panel, PanelSlot, Problems, Slot, Way};
use panel_codes::Code;
use panel_engine::chip::Chip;
use panel_engine::rom::{Agent, RomPlan, Ways};
use panel_engine::{Finishing, Limits, Lock, Plan, PlanError, Recipe, options};
use panel_image::{Image, VectorTable};
use panel_job::{Job, JobLock, Verify, demo};
use panel_protocol::time::Span;
use panel_simulator::{
    AdapterConfig, AgentCode, BusSpeed, Fault, RomConfig, RomLink, Scenario, SlotConfig, WorldConfig,
};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// The demonstration's image, carried in the program.
const DEMO_IMAGE: &[u8] = include_bytes!("../../../tests/data/firmware/demo-f405-256k.bin");

/// A job with everything that belongs to it.
pub(crate) struct Setup {
    pub(crate) job: Job,
    pub(crate) job_sha256: [u8; 32],
    pub(crate) plan: Plan,
    pub(crate) scenario: Scenario,
}

/// Reads a text file; `code` if it is no text.
pub(crate) fn read(path: &Path, code: Code) -> Result<String, Failure> {
    let name = path.display();
    let bytes =
        std::fs::read(path).map_err(|e| Failure::new(Code::FileUnreadable, format!("{name}: {e}")))?;
    String::from_utf8(bytes).map_err(|e| Failure::new(code, format!("{name}: not a text file: {e}")))
}

pub(crate) fn problems(name: &str, code: Code, problems: &Problems) -> Failure {
    let lines: Vec<String> = problems.list().iter().map(|p| format!("{name}:{p}")).collect();
    Failure::new(code, lines.join("\n"))
}

/// Reads and checks everything that a run needs.
pub(crate) fn load(
    job_file: Option<&Path>,
    panel_file: Option<&Path>,
    scenario_file: Option<&Path>,
) -> Result<Setup, Failure> {
    let (text, directory, name) = match job_file {
        Some(path) => {
            let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
            (read(path, Code::JobFile)?, directory, path.display().to_string())
        }
        None => (demo::JOB_TOML.to_owned(), PathBuf::new(), "demo job".to_owned()),
    };
    let job = Job::parse(&text, &directory).map_err(|p| problems(&name, Code::JobFile, &p))?;
    let panel = panel(panel_file)?;
    let of = job.ways_on(&panel).map_err(|e| Failure::new(e.code(), e.to_string()))?;
    let image = image(&job, job_file.is_none())?;
    let recipe = recipe(&job, image)?;
    let agent = job.agent.as_ref().map(|file| agent(&file.path, file.address)).transpose()?;
    let ways = Ways { of, agent, supply_mv: job.supply_mv };
    let plan = Plan::with_ways(recipe, panel, ways);
    let plan = plan.map_err(|e: PlanError| Failure::new(e.code(), e.to_string()))?;
    let plan = crate::seal::of_job(plan, &job)?;
    check_vectors(&plan)?;
    let scenario = scenario(scenario_file, &plan.panel)?;
    Ok(Setup { job, job_sha256: Sha256::digest(text.as_bytes()).into(), plan, scenario })
}

/// A panel file, or the demonstration's panel.
pub(crate) fn panel(file: Option<&Path>) -> Result<Panel, Failure> {
    let Some(path) = file else {
        return demo::panel().map_err(|p| problems("demo panel", Code::PanelFile, &p));
    };
    let text = read(path, Code::PanelFile)?;
    let name = path.display().to_string();
    Panel::parse(&text).map_err(|p| problems(&name, panel_backplane::error_code(&p), &p))
}

/// What is wrong with the simulated boards of this panel; nothing without a file.
pub(crate) fn scenario(file: Option<&Path>, panel: &Panel) -> Result<Scenario, Failure> {
    let Some(path) = file else { return Ok(Scenario::default()) };
    let text = read(path, Code::ScenarioFile)?;
    let scenario = Scenario::parse(&text)
        .map_err(|e| Failure::new(Code::ScenarioFile, format!("{}: {e}", path.display())))?;
    check_slots(&scenario, panel)?;
    Ok(scenario)
}

/// The RAM agent in this file.
pub(crate) fn agent(path: &Path, address: u32) -> Result<Agent, Failure> {
    let name = path.display().to_string();
    let bytes =
        std::fs::read(path).map_err(|e| Failure::new(Code::FileUnreadable, format!("{name}: {e}")))?;
    if bytes.is_empty() {
        return Err(Failure::new(Code::ImageEmpty, format!("{name}: the agent is empty")));
    }
    Ok(Agent { name, bytes, address })
}

/// The application that will be started must be one for this chip.
fn check_vectors(plan: &Plan) -> Result<(), Failure> {
    let Recipe { image, chip, start_application: true, .. } = &plan.recipe else { return Ok(()) };
    let ram: Vec<_> = chip.ram.iter().map(|&(from, bytes)| from..from + bytes).collect();
    let address = image.regions().first().map_or(0, panel_image::Region::address);
    match VectorTable::check(image, address, &ram) {
        Ok(_) => Ok(()),
        Err(problem) => {
            let origin = image.origin(address).map_or_else(String::new, |o| format!("{o}: "));
            let text = format!(
                "{origin}not a program for {} at {address:#010x}: {problem}; data that is not to be started needs \
                 `start_application = false`",
                chip.name
            );
            Err(Failure::new(Code::ImageWrongChip, text))
        }
    }
}

/// A scenario for another panel is a mistake that would pass for a good run.
pub(crate) fn check_slots(scenario: &Scenario, panel: &Panel) -> Result<(), Failure> {
    let twin = |fault: &Fault| if let Fault::SameUid { slot } = fault { Some(*slot) } else { None };
    let named = scenario.faults.iter().flat_map(|(slot, fault)| [Some(*slot), twin(fault)]).flatten();
    match named.into_iter().find(|&slot| panel.slot(Slot(slot)).is_none()) {
        None => Ok(()),
        Some(slot) => {
            let text = format!("the scenario names slot {slot}, which panel {} does not have", panel.name);
            Err(Failure::new(Code::ScenarioFile, text))
        }
    }
}

/// The job's image files, merged.
pub(crate) fn image(job: &Job, demo: bool) -> Result<Image, Failure> {
    let mut parts = Vec::new();
    for file in &job.images {
        let name = file.path.display().to_string();
        let bytes = if demo {
            DEMO_IMAGE.to_vec()
        } else {
            std::fs::read(&file.path)
                .map_err(|e| Failure::new(Code::FileUnreadable, format!("{name}: {e}")))?
        };
        parts.push(panel_image::parse(&bytes, &name, file.address).map_err(|e| image_failure(&e))?);
    }
    Image::merge(&parts).map_err(|e| image_failure(&e))
}

pub(crate) fn image_failure(error: &panel_image::ImageError) -> Failure {
    let code = match error {
        panel_image::ImageError::Overlap { .. } => Code::ImageOverlap,
        panel_image::ImageError::TooLarge { .. } => Code::ImageTooLarge,
        panel_image::ImageError::Empty { .. } => Code::ImageEmpty,
        _ => Code::ImageFile,
    };
    Failure::new(code, error.to_string())
}

fn recipe(job: &Job, image: Image) -> Result<Recipe, Failure> {
    let target = &job.target;
    let chip = Chip::by_name(&target.chip).filter(|c| c.device_id == target.device_id).ok_or_else(|| {
        let known: Vec<&str> = panel_engine::chip::CHIPS.iter().map(|c| c.name).collect();
        let text = format!(
            "chip {} with device ID {:#05x} is none of {}",
            target.chip,
            target.device_id,
            known.join(", ")
        );
        Failure::new(Code::JobFile, text)
    })?;
    let release = job.images.first().and_then(|f| f.path.file_name());
    Ok(Recipe {
        job: job.name.clone(),
        release: release.map_or_else(|| job.name.clone(), |n| n.to_string_lossy().into_owned()),
        image,
        chip,
        revisions: target.hardware_revisions.clone(),
        min_supply_mv: job.minimum_supply_mv,
        retries: job.retries,
        digest: job.verify == Verify::Digest,
        start_application: job.start_application,
        finishing: finishing(job, chip)?,
        limits: limits(&job.limits, chip, job.seal.is_some()),
    })
}

/// What the job asks for beside the image, in the chip's own terms.
pub(crate) fn finishing(job: &Job, chip: &Chip) -> Result<Finishing, Failure> {
    let finish = &job.finish;
    let named = |o: &panel_job::OptionField| options::named(chip, &o.name, o.value);
    let mut options = finish
        .options
        .iter()
        .map(named)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Failure::new(Code::JobFile, format!("[finish] options: {e}")))?;
    if finish.protect_bootloader {
        options.push(options::protect_bootloader(chip, job.seal.is_some()));
    }
    Ok(Finishing {
        reserve: false,
        key: None,
        identity: None,
        windows: Vec::new(),
        options,
        lock: match finish.lock {
            JobLock::None => Lock::None,
            JobLock::Level1 => Lock::Level1,
        },
    })
}

/// The job's waits and budgets, as a run takes them.
pub(crate) fn limits(limits: &panel_job::Limits, chip: &Chip, sealed: bool) -> Limits {
    Limits {
        start_up: limits.startup.unwrap_or_else(|| chip.start_up(sealed)),
        quiet: limits.quiet,
        answer: limits.answer,
        patience: limits.straggler_wait,
        missed_per_mille: limits.missed_per_mille.into(),
        tries: limits.tries,
        census: limits.census,
        straggler_pass: limits.straggler_pass,
        link_wait: limits.link_wait,
    }
}

/// A simulated world for a plan: sound boards of the plan's chip in every slot, and what the scenario says.
pub(crate) fn world(plan: &Plan, scenario: Scenario) -> Result<WorldConfig, Failure> {
    let name = plan.recipe.chip.name;
    let chip = panel_simulator::Chip::by_name(name.trim_start_matches("STM32"))
        .ok_or_else(|| Failure::new(Code::JobFile, format!("there is no simulated {name}")))?;
    let revision = plan.recipe.revisions.first().copied().unwrap_or(1);
    let agent = plan.rom.as_ref().and_then(RomPlan::agent);
    let agent = agent.map(|a| Arc::new(AgentCode { address: a.address, bytes: a.bytes.clone() }));
    let rom = |slot: &PanelSlot| {
        let link = plan.ways.get(&slot.slot).and_then(|way| rom_link(*way));
        link.map(|link| RomConfig { link, agent: agent.clone(), latency: Duration::ZERO })
    };
    Ok(with_latency(world_of(&plan.panel, chip, revision, scenario, rom), Span::ZERO))
}

/// Boards of this chip in every slot of a panel, with what `rom` says of theirs, and what the scenario says.
pub(crate) fn world_of(
    panel: &Panel,
    chip: &'static panel_simulator::Chip,
    revision: u16,
    scenario: Scenario,
    rom: impl Fn(&PanelSlot) -> Option<RomConfig>,
) -> WorldConfig {
    let mut buses: Vec<BusSpeed> = panel.buses.iter().map(bus_speed).collect();
    // Slots that hang on no bus are on one that nobody uses.
    let nowhere = buses.len();
    buses.extend(panel.slots.iter().any(|s| s.bus.is_none()).then_some(BusSpeed::CAN_1M));
    let slots = panel.slots.iter().map(|slot| {
        let bus = slot.bus.map_or(nowhere, panel_backplane::BusIndex::index);
        let mut config = SlotConfig::new(slot.slot.0, bus, chip);
        config.strap = (panel.binding == Binding::Straps).then_some(slot.strap);
        config.select_line = panel.binding == Binding::Select;
        config.hardware_revision = revision;
        config.rom = rom(slot);
        config
    });
    WorldConfig { slots: slots.collect(), buses, scenario, ..WorldConfig::default() }
}

/// A bus's rates, for the simulation.
pub(crate) fn bus_speed(bus: &Bus) -> BusSpeed {
    let data = match bus.kind {
        BusKind::Classical => None,
        BusKind::Fd { data_bit_rate } => Some(data_bit_rate.0),
    };
    BusSpeed { nominal: bus.bit_rate.0, data }
}

/// Where the ROM of a board that is reached this way listens; `None` for a board with a bootloader of its own.
pub(crate) const fn rom_link(way: Way) -> Option<RomLink> {
    match way {
        Way::Multidrop => None,
        Way::RomUart | Way::RomUartAgent => Some(RomLink::Uart),
        Way::RomCan | Way::RomCanAgent => Some(RomLink::Can),
        Way::RomFdcan | Way::RomFdcanAgent => Some(RomLink::Fdcan),
    }
}

/// The same world behind adapters of this latency, with queues as long as that takes.
pub(crate) fn with_latency(config: WorldConfig, latency: Span) -> WorldConfig {
    let fastest = config.buses.iter().map(|b| b.nominal).max().unwrap_or(1);
    let queue = crate::sim_drive::in_flight(latency, fastest);
    WorldConfig { adapter: AdapterConfig { latency, queue }, ..config }
}

/// Processor time of this process so far, in seconds; 0 where the system does not tell.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // proc(5): utime and stime are fields 14 and 15; the name in field 2 ends with the last parenthesis.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// Processor time of the calling thread so far, in seconds; 0 where the system does not tell.
pub(crate) fn thread_cpu_seconds() -> f64 {
    // Documentation/scheduler/sched-stats.rst: nanoseconds on the processor come first.
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
