//! A ROM bootloader one is talking to: single commands with retries, budgets and errors that say where.
//!
//! Operations (`ops`) call this; it calls a link (`wire`). Finding the chip is in `connect.rs`, reading and
//! writing memory in `memory.rs`, protection and its resets in `protect.rs`.

mod connect;
mod memory;
mod protect;

use core::time::Duration;

use crate::command::{CanRate, Command, Erase, Opcode, Reply};
use crate::device::{Device, Parallelism, Startup, SupplyVoltage, Traits};
use crate::error::{Error, Fault};
use crate::event::{Event, Note, Step, Wait};
use crate::port::Port;
use crate::settings::{CanKind, CanSettings, Chip, Entry, Limits, UartSettings};
use crate::wire::{Budget, Can, Uart, Wire};

pub use connect::Identity;

/// The highest rate that AN3155 promises (section 2.1).
const PROMISED_BAUD: u32 = 115_200;
/// Flash times of a chip nobody knows: stm32flash waits as long.
const UNKNOWN_PAGE_ERASE: Duration = Duration::from_secs(5);
const UNKNOWN_MASS_ERASE: Duration = Duration::from_secs(35);
const UNKNOWN_WRITE: Duration = Duration::from_secs(2);
/// Erasing and programming option bytes: two page times of the slowest family (F4: 16 KiB sector).
const OPTION_TIME: Duration = Duration::from_secs(2);

/// A connection and everything known about its other end.
#[derive(Debug)]
pub struct Rom {
    port: Port,
    wire: Wire,
    chip: Chip,
    entry: Entry,
    limits: Limits,
    step: Step,
    /// Whether the driver can reset the chip, as far as it has been tried.
    can_reset: Option<bool>,
    /// The rate to ask for after each connect (CAN).
    speed: Option<CanRate>,
    /// Whether the adapter is at another rate than the ROM starts with.
    rate_changed: bool,
    /// What the ROM was told about the supply; lost with each reset.
    voltage: Option<SupplyVoltage>,
    identity: Option<Identity>,
    traits: Traits,
    /// Whether a command was accepted that a protected chip refuses.
    open: bool,
    /// Whether anything had to be recovered from.
    disturbed: bool,
}

impl Rom {
    pub(crate) fn over_uart(port: Port, settings: UartSettings) -> Self {
        let wire = Wire::Uart(Uart::new(port.clone(), &settings));
        Self::new(port, wire, settings.chip, settings.entry, settings.limits, None)
    }

    pub(crate) fn over_can(port: Port, settings: CanSettings) -> Self {
        let wire = Wire::Can(Can::new(port.clone(), &settings));
        let speed = match settings.kind {
            CanKind::Classic { speed } => speed,
            CanKind::Fd => None,
        };
        Self::new(port, wire, settings.chip, settings.entry, settings.limits, speed)
    }

    fn new(port: Port, wire: Wire, chip: Chip, entry: Entry, limits: Limits, speed: Option<CanRate>) -> Self {
        let traits = chip.device().map_or_else(Traits::unknown, |device| device.traits(None));
        Self {
            port,
            wire,
            chip,
            entry,
            limits,
            step: Step::Connect,
            can_reset: None,
            speed,
            rate_changed: false,
            voltage: None,
            identity: None,
            traits,
            open: false,
            disturbed: false,
        }
    }

    /// Begins a step and tells so.
    pub(crate) fn begin(&mut self, step: Step) {
        self.step = step;
        self.port.event(Event::Step(step));
    }

    pub(crate) fn progress(&self, done: usize, total: usize) {
        let (done, total) = (done as u32, total as u32);
        self.port.event(Event::Progress { step: self.step, done, total });
    }

    pub(crate) fn note(&self, note: Note) {
        self.port.event(Event::Note(note));
    }

    /// What has come in since the last command began, as it came.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.port.heard()
    }

    pub(crate) const fn traits(&self) -> &Traits {
        &self.traits
    }

    /// Whether anything went wrong on the wire so far. An ACK may then have been a chip's answer to a sync byte
    /// in the data, because it had been reset.
    pub(crate) const fn disturbed(&self) -> bool {
        self.disturbed
    }

    pub(crate) const fn is_can(&self) -> bool {
        self.wire.is_can()
    }

    pub(crate) const fn is_fd(&self) -> bool {
        self.wire.is_fd()
    }

    /// The chip, once identified.
    pub(crate) fn device(&self) -> Option<&'static Device> {
        self.identity.as_ref().and_then(|identity| identity.device).or_else(|| self.chip.device())
    }

    /// The chip, or the error that it is unknown.
    pub(crate) fn known_device(&self) -> Result<&'static Device, Error> {
        let product_id = self.identity.as_ref().map_or(0, |identity| identity.product_id);
        self.device().ok_or(Error::UnknownChip { product_id })
    }

    /// Whether an answer to `command` is worth a second try: it changes nothing, or the same thing again.
    const fn repeatable(command: &Command<'_>) -> bool {
        matches!(
            command,
            Command::Get | Command::GetVersion | Command::GetId | Command::Read { .. } | Command::Erase(_)
        )
    }

    /// Carries out a command; what can be repeated safely is repeated if the wire went wrong, and once if it
    /// was refused, because a disturbed byte is refused too.
    pub(crate) async fn run(&mut self, command: &Command<'_>) -> Result<Reply, Error> {
        self.check_listed(command)?;
        let budget = self.budget(command);
        let mut tries = if Self::repeatable(command) { self.limits.retries } else { 0 };
        let mut refused = false;
        loop {
            let fault = match self.execute(command, budget).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            let first_refusal = matches!(fault, Fault::Refused { .. }) && !refused;
            if tries == 0 || !(first_refusal || fault.is_noise()) {
                return Err(self.failure(fault, command).await);
            }
            tries -= 1;
            refused |= first_refusal;
            self.recover_from(&fault, command).await?;
        }
    }

    /// One try. A command refused at once on a chip that has accepted its like is no protection: the ROM has
    /// lost count, which counts as noise.
    async fn execute(&mut self, command: &Command<'_>, budget: Budget) -> Result<Reply, Fault> {
        let guarded = refused_when_protected(command.opcode());
        self.port.listen();
        match self.wire.execute(command, budget).await {
            Ok(reply) => {
                self.open |= guarded;
                Ok(reply)
            }
            Err(Fault::Refused { at: Wait::Command }) if guarded && self.open && !self.wire.is_can() => {
                Err(Fault::Garbled { wait: Wait::Command, got: 0x1F })
            }
            Err(fault) => Err(fault),
        }
    }

    /// After a fault: back to the start of a command. If that fails, the error is the fault's own.
    async fn recover_from(&mut self, fault: &Fault, command: &Command<'_>) -> Result<(), Error> {
        let wait = match fault {
            Fault::Refused { at } => *at,
            Fault::TimedOut { wait, .. } | Fault::Garbled { wait, .. } | Fault::Flooded { wait } => *wait,
            _ => return Err(self.error(fault.clone(), Some(command))),
        };
        self.disturbed |= fault.is_noise();
        self.port.event(Event::Repeated { command: command.opcode(), address: command.address(), wait });
        let refused = matches!(fault, Fault::Refused { .. });
        if !refused && self.can_reset == Some(true) {
            // Safer than filler, and the same for every state the ROM may be in.
            return self.reset_and_resume().await;
        }
        let recovered =
            if refused { self.wire.settle().await } else { self.wire.realign().await.map(|_| ()) };
        match recovered {
            Ok(()) => return Ok(()),
            Err(Fault::Cancelled) => return Err(Error::Cancelled { step: self.step }),
            Err(_) => {}
        }
        // Nothing helps but a reset, if the driver can.
        if self.can_reset.is_none() {
            match self.reset_and_resume().await {
                Ok(()) => return Ok(()),
                Err(Error::Cancelled { step }) => return Err(Error::Cancelled { step }),
                Err(_) => {}
            }
        }
        Err(self.error(fault.clone(), Some(command)))
    }

    fn check_listed(&self, command: &Command<'_>) -> Result<(), Error> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let listed = match command {
            Command::Get => true,
            Command::Erase(_) => identity.lists(Opcode::ERASE) || identity.lists(Opcode::EXTENDED_ERASE),
            other => identity.lists(other.opcode()),
        };
        if listed { Ok(()) } else { Err(Error::NotListed { step: self.step, command: command.opcode() }) }
    }

    /// Flash time to allow for: twice the maximum of the datasheet, at the slowest parallelism.
    fn budget(&self, command: &Command<'_>) -> Budget {
        let device = self.device();
        let timing = device.map(|device| crate::device::FlashTiming::of(device.family));
        let flash = match command {
            Command::Write { data, .. } => {
                let programming = timing.map_or(UNKNOWN_WRITE, |timing| {
                    2 * timing.program_bytes(data.len() as u32, Parallelism::X8).max
                });
                programming
                    + if self.is_option_address(command.address()) { OPTION_TIME } else { Duration::ZERO }
            }
            Command::Erase(Erase::Units(units)) => self.unit_erase_time(units),
            Command::Erase(_) | Command::ReadoutUnprotect => self.mass_erase_time(),
            Command::WriteProtect { .. } | Command::WriteUnprotect | Command::ReadoutProtect => OPTION_TIME,
            Command::Special { .. } | Command::ExtendedSpecial { .. } | Command::GetChecksum { .. } => {
                UNKNOWN_PAGE_ERASE
            }
            Command::Get
            | Command::GetVersion
            | Command::GetId
            | Command::Read { .. }
            | Command::Go { .. } => Duration::ZERO,
        };
        Budget { flash }
    }

    fn is_option_address(&self, address: Option<u32>) -> bool {
        match (self.device().map(|device| device.option_bytes), address) {
            (Some(crate::device::OptionBytes::Memory(areas)), Some(address)) => {
                areas.iter().any(|area| area.contains(address))
            }
            _ => false,
        }
    }

    fn unit_erase_time(&self, units: &[u16]) -> Duration {
        let known = self.device().and_then(|device| {
            let flash = device.flash?;
            let all = flash.units(flash.max_kib, flash.default_mode)?;
            let timing = crate::device::FlashTiming::of(device.family);
            let one = |unit: &u16| {
                let bytes = all.get(usize::from(*unit)).map_or(256 << 10, |unit| unit.bytes);
                2 * timing.erase_unit(bytes, Parallelism::X8).max
            };
            Some(units.iter().map(one).sum::<Duration>())
        });
        known.unwrap_or_else(|| UNKNOWN_PAGE_ERASE.saturating_mul(units.len() as u32))
    }

    /// Twice the maximum time of a mass erase.
    fn mass_erase_time(&self) -> Duration {
        let known = self.device().and_then(|device| {
            let kib = u32::from(device.flash?.max_kib);
            Some(2 * crate::device::FlashTiming::of(device.family).mass_erase(kib, Parallelism::X8).max)
        });
        known.unwrap_or(UNKNOWN_MASS_ERASE)
    }

    fn startup(&self) -> Option<Startup> {
        self.device().and_then(|device| device.startup)
    }

    /// Lets time pass because this chip needs it.
    pub(crate) async fn pause(&self, length: Duration, wait: Wait) -> Result<(), Error> {
        if length.is_zero() {
            return Ok(());
        }
        self.port.event(Event::Pausing { wait, length });
        self.port.pause(length, wait).await.map_err(|fault| self.error(fault, None))
    }

    /// As [`Rom::error`], but finds out what a refusal means. Over CAN a bad address and readout protection
    /// look the same: the one frame that has the command and the address is refused. Reading the start of the
    /// flash tells them apart.
    async fn failure(&mut self, fault: Fault, command: &Command<'_>) -> Error {
        let ambiguous = self.wire.is_can()
            && matches!(fault, Fault::Refused { at: Wait::Command })
            && refused_when_protected(command.opcode());
        let start = self.device().and_then(|device| device.flash).map(|flash| flash.start);
        let (address, at) = match command.address() {
            Some(address) => (Some(address), Wait::Address),
            None => (None, Wait::Argument),
        };
        match start {
            Some(start) if ambiguous && !(command.opcode() == Opcode::READ && address == Some(start)) => {
                let probe = Command::Read { address: start, len: 8 };
                match self.wire.execute(&probe, Budget::default()).await {
                    Err(Fault::Refused { .. }) => self.error(fault, Some(command)),
                    Err(Fault::Cancelled) => self.error(Fault::Cancelled, Some(command)),
                    _ => self.error(Fault::Refused { at }, Some(command)),
                }
            }
            _ => self.error(fault, Some(command)),
        }
    }

    /// Adds step, command and address to what a link reports.
    fn error(&self, fault: Fault, command: Option<&Command<'_>>) -> Error {
        let step = self.step;
        let code = command.map(Command::opcode);
        let address = command.and_then(Command::address);
        match fault {
            Fault::NoAnswer { attempts, waited, heard } => {
                // A chip that has not answered is taken for the row it was said to be.
                let traits = self
                    .chip
                    .device()
                    .map_or_else(|| self.traits.clone(), |device| device.traits(device.bootloader_id));
                let advised = [traits.max_baud, traits.prefer_baud, Some(PROMISED_BAUD)];
                let try_baud = advised
                    .into_iter()
                    .flatten()
                    .min()
                    .filter(|advised| self.wire.baud().is_some_and(|baud| baud > *advised));
                Error::NoAnswer { attempts, waited, heard, try_baud }
            }
            Fault::ParityMissing => Error::ParityMissing,
            Fault::Echo => Error::Echo,
            Fault::TimedOut { wait, after } => Error::TimedOut { step, command: code, address, wait, after },
            Fault::Garbled { wait, got } => Error::Garbled { step, command: code, address, wait, got },
            Fault::Flooded { wait } => Error::Flooded { step, wait },
            Fault::Refused { at } => {
                let command = code.unwrap_or(Opcode::GET);
                if at == Wait::Command && refused_when_protected(command) {
                    Error::Protected { step, command }
                } else {
                    Error::Refused { step, command, address, at }
                }
            }
            Fault::NotListed(command) => Error::NotListed { step, command },
            Fault::Argument(reason) => Error::BadArgument { command: code.unwrap_or(Opcode::GET), reason },
            Fault::LinesUnavailable(action) => Error::LinesUnavailable { step, action },
            Fault::Cancelled => Error::Cancelled { step },
        }
    }
}

/// Commands that a ROM refuses at once under RDP level 1 (AN3155, section 3).
fn refused_when_protected(command: Opcode) -> bool {
    matches!(
        command,
        Opcode::READ
            | Opcode::WRITE
            | Opcode::GO
            | Opcode::ERASE
            | Opcode::EXTENDED_ERASE
            | Opcode::WRITE_PROTECT
            | Opcode::WRITE_UNPROTECT
            | Opcode::READOUT_PROTECT
    )
}
