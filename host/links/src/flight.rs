//! Frames under way: how many may be, in what order they are confirmed, and when they are late.
//!
//! Every link keeps one [`Flight`]. A frame is under way from its acceptance until it is seen back (or, where
//! nothing is seen back, until its time on the wire is over). Two limits hold: the number under way, so that a
//! control message never waits behind more than that, and the time on the wire at the bus's bit rate, because a
//! virtual interface confirms at once what a real bus would take its time for.

use std::collections::VecDeque;

use panel_protocol::frame::{Frame, Id};
use panel_protocol::time::{Micros, Span};

use crate::can::{BusRates, CanEvent};

/// Longest time a frame may wait for its transmission.
pub const STUCK: Span = Span::from_millis(2000);
/// Time without a confirmation after which nobody seems to acknowledge.
pub(crate) const UNHEARD: Span = Span::from_millis(100);
/// Frames under way that keep a bus busy whose adapter confirms without delay.
const BASE: usize = 4;
/// What a USB adapter takes to confirm a frame, there and back.
const LATENCY_US: u64 = 2000;

/// The frames under way on a link.
#[derive(Debug)]
pub(crate) struct Flight {
    frames: VecDeque<Frame>,
    window: usize,
    rates: BusRates,
    /// When the wire is free again, in nanoseconds, if every frame took its shortest time.
    wire_free: u64,
    /// The wire's backlog is too long: wait until it is half of that.
    throttled: bool,
    /// When the flight was last empty, or a frame was last confirmed.
    moved: Micros,
    told_unheard: bool,
    told_stuck: bool,
}

impl Flight {
    pub(crate) fn new(rates: BusRates) -> Self {
        Self {
            frames: VecDeque::new(),
            window: window(rates.nominal),
            rates,
            wire_free: 0,
            throttled: false,
            moved: Micros::ZERO,
            told_unheard: false,
            told_stuck: false,
        }
    }

    pub(crate) fn has_room(&mut self, now: Micros) -> bool {
        if self.throttled && now >= self.relief() {
            self.throttled = false;
        }
        !self.throttled && self.frames.len() < self.window
    }

    pub(crate) fn push(&mut self, now: Micros, frame: &Frame) {
        if self.frames.is_empty() {
            self.rest(now);
        }
        self.frames.push_back(*frame);
        self.wire_free = self.wire_free.max(now.0 * 1000) + frame_time_ns(frame, self.rates);
        self.throttled = self.wire_free > now.0 * 1000 + self.backlog_ns();
    }

    /// The oldest frame has been sent.
    pub(crate) fn confirm(&mut self, now: Micros) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.rest(now);
        Some(frame)
    }

    /// This frame has been sent: the oldest like it, for there are adapters that reorder. `false` if none is under
    /// way.
    pub(crate) fn confirm_this(&mut self, now: Micros, frame: &Frame) -> bool {
        let Some(at) = self.frames.iter().position(|f| f == frame) else { return false };
        self.frames.remove(at);
        self.rest(now);
        true
    }

    /// Confirms the frames whose time on the wire is over, one at a time: for links that confirm nothing.
    pub(crate) fn confirm_by_time(&mut self, now: Micros) -> Option<Frame> {
        let left: u64 = self.frames.iter().skip(1).map(|f| frame_time_ns(f, self.rates)).sum();
        (self.wire_free.saturating_sub(left) <= now.0 * 1000).then(|| self.confirm(now)).flatten()
    }

    /// When [`Self::confirm_by_time`] has something at the latest.
    pub(crate) fn over(&self) -> Option<Micros> {
        (!self.frames.is_empty()).then(|| Micros(self.wire_free.div_ceil(1000)))
    }

    pub(crate) fn oldest(&self) -> Option<&Frame> {
        self.frames.front()
    }

    /// Forgets what was under way.
    pub(crate) fn clear(&mut self, now: Micros) {
        self.frames.clear();
        self.rest(now);
        (self.wire_free, self.throttled) = (0, false);
    }

    /// Fewer frames at once: the other end has less room than was thought.
    pub(crate) fn narrow(&mut self) {
        self.window = (self.window / 2).max(1);
    }

    /// How long the oldest frame has waited, or the one after it since that was confirmed.
    pub(crate) fn waited(&self, now: Micros) -> Span {
        if self.frames.is_empty() { Span::ZERO } else { now.since(self.moved) }
    }

    /// A frame that waits too long is reported, once as unheard and once as stuck.
    pub(crate) fn watch(&mut self, now: Micros, queue_full: u64) -> Option<CanEvent> {
        let waited = self.waited(now);
        if waited > STUCK && !self.told_stuck {
            self.told_stuck = true;
            return Some(CanEvent::Stuck { waiting: self.frames.len(), queue_full });
        }
        if waited > UNHEARD && !self.told_unheard {
            self.told_unheard = true;
            return Some(CanEvent::NoAck);
        }
        None
    }

    /// When to look again.
    pub(crate) fn next_timeout(&self) -> Option<Micros> {
        let watch = match (self.frames.is_empty(), self.told_unheard, self.told_stuck) {
            (true, ..) | (_, _, true) => None,
            (_, false, _) => Some(self.moved + UNHEARD + Span(1)),
            (_, true, _) => Some(self.moved + STUCK + Span(1)),
        };
        watch.into_iter().chain(self.throttled.then(|| self.relief())).min()
    }

    fn rest(&mut self, now: Micros) {
        self.moved = now;
        (self.told_unheard, self.told_stuck) = (false, false);
    }

    /// When half of the longest backlog is left.
    fn relief(&self) -> Micros {
        Micros(self.wire_free.saturating_sub(self.backlog_ns() / 2).div_ceil(1000))
    }

    /// The longest time on the wire that may be waiting: a window of full frames.
    fn backlog_ns(&self) -> u64 {
        self.window as u64 * 111 * 1_000_000_000 / u64::from(self.rates.nominal.max(1))
    }
}

/// Frames that keep a bus of this rate busy although an adapter confirms late: what is sent meanwhile comes on
/// top.
#[must_use]
pub fn window(bit_rate: u32) -> usize {
    // The shortest data frame, with no stuff bit, has 111 bits.
    BASE + (LATENCY_US * u64::from(bit_rate) / 111_000_000) as usize
}

/// The shortest time that a frame takes on the wire, in nanoseconds: ISO 11898-1 without stuff bits, with the space
/// between frames.
#[must_use]
pub fn frame_time_ns(frame: &Frame, rates: BusRates) -> u64 {
    let bytes = frame.data().len() as u64;
    let extended = if matches!(frame.id(), Id::Extended(_)) { 20 } else { 0 };
    let ns = |bits: u64, rate: u32| bits * 1_000_000_000 / u64::from(rate.max(1));
    match rates.data.filter(|_| frame.is_fd()) {
        None => ns(47 + extended + 8 * bytes, rates.nominal),
        // Up to the bit-rate switch 17 bits, after it ESI, DLC, data, stuff count and CRC with their fixed stuff
        // bits and the CRC delimiter; then 12 bits of the end and the space.
        Some(data) => {
            let crc = if bytes > 16 { 4 + 21 + 6 } else { 4 + 17 + 5 };
            ns(17 + extended + 12, rates.nominal) + ns(5 + 8 * bytes + crc + 1, data)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: BusRates = BusRates { nominal: 1_000_000, data: None };

    fn frame() -> Frame {
        Frame::classical(Id::Standard(0x400), &[0x55; 8]).expect("short")
    }

    #[test]
    fn a_window_full_of_unconfirmed_frames_takes_no_more_until_one_is_confirmed() {
        let mut flight = Flight::new(RATES);
        let mut now = Micros::ZERO;
        while flight.has_room(now) {
            flight.push(now, &frame());
            now = now + Span(200);
        }
        assert_eq!(flight.frames.len(), 22, "4, and what 1 Mbit/s carries in 2 ms");
        assert_eq!(flight.confirm(now), Some(frame()));
        assert!(flight.has_room(now));
    }

    #[test]
    fn a_link_that_confirms_at_once_is_still_held_to_the_bit_rate() {
        let mut flight = Flight::new(RATES);
        let (mut now, mut sent) = (Micros::ZERO, 0_u64);
        while now < Micros(1_000_000) {
            if flight.has_room(now) {
                flight.push(now, &frame());
                flight.confirm(now);
                sent += 1;
            } else {
                now = flight.next_timeout().expect("throttled").max(now + Span(1));
            }
        }
        // 111 bits a frame: 9009 in a second, and the backlog of one window.
        assert!((8990..=9040).contains(&sent), "{sent}");
    }

    #[test]
    fn frames_that_wait_are_told_once_as_unheard_and_once_as_stuck() {
        let mut flight = Flight::new(RATES);
        flight.push(Micros(5_000), &frame());
        assert_eq!(flight.watch(Micros(105_000), 0), None);
        assert_eq!(flight.next_timeout(), Some(Micros(105_001)));
        assert_eq!(flight.watch(Micros(105_001), 0), Some(CanEvent::NoAck));
        assert_eq!(flight.watch(Micros(1_000_000), 0), None);
        let stuck = CanEvent::Stuck { waiting: 1, queue_full: 7 };
        assert_eq!(flight.watch(flight.next_timeout().expect("stuck yet to come"), 7), Some(stuck));
        assert_eq!((flight.watch(Micros(9_000_000), 7), flight.next_timeout()), (None, None));
    }

    #[test]
    fn frames_nobody_confirms_are_over_after_their_time_on_the_wire() {
        let mut flight = Flight::new(RATES);
        flight.push(Micros(0), &frame());
        flight.push(Micros(0), &frame());
        assert_eq!(flight.confirm_by_time(Micros(110)), None);
        assert_eq!(flight.confirm_by_time(Micros(111)), Some(frame()));
        assert_eq!(flight.confirm_by_time(Micros(111)), None);
        assert_eq!(flight.confirm_by_time(flight.over().expect("one is left")), Some(frame()));
        assert_eq!(flight.over(), None);
    }

    #[test]
    fn an_fd_payload_travels_at_its_own_rate() {
        let rates = BusRates { nominal: 1_000_000, data: Some(5_000_000) };
        let fd = Frame::fd(Id::Standard(0x400), &[0; 64]).expect("fits");
        // 29 bits at 1 us and 549 bits at 0.2 us.
        assert_eq!(frame_time_ns(&fd, rates), 29_000 + 109_800);
        assert_eq!(frame_time_ns(&frame(), rates), 111_000);
    }
}
