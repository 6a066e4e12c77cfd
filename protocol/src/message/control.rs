//! What the host tells one node or all: one opcode, a few fields, one classical frame.
//!
//! Invariant: an opcode is never used again and a layout never changes (`tests/golden` holds them).

use super::{BLOCK_PART, ChunkRange, Wrong, range_of};
use crate::bytes::{Reader, Writer};
use crate::ident::NodeId;
use crate::node::Protection;

/// What a segment's data will be: chunks outside the ranges are blank (0xFF) and are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seek {
    /// Segment number within the session, `0..=0x7FFF`.
    pub segment: u16,
    /// Frames that follow repair an earlier pass; the head of the stream does not move.
    pub repair: bool,
    /// At least one range; the second is absent where one says it all.
    pub ranges: (ChunkRange, Option<ChunkRange>),
}

/// Which part of itself a node is asked to describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum IdentifyPart {
    /// The short [`crate::reply::Info`].
    Info = 0,
    /// The long [`crate::reply::Profile`].
    Profile = 1,
}

/// What a block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockKind {
    /// [`crate::block::Begin`]: the session's image.
    Begin = 1,
    /// Address and bytes of an identity region.
    Identity = 2,
    /// Offset and bytes of option bytes.
    Options = 3,
    /// [`crate::block::MakeKey`]: the key that the board is to make for itself.
    Key = 4,
}

/// Host to one node or to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Nodes without a number answer with their UID key. `restart`: everybody first forgets number and session.
    Discover {
        /// Oldest version the host speaks.
        min: u8,
        /// Newest version the host speaks.
        current: u8,
        /// Forget number and session first.
        restart: bool,
    },
    /// The node with this UID key takes the number `first` (the second key: `first + 1`) and announces itself.
    Assign {
        /// Number for the first key.
        first: NodeId,
        /// One or two UID keys.
        keys: (u32, Option<u32>),
    },
    /// Two nodes share a key and thus a number: the one whose piece reads `bits` takes `to` and announces itself.
    Split {
        /// The shared number.
        from: NodeId,
        /// Which piece tells them apart.
        piece: u8,
        /// Its value in the node that moves.
        bits: u16,
        /// The new number.
        to: NodeId,
    },
    /// Announce UID, nonce and straps again.
    Announce,
    /// Forget the number.
    Release,
    /// Describe yourself.
    Identify(IdentifyPart),
    /// Six bytes of a block at `index * 6`; `len` of them count.
    BlockData {
        /// Position in units of [`BLOCK_PART`] bytes.
        index: u8,
        /// The bytes.
        bytes: [u8; BLOCK_PART],
        /// How many count, `1..=6`.
        len: u8,
    },
    /// The block is complete: check and use it.
    BlockEnd {
        /// What it is for.
        kind: BlockKind,
        /// Its length in bytes.
        len: u16,
        /// CRC-32 (ISO-HDLC) over it.
        crc: u32,
    },
    /// CRC-32 of one segment, padded with 0xFF to [`super::SEGMENT`].
    Manifest {
        /// Segment number.
        segment: u16,
        /// CRC-32 (ISO-HDLC).
        crc: u32,
    },
    /// The manifest is complete: compare if asked to, mark the image incomplete, erase, receive.
    Start {
        /// The session that `Begin` named.
        session: u8,
    },
    /// Data of this segment follows.
    Seek(Seek),
    /// Every node reports its status.
    Census,
    /// Report what is missing.
    QueryMissing,
    /// Report the read-back check of a region as soon as it is known.
    Verify {
        /// Region number.
        region: u8,
    },
    /// Report the SHA-256 of a region's flash.
    Digest {
        /// Region number.
        region: u8,
    },
    /// Write the valid mark.
    Commit {
        /// The session.
        session: u8,
    },
    /// Leave the session; nothing further is written.
    Abort,
    /// Report memory.
    Read {
        /// First address.
        address: u32,
        /// Number of bytes, `1..=192`.
        len: u8,
    },
    /// Set readout protection at the next reset. Level 2 needs [`LEVEL2_CONSENT`].
    SetProtection {
        /// The level.
        level: Protection,
        /// [`LEVEL2_CONSENT`] for level 2, 0 otherwise.
        consent: u16,
    },
    /// Run a test item.
    Test {
        /// Number of the item.
        item: u8,
        /// Comes back with the reading.
        token: u8,
        /// Meaning depends on the item.
        argument: u32,
    },
    /// Start the application at this address.
    StartApplication {
        /// Address of its vector table.
        address: u32,
    },
    /// Reset the chip.
    Reset,
    /// Report bus and session statistics.
    Statistics,
}

/// Must accompany a request for readout protection level 2, which can never be undone.
pub const LEVEL2_CONSENT: u16 = 0x4C32;

mod op {
    pub(super) const DISCOVER: u8 = 0x01;
    pub(super) const ASSIGN: u8 = 0x02;
    pub(super) const SPLIT: u8 = 0x03;
    pub(super) const ANNOUNCE: u8 = 0x04;
    pub(super) const RELEASE: u8 = 0x05;
    pub(super) const IDENTIFY: u8 = 0x10;
    pub(super) const BLOCK_DATA: u8 = 0x11;
    pub(super) const BLOCK_END: u8 = 0x12;
    pub(super) const MANIFEST: u8 = 0x13;
    pub(super) const START: u8 = 0x14;
    pub(super) const SEEK: u8 = 0x20;
    pub(super) const CENSUS: u8 = 0x21;
    pub(super) const QUERY_MISSING: u8 = 0x22;
    pub(super) const VERIFY: u8 = 0x30;
    pub(super) const DIGEST: u8 = 0x31;
    pub(super) const COMMIT: u8 = 0x32;
    pub(super) const ABORT: u8 = 0x33;
    pub(super) const READ: u8 = 0x34;
    pub(super) const SET_PROTECTION: u8 = 0x35;
    pub(super) const TEST: u8 = 0x36;
    pub(super) const START_APPLICATION: u8 = 0x37;
    pub(super) const RESET: u8 = 0x38;
    pub(super) const STATISTICS: u8 = 0x39;
    // 0x3F is reserved for parity (repair) frames.
}

impl Control {
    /// The opcode, as it stands in byte 0 and in a [`crate::reply::Reply::Done`].
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        match self {
            Self::Discover { .. } => op::DISCOVER,
            Self::Assign { .. } => op::ASSIGN,
            Self::Split { .. } => op::SPLIT,
            Self::Announce => op::ANNOUNCE,
            Self::Release => op::RELEASE,
            Self::Identify(_) => op::IDENTIFY,
            Self::BlockData { .. } => op::BLOCK_DATA,
            Self::BlockEnd { .. } => op::BLOCK_END,
            Self::Manifest { .. } => op::MANIFEST,
            Self::Start { .. } => op::START,
            Self::Seek(_) => op::SEEK,
            Self::Census => op::CENSUS,
            Self::QueryMissing => op::QUERY_MISSING,
            Self::Verify { .. } => op::VERIFY,
            Self::Digest { .. } => op::DIGEST,
            Self::Commit { .. } => op::COMMIT,
            Self::Abort => op::ABORT,
            Self::Read { .. } => op::READ,
            Self::SetProtection { .. } => op::SET_PROTECTION,
            Self::Test { .. } => op::TEST,
            Self::StartApplication { .. } => op::START_APPLICATION,
            Self::Reset => op::RESET,
            Self::Statistics => op::STATISTICS,
        }
    }

    /// Writes opcode and fields; returns the length.
    pub(super) fn encode(&self, out: &mut [u8; 8]) -> usize {
        let mut w = Writer::new(out);
        w.u8(self.opcode());
        match *self {
            Self::Discover { min, current, restart } => w.u8(min).u8(current).u8(restart.into()),
            Self::Assign { first, keys: (a, b) } => {
                w.u8(first.get()).put(&key_bytes(a));
                match b {
                    Some(b) => w.put(&key_bytes(b)),
                    None => &mut w,
                }
            }
            Self::Split { from, piece, bits, to } => w.u8(from.get()).u8(piece).u16(bits).u8(to.get()),
            Self::Announce
            | Self::Release
            | Self::Census
            | Self::QueryMissing
            | Self::Abort
            | Self::Reset
            | Self::Statistics => &mut w,
            Self::Identify(part) => w.u8(part as u8),
            Self::BlockData { index, bytes, len } => {
                w.u8(index).put(&bytes[..usize::from(len).min(BLOCK_PART)])
            }
            Self::BlockEnd { kind, len, crc } => w.u8(kind as u8).u16(len).u32(crc),
            Self::Manifest { segment, crc } => w.u16(segment).u8(0).u32(crc),
            Self::Start { session } | Self::Commit { session } => w.u8(session),
            Self::Seek(seek) => encode_seek(&mut w, seek),
            Self::Verify { region } | Self::Digest { region } => w.u8(region),
            Self::Read { address, len } => w.u32(address).u8(len),
            Self::SetProtection { level, consent } => w.u8(level as u8).u16(consent),
            Self::Test { item, token, argument } => w.u8(item).u8(token).u32(argument),
            Self::StartApplication { address } => w.u32(address),
        };
        w.len()
    }

    /// The control in a payload.
    pub(super) fn decode(data: &[u8]) -> Result<Self, Wrong> {
        let r = &mut Reader::new(data);
        let control = Self::read(r);
        if r.is_short() { Err(Wrong::Short) } else { control }
    }

    /// Reads opcode and fields; what comes of a payload that ends too early is worth nothing.
    fn read(r: &mut Reader<'_>) -> Result<Self, Wrong> {
        let opcode = r.u8();
        Ok(match opcode {
            op::DISCOVER => Self::Discover { min: r.u8(), current: r.u8(), restart: r.u8() & 1 != 0 },
            op::ASSIGN => {
                let (first, a) = (node(r)?, key(r));
                let b = if r.rest().is_empty() { None } else { Some(key(r)) };
                Self::Assign { first, keys: (a, b) }
            }
            op::SPLIT => Self::Split { from: node(r)?, piece: r.u8(), bits: r.u16(), to: node(r)? },
            op::ANNOUNCE => Self::Announce,
            op::RELEASE => Self::Release,
            op::IDENTIFY => Self::Identify(match r.u8() {
                0 => IdentifyPart::Info,
                1 => IdentifyPart::Profile,
                _ => return Err(Wrong::Field),
            }),
            op::BLOCK_DATA => {
                let index = r.u8();
                let part = r.take(r.rest().len().clamp(1, BLOCK_PART));
                let mut bytes = [0; BLOCK_PART];
                bytes.iter_mut().zip(part).for_each(|(place, &byte)| *place = byte);
                Self::BlockData { index, bytes, len: part.len() as u8 }
            }
            op::BLOCK_END => Self::BlockEnd {
                kind: BlockKind::from_byte(r.u8()).ok_or(Wrong::Field)?,
                len: r.u16(),
                crc: r.u32(),
            },
            op::MANIFEST => {
                let segment = r.u16();
                r.u8();
                Self::Manifest { segment, crc: r.u32() }
            }
            op::START => Self::Start { session: r.u8() },
            op::SEEK => Self::Seek(read_seek(r)?),
            op::CENSUS => Self::Census,
            op::QUERY_MISSING => Self::QueryMissing,
            op::VERIFY => Self::Verify { region: r.u8() },
            op::DIGEST => Self::Digest { region: r.u8() },
            op::COMMIT => Self::Commit { session: r.u8() },
            op::ABORT => Self::Abort,
            op::READ => Self::Read { address: r.u32(), len: r.u8() },
            op::SET_PROTECTION => Self::SetProtection {
                level: match r.u8() {
                    0 => Protection::Open,
                    1 => Protection::Level1,
                    2 => Protection::Level2,
                    _ => return Err(Wrong::Field),
                },
                consent: r.u16(),
            },
            op::TEST => Self::Test { item: r.u8(), token: r.u8(), argument: r.u32() },
            op::START_APPLICATION => Self::StartApplication { address: r.u32() },
            op::RESET => Self::Reset,
            op::STATISTICS => Self::Statistics,
            _ => return Err(Wrong::Opcode),
        })
    }
}

impl BlockKind {
    const fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => Self::Begin,
            2 => Self::Identity,
            3 => Self::Options,
            4 => Self::Key,
            _ => return None,
        })
    }
}

const REPAIR: u16 = 1 << 15;

fn encode_seek<'w, 'b>(w: &'w mut Writer<'b>, seek: Seek) -> &'w mut Writer<'b> {
    let Seek { segment, repair, ranges: (a, b) } = seek;
    w.u16(segment & !REPAIR | if repair { REPAIR } else { 0 }).u8(a.first).u8(a.last);
    match b {
        Some(b) => w.u8(b.first).u8(b.last),
        None => w,
    }
}

fn read_seek(r: &mut Reader<'_>) -> Result<Seek, Wrong> {
    let segment = r.u16();
    let a = range_of(r)?;
    let b = if r.rest().is_empty() { None } else { Some(range_of(r)?) };
    Ok(Seek { segment: segment & !REPAIR, repair: segment & REPAIR != 0, ranges: (a, b) })
}

fn key_bytes(key: u32) -> [u8; 3] {
    let [a, b, c, _] = key.to_le_bytes();
    [a, b, c]
}

fn key(r: &mut Reader<'_>) -> u32 {
    let [a, b, c] = r.array();
    u32::from_le_bytes([a, b, c, 0])
}

fn node(r: &mut Reader<'_>) -> Result<NodeId, Wrong> {
    NodeId::new(r.u8()).ok_or(Wrong::Field)
}
