//! A set of chunk numbers within one segment.

use super::image::Ranges;
use crate::message::ChunkRange;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ChunkSet([u64; 4]);

impl ChunkSet {
    pub(super) fn of(ranges: Ranges) -> Self {
        let mut set = Self::default();
        set.insert_range(ranges.0);
        ranges.1.into_iter().for_each(|r| set.insert_range(r));
        set
    }

    pub(super) const fn insert(&mut self, chunk: u8) {
        self.0[chunk as usize / 64] |= 1 << (chunk % 64);
    }

    pub(super) fn insert_range(&mut self, range: ChunkRange) {
        (range.first..=range.last).for_each(|c| self.insert(c));
    }

    pub(super) fn union(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    pub(super) fn intersect(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= b);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&w| w == 0)
    }

    pub(super) fn len(&self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }

    /// Removes and returns the lowest.
    pub(super) fn pop(&mut self) -> Option<u8> {
        let (i, word) = self.0.iter_mut().enumerate().find(|(_, w)| **w != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(i as u8 * 64 + bit as u8)
    }
}
