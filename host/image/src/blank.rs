//! Which parts of an image an erased flash already holds.
//!
//! Cut into units of a given size (a page, a data frame, a program unit), a unit is blank when every byte
//! the image has in it is 0xFF. Blank units need neither be sent nor be programmed, only be erased.

use std::num::NonZeroU32;
use std::ops::Range;

use crate::BLANK;
use crate::image::Image;

impl Image {
    /// The blank units of `unit` bytes that the image has data in, as ranges by address, neighbours joined.
    ///
    /// Ranges begin and end at multiples of `unit`, except that an end above the address space is
    /// `u32::MAX`. Units without any data are neither blank nor used.
    #[must_use]
    pub fn blank_runs(&self, unit: NonZeroU32) -> Vec<Range<u32>> {
        self.runs(unit, true)
    }

    /// The units of `unit` bytes that hold at least one byte other than 0xFF: what has to be sent and
    /// programmed. Ranges as in [`Image::blank_runs`], of which this is the complement among the units that
    /// the image has data in.
    #[must_use]
    pub fn used_runs(&self, unit: NonZeroU32) -> Vec<Range<u32>> {
        self.runs(unit, false)
    }

    fn runs(&self, unit: NonZeroU32, wanted: bool) -> Vec<Range<u32>> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        for (range, blank) in self.units(unit) {
            if blank != wanted {
                continue;
            }
            match runs.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => runs.push(range),
            }
        }
        runs
    }

    /// Every unit the image has data in, by address, and whether it is blank.
    fn units(&self, unit: NonZeroU32) -> Vec<(Range<u32>, bool)> {
        let mut units: Vec<(Range<u32>, bool)> = Vec::new();
        for region in self.regions() {
            let mut at = region.address();
            while at < region.end() {
                let start = at - at % unit;
                let end = start.saturating_add(unit.get());
                let stop = end.min(region.end());
                let data =
                    &region.data()[(at - region.address()) as usize..(stop - region.address()) as usize];
                let blank = data.iter().all(|&byte| byte == BLANK);
                match units.last_mut() {
                    // Two regions can meet in one unit.
                    Some((range, both)) if range.start == start => *both &= blank,
                    _ => units.push((start..end, blank)),
                }
                at = stop;
            }
        }
        units
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are what the tests expect")]
mod tests {
    use super::*;

    const UNIT: NonZeroU32 = NonZeroU32::new(8).unwrap();

    #[test]
    fn blank_and_used_units_partition_what_the_image_touches() {
        let mut bytes = vec![0xFF; 40];
        bytes[0] = 1;
        bytes[31] = 2;
        let image = Image::from_bin(&bytes, "a", 0x1000).unwrap();
        assert_eq!(image.blank_runs(UNIT), [0x1008..0x1018, 0x1020..0x1028]);
        assert_eq!(image.used_runs(UNIT), [0x1000..0x1008, 0x1018..0x1020]);
    }

    #[test]
    fn a_unit_that_two_regions_share_is_blank_only_if_both_parts_are() {
        let part = |address, byte| Image::from_bin(&[byte; 2], "a", address).unwrap();
        let both = Image::merge(&[part(0x10, 0xFF), part(0x14, 0)]).unwrap();
        assert_eq!(both.used_runs(UNIT), [0x10..0x18]);
        assert_eq!(both.blank_runs(UNIT), []);
        let blank = Image::merge(&[part(0x10, 0xFF), part(0x14, 0xFF)]).unwrap();
        assert_eq!(blank.blank_runs(UNIT), [0x10..0x18]);
    }

    #[test]
    fn units_at_unaligned_ends_and_at_the_top_of_memory_are_whole_units() {
        let image = Image::from_bin(&[0], "a", 0xFFFF_FFF9).unwrap();
        assert_eq!(image.used_runs(UNIT), [0xFFFF_FFF8..u32::MAX]);
        let image = Image::from_bin(&[0; 3], "a", 7).unwrap();
        assert_eq!(image.used_runs(UNIT), [0..16]);
    }
}
