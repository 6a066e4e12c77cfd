//! An image as pieces of a given size and as flash operations.
//!
//! Regions are borrowed and never copied. Bytes that no region covers count as blank (0xFF), as they read after
//! an erase. Addresses are 64 bits wide here, so that the end of the address space needs no care.

use crate::FlashTimes;
use core::ops::Range;

const BLANK: u8 = 0xFF;

/// Non-empty regions in the order of their addresses.
pub(crate) struct Image<'a> {
    regions: Vec<(u64, &'a [u8])>,
}

/// Where pieces begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grid {
    /// At the first address of a region, unless the region before reaches up to it.
    Region,
    /// At multiples of the piece's size.
    Aligned,
}

/// A piece of the image that is not blank.
pub(crate) struct Piece<'a> {
    /// Address of its first byte.
    pub(crate) address: u64,
    /// Distance from the first piece of a run of pieces without a gap.
    pub(crate) offset: u64,
    /// All of it, blank where no region covers it.
    pub(crate) bytes: &'a [u8],
    /// The part of `bytes` that regions cover.
    pub(crate) covered: Range<usize>,
}

impl<'a> Image<'a> {
    pub(crate) fn new(regions: &[(u32, &'a [u8])]) -> Self {
        let mut regions: Vec<_> = regions
            .iter()
            .filter(|(_, data)| !data.is_empty())
            .map(|(start, data)| (u64::from(*start), *data))
            .collect();
        regions.sort_by_key(|(start, _)| *start);
        Self { regions }
    }

    /// Visits every piece of `SIZE` bytes that is not blank, in order; each address belongs to one piece.
    pub(crate) fn for_each_piece<const SIZE: usize>(&self, grid: Grid, mut visit: impl FnMut(Piece<'_>)) {
        let size = SIZE as u64;
        let (mut next, mut run) = (0, 0);
        for (i, (start, data)) in self.regions.iter().enumerate() {
            if i == 0 || next < *start {
                let begin = match grid {
                    Grid::Region => *start,
                    Grid::Aligned => start - start % size,
                };
                if i == 0 || next < begin {
                    (next, run) = (begin, begin);
                }
            }
            while next < start + data.len() as u64 {
                let mut window = [BLANK; SIZE];
                let covered = fill(&self.regions[i..], next, &mut window);
                if window.iter().any(|byte| *byte != BLANK) {
                    visit(Piece { address: next, offset: next - run, bytes: &window, covered });
                }
                next += size;
            }
        }
    }

    /// Time to erase every unit that holds a byte of the image, one after the other.
    pub(crate) fn erase_ns(&self, flash: &FlashTimes) -> u64 {
        self.erase_units(flash).fold(0, |sum, typical_ns| sum.saturating_add(typical_ns))
    }

    /// Number of erase units that hold a byte of the image.
    pub(crate) fn erase_count(&self, flash: &FlashTimes) -> u64 {
        self.erase_units(flash).count() as u64
    }

    /// Time to program every unit that is not blank.
    pub(crate) fn program_ns(&self, flash: &FlashTimes) -> u64 {
        let unit = u64::from(flash.program_unit.get());
        let (mut count, mut last) = (0u64, None);
        for (start, data) in &self.regions {
            for (address, byte) in (*start..).zip(*data) {
                if *byte != BLANK && last != Some(address / unit) {
                    last = Some(address / unit);
                    count += 1;
                }
            }
        }
        count.saturating_mul(flash.program_typical_ns)
    }

    fn erase_units(&self, flash: &FlashTimes) -> impl Iterator<Item = u64> {
        let touched = |start: u64, end: u64| {
            self.regions.iter().any(|(first, data)| *first < end && start < first + data.len() as u64)
        };
        flash
            .units
            .iter()
            .filter(move |unit| {
                let start = u64::from(unit.address);
                touched(start, start + u64::from(unit.size))
            })
            .map(|unit| unit.typical_ns)
    }
}

/// Copies what `regions` hold from `address` on; returns the part of `window` from the first byte copied to
/// the last.
fn fill(regions: &[(u64, &[u8])], address: u64, window: &mut [u8]) -> Range<usize> {
    let end = address + window.len() as u64;
    let mut covered = window.len()..0;
    for (start, data) in regions.iter().take_while(|(start, _)| *start < end) {
        let from = address.max(*start);
        let to = end.min(start + data.len() as u64);
        if from < to {
            let target = (from - address) as usize..(to - address) as usize;
            covered = covered.start.min(target.start)..covered.end.max(target.end);
            window[target].copy_from_slice(&data[(from - start) as usize..(to - start) as usize]);
        }
    }
    covered
}
