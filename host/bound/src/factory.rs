//! What a factory adds to the boards of one bus beside their image: identities, option bytes, a lock and its proof.
//!
//! The boards' own times (option writes, restarts with the fixture's part in them, programming of the identity) pass
//! once, because all boards do it at once; only what crosses the bus grows with their number. Called for plans,
//! reports and benchmarks.

use crate::BusSpeed;
use crate::frame::Id;
use crate::wire::Wire;

/// Frames in which a board says its 96-bit unique id again after a restart, 24 bits in each identifier.
const DISCOVERY_FRAMES: u32 = 4;
/// The identifiers that need the fewest stuff bits.
const DISCOVERY_ID: Id = Id::Extended(0x1555_5555);
const SHORT_ID: Id = Id::Standard(0x555);
/// Content that needs few stuff bits.
const CONTENT: [u8; 64] = [0x42; 64];
/// What a board answers to prove its lock: that it is there and protected, and that it refuses to be read.
const PROOF_FRAMES: u32 = 2;

/// The factory part of a job on one bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factory {
    /// Speed and frame format of the bus.
    pub bus: BusSpeed,
    /// Boards on it that take part.
    pub boards: u32,
    /// Bytes of each board's identity; 0 for none. They go to the board and come back.
    pub identity_bytes: u32,
    /// Time to program them.
    pub identity_program_ns: u64,
    /// Writes of option bytes or of the protection, one after the other.
    pub option_writes: u32,
    /// Typical time of one.
    pub option_write_ns: u64,
    /// Restarts that load them.
    pub restarts: u32,
    /// One restart: the fixture's time for taking power and giving it back, and the board's start-up.
    pub restart_ns: u64,
    /// The lock is proven.
    pub proof: bool,
}

/// The least time the factory part can take. All times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FactoryBound {
    /// The boards' own: option writes and restarts.
    pub boards_ns: u64,
    /// Identities, boards found again, proofs: what crosses the bus, and the programming of the identity.
    pub bus_ns: u64,
    /// Both.
    pub total_ns: u64,
}

impl Factory {
    /// The bound.
    #[must_use]
    pub fn bound(&self) -> FactoryBound {
        if self.boards == 0 {
            return FactoryBound::default();
        }
        let writes = u64::from(self.option_writes).saturating_mul(self.option_write_ns);
        let restarts = u64::from(self.restarts).saturating_mul(self.restart_ns);
        let boards_ns = writes.saturating_add(restarts);
        let mut again = Wire::default();
        again.add(self.bus.short_frame(DISCOVERY_ID, &[]));
        let again = again.times(DISCOVERY_FRAMES.saturating_mul(self.restarts));
        let mut proof = Wire::default();
        if self.proof {
            proof.add(self.bus.short_frame(SHORT_ID, &CONTENT[..8]));
        }
        let each = [again, proof.times(PROOF_FRAMES), self.identity(), self.identity()];
        let sent = each.iter().map(|wire| self.bus.ns(&wire.times(self.boards)));
        let program = if self.identity_bytes > 0 { self.identity_program_ns } else { 0 };
        let bus_ns = sent.fold(program, u64::saturating_add);
        FactoryBound { boards_ns, bus_ns, total_ns: boards_ns.saturating_add(bus_ns) }
    }

    /// The frames that carry one board's identity one way.
    fn identity(&self) -> Wire {
        let payload = self.bus.payload();
        let mut wire = Wire::default();
        let mut left = self.identity_bytes as usize;
        while left > 0 {
            let part = left.min(payload);
            wire.add(self.bus.frame(SHORT_ID, &CONTENT[..part]));
            left -= part;
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU32;

    fn factory(boards: u32) -> Factory {
        Factory {
            bus: BusSpeed::Classical { bit_rate: NonZeroU32::new(1_000_000).expect("not 0") },
            boards,
            identity_bytes: 16,
            identity_program_ns: 64_000,
            option_writes: 2,
            option_write_ns: 250_000_000,
            restarts: 2,
            restart_ns: 70_000_000,
            proof: true,
        }
    }

    #[test]
    fn boards_work_at_the_same_time_and_share_only_the_bus() {
        let (one, many) = (factory(1).bound(), factory(21).bound());
        assert_eq!((one.boards_ns, many.boards_ns), (640_000_000, 640_000_000));
        let sent = |bound: FactoryBound| bound.bus_ns - 64_000;
        assert_eq!(sent(many), 21 * sent(one));
    }

    #[test]
    fn what_crosses_the_bus_is_counted_in_bits() {
        // Classical, 8 bytes: 111 bits before stuffing. Two out, two back, two for the proof; eight empty extended
        // ones of 67 bits for being found twice. Two stuff bits in each are more than these frames need.
        let bits = (factory(1).bound().bus_ns - 64_000) / 1000;
        let bare = 6 * 111 + 8 * 67;
        assert!((bare..=bare + 2 * 14).contains(&bits), "{bits} bits, {bare} without stuffing");
        let nothing =
            Factory { identity_bytes: 0, restarts: 0, option_writes: 0, proof: false, ..factory(5) };
        assert_eq!(nothing.bound(), FactoryBound::default());
        assert_eq!(factory(0).bound(), FactoryBound::default());
    }
}
