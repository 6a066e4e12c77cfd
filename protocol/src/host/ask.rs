//! Asking nodes and collecting their answers: one answer each, silent nodes asked again, then named.
//!
//! Used for everything that is not discovery and not the stream of data. A broadcast request goes out once;
//! repetitions go only to nodes that owe an answer.

use crate::block::MAX_BLOCK;
use crate::frame::Frame;
use crate::ident::NodeId;
use crate::message::{BLOCK_PART, BlockKind, Control, HostMessage, IdentifyPart, Status};
use crate::reply::{Info, Profile, RegionCheck, Reply, Statistics};
use crate::time::{Micros, Span};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A control message.
    Control(Control),
    /// A block.
    Block(BlockKind, Vec<u8>),
}

/// A node's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To `Census`.
    Status(Status),
    /// To `Identify(Info)`.
    Info(Info),
    /// To `Identify(Profile)`.
    Profile(Profile),
    /// To `Verify`.
    RegionCheck(RegionCheck),
    /// To `Digest`: region and SHA-256.
    Digest(u8, [u8; 32]),
    /// To `Read`: address and bytes.
    Memory(u32, Vec<u8>),
    /// Done, or refused.
    Done {
        /// Opcode of the command.
        opcode: u8,
        /// Why not, if not.
        refusal: Option<crate::message::Refusal>,
        /// More.
        detail: u32,
    },
    /// To `Test`.
    Reading {
        /// Number of the item.
        item: u8,
        /// The request's token.
        token: u8,
        /// Unit code.
        unit: u8,
        /// Value.
        value: f32,
    },
    /// To `Statistics`.
    Statistics(Statistics),
}

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        match reply {
            Reply::Info(info) => Self::Info(info),
            Reply::Profile(profile) => Self::Profile(profile),
            Reply::RegionCheck(check) => Self::RegionCheck(check),
            Reply::Digest(region, sha256) => Self::Digest(region, sha256),
            Reply::Memory(address, bytes) => Self::Memory(address, bytes.to_vec()),
            Reply::Done { opcode, refusal, detail } => Self::Done { opcode, refusal, detail },
            Reply::Reading { item, token, unit, value } => Self::Reading { item, token, unit, value },
            Reply::Statistics(statistics) => Self::Statistics(statistics),
        }
    }
}

impl Request {
    fn opcode(&self) -> u8 {
        match self {
            Self::Control(control) => control.opcode(),
            Self::Block(kind, _) => Control::BlockEnd { kind: *kind, len: 0, crc: 0 }.opcode(),
        }
    }

    /// Whether `answer` is one to this request.
    fn fits(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (_, Answer::Done { opcode, .. }) => *opcode == self.opcode(),
            (Self::Control(Control::Census), Answer::Status(_))
            | (Self::Control(Control::Identify(IdentifyPart::Info)), Answer::Info(_))
            | (Self::Control(Control::Identify(IdentifyPart::Profile)), Answer::Profile(_))
            | (Self::Control(Control::Statistics), Answer::Statistics(_)) => true,
            (Self::Control(Control::Verify { region }), Answer::RegionCheck(check)) => {
                check.region == *region
            }
            (Self::Control(Control::Digest { region }), Answer::Digest(got, _)) => got == region,
            (Self::Control(Control::Read { address, .. }), Answer::Memory(got, _)) => got == address,
            (Self::Control(Control::Test { item, token, .. }), Answer::Reading { item: i, token: t, .. }) => {
                (i, t) == (item, token)
            }
            _ => false,
        }
    }

    pub(super) fn frames(&self, to: Option<NodeId>, out: &mut impl Extend<Frame>) {
        match self {
            Self::Control(control) => out.extend([HostMessage::Control(to, *control).to_frame()]),
            Self::Block(kind, block) => {
                let block = &block[..block.len().min(MAX_BLOCK)];
                out.extend(block.chunks(BLOCK_PART).enumerate().map(|(index, part)| {
                    let mut bytes = [0; BLOCK_PART];
                    bytes[..part.len()].copy_from_slice(part);
                    let data = Control::BlockData { index: index as u8, bytes, len: part.len() as u8 };
                    HostMessage::Control(to, data).to_frame()
                }));
                let crc = crate::CRC32.checksum(block);
                let end = Control::BlockEnd { kind: *kind, len: block.len() as u16, crc };
                out.extend([HostMessage::Control(to, end).to_frame()]);
            }
        }
    }
}

/// A round of questions.
pub(super) struct Ask {
    pending: BTreeMap<NodeId, Request>,
    patience: Span,
    tries: u8,
    pub(super) deadline: Micros,
}

/// What a timeout led to.
pub(super) enum Verdict {
    Wait,
    /// Everybody has answered, or these never did.
    Done(Vec<NodeId>),
}

impl Ask {
    pub(super) fn new(pending: BTreeMap<NodeId, Request>, patience: Span, tries: u8, now: Micros) -> Self {
        Self { pending, patience, tries, deadline: now + patience }
    }

    /// True if the answer was owed.
    pub(super) fn handle(&mut self, node: NodeId, answer: &Answer) -> bool {
        let fits = self.pending.get(&node).is_some_and(|request| request.fits(answer));
        if fits {
            self.pending.remove(&node);
        }
        fits
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.pending.remove(&node);
    }

    pub(super) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn handle_timeout(&mut self, now: Micros, out: &mut impl Extend<Frame>) -> Verdict {
        if self.pending.is_empty() {
            return Verdict::Done(Vec::new());
        }
        if now < self.deadline {
            return Verdict::Wait;
        }
        self.tries = self.tries.saturating_sub(1);
        if self.tries == 0 {
            return Verdict::Done(core::mem::take(&mut self.pending).into_keys().collect());
        }
        self.pending.iter().for_each(|(node, request)| request.frames(Some(*node), out));
        self.deadline = now + self.patience;
        Verdict::Wait
    }
}
