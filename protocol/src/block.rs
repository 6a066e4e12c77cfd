//! Blocks: what the host sends that is longer than a frame, in six-byte parts closed by length and CRC-32.
//!
//! Parts carry their position, so order, repetition and retransmission are harmless; a node uses a block only
//! after [`crate::message::Control::BlockEnd`] has proved it whole. The mapping of an image to numbered
//! segments lives here too, because both ends must agree on it to the byte.

use crate::bytes::{Reader, Writer};
use crate::message::SEGMENT;
use crate::node::KeyKind;
use crate::sha256::Sha256;

/// Regions in one image.
pub const MAX_REGIONS: usize = 8;
/// Longest block in bytes.
pub const MAX_BLOCK: usize = 384;
/// Longest identity region or option write in bytes.
pub const MAX_WRITE: usize = 256;
const LAYOUT: u8 = 1;
/// Offset of the regions' table in an encoded begin block.
const REGION_TABLE: usize = 6;

bitflags::bitflags! {
    /// How a session treats what is already in flash. Unknown bits survive.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct BeginFlags: u8 {
        /// Compare flash with the manifest first and ask only for what differs.
        const COMPARE = 1 << 0;
        /// A [`Seal`] follows the regions.
        const SEALED = 1 << 1;
        /// The host waits at Commit until an image in a second slot is installed: a board that has one may use it.
        const STAGE = 1 << 2;
        const _ = !0;
    }
}

/// One contiguous piece of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Flash address, a multiple of the flash's unit.
    pub address: u32,
    /// Length in bytes, a multiple of the flash's unit.
    pub len: u32,
    /// CRC-32 (ISO-HDLC) over it.
    pub crc: u32,
    /// SHA-256 over it.
    pub sha256: [u8; 32],
}

impl Region {
    /// Segments that this region takes.
    #[must_use]
    pub const fn segments(&self) -> u32 {
        self.len.div_ceil(SEGMENT as u32)
    }

    /// Whether so many bytes from `address` on belong to it.
    pub(crate) const fn contains(&self, address: u32, len: u32) -> bool {
        address >= self.address
            && address - self.address < self.len
            && self.len - (address - self.address) >= len
    }

    /// Bytes of one line of the table.
    pub(crate) const BYTES: usize = 44;

    /// Writes its line of the table.
    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.address).u32(self.len).u32(self.crc).put(&self.sha256);
    }

    /// Reads its line of the table.
    pub(crate) fn read(&mut self, r: &mut Reader<'_>) {
        (self.address, self.len, self.crc) = (r.u32(), r.u32(), r.u32());
        r.fill(&mut self.sha256);
    }

    pub(crate) const EMPTY: Self = Self { address: 0, len: 0, crc: 0, sha256: [0; 32] };
}

/// Bytes that the signature of a [`Seal`] covers.
pub const SEALED: usize = 60;
/// Regions of an image with a [`Seal`]: more do not fit into the begin block with it.
pub const MAX_SEALED_REGIONS: usize = 6;
/// What the signed bytes begin with, so that the signature means nothing anywhere else.
const SEAL_CONTEXT: [u8; 16] = *b"panelflash seal1";

/// Who made an image and how old it is: what a board with the product's public key asks for before it takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Release counter of the image, higher for every release.
    pub counter: u32,
    /// Once this image is in, the board takes no image with a counter below this one.
    pub floor: u32,
    /// Ed25519 (RFC 8032) over [`Seal::message`].
    pub signature: [u8; 64],
}

impl Seal {
    /// Bytes of it in the begin block.
    const BYTES: usize = 72;

    /// What is signed: context, chip, counter, floor, image ID.
    #[must_use]
    pub fn message(device_id: u16, counter: u32, floor: u32, image_id: &[u8; 32]) -> [u8; SEALED] {
        let mut bytes = [0; SEALED];
        let mut w = Writer::new(&mut bytes);
        w.put(&SEAL_CONTEXT).u16(device_id).u16(0).u32(counter).u32(floor).put(image_id);
        bytes
    }

    /// Writes it.
    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.counter).u32(self.floor).put(&self.signature);
    }

    /// Reads it.
    fn read(r: &mut Reader<'_>) -> Self {
        let mut seal = Self { counter: r.u32(), floor: r.u32(), signature: [0; 64] };
        r.fill(&mut seal.signature);
        seal
    }
}

/// The image of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Number of the session, told apart from the one before.
    pub session: u8,
    /// How to treat what is in flash.
    pub flags: BeginFlags,
    /// The chip it is for (DBGMCU device ID).
    pub device_id: u16,
    regions: [Region; MAX_REGIONS],
    count: u8,
    seal: Option<Seal>,
}

/// Where a segment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentPlace {
    /// Region number.
    pub region: u8,
    /// Flash address.
    pub address: u32,
    /// Bytes of image in it, `1..=SEGMENT`.
    pub len: u16,
}

impl Begin {
    /// A session for an image of 1..=[`MAX_REGIONS`] regions; `None` for any other number.
    #[must_use]
    pub fn new(session: u8, flags: BeginFlags, device_id: u16, regions: &[Region]) -> Option<Self> {
        if regions.is_empty() || regions.len() > MAX_REGIONS {
            return None;
        }
        let mut all = [Region::EMPTY; MAX_REGIONS];
        all[..regions.len()].copy_from_slice(regions);
        let flags = flags.difference(BeginFlags::SEALED); // nobody but `sealed` sets it
        Some(Self { session, flags, device_id, regions: all, count: regions.len() as u8, seal: None })
    }

    /// The same image under this seal; `None` if it has more than [`MAX_SEALED_REGIONS`] regions.
    #[must_use]
    pub fn sealed(mut self, seal: Seal) -> Option<Self> {
        self.flags |= BeginFlags::SEALED;
        self.seal = Some(seal);
        (usize::from(self.count) <= MAX_SEALED_REGIONS).then_some(self)
    }

    /// Its seal, if it has one.
    #[must_use]
    pub const fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// The regions, in the order of their segments.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        self.regions.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Number of segments in the image.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.regions().iter().map(Region::segments).fold(0, u32::saturating_add)
    }

    /// Where segment `n` lies; every region begins a new segment.
    #[must_use]
    pub fn place(&self, n: u32) -> Option<SegmentPlace> {
        let mut left = n;
        for (i, region) in self.regions().iter().enumerate() {
            if left < region.segments() {
                let offset = left * SEGMENT as u32;
                return Some(SegmentPlace {
                    region: i as u8,
                    address: region.address + offset,
                    len: (region.len - offset).min(SEGMENT as u32) as u16,
                });
            }
            left -= region.segments();
        }
        None
    }

    /// First segment of a region.
    #[must_use]
    pub fn first_segment(&self, region: u8) -> u32 {
        self.regions().iter().take(region.into()).map(Region::segments).fold(0, u32::saturating_add)
    }

    /// The image ID, as it stands in a board's image record: SHA-256 over the regions' table.
    #[must_use]
    pub fn image_id(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for region in self.regions() {
            let mut line = [0; Region::BYTES];
            region.write(&mut Writer::new(&mut line));
            hash.update(&line);
        }
        hash.finish()
    }

    /// The block's bytes; returns how many of `out` are used.
    pub fn encode(&self, out: &mut [u8; MAX_BLOCK]) -> usize {
        let mut w = Writer::new(out);
        w.u8(LAYOUT).u8(self.session).u8(self.flags.bits()).u8(self.count).u16(self.device_id);
        self.regions().iter().for_each(|region| region.write(&mut w));
        if let Some(seal) = &self.seal {
            seal.write(&mut w);
        }
        w.len()
    }

    /// The session in a block's bytes, or `None` if they are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut begin = Self::NONE;
        begin.read(bytes).then_some(begin)
    }

    /// No session, for [`Self::read`] to be called on.
    pub(crate) const NONE: Self = Self {
        session: 0,
        flags: BeginFlags::empty(),
        device_id: 0,
        regions: [Region::EMPTY; MAX_REGIONS],
        count: 0,
        seal: None,
    };

    /// Its regions, so many from now on, to be written; `None` if an image cannot have so many.
    pub(crate) fn regions_mut(&mut self, count: u8) -> Option<&mut [Region]> {
        self.count = count;
        self.regions.get_mut(..usize::from(count)).filter(|regions| !regions.is_empty())
    }

    /// Becomes the session in a block's bytes; false if they are not one, and then it is worth nothing.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> bool {
        let r = &mut Reader::new(bytes);
        let layout = r.u8();
        self.session = r.u8();
        self.flags = BeginFlags::from_bits_retain(r.u8());
        let count = r.u8();
        self.device_id = r.u16();
        let Some(regions) = self.regions_mut(count) else { return false };
        let mut whole = layout == LAYOUT;
        for region in regions {
            region.read(r);
            whole &= region.len != 0 && region.address.checked_add(region.len).is_some();
        }
        self.seal = None;
        if self.flags.contains(BeginFlags::SEALED) {
            self.seal = Some(Seal::read(r));
            whole &= usize::from(self.count) <= MAX_SEALED_REGIONS;
        }
        whole && !r.is_short()
    }
}

/// A write of a few bytes to one board: identity region (`place` is an address) or option bytes (an offset).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// Flash address, or offset in the option area.
    pub place: u32,
    /// The unit may be erased if it is not blank (it never is if image, bootloader or records share it).
    pub may_erase: bool,
    /// The bytes, at most [`MAX_WRITE`].
    pub bytes: &'a [u8],
}

impl<'a> Write<'a> {
    /// The block's bytes; returns how many of `out` are used.
    pub fn encode(&self, out: &mut [u8; MAX_BLOCK]) -> usize {
        let mut w = Writer::new(out);
        w.u32(self.place).u8(self.may_erase.into()).put(&self.bytes[..self.bytes.len().min(MAX_WRITE)]);
        w.len()
    }

    /// The write in a block's bytes, or `None` if they are not one.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let r = &mut Reader::new(bytes);
        let (place, flags) = (r.u32(), r.u8());
        let bytes = r.rest();
        (!bytes.is_empty() && bytes.len() <= MAX_WRITE).then_some(Self {
            place,
            may_erase: flags & 1 != 0,
            bytes,
        })
    }
}

/// Longest common name of a certificate request (X.520, ub-common-name).
pub const MAX_NAME: usize = 64;

/// The key that one board is to make for itself, and the name in its certificate request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MakeKey<'a> {
    /// Kind of key.
    pub kind: KeyKind,
    /// Common name of the request's subject, `1..=MAX_NAME` bytes of printable ASCII.
    pub name: &'a [u8],
}

impl<'a> MakeKey<'a> {
    /// The block's bytes; returns how many of `out` are used.
    pub fn encode(&self, out: &mut [u8; MAX_BLOCK]) -> usize {
        let mut w = Writer::new(out);
        w.u8(self.kind as u8).put(&self.name[..self.name.len().min(MAX_NAME)]);
        w.len()
    }

    /// The wish in a block's bytes, or `None` if they are not one.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, name) = bytes.split_first()?;
        let kind = KeyKind::from_byte(*kind)?;
        let printable = name.iter().all(|b| (b' '..=b'~').contains(b));
        (printable && (1..=MAX_NAME).contains(&name.len())).then_some(Self { kind, name })
    }
}

const _: () = assert!(REGION_TABLE + MAX_REGIONS * Region::BYTES <= MAX_BLOCK && 5 + MAX_WRITE <= MAX_BLOCK);
const _: () = assert!(REGION_TABLE + MAX_SEALED_REGIONS * Region::BYTES + Seal::BYTES <= MAX_BLOCK);

#[cfg(test)]
mod tests {
    use super::*;

    fn region(address: u32, len: u32) -> Region {
        Region { address, len, crc: 0xDEAD_BEEF, sha256: [7; 32] }
    }

    #[test]
    fn segments_follow_regions_without_sharing() {
        let begin = Begin::new(
            1,
            BeginFlags::COMPARE,
            0x413,
            &[region(0x0800_8000, 2050), region(0x0802_0000, 4096)],
        )
        .expect("two regions");
        assert_eq!(begin.segments(), 4);
        assert_eq!(begin.place(1), Some(SegmentPlace { region: 0, address: 0x0800_8800, len: 2 }));
        assert_eq!(begin.place(2), Some(SegmentPlace { region: 1, address: 0x0802_0000, len: 2048 }));
        assert_eq!(begin.place(4), None);
        assert_eq!(begin.first_segment(1), 2);
    }

    #[test]
    fn a_begin_block_survives_the_journey_and_nothing_shorter_does() {
        let begin =
            Begin::new(9, BeginFlags::empty(), 0x413, &[region(0x0800_8000, 2048)]).expect("one region");
        let mut out = [0; MAX_BLOCK];
        let len = begin.encode(&mut out);
        assert_eq!(Begin::decode(&out[..len]), Some(begin));
        assert!((0..len).all(|n| Begin::decode(&out[..n]).is_none()));
    }
}
