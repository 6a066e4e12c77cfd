//! Messages that fit in one classical frame: the host's control and data, the nodes' urgent words and status.
//!
//! Every message is idempotent or harmless when repeated, so that a lost answer is cured by asking again. All
//! numbers are little-endian. Payload byte 0 is the opcode wherever the identifier does not say everything.
//! Longer things travel as blocks ([`crate::block`], host to node) and replies ([`crate::reply`], node to host).

mod control;
mod node;
mod payload;

pub(crate) use control::op;
pub use control::{BlockKind, Control, IdentifyPart, LEVEL2_CONSENT, Seek};
pub use node::{ErrorReport, NodeFault, NodeMessage, NodeState, Refusal, Status, StatusFlags};
pub(crate) use node::{
    put_error, put_flow, put_missing, put_missing_segments, put_missing_span, put_part, put_status,
};
pub(crate) use payload::Payload;

use crate::bytes::Writer;
use crate::frame::{Frame, Id};
use crate::ident::{Channel, DataPosition, NodeId};

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

impl ChunkRange {
    /// `None` if it would end before it begins.
    pub(crate) const fn new(first: u8, last: u8) -> Option<Self> {
        if first > last { None } else { Some(Self { first, last }) }
    }
}

/// Payload of [`HostMessage::Stop`]: a faulty board that floods identifier 000 with anything else stops nobody.
pub const STOP_WORD: [u8; 4] = *b"STOP";
/// Follows the number in the payload of [`HostMessage::Silence`], for the same reason.
pub const SILENCE_WORD: [u8; 4] = *b"HUSH";

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
    /// A field of this message (its first byte is told) has a value it cannot have.
    #[error("a field of message {0:#04x} has a value it cannot have")]
    Field(u8),
}

/// [`DecodeError`] of a payload, as small as a board wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Opcode,
    Short,
    Field,
}

impl Wrong {
    fn of(self, data: &[u8]) -> DecodeError {
        let first = data.first().copied().unwrap_or_default();
        match self {
            Self::Opcode => DecodeError::Opcode(first),
            Self::Short => DecodeError::Short(data.len() as u8),
            Self::Field => DecodeError::Field(first),
        }
    }
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
        let channel = Channel::of(frame.id()).ok_or_else(|| DecodeError::Identifier(frame.id()))?;
        let to = match channel {
            Channel::Data(position) => return Ok(HostMessage::Data(position, data)),
            Channel::Stop => {
                return match says(data, STOP_WORD) {
                    true => Ok(HostMessage::Stop),
                    false => Err(no_word(data, STOP_WORD.len())),
                };
            }
            Channel::Silence => {
                let node = data.split_first().filter(|(_, word)| says(word, SILENCE_WORD));
                let node = node.and_then(|(&node, _)| NodeId::new(node));
                return node.map(HostMessage::Silence).ok_or_else(|| no_word(data, 1 + SILENCE_WORD.len()));
            }
            Channel::ControlAll => None,
            Channel::Control(node) => Some(node),
            _ => return Err(DecodeError::Identifier(frame.id())),
        };
        let control = Control::decode(frame).map_err(|wrong| wrong.of(data))?;
        Ok(HostMessage::Control(to, control))
    }
}

/// Whether a payload begins with this word.
pub(crate) fn says(data: &[u8], word: [u8; 4]) -> bool {
    data.first_chunk() == Some(&word)
}

fn no_word(data: &[u8], len: usize) -> DecodeError {
    if data.len() < len { Wrong::Short.of(data) } else { Wrong::Field.of(data) }
}

fn data_frame(position: DataPosition, bytes: &[u8]) -> Frame {
    let id = Channel::Data(position).id();
    let bytes = &bytes[..bytes.len().min(CHUNK_FD)];
    Frame::classical(id, bytes).or_else(|| Frame::fd(id, bytes)).unwrap_or_else(|| Frame::empty(id))
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
