//! A board's identity: written in blocks, read back whole, compared, and written again if it is not right.
//!
//! The step begins, and so is recorded, before the first byte is sent. A board that was found locked can no longer
//! show what it carries: it keeps its identity if an earlier run has read it back, and fails otherwise. Messages
//! say where bytes differ, never which: an identity may hold a key.

use std::collections::BTreeSet;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::block::{MAX_BLOCK, MAX_WRITE, Write};
use panel_protocol::host::{Answer, Request};
use panel_protocol::message::{BlockKind, Control};
use panel_protocol::reply::MAX_READ;
use panel_protocol::time::Micros;
use zeroize::Zeroizing;

use super::Lane;
use super::factory::{Factory, Work};
use crate::board::SlotState;
use crate::event::{Event, Step};
use crate::finishing::IdentityBytes;

/// Times an identity that reads back wrong is written again: an erase of the second block takes the first along.
const REWRITES: u8 = 2;

impl Lane {
    /// Boards are verified and have their keys: each gets its identity.
    pub(super) fn identity(&mut self, now: Micros) {
        let Some(place) = self.plan.recipe.finishing.identity else {
            self.ask_proof(now);
            return;
        };
        self.advance_step(Step::Identity, SlotState::Finishing);
        let mut boards = BTreeSet::new();
        for slot in self.active_slots() {
            let Some(board) = self.boards.get(&slot) else { continue };
            let (locked, reserved) = (board.was_locked(), board.reserved.as_ref());
            let written = reserved.is_some_and(|r| r.written);
            let len = reserved.and_then(|r| r.identity.as_ref()).map(|bytes| bytes.len());
            match len {
                None => self.fail(now, slot, Code::IdentityWriteFailed, "none was reserved for this board"),
                Some(len) if len > place.length as usize => {
                    let text = format!("{len} bytes, and its place has {}", place.length);
                    self.fail(now, slot, Code::IdentityWriteFailed, text);
                }
                Some(_) if locked && !written => {
                    let text = "found locked, and no earlier run has read its identity back";
                    self.fail(now, slot, Code::IdentityInDoubt, text);
                }
                Some(_) if locked => {
                    self.note(Some(slot), "identity", "found locked: read back in an earlier run".to_owned());
                    self.events.push_back(Event::IdentityWritten { slot });
                }
                Some(_) => _ = boards.insert(slot),
            }
        }
        self.work = Work { boards: boards.clone(), ..Work::default() };
        self.question(now, Factory::IdentityWrite, boards);
    }

    /// The identity of a board as it lies in flash: filled up to whole programming units.
    fn identity_bytes(&self, slot: Slot) -> Option<IdentityBytes> {
        let unit = usize::from(self.plan.recipe.chip.flash.unit);
        Some(self.boards.get(&slot)?.reserved.as_ref()?.identity.as_ref()?.padded(unit))
    }

    /// The next block to write; `None` when a board has them all.
    pub(super) fn identity_block(&self, slot: Slot) -> Option<Request> {
        let place = self.plan.recipe.finishing.identity?;
        let bytes = self.identity_bytes(slot)?;
        let part = bytes.get(self.work.offset..)?;
        let part = &part[..part.len().min(MAX_WRITE)];
        if part.is_empty() {
            return None;
        }
        let mut block = [0; MAX_BLOCK];
        let address = place.address + self.work.offset as u32;
        let len = Write { place: address, may_erase: place.may_erase, bytes: part }.encode(&mut block);
        Some(Request::Block(BlockKind::Identity, block[..len].to_vec()))
    }

    /// The next piece to read back; `None` when all of a board's identity was read.
    pub(super) fn identity_piece(&self, slot: Slot) -> Option<Request> {
        let place = self.plan.recipe.finishing.identity?;
        let left = self.identity_bytes(slot)?.len().saturating_sub(self.work.offset);
        let len = left.min(MAX_READ) as u8;
        let address = place.address + self.work.offset as u32;
        (len > 0).then_some(Request::Control(Control::Read { address, len }))
    }

    pub(super) fn identity_answer(&mut self, now: Micros, slot: Slot, answer: &Answer) {
        match answer {
            Answer::Memory(_, bytes) => {
                self.work.took(slot, bytes);
                self.answered_well(slot);
            }
            Answer::Done { refusal: Some(refusal), .. } => {
                let at = self.identity_address();
                self.fail(now, slot, Code::IdentityWriteFailed, format!("at {at:#010x}: {refusal:?}"));
            }
            Answer::Done { refusal: None, .. } => self.answered_well(slot),
            _ => {}
        }
    }

    fn identity_address(&self) -> u32 {
        self.plan.recipe.finishing.identity.map_or(0, |p| p.address) + self.work.offset as u32
    }

    /// A block is on every board that has one there: the next, or read back.
    pub(super) fn identity_sent(&mut self, now: Micros) {
        self.work.offset += MAX_WRITE;
        let boards = self.work.boards.clone();
        if boards.iter().any(|&slot| self.identity_block(slot).is_some()) {
            self.question(now, Factory::IdentityWrite, boards);
        } else {
            self.work.offset = 0;
            self.work.read.clear();
            self.question(now, Factory::IdentityRead, boards);
        }
    }

    /// A piece was read from every board that has one there: the next, or compare.
    pub(super) fn identity_read(&mut self, now: Micros) {
        self.work.offset += MAX_READ;
        let boards = self.work.boards.clone();
        if boards.iter().any(|&slot| self.identity_piece(slot).is_some()) {
            self.question(now, Factory::IdentityRead, boards);
            return;
        }
        self.work.offset = 0;
        let read = core::mem::take(&mut self.work.read);
        let active = self.active_slots();
        let mut wrong = BTreeSet::new();
        for slot in boards.into_iter().filter(|slot| active.contains(slot)) {
            let (Some(wanted), got) = (self.identity_bytes(slot), read.get(&slot)) else { continue };
            let differs = |got: &Zeroizing<Vec<u8>>| wanted.iter().zip(got.iter()).position(|(a, b)| a != b);
            match got.filter(|got| got.len() == wanted.len()).map(differs) {
                Some(None) => self.identity_written(slot),
                _ if self.work.rewrites < REWRITES => _ = wrong.insert(slot),
                at => {
                    let at = self.identity_address() + at.flatten().unwrap_or(0) as u32;
                    let text = format!("written {} times, differs from {at:#010x} on", REWRITES + 1);
                    self.fail(now, slot, Code::IdentityMismatch, text);
                }
            }
        }
        if wrong.is_empty() {
            self.ask_proof(now);
            return;
        }
        self.work.rewrites += 1;
        self.work.boards = wrong.clone();
        self.question(now, Factory::IdentityWrite, wrong);
    }

    /// It has its identity, and nobody needs the bytes any more.
    fn identity_written(&mut self, slot: Slot) {
        self.events.push_back(Event::IdentityWritten { slot });
        if let Some(reserved) = self.boards.get_mut(&slot).and_then(|b| b.reserved.as_mut()) {
            reserved.identity = None;
        }
    }
}
