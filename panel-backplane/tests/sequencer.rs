//! The order and the waits of fixture lines.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use panel_backplane::{
    Bus, BusKind, LineFunction, Output, Panel, Request, RequestError, Sequencer, Slot, SlotPower, Wait,
    safe_state, units::BitRate,
};
use panel_protocol::time::{Micros, Span};
use proptest::prelude::*;

fn panel(columns: u16) -> Panel {
    Panel::grid(1, columns, vec![Bus::simulated("a", BusKind::Classical, BitRate::M1)]).unwrap()
}

fn slots(range: std::ops::RangeInclusive<u16>) -> Vec<Slot> {
    range.map(Slot).collect()
}

/// A sequencer with the line actions so far as text, and the time that passed.
struct Rig {
    panel: Panel,
    sequencer: Sequencer,
    now: Micros,
    log: Vec<String>,
}

impl Rig {
    fn new(panel: Panel) -> Self {
        let sequencer = Sequencer::new(&panel, Micros::ZERO);
        let mut rig = Self { panel, sequencer, now: Micros::ZERO, log: Vec::new() };
        assert_eq!(rig.drain(), Output::Idle);
        rig.log.clear();
        rig
    }

    /// Polls until the sequencer waits or is idle, without letting time pass; every line moves at once.
    fn drain(&mut self) -> Output {
        loop {
            match self.sequencer.poll(self.now) {
                Output::Line(action) => {
                    let wire = &self.panel.line(action.line).unwrap().wire;
                    let level = if action.on { "on" } else { "off" };
                    self.log.push(format!("{} {wire} {level}", self.now.0));
                    self.sequencer.switched(action, self.now);
                }
                Output::Done(id) => self.log.push(format!("{} done {}", self.now.0, id.0)),
                output => return output,
            }
        }
    }

    fn run(&mut self) {
        while let Output::Wait { until, .. } = self.drain() {
            assert!(until > self.now, "a wait that is over");
            self.now = until;
        }
    }

    fn ask(&mut self, request: Request) {
        self.sequencer.request(request).unwrap();
    }
}

#[test]
fn it_begins_with_the_safe_state_in_its_order() {
    let panel = panel(2);
    let mut sequencer = Sequencer::new(&panel, Micros::ZERO);
    let mut functions = Vec::new();
    while let Output::Line(action) = sequencer.poll(Micros::ZERO) {
        assert!(!action.on);
        functions.push(panel.line(action.line).unwrap().function);
    }
    use LineFunction::{Boot0, Nrst, Power, Select};
    assert_eq!(functions, [Power, Power, Boot0, Boot0, Select, Select, Nrst, Nrst]);
    assert_eq!(safe_state(&panel.fixture).len(), 8);
    assert_eq!(sequencer.power(Slot(1)), Some(SlotPower::Off { since: Micros::ZERO }));
}

#[test]
fn power_comes_on_in_groups_after_the_discharge_time() {
    let mut panel = panel(5);
    panel.fixture.timing.inrush_slots = 2;
    let mut rig = Rig::new(panel);
    rig.ask(Request::PowerOn(slots(1..=5)));
    rig.run();
    let expected = [
        "50000 sim:power/1 on",
        "50000 sim:power/2 on",
        "52000 sim:power/3 on",
        "52000 sim:power/4 on",
        "54000 sim:power/5 on",
        "59000 done 0",
    ];
    assert_eq!(rig.log, expected);
    assert_eq!(rig.sequencer.powered().count(), 5);
    assert_eq!(rig.panel.power_on_time(), Span(59_000));
}

#[test]
fn a_fixture_that_failed_is_switched_off_without_waiting_for_its_answers() {
    let text = "name='r'\nrows=1\ncolumns=2\nbus=[{}]\n[fixture]\npower='ascii-relay:/dev/f#{slot}'\n";
    let mut sequencer = Sequencer::new(&Panel::parse(text).unwrap(), Micros::ZERO);
    assert!(matches!(sequencer.poll(Micros::ZERO), Output::Line(_)));
    assert!(matches!(sequencer.poll(Micros::ZERO), Output::Line(_)));
    assert!(matches!(sequencer.poll(Micros::ZERO), Output::Switching(_)));
    sequencer.stop_waiting();
    let safe = sequencer.request(Request::Safe).unwrap();
    for _ in 0..2 {
        assert!(matches!(sequencer.poll(Micros::ZERO), Output::Line(action) if !action.on));
    }
    assert_eq!(sequencer.poll(Micros::ZERO), Output::Done(safe));
    assert_eq!(sequencer.poll(Micros::ZERO), Output::Idle);
}

#[test]
fn multiplexers_are_set_together_and_count_after_the_settle_time() {
    let text = "name='m'\nrows=2\ncolumns=3\nport='/dev/r{row}'\nways=['rom-uart']\n[fixture]\n\
                mux=['gpio:b/A', 'gpio:b/B', 'gpio:b/C{row}']\nline_settle='3 ms'\n\
                [[slot]]\nnumber=3\nchannel=6\n";
    let mut rig = Rig::new(Panel::parse(text).unwrap());
    rig.ask(Request::Mux(vec![Slot(2), Slot(5)]));
    rig.run();
    assert_eq!(rig.log, ["0 gpio:b/A on", "3000 done 0"], "channel 1 of both");
    rig.log.clear();
    rig.ask(Request::Mux(vec![Slot(3), Slot(6)]));
    rig.run();
    // Channel 6 here and 2 there: the lines that they share agree.
    assert_eq!(rig.log, ["3000 gpio:b/A off", "3000 gpio:b/B on", "3000 gpio:b/C1 on", "6000 done 1"]);
    rig.log.clear();
    rig.ask(Request::Safe);
    rig.run();
    assert_eq!(rig.log.last().unwrap(), "6000 done 2");
    assert!(rig.log[..4].iter().all(|l| l.ends_with("off")), "{:?}", rig.log);
    let none = rig.sequencer.request(Request::Boot0 { slots: vec![Slot(1)], on: true });
    assert_eq!(none, Err(RequestError::NoLine { slot: Slot(1), function: LineFunction::Boot0 }));
}

#[test]
fn power_off_overtakes_a_power_on_in_progress() {
    let mut panel = panel(4);
    panel.fixture.timing.inrush_slots = 1;
    let mut rig = Rig::new(panel);
    rig.ask(Request::PowerOn(slots(1..=4)));
    rig.drain();
    rig.now = Micros(50_000);
    assert_eq!(rig.drain(), Output::Wait { until: Micros(52_000), why: Wait::Stagger });
    rig.log.clear();
    rig.ask(Request::PowerOff(slots(1..=2)));
    rig.now = Micros(50_100);
    rig.drain();
    assert_eq!(rig.log, ["50100 sim:power/1 off", "50100 sim:power/2 off", "50100 done 1"]);
    rig.run();
    let powered: Vec<Slot> = rig.sequencer.powered().collect();
    assert_eq!(powered, slots(3..=4));
    assert!(!rig.log.iter().any(|l| l.ends_with("power/1 on") || l.ends_with("power/2 on")), "{:?}", rig.log);
}

#[test]
fn a_board_switched_off_stays_off_for_the_discharge_time() {
    let mut rig = Rig::new(panel(1));
    rig.ask(Request::PowerOn(slots(1..=1)));
    rig.run();
    rig.log.clear();
    rig.now = Micros(1_000_000);
    rig.ask(Request::PowerOff(slots(1..=1)));
    rig.ask(Request::PowerOn(slots(1..=1)));
    rig.run();
    assert_eq!(
        rig.log,
        ["1000000 sim:power/1 off", "1000000 done 1", "1050000 sim:power/1 on", "1055000 done 2"]
    );
}

#[test]
fn slots_on_one_power_line_come_and_go_together() {
    let text = "name='g'\nrows=2\ncolumns=3\nbus=[{}]\n[fixture]\npower='sim:row{row}'\ninrush_slots=4\n";
    let mut rig = Rig::new(Panel::parse(text).unwrap());
    rig.ask(Request::PowerOn(slots(1..=6)));
    rig.run();
    // Three slots a line, four at a time: one line at a time.
    assert_eq!(rig.log, ["50000 sim:row1 on", "52000 sim:row2 on", "57000 done 0"]);
    rig.ask(Request::PowerOff(vec![Slot(5)]));
    rig.run();
    assert_eq!(rig.sequencer.powered().collect::<Vec<_>>(), slots(1..=3));
}

#[test]
fn a_reset_is_a_pulse_and_boot0_is_set_before_it() {
    let mut rig = Rig::new(panel(2));
    rig.ask(Request::Boot0 { slots: slots(1..=1), on: true });
    rig.ask(Request::Reset(slots(1..=2)));
    rig.run();
    let expected = [
        "0 sim:boot0/1 on",
        "1000 done 0",
        "1000 sim:nrst/1 on",
        "1000 sim:nrst/2 on",
        "2000 sim:nrst/1 off",
        "2000 sim:nrst/2 off",
        "2000 done 1",
    ];
    assert_eq!(rig.log, expected);
}

#[test]
fn one_slot_is_selected_at_a_time() {
    let mut rig = Rig::new(panel(3));
    rig.ask(Request::Select(Some(Slot(1))));
    rig.ask(Request::Select(Some(Slot(3))));
    rig.ask(Request::Select(None));
    rig.run();
    rig.log.retain(|l| !l.contains("done"));
    assert_eq!(
        rig.log,
        ["0 sim:select/1 on", "1000 sim:select/1 off", "1000 sim:select/3 on", "2000 sim:select/3 off"]
    );
}

/// Relay boards and operators take their time; this panel has one of each.
fn slow_panel() -> Panel {
    let text = "name='s'\nrows=1\ncolumns=2\nbus=[{}]\n[fixture]\npower='lcus:/dev/r#{slot}'\n\
                boot0='manual:the BOOT switch'\n";
    Panel::parse(text).unwrap()
}

/// The first actions of a sequencer of that panel: everything off, said to be done at `now`.
fn slow_and_safe(panel: &Panel, now: Micros) -> Sequencer {
    let mut sequencer = Sequencer::new(panel, Micros::ZERO);
    let mut asked = Vec::new();
    while let Output::Line(action) = sequencer.poll(Micros::ZERO) {
        asked.push(action);
    }
    assert_eq!(asked.len(), 3);
    for action in asked {
        assert_eq!(sequencer.poll(now), Output::Switching(action.line));
        sequencer.switched(action, now);
    }
    assert_eq!(sequencer.poll(now), Output::Idle);
    sequencer
}

#[test]
fn settle_times_begin_when_a_relay_board_says_that_it_has_switched() {
    let panel = slow_panel();
    let mut sequencer = slow_and_safe(&panel, Micros(10_000));
    let id = sequencer.request(Request::PowerOn(slots(1..=2))).unwrap();
    // The discharge counts from the relays, not from the command.
    let until = Micros(60_000);
    assert_eq!(sequencer.poll(Micros(50_000)), Output::Wait { until, why: Wait::Discharge });
    let mut on = Vec::new();
    while let Output::Line(action) = sequencer.poll(until) {
        on.push(action);
    }
    assert_eq!(on.len(), 2, "the whole group is under way at once");
    sequencer.switched(on[0], Micros(64_000));
    assert_eq!(sequencer.poll(Micros(66_000)), Output::Switching(on[1].line), "and all of it is waited for");
    sequencer.switched(on[1], Micros(68_000));
    let until = Micros(73_000);
    assert_eq!(sequencer.poll(Micros(68_000)), Output::Wait { until, why: Wait::PowerSettle });
    assert_eq!(sequencer.poll(until), Output::Done(id));
    assert_eq!(sequencer.power(Slot(2)), Some(SlotPower::On { since: Micros(68_000) }));
}

#[test]
fn an_overtaken_switch_is_not_taken_for_the_one_that_overtook_it() {
    let panel = slow_panel();
    let mut sequencer = slow_and_safe(&panel, Micros::ZERO);
    sequencer.request(Request::PowerOn(slots(1..=1))).unwrap();
    let Output::Line(on) = sequencer.poll(Micros(50_000)) else { panic!("no line") };
    sequencer.request(Request::PowerOff(slots(1..=1))).unwrap();
    let Output::Line(off) = sequencer.poll(Micros(51_000)) else { panic!("no line") };
    assert!(on.on && !off.on);
    sequencer.switched(on, Micros(54_000));
    assert_eq!(sequencer.poll(Micros(54_000)), Output::Switching(off.line));
    sequencer.switched(off, Micros(58_000));
    assert_eq!(sequencer.power(Slot(1)), Some(SlotPower::Off { since: Micros(58_000) }));
}

#[test]
fn an_operator_is_waited_for_without_end_but_not_when_everything_closes() {
    let panel = slow_panel();
    let mut sequencer = slow_and_safe(&panel, Micros::ZERO);
    sequencer.request(Request::Boot0 { slots: slots(1..=2), on: true }).unwrap();
    let Output::Line(boot) = sequencer.poll(Micros::ZERO) else { panic!("no line") };
    assert_eq!(sequencer.poll(Micros(3_600_000_000)), Output::Switching(boot.line));
    let safe = sequencer.request(Request::Safe).unwrap();
    let mut relays = Vec::new();
    while let Output::Line(action) = sequencer.poll(Micros(3_600_000_000)) {
        relays.extend((action.line != boot.line).then_some(action));
    }
    // The relay boards are waited for to the end, the operator only told.
    for relay in relays {
        assert_eq!(sequencer.poll(Micros(3_600_010_000)), Output::Switching(relay.line));
        sequencer.switched(relay, Micros(3_600_010_000));
    }
    assert_eq!(sequencer.poll(Micros(3_600_010_000)), Output::Done(safe));
}

#[test]
fn the_safe_state_drops_everything_else() {
    let mut rig = Rig::new(panel(2));
    rig.ask(Request::HoldReset(slots(1..=1)));
    rig.ask(Request::PowerOn(slots(1..=2)));
    rig.drain();
    rig.log.clear();
    rig.ask(Request::Safe);
    assert_eq!(rig.drain(), Output::Idle);
    assert_eq!(rig.log.len(), 9);
    assert_eq!(rig.log.last().unwrap(), "0 done 2");
    assert_eq!(rig.sequencer.powered().count(), 0);
}

#[test]
fn requests_that_cannot_be_are_refused_whole() {
    let mut panel = panel(2);
    panel.mark_bad(&[Slot(2)]).unwrap();
    let mut sequencer = Sequencer::new(&panel, Micros::ZERO);
    let refused = sequencer.request(Request::PowerOn(slots(1..=2)));
    assert_eq!(refused, Err(RequestError::MarkedBad { slot: Slot(2) }));
    let refused = sequencer.request(Request::PowerOff(slots(3..=3)));
    assert_eq!(refused, Err(RequestError::UnknownSlot { slot: Slot(3) }));

    let bare = Panel::parse("name='b'\nrows=1\ncolumns=1\nbus=[{link='socketcan:can0'}]\n").unwrap();
    let mut sequencer = Sequencer::new(&bare, Micros::ZERO);
    assert_eq!(sequencer.power(Slot(1)), Some(SlotPower::Unswitched));
    let refused = sequencer.request(Request::Reset(slots(1..=1)));
    assert_eq!(refused, Err(RequestError::NoLine { slot: Slot(1), function: LineFunction::Nrst }));
    let id = sequencer.request(Request::PowerOn(slots(1..=1))).unwrap();
    assert_eq!(sequencer.poll(Micros::ZERO), Output::Done(id), "a board with power of its own is on at once");
    assert_eq!(bare.power_on_time(), Span::ZERO);
}

fn request() -> impl Strategy<Value = Request> {
    let some =
        || prop::collection::btree_set(1_u16..=6, 0..6).prop_map(|s| s.into_iter().map(Slot).collect());
    prop_oneof![
        3 => some().prop_map(Request::PowerOn),
        3 => some().prop_map(Request::PowerOff),
        1 => some().prop_map(Request::Reset),
        1 => (some(), any::<bool>()).prop_map(|(slots, on)| Request::Boot0 { slots, on }),
        1 => prop::option::of((1_u16..=6).prop_map(Slot)).prop_map(Request::Select),
        1 => Just(Request::Safe),
    ]
}

proptest! {
    /// The rules of the sequencer hold whatever is asked for at whatever time.
    #[test]
    fn power_is_staggered_and_discharged_whatever_is_asked(asked in prop::collection::vec((request(), 0_u64..80_000), 1..12)) {
        let mut panel = panel(6);
        panel.fixture.timing.inrush_slots = 2;
        let timing = panel.fixture.timing;
        let mut sequencer = Sequencer::new(&panel, Micros::ZERO);
        let mut now = Micros::ZERO;
        let mut off_since = [Micros::ZERO; 6];
        let mut switched_on: Vec<Micros> = Vec::new();
        for (request, pause) in asked {
            sequencer.request(request).unwrap();
            let until = now + Span(pause);
            loop {
                match sequencer.poll(now) {
                    Output::Line(action) => {
                        let line = panel.line(action.line).unwrap();
                        if line.function == LineFunction::Power {
                            let i = usize::from(line.slots[0].0) - 1;
                            if action.on {
                                prop_assert!(now.since(off_since[i]) >= timing.discharge);
                                switched_on.push(now);
                            } else if sequencer.power(line.slots[0]) == Some(SlotPower::Off { since: now }) {
                                off_since[i] = now;
                            }
                        }
                    }
                    Output::Done(_) => {}
                    Output::Wait { until: wake, .. } if wake <= until => {
                        prop_assert!(wake > now);
                        now = wake;
                    }
                    Output::Wait { .. } | Output::Switching(_) | Output::Idle => break,
                }
            }
            now = until;
        }
        for window in switched_on.windows(3) {
            prop_assert!(window[2].since(window[0]) >= timing.stagger, "three slots at once: {window:?}");
        }
    }
}
