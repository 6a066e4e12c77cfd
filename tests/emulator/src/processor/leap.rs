//! Leaps: a long stretch of code that boards run alike is executed once and leapt over from then on.
//!
//! A board that was switched on unpacks its program first: millions of instructions on registers and plain memory alone,
//! and tests switch thousands of boards on. Such a stretch is recorded: registers at its beginning, every byte that it read
//! before it wrote it (its own instructions among them), registers at its end, every byte that it wrote, cycles and
//! instructions. What it does follows from the first two. So where a processor finds both as they were, it gets the
//! others. Invariant: a leap cannot be told from the execution: no peripheral is accessed, nothing is due, no
//! flash operation runs and nobody looks within it. Called by the processor's loop after a reset.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use unicorn_engine::unicorn_const::{HookType, MemType};
use unicorn_engine::{RegisterARM, Unicorn};

use super::Processor;
use super::crash::TRAIL;
use super::hooks::Inner;
use crate::flash::FLASH_BASE;
use crate::soc::Core;

/// Shortest stretch that is worth it, in cycles.
const SHORTEST: u64 = 1 << 20;
/// A recording grows by so many cycles at a time.
const STEP: u64 = 1 << 17;
/// Stretches that are begun in vain after a reset; a program polls its clocks first.
pub(super) const ATTEMPTS: u32 = 4000;
/// Most stretches that are kept.
const KEPT: usize = 64;
/// Peripherals begin here; everything below is memory without a will of its own.
const PERIPHERALS: u64 = 0x4000_0000;
const PAGE: u32 = 4096;

/// What is known to the process.
static KNOWN: Mutex<Vec<Arc<Stretch>>> = Mutex::new(Vec::new());

/// All that a stretch depends on and all that it does.
#[derive(Debug)]
struct Stretch {
    core: Core,
    before: Registers,
    read: Vec<(u32, Vec<u8>)>,
    after: Registers,
    written: Vec<(u32, Vec<u8>)>,
    cycles: u64,
    instructions: u64,
    trail: [u32; TRAIL],
}

/// Core registers, then those of floating point.
const CORE: [RegisterARM; 21] = [
    RegisterARM::R0,
    RegisterARM::R1,
    RegisterARM::R2,
    RegisterARM::R3,
    RegisterARM::R4,
    RegisterARM::R5,
    RegisterARM::R6,
    RegisterARM::R7,
    RegisterARM::R8,
    RegisterARM::R9,
    RegisterARM::R10,
    RegisterARM::R11,
    RegisterARM::R12,
    RegisterARM::LR,
    RegisterARM::CONTROL,
    RegisterARM::PSP,
    RegisterARM::SP,
    RegisterARM::PRIMASK,
    RegisterARM::FAULTMASK,
    RegisterARM::XPSR,
    RegisterARM::PC,
];
const FLOATS: usize = 32;

/// The registers of [`CORE`]; BASEPRI, FPSCR and S0 to S31, 0 where the processor has none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Registers {
    core: [u32; CORE.len()],
    basepri: u32,
    fpscr: u32,
    floats: [u32; FLOATS],
}

/// What is noted of a page of memory: which bytes were read first, and what they held; which were written.
#[derive(Debug, Clone)]
struct Page {
    held: Vec<Option<u8>>,
    written: Vec<bool>,
}

impl Page {
    fn new() -> Self {
        Self { held: vec![None; PAGE as usize], written: vec![false; PAGE as usize] }
    }
}

/// A recording in progress.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pages: BTreeMap<u32, Page>,
}

impl Recorder {
    /// Notes an access before it happens.
    pub(super) fn note(uc: &mut Unicorn<'_, Inner>, kind: MemType, address: u64, size: u32) {
        let Some(mut recorder) = uc.get_data_mut().recorder.take() else { return };
        if address < PERIPHERALS {
            for at in address as u32..address as u32 + size {
                let page = recorder.pages.entry(at / PAGE).or_insert_with(Page::new);
                let place = (at % PAGE) as usize;
                if kind == MemType::WRITE {
                    page.written[place] = true;
                } else if !page.written[place] && page.held[place].is_none() {
                    let mut byte = [0];
                    // Where nothing is, the access that follows is a fault, which ends the recording.
                    let _ = uc.mem_read(at.into(), &mut byte);
                    page.held[place] = Some(byte[0]);
                }
            }
        }
        uc.get_data_mut().recorder = Some(recorder);
    }

    /// Bytes that are chosen of each page, one behind the other where they touch.
    fn pieces(&self, choose: impl Fn(&Page, u32, usize) -> Option<u8>) -> Vec<(u32, Vec<u8>)> {
        let mut pieces: Vec<(u32, Vec<u8>)> = Vec::new();
        for (number, page) in &self.pages {
            for place in 0..PAGE as usize {
                let address = number * PAGE + place as u32;
                let Some(byte) = choose(page, address, place) else { continue };
                match pieces.last_mut() {
                    Some((from, bytes)) if *from + bytes.len() as u32 == address => bytes.push(byte),
                    _ => pieces.push((address, vec![byte])),
                }
            }
        }
        pieces
    }
}

impl Processor {
    /// Before code is executed until the cycle `stop`: leaps over a stretch that is known, or executes a part and records it if
    /// that is long enough. False if neither, and code is executed as ever.
    pub(super) fn leap(&mut self, stop: u64) -> bool {
        let inner = self.uc.get_data_mut();
        let room = stop.saturating_sub(inner.wires.now.cycles);
        inner.halting = self.attempts > 0 && room >= SHORTEST && !inner.soc.flash().is_busy();
        if !inner.halting {
            return false;
        }
        self.attempts -= 1;
        let before = self.registers();
        let known: Vec<_> = {
            let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            known.iter().filter(|s| s.before == before).cloned().collect()
        };
        match known.into_iter().find(|s| s.cycles <= room && self.finds(s)) {
            Some(stretch) => self.apply(&stretch),
            None => self.record(before, stop),
        }
        true
    }

    /// Leaps since the processor was made.
    pub(crate) fn leaps(&self) -> u32 {
        self.leaps
    }

    /// Whether what the stretch read is there.
    fn finds(&self, stretch: &Stretch) -> bool {
        let same = |(address, bytes): &(u32, Vec<u8>)| {
            self.memory(*address, bytes.len()) == *bytes && !self.is_spoilt(*address, bytes.len())
        };
        stretch.core == self.soc().core() && stretch.read.iter().all(same)
    }

    fn is_spoilt(&self, address: u32, len: usize) -> bool {
        let cells = self.soc().flash().cells();
        address >= FLASH_BASE && (address..address + len as u32).any(|a| cells.is_spoilt(a))
    }

    fn apply(&mut self, stretch: &Stretch) {
        for (address, bytes) in &stretch.written {
            self.spoil(*address, bytes);
        }
        self.set_registers(&stretch.after);
        let there = self.registers() == stretch.after;
        let inner = self.uc.get_data_mut();
        inner.instructions += stretch.instructions;
        inner.pass(stretch.cycles);
        inner.set_trail(stretch.trail);
        if !there {
            inner.wires.complain("registers are not as a leap should leave them");
        }
        (self.attempts, self.leaps) = (0, self.leaps + 1);
    }

    /// Executes step by step, for as long as nothing but registers and memory takes part. The last step may be no part of the
    /// stretch.
    fn record(&mut self, before: Registers, stop: u64) {
        let inner = self.uc.get_data_mut();
        let (cycles, instructions) = (inner.wires.now.cycles, inner.instructions);
        inner.recorder = Some(Box::default());
        let hook = self.uc.add_mem_hook(
            HookType::MEM_READ | HookType::MEM_WRITE,
            1,
            0,
            |uc, kind, address, size, _| {
                Recorder::note(uc, kind, address, size as u32);
                true
            },
        );
        let mut stretch = None;
        loop {
            let inner = self.uc.get_data_mut();
            inner.touched = hook.is_err();
            inner.stop_at = inner.wires.now.cycles + STEP;
            if inner.stop_at > stop {
                break;
            }
            self.execute();
            let inner = self.uc.get_data();
            if inner.touched || !inner.stopping || inner.crash.is_some() {
                break;
            }
            let (cycles, instructions) = (inner.wires.now.cycles - cycles, inner.instructions - instructions);
            if cycles >= SHORTEST {
                stretch = self.recorded(&before, cycles, instructions);
            }
        }
        if let Ok(hook) = hook {
            // It was added above.
            let _ = self.uc.remove_hook(hook);
        }
        self.uc.get_data_mut().recorder = None;
        if let Some(stretch) = stretch {
            self.attempts = 0;
            let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() < KEPT {
                known.push(Arc::new(stretch));
            }
        }
    }

    /// The stretch so far.
    fn recorded(&self, before: &Registers, cycles: u64, instructions: u64) -> Option<Stretch> {
        let inner = self.uc.get_data();
        let recorder = inner.recorder.as_ref()?;
        Some(Stretch {
            core: inner.soc.core(),
            before: before.clone(),
            read: recorder.pieces(|page, _, place| page.held[place]),
            after: self.registers(),
            written: recorder.pieces(|page, address, place| {
                page.written[place].then(|| self.memory(address, 1).first().copied().unwrap_or_default())
            }),
            cycles,
            instructions,
            trail: inner.trail(),
        })
    }

    fn registers(&self) -> Registers {
        let m0 = self.soc().core() == Core::M0Plus;
        let m4 = self.soc().core() == Core::M4;
        Registers {
            core: CORE.map(|name| self.register(name)),
            basepri: if m0 { 0 } else { self.register(RegisterARM::BASEPRI) },
            fpscr: if m4 { self.register(RegisterARM::FPSCR) } else { 0 },
            floats: std::array::from_fn(|n| if m4 { self.float(n as i32) } else { 0 }),
        }
    }

    fn set_registers(&mut self, after: &Registers) {
        let now = self.registers();
        for (n, (&value, name)) in after.floats.iter().zip(0..).enumerate() {
            if now.floats[n] != value {
                self.set_float(name, value);
            }
        }
        if now.fpscr != after.fpscr {
            self.set_register(RegisterARM::FPSCR, after.fpscr);
        }
        if now.basepri != after.basepri {
            self.set_register(RegisterARM::BASEPRI, after.basepri);
        }
        for (name, (now, &value)) in CORE.into_iter().zip(now.core.iter().zip(&after.core)) {
            match name {
                // All of it: flags, GE and what is left of an IT block.
                RegisterARM::XPSR => self.set_register(RegisterARM::XPSR_NZCVQG, value),
                RegisterARM::PC => self.set_register(RegisterARM::PC, value | 1),
                _ if *now != value => self.set_register(name, value),
                _ => {}
            }
        }
    }
}
