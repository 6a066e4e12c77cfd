//! Flash memory that enforces its family's rules and takes its datasheet's time.
//!
//! An operation takes effect when it ends. Invariant: whatever cuts the power, only the unit being erased or the
//! units of the running programming call may differ from what a completed history of operations would have
//! left. What a rule forbids is refused as the chip would refuse it and counted in `violations`, which a test
//! of correct node code expects to stay zero. Times are nanoseconds; the owner passes `now` to every call.
//! One-time programmable memory is programmed as the flash is, and no erase reaches it.

mod options;
mod store;

use core::ops::Range;

use panel_protocol::node::{EraseUnit, FlashFacts, FlashFault, FlashState, Protection, Uid};

use crate::chip::{Chip, FLASH_BASE, WriteRule};
use crate::rng::Rng;
use crate::timers::NEVER;

pub use options::Options;
pub(crate) use options::{
    F1_OPTIONS, F4_OPTIONS, G0_OPTIONS, G4_OPTIONS, L4_OPTIONS, OPTION_BYTES, OptionArea, OptionCells,
};
pub(crate) use store::Store;
pub use store::StoreError;

/// The most bytes one programming call takes.
const CALL: usize = 256;

/// When a fading cell loses its bit after it was programmed, ns: after the node has looked at it.
const FADING: u64 = 500_000;

/// Defects of this flash.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Defects {
    /// The unit that holds this address cannot be programmed.
    pub(crate) program_fails: Option<u32>,
    /// One bit at this address reads back wrong after programming.
    pub(crate) reads_back_wrong: Option<u32>,
    /// This cell is programmed, reads back right, and has lost a bit a little later.
    pub(crate) fades: Option<u32>,
    /// The erase unit that holds this address cannot be erased.
    pub(crate) erase_fails: Option<u32>,
    /// Erases take this many times the typical time; 0 stands for 1.
    pub(crate) erase_factor: f64,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Erase {
        address: u32,
        size: u32,
    },
    /// The bytes are in [`Flash::latch`]; `at` is their place in [`Flash::data`].
    Program {
        address: u32,
        at: usize,
        len: usize,
    },
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    action: Action,
    start: u64,
    end: u64,
    fault: Option<FlashFault>,
}

#[derive(Debug)]
pub(crate) struct Flash {
    chip: &'static Chip,
    facts: FlashFacts,
    /// The flash, and behind it the one-time programmable memory.
    data: Vec<u8>,
    /// Code that does not live in it: all of it may be erased and programmed.
    whole: bool,
    /// One bit per double word that was programmed since its last erase; empty where that does not matter.
    once: Vec<u64>,
    operation: Option<Operation>,
    /// What the running call programs.
    latch: [u8; CALL],
    /// Reported by the next [`Flash::poll`].
    fault: Option<FlashFault>,
    pub(crate) defects: Defects,
    /// Set to be told when this address has been programmed.
    pub(crate) watch: Option<u32>,
    /// The watched address has been programmed.
    pub(crate) reached: bool,
    /// Erases that have ended since power-on.
    pub(crate) erases: u32,
    /// Requests that a datasheet forbids.
    violations: u32,
    pub(crate) option_cells: OptionCells,
    /// Set once a cell that fades was programmed: when its bit flips.
    fades_at: u64,
    rng: Rng,
    store: Option<Store>,
}

impl Flash {
    /// An erased flash with a bootloader, which takes only sealed images or takes any.
    pub(crate) fn new(chip: &'static Chip, sealed: bool, mut rng: Rng) -> Self {
        let mut bootloader = vec![0; chip.resident.bytes(sealed) as usize];
        rng.fill(&mut bootloader);
        let mut flash = Self { facts: chip.flash_facts(sealed), ..Self::blank(chip, rng) };
        flash.preset(FLASH_BASE, &bootloader);
        flash
    }

    /// An erased flash, as it comes from the factory.
    pub(crate) fn blank(chip: &'static Chip, rng: Rng) -> Self {
        let size = (chip.flash_size() + chip.otp.1) as usize;
        let once = if chip.rule == WriteRule::Once { vec![0; size.div_ceil(8 * 64)] } else { Vec::new() };
        let option_cells = OptionCells::new(chip.options);
        let data = vec![0xFF; size];
        Self { chip, facts: chip.flash_facts(false), data, once, option_cells, ..Self::detached(rng) }
    }

    /// From now on nothing runs from this flash, so that no part of it protects itself.
    pub(crate) fn free(&mut self) {
        self.whole = true;
    }

    /// First address that may be erased and programmed.
    fn first(&self) -> u32 {
        if self.whole { FLASH_BASE } else { self.facts.app_base }
    }

    /// A flash without a single byte: what stays behind when a board's hardware is taken out of its node.
    pub(crate) fn detached(rng: Rng) -> Self {
        let chip = &crate::chip::CHIPS[0];
        Self {
            chip,
            facts: chip.flash_facts(false),
            data: Vec::new(),
            whole: false,
            once: Vec::new(),
            operation: None,
            latch: [0; CALL],
            fault: None,
            defects: Defects::default(),
            watch: None,
            reached: false,
            erases: 0,
            violations: 0,
            option_cells: OptionCells::new(chip.options),
            fades_at: NEVER,
            rng,
            store: None,
        }
    }

    /// Keeps the contents in `store` from now on; what it held before replaces them. Returns the chip's UID: the
    /// one kept, or `uid` in a new file.
    pub(crate) fn attach(&mut self, store: Store, uid: Uid) -> Result<Uid, StoreError> {
        let Some(kept) = store.load(self.data.len(), self.once.len())? else {
            store.save_all(&self.data, &self.once, self.option_cells.programmed(), uid)?;
            self.store = Some(store);
            return Ok(uid);
        };
        self.data = kept.data;
        self.once = kept.once;
        self.option_cells.preset(kept.options);
        self.store = Some(store);
        if let Some((address, len)) = kept.interrupted {
            if let Some(at) = self.offset(address, len as usize) {
                self.scramble(at, at + len as usize);
                self.keep(at, len as usize);
            }
            self.end_note();
        }
        Ok(kept.uid)
    }

    /// The first error of the file that keeps the contents.
    pub(crate) fn store_error(&mut self) -> Option<StoreError> {
        self.store.as_mut()?.take_error()
    }

    pub(crate) fn facts(&self) -> &FlashFacts {
        &self.facts
    }

    pub(crate) fn violations(&self) -> u32 {
        self.violations
    }

    /// The contents; an operation still running does not show.
    pub(crate) fn data(&self) -> &[u8] {
        self.data.get(..self.facts.size() as usize).unwrap_or(&[])
    }

    /// Where the one-time programmable memory lies.
    pub(crate) fn otp(&self) -> Range<u32> {
        let (base, len) = self.chip.otp;
        base..base + len
    }

    /// Overwrites contents directly, as a test or a scenario that starts from a given past does.
    pub(crate) fn preset(&mut self, address: u32, bytes: &[u8]) -> bool {
        let Some(at) = self.offset(address, bytes.len()) else { return false };
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        self.mark_once(at, bytes.len(), bytes.iter().any(|&b| b != 0xFF));
        if let Some(store) = &mut self.store {
            store.write(at, bytes);
            store.write_once(at, bytes.len(), &self.once);
        }
        true
    }

    pub(crate) fn read(&self, address: u32, out: &mut [u8]) -> bool {
        let Some(at) = self.offset(address, out.len()) else {
            let options = self.option_cells.read(address, out.len());
            return options.map(|bytes| out.copy_from_slice(&bytes)).is_some();
        };
        out.copy_from_slice(&self.data[at..at + out.len()]);
        true
    }

    /// Whether an operation is running.
    pub(crate) fn is_busy(&self, now: u64) -> bool {
        self.operation.is_some_and(|o| o.end > now)
    }

    /// Whether the running operation is an erase.
    pub(crate) fn is_erasing(&self) -> bool {
        matches!(self.operation, Some(Operation { action: Action::Erase { .. }, .. }))
    }

    /// When the running operation ends, or [`NEVER`].
    pub(crate) fn end(&self) -> u64 {
        self.operation.map_or(NEVER, |o| o.end)
    }

    pub(crate) fn start_erase(&mut self, now: u64, unit: &EraseUnit) {
        self.settle(now);
        let known =
            self.facts.erase_unit(unit.address).filter(|u| u.address == unit.address && u.size == unit.size);
        let Some(known) = known
            .filter(|u| u.address >= self.first() && self.operation.is_none())
            .filter(|u| !self.option_cells.write_protects(u))
        else {
            return self.refuse(FlashFault::Erase);
        };
        let broken = self.defects.erase_fails.is_some_and(|a| a.wrapping_sub(known.address) < known.size);
        let time = (known.typical.0 * 1000) as f64 * self.defects.erase_factor.max(1.0);
        let time = time as u64;
        self.begin(Operation {
            action: Action::Erase { address: known.address, size: known.size },
            start: now,
            end: now + time,
            fault: broken.then_some(FlashFault::Erase),
        });
    }

    pub(crate) fn start_program(&mut self, now: u64, address: u32, bytes: &[u8]) {
        self.settle(now);
        let unit = usize::from(self.chip.unit);
        let aligned = (address as usize).is_multiple_of(unit) && bytes.len().is_multiple_of(unit);
        let allowed = address >= self.first() && (1..=CALL).contains(&bytes.len());
        let protects = |u: EraseUnit| self.option_cells.write_protects(&u);
        let allowed = allowed && !self.facts.erase_unit(address).is_some_and(protects);
        let Some(at) =
            self.offset(address, bytes.len()).filter(|_| aligned && allowed && self.operation.is_none())
        else {
            return self.refuse(FlashFault::Program { address });
        };
        let failing = (0..bytes.len() / unit).find(|u| {
            let place = at + u * unit;
            let forbidden = !self.may_program(place, &bytes[u * unit..(u + 1) * unit]);
            self.violations += u32::from(forbidden);
            let failing = self.defects.program_fails.and_then(|a| self.offset(a, 1));
            let broken = failing.is_some_and(|a| a / unit == place / unit);
            broken || (forbidden && self.chip.rule != WriteRule::ClearsBits)
        });
        let units = failing.map_or(bytes.len() / unit, |u| u + 1);
        self.latch[..bytes.len()].copy_from_slice(bytes);
        self.begin(Operation {
            action: Action::Program { address, at, len: units * unit },
            start: now,
            end: now + units as u64 * self.chip.program_ns,
            fault: failing.map(|u| FlashFault::Program { address: address + (u * unit) as u32 }),
        });
    }

    /// State of the operation last started; a failure is told once.
    pub(crate) fn poll(&mut self, now: u64) -> FlashState {
        self.settle(now);
        if self.operation.is_some() {
            return FlashState::Busy;
        }
        self.fault.take().map_or(FlashState::Idle, FlashState::Failed)
    }

    /// Lets an operation that has ended take effect.
    pub(crate) fn settle(&mut self, now: u64) {
        if self.option_cells.settle(now) {
            self.keep_options();
        }
        if self.fades_at <= now {
            self.fade();
        }
        let Some(operation) = self.operation.take_if(|o| o.end <= now) else { return };
        self.fault = operation.fault;
        match operation.action {
            Action::Erase { address, size } => {
                self.erases += 1;
                if operation.fault.is_none() {
                    let at = (address - FLASH_BASE) as usize;
                    self.data[at..at + size as usize].fill(0xFF);
                    self.mark_once(at, size as usize, false);
                    self.keep(at, size as usize);
                }
            }
            Action::Program { address, at, len } => {
                let unit = usize::from(self.chip.unit);
                let good = if operation.fault.is_some() { len - unit } else { len };
                self.program(at, good);
                if operation.fault.is_some() && self.defects.program_fails.is_some() {
                    // The failing cell holds whatever the attempt left.
                    self.scramble(at + good, at + len);
                }
                if self.defects.fades.is_some_and(|a| a.wrapping_sub(address) < len as u32) {
                    self.fades_at = operation.end + FADING;
                }
                self.reached |= self.watch.is_some_and(|w| w.wrapping_sub(address) < len as u32);
                self.keep(at, len);
            }
        }
        self.end_note();
    }

    /// Power or reset cuts off what is running.
    pub(crate) fn interrupt(&mut self, now: u64) {
        self.settle(now);
        self.fault = None;
        if self.option_cells.interrupt(now, &mut self.rng) {
            self.keep_options();
        }
        let Some(operation) = self.operation.take() else { return };
        match operation.action {
            Action::Erase { address, size } => {
                let at = (address - FLASH_BASE) as usize;
                self.scramble(at, at + size as usize);
                self.keep(at, size as usize);
            }
            Action::Program { at, len, .. } => {
                let unit = usize::from(self.chip.unit);
                let done = (now.saturating_sub(operation.start) / self.chip.program_ns) as usize * unit;
                let done = done.min(len - unit);
                self.program(at, done);
                self.scramble(at + done, at + done + unit);
                self.keep(at, len);
            }
        }
        self.end_note();
    }

    /// Loads the option bytes. Leaving protection level 1 erases the whole flash.
    pub(crate) fn reload_options(&mut self) {
        if self.option_cells.load() {
            let size = self.facts.size() as usize;
            self.data[..size].fill(0xFF);
            self.mark_once(0, size, false);
            self.keep(0, size);
        }
    }

    /// The bootloader is still there; a mass erase takes it away.
    pub(crate) fn has_bootloader(&self) -> bool {
        let size = (self.facts.app_base - FLASH_BASE) as usize;
        self.data.get(..size).is_some_and(|b| b.iter().any(|&b| b != 0xFF))
    }

    /// Option bytes in force.
    pub(crate) fn options(&self) -> &Options {
        self.option_cells.loaded()
    }

    /// Sets the protection that the board comes with.
    pub(crate) fn preset_protection(&mut self, level: Protection) {
        self.option_cells.preset(Options { protection: level, ..*self.option_cells.programmed() });
        self.keep_options();
    }

    /// Takes option bytes over from whoever else had the chip.
    pub(crate) fn preset_options(&mut self, protection: Protection, bytes: &[u8]) {
        let mut options = Options { protection, ..*self.option_cells.programmed() };
        for (old, new) in options.bytes.iter_mut().zip(bytes) {
            *old = *new;
        }
        self.option_cells.preset(options);
        self.keep_options();
    }

    /// A bit that was right when it was read back is wrong from now on.
    fn fade(&mut self) {
        self.fades_at = NEVER;
        if let Some(at) = self.defects.fades.and_then(|address| self.offset(address, 1)) {
            self.data[at] ^= 0x04;
            self.keep(at, 1);
        }
    }

    /// Where these bytes are in [`Self::data`], all in the flash or all in the one-time programmable memory.
    fn offset(&self, address: u32, len: usize) -> Option<usize> {
        let (size, otp) = (self.facts.size(), self.otp());
        let (area, first) = match address {
            a if otp.contains(&a) => (otp, size as usize),
            _ => (FLASH_BASE..FLASH_BASE + size, 0),
        };
        let at = address.checked_sub(area.start)? as usize;
        (at.checked_add(len)? <= area.len() && !self.data.is_empty()).then_some(first + at)
    }

    fn begin(&mut self, operation: Operation) {
        self.fault = None;
        if let Some(store) = &mut self.store {
            let (address, len) = match operation.action {
                Action::Erase { address, size } => (address, size),
                Action::Program { address, len, .. } => (address, len as u32),
            };
            store.begin_operation(address, len);
        }
        self.operation = Some(operation);
    }

    fn refuse(&mut self, fault: FlashFault) {
        self.violations += 1;
        self.fault = Some(fault);
    }

    fn may_program(&self, at: usize, bytes: &[u8]) -> bool {
        let old = &self.data[at..at + bytes.len()];
        match self.chip.rule {
            WriteRule::ClearsBits => old.iter().zip(bytes).all(|(o, n)| o & n == *n),
            WriteRule::Erased => old.iter().all(|&o| o == 0xFF) || bytes.iter().all(|&n| n == 0),
            WriteRule::Once => self.once[at / 512] >> (at / 8 % 64) & 1 == 0,
        }
    }

    /// Programs the first `len` bytes of the latch.
    fn program(&mut self, at: usize, len: usize) {
        for (old, new) in self.data[at..at + len].iter_mut().zip(&self.latch) {
            *old &= new;
        }
        self.mark_once(at, len, true);
        let wrong = self.defects.reads_back_wrong.and_then(|address| self.offset(address, 1));
        if let Some(wrong) = wrong.filter(|wrong| (at..at + len).contains(wrong)) {
            self.data[wrong] ^= 0x10;
        }
    }

    /// Leaves arbitrary contents: some bytes as they were, some erased, some neither.
    fn scramble(&mut self, from: usize, to: usize) {
        for byte in &mut self.data[from..to] {
            let chance = self.rng.next();
            match chance & 3 {
                0 | 1 => {}
                2 => *byte = 0xFF,
                _ => *byte = (chance >> 8) as u8,
            }
        }
        self.mark_once(from, to - from, true);
    }

    fn mark_once(&mut self, at: usize, len: usize, programmed: bool) {
        if self.once.is_empty() {
            return;
        }
        for i in at / 8..(at + len).div_ceil(8) {
            let word = &mut self.once[i / 64];
            if programmed { *word |= 1 << (i % 64) } else { *word &= !(1 << (i % 64)) }
        }
    }

    fn keep(&mut self, at: usize, len: usize) {
        if let Some(store) = &mut self.store {
            store.write(at, &self.data[at..at + len]);
            store.write_once(at, len, &self.once);
        }
    }

    fn end_note(&mut self) {
        if let Some(store) = &mut self.store {
            store.end_operation();
        }
    }

    fn keep_options(&mut self) {
        if let Some(store) = &mut self.store {
            store.write_options(self.option_cells.programmed());
        }
    }
}

#[cfg(test)]
mod tests;
