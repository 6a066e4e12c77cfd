//! The sparse memory image: sorted blocks of bytes at absolute addresses.
//!
//! Invariant: the regions of an [`Image`] are sorted, do not overlap, do not touch (touching blocks are one
//! region), are not empty, and end at or below 0xFFFF_FFFF. At least one region exists. The parsers build
//! images through [`Builder`]; everything else reads them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use sha2::Digest;

use crate::MAX_DATA;
use crate::MAX_FILE;
use crate::error::ImageError;
use crate::origin::Origin;
use crate::origin::Place;

/// Bytes at absolute addresses, from one file or several.
///
/// Two images are equal when they hold the same bytes at the same addresses, whatever files those came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    regions: Vec<Region>,
}

/// A block of bytes without a gap. Cloning shares the bytes.
#[derive(Clone)]
pub struct Region {
    address: u32,
    data: Arc<[u8]>,
    /// Sorted; the first begins at `address`, each reaches to the next.
    pieces: Arc<[Piece]>,
}

#[derive(Clone)]
struct Piece {
    address: u32,
    origin: Origin,
}

impl Image {
    /// A raw binary at an address. The bytes are taken as they are.
    ///
    /// # Errors
    /// [`ImageError::Empty`], [`ImageError::TooLarge`], [`ImageError::PastAddressSpace`].
    pub fn from_bin(bytes: &[u8], name: &str, address: u32) -> Result<Self, ImageError> {
        let mut builder = Builder::new(name, bytes)?;
        builder.push(address, bytes, Place::Whole)?;
        builder.finish()
    }

    /// One image of several. Touching blocks are joined.
    ///
    /// # Errors
    /// [`ImageError::Overlap`] if two of them supply the same address, [`ImageError::TooLarge`] if they hold
    /// more than [`MAX_DATA`] bytes together, [`ImageError::Empty`] if there are none.
    pub fn merge(images: &[Self]) -> Result<Self, ImageError> {
        assemble(images.iter().flat_map(Self::spans).collect())
    }

    /// The blocks, by address.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The number of bytes of data; gaps do not count.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an image is never empty")]
    pub fn len(&self) -> usize {
        self.regions.iter().map(|r| r.data.len()).sum()
    }

    /// From the lowest address to the one after the highest, gaps included.
    #[must_use]
    pub fn span(&self) -> Range<u32> {
        let start = self.regions.first().map_or(0, Region::address);
        start..self.regions.last().map_or(start, Region::end)
    }

    /// The bytes of `range`, if the image has every one of them.
    #[must_use]
    pub fn bytes(&self, range: Range<u32>) -> Option<&[u8]> {
        let region = self.region_at(range.start)?;
        let from = (range.start - region.address) as usize;
        let length = range.end.checked_sub(range.start)? as usize;
        region.data.get(from..from.checked_add(length)?)
    }

    /// Where the byte at `address` came from, if there is one.
    #[must_use]
    pub fn origin(&self, address: u32) -> Option<&Origin> {
        self.region_at(address).map(|region| region.origin(address))
    }

    /// Checks that all data lie in the given address ranges, which may touch but not overlap.
    ///
    /// # Errors
    /// [`ImageError::OutsideFlash`] with the first address that does not, and where it came from.
    pub fn check_fits(&self, flash: &[Range<u32>]) -> Result<(), ImageError> {
        for region in &self.regions {
            let mut address = region.address;
            while address < region.end() {
                let Some(range) = flash.iter().find(|r| r.contains(&address)) else {
                    let origin = region.origin(address).clone();
                    return Err(ImageError::OutsideFlash { address, origin, flash: flash.to_vec() });
                };
                address = range.end;
            }
        }
        Ok(())
    }

    /// This image with every gap inside `range` filled with `byte`.
    ///
    /// # Errors
    /// [`ImageError::TooSparse`] if that makes more than [`MAX_DATA`] bytes.
    pub fn fill(&self, range: Range<u32>, byte: u8) -> Result<Self, ImageError> {
        let gaps = self.gaps(range.clone());
        let missing: usize = gaps.iter().map(|gap| gap.len()).sum();
        if missing.saturating_add(self.len()) > MAX_DATA {
            return Err(ImageError::TooSparse { start: range.start, end: range.end, limit: MAX_DATA });
        }
        let longest = gaps.iter().map(|gap| gap.len()).max().unwrap_or(0);
        let filler = vec![byte; longest];
        let origin = Origin { file: "".into(), place: Place::Fill };
        let fills = gaps.iter().map(|gap| Span {
            address: gap.start,
            data: &filler[..gap.len()],
            origin: origin.clone(),
        });
        assemble(self.spans().chain(fills).collect())
    }

    /// The address ranges inside `range` for which the image has no data, by address.
    #[must_use]
    pub fn gaps(&self, range: Range<u32>) -> Vec<Range<u32>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for region in self.regions.iter().filter(|r| r.end() > range.start && r.address < range.end) {
            if region.address > at {
                gaps.push(at..region.address);
            }
            at = region.end();
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// The image as one raw binary from its lowest address, gaps filled with `byte`.
    ///
    /// # Errors
    /// [`ImageError::TooSparse`] if the gaps make it longer than [`MAX_DATA`].
    pub fn to_bin(&self, byte: u8) -> Result<Vec<u8>, ImageError> {
        let Range { start, end } = self.span();
        let length = (end - start) as usize;
        if length > MAX_DATA {
            return Err(ImageError::TooSparse { start, end, limit: MAX_DATA });
        }
        let mut bin = vec![byte; length];
        for region in &self.regions {
            let from = (region.address - start) as usize;
            bin[from..from + region.data.len()].copy_from_slice(&region.data);
        }
        Ok(bin)
    }

    /// The data in pieces of at most `length` bytes that cross no multiple of `length` (a power of two), as
    /// the writers of text formats want them.
    pub(crate) fn lines(&self, length: usize) -> impl Iterator<Item = (u32, &[u8])> {
        self.regions.iter().flat_map(move |region| {
            let first = length - region.address as usize % length;
            let (head, rest) = region.data.split_at(first.min(region.data.len()));
            std::iter::once(head).chain(rest.chunks(length)).scan(region.address, |next, data| {
                let address = *next;
                *next += data.len() as u32;
                Some((address, data))
            })
        })
    }

    fn region_at(&self, address: u32) -> Option<&Region> {
        let after = self.regions.partition_point(|r| r.address <= address);
        let region = &self.regions[after.checked_sub(1)?];
        (address < region.end()).then_some(region)
    }

    fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        self.regions.iter().flat_map(|region| {
            let ends = region.pieces.iter().skip(1).map(|p| p.address).chain([region.end()]);
            region.pieces.iter().zip(ends).map(|(piece, end)| Span {
                address: piece.address,
                data: &region.data
                    [(piece.address - region.address) as usize..(end - region.address) as usize],
                origin: piece.origin.clone(),
            })
        })
    }
}

impl Region {
    /// The address of the first byte.
    #[must_use]
    pub const fn address(&self) -> u32 {
        self.address
    }

    /// The address after the last byte.
    #[must_use]
    pub fn end(&self) -> u32 {
        // `Builder::push` refuses data for which this would overflow.
        self.address + self.data.len() as u32
    }

    /// The bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, to be kept beyond the image without a copy.
    #[must_use]
    pub fn shared(&self) -> Arc<[u8]> {
        self.data.clone()
    }

    /// The CRC-32 of the bytes; see [`crc32`].
    #[must_use]
    pub fn crc32(&self) -> u32 {
        crc32(&self.data)
    }

    /// The SHA-256 of the bytes.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.data)
    }

    /// Where the byte at `address` came from; addresses outside count as the nearest end.
    fn origin(&self, address: u32) -> &Origin {
        let after = self.pieces.partition_point(|p| p.address <= address);
        &self.pieces[after.saturating_sub(1)].origin
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.data == other.data
    }
}

impl Eq for Region {}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}..{:#010x} crc {:#010x}", self.address, self.end(), self.crc32())
    }
}

/// CRC-32/ISO-HDLC (the one of zlib and Ethernet) of some bytes.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    const CRC: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(bytes)
}

/// SHA-256 (FIPS 180-4) of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

/// Collects the blocks of one file in any order, with the limits on size and address.
pub(crate) struct Builder {
    file: Arc<str>,
    data: Vec<u8>,
    chunks: Vec<Chunk>,
}

struct Chunk {
    address: u32,
    /// Where the chunk begins in `data`; it ends where the next begins.
    start: usize,
    place: Place,
}

impl Builder {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        let file: Arc<str> = name.into();
        if bytes.len() > MAX_FILE {
            return Err(ImageError::TooLarge { file, limit: MAX_FILE });
        }
        Ok(Self { file, data: Vec::new(), chunks: Vec::new() })
    }

    pub(crate) const fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub(crate) fn push(&mut self, address: u32, data: &[u8], place: Place) -> Result<(), ImageError> {
        if data.len() > MAX_DATA - self.data.len() {
            return Err(ImageError::TooLarge { file: self.file.clone(), limit: MAX_DATA });
        }
        if data.len() > (u32::MAX - address) as usize {
            let origin = Origin { file: self.file.clone(), place };
            return Err(ImageError::PastAddressSpace { origin, address, length: data.len() });
        }
        if !data.is_empty() {
            self.chunks.push(Chunk { address, start: self.data.len(), place });
            self.data.extend_from_slice(data);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Image, ImageError> {
        let Self { file, data, chunks } = self;
        if chunks.is_empty() {
            return Err(ImageError::Empty { file });
        }
        let ends = chunks.iter().skip(1).map(|c| c.start).chain([data.len()]);
        let spans = chunks.iter().zip(ends).map(|(chunk, end)| Span {
            address: chunk.address,
            data: &data[chunk.start..end],
            origin: Origin { file: file.clone(), place: chunk.place },
        });
        assemble(spans.collect())
    }
}

/// A block with one origin, on its way into an image. Never empty.
struct Span<'a> {
    address: u32,
    data: &'a [u8],
    origin: Origin,
}

impl Span<'_> {
    fn end(&self) -> u32 {
        self.address + self.data.len() as u32
    }
}

/// Sorts blocks, refuses overlaps, joins those that touch.
fn assemble(mut spans: Vec<Span<'_>>) -> Result<Image, ImageError> {
    spans.sort_by_key(|span| span.address);
    let mut total = 0;
    for span in &spans {
        total += span.data.len();
        if total > MAX_DATA {
            return Err(ImageError::TooLarge { file: span.origin.file.clone(), limit: MAX_DATA });
        }
    }
    for pair in spans.windows(2) {
        let [low, high] = pair else { continue };
        if high.address < low.end() {
            let (first, second) = (low.origin.clone(), high.origin.clone());
            return Err(ImageError::Overlap { address: high.address, first, second });
        }
    }
    let regions: Vec<_> = spans.chunk_by(|low, high| low.end() == high.address).map(join).collect();
    if regions.is_empty() { Err(ImageError::Empty { file: "".into() }) } else { Ok(Image { regions }) }
}

fn join(spans: &[Span<'_>]) -> Region {
    let pieces = spans.iter().map(|s| Piece { address: s.address, origin: s.origin.clone() }).collect();
    let data: Vec<u8> = spans.iter().flat_map(|s| s.data).copied().collect();
    Region { address: spans[0].address, data: data.into(), pieces }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
