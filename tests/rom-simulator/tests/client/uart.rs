//! A chip on a USART, a driver with or without reset lines, and the time.

use core::time::Duration;
use rom_simulator::wire::{LineConfig, UartLine};
use rom_simulator::{Chip as SimulatedChip, Fault, Nanos, Settings, UsartDevice, catalog};
use stm32_rom_bootloader::{
    Entry, Error, Event, LineAction, LineResult, Operation, Output, PlanOptions, Program, Programmed,
    UartSession, UartSettings,
};

use crate::target::Target;

/// What a session may take: more than the slowest mass erase.
const LONGEST: Duration = Duration::from_secs(300);

/// A bench with one chip.
pub(crate) struct Bench {
    pub(crate) line: UartLine,
    pub(crate) now: Nanos,
    pub(crate) settings: UartSettings,
    /// Whether the driver can move NRST, BOOT0 and the supply.
    pub(crate) lines: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) actions: Vec<LineAction>,
    /// What was sent, frame by frame.
    pub(crate) sent: Vec<Vec<u8>>,
}

impl Bench {
    /// A chip that has just got its power, at 115200 baud.
    pub(crate) fn cold(device: &str, settings: &Settings) -> Self {
        let model = catalog::find(device).unwrap_or_else(|| panic!("no simulated {device}"));
        let device = UsartDevice::new(model, settings, Nanos::ZERO);
        Self {
            line: UartLine::new(device, LineConfig::default()),
            now: Nanos::ZERO,
            settings: UartSettings::new(115_200),
            lines: false,
            events: Vec::new(),
            actions: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// A chip whose ROM has been listening for a while.
    pub(crate) fn with_faults(device: &str, faults: &[&str]) -> Self {
        let faults = faults.iter().map(|text| text.parse::<Fault>().expect(text)).collect();
        let mut bench = Self::cold(device, &Settings { faults, ..Settings::default() });
        bench.pass(Duration::from_secs(3));
        bench
    }

    pub(crate) fn new(device: &str) -> Self {
        Self::with_faults(device, &[])
    }

    /// The same with a driver that can move lines; sessions begin with a reset.
    pub(crate) fn with_lines(device: &str) -> Self {
        let mut bench = Self::new(device);
        bench.lines = true;
        bench.settings.entry = Entry::Reset;
        bench
    }

    pub(crate) fn at(mut self, baud: u32) -> Self {
        self.settings.baud = baud;
        self.line.set_config(LineConfig { baud, ..self.line.config() });
        self
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.line.advance(self.now);
        self.line.host_read_all(self.now);
    }

    pub(crate) fn chip(&mut self) -> &mut SimulatedChip {
        self.line.device_mut().board_mut().chip_mut()
    }

    pub(crate) fn flash(&mut self) -> &[u8] {
        self.chip().flash().bytes()
    }

    pub(crate) fn times_sent(&self, frame: &[u8]) -> usize {
        self.sent.iter().filter(|sent| *sent == frame).count()
    }

    pub(crate) fn run<'a, O: Operation<'a>>(&mut self, operation: O) -> Result<O::Outcome, Error>
    where
        O::Outcome: 'a,
    {
        let mut session = UartSession::new(operation, self.settings.clone(), self.time());
        let deadline = self.now + LONGEST;
        loop {
            let until = match session.poll() {
                Output::Transmit(bytes) => {
                    self.line.host_write(self.now, &bytes);
                    self.sent.push(bytes);
                    continue;
                }
                Output::Line(action) => {
                    self.actions.push(action);
                    let result = if self.lines { self.act(action) } else { LineResult::Unavailable };
                    session.handle_line(self.time(), result);
                    continue;
                }
                Output::Event(event) => {
                    self.events.push(event);
                    continue;
                }
                Output::Wait { until, .. } => Nanos::ZERO + until,
                Output::Done(result) => return result,
            };
            assert!(self.now < deadline, "a session that does not end");
            self.now = self.line.next_deadline().map_or(until, |due| due.min(until)).max(self.now);
            self.line.advance(self.now);
            let bytes = self.line.host_read_all(self.now);
            if !bytes.is_empty() {
                session.handle_rx(self.time(), &bytes);
            } else if self.now >= until {
                session.handle_timeout(self.time());
            }
        }
    }

    /// Writes `data` at `offset` of the flash with these options and reads it back.
    pub(crate) fn program(
        &mut self,
        offset: u32,
        data: &[u8],
        options: &PlanOptions,
    ) -> Result<Programmed, Error> {
        let target = Target::of(self.chip());
        target.with_plan(offset, data, options, |plan, image| self.run(Program::new(plan, image)))
    }

    fn time(&self) -> Duration {
        self.now.since(Nanos::ZERO)
    }

    fn act(&mut self, action: LineAction) -> LineResult {
        let now = self.now;
        let device = self.line.device_mut();
        match action {
            LineAction::EnterRom | LineAction::StartApplication => {
                device.board_mut().set_boot0(action == LineAction::EnterRom);
                device.reset(now);
            }
            LineAction::PowerCycleIntoRom => {
                device.board_mut().set_boot0(true);
                device.power_off(now);
                device.power_on(now);
            }
            _ => return LineResult::Unavailable,
        }
        LineResult::Done
    }
}
