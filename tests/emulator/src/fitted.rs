//! A board in a slot of the simulated panel.
//!
//! The world and the test that looks into the board share it. Invariant: whatever happens to a board, it has lived
//! until then first. Called by `panel_simulator::World`.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use panel_protocol::frame::Frame;
use panel_simulator::{CanPort, Device};

use crate::board::Board;

/// A board in a slot of a simulated panel, shared with the test that looks into it.
#[derive(Clone)]
pub struct Fitted(Rc<RefCell<Board>>);

impl Fitted {
    /// Shares a board.
    #[must_use]
    pub fn new(board: Board) -> Self {
        Self(Rc::new(RefCell::new(board)))
    }

    /// The board.
    ///
    /// # Panics
    /// If it is borrowed already.
    #[must_use]
    pub fn board(&self) -> RefMut<'_, Board> {
        self.0.borrow_mut()
    }
}

impl Device for Fitted {
    fn due(&self) -> u64 {
        self.0.borrow().due()
    }

    fn run(&mut self, now: u64, port: &mut CanPort<'_>) -> bool {
        self.board().run(now, Some(port))
    }

    fn receive(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>) {
        let mut board = self.board();
        board.run(now, Some(port));
        if board.rom_receive(now, frame) {
            board.run(now, Some(port));
        } else if board.joined {
            let (soc, wires) = board.processor.parts();
            soc.can_receive(wires, frame);
        }
    }

    fn sent(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>) {
        let mut board = self.board();
        board.run(now, Some(port));
        if board.rom_sent(now, port) {
            return;
        }
        let (soc, wires) = board.processor.parts();
        soc.can_sent(wires, frame);
        board.act(now, &mut Some(port));
    }

    fn set_power(&mut self, now: u64, on: bool, port: &mut CanPort<'_>) {
        let mut board = self.board();
        board.run(now, Some(port));
        board.set_power(now, on);
        if !on {
            board.joined = false;
            port.disconnect();
        }
    }

    fn set_reset(&mut self, now: u64, asserted: bool, port: &mut CanPort<'_>) {
        let mut board = self.board();
        board.run(now, Some(port));
        board.set_reset(now, asserted);
        if asserted {
            board.joined = false;
            port.disconnect();
        }
    }

    fn set_select(&mut self, _: bool) {}

    fn set_boot0(&mut self, high: bool) {
        self.board().set_boot0(high);
    }

    fn port_write(&mut self, now: u64, bytes: &[u8]) {
        self.board().port_write(now, bytes);
    }

    fn port_read(&mut self, now: u64) -> Vec<u8> {
        self.board().port_read(now)
    }

    fn port_configure(&mut self, baud: u32) {
        self.board().port_configure(baud);
    }

    fn current_ma(&self, _: u64) -> u32 {
        let board = self.0.borrow();
        if board.held || board.crash().is_some() { 10 } else { 40 }
    }
}
