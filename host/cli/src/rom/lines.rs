//! Reset, BOOT0 and supply of one board on the bench: how its chip is brought into its ROM and out of it.
//!
//! A line is written as in panel.toml, and `rts` and `dtr` mean the port's own. The fixture drivers do the switching,
//! so a bench has the same lines as a station. Invariant: however the program ends, BOOT0, NRST and supply are left
//! off (the driver's own), so that the next reset starts the application.

use std::io::IsTerminal;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use panel_backplane::{
    Connection, Fixture, Line, LineAction as Switch, LineFunction, LineIndex, Slot, Wire, WireError,
};
use panel_codes::Code;
use panel_links::lines::Lines;
use panel_links::{FixtureDriver, FixtureError, FixtureEvent, SerialLink, Switched};
use panel_protocol::time::Micros;
use stm32_rom_bootloader::{LineAction, LineResult};

use crate::failure::Failure;
use crate::out::note;

/// How long NRST is held, and how long BOOT0 and supply stand before they count; far above any STM32's needs.
const PULSE: Duration = Duration::from_millis(20);
/// How long the supply is off: the capacitors of a board on a bench are larger than those of a panel.
const DISCHARGE: Duration = Duration::from_millis(500);
/// How long a relay board may take.
const SLOW_LINE: Duration = Duration::from_secs(3);
/// Between two looks at a line that somebody else switches.
const LOOK: Duration = Duration::from_millis(5);

/// Which lines the board has.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LineArgs {
    /// The line that resets the chip (NRST): `rts` or `dtr` of the port itself, or as in panel.toml: `gpio:CHIP/LINE`,
    /// `rts:/dev/...`, `lcus:/dev/...#N`, `manual:WHAT`.
    ///
    /// The chip is then reset into its ROM before anything else. A line in front of which stands `!` is low while it
    /// is on. To be on means: RTS and DTR set (which is low at the pins of a TTL adapter), GPIO lines high.
    #[arg(long, value_name = "LINE", global = true)]
    reset: Option<BenchLine>,
    /// The line that makes the chip start its ROM at a reset (BOOT0), written as for --reset.
    #[arg(long, value_name = "LINE", global = true)]
    boot: Option<BenchLine>,
    /// The line that supplies the board, written as for --reset; off when the command ends.
    #[arg(long, value_name = "LINE", global = true)]
    power: Option<BenchLine>,
}

/// A line of panel.toml, or RTS or DTR of the port the board is on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BenchLine {
    Own { rts: bool, active_low: bool },
    Other(Wire),
}

impl FromStr for BenchLine {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let (active_low, name) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        match name {
            "rts" | "dtr" => Ok(Self::Own { rts: name == "rts", active_low }),
            _ => text.parse().map(Self::Other),
        }
    }
}

impl BenchLine {
    fn wire(&self, port: Option<&Path>) -> Result<Wire, Failure> {
        Ok(match self {
            Self::Own { rts, active_low } => {
                let text = "`rts` and `dtr` are lines of --port; a CAN interface has none: name another port's, `rts:/dev/...`";
                let port = port.ok_or_else(|| Failure::new(Code::Usage, text))?.display().to_string();
                let connection = if *rts { Connection::Rts(port) } else { Connection::Dtr(port) };
                Wire { connection, active_low: *active_low }
            }
            Self::Other(wire) => wire.clone(),
        })
    }
}

/// The lines of one board, with the driver that switches them.
pub(crate) struct BenchLines {
    driver: Box<dyn FixtureDriver>,
    fixture: Fixture,
    start: Instant,
}

impl BenchLines {
    /// Opens the lines of these arguments; `None` if there are none.
    #[expect(clippy::disallowed_methods, reason = "this is a driver, which owns the clock")]
    pub(crate) fn open(args: &LineArgs, link: Option<&SerialLink>) -> Result<Option<Self>, Failure> {
        let fixture = fixture(args, link.map(SerialLink::path))?;
        if fixture.lines.is_empty() {
            return Ok(None);
        }
        if fixture.lines.iter().all(|line| line.function == LineFunction::Boot0) {
            let text = "--boot needs --reset or --power: BOOT0 counts only when the chip starts";
            return Err(Failure::new(Code::Usage, text));
        }
        let shared: Vec<&SerialLink> = link.into_iter().collect();
        let driver = Lines::open(&fixture, &shared).map_err(|e| failure(&e))?;
        Ok(Some(Self { driver: Box::new(driver), fixture, start: Instant::now() }))
    }

    /// Carries out what a session asks for; [`LineResult::Unavailable`] if the board has no line for it.
    ///
    /// # Errors
    /// E404 if a line fails.
    pub(crate) fn act(&mut self, action: LineAction) -> Result<LineResult, Failure> {
        let (nrst, power) = (self.line(LineFunction::Nrst), self.line(LineFunction::Power));
        let rom = match action {
            LineAction::EnterRom | LineAction::PowerCycleIntoRom => true,
            LineAction::StartApplication => false,
            _ => return Ok(LineResult::Unavailable),
        };
        let by_power = power.filter(|_| nrst.is_none() || action == LineAction::PowerCycleIntoRom);
        let by_reset = nrst.filter(|_| action != LineAction::PowerCycleIntoRom);
        if let Some(boot) = self.line(LineFunction::Boot0) {
            self.switch(boot, rom)?;
        }
        match (by_power, by_reset) {
            (Some(power), _) => {
                self.switch(power, false)?;
                pause(DISCHARGE);
                self.switch(power, true)?;
            }
            (None, Some(reset)) => {
                if let Some(power) = power {
                    self.switch(power, true)?;
                }
                self.switch(reset, true)?;
                pause(PULSE);
                self.switch(reset, false)?;
            }
            (None, None) => return Ok(LineResult::Unavailable),
        }
        pause(PULSE);
        Ok(LineResult::Done)
    }

    fn line(&self, function: LineFunction) -> Option<LineIndex> {
        let found = self.fixture.lines.iter().position(|line| line.function == function)?;
        // There are at most three.
        Some(LineIndex(found as u16))
    }

    /// Switches a line and waits until it is so.
    fn switch(&mut self, line: LineIndex, on: bool) -> Result<(), Failure> {
        let action = Switch { line, on };
        if self.driver.switch(self.now(), action).map_err(|e| failure(&e))? == Switched::Done {
            return Ok(());
        }
        let deadline = self.start.elapsed() + SLOW_LINE;
        while self.start.elapsed() < deadline {
            match self.driver.poll(self.now()).map_err(|e| failure(&e))? {
                Some(FixtureEvent::Switched(done)) if done == action => return Ok(()),
                Some(FixtureEvent::Ask(what)) => return self.ask(&what),
                Some(_) => {}
                None => pause(LOOK),
            }
        }
        let wire = &self.fixture.lines[line.index()].wire;
        let text = format!("{wire}: not switched within {} s", SLOW_LINE.as_secs());
        Err(Failure::with_exit(Code::FixtureFault, text, 3))
    }

    /// Has a person switch the line.
    fn ask(&mut self, what: &str) -> Result<(), Failure> {
        if !std::io::stdin().is_terminal() {
            let text = format!("{what}: nobody is there to do it, standard input is no terminal");
            return Err(Failure::with_exit(Code::FixtureFault, text, 3));
        }
        note(&format!("{what}, then press Enter"));
        let read = std::io::stdin().read_line(&mut String::new());
        read.map_err(|e| Failure::with_exit(Code::FixtureFault, format!("{what}: {e}"), 3))?;
        self.driver.confirm();
        Ok(())
    }

    fn now(&self) -> Micros {
        Micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

fn fixture(args: &LineArgs, port: Option<&Path>) -> Result<Fixture, Failure> {
    let wanted = [
        (LineFunction::Power, &args.power),
        (LineFunction::Nrst, &args.reset),
        (LineFunction::Boot0, &args.boot),
    ];
    let lines = wanted.into_iter().filter_map(|(function, line)| Some((function, line.as_ref()?)));
    let lines =
        lines.map(|(function, line)| Ok(Line { function, wire: line.wire(port)?, slots: vec![Slot(1)] }));
    Ok(Fixture { lines: lines.collect::<Result<_, Failure>>()?, ..Fixture::default() })
}

fn failure(error: &FixtureError) -> Failure {
    Failure::with_exit(Code::FixtureFault, error.to_string(), 3)
}

#[expect(clippy::disallowed_methods, reason = "this is a driver, which waits for lines to settle")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Line and whether it went on.
    type Log = Arc<Mutex<Vec<(u16, bool)>>>;

    /// Remembers what was switched; slow lines say so and are done at the second look.
    #[derive(Default)]
    struct Recorder {
        log: Log,
        slow: bool,
        waiting: Option<(Switch, u8)>,
        broken: bool,
    }

    impl FixtureDriver for Recorder {
        fn switch(&mut self, _: Micros, action: Switch) -> Result<Switched, FixtureError> {
            if self.broken {
                let reason = "unplugged".to_owned();
                return Err(FixtureError::Switch { line: "dtr:/dev/x".to_owned(), high: action.on, reason });
            }
            self.log.lock().expect("alive").push((action.line.0, action.on));
            self.waiting = self.slow.then_some((action, 0));
            Ok(if self.slow { Switched::Waiting } else { Switched::Done })
        }

        fn poll(&mut self, _: Micros) -> Result<Option<FixtureEvent>, FixtureError> {
            let Some((action, looks)) = self.waiting.take() else { return Ok(None) };
            if looks > 0 {
                return Ok(Some(FixtureEvent::Switched(action)));
            }
            self.waiting = Some((action, looks + 1));
            Ok(None)
        }

        fn safe(&mut self) -> Result<(), FixtureError> {
            Ok(())
        }
    }

    fn args(reset: Option<&str>, boot: Option<&str>, power: Option<&str>) -> LineArgs {
        let line = |text: Option<&str>| text.map(|t| t.parse().expect(t));
        LineArgs { reset: line(reset), boot: line(boot), power: line(power) }
    }

    #[expect(clippy::disallowed_methods, reason = "a driver's clock")]
    fn bench(args: &LineArgs, driver: Recorder) -> (BenchLines, Log) {
        let log = Arc::clone(&driver.log);
        let fixture = fixture(args, Some(Path::new("/dev/ttyUSB3"))).expect("lines");
        (BenchLines { driver: Box::new(driver), fixture, start: Instant::now() }, log)
    }

    #[test]
    fn a_line_is_one_of_the_port_or_one_of_panel_toml_and_has_a_polarity() {
        let port = Some(Path::new("/dev/ttyUSB3"));
        let wire = |text: &str| text.parse::<BenchLine>().map(|l| l.wire(port).expect("a line").to_string());
        assert_eq!(wire("rts").as_deref(), Ok("rts:/dev/ttyUSB3"));
        assert_eq!(wire("!dtr").as_deref(), Ok("!dtr:/dev/ttyUSB3"));
        assert_eq!(wire("!gpio:gpiochip0/NRST").as_deref(), Ok("!gpio:gpiochip0/NRST"));
        assert!(wire("NRST").is_err());
        assert_eq!("dtr".parse::<BenchLine>().expect("a line").wire(None).expect_err("no port").exit(), 2);
    }

    #[test]
    fn boot0_stands_before_nrst_is_pulsed() {
        // In the order of the fixture: NRST is line 0, BOOT0 line 1.
        let (mut lines, log) = bench(&args(Some("dtr"), Some("!rts"), None), Recorder::default());
        assert_eq!(lines.act(LineAction::EnterRom).expect("works"), LineResult::Done);
        assert_eq!(*log.lock().expect("alive"), [(1, true), (0, true), (0, false)]);
        log.lock().expect("alive").clear();
        assert_eq!(lines.act(LineAction::StartApplication).expect("works"), LineResult::Done);
        assert_eq!(*log.lock().expect("alive"), [(1, false), (0, true), (0, false)]);
        assert_eq!(lines.act(LineAction::PowerCycleIntoRom).expect("works"), LineResult::Unavailable);
    }

    #[test]
    fn a_board_with_a_supply_line_is_power_cycled_and_reset_only_if_it_has_a_reset() {
        let (mut lines, log) = bench(&args(None, Some("rts"), Some("gpio:c/P")), Recorder::default());
        assert_eq!(lines.act(LineAction::EnterRom).expect("works"), LineResult::Done);
        assert_eq!(*log.lock().expect("alive"), [(1, true), (0, false), (0, true)]);
        let (mut lines, log) = bench(&args(Some("dtr"), Some("rts"), Some("gpio:c/P")), Recorder::default());
        assert_eq!(lines.act(LineAction::EnterRom).expect("works"), LineResult::Done);
        assert_eq!(*log.lock().expect("alive"), [(2, true), (0, true), (1, true), (1, false)]);
        log.lock().expect("alive").clear();
        assert_eq!(lines.act(LineAction::PowerCycleIntoRom).expect("works"), LineResult::Done);
        assert_eq!(*log.lock().expect("alive"), [(2, true), (0, false), (0, true)]);
    }

    #[test]
    fn a_relay_is_waited_for_and_a_line_that_fails_is_named() {
        let (mut lines, log) =
            bench(&args(Some("dtr"), None, None), Recorder { slow: true, ..Recorder::default() });
        assert_eq!(lines.act(LineAction::EnterRom).expect("works"), LineResult::Done);
        assert_eq!(*log.lock().expect("alive"), [(0, true), (0, false)]);
        let (mut lines, _) =
            bench(&args(Some("dtr"), None, None), Recorder { broken: true, ..Recorder::default() });
        let told = lines.act(LineAction::EnterRom).expect_err("broken");
        assert_eq!((told.code, told.exit()), (Code::FixtureFault, 3));
        assert!(told.message.contains("unplugged"), "{}", told.message);
    }
}
