//! Discovery: from silence to numbered boards, without a collision.
//!
//! Nodes answer in the identifiers of empty frames. A number is given for each 24-bit UID key heard; nodes then
//! announce the rest of the UID, a nonce and their straps under that number. Where one number shows two values
//! of a UID piece, two boards share a key and one of them is moved to a new number; where only nonce or straps
//! differ, two boards share a whole UID and both are quarantined.

use super::Timing;
use crate::frame::Frame;
use crate::ident::{Discovery, NO_STRAP, NONCE_PIECE, NodeId, PIECES, STRAP_PIECE, uid_from};
use crate::message::{Control, HostMessage};
use crate::node::Uid;
use crate::time::Micros;
use crate::version;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// A board that has a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub node: NodeId,
    /// Its unique ID.
    pub uid: Uid,
    /// Its nonce.
    pub nonce: u16,
    /// Its address straps.
    pub strap: Option<u16>,
}

/// Boards that answer to one UID: told apart by nonce or straps, fit for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The UID they share.
    pub uid: Uid,
    /// Every strap value seen under it.
    pub straps: Vec<u16>,
}

/// Result of a discovery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discovered {
    /// Boards with a number.
    pub found: Vec<Found>,
    /// Quarantined boards.
    pub duplicates: Vec<Duplicate>,
    /// Numbers under which something answered that never became whole.
    pub garbled: u16,
}

#[derive(Default)]
struct Candidate {
    key: u32,
    pieces: [BTreeSet<u16>; PIECES as usize],
    tries: u8,
    settled: bool,
}

pub(super) struct Discover {
    keys: BTreeSet<u32>,
    candidates: BTreeMap<NodeId, Candidate>,
    stage: Stage,
    silent_rounds: u8,
    pub(super) deadline: Micros,
    result: Discovered,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Keys,
    Pieces,
}

/// Rounds without any answer after which nobody is left.
const SILENT_ROUNDS: u8 = 2;
/// How often a number is asked to announce itself again.
const ANNOUNCE_TRIES: u8 = 3;

impl Discover {
    pub(super) fn new(now: Micros, timing: &Timing, restart: bool, out: &mut VecDeque<Frame>) -> Self {
        send_discover(restart, out);
        Self {
            keys: BTreeSet::new(),
            candidates: BTreeMap::new(),
            stage: Stage::Keys,
            silent_rounds: 0,
            deadline: now + timing.quiet,
            result: Discovered::default(),
        }
    }

    pub(super) fn handle(&mut self, now: Micros, timing: &Timing, answer: Discovery) {
        self.deadline = now + timing.quiet;
        match answer {
            Discovery::Key(key) => _ = self.keys.insert(key),
            Discovery::Piece { node, piece, bits } => {
                if let Some(candidate) = self.candidates.get_mut(&node) {
                    candidate.pieces[usize::from(piece)].insert(bits);
                }
            }
        }
    }

    /// The bus has been quiet: decide what to ask next. `Some` when nobody is left.
    pub(super) fn handle_timeout(
        &mut self,
        now: Micros,
        timing: &Timing,
        numbers: &mut dyn FnMut() -> Option<NodeId>,
        out: &mut VecDeque<Frame>,
    ) -> Option<Discovered> {
        if now < self.deadline {
            return None;
        }
        self.deadline = now + timing.quiet;
        match self.stage {
            Stage::Keys if self.keys.is_empty() => {
                self.silent_rounds += 1;
                if self.silent_rounds >= SILENT_ROUNDS {
                    return Some(core::mem::take(&mut self.result));
                }
                send_discover(false, out);
            }
            Stage::Keys => {
                self.silent_rounds = 0;
                self.assign(numbers, out);
                self.stage = Stage::Pieces;
            }
            Stage::Pieces => {
                if !self.settle(numbers, out) {
                    self.stage = Stage::Keys;
                    send_discover(false, out);
                }
            }
        }
        None
    }

    /// Gives a number to every key heard.
    fn assign(&mut self, numbers: &mut dyn FnMut() -> Option<NodeId>, out: &mut VecDeque<Frame>) {
        let mut waiting: Option<(NodeId, u32)> = None;
        for key in core::mem::take(&mut self.keys) {
            let Some(node) = numbers() else { break };
            self.candidates.insert(node, Candidate { key, ..Candidate::default() });
            waiting = match waiting {
                Some((first, a)) if first.get() + 1 == node.get() => {
                    send(out, None, Control::Assign { first, keys: (a, Some(key)) });
                    None
                }
                Some((first, a)) => {
                    send(out, None, Control::Assign { first, keys: (a, None) });
                    Some((node, key))
                }
                None => Some((node, key)),
            };
        }
        if let Some((first, a)) = waiting {
            send(out, None, Control::Assign { first, keys: (a, None) });
        }
    }

    /// Looks at every number that is not settled; true if something was asked.
    fn settle(&mut self, numbers: &mut dyn FnMut() -> Option<NodeId>, out: &mut VecDeque<Frame>) -> bool {
        let mut asked = false;
        let mut moved = Vec::new();
        for (&node, candidate) in self.candidates.iter_mut().filter(|(_, c)| !c.settled) {
            if let Some((piece, bits)) = candidate.conflict() {
                let Some(to) = numbers() else { continue };
                send(out, None, Control::Split { from: node, piece, bits, to });
                send(out, Some(node), Control::Announce);
                moved.push((to, candidate.key));
                candidate.pieces = Default::default();
                asked = true;
            } else if candidate.pieces.iter().any(BTreeSet::is_empty) {
                candidate.tries += 1;
                if candidate.tries > ANNOUNCE_TRIES {
                    candidate.settled = true;
                    self.result.garbled += 1;
                } else {
                    send(out, Some(node), Control::Announce);
                    asked = true;
                }
            } else {
                candidate.settled = true;
                candidate.conclude(node, &mut self.result, out);
            }
        }
        for (to, key) in moved {
            self.candidates.insert(to, Candidate { key, ..Candidate::default() });
        }
        asked
    }
}

impl Candidate {
    /// A UID piece with two values, and one of them.
    fn conflict(&self) -> Option<(u8, u16)> {
        let uid = self.pieces.iter().take(usize::from(NONCE_PIECE)).enumerate();
        uid.filter(|(_, p)| p.len() > 1).find_map(|(i, p)| p.first().map(|&bits| (i as u8, bits)))
    }

    fn conclude(&self, node: NodeId, result: &mut Discovered, out: &mut VecDeque<Frame>) {
        let value = |piece: u8| self.pieces[usize::from(piece)].first().copied().unwrap_or(0);
        let uid = uid_from(self.key, core::array::from_fn(|i| value(i as u8)));
        let straps = &self.pieces[usize::from(STRAP_PIECE)];
        if straps.len() > 1 || self.pieces[usize::from(NONCE_PIECE)].len() > 1 {
            out.push_back(HostMessage::Silence(node).to_frame());
            let straps = straps.iter().copied().filter(|&s| s != NO_STRAP).collect();
            result.duplicates.push(Duplicate { uid, straps });
        } else {
            let strap = Some(value(STRAP_PIECE)).filter(|&s| s != NO_STRAP);
            result.found.push(Found { node, uid, nonce: value(NONCE_PIECE), strap });
        }
    }
}

fn send_discover(restart: bool, out: &mut VecDeque<Frame>) {
    send(out, None, Control::Discover { min: version::MIN, current: version::CURRENT, restart });
}

fn send(out: &mut VecDeque<Frame>, to: Option<NodeId>, control: Control) {
    out.push_back(HostMessage::Control(to, control).to_frame());
}
