//! The flash of a simulated chip: geometry, erase-before-write, datasheet times, and power cuts half way.
//!
//! An operation is a list of steps with the time each ends. [`Flash::settle`] carries out what has ended by
//! `now`; [`Flash::cut_power`] leaves the step in progress half done. Offsets count from the flash's base.
//! Who may touch what (read-out and write protection) is the chip's business, not this module's.

use crate::rng::Rng;
use crate::time::Nanos;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

/// `count` equal erase units, with the typical time of one erase at x8, x16 and x32 parallelism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Consecutive units.
    pub count: u16,
    /// Bytes in one.
    pub size: u32,
    /// Typical erase time in microseconds at x8, x16, x32 (the same three times where it does not matter).
    pub erase_us: [u32; 3],
}

/// Geometry, rules and times of one flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashModel {
    /// First address.
    pub base: u32,
    /// Erase units from the base upwards.
    pub runs: &'static [Run],
    /// Bytes programmed by one operation; 1 means "as the parallelism says" (F2, F4, F7).
    pub chunk: u32,
    /// Bytes that must all be erased before any of them is programmed: the chunk, but a word on L0 and L1,
    /// whose operation is a half page.
    pub word: u32,
    /// Typical time of one such operation in nanoseconds.
    pub chunk_ns: u32,
    /// What an erased byte reads as: 0xFF, but 0x00 on L0 and L1.
    pub erased: u8,
    /// Programming clears bits of what is there (F2, F4, F7); elsewhere a unit that is not erased refuses.
    pub clears_bits: bool,
    /// Typical mass erase in microseconds at x8, x16, x32.
    pub mass_erase_us: [u32; 3],
    /// 1 or 2.
    pub banks: u8,
}

impl FlashModel {
    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.runs.iter().map(|r| u32::from(r.count) * r.size).sum()
    }

    /// Number of erase units.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.runs.iter().map(|r| u32::from(r.count)).sum()
    }

    /// Offset, size and erase times of unit `index`.
    #[must_use]
    pub fn unit(&self, index: u32) -> Option<(u32, u32, [u32; 3])> {
        let (mut left, mut offset) = (index, 0);
        for run in self.runs {
            if left < u32::from(run.count) {
                return Some((offset + left * run.size, run.size, run.erase_us));
            }
            left -= u32::from(run.count);
            offset += u32::from(run.count) * run.size;
        }
        None
    }

    /// The unit that holds the byte at `offset`.
    #[must_use]
    pub fn unit_at(&self, offset: u32) -> Option<u32> {
        let (mut first, mut base) = (0, 0);
        for run in self.runs {
            let bytes = u32::from(run.count) * run.size;
            if offset < base + bytes {
                return Some(first + (offset - base) / run.size);
            }
            first += u32::from(run.count);
            base += bytes;
        }
        None
    }
}

/// Bytes programmed at once on F2/F4/F7 (RM0090 "PSIZE"); the ROM starts with x8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parallelism {
    /// One byte, any supply.
    X8,
    /// Two bytes, from 2.1 V.
    X16,
    /// Four bytes, from 2.7 V.
    X32,
    /// Eight bytes, with 8 to 9 V on VPP.
    X64,
}

impl Parallelism {
    const fn bytes(self) -> u32 {
        match self {
            Self::X8 => 1,
            Self::X16 => 2,
            Self::X32 => 4,
            Self::X64 => 8,
        }
    }

    const fn column(self) -> usize {
        match self {
            Self::X8 => 0,
            Self::X16 => 1,
            Self::X32 | Self::X64 => 2,
        }
    }
}

#[derive(Debug)]
enum Step {
    Erase { from: usize, to: usize },
    Program { from: usize, data: Vec<u8> },
}

/// Content and running operation of one flash.
#[derive(Debug)]
pub struct Flash {
    model: &'static FlashModel,
    cells: Vec<u8>,
    /// Steps with the time each ends, in order.
    job: VecDeque<(Nanos, Step)>,
    /// Offset of a byte that always keeps its bit 0 set, if the fault asks for one.
    stuck: Option<usize>,
    /// Numbers of the pieces of [`PIECE`] bytes that have changed since they were last asked for.
    changed: BTreeSet<usize>,
}

/// Changes are told by pieces of this many bytes.
const PIECE: usize = 256;

impl Flash {
    /// An erased flash.
    #[must_use]
    pub fn new(model: &'static FlashModel) -> Self {
        Self {
            model,
            cells: vec![model.erased; model.size() as usize],
            job: VecDeque::new(),
            stuck: None,
            changed: BTreeSet::new(),
        }
    }

    /// Content as of the last [`Self::settle`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.cells
    }

    /// Puts `data` at `offset` as if it had always been there; what does not fit is left out.
    pub fn preload(&mut self, offset: usize, data: &[u8]) {
        for (cell, &byte) in self.cells.iter_mut().skip(offset).zip(data) {
            *cell = byte;
        }
    }

    /// Offsets and lengths of what operations have changed since the last call.
    pub fn take_changes(&mut self) -> Vec<(usize, usize)> {
        let mut changes: Vec<(usize, usize)> = Vec::new();
        for piece in core::mem::take(&mut self.changed) {
            let at = piece * PIECE;
            match changes.last_mut() {
                Some((from, len)) if *from + *len == at => *len += PIECE,
                _ => changes.push((at, PIECE)),
            }
        }
        changes
    }

    fn change(&mut self, from: usize, to: usize) {
        self.changed.extend(from / PIECE..to.div_ceil(PIECE));
    }

    /// From now on bit 0 of the byte at `offset` is 1 whatever is programmed.
    pub(crate) fn stick(&mut self, offset: usize) {
        self.stuck = Some(offset);
    }

    /// When the running operation ends.
    #[must_use]
    pub fn busy_until(&self) -> Option<Nanos> {
        self.job.back().map(|(end, _)| *end)
    }

    /// Carries out what has ended by `now`.
    pub fn settle(&mut self, now: Nanos) {
        while self.job.front().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, step)) = self.job.pop_front() {
                self.carry_out(&step);
            }
        }
    }

    /// The supply went away at `now`: the step in progress is left half done, the rest never happens.
    pub(crate) fn cut_power(&mut self, now: Nanos, rng: &mut Rng) {
        self.settle(now);
        let Some((_, step)) = self.job.pop_front() else { return };
        self.job.clear();
        match step {
            // Half-erased cells read as anything.
            Step::Erase { from, to } => {
                self.change(from, to);
                self.cells[from..to].iter_mut().for_each(|c| *c = rng.byte());
            }
            Step::Program { from, data } => {
                self.change(from, from + data.len());
                for (cell, byte) in self.cells[from..].iter_mut().zip(data) {
                    *cell = (*cell & byte) | (rng.byte() & (*cell | byte));
                }
            }
        }
    }

    /// Starts erasing units in order; returns when the last is done.
    pub(crate) fn erase_units(
        &mut self,
        now: Nanos,
        units: impl IntoIterator<Item = u32>,
        how: Parallelism,
    ) -> Nanos {
        let mut end = self.busy_until().map_or(now, |busy| busy.max(now));
        for index in units {
            let Some((offset, size, erase_us)) = self.model.unit(index) else { continue };
            end = end + Duration::from_micros(u64::from(erase_us[how.column()]));
            let from = offset as usize;
            self.job.push_back((end, Step::Erase { from, to: from + size as usize }));
        }
        end
    }

    /// Starts a mass erase of everything, or of bank 1 or 2; returns when it is done.
    pub(crate) fn erase_mass(&mut self, now: Nanos, bank: Option<u8>, how: Parallelism) -> Nanos {
        let whole = Duration::from_micros(u64::from(self.model.mass_erase_us[how.column()]));
        let half = self.cells.len() / 2;
        let (from, to, time) = match bank {
            None => (0, self.cells.len(), whole),
            Some(1) => (0, half, whole / 2),
            Some(_) => (half, self.cells.len(), whole / 2),
        };
        let end = now + time;
        self.job.push_back((end, Step::Erase { from, to }));
        end
    }

    /// Starts programming `data` at `offset`, one chunk after another; returns when the last is done.
    ///
    /// Chunks follow the flash's own boundaries; `skip(offset)` says which chunks are write protected and are
    /// passed over in silence, as the real controllers do.
    pub(crate) fn program(
        &mut self,
        now: Nanos,
        offset: u32,
        data: &[u8],
        how: Parallelism,
        skip: impl Fn(u32) -> bool,
    ) -> Nanos {
        let chunk = if self.model.chunk == 1 { how.bytes() } else { self.model.chunk };
        let mut end = now;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let room = (chunk - at % chunk) as usize;
            let (part, tail) = rest.split_at(room.min(rest.len()));
            if !skip(at) {
                end = end + Duration::from_nanos(u64::from(self.model.chunk_ns));
                self.job.push_back((end, Step::Program { from: at as usize, data: part.to_vec() }));
            }
            at += part.len() as u32;
            rest = tail;
        }
        end
    }

    fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Erase { from, to } => {
                self.change(*from, *to);
                self.cells[*from..*to].fill(self.model.erased);
            }
            Step::Program { from, data } => {
                self.change(*from, from + data.len());
                self.program_chunk(*from, data);
            }
        }
        if let Some(cell) = self.stuck.and_then(|at| self.cells.get_mut(at)) {
            *cell |= 1;
        }
    }

    fn program_chunk(&mut self, from: usize, data: &[u8]) {
        let erased = self.model.erased;
        let word_size = self.model.word as usize;
        if self.model.clears_bits {
            for (cell, byte) in self.cells[from..].iter_mut().zip(data) {
                *cell &= byte;
            }
            return;
        }
        // The whole word must be erased, also the part that is not being written; only zeros may go on top.
        // (F1: RM0008/PM0075 "PGERR"; L4, G0, G4: "PROGERR"; L0, L1: "NOTZEROERR".)
        let (mut at, mut rest) = (from, data);
        while !rest.is_empty() {
            let word = at - at % word_size..(at - at % word_size + word_size).min(self.cells.len());
            let (part, tail) = rest.split_at((word.end - at).min(rest.len()));
            let blank = self.cells[word].iter().all(|&c| c == erased);
            if blank || part.iter().all(|&b| b == 0) {
                self.cells[at..at + part.len()].copy_from_slice(part);
            }
            at += part.len();
            rest = tail;
        }
    }
}
