//! How a node gets its number: UID bits in the identifiers of empty frames, so that answers cannot collide.
//!
//! Invariant: while it has no number a node sends nothing but discovery answers, and only when asked.

use super::outbox::Outbox;
use super::port::NodePort;
use crate::ident::{Discovery, NO_STRAP, NONCE_PIECE, NodeId, PIECES, STRAP_PIECE, uid_key, uid_piece};
use crate::message::{Payload, op};
use crate::version;

/// The node's number and what it still has to announce.
#[repr(C)]
pub(super) struct Number {
    pub(super) number: Option<NodeId>,
    key_due: bool,
    /// Next piece to announce, [`PIECES`] when done.
    next_piece: u8,
    pieces: [u16; PIECES as usize],
    key: u32,
}

impl Number {
    /// Nobody yet: for [`Self::begin`].
    pub(super) const NONE: Self =
        Self { number: None, key_due: false, next_piece: PIECES, pieces: [0; PIECES as usize], key: 0 };

    /// Learns who the board is.
    pub(super) fn begin(&mut self, port: &mut impl NodePort) {
        for (n, bits) in (0..).zip(&mut self.pieces) {
            *bits = match n {
                NONCE_PIECE => (port.nonce() & 0x7FFF) as u16,
                STRAP_PIECE => port.strap().map_or(NO_STRAP, |s| s & 0x7FFF),
                uid => uid_piece(&port.facts().uid, uid),
            };
        }
        self.key = uid_key(&port.facts().uid);
    }

    pub(super) const fn nonce(&self) -> u16 {
        self.pieces[NONCE_PIECE as usize]
    }

    /// Handles discovery control.
    #[inline(never)]
    pub(super) fn handle(&mut self, p: &Payload<'_>, to_me: bool) {
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
                let mine = self.number.is_some_and(|n| n.get() == p.u8(1));
                if mine && self.pieces.get(usize::from(p.u8(2))) == Some(&p.u16(3)) {
                    self.take(p.node(5));
                }
            }
            op::ANNOUNCE => self.next_piece = 0,
            op::RELEASE if to_me => self.number = None,
            _ => {}
        }
    }

    /// Takes this number, if it is one.
    fn take(&mut self, number: Option<NodeId>) {
        if number.is_some() {
            self.number = number;
            self.key_due = false;
            self.next_piece = 0;
        }
    }

    /// The next announcement, unless something more urgent waits.
    pub(super) fn poll_transmit(&mut self, out: &Outbox) -> Option<Discovery> {
        if self.key_due {
            self.key_due = false;
            return Some(Discovery::Key(self.key));
        }
        let (node, piece) = (self.number?, self.next_piece);
        let bits = *self.pieces.get(usize::from(piece)).filter(|_| out.is_empty())?;
        self.next_piece += 1;
        Some(Discovery::Piece { node, piece, bits })
    }
}
