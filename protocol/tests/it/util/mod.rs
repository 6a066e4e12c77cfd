//! What the tests share: a flash that enforces its rules, an ideal bus, and a run from discovery to commit.

pub(crate) mod any;
pub(crate) mod bus;
pub(crate) mod flash;
pub(crate) mod run;
pub(crate) mod solo;

use panel_protocol::block::SEALED;
use panel_protocol::node::{EraseRun, FlashFacts, MAX_RUNS, Slot, Uid};
use panel_protocol::time::Span;
use sha2::{Digest, Sha512};

/// Random numbers from a seed (xorshift64*, Vigna 2016).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True with a probability of `per_mille` thousandths.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

pub(crate) const BASE: u32 = 0x0800_0000;
/// Erase unit 1: where the node under test keeps its records.
pub(crate) const RECORDS: u32 = BASE + 0x800;
pub(crate) const APP: u32 = BASE + 0x1000;
pub(crate) const DEVICE: u16 = 0x413;
/// The second slot of boards that have one: images of 12 KiB at most, and a unit of 16 KiB for the records.
pub(crate) const SLOT: Slot = Slot { base: BASE + 0x4000, end: BASE + 0xC000 };

/// A flash like that of an F4, but small: units of 2, 8 and 16 KiB; the bootloader in the first one.
pub(crate) fn small_flash() -> FlashFacts {
    let run = |count, kib: u32, ms| EraseRun {
        count,
        size: kib * 1024,
        typical: Span::from_millis(ms),
        longest: Span::from_millis(2 * ms),
    };
    let mut runs = [EraseRun::default(); MAX_RUNS];
    (runs[0], runs[1], runs[2]) = (run(4, 2, 5), run(1, 8, 10), run(2, 16, 20));
    FlashFacts {
        base: BASE,
        runs,
        unit: 4,
        program_typical: Span(16),
        program_longest: Span(100),
        app_base: APP,
        record_base: RECORDS,
    }
}

/// The UID of the `n`th chip of a wafer: neighbours differ in a coordinate, lot and wafer are the same.
pub(crate) fn uid(n: u8) -> Uid {
    Uid([n % 16, 0, n / 16, 0, 0x05, 0x51, 0x36, 0x33, 0x38, 0x34, 0x31, 0x39])
}

/// What stands for the product's signature here: nothing that only its owner could make, but different for every message.
pub(crate) fn sign(message: &[u8; SEALED]) -> [u8; 64] {
    Sha512::digest(message).into()
}
