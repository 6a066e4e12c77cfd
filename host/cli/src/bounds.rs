//! The physical bound of a plan, from its numbers alone (crate `panel-bound`, which shares nothing with the
//! engine).

use core::num::NonZeroU32;

use panel_backplane::{Bus, BusIndex, BusKind, PanelSlot, Way};
use panel_bound::{
    Agent, Bound, BusSpeed, EraseUnit, Factory, FactoryBound, FlashTimes, Multidrop, PowerOn, Rom, RomLink,
};
use panel_engine::rom::RomPlan;
use panel_engine::{Finishing, Plan};
use stm32_rom_bootloader::device::{FlashTiming, Parallelism, SupplyVoltage};

/// The bound of the whole panel with what the factory part adds: buses and ports work in parallel, so the slowest counts. Also the bound for
/// sending the same image to each board in turn.
pub(crate) fn of(plan: &Plan) -> (Bound, Bound) {
    let mut all = (Bound::default(), Bound::default());
    for (n, bus) in plan.panel.buses.iter().enumerate() {
        let slots: Vec<&PanelSlot> =
            plan.panel.on_bus(BusIndex(n as u8)).filter(|s| way(plan, s) != Way::RomUart).collect();
        keep_longer(&mut all, of_bus(plan, bus, &slots));
    }
    let ports = plan.panel.slots.iter().filter(|s| !s.bad && way(plan, s) == Way::RomUart).count() as u32;
    if let Some(rom) = plan.rom.as_ref().filter(|_| ports > 0) {
        let (at_once, one_by_one) = through_rom(plan, rom, uart(plan), ports);
        // Behind a multiplexer, boards of one port wait for each other.
        let longest = plan.ports.iter().map(|port| port.slots.len()).max().unwrap_or(1);
        let bound = if longest > 1 { through_rom(plan, rom, uart(plan), longest as u32).1 } else { at_once };
        keep_longer(&mut all, (bound, one_by_one));
    }
    let added = factory(plan).total_ns;
    all.0.total_ns += added;
    all.1.total_ns += added;
    all
}

fn keep_longer(all: &mut (Bound, Bound), group: (Bound, Bound)) {
    if group.0.total_ns > all.0.total_ns {
        all.0 = group.0;
    }
    if group.1.total_ns > all.1.total_ns {
        all.1 = group.1;
    }
}

fn way(plan: &Plan, slot: &PanelSlot) -> Way {
    plan.ways.get(&slot.slot).copied().unwrap_or(Way::Multidrop)
}

fn of_bus(plan: &Plan, bus: &Bus, slots: &[&PanelSlot]) -> (Bound, Bound) {
    let boards = slots.len() as u32;
    let count = |wanted: &[Way]| slots.iter().filter(|s| wanted.contains(&way(plan, s))).count() as u32;
    let on_bus = count(&[Way::RomCan, Way::RomFdcan, Way::RomCanAgent, Way::RomFdcanAgent]);
    let link = if on_bus > 0 { on_can(bus) } else { uart(plan) };
    let agents = count(&[Way::RomUartAgent, Way::RomCanAgent, Way::RomFdcanAgent]);
    match &plan.rom {
        Some(rom) if agents > 0 => with_agent(plan, rom, bus, link, (agents, boards)),
        Some(rom) if on_bus > 0 => through_rom(plan, rom, link, boards),
        _ => {
            let (flash, regions) = (flash(plan), regions(plan));
            let job = multidrop(bus, boards, &regions, &flash, power(plan, start_up_ns(plan)));
            (job.bound(), job.one_by_one())
        }
    }
}

fn through_rom(plan: &Plan, rom: &RomPlan, link: RomLink, boards: u32) -> (Bound, Bound) {
    let (flash, regions) = (rom_flash(plan, rom), regions(plan));
    let power = power(plan, rom_start_ns(rom));
    let job =
        Rom { link, boards, regions: &regions, flash: &flash, mass_erase_ns: None, power, latency_ns: 0 };
    (job.bound(), job.one_by_one())
}

/// `agents` boards are given the agent, all `boards` receive the image.
fn with_agent(
    plan: &Plan,
    rom: &RomPlan,
    bus: &Bus,
    link: RomLink,
    (agents, boards): (u32, u32),
) -> (Bound, Bound) {
    let (flash, image) = (flash(plan), regions(plan));
    let agent = rom.agent().map(|agent| (agent.address, agent.bytes.as_slice()));
    let regions: Vec<(u32, &[u8])> = agent.into_iter().collect();
    let power = power(plan, rom_start_ns(rom));
    let load = Rom {
        link,
        boards: agents,
        regions: &regions,
        flash: &flash,
        mass_erase_ns: None,
        power,
        latency_ns: 0,
    };
    let then = multidrop(bus, boards, &image, &flash, PowerOn::default());
    let job = Agent { load, then };
    (job.bound(), job.one_by_one())
}

fn multidrop<'a>(
    bus: &Bus,
    boards: u32,
    regions: &'a [(u32, &'a [u8])],
    flash: &'a FlashTimes,
    power: PowerOn,
) -> Multidrop<'a> {
    Multidrop { bus: speed(bus), boards, regions, flash, power }
}

fn regions(plan: &Plan) -> Vec<(u32, &[u8])> {
    plan.regions.iter().map(|(a, b)| (*a, b.as_slice())).collect()
}

fn power(plan: &Plan, start_up_ns: u64) -> PowerOn {
    PowerOn { fixture_ns: plan.panel.power_on_time().0 * 1000, start_up_ns }
}

/// From power until a board with a bootloader of its own listens.
fn start_up_ns(plan: &Plan) -> u64 {
    plan.recipe.chip.listens(plan.is_sealed()).0 * 1000
}

fn rate(bits_per_second: u32) -> NonZeroU32 {
    NonZeroU32::new(bits_per_second).unwrap_or(NonZeroU32::MIN)
}

fn uart(plan: &Plan) -> RomLink {
    RomLink::Uart { baud: rate(plan.panel.baud) }
}

/// The fastest rate that the ROM knows and the bus allows (AN3154, Speed), or that of AN5405.
fn on_can(bus: &Bus) -> RomLink {
    match bus.kind {
        BusKind::Fd { .. } => RomLink::Fdcan { nominal: rate(250_000), data: rate(1_000_000) },
        BusKind::Classical => {
            let known = [1_000_000, 500_000, 250_000].into_iter().find(|known| *known <= bus.bit_rate.0);
            RomLink::Can { bit_rate: rate(known.unwrap_or(125_000)) }
        }
    }
}

/// From reset until the ROM listens, at best (AN2606).
fn rom_start_ns(rom: &RomPlan) -> u64 {
    rom.device.startup.map_or(0, |startup| u64::try_from(startup.best.as_nanos()).unwrap_or(u64::MAX))
}

fn speed(bus: &Bus) -> BusSpeed {
    let nominal = rate(bus.bit_rate.0);
    match bus.kind {
        BusKind::Classical => BusSpeed::Classical { bit_rate: nominal },
        BusKind::Fd { data_bit_rate } => BusSpeed::Fd { nominal, data: rate(data_bit_rate.0) },
    }
}

/// What identities, option bytes and lock add, on the slowest bus.
pub(crate) fn factory(plan: &Plan) -> FactoryBound {
    let recipe = &plan.recipe;
    let Finishing { identity, options, lock, .. } = &recipe.finishing;
    let locks = u32::from(lock.level().is_some());
    let writes = u32::from(!options.is_empty()) + locks;
    let flash = flash(plan);
    let identity_bytes = identity.map_or(0, |place| place.length.min(IDENTITY_BYTES));
    let bounds = plan.panel.buses.iter().enumerate().map(|(n, bus)| {
        let boards = plan.panel.on_bus(BusIndex(n as u8)).filter(|s| !s.bad).count() as u32;
        let each = Factory {
            bus: speed(bus),
            boards,
            identity_bytes,
            identity_program_ns: u64::from(identity_bytes.div_ceil(flash.program_unit.get()))
                * flash.program_typical_ns,
            option_writes: writes,
            option_write_ns: option_write_ns(recipe.chip.family),
            restarts: writes,
            restart_ns: plan.panel.power_on_time().0 * 1000 + start_up_ns(plan),
            proof: locks > 0,
        };
        each.bound()
    });
    bounds.max_by_key(|bound| bound.total_ns).unwrap_or_default()
}

/// Bytes of an identity region (docs/identity_region.h).
const IDENTITY_BYTES: u32 = panel_ledger::region::LENGTH as u32;

/// Typical time of one write of option bytes, ns: erase of the area and its programming, from the datasheets. That
/// of the F4 says nothing; the time of its smallest sector is taken.
fn option_write_ns(family: &str) -> u64 {
    match family {
        "F1" => 30_000_000 + 8 * 52_500,
        "G4" | "L4" => 22_020_000 + 4 * 81_690,
        _ => 250_000_000,
    }
}

/// The chip's typical times in nanoseconds, from the datasheets (the plan's own are rounded to microseconds).
fn flash(plan: &Plan) -> FlashTimes {
    let chip = plan.recipe.chip;
    let units = plan.units.iter().map(|u| EraseUnit {
        address: u.address,
        size: u.size,
        typical_ns: u.typical.0 * 1000,
    });
    let program_typical_ns = match chip.family {
        "F1" => 52_500,
        "G4" | "L4" => 81_690,
        _ => chip.flash.program_typical.0 * 1000,
    };
    FlashTimes { units: units.collect(), program_unit: rate(chip.flash.unit.into()), program_typical_ns }
}

/// The same at the width at which a ROM erases and programs: F2, F4 and F7 by bytes unless the supply is known.
fn rom_flash(plan: &Plan, rom: &RomPlan) -> FlashTimes {
    let width = rom.voltage().map_or(Parallelism::X8, SupplyVoltage::parallelism);
    if !matches!(plan.recipe.chip.family, "F2" | "F4" | "F7") {
        return flash(plan);
    }
    let timing = FlashTiming::of(rom.device.family);
    let ns = |time: core::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let units = plan.units.iter().map(|u| EraseUnit {
        address: u.address,
        size: u.size,
        typical_ns: ns(timing.erase_unit(u.size, width).typical),
    });
    let program_typical_ns = ns(timing.program_bytes(1, width).typical);
    FlashTimes { units: units.collect(), program_unit: rate(width.bytes()), program_typical_ns }
}
