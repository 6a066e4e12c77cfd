//! Protection and option bytes: the command, the right reset for the family, and the way back in.

use core::time::Duration;

use super::Rom;
use crate::command::{Command, Opcode};
use crate::error::Error;
use crate::event::{LineAction, Note, Step, Wait};
use crate::wire::{Connecting, Greeting};

/// Longest time a chip that resets itself takes until the reset happens.
const SELF_RESET: Duration = Duration::from_millis(50);

impl Rom {
    /// Goes back to RDP level 0, which erases everything, and comes back connected.
    pub(crate) async fn readout_unprotect(&mut self) -> Result<(), Error> {
        self.begin(Step::Protect);
        self.run_once(&Command::ReadoutUnprotect).await?;
        // Some ROMs send both ACKs before they start erasing: the second one does not mean "erased".
        self.reload_options(true).await?;
        let protected = self.reading_is_refused().await?;
        self.set_protected(protected);
        match protected {
            Some(true) => Err(Error::Protected { step: self.step, command: Opcode::READOUT_UNPROTECT }),
            _ => Ok(()),
        }
    }

    /// Sets RDP level 1 and comes back connected.
    pub(crate) async fn readout_protect(&mut self) -> Result<(), Error> {
        self.begin(Step::Protect);
        self.run_once(&Command::ReadoutProtect).await?;
        self.reload_options(false).await?;
        self.set_protected(Some(true));
        Ok(())
    }

    /// Protects units against writing, and no others.
    pub(crate) async fn write_protect(&mut self, units: &[u8]) -> Result<(), Error> {
        self.begin(Step::Protect);
        self.run_once(&Command::WriteProtect { units }).await?;
        self.reload_options(false).await
    }

    /// Lifts all write protection.
    pub(crate) async fn write_unprotect(&mut self) -> Result<(), Error> {
        self.begin(Step::Protect);
        if self.is_can() && !self.traits.can_write_unprotect {
            let reason = "does not work over CAN on this ROM (AN2606): write the option bytes instead";
            return Err(Error::BadArgument { command: Opcode::WRITE_UNPROTECT, reason });
        }
        self.run_once(&Command::WriteUnprotect).await?;
        self.reload_options(false).await
    }

    /// Waits for the chip's own reset, or resets it, and synchronises again.
    pub(crate) async fn reload_options(&mut self, erases: bool) -> Result<(), Error> {
        let voltage = self.voltage.take();
        self.open = false;
        let needs_outside = !self.traits.resets_itself;
        let can_reset = self.can_reset == Some(true);
        // While it may be erasing it must not be reset, so it is asked until it answers.
        if erases || !needs_outside || !can_reset {
            let mut greeting = self.sync_after_self_reset(erases).await;
            if matches!(greeting, Ok(Greeting::Already)) && !needs_outside {
                // Asked before the reset had happened.
                self.pause(SELF_RESET, Wait::SelfReset).await?;
                greeting = self.sync_after_self_reset(false).await;
            }
            match greeting {
                Ok(Greeting::Fresh) => return self.resume(Greeting::Fresh, voltage).await,
                // Still the same session, or nothing there: it needs help.
                Ok(Greeting::Already) | Err(Error::NoAnswer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if !needs_outside {
            self.note(Note::NoSelfReset);
        }
        let power_cycle = self.traits.options_need_power_cycle;
        let action = if power_cycle { LineAction::PowerCycleIntoRom } else { LineAction::EnterRom };
        match self.enter_rom(action).await {
            Ok(greeting) => self.resume(greeting, voltage).await,
            Err(Error::LinesUnavailable { .. }) => Err(Error::ResetNeeded { step: self.step, power_cycle }),
            Err(error) => Err(error),
        }
    }

    async fn resume(
        &mut self,
        greeting: Greeting,
        voltage: Option<crate::device::SupplyVoltage>,
    ) -> Result<(), Error> {
        self.first_get(greeting).await?;
        if let Some(voltage) = voltage {
            self.tell_voltage(voltage).await?;
        }
        Ok(())
    }

    async fn sync_after_self_reset(&mut self, erases: bool) -> Result<Greeting, Error> {
        if self.rate_changed {
            self.line(LineAction::BitRate(crate::command::CanRate::Kbit125)).await?;
            self.rate_changed = false;
        }
        let startup = self.startup();
        let best = startup.map_or(Duration::ZERO, |startup| startup.first_sync());
        let worst = startup.map_or(Duration::from_millis(600), |startup| startup.worst);
        let erase = if erases { self.mass_erase_time() } else { Duration::ZERO };
        self.port.pause(best, Wait::SelfReset).await.map_err(|fault| self.error(fault, None))?;
        let now = self.port.now();
        let until = now + SELF_RESET + 2 * worst + erase + Duration::from_millis(300);
        self.sync(Connecting { earliest: now, until, abandoned: false }).await
    }

    /// Whether reading the flash is refused at once; `None` if the chip's flash is unknown.
    async fn reading_is_refused(&mut self) -> Result<Option<bool>, Error> {
        let Some(flash) = self.device().and_then(|device| device.flash) else { return Ok(None) };
        match self.run(&Command::Read { address: flash.start, len: 4 }).await {
            Ok(_) => Ok(Some(false)),
            Err(Error::Protected { .. }) => Ok(Some(true)),
            Err(Error::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn set_protected(&mut self, protected: Option<bool>) {
        if let Some(identity) = &mut self.identity {
            identity.protected = protected;
        }
    }
}
