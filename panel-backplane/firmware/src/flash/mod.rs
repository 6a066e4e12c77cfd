//! The flash driver: erase and program in small polled pieces, so that the main loop goes on meanwhile.
//!
//! The family's registers are in the file beside this one. Invariant: the controller is locked whenever nothing
//! is under way, no address below the application's is ever erased or programmed, nor one outside flash and OTP,
//! whatever the caller asks: [`Flash::allowed`] stands between the node and the controller.

#[cfg_attr(feature = "f405", path = "f4.rs")]
#[cfg_attr(feature = "f103", path = "f1.rs")]
#[cfg_attr(any(feature = "g431", feature = "g474", feature = "g0b1"), path = "g4.rs")]
mod controller;

use crate::chip::{self, IS_AGENT};
use controller::Outcome;
#[cfg(any(feature = "g431", feature = "g474"))]
pub(crate) use controller::options_register;
#[cfg(any(feature = "g431", feature = "g474", feature = "g0b1"))]
pub(crate) use controller::{forgive_ecc_error, launch_options};
pub(crate) use controller::{protection, set_protection, write_options};
use panel_protocol::node::{EraseUnit, FlashFault, FlashState};

/// Units that one programming call has at most, 256 bytes.
const UNITS: usize = 256 / UNIT;
const UNIT: usize = chip::UNIT as usize;
/// Looks at the controller in one call. At 16 MHz that is 2 ms: a piece is programmed in one go (64 words, 1 ms), while
/// the interrupt goes on receiving; a turn of the main loop between its words would make it ten times as long.
const LOOKS: u32 = 2000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    None,
    Erase,
    Program,
    /// Refused before it reached the controller.
    Refused,
}

/// The flash and what it is doing.
#[repr(C)]
pub(crate) struct Flash {
    operation: Operation,
    /// What is wrong if it fails, or was when it was refused.
    fault: FlashFault,
    /// Units that the controller is to be given, and was given; none for an erase.
    units: usize,
    given: usize,
    /// Address of the next one.
    address: u32,
    /// Lowest address that may be changed.
    floor: u32,
    /// Address after the last one: nothing may be changed before it is known.
    pub(crate) end: u32,
    data: [[u8; UNIT]; UNITS],
}

impl Flash {
    /// A flash that changes nothing below `floor`.
    pub(crate) const fn new(floor: u32) -> Self {
        let (operation, fault, data) = (Operation::None, FlashFault::Erase, [[0; UNIT]; UNITS]);
        Self { operation, fault, units: 0, given: 0, address: 0, floor, end: 0, data }
    }

    fn allowed(&self, address: u32, len: u32) -> bool {
        let within = |from, to| address >= from && address.checked_add(len).is_some_and(|end| end <= to);
        IS_AGENT || within(self.floor, self.end) || within(chip::OTP.0, chip::OTP.1)
    }

    /// Begins to erase a unit.
    pub(crate) fn start_erase(&mut self, unit: &EraseUnit) {
        self.fault = FlashFault::Erase;
        if !self.allowed(unit.address, unit.size) {
            self.operation = Operation::Refused;
            return;
        }
        controller::unlock();
        controller::erase(unit);
        (self.operation, self.units, self.given) = (Operation::Erase, 0, 0);
    }

    /// Begins to program at most 256 bytes.
    pub(crate) fn start_program(&mut self, address: u32, data: &[u8]) {
        self.fault = FlashFault::Program { address };
        let fits = address.is_multiple_of(chip::UNIT) && self.allowed(address, data.len() as u32);
        match self.data.as_flattened_mut().get_mut(..data.len()).filter(|_| fits) {
            Some(place) => place.copy_from_slice(data),
            None => return self.operation = Operation::Refused,
        }
        controller::unlock();
        controller::begin_program();
        (self.operation, self.units, self.given) = (Operation::Program, data.len() / UNIT, 0);
        self.address = address;
    }

    /// Whether units wait to be programmed, so that the main loop must not sleep.
    pub(crate) fn is_programming(&self) -> bool {
        self.operation == Operation::Program
    }

    /// Goes on with the operation.
    pub(crate) fn poll(&mut self) -> FlashState {
        let operation = self.operation;
        match operation {
            Operation::None => return FlashState::Idle,
            Operation::Refused => {
                self.operation = Operation::None;
                return FlashState::Failed(self.fault);
            }
            Operation::Erase | Operation::Program => {}
        }
        for _ in 0..LOOKS {
            match controller::outcome() {
                Outcome::Busy if operation == Operation::Erase => break,
                Outcome::Busy => {}
                Outcome::Failed => return self.end(FlashState::Failed(self.fault)),
                Outcome::Done => {
                    let Some(unit) = self.data.get(self.given).filter(|_| self.given < self.units) else {
                        return self.end(FlashState::Idle);
                    };
                    controller::program(self.address, unit);
                    self.fault = FlashFault::Program { address: self.address };
                    self.address += chip::UNIT;
                    self.given += 1;
                }
            }
        }
        FlashState::Busy
    }

    fn end(&mut self, state: FlashState) -> FlashState {
        self.operation = Operation::None;
        controller::lock();
        state
    }
}
