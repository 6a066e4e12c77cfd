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

/// Bytes of one programming call.
const PIECE: usize = 256;
/// Looks at the controller in one call. At 16 MHz that is 2 ms: a piece is programmed in one go (64 words, 1 ms), while
/// the interrupt goes on receiving; a turn of the main loop between its words would make it ten times as long.
const LOOKS: u32 = 2000;

enum Operation {
    None,
    Erase,
    Program {
        address: u32,
        len: u16,
        at: u16,
    },
    /// Refused before it reached the controller.
    Refused(FlashFault),
}

/// The flash and what it is doing.
pub(crate) struct Flash {
    operation: Operation,
    data: [u8; PIECE],
    /// Lowest address that may be changed.
    floor: u32,
    /// Address after the last one: nothing may be changed before it is known.
    pub(crate) end: u32,
}

impl Flash {
    /// A flash that changes nothing below `floor`.
    pub(crate) const fn new(floor: u32) -> Self {
        Self { operation: Operation::None, data: [0; PIECE], floor, end: 0 }
    }

    fn allowed(&self, address: u32, len: u32) -> bool {
        let within = |from, to| address >= from && address.checked_add(len).is_some_and(|end| end <= to);
        IS_AGENT || within(self.floor, self.end) || within(chip::OTP.0, chip::OTP.1)
    }

    /// Begins to erase a unit.
    pub(crate) fn start_erase(&mut self, unit: &EraseUnit) {
        if !self.allowed(unit.address, unit.size) {
            self.operation = Operation::Refused(FlashFault::Erase);
            return;
        }
        controller::unlock();
        controller::erase(unit);
        self.operation = Operation::Erase;
    }

    /// Begins to program at most [`PIECE`] bytes.
    pub(crate) fn start_program(&mut self, address: u32, data: &[u8]) {
        let place = self.data.get_mut(..data.len());
        match place.filter(|_| address.is_multiple_of(chip::UNIT)) {
            Some(place) => place.copy_from_slice(data),
            None => return self.operation = Operation::Refused(FlashFault::Program { address }),
        }
        if !self.allowed(address, data.len() as u32) {
            self.operation = Operation::Refused(FlashFault::Program { address });
            return;
        }
        controller::unlock();
        controller::begin_program();
        self.operation = Operation::Program { address, len: data.len() as u16, at: 0 };
    }

    /// Whether units wait to be programmed, so that the main loop must not sleep.
    pub(crate) const fn is_programming(&self) -> bool {
        matches!(self.operation, Operation::Program { .. })
    }

    /// Goes on with the operation.
    pub(crate) fn poll(&mut self) -> FlashState {
        for _ in 0..LOOKS {
            match (&mut self.operation, controller::outcome()) {
                (Operation::None, _) => return FlashState::Idle,
                (Operation::Refused(fault), _) => {
                    let fault = *fault;
                    self.operation = Operation::None;
                    return FlashState::Failed(fault);
                }
                (Operation::Erase, Outcome::Busy) => return FlashState::Busy,
                (Operation::Program { .. }, Outcome::Busy) => {}
                (Operation::Erase, Outcome::Done) => return self.end(None),
                (Operation::Erase, Outcome::Failed) => return self.end(Some(FlashFault::Erase)),
                (Operation::Program { address, at, .. }, Outcome::Failed) => {
                    let address = *address + u32::from(at.saturating_sub(chip::UNIT as u16));
                    return self.end(Some(FlashFault::Program { address }));
                }
                (Operation::Program { len, at, .. }, Outcome::Done) if at == len => return self.end(None),
                (Operation::Program { address, at, .. }, Outcome::Done) => {
                    let from = usize::from(*at);
                    let unit = self.data.get(from..from + chip::UNIT as usize).unwrap_or(&[]);
                    controller::program(*address + u32::from(*at), unit);
                    *at += chip::UNIT as u16;
                }
            }
        }
        FlashState::Busy
    }

    fn end(&mut self, fault: Option<FlashFault>) -> FlashState {
        self.operation = Operation::None;
        controller::lock();
        fault.map_or(FlashState::Idle, FlashState::Failed)
    }
}
