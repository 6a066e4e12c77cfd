//! How a node gets its number: UID bits in the identifiers of empty frames, so that answers cannot collide.
//!
//! Invariant: while it has no number a node sends nothing but discovery answers, and only when asked.

use super::outbox::Outbox;
use super::port::{BoardFacts, Uid};
use crate::frame::Frame;
use crate::ident::{
    Channel, Discovery, NO_STRAP, NONCE_PIECE, NodeId, PIECES, STRAP_PIECE, uid_key, uid_piece,
};
use crate::message::Control;
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
    pub(super) fn new(facts: &BoardFacts, nonce: u16, strap: Option<u16>) -> Self {
        Self {
            number: None,
            nonce,
            strap: strap.map_or(NO_STRAP, |s| s & 0x7FFF),
            key_due: false,
            next_piece: PIECES,
            key: uid_key(&facts.uid),
            uid: facts.uid,
        }
    }

    /// Handles discovery control; true if it was that.
    pub(super) fn handle(&mut self, control: &Control, to_me: bool) -> bool {
        match *control {
            Control::Discover { min, current, restart } => {
                if restart {
                    self.number = None;
                }
                let spoken = (min..=current).contains(&version::CURRENT);
                self.key_due = self.number.is_none() && spoken;
            }
            Control::Assign { first, keys: (a, b) } => {
                if self.number.is_none() && self.key == a {
                    self.take(first);
                } else if self.number.is_none() && Some(self.key) == b {
                    NodeId::new(first.get() + 1).into_iter().for_each(|n| self.take(n));
                }
            }
            Control::Split { from, piece, bits, to } => {
                if self.number == Some(from) && self.piece(piece) == bits {
                    self.take(to);
                }
            }
            Control::Announce => self.next_piece = 0,
            Control::Release if to_me => self.number = None,
            _ => return false,
        }
        true
    }

    fn take(&mut self, number: NodeId) {
        self.number = Some(number);
        self.key_due = false;
        self.next_piece = 0;
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
            return Some(Frame::empty(Channel::Discovery(Discovery::Key(self.key)).id()));
        }
        let node = self.number?;
        if self.next_piece >= PIECES || !out.is_empty() {
            return None;
        }
        let piece = self.next_piece;
        self.next_piece += 1;
        let answer = Discovery::Piece { node, piece, bits: self.piece(piece) };
        Some(Frame::empty(Channel::Discovery(answer).id()))
    }
}
