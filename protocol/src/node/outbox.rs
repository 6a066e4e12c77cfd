//! What a node has to say, in the order of urgency: hold or resume, error, status, one reply in parts.
//!
//! Invariant: nothing queues without bound. Hold, error and status are flags (the newest state is what counts),
//! and one reply is in flight at a time; a request that finds the outbox busy is answered when it is repeated.

use crate::bytes::Writer;
use crate::message::{ErrorReport, Refusal, put_error, put_flow, put_part};
use crate::reply::{MAX_REPLY, put_done};

/// Small fields first, for short loads and stores.
#[repr(C)]
pub(super) struct Outbox {
    /// What waits: [`FLOW`], [`ERROR`], [`STATUS`].
    due: u8,
    /// Free segment buffers if a pause is asked for, nothing if it is over.
    hold: Option<u8>,
    /// Parts of the reply that have left, its length (0: there is none) and what has left of it.
    sequence: u8,
    len: u8,
    at: u8,
    reply: [u8; MAX_REPLY],
}

const FLOW: u8 = 1 << 0;
const ERROR: u8 = 1 << 1;
const STATUS: u8 = 1 << 2;

/// Bytes of a reply in one frame.
const PART: u8 = 7;

impl Outbox {
    pub(super) const EMPTY: Self =
        Self { due: 0, hold: None, sequence: 0, len: 0, at: 0, reply: [0; MAX_REPLY] };

    /// Forgets what waits.
    pub(super) const fn clear(&mut self) {
        self.due = 0;
        self.sent();
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.due | self.len == 0
    }

    pub(super) const fn reply_busy(&self) -> bool {
        self.len != 0
    }

    /// Asks for a pause, with so many segment buffers free, or for its end.
    pub(super) const fn flow(&mut self, hold: Option<u8>) {
        self.hold = hold;
        self.due |= FLOW;
    }

    /// The session's error is to be told, if it has one.
    pub(super) const fn error(&mut self) {
        self.due |= ERROR;
    }

    pub(super) const fn request_status(&mut self) {
        self.due |= STATUS;
    }

    /// Where a reply is written; `None` if one is in flight.
    pub(super) fn draft(&mut self) -> Option<Writer<'_>> {
        if self.reply_busy() {
            return None;
        }
        Some(Writer::new(&mut self.reply))
    }

    /// Queues so many bytes of what was written.
    pub(super) const fn send(&mut self, len: usize) {
        self.len = len as u8;
    }

    /// There is no reply, and the next one begins at its beginning.
    const fn sent(&mut self) {
        (self.len, self.at, self.sequence) = (0, 0, 0);
    }

    /// Queues a reply; nothing happens if one is in flight.
    pub(super) fn reply(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        if let Some(mut w) = self.draft() {
            write(&mut w);
            self.len = w.len() as u8;
        }
    }

    /// Queues the outcome of the command with this opcode.
    #[inline(never)]
    pub(super) fn done(&mut self, opcode: u8, refusal: Option<Refusal>, detail: u32) {
        self.reply(|w| put_done(w, opcode, refusal, detail));
    }

    fn take(&mut self, what: u8) -> bool {
        let waits = self.due & what != 0;
        self.due &= !what;
        waits
    }

    /// Writes what comes before everything else, and says on which channel.
    pub(super) fn poll_urgent(&mut self, w: &mut Writer<'_>, failed: Option<&ErrorReport>) -> Option<u16> {
        if self.take(FLOW) {
            return Some(put_flow(w, self.hold));
        }
        let due = self.take(ERROR);
        failed.filter(|_| due).map(|report| put_error(w, report))
    }

    /// A status was asked for.
    pub(super) fn poll_status(&mut self) -> bool {
        self.take(STATUS)
    }

    /// Writes the next part of the reply, and says on which channel.
    #[inline(never)]
    pub(super) fn poll_reply(&mut self, w: &mut Writer<'_>) -> Option<u16> {
        let rest = self.reply.get(usize::from(self.at)..usize::from(self.len))?;
        if rest.is_empty() {
            return None;
        }
        let (part, last) = match rest.split_at_checked(PART.into()) {
            Some((part, more)) => (part, more.is_empty()),
            None => (rest, true),
        };
        let channel = put_part(w, self.sequence, last, part);
        self.sequence += 1;
        self.at += PART;
        if last {
            self.sent();
        }
        Some(channel)
    }
}

const _: () = assert!(MAX_REPLY + PART as usize <= u8::MAX as usize);
