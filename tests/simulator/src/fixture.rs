//! The fixture's lines and the truth about the boards: what a test may do and look at beside the bus.
//!
//! Slots that the panel does not have are ignored by the lines and answered with `None` by the questions.

use panel_protocol::node::Uid;

use crate::board::{Application, BoardCounters};
use crate::chip::FLASH_BASE;
use crate::device::Device;
use crate::firmware::Firmware;
use crate::flash::{Options, StoreError};
use crate::trace::TraceEvent;
use crate::world::World;

impl<F: Firmware> World<F> {
    /// Switches the supply of these slots.
    pub fn set_power(&mut self, slots: &[u16], on: bool) {
        for &slot in slots {
            if let Some(i) = self.index(slot) {
                let event = TraceEvent::Power { slot, on };
                self.change(i, event, |board, now, bus| board.set_power(now, on, bus));
            }
        }
    }

    /// Pulls or releases the NRST line of these slots.
    pub fn set_reset(&mut self, slots: &[u16], asserted: bool) {
        for &slot in slots {
            if let Some(i) = self.index(slot) {
                let event = TraceEvent::Reset { slot, asserted };
                self.change(i, event, |board, now, bus| board.set_reset(now, asserted, bus));
            }
        }
    }

    /// Drives the BOOT0 line of these slots; chips look at it when they start.
    pub fn set_boot0(&mut self, slots: &[u16], high: bool) {
        for i in slots.iter().filter_map(|&slot| self.index(slot)).collect::<Vec<_>>() {
            self.boards[i].set_boot0(high);
        }
    }

    /// Drives the select line of a slot; boards read it when they start.
    pub fn set_select(&mut self, slot: u16, on: bool) {
        if let Some(i) = self.index(slot) {
            self.boards[i].set_select(on);
        }
    }

    /// Takes the board out of a slot without power and puts one of another make in; false if there is no such
    /// slot, or its power is on.
    pub fn install(&mut self, slot: u16, device: Box<dyn Device>) -> bool {
        let Some(i) = self.index(slot).filter(|&i| !self.boards[i].is_powered()) else { return false };
        self.boards[i].install(device);
        true
    }

    /// Supply current of a slot in milliamperes.
    #[must_use]
    pub fn current_ma(&self, slot: u16) -> Option<u32> {
        self.index(slot).map(|i| self.boards[i].current_ma(self.now_ns()))
    }

    /// The slots of the panel, in the order of the configuration.
    #[must_use]
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// Whether a board is fitted.
    #[must_use]
    pub fn is_fitted(&self, slot: u16) -> bool {
        self.index(slot).is_some_and(|i| !self.boards[i].is_absent())
    }

    /// Whether the slot's supply is on.
    #[must_use]
    pub fn is_powered(&self, slot: u16) -> bool {
        self.index(slot).is_some_and(|i| self.boards[i].is_powered())
    }

    /// `len` bytes of a board's flash from `address`.
    #[must_use]
    pub fn flash_bytes(&self, slot: u16, address: u32, len: usize) -> Option<&[u8]> {
        let from = address.checked_sub(FLASH_BASE)? as usize;
        self.boards[self.index(slot)?].hardware().flash.data().get(from..from.checked_add(len)?)
    }

    /// Puts bytes into a board's flash, as if programmed before it came onto the panel; false outside the flash.
    pub fn preset_flash(&mut self, slot: u16, address: u32, bytes: &[u8]) -> bool {
        self.index(slot).is_some_and(|i| self.boards[i].hardware_mut().flash.preset(address, bytes))
    }

    /// The application that a board runs, if it left the bootloader.
    #[must_use]
    pub fn application_running(&self, slot: u16) -> Option<Application> {
        self.boards[self.index(slot)?].application()
    }

    /// Readout protection and option bytes in force.
    #[must_use]
    pub fn options(&self, slot: u16) -> Option<Options> {
        self.index(slot).map(|i| *self.boards[i].hardware().flash.options())
    }

    /// UID of the board in a slot.
    #[must_use]
    pub fn uid(&self, slot: u16) -> Option<Uid> {
        self.index(slot).map(|i| self.boards[i].hardware().facts.uid)
    }

    /// Counters of the board in a slot.
    #[must_use]
    pub fn board_counters(&self, slot: u16) -> Option<BoardCounters> {
        let board = &self.boards[self.index(slot)?];
        Some(board.counters(&self.buses[board.bus()]))
    }

    /// The first error in keeping flash contents in files since the last call.
    pub fn store_error(&mut self) -> Option<StoreError> {
        self.boards.iter_mut().find_map(|b| b.hardware_mut().flash.store_error())
    }
}
