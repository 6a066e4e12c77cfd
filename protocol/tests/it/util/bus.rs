//! An ideal bus between one [`BusMaster`] and any number of nodes, in virtual time.
//!
//! Every frame takes the same time; the lowest identifier goes first; equal frames merge; the same identifier
//! with different data is a collision and fails the test. Processors are infinitely fast. What is not ideal is
//! chosen by the test: each receiver misses frames with its own probability, from the bus's seed.

use super::Rng;
use super::flash::Port;
use panel_protocol::frame::Frame;
use panel_protocol::host::{BusEvent, BusMaster, Timing};
use panel_protocol::node::{ManifestEntry, Node, NodeMemory, SegmentBuffer, Wake};
use panel_protocol::time::{Micros, Span};

/// Time of a frame on the bus.
const FRAME: Span = Span(120);
/// Steps of background work that a node may want without time passing.
const STEPS: usize = 200_000;

/// A node's RAM.
pub(crate) struct Ram {
    buffers: Vec<SegmentBuffer>,
    manifest: Vec<ManifestEntry>,
}

impl Ram {
    pub(crate) fn new(buffers: usize) -> Self {
        Self { buffers: vec![SegmentBuffer::EMPTY; buffers], manifest: vec![ManifestEntry::EMPTY; 32] }
    }
}

impl NodeMemory for Ram {
    fn parts(&mut self) -> (&mut [SegmentBuffer], &mut [ManifestEntry]) {
        (&mut self.buffers, &mut self.manifest)
    }
}

/// A board on the bus.
pub(crate) struct Board {
    pub(crate) node: Node<Port, Ram>,
    /// Frames missed, in thousandths.
    pub(crate) loss: u64,
    /// Hears nothing and says nothing.
    pub(crate) dead: bool,
    /// Hears, but none of its frames gets out.
    pub(crate) mute: bool,
    buffers: usize,
    mailbox: Option<Frame>,
    wake: Option<Micros>,
    polled: bool,
    /// When background work was last done.
    settled: Option<Micros>,
}

impl Board {
    pub(crate) fn new(port: Port, buffers: usize) -> Self {
        let node = Node::new(port, Ram::new(buffers), Micros::ZERO);
        Self {
            node,
            loss: 0,
            dead: false,
            mute: false,
            buffers,
            mailbox: None,
            wake: None,
            polled: true,
            settled: None,
        }
    }

    /// Power comes back after it went: RAM is lost, flash is as it was left.
    pub(crate) fn restart(&mut self, now: Micros) {
        let mut port = self.node.port().clone();
        port.now = now;
        port.power_up();
        self.node = Node::new(port, Ram::new(self.buffers), now);
        (self.mailbox, self.wake, self.polled, self.settled) = (None, None, true, None);
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.dead && !self.node.port().without_power
    }

    /// Background work until the node wants to wait.
    pub(crate) fn settle(&mut self, now: Micros) {
        self.settled = Some(now);
        for _ in 0..STEPS {
            if !self.is_alive() {
                return;
            }
            self.node.port_mut().now = now;
            match self.node.poll(now).wake {
                Wake::Now => {}
                Wake::At(at) => {
                    assert!(at > now, "a node wants to wake at {at:?}, and it is {now:?}");
                    self.wake = Some(at);
                    return;
                }
                Wake::Idle => {
                    self.wake = None;
                    return;
                }
            }
        }
        panic!("a node never comes to rest at {now:?}, state {:?}", self.node.state());
    }

    /// When it wants to go on.
    pub(crate) fn due(&self) -> Option<Micros> {
        if !self.is_alive() {
            return None;
        }
        let ended = self.node.port().busy_until().filter(|&at| self.settled.is_none_or(|s| at > s));
        self.wake.into_iter().chain(ended).min()
    }
}

/// Which of the host's frames no board hears.
type Swallow = Box<dyn FnMut(&Frame) -> bool>;

/// The bus, the host and the boards.
pub(crate) struct Bus {
    pub(crate) now: Micros,
    pub(crate) master: BusMaster,
    pub(crate) boards: Vec<Board>,
    pub(crate) events: Vec<BusEvent>,
    /// Frames that went over the bus.
    pub(crate) frames: u64,
    /// Frames the host misses, in thousandths.
    pub(crate) host_loss: u64,
    /// Every frame sent, if the test wants to see them.
    pub(crate) log: Option<Vec<Frame>>,
    /// Frames of the host that no board hears.
    pub(crate) swallow: Option<Swallow>,
    mailbox: Option<Frame>,
    flying: Option<(Micros, Frame, Vec<usize>, bool)>,
    rng: Rng,
}

impl Bus {
    pub(crate) fn new(seed: u64, boards: Vec<Board>) -> Self {
        Self {
            now: Micros::ZERO,
            master: BusMaster::new(Timing::default(), seed as u8),
            boards,
            events: Vec::new(),
            frames: 0,
            host_loss: 0,
            log: None,
            swallow: None,
            mailbox: None,
            flying: None,
            rng: Rng::new(seed),
        }
    }

    /// Runs until the host has nothing under way; fails if that takes longer than `limit`.
    pub(crate) fn run(&mut self, limit: Span) {
        let until = self.now + limit;
        while self.master.is_busy() || self.mailbox.is_some() || self.flying.is_some() {
            self.step();
            assert!(self.now <= until, "still busy after {limit:?}; last events {:?}", self.last_events());
        }
    }

    /// Runs until `done` says so.
    pub(crate) fn run_until(&mut self, limit: Span, done: impl Fn(&Self) -> bool) {
        let until = self.now + limit;
        while !done(self) {
            assert!(self.step(), "everybody rests and it is not done; last events {:?}", self.last_events());
            assert!(self.now <= until, "not done after {limit:?}; last events {:?}", self.last_events());
        }
    }

    /// Runs until nobody does anything any more.
    pub(crate) fn run_idle(&mut self, limit: Span) {
        let until = self.now + limit;
        while self.step() {
            assert!(self.now <= until, "still busy after {limit:?}; last events {:?}", self.last_events());
        }
    }

    fn last_events(&self) -> &[BusEvent] {
        &self.events[self.events.len().saturating_sub(10)..]
    }

    /// One step: what is due now, then on to the next thing that happens. False if nothing will.
    pub(crate) fn step(&mut self) -> bool {
        self.land();
        if self.master.next_timeout().is_some_and(|at| at <= self.now) {
            self.master.handle_timeout(self.now);
            let next = self.master.next_timeout();
            assert!(next.is_none_or(|at| at > self.now), "the host's deadline {next:?} has passed for good");
        }
        self.collect_events();
        for board in &mut self.boards {
            if board.polled || board.due().is_some_and(|at| at <= self.now) {
                board.polled = false;
                board.settle(self.now);
            }
        }
        if self.flying.is_none() {
            self.launch();
        }
        self.collect_events();
        let next = self.boards.iter().filter_map(Board::due);
        let next = next.chain(self.master.next_timeout()).chain(self.flying.as_ref().map(|f| f.0)).min();
        match next {
            Some(at) => {
                self.now = at.max(self.now);
                true
            }
            None => false,
        }
    }

    fn collect_events(&mut self) {
        while let Some(event) = self.master.poll_event() {
            self.events.push(event);
        }
    }

    /// The frame on the bus arrives.
    fn land(&mut self) {
        let Some((_, frame, senders, from_host)) = self.flying.take_if(|f| f.0 <= self.now) else { return };
        let lost = from_host && self.swallow.as_mut().is_some_and(|swallow| swallow(&frame));
        for (n, board) in self.boards.iter_mut().enumerate() {
            let missed = lost || (board.loss > 0 && self.rng.chance(board.loss));
            if !missed && board.is_alive() && !senders.contains(&n) {
                board.node.port_mut().now = self.now;
                board.node.handle_frame(self.now, &frame);
                board.polled = true;
            }
        }
        for n in senders {
            let board = &mut self.boards[n];
            if board.is_alive() {
                board.mailbox = board.node.poll_transmit();
                if board.mailbox.is_none() {
                    board.node.handle_all_sent(self.now);
                }
                board.polled = true;
            }
        }
        if !(from_host || (self.host_loss > 0 && self.rng.chance(self.host_loss))) {
            self.master.handle_frame(self.now, &frame);
        }
    }

    /// Whoever has the lowest identifier sends.
    fn launch(&mut self) {
        if self.mailbox.is_none() {
            self.mailbox = self.master.poll_transmit(self.now);
        }
        for board in self.boards.iter_mut().filter(|b| b.mailbox.is_none() && b.is_alive()) {
            board.mailbox = board.node.poll_transmit();
            if board.mute {
                board.mailbox = None;
            }
        }
        let sent = |b: &Board| b.mailbox.filter(|_| b.is_alive());
        let waiting = self.boards.iter().filter_map(sent).chain(self.mailbox);
        let Some(frame) = waiting.min_by_key(|f| f.id().arbitration()) else { return };
        let mut senders = Vec::new();
        for (n, board) in self.boards.iter_mut().enumerate() {
            if let Some(own) = sent(board).filter(|f| f.id() == frame.id()) {
                assert_eq!(own, frame, "collision on the bus");
                board.mailbox = None;
                senders.push(n);
            }
        }
        let from_host = self.mailbox.take_if(|f| f.id() == frame.id()).is_some();
        self.frames += 1;
        if let Some(log) = &mut self.log {
            log.push(frame);
        }
        self.flying = Some((self.now + FRAME, frame, senders, from_host));
    }

    /// Nobody has broken a rule of the flash.
    pub(crate) fn assert_lawful(&self) {
        for (n, board) in self.boards.iter().enumerate() {
            let violations = &board.node.port().violations;
            assert!(violations.is_empty(), "board {n}: {violations:?}");
        }
    }
}
