//! A control as it came: its opcode is known and it is whole, its fields are read where they are needed.
//!
//! A board acts on one message of eight bytes at a time; a second form of each would be code that it has no room for.
//! [`super::Control`] is what hosts and tests make of the same fields. Layout: docs/protocol.md, section 3.

use super::control::op;
use super::{BLOCK_PART, ChunkRange, Seek, Wrong};
use crate::frame::Frame;
use crate::ident::NodeId;

/// Opcode and fields.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'a> {
    bytes: &'a [u8; 8],
    len: usize,
}

/// Shortest payload of each opcode in bytes, itself included; 0 where there is no such message.
static SHORTEST: [u8; 0x3A] = {
    let mut lengths = [0; 0x3A];
    let known = [
        (op::DISCOVER, 4),
        (op::ASSIGN, 5),
        (op::SPLIT, 6),
        (op::ANNOUNCE, 1),
        (op::RELEASE, 1),
        (op::IDENTIFY, 2),
        (op::BLOCK_DATA, 3),
        (op::BLOCK_END, 8),
        (op::MANIFEST, 8),
        (op::START, 2),
        (op::SEEK, 5),
        (op::CENSUS, 1),
        (op::QUERY_MISSING, 1),
        (op::VERIFY, 2),
        (op::DIGEST, 2),
        (op::COMMIT, 2),
        (op::ABORT, 1),
        (op::READ, 6),
        (op::SET_PROTECTION, 4),
        (op::TEST, 7),
        (op::START_APPLICATION, 5),
        (op::RESET, 1),
        (op::STATISTICS, 1),
    ];
    let mut n = 0;
    while n < known.len() {
        lengths[known[n].0 as usize] = known[n].1;
        n += 1;
    }
    lengths
};

impl<'a> Payload<'a> {
    /// The control in this frame. What comes behind the eighth byte is nothing that this version knows.
    pub(crate) fn new(frame: &'a Frame) -> Result<Self, Wrong> {
        let (bytes, len) = (frame.first(), frame.len());
        match SHORTEST.get(usize::from(bytes[0])) {
            _ if len == 0 => Err(Wrong::Short),
            None | Some(0) => Err(Wrong::Opcode),
            Some(&shortest) if len < usize::from(shortest) => Err(Wrong::Short),
            Some(_) => Ok(Self { bytes, len }),
        }
    }

    pub(crate) const fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    pub(crate) const fn u8(&self, at: usize) -> u8 {
        self.bytes[at]
    }

    pub(crate) const fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    pub(crate) const fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    pub(crate) const fn u24(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], 0])
    }

    /// A node's number.
    pub(crate) const fn node(&self, at: usize) -> Option<NodeId> {
        NodeId::new(self.bytes[at])
    }

    /// The UID keys of `Assign`.
    pub(crate) fn keys(&self) -> (u32, Option<u32>) {
        (self.u24(2), (self.len >= 8).then(|| self.u24(5)))
    }

    /// The bytes of `BlockData`.
    pub(crate) fn part(&self) -> &[u8] {
        &self.bytes[2..self.len.clamp(2, 2 + BLOCK_PART)]
    }

    /// The ranges of `Seek` as they came; twice the same if it has one.
    pub(crate) const fn ranges(&self) -> [ChunkRange; 2] {
        [self.range(3), self.range(if self.len >= 7 { 5 } else { 3 })]
    }

    const fn range(&self, at: usize) -> ChunkRange {
        ChunkRange { first: self.bytes[at], last: self.bytes[at + 1] }
    }

    /// What `Seek` says; `None` if a range ends before it begins.
    pub(crate) fn seek(&self) -> Option<Seek> {
        let segment = self.u16(1);
        let [a, b] = self.ranges();
        if a.first > a.last || b.first > b.last {
            return None;
        }
        let second = (self.len >= 7).then_some(b);
        Some(Seek {
            segment: segment & !Seek::REPAIR,
            repair: segment & Seek::REPAIR != 0,
            ranges: (a, second),
        })
    }
}
