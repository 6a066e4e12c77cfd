//! Runs to look at, for the tests of this module.

use panel_backplane::{Bus, BusKind, Panel, Slot, units::BitRate};
use panel_bound::Bound;
use panel_engine::{Event, SlotState, Step};
use panel_protocol::time::Micros;

use super::state::RunView;

/// A regular panel with buses `can0`, `can1`, ... and nothing done yet.
pub(super) fn run_view(rows: u16, columns: u16, buses: u8) -> RunView {
    let bus = |n| Bus::simulated(&format!("can{n}"), BusKind::Classical, BitRate(1_000_000));
    let panel = Panel::grid(rows, columns, (0..buses).map(bus).collect()).unwrap();
    let image = panel_image::parse(&[0x5A; 256 * 1024], "test.bin", Some(0x0802_0000)).unwrap();
    let recipe = panel_engine::Recipe {
        job: "demo".to_owned(),
        release: "test.bin".to_owned(),
        image: panel_image::Image::merge(&[image]).unwrap(),
        chip: panel_engine::chip::Chip::by_name("STM32F405").unwrap(),
        revisions: Vec::new(),
        min_supply_mv: None,
        retries: 1,
        digest: false,
        start_application: false,
        finishing: panel_engine::Finishing::default(),
        limits: panel_engine::Limits::default(),
    };
    let plan = panel_engine::Plan::new(recipe, panel).unwrap();
    let bound = Bound { total_ns: 3_524_000_000, verify_ns: 4_000_000, ..Bound::default() };
    RunView::new(&plan, bound, 0)
}

pub(super) fn state(view: &mut RunView, slot: u16, state: SlotState) {
    let now = view.now;
    view.event(now, &Event::State { slot: Slot(slot), state });
}

pub(super) fn step_ended(view: &mut RunView, slot: u16, step: Step) {
    view.event(Micros(1), &Event::StepEnded { slot: Slot(slot), step, ok: true });
}
