//! A point in simulated time, in whole nanoseconds since an origin the caller chose.
//!
//! Microseconds would be too coarse: a bit at 921600 baud is 1085 ns, and 256 rounded bytes would be a
//! measurable error. Spans are [`Duration`]s. Nothing in the devices reads a clock.

use core::ops::Add;
use core::time::Duration;

/// A point in time, in nanoseconds since the caller's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// `us` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(us * 1_000)
    }

    /// `ms` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Nanos {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// The time `bits` bits take at `baud` bits per second.
#[must_use]
pub fn bit_time(bits: u64, baud: u32) -> Duration {
    Duration::from_nanos(bits * 1_000_000_000 / u64::from(baud.max(1)))
}
