//! Erasing on request: everything, a bank, a range, or units by number.

use super::{Operation, sealed::Sealed};
use crate::command::{Erase, Opcode};
use crate::device::{Area, BankMode, EraseUnit};
use crate::error::Error;
use crate::event::{Note, Step};
use crate::rom::{Identity, Rom};

/// What to erase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EraseTarget {
    /// The whole flash; by pages where the ROM has no sound mass erase.
    Everything,
    /// One bank, 1 or 2; by pages where the ROM has no sound bank erase.
    Bank(u8),
    /// Every unit that the area touches; all of these units' contents go.
    Range(Area),
    /// These pages or sectors.
    Units(Vec<u16>),
}

/// Connects and erases flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseFlash {
    /// What.
    pub target: EraseTarget,
    /// Flash size in KiB; read from the chip if needed and not given.
    pub flash_kib: Option<u16>,
    /// Bank mode; as delivered by ST if not given, and checked where an option bit decides.
    pub banks: Option<BankMode>,
}

impl EraseFlash {
    /// Erases `target`; size and bank mode as the chip says.
    #[must_use]
    pub const fn new(target: EraseTarget) -> Self {
        Self { target, flash_kib: None, banks: None }
    }
}

/// What [`EraseFlash`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Erased {
    /// The chip.
    pub identity: Identity,
    /// The units erased one by one; empty if it was one command for all.
    pub units: Vec<EraseUnit>,
}

impl Sealed for EraseFlash {}

impl Operation<'_> for EraseFlash {
    type Outcome = Erased;

    async fn run(self, mut rom: Rom) -> Result<Erased, Error> {
        let identity = rom.start().await?;
        rom.begin(Step::Erase);
        let at_once = match self.target {
            EraseTarget::Everything => {
                if rom.erase_everything().await? {
                    return Ok(Erased { identity, units: Vec::new() });
                }
                None
            }
            EraseTarget::Bank(1) if rom.traits().bank_erase && rom.can_erase_banks() => Some(Erase::Bank1),
            EraseTarget::Bank(2) if rom.traits().bank_erase && rom.can_erase_banks() => Some(Erase::Bank2),
            EraseTarget::Bank(3..) | EraseTarget::Bank(0) => {
                let reason = "banks are numbered 1 and 2";
                return Err(Error::BadArgument { command: Opcode::EXTENDED_ERASE, reason });
            }
            _ => None,
        };
        if let Some(what) = at_once {
            rom.erase_at_once(what).await?;
            return Ok(Erased { identity, units: Vec::new() });
        }
        let units = self.units(&mut rom).await?;
        rom.erase_units(&units).await?;
        Ok(Erased { identity, units })
    }
}

impl EraseFlash {
    async fn units(&self, rom: &mut Rom) -> Result<Vec<EraseUnit>, Error> {
        let device = rom.known_device()?;
        let Some(flash) = device.flash else {
            return Err(crate::plan::PlanError::UnknownGeometry { device: device.name }.into());
        };
        let kib = match self.flash_kib {
            Some(kib) => kib,
            None => rom.read_flash_kib().await?,
        };
        let banks = self.banks.unwrap_or_else(|| flash.usual_mode(kib));
        rom.check_bank_mode(banks).await?;
        let all = flash.units(kib, banks);
        let all = all.ok_or(crate::plan::PlanError::NoSuchFlash { device: device.name, kib })?;
        let middle = flash.start + u32::from(kib) * 512;
        let wanted = |unit: &EraseUnit| match &self.target {
            EraseTarget::Everything => true,
            EraseTarget::Bank(bank) => (unit.address >= middle) == (*bank == 2),
            EraseTarget::Range(area) => unit.address <= area.end && unit.end() > area.start,
            EraseTarget::Units(numbers) => numbers.contains(&unit.index),
        };
        let units: Vec<EraseUnit> = all.into_iter().filter(wanted).collect();
        let missing = match &self.target {
            EraseTarget::Units(numbers) => units.len() < numbers.len(),
            EraseTarget::Range(area) => {
                !(flash.start..flash.start + u32::from(kib) * 1024).contains(&area.start)
            }
            EraseTarget::Everything | EraseTarget::Bank(_) => false,
        };
        if missing || units.is_empty() {
            let reason = "there are no such units in this chip's flash";
            return Err(Error::BadArgument { command: Opcode::ERASE, reason });
        }
        Ok(units)
    }
}

impl Rom {
    fn can_erase_banks(&self) -> bool {
        !self.is_can() || self.is_fd()
    }

    async fn read_flash_kib(&mut self) -> Result<u16, Error> {
        let device = self.known_device()?;
        let reason = "the flash size cannot be read through this ROM: state it";
        let unreadable = Error::PlanMismatch { reason };
        let Some(address) = device.flash_size_address.filter(|_| self.traits().uid_readable) else {
            return Err(unreadable);
        };
        let bytes = self.read_system(address, 2).await?;
        let raw = bytes.and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
        raw.and_then(|raw| device.decode_flash_size(raw)).ok_or(unreadable)
    }

    /// Where an option bit decides the size of a page, makes sure it is the one assumed: a wrong page size
    /// erases the wrong place.
    pub(super) async fn check_bank_mode(&mut self, assumed: BankMode) -> Result<(), Error> {
        let Some(option) = self.traits().bank_option else { return Ok(()) };
        let word = match self.read_system(option.address, 4).await {
            Ok(bytes) => bytes.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes),
            Err(error) => return Err(error),
        };
        match word {
            None => self.note(Note::BankModeUnread),
            Some(word) if option.mode(word) == assumed => {}
            Some(_) => {
                let reason = "its option bytes say the other bank mode, and pages have another size";
                return Err(Error::PlanMismatch { reason });
            }
        }
        Ok(())
    }
}
