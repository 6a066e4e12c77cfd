//! Controllers that hear the bus and are not heard: the line from controller to transceiver is open.
//!
//! Such a controller sends, compares what it sends with what it hears, and takes itself off the bus by ISO 11898-1's
//! fault confinement. Invariant: it never changes what others see, neither by a bit, an acknowledgement nor an error
//! flag. Called by the bus when it is decided who sends.

use super::{Bus, RECOVERY_GROUPS, SUSPEND_BITS};
use crate::bits;

/// From a start bit that does not come back to the next attempt: that bit, error flag 6, delimiter 8, intermission.
const ATTEMPT_BITS: u64 = 1 + 6 + 8 + bits::INTERFRAME as u64;

impl Bus {
    /// Opens or closes the line between controller `e` and its transceiver's transmitter.
    pub(crate) fn open_transmitter(&mut self, e: usize, open: bool) {
        if open { self.open.insert(e) } else { self.open.remove(e) }
    }

    /// Controller `e` comes back from bus-off only when it is let.
    pub(crate) fn wait_when_off(&mut self, e: usize) {
        self.controllers[e].recovers_alone = false;
    }

    /// Controller `e`, if it is bus-off, comes back after 128 groups of recessive bits from now on.
    pub(crate) fn recover_from(&mut self, e: usize, now: u64) {
        if self.off.contains(e) {
            let seen = if self.is_idle() { self.groups_until(now) } else { self.groups };
            self.controllers[e].recovery = Some(seen + RECOVERY_GROUPS);
        }
    }

    /// Nobody who can be heard wants to send: attempts fail with their first bit.
    pub(super) fn speak_unheard(&mut self, start: u64) {
        for e in self.pending.intersection(self.open).iter() {
            if self.controllers[e].contender(start + self.bit / 2).is_some() {
                self.attempt_failed(e, start, self.groups_until(start));
            }
        }
    }

    /// [`Bus::frame`] begins at `start`, with `key` in arbitration. Who sends the same bits believes that the frame is its own;
    /// who has a higher identifier gives way as usual; every other misses a bit of its own and then the frame.
    pub(super) fn speak_along(&mut self, start: u64, key: u32) {
        for e in self.listening.intersection(self.open).iter() {
            let controller = &self.controllers[e];
            match controller.contender(start + self.bit / 2) {
                Some((mailbox, mail)) if mail.frame == self.frame => {
                    self.contenders.push((e, mailbox));
                    self.senders.insert(e);
                }
                Some((_, mail)) if mail.key <= key => {
                    self.deaf.insert(e);
                    self.attempt_failed(e, start, self.groups);
                }
                // Still in the error frame of its last attempt.
                None if controller.suspended_until > start + self.suspension(e) => self.deaf.insert(e),
                _ => {}
            }
        }
    }

    fn attempt_failed(&mut self, e: usize, start: u64, groups: u64) {
        self.counts = true;
        let controller = &mut self.controllers[e];
        controller.transmit_failed();
        controller.suspended_until = start + ATTEMPT_BITS * self.bit;
        let suspension = self.suspension(e);
        self.controllers[e].suspended_until += suspension;
        self.check_off(e, groups);
    }

    /// How long this transmitter waits behind an error frame before it tries again.
    fn suspension(&self, e: usize) -> u64 {
        if self.controllers[e].is_passive() { SUSPEND_BITS * self.bit } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use panel_protocol::frame::{Frame, Id};

    use super::super::{ErrorKind, Outcome};
    use super::*;
    use crate::config::BusSpeed;
    use crate::rng::{Rate, Rng};
    use crate::timers::NEVER;

    const MICRO: u64 = 1000;

    /// Host, a board that is not heard, a sound one.
    fn bus() -> Bus {
        let mut bus = Bus::new(BusSpeed::CAN_1M, 3, Rate::new(0.0), Rng::new(5, 0));
        (0..3).for_each(|e| bus.connect(e, false));
        bus.open_transmitter(1, true);
        bus
    }

    fn frame(id: u16, byte: u8) -> Frame {
        Frame::classical(Id::Standard(id), &[byte]).unwrap()
    }

    /// Runs until `until`; who received what was delivered.
    fn run(bus: &mut Bus, until: u64) -> Vec<(Outcome, Vec<usize>)> {
        let mut seen = Vec::new();
        while bus.due() <= until {
            match bus.run(bus.due()) {
                Outcome::Quiet => {}
                outcome => seen.push((outcome, bus.receivers().iter().collect())),
            }
        }
        seen
    }

    #[test]
    fn who_is_not_heard_takes_itself_off_the_bus_and_comes_back_until_it_is_heard() {
        let mut bus = bus();
        bus.submit(1, &frame(0x100, 1), 0);
        // 32 attempts: 16 of 18 bits until it is passive, 16 of 26.
        assert_eq!(run(&mut bus, 650 * MICRO), []);
        assert!(bus.controller(1).is_passive() && !bus.is_off(1));
        run(&mut bus, 700 * MICRO);
        assert!(bus.is_off(1) && bus.controller(1).has_mail());
        assert_eq!(bus.controller(2).rec(), 0, "nobody has noticed");
        run(&mut bus, (700 + 1408) * MICRO);
        assert!(!bus.is_off(1));
        bus.open_transmitter(1, false);
        assert_eq!(run(&mut bus, 2500 * MICRO), [(Outcome::Delivered, vec![0, 2])]);
        assert!(!bus.controller(1).has_mail());
    }

    #[test]
    fn a_controller_that_waits_for_its_processor_comes_back_128_groups_after_it_was_let() {
        let mut bus = bus();
        bus.wait_when_off(1);
        bus.submit(1, &frame(0x100, 1), 0);
        run(&mut bus, 10_000 * MICRO);
        assert!(bus.is_off(1));
        assert_eq!(bus.due(), NEVER, "nothing will happen by itself");
        bus.recover_from(1, 10_000 * MICRO);
        run(&mut bus, (10_000 + 1396) * MICRO);
        assert!(bus.is_off(1));
        run(&mut bus, (10_000 + 1409) * MICRO);
        assert!(!bus.is_off(1));
    }

    #[test]
    fn it_hears_frames_that_win_against_its_own_and_misses_those_that_should_have_lost() {
        let mut bus = bus();
        bus.submit(1, &frame(0x200, 1), 0);
        bus.submit(2, &frame(0x100, 1), 0);
        bus.submit(0, &frame(0x300, 1), 0);
        let delivered = |to: &[usize]| (Outcome::Delivered, to.to_vec());
        assert_eq!(run(&mut bus, 150 * MICRO), [delivered(&[0, 1]), delivered(&[2])]);
    }

    #[test]
    fn its_equal_frame_counts_as_sent_and_its_acknowledgement_as_none() {
        let mut bus = bus();
        bus.submit(1, &frame(0x100, 1), 0);
        bus.submit(2, &frame(0x100, 1), 0);
        assert_eq!(run(&mut bus, 100 * MICRO), [(Outcome::Delivered, vec![0])]);
        assert!(!bus.controller(1).has_mail());
        bus.disconnect(2);
        bus.submit(0, &frame(0x100, 1), 100 * MICRO);
        let seen = run(&mut bus, 180 * MICRO);
        assert_eq!(seen.first().map(|s| s.0), Some(Outcome::Destroyed(ErrorKind::NoAcknowledge)));
    }
}
