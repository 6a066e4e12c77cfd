//! What is to be in memory: sparse regions that borrow their bytes.

use crate::device::Area;
use crate::plan::{BLOCK, PlanError};

/// Bytes at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region<'a> {
    /// Address of the first byte.
    pub address: u32,
    /// The bytes.
    pub data: &'a [u8],
}

impl Region<'_> {
    /// First address behind the region, as 64 bits because a region may end with the address space.
    pub(crate) const fn end(&self) -> u64 {
        self.address as u64 + self.data.len() as u64
    }
}

/// Regions in order of address, none empty, none overlapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    regions: Vec<Region<'a>>,
}

impl<'a> Image<'a> {
    /// Sorts the regions and drops empty ones.
    ///
    /// # Errors
    /// If two overlap, one runs over the end of the address space, or there is nothing at all.
    pub fn new(regions: impl IntoIterator<Item = Region<'a>>) -> Result<Self, PlanError> {
        let mut regions: Vec<_> = regions.into_iter().filter(|region| !region.data.is_empty()).collect();
        regions.sort_by_key(|region| region.address);
        if regions.is_empty() {
            return Err(PlanError::EmptyImage);
        }
        if let Some(region) = regions.iter().find(|region| region.end() > 1 << 32) {
            return Err(PlanError::OutsideMemory { address: region.address });
        }
        if let Some(pair) = regions.windows(2).find(|pair| pair[0].end() > u64::from(pair[1].address)) {
            return Err(PlanError::Overlap { address: pair[1].address });
        }
        Ok(Self { regions })
    }

    /// The regions, in order of address.
    #[must_use]
    pub fn regions(&self) -> &[Region<'a>] {
        &self.regions
    }

    /// How many bytes there are in all regions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.iter().map(|region| region.data.len()).sum()
    }

    /// Never: an image has at least one byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The byte at `address`, if the image has one.
    #[must_use]
    pub fn byte(&self, address: u32) -> Option<u8> {
        let after = self.regions.partition_point(|region| region.address <= address);
        let region = self.regions.get(after.checked_sub(1)?)?;
        region.data.get((address - region.address) as usize).copied()
    }

    /// First and last byte that the image has within the 256-byte window at `start`; the window must have one.
    pub(crate) fn window_extent(&self, start: u32) -> Area {
        let end = u64::from(start) + u64::from(BLOCK);
        let first = self.regions.partition_point(|region| region.end() <= u64::from(start));
        let within = self.regions[first..].iter().take_while(|region| u64::from(region.address) < end);
        let mut extent = Area { start, end: start };
        for (number, region) in within.enumerate() {
            if number == 0 {
                extent.start = start.max(region.address);
            }
            extent.end = (end.min(region.end()) - 1) as u32;
        }
        extent
    }

    /// What the image has from `address` on, with `blank` where it has nothing.
    #[must_use]
    pub fn window(&self, address: u32, len: usize, blank: u8) -> Vec<u8> {
        let mut window = vec![blank; len];
        let (start, end) = (u64::from(address), u64::from(address) + len as u64);
        let first = self.regions.partition_point(|region| region.end() <= start);
        for region in self.regions[first..].iter().take_while(|region| u64::from(region.address) < end) {
            let from = start.max(region.address.into());
            let to = end.min(region.end());
            let source =
                (from - u64::from(region.address)) as usize..(to - u64::from(region.address)) as usize;
            window[(from - start) as usize..(to - start) as usize].copy_from_slice(&region.data[source]);
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_sorted_and_empty_ones_dropped() {
        let image = Image::new([
            Region { address: 0x20, data: &[3, 4] },
            Region { address: 0x5, data: &[] },
            Region { address: 0x10, data: &[1, 2] },
        ])
        .unwrap();
        assert_eq!(image.regions().len(), 2);
        assert_eq!(image.len(), 4);
        assert_eq!(
            (image.byte(0x11), image.byte(0x12), image.byte(0x21), image.byte(0)),
            (Some(2), None, Some(4), None)
        );
    }

    #[test]
    fn overlapping_overlong_and_missing_regions_are_refused() {
        let twice = [Region { address: 0, data: &[0; 4] }, Region { address: 3, data: &[0; 4] }];
        assert_eq!(Image::new(twice), Err(PlanError::Overlap { address: 3 }));
        let beyond = [Region { address: 0xFFFF_FFFE, data: &[0; 4] }];
        assert_eq!(Image::new(beyond), Err(PlanError::OutsideMemory { address: 0xFFFF_FFFE }));
        assert_eq!(Image::new([]), Err(PlanError::EmptyImage));
    }

    #[test]
    fn a_window_takes_from_every_region_it_touches() {
        let image = Image::new([
            Region { address: 0xFE, data: &[1, 2, 3] },
            Region { address: 0x104, data: &[5, 6] },
            Region { address: 0x200, data: &[9] },
        ])
        .unwrap();
        assert_eq!(image.window(0x100, 8, 0xFF), [3, 0xFF, 0xFF, 0xFF, 5, 6, 0xFF, 0xFF]);
        assert_eq!(image.window(0x200, 2, 0), [9, 0]);
        assert_eq!(image.window(0x300, 2, 7), [7, 7]);
    }
}
