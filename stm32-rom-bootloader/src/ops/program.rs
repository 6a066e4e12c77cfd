//! The whole job: connect, unprotect if allowed, erase, write, read back, start.

use super::job::{Job, Todo};
use super::{Operation, sealed::Sealed};
use crate::error::Error;
use crate::event::{Note, Step};
use crate::image::Image;
use crate::plan::{Erasing, Plan};
use crate::rom::{Identity, Rom};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Resume {
    /// At the beginning.
    #[default]
    FromStart,
    /// Nothing is erased; writing begins with this block of the plan. For a job that was interrupted between
    /// two blocks and whose blocks before this one are known to be written; all of them are read back.
    AtBlock(usize),
    /// Read first; erase and write only units that differ. For a job interrupted anywhere.
    Compare,
}

/// What to do with the chip in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Finish {
    /// Leave it in its ROM.
    #[default]
    Stay,
    /// Start the application whose vector table is at this address.
    Go(u32),
    /// Have the driver reset it into its application.
    Reset,
}

/// Connects and carries out a plan.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The plan, made from `image`.
    pub plan: &'a Plan,
    /// The image.
    pub image: &'a Image<'a>,
    /// Where to begin.
    pub resume: Resume,
    /// Whether to read everything back that was written.
    pub verify: bool,
    /// If the chip is readout protected: lift it, **which erases everything**, also areas the plan keeps.
    pub unprotect_readout: bool,
    /// Lift all write protection first.
    pub unprotect_write: bool,
    /// What to do in the end.
    pub finish: Finish,
}

impl<'a> Program<'a> {
    /// From the beginning, read back, unprotect nothing, stay in the ROM.
    #[must_use]
    pub const fn new(plan: &'a Plan, image: &'a Image<'a>) -> Self {
        Self {
            plan,
            image,
            resume: Resume::FromStart,
            verify: true,
            unprotect_readout: false,
            unprotect_write: false,
            finish: Finish::Stay,
        }
    }
}

/// What [`Program`] ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Programmed {
    /// The chip.
    pub identity: Identity,
    /// Units erased one by one; all of the plan's if everything was erased at once.
    pub units_erased: usize,
    /// Blocks written.
    pub blocks_written: usize,
    /// Whether everything was erased because readout protection was lifted.
    pub unprotected: bool,
    /// Whether the chip keeps entering its ROM until power is cycled (or Go starts it).
    pub needs_power_cycle: bool,
}

impl Sealed for Program<'_> {}

impl<'a> Operation<'a> for Program<'a> {
    type Outcome = Programmed;

    async fn run(self, mut rom: Rom) -> Result<Programmed, Error> {
        let job = Job { plan: self.plan, image: self.image };
        let mut outcome = Programmed {
            identity: rom.start().await?,
            units_erased: 0,
            blocks_written: 0,
            unprotected: false,
            needs_power_cycle: false,
        };
        job.check_chip(&rom)?;
        if self.unprotect_readout && outcome.identity.protected == Some(true) {
            self.lift_readout(&mut rom, &mut outcome).await?;
        }
        if self.unprotect_write {
            rom.write_unprotect().await?;
        }
        let todo = match self.prepare(job, &mut rom, &mut outcome).await {
            Err(Error::Protected { .. }) if self.unprotect_readout && !outcome.unprotected => {
                self.lift_readout(&mut rom, &mut outcome).await?;
                self.prepare(job, &mut rom, &mut outcome).await?
            }
            other => other?,
        };
        job.write(&mut rom, &todo.write).await?;
        outcome.blocks_written = todo.write.len();
        if self.verify {
            job.verify(&mut rom, &todo.verify, Some(&todo.erased)).await?;
        }
        outcome.identity.protected = Some(false);
        self.finish(&mut rom, &mut outcome).await?;
        Ok(outcome)
    }
}

impl Program<'_> {
    /// Tells the ROM the voltage, compares if asked to, and erases.
    async fn prepare(&self, job: Job<'_>, rom: &mut Rom, outcome: &mut Programmed) -> Result<Todo, Error> {
        rom.begin(Step::Prepare);
        if let Some(voltage) = self.plan.voltage()
            && !rom.tell_voltage(voltage).await?
        {
            rom.note(Note::VoltageRangeRefused);
        }
        let all = self.plan.blocks().to_vec();
        if outcome.unprotected {
            // Lifting the protection has erased everything.
            return Ok(Todo { write: all.clone(), verify: all, ..Todo::default() });
        }
        match self.resume {
            Resume::FromStart => {
                outcome.units_erased = job.erase(rom).await?;
                let erased = if self.plan.erase() == Erasing::Nothing { &[][..] } else { self.plan.units() };
                Ok(Todo { write: all.clone(), verify: all, erased: erased.to_vec() })
            }
            Resume::AtBlock(first) => {
                let write = all.get(first..).unwrap_or_default().to_vec();
                Ok(Todo { write, verify: all, ..Todo::default() })
            }
            Resume::Compare => {
                let todo = job.compare(rom).await?;
                if !todo.erased.is_empty() {
                    rom.begin(Step::Erase);
                    job.erase_units(rom, &todo.erased).await?;
                    outcome.units_erased = todo.erased.len();
                }
                Ok(todo)
            }
        }
    }

    async fn lift_readout(&self, rom: &mut Rom, outcome: &mut Programmed) -> Result<(), Error> {
        rom.readout_unprotect().await?;
        outcome.unprotected = true;
        Ok(())
    }

    async fn finish(&self, rom: &mut Rom, outcome: &mut Programmed) -> Result<(), Error> {
        let sticky = rom.traits().empty_flag_until_power_cycle && outcome.blocks_written > 0;
        match self.finish {
            Finish::Go(address) => {
                rom.go(address).await?;
                return Ok(());
            }
            Finish::Reset => {
                rom.begin(Step::Start);
                rom.start_application().await?;
            }
            Finish::Stay => {}
        }
        if sticky {
            outcome.needs_power_cycle = true;
            rom.note(Note::PowerCycleToLeaveRom);
        }
        Ok(())
    }
}
