//! Flash cells: what every family's controller works on.
//!
//! One operation at a time, with the datasheet's time; it takes effect when it ends. Power lost in the middle leaves
//! anything in the bytes of that operation and touches no others. Every operation is kept in a journal, so that a
//! test can cut the power at each of them. One-time programmable memory and option bytes are cells too, beside the main
//! flash. The controllers (`f4/flash.rs`, `g0g4/flash.rs`, `f1/flash.rs`) enforce the registers' rules.

use std::collections::{BTreeSet, VecDeque};

use crate::wires::NEVER;

/// First address of every STM32's flash.
pub const FLASH_BASE: u32 = 0x0800_0000;

/// One erase or program operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// First address.
    pub address: u32,
    /// What the cells held before.
    pub before: Vec<u8>,
    /// What they hold after it.
    pub after: Vec<u8>,
    /// When it began, ns.
    pub start: u64,
    /// When it ends, ns.
    pub end: u64,
}

impl Operation {
    /// Whether it is an erase; else it programs.
    #[must_use]
    pub fn is_erase(&self) -> bool {
        self.after.len() > 64
    }

    /// Leaves a flash with these contents as a power cut in this operation does.
    ///
    /// # Panics
    /// If the flash is too small for the operation.
    pub fn leave(&self, cells: &mut Cells, how: Broken) {
        match how {
            Broken::Done => cells.put(self.address, &self.after),
            Broken::Anything(seed) => {
                let mut noise = Noise::new(seed ^ u64::from(self.address));
                if cells.corrects {
                    self.spoil(cells, &mut noise);
                    return;
                }
                for (i, cell) in cells.get_mut(self.address, self.after.len()).iter_mut().enumerate() {
                    *cell = match noise.next() & 3 {
                        0 => self.before[i],
                        1 => self.after[i],
                        _ => noise.next() as u8,
                    };
                }
            }
        }
    }

    /// With error correction a double word is as before, as after, something whose check bits happen to fit, or
    /// something (its old or new data among it) whose check bits do not.
    fn spoil(&self, cells: &mut Cells, noise: &mut Noise) {
        for (n, after) in self.after.chunks(DOUBLE_WORD).enumerate() {
            let from = n * DOUBLE_WORD;
            let address = self.address + from as u32;
            let before = &self.before[from..from + after.len()];
            let anything = noise.next().to_le_bytes();
            match noise.below(6) {
                0 => {}
                1 => cells.put(address, after),
                2 => cells.put(address, &anything),
                how => {
                    cells.put(address, [before, after, &anything][how as usize - 3]);
                    cells.spoilt.insert(address);
                }
            }
        }
    }
}

/// Bytes that G4 and G0 keep with common check bits.
const DOUBLE_WORD: usize = 8;

/// Cells one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Area {
    base: u32,
    bytes: Vec<u8>,
}

impl Area {
    /// Where in it so many bytes from `address` lie.
    fn place(&self, address: u32, len: usize) -> Option<usize> {
        let at = address.wrapping_sub(self.base) as usize;
        (at < self.bytes.len() && len <= self.bytes.len() - at).then_some(at)
    }
}

/// What the cells of a flash hold, its check bits included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    main: Area,
    /// One-time programmable memory and option bytes.
    beside: Vec<Area>,
    /// The flash has check bits.
    corrects: bool,
    /// Double words whose check bits do not fit: reading one is an error that the processor is told of.
    spoilt: BTreeSet<u32>,
}

impl Cells {
    /// An erased flash of `size` bytes, with check bits or without.
    pub(crate) fn new(size: u32, corrects: bool) -> Self {
        let main = Area { base: FLASH_BASE, bytes: vec![0xFF; size as usize] };
        Self { main, beside: Vec::new(), corrects, spoilt: BTreeSet::new() }
    }

    /// With these cells beside the main ones.
    pub(crate) fn and(mut self, base: u32, bytes: Vec<u8>) -> Self {
        self.beside.push(Area { base, bytes });
        self
    }

    /// The data, from [`FLASH_BASE`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.main.bytes
    }

    /// Cells beside the main flash: first address and data.
    pub(crate) fn beside(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.beside.iter().map(|area| (area.base, &area.bytes[..]))
    }

    /// These cells, wherever they are; `None` if there are none.
    #[must_use]
    pub fn get(&self, address: u32, len: usize) -> Option<&[u8]> {
        let found = |area: &'_ Area| area.place(address, len);
        let area = [&self.main].into_iter().chain(&self.beside).find(|area| found(area).is_some())?;
        let at = found(area)?;
        area.bytes.get(at..at + len)
    }

    fn get_mut(&mut self, address: u32, len: usize) -> &mut [u8] {
        let areas = [&mut self.main].into_iter().chain(&mut self.beside);
        let found = areas.filter_map(|area| area.place(address, len).map(|at| (area, at)));
        let (area, at) = found.last().expect("cells of this chip");
        &mut area.bytes[at..at + len]
    }

    /// Turns one bit over, as if it had been programmed so: check bits fit.
    ///
    /// # Panics
    /// If the address is outside the flash.
    pub fn flip(&mut self, address: u32, bit: u8) {
        self.get_mut(address, 1)[0] ^= 1 << bit;
    }

    /// Whether the double word that holds `address` has check bits that do not fit.
    #[must_use]
    pub fn is_spoilt(&self, address: u32) -> bool {
        !self.spoilt.is_empty() && self.spoilt.contains(&(address & !(DOUBLE_WORD as u32 - 1)))
    }

    /// Puts bytes there, with check bits that fit.
    ///
    /// # Panics
    /// If they lie outside the flash.
    pub fn put(&mut self, address: u32, bytes: &[u8]) {
        self.get_mut(address, bytes.len()).copy_from_slice(bytes);
        let end = address + bytes.len() as u32;
        if self.spoilt.range(address..end).next().is_some() {
            self.spoilt.retain(|a| !(address..end).contains(a));
        }
    }
}

/// How an interrupted operation left its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Anything, drawn from this seed.
    Anything(u64),
    /// As if it had ended.
    Done,
}

/// Defects of a flash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defects {
    /// The unit that holds this address reports an error when it is programmed.
    pub program_fails: Option<u32>,
    /// One bit at this address comes out wrong.
    pub reads_back_wrong: Option<u32>,
    /// The unit that holds this address reports an error when it is erased.
    pub erase_fails: Option<u32>,
    /// Erases take this many times the typical time; 0 stands for 1.
    pub erase_factor: u32,
}

/// The cells.
#[derive(Debug, Clone)]
pub struct Flash {
    cells: Cells,
    running: Option<Operation>,
    /// Operations that the controller does next by itself: address, what they leave there, their time.
    next: VecDeque<(u32, Vec<u8>, u64)>,
    /// Banks of this size can be read while another is busy; the whole flash if there is one bank.
    bank: u32,
    journal: Vec<Operation>,
    /// What a reader sees from now on: until the operation ends, every read of these cells stalls.
    changes: Vec<(u32, Vec<u8>)>,
    /// Defects in force.
    pub defects: Defects,
    /// The operation that has just ended failed.
    pub(crate) failed: bool,
    /// No data can be read from the main flash: all of it may be executed only.
    pub(crate) hidden: bool,
}

impl Flash {
    /// A flash of one bank.
    pub(crate) fn new(cells: Cells) -> Self {
        let size = cells.bytes().len() as u32;
        Self::with_banks(cells, size)
    }

    /// A flash whose banks have this size.
    pub(crate) fn with_banks(cells: Cells, bank: u32) -> Self {
        Self {
            cells,
            running: None,
            next: VecDeque::new(),
            bank,
            journal: Vec::new(),
            changes: Vec::new(),
            defects: Defects::default(),
            failed: false,
            hidden: false,
        }
    }

    /// What the cells hold, an operation that runs not counted.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.cells.bytes()
    }

    /// The cells, an operation that runs not counted.
    #[must_use]
    pub fn cells(&self) -> &Cells {
        &self.cells
    }

    /// Puts other cells in the place of these.
    ///
    /// # Panics
    /// If they are those of another chip.
    pub fn set_cells(&mut self, cells: &Cells) {
        let shape = |cells: &Cells| {
            let beside: Vec<_> = cells.beside().map(|(base, bytes)| (base, bytes.len())).collect();
            (cells.bytes().len(), beside, cells.corrects)
        };
        assert_eq!(shape(cells), shape(&self.cells), "cells of the same chip");
        self.cells.clone_from(cells);
    }

    /// Every operation begun since the journal was last taken.
    pub fn take_journal(&mut self) -> Vec<Operation> {
        std::mem::take(&mut self.journal)
    }

    /// The operation that runs.
    #[must_use]
    pub fn running(&self) -> Option<&Operation> {
        self.running.as_ref()
    }

    /// Puts bytes into the cells, as a programming adapter would before the board is fitted.
    ///
    /// # Panics
    /// If they lie outside the flash.
    pub fn preset(&mut self, address: u32, bytes: &[u8]) {
        self.cells.put(address, bytes);
    }

    /// Whether these cells are there, main flash or not.
    pub(crate) fn contains(&self, address: u32, len: u32) -> bool {
        self.cells.get(address, len as usize).is_some()
    }

    /// Whether the main flash has this address.
    pub(crate) fn is_main(&self, address: u32) -> bool {
        self.cells.main.place(address, 1).is_some()
    }

    /// These cells.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn bytes(&self, address: u32, len: u32) -> &[u8] {
        self.cells.get(address, len as usize).expect("cells of this chip")
    }

    /// The bank that an address belongs to; what is not main flash belongs to the first.
    fn bank_of(&self, address: u32) -> u32 {
        if self.is_main(address) { (address - FLASH_BASE) / self.bank } else { 0 }
    }

    /// Begins several operations that the controller does one behind the other; false if one runs.
    pub(crate) fn begin_all(&mut self, now: u64, operations: Vec<(u32, Vec<u8>, u64)>) -> bool {
        if self.running.is_some() {
            return false;
        }
        self.next = operations.into();
        self.begin_next(now)
    }

    fn begin_next(&mut self, now: u64) -> bool {
        let next = self.next.pop_front();
        next.is_some_and(|(address, after, time)| self.begin(now, address, after, time))
    }

    /// Begins an operation that leaves `after` at `address`; false if one runs.
    pub(crate) fn begin(&mut self, now: u64, address: u32, mut after: Vec<u8>, time_ns: u64) -> bool {
        if self.running.is_some() || !self.contains(address, after.len() as u32) {
            return false;
        }
        let before = self.bytes(address, after.len() as u32).to_vec();
        let erase = after.len() > 64;
        let hit = |defect: Option<u32>| defect.is_some_and(|a| a.wrapping_sub(address) < after.len() as u32);
        self.failed = hit(if erase { self.defects.erase_fails } else { self.defects.program_fails });
        let mut time = time_ns;
        if erase {
            time *= u64::from(self.defects.erase_factor.max(1));
        } else if let Some(wrong) =
            self.defects.reads_back_wrong.filter(|_| hit(self.defects.reads_back_wrong))
        {
            after[(wrong - address) as usize] ^= 0x10;
        }
        if self.failed {
            after.clone_from(&before);
        }
        let operation = Operation { address, before, after, start: now, end: now + time };
        self.changes.push((address, operation.after.clone()));
        self.journal.push(operation.clone());
        self.running = Some(operation);
        true
    }

    /// Lets operations that have ended take effect; true if nothing runs any more.
    pub(crate) fn settle(&mut self, now: u64) -> bool {
        while let Some(operation) = self.running.take_if(|o| o.end <= now) {
            self.cells.put(operation.address, &operation.after);
            if !self.begin_next(operation.end) {
                return true;
            }
        }
        false
    }

    /// Power or reset cuts off what is running.
    pub(crate) fn interrupt(&mut self, now: u64, seed: u64) {
        self.settle(now);
        self.next.clear();
        if let Some(operation) = self.running.take() {
            operation.leave(&mut self.cells, Broken::Anything(seed));
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// When the operation ends, or [`NEVER`].
    pub(crate) fn end(&self) -> u64 {
        self.running.as_ref().map_or(NEVER, |o| o.end)
    }

    /// When what runs and what follows it has ended; 0 if nothing runs.
    pub(crate) fn idle_from(&self) -> u64 {
        self.running.as_ref().map_or(0, |o| o.end + self.next.iter().map(|(_, _, time)| time).sum::<u64>())
    }

    /// Until when an access to `address` stalls; 0 if it does not.
    pub(crate) fn busy_until(&self, address: u32, now: u64) -> u64 {
        let same = |o: &&Operation| o.end > now && self.bank_of(o.address) == self.bank_of(address);
        self.running.as_ref().filter(same).map_or(0, |_| self.idle_from())
    }

    /// What readers see otherwise than at the last call, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.changes)
    }

    /// Whether readers of `address` do not see yet what they should.
    pub(crate) fn is_unseen(&self, address: u32) -> bool {
        self.changes.iter().any(|(from, bytes)| address.wrapping_sub(*from) < bytes.len() as u32)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the emulator's only source of chance.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "an endless source is no iterator that ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_takes_effect_when_it_ends_and_stalls_reads_until_then() {
        let mut flash = Flash::new(Cells::new(16 * 1024, false));
        assert!(flash.begin(100, FLASH_BASE + 8, vec![1, 2, 3, 4], 16_000));
        assert!(!flash.begin(200, FLASH_BASE, vec![0; 4], 16_000), "one at a time");
        assert_eq!(flash.busy_until(FLASH_BASE, 200), 16_100);
        assert!(!flash.settle(16_099));
        assert_eq!(flash.data()[8], 0xFF);
        assert!(flash.settle(16_100));
        assert_eq!(flash.data()[8..12], [1, 2, 3, 4]);
        assert_eq!(flash.busy_until(FLASH_BASE, 16_100), 0);
    }

    #[test]
    fn lost_power_spoils_the_cells_of_the_operation_and_no_others() {
        let mut flash = Flash::new(Cells::new(64 * 1024, false));
        flash.preset(FLASH_BASE, &[0x55; 64 * 1024]);
        flash.begin(0, FLASH_BASE + 0x4000, vec![0xFF; 0x4000], 250_000_000);
        flash.interrupt(1000, 7);
        let (low, rest) = flash.data().split_at(0x4000);
        let (erased, high) = rest.split_at(0x4000);
        assert!(low.iter().chain(high).all(|&b| b == 0x55));
        assert!(erased.iter().any(|&b| b != 0x55) && erased.iter().any(|&b| b != 0xFF));
        assert!(!flash.is_busy());
    }

    #[test]
    fn with_check_bits_a_cut_spoils_double_words_until_they_are_erased() {
        let mut flash = Flash::new(Cells::new(64 * 1024, true));
        flash.begin(0, FLASH_BASE + 2048, vec![0xFF; 2048], 22_000_000);
        flash.interrupt(1000, 7);
        let spoilt = |flash: &Flash| {
            let words = (FLASH_BASE..FLASH_BASE + 64 * 1024).step_by(8);
            words.filter(|&a| flash.cells().is_spoilt(a)).collect::<Vec<_>>()
        };
        let bad = spoilt(&flash);
        assert!((50..250).contains(&bad.len()), "half of 256: {}", bad.len());
        assert!(bad.iter().all(|a| (FLASH_BASE + 2048..FLASH_BASE + 4096).contains(a)));
        assert!(flash.cells().is_spoilt(bad[0] + 7));
        flash.begin(0, FLASH_BASE + 2048, vec![0xFF; 2048], 22_000_000);
        assert!(flash.settle(22_000_000));
        assert_eq!(spoilt(&flash), []);
    }
}
