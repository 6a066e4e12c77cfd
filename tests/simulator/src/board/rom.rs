//! A board's ROM bootloader in the world: a [`Loader`] behind the board's power, lines, port and bus.
//!
//! The chip's flash is told twice, once here and once in the board's hardware; whoever runs has the truth, and it
//! is copied when the other takes over. A chip that is told to Go into RAM where the agent's very bytes lie runs
//! the node from then on, which stays off the bus until that has been silent: other boards' ROMs are still being
//! talked to, at other bit rates.

use std::sync::Arc;

use panel_protocol::agent::{JOIN_AT_ONCE, JOIN_WORD, SLOT_WORD, slot_in};
use panel_protocol::frame::Frame;
use panel_protocol::node::{Capabilities, Protection, ResetCause};
use rom_simulator::{Chip as RomChip, Fault, Model, Protection as RomProtection, State as RomState};

use super::{Application, Board, State};
use crate::bus::Bus;
use crate::chip::FLASH_BASE;
use crate::config::{AgentCode, RomConfig};
use crate::device::CanPort;
use crate::firmware::Firmware;
use crate::flash::Flash;
use crate::hardware::{Hardware, OptionWrite};
use crate::loader::Loader;
use crate::timers::NEVER;

/// What a ROM's write of option bytes takes (rom-simulator).
const OPTION_WRITE: u64 = 30_000_000;
/// Silence on the bus after which an agent takes part in it.
pub(crate) const AGENT_SILENCE: u64 = 250_000_000;

/// The ROM of one board.
#[derive(Debug)]
pub(crate) struct Rom {
    loader: Loader,
    agent: Option<Arc<AgentCode>>,
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
        let loader = Loader::new(config.link, config.latency, model, faults, seed, uid)?;
        let options = (RomProtection::Open, Vec::new());
        Some(Self { loader, agent: config.agent.clone(), patient: true, options })
    }

    pub(crate) fn set_boot0(&mut self, high: bool) {
        self.loader.set_boot0(high);
    }

    /// The chip is the ROM's: as its flash and option bytes are.
    fn take_over(&mut self, flash: &Flash) {
        let chip = self.loader.chip_mut();
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
        let chip = self.loader.chip_mut();
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
        rom.loader.set_power(now, true);
        self.state = State::Rom(hardware);
        self.follow_rom(now, bus);
    }

    /// The ROM stops here and now; what it did to the flash stays.
    pub(super) fn halt_rom(&mut self, now: u64) {
        let Some(rom) = &mut self.rom else { return };
        if let State::Rom(hardware) = &mut self.state {
            rom.loader.advance(now);
            rom.loader.set_power(now, false);
            rom.hand_back(&mut hardware.flash);
        } else {
            // Somebody else runs: the ROM starts from the beginning next time.
            rom.loader.set_power(now, false);
        }
    }

    pub(super) fn rom_due(&self) -> u64 {
        self.rom.as_ref().map_or(NEVER, |rom| rom.loader.due())
    }

    /// Another time at which an agent may come up, if the bus has not been silent for long enough now.
    pub(super) fn agent_due(&self, now: u64, bus: &Bus) -> Option<u64> {
        self.rom.as_ref().filter(|rom| rom.patient)?;
        Some(bus.idle_since(now) + AGENT_SILENCE).filter(|due| *due > now)
    }

    /// Runs the ROM; true if the port's host can read something new.
    pub(super) fn run_rom(&mut self, now: u64, bus: &mut Bus) -> bool {
        let Some(rom) = &mut self.rom else { return false };
        let readable = rom.loader.advance(now);
        if let State::Rom(hardware) = &mut self.state
            && let Some(protection) = rom.hand_back(&mut hardware.flash)
        {
            self.option_write_began(OptionWrite { start: now, end: now + OPTION_WRITE, protection });
        }
        self.follow_rom(now, bus);
        readable
    }

    /// Lets the loader use the bus, and sees whether it has handed over.
    fn follow_rom(&mut self, now: u64, bus: &mut Bus) {
        let Some(rom) = &mut self.rom else { return };
        match rom.loader.state() {
            RomState::Application(entry) => self.left_rom(now, entry, bus),
            _ => rom.loader.follow(now, &mut CanPort { bus, endpoint: self.endpoint }),
        }
    }

    /// The loader's last frame is gone.
    pub(super) fn send_rom(&mut self, now: u64, bus: &mut Bus) {
        if let Some(rom) = &mut self.rom {
            rom.loader.send(now, &mut CanPort { bus, endpoint: self.endpoint });
        }
    }

    /// A frame on the bus.
    pub(super) fn receive_rom(&mut self, now: u64, frame: &Frame, bus: &mut Bus) {
        if let Some(rom) = &mut self.rom {
            rom.loader.receive(now, frame);
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
        if agent.is_some_and(|agent| holds(rom.loader.chip(), agent)) {
            let capabilities = &mut hardware.facts.capabilities;
            *capabilities |= Capabilities::AGENT | Capabilities::RECEIVES_WHILE_BUSY;
            // An agent does not outlive the restart that loads option bytes, and what a resident keeps is nothing to it.
            *capabilities -=
                Capabilities::OPTIONS | Capabilities::KEYS | Capabilities::SEALS | Capabilities::SLOT;
            hardware.facts.flash.app_base = hardware.facts.flash.base;
            hardware.flash.free();
            let told = |offset| word(rom.loader.chip(), address + offset as u32);
            rom.patient = told(JOIN_WORD) != Some(JOIN_AT_ONCE);
            hardware.strap = told(SLOT_WORD).and_then(slot_in).or(hardware.strap);
            let silence = if rom.patient { AGENT_SILENCE } else { 0 };
            // A sixth less than the bootloader is unpacked (docs/node.md, "Measured").
            let start = self.start_up - self.start_up / 5;
            self.state = State::Starting { hardware, at: now + start + silence };
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
        if let Some(device) = &mut self.device {
            device.port_write(now, bytes);
        } else if let Some(rom) = &mut self.rom {
            rom.loader.port_write(now, bytes);
        }
    }

    /// What can be read from the board's own port.
    pub(crate) fn port_read(&mut self, now: u64) -> Vec<u8> {
        if let Some(device) = &mut self.device {
            return device.port_read(now);
        }
        self.rom.as_deref_mut().map(|rom| rom.loader.port_read(now)).unwrap_or_default()
    }

    /// The host sets its port's rate, which throws away what is under way.
    pub(crate) fn port_configure(&mut self, baud: u32) {
        if let Some(device) = &mut self.device {
            device.port_configure(baud);
        } else if let Some(rom) = &mut self.rom {
            rom.loader.port_configure(baud);
        }
    }
}

/// Whether the chip's RAM holds the agent, whole, but for the words that are the loader's.
fn holds(chip: &RomChip, agent: &AgentCode) -> bool {
    let ram = ram(chip, agent.address, agent.bytes.len());
    let same = |ram: &[u8]| {
        let pairs = ram.iter().zip(&agent.bytes).enumerate();
        pairs.filter(|(at, _)| !(JOIN_WORD..SLOT_WORD + 4).contains(at)).all(|(_, (a, b))| a == b)
    };
    ram.is_some_and(same)
}

fn word(chip: &RomChip, address: u32) -> Option<u32> {
    Some(u32::from_le_bytes(ram(chip, address, 4)?.try_into().ok()?))
}

fn ram(chip: &RomChip, address: u32, len: usize) -> Option<&[u8]> {
    let at = address.checked_sub(chip.model().map.host_ram.0)? as usize;
    chip.ram().get(at..at.checked_add(len)?)
}
