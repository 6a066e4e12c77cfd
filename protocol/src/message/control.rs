//! What the host tells one node or all: one opcode, a few fields, one classical frame.
//!
//! Invariant: an opcode is never used again and a layout never changes (`tests/golden` holds them).

use super::{BLOCK_PART, ChunkRange, Payload, Wrong};
use crate::bytes::Writer;
use crate::frame::Frame;
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

/// Byte 0 of a payload.
pub(crate) mod op {
    pub(crate) const DISCOVER: u8 = 0x01;
    pub(crate) const ASSIGN: u8 = 0x02;
    pub(crate) const SPLIT: u8 = 0x03;
    pub(crate) const ANNOUNCE: u8 = 0x04;
    pub(crate) const RELEASE: u8 = 0x05;
    pub(crate) const IDENTIFY: u8 = 0x10;
    pub(crate) const BLOCK_DATA: u8 = 0x11;
    pub(crate) const BLOCK_END: u8 = 0x12;
    pub(crate) const MANIFEST: u8 = 0x13;
    pub(crate) const START: u8 = 0x14;
    pub(crate) const SEEK: u8 = 0x20;
    pub(crate) const CENSUS: u8 = 0x21;
    pub(crate) const QUERY_MISSING: u8 = 0x22;
    pub(crate) const VERIFY: u8 = 0x30;
    pub(crate) const DIGEST: u8 = 0x31;
    pub(crate) const COMMIT: u8 = 0x32;
    pub(crate) const ABORT: u8 = 0x33;
    pub(crate) const READ: u8 = 0x34;
    pub(crate) const SET_PROTECTION: u8 = 0x35;
    pub(crate) const TEST: u8 = 0x36;
    pub(crate) const START_APPLICATION: u8 = 0x37;
    pub(crate) const RESET: u8 = 0x38;
    pub(crate) const STATISTICS: u8 = 0x39;
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

    /// The control in a frame.
    pub(super) fn decode(frame: &Frame) -> Result<Self, Wrong> {
        Self::of(&Payload::new(frame)?).ok_or(Wrong::Field)
    }

    /// The control of a whole payload; `None` if a field has a value it cannot have.
    fn of(p: &Payload<'_>) -> Option<Self> {
        Some(match p.opcode() {
            op::DISCOVER => Self::Discover { min: p.u8(1), current: p.u8(2), restart: p.u8(3) & 1 != 0 },
            op::ASSIGN => Self::Assign { first: p.node(1)?, keys: p.keys() },
            op::SPLIT => Self::Split { from: p.node(1)?, piece: p.u8(2), bits: p.u16(3), to: p.node(5)? },
            op::ANNOUNCE => Self::Announce,
            op::RELEASE => Self::Release,
            op::IDENTIFY => Self::Identify(match p.u8(1) {
                0 => IdentifyPart::Info,
                1 => IdentifyPart::Profile,
                _ => return None,
            }),
            op::BLOCK_DATA => {
                let part = p.part();
                let mut bytes = [0; BLOCK_PART];
                bytes[..part.len()].copy_from_slice(part);
                Self::BlockData { index: p.u8(1), bytes, len: part.len() as u8 }
            }
            op::BLOCK_END => {
                Self::BlockEnd { kind: BlockKind::from_byte(p.u8(1))?, len: p.u16(2), crc: p.u32(4) }
            }
            op::MANIFEST => Self::Manifest { segment: p.u16(1), crc: p.u32(4) },
            op::START => Self::Start { session: p.u8(1) },
            op::SEEK => Self::Seek(p.seek()?),
            op::CENSUS => Self::Census,
            op::QUERY_MISSING => Self::QueryMissing,
            op::VERIFY => Self::Verify { region: p.u8(1) },
            op::DIGEST => Self::Digest { region: p.u8(1) },
            op::COMMIT => Self::Commit { session: p.u8(1) },
            op::ABORT => Self::Abort,
            op::READ => Self::Read { address: p.u32(1), len: p.u8(5) },
            op::SET_PROTECTION => {
                Self::SetProtection { level: Protection::from_byte(p.u8(1))?, consent: p.u16(2) }
            }
            op::TEST => Self::Test { item: p.u8(1), token: p.u8(2), argument: p.u32(3) },
            op::START_APPLICATION => Self::StartApplication { address: p.u32(1) },
            op::RESET => Self::Reset,
            op::STATISTICS => Self::Statistics,
            _ => return None,
        })
    }
}

impl BlockKind {
    pub(crate) const fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => Self::Begin,
            2 => Self::Identity,
            3 => Self::Options,
            4 => Self::Key,
            _ => return None,
        })
    }
}

impl Seek {
    /// Set beside the segment's number.
    pub(crate) const REPAIR: u16 = 1 << 15;
}

fn encode_seek<'w, 'b>(w: &'w mut Writer<'b>, seek: Seek) -> &'w mut Writer<'b> {
    let Seek { segment, repair, ranges: (a, b) } = seek;
    w.u16(segment & !Seek::REPAIR | if repair { Seek::REPAIR } else { 0 }).u8(a.first).u8(a.last);
    match b {
        Some(b) => w.u8(b.first).u8(b.last),
        None => w,
    }
}

fn key_bytes(key: u32) -> [u8; 3] {
    let [a, b, c, _] = key.to_le_bytes();
    [a, b, c]
}
