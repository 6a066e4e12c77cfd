//! An image cut into segments: what the manifest says, which chunks are worth sending.
//!
//! Computed once and shared by every bus. Blank chunks (all 0xFF) are left out where two ranges a segment can
//! say so; a segment that is blank throughout is not sent at all.

use crate::CRC32;
use crate::block::{Begin, BeginFlags, MAX_SEALED_REGIONS, Region, Seal};
use crate::message::{CHUNK_CLASSICAL, CHUNK_FD, ChunkRange, SEGMENT};
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// Ranges of chunks that will be sent.
pub(super) type Ranges = (ChunkRange, Option<ChunkRange>);

/// One segment of an image.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) data: Vec<u8>,
    pub(super) crc: u32,
    /// `None`: blank.
    pub(super) ranges: Option<Ranges>,
}

/// A firmware image, ready to be sent.
#[derive(Debug, Clone)]
pub struct Image {
    begin: Begin,
    chunk: usize,
    segments: Vec<Segment>,
}

/// Why bytes cannot be sent as an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No region, or more than the protocol has room for.
    #[error("an image has 1 to 8 regions, not {0}")]
    Regions(usize),
    /// More than 32767 segments (64 MiB).
    #[error("the image takes {0} segments, more than 32767")]
    Segments(u32),
    /// More regions than the session block has room for beside a seal.
    #[error("a sealed image has 1 to {MAX_SEALED_REGIONS} regions, not {0}")]
    SealedRegions(usize),
}

impl Image {
    /// Cuts regions (address, bytes) for chips with this device ID. `fd`: send in 64-byte chunks.
    ///
    /// # Errors
    /// [`ImageError`] if the protocol cannot express the image.
    pub fn new(device_id: u16, regions: &[(u32, Vec<u8>)], fd: bool) -> Result<Self, ImageError> {
        let table: Vec<Region> = regions
            .iter()
            .map(|(address, bytes)| Region {
                address: *address,
                len: bytes.len() as u32,
                crc: CRC32.checksum(bytes),
                sha256: Sha256::digest(bytes).into(),
            })
            .collect();
        let begin = Begin::new(0, BeginFlags::empty(), device_id, &table)
            .ok_or(ImageError::Regions(regions.len()))?;
        if begin.segments() >= 0x8000 {
            return Err(ImageError::Segments(begin.segments()));
        }
        let chunk = if fd { CHUNK_FD } else { CHUNK_CLASSICAL };
        let segments = regions.iter().flat_map(|(_, bytes)| bytes.chunks(SEGMENT)).map(|part| {
            let mut data = part.to_vec();
            data.resize(SEGMENT, 0xFF);
            Segment { crc: CRC32.checksum(&data), ranges: ranges(&data, chunk), data }
        });
        Ok(Self { begin, chunk, segments: segments.collect() })
    }

    /// Puts the image under a seal.
    ///
    /// # Errors
    /// [`ImageError::SealedRegions`].
    pub fn seal(&mut self, seal: Seal) -> Result<(), ImageError> {
        let regions = self.begin.regions().len();
        self.begin = self.begin.sealed(seal).ok_or(ImageError::SealedRegions(regions))?;
        Ok(())
    }

    /// The session block, with session number and flags filled in by the sender.
    #[must_use]
    pub const fn begin(&self) -> &Begin {
        &self.begin
    }

    /// Bytes per data frame.
    #[must_use]
    pub const fn chunk(&self) -> usize {
        self.chunk
    }

    /// Data frames that carry the image once.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.segments.iter().filter_map(|s| s.ranges).map(|r| u64::from(frames_of(r))).sum()
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The bytes of one chunk.
    pub(super) fn chunk_at(&self, segment: u16, index: u8) -> Option<&[u8]> {
        let at = usize::from(index) * self.chunk;
        self.segments.get(usize::from(segment))?.data.get(at..at + self.chunk)
    }
}

pub(super) fn frames_of((a, b): Ranges) -> u32 {
    let len = |r: ChunkRange| u32::from(r.last - r.first) + 1;
    len(a) + b.map_or(0, len)
}

/// The one or two ranges that leave out as much blank as possible.
fn ranges(data: &[u8], chunk: usize) -> Option<Ranges> {
    let used: Vec<bool> = data.chunks(chunk).map(|c| c.iter().any(|&b| b != 0xFF)).collect();
    let first = used.iter().position(|&u| u)?;
    let last = used.iter().rposition(|&u| u)?;
    let mut gap = (0, 0);
    let mut start = first;
    for (i, &used) in used.iter().enumerate().take(last + 1).skip(first) {
        if used {
            start = i + 1;
        } else if i + 1 - start > gap.1 - gap.0 {
            gap = (start, i + 1);
        }
    }
    let range = |first: usize, last: usize| ChunkRange { first: first as u8, last: last as u8 };
    Some(if gap.1 == gap.0 {
        (range(first, last), None)
    } else {
        (range(first, gap.0 - 1), Some(range(gap.1, last)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn the_largest_gap_is_left_out_and_blank_segments_vanish() {
        let mut bytes = vec![0xFF; 3 * SEGMENT];
        bytes[16] = 1;
        bytes[40] = 1;
        bytes[2040] = 1;
        bytes[2 * SEGMENT] = 1;
        let image = Image::new(0x413, &[(0x0800_8000, bytes)], false).expect("small");
        let range = |first, last| ChunkRange { first, last };
        assert_eq!(image.segments()[0].ranges, Some((range(2, 5), Some(range(255, 255)))));
        assert_eq!(image.segments()[1].ranges, None);
        assert_eq!(image.segments()[2].ranges, Some((range(0, 0), None)));
        assert_eq!(image.frames(), 6);
    }
}
