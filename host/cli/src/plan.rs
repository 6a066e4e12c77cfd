//! `panelflash plan`: what a run would do and its time bound, without touching anything.

use panel_engine::Plan;
use panel_engine::rom::RomPlan;
use serde_json::json;

use crate::args::PlanArgs;
use crate::failure::Failure;
use crate::out::line;
use crate::{bounds, setup};

pub(crate) fn plan(args: &PlanArgs) -> Result<u8, Failure> {
    let setup = setup::load(args.job.job.as_deref(), args.job.panel.as_deref(), None)?;
    let plan = &setup.plan;
    let (bound, in_turn) = bounds::of(plan);
    let secs = |ns: u64| ns as f64 / 1e9;
    if args.json {
        let value = json!({
            "job": plan.recipe.job, "release": plan.recipe.release, "chip": plan.recipe.chip.name,
            "panel": plan.panel.name,
            "slots": plan.panel.slots.iter().filter(|s| !s.bad).count(),
            "skipped": plan.panel.slots.iter().filter(|s| s.bad).map(|s| s.slot.0).collect::<Vec<_>>(),
            "buses": plan.panel.buses.iter().map(panel_backplane::Bus::speed).collect::<Vec<_>>(),
            "regions": plan.regions.iter().map(|(a, b)| json!({
                "address": format!("{a:#010x}"), "bytes": b.len(),
                "crc32": format!("{:08x}", panel_protocol::CRC32.checksum(b)),
            })).collect::<Vec<_>>(),
            "erase_units": plan.units.iter().map(|u| json!({
                "unit": u.index, "address": format!("{:#010x}", u.address), "bytes": u.size,
                "typical_ms": u.typical.0 / 1000,
            })).collect::<Vec<_>>(),
            "data_frames": plan.images.first().map_or(0, |i| i.frames()),
            "flash_seconds": plan.flash_time.as_secs_f64(),
            "ways": plan.ways.iter().map(|(slot, way)| (slot.to_string(), json!(way.name()))).collect::<serde_json::Map<_, _>>(),
            "agent": plan.rom.as_ref().and_then(RomPlan::agent).map(|agent| json!({
                "name": agent.name, "address": format!("{:#010x}", agent.address), "bytes": agent.bytes.len(),
            })),
            "load_seconds": secs(bound.load_ns),
            "bus_seconds": secs(bound.bus_ns),
            "bound_seconds": secs(bound.total_ns),
            "one_by_one_seconds": secs(in_turn.total_ns),
        });
        line(&value.to_string());
        return Ok(0);
    }
    print(plan);
    line("Time bound");
    let parts = [
        ("power and start-up", bound.power_ns),
        ("agents", bound.load_ns),
        ("discovery", bound.discover_ns),
        ("image on the bus", bound.bus_ns),
        ("erase, typical", bound.erase_ns),
        ("program, typical", bound.program_ns),
        ("verify", bound.verify_ns),
        ("identity and lock", bounds::factory(plan).total_ns),
    ];
    for (name, ns) in parts.into_iter().filter(|(name, ns)| *ns > 0 || *name != "agents") {
        line(&format!("  {name:<20} {:>8.3} s", secs(ns)));
    }
    line(&format!(
        "  {:<20} {:>8.3} s   ({})",
        "whole panel",
        secs(bound.total_ns),
        if plan.ways.values().any(|way| !way.broadcasts()) {
            "a ROM does one thing at a time: all of it counts"
        } else {
            "bus and flash overlap: the longer counts"
        },
    ));
    line(&format!(
        "  {:<20} {:>8.3} s   (one board after the other)",
        "for comparison",
        secs(in_turn.total_ns)
    ));
    Ok(0)
}

fn print(plan: &Plan) {
    let recipe = &plan.recipe;
    let good = plan.panel.slots.iter().filter(|s| !s.bad).count();
    line(&format!("Job {} for {} (device ID {:#05x})", recipe.job, recipe.chip.name, recipe.chip.device_id));
    line(&format!("Panel {}: {} slots to program", plan.panel.name, good));
    for bad in plan.panel.slots.iter().filter(|s| s.bad) {
        line(&format!("  slot {} is marked bad and skipped", bad.slot));
    }
    for (n, bus) in plan.panel.buses.iter().enumerate() {
        let slots = plan.panel.on_bus(panel_backplane::BusIndex(n as u8)).count();
        line(&format!("  bus {}: {}, {} slots", bus.name, bus.speed(), slots));
    }
    ways(plan);
    line(&format!("Image {}", recipe.release));
    for (address, bytes) in &plan.regions {
        let end = address + bytes.len() as u32 - 1;
        let crc = panel_protocol::CRC32.checksum(bytes);
        line(&format!("  {address:#010x} to {end:#010x}  {:>8} bytes  CRC-32 {crc:08x}", bytes.len()));
    }
    let frames = plan.images.first().map_or(0, |i| i.frames());
    line(&format!("  {frames} data frames, blank runs left out"));
    line("Erase");
    for unit in &plan.units {
        let ms = unit.typical.0 / 1000;
        line(&format!(
            "  unit {:>3} at {:#010x}  {:>4} KiB  {ms} ms typical",
            unit.index,
            unit.address,
            unit.size / 1024
        ));
    }
}

/// How many boards go which way, and what some of them are given first.
fn ways(plan: &Plan) {
    for (name, way) in panel_backplane::Way::ALL {
        let count = plan.ways.values().filter(|w| **w == way).count();
        if count > 0 {
            line(&format!("  way {name}: {count} boards"));
        }
    }
    if let Some(agent) = plan.rom.as_ref().and_then(RomPlan::agent) {
        line(&format!("  RAM agent {}: {} bytes to {:#010x}", agent.name, agent.bytes.len(), agent.address));
    }
}
