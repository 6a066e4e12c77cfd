//! Discovery: from silence to numbered boards, without a collision.
//!
//! Nodes answer in the identifiers of empty frames. A number is given for each 24-bit UID key heard; nodes then
//! announce the rest of the UID, a nonce and their straps under that number. Where one number shows two values
//! of a UID piece, two boards share a key and one of them is moved to a new number; where only nonce or straps
//! differ, two boards share a whole UID and both are quarantined: silenced until nobody answers there any more.
//!
//! Invariant: every frame may be lost by some board. When discovery ends, whoever keeps a number is in `found`,
//! or has missed every one of several repeated frames.

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
    state: State,
}

#[derive(PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    /// Boards with one UID, being silenced.
    Quarantined,
    Settled,
}

pub(super) struct Discover {
    keys: BTreeSet<u32>,
    candidates: BTreeMap<NodeId, Candidate>,
    stage: Stage,
    silent_rounds: u8,
    /// Every number is given: nobody further is asked.
    full: bool,
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
/// How often boards with one UID are silenced before they are taken to be deaf.
const SILENCE_TRIES: u8 = 8;
/// Frames that nobody answers go out so often.
const REPEATS: usize = 3;

impl Discover {
    pub(super) fn new(now: Micros, timing: &Timing, restart: bool, out: &mut VecDeque<Frame>) -> Self {
        if restart {
            // A version nobody speaks: everybody forgets, nobody answers yet.
            let forget = Control::Discover { min: u8::MAX, current: u8::MAX, restart };
            (1..REPEATS).for_each(|_| send(out, None, forget));
        }
        send_discover(restart, out);
        Self {
            keys: BTreeSet::new(),
            candidates: BTreeMap::new(),
            stage: Stage::Keys,
            silent_rounds: 0,
            full: false,
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
                    return Some(self.finish(out));
                }
                send_discover(false, out);
            }
            Stage::Keys => {
                self.silent_rounds = 0;
                self.assign(numbers, out);
                self.stage = Stage::Pieces;
            }
            Stage::Pieces => {
                if self.settle(numbers, out) {
                    return None;
                }
                if self.full {
                    return Some(self.finish(out));
                }
                self.stage = Stage::Keys;
                send_discover(false, out);
            }
        }
        None
    }

    /// Gives a number to every key heard.
    fn assign(&mut self, numbers: &mut dyn FnMut() -> Option<NodeId>, out: &mut VecDeque<Frame>) {
        let mut waiting: Option<(NodeId, u32)> = None;
        for key in core::mem::take(&mut self.keys) {
            let Some(node) = numbers() else {
                self.full = true;
                self.result.garbled += 1;
                continue;
            };
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
        let mut moved = Vec::new();
        let queued = out.len();
        for (&node, candidate) in &mut self.candidates {
            match candidate.state {
                State::Settled => {}
                State::Quarantined if candidate.is_silent() || candidate.tries == 0 => {
                    candidate.state = State::Settled;
                }
                State::Quarantined => candidate.silence(node, out),
                State::Open => {
                    moved.extend(candidate.look(node, numbers, &mut self.result, &mut self.full, out));
                }
            }
        }
        let asked = out.len() > queued;
        for (to, key) in moved {
            self.candidates.insert(to, Candidate { key, ..Candidate::default() });
        }
        asked
    }

    /// The result. A UID found under two numbers, because one of its boards missed the first, is no less shared.
    fn finish(&mut self, out: &mut VecDeque<Frame>) -> Discovered {
        let mut result = core::mem::take(&mut self.result);
        let mut uids: BTreeMap<Uid, Vec<Found>> = BTreeMap::new();
        for found in core::mem::take(&mut result.found) {
            uids.entry(found.uid).or_default().push(found);
        }
        for (uid, found) in uids {
            let shared = result.duplicates.iter_mut().find(|d| d.uid == uid);
            if shared.is_none() && found.len() == 1 {
                result.found.extend(found);
                continue;
            }
            let straps = found.iter().filter_map(|f| f.strap);
            match shared {
                Some(duplicate) => duplicate.straps.extend(straps),
                None => result.duplicates.push(Duplicate { uid, straps: straps.collect() }),
            }
            for Found { node, .. } in found {
                (0..REPEATS).for_each(|_| out.push_back(HostMessage::Silence(node).to_frame()));
            }
        }
        result.found.sort_unstable_by_key(|f| f.node);
        result
    }
}

impl Candidate {
    fn is_silent(&self) -> bool {
        self.pieces.iter().all(BTreeSet::is_empty)
    }

    /// A UID piece with two values, and one of them.
    fn conflict(&self) -> Option<(u8, u16)> {
        let uid = self.pieces.iter().take(usize::from(NONCE_PIECE)).enumerate();
        uid.filter(|(_, p)| p.len() > 1).find_map(|(i, p)| p.first().map(|&bits| (i as u8, bits)))
    }

    /// Decides what is to be asked of a number, if it is not clear whose it is; a new number and its key if one
    /// of two boards was moved to it.
    fn look(
        &mut self,
        node: NodeId,
        numbers: &mut dyn FnMut() -> Option<NodeId>,
        result: &mut Discovered,
        full: &mut bool,
        out: &mut VecDeque<Frame>,
    ) -> Option<(NodeId, u32)> {
        if let Some((piece, bits)) = self.conflict() {
            let Some(to) = numbers() else {
                *full = true;
                self.give_up(node, result, out);
                return None;
            };
            send(out, None, Control::Split { from: node, piece, bits, to });
            send(out, Some(node), Control::Announce);
            self.pieces = Default::default();
            return Some((to, self.key));
        }
        if self.pieces.iter().all(|p| !p.is_empty()) {
            self.conclude(node, result, out);
        } else if self.tries < ANNOUNCE_TRIES {
            self.tries += 1;
            send(out, Some(node), Control::Announce);
        } else if self.is_silent() {
            self.state = State::Settled; // nobody heard that the number was given
        } else {
            self.give_up(node, result, out);
        }
        None
    }

    /// Nobody may go by a number of which it is not known whose it is.
    fn give_up(&mut self, node: NodeId, result: &mut Discovered, out: &mut VecDeque<Frame>) {
        self.state = State::Settled;
        result.garbled += 1;
        (0..REPEATS).for_each(|_| send(out, Some(node), Control::Release));
    }

    fn conclude(&mut self, node: NodeId, result: &mut Discovered, out: &mut VecDeque<Frame>) {
        let value = |piece: u8| self.pieces[usize::from(piece)].first().copied().unwrap_or(0);
        let uid = uid_from(self.key, core::array::from_fn(|i| value(i as u8)));
        let straps = &self.pieces[usize::from(STRAP_PIECE)];
        if straps.len() > 1 || self.pieces[usize::from(NONCE_PIECE)].len() > 1 {
            let straps = straps.iter().copied().filter(|&s| s != NO_STRAP).collect();
            result.duplicates.push(Duplicate { uid, straps });
            (self.state, self.tries) = (State::Quarantined, SILENCE_TRIES);
            self.silence(node, out);
        } else {
            let strap = Some(value(STRAP_PIECE)).filter(|&s| s != NO_STRAP);
            result.found.push(Found { node, uid, nonce: value(NONCE_PIECE), strap });
            self.state = State::Settled;
        }
    }

    /// Silences a number; who still announces itself after that has not heard it.
    fn silence(&mut self, node: NodeId, out: &mut VecDeque<Frame>) {
        self.tries -= 1;
        self.pieces = Default::default();
        (0..REPEATS).for_each(|_| out.push_back(HostMessage::Silence(node).to_frame()));
        send(out, Some(node), Control::Announce);
    }
}

fn send_discover(restart: bool, out: &mut VecDeque<Frame>) {
    send(out, None, Control::Discover { min: version::MIN, current: version::CURRENT, restart });
}

fn send(out: &mut VecDeque<Frame>, to: Option<NodeId>, control: Control) {
    out.push_back(HostMessage::Control(to, control).to_frame());
}
