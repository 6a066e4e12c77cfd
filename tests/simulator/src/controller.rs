//! One CAN controller: transmit mailboxes and fault confinement (ISO 11898-1, "fault confinement").
//!
//! Invariant: `tec` and `rec` follow the standard's rules and nothing else changes them. Called by the bus only;
//! receive FIFOs belong to the board, which services them.

use panel_protocol::frame::{Frame, Id};

use crate::timers::NEVER;

/// Transmit mailboxes of a bxCAN or FDCAN controller.
pub(crate) const MAILBOXES: usize = 3;

/// A frame that waits for the bus.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mail {
    pub(crate) frame: Frame,
    /// When it was handed over; may lie ahead while the processor still works on it.
    pub(crate) ready_at: u64,
    /// What arbitration compares.
    pub(crate) key: u32,
}

/// A controller's side of the bus.
#[derive(Debug)]
pub(crate) struct Controller {
    /// Knows CAN FD frames.
    pub(crate) fd: bool,
    mail: [Option<Mail>; MAILBOXES],
    count: usize,
    tec: u16,
    rec: u16,
    /// Errors seen since the controller came up.
    errors: u16,
    /// Bus-off, until the bus has counted this many groups of eleven recessive bits; `None` while it waits for its
    /// processor.
    pub(crate) recovery: Option<u64>,
    /// Comes back from bus-off without its processor.
    pub(crate) recovers_alone: bool,
    /// An error-passive transmitter lets eight bits pass before its next attempt.
    pub(crate) suspended_until: u64,
}

impl Controller {
    pub(crate) fn new(fd: bool) -> Self {
        Self {
            fd,
            mail: [None; MAILBOXES],
            count: 0,
            tec: 0,
            rec: 0,
            errors: 0,
            recovery: None,
            recovers_alone: true,
            suspended_until: 0,
        }
    }

    /// Empties the mailboxes and clears the counters, as a reset of the controller does.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.fd);
    }

    pub(crate) fn free_mailboxes(&self) -> usize {
        MAILBOXES - self.count
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.count > 0
    }

    /// Whether a frame with this identifier waits.
    pub(crate) fn holds(&self, id: Id) -> bool {
        self.mail.iter().flatten().any(|m| m.frame.id() == id)
    }

    /// Puts a frame into a mailbox; false if all are full.
    pub(crate) fn submit(&mut self, frame: &Frame, ready_at: u64) -> bool {
        let Some(slot) = self.mail.get_mut(self.count) else { return false };
        *slot = Some(Mail { frame: *frame, ready_at, key: frame.id().arbitration() });
        self.count += 1;
        true
    }

    /// When the first frame can be sent, or [`NEVER`].
    pub(crate) fn ready_at(&self) -> u64 {
        let first = self.mail.iter().flatten().map(|m| m.ready_at).min();
        first.map_or(NEVER, |at| at.max(self.suspended_until))
    }

    /// The mailbox that takes part in arbitration at `at`: the lowest identifier, the oldest of equal ones.
    pub(crate) fn contender(&self, at: u64) -> Option<(usize, &Mail)> {
        if self.suspended_until > at {
            return None;
        }
        let ready = self.mail.iter().flatten().enumerate().filter(|(_, m)| m.ready_at <= at);
        ready.min_by_key(|(_, m)| m.key)
    }

    /// The frame in mailbox `i`.
    pub(crate) fn frame(&self, i: usize) -> Option<Frame> {
        self.mail.get(i)?.map(|m| m.frame)
    }

    /// Drops what is in mailbox `i`; later ones move up, so that age keeps deciding between equal identifiers.
    pub(crate) fn release(&mut self, i: usize) {
        self.mail[i..].rotate_left(1);
        self.mail[MAILBOXES - 1] = None;
        self.count -= 1;
    }

    pub(crate) fn tec(&self) -> u16 {
        self.tec
    }

    pub(crate) fn rec(&self) -> u16 {
        self.rec
    }

    pub(crate) fn errors(&self) -> u16 {
        self.errors
    }

    pub(crate) fn is_passive(&self) -> bool {
        self.tec > 127 || self.rec > 127
    }

    /// Bus-off is reached when the transmit counter passes 255.
    pub(crate) fn is_over(&self) -> bool {
        self.tec > 255
    }

    pub(crate) fn transmit_failed(&mut self) {
        self.tec += 8;
        self.errors = self.errors.saturating_add(1);
    }

    /// A missing acknowledgement does not count any further once the transmitter is passive, so that a lone
    /// node never goes bus-off.
    pub(crate) fn unacknowledged(&mut self) {
        if !self.is_passive() {
            self.tec += 8;
        }
        self.errors = self.errors.saturating_add(1);
    }

    /// `first`: it saw a dominant bit after its own error flag, because nobody else had raised one yet.
    pub(crate) fn receive_failed(&mut self, first: bool) {
        self.rec = (self.rec + if first { 9 } else { 1 }).min(255);
        self.errors = self.errors.saturating_add(1);
    }

    pub(crate) fn transmitted(&mut self) {
        self.tec = self.tec.saturating_sub(1);
    }

    pub(crate) fn received(&mut self) {
        self.rec = match self.rec {
            0 => 0,
            1..=127 => self.rec - 1,
            // "set to a value between 119 and 127"
            _ => 120,
        };
    }

    pub(crate) fn has_counts(&self) -> bool {
        self.tec | self.rec != 0
    }

    /// Error-active again after bus-off.
    pub(crate) fn recover(&mut self) {
        self.tec = 0;
        self.rec = 0;
        self.recovery = None;
        self.suspended_until = 0;
    }
}
