//! The world with scripted boards: start-up, FIFOs, faults, lines, adapters, determinism.

mod faults;

use std::collections::VecDeque;

use panel_protocol::frame::Id;
use panel_protocol::node::{NodePort, Poll, Protection, ResetCause, Wake, Work};
use panel_protocol::time::Span;

use super::*;
use crate::config::{AdapterConfig, BusSpeed};
use crate::fault::Fault;
use crate::fault::Trigger;
use crate::hardware::BoardPort;
use crate::hardware::Hardware;
use crate::scenario::Scenario;

const ECHO: u16 = 0x180;
const ERASE: u16 = 0x181;
const PROGRAM: u16 = 0x182;
const RESET: u16 = 0x183;
const START: u16 = 0x184;
const READ: u16 = 0x185;
/// More than boards need to start, us.
const START_UP: u64 = 95_000;
/// What they are told to erase, program and start: where images begin.
const PLACE: u32 = 0x0800_8000;

/// Answers `ECHO` with its strap as identifier (0x200 + strap) and reset cause, count of frames heard and supply
/// as payload; does to its flash what it is told.
struct Script {
    port: BoardPort,
    out: VecDeque<Frame>,
    heard: u8,
}

impl Firmware for Script {
    fn start(hardware: Box<Hardware>, _chip: &'static crate::chip::Chip, _now: Micros) -> Self {
        Self { port: BoardPort(hardware), out: VecDeque::new(), heard: 0 }
    }

    fn stop(self) -> Box<Hardware> {
        self.port.0
    }

    fn hardware(&self) -> &Hardware {
        &self.port.0
    }

    fn hardware_mut(&mut self) -> &mut Hardware {
        &mut self.port.0
    }

    fn handle_frame(&mut self, _now: Micros, frame: &Frame) {
        self.heard = self.heard.wrapping_add(1);
        let Id::Standard(id) = frame.id() else { return };
        let unit = self.port.facts().flash.erase_unit(PLACE).unwrap();
        match id {
            ECHO => {
                let strap = self.port.strap().unwrap_or(0x7F);
                let supply = self.port.supply_mv().unwrap_or(0).to_le_bytes();
                let cause = self.port.facts().reset_cause as u8;
                let payload = [cause, self.heard, supply[0], supply[1]];
                self.out.push_back(Frame::classical(Id::Standard(0x200 + strap), &payload).unwrap());
            }
            ERASE => self.port.start_erase(&unit),
            PROGRAM => self.port.start_program(PLACE, &[0x42; 256]),
            READ => assert!(self.port.read(PLACE, &mut [0; 16])),
            RESET => self.port.reset(),
            START => self.port.start_application(PLACE),
            _ => {}
        }
    }

    fn poll(&mut self, _now: Micros) -> Poll {
        self.port.flash_poll();
        Poll { wake: Wake::Idle, work: Work::None }
    }

    fn poll_transmit(&mut self) -> Option<Frame> {
        self.out.pop_front()
    }

    fn handle_all_sent(&mut self, _now: Micros) {}
}

type Panel = World<Script>;

fn config(boards: u16) -> WorldConfig {
    WorldConfig::panel(boards, crate::chip::Chip::by_name("F405").unwrap(), BusSpeed::CAN_1M)
}

fn panel(boards: u16, faults: &[(u16, Fault)]) -> Panel {
    let scenario = Scenario { faults: faults.to_vec(), ..Scenario::default() };
    World::with_firmware(WorldConfig { scenario, ..config(boards) }, 1).unwrap()
}

fn powered(boards: u16, faults: &[(u16, Fault)]) -> Panel {
    let mut world = panel(boards, faults);
    let slots = world.slots().to_vec();
    world.set_power(&slots, true);
    wait(&mut world, START_UP);
    world
}

fn frame(id: u16) -> Frame {
    Frame::empty(Id::Standard(id))
}

/// Lets time pass and returns what the host saw.
fn wait(world: &mut Panel, micros: u64) -> Vec<HostEvent> {
    let until = world.now() + Span(micros);
    let mut seen = Vec::new();
    loop {
        let reached = world.advance(until);
        seen.extend(std::iter::from_fn(|| world.poll_host()));
        if reached >= until {
            return seen;
        }
    }
}

/// Slots that answer an echo, with reset cause and frames heard.
fn echo(world: &mut Panel) -> Vec<(u16, u8, u8)> {
    world.host_send(0, &frame(ECHO)).unwrap();
    answers(&wait(world, 20_000))
}

fn answers(seen: &[HostEvent]) -> Vec<(u16, u8, u8)> {
    let answer = |event: &HostEvent| match event {
        HostEvent::Received { frame, .. } => match frame.id() {
            Id::Standard(id @ 0x201..) => Some((id - 0x200, frame.data()[0], frame.data()[1])),
            _ => None,
        },
        _ => None,
    };
    seen.iter().filter_map(answer).collect()
}

fn slots_of(answers: &[(u16, u8, u8)]) -> Vec<u16> {
    answers.iter().map(|a| a.0).collect()
}

#[test]
fn boards_hear_only_after_their_start_up_time() {
    let mut world = panel(3, &[]);
    world.set_power(&[1, 2, 3], true);
    wait(&mut world, 73_400);
    world.host_send(0, &frame(ECHO)).unwrap();
    let seen = wait(&mut world, 400);
    assert!(matches!(seen[..], [HostEvent::NoAck { bus: 0, .. }]), "{seen:?}");
    let seen = wait(&mut world, 4000);
    assert_eq!(seen.iter().filter(|e| matches!(e, HostEvent::Sent { .. })).count(), 1);
    assert_eq!(slots_of(&echo(&mut world)), [1, 2, 3]);
    assert!((1..=3).all(|slot| world.board_counters(slot).unwrap().starts == 1));
}

#[test]
fn without_boards_the_adapter_turns_passive_and_says_once_that_nobody_is_there() {
    let mut world = panel(1, &[]);
    world.host_send(0, &frame(ECHO)).unwrap();
    let seen = wait(&mut world, 50_000);
    let unheard = seen.iter().filter(|e| matches!(e, HostEvent::NoAck { .. })).count();
    let passive = seen.iter().filter(|e| matches!(e, HostEvent::ErrorPassive { .. })).count();
    assert_eq!((unheard, passive, seen.len()), (1, 1, 2));
    assert!(world.bus_stats(0).unacknowledged > 500);
}

#[test]
fn code_in_flash_hears_three_frames_of_those_sent_during_an_erase() {
    let mut config = config(2);
    config.slots[1].receives_while_busy = false;
    let mut world: Panel = World::with_firmware(config, 1).unwrap();
    world.set_power(&[1, 2], true);
    wait(&mut world, START_UP);
    world.host_send(0, &frame(ERASE)).unwrap();
    wait(&mut world, 1000);
    for _ in 0..10 {
        world.host_send(0, &frame(0x400)).unwrap();
    }
    wait(&mut world, 300_000);
    let (ram, flash) = (world.board_counters(1).unwrap(), world.board_counters(2).unwrap());
    assert_eq!((ram.received, ram.overruns), (11, 0));
    assert_eq!((flash.received, flash.overruns), (4, 7));
}

#[test]
fn reading_a_busy_flash_stalls_the_processor_until_it_is_done() {
    let mut world = powered(1, &[]);
    for id in [ERASE, READ] {
        world.host_send(0, &frame(id)).unwrap();
    }
    wait(&mut world, 1000);
    for _ in 0..10 {
        world.host_send(0, &frame(0x400)).unwrap();
    }
    wait(&mut world, 300_000);
    let counters = world.board_counters(1).unwrap();
    assert_eq!((counters.stalls, counters.received, counters.overruns), (1, 5, 7));
}

#[test]
fn boards_of_one_panel_share_lot_and_wafer_and_differ_in_their_dies() {
    let world = panel(128, &[]);
    let uids: Vec<_> = (1..=128).map(|slot| world.uid(slot).unwrap().0).collect();
    assert!(uids.iter().all(|u| u[4..] == uids[0][4..]));
    let mut distinct = uids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 128);
}

#[test]
fn what_the_host_sees_is_late_by_the_adapters_latency_and_its_queue_is_short() {
    let adapter = AdapterConfig { latency: Span::from_millis(1), queue: 10 };
    let mut world: Panel = World::with_firmware(WorldConfig { adapter, ..config(1) }, 1).unwrap();
    world.set_power(&[1], true);
    wait(&mut world, START_UP);
    let start = world.now();
    for _ in 0..10 {
        world.host_send(0, &frame(0x400)).unwrap();
    }
    assert_eq!(world.host_send(0, &frame(0x400)), Err(QueueFull { bus: 0 }));
    assert_eq!(world.host_queue_free(0), 0);
    let reached = world.advance(start + Span(10_000));
    let Some(HostEvent::Sent { at, .. }) = world.poll_host() else { panic!("sent comes first") };
    let on_wire = at.since(start);
    assert!((1040..1060).contains(&on_wire.0), "{on_wire:?}: 1 ms to the adapter, one empty frame");
    assert_eq!(reached.since(at).0.abs_diff(1000), 0);
    assert_eq!(world.host_queue_free(0), 1);
    assert_eq!(wait(&mut world, 20_000).len(), 9);
    assert_eq!(world.host_queue_free(0), 10);
}

#[test]
fn what_the_adapter_has_not_sent_can_be_thrown_away() {
    let mut world = powered(1, &[]);
    for _ in 0..10 {
        world.host_send(0, &frame(0x400)).unwrap();
    }
    assert_eq!(wait(&mut world, 110).len(), 2);
    world.host_clear(0);
    assert_eq!(world.host_queue_free(0), 10);
    let seen = wait(&mut world, 10_000);
    assert!(matches!(seen[..], [HostEvent::BusError { .. }]), "{seen:?}: the frame on the bus breaks off");
    assert_eq!(slots_of(&echo(&mut world)), [1]);
}

#[test]
fn power_and_reset_are_told_apart_by_the_reset_cause() {
    let mut world = powered(2, &[]);
    world.set_reset(&[1], true);
    assert_eq!(slots_of(&echo(&mut world)), [2]);
    world.set_reset(&[1], false);
    wait(&mut world, START_UP);
    world.host_send(0, &frame(RESET)).unwrap();
    wait(&mut world, 1000);
    wait(&mut world, START_UP);
    assert!(echo(&mut world).iter().all(|a| a.1 == ResetCause::Software as u8));
    world.set_reset(&[1], true);
    world.set_power(&[1, 2], false);
    world.set_power(&[1, 2], true);
    wait(&mut world, START_UP);
    assert_eq!(slots_of(&echo(&mut world)), [2], "slot 1 is still held in reset");
    world.set_reset(&[1], false);
    wait(&mut world, START_UP);
    assert_eq!(echo(&mut world)[0].1, ResetCause::Pin as u8);
}

#[test]
fn an_application_runs_with_the_vectors_it_finds_and_goes_on_acknowledging() {
    let mut world = powered(1, &[]);
    assert!(world.preset_flash(1, PLACE, &[0, 0, 2, 0x20, 0x91, 0x40, 0, 8]));
    world.host_send(0, &frame(START)).unwrap();
    wait(&mut world, 1000);
    let application = world.application_running(1).unwrap();
    assert_eq!(
        (application.address, application.stack, application.entry),
        (PLACE, 0x2002_0000, 0x0800_4091)
    );
    assert!(echo(&mut world).is_empty());
    assert_eq!(world.bus_stats(0).unacknowledged, 0);
    world.set_power(&[1], false);
    assert!(world.application_running(1).is_none());
}

#[test]
fn a_board_without_straps_reads_its_select_line_when_it_is_asked() {
    let mut config = config(2);
    for slot in &mut config.slots {
        (slot.strap, slot.select_line) = (None, true);
    }
    let mut world: Panel = World::with_firmware(config, 1).unwrap();
    world.set_select(2, true);
    world.set_power(&[2], true);
    wait(&mut world, START_UP);
    assert_eq!(slots_of(&echo(&mut world)), [1]);
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_seed_others() {
    let run = |seed| {
        let scenario = Scenario { corruption: 0.02, loss: 0.05, ..Scenario::default() };
        let mut world: Panel = World::with_firmware(WorldConfig { scenario, ..config(21) }, seed).unwrap();
        world.record_trace();
        world.set_power(&(1..=21).collect::<Vec<_>>(), true);
        wait(&mut world, START_UP);
        for _ in 0..20 {
            echo(&mut world);
        }
        world.take_trace().to_string()
    };
    let first = run(1);
    assert!(first.lines().count() > 300 && first.contains("Noise"), "{first}");
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn buses_run_side_by_side_in_the_order_of_time() {
    let chip = crate::chip::Chip::by_name("G474").unwrap();
    let mut config = WorldConfig::panel_on(4, chip, BusSpeed::CAN_1M, 2);
    config.buses[1] = BusSpeed::CAN_500K;
    let mut world: Panel = World::with_firmware(config, 1).unwrap();
    world.set_power(&[1, 2, 3, 4], true);
    wait(&mut world, START_UP);
    world.host_send(0, &frame(ECHO)).unwrap();
    world.host_send(1, &frame(ECHO)).unwrap();
    let seen = wait(&mut world, 10_000);
    assert_eq!(answers(&seen).len(), 4);
    let times: Vec<Micros> = seen
        .iter()
        .map(|e| match e {
            HostEvent::Received { at, .. } | HostEvent::Sent { at, .. } => *at,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(times.is_sorted());
    assert_eq!(world.bus_stats(1).busy(), Span(2 * world.bus_stats(0).busy().0));
    assert_eq!(world.host_send(2, &frame(ECHO)), Err(QueueFull { bus: 2 }));
}

#[test]
fn nothing_is_due_while_nothing_happens() {
    let mut world = powered(64, &[]);
    assert_eq!(world.next_event(), None);
    assert_eq!(world.advance(Micros(10_000_000_000)), Micros(10_000_000_000));
    world.host_send(0, &frame(ECHO)).unwrap();
    assert!(world.next_event().unwrap() <= Micros(10_000_000_001));
}

#[test]
fn flash_is_found_again_by_the_next_world_that_uses_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let build = |seed| -> Panel {
        World::with_firmware(WorldConfig { flash_dir: Some(dir.path().into()), ..config(2) }, seed).unwrap()
    };
    let mut world = build(1);
    world.set_power(&[2], true);
    wait(&mut world, START_UP);
    world.host_send(0, &frame(PROGRAM)).unwrap();
    wait(&mut world, 2000);
    assert!(world.store_error().is_none());
    let uid = world.uid(2);
    drop(world);
    let world = build(2);
    assert_eq!(world.uid(2), uid, "it is the same board");
    assert_eq!(world.flash_bytes(2, PLACE, 256), Some(&[0x42; 256][..]));
    assert_eq!(world.flash_bytes(1, PLACE, 256), Some(&[0xFF; 256][..]));
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_the_slot_at_fault() {
    let build = |config| Panel::with_firmware(config, 1).map(|_| ()).unwrap_err().to_string();
    let mut twice = config(3);
    twice.slots[2].slot = 1;
    assert_eq!(build(twice), "slot 1 appears twice");
    let mut nowhere = config(3);
    nowhere.slots[1].bus = 1;
    assert_eq!(build(nowhere), "slot 2 is on bus 1, but there are 1 buses");
    assert_eq!(build(config(256)), "bus 0 has 256 boards, at most 255 are possible");
    for fault in [(9, Fault::Absent), (1, Fault::SameUid { slot: 9 })] {
        let scenario = Scenario { faults: vec![fault], ..Scenario::default() };
        let error = build(WorldConfig { scenario, ..config(3) });
        assert_eq!(error, "the scenario names slot 9, which the panel does not have");
    }
}
