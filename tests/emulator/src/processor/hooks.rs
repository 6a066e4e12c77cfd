//! What unicorn calls while it executes: every block of code, every access to a register, reads of flash, faults.
//!
//! Invariants: a block's cost is counted before it runs; the time in nanoseconds follows from the cycles and is worked out
//! only where a model looks at it ([`Inner::settle`]), because blocks are as short as a handful of instructions.

use unicorn_engine::Unicorn;
use unicorn_engine::unicorn_const::{HookType, MemType, uc_error};

use super::crash::{Crash, TRAIL};
use super::leap::Recorder;
use crate::cost::{self, Cost};
use crate::flash::FLASH_BASE;
use crate::nvic::Nvic;
use crate::soc::{Core, Soc};
use crate::wires::{Wires, ns};

/// First and last address of what holds option bytes and one-time programmable memory.
const SYSTEM_MEMORY: (u64, u64) = (0x1FFF_0000, 0x1FFF_FFFF);
/// Entries of the direct-mapped cache of block costs.
const COSTS: usize = 1 << 13;

/// What unicorn's hooks see.
pub(super) struct Inner {
    pub(super) soc: Box<dyn Soc>,
    pub(super) nvic: Nvic,
    pub(super) wires: Wires,
    /// Time counted from here in cycles of the present clock.
    base: (u64, u64),
    pub(super) instructions: u64,
    /// Cycles at which to stop.
    pub(super) stop_at: u64,
    /// A hook asked unicorn to stop.
    pub(super) stopping: bool,
    pub(super) raised: Option<u32>,
    costs: Vec<(u64, Cost)>,
    pub(super) crash: Option<Crash>,
    pub(super) faults: Vec<Crash>,
    pub(super) fault_address: u32,
    /// Cycles were counted since the time was worked out.
    unsettled: bool,
    /// Where the last blocks began, the latest before place `latest`.
    trail: [u32; TRAIL],
    latest: usize,
    /// Something else than registers and plain memory had a part in what was executed.
    pub(super) touched: bool,
    /// Stop after every access to a peripheral.
    pub(super) halting: bool,
    pub(super) recorder: Option<Box<Recorder>>,
}

impl Inner {
    pub(super) fn new(soc: Box<dyn Soc>) -> Self {
        Self {
            wires: Wires::new(soc.reset_clock()),
            nvic: Nvic::new(soc.core()),
            soc,
            base: (0, 0),
            instructions: 0,
            stop_at: 0,
            stopping: false,
            raised: None,
            costs: vec![(u64::MAX, Cost::default()); COSTS],
            crash: None,
            faults: Vec::new(),
            fault_address: 0,
            unsettled: false,
            trail: [0; TRAIL],
            latest: 0,
            touched: false,
            halting: false,
            recorder: None,
        }
    }

    /// Where the last blocks of code began, the latest last.
    pub(super) fn trail(&self) -> [u32; TRAIL] {
        let mut trail = self.trail;
        trail.rotate_left(self.latest);
        trail
    }

    pub(super) fn set_trail(&mut self, trail: [u32; TRAIL]) {
        (self.trail, self.latest) = (trail, 0);
    }

    /// Code has changed.
    pub(super) fn forget_costs(&mut self) {
        self.costs.fill((u64::MAX, Cost::default()));
    }

    /// Lets `cycles` pass.
    pub(super) fn pass(&mut self, cycles: u64) {
        self.count(cycles);
        self.settle();
    }

    /// The same, but that the time is worked out later.
    fn count(&mut self, cycles: u64) {
        self.wires.now.cycles += cycles;
        self.unsettled = true;
    }

    /// Works out the time from the cycles that have been counted.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.unsettled) {
            self.wires.now.ns = self.base.1 + ns(self.wires.now.cycles - self.base.0, self.wires.hclk);
        }
    }

    /// Lets time pass until `at` without an instruction.
    pub(super) fn wait(&mut self, at: u64) {
        if at > self.wires.now.ns {
            let span = u128::from(at - self.base.1) * u128::from(self.wires.hclk);
            let cycles = span.div_ceil(1_000_000_000) as u64 + self.base.0;
            self.wires.now.cycles = cycles.max(self.wires.now.cycles);
            self.wires.now.ns = at.max(self.wires.now.ns);
        }
    }

    pub(super) fn rebase(&mut self) {
        self.base = (self.wires.now.cycles, self.wires.now.ns);
    }

    /// The cycle count at which the time is `at` or later.
    pub(super) fn cycles_at(&self, at: u64) -> u64 {
        let span = u128::from(at.saturating_sub(self.base.1)) * u128::from(self.wires.hclk);
        self.base.0 + u64::try_from(span.div_ceil(1_000_000_000)).unwrap_or(u64::MAX / 2)
    }

    /// Before a model looks at the time: it is worked out, and what runs now is no stretch of code that every board runs alike.
    fn touch(&mut self) {
        self.settle();
        self.touched = true;
        if self.halting {
            self.stop_at = 0;
        }
    }

    /// What the bus stalls for passes before the access is done.
    fn stall(&mut self) {
        if self.wires.stall > self.wires.now.ns {
            self.wires.stalled += self.wires.stall - self.wires.now.ns;
            self.wait(self.wires.stall);
        }
        self.wires.stall = 0;
        self.soc.tick(&mut self.wires);
    }

    /// Stalls as long as an operation keeps the flash at this address busy; true if it did.
    fn stall_for_flash(&mut self, address: u32) -> bool {
        if !self.soc.flash().is_busy() {
            return false;
        }
        self.touch();
        self.wires.stall = self.soc.flash().busy_until(address, self.wires.now.ns);
        let stalls = self.wires.stall > 0;
        if stalls {
            self.stall();
        }
        stalls
    }

    fn read(&mut self, address: u32, size: usize) -> u32 {
        self.touch();
        let aligned = address & !3;
        self.soc.tick(&mut self.wires);
        let value = if address >= 0xE000_0000 && !self.soc.claims(address) {
            self.nvic.read(&mut self.wires, aligned)
        } else {
            self.soc.read(&mut self.wires, aligned)
        };
        let shifted = value >> ((address & 3) * 8);
        if size >= 4 { shifted } else { shifted & ((1 << (8 * size)) - 1) }
    }

    fn write(&mut self, address: u32, size: usize, value: u32) {
        self.touch();
        let hclk = self.wires.hclk;
        if address >= 0xE000_0000 && !self.soc.claims(address) {
            self.nvic.write(&mut self.wires, address, size, value);
        } else {
            self.soc.write(&mut self.wires, address, size, value);
            if self.wires.stall > 0 {
                self.stall();
                self.soc.write(&mut self.wires, address, size, value);
            }
        }
        if self.wires.hclk != hclk {
            self.rebase();
        }
        self.stop_at = 0;
    }

    /// Code stores where it may not: into flash, which its controller sees to, or elsewhere, which is a fault.
    fn store(&mut self, address: u32, size: usize, value: u64) -> bool {
        self.touch();
        self.stop_at = 0;
        if !self.soc.flash().contains(address, size as u32) {
            self.fault_address = address;
            return false;
        }
        self.soc.store(&mut self.wires, address, size, value);
        if self.wires.stall > 0 {
            self.stall();
            self.soc.store(&mut self.wires, address, size, value);
        }
        true
    }

    /// Code reads flash.
    fn load(&mut self, address: u32) {
        if self.stall_for_flash(address) && self.soc.flash().is_unseen(address) {
            // unicorn's memory cannot be changed here, so this read would get the cells' old contents.
            self.wires.complain("cells are read in the very block of code that changes them");
        }
        if self.soc.flash().cells().is_spoilt(address) {
            self.touch();
            self.soc.ecc_error(&mut self.wires, address);
            self.stop_at = 0;
        }
    }

    /// A block begins; false if it is not to be executed yet.
    fn begin_block(&mut self, address: u32, cost: Cost, in_flash: bool) -> bool {
        if self.wires.now.cycles >= self.stop_at {
            self.stopping = true;
            return false;
        }
        if in_flash {
            self.stall_for_flash(address);
        }
        self.trail[self.latest] = address;
        self.latest = (self.latest + 1) % TRAIL;
        self.instructions += u64::from(cost.instructions);
        self.count(cost.cycles.into());
        true
    }
}

pub(super) fn map_registers(
    uc: &mut Unicorn<'static, Inner>,
    base: u32,
    size: usize,
) -> Result<(), uc_error> {
    uc.mmio_map(
        base.into(),
        size,
        Some(move |uc: &mut Unicorn<'_, Inner>, offset: u64, size: usize| {
            u64::from(uc.get_data_mut().read(base + offset as u32, size))
        }),
        Some(move |uc: &mut Unicorn<'_, Inner>, offset: u64, size: usize, value: u64| {
            uc.get_data_mut().write(base + offset as u32, size, value as u32);
        }),
    )
}

pub(super) fn hook(uc: &mut Unicorn<'static, Inner>, flash_size: u32, core: Core) -> Result<(), uc_error> {
    let flash = FLASH_BASE..FLASH_BASE + flash_size;
    let main = (u64::from(flash.start), u64::from(flash.end - 1));
    uc.add_block_hook(1, 0, move |uc, address, size| {
        let key = address << 16 | u64::from(size);
        let slot = (address as usize >> 1) % COSTS;
        let (known, mut cost) = uc.get_data().costs[slot];
        if known != key {
            let code = uc.mem_read_as_vec(address, size as usize).unwrap_or_default();
            cost = cost::block(&code, core);
            uc.get_data_mut().costs[slot] = (key, cost);
        }
        let address = address as u32;
        if !uc.get_data_mut().begin_block(address, cost, flash.contains(&address)) {
            // The block is not executed: unicorn stops before it. This only sets a flag and cannot fail.
            let _ = uc.emu_stop();
        } else if uc.get_data().recorder.is_some() {
            Recorder::note(uc, MemType::FETCH, address.into(), size);
        }
    })?;
    for (from, to) in [main, SYSTEM_MEMORY] {
        uc.add_mem_hook(HookType::MEM_READ, from, to, |uc, _, address, _, _| {
            uc.get_data_mut().load(address as u32);
            true
        })?;
    }
    uc.add_mem_hook(HookType::MEM_WRITE_PROT, 1, 0, |uc, _, address, size, value| {
        uc.get_data_mut().store(address as u32, size, value as u64)
    })?;
    uc.add_mem_hook(HookType::MEM_UNMAPPED, 1, 0, |uc, _, address, _, _| {
        let inner = uc.get_data_mut();
        inner.touch();
        inner.fault_address = address as u32;
        false
    })?;
    uc.add_intr_hook(|uc, number| {
        let inner = uc.get_data_mut();
        inner.touch();
        inner.raised = Some(number);
        inner.stopping = true;
        let _ = uc.emu_stop();
    })?;
    Ok(())
}
