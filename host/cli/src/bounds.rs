//! The physical bound of a plan, from its numbers alone (crate `panel-bound`, which shares nothing with the
//! engine).

use core::num::NonZeroU32;

use panel_backplane::BusKind;
use panel_bound::{Bound, BusSpeed, EraseUnit, FlashTimes, Multidrop, PowerOn};
use panel_engine::Plan;

/// The bound of the whole panel: buses work in parallel, so the slowest counts. Also the bound for sending the
/// same image to each board in turn.
pub(crate) fn of(plan: &Plan, start_up_ns: u64) -> (Bound, Bound) {
    let flash = flash(plan);
    let regions: Vec<(u32, &[u8])> = plan.regions.iter().map(|(a, b)| (*a, b.as_slice())).collect();
    let power = PowerOn { fixture_ns: plan.panel.power_on_time().0 * 1000, start_up_ns };
    let mut all = (Bound::default(), Bound::default());
    for (n, bus) in plan.panel.buses.iter().enumerate() {
        let index = panel_backplane::BusIndex(n as u8);
        let boards = plan.panel.on_bus(index).filter(|s| !s.bad).count() as u32;
        let rate = |r: u32| NonZeroU32::new(r).unwrap_or(NonZeroU32::MIN);
        let nominal = rate(bus.bit_rate.0);
        let speed = match bus.kind {
            BusKind::Classical => BusSpeed::Classical { bit_rate: nominal },
            BusKind::Fd { data_bit_rate } => BusSpeed::Fd { nominal, data: rate(data_bit_rate.0) },
        };
        let job = Multidrop { bus: speed, boards, regions: &regions, flash: &flash, power };
        let (together, in_turn) = (job.bound(), job.one_by_one());
        if together.total_ns > all.0.total_ns {
            all.0 = together;
        }
        if in_turn.total_ns > all.1.total_ns {
            all.1 = in_turn;
        }
    }
    all
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
    let program_unit = NonZeroU32::new(chip.flash.unit.into()).unwrap_or(NonZeroU32::MIN);
    FlashTimes { units: units.collect(), program_unit, program_typical_ns }
}
