//! A plan at work on a chip: what to erase, write and compare, block by block.
//!
//! Nothing here decides whether something may be done; that is up to the operations that use it.

use core::mem;

use crate::device::EraseUnit;
use crate::error::Error;
use crate::event::Step;
use crate::image::Image;
use crate::plan::{Block, Erasing, Plan};
use crate::rom::Rom;

/// A plan and the image it was made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) plan: &'a Plan,
    pub(super) image: &'a Image<'a>,
}

/// What is to be erased, and what is left to do then.
#[derive(Debug, Default)]
pub(super) struct Todo {
    pub(super) erased: Vec<EraseUnit>,
    pub(super) write: Vec<Block>,
    pub(super) verify: Vec<Block>,
}

/// How many blocks are in which state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Census {
    pub(super) as_planned: usize,
    pub(super) blank: usize,
    pub(super) other: usize,
}

impl Job<'_> {
    pub(super) fn check_chip(&self, rom: &Rom) -> Result<(), Error> {
        let (expected, got) = (self.plan.device().product_id, rom.known_device()?.product_id);
        if expected == got { Ok(()) } else { Err(Error::WrongChip { expected, got }) }
    }

    pub(super) async fn erase(&self, rom: &mut Rom) -> Result<usize, Error> {
        let units = self.plan.units();
        if self.plan.erase() == Erasing::Nothing {
            return Ok(0);
        }
        rom.begin(Step::Erase);
        if self.plan.erase() == Erasing::Units || !rom.erase_everything().await? {
            self.erase_units(rom, units).await?;
        }
        Ok(units.len())
    }

    /// Erases one by one, once it is certain that units have the size the plan assumes.
    pub(super) async fn erase_units(&self, rom: &mut Rom, units: &[EraseUnit]) -> Result<(), Error> {
        rom.check_bank_mode(self.plan.banks()).await?;
        rom.erase_units(units).await
    }

    /// Reads every block, blank ones included, and counts.
    pub(super) async fn census(&self, rom: &mut Rom) -> Result<Census, Error> {
        rom.begin(Step::Compare);
        let blocks = self.all_blocks();
        let mut census = Census::default();
        for (number, block) in blocks.iter().enumerate() {
            match self.state_of(rom, block).await? {
                State::AsPlanned => census.as_planned += 1,
                State::Blank => census.blank += 1,
                State::Other => census.other += 1,
            }
            rom.progress(number + 1, blocks.len());
        }
        Ok(census)
    }

    /// Blocks to write and blank ones, in order of address.
    pub(super) fn all_blocks(&self) -> Vec<Block> {
        let mut blocks = [self.plan.blocks(), self.plan.blank_blocks()].concat();
        blocks.sort_by_key(|block| block.address);
        blocks
    }

    /// Reads what is there. A unit that has anything but the image or blank flash in it is erased and written
    /// anew; in the others only blank blocks are written.
    pub(super) async fn compare(&self, rom: &mut Rom) -> Result<Todo, Error> {
        rom.begin(Step::Compare);
        let mut todo = Todo::default();
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
                todo.erased.push(unit);
                missing = group.blocks.iter().filter(|(_, blank)| !blank).map(|(block, _)| *block).collect();
            }
            todo.write.extend(missing);
        }
        todo.verify.clone_from(&todo.write);
        Ok(todo)
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

    pub(super) async fn write(&self, rom: &mut Rom, blocks: &[Block]) -> Result<(), Error> {
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

    /// With `repair`, a block that is still blank after a disturbed job is written after all; `repair` are the units
    /// that were erased before.
    pub(super) async fn verify(
        &self,
        rom: &mut Rom,
        blocks: &[Block],
        repair: Option<&[EraseUnit]>,
    ) -> Result<(), Error> {
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
            if repair.is_some() && rom.disturbed() && is_blank && !block.ram {
                rom.write_flash(block.address, &expected, self.blank()).await?;
                got = rom.read(block.address, expected.len()).await?;
            }
            if let Some(at) = self.first_difference(block, &expected, &got) {
                let differing = expected.iter().zip(&got).filter(|(one, other)| one != other).count() as u16;
                let address = block.address + at as u32;
                if let Some(erased) = repair
                    && self.nothing_happens(rom, block, &got, differing, erased).await?
                {
                    return Err(Error::WriteProtected { address });
                }
                return Err(Error::VerifyFailed { address, expected: expected[at], got: got[at], differing });
            }
            done += expected.len();
            rom.progress(done, total);
        }
        Ok(())
    }

    /// Whether a block that came out wrong is as it was before: blank, or what it holds survives another erase of
    /// its unit. Only asked of a job that has failed.
    async fn nothing_happens(
        &self,
        rom: &mut Rom,
        block: &Block,
        got: &[u8],
        differing: u16,
        erased: &[EraseUnit],
    ) -> Result<bool, Error> {
        // A few wrong bits are worn flash.
        if block.ram || usize::from(differing) <= got.len() / 4 {
            return Ok(false);
        }
        if got.iter().all(|byte| *byte == self.blank()) {
            return Ok(true);
        }
        let holds = |unit: &&EraseUnit| unit.address <= block.address && block.address < unit.end();
        let Some(unit) = erased.iter().find(holds) else { return Ok(false) };
        self.erase_units(rom, &[*unit]).await?;
        Ok(rom.read(block.address, got.len()).await? == got)
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
