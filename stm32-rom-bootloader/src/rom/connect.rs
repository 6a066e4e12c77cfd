//! Finding the chip: reset, sync, bit rate, commands, product ID, ROM version.

use core::time::Duration;

use super::Rom;
use crate::command::{Command, Opcode, Reply};
use crate::device::{Device, Startup, SupplyVoltage, Traits};
use crate::error::{Error, Fault};
use crate::event::{Event, LineAction, LineResult, Step};
use crate::settings::{Chip, Entry};
use crate::wire::{Budget, Connecting, Greeting};

/// Start-up time assumed for an unknown chip while there are more tries: all but the two slowest ROMs.
const USUAL_STARTUP: Duration = Duration::from_millis(600);
/// Tolerance on a start-up time that is known.
const STARTUP_MARGIN: Duration = Duration::from_millis(400);

/// Who answered. Hand it to the next session as [`crate::Entry::Connected`] and nothing is asked twice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Protocol version, `0x31` for 3.1.
    pub protocol: u8,
    /// The commands the ROM lists.
    pub commands: Vec<Opcode>,
    /// Product ID.
    pub product_id: u16,
    /// ROM version, where it makes a difference and could be read.
    pub bootloader_id: Option<u16>,
    /// The row of the device table; `None` for an unknown product ID.
    pub device: Option<&'static Device>,
    /// Whether reading is refused (RDP level 1 or a fault); `None` if it has not been tried.
    pub protected: Option<bool>,
}

impl Identity {
    /// Whether the ROM lists a command.
    #[must_use]
    pub fn lists(&self, command: Opcode) -> bool {
        self.commands.contains(&command)
    }
}

impl Rom {
    /// Connects as the settings say and finds out who is there. Every operation begins with this.
    pub(crate) async fn start(&mut self) -> Result<Identity, Error> {
        self.start_reading_version_if(Device::version_matters).await
    }

    /// As [`Rom::start`]; the ROM's version is read only of chips of which it `matters`.
    pub(crate) async fn start_reading_version_if(
        &mut self,
        matters: fn(&Device) -> bool,
    ) -> Result<Identity, Error> {
        self.begin(Step::Connect);
        let greeting = match core::mem::take(&mut self.entry) {
            Entry::Connected(identity) => {
                // The session that connected has changed the rate, too.
                self.rate_changed = self.speed.is_some();
                self.adopt(identity.clone());
                return Ok(identity);
            }
            Entry::Reset => self.enter_rom(LineAction::EnterRom).await?,
            Entry::AsIs => {
                let now = self.port.now();
                let worst = self.startup().map_or(Duration::ZERO, |startup| startup.worst);
                let until = now + worst + self.limits.connect;
                self.sync(Connecting { earliest: now, until, abandoned: true }).await?
            }
        };
        self.begin(Step::Identify);
        let identity = self.identify(greeting, matters).await?;
        self.port.event(Event::Identified(identity.clone()));
        Ok(identity)
    }

    /// Resets the chip into its ROM and synchronises, more than once if it stays silent: a glitch before the
    /// sync byte sends the ROM to a wrong rate until the next reset (AN3155, section 2.1).
    pub(super) async fn enter_rom(&mut self, action: LineAction) -> Result<Greeting, Error> {
        for tries_left in (0..=self.limits.retries).rev() {
            if self.rate_changed {
                self.line(LineAction::BitRate(crate::command::CanRate::Kbit125)).await?;
                self.rate_changed = false;
            }
            if let Err(error) = self.line(action).await {
                self.can_reset = Some(false);
                return Err(error);
            }
            self.can_reset = Some(true);
            let now = self.port.now();
            // A byte while the ROM switches its receiver on is measured wrongly; a frame is repeated by the adapter
            // until somebody acknowledges it.
            let can = self.is_can();
            let first = |startup: Startup| if can { startup.best } else { startup.first_sync() };
            let best = self.startup().map_or(Duration::ZERO, first);
            let worst = self.startup().map_or(USUAL_STARTUP, |startup| startup.worst);
            let patience = if tries_left == 0 { self.limits.connect } else { STARTUP_MARGIN };
            let connecting =
                Connecting { earliest: now + best, until: now + worst + patience, abandoned: false };
            match self.sync(connecting).await {
                Err(Error::NoAnswer { .. } | Error::Flooded { .. }) if tries_left > 0 => {}
                other => return other,
            }
        }
        Err(Error::LinesUnavailable { step: self.step, action: action.describe() })
    }

    /// Synchronises, and goes to the wanted bit rate.
    pub(super) async fn sync(&mut self, connecting: Connecting) -> Result<Greeting, Error> {
        let greeting = self.wire.connect(connecting).await.map_err(|fault| self.error(fault, None))?;
        self.port.event(Event::Synced { already: greeting == Greeting::Already });
        if let (Some(rate), false) = (self.speed, self.rate_changed) {
            let limit = self.limits.lines;
            self.wire.change_rate(rate, limit).await.map_err(|fault| self.error(fault, None))?;
            self.rate_changed = true;
        }
        Ok(greeting)
    }

    pub(crate) async fn line(&mut self, action: LineAction) -> Result<(), Error> {
        let limit = self.limits.lines;
        match self.port.line(action, limit).await {
            Ok(Some(LineResult::Done)) => Ok(()),
            Ok(Some(LineResult::Unavailable)) => {
                Err(Error::LinesUnavailable { step: self.step, action: action.describe() })
            }
            Ok(None) => {
                Err(self.error(Fault::TimedOut { wait: crate::event::Wait::Lines, after: limit }, None))
            }
            Err(fault) => Err(self.error(fault, None)),
        }
    }

    /// Resets, synchronises, and tells the ROM again what a reset makes it forget.
    pub(super) async fn reset_and_resume(&mut self) -> Result<(), Error> {
        let voltage = self.voltage.take();
        let greeting = self.enter_rom(LineAction::EnterRom).await?;
        self.first_get(greeting).await?;
        if let Some(voltage) = voltage {
            self.tell_voltage(voltage).await?;
        }
        Ok(())
    }

    /// Tells an F2, F4 or F7 its supply voltage, so that it programs up to four bytes at once (AN2606, write to
    /// virtual address 0xFFFF0000). Whether the ROM took it.
    pub(crate) async fn tell_voltage(&mut self, voltage: SupplyVoltage) -> Result<bool, Error> {
        let data = [voltage.code(), 0xFF, 0xFF, 0xFF];
        match self.run_once(&Command::Write { address: 0xFFFF_0000, data: &data }).await {
            Ok(_) => {
                self.voltage = Some(voltage);
                Ok(true)
            }
            Err(Error::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn identify(
        &mut self,
        greeting: Greeting,
        matters: fn(&Device) -> bool,
    ) -> Result<Identity, Error> {
        let (protocol, commands) = self.first_get(greeting).await?;
        // GetId and Read must be possible before anything is known.
        self.wire.adopt(&self.traits, protocol, true);
        let product_id = match self.run(&Command::GetId).await? {
            Reply::Id(id) => id,
            _ => 0,
        };
        let device = self.check_chip(product_id)?;
        let mut identity =
            Identity { protocol, commands, product_id, bootloader_id: None, device, protected: None };
        self.adopt(identity.clone());
        if let Some(device) = device.filter(|device| matters(device)) {
            self.read_bootloader_id(device, &mut identity).await?;
            if !matches!(self.chip, Chip::Force(_)) {
                identity.device = Device::find(product_id, identity.bootloader_id);
            }
            self.adopt(identity.clone());
        }
        Ok(identity)
    }

    fn check_chip(&self, product_id: u16) -> Result<Option<&'static Device>, Error> {
        match self.chip {
            Chip::Detect => Ok(Device::find(product_id, None)),
            Chip::Force(device) => Ok(Some(device)),
            Chip::Expect(expected) => match Device::find(product_id, None) {
                Some(found) if found.product_id == expected.product_id => Ok(Some(found)),
                _ => Err(Error::WrongChip { expected: expected.product_id, got: product_id }),
            },
        }
    }

    async fn read_bootloader_id(&mut self, device: &Device, identity: &mut Identity) -> Result<(), Error> {
        let (Some(address), true) = (device.bootloader_id_address, identity.lists(Opcode::READ)) else {
            return Ok(());
        };
        let two_bytes = Device::with_product_id(device.product_id)
            .any(|row| row.bootloader_id.is_some_and(|id| id > 0xFF));
        let len = if two_bytes { 2 } else { 1 };
        match self.read_system(address, len).await {
            Ok(Some(bytes)) => {
                identity.protected = Some(false);
                let id = bytes.iter().rev().fold(0, |id, byte| id << 8 | u16::from(*byte));
                identity.bootloader_id = Some(id).filter(|id| *id != 0 && *id != 0xFF && *id != 0xFFFF);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(Error::Protected { .. }) => {
                identity.protected = Some(true);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The first command after a sync. A stray sync byte may be pending as half a command, or the ROM may answer
    /// one NACK too many. Or the link sends no parity: the ROM then takes the stop bit for the parity bit, which
    /// is right by luck for 0x7F and wrong for both bytes of Get (0x00 0xFF), so that Get is never answered.
    pub(super) async fn first_get(&mut self, greeting: Greeting) -> Result<(u8, Vec<Opcode>), Error> {
        let mut tries = 0;
        let mut silent = true;
        loop {
            let fault = match self.wire.execute(&Command::Get, Budget::default()).await {
                Ok(Reply::Commands { version, commands }) => return Ok((version, commands)),
                Ok(_) => Fault::Garbled { wait: crate::event::Wait::Data, got: 0 },
                Err(fault) => fault,
            };
            silent &= matches!(fault, Fault::TimedOut { wait: crate::event::Wait::Command, .. });
            let hopeless = !(fault.is_noise() || matches!(fault, Fault::Refused { .. }));
            let realigned = if hopeless || tries >= self.limits.retries {
                false
            } else {
                tries += 1;
                match self.wire.realign().await {
                    Ok(_) => true,
                    Err(Fault::Cancelled) => return Err(Error::Cancelled { step: self.step }),
                    Err(_) => false,
                }
            };
            if !realigned {
                let no_parity = silent && greeting == Greeting::Fresh && !self.wire.is_can();
                let fault = if no_parity { Fault::ParityMissing } else { fault };
                return Err(self.error(fault, Some(&Command::Get)));
            }
        }
    }

    pub(super) fn adopt(&mut self, identity: Identity) {
        self.traits =
            identity.device.map_or_else(Traits::unknown, |device| device.traits(identity.bootloader_id));
        self.wire.adopt(&self.traits, identity.protocol, identity.lists(Opcode::EXTENDED_ERASE));
        self.identity = Some(identity);
    }
}
