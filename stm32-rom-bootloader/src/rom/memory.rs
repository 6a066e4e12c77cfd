//! Reading, writing and erasing with everything the ROM's quirks ask for.

use super::Rom;
use crate::command::{Command, Erase, Opcode, Reply};
use crate::device::EraseUnit;
use crate::error::{Error, Fault};
use crate::event::{Event, Note, Wait};

impl Rom {
    /// 1 to 256 bytes.
    pub(crate) async fn read(&mut self, address: u32, len: usize) -> Result<Vec<u8>, Error> {
        let command = Command::Read { address, len: len.min(256) as u16 };
        match self.run(&command).await? {
            Reply::Data(data) if data.len() == len => Ok(data),
            _ => Err(self.error(Fault::Garbled { wait: Wait::Data, got: 0 }, Some(&command))),
        }
    }

    /// Bytes of the system area: `None` if the ROM does not give them out. Some ROMs refuse short reads in parts
    /// of it but give the whole 256-byte block.
    pub(crate) async fn read_system(&mut self, address: u32, len: usize) -> Result<Option<Vec<u8>>, Error> {
        match self.read(address, len).await {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let offset = (address & 0xFF) as usize;
        if len == 256 || offset + len > 256 {
            return Ok(None);
        }
        match self.read(address & !0xFF, 256).await {
            Ok(block) => Ok(block.get(offset..offset + len).map(<[u8]>::to_vec)),
            Err(Error::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A command without any repetition.
    pub(crate) async fn run_once(&mut self, command: &Command<'_>) -> Result<Reply, Error> {
        self.check_listed(command)?;
        let budget = self.budget(command);
        match self.execute(command, budget).await {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.failure(fault, command).await),
        }
    }

    /// Writes flash. If it is unclear whether a write was carried out, the flash is read before it is tried
    /// again, and must be `blank`: a second write to flash that is not does harm on most families.
    pub(crate) async fn write_flash(&mut self, address: u32, data: &[u8], blank: u8) -> Result<(), Error> {
        let command = Command::Write { address, data };
        self.check_listed(&command)?;
        let budget = self.budget(&command);
        let mut tries = self.limits.retries;
        loop {
            let Err(fault) = self.execute(&command, budget).await else { return Ok(()) };
            let refused = matches!(fault, Fault::Refused { .. });
            if tries == 0 || !(refused || fault.is_noise()) {
                return Err(self.failure(fault, &command).await);
            }
            tries = if refused { 0 } else { tries - 1 };
            self.recover_from(&fault, &command).await?;
            if matches!(fault, Fault::Refused { at: Wait::Command | Wait::Address }) {
                continue;
            }
            let mut there = self.read(address, data.len()).await?;
            if there != data && there.iter().any(|byte| *byte != blank) {
                there = self.read_again(address, data.len()).await?;
            }
            if there == data {
                return Ok(());
            }
            if let Some(at) = there.iter().position(|byte| *byte != blank) {
                return Err(Error::NotBlank { address: address + at as u32, got: there[at] });
            }
        }
    }

    /// Erases units, as many in one command as this ROM and this link can take.
    pub(crate) async fn erase_units(&mut self, units: &[EraseUnit]) -> Result<(), Error> {
        let highest = self.wire.highest_page();
        if units.iter().any(|unit| unit.index > highest) {
            let reason = "this link cannot name pages that high: use mass erase or USART";
            return Err(Error::BadArgument { command: Opcode::ERASE, reason });
        }
        let most = self.traits.pages_per_erase.min(self.wire.pages_per_erase()).max(1);
        let mut done = 0;
        for chunk in units.chunks(usize::from(most)) {
            let numbers: Vec<u16> = chunk.iter().map(|unit| unit.index).collect();
            self.run(&Command::Erase(Erase::Units(&numbers))).await?;
            self.pause(self.traits.settle_after_erase, Wait::EraseSettle).await?;
            done += chunk.len();
            self.progress(done, units.len());
        }
        Ok(())
    }

    /// Erases everything at once; `false` if this ROM cannot, and units have to be erased instead.
    pub(crate) async fn erase_everything(&mut self) -> Result<bool, Error> {
        if self.traits.mass_erase {
            match self.erase_at_once(Erase::Mass).await {
                Err(Error::Refused { .. }) => {}
                other => return other.map(|()| true),
            }
        }
        self.note(Note::MassEraseReplaced);
        Ok(false)
    }

    /// Erases everything or a bank at once.
    pub(crate) async fn erase_at_once(&mut self, what: Erase<'_>) -> Result<(), Error> {
        let started = self.port.now();
        self.run(&Command::Erase(what)).await?;
        if self.traits.erase_answers_early {
            // The ACK came before the erase was finished: wait the maximum, half the budget.
            let left = (started + self.mass_erase_time() / 2).saturating_sub(self.port.now());
            self.pause(left, Wait::EraseSettle).await?;
        }
        self.pause(self.traits.settle_after_erase, Wait::EraseSettle).await
    }

    /// Reads again after a short pause: a mismatch may come from the line or, on one chip, from reading too
    /// early.
    pub(crate) async fn read_again(&mut self, address: u32, len: usize) -> Result<Vec<u8>, Error> {
        self.port.event(Event::Repeated { command: Opcode::READ, address: Some(address), wait: Wait::Data });
        self.port
            .pause(core::time::Duration::from_millis(5), Wait::ReadAgain)
            .await
            .map_err(|fault| self.error(fault, None))?;
        self.read(address, len).await
    }
}
