//! One chip's peripherals, as the processor and the board see them.
//!
//! The processor reads and writes registers; the board connects the chip's pins: bus, serial lines, straps, LEDs.
//! Implemented once for each family.

use panel_protocol::frame::Frame;

use crate::flash::Flash;
use crate::serial::Usart;
use crate::wires::{Reset, Wires};

/// What a CAN cell wants from the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CanAction {
    /// It takes part: normal mode, pins routed, at this bit rate.
    Join {
        /// Arbitration phase, bit/s.
        nominal: u32,
        /// Data phase, bit/s, of a cell that takes FD frames.
        data: Option<u32>,
        /// It comes back from bus-off by itself; otherwise after [`CanAction::Recover`].
        returns: bool,
    },
    /// Software lets it come back from bus-off.
    Recover,
    /// It no longer takes part.
    Leave,
    /// A mailbox was filled.
    Send(Frame),
    /// Everything that waits is withdrawn.
    Abort,
}

/// What the bus knows of a cell's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CanState {
    /// Transmit error counter.
    pub(crate) tec: u16,
    /// Receive error counter.
    pub(crate) rec: u16,
    /// Bus-off.
    pub(crate) off: bool,
}

/// What a CAN cell counted since power-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CanCounters {
    /// Frames that passed the filters into a FIFO.
    pub received: u64,
    /// Frames lost because the FIFO was full.
    pub overruns: u64,
    /// Frames that software took from a FIFO.
    pub released: u64,
    /// Most frames that waited in a FIFO at once.
    pub deepest: usize,
    /// Frames sent.
    pub sent: u64,
    /// Times it went bus-off.
    pub bus_off: u64,
}

/// A processor core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    /// Cortex-M0+.
    M0Plus,
    /// Cortex-M3.
    M3,
    /// Cortex-M4 with floating point.
    M4,
}

/// A chip.
pub(crate) trait Soc {
    /// Its processor core.
    fn core(&self) -> Core;
    /// Processor clock after reset, Hz.
    fn reset_clock(&self) -> u32;
    /// Puts every register into its reset state.
    fn reset(&mut self, wires: &mut Wires, cause: Reset);
    /// Whether an address in the processor's private region is the chip's (DBGMCU).
    fn claims(&self, address: u32) -> bool;
    /// Reads the register at `address`, a multiple of four.
    fn read(&mut self, wires: &mut Wires, address: u32) -> u32;
    /// Writes `size` bytes at `address`.
    fn write(&mut self, wires: &mut Wires, address: u32, size: usize, value: u32);
    /// Code stores into the flash's address range.
    fn store(&mut self, wires: &mut Wires, address: u32, size: usize, value: u64);
    /// Code reads flash cells whose check bits do not fit; only chips with error correction have such cells.
    fn ecc_error(&mut self, _wires: &mut Wires, _address: u32) {}
    /// Lets happen what is due.
    fn tick(&mut self, wires: &mut Wires);
    /// When something is due next, or `NEVER`.
    fn next_event(&self) -> u64;
    /// Constant contents of the system memory from 0x1FFF_0000: unique ID, flash size. What can be programmed there is the
    /// flash's.
    fn system_memory(&self) -> Vec<(u32, Vec<u8>)>;
    /// The flash.
    fn flash(&self) -> &Flash;
    /// The flash.
    fn flash_mut(&mut self) -> &mut Flash;
    /// The next thing that the CAN cell in use wants from the bus.
    fn can_action(&mut self) -> Option<CanAction>;
    /// A frame ended on the bus; filters and FIFOs do the rest.
    fn can_receive(&mut self, wires: &mut Wires, frame: &Frame);
    /// One of the cell's frames has been sent.
    fn can_sent(&mut self, wires: &mut Wires, frame: &Frame);
    /// Error counters and state, as the bus knows them.
    fn set_can_state(&mut self, wires: &mut Wires, state: CanState);
    /// What the CAN cells have done since power-on.
    fn can_counters(&self) -> CanCounters;
    /// The serial port `n`, from 1.
    fn usart(&mut self, n: usize) -> Option<&mut Usart>;
    /// Levels that the outside drives onto pins of port `port` (0 is A): mask and levels.
    fn drive(&mut self, port: usize, mask: u16, levels: u16);
    /// What the chip drives onto pins of a port: mask of outputs, and their levels.
    fn outputs(&self, port: usize) -> (u16, u16);
    /// Readout protection and other option bytes as they are in force.
    fn option_word(&self) -> u32;
}
