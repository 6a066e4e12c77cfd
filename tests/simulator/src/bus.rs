//! One CAN bus: arbitration, collisions, acknowledgement, error frames, bus-off and recovery (ISO 11898-1).
//!
//! The bus knows controllers, not boards: endpoint 0 is the host's adapter, the others are boards in slot
//! order. Two events per frame: the sample point of its start bit, when it is decided who sends, and its end,
//! when it is decided who has received it. Invariant: an endpoint is in `pending` exactly if it is connected,
//! not bus-off and has mail; in `listening` exactly if it is connected and not bus-off.

mod open;

use panel_protocol::frame::{Frame, Id};

use crate::bits::{self, Length};
use crate::config::BusSpeed;
use crate::controller::Controller;
use crate::rng::{Rate, Rng};
use crate::set::Set;
use crate::stats::{BusStats, ErrorKind};
use crate::timers::NEVER;

/// Recessive bits that end bus-off: 128 groups of eleven.
const RECOVERY_GROUPS: u64 = 128;
const GROUP_BITS: u64 = 11;
/// Bits of a frame after which a controller of another rate has seen one too long for itself.
const WRONG_RATE_BITS: u32 = 12;
/// Bits an error-passive transmitter waits before it sends again.
const SUSPEND_BITS: u64 = 8;

/// What an event of the bus meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing that anyone sees.
    Quiet,
    /// [`Bus::frame`] went from [`Bus::senders`] to [`Bus::receivers`].
    Delivered,
    /// An error frame; senders will try again. After [`ErrorKind::LastBit`] the receivers have the frame.
    Destroyed(ErrorKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// A frame is on the bus until `end`; planned to be destroyed, or not.
    Busy {
        start: u64,
        end: u64,
        doomed: Option<ErrorKind>,
    },
}

#[derive(Debug)]
pub(crate) struct Bus {
    bit: u64,
    data_bit: Option<u64>,
    /// The rate that controllers come up with, and each one's own.
    nominal: u32,
    rates: Vec<u32>,
    /// Whether controllers of two rates may be on the bus.
    mixed: bool,
    /// Every controller understands every other, whatever its rate.
    rateless: bool,
    controllers: Vec<Controller>,
    connected: Set,
    classical: Set,
    listening: Set,
    pending: Set,
    off: Set,
    /// Those whose transmitter does not reach the wires; see `bus/open.rs`.
    open: Set,
    phase: Phase,
    /// When the bus became or becomes idle.
    free_at: u64,
    /// Start of the next frame as far as known, while idle.
    start_at: u64,
    frame: Frame,
    senders: Set,
    /// Those that do not take part in the frame on the bus: dropped out of it, or came too late.
    deaf: Set,
    /// Every sender's mailbox, by contender.
    contenders: Vec<(usize, usize)>,
    corruption: Rate,
    rng: Rng,
    /// Groups of eleven recessive bits seen.
    groups: u64,
    /// Whether any error counter may differ from zero.
    counts: bool,
    stats: BusStats,
}

impl Bus {
    /// A bus with `endpoints` disconnected controllers; `corruption` is the chance that noise hits a frame.
    pub(crate) fn new(speed: BusSpeed, endpoints: usize, corruption: Rate, rng: Rng) -> Self {
        debug_assert!(endpoints <= Set::CAPACITY);
        Self {
            bit: speed.bit_ns(),
            data_bit: speed.data_bit_ns(),
            nominal: speed.nominal,
            rates: vec![speed.nominal; endpoints],
            mixed: false,
            rateless: false,
            controllers: (0..endpoints).map(|_| Controller::new(false)).collect(),
            connected: Set::default(),
            classical: Set::default(),
            listening: Set::default(),
            pending: Set::default(),
            off: Set::default(),
            open: Set::default(),
            phase: Phase::Idle,
            free_at: 0,
            start_at: NEVER,
            frame: Frame::empty(Id::Standard(0)),
            senders: Set::default(),
            deaf: Set::default(),
            contenders: Vec::with_capacity(endpoints),
            corruption,
            rng,
            groups: 0,
            counts: false,
            stats: BusStats::default(),
        }
    }

    /// The adapter, endpoint `e`, is set to other rates; bits on the bus have its length.
    pub(crate) fn set_speed(&mut self, e: usize, speed: BusSpeed) {
        (self.bit, self.data_bit) = (speed.bit_ns(), speed.data_bit_ns());
        self.set_rate(e, speed.nominal);
        self.controllers[e].fd = speed.data.is_some();
        if speed.data.is_some() {
            self.classical.remove(e)
        } else {
            self.classical.insert(e)
        };
    }

    /// Rates are of no account from now on.
    pub(crate) const fn ignore_rates(&mut self) {
        self.rateless = true;
    }

    /// Endpoint `e` has this (nominal) bit rate from now on.
    pub(crate) fn set_rate(&mut self, e: usize, rate: u32) {
        self.rates[e] = rate;
        self.mixed = self.connected.iter().any(|other| self.rates[other] != rate);
    }

    pub(crate) fn is_connected(&self, e: usize) -> bool {
        self.connected.contains(e)
    }

    /// No frame is on the bus.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// When the bus fell idle; `now` if it is not.
    pub(crate) fn idle_since(&self, now: u64) -> u64 {
        if self.phase == Phase::Idle && self.pending.is_empty() { self.free_at } else { now }
    }

    /// Endpoint `e` comes up with cleared counters and empty mailboxes. It hears frames that start from now on.
    pub(crate) fn connect(&mut self, e: usize, fd: bool) {
        self.controllers[e].fd = fd;
        self.controllers[e].reset();
        self.connected.insert(e);
        self.listening.insert(e);
        self.set_rate(e, self.nominal);
        if !fd {
            self.classical.insert(e);
        }
        if matches!(self.phase, Phase::Busy { .. }) {
            self.deaf.insert(e);
        }
    }

    /// Endpoint `e` leaves the bus, in the middle of a frame if need be.
    pub(crate) fn disconnect(&mut self, e: usize) {
        if !self.connected.contains(e) {
            return;
        }
        self.controllers[e].reset();
        for set in
            [&mut self.connected, &mut self.classical, &mut self.listening, &mut self.pending, &mut self.off]
        {
            set.remove(e);
        }
        self.mixed = self.connected.iter().any(|other| self.rates[other] != self.rates[0]);
        self.leave_frame(e);
        self.schedule();
    }

    /// Puts a frame into a mailbox of `e`; false if all are full.
    pub(crate) fn submit(&mut self, e: usize, frame: &Frame, ready_at: u64) -> bool {
        let controller = &mut self.controllers[e];
        if !self.connected.contains(e) || !controller.submit(frame, ready_at) {
            return false;
        }
        if self.listening.contains(e) {
            self.pending.insert(e);
            if self.phase == Phase::Idle {
                let at = ready_at.max(controller.suspended_until).max(self.free_at);
                self.start_at = self.start_at.min(at);
            }
        }
        true
    }

    /// Throws away what `e` has not sent yet.
    pub(crate) fn abort(&mut self, e: usize) {
        while self.controllers[e].has_mail() {
            self.controllers[e].release(0);
        }
        self.pending.remove(e);
        self.leave_frame(e);
        self.schedule();
    }

    pub(crate) fn controller(&self, e: usize) -> &Controller {
        &self.controllers[e]
    }

    /// Bits per second of arbitration, and of FD payloads.
    pub(crate) fn bit_rates(&self) -> (u32, Option<u32>) {
        let rate = |bit: u64| (1_000_000_000 / bit.max(1)) as u32;
        (rate(self.bit), self.data_bit.map(rate))
    }

    pub(crate) fn is_off(&self, e: usize) -> bool {
        self.off.contains(e)
    }

    /// The frame that [`Outcome::Delivered`] is about.
    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    pub(crate) fn senders(&self) -> Set {
        self.senders
    }

    /// Who received it.
    pub(crate) fn receivers(&self) -> Set {
        self.listening.minus(self.senders).minus(self.deaf)
    }

    pub(crate) fn stats(&self) -> &BusStats {
        &self.stats
    }

    /// When [`Bus::run`] wants to be called, or [`NEVER`].
    pub(crate) fn due(&self) -> u64 {
        match self.phase {
            Phase::Busy { end, .. } => end,
            Phase::Idle => self.sample_at().min(self.recovery_at()),
        }
    }

    /// Does what is due at `now`.
    pub(crate) fn run(&mut self, now: u64) -> Outcome {
        match self.phase {
            Phase::Busy { start, end, doomed } if end <= now => self.finish(start, end, doomed),
            Phase::Busy { .. } => Outcome::Quiet,
            Phase::Idle => {
                if self.recovery_at() <= now {
                    self.recover(now);
                }
                if self.sample_at() <= now {
                    self.arbitrate();
                }
                Outcome::Quiet
            }
        }
    }

    /// Endpoints that want to send and are ready by the sample point of the start bit take part.
    fn sample_at(&self) -> u64 {
        self.start_at.saturating_add(self.bit / 2)
    }

    fn duration(&self, length: Length) -> u64 {
        u64::from(length.nominal) * self.bit + u64::from(length.data) * self.data_bit.unwrap_or(self.bit)
    }

    /// Finds the start of the next frame; called when the bus falls idle or mail was withdrawn.
    fn schedule(&mut self) {
        if self.phase == Phase::Idle {
            let ready = self.pending.iter().map(|e| self.controllers[e].ready_at()).min();
            self.start_at = ready.map_or(NEVER, |at| at.max(self.free_at));
        }
    }

    /// `e` stops taking part in the frame on the bus. Without its last sender the frame breaks off.
    fn leave_frame(&mut self, e: usize) {
        if let Phase::Busy { doomed, .. } = &mut self.phase {
            self.deaf.insert(e);
            if self.senders.contains(e) {
                self.senders.remove(e);
                self.contenders.retain(|c| c.0 != e);
                if self.senders.minus(self.open).is_empty() {
                    *doomed = Some(ErrorKind::Broken);
                }
            }
        }
    }

    /// Decides who sends, and whether the frame will survive.
    fn arbitrate(&mut self) {
        let start = self.start_at;
        let sample = self.sample_at();
        let mut lowest = u32::MAX;
        self.contenders.clear();
        for e in self.pending.minus(self.open).iter() {
            let Some((mailbox, mail)) = self.controllers[e].contender(sample) else { continue };
            if mail.key < lowest {
                lowest = mail.key;
                self.contenders.clear();
            }
            if mail.key == lowest {
                self.contenders.push((e, mailbox));
                self.frame = mail.frame;
            }
        }
        if self.contenders.is_empty() {
            self.speak_unheard(start);
            self.schedule();
            return;
        }
        self.groups += start.saturating_sub(self.free_at) / (GROUP_BITS * self.bit);
        self.deaf = Set::default();
        self.senders = Set::default();
        self.contenders.iter().for_each(|c| self.senders.insert(c.0));

        if !self.open.is_empty() {
            self.speak_along(start, lowest);
        }
        let collision = if self.contenders.len() > 1 { self.collide() } else { None };
        let length = bits::length(&self.frame);
        let whole = self.duration(length) - u64::from(bits::INTERFRAME) * self.bit;
        let (sent, doomed) = if let Some(sent) = collision {
            (self.duration(sent), Some(ErrorKind::Collision))
        } else if self.mixed && !self.rateless && self.meets_other_rate() {
            // After the longest run that its own rate allows it sees a stuff error.
            (self.duration(bits::prefix_length(&self.frame, WRONG_RATE_BITS)), Some(ErrorKind::WrongRate))
        } else if self.breaks_classical() {
            // The bit after IDE is where a classical controller first sees something it does not know.
            (
                self.duration(bits::prefix_length(&self.frame, fd_format_bit(&self.frame) + 1)),
                Some(ErrorKind::NotFd),
            )
        } else if self.rng.chance(self.corruption) {
            // Receivers accept a frame one bit before its transmitter does.
            let hit = self.rng.below(whole);
            (hit, Some(if hit >= whole - self.bit { ErrorKind::LastBit } else { ErrorKind::Noise }))
        } else {
            (whole, None)
        };
        // Error flag 6, up to 6 more from late flags, delimiter 8; the interframe space follows at the end.
        let flag = if doomed.is_some() { (14 + self.rng.below(7)) * self.bit } else { 0 };
        self.start_at = NEVER;
        self.phase = Phase::Busy { start, end: start + sent + flag, doomed };
        if doomed.is_none() {
            self.stats.bits += u64::from(length.total());
        }
    }

    /// Several endpoints send the same identifier. Equal frames merge. Where they differ, those that send a
    /// recessive bit see a dominant one: an active one destroys the frame, a passive one drops out of it.
    /// Returns what was sent before the frame was destroyed.
    fn collide(&mut self) -> Option<Length> {
        let frames: Vec<Frame> =
            self.contenders.iter().filter_map(|&(e, mailbox)| self.controllers[e].frame(mailbox)).collect();
        let winner = *frames.iter().min_by_key(|f| (f.is_fd(), f.data().len(), f.data().to_vec()))?;
        let differences: Vec<Option<u32>> = frames.iter().map(|f| first_difference(f, &winner)).collect();
        let active = |i: &usize| !self.controllers[self.contenders[*i].0].is_passive();
        let destroyed = (0..frames.len()).filter(active).filter_map(|i| differences[i]).min();
        self.frame = winner;
        if let Some(bit) = destroyed {
            return Some(bits::prefix_length(&winner, bit + 1));
        }
        let losers: Vec<usize> =
            (0..frames.len()).filter(|&i| differences[i].is_some()).map(|i| self.contenders[i].0).collect();
        for &e in &losers {
            self.senders.remove(e);
            self.deaf.insert(e);
            self.controllers[e].transmit_failed();
            self.check_off(e, self.groups);
        }
        self.contenders.retain(|c| !losers.contains(&c.0));
        self.stats.merged += u64::from(self.senders.len()) - 1;
        self.stats.dropped_out += losers.len() as u64;
        self.counts = true;
        None
    }

    /// Whether a controller of another rate, and entitled to object, hears this frame.
    fn meets_other_rate(&mut self) -> bool {
        let rate = self.senders.iter().next().map_or(0, |e| self.rates[e]);
        let others = self.listening.iter().filter(|&e| self.rates[e] != rate && !self.senders.contains(e));
        let others: Vec<usize> = others.collect();
        others.iter().for_each(|&e| self.deaf.insert(e));
        others.iter().any(|&e| self.can_object(e))
    }

    /// Whether a controller that does not know FD frames, and is entitled to object, hears this one.
    fn breaks_classical(&mut self) -> bool {
        if !self.frame.is_fd() {
            return false;
        }
        if self.data_bit.is_none() {
            return true;
        }
        let classical = self.listening.intersection(self.classical).minus(self.senders);
        self.deaf = self.deaf.union(classical);
        classical.iter().any(|e| self.can_object(e))
    }

    /// Whether an error flag of this controller destroys a frame.
    fn can_object(&self, e: usize) -> bool {
        !self.controllers[e].is_passive() && !self.open.contains(e)
    }

    fn finish(&mut self, start: u64, end: u64, doomed: Option<ErrorKind>) -> Outcome {
        self.phase = Phase::Idle;
        self.groups += 1;
        let unheard = doomed.is_none() && self.receivers().minus(self.open).is_empty();
        let kind = if unheard { Some(ErrorKind::NoAcknowledge) } else { doomed };
        self.free_at = end + u64::from(bits::INTERFRAME) * self.bit;
        if unheard {
            // The flag begins after the ACK slot, eight bits before the end; flag 6 and delimiter 8.
            self.free_at += 6 * self.bit;
        }
        self.stats.busy_ns += self.free_at - start;
        match kind {
            None => self.succeed(),
            Some(kind) => self.fail(kind),
        }
        self.schedule();
        kind.map_or(Outcome::Delivered, Outcome::Destroyed)
    }

    fn succeed(&mut self) {
        self.stats.frames += 1;
        self.stats.payload += self.frame.data().len() as u64;
        for i in 0..self.contenders.len() {
            let (e, mailbox) = self.contenders[i];
            let controller = &mut self.controllers[e];
            controller.release(mailbox);
            controller.transmitted();
            if !controller.has_mail() {
                self.pending.remove(e);
            }
            self.suspend(e);
        }
        if self.counts {
            self.receivers().iter().for_each(|e| self.controllers[e].received());
            self.counts = self.connected.iter().any(|e| self.controllers[e].has_counts());
        }
        if self.frame.is_fd() {
            for e in self.deaf.intersection(self.listening).intersection(self.classical).iter() {
                self.controllers[e].receive_failed(false);
                self.counts = true;
            }
        }
    }

    fn fail(&mut self, kind: ErrorKind) {
        self.stats.count(kind);
        self.counts = true;
        for e in self.senders.iter() {
            if kind == ErrorKind::NoAcknowledge {
                self.controllers[e].unacknowledged();
            } else {
                self.controllers[e].transmit_failed();
            }
            self.suspend(e);
            self.check_off(e, self.groups);
        }
        if !matches!(kind, ErrorKind::NoAcknowledge | ErrorKind::LastBit) {
            for e in self.listening.minus(self.senders).iter() {
                let first = kind == ErrorKind::NotFd && self.classical.contains(e);
                self.controllers[e].receive_failed(first);
            }
        }
    }

    fn suspend(&mut self, e: usize) {
        if self.controllers[e].is_passive() {
            self.controllers[e].suspended_until = self.free_at + SUSPEND_BITS * self.bit;
        }
    }

    /// Takes `e` off the bus if it has failed too often; `groups` were seen until now.
    fn check_off(&mut self, e: usize, groups: u64) {
        if self.controllers[e].is_over() {
            let alone = self.controllers[e].recovers_alone;
            self.controllers[e].recovery = alone.then_some(groups + RECOVERY_GROUPS);
            self.off.insert(e);
            self.listening.remove(e);
            self.pending.remove(e);
            self.stats.bus_off += 1;
        }
    }

    /// When the first endpoint leaves bus-off if the bus stays idle.
    fn recovery_at(&self) -> u64 {
        let recovering = self.off.iter().filter_map(|e| self.controllers[e].recovery);
        let Some(groups) = recovering.min() else { return NEVER };
        self.free_at.saturating_add(groups.saturating_sub(self.groups).saturating_mul(GROUP_BITS * self.bit))
    }

    /// Groups of eleven recessive bits seen until `now`, while the bus is idle.
    fn groups_until(&self, now: u64) -> u64 {
        self.groups + now.saturating_sub(self.free_at) / (GROUP_BITS * self.bit)
    }

    fn recover(&mut self, now: u64) {
        let seen = self.groups_until(now);
        for e in self.off.iter() {
            if self.controllers[e].recovery.is_some_and(|g| g <= seen) {
                self.controllers[e].recover();
                self.off.remove(e);
                self.listening.insert(e);
                if self.controllers[e].has_mail() {
                    self.pending.insert(e);
                }
            }
        }
        self.schedule();
        // A frame that became possible only now starts now.
        if self.start_at != NEVER {
            self.start_at = self.start_at.max(now);
        }
    }
}

/// Where `frame` first sends a recessive bit while `winner` sends a dominant one, as an unstuffed bit number.
fn first_difference(frame: &Frame, winner: &Frame) -> Option<u32> {
    let header = bits::header_bits(winner);
    if frame.is_fd() != winner.is_fd() {
        return Some(fd_format_bit(winner));
    }
    if frame.data().len() != winner.data().len() {
        return Some(header - 1);
    }
    let (at, differing) =
        frame.data().iter().zip(winner.data()).map(|(a, b)| a ^ b).enumerate().find(|d| d.1 != 0)?;
    Some(header + 8 * at as u32 + differing.leading_zeros())
}

/// The bit that tells FD from classical, counted from the start of frame.
fn fd_format_bit(frame: &Frame) -> u32 {
    match frame.id() {
        Id::Standard(_) => 14,
        Id::Extended(_) => 33,
    }
}

#[cfg(test)]
mod tests;
