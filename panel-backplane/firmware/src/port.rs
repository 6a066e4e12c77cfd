//! What this board lends to the node: each call is a register access or two, none is a decision.

use core::ops::Range;

use crate::board::Board;
use crate::chip::{self, BOARD, IS_AGENT};
use crate::flash::{self, Flash};
#[cfg(any(feature = "f405", feature = "f103"))]
use crate::regs::is_erased;
use crate::regs::{read_bytes, read_word};
use crate::{core_registers, gpio, mailbox, memory, seal, vectors, watchdog};
use panel_protocol::agent::{SLOT_WORD, slot_in};
use panel_protocol::block::SEALED;
use panel_protocol::node::{
    BoardFacts, BusCounters, EraseUnit, FlashState, NodePort, Protection, ResetCause, Seals, Slot,
    TestReading,
};

/// The board.
pub(crate) struct Port {
    facts: BoardFacts,
    /// As it was at the start: a level written since is not in force before the next one.
    protection: Protection,
    nonce: u32,
    /// The CAN controller's, as the main loop last saw them.
    pub(crate) counters: BusCounters,
    pub(crate) flash: Flash,
}

impl Port {
    /// As the program is linked, the chip not looked at.
    pub(crate) const ASLEEP: Self = Self {
        facts: chip::FACTS,
        protection: Protection::Open,
        nonce: 0,
        counters: BusCounters { tec: 0, rec: 0, overruns: 0, errors: 0 },
        flash: Flash::new(chip::FACTS.flash.app_base),
    };

    /// Looks at the chip; the pins are not yet set up.
    pub(crate) fn wake(&mut self, reset_cause: ResetCause) {
        self.facts.reset_cause = reset_cause;
        self.flash.end = chip::look(&mut self.facts);
        self.protection = flash::protection();
        self.nonce = memory::noise();
    }
}

impl NodePort for Port {
    fn facts(&self) -> &BoardFacts {
        &self.facts
    }

    fn is_agent(&self) -> bool {
        IS_AGENT
    }

    fn nonce(&mut self) -> u32 {
        self.nonce & 0xFF_FFFF
    }

    /// What the agent's loader has told counts: it knows through whose lines it loads.
    fn strap(&mut self) -> Option<u16> {
        let Board { straps, .. } = BOARD;
        if IS_AGENT && let Some(slot) = read_word(vectors::address() + SLOT_WORD as u32).and_then(slot_in) {
            return Some(slot);
        }
        let value = straps.iter().rev().fold(0, |value, &pin| value << 1 | u16::from(gpio::is_high(pin)));
        (!straps.is_empty()).then_some(value)
    }

    fn supply_mv(&mut self) -> Option<u16> {
        None
    }

    fn bus_counters(&mut self) -> BusCounters {
        self.counters
    }

    fn protection(&mut self) -> Protection {
        self.protection
    }

    fn otp(&self) -> Range<u32> {
        chip::OTP.0..chip::OTP.1
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> bool {
        watchdog::feed(); // a check of the whole flash takes seconds
        chip::is_readable(self.flash.end, address, out.len()) && read_bytes(address, out)
    }

    #[cfg(any(feature = "f405", feature = "f103"))]
    fn is_blank(&mut self, address: u32, len: u32) -> bool {
        let readable = chip::is_readable(self.flash.end, address, len as usize);
        readable && read_word(address).is_some() && is_erased(address, len)
    }

    fn start_erase(&mut self, unit: &EraseUnit) {
        self.flash.start_erase(unit);
    }

    fn start_program(&mut self, address: u32, data: &[u8]) {
        self.flash.start_program(address, data);
    }

    fn flash_poll(&mut self) -> FlashState {
        self.flash.poll()
    }

    fn write_options(&mut self, offset: u8, data: &[u8]) -> bool {
        flash::write_options(offset, data)
    }

    fn set_protection(&mut self, level: Protection) -> bool {
        flash::set_protection(level)
    }

    fn run_test(&mut self, _item: u8, _argument: u32) -> Option<TestReading> {
        None // test items are the application's
    }

    const HAS_SLOT: bool = BOARD.slot.is_some() && !IS_AGENT;

    fn slot(&self) -> Option<Slot> {
        chip::slot(&self.facts.flash)
    }

    fn seals(&self) -> Seals {
        seal::DUTY
    }

    fn seal_is_good(&mut self, message: &[u8; SEALED], signature: &[u8; 64]) -> bool {
        seal::is_signed(message, signature)
    }

    /// The resident resets first, so that the application finds the chip as after a reset and the image is
    /// checked once more; the agent cannot, because the boot pins may still lead into the ROM.
    fn start_application(&mut self, address: u32) {
        if !IS_AGENT {
            mailbox::ask_to_start(address);
            core_registers::reset();
        }
        crate::start::hand_over(address);
    }

    fn reset(&mut self) {
        if !IS_AGENT {
            chip::reset_with_options(); // an agent writes none
        }
        core_registers::reset();
    }
}
