//! What a node says in one classical frame: urgent words, what is missing, status, a part of a reply.
//!
//! Invariant: an opcode or code is never used again and a layout never changes (`tests/golden` holds them).

use super::{ChunkRange, DecodeError, MISSING_LIST, Wrong};
use crate::bytes::{Reader, Writer};
use crate::frame::Frame;
use crate::ident::{self, Channel, NodeId};

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
    /// Committed: the image goes from the second slot to its place.
    Installing = 8,
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
        /// The image is written to the second slot: the application stays until it is committed.
        const STAGED = 1 << 5;
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
    /// The board could not make its key.
    KeyFailed = 15,
    /// The board takes only images with a seal.
    NotSealed = 16,
    /// The signature of the seal is not one of the product's key.
    BadSeal = 17,
    /// The image is older than the board takes.
    Downgrade = 18,
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

mod op {
    pub(super) const HOLD: u8 = 0x01;
    pub(super) const RESUME: u8 = 0x02;
    pub(super) const ERROR: u8 = 0x03;
    pub(super) const MISSING_SEGMENTS: u8 = 0x04;
    pub(super) const MISSING_SPAN: u8 = 0x05;
}

impl NodeMessage {
    /// The frame of this message from `node`.
    #[must_use]
    pub fn to_frame(&self, node: NodeId) -> Frame {
        let mut buffer = [0; 8];
        let w = &mut Writer::new(&mut buffer);
        let channel = match *self {
            Self::Hold { free } => put_flow(w, Some(free)),
            Self::Resume => put_flow(w, None),
            Self::Error(report) => put_error(w, &report),
            Self::MissingSegments { first, count } => put_missing_segments(w, first, count),
            Self::MissingSpan { segment, chunks } => put_missing_span(w, segment, chunks),
            Self::Missing { segment, chunks, len } => {
                put_missing(w, segment, chunks.into_iter().take(len.into()))
            }
            Self::Status(status) => put_status(w, &status),
            Self::ReplyPart { sequence, last, bytes, len } => {
                put_part(w, sequence, last, &bytes[..usize::from(len).min(7)])
            }
        };
        let id = ident::of_node(channel, node);
        Frame::classical(id, w.written()).unwrap_or_else(|| Frame::empty(id))
    }

    /// The message in a frame from a node, with the node's number.
    ///
    /// # Errors
    /// [`DecodeError`], also for discovery answers, which have no payload ([`Channel::of`] reads them).
    pub fn decode(frame: &Frame) -> Result<(NodeId, Self), DecodeError> {
        let data = frame.data();
        let r = &mut Reader::new(data);
        let (node, message) = match Channel::of(frame.id()) {
            Some(Channel::Urgent(n)) => (n, read_urgent(r)),
            Some(Channel::Missing(n)) => (n, Ok(read_missing(r))),
            Some(Channel::Status(n)) => (n, read_status(r).map(Self::Status)),
            Some(Channel::Reply(n)) => (n, Ok(read_part(r))),
            _ => return Err(DecodeError::Identifier(frame.id())),
        };
        if r.is_short() {
            return Err(DecodeError::Short(data.len() as u8));
        }
        message.map(|message| (node, message)).map_err(|wrong| wrong.of(data))
    }
}

// A board writes what it says straight into the frame: each of these returns the channel that it belongs to.

/// [`NodeMessage::Hold`] with so many buffers free, or [`NodeMessage::Resume`].
pub(crate) fn put_flow(w: &mut Writer<'_>, hold: Option<u8>) -> u16 {
    match hold {
        Some(free) => w.u8(op::HOLD).u8(free),
        None => w.u8(op::RESUME),
    };
    ident::URGENT
}

pub(crate) fn put_error(w: &mut Writer<'_>, report: &ErrorReport) -> u16 {
    let ErrorReport { fault, address, expected, got } = *report;
    w.u8(op::ERROR).u8(fault as u8).u32(address).u8(expected).u8(got);
    ident::URGENT
}

pub(crate) fn put_missing_segments(w: &mut Writer<'_>, first: u16, count: u16) -> u16 {
    w.u8(op::MISSING_SEGMENTS).u16(first).u16(count);
    ident::URGENT
}

pub(crate) fn put_missing_span(w: &mut Writer<'_>, segment: u16, chunks: ChunkRange) -> u16 {
    w.u8(op::MISSING_SPAN).u16(segment).u8(chunks.first).u8(chunks.last);
    ident::URGENT
}

/// As many chunks as the message holds.
pub(crate) fn put_missing(w: &mut Writer<'_>, segment: u16, chunks: impl Iterator<Item = u8>) -> u16 {
    w.u16(segment);
    chunks.take(MISSING_LIST).for_each(|chunk| {
        w.u8(chunk);
    });
    ident::MISSING
}

pub(crate) fn put_status(w: &mut Writer<'_>, status: &Status) -> u16 {
    let Status { state, flags, missing, programmed, free, detail } = *status;
    w.u8(state as u8).u8(flags.bits()).u16(missing).u16(programmed).u8(free).u8(detail);
    ident::STATUS
}

pub(crate) fn put_part(w: &mut Writer<'_>, sequence: u8, last: bool, bytes: &[u8]) -> u16 {
    w.u8(sequence & 0x7F | u8::from(last) << 7).put(bytes);
    ident::REPLY
}

fn read_missing(r: &mut Reader<'_>) -> NodeMessage {
    let segment = r.u16();
    let list = r.take(r.rest().len().clamp(1, MISSING_LIST));
    let mut chunks = [0; MISSING_LIST];
    chunks[..list.len()].copy_from_slice(list);
    NodeMessage::Missing { segment, chunks, len: list.len() as u8 }
}

fn read_part(r: &mut Reader<'_>) -> NodeMessage {
    let head = r.u8();
    let part = r.take(r.rest().len().min(7));
    let mut bytes = [0; 7];
    bytes[..part.len()].copy_from_slice(part);
    NodeMessage::ReplyPart { sequence: head & 0x7F, last: head & 0x80 != 0, bytes, len: part.len() as u8 }
}

fn read_urgent(r: &mut Reader<'_>) -> Result<NodeMessage, Wrong> {
    Ok(match r.u8() {
        op::HOLD => NodeMessage::Hold { free: r.u8() },
        op::RESUME => NodeMessage::Resume,
        op::ERROR => NodeMessage::Error(ErrorReport {
            fault: NodeFault::from_byte(r.u8()).ok_or(Wrong::Field)?,
            address: r.u32(),
            expected: r.u8(),
            got: r.u8(),
        }),
        op::MISSING_SEGMENTS => NodeMessage::MissingSegments { first: r.u16(), count: r.u16() },
        op::MISSING_SPAN => {
            let (segment, first, last) = (r.u16(), r.u8(), r.u8());
            NodeMessage::MissingSpan { segment, chunks: ChunkRange::new(first, last).ok_or(Wrong::Field)? }
        }
        _ => return Err(Wrong::Opcode),
    })
}

fn read_status(r: &mut Reader<'_>) -> Result<Status, Wrong> {
    Ok(Status {
        state: NodeState::from_byte(r.u8()).ok_or(Wrong::Field)?,
        flags: StatusFlags::from_bits_retain(r.u8()),
        missing: r.u16(),
        programmed: r.u16(),
        free: r.u8(),
        detail: r.u8(),
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
            8 => Self::Installing,
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
            15 => Self::KeyFailed,
            16 => Self::NotSealed,
            17 => Self::BadSeal,
            18 => Self::Downgrade,
            _ => return None,
        })
    }
}
