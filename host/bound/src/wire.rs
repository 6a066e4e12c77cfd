//! What crosses a wire, added up in bits, and the time it takes. Time is computed once from the sum, so that
//! rounding does not add up.

use crate::BusSpeed;
use crate::frame::{self, FrameBits, Id};
use core::num::NonZeroU32;

/// A sum of frames or characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wire {
    pub(crate) frames: u64,
    nominal_bits: u64,
    data_bits: u64,
}

impl Wire {
    pub(crate) fn add(&mut self, bits: FrameBits) {
        self.frames += 1;
        self.nominal_bits += u64::from(bits.nominal);
        self.data_bits += u64::from(bits.data);
    }

    /// Adds characters of a UART: start bit, 8 bits, parity, stop bit.
    pub(crate) fn add_characters(&mut self, count: u64) {
        self.frames += count;
        self.nominal_bits += 11 * count;
    }

    pub(crate) fn bits(&self) -> u64 {
        self.nominal_bits + self.data_bits
    }

    pub(crate) fn times(self, count: u32) -> Self {
        let count = u64::from(count);
        Self {
            frames: self.frames * count,
            nominal_bits: self.nominal_bits * count,
            data_bits: self.data_bits * count,
        }
    }

    /// Nanoseconds at these rates, rounded down.
    pub(crate) fn ns(&self, nominal: NonZeroU32, data: NonZeroU32) -> u64 {
        let time = |bits: u64, rate: NonZeroU32| u128::from(bits) * 1_000_000_000 / u128::from(rate.get());
        u64::try_from(time(self.nominal_bits, nominal) + time(self.data_bits, data)).unwrap_or(u64::MAX)
    }
}

impl BusSpeed {
    /// Bytes in the longest frame.
    pub(crate) const fn payload(self) -> usize {
        match self {
            Self::Classical { .. } => 8,
            Self::Fd { .. } => 64,
        }
    }

    /// A frame in the format of the bus.
    pub(crate) fn frame(self, id: Id, data: &[u8]) -> FrameBits {
        match self {
            Self::Classical { .. } => frame::classical(id, data),
            Self::Fd { .. } => frame::fd(id, data),
        }
    }

    /// A frame of up to 8 bytes in the faster of the formats that the bus allows.
    pub(crate) fn short_frame(self, id: Id, data: &[u8]) -> FrameBits {
        let classical = frame::classical(id, data);
        let native = self.frame(id, data);
        if self.frame_ns(classical) < self.frame_ns(native) { classical } else { native }
    }

    pub(crate) fn ns(self, wire: &Wire) -> u64 {
        match self {
            Self::Classical { bit_rate } => wire.ns(bit_rate, bit_rate),
            Self::Fd { nominal, data } => wire.ns(nominal, data),
        }
    }

    fn frame_ns(self, bits: FrameBits) -> u64 {
        let mut wire = Wire::default();
        wire.add(bits);
        self.ns(&wire)
    }
}
