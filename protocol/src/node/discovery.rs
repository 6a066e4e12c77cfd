//! How a node gets its number: UID bits in the identifiers of empty frames, so that answers cannot collide.
//!
//! Invariant: while it has no number a node sends nothing but discovery answers, and only when asked.

use super::outbox::Outbox;
use super::port::{NodePort, Uid};
use crate::frame::Frame;
use crate::ident::{Discovery, NO_STRAP, NONCE_PIECE, NodeId, PIECES, STRAP_PIECE, uid_key, uid_piece};
use crate::message::{Payload, op};
use crate::version;

/// The node's number and what it still has to announce.
pub(super) struct Number {
    pub(super) number: Option<NodeId>,
    pub(super) nonce: u16,
    strap: u16,
    key_due: bool,
    /// Next piece to announce, [`PIECES`] when done.
    next_piece: u8,
    key: u32,
    uid: Uid,
}

impl Number {
    /// Nobody yet: for [`Self::begin`].
    pub(super) const NONE: Self = Self {
        number: None,
        nonce: 0,
        strap: NO_STRAP,
        key_due: false,
        next_piece: PIECES,
        key: 0,
        uid: Uid([0; 12]),
    };

    /// Learns who the board is.
    pub(super) fn begin(&mut self, port: &mut impl NodePort) {
        self.nonce = (port.nonce() & 0x7FFF) as u16;
        self.strap = port.strap().map_or(NO_STRAP, |s| s & 0x7FFF);
        self.uid = port.facts().uid;
        self.key = uid_key(&self.uid);
    }

    /// Handles discovery control; true if it was that.
    pub(super) fn handle(&mut self, p: &Payload, to_me: bool) -> bool {
        match p.opcode() {
            op::DISCOVER => {
                if p.u8(3) & 1 != 0 {
                    self.number = None;
                }
                let spoken = (p.u8(1)..=p.u8(2)).contains(&version::CURRENT);
                self.key_due = self.number.is_none() && spoken;
            }
            op::ASSIGN if self.number.is_none() => {
                let (a, b) = p.keys();
                let first = p.node(1);
                if self.key == a {
                    self.take(first);
                } else if Some(self.key) == b {
                    self.take(first.and_then(|first| NodeId::new(first.get() + 1)));
                }
            }
            op::SPLIT => {
                if self.number.is_some_and(|n| n.get() == p.u8(1)) && self.piece(p.u8(2)) == p.u16(3) {
                    self.take(p.node(5));
                }
            }
            op::ANNOUNCE => self.next_piece = 0,
            op::RELEASE if to_me => self.number = None,
            _ => return p.opcode() == op::ASSIGN,
        }
        true
    }

    /// Takes this number, if it is one.
    #[inline(never)]
    fn take(&mut self, number: Option<NodeId>) {
        if number.is_some() {
            self.number = number;
            self.key_due = false;
            self.next_piece = 0;
        }
    }

    fn piece(&self, piece: u8) -> u16 {
        match piece {
            NONCE_PIECE => self.nonce,
            STRAP_PIECE => self.strap,
            uid => uid_piece(&self.uid, uid),
        }
    }

    /// The next announcement, unless something more urgent waits.
    pub(super) fn poll_transmit(&mut self, out: &Outbox) -> Option<Frame> {
        if self.key_due {
            self.key_due = false;
            return Some(Frame::empty(Discovery::Key(self.key).id()));
        }
        let node = self.number?;
        if self.next_piece >= PIECES || !out.is_empty() {
            return None;
        }
        let piece = self.next_piece;
        self.next_piece += 1;
        let answer = Discovery::Piece { node, piece, bits: self.piece(piece) };
        Some(Frame::empty(answer.id()))
    }
}
