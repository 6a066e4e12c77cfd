//! How fast the simulation runs: a panel programmed in virtual time, wall time per part.
//!
//! `cargo run --release -p panel-simulator --example throughput -- BOARDS KIB [CHIP] [BUS] [LOSS]`

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use panel_protocol::host::Image;
use panel_protocol::message::Control;
use panel_protocol::time::Span;
use panel_simulator::{BusSpeed, Chip, World, WorldConfig};

#[expect(clippy::print_stdout, reason = "this is the example's output")]
#[expect(clippy::disallowed_methods, reason = "it measures wall time")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let (boards, kib): (u16, usize) = (arg(0, "64").parse()?, arg(1, "1024").parse()?);
    let chip = Chip::by_name(&arg(2, "F405")).ok_or("no such chip")?;
    let speed: BusSpeed = arg(3, "can-1M").parse()?;
    let mut config = WorldConfig::panel(boards, chip, speed);
    config.scenario.loss = arg(4, "0").parse()?;
    let bytes =
        common::image_bytes((kib * 1024).min((chip.flash_size() - (chip.app_base() & 0xF_FFFF)) as usize));
    let image =
        Arc::new(Image::new(chip.device_id, &[(chip.app_base(), bytes.clone())], speed.data.is_some())?);

    let begin = std::time::Instant::now();
    let mut rig = common::Rig::new(World::new(config, 1)?, 1);
    let built = begin.elapsed();
    rig.power_on();
    let discovery = rig.now();
    let found = rig.discover();
    println!(
        "discovery: {} boards in {:.1} ms",
        found[0].found.len(),
        rig.now().since(discovery).as_secs_f64() * 1e3
    );
    let nodes = common::numbers(&found);
    let start = rig.now();
    let complete = rig.program(&image, &nodes, Span::from_millis(20_000));
    let programmed = rig.now().since(start).as_secs_f64();
    let checks = rig.ask(Control::Verify { region: 0 }, &nodes);
    let wall = begin.elapsed();

    let stats = rig.world.bus_stats(0);
    let good = rig
        .world
        .slots()
        .iter()
        .filter(|&&s| rig.world.flash_bytes(s, chip.app_base(), bytes.len()) == Some(&bytes[..]));
    println!(
        "image: {} bytes, {} frames; complete {}, checked {}, good {}",
        bytes.len(),
        image.frames(),
        complete[0].len(),
        checks.len(),
        good.count()
    );
    println!("virtual: programmed in {programmed:.3} s, total {:.3} s", rig.now().0 as f64 / 1e6);
    println!("bus: {stats:?}, load {:.3}", stats.busy().as_secs_f64() / (rig.now().0 as f64 / 1e6));
    let counters = rig.world.board_counters(1);
    println!("slot 1: {counters:?}, stream {:?}", rig.masters[0].counters());
    println!(
        "wall: built in {built:?}, total {wall:?}, {:.0} deliveries/s",
        stats.frames as f64 * f64::from(boards) / wall.as_secs_f64()
    );
    Ok(())
}
