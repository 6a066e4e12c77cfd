//! The host's CAN adapter on one bus: a short queue of frames to send, as gs_usb and SocketCAN have it.
//!
//! Only the head of the queue takes part in arbitration, so frames leave in the order in which they were given.
//! Invariant: `under_way` counts the frames accepted whose `Sent` the host has not seen yet; it never exceeds
//! the configured depth.

use std::collections::VecDeque;

use panel_protocol::frame::Frame;

use crate::bus::Bus;

/// The adapter's endpoint on every bus.
pub(crate) const HOST: usize = 0;

#[derive(Debug)]
pub(crate) struct Adapter {
    queue: VecDeque<(u64, Frame)>,
    depth: usize,
    under_way: usize,
    loaded: bool,
    pub(crate) passive: bool,
    pub(crate) off: bool,
    /// The host has been told that nobody acknowledges.
    pub(crate) told_unheard: bool,
}

impl Adapter {
    pub(crate) fn new(depth: usize) -> Self {
        Self {
            queue: VecDeque::with_capacity(depth),
            depth,
            under_way: 0,
            loaded: false,
            passive: false,
            off: false,
            told_unheard: false,
        }
    }

    pub(crate) fn free(&self) -> usize {
        self.depth - self.under_way
    }

    /// Accepts a frame that reaches the adapter at `at`; false if the queue is full.
    pub(crate) fn send(&mut self, at: u64, frame: &Frame, bus: &mut Bus) -> bool {
        if self.free() == 0 {
            return false;
        }
        self.under_way += 1;
        self.queue.push_back((at, *frame));
        self.load(at, bus);
        true
    }

    /// The head of the queue went out.
    pub(crate) fn sent(&mut self, now: u64, bus: &mut Bus) {
        self.loaded = false;
        self.told_unheard = false;
        self.load(now, bus);
    }

    /// The host learnt that a frame went out.
    pub(crate) fn confirmed(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Throws away everything not sent; those frames will never be confirmed.
    pub(crate) fn clear(&mut self, bus: &mut Bus) {
        self.under_way -= (self.queue.len() + usize::from(self.loaded)).min(self.under_way);
        self.queue.clear();
        self.loaded = false;
        bus.abort(HOST);
    }

    fn load(&mut self, now: u64, bus: &mut Bus) {
        if !self.loaded
            && let Some((at, frame)) = self.queue.pop_front()
        {
            self.loaded = bus.submit(HOST, &frame, at.max(now));
        }
    }
}
