//! One slot of the panel: power, reset, processor, receive FIFO, and the code that runs.
//!
//! The processor does one thing at a time: it takes a frame from the FIFO, or does one step of background work.
//! A frame that finds it free is handled at once, without an event of its own; one that finds it busy waits in
//! the FIFO, and is lost when three already wait. Invariant: code runs only in state `Running`; leaving that
//! state loses everything in RAM and leaves the flash as an interrupted operation leaves it.

use std::collections::VecDeque;

use panel_protocol::frame::{Frame, Id};
use panel_protocol::node::{BusCounters, Poll, ResetCause, Wake, Work};
use panel_protocol::time::Micros;

use crate::bus::Bus;
use crate::chip::Chip;
use crate::config::SlotConfig;
use crate::fault::{Fault, Trigger};
use crate::firmware::Firmware;
use crate::hardware::{Hardware, Request};
use crate::rng::{Rate, Rng};
use crate::timers::NEVER;

/// Frames a receive FIFO holds (bxCAN: three mailboxes; FDCAN on G4: three elements).
const FIFO: usize = 3;
/// The least time one step of background work takes.
const STEP_NS: u64 = 1000;
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
    Application(Box<Hardware>, Application),
}

/// What strikes a board at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strike {
    Death,
    BrownOut,
    Babble,
    BusOff,
}

pub(crate) struct Board<F> {
    state: State<F>,
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
    babble: Option<Frame>,
    babbling: bool,
    off_bus: bool,
    mute_after_erase: bool,
    counters: BoardCounters,
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
            free_at: 0,
            wake_at: NEVER,
            flash_end: NEVER,
            fifo: VecDeque::with_capacity(FIFO),
            refill: false,
            service: config.service.0 * 1000,
            loss: Rate::default(),
            receives_while_busy: config.receives_while_busy,
            reads_select: config.select_line && config.strap.is_none(),
            endpoint,
            chip,
            bus: config.bus,
            start_up: config.start_up.0 * 1000,
            rng,
            absent: false,
            dead: false,
            powered: false,
            held: false,
            first_power: None,
            timed: Vec::new(),
            strike_at: NEVER,
            at_address: None,
            babble: None,
            babbling: false,
            off_bus: false,
            mute_after_erase: false,
            counters: BoardCounters::default(),
        }
    }

    /// Defaults of the scenario for every board.
    pub(crate) fn set_service(&mut self, ns: u64) {
        self.service = ns;
    }

    pub(crate) fn set_loss(&mut self, rate: f64) {
        self.loss = Rate::new(rate);
    }

    /// Makes the board faulty. Faults of what is fitted (chip, UID, revision) are part of its hardware and were
    /// applied when that was made.
    pub(crate) fn inflict(&mut self, fault: &Fault) {
        let mut at = |when: Trigger, strike| match when {
            Trigger::At(span) => self.timed.push((span.0 * 1000, strike)),
            Trigger::Programmed(address) => {
                self.at_address = Some(strike);
                self.state.hardware_mut().flash.watch = Some(address);
            }
        };
        match *fault {
            Fault::Dead { when } => at(when, Strike::Death),
            Fault::BrownOut { when } => at(when, Strike::BrownOut),
            Fault::BusOff { at: span } => at(Trigger::At(span), Strike::BusOff),
            Fault::Babbling { at: span, identifier } => {
                at(Trigger::At(span), Strike::Babble);
                self.babble = Frame::classical(Id::Standard(identifier), &[0xBA; 8]);
            }
            Fault::Loss { rate } => self.set_loss(rate),
            Fault::SlowService { service } => self.set_service(service.0 * 1000),
            Fault::Absent => self.absent = true,
            Fault::MuteAfterErase => self.mute_after_erase = true,
            Fault::ProgramFails { address } => self.defects().program_fails = Some(address),
            Fault::ReadsBackWrong { address } => self.defects().reads_back_wrong = Some(address),
            Fault::EraseFails { address } => self.defects().erase_fails = Some(address),
            Fault::EraseSlow { factor } => self.defects().erase_factor = factor,
            Fault::Protected { level } => self.state.hardware_mut().flash.preset_protection(level),
            Fault::SupplyLow { millivolts } => self.state.hardware_mut().supply_mv = millivolts,
            Fault::WrongChip { .. } | Fault::WrongRevision { .. } | Fault::SameUid { .. } => {}
        }
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
        // A transceiver that drives the bus all the time: half of its 50 to 70 mA, the other half is recessive.
        let driving = if self.babbling { 30 } else { 0 };
        driving
            + match &self.state {
                State::Halted(_) => 5,
                State::Starting { .. } => 25,
                State::Running(code) => 35 + if code.hardware().flash.is_busy(now) { 12 } else { 0 },
                State::Application(..) => 45,
            }
    }

    /// When [`Board::run`] wants to be called, or [`NEVER`].
    pub(crate) fn due(&self) -> u64 {
        let work = match &self.state {
            State::Starting { at, .. } => *at,
            State::Running(_) if self.refill || !self.fifo.is_empty() => self.free_at,
            State::Running(_) => self.wake_at.min(self.flash_end).max(self.free_at),
            _ => NEVER,
        };
        work.min(self.strike_at)
    }

    pub(crate) fn run(&mut self, now: u64, bus: &mut Bus) {
        if self.strike_at <= now {
            self.strike_due(now, bus);
        }
        match &mut self.state {
            State::Starting { at, .. } if *at <= now => self.start(now, bus),
            State::Running(_) if self.free_at <= now => self.work(now, bus),
            _ => {}
        }
    }

    /// A frame arrives at the receive FIFO.
    pub(crate) fn receive(&mut self, now: u64, frame: &Frame, bus: &mut Bus) {
        if self.rng.chance(self.loss) {
            self.counters.missed += 1;
            return;
        }
        if !matches!(self.state, State::Running(_)) {
            return;
        }
        if self.free_at <= now && self.fifo.is_empty() {
            self.handle(now, frame, bus);
        } else if self.fifo.len() < FIFO {
            self.fifo.push_back(*frame);
        } else {
            self.counters.overruns += 1;
        }
    }

    /// One of the board's frames has been sent.
    pub(crate) fn sent(&mut self, now: u64, bus: &mut Bus) {
        if self.free_at <= now {
            self.transmit(now, bus);
            self.obey(now, bus);
        } else {
            self.refill = true;
        }
    }

    pub(crate) fn set_power(&mut self, now: u64, on: bool, bus: &mut Bus) {
        if self.powered == on || self.absent {
            return;
        }
        self.powered = on;
        self.halt(now, bus);
        if on {
            if self.first_power.is_none() {
                self.first_power = Some(now);
                self.arm();
            }
            self.restart(now, ResetCause::PowerOn);
        }
    }

    pub(crate) fn set_reset(&mut self, now: u64, asserted: bool, bus: &mut Bus) {
        if self.held == asserted {
            return;
        }
        self.held = asserted;
        self.halt(now, bus);
        if !asserted {
            self.restart(now, ResetCause::Pin);
        }
    }

    pub(crate) fn set_select(&mut self, on: bool) {
        if self.reads_select {
            self.state.hardware_mut().strap = Some(u16::from(on));
        }
    }

    fn defects(&mut self) -> &mut crate::flash::Defects {
        &mut self.state.hardware_mut().flash.defects
    }

    /// Sets the alarm for the next fault that strikes at a time.
    fn arm(&mut self) {
        let next = self.timed.iter().map(|t| t.0).min();
        self.strike_at = match (self.first_power, next) {
            (Some(first), Some(offset)) => first + offset,
            _ => NEVER,
        };
    }

    fn strike_due(&mut self, now: u64, bus: &mut Bus) {
        let Some(first) = self.first_power else { return };
        while let Some(i) = self.timed.iter().position(|t| first + t.0 <= now) {
            let (_, strike) = self.timed.remove(i);
            self.suffer(strike, now, bus);
        }
        self.arm();
    }

    fn suffer(&mut self, strike: Strike, now: u64, bus: &mut Bus) {
        match strike {
            Strike::Death => {
                self.dead = true;
                self.halt(now, bus);
            }
            Strike::BrownOut if self.powered => {
                self.halt(now, bus);
                self.restart(now, ResetCause::BrownOut);
            }
            Strike::BrownOut => {}
            Strike::Babble => {
                self.babbling = true;
                self.babble(now, bus);
            }
            Strike::BusOff => {
                self.off_bus = true;
                bus.disconnect(self.endpoint);
            }
        }
    }

    /// Whatever runs ends here and now; RAM is lost, the flash is cut off.
    fn halt(&mut self, now: u64, bus: &mut Bus) {
        bus.disconnect(self.endpoint);
        let mut hardware = self.state.take();
        hardware.flash.interrupt(now);
        hardware.flash.erases = 0;
        self.state = State::Halted(hardware);
        self.fifo.clear();
        self.refill = false;
        (self.free_at, self.wake_at, self.flash_end) = (now, NEVER, NEVER);
    }

    /// Begins the way to a listening bootloader, if nothing holds the board back.
    fn restart(&mut self, now: u64, cause: ResetCause) {
        if !self.powered || self.held || self.dead || self.absent {
            return;
        }
        let mut hardware = self.state.take();
        hardware.restart(now, cause);
        self.state = if hardware.flash.has_bootloader() {
            let at = now + self.start_up - self.rng.below(self.start_up / START_UP_SPREAD + 1);
            State::Starting { hardware, at }
        } else {
            State::Halted(hardware)
        };
    }

    fn start(&mut self, now: u64, bus: &mut Bus) {
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

    /// The processor is free: a waiting frame first, else background work.
    fn work(&mut self, now: u64, bus: &mut Bus) {
        if self.flash_end <= now {
            self.flash_end = NEVER;
            self.state.hardware_mut().flash.settle(now);
            if self.at_address.is_some() {
                self.obey(now, bus);
            }
        }
        if let Some(frame) = self.fifo.pop_front() {
            self.handle(now, &frame, bus);
        } else {
            self.refill = false;
            self.step(now, bus);
            self.obey(now, bus);
        }
    }

    fn handle(&mut self, now: u64, frame: &Frame, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        let controller = bus.controller(self.endpoint);
        let hardware = code.hardware_mut();
        hardware.now = now;
        hardware.counters = BusCounters {
            tec: controller.tec().min(255) as u8,
            rec: controller.rec().min(255) as u8,
            overruns: self.counters.overruns.min(0xFFFF) as u16,
            errors: controller.errors(),
        };
        code.handle_frame(micros(now), frame);
        self.counters.received += 1;
        self.free_at = now + self.service;
        if !self.receives_while_busy && self.flash_end > now && self.flash_end != NEVER {
            // Code in flash goes on between two units of a programming call.
            self.free_at += self.chip.program_ns;
        }
        if self.fifo.is_empty() {
            self.step(self.free_at, bus);
        } else {
            self.transmit(self.free_at, bus);
        }
        self.obey(now, bus);
    }

    /// One step of background work at `now`, which may lie a frame's service time ahead.
    fn step(&mut self, now: u64, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        code.hardware_mut().now = now;
        let Poll { wake, work } = code.poll(micros(now));
        let cost = match work {
            Work::None => 0,
            Work::Checksum(bytes) => u64::from(bytes) * self.chip.checksum_ns,
            Work::Digest(bytes) => u64::from(bytes) * (self.chip.digest_ns + self.chip.checksum_ns),
            Work::Copy(bytes) => u64::from(bytes) * self.chip.copy_ns,
        };
        self.free_at = now + cost;
        self.wake_at = match wake {
            Wake::Now => now + cost.max(STEP_NS),
            Wake::At(at) => at.0.saturating_mul(1000).max(now + STEP_NS),
            Wake::Idle => NEVER,
        };
        let hardware = code.hardware_mut();
        self.flash_end = hardware.flash.end();
        if hardware.stalled_until > self.free_at {
            self.free_at = hardware.stalled_until;
        }
        if !self.receives_while_busy && hardware.flash.is_erasing() {
            self.free_at = self.free_at.max(self.flash_end);
        }
        self.transmit(self.free_at, bus);
    }

    /// Moves frames from the code to the mailboxes.
    fn transmit(&mut self, now: u64, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        let mute = self.off_bus || (self.mute_after_erase && code.hardware().flash.erases > 0);
        code.hardware_mut().now = now;
        while mute || bus.controller(self.endpoint).free_mailboxes() > usize::from(self.babbling) {
            let Some(frame) = code.poll_transmit() else { break };
            if !mute {
                bus.submit(self.endpoint, &frame, now);
            }
        }
        self.babble(now, bus);
        let State::Running(code) = &mut self.state else { return };
        if !bus.controller(self.endpoint).has_mail() {
            code.handle_all_sent(micros(now));
        }
    }

    /// Keeps the babbler's frame in a mailbox.
    fn babble(&mut self, now: u64, bus: &mut Bus) {
        if let Some(frame) = self.babble.filter(|_| self.babbling)
            && matches!(self.state, State::Running(_))
            && !bus.controller(self.endpoint).holds(frame.id())
        {
            bus.submit(self.endpoint, &frame, now);
        }
    }

    /// Does what the code asked of its board, or what the scenario has in store for this point.
    fn obey(&mut self, now: u64, bus: &mut Bus) {
        let State::Running(code) = &mut self.state else { return };
        if let Some(strike) = self.at_address.take_if(|_| code.hardware().flash.reached) {
            return self.suffer(strike, now, bus);
        }
        match code.hardware_mut().request.take() {
            None => {}
            Some(Request::Reset) => {
                self.halt(now, bus);
                self.restart(now, ResetCause::Software);
            }
            Some(Request::StartApplication(address)) => {
                let hardware = self.state.take();
                let mut vectors = [0xFF; 8];
                hardware.flash.read(address, &mut vectors);
                let [a, b, c, d, e, f, g, h] = vectors;
                let application = Application {
                    address,
                    stack: u32::from_le_bytes([a, b, c, d]),
                    entry: u32::from_le_bytes([e, f, g, h]),
                };
                // The application keeps the controller running, so it goes on acknowledging frames.
                self.state = State::Application(hardware, application);
                self.fifo.clear();
            }
        }
    }
}

impl<F: Firmware> State<F> {
    fn hardware(&self) -> &Hardware {
        match self {
            Self::Halted(hardware) | Self::Starting { hardware, .. } | Self::Application(hardware, _) => {
                hardware
            }
            Self::Running(code) => code.hardware(),
        }
    }

    fn hardware_mut(&mut self) -> &mut Hardware {
        match self {
            Self::Halted(hardware) | Self::Starting { hardware, .. } | Self::Application(hardware, _) => {
                hardware
            }
            Self::Running(code) => code.hardware_mut(),
        }
    }

    /// Takes the hardware out; the caller puts it into the next state.
    fn take(&mut self) -> Box<Hardware> {
        match std::mem::replace(self, Self::Halted(Box::new(Hardware::detached()))) {
            Self::Halted(hardware) | Self::Starting { hardware, .. } | Self::Application(hardware, _) => {
                hardware
            }
            Self::Running(code) => code.stop(),
        }
    }
}

fn micros(ns: u64) -> Micros {
    Micros(ns / 1000)
}
