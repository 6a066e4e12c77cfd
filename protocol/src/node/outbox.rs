//! What a node has to say, in the order of urgency: hold or resume, error, status, one reply in parts.
//!
//! Invariant: nothing queues without bound. Hold, error and status are flags (the newest state is what counts),
//! and one reply is in flight at a time; a request that finds the outbox busy is answered when it is repeated.

use crate::bytes::Writer;
use crate::frame::Frame;
use crate::ident::NodeId;
use crate::message::{ErrorReport, NodeMessage, Refusal, Status};
use crate::reply::{MAX_REPLY, put_done};

/// Small fields first, for short loads and stores.
#[repr(C)]
pub(super) struct Outbox {
    status: bool,
    sequence: u8,
    len: u16,
    at: u16,
    flow: Option<NodeMessage>,
    error: Option<ErrorReport>,
    reply: [u8; MAX_REPLY],
}

impl Outbox {
    pub(super) const EMPTY: Self =
        Self { flow: None, error: None, status: false, reply: [0; MAX_REPLY], len: 0, at: 0, sequence: 0 };

    pub(super) const fn is_empty(&self) -> bool {
        self.flow.is_none() && self.error.is_none() && !self.status && self.len == 0
    }

    pub(super) const fn reply_busy(&self) -> bool {
        self.len != 0
    }

    pub(super) const fn flow(&mut self, message: NodeMessage) {
        self.flow = Some(message);
    }

    pub(super) const fn error(&mut self, report: ErrorReport) {
        self.error = Some(report);
    }

    pub(super) const fn request_status(&mut self) {
        self.status = true;
    }

    pub(super) const fn urgent_waits(&self) -> bool {
        self.flow.is_some() || self.error.is_some()
    }

    pub(super) const fn status_due(&self) -> bool {
        self.status && !self.urgent_waits()
    }

    pub(super) const fn take_status(&mut self, status: Status) -> NodeMessage {
        self.status = false;
        NodeMessage::Status(status)
    }

    /// Queues a reply; nothing happens if one is in flight.
    pub(super) fn reply(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        if !self.reply_busy() {
            let mut w = Writer::new(&mut self.reply);
            write(&mut w);
            self.len = w.len() as u16;
            (self.at, self.sequence) = (0, 0);
        }
    }

    /// Queues the outcome of the command with this opcode.
    #[inline(never)]
    pub(super) fn done(&mut self, opcode: u8, refusal: Option<Refusal>, detail: u32) {
        self.reply(|w| put_done(w, opcode, refusal, detail));
    }

    pub(super) fn poll(&mut self, node: NodeId) -> Option<Frame> {
        if let Some(message) = self.flow.take() {
            return Some(message.to_frame(node));
        }
        if let Some(report) = self.error.take() {
            return Some(NodeMessage::Error(report).to_frame(node));
        }
        if self.len == 0 {
            return None;
        }
        let (at, end) = (usize::from(self.at), usize::from(self.len.min(self.at + 7)));
        let part = self.reply.get(at..end).unwrap_or_default();
        let mut bytes = [0; 7];
        bytes.iter_mut().zip(part).for_each(|(place, &byte)| *place = byte);
        let (sequence, last) = (self.sequence, self.at + 7 >= self.len);
        self.at += 7;
        self.sequence += 1;
        if last {
            self.len = 0;
        }
        Some(NodeMessage::ReplyPart { sequence, last, bytes, len: part.len() as u8 }.to_frame(node))
    }
}
