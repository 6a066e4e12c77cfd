//! The whole job: connect, unprotect if allowed, erase, write, read back, start. And its last part alone.

use core::mem;

use super::{Operation, sealed::Sealed};
use crate::device::EraseUnit;
use crate::error::Error;
use crate::event::{Note, Step};
use crate::image::Image;
use crate::plan::{Block, Erasing, Plan};
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

/// Connects and reads back what a plan writes, without changing anything.
#[derive(Debug, Clone, Copy)]
pub struct Verify<'a> {
    /// The plan, made from `image`.
    pub plan: &'a Plan,
    /// The image.
    pub image: &'a Image<'a>,
}

/// What [`Verify`] ends with; a mismatch is [`Error::VerifyFailed`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The chip.
    pub identity: Identity,
    /// Blocks read, blank ones included.
    pub blocks: usize,
}

impl Sealed for Program<'_> {}
impl Sealed for Verify<'_> {}

impl<'a> Operation<'a> for Verify<'a> {
    type Outcome = Verified;

    async fn run(self, mut rom: Rom) -> Result<Verified, Error> {
        let identity = rom.start().await?;
        let job = Job { plan: self.plan, image: self.image };
        job.check_chip(&rom)?;
        // Nothing was erased here, so blank blocks count too.
        let mut blocks: Vec<Block> = [self.plan.blocks(), self.plan.blank_blocks()].concat();
        blocks.sort_by_key(|block| block.address);
        job.verify(&mut rom, &blocks, false).await?;
        Ok(Verified { identity, blocks: blocks.len() })
    }
}

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
        let todo = match job.prepare(&mut rom, self.resume, &mut outcome).await {
            Err(Error::Protected { .. }) if self.unprotect_readout && !outcome.unprotected => {
                self.lift_readout(&mut rom, &mut outcome).await?;
                job.prepare(&mut rom, self.resume, &mut outcome).await?
            }
            other => other?,
        };
        job.write(&mut rom, &todo.write).await?;
        outcome.blocks_written = todo.write.len();
        if self.verify {
            job.verify(&mut rom, &todo.verify, true).await?;
        }
        outcome.identity.protected = Some(false);
        self.finish(&mut rom, &mut outcome).await?;
        Ok(outcome)
    }
}

impl Program<'_> {
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

/// A plan and the image it was made from.
#[derive(Debug, Clone, Copy)]
struct Job<'a> {
    plan: &'a Plan,
    image: &'a Image<'a>,
}

/// What is left to do once the flash is erased.
#[derive(Debug, Default)]
struct Todo {
    write: Vec<Block>,
    verify: Vec<Block>,
}

impl Job<'_> {
    fn check_chip(&self, rom: &Rom) -> Result<(), Error> {
        let (expected, got) = (self.plan.device().product_id, rom.known_device()?.product_id);
        if expected == got { Ok(()) } else { Err(Error::WrongChip { expected, got }) }
    }

    /// Tells the ROM the voltage, checks the bank mode, compares if asked to, and erases.
    async fn prepare(&self, rom: &mut Rom, resume: Resume, outcome: &mut Programmed) -> Result<Todo, Error> {
        rom.begin(Step::Prepare);
        if self.plan.erase() == Erasing::Units && !outcome.unprotected {
            rom.check_bank_mode(self.plan.banks()).await?;
        }
        if let Some(voltage) = self.plan.voltage()
            && !rom.tell_voltage(voltage).await?
        {
            rom.note(Note::VoltageRangeRefused);
        }
        let all = self.plan.blocks().to_vec();
        if outcome.unprotected {
            return Ok(Todo { write: all.clone(), verify: all });
        }
        match resume {
            Resume::FromStart => {
                outcome.units_erased = self.erase(rom).await?;
                Ok(Todo { write: all.clone(), verify: all })
            }
            Resume::AtBlock(first) => {
                let write = all.get(first..).unwrap_or_default().to_vec();
                Ok(Todo { write, verify: all })
            }
            Resume::Compare => {
                let (units, todo) = self.compare(rom).await?;
                if !units.is_empty() {
                    rom.begin(Step::Erase);
                    rom.erase_units(&units).await?;
                    outcome.units_erased = units.len();
                }
                Ok(todo)
            }
        }
    }

    async fn erase(&self, rom: &mut Rom) -> Result<usize, Error> {
        let units = self.plan.units();
        if self.plan.erase() == Erasing::Nothing {
            return Ok(0);
        }
        rom.begin(Step::Erase);
        if self.plan.erase() == Erasing::Units || !rom.erase_everything().await? {
            rom.erase_units(units).await?;
        }
        Ok(units.len())
    }

    /// Reads what is there. A unit that has anything but the image or blank flash in it is erased and written
    /// anew; in the others only blank blocks are written.
    async fn compare(&self, rom: &mut Rom) -> Result<(Vec<EraseUnit>, Todo), Error> {
        rom.begin(Step::Compare);
        let mut todo = Todo::default();
        let mut erase = Vec::new();
        let mut done = 0;
        for group in self.groups() {
            let mut missing = Vec::new();
            let mut dirty = false;
            for (block, is_blank) in &group.blocks {
                if block.ram {
                    missing.push(*block);
                    continue;
                }
                if dirty {
                    break;
                }
                match self.state_of(rom, block).await? {
                    State::AsPlanned => {}
                    State::Blank if !is_blank => missing.push(*block),
                    State::Blank | State::Other => dirty = true,
                }
            }
            done += group.blocks.len();
            rom.progress(done, self.plan.blocks().len() + self.plan.blank_blocks().len());
            if dirty {
                let Some(unit) = group.unit else {
                    let address = group.blocks.first().map_or(0, |(block, _)| block.address);
                    return Err(Error::NotBlank { address, got: self.blank() ^ 0xFF });
                };
                erase.push(unit);
                missing = group.blocks.iter().filter(|(_, blank)| !blank).map(|(block, _)| *block).collect();
            }
            todo.write.extend(missing);
        }
        todo.verify.clone_from(&todo.write);
        Ok((erase, todo))
    }

    async fn state_of(&self, rom: &mut Rom, block: &Block) -> Result<State, Error> {
        let there = match rom.read(block.address, block.len.into()).await {
            Ok(there) => there,
            // Flash that was interrupted while programming may not even be readable.
            Err(Error::Refused { .. }) => return Ok(State::Other),
            Err(error) => return Err(error),
        };
        Ok(if there == self.data(block) {
            State::AsPlanned
        } else if there.iter().all(|byte| *byte == self.blank()) {
            State::Blank
        } else {
            State::Other
        })
    }

    /// The plan's blocks (and blank blocks, marked so) by erase unit, in order of address.
    fn groups(&self) -> Vec<Group> {
        let mut blocks: Vec<(Block, bool)> = self.plan.blocks().iter().map(|block| (*block, false)).collect();
        blocks.extend(self.plan.blank_blocks().iter().map(|block| (*block, true)));
        blocks.sort_by_key(|(block, _)| block.address);
        let mut groups: Vec<Group> = Vec::new();
        let mut open = Group::default();
        for (block, blank) in blocks {
            // A block may reach over several units only where units are smaller than blocks; they are erased
            // one by one, so the block is looked at once for each.
            for unit in self.units_of(&block) {
                if open.unit != unit && !open.blocks.is_empty() {
                    groups.push(mem::take(&mut open));
                }
                open.unit = unit;
                open.blocks.push((self.part_in(block, unit), blank));
            }
        }
        if !open.blocks.is_empty() {
            groups.push(open);
        }
        groups
    }

    fn units_of(&self, block: &Block) -> Vec<Option<EraseUnit>> {
        let touched: Vec<_> = self
            .plan
            .units()
            .iter()
            .filter(|unit| !block.ram && unit.address < block.end() && block.address < unit.end())
            .map(|unit| Some(*unit))
            .collect();
        if touched.is_empty() { vec![None] } else { touched }
    }

    fn part_in(&self, block: Block, unit: Option<EraseUnit>) -> Block {
        let Some(unit) = unit else { return block };
        let address = block.address.max(unit.address);
        Block { address, len: (block.end().min(unit.end()) - address) as u16, ram: false }
    }

    async fn write(&self, rom: &mut Rom, blocks: &[Block]) -> Result<(), Error> {
        rom.begin(Step::Write);
        let total = total(blocks);
        let mut done = 0;
        for block in blocks {
            let data = self.data(block);
            if block.ram {
                rom.run_once(&crate::command::Command::Write { address: block.address, data: &data }).await?;
            } else {
                rom.write_flash(block.address, &data, self.blank()).await?;
            }
            done += data.len();
            rom.progress(done, total);
        }
        Ok(())
    }

    /// With `repair`, a block that is still blank after a disturbed job is written after all.
    async fn verify(&self, rom: &mut Rom, blocks: &[Block], repair: bool) -> Result<(), Error> {
        rom.begin(Step::Verify);
        let total = total(blocks);
        let mut done = 0;
        for block in blocks {
            let expected = self.data(block);
            let mut patience = if rom.traits().stale_reads { 3 } else { 1 };
            let mut got = rom.read(block.address, expected.len()).await?;
            while self.first_difference(block, &expected, &got).is_some() && patience > 0 {
                patience -= 1;
                got = rom.read_again(block.address, expected.len()).await?;
            }
            let is_blank = got.iter().all(|byte| *byte == self.blank());
            if repair && rom.disturbed() && is_blank && !block.ram {
                rom.write_flash(block.address, &expected, self.blank()).await?;
                got = rom.read(block.address, expected.len()).await?;
            }
            if let Some(at) = self.first_difference(block, &expected, &got) {
                let differing = expected.iter().zip(&got).filter(|(one, other)| one != other).count() as u16;
                let address = block.address + at as u32;
                return Err(Error::VerifyFailed { address, expected: expected[at], got: got[at], differing });
            }
            done += expected.len();
            rom.progress(done, total);
        }
        Ok(())
    }

    /// Padding counts only where this plan has erased it.
    fn first_difference(&self, block: &Block, expected: &[u8], got: &[u8]) -> Option<usize> {
        let erased = self.plan.erase() != Erasing::Nothing && !block.ram;
        let differs = |at: &usize| {
            let address = block.address + *at as u32;
            expected[*at] != got[*at] && (erased || self.image.byte(address).is_some())
        };
        (0..expected.len().min(got.len())).find(differs)
    }

    fn data(&self, block: &Block) -> Vec<u8> {
        self.image.window(block.address, block.len.into(), self.blank())
    }

    fn blank(&self) -> u8 {
        self.plan.device().family.erased_value()
    }
}

/// Blocks that share an erase unit.
#[derive(Debug, Default)]
struct Group {
    unit: Option<EraseUnit>,
    blocks: Vec<(Block, bool)>,
}

enum State {
    AsPlanned,
    Blank,
    Other,
}

fn total(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| usize::from(block.len)).sum()
}
