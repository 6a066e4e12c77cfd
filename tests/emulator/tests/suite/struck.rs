//! Emulated boards to which something happens from outside: power, contacts, a processor that runs wild.
//!
//! [`Struck`] stands between the slot and the board that runs the shipped binary, and does to it what a factory does to
//! boards. Each strike comes once, at its own moment. Used by the tests of faults.

use panel_emulator::{FLASH_BASE, Fitted, NEVER, Noise};
use panel_protocol::frame::Frame;
use panel_simulator::{CanPort, Device};

/// What a chip draws whose processor stands still.
const STOPPED_MA: u32 = 10;
/// What a transceiver draws more that drives the bus all the time: half of the usual 50 to 70 mA.
const DRIVING_MA: u32 = 30;
const DIP_NS: u64 = 20_000_000;
/// `b .`
const CIRCLE: [u8; 2] = 0xE7FE_u16.to_le_bytes();
/// How often a short code is laid over the place where the processor is: it may be in the middle of a loop.
const COPIES: usize = 16;

/// What happens to a board from outside. Addresses are of flash cells: it strikes when that cell has been programmed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Strike {
    Nothing,
    /// So many of a thousand frames do not reach it.
    Loss(u64),
    /// It stops for ever.
    Dead(u32),
    /// Its supply dips once.
    BrownOut(u32),
    /// Its processor runs in circles.
    Hang(u32),
    /// The line to its transceiver is open from the start: it hears and is not heard.
    Mute,
    /// The same from this cell on.
    FallsMute(u32),
    /// The same, for so many nanoseconds.
    Interrupted(u32, u64),
    /// Its transceiver latches up when the first sector is erased, and sends nothing until the board is reset.
    MuteAfterErase,
    /// Its processor runs wild and sends what lies in its mailboxes again and again, by this code.
    Babble(u32, &'static [u16]),
}

/// bxCAN's second cell, as F405's reference board uses it: TXRQ of mailbox 0 is set for ever (RM0090 32.9.3).
pub(crate) const REPEAT_BXCAN2: &[u16] = &[
    0xF646, 0x1080, 0xF2C4, 0x0000, // movw r0, #0x6980; movt r0, #0x4000
    0x6801, 0xF041, 0x0101, 0x6001, // ldr r1, [r0]; orr r1, r1, #1; str r1, [r0]
    0xE7FA, // back to the load
];
/// FDCAN1: every transmit buffer is requested in turn, for ever (RM0440 44.4.35, TXBAR).
pub(crate) const REPEAT_FDCAN1: &[u16] = &[
    0xF246, 0x40CC, 0xF2C4, 0x0000, // movw r0, #0x64CC; movt r0, #0x4000
    0x2101, 0x6001, 0x2102, 0x6001, 0x2104, 0x6001, // movs r1, #1 (2, 4); str r1, [r0]
    0xE7F8, // back to the first
];

/// A board to which something happens.
pub(crate) struct Struck {
    board: Fitted,
    strike: Strike,
    noise: Noise,
    dead: bool,
    babbling: bool,
    /// Its transceiver sends nothing until the board is reset.
    latched: bool,
    /// When the supply is back.
    back: u64,
    /// When the line to its transceiver is closed again.
    closed: u64,
}

impl Struck {
    pub(crate) fn new(board: Fitted, strike: Strike) -> Self {
        let (back, closed) = (NEVER, NEVER);
        let noise = Noise::new(3);
        Self { board, strike, noise, dead: false, babbling: false, latched: false, back, closed }
    }

    fn is_struck(&self) -> bool {
        let board = self.board.board();
        match self.strike {
            Strike::Nothing | Strike::Loss(_) => false,
            Strike::Mute => true,
            Strike::MuteAfterErase => board.flash().running().is_some_and(|o| o.is_erase()),
            Strike::Dead(at)
            | Strike::BrownOut(at)
            | Strike::Hang(at)
            | Strike::FallsMute(at)
            | Strike::Interrupted(at, _)
            | Strike::Babble(at, _) => board.flash().data()[(at - FLASH_BASE) as usize] != 0xFF,
        }
    }

    fn look(&mut self, now: u64, port: &mut CanPort<'_>) {
        if !self.is_struck() {
            return;
        }
        match std::mem::replace(&mut self.strike, Strike::Nothing) {
            Strike::Nothing | Strike::Loss(_) => {}
            Strike::Dead(_) => {
                self.board.set_power(now, false, port);
                self.dead = true;
            }
            Strike::BrownOut(_) => {
                self.board.set_power(now, false, port);
                self.back = now + DIP_NS;
            }
            Strike::Hang(_) => self.run_wild(&CIRCLE.repeat(COPIES)),
            Strike::Mute | Strike::FallsMute(_) => port.open_transmitter(true),
            Strike::Interrupted(_, span) => {
                port.open_transmitter(true);
                self.closed = now + span;
            }
            Strike::MuteAfterErase => {
                port.open_transmitter(true);
                self.latched = true;
            }
            Strike::Babble(_, code) => {
                let code: Vec<u8> = code.iter().flat_map(|half| half.to_le_bytes()).collect();
                self.run_wild(&code);
                self.babbling = true;
            }
        }
    }

    /// The processor goes on with other code than its own.
    fn run_wild(&self, code: &[u8]) {
        let mut board = self.board.board();
        let place = board.program_counter() & !1;
        assert!(board.spoil_memory(place, code));
    }

    /// A transceiver that had latched up works again.
    fn unlatch(&mut self, port: &mut CanPort<'_>) {
        if std::mem::take(&mut self.latched) {
            port.open_transmitter(false);
        }
    }
}

impl Device for Struck {
    fn due(&self) -> u64 {
        if self.dead { NEVER } else { self.board.due().min(self.back).min(self.closed) }
    }

    fn run(&mut self, now: u64, port: &mut CanPort<'_>) -> bool {
        if self.back <= now {
            self.back = NEVER;
            self.board.set_power(now, true, port);
        }
        if self.closed <= now {
            self.closed = NEVER;
            port.open_transmitter(false);
        }
        let readable = self.board.run(now, port);
        self.look(now, port);
        readable
    }

    fn receive(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>) {
        match self.strike {
            Strike::Loss(share) if self.noise.below(1000) < share => _ = self.run(now, port),
            _ => self.board.receive(now, frame, port),
        }
    }

    fn sent(&mut self, now: u64, frame: &Frame, port: &mut CanPort<'_>) {
        self.board.sent(now, frame, port);
    }

    fn set_power(&mut self, now: u64, on: bool, port: &mut CanPort<'_>) {
        self.back = NEVER;
        self.unlatch(port);
        if !self.dead {
            self.board.set_power(now, on, port);
        }
    }

    fn set_reset(&mut self, now: u64, asserted: bool, port: &mut CanPort<'_>) {
        self.unlatch(port);
        self.board.set_reset(now, asserted, port);
    }

    fn set_select(&mut self, on: bool) {
        self.board.set_select(on);
    }

    fn current_ma(&self, now: u64) -> u32 {
        let driving = if self.babbling { DRIVING_MA } else { 0 };
        if self.dead { STOPPED_MA } else { driving + self.board.current_ma(now) }
    }
}
