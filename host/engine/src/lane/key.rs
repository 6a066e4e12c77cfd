//! The key of a board that makes its own: made, its request read, certified by whoever keeps the identities.
//!
//! The secret half never leaves the board; what comes is a certificate request, which the engine passes on as it was
//! received and does not look into. Boards that say they cannot, and boards that were found locked, skip the step.
//! Invariant: the identity of a board that made its key is the one that came with its certificate.

use std::collections::BTreeSet;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::block::{MAX_BLOCK, MakeKey};
use panel_protocol::host::{Answer, Request};
use panel_protocol::message::{BlockKind, Control};
use panel_protocol::node::{Capabilities, REQUEST_ADDRESS};
use panel_protocol::reply::MAX_READ;
use panel_protocol::time::Micros;

use super::factory::{Factory, Work};
use super::{Lane, Stage};
use crate::board::SlotState;
use crate::event::Step;
use crate::finishing::{IdentityBytes, KeyMade, Refused, common_name};

/// Bytes of the length that stands before the request.
const LENGTH: usize = 2;
/// Longest certificate request that is read from a board: three times what one with a key of 256 bits needs.
const MAX_REQUEST: usize = 1024;

impl Lane {
    /// Boards are verified: those that can make their keys.
    pub(super) fn keys(&mut self, now: Micros) {
        let able = |slot: &Slot| {
            let board = self.boards.get(slot);
            let info = board.filter(|b| !b.was_locked()).and_then(|b| b.info);
            info.is_some_and(|i| i.capabilities.contains(Capabilities::KEYS))
        };
        let boards: BTreeSet<Slot> = match self.plan.recipe.finishing.key {
            Some(_) => self.active_slots().into_iter().filter(able).collect(),
            None => BTreeSet::new(),
        };
        if boards.is_empty() {
            self.identity(now);
            return;
        }
        for &slot in &boards {
            self.enter_step(slot, Step::Key);
            self.set_state(slot, SlotState::Finishing);
        }
        self.work = Work { boards: boards.clone(), ..Work::default() };
        self.question(now, Factory::KeyMake, boards);
    }

    /// What a board is asked: to make its key.
    pub(super) fn key_wish(&self, slot: Slot) -> Option<Request> {
        let board = self.boards.get(&slot)?;
        let serial = board.reserved.as_ref().and_then(|r| r.serial.as_deref());
        let name = common_name(serial, board.uid?);
        let mut block = [0; MAX_BLOCK];
        let wish = MakeKey { kind: self.plan.recipe.finishing.key?, name: name.as_bytes() };
        let len = wish.encode(&mut block);
        Some(Request::Block(BlockKind::Key, block[..len].to_vec()))
    }

    /// The next piece of a board's request; `None` when it is whole.
    pub(super) fn request_piece(&self, slot: Slot) -> Option<Request> {
        let read = self.work.read.get(&slot).map_or(&[][..], |read| read);
        let len = wanted(read).saturating_sub(read.len()).min(MAX_READ) as u8;
        let address = REQUEST_ADDRESS + read.len() as u32;
        (len > 0).then_some(Request::Control(Control::Read { address, len }))
    }

    pub(super) fn key_answer(&mut self, now: Micros, slot: Slot, stage: Factory, answer: &Answer) {
        match answer {
            Answer::Done { refusal: Some(refusal), .. } => {
                let what = if stage == Factory::KeyMake { "asked for its key" } else { "its request" };
                self.fail(now, slot, Code::BoardKey, format!("{what}: {refusal:?}"));
            }
            Answer::Done { refusal: None, .. } => self.answered_well(slot),
            Answer::Memory(address, bytes) => {
                let got = self.work.read.get(&slot).map_or(0, |read| read.len());
                if bytes.is_empty() || *address != REQUEST_ADDRESS + got as u32 {
                    return; // not the piece that was asked for: it is asked again
                }
                self.work.took(slot, bytes);
                self.answered_well(slot);
                self.check_length(now, slot);
            }
            _ => {}
        }
    }

    fn check_length(&mut self, now: Micros, slot: Slot) {
        let read = self.work.read.get(&slot).map_or(&[][..], |read| read);
        let len = wanted(read) - LENGTH;
        if read.len() >= LENGTH && !(1..=MAX_REQUEST).contains(&len) {
            let text = format!("its request has {len} bytes, 1 to {MAX_REQUEST} are read");
            self.fail(now, slot, Code::BoardKey, text);
        }
    }

    /// Every board has made its key, or has failed.
    pub(super) fn read_requests(&mut self, now: Micros) {
        let boards = self.active_of_work();
        self.question(now, Factory::KeyRead, boards);
    }

    /// A piece was read from every board that has one left: the next, or the certificates.
    pub(super) fn requests_read(&mut self, now: Micros) {
        let boards = self.active_of_work();
        if boards.iter().any(|&slot| self.request_piece(slot).is_some()) {
            self.question(now, Factory::KeyRead, boards);
            return;
        }
        let read = core::mem::take(&mut self.work.read);
        for slot in &boards {
            let (Some(uid), Some(bytes)) = (self.boards.get(slot).and_then(|b| b.uid), read.get(slot)) else {
                continue;
            };
            let request = bytes.get(LENGTH..).unwrap_or_default().to_vec();
            self.note(
                Some(*slot),
                "key",
                format!("made by the board; its request has {} bytes", request.len()),
            );
            self.certify.push(KeyMade { slot: *slot, uid, request });
        }
        self.stage = Stage::Certify;
        self.work.todo = self.certify.iter().map(|made| made.slot).collect();
        if self.work.todo.is_empty() {
            self.identity(now);
        }
    }

    /// The answer for one board: its identity with the certificate, or why there is none.
    pub(crate) fn certified(&mut self, now: Micros, slot: Slot, answer: Result<IdentityBytes, Refused>) {
        if self.stage != Stage::Certify || !self.work.todo.remove(&slot) {
            return;
        }
        match answer {
            Ok(identity) => {
                if let Some(reserved) = self.boards.get_mut(&slot).and_then(|b| b.reserved.as_mut()) {
                    reserved.identity = Some(identity);
                }
            }
            Err(refused) => self.fail(now, slot, refused.code, refused.text),
        }
        if !self.work.todo.is_empty() {
            return;
        }
        if self.active().is_empty() {
            self.after_group(now);
        } else {
            self.identity(now);
        }
    }

    /// Boards of the work under way that still take part.
    fn active_of_work(&self) -> BTreeSet<Slot> {
        self.work.boards.intersection(&self.active_slots()).copied().collect()
    }
}

/// Bytes of length and request together, as far as they are known.
fn wanted(read: &[u8]) -> usize {
    read.first_chunk().map_or(LENGTH, |length| LENGTH + usize::from(u16::from_le_bytes(*length)))
}
