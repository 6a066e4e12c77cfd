//! A ROM bootloader on its line: the device of `rom-simulator` behind a slot's own port or on the slot's bus.
//!
//! Whoever has a chip with a ROM puts one beside it: the boards of this crate (`board/rom.rs`), and boards of other
//! makes. Invariant: it takes part in the bus exactly while its ROM listens there, at the rate that the ROM has then.
//! What the ROM does to its chip is the owner's to copy.

use core::time::Duration;
use std::collections::VecDeque;

use panel_protocol::frame::{Frame, Id};
use rom_simulator::wire::{LineConfig, UartLine};
use rom_simulator::{CanDevice, CanFrame, CanKind, Chip, Fault, Model, Nanos, Settings, State, UsartDevice};

use crate::config::RomLink;
use crate::device::CanPort;
use crate::timers::NEVER;

#[derive(Debug)]
enum Line {
    Uart(UartLine),
    Can { device: CanDevice, rate: u32, queue: VecDeque<Frame> },
}

/// The ROM of one chip. Times are nanoseconds of the world.
#[derive(Debug)]
pub struct Loader {
    line: Line,
    /// When the answer on the port was last told of.
    told: Option<Nanos>,
}

impl Loader {
    /// The ROM of a chip without power, BOOT0 low; `None` if it does not listen on this kind of line. `latency`: how long
    /// the port's adapter sits on what it has received.
    #[must_use]
    pub fn new(
        link: RomLink,
        latency: Duration,
        model: &'static Model,
        faults: Vec<Fault>,
        seed: u64,
        uid: [u8; 12],
    ) -> Option<Self> {
        let settings = Settings { seed, boot0: false, faults, ..Settings::default() };
        let start = Nanos::ZERO;
        let line = match link {
            RomLink::Uart => {
                let device = UsartDevice::new(model, &settings, start);
                Line::Uart(UartLine::new(device, LineConfig { to_host: latency, ..LineConfig::default() }))
            }
            RomLink::Can | RomLink::Fdcan => {
                let kind = if link == RomLink::Can { CanKind::Classic } else { CanKind::Fd };
                let device = CanDevice::new(model, kind, &settings, start)?;
                Line::Can { rate: device.bitrate(), device, queue: VecDeque::new() }
            }
        };
        let mut loader = Self { line, told: None };
        loader.set_power(0, false);
        loader.chip_mut().set_uid(uid);
        Some(loader)
    }

    /// The level of BOOT0, which counts at the next start.
    pub fn set_boot0(&mut self, high: bool) {
        self.board_mut().set_boot0(high);
    }

    /// The ROM starts, or ends here and now.
    pub fn set_power(&mut self, now: u64, on: bool) {
        let now = Nanos(now);
        match (&mut self.line, on) {
            (Line::Uart(line), true) => line.device_mut().power_on(now),
            (Line::Uart(line), false) => line.device_mut().power_off(now),
            (Line::Can { device, .. }, true) => device.power_on(now),
            (Line::Can { device, queue, .. }, false) => {
                queue.clear();
                device.power_off(now);
            }
        }
    }

    /// What the chip is doing.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.line {
            Line::Uart(line) => line.device().board().state(),
            Line::Can { device, .. } => device.board().state(),
        }
    }

    /// The chip as the ROM sees it.
    #[must_use]
    pub fn chip(&self) -> &Chip {
        match &self.line {
            Line::Uart(line) => line.device().board().chip(),
            Line::Can { device, .. } => device.board().chip(),
        }
    }

    /// The chip, to tell the ROM of what others did to it.
    pub fn chip_mut(&mut self) -> &mut Chip {
        self.board_mut().chip_mut()
    }

    fn board_mut(&mut self) -> &mut rom_simulator::Board {
        match &mut self.line {
            Line::Uart(line) => line.device_mut().board_mut(),
            Line::Can { device, .. } => device.board_mut(),
        }
    }

    /// When [`Loader::advance`] is to be called, or `u64::MAX`.
    #[must_use]
    pub fn due(&self) -> u64 {
        let due = match &self.line {
            Line::Uart(line) => {
                let answer = line.answer_ends().filter(|end| self.told != Some(*end));
                [line.next_change(), answer].into_iter().flatten().min()
            }
            Line::Can { device, .. } => device.next_deadline(),
        };
        due.map_or(NEVER, |at| at.0)
    }

    /// Lets everything up to `now` happen; true if the host can read an answer that it has not been told of.
    pub fn advance(&mut self, now: u64) -> bool {
        match &mut self.line {
            Line::Uart(line) => {
                line.advance(Nanos(now));
                match line.answer_ends().filter(|end| end.0 <= now && self.told != Some(*end)) {
                    Some(end) => {
                        self.told = Some(end);
                        true
                    }
                    None => false,
                }
            }
            Line::Can { device, queue, .. } => {
                device.handle_timeout(Nanos(now));
                while let Some(tx) = device.poll_tx() {
                    queue.extend(on_bus(&tx.frame));
                }
                false
            }
        }
    }

    /// Takes part in the bus as the ROM's state wants it, and sends what the ROM has to send.
    pub fn follow(&mut self, now: u64, port: &mut CanPort<'_>) {
        let state = self.state();
        let Line::Can { device, rate, .. } = &mut self.line else { return port.disconnect() };
        if state != State::Loader {
            return port.disconnect();
        }
        if !port.is_connected() {
            port.connect(device.is_fd());
        }
        *rate = device.bitrate();
        port.set_bit_rate(*rate);
        self.send(now, port);
    }

    /// Sends the next frame, if the controller is free: one at a time, for a lower identifier would overtake.
    pub fn send(&mut self, now: u64, port: &mut CanPort<'_>) {
        if let Line::Can { queue, .. } = &mut self.line
            && !port.has_mail()
            && let Some(frame) = queue.pop_front()
        {
            port.submit(now, &frame);
        }
    }

    /// A frame on the bus, which the ROM hears if it has its rate.
    pub fn receive(&mut self, now: u64, frame: &Frame) {
        if let (Line::Can { device, rate, .. }, Id::Standard(id)) = (&mut self.line, frame.id()) {
            let frame = CanFrame { id, data: frame.data().to_vec(), fd: frame.is_fd() };
            device.handle_frame(Nanos(now), &frame, *rate);
        }
    }

    /// The host writes to the slot's own port.
    pub fn port_write(&mut self, now: u64, bytes: &[u8]) {
        if let Line::Uart(line) = &mut self.line {
            line.host_write(Nanos(now), bytes);
        }
    }

    /// What can be read from the slot's own port.
    pub fn port_read(&mut self, now: u64) -> Vec<u8> {
        match &mut self.line {
            Line::Uart(line) => line.host_read_all(Nanos(now)),
            Line::Can { .. } => Vec::new(),
        }
    }

    /// The host sets its port's rate, which throws away what is under way.
    pub fn port_configure(&mut self, baud: u32) {
        if let Line::Uart(line) = &mut self.line {
            line.discard();
            line.set_config(LineConfig { baud, ..line.config() });
            self.told = None;
        }
    }
}

fn on_bus(frame: &CanFrame) -> Option<Frame> {
    let id = Id::Standard(frame.id);
    if frame.fd { Frame::fd(id, &frame.data) } else { Frame::classical(id, &frame.data) }
}
