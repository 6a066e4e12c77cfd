//! One slot of the panel: power, reset, processor, receive FIFO, and the code that runs.
//!
//! The processor does one thing at a time: it takes a frame from the FIFO, or does one step of background work.
//! A frame that finds it free is handled at once, without an event of its own; one that finds it busy waits in
//! the FIFO, and is lost when three already wait. Invariant: code runs only in state `Running`; leaving that
//! state loses everything in RAM and leaves the flash as an interrupted operation leaves it.

mod processor;
mod rom;
mod strike;

use std::collections::VecDeque;

use panel_protocol::frame::Frame;
use panel_protocol::node::ResetCause;
use panel_protocol::time::Micros;

use crate::bus::Bus;
use crate::chip::Chip;
use crate::config::SlotConfig;
use crate::device::{CanPort, Device};
use crate::firmware::Firmware;
use crate::hardware::Hardware;
use crate::rng::{Rate, Rng};
use crate::timers::NEVER;
pub(crate) use rom::Rom;
use strike::Strike;

/// Frames a receive FIFO holds (bxCAN: three mailboxes; FDCAN on G4: three elements).
const FIFO: usize = 3;
/// Start-up times differ by up to one in this many.
const START_UP_SPREAD: u64 = 50;

/// The application that a board runs after the bootloader has handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application {
    /// Address of its vector table.
    pub address: u32,
    /// Initial stack pointer found there.
    pub stack: u32,
    /// Reset vector found there.
    pub entry: u32,
}

/// Counters of one board since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BoardCounters {
    /// Frames taken from the FIFO.
    pub received: u64,
    /// Frames that this board alone missed (the scenario's `loss`).
    pub missed: u64,
    /// Frames lost because the FIFO was full.
    pub overruns: u64,
    /// Times the code was started.
    pub starts: u32,
    /// Flash requests that the datasheet forbids; code without a fault makes none.
    pub violations: u32,
    /// Reads of a busy flash, each of which stalled the processor.
    pub stalls: u32,
    /// Transmit error counter.
    pub tec: u16,
    /// Receive error counter.
    pub rec: u16,
}

enum State<F> {
    /// Nothing runs: without power, held in reset, dead, or without a bootloader.
    Halted(Box<Hardware>),
    /// The bootloader starts and will listen at `at`.
    Starting {
        hardware: Box<Hardware>,
        at: u64,
    },
    Running(Box<F>),
    /// The ROM has the chip: it listens, starts, or was left for good.
    Rom(Box<Hardware>),
    Application(Box<Hardware>, Application),
}

pub(crate) struct Board<F> {
    state: State<F>,
    /// A board of another make sits in the slot: it gets every call that a board gets.
    device: Option<Box<dyn Device>>,
    /// When the processor is free again.
    free_at: u64,
    /// When background work is due.
    wake_at: u64,
    /// When the flash operation ends, or [`NEVER`].
    flash_end: u64,
    fifo: VecDeque<Frame>,
    /// A mailbox fell free while the processor was busy.
    refill: bool,
    service: u64,
    loss: Rate,
    receives_while_busy: bool,
    reads_select: bool,
    endpoint: usize,
    chip: &'static Chip,
    bus: usize,
    start_up: u64,
    rng: Rng,
    absent: bool,
    dead: bool,
    powered: bool,
    held: bool,
    first_power: Option<u64>,
    /// Offsets from the first power-on.
    timed: Vec<(u64, Strike)>,
    /// The next of them, as an absolute time.
    strike_at: u64,
    at_address: Option<Strike>,
    /// What strikes at a write of option bytes: half way, or (true) when the protection is written.
    at_options: Option<(Strike, bool)>,
    reads_when_locked: bool,
    babble: Option<Frame>,
    babbling: bool,
    off_bus: bool,
    mute_after_erase: bool,
    counters: BoardCounters,
    rom: Option<Box<Rom>>,
    /// The host has not been told yet what can be read from the board's port.
    readable: bool,
}

impl<F: Firmware> Board<F> {
    pub(crate) fn new(
        config: &SlotConfig,
        chip: &'static Chip,
        endpoint: usize,
        hw: Hardware,
        rng: Rng,
    ) -> Self {
        Self {
            state: State::Halted(Box::new(hw)),
            device: None,
            free_at: 0,
            wake_at: NEVER,
            flash_end: NEVER,
            fifo: VecDeque::with_capacity(FIFO),
            refill: false,
            service: config.service.0.saturating_mul(1000),
            loss: Rate::default(),
            receives_while_busy: config.receives_while_busy,
            reads_select: config.select_line && config.strap.is_none(),
            endpoint,
            chip,
            bus: config.bus,
            start_up: config.start_up.0.saturating_mul(1000),
            rng,
            absent: false,
            dead: false,
            powered: false,
            held: false,
            first_power: None,
            timed: Vec::new(),
            strike_at: NEVER,
            at_address: None,
            at_options: None,
            reads_when_locked: false,
            babble: None,
            babbling: false,
            off_bus: false,
            mute_after_erase: false,
            counters: BoardCounters::default(),
            rom: None,
            readable: false,
        }
    }

    /// Fits a chip whose ROM can be talked to.
    pub(crate) fn fit_rom(&mut self, rom: Rom) {
        self.rom = Some(Box::new(rom));
    }

    /// The level of BOOT0, which counts at the next start.
    pub(crate) fn set_boot0(&mut self, high: bool) {
        if let Some(device) = &mut self.device {
            device.set_boot0(high);
        } else if let Some(rom) = &mut self.rom {
            rom.set_boot0(high);
        }
    }

    /// Whether there is something new to read from the board's port.
    pub(crate) fn take_readable(&mut self) -> bool {
        core::mem::take(&mut self.readable)
    }

    /// Defaults of the scenario for every board.
    pub(crate) fn set_service(&mut self, ns: u64) {
        self.service = ns;
    }

    pub(crate) fn set_loss(&mut self, rate: f64) {
        self.loss = Rate::new(rate);
    }

    /// Puts a board of another make into the slot.
    pub(crate) fn install(&mut self, device: Box<dyn Device>) {
        self.device = Some(device);
    }

    pub(crate) fn bus(&self) -> usize {
        self.bus
    }

    pub(crate) fn hardware(&self) -> &Hardware {
        self.state.hardware()
    }

    pub(crate) fn hardware_mut(&mut self) -> &mut Hardware {
        self.state.hardware_mut()
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.absent
    }

    pub(crate) fn is_powered(&self) -> bool {
        self.powered
    }

    pub(crate) fn application(&self) -> Option<Application> {
        match &self.state {
            State::Application(_, application) => Some(*application),
            _ => None,
        }
    }

    pub(crate) fn counters(&self, bus: &Bus) -> BoardCounters {
        let controller = bus.controller(self.endpoint);
        let hardware = self.hardware();
        BoardCounters {
            violations: hardware.flash.violations(),
            stalls: hardware.stalls,
            tec: controller.tec(),
            rec: controller.rec(),
            ..self.counters
        }
    }

    /// Supply current in milliamperes: what a fixture sees of a board without talking to it.
    pub(crate) fn current_ma(&self, now: u64) -> u32 {
        if self.absent || !self.powered {
            return 0;
        }
        if let Some(device) = &self.device {
            return device.current_ma(now);
        }
        // A transceiver that drives the bus all the time: half of its 50 to 70 mA, the other half is recessive.
        let driving = if self.babbling { 30 } else { 0 };
        driving
            + match &self.state {
                State::Halted(_) => 5,
                State::Starting { .. } | State::Rom(_) => 25,
                State::Running(code) => 35 + if code.hardware().flash.is_busy(now) { 12 } else { 0 },
                State::Application(..) => 45,
            }
    }

    /// When [`Board::run`] wants to be called, or [`NEVER`].
    pub(crate) fn due(&self) -> u64 {
        if let Some(device) = &self.device {
            return device.due();
        }
        let work = match &self.state {
            State::Starting { at, .. } => *at,
            State::Running(_) if self.refill || !self.fifo.is_empty() => self.free_at,
            State::Running(_) => self.wake_at.min(self.flash_end).max(self.free_at),
            State::Rom(_) => self.rom_due(),
            _ => NEVER,
        };
        work.min(self.strike_at)
    }

    pub(crate) fn run(&mut self, now: u64, bus: &mut Bus) {
        if let Some(device) = &mut self.device {
            self.readable |= device.run(now, &mut CanPort { bus, endpoint: self.endpoint });
            return;
        }
        if self.strike_at <= now {
            self.strike_due(now, bus);
        }
        match &mut self.state {
            State::Starting { at, .. } if *at <= now => self.start(now, bus),
            State::Running(_) if self.free_at <= now => self.work(now, bus),
            State::Rom(_) => self.readable |= self.run_rom(now, bus),
            _ => {}
        }
    }

    pub(crate) fn set_power(&mut self, now: u64, on: bool, bus: &mut Bus) {
        if self.powered == on || self.absent {
            return;
        }
        self.powered = on;
        if let Some(device) = &mut self.device {
            return device.set_power(now, on, &mut CanPort { bus, endpoint: self.endpoint });
        }
        self.halt(now, bus);
        if on {
            if self.first_power.is_none() {
                self.first_power = Some(now);
                self.arm();
            }
            self.restart(now, ResetCause::PowerOn, bus);
        }
    }

    pub(crate) fn set_reset(&mut self, now: u64, asserted: bool, bus: &mut Bus) {
        if self.held == asserted {
            return;
        }
        self.held = asserted;
        if let Some(device) = &mut self.device {
            return device.set_reset(now, asserted, &mut CanPort { bus, endpoint: self.endpoint });
        }
        self.halt(now, bus);
        if !asserted {
            self.restart(now, ResetCause::Pin, bus);
        }
    }

    pub(crate) fn set_select(&mut self, on: bool) {
        if let Some(device) = &mut self.device {
            return device.set_select(on);
        }
        if self.reads_select {
            self.state.hardware_mut().strap = Some(u16::from(on));
        }
    }

    /// Whatever runs ends here and now; RAM is lost, the flash is cut off.
    fn halt(&mut self, now: u64, bus: &mut Bus) {
        bus.disconnect(self.endpoint);
        self.halt_rom(now);
        let mut hardware = self.state.take();
        hardware.flash.interrupt(now);
        hardware.flash.erases = 0;
        self.state = State::Halted(hardware);
        self.fifo.clear();
        self.refill = false;
        (self.free_at, self.wake_at, self.flash_end) = (now, NEVER, NEVER);
    }

    /// Begins the way to a listening bootloader, if nothing holds the board back.
    fn restart(&mut self, now: u64, cause: ResetCause, bus: &mut Bus) {
        if !self.powered || self.held || self.dead || self.absent {
            return;
        }
        let mut hardware = self.state.take();
        if self.rom.is_some() {
            return self.restart_rom(now, hardware, cause, bus);
        }
        hardware.restart(now, cause);
        self.state = if hardware.flash.has_bootloader() {
            let start_up = hardware.start_up(self.start_up);
            let at = now + start_up - self.rng.below(start_up / START_UP_SPREAD + 1);
            State::Starting { hardware, at }
        } else {
            State::Halted(hardware)
        };
    }

    fn start(&mut self, now: u64, bus: &mut Bus) {
        if let (Some(due), State::Starting { at, .. }) = (self.agent_due(now, bus), &mut self.state) {
            *at = due;
            return;
        }
        let mut hardware = self.state.take();
        hardware.now = now;
        self.counters.starts += 1;
        self.state = State::Running(Box::new(F::start(hardware, self.chip, micros(now))));
        if !self.off_bus {
            bus.connect(self.endpoint, self.chip.fd);
        }
        self.babble(now, bus);
        self.step(now, bus);
        self.obey(now, bus);
    }
}

impl<F: Firmware> State<F> {
    fn hardware(&self) -> &Hardware {
        match self {
            Self::Halted(hardware)
            | Self::Starting { hardware, .. }
            | Self::Rom(hardware)
            | Self::Application(hardware, _) => hardware,
            Self::Running(code) => code.hardware(),
        }
    }

    fn hardware_mut(&mut self) -> &mut Hardware {
        match self {
            Self::Halted(hardware)
            | Self::Starting { hardware, .. }
            | Self::Rom(hardware)
            | Self::Application(hardware, _) => hardware,
            Self::Running(code) => code.hardware_mut(),
        }
    }

    /// Takes the hardware out; the caller puts it into the next state.
    fn take(&mut self) -> Box<Hardware> {
        match std::mem::replace(self, Self::Halted(Box::new(Hardware::detached()))) {
            Self::Halted(hardware)
            | Self::Starting { hardware, .. }
            | Self::Rom(hardware)
            | Self::Application(hardware, _) => hardware,
            Self::Running(code) => code.stop(),
        }
    }
}

fn micros(ns: u64) -> Micros {
    Micros(ns / 1000)
}
