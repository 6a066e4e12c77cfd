//! The lines of a real fixture: each line of panel.toml finds its device, devices are opened once.
//!
//! Invariant: a [`Lines`] that goes away, also while a panic unwinds, leaves every line that it can reach in its safe
//! state. Lines that it cannot reach any more because the program was killed follow [`Lines::dead_men`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use panel_backplane::{
    Connection, Fixture, Input, InputSource, Inputs, Line, LineAction, LineFunction, LineIndex, Slot,
    safe_state,
};
use panel_protocol::time::Micros;

use super::controller::Controller;
use super::device::{Channel, DeadMan, Device, Patience};
use super::gpio::{self, Wanted};
use super::lcus::LcusBoard;
use super::modem::{self, ModemLines};
use super::sensing::{Currents, Output, Sensing};
use super::watch::{self, Watch};
use super::{FixtureDriver, FixtureError, FixtureEvent, Switched};
use crate::SerialLink;

/// How long relay boards may keep the way out waiting, all lines together.
const WAY_OUT_MS: u32 = 1_000;

/// Where a line is connected, among the opened devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Device(usize, Channel),
    Operator,
}

/// The lines of one real fixture.
pub struct Lines {
    fixture: Fixture,
    places: Vec<Place>,
    devices: Vec<Box<dyn Device>>,
    /// What the operator still has to do; the first of them was asked if `asked`.
    questions: VecDeque<LineAction>,
    asked: bool,
    /// What the operator said that he switched on.
    by_hand: BTreeSet<LineIndex>,
    /// Some line may not be in its safe level.
    touched: bool,
    inputs: Vec<Sensed>,
    look_at: Micros,
    sensing: Sensing,
    events: VecDeque<FixtureEvent>,
}

/// Which input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Interlock,
    Start,
}

/// An input, among the opened devices.
struct Sensed {
    role: Role,
    device: usize,
    channel: Channel,
    active_low: bool,
    watch: Watch,
}

impl Lines {
    /// Opens everything that the lines of `fixture` name. Ports that are open already as `links` are shared with
    /// them. Nothing is switched, but opening a port raises its RTS and DTR for a moment.
    ///
    /// # Errors
    /// [`FixtureError::Open`], and what a fixture controller answers.
    pub fn open(fixture: &Fixture, links: &[&SerialLink]) -> Result<Self, FixtureError> {
        let mut opener = Opener { links, devices: Vec::new(), ports: BTreeMap::new(), chips: chips(fixture) };
        let places = fixture.lines.iter().map(|line| opener.place(line)).collect::<Result<_, _>>()?;
        let inputs =
            inputs(fixture).map(|(role, input)| opener.input(role, input)).collect::<Result<_, _>>()?;
        Ok(Self::new(fixture, places, opener.devices, inputs))
    }

    fn new(
        fixture: &Fixture,
        places: Vec<Place>,
        devices: Vec<Box<dyn Device>>,
        inputs: Vec<Sensed>,
    ) -> Self {
        Self {
            fixture: fixture.clone(),
            places,
            devices,
            questions: VecDeque::new(),
            asked: false,
            by_hand: BTreeSet::new(),
            // What the lines were before is unknown.
            touched: true,
            inputs,
            look_at: Micros::ZERO,
            sensing: Sensing::default(),
            events: VecDeque::new(),
        }
    }

    /// What becomes of each line when the program dies without a word.
    pub fn dead_men(&self) -> impl Iterator<Item = (&Line, DeadMan)> {
        self.fixture.lines.iter().zip(&self.places).map(|(line, place)| match *place {
            Place::Device(device, _) => (line, self.devices[device].dead_man()),
            Place::Operator => (line, DeadMan::Operator),
        })
    }

    /// Reads the inputs, if it is time.
    fn look(&mut self, now: Micros) -> Result<(), FixtureError> {
        if self.inputs.is_empty() || now < self.look_at {
            return Ok(());
        }
        self.look_at = watch::next(now);
        for input in &mut self.inputs {
            let Some(high) = self.devices[input.device].read(now, input.channel)? else { continue };
            let active = high != input.active_low;
            self.events.extend(match input.role {
                Role::Interlock => watch::interlock(&mut input.watch, active),
                Role::Start => watch::start(&mut input.watch, active),
            });
        }
        Ok(())
    }

    /// The output that supplies this slot and no other.
    fn own_power(&self, slot: Slot) -> Option<Output> {
        let lines = self.fixture.lines.iter().zip(&self.places);
        let mut power =
            lines.filter(|(line, _)| line.function == LineFunction::Power && line.slots == [slot]);
        match power.next() {
            Some((_, Place::Device(device, channel))) => Some((*device, *channel)),
            _ => None,
        }
    }

    fn high(&self, action: LineAction) -> bool {
        action.on != self.fixture.lines[action.line.index()].wire.active_low
    }

    fn ask(&self, action: LineAction) -> String {
        let to = if action.on { "on" } else { "off" };
        format!("switch {to}: {}", self.describe(action.line))
    }

    fn describe(&self, line: LineIndex) -> String {
        let line = &self.fixture.lines[line.index()];
        let Connection::Manual(what) = &line.wire.connection else { return String::new() };
        let slots: Vec<String> = line.slots.iter().map(Slot::to_string).collect();
        format!("{what} ({} of slots {})", line.function.name(), slots.join(", "))
    }
}

impl FixtureDriver for Lines {
    fn switch(&mut self, now: Micros, action: LineAction) -> Result<Switched, FixtureError> {
        self.touched |= action.on;
        match self.places[action.line.index()] {
            Place::Device(device, channel) => {
                let high = self.high(action);
                self.devices[device].set(now, channel, high)
            }
            Place::Operator => {
                self.questions.push_back(action);
                Ok(Switched::Waiting)
            }
        }
    }

    fn poll(&mut self, now: Micros) -> Result<Option<FixtureEvent>, FixtureError> {
        self.look(now)?;
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        for (n, device) in self.devices.iter_mut().enumerate() {
            if let Some((channel, high)) = device.poll(now)? {
                let line =
                    self.places.iter().position(|p| *p == Place::Device(n, channel)).unwrap_or_default();
                let on = high != self.fixture.lines[line].wire.active_low;
                // At most 1024 slots of five lines.
                let line = LineIndex(line as u16);
                return Ok(Some(FixtureEvent::Switched(LineAction { line, on })));
            }
            while let Some((channel, milliamperes)) = device.poll_current() {
                self.sensing.measured((n, channel), milliamperes);
            }
        }
        if let Some(currents) = self.sensing.answer() {
            return Ok(Some(FixtureEvent::Currents(currents)));
        }
        let question = self.questions.front().copied().filter(|_| !self.asked);
        self.asked |= question.is_some();
        Ok(question.map(|action| FixtureEvent::Ask(self.ask(action))))
    }

    fn next_timeout(&self) -> Option<Micros> {
        let question = (!self.questions.is_empty() && !self.asked).then_some(Micros::ZERO);
        let look = (!self.inputs.is_empty()).then_some(self.look_at);
        self.devices.iter().filter_map(|d| d.next_timeout()).chain(question).chain(look).min()
    }

    fn confirm(&mut self) -> Option<LineAction> {
        if !core::mem::take(&mut self.asked) {
            return None;
        }
        let done = self.questions.pop_front()?;
        match done {
            LineAction { line, on: true } => self.by_hand.insert(line),
            LineAction { line, on: false } => self.by_hand.remove(&line),
        };
        Some(done)
    }

    fn left_on(&self) -> Vec<String> {
        self.by_hand.iter().map(|line| format!("switch off now: {}", self.describe(*line))).collect()
    }

    fn sense(&mut self, now: Micros, slots: &[Slot]) -> Result<Option<Currents>, FixtureError> {
        let mut awaited: BTreeMap<Output, Slot> = BTreeMap::new();
        for &slot in slots {
            if let Some((device, channel)) = self.own_power(slot)
                && self.devices[device].measure(now, channel)?
            {
                awaited.insert((device, channel), slot);
            }
        }
        if awaited.is_empty() {
            return Ok(Some(slots.iter().map(|&slot| (slot, None)).collect()));
        }
        self.sensing.ask(slots, awaited);
        Ok(None)
    }

    fn safe(&mut self) -> Result<(), FixtureError> {
        let mut patience = Patience(WAY_OUT_MS);
        let mut result = Ok(());
        for action in safe_state(&self.fixture) {
            let high = self.high(action);
            let done = match self.places[action.line.index()] {
                Place::Device(device, channel) => self.devices[device].force(channel, high, &mut patience),
                Place::Operator => Ok(()),
            };
            result = result.and(done);
        }
        self.touched = result.is_err();
        result
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if self.touched {
            // Nobody is left to tell.
            _ = self.safe();
        }
    }
}

fn inputs(fixture: &Fixture) -> impl Iterator<Item = (Role, &Input)> {
    let Inputs { interlock, start } = &fixture.inputs;
    let interlock = interlock.iter().map(|input| (Role::Interlock, input));
    interlock.chain(start.iter().map(|input| (Role::Start, input)))
}

/// What is wanted of every GPIO chip.
fn chips(fixture: &Fixture) -> BTreeMap<String, (Wanted, Option<usize>)> {
    let mut chips: BTreeMap<String, (Wanted, Option<usize>)> = BTreeMap::new();
    for (_, input) in inputs(fixture) {
        if let InputSource::Gpio { chip, line } = &input.source {
            chips.entry(chip.clone()).or_default().0.inputs.push(line.clone());
        }
    }
    for line in &fixture.lines {
        if let Connection::Gpio { chip, line: name } = &line.wire.connection {
            let (wanted, _) = chips.entry(chip.clone()).or_default();
            wanted.outputs.push((name.clone(), line.wire.active_low));
        }
    }
    chips
}

/// Whether two names lead to one port: `/dev/ttyUSB0`, say, and its name by socket.
fn same_port(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

/// Opens devices once each.
struct Opener<'a> {
    links: &'a [&'a SerialLink],
    devices: Vec<Box<dyn Device>>,
    ports: BTreeMap<PathBuf, usize>,
    chips: BTreeMap<String, (Wanted, Option<usize>)>,
}

impl Opener<'_> {
    fn place(&mut self, line: &Line) -> Result<Place, FixtureError> {
        let refuse =
            |reason: &str| Err(FixtureError::Open { line: line.wire.to_string(), reason: reason.to_owned() });
        Ok(match &line.wire.connection {
            Connection::Sim(_) => return refuse("a simulated line on a real fixture"),
            Connection::Manual(_) => Place::Operator,
            Connection::Gpio { chip, line } => {
                let (device, channel) = self.gpio(chip, line)?;
                Place::Device(device, channel)
            }
            Connection::Lcus { port, channel } => {
                let device = self.port(port, |path, _| Ok(Box::new(LcusBoard::open(path)?)))?;
                Place::Device(device, u32::from(*channel))
            }
            Connection::AsciiRelay { port, channel } => {
                let channel = u32::from(*channel);
                let device = self.controller(port)?;
                let outputs = self.devices[device].outputs();
                if channel > outputs {
                    return refuse(&format!("the controller has only {outputs} outputs"));
                }
                Place::Device(device, channel)
            }
            Connection::Rts(port) => Place::Device(self.modem(port)?, modem::RTS),
            Connection::Dtr(port) => Place::Device(self.modem(port)?, modem::DTR),
        })
    }

    fn modem(&mut self, port: &str) -> Result<usize, FixtureError> {
        self.port(port, |path, links| {
            let shared = links.iter().find(|l| same_port(l.path(), path));
            Ok(Box::new(match shared {
                Some(link) => ModemLines::shared(link)?,
                None => ModemLines::open(path)?,
            }))
        })
    }

    fn port(
        &mut self,
        port: &str,
        open: impl FnOnce(&Path, &[&SerialLink]) -> Result<Box<dyn Device>, FixtureError>,
    ) -> Result<usize, FixtureError> {
        let path = PathBuf::from(port);
        if let Some(&device) = self.ports.get(&path) {
            return Ok(device);
        }
        let device = self.add(open(&path, self.links)?);
        self.ports.insert(path, device);
        Ok(device)
    }

    fn gpio(&mut self, chip: &str, line: &str) -> Result<(usize, Channel), FixtureError> {
        let missing = || FixtureError::Open {
            line: format!("gpio:{chip}/{line}"),
            reason: "not among the chip's lines".to_owned(),
        };
        let (wanted, opened) = self.chips.get(chip).ok_or_else(missing)?;
        let outputs = wanted.outputs.iter().map(|(name, _)| name);
        let channel = outputs.chain(&wanted.inputs).position(|name| name == line).ok_or_else(missing)?;
        let device = match *opened {
            Some(device) => device,
            None => {
                let lines = gpio::open(chip, wanted)?;
                let device = self.add(Box::new(lines));
                if let Some((_, opened)) = self.chips.get_mut(chip) {
                    *opened = Some(device);
                }
                device
            }
        };
        // A chip has at most some hundred lines.
        Ok((device, channel as Channel))
    }

    fn controller(&mut self, port: &str) -> Result<usize, FixtureError> {
        self.port(port, |path, _| Ok(Box::new(Controller::open(path)?)))
    }

    fn input(&mut self, role: Role, input: &Input) -> Result<Sensed, FixtureError> {
        let (device, channel) = match &input.source {
            InputSource::Gpio { chip, line } => self.gpio(chip, line)?,
            InputSource::Controller { port, input } => (self.controller(port)?, u32::from(*input)),
            InputSource::Cts(port) => (self.modem(port)?, modem::CTS),
            InputSource::Dsr(port) => (self.modem(port)?, modem::DSR),
            InputSource::Dcd(port) => (self.modem(port)?, modem::DCD),
        };
        Ok(Sensed { role, device, channel, active_low: input.active_low, watch: Watch::default() })
    }

    fn add(&mut self, device: Box<dyn Device>) -> usize {
        self.devices.push(device);
        self.devices.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use panel_backplane::Panel;

    use super::super::gpio::{Chip, GpioLines};
    use super::*;

    /// Writes down every level; line 9 is broken.
    #[derive(Clone, Default)]
    struct FakeChip {
        written: Rc<RefCell<Vec<(u32, bool)>>>,
        levels: Rc<RefCell<BTreeMap<u32, bool>>>,
    }

    impl Chip for FakeChip {
        fn set(&mut self, offset: u32, high: bool) -> Result<(), String> {
            if offset == 9 {
                return Err("Input/output error".to_owned());
            }
            self.written.borrow_mut().push((offset, high));
            self.levels.borrow_mut().insert(offset, high);
            Ok(())
        }

        fn get(&mut self, offset: u32) -> Result<bool, String> {
            Ok(self.levels.borrow().get(&offset).copied().unwrap_or_default())
        }
    }

    /// Two slots with power and an NRST that is low when on, one of them possibly broken; BOOT0 by hand.
    fn rig(chip: &FakeChip, nrst2: u32) -> Lines {
        let text = "name='g'\nrows=1\ncolumns=2\nbus=[{}]\n[fixture]\npower='gpio:f/P{slot}'\n\
                    nrst='!gpio:f/R{slot}'\nboot0='manual:the BOOT switch'\ninterlock='!gpio:f/LID'\n";
        let panel = Panel::parse(text).unwrap();
        let offsets = [("P1", 1), ("P2", 2), ("R1", 3), ("R2", nrst2), ("LID", 5)];
        let lines = offsets.map(|(name, offset)| (name.to_owned(), offset)).to_vec();
        let device: Box<dyn Device> = Box::new(GpioLines::new("f".to_owned(), chip.clone(), lines));
        let places = panel.fixture.lines.iter().enumerate().map(|(n, line)| match line.wire.connection {
            Connection::Manual(_) => Place::Operator,
            _ => Place::Device(0, n as Channel),
        });
        let lid = Sensed {
            role: Role::Interlock,
            device: 0,
            channel: 4,
            active_low: true,
            watch: Watch::default(),
        };
        Lines::new(&panel.fixture, places.collect(), vec![device], vec![lid])
    }

    const fn action(line: u16, on: bool) -> LineAction {
        LineAction { line: LineIndex(line), on }
    }

    #[test]
    fn a_line_that_is_low_when_on_is_driven_low() {
        let chip = FakeChip::default();
        let mut lines = rig(&chip, 4);
        assert_eq!(lines.switch(Micros(0), action(0, true)), Ok(Switched::Done));
        assert_eq!(lines.switch(Micros(0), action(2, true)), Ok(Switched::Done));
        assert_eq!(*chip.written.borrow(), [(1, true), (3, false)]);
    }

    #[test]
    fn dropping_the_lines_while_a_panic_unwinds_switches_power_off_first() {
        let chip = FakeChip::default();
        let inside = std::panic::AssertUnwindSafe(|| {
            let mut lines = rig(&chip, 4);
            lines.switch(Micros(0), action(0, true)).unwrap();
            chip.written.borrow_mut().clear();
            panic!("as a bug would");
        });
        assert!(std::panic::catch_unwind(inside).is_err());
        assert_eq!(*chip.written.borrow(), [(1, false), (2, false), (3, true), (4, true)]);
    }

    #[test]
    fn the_safe_state_tries_every_line_and_names_the_one_that_failed() {
        let chip = FakeChip::default();
        let mut lines = rig(&chip, 9);
        let error = lines.safe().unwrap_err().to_string();
        assert_eq!(error, "gpio:f/R2: could not be set high: Input/output error");
        assert_eq!(*chip.written.borrow(), [(1, false), (2, false), (3, true)]);
    }

    #[test]
    fn the_operator_is_asked_once_and_the_line_is_switched_when_he_says_so() {
        let chip = FakeChip::default();
        let mut lines = rig(&chip, 4);
        lines.look_at = Micros(u64::MAX);
        assert_eq!(lines.switch(Micros(0), action(4, true)), Ok(Switched::Waiting));
        assert_eq!(lines.confirm(), None, "nothing was asked yet");
        let asked = FixtureEvent::Ask("switch on: the BOOT switch (boot0 of slots 1, 2)".to_owned());
        assert_eq!(lines.poll(Micros(0)), Ok(Some(asked)));
        assert_eq!(lines.poll(Micros(60_000_000)), Ok(None));
        assert_eq!(lines.confirm(), Some(action(4, true)));
        assert_eq!(lines.confirm(), None);
        assert_eq!(lines.left_on(), ["switch off now: the BOOT switch (boot0 of slots 1, 2)"]);
        assert_eq!(lines.switch(Micros(0), action(4, false)), Ok(Switched::Waiting));
        assert!(matches!(lines.poll(Micros(0)), Ok(Some(FixtureEvent::Ask(_)))));
        assert_eq!(lines.confirm(), Some(action(4, false)));
        assert!(lines.left_on().is_empty());
    }

    #[test]
    fn the_interlock_is_read_with_its_polarity() {
        let chip = FakeChip::default();
        let mut lines = rig(&chip, 4);
        chip.levels.borrow_mut().insert(5, true);
        assert_eq!(lines.poll(Micros(0)), Ok(Some(FixtureEvent::Interlock { closed: false })));
        chip.levels.borrow_mut().insert(5, false);
        assert_eq!(lines.poll(Micros(19_999)), Ok(None));
        assert_eq!(lines.poll(Micros(20_000)), Ok(None));
        assert_eq!(lines.poll(Micros(40_000)), Ok(Some(FixtureEvent::Interlock { closed: true })));
        assert_eq!(lines.next_timeout(), Some(Micros(60_000)));
    }

    #[test]
    fn every_line_says_what_becomes_of_it_when_the_program_dies() {
        let chip = FakeChip::default();
        let lines = rig(&chip, 4);
        let men: Vec<DeadMan> = lines.dead_men().map(|(_, man)| man).collect();
        assert_eq!(men, [[DeadMan::Released; 4].as_slice(), &[DeadMan::Operator]].concat());
    }
}
