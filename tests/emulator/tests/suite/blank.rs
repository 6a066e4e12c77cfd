//! Blank boards by one run: the agent that is kept in `panel-backplane/agents` goes in through the ROM, runs on the emulated
//! processor, and gives its board bootloader and application; after power-on the bootloader starts that by itself.

use panel_backplane::{Binding, Port, Way};
use panel_emulator::Program;
use panel_engine::{Event, Finishing, SlotState};
use panel_protocol::time::Span;
use panel_simulator::RomLink;

use crate::tools::{F103, F405, G0B1, G431, G474, Kit, Station, all_pass};

/// Blank boards that are given the agent by this way.
fn blank(kit: &Kit, count: u8, way: Way) -> Station {
    let mut station = in_rom(kit, count, way);
    station.panel.binding = Binding::Straps;
    station.ways.agent = Some(kit.agent());
    station
}

/// Blank boards that are reached by this way.
fn in_rom(kit: &Kit, count: u8, way: Way) -> Station {
    let link = match way {
        Way::RomFdcanAgent => RomLink::Fdcan,
        _ if way.needs_port() => RomLink::Uart,
        _ => RomLink::Can,
    };
    let boards = (1..=count).map(|n| {
        let mut board = kit.board(n);
        assert!(board.fit_rom(link));
        board
    });
    let mut station = Station::with(kit, boards.collect());
    reach(&mut station, way);
    station
}

/// From now on boards are reached by this way.
fn reach(station: &mut Station, way: Way) {
    for slot in &mut station.panel.slots {
        slot.ways = vec![way];
        slot.port = way.needs_port().then_some(Port::Sim);
    }
    station.ways.of = station.panel.slots.iter().map(|s| (s.slot, way)).collect();
}

/// Bootloader and application as one image.
fn whole(kit: &Kit, version: &str, ballast: usize) -> Program {
    let (mut whole, application) = (kit.bootloader(), kit.application(version, ballast));
    whole.segments.extend(application.segments);
    whole
}

/// Switches every board on and has it start its application.
fn start_all(station: &mut Station, version: &str) {
    let slots: Vec<u16> = (1..=station.boards.len() as u16).collect();
    station.world.set_boot0(&slots, false);
    station.world.set_power(&slots, true);
    panel_emulator::station::wait(&mut station.world, Span::from_millis(1000));
    for fitted in &station.boards {
        let mut board = fitted.board();
        let said = String::from_utf8(board.usart(1).take_sent()).unwrap();
        assert!(said.ends_with(&format!("application {version}\r\n")), "{said:?}, {:?}", board.faults());
        assert_eq!(board.complaints(), []);
    }
}

#[test]
fn blank_f405_boards_get_bootloader_and_application_through_the_agent_and_their_own_ports() {
    filled(&F405, 4, Way::RomUartAgent);
}

#[test]
fn blank_f405_boards_get_bootloader_and_application_through_the_agent_and_their_shared_bus() {
    filled(&F405, 4, Way::RomCanAgent);
}

#[test]
fn blank_f103_boards_get_bootloader_and_application_through_the_agent_and_their_own_ports() {
    filled(&F103, 2, Way::RomUartAgent);
}

#[test]
fn blank_g474_boards_get_bootloader_and_application_through_the_agent_and_their_own_ports() {
    filled(&G474, 2, Way::RomUartAgent);
}

#[test]
fn blank_g0b1_boards_get_bootloader_and_application_through_the_agent_and_their_own_ports() {
    filled(&G0B1, 2, Way::RomUartAgent);
}

#[test]
fn blank_g0b1_boards_get_bootloader_and_application_through_the_agent_and_their_shared_bus() {
    filled(&G0B1, 2, Way::RomFdcanAgent);
}

/// Their ROM leaves no RAM for an agent, so they take two runs.
#[test]
fn blank_g431_boards_get_their_bootloader_through_their_rom_and_by_that_their_application() {
    let mut station = in_rom(&G431, 2, Way::RomUart);
    let reports = station.program(&G431.bootloader(), false);
    all_pass(&station, &reports);
    let bootloader_ms = station.now().0 / 1000;
    reach(&mut station, Way::Multidrop);
    let reports = station.program(&G431.application("1.0", 20_000), false);
    all_pass(&station, &reports);
    println!(
        "measured: 2 blank g431 boards: bootloader by {} after {bootloader_ms} ms, application by {} after {} ms",
        Way::RomUart,
        Way::Multidrop,
        station.now().0 / 1000
    );
    start_all(&mut station, "1.0");
}

fn filled(kit: &Kit, count: u8, way: Way) {
    let mut station = blank(kit, count, way);
    let image = whole(kit, "1.0", 20_000);
    let reports = station.program(&image, false);
    all_pass(&station, &reports);
    println!("measured: {count} blank {} boards by {way} in {} ms", kit.name, station.now().0 / 1000);
    start_all(&mut station, "1.0");
}

fn cut(station: &mut Station, image: &Program, reached: impl Fn(&Station, &[Event]) -> bool) {
    let mut run = station.begin(image, false, Finishing::default());
    let mut events = Vec::new();
    while !reached(station, &events) {
        assert!(!run.is_finished(), "{:?}", run.reports());
        events.extend(panel_emulator::station::drive(&mut run, &mut station.world, Span::from_millis(5)));
    }
    let slots: Vec<u16> = (1..=station.boards.len() as u16).collect();
    station.world.set_power(&slots, false);
    station.world.host_clear(0);
    panel_emulator::station::wait(&mut station.world, Span::from_millis(50));
}

#[test]
fn power_that_goes_while_agents_are_loaded_and_while_the_image_is_sent_costs_another_run_and_nothing_else() {
    let mut station = blank(&F405, 2, Way::RomCanAgent);
    let image = whole(&F405, "2.0", 9000);
    // The second board's agent is half there, and the first one's waits.
    cut(&mut station, &image, |_, events| {
        let half =
            |e: &Event| matches!(e, Event::State { slot, state: SlotState::Loading(50..) } if slot.0 == 2);
        events.iter().any(half)
    });
    assert!(station.boards.iter().all(|b| b.board().flash_mut().take_journal().is_empty()));
    // The image is on its way: the bootloader's sector is half written.
    cut(&mut station, &image, |station, _| {
        station.boards.iter().any(|b| b.board().flash().data()[0x2000] != 0xFF)
    });
    let reports = station.program(&image, false);
    all_pass(&station, &reports);
    start_all(&mut station, "2.0");
}
