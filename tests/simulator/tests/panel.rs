//! The real node code and the real host's end over the simulated panel: what the simulator promises about both.

mod common;

use std::sync::Arc;

use common::{Rig, image_bytes, numbers};
use panel_protocol::host::{Answer, Image};
use panel_protocol::message::Control;
use panel_protocol::time::Span;
use panel_simulator::{BusSpeed, Chip, Fault, Scenario, Trigger, World, WorldConfig};

const FLASH_TIME: Span = Span(3_000_000);

fn chip(name: &str) -> &'static Chip {
    Chip::by_name(name).expect("a known chip")
}

fn rig(config: WorldConfig, seed: u64) -> Rig {
    let buses = config.buses.len();
    Rig::new(World::new(config, seed).expect("a possible world"), buses)
}

fn image(chip: &Chip, bytes: &[u8], speed: BusSpeed) -> Arc<Image> {
    let regions = [(chip.app_base(), bytes.to_vec())];
    Arc::new(Image::new(chip.device_id, &regions, speed.data.is_some()).expect("an image"))
}

/// Programs `len` bytes into every board and returns the rig and the slots whose flash holds them.
fn program(config: WorldConfig, len: usize, seed: u64) -> (Rig, Vec<u16>) {
    let (chip, speed) = (config.slots[0].chip, config.buses[0]);
    let bytes = image_bytes(len);
    let image = image(chip, &bytes, speed);
    let mut rig = rig(config, seed);
    rig.world.record_trace();
    rig.power_on();
    let nodes = numbers(&rig.discover());
    let complete = rig.program(&image, &nodes, FLASH_TIME);
    let checks = rig.ask(Control::Verify { region: 0 }, &complete);
    let matching =
        checks.iter().filter(|c| matches!(&c.2, Answer::RegionCheck(check) if check.matches)).count();
    let good: Vec<u16> = rig.world.slots().to_vec();
    let good =
        good.into_iter().filter(|&s| rig.world.flash_bytes(s, chip.app_base(), len) == Some(&bytes[..]));
    let good: Vec<u16> = good.collect();
    assert_eq!(matching, good.len(), "what the boards say is what their flash holds");
    (rig, good)
}

#[test]
fn sixty_four_unaddressed_boards_are_found_without_a_single_bit_error() {
    let mut rig = rig(WorldConfig::panel(64, chip("F405"), BusSpeed::CAN_1M), 3);
    rig.power_on();
    let (before, start) = (rig.world.bus_stats(0), rig.now());
    let found = rig.discover();
    let stats = rig.world.bus_stats(0).since(&before);
    assert_eq!(found[0].found.len(), 64);
    assert_eq!((stats.errors(), stats.collisions, rig.errors.len()), (0, 0, 0));
    assert!(stats.busy() <= Span::from_millis(60), "{stats:?}");
    assert!(rig.now().since(start) <= Span::from_millis(200));
    for board in &found[0].found {
        let slot = board.strap.unwrap();
        assert_eq!(rig.world.uid(slot), Some(board.uid));
    }
}

#[test]
fn every_family_is_programmed_without_breaking_a_rule_of_its_flash() {
    for (name, speed) in [
        ("F405", BusSpeed::CAN_1M),
        ("F429", BusSpeed::CAN_500K),
        ("F103xE", BusSpeed::CAN_1M),
        ("F103xG", BusSpeed::CAN_1M),
        ("L496", BusSpeed::CAN_1M),
        ("G431", BusSpeed::CAN_1M),
        ("G474", BusSpeed::FD_1M_5M),
    ] {
        let (rig, good) = program(WorldConfig::panel(4, chip(name), speed), 20_000, 1);
        assert_eq!(good, [1, 2, 3, 4], "{name}");
        for slot in good {
            let counters = rig.world.board_counters(slot).unwrap();
            assert_eq!(
                (counters.violations, counters.stalls, counters.overruns),
                (0, 0, 0),
                "{name}, slot {slot}"
            );
        }
    }
}

#[test]
fn loss_and_noise_are_repaired_and_two_runs_with_one_seed_are_the_same() {
    let run = || {
        let scenario = Scenario { corruption: 0.005, loss: 0.01, ..Scenario::default() };
        let config = WorldConfig { scenario, ..WorldConfig::panel(12, chip("F405"), BusSpeed::CAN_1M) };
        let (mut rig, good) = program(config, 16_000, 5);
        assert_eq!(good.len(), 12);
        let stats = rig.world.bus_stats(0);
        assert!(stats.noise > 0 && rig.world.board_counters(1).unwrap().missed > 0, "{stats:?}");
        rig.world.take_trace().to_string()
    };
    let first = run();
    assert!(first.lines().count() > 2000);
    assert!(first == run(), "the traces differ");
}

#[test]
fn four_buses_are_programmed_in_the_time_of_one() {
    let time = |buses| {
        let config = WorldConfig::panel_on(8 * buses as u16, chip("F405"), BusSpeed::CAN_1M, buses);
        let (rig, good) = program(config, 40_000, 1);
        assert_eq!(good.len(), 8 * buses);
        rig.now().0 as f64
    };
    let ratio = time(4) / time(1);
    assert!((0.98..1.02).contains(&ratio), "{ratio}");
}

#[test]
fn a_board_that_dies_or_browns_out_leaves_the_others_whole() {
    let at = |address| Trigger::Programmed(chip("F405").app_base() + address);
    for fault in [Fault::Dead { when: at(9000) }, Fault::BrownOut { when: at(9000) }] {
        let scenario = Scenario { faults: vec![(3, fault)], ..Scenario::default() };
        let config = WorldConfig { scenario, ..WorldConfig::panel(5, chip("F405"), BusSpeed::CAN_1M) };
        let (rig, good) = program(config, 20_000, 1);
        assert_eq!(good, [1, 2, 4, 5], "{fault:?}");
        let cell = rig.world.flash_bytes(3, chip("F405").app_base() + 9000, 4);
        assert_eq!(cell, image_bytes(20_000).get(9000..9004), "it had got that far");
    }
}
