//! Exceptions: entry (stack frame, vector) and return (EXC_RETURN), ARMv7-M ARM, DDI 0403E, B1.5.6 to B1.5.8.
//!
//! unicorn executes the instructions of a Cortex-M, but takes no exception. Called at boundaries of blocks.

use unicorn_engine::RegisterARM;

use super::{CrashKind, Processor};
use crate::flash::FLASH_BASE;
use crate::soc::Core;

/// Cycles of exception entry and return at zero wait states (DDI 0439B, 3.9.1).
const EXCEPTION: u64 = 12;
/// EPSR with its Thumb bit and no IT state.
const THUMB: u32 = 1 << 24;
/// Core registers that an exception frame holds first.
const STACKED: [RegisterARM; 6] =
    [RegisterARM::R0, RegisterARM::R1, RegisterARM::R2, RegisterARM::R3, RegisterARM::R12, RegisterARM::LR];

impl Processor {
    /// Exception entry: the frame is pushed on the main stack, the handler's vector fetched.
    pub(super) fn enter(&mut self, number: u16) {
        let xpsr = self.register(RegisterARM::XPSR);
        let pc = self.register(RegisterARM::PC) & !1;
        let floating = self.register(RegisterARM::CONTROL) & 4 != 0;
        let sp = self.register(RegisterARM::SP);
        let size = if floating { 0x68 } else { 0x20 };
        let frame = (sp - size) & !7;
        let aligned = u32::from(sp & 4 != 0) << 9;
        let mut words: Vec<u32> = STACKED.iter().map(|&r| self.register(r)).collect();
        words.extend([pc, xpsr & !0x200 | aligned]);
        if floating {
            words.extend((0..16).map(|n| self.float(n)));
            words.push(self.register(RegisterARM::FPSCR));
            words.push(0);
        }
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        if !self.set_memory(frame, &bytes) {
            return self.die(CrashKind::Bus, frame);
        }
        let nested = xpsr & 0x1FF != 0;
        let back = match (nested, floating) {
            (true, false) => 0xFFFF_FFF1,
            (false, false) => 0xFFFF_FFF9,
            (true, true) => 0xFFFF_FFE1,
            (false, true) => 0xFFFF_FFE9,
        };
        let vtor = self.uc.get_data().nvic.vtor;
        let table = if vtor < FLASH_BASE { vtor + FLASH_BASE } else { vtor };
        let handler = self.word(table + 4 * u32::from(number));
        self.set_register(RegisterARM::SP, frame);
        self.set_register(RegisterARM::LR, back);
        self.set_register(RegisterARM::IPSR, number.into());
        // A block may end within an IT block: the handler begins without its condition, which the frame keeps.
        self.set_register(RegisterARM::EPSR, THUMB);
        if floating {
            let control = self.register(RegisterARM::CONTROL);
            self.set_register(RegisterARM::CONTROL, control & !4);
        }
        self.set_register(RegisterARM::PC, handler);
        self.uc.get_data_mut().pass(EXCEPTION);
        if handler & 1 == 0 {
            self.die(CrashKind::Vector(number), handler);
        }
    }

    /// Exception return to what EXC_RETURN says.
    pub(super) fn leave(&mut self, back: u32) {
        let floating = back & 0x10 == 0;
        if back & 4 != 0 {
            self.uc.get_data_mut().wires.complain("return to the process stack is not modelled");
        }
        let below = self.uc.get_data_mut().nvic.end();
        let frame = self.register(RegisterARM::SP);
        let word = |n: u32| self.word(frame + 4 * n);
        let words: Vec<u32> = (0..if floating { 25 } else { 8 }).map(word).collect();
        for (&name, &value) in STACKED.iter().zip(&words) {
            self.set_register(name, value);
        }
        let (pc, xpsr) = (words[6], words[7]);
        if floating {
            for n in 0..16 {
                self.set_float(n, words[8 + n as usize]);
            }
            self.set_register(RegisterARM::FPSCR, words[24]);
        }
        let size = if floating { 0x68 } else { 0x20 };
        self.set_register(RegisterARM::IPSR, below.into());
        self.set_register(RegisterARM::XPSR_NZCVQG, xpsr & !0x200 & !0x1FF | u32::from(below));
        self.set_register(RegisterARM::SP, (frame + size) | (xpsr >> 9 & 1) << 2);
        if floating {
            let control = self.register(RegisterARM::CONTROL);
            self.set_register(RegisterARM::CONTROL, control | 4);
        }
        self.set_register(RegisterARM::PC, pc | 1);
        self.uc.get_data_mut().pass(EXCEPTION);
    }

    /// PRIMASK and BASEPRI.
    pub(super) fn masks(&self) -> (bool, u8) {
        let primask = self.register(RegisterARM::PRIMASK) & 1 != 0;
        let m0 = self.soc().core() == Core::M0Plus;
        let basepri = if m0 { 0 } else { self.register(RegisterARM::BASEPRI) as u8 };
        (primask, basepri)
    }

    pub(super) fn float(&self, n: i32) -> u32 {
        self.uc.reg_read(RegisterARM::S0 as i32 + n).unwrap_or(0) as u32
    }

    pub(super) fn set_float(&mut self, n: i32, value: u32) {
        if self.uc.reg_write(RegisterARM::S0 as i32 + n, value.into()).is_err() {
            self.uc.get_data_mut().wires.complain("a floating point register cannot be set");
        }
    }
}
