//! The main loop: frames from CAN and UART to the node, the node's frames back, one step of background work,
//! sleep when there is nothing to do.
//!
//! Answers go the way the host's last frame came. Invariant: the loop never waits for anything but an interrupt;
//! with SysTick that is a millisecond at most.

use crate::can::{self, Controller};
use crate::chip::{self, BOARD, IS_AGENT};
use crate::core_registers::{self, Clock};
use crate::memory::Memory;
use crate::port::Port;
use crate::regs::{masked, wait_for_interrupt};
use crate::usart::{self, Usart};
use crate::{gpio, mailbox, watchdog};
use panel_protocol::frame::{Frame, Id};
use panel_protocol::node::{Node, Wake, asks_to_stay};
use panel_protocol::reply::ImageState;
use panel_protocol::time::{Micros, Span};

/// Frames handled before the flash gets its turn, if there are so many: reception goes first, but flash and watchdog must
/// not starve while data comes without a pause.
const FRAMES: u32 = 64;

/// The way to the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Can,
    Uart,
}

/// The node, first because most is reached from it, and its links.
#[repr(C)]
pub(crate) struct Board {
    node: Node<Port, Memory>,
    clock: Clock,
    can: Controller,
    uart: Usart,
    link: Link,
    /// When a valid application is started, unless a host says something first; one that comes from the second slot, as
    /// soon as it is in its place.
    start_at: Option<Micros>,
}

impl Board {
    /// What the program is linked with: nothing has been looked at, nothing is set up.
    pub(crate) const ASLEEP: Self = Self {
        clock: Clock::ZERO,
        node: Node::asleep(Port::ASLEEP, Memory::ALL),
        can: Controller::NEW,
        uart: Usart::NEW,
        link: Link::Can,
        start_at: None,
    };

    /// The board as the node sees it.
    pub(crate) const fn port(&mut self) -> &mut Port {
        self.node.port_mut()
    }

    /// Starts the clock, gives the links their pins and has them receive.
    pub(crate) fn listen(&mut self) {
        if !chip::start_clock() {
            core_registers::reset(); // not even from the internal oscillator: perhaps the next time
        }
        Clock::start();
        chip::connect_can(&BOARD.can);
        if !IS_AGENT {
            gpio::alternate(BOARD.usart.rx, BOARD.usart.alternate, false);
            gpio::alternate(BOARD.usart.tx, BOARD.usart.alternate, true);
        }
        if let Some(led) = BOARD.led {
            gpio::output(led);
            gpio::set(led, true);
        }
        if BOARD.watchdog && !IS_AGENT {
            watchdog::start();
        }
        if IS_AGENT {
            can::await_silence(&mut self.clock);
        }
        can::start();
        usart::start();
        core_registers::enable_interrupt(chip::CAN_IRQ);
        if !IS_AGENT {
            core_registers::enable_interrupt(chip::USART_IRQ);
        }
    }

    /// Serves the host for ever, or until the start window has passed if the board `starts` its valid application.
    pub(crate) fn run(&mut self, starts: bool) -> ! {
        self.node.wake();
        if starts && self.node.image() >= ImageState::Valid {
            self.start_at = Some(self.clock.now() + Span::from_millis(BOARD.start_window_ms));
        }
        loop {
            self.turn();
        }
    }

    /// Once round.
    fn turn(&mut self) {
        watchdog::feed();
        let now = self.clock.now();
        let mut frame = Frame::empty(Id::Standard(0));
        for _ in 0..FRAMES {
            if !can::receive(&mut frame) {
                break;
            }
            self.handle(now, Link::Can, &frame);
        }
        if let Some(frame) = self.uart.receive() {
            self.handle(now, Link::Uart, &frame);
        }
        let now = self.clock.now(); // what an operation's end is reckoned from
        self.transmit(now);
        let starts =
            !IS_AGENT && self.start_at.is_some_and(|at| !now.is_before(at)) && !self.node.is_writing();
        if starts && self.node.image() == ImageState::Valid {
            mailbox::ask_to_start(0);
            core_registers::reset();
        }
        self.node.port_mut().counters = self.can.counters();
        let wake = self.node.poll(now).wake;
        self.transmit(now);
        let idle = wake != Wake::Now && self.uart.can_send() && !self.node.port().flash.is_programming();
        if idle {
            masked(|| {
                if !can::waiting() && !usart::waiting() {
                    wait_for_interrupt();
                }
            });
        }
    }

    fn handle(&mut self, now: Micros, link: Link, frame: &Frame) {
        self.link = link;
        if !IS_AGENT && asks_to_stay(frame) {
            self.start_at = None;
        }
        self.node.handle_frame(now, frame);
        self.transmit(now);
    }

    /// The node's frames to the host, while there is room.
    fn transmit(&mut self, now: Micros) {
        self.uart.pump();
        while self.can_send()
            && let Some(frame) = self.node.poll_transmit()
        {
            match self.link {
                Link::Can => self.can.send(&frame),
                Link::Uart => self.uart.send(&frame),
            }
        }
        let all_sent = match self.link {
            Link::Can => self.can.all_sent(),
            Link::Uart => self.uart.all_sent(),
        };
        if all_sent {
            self.node.handle_all_sent(now);
        }
    }

    fn can_send(&self) -> bool {
        match self.link {
            Link::Can => self.can.can_send(),
            Link::Uart => self.uart.can_send(),
        }
    }
}
