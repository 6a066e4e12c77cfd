//! The processor: unicorn executes the instructions, everything around them is here.
//!
//! unicorn knows no Cortex-M exceptions: `exceptions.rs` does them at boundaries of blocks. Time is counted by blocks of code before they run, with
//! the costs of `cost.rs`; a model sees the time of its block's end. Invariants: the flash in unicorn's memory is
//! the flash model's array; nothing runs while the bus is stalled. Called by the board.

mod crash;
mod exceptions;
mod hooks;
mod leap;
mod view;

use unicorn_engine::unicorn_const::{Arch, Mode, Permission, uc_error};
use unicorn_engine::{ArmCpuModel, RegisterARM, Unicorn};

use crate::flash::FLASH_BASE;
use crate::nvic::{HARD_FAULT, Nvic};
use crate::soc::{Core, Soc};
use crate::wires::{Reset, Wires};
pub use crash::{Crash, CrashKind};
use hooks::Inner;
use view::View;

/// Where code never is: `emu_start` wants an end.
const NO_END: u64 = 0xE800_0000;
/// unicorn's numbers of the exceptions that code raises (target/arm/cpu.h).
const EXCP_SWI: u32 = 2;
const EXCP_EXCEPTION_EXIT: u32 = 8;

/// Memory that code sees beside the flash and the peripherals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ram {
    /// First address.
    pub address: u32,
    /// Bytes.
    pub size: u32,
}

/// A processor with its chip around it.
pub(crate) struct Processor {
    uc: Unicorn<'static, Inner>,
    /// Behind what uses it, so that it is dropped later.
    view: View,
    ram: Vec<Ram>,
    asleep: bool,
    flash_size: u32,
    /// Stretches that may yet be begun until the next reset (`leap.rs`).
    attempts: u32,
    leaps: u32,
}

impl Processor {
    /// A processor without power.
    pub(crate) fn new(soc: Box<dyn Soc>, ram: &[Ram]) -> Result<Self, uc_error> {
        let core = soc.core();
        let mut uc = Unicorn::new_with_data(Arch::ARM, Mode::THUMB | Mode::MCLASS, Inner::new(soc))?;
        uc.ctl_set_cpu_model(match core {
            Core::M0Plus => ArmCpuModel::UC_CPU_ARM_CORTEX_M0 as i32,
            Core::M3 => ArmCpuModel::UC_CPU_ARM_CORTEX_M3 as i32,
            Core::M4 => ArmCpuModel::UC_CPU_ARM_CORTEX_M4 as i32,
        })?;
        let flash_size = uc.get_data().soc.flash().data().len() as u32;
        let view = View::map(&mut uc, FLASH_BASE, flash_size as usize)?;
        for area in ram {
            uc.mem_map(area.address.into(), area.size as usize, Permission::ALL)?;
        }
        uc.mem_map(0x1FFF_0000, 0x1_0000, Permission::READ)?;
        hooks::map_registers(&mut uc, 0x4000_0000, 0x1100_0000)?;
        hooks::map_registers(&mut uc, 0xE000_0000, 0x0010_0000)?;
        hooks::hook(&mut uc, flash_size, core)?;
        Ok(Self { uc, view, ram: ram.to_vec(), asleep: false, flash_size, attempts: 0, leaps: 0 })
    }

    pub(crate) fn soc(&self) -> &dyn Soc {
        &*self.uc.get_data().soc
    }

    pub(crate) fn soc_mut(&mut self) -> &mut dyn Soc {
        &mut *self.uc.get_data_mut().soc
    }

    /// Both at once: models act on the wires.
    pub(crate) fn parts(&mut self) -> (&mut dyn Soc, &mut Wires) {
        let inner = self.uc.get_data_mut();
        (&mut *inner.soc, &mut inner.wires)
    }

    pub(crate) fn wires(&self) -> &Wires {
        &self.uc.get_data().wires
    }

    pub(crate) fn now(&self) -> u64 {
        self.uc.get_data().wires.now.ns
    }

    /// Instructions executed since the processor was made.
    pub(crate) fn instructions(&self) -> u64 {
        self.uc.get_data().instructions
    }

    pub(crate) fn crash(&self) -> Option<Crash> {
        self.uc.get_data().crash
    }

    /// Every fault that the code had, survived or not.
    pub(crate) fn faults(&self) -> &[Crash] {
        &self.uc.get_data().faults
    }

    /// The bytes of memory at `address`.
    pub(crate) fn memory(&self, address: u32, len: usize) -> Vec<u8> {
        self.uc.mem_read_as_vec(address.into(), len).unwrap_or_default()
    }

    pub(crate) fn set_memory(&mut self, address: u32, bytes: &[u8]) -> bool {
        self.uc.mem_write(address.into(), bytes).is_ok()
    }

    /// Writes into code that may have been translated already.
    pub(crate) fn spoil(&mut self, address: u32, bytes: &[u8]) -> bool {
        let written = self.set_memory(address, bytes);
        self.forget_code(address, bytes.len());
        written
    }

    /// What was translated of these bytes counts no more. (To forget all of it would be to clear a GiB.)
    fn forget_code(&mut self, address: u32, len: usize) {
        let from = u64::from(address);
        if self.uc.ctl_remove_cache(from, from + len as u64).is_err() {
            self.uc.get_data_mut().wires.complain("translated code cannot be forgotten");
        }
        self.uc.get_data_mut().forget_costs();
    }

    pub(crate) fn program_counter(&self) -> u32 {
        self.register(RegisterARM::PC)
    }

    /// When something happens without the processor.
    pub(crate) fn next_event(&self) -> u64 {
        let inner = self.uc.get_data();
        inner.soc.next_event().min(inner.nvic.next_event())
    }

    /// Does nothing until the next event.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep || self.crash().is_some()
    }

    /// Is as after a reset at time `at`, and yet to be started. RAM is noise after power-up and kept by every other reset.
    pub(crate) fn reset(&mut self, at: u64, cause: Reset, noise: &mut dyn FnMut() -> u8) {
        if cause == Reset::Power {
            for area in self.ram.clone() {
                let bytes: Vec<u8> = (0..area.size).map(|_| noise()).collect();
                self.set_memory(area.address, &bytes);
            }
        }
        let inner = self.uc.get_data_mut();
        let core = inner.soc.core();
        let now = inner.wires.now;
        inner.nvic = Nvic::new(core);
        let old = std::mem::replace(&mut inner.wires, Wires::new(inner.soc.reset_clock()));
        if cause != Reset::Power {
            inner.wires.keep_complaints(&old);
        }
        inner.wires.now.ns = at.max(if cause == Reset::Power { 0 } else { now.ns });
        inner.soc.reset(&mut inner.wires, cause);
        (inner.crash, inner.raised, inner.stopping) = (None, None, false);
        inner.rebase();
        (self.asleep, self.attempts) = (false, leap::ATTEMPTS);
        self.copy_system_memory();
    }

    /// Starts the program whose vector table is here, `at` or later.
    pub(crate) fn start(&mut self, at: u64, vectors: u32) {
        self.uc.get_data_mut().wait(at);
        self.copy_flash();
        let (sp, pc) = (self.word(vectors), self.word(vectors + 4));
        for (register, value) in [
            (RegisterARM::IPSR, 0),
            (RegisterARM::CONTROL, 0),
            (RegisterARM::PRIMASK, 0),
            (RegisterARM::MSP, sp),
            (RegisterARM::SP, sp),
            (RegisterARM::LR, 0xFFFF_FFFF),
        ] {
            self.set_register(register, value);
        }
        if self.soc().core() != Core::M0Plus {
            self.set_register(RegisterARM::BASEPRI, 0);
        }
        self.set_register(RegisterARM::PC, pc);
        let flash = Ram { address: FLASH_BASE, size: self.flash_size };
        let inside = |area: &Ram| (area.address..area.address + area.size).contains(&pc);
        if pc & 1 == 0 || !self.ram.iter().chain([&flash]).any(inside) {
            self.die(CrashKind::Vector(1), pc);
        }
    }

    /// Executes until the board's time is `until` or later. Returns the reset that something asked for.
    pub(crate) fn run(&mut self, until: u64) -> Option<Reset> {
        loop {
            let inner = self.uc.get_data_mut();
            inner.soc.tick(&mut inner.wires);
            inner.nvic.tick(&mut inner.wires);
            if let Some(cause) = inner.wires.reset.take() {
                return Some(cause);
            }
            self.take_changes();
            if self.now() >= until {
                return None;
            }
            if self.crash().is_some() {
                self.sleep(until);
                continue;
            }
            let (primask, basepri) = self.masks();
            if self.asleep {
                if !self.uc.get_data().nvic.wakes() {
                    self.sleep(until);
                    continue;
                }
                (self.asleep, self.attempts) = (false, 0);
            }
            let inner = self.uc.get_data_mut();
            if let Some(number) = inner.nvic.take(primask, basepri) {
                self.enter(number);
                continue;
            }
            let masked = inner.nvic.wakes();
            let target = until.min(inner.soc.next_event()).min(inner.nvic.next_event());
            // With an interrupt held back the masks are looked at after every block.
            let one = inner.wires.now.cycles + 1;
            let stop = if masked { one } else { inner.cycles_at(target).max(one) };
            if !self.leap(stop) {
                self.uc.get_data_mut().stop_at = stop;
                self.execute();
            }
        }
    }

    /// Runs blocks until a hook stops them.
    fn execute(&mut self) {
        self.uc.get_data_mut().stopping = false;
        let pc = self.register(RegisterARM::PC);
        let result = self.uc.emu_start(u64::from(pc | 1), NO_END, 0, 0);
        let pc = self.register(RegisterARM::PC);
        let inner = self.uc.get_data_mut();
        inner.settle();
        match (result, inner.raised.take()) {
            (Ok(()), Some(EXCP_EXCEPTION_EXIT)) => self.leave(pc | 1),
            (Ok(()), Some(EXCP_SWI)) => inner.nvic.call_supervisor(),
            (Ok(()), Some(number)) => self.fault(CrashKind::Exception(number), pc),
            (Ok(()), None) => self.asleep = !inner.stopping,
            (Err(uc_error::INSN_INVALID | uc_error::EXCEPTION), _) => self.fault(CrashKind::Undefined, pc),
            (Err(_), _) => {
                let address = inner.fault_address;
                self.fault(CrashKind::Bus, address);
            }
        }
    }

    /// Every fault is a HardFault: none of the others is enabled by this project's code.
    fn fault(&mut self, kind: CrashKind, address: u32) {
        let (pc, lr) = (self.register(RegisterARM::PC), self.register(RegisterARM::LR));
        let sp = self.register(RegisterARM::SP);
        let inner = self.uc.get_data_mut();
        let trail = inner.trail();
        inner.faults.push(Crash { kind, address, pc, lr, sp, trail });
        if inner.nvic.fault() { self.enter(HARD_FAULT) } else { self.die(kind, address) }
    }

    fn sleep(&mut self, until: u64) {
        let inner = self.uc.get_data_mut();
        let target = until.min(inner.soc.next_event()).min(inner.nvic.next_event());
        let before = inner.wires.now.cycles;
        inner.wait(target);
        inner.wires.now.asleep += inner.wires.now.cycles - before;
    }

    fn die(&mut self, kind: CrashKind, address: u32) {
        let (pc, lr) = (self.register(RegisterARM::PC), self.register(RegisterARM::LR));
        let sp = self.register(RegisterARM::SP);
        let inner = self.uc.get_data_mut();
        let crash = Crash { kind, address, pc, lr, sp, trail: inner.trail() };
        inner.wires.complain(format!("the processor died: {crash}"));
        inner.crash = Some(crash);
    }

    fn register(&self, register: RegisterARM) -> u32 {
        self.uc.reg_read(register).unwrap_or(0) as u32
    }

    fn set_register(&mut self, register: RegisterARM, value: u32) {
        if self.uc.reg_write(register, value.into()).is_err() {
            self.uc.get_data_mut().wires.complain(format!("{register:?} cannot be set"));
        }
    }

    fn word(&self, address: u32) -> u32 {
        let mut bytes = [0; 4];
        match self.uc.mem_read(address.into(), &mut bytes) {
            Ok(()) => u32::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    /// Copies what readers of the flash now see into unicorn's memory.
    fn take_changes(&mut self) {
        for (address, bytes) in self.soc_mut().flash_mut().take_changes() {
            self.show(address, &bytes);
        }
    }

    fn copy_flash(&mut self) {
        self.soc_mut().flash_mut().take_changes();
        let flash = self.soc().flash();
        let bytes = if flash.hidden { vec![0; flash.data().len()] } else { flash.data().to_vec() };
        for (address, page) in (FLASH_BASE..).step_by(4096).zip(bytes.chunks(4096)) {
            self.show(address, page);
        }
    }

    /// Cells as readers see them, and nothing of what was translated of them before.
    fn show(&mut self, address: u32, bytes: &[u8]) {
        if !self.soc().flash().is_main(address) {
            self.set_memory(address, bytes);
        } else if self.view.put(address, bytes) {
            self.forget_code(address, bytes.len());
        }
    }

    fn copy_system_memory(&mut self) {
        let mut bytes = vec![0xFF; 0x1_0000];
        let mut put = |address: u32, part: &[u8]| {
            let at = (address - 0x1FFF_0000) as usize;
            bytes[at..at + part.len()].copy_from_slice(part);
        };
        self.soc().system_memory().iter().for_each(|(address, part)| put(*address, part));
        self.soc().flash().cells().beside().for_each(|(address, part)| put(address, part));
        self.set_memory(0x1FFF_0000, &bytes);
    }
}
