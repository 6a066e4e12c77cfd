//! What a data frame costs the host: engine and session alone, without the simulation around them.
//!
//! A run over the simulated panel writes down every call made to the engine, with its time; then the same calls
//! are made to a new run with nothing behind it, and only that is timed.
//!
//! `cargo run --release -p panel-engine --example frame_cost [-- BOARDS [LOSS]]`; without arguments a table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use panel_backplane::units::BitRate;
use panel_backplane::{Bus, BusIndex, BusKind, LineAction, LineFunction, Panel, Slot};
use panel_engine::chip::Chip;
use panel_engine::{Limits, Outcome, Plan, Recipe, Run};
use panel_protocol::frame::Frame;
use panel_protocol::time::Micros;
use panel_simulator::{BusSpeed, HostEvent, Scenario, World, WorldConfig};

type Failure = Box<dyn std::error::Error>;

const IMAGE: &[u8] = include_bytes!("../../../tests/data/firmware/demo-f405-256k.bin");
const BUS: BusIndex = BusIndex(0);
const SEED: u64 = 1;
/// Frames handed to the adapter and not yet confirmed.
const IN_FLIGHT: usize = 4;
const REPEATS: usize = 5;

/// One call to the engine.
enum Call {
    Frame(Micros, Frame),
    Timeout(Micros),
    Currents(Micros, Vec<(Slot, Option<u32>)>),
    /// Events, lines and questions until there are none.
    Drain,
    Transmit(Micros),
    Deadline,
}

#[expect(clippy::print_stdout, reason = "this is the example's output")]
fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let cases = match args.next() {
        Some(boards) => vec![(boards.parse()?, args.next().map_or(Ok(0.0), |l| l.parse())?)],
        None => vec![(1, 0.0), (21, 0.0), (64, 0.0), (21, 0.01), (64, 0.01)],
    };
    println!("boards   loss  data frames  all frames  ns per data frame  ns per frame");
    for (boards, loss) in cases {
        case(boards, loss)?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the example's output")]
fn case(boards: u16, loss: f64) -> Result<(), Failure> {
    let plan = Arc::new(plan(boards)?);
    let calls = record(&plan, boards, loss)?;
    let mut best = Duration::MAX;
    let mut run = Run::new(&plan, Micros::ZERO, 1);
    for _ in 0..REPEATS {
        run = Run::new(&plan, Micros::ZERO, 1);
        best = best.min(replay(&mut run, &calls));
    }
    check(&run, boards)?;
    let counters = run.counters(BUS);
    let tally = run.tally(BUS);
    let (data, all) = (counters.data + counters.repeated, tally.sent + tally.received);
    let ns = best.as_nanos() as f64;
    let (per_data, per_frame) = (ns / data as f64, ns / all as f64);
    println!("{boards:>6} {:>4} %  {data:>11}  {all:>10}  {per_data:>17.0}  {per_frame:>12.0}", loss * 100.0);
    Ok(())
}

fn plan(boards: u16) -> Result<Plan, Failure> {
    let chip = Chip::by_name("STM32F405").ok_or("no such chip")?;
    let recipe = Recipe {
        job: "frame-cost".to_owned(),
        release: "demo".to_owned(),
        image: panel_image::parse(IMAGE, "demo-f405-256k.bin", Some(0x0802_0000))?,
        chip,
        revisions: Vec::new(),
        min_supply_mv: None,
        retries: 1,
        digest: false,
        start_application: false,
        finishing: panel_engine::Finishing::default(),
        limits: Limits::default(),
    };
    let bus = Bus::simulated("can", BusKind::Classical, BitRate::M1);
    Ok(Plan::new(recipe, Panel::grid(1, boards, vec![bus])?)?)
}

/// Runs once over the simulated panel and returns every call to the engine.
fn record(plan: &Arc<Plan>, boards: u16, loss: f64) -> Result<Vec<Call>, Failure> {
    let chip = panel_simulator::Chip::by_name("F405").ok_or("no such chip")?;
    let mut config = WorldConfig::panel(boards, chip, BusSpeed::CAN_1M);
    config.adapter.queue = IN_FLIGHT;
    config.scenario = Scenario { loss, ..Scenario::default() };
    let mut world = World::new(config, SEED)?;
    let mut run = Run::new(plan, Micros::ZERO, 1);
    let mut calls = Vec::new();
    loop {
        outputs(&mut run, &mut world, &mut calls);
        if run.is_finished() {
            check(&run, boards)?;
            return Ok(calls);
        }
        calls.push(Call::Deadline);
        let due = run.next_timeout();
        let until = due.into_iter().chain(world.next_event()).min().ok_or("nothing will ever happen")?;
        world.advance(until.max(world.now()));
        let now = world.now();
        while let Some(event) = world.poll_host() {
            if let HostEvent::Received { frame, .. } = event {
                calls.push(Call::Frame(now, frame));
                run.handle_frame(now, BUS, &frame);
            }
        }
        if due.is_some_and(|due| now >= due) {
            calls.push(Call::Timeout(now));
            run.handle_timeout(now);
        }
    }
}

/// Carries out what the run asks for.
fn outputs(run: &mut Run, world: &mut World, calls: &mut Vec<Call>) {
    let now = world.now();
    calls.push(Call::Drain);
    loop {
        while run.poll_event().is_some() {}
        while let Some(action) = run.poll_line() {
            switch(run.plan(), world, action);
        }
        let Some(slots) = run.poll_sense() else { break };
        let currents: Vec<_> = slots.iter().map(|&s| (s, world.current_ma(s.0))).collect();
        run.handle_currents(now, &currents);
        calls.push(Call::Currents(now, currents));
        calls.push(Call::Drain);
    }
    while world.host_queue_free(0) > 0 {
        calls.push(Call::Transmit(now));
        let Some(frame) = run.poll_transmit(now, BUS) else { return };
        if world.host_send(0, &frame).is_err() {
            return;
        }
    }
}

fn switch(plan: &Plan, world: &mut World, action: LineAction) {
    let Some(line) = plan.panel.line(action.line) else { return };
    let slots: Vec<u16> = line.slots.iter().map(|s| s.0).collect();
    match line.function {
        LineFunction::Power => world.set_power(&slots, action.on),
        LineFunction::Nrst => world.set_reset(&slots, action.on),
        LineFunction::Select | LineFunction::Boot0 | LineFunction::Mux => {}
    }
}

/// Makes the calls to `run` and returns what they took.
#[expect(clippy::disallowed_methods, reason = "it measures wall time")]
fn replay(run: &mut Run, calls: &[Call]) -> Duration {
    let start = Instant::now();
    for call in calls {
        match call {
            Call::Frame(now, frame) => run.handle_frame(*now, BUS, frame),
            Call::Timeout(now) => run.handle_timeout(*now),
            Call::Currents(now, currents) => run.handle_currents(*now, currents),
            Call::Drain => {
                while run.poll_event().is_some() {}
                while run.poll_line().is_some() {}
                while run.poll_sense().is_some() {}
            }
            Call::Transmit(now) => _ = std::hint::black_box(run.poll_transmit(*now, BUS)),
            Call::Deadline => _ = std::hint::black_box(run.next_timeout()),
        }
    }
    start.elapsed()
}

/// A run that did not end well would have measured something else.
fn check(run: &Run, boards: u16) -> Result<(), Failure> {
    let reports = run.reports();
    let passed = |v: &panel_engine::Verdict| v.outcome == Outcome::Pass;
    let count = reports.iter().filter(|r| r.verdict.as_ref().is_some_and(passed)).count();
    if count == usize::from(boards) {
        Ok(())
    } else {
        Err(format!("{count} of {boards} boards passed").into())
    }
}
