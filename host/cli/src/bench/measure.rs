//! One row: plan, simulated panel, run, and what came of it.

use std::sync::Arc;

use panel_backplane::units::BitRate;
use panel_backplane::{Bus, BusIndex, Panel, Port, Slot};
use panel_codes::Code;
use panel_engine::chip::Chip;
use panel_engine::rom::{Agent, Ways};
use panel_engine::{
    Event, Finishing, IdentityPlace, Limits, Lock, Outcome, Phase, Plan, Recipe, Reserved, Run, Step, options,
};
use panel_protocol::node::Uid;
use panel_protocol::time::{Micros, Span};
use panel_simulator::{BusStats, Scenario, World};
use stm32_rom_bootloader::Device;

use super::firmware;
use super::matrix::{BenchWay, Point};
use crate::failure::Failure;
use crate::sim_drive::{Observer, Pace, Reservation, drive};
use crate::{bounds, setup};

/// What a row is made of.
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) bound_seconds: f64,
    /// Option writes and restarts: the boards' own part of what the factory adds.
    pub(super) own_seconds: f64,
    pub(super) frames: u64,
    pub(super) frames_repeated: u64,
    pub(super) bus_load: f64,
    pub(super) cpu_seconds: f64,
    pub(super) passed: usize,
    pub(super) discovery: Discovery,
}

/// Discovery, identification of slots included.
#[derive(Default)]
pub(super) struct Discovery {
    pub(super) seconds: f64,
    pub(super) bus_seconds: f64,
    pub(super) errors: u64,
}

/// Every row has the same seed: it says where frames are missed, and which boards are a little slow to start.
const SEED: u64 = 1;
/// Bytes of an identity with a certificate behind it: all of the region that the engineer's guide sets aside for both,
/// of which a P-256 certificate leaves about a tenth free.
const CERTIFIED: usize = 1024;

pub(super) fn measure(point: &Point) -> Result<Measured, Failure> {
    let plan = Arc::new(plan(point)?);
    let config = setup::world(&plan, Scenario { loss: point.loss, ..Scenario::default() })?;
    let config = setup::with_latency(config, latency(point));
    let internal = |e: &dyn core::fmt::Display| Failure::new(Code::Internal, format!("{point}: {e}"));
    let mut world = World::new(config, SEED).map_err(|e| internal(&e))?;
    let identity_bytes = match point.way {
        BenchWay::FactoryCertificate => CERTIFIED,
        _ => panel_ledger::region::LENGTH,
    };
    let mut watcher = Watcher {
        plan: Arc::clone(&plan),
        buses: vec![Watched::default(); point.buses.into()],
        identity_bytes,
    };
    let cpu = setup::thread_cpu_seconds();
    let mut run = Run::new(&plan, world.now(), 1);
    drive(&mut run, &mut world, &Pace::Virtual, &mut watcher);
    let cpu_seconds = setup::thread_cpu_seconds() - cpu;

    let reports = run.reports();
    let ended = reports.iter().map(|r| r.ended).max().unwrap_or(Micros::ZERO).0 as f64 / 1e6;
    let passed = |outcome| matches!(outcome, Outcome::Pass);
    let stats: Vec<BusStats> = (0..usize::from(point.buses)).map(|b| world.bus_stats(b)).collect();
    let busy: f64 = stats.iter().map(|s| s.busy().as_secs_f64()).sum();
    Ok(Measured {
        seconds: ended,
        bound_seconds: bounds::of(&plan).0.total_ns as f64 / 1e9,
        own_seconds: bounds::factory(&plan).boards_ns as f64 / 1e9,
        frames: stats.iter().map(|s| s.frames).sum(),
        frames_repeated: crate::run::buses(&run).map(|b| run.counters(b).repeated).sum(),
        bus_load: busy / (ended * f64::from(point.buses)),
        cpu_seconds,
        passed: reports.iter().filter_map(|r| r.verdict.as_ref()).filter(|v| passed(v.outcome)).count(),
        discovery: watcher.discovery(),
    })
}

fn latency(point: &Point) -> Span {
    Span((point.latency_ms * 1000.0) as u64)
}

fn plan(point: &Point) -> Result<Plan, Failure> {
    let nothing = || Failure::new(Code::Internal, format!("{point}: there is no such chip"));
    let chip = firmware::chip_for(point.family, point.image).ok_or_else(nothing)?;
    let internal = |e: &dyn core::fmt::Display| Failure::new(Code::Internal, format!("{point}: {e}"));
    let (image, release) = firmware::image(point.family, point.image).map_err(|e| internal(&e))?;
    let limits = setup::limits(&panel_job::Limits::default(), chip, false);
    let round_trip = Span(2 * latency(point).0);
    let recipe = Recipe {
        job: "bench".to_owned(),
        release: release.to_owned(),
        image,
        chip,
        revisions: vec![1],
        min_supply_mv: None,
        retries: 1,
        digest: false,
        start_application: false,
        finishing: if point.way.is_factory() { finishing(chip) } else { Finishing::default() },
        limits: Limits { quiet: limits.quiet + round_trip, answer: limits.answer + round_trip, ..limits },
    };
    let panel = panel(point)?;
    let way = point.way.way();
    let of = panel.slots.iter().map(|s| (s.slot, way)).collect();
    let agent = agent(point, &recipe)?;
    Plan::with_ways(recipe, panel, Ways { of, agent, supply_mv: None }).map_err(|e| internal(&e))
}

/// The agent as it is shipped, where this chip's ROM leaves RAM.
fn agent(point: &Point, recipe: &Recipe) -> Result<Option<Agent>, Failure> {
    let nowhere = || Failure::new(Code::Internal, format!("{}: no RAM for an agent", recipe.chip.name));
    let device = Device::find(recipe.chip.device_id, None).and_then(|device| device.ram);
    let address = device.ok_or_else(nowhere)?.start.next_multiple_of(0x1000);
    let (name, bytes) = firmware::agent(point.family);
    Ok(Some(Agent { name: name.to_owned(), bytes: bytes.to_vec(), address }))
}

/// Everything that a factory does: an identity right below the image records, write protection and level 1.
fn finishing(chip: &'static Chip) -> Finishing {
    let length = chip.flash.runs.iter().filter(|run| run.count > 0).map(|run| run.size).min().unwrap_or(0);
    Finishing {
        windows: Vec::new(),
        reserve: true,
        key: None,
        identity: Some(IdentityPlace { address: chip.flash.record_base - length, length, may_erase: true }),
        options: vec![options::protect_bootloader(chip, false)],
        lock: Lock::Level1,
    }
}

/// A grid as square as the number of boards allows.
fn panel(point: &Point) -> Result<Panel, Failure> {
    let boards = point.boards;
    let rows = (1..=boards)
        .take_while(|r| r * r <= boards)
        .filter(|r| boards.is_multiple_of(*r))
        .last()
        .unwrap_or(1);
    let (kind, rate) = point.bus.kind();
    let rate = if point.bus.baud().is_some() { BitRate::M1 } else { rate };
    let buses = (0..point.buses).map(|b| Bus::simulated(&format!("can{b}"), kind, rate));
    let mut panel = Panel::grid(rows, boards / rows, buses.collect())
        .map_err(|e| Failure::new(Code::Internal, format!("{point}: {e}")))?;
    panel.baud = point.bus.baud().unwrap_or(panel.baud);
    if point.way.way().needs_port() {
        panel.slots.iter_mut().for_each(|slot| slot.port = Some(Port::Sim));
    }
    Ok(panel)
}

/// Takes the buses' counters where discovery begins and ends. Keeps no records.
struct Watcher {
    plan: Arc<Plan>,
    buses: Vec<Watched>,
    /// Bytes of each board's identity.
    identity_bytes: usize,
}

type Moment = (Micros, BusStats);

#[derive(Clone, Default)]
struct Watched {
    began: Option<Moment>,
    ended: Option<Moment>,
}

impl Watcher {
    fn discovery(&self) -> Discovery {
        let spans = self.buses.iter().filter_map(|b| b.began.zip(b.ended));
        spans.fold(Discovery::default(), |sum, ((from, before), (to, after))| {
            let stats = after.since(&before);
            Discovery {
                seconds: sum.seconds.max(to.since(from).as_secs_f64()),
                bus_seconds: sum.bus_seconds.max(stats.busy().as_secs_f64()),
                errors: sum.errors + stats.errors(),
            }
        })
    }
}

impl Observer for Watcher {
    fn events(&mut self, _: Micros, _: &[Event]) -> Result<(), String> {
        Ok(())
    }

    fn look(&mut self, now: Micros, world: &World, events: &[Event]) {
        for event in events {
            let (bus, begins) = match event {
                Event::Phase { bus, phase: Phase::Discover } => (Some(*bus), true),
                // All boards of a bus get there together.
                Event::StepBegan { slot, step: Step::Identify } => {
                    (self.plan.panel.slot(*slot).and_then(|s| s.bus), false)
                }
                _ => continue,
            };
            let Some(bus) = bus.map(BusIndex::index) else { continue };
            if let Some(watched) = self.buses.get_mut(bus) {
                let place = if begins { &mut watched.began } else { &mut watched.ended };
                place.get_or_insert_with(|| (now, world.bus_stats(bus)));
            }
        }
    }

    fn reserve(&mut self, _: Micros, boards: &[(Slot, Uid)]) -> Vec<Reservation> {
        let identity =
            |uid: &Uid| uid.0.iter().copied().cycle().take(self.identity_bytes).collect::<Vec<_>>();
        let reserved = |uid| Reserved { identity: Some(identity(uid).into()), ..Reserved::default() };
        boards.iter().map(|(slot, uid)| (*slot, Ok(reserved(uid)))).collect()
    }

    fn tick(&mut self, _: Micros) -> bool {
        false
    }
}
