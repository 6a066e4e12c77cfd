//! A chip on a CAN or CAN FD bus of its own, a driver that can reset it and change the bit rate, and the time.

use core::time::Duration;
use rom_simulator::{CanDevice, CanFrame, CanKind as Kind, Chip, Fault, Nanos, Settings, catalog};
use std::collections::VecDeque;
use stm32_rom_bootloader::{
    CanKind, CanSession, CanSettings, Entry, Error, Event, Frame, LineAction, LineResult, Operation, Output,
    PlanOptions, Program, Programmed,
};

use crate::target::Target;

const LONGEST: Duration = Duration::from_secs(300);

/// A bench with one chip.
pub(crate) struct CanBench {
    pub(crate) device: CanDevice,
    pub(crate) now: Nanos,
    pub(crate) settings: CanSettings,
    pub(crate) lines: bool,
    pub(crate) events: Vec<Event>,
    /// What was sent, frame by frame.
    pub(crate) sent: Vec<Frame>,
    /// The adapter's (nominal) bit rate.
    pub(crate) rate: u32,
    bus_free: Nanos,
    to_device: VecDeque<(Nanos, CanFrame)>,
    to_host: VecDeque<(Nanos, CanFrame)>,
}

impl CanBench {
    pub(crate) fn with(device: &str, kind: Kind, settings: &Settings) -> Self {
        let model = catalog::find(device).unwrap_or_else(|| panic!("no simulated {device}"));
        let device = CanDevice::new(model, kind, settings, Nanos::ZERO).expect("a ROM with this loader");
        let (settings, rate) = match kind {
            Kind::Classic => (CanSettings::classic(), 125_000),
            Kind::Fd => (CanSettings::fd(), 250_000),
        };
        let mut bench = Self {
            device,
            now: Nanos::ZERO,
            settings: CanSettings { entry: Entry::Reset, ..settings },
            lines: true,
            events: Vec::new(),
            sent: Vec::new(),
            rate,
            bus_free: Nanos::ZERO,
            to_device: VecDeque::new(),
            to_host: VecDeque::new(),
        };
        bench.pass(Duration::from_secs(3));
        bench
    }

    pub(crate) fn classic(device: &str) -> Self {
        Self::with(device, Kind::Classic, &Settings::default())
    }

    pub(crate) fn fd(device: &str) -> Self {
        Self::with(device, Kind::Fd, &Settings::default())
    }

    pub(crate) fn faulty(device: &str, kind: Kind, fault: &str) -> Self {
        let faults = vec![fault.parse::<Fault>().expect(fault)];
        Self::with(device, kind, &Settings { faults, ..Settings::default() })
    }

    /// Without reset lines: the chip is taken as it is.
    pub(crate) fn without_lines(mut self) -> Self {
        self.lines = false;
        self.settings.entry = Entry::AsIs;
        self
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.device.handle_timeout(self.now);
        while self.device.poll_tx().is_some() {}
    }

    pub(crate) fn chip(&mut self) -> &mut Chip {
        self.device.board_mut().chip_mut()
    }

    pub(crate) fn flash(&mut self) -> &[u8] {
        self.chip().flash().bytes()
    }

    pub(crate) fn run<'a, O: Operation<'a>>(&mut self, operation: O) -> Result<O::Outcome, Error>
    where
        O::Outcome: 'a,
    {
        let mut session = CanSession::new(operation, self.settings.clone(), self.time());
        let deadline = self.now + LONGEST;
        loop {
            let until = match session.poll() {
                Output::Transmit(frame) => {
                    let frame_on_wire =
                        CanFrame { id: frame.id(), data: frame.data().to_vec(), fd: frame.is_fd() };
                    let end = self.occupy(self.now, &frame_on_wire);
                    self.to_device.push_back((end, frame_on_wire));
                    self.sent.push(frame);
                    continue;
                }
                Output::Line(action) => {
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
            self.step(until);
            match self.to_host.pop_front_if(|(at, _)| *at <= self.now) {
                Some((_, frame)) => {
                    let frame = if frame.fd {
                        Frame::fd(frame.id, &frame.data)
                    } else {
                        Frame::classic(frame.id, &frame.data)
                    };
                    session.handle_rx(self.time(), &frame.expect("a frame that exists"));
                }
                None if self.now >= until => session.handle_timeout(self.time()),
                None => {}
            }
        }
    }

    /// Goes on to the next thing that happens, at most to `until`.
    fn step(&mut self, until: Nanos) {
        let next = [
            self.to_device.front().map(|(at, _)| *at),
            self.to_host.front().map(|(at, _)| *at),
            self.device.next_deadline(),
        ];
        self.now = next.into_iter().flatten().fold(until, Nanos::min).max(self.now);
        match self.to_device.pop_front_if(|(at, _)| *at <= self.now) {
            Some((at, frame)) => self.device.handle_frame(at, &frame, self.rate),
            None => self.device.handle_timeout(self.now),
        }
        while let Some(tx) = self.device.poll_tx() {
            let end = self.occupy(tx.at, &tx.frame);
            // A frame at another rate is an error frame to this adapter.
            if tx.bitrate == self.rate {
                self.to_host.push_back((end, tx.frame));
            }
        }
    }

    /// When a frame that asks for the bus at `from` is over.
    fn occupy(&mut self, from: Nanos, frame: &CanFrame) -> Nanos {
        // FD: some 30 bits at the nominal rate, the rest four times as fast.
        let bits = if frame.fd { 30 + (28 + 8 * frame.data.len() as u64) / 4 } else { frame.classic_bits() };
        let time = Duration::from_nanos(bits * 1_000_000_000 / u64::from(self.rate));
        self.bus_free = self.bus_free.max(from) + time;
        self.bus_free
    }

    /// Writes `data` at `offset` of the flash and reads it back.
    pub(crate) fn program(
        &mut self,
        offset: u32,
        data: &[u8],
        options: &PlanOptions,
    ) -> Result<Programmed, Error> {
        let target = Target::of(self.chip());
        target.with_plan(offset, data, options, |plan, image| self.run(Program::new(plan, image)))
    }

    pub(crate) fn with_speed(mut self, speed: stm32_rom_bootloader::CanRate) -> Self {
        self.settings.kind = CanKind::Classic { speed: Some(speed) };
        self
    }

    fn time(&self) -> Duration {
        self.now.since(Nanos::ZERO)
    }

    fn act(&mut self, action: LineAction) -> LineResult {
        let now = self.now;
        match action {
            LineAction::EnterRom | LineAction::StartApplication => {
                self.device.board_mut().set_boot0(action == LineAction::EnterRom);
                self.device.reset(now);
            }
            LineAction::PowerCycleIntoRom => {
                self.device.board_mut().set_boot0(true);
                self.device.power_off(now);
                self.device.power_on(now);
            }
            LineAction::BitRate(rate) => self.rate = rate.bits_per_second(),
            _ => return LineResult::Unavailable,
        }
        self.to_device.clear();
        self.to_host.clear();
        LineResult::Done
    }
}
