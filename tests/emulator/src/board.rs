//! A board: an emulated chip, its supply and reset line, its pins, its place on a simulated bus.
//!
//! The board lives behind the world: at every call it first catches up to the world's time. While its processor is
//! awake it asks for a call every [`QUANTUM`], so a frame that its code sends reaches the bus at most so much late;
//! asleep it asks for its next event. Invariant: nothing runs without power or in reset.

use panel_protocol::node::Uid;
use panel_simulator::{CanPort, RomLink};
use unicorn_engine::unicorn_const::uc_error;

use crate::elf::Program;
use crate::f1::F103;
use crate::f4::F405;
use crate::flash::{Flash, Noise};
use crate::g0g4::{G0G4, chips};
use crate::processor::{Crash, Processor, Ram};
use crate::rom::Rom;
use crate::serial::Usart;
use crate::soc::{CanAction, CanCounters, CanState, Soc};
use crate::wires::{Complaint, NEVER, Reset};

/// Longest stretch of time that an awake processor runs behind the world.
const QUANTUM: u64 = 10_000;
/// From a supply that is up to the first instruction (DS8626 table 19, tRSTTEMPO, typical).
const POWER_UP: u64 = 1_500_000;

/// Which chip a board carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chip {
    /// STM32F103xE, a Cortex-M3.
    F103,
    /// STM32F405.
    F405,
    /// STM32G431.
    G431,
    /// STM32G474, its flash in two banks.
    G474,
    /// STM32G0B1, a Cortex-M0+.
    G0B1,
}

impl Chip {
    /// As `panel-simulator` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F103 => "F103xE",
            Self::F405 => "F405",
            Self::G431 => "G431",
            Self::G474 => "G474",
            Self::G0B1 => "G0B1",
        }
    }

    fn ram(self) -> &'static [Ram] {
        match self {
            Self::F405 => &[
                Ram { address: 0x2000_0000, size: 128 * 1024 },
                Ram { address: 0x1000_0000, size: 64 * 1024 },
            ],
            Self::F103 => &[Ram { address: 0x2000_0000, size: 64 * 1024 }],
            // SRAM1, SRAM2 and the CCM's second address follow each other (RM0440 2.4); its first is not mapped.
            Self::G431 => &[Ram { address: 0x2000_0000, size: 32 * 1024 }],
            Self::G474 => &[Ram { address: 0x2000_0000, size: 128 * 1024 }],
            // SRAM without parity (RM0444 2.3): 144 KiB.
            Self::G0B1 => &[Ram { address: 0x2000_0000, size: 144 * 1024 }],
        }
    }
}

/// What a board is made of.
#[derive(Debug, Clone)]
pub struct BoardConfig {
    /// The chip.
    pub chip: Chip,
    /// Its unique ID.
    pub uid: Uid,
    /// The crystal on the board, Hz.
    pub crystal: Option<u32>,
    /// Seed of what its RAM holds at power-up and of what interrupted flash operations leave.
    pub seed: u64,
    /// What RAM holds at power-up; `None`: noise.
    pub fill: Option<u8>,
    /// Port and pin that the CAN transceiver's receiver drives.
    pub can_rx: (usize, u32),
}

impl BoardConfig {
    /// A board whose UID and noise follow from its number, its transceiver on the pins of the reference boards.
    #[must_use]
    pub fn new(chip: Chip, number: u8) -> Self {
        let uid = Uid([0x20 + number, 0, 0x41, 0, 7, 0x51, 0x36, 0x33, 0x38, 0x34, 0x31, 0x39]);
        let can_rx = match chip {
            Chip::F405 => (1, 5),
            Chip::G431 | Chip::G474 => (0, 11),
            Chip::F103 | Chip::G0B1 => (1, 8),
        };
        Self { chip, uid, crystal: None, seed: u64::from(number), fill: None, can_rx }
    }
}

/// A pin that the chip drives has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinChange {
    /// When it was seen, ns.
    pub at: u64,
    /// Port, 0 for A.
    pub port: usize,
    /// Pins that are outputs.
    pub outputs: u16,
    /// Their levels.
    pub levels: u16,
}

/// An emulated board.
pub struct Board {
    pub(crate) processor: Processor,
    /// A ROM that can be talked to.
    pub(crate) rom: Option<Rom>,
    config: BoardConfig,
    noise: Noise,
    powered: bool,
    pub(crate) held: bool,
    /// When the processor starts, if it is on its way.
    starts: u64,
    pub(crate) joined: bool,
    resets: Vec<Reset>,
    pins: Vec<PinChange>,
    last: [(u16, u16); 9],
}

impl Board {
    /// A board without power and without a program.
    ///
    /// # Errors
    /// If unicorn cannot be set up.
    pub fn new(config: BoardConfig) -> Result<Self, uc_error> {
        let soc: Box<dyn Soc> = match config.chip {
            Chip::F103 => Box::new(F103::new(config.uid, config.crystal)),
            Chip::F405 => Box::new(F405::new(config.uid, config.crystal)),
            Chip::G431 => Box::new(G0G4::new(&chips::G431, config.uid, config.crystal)),
            Chip::G474 => Box::new(G0G4::new(&chips::G474, config.uid, config.crystal)),
            Chip::G0B1 => Box::new(G0G4::new(&chips::G0B1, config.uid, config.crystal)),
        };
        let processor = Processor::new(soc, config.chip.ram())?;
        let noise = Noise::new(config.seed);
        Ok(Self {
            processor,
            rom: None,
            config,
            noise,
            powered: false,
            held: false,
            starts: NEVER,
            joined: false,
            resets: Vec::new(),
            pins: Vec::new(),
            last: [(0, 0); 9],
        })
    }

    /// Gives the chip a ROM bootloader that listens on this kind of line; false if its ROM does not.
    pub fn fit_rom(&mut self, link: RomLink) -> bool {
        self.rom = Rom::new(&self.config, link);
        self.rom.is_some()
    }

    /// Puts a program into flash, as a programming adapter does before the board is fitted.
    pub fn program(&mut self, program: &Program) {
        for (address, bytes) in &program.segments {
            self.flash_mut().preset(*address, bytes);
        }
    }

    /// The flash.
    #[must_use]
    pub fn flash(&self) -> &Flash {
        self.processor.soc().flash()
    }

    /// The flash; changes while the board has power are not seen by its processor.
    pub fn flash_mut(&mut self) -> &mut Flash {
        self.processor.soc_mut().flash_mut()
    }

    /// What the code did against the manual, what the models do not know, and how the processor died.
    #[must_use]
    pub fn complaints(&self) -> Vec<Complaint> {
        self.processor.wires().complaints().cloned().collect()
    }

    /// How the processor died since the last reset, if it did.
    #[must_use]
    pub fn crash(&self) -> Option<Crash> {
        self.processor.crash()
    }

    /// Every fault (HardFault exception) since the board was made, survived or not.
    #[must_use]
    pub fn faults(&self) -> Vec<Crash> {
        self.processor.faults().to_vec()
    }

    /// Every reset since the board was made.
    #[must_use]
    pub fn resets(&self) -> &[Reset] {
        &self.resets
    }

    /// Changes of the pins that the chip drives.
    #[must_use]
    pub fn pin_changes(&self) -> &[PinChange] {
        &self.pins
    }

    /// Drives a pin of the chip from outside.
    pub fn drive_pin(&mut self, port: usize, pin: u32, high: bool) {
        self.processor.soc_mut().drive(port, 1 << pin, u16::from(high) << pin);
    }

    /// Serial port `n`, from 1.
    ///
    /// # Panics
    /// If the chip has none of this number.
    pub fn usart(&mut self, n: usize) -> &mut Usart {
        self.processor.soc_mut().usart(n).expect("a port of the chip")
    }

    /// What the CAN controller counted.
    #[must_use]
    pub fn can_counters(&self) -> CanCounters {
        self.processor.soc().can_counters()
    }

    /// Instructions executed since the board was made.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.processor.instructions()
    }

    /// How often its processor leapt over code that another board's has executed since the board was made.
    #[must_use]
    pub fn leaps(&self) -> u32 {
        self.processor.leaps()
    }

    /// Processor cycles since the last reset in which the processor was awake.
    #[must_use]
    pub fn cycles_awake(&self) -> u64 {
        let now = self.processor.wires().now;
        now.cycles - now.asleep
    }

    /// Time the processor stood still because it touched a busy flash, ns, since power-on.
    #[must_use]
    pub fn stalled(&self) -> u64 {
        self.processor.wires().stalled
    }

    /// Option bytes in force, as the family's option register shows them.
    #[must_use]
    pub fn option_word(&self) -> u32 {
        self.processor.soc().option_word()
    }

    /// Bytes of RAM or flash as the processor sees them.
    #[must_use]
    pub fn memory(&self, address: u32, len: usize) -> Vec<u8> {
        self.processor.memory(address, len)
    }

    /// Changes RAM behind the program's back, as a stray pointer does; false where there is none.
    pub fn spoil_memory(&mut self, address: u32, bytes: &[u8]) -> bool {
        self.processor.spoil(address, bytes)
    }

    /// Whether the processor sleeps or does not run.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        !self.powered || self.held || self.processor.is_asleep()
    }

    /// Where the processor is.
    #[must_use]
    pub fn program_counter(&self) -> u32 {
        self.processor.program_counter()
    }

    /// Switches the supply.
    pub fn set_power(&mut self, now: u64, on: bool) {
        if self.powered == on {
            return;
        }
        self.powered = on;
        if on {
            self.starts = now + POWER_UP;
        } else {
            self.starts = NEVER;
            self.halt_rom(now);
            let seed = self.noise.next();
            self.flash_mut().interrupt(now, seed);
        }
    }

    /// Pulls or releases NRST.
    pub fn set_reset(&mut self, now: u64, asserted: bool) {
        if self.held == asserted {
            return;
        }
        self.held = asserted;
        if asserted {
            self.halt_rom(now);
            let seed = self.noise.next();
            self.flash_mut().interrupt(now, seed);
        } else if self.powered && self.starts == NEVER {
            self.restart(now, Reset::Pin);
        }
    }

    /// When the board wants to live on, or [`NEVER`].
    #[must_use]
    pub fn due(&self) -> u64 {
        if !self.powered || self.held {
            NEVER
        } else if self.starts != NEVER {
            self.starts
        } else if let Some(due) = self.rom_due() {
            due
        } else if self.processor.is_asleep() {
            self.processor.next_event().max(self.processor.now())
        } else {
            self.processor.now() + QUANTUM
        }
    }

    /// Lives until `now`, with or without a bus; true if a ROM has answered on the board's own port.
    pub fn run(&mut self, now: u64, mut port: Option<&mut CanPort<'_>>) -> bool {
        if !self.powered || self.held {
            return false;
        }
        if self.starts <= now {
            let at = self.starts;
            self.starts = NEVER;
            self.restart(at, Reset::Power);
        }
        if self.starts != NEVER {
            return false;
        }
        if let Some(readable) = self.run_rom(now, &mut port) {
            return readable;
        }
        self.tell_state(&mut port);
        while let Some(cause) = self.processor.run(now) {
            self.look();
            self.restart(self.processor.now(), cause);
        }
        self.look();
        self.act(now, &mut port);
        false
    }

    pub(crate) fn restart(&mut self, at: u64, cause: Reset) {
        self.resets.push(cause);
        let (noise, fill) = (&mut self.noise, self.config.fill);
        self.processor.reset(at, cause, &mut || fill.unwrap_or_else(|| noise.next() as u8));
        self.boot(at);
    }

    /// Notes what the pins do.
    fn look(&mut self) {
        let at = self.processor.now();
        for port in 0..self.last.len() {
            let (outputs, levels) = self.processor.soc().outputs(port);
            if self.last[port] != (outputs, levels) {
                self.last[port] = (outputs, levels);
                self.pins.push(PinChange { at, port, outputs, levels });
            }
        }
    }

    /// The error state that the bus keeps reaches the cell; the receive pin is low while a frame is on the bus (of its
    /// single bits: stuffing lets no six be recessive).
    fn tell_state(&mut self, port: &mut Option<&mut CanPort<'_>>) {
        let Some(port) = port else { return };
        let (pin, idle) = (self.config.can_rx, port.is_idle());
        self.drive_pin(pin.0, pin.1, idle);
        if self.joined {
            let (tec, rec) = port.error_counters();
            let state = CanState { tec, rec, off: port.is_off() };
            let (soc, wires) = self.processor.parts();
            soc.set_can_state(wires, state);
        }
    }

    /// Does on the bus what the cell asked for.
    pub(crate) fn act(&mut self, now: u64, port: &mut Option<&mut CanPort<'_>>) {
        while let Some(action) = self.processor.soc_mut().can_action() {
            let Some(port) = port else { continue };
            match action {
                CanAction::Join { nominal, data, returns } => {
                    if self.join(nominal, data, port) && !returns {
                        port.wait_when_off();
                    }
                }
                CanAction::Leave => {
                    self.joined = false;
                    port.disconnect();
                }
                CanAction::Send(frame) => {
                    if self.joined && !port.submit(now, &frame) {
                        let (_, wires) = self.processor.parts();
                        wires.complain("the bus has no room for a frame that the cell had room for");
                    }
                }
                CanAction::Abort => port.abort(),
                CanAction::Recover => port.recover(now),
            }
        }
    }

    /// A controller at another bit rate would destroy every frame: it is kept off the bus and that is noted.
    fn join(&mut self, nominal: u32, data: Option<u32>, port: &mut CanPort<'_>) -> bool {
        let (bus, bus_data) = port.bit_rates();
        let (_, wires) = self.processor.parts();
        if nominal != bus {
            wires.complain(format!("CAN at {nominal} bit/s on a bus of {bus} bit/s"));
            return false;
        }
        if let (Some(own), Some(bus)) = (data, bus_data)
            && own != bus
        {
            wires.complain(format!("CAN FD data at {own} bit/s on a bus of {bus} bit/s"));
            return false;
        }
        self.joined = true;
        port.connect(data.is_some());
        true
    }
}
