//! What the models of one chip share: time, clocks, interrupt lines, and what they have to say.
//!
//! A model gets these wires with every access and every tick. Invariant: `now` never runs backwards; a model that
//! cannot obey what the code asked of it says so with [`Wires::complain`], never by doing nothing in silence.

use std::collections::BTreeSet;
use std::fmt;

/// No due time.
pub const NEVER: u64 = u64::MAX;

/// Emulated time of one board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Nanoseconds of the world.
    pub ns: u64,
    /// Processor clock cycles since the last reset, sleep included.
    pub cycles: u64,
    /// Processor clock cycles in which the processor was asleep; its cycle counter stands still in them.
    pub asleep: u64,
}

/// Why the chip restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Power came up.
    Power,
    /// NRST was pulled.
    Pin,
    /// SYSRESETREQ.
    Software,
    /// The independent watchdog ran out.
    Watchdog,
    /// Option bytes were loaded on request (OBL_LAUNCH).
    Options,
}

/// Something that the code did and the manual forbids, or that a model does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint(pub String);

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Signals between the models of one chip.
#[derive(Debug, Clone)]
pub(crate) struct Wires {
    /// The present.
    pub now: Now,
    /// Processor and bus clock, Hz.
    pub hclk: u32,
    /// Clock of the first peripheral bus, Hz.
    pub pclk1: u32,
    /// Clock of the second peripheral bus, Hz.
    pub pclk2: u32,
    /// Interrupt lines that are high, by number.
    pub irqs: u128,
    /// The non-maskable interrupt was raised.
    pub nmi: bool,
    /// A model asks for a reset.
    pub reset: Option<Reset>,
    /// The bus is stalled until then.
    pub stall: u64,
    /// Time the processor spent stalled by a busy flash, ns.
    pub stalled: u64,
    complaints: BTreeSet<Complaint>,
}

impl Wires {
    pub(crate) fn new(hclk: u32) -> Self {
        Self {
            now: Now::default(),
            hclk,
            pclk1: hclk,
            pclk2: hclk,
            irqs: 0,
            nmi: false,
            reset: None,
            stall: 0,
            stalled: 0,
            complaints: BTreeSet::new(),
        }
    }

    /// Drives an interrupt line.
    pub(crate) fn irq(&mut self, number: u8, high: bool) {
        if high {
            self.irqs |= 1 << number;
        } else {
            self.irqs &= !(1 << number);
        }
    }

    /// Notes what the code should not have done; equal ones once.
    pub(crate) fn complain(&mut self, what: impl Into<String>) {
        self.complaints.insert(Complaint(what.into()));
    }

    /// A reset forgets everything but what was wrong.
    pub(crate) fn keep_complaints(&mut self, old: &Self) {
        self.complaints.clone_from(&old.complaints);
        self.stalled = old.stalled;
    }

    /// What was noted since power-on, in alphabetical order.
    pub(crate) fn complaints(&self) -> impl Iterator<Item = &Complaint> {
        self.complaints.iter()
    }
}

/// Nanoseconds that `cycles` take at `hz`, rounded up.
pub(crate) fn ns(cycles: u64, hz: u32) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    // For as long as it fits, a division of 64 bits: one of 128 takes ten times as long.
    match cycles.checked_mul(SECOND) {
        Some(product) => product.div_ceil(hz.max(1).into()),
        None => (u128::from(cycles) * u128::from(SECOND)).div_ceil(u128::from(hz.max(1))) as u64,
    }
}
