//! What a run is driven against: the built-in simulation, or links and lines that lead to real boards.

use std::sync::Arc;

use panel_backplane::{Connection, Line, Link, Panel, Port};
use panel_codes::Code;
use panel_engine::{Plan, Run};
use panel_links::CanCounters;
use panel_protocol::time::Micros;
use panel_simulator::{Scenario, World};

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::sim_drive::{Observer, Pace};
use crate::{real_drive, setup, sim_drive};

/// A panel, ready to be run.
pub(crate) enum Stage {
    /// In this process.
    Simulated { world: Box<World>, pace: Pace, seed: u64 },
    /// Behind links.
    Real(real_drive::Station),
}

/// What driving a run came to.
pub(crate) struct Traffic {
    /// When it ended.
    pub(crate) ended: Micros,
    /// Frames on all buses.
    pub(crate) frames: u64,
    /// How often a transmit queue was full.
    pub(crate) queue_full: u64,
    /// Received frames that were lost on their way to this program.
    pub(crate) frames_lost: u64,
    /// Processor time, in seconds.
    pub(crate) cpu: f64,
}

impl Stage {
    /// Opens what the panel names; nothing is switched or sent.
    pub(crate) fn open(args: &RunArgs, plan: &Plan, scenario: Scenario, seed: u64) -> Result<Self, Failure> {
        if !real_drive::is_simulated(&plan.panel)? {
            only_real(args)?;
            return real_drive::open(plan).map(Self::Real);
        }
        let mut config = setup::world(plan, scenario)?;
        config.flash_dir.clone_from(&args.boards);
        if let Some(dir) = &args.boards {
            std::fs::create_dir_all(dir)
                .map_err(|e| Failure::new(Code::OutputFile, format!("{}: {e}", dir.display())))?;
        }
        let world = World::new(config, seed).map_err(|e| Failure::new(Code::ScenarioFile, e.to_string()))?;
        let pace = if args.virtual_time { Pace::Virtual } else { Pace::real() };
        Ok(Self::Simulated { world: Box::new(world), pace, seed })
    }

    /// Runs to the end. `number`: the run's in its records.
    ///
    /// Sessions have to differ from the one before in the same boards' RAM. Simulated boards start anew, and the same
    /// seed gives the same run; real ones may have kept power since another run, perhaps with other records.
    pub(crate) fn drive(
        &mut self,
        plan: &Arc<Plan>,
        number: u64,
        observer: &mut dyn Observer,
    ) -> (Run, Traffic) {
        match self {
            Self::Simulated { world, pace, seed } => {
                let mut run = Run::new(plan, world.now(), (*seed % 251) as u8);
                sim_drive::drive(&mut run, world, pace, observer);
                let frames = (0..plan.panel.buses.len()).map(|b| world.bus_stats(b).frames).sum();
                (run, Traffic { ended: world.now(), frames, queue_full: 0, frames_lost: 0, cpu: 0.0 })
            }
            Self::Real(station) => {
                let seconds = jiff::Timestamp::now().as_second().unsigned_abs();
                let mut run = Run::new(plan, Micros::ZERO, ((seconds + number) % 251) as u8);
                let driven = real_drive::drive(&mut run, station, plan.recipe.limits.link_wait, observer);
                let counted = |count: fn(&CanCounters) -> u64| {
                    driven.links.iter().map(|link| count(&link.counters)).sum()
                };
                let traffic = Traffic {
                    ended: driven.ended,
                    frames: counted(|c| c.sent + c.received),
                    queue_full: counted(|c| c.queue_full),
                    frames_lost: counted(|c| c.overruns),
                    cpu: 0.0,
                };
                (run, traffic)
            }
        }
    }
}

/// Whether the boards are simulated, here or in another process.
pub(crate) fn is_simulation(panel: &Panel) -> bool {
    let sim = |line: &Line| matches!(line.wire.connection, Connection::Sim(_));
    let ports = panel.slots.iter().any(|slot| slot.port == Some(Port::Sim));
    ports || panel.buses.iter().any(|bus| bus.link == Link::Sim) || panel.fixture.lines.iter().any(sim)
}

/// Refuses what only the built-in simulation can do.
fn only_real(args: &RunArgs) -> Result<(), Failure> {
    let given = [
        ("--scenario", args.scenario.is_some()),
        ("--seed", args.seed.is_some()),
        ("--virtual-time", args.virtual_time),
        ("--boards", args.boards.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => {
            let text = format!("{option} is for the built-in simulation, and the panel's links are real");
            Err(Failure::new(Code::Usage, text))
        }
    }
}
