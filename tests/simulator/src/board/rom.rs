//! A board's ROM bootloader in the world: the device of `rom-simulator` behind the board's power, lines, port and bus.
//!
//! The chip's flash is told twice, once here and once in the board's hardware; whoever runs has the truth, and it
//! is copied when the other takes over. A chip that is told to Go into RAM where the agent's very bytes lie runs
//! the node from then on, which stays off the bus until that has been silent: other boards' ROMs are still being
//! talked to, at other bit rates.

use std::sync::Arc;

use panel_protocol::frame::{Frame, Id};
use panel_protocol::node::{Capabilities, Protection, ResetCause};
use rom_simulator::wire::{LineConfig, UartLine};
use rom_simulator::{
    CanDevice, CanFrame, CanKind, Chip as RomChip, Fault, Model, Nanos, Protection as RomProtection,
    Settings, State as RomState, UsartDevice,
};

use super::{Application, Board, State};
use crate::bus::Bus;
use crate::chip::FLASH_BASE;
use crate::config::{AgentCode, RomConfig, RomLink};
use crate::firmware::Firmware;
use crate::flash::Flash;
use crate::hardware::{Hardware, OptionWrite};
use crate::timers::NEVER;

/// From Go to the first instruction that matters: clocks, vectors, controller.
const AGENT_START: u64 = 5_000_000;
/// What a ROM's write of option bytes takes (rom-simulator).
const OPTION_WRITE: u64 = 30_000_000;
/// Silence on the bus after which an agent takes part in it.
pub(crate) const AGENT_SILENCE: u64 = 250_000_000;
/// What the host sees of a board's own port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortNews {
    None,
    /// Bytes can be read.
    Readable,
}

#[derive(Debug)]
enum Device {
    Uart(UartLine),
    Can { device: CanDevice, rate: u32, queue: std::collections::VecDeque<Frame> },
}

/// The ROM of one board.
#[derive(Debug)]
pub(crate) struct Rom {
    device: Device,
    agent: Option<Arc<AgentCode>>,
    /// When the answer on the port was last told of.
    told: Option<Nanos>,
    /// The agent that runs waits for silence on its bus.
    patient: bool,
    /// Option bytes and protection as they were when somebody last looked.
    options: (RomProtection, Vec<u8>),
}

impl Rom {
    /// A chip without power.
    pub(crate) fn new(
        config: &RomConfig,
        model: &'static Model,
        faults: Vec<Fault>,
        seed: u64,
        uid: [u8; 12],
    ) -> Option<Self> {
        let settings = Settings { seed, boot0: false, faults, ..Settings::default() };
        let start = Nanos::ZERO;
        let mut device = match config.link {
            RomLink::Uart => {
                let mut device = UsartDevice::new(model, &settings, start);
                device.power_off(start);
                let line = LineConfig { to_host: config.latency, ..LineConfig::default() };
                Device::Uart(UartLine::new(device, line))
            }
            RomLink::Can | RomLink::Fdcan => {
                let kind = if config.link == RomLink::Can { CanKind::Classic } else { CanKind::Fd };
                let mut device = CanDevice::new(model, kind, &settings, start)?;
                device.power_off(start);
                Device::Can { rate: device.bitrate(), device, queue: std::collections::VecDeque::new() }
            }
        };
        device.chip_mut().set_uid(uid);
        let options = (RomProtection::Open, Vec::new());
        Some(Self { device, agent: config.agent.clone(), told: None, patient: true, options })
    }

    pub(crate) fn set_boot0(&mut self, high: bool) {
        self.device.board_mut().set_boot0(high);
    }

    /// The (nominal) bit rate that the ROM uses on the bus; `None` where it listens on a port.
    fn bus_rate(&self) -> Option<u32> {
        match &self.device {
            Device::Uart(_) => None,
            Device::Can { device, .. } => Some(device.bitrate()),
        }
    }

    fn state(&self) -> RomState {
        match &self.device {
            Device::Uart(line) => line.device().board().state(),
            Device::Can { device, .. } => device.board().state(),
        }
    }

    fn due(&self) -> u64 {
        let due = match &self.device {
            Device::Uart(line) => {
                let answer = line.answer_ends().filter(|end| self.told != Some(*end));
                [line.next_change(), answer].into_iter().flatten().min()
            }
            Device::Can { device, .. } => device.next_deadline(),
        };
        due.map_or(NEVER, |at| at.0)
    }

    /// Lets everything up to `now` happen.
    fn advance(&mut self, now: u64) -> PortNews {
        match &mut self.device {
            Device::Uart(line) => {
                line.advance(Nanos(now));
                match line.answer_ends().filter(|end| end.0 <= now && self.told != Some(*end)) {
                    Some(end) => {
                        self.told = Some(end);
                        PortNews::Readable
                    }
                    None => PortNews::None,
                }
            }
            Device::Can { device, queue, .. } => {
                device.handle_timeout(Nanos(now));
                while let Some(tx) = device.poll_tx() {
                    queue.extend(frame(&tx.frame));
                }
                PortNews::None
            }
        }
    }
}

impl Rom {
    /// The chip is the ROM's: as its flash and option bytes are.
    fn take_over(&mut self, flash: &Flash) {
        let chip = self.device.chip_mut();
        chip.flash_mut().preload(0, flash.data());
        let protection = match flash.options().protection {
            Protection::Open => RomProtection::Open,
            Protection::Level1 => RomProtection::Level1,
            Protection::Level2 => RomProtection::Level2,
        };
        chip.restore_options(protection, &flash.option_cells.image());
        self.options = (protection, chip.option_bytes().to_vec());
    }

    /// Copies what the ROM has done to the chip. Whether it wrote option bytes, and among them the lock.
    fn hand_back(&mut self, flash: &mut Flash) -> Option<bool> {
        let chip = self.device.chip_mut();
        for (at, len) in chip.flash_mut().take_changes() {
            if let Some(bytes) = chip.flash().bytes().get(at..at + len) {
                flash.preset(FLASH_BASE + at as u32, bytes);
            }
        }
        let stored = chip.stored_protection();
        if self.options.0 == stored && self.options.1 == chip.option_bytes() {
            return None;
        }
        let locked = self.options.0 == RomProtection::Open && stored != RomProtection::Open;
        self.options = (stored, chip.option_bytes().to_vec());
        let protection = match stored {
            RomProtection::Open => Protection::Open,
            RomProtection::Level1 => Protection::Level1,
            RomProtection::Level2 => Protection::Level2,
        };
        flash.preset_options(protection, &self.options.1);
        Some(locked)
    }
}

impl Device {
    fn board_mut(&mut self) -> &mut rom_simulator::Board {
        match self {
            Self::Uart(line) => line.device_mut().board_mut(),
            Self::Can { device, .. } => device.board_mut(),
        }
    }

    fn chip_mut(&mut self) -> &mut RomChip {
        self.board_mut().chip_mut()
    }

    fn chip(&self) -> &RomChip {
        match self {
            Self::Uart(line) => line.device().board().chip(),
            Self::Can { device, .. } => device.board().chip(),
        }
    }

    fn power(&mut self, now: u64, on: bool) {
        let now = Nanos(now);
        match (self, on) {
            (Self::Uart(line), true) => line.device_mut().power_on(now),
            (Self::Uart(line), false) => line.device_mut().power_off(now),
            (Self::Can { device, .. }, true) => device.power_on(now),
            (Self::Can { device, queue, .. }, false) => {
                queue.clear();
                device.power_off(now);
            }
        }
    }
}

impl<F: Firmware> Board<F> {
    /// Power or reset: the chip starts what its boot pin and flash say.
    pub(super) fn restart_rom(
        &mut self,
        now: u64,
        mut hardware: Box<Hardware>,
        cause: ResetCause,
        bus: &mut Bus,
    ) {
        let Some(rom) = &mut self.rom else { return };
        hardware.restart(now, cause);
        rom.take_over(&hardware.flash);
        rom.device.power(now, true);
        self.state = State::Rom(hardware);
        self.follow_rom(now, bus);
    }

    /// The ROM stops here and now; what it did to the flash stays.
    pub(super) fn halt_rom(&mut self, now: u64) {
        let Some(rom) = &mut self.rom else { return };
        if let State::Rom(hardware) = &mut self.state {
            rom.advance(now);
            rom.device.power(now, false);
            rom.hand_back(&mut hardware.flash);
        } else {
            // Somebody else runs: the ROM starts from the beginning next time.
            rom.device.power(now, false);
        }
    }

    pub(super) fn rom_due(&self) -> u64 {
        self.rom.as_ref().map_or(NEVER, |rom| rom.due())
    }

    /// Another time at which an agent may come up, if the bus has not been silent for long enough now.
    pub(super) fn agent_due(&self, now: u64, bus: &Bus) -> Option<u64> {
        self.rom.as_ref().filter(|rom| rom.patient)?;
        Some(bus.idle_since(now) + AGENT_SILENCE).filter(|due| *due > now)
    }

    /// Runs the ROM; what a port's host can see.
    pub(super) fn run_rom(&mut self, now: u64, bus: &mut Bus) -> PortNews {
        let Some(rom) = &mut self.rom else { return PortNews::None };
        let news = rom.advance(now);
        if let State::Rom(hardware) = &mut self.state
            && let Some(protection) = rom.hand_back(&mut hardware.flash)
        {
            self.option_write_began(OptionWrite { start: now, end: now + OPTION_WRITE, protection });
        }
        self.follow_rom(now, bus);
        news
    }

    /// Connects a loader that listens on the bus, sends what it has to send, and sees whether it has handed over.
    fn follow_rom(&mut self, now: u64, bus: &mut Bus) {
        let Some(rom) = &mut self.rom else { return };
        match (rom.state(), rom.bus_rate()) {
            (RomState::Application(entry), _) => self.left_rom(now, entry, bus),
            (RomState::Loader, Some(rate)) => {
                if !bus.is_connected(self.endpoint) {
                    bus.connect(
                        self.endpoint,
                        matches!(&rom.device, Device::Can { device, .. } if device.is_fd()),
                    );
                }
                bus.set_rate(self.endpoint, rate);
                if let Device::Can { rate: kept, .. } = &mut rom.device {
                    *kept = rate;
                }
                self.send_rom(now, bus);
            }
            _ => bus.disconnect(self.endpoint),
        }
    }

    /// One frame at a time: a mailbox with a lower identifier would overtake.
    pub(super) fn send_rom(&mut self, now: u64, bus: &mut Bus) {
        let Some(Rom { device: Device::Can { queue, .. }, .. }) = self.rom.as_deref_mut() else { return };
        if !bus.controller(self.endpoint).has_mail()
            && let Some(frame) = queue.pop_front()
        {
            bus.submit(self.endpoint, &frame, now);
        }
    }

    /// A frame on the bus, which the ROM hears if it has its rate.
    pub(super) fn receive_rom(&mut self, now: u64, frame: &Frame, bus: &mut Bus) {
        if let (Some(Rom { device: Device::Can { device, rate, .. }, .. }), Id::Standard(id)) =
            (self.rom.as_deref_mut(), frame.id())
        {
            let frame = CanFrame { id, data: frame.data().to_vec(), fd: frame.is_fd() };
            device.handle_frame(Nanos(now), &frame, *rate);
        }
        self.run_rom(now, bus);
    }

    /// Go, or a reset with BOOT0 low: what runs now?
    fn left_rom(&mut self, now: u64, entry: Option<u32>, bus: &mut Bus) {
        bus.disconnect(self.endpoint);
        let Some(rom) = &mut self.rom else { return };
        let mut hardware = self.state.take();
        rom.hand_back(&mut hardware.flash);
        let agent = rom.agent.as_ref().filter(|agent| entry == Some(agent.address));
        let address = entry.unwrap_or(FLASH_BASE);
        if agent.is_some_and(|agent| holds(rom.device.chip(), agent)) {
            hardware.facts.capabilities |= Capabilities::AGENT | Capabilities::RECEIVES_WHILE_BUSY;
            let flash = &mut hardware.facts.flash;
            flash.app_base = flash.base;
            let last = flash.erase_unit(flash.base + flash.size() - 1);
            flash.record_base = last.map_or(flash.base, |unit| unit.address);
            hardware.flash.free();
            rom.patient = join_word(rom.device.chip(), address) != Some(*b"JOIN");
            let silence = if rom.patient { AGENT_SILENCE } else { 0 };
            self.state = State::Starting { hardware, at: now + AGENT_START + silence };
            return;
        }
        let mut vectors = [0xFF; 8];
        if !hardware.flash.read(address, &mut vectors) || vectors == [0xFF; 8] {
            // A hard fault, or code that nobody knows.
            self.state = State::Halted(hardware);
            return;
        }
        let [a, b, c, d, e, f, g, h] = vectors;
        let application = Application {
            address,
            stack: u32::from_le_bytes([a, b, c, d]),
            entry: u32::from_le_bytes([e, f, g, h]),
        };
        self.state = State::Application(hardware, application);
    }

    /// The host writes to the board's own port.
    pub(crate) fn port_write(&mut self, now: u64, bytes: &[u8]) {
        if let Some(Rom { device: Device::Uart(line), .. }) = self.rom.as_deref_mut() {
            line.host_write(Nanos(now), bytes);
        }
    }

    /// What can be read from the board's own port.
    pub(crate) fn port_read(&mut self, now: u64) -> Vec<u8> {
        match self.rom.as_deref_mut() {
            Some(Rom { device: Device::Uart(line), .. }) => line.host_read_all(Nanos(now)),
            _ => Vec::new(),
        }
    }

    /// The host sets its port's rate, which throws away what is under way.
    pub(crate) fn port_configure(&mut self, baud: u32) {
        if let Some(Rom { device: Device::Uart(line), told, .. }) = self.rom.as_deref_mut() {
            line.discard();
            line.set_config(LineConfig { baud, ..line.config() });
            *told = None;
        }
    }
}

/// The word by which a loader tells an agent how to join its bus (docs/protocol.md, "The RAM agent").
const JOIN_WORD: core::ops::Range<usize> = 0x1C..0x20;

/// Whether the chip's RAM holds the agent, whole, but for the word that is the loader's.
fn holds(chip: &RomChip, agent: &AgentCode) -> bool {
    let ram = ram(chip, agent.address, agent.bytes.len());
    let same = |ram: &[u8]| {
        let pairs = ram.iter().zip(&agent.bytes).enumerate();
        pairs.filter(|(at, _)| !JOIN_WORD.contains(at)).all(|(_, (a, b))| a == b)
    };
    ram.is_some_and(same)
}

fn join_word(chip: &RomChip, address: u32) -> Option<[u8; 4]> {
    ram(chip, address, JOIN_WORD.end)?.get(JOIN_WORD)?.try_into().ok()
}

fn ram(chip: &RomChip, address: u32, len: usize) -> Option<&[u8]> {
    let at = address.checked_sub(chip.model().map.host_ram.0)? as usize;
    chip.ram().get(at..at.checked_add(len)?)
}

fn frame(frame: &CanFrame) -> Option<Frame> {
    let id = Id::Standard(frame.id);
    if frame.fd { Frame::fd(id, &frame.data) } else { Frame::classical(id, &frame.data) }
}
