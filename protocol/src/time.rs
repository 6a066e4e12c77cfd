//! A point in time and a span of time, both in whole microseconds.
//!
//! Nothing in this crate reads a clock: every `handle_*` and `poll_*` takes `now`. The origin is whatever the
//! caller chose (power-on for a node, start of the run for a host); only differences mean anything.
//!
//! A host counts in 64 bits. A board counts in 32 and the count wraps after 71 minutes, so the node asks
//! [`Micros::is_before`] and never compares; what it waits for lies seconds ahead.

use core::ops::Add;

/// What microseconds are counted in: 64 bits on a host.
#[cfg(not(target_os = "none"))]
pub type Count = u64;
/// What microseconds are counted in: 32 bits on a board.
#[cfg(target_os = "none")]
pub type Count = u32;

/// A point in time, in microseconds since an origin the caller chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub Count);

/// A span of time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Count);

impl Micros {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(if self.is_before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) })
    }

    /// Whether `later` is still to come, also where the count has wrapped between the two.
    #[must_use]
    pub const fn is_before(self, later: Self) -> bool {
        self.0.wrapping_sub(later.0) > Count::MAX / 2
    }
}

impl Span {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// `ms` milliseconds.
    #[must_use]
    pub const fn from_millis(ms: Count) -> Self {
        Self(ms * 1000)
    }

    /// Seconds, for people.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Add<Span> for Micros {
    type Output = Self;

    fn add(self, rhs: Span) -> Self {
        Self(self.0.wrapping_add(rhs.0))
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

#[cfg(feature = "host")]
impl core::ops::Sub<Span> for Micros {
    type Output = Self;

    fn sub(self, rhs: Span) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_begins_before_the_count_wraps_ends_behind_it() {
        let begun = Micros(Count::MAX - 10);
        let until = begun + Span(30);
        assert_eq!(until, Micros(19));
        assert!(begun.is_before(until) && Micros(18).is_before(until) && !until.is_before(until));
        assert!(!Micros(25).is_before(until) && !until.is_before(begun));
        assert_eq!((until.since(begun), begun.since(until)), (Span(30), Span::ZERO));
    }
}
