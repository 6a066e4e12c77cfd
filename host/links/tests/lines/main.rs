//! Real fixture lines against simulated relay boards on pseudo-terminals, in real time.
//!
//! The boards in `boards` have decoders of their own, written from what is published about them and from
//! docs/hardware.md; they share nothing with the code under test.

#![expect(clippy::disallowed_methods, reason = "the boards live in real time, and so does the driver here")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod boards;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boards::{Controller, Lcus, Wiring};
use panel_backplane::{LineAction, LineIndex, Panel, Slot};
use panel_links::lines::{DeadMan, Lines};
use panel_links::{FixtureDriver, FixtureError, FixtureEvent, Switched};
use panel_protocol::time::Micros;

const PATIENCE: Duration = Duration::from_secs(10);

fn panel(fixture: &str) -> Panel {
    Panel::parse(&format!("name='t'\nrows=1\ncolumns=3\nbus=[{{}}]\n[fixture]\n{fixture}\n")).unwrap()
}

const fn action(line: u16, on: bool) -> LineAction {
    LineAction { line: LineIndex(line), on }
}

/// Drives the lines until the event comes.
fn until(lines: &mut Lines, start: Instant, wanted: &FixtureEvent) {
    while start.elapsed() < PATIENCE {
        let now = Micros(start.elapsed().as_micros() as u64);
        match lines.poll(now).unwrap() {
            Some(event) if event == *wanted => return,
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("{wanted:?} did not come");
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn lcus_relays_switch_and_go_off_when_the_lines_go_away() {
    let board = Lcus::new(Wiring::none());
    let panel = panel(&format!("power='lcus:{}#{{slot}}'", board.path()));
    let mut lines = Lines::open(&panel.fixture, &[]).unwrap();
    let start = Instant::now();
    for line in 0..3 {
        assert_eq!(lines.switch(Micros(0), action(line, true)), Ok(Switched::Waiting));
    }
    // Done only when the last byte of the third command can have arrived: 3 x 4 bytes at 9600 baud.
    until(&mut lines, start, &FixtureEvent::Switched(action(2, true)));
    assert!(start.elapsed() >= Duration::from_micros(12_500), "{:?}", start.elapsed());
    wait_for("three relays on", || board.on() == [1, 2, 3]);
    assert!(lines.dead_men().all(|(_, man)| man == DeadMan::Stays));
    drop(lines);
    wait_for("all relays off", || board.on().is_empty());
    assert_eq!(board.damaged(), 0);
}

#[test]
fn a_controller_confirms_each_switch_and_reports_its_inputs() {
    let board = Controller::new(8, 60_000, Wiring::none());
    let path = board.path();
    let panel = panel(&format!(
        "power='ascii-relay:{path}#{{slot}}'\nnrst='!ascii-relay:{path}#4'\ninterlock='ascii-relay:{path}#1'\n\
         start='!ascii-relay:{path}#2'"
    ));
    let mut lines = Lines::open(&panel.fixture, &[]).unwrap();
    let start = Instant::now();
    board.input(2, true);
    until(&mut lines, start, &FixtureEvent::Interlock { closed: false });
    lines.switch(Micros(0), action(1, true)).unwrap();
    until(&mut lines, start, &FixtureEvent::Switched(action(1, true)));
    assert_eq!(board.on(), [2]);
    // NRST is low when on: released is high.
    lines.switch(Micros(0), action(3, false)).unwrap();
    until(&mut lines, start, &FixtureEvent::Switched(action(3, false)));
    assert_eq!(board.on(), [2, 4]);
    board.input(1, true);
    until(&mut lines, start, &FixtureEvent::Interlock { closed: true });
    board.input(2, false);
    until(&mut lines, start, &FixtureEvent::Start);
    lines.safe().unwrap();
    assert_eq!(board.on(), [4], "power off, NRST released");
    assert!(lines.dead_men().all(|(_, man)| man == DeadMan::Watchdog { ms: 3_000 }));
}

#[test]
fn currents_come_from_outputs_that_supply_one_slot_and_can_be_measured() {
    let wiring = Wiring {
        draws: Box::new(|output| (output != 2).then_some(40 + u32::from(output))),
        ..Wiring::none()
    };
    let board = Controller::new(8, 0, wiring);
    let text = format!(
        "power='ascii-relay:{path}#{{slot}}'\n[[slot]]\nnumber=4\npower='ascii-relay:{path}#5'\n\
         [[slot]]\nnumber=5\npower='ascii-relay:{path}#5'\n[[slot]]\nnumber=6\npower='manual:its own supply'",
        path = board.path()
    );
    let panel =
        Panel::parse(&format!("name='t'\nrows=2\ncolumns=3\nbus=[{{}}]\n[fixture]\n{text}\n")).unwrap();
    let mut lines = Lines::open(&panel.fixture, &[]).unwrap();
    let slots: Vec<Slot> = panel.slots.iter().map(|s| s.slot).collect();
    assert_eq!(lines.sense(Micros(0), &slots).unwrap(), None, "it takes a while");
    let mut wanted: Vec<(Slot, Option<u32>)> = slots.iter().map(|s| (*s, None)).collect();
    // The second output has no shunt, the next two slots share one, the last is the operator's.
    (wanted[0].1, wanted[2].1) = (Some(41), Some(43));
    until(&mut lines, Instant::now(), &FixtureEvent::Currents(wanted));
    let shared = lines.sense(Micros(0), &slots[3..]).unwrap();
    assert_eq!(shared, Some(vec![(Slot(4), None), (Slot(5), None), (Slot(6), None)]), "nothing to wait for");
}

#[test]
fn a_controller_that_falls_silent_is_named_with_the_command_it_left_unanswered() {
    let board = Controller::new(8, 0, Wiring::none());
    let panel = panel(&format!("power='ascii-relay:{}#{{slot}}'", board.path()));
    let mut lines = Lines::open(&panel.fixture, &[]).unwrap();
    let start = Instant::now();
    board.silence();
    lines.switch(Micros(0), action(0, true)).unwrap();
    let error = loop {
        match lines.poll(Micros(start.elapsed().as_micros() as u64)) {
            Ok(event) => assert_eq!(event, None),
            Err(error) => break error,
        }
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    };
    let FixtureError::Silent { command, tries, .. } = &error else { panic!("{error}") };
    assert_eq!((command.as_str(), *tries), ("SET 1 1", 3));
    // And the way out does not wait for it for ever.
    let start = Instant::now();
    assert!(matches!(lines.safe(), Err(FixtureError::Silent { .. })));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_channel_that_the_controller_does_not_have_is_refused_before_anything_is_switched() {
    let board = Controller::new(2, 0, Wiring::none());
    let panel = panel(&format!("power='ascii-relay:{}#{{slot}}'", board.path()));
    let error = Lines::open(&panel.fixture, &[]).err().unwrap().to_string();
    assert!(error.ends_with("#3: the controller has only 2 outputs"), "{error}");
}

#[test]
fn a_port_that_is_not_there_is_named_with_its_line() {
    let panel = panel("power='lcus:/dev/no-such-port#{slot}'");
    let error = Lines::open(&panel.fixture, &[]).err().unwrap().to_string();
    assert_eq!(error, "lcus:/dev/no-such-port: /dev/no-such-port: no such port");
}

/// The name under which the next test starts itself as the program that is killed.
const CHILD: &str = "PANEL_LINES_KILLED_CHILD";

#[test]
fn killed_outright_a_watchdog_switches_off_and_a_plain_relay_board_does_not() {
    if let Some(ports) = std::env::var_os(CHILD) {
        hold_power(&ports.to_string_lossy());
    }
    let (watched, plain) = (Controller::new(8, 300, Wiring::none()), Lcus::new(Wiring::none()));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_outright_a_watchdog_switches_off_and_a_plain_relay_board_does_not"])
        .env(CHILD, format!("{} {}", watched.path(), plain.path()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("power on", || watched.on() == [1] && plain.on() == [1]);
    // As long as the program lives it feeds the watchdog, whose time is 300 ms here.
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(watched.on(), [1]);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the watchdog", || watched.on().is_empty());
    assert_eq!(plain.on(), [1], "nothing tells such a board that its host is gone");
}

/// The name under which the next test starts itself as the program that has a bug.
const PANICKING: &str = "PANEL_LINES_PANICKING_CHILD";

#[test]
fn a_panic_switches_power_off_before_the_program_ends_without_help_of_a_watchdog() {
    if let Some(ports) = std::env::var_os(PANICKING) {
        let ports = ports.to_string_lossy().into_owned();
        let mut fixtures = powered(&ports);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            fixtures
                .iter_mut()
                .for_each(|lines| _ = lines.poll(Micros(start.elapsed().as_micros() as u64)).unwrap());
        }
        panic!("as a bug would");
    }
    let (unwatched, plain) = (Controller::new(8, 0, Wiring::none()), Lcus::new(Wiring::none()));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_panic_switches_power_off_before_the_program_ends_without_help_of_a_watchdog"])
        .env(PANICKING, format!("{} {}", unwatched.path(), plain.path()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("power on", || unwatched.on() == [1] && plain.on() == [1]);
    assert_eq!(child.wait().unwrap().code(), Some(101), "it panicked");
    assert!(unwatched.on().is_empty());
    wait_for("the bytes to a board that does not answer", || plain.on().is_empty());
}

/// Switches slot 1 on by either board, and lives on until it is killed.
fn hold_power(ports: &str) -> ! {
    let mut fixtures = powered(ports);
    let start = Instant::now();
    loop {
        for lines in &mut fixtures {
            lines.poll(Micros(start.elapsed().as_micros() as u64)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn powered(ports: &str) -> [Lines; 2] {
    let (controller, plain) = ports.split_once(' ').unwrap();
    assert!(Path::new(plain).exists());
    let both =
        [format!("power='ascii-relay:{controller}#{{slot}}'"), format!("power='lcus:{plain}#{{slot}}'")];
    let mut fixtures = both.map(|text| Lines::open(&panel(&text).fixture, &[]).unwrap());
    for lines in &mut fixtures {
        lines.switch(Micros(0), action(0, true)).unwrap();
    }
    fixtures
}
