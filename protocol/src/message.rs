//! Messages that fit in one classical frame: the host's control and data, the nodes' urgent words and status.
//!
//! Every message is idempotent or harmless when repeated, so that a lost answer is cured by asking again. All
//! numbers are little-endian. Payload byte 0 is the opcode wherever the identifier does not say everything.
//! Longer things travel as blocks ([`crate::block`], host to node) and replies ([`crate::reply`], node to host).

use crate::bytes::{Reader, Short, Writer};
use crate::frame::{Frame, Id};
use crate::ident::{Channel, DataPosition, NodeId};
use crate::node::Protection;

/// Bytes of image in one segment: the unit of manifest, window and repair.
pub const SEGMENT: usize = 2048;
/// Image bytes in a classical data frame.
pub const CHUNK_CLASSICAL: usize = 8;
/// Image bytes in an FD data frame.
pub const CHUNK_FD: usize = 64;
/// Chunk numbers that fit in one [`NodeMessage::Missing`].
pub const MISSING_LIST: usize = 6;
/// Payload bytes of one [`Control::BlockData`].
pub const BLOCK_PART: usize = 6;

/// An inclusive run of chunk indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRange {
    /// First chunk.
    pub first: u8,
    /// Last chunk, not before `first`.
    pub last: u8,
}

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
    /// CRC-32 of one segment, padded with 0xFF to [`SEGMENT`].
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

/// Payload of [`HostMessage::Stop`]: a faulty board that floods identifier 000 with anything else stops nobody.
pub const STOP_WORD: [u8; 4] = *b"STOP";
/// Follows the number in the payload of [`HostMessage::Silence`], for the same reason.
pub const SILENCE_WORD: [u8; 4] = *b"HUSH";

/// Must accompany a request for readout protection level 2, which can never be undone.
pub const LEVEL2_CONSENT: u16 = 0x4C32;

/// Anything the host sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostMessage<'a> {
    /// Abandon everything.
    Stop,
    /// This node falls silent until it is reset.
    Silence(NodeId),
    /// Control to one node, or to all.
    Control(Option<NodeId>, Control),
    /// Image data.
    Data(DataPosition, &'a [u8]),
}

/// What went wrong in a node's flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeFault {
    /// The flash controller reported an erase error.
    EraseFailed = 1,
    /// An erase took longer than the datasheet's maximum.
    EraseTooSlow = 2,
    /// The flash controller reported a programming error.
    ProgramFailed = 3,
    /// Programming took longer than the datasheet's maximum.
    ProgramTooSlow = 4,
    /// A byte read back differs from the byte programmed.
    ReadbackDiffers = 5,
    /// The image record could not be written.
    RecordFailed = 6,
}

/// An error with its place: a node sends it once when it fails and again on every census.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorReport {
    /// What went wrong.
    pub fault: NodeFault,
    /// Flash address.
    pub address: u32,
    /// Expected byte (read-back), else 0.
    pub expected: u8,
    /// Byte found (read-back), else 0.
    pub got: u8,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum NodeState {
    /// Has a number, no session.
    Idle = 1,
    /// Has a session, collects the manifest.
    Manifest = 2,
    /// Compares its flash with the manifest.
    Comparing = 3,
    /// Erases, receives, programs.
    Receiving = 4,
    /// Every segment is in flash; the read-back check may still run.
    Programmed = 5,
    /// The valid mark is written.
    Committed = 6,
    /// An error was reported; the session is over for this node.
    Failed = 7,
}

bitflags::bitflags! {
    /// Details of a [`Status`]. Unknown bits survive.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct StatusFlags: u8 {
        /// The node asks the host to pause.
        const HOLDING = 1 << 0;
        /// An erase is running.
        const ERASING = 1 << 1;
        /// The flash is busy.
        const FLASH_BUSY = 1 << 2;
        /// Every manifest entry is known.
        const MANIFEST_COMPLETE = 1 << 3;
        /// Every region reads back as the manifest says.
        const VERIFIED = 1 << 4;
        const _ = !0;
    }
}

/// A node's answer to a census.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Where the node stands.
    pub state: NodeState,
    /// Details.
    pub flags: StatusFlags,
    /// Segments not yet whole in RAM or flash.
    pub missing: u16,
    /// Segments programmed.
    pub programmed: u16,
    /// Free segment buffers.
    pub free: u8,
    /// [`NodeFault`] if `state` is failed, else 0.
    pub detail: u8,
}

/// Why a node refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The image is for another chip.
    WrongChip = 1,
    /// An address is outside the flash.
    OutsideFlash = 2,
    /// An address belongs to the bootloader or its records.
    Reserved = 3,
    /// Length or CRC of a block is wrong.
    BadBlock = 4,
    /// More segments or regions than the node can keep track of.
    TooLarge = 5,
    /// The manifest has gaps.
    ManifestIncomplete = 6,
    /// Not in this state.
    WrongState = 7,
    /// The chip is protected.
    Protected = 8,
    /// The place is not blank and may not be erased.
    NotBlank = 9,
    /// The node cannot do this.
    Unsupported = 10,
    /// Address or length does not fit the flash's unit.
    Unaligned = 11,
    /// Level 2 without consent.
    NoConsent = 12,
    /// A region does not read back as the manifest says.
    NotVerified = 13,
    /// The flash refused.
    Flash = 14,
}

/// Anything a node sends in one frame, besides discovery answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeMessage {
    /// Pause the data: so many segment buffers are free.
    Hold {
        /// Free segment buffers.
        free: u8,
    },
    /// Go on.
    Resume,
    /// This node has failed.
    Error(ErrorReport),
    /// These whole segments are missing.
    MissingSegments {
        /// First of them.
        first: u16,
        /// How many.
        count: u16,
    },
    /// These chunks of one segment are missing.
    MissingSpan {
        /// The segment.
        segment: u16,
        /// The chunks.
        chunks: ChunkRange,
    },
    /// These chunks of one segment are missing.
    Missing {
        /// The segment.
        segment: u16,
        /// Chunk numbers; `len` of them count.
        chunks: [u8; MISSING_LIST],
        /// How many count, `1..=6`.
        len: u8,
    },
    /// Answer to a census.
    Status(Status),
    /// Seven bytes of a reply.
    ReplyPart {
        /// Number of the part, `0..=127`.
        sequence: u8,
        /// No part follows.
        last: bool,
        /// The bytes; `len` of them count.
        bytes: [u8; 7],
        /// How many count, `0..=7`.
        len: u8,
    },
}

/// Why a frame is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The plan gives the identifier to nobody, or not to this side.
    #[error("identifier {0:?} is not one of this side's")]
    Identifier(Id),
    /// Unknown opcode: perhaps a newer version.
    #[error("unknown opcode {0:#04x}")]
    Opcode(u8),
    /// The payload ends too early.
    #[error("payload of {0} bytes is too short")]
    Short(u8),
    /// A field has a value it cannot have.
    #[error("field {field} cannot be {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// The value found.
        value: u32,
    },
}

const fn field(field: &'static str, value: u32) -> DecodeError {
    DecodeError::Field { field, value }
}

impl HostMessage<'_> {
    /// The frame of this message; data longer than 8 bytes goes in an FD frame.
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        let mut buffer = [0; 8];
        let (channel, len) = match *self {
            Self::Stop => (Channel::Stop, Writer::new(&mut buffer).put(&STOP_WORD).len()),
            Self::Silence(node) => {
                (Channel::Silence, Writer::new(&mut buffer).u8(node.get()).put(&SILENCE_WORD).len())
            }
            Self::Control(to, control) => {
                (to.map_or(Channel::ControlAll, Channel::Control), control.encode(&mut buffer))
            }
            Self::Data(position, bytes) => return data_frame(position, bytes),
        };
        Frame::classical(channel.id(), &buffer[..len]).unwrap_or_else(|| Frame::empty(channel.id()))
    }

    /// The message in a frame from the host.
    ///
    /// # Errors
    /// [`DecodeError`]; nodes ignore such frames.
    pub fn decode(frame: &Frame) -> Result<HostMessage<'_>, DecodeError> {
        let data = frame.data();
        let short = |Short| DecodeError::Short(data.len() as u8);
        match Channel::of(frame.id()) {
            Some(Channel::Data(position)) => Ok(HostMessage::Data(position, data)),
            Some(Channel::Stop) => {
                check_word(&mut Reader(data), STOP_WORD).map_err(|e| e.unwrap_or_else(|| short(Short)))?;
                Ok(HostMessage::Stop)
            }
            Some(Channel::Silence) => {
                let mut r = Reader(data);
                let n = r.u8().map_err(short)?;
                check_word(&mut r, SILENCE_WORD).map_err(|e| e.unwrap_or_else(|| short(Short)))?;
                NodeId::new(n).map(HostMessage::Silence).ok_or_else(|| field("node", n.into()))
            }
            Some(Channel::ControlAll) => Ok(HostMessage::Control(None, Control::decode(data)?)),
            Some(Channel::Control(node)) => Ok(HostMessage::Control(Some(node), Control::decode(data)?)),
            _ => Err(DecodeError::Identifier(frame.id())),
        }
    }
}

/// `Err(None)` stands for a short payload.
fn check_word(r: &mut Reader<'_>, word: [u8; 4]) -> Result<(), Option<DecodeError>> {
    let got: [u8; 4] = r.array().map_err(|Short| None)?;
    if got == word { Ok(()) } else { Err(Some(field("word", u32::from_be_bytes(got)))) }
}

fn data_frame(position: DataPosition, bytes: &[u8]) -> Frame {
    let id = Channel::Data(position).id();
    let bytes = &bytes[..bytes.len().min(CHUNK_FD)];
    Frame::classical(id, bytes).or_else(|| Frame::fd(id, bytes)).unwrap_or_else(|| Frame::empty(id))
}

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

    pub(super) const HOLD: u8 = 0x01;
    pub(super) const RESUME: u8 = 0x02;
    pub(super) const ERROR: u8 = 0x03;
    pub(super) const MISSING_SEGMENTS: u8 = 0x04;
    pub(super) const MISSING_SPAN: u8 = 0x05;
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
    fn encode(&self, out: &mut [u8; 8]) -> usize {
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

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader(data);
        Self::read(&mut r).map_err(|e| e.unwrap_or(DecodeError::Short(data.len() as u8)))
    }

    /// `Err(None)` stands for a short payload.
    fn read(r: &mut Reader<'_>) -> Result<Self, Option<DecodeError>> {
        let short = |Short| None;
        let opcode = r.u8().map_err(short)?;
        Ok(match opcode {
            op::DISCOVER => Self::Discover {
                min: r.u8().map_err(short)?,
                current: r.u8().map_err(short)?,
                restart: r.u8().map_err(short)? & 1 != 0,
            },
            op::ASSIGN => {
                let first = node(r)?;
                let a = key(r).map_err(short)?;
                let b = if r.0.is_empty() { None } else { Some(key(r).map_err(short)?) };
                Self::Assign { first, keys: (a, b) }
            }
            op::SPLIT => {
                let from = node(r)?;
                let piece = r.u8().map_err(short)?;
                Self::Split { from, piece, bits: r.u16().map_err(short)?, to: node(r)? }
            }
            op::ANNOUNCE => Self::Announce,
            op::RELEASE => Self::Release,
            op::IDENTIFY => Self::Identify(match r.u8().map_err(short)? {
                0 => IdentifyPart::Info,
                1 => IdentifyPart::Profile,
                other => return Err(Some(field("part", other.into()))),
            }),
            op::BLOCK_DATA => {
                let index = r.u8().map_err(short)?;
                let len = r.0.len().min(BLOCK_PART);
                let mut bytes = [0; BLOCK_PART];
                bytes[..len].copy_from_slice(r.take(len).map_err(short)?);
                if len == 0 {
                    return Err(None);
                }
                Self::BlockData { index, bytes, len: len as u8 }
            }
            op::BLOCK_END => Self::BlockEnd {
                kind: match r.u8().map_err(short)? {
                    1 => BlockKind::Begin,
                    2 => BlockKind::Identity,
                    3 => BlockKind::Options,
                    other => return Err(Some(field("kind", other.into()))),
                },
                len: r.u16().map_err(short)?,
                crc: r.u32().map_err(short)?,
            },
            op::MANIFEST => {
                let segment = r.u16().map_err(short)?;
                r.u8().map_err(short)?;
                Self::Manifest { segment, crc: r.u32().map_err(short)? }
            }
            op::START => Self::Start { session: r.u8().map_err(short)? },
            op::SEEK => Self::Seek(read_seek(r)?),
            op::CENSUS => Self::Census,
            op::QUERY_MISSING => Self::QueryMissing,
            op::VERIFY => Self::Verify { region: r.u8().map_err(short)? },
            op::DIGEST => Self::Digest { region: r.u8().map_err(short)? },
            op::COMMIT => Self::Commit { session: r.u8().map_err(short)? },
            op::ABORT => Self::Abort,
            op::READ => Self::Read { address: r.u32().map_err(short)?, len: r.u8().map_err(short)? },
            op::SET_PROTECTION => Self::SetProtection {
                level: match r.u8().map_err(short)? {
                    0 => Protection::Open,
                    1 => Protection::Level1,
                    2 => Protection::Level2,
                    other => return Err(Some(field("level", other.into()))),
                },
                consent: r.u16().map_err(short)?,
            },
            op::TEST => Self::Test {
                item: r.u8().map_err(short)?,
                token: r.u8().map_err(short)?,
                argument: r.u32().map_err(short)?,
            },
            op::START_APPLICATION => Self::StartApplication { address: r.u32().map_err(short)? },
            op::RESET => Self::Reset,
            op::STATISTICS => Self::Statistics,
            other => return Err(Some(DecodeError::Opcode(other))),
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

fn read_seek(r: &mut Reader<'_>) -> Result<Seek, Option<DecodeError>> {
    let short = |Short| None;
    let segment = r.u16().map_err(short)?;
    let a = range_of(r)?;
    let b = if r.0.is_empty() { None } else { Some(range_of(r)?) };
    Ok(Seek { segment: segment & !REPAIR, repair: segment & REPAIR != 0, ranges: (a, b) })
}

fn range_of(r: &mut Reader<'_>) -> Result<ChunkRange, Option<DecodeError>> {
    let short = |Short| None;
    let (first, last) = (r.u8().map_err(short)?, r.u8().map_err(short)?);
    if first > last { Err(Some(field("last", last.into()))) } else { Ok(ChunkRange { first, last }) }
}

fn key_bytes(key: u32) -> [u8; 3] {
    let [a, b, c, _] = key.to_le_bytes();
    [a, b, c]
}

fn key(r: &mut Reader<'_>) -> Result<u32, Short> {
    r.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
}

fn node(r: &mut Reader<'_>) -> Result<NodeId, Option<DecodeError>> {
    let n = r.u8().map_err(|Short| None)?;
    NodeId::new(n).ok_or_else(|| Some(field("node", n.into())))
}

impl NodeMessage {
    /// The frame of this message from `node`.
    #[must_use]
    pub fn to_frame(&self, node: NodeId) -> Frame {
        let mut buffer = [0; 8];
        let mut w = Writer::new(&mut buffer);
        let channel = match *self {
            Self::Hold { free } => {
                w.u8(op::HOLD).u8(free);
                Channel::Urgent(node)
            }
            Self::Resume => {
                w.u8(op::RESUME);
                Channel::Urgent(node)
            }
            Self::Error(ErrorReport { fault, address, expected, got }) => {
                w.u8(op::ERROR).u8(fault as u8).u32(address).u8(expected).u8(got);
                Channel::Urgent(node)
            }
            Self::MissingSegments { first, count } => {
                w.u8(op::MISSING_SEGMENTS).u16(first).u16(count);
                Channel::Urgent(node)
            }
            Self::MissingSpan { segment, chunks } => {
                w.u8(op::MISSING_SPAN).u16(segment).u8(chunks.first).u8(chunks.last);
                Channel::Urgent(node)
            }
            Self::Missing { segment, chunks, len } => {
                w.u16(segment).put(&chunks[..usize::from(len).min(MISSING_LIST)]);
                Channel::Missing(node)
            }
            Self::Status(Status { state, flags, missing, programmed, free, detail }) => {
                w.u8(state as u8).u8(flags.bits()).u16(missing).u16(programmed).u8(free).u8(detail);
                Channel::Status(node)
            }
            Self::ReplyPart { sequence, last, bytes, len } => {
                w.u8(sequence & 0x7F | u8::from(last) << 7).put(&bytes[..usize::from(len).min(7)]);
                Channel::Reply(node)
            }
        };
        let len = w.len();
        Frame::classical(channel.id(), &buffer[..len]).unwrap_or_else(|| Frame::empty(channel.id()))
    }

    /// The message in a frame from a node, with the node's number.
    ///
    /// # Errors
    /// [`DecodeError`], also for discovery answers, which have no payload ([`Channel::of`] reads them).
    pub fn decode(frame: &Frame) -> Result<(NodeId, Self), DecodeError> {
        let data = frame.data();
        let short = |Short| DecodeError::Short(data.len() as u8);
        let mut r = Reader(data);
        match Channel::of(frame.id()) {
            Some(Channel::Urgent(n)) => Ok((n, read_urgent(&mut r, data.len())?)),
            Some(Channel::Missing(n)) => {
                let segment = r.u16().map_err(short)?;
                let len = r.0.len().min(MISSING_LIST);
                if len == 0 {
                    return Err(short(Short));
                }
                let mut chunks = [0; MISSING_LIST];
                chunks[..len].copy_from_slice(r.take(len).map_err(short)?);
                Ok((n, Self::Missing { segment, chunks, len: len as u8 }))
            }
            Some(Channel::Status(n)) => Ok((n, Self::Status(read_status(&mut r, data.len())?))),
            Some(Channel::Reply(n)) => {
                let head = r.u8().map_err(short)?;
                let len = r.0.len().min(7);
                let mut bytes = [0; 7];
                bytes[..len].copy_from_slice(r.take(len).map_err(short)?);
                Ok((
                    n,
                    Self::ReplyPart { sequence: head & 0x7F, last: head & 0x80 != 0, bytes, len: len as u8 },
                ))
            }
            _ => Err(DecodeError::Identifier(frame.id())),
        }
    }
}

fn read_urgent(r: &mut Reader<'_>, total: usize) -> Result<NodeMessage, DecodeError> {
    let short = |Short| DecodeError::Short(total as u8);
    Ok(match r.u8().map_err(short)? {
        op::HOLD => NodeMessage::Hold { free: r.u8().map_err(short)? },
        op::RESUME => NodeMessage::Resume,
        op::ERROR => {
            let fault = r.u8().map_err(short)?;
            NodeMessage::Error(ErrorReport {
                fault: NodeFault::from_byte(fault).ok_or_else(|| field("fault", fault.into()))?,
                address: r.u32().map_err(short)?,
                expected: r.u8().map_err(short)?,
                got: r.u8().map_err(short)?,
            })
        }
        op::MISSING_SEGMENTS => {
            NodeMessage::MissingSegments { first: r.u16().map_err(short)?, count: r.u16().map_err(short)? }
        }
        op::MISSING_SPAN => {
            let segment = r.u16().map_err(short)?;
            let chunks = range_of(r).map_err(|e| e.unwrap_or(DecodeError::Short(total as u8)))?;
            NodeMessage::MissingSpan { segment, chunks }
        }
        other => return Err(DecodeError::Opcode(other)),
    })
}

fn read_status(r: &mut Reader<'_>, total: usize) -> Result<Status, DecodeError> {
    let short = |Short| DecodeError::Short(total as u8);
    let state = r.u8().map_err(short)?;
    Ok(Status {
        state: NodeState::from_byte(state).ok_or_else(|| field("state", state.into()))?,
        flags: StatusFlags::from_bits_retain(r.u8().map_err(short)?),
        missing: r.u16().map_err(short)?,
        programmed: r.u16().map_err(short)?,
        free: r.u8().map_err(short)?,
        detail: r.u8().map_err(short)?,
    })
}

impl NodeFault {
    /// The fault of a wire byte.
    #[must_use]
    pub const fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => Self::EraseFailed,
            2 => Self::EraseTooSlow,
            3 => Self::ProgramFailed,
            4 => Self::ProgramTooSlow,
            5 => Self::ReadbackDiffers,
            6 => Self::RecordFailed,
            _ => return None,
        })
    }
}

impl NodeState {
    /// The state of a wire byte.
    #[must_use]
    pub const fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => Self::Idle,
            2 => Self::Manifest,
            3 => Self::Comparing,
            4 => Self::Receiving,
            5 => Self::Programmed,
            6 => Self::Committed,
            7 => Self::Failed,
            _ => return None,
        })
    }
}

impl Refusal {
    /// The refusal of a wire byte.
    #[must_use]
    pub const fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => Self::WrongChip,
            2 => Self::OutsideFlash,
            3 => Self::Reserved,
            4 => Self::BadBlock,
            5 => Self::TooLarge,
            6 => Self::ManifestIncomplete,
            7 => Self::WrongState,
            8 => Self::Protected,
            9 => Self::NotBlank,
            10 => Self::Unsupported,
            11 => Self::Unaligned,
            12 => Self::NoConsent,
            13 => Self::NotVerified,
            14 => Self::Flash,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_floods_the_first_identifiers_stops_and_silences_nobody() {
        let node = NodeId::new(5).expect("valid");
        for message in [HostMessage::Stop, HostMessage::Silence(node)] {
            let frame = message.to_frame();
            assert_eq!(HostMessage::decode(&frame), Ok(message));
            for payload in [&[][..], &[5], &[0xBA; 8], &[5, b'S', b'T', b'O', b'P']] {
                let flood = Frame::classical(frame.id(), payload).expect("short");
                assert!(HostMessage::decode(&flood).is_err(), "{payload:02x?}");
            }
        }
    }
}
