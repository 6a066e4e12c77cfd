//! Option bytes and readout protection: set, loaded by a restart, read back or proven.
//!
//! Option bytes are read first and written only where they differ, all of them in one block, because each write
//! costs a board an erase. The lock is proven by what a board answers after it has started anew: it says who it is
//! and which protection it has, and refuses to be read. The answers go into the record as they came.

use std::collections::BTreeSet;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::block::{MAX_BLOCK, Write};
use panel_protocol::host::{Answer, Request};
use panel_protocol::message::{BlockKind, Control, IdentifyPart, LEVEL2_CONSENT, Refusal};
use panel_protocol::node::Protection;
use panel_protocol::reply::{Info, uid_check};
use panel_protocol::time::{Micros, Span};

use super::factory::{Factory, Work};
use super::{Lane, Stage};
use crate::board::SlotState;
use crate::event::{Event, Step};
use crate::finishing::{self, Lock, LockProof, RestartedBy};
use crate::rom::{RomPlan, is_agent};

/// Bytes asked for when a board has to refuse.
const PROOF_READ: u8 = 16;
/// What a board needs to make a key: three tries are more than the 5 s that the protocol allows.
const KEY: Span = Span::from_millis(2000);
/// What a board's flash takes at most beside what is asked for: hashing, an erase that was begun before.
const SLACK: Span = Span::from_millis(100);

impl Lane {
    /// The image is committed: option bytes, lock, start, whatever the recipe says.
    pub(super) fn committed(&mut self, now: Micros) {
        if self.hand_to_rom() {
            return;
        }
        if self.plan.recipe.finishing.options.is_empty() {
            self.lock(now);
            return;
        }
        self.advance_step(Step::Options, SlotState::Finishing);
        self.work = Work::default();
        self.ask_options(now);
    }

    /// Boards that run an agent would lose it by the restart that option bytes and lock need: they go on through their
    /// ROM, and this bus waits. False if there are none.
    fn hand_to_rom(&mut self) -> bool {
        if !self.plan.rom.as_ref().is_some_and(RomPlan::finishes_agents) {
            return false;
        }
        let agent = |slot: &Slot| self.plan.ways.get(slot).is_some_and(|way| is_agent(*way));
        self.to_finish = self.active_slots().into_iter().filter(agent).collect();
        for slot in &self.to_finish {
            let Some(board) = self.boards.get_mut(slot) else { continue };
            board.to_finish = true;
            if let Some(node) = board.node.take() {
                self.master.drop_node(node);
                self.master.release(node);
            }
        }
        if self.to_finish.is_empty() {
            return false;
        }
        self.deadline = None;
        self.stage = Stage::RomFinish;
        true
    }

    /// They are back with their verdicts.
    pub(super) fn rom_finished(&mut self, now: Micros) {
        self.deadline = Some(now + self.plan.budget(self.bus.index()));
        let again = self.boards.values_mut();
        self.again.extend(again.filter_map(|b| core::mem::take(&mut b.again).then_some(b.slot)));
        if self.active().is_empty() {
            self.after_group(now);
        } else {
            // Boards with a bootloader of their own are left.
            self.committed(now);
        }
    }

    fn ask_options(&mut self, now: Micros) {
        let boards = self.active_slots();
        self.work.read.clear();
        self.work.boards = boards.clone();
        self.question(now, Factory::OptionsRead, boards);
    }

    /// First offset of the declared option bytes and the offset after the last.
    fn option_span(&self) -> (u8, u8) {
        let options = &self.plan.recipe.finishing.options;
        let from = options.iter().map(|o| o.offset).min().unwrap_or(0);
        let end = options.iter().map(|o| o.offset.saturating_add(o.bytes.len() as u8)).max().unwrap_or(0);
        (from, end)
    }

    /// What each kind of question looks like for one board; `None` if there is nothing to ask it.
    pub(super) fn request(&self, slot: Slot, stage: Factory) -> Option<Request> {
        let recipe = &self.plan.recipe;
        let read = |address, len| Request::Control(Control::Read { address, len });
        Some(match stage {
            Factory::KeyMake => return self.key_wish(slot),
            Factory::KeyRead => return self.request_piece(slot),
            Factory::IdentityWrite => return self.identity_block(slot),
            Factory::IdentityRead => return self.identity_piece(slot),
            Factory::OptionsRead => {
                let (from, end) = self.option_span();
                read(recipe.chip.options.base + u32::from(from), end - from)
            }
            Factory::OptionsWrite => {
                let mut block = [0; MAX_BLOCK];
                let place = self.option_span().0.into();
                let bytes = &self.merged(slot)?;
                let len = Write { place, may_erase: false, bytes }.encode(&mut block);
                Request::Block(BlockKind::Options, block[..len].to_vec())
            }
            Factory::Bound | Factory::ProofInfo => Request::Control(Control::Identify(IdentifyPart::Info)),
            Factory::Lock => {
                let consent =
                    if matches!(recipe.finishing.lock, Lock::Level2(_)) { LEVEL2_CONSENT } else { 0 };
                Request::Control(Control::SetProtection { level: recipe.finishing.lock.level()?, consent })
            }
            Factory::ProofRead => read(self.plan.regions.first()?.0, PROOF_READ),
            Factory::ResetTold => Request::Control(Control::Reset),
            Factory::PowerCycle | Factory::StartUp(_) | Factory::Find | Factory::Sense => return None,
        })
    }

    pub(super) fn factory_patience(&self, stage: Factory) -> Span {
        let chip = self.plan.recipe.chip;
        let work = match stage {
            Factory::IdentityWrite => {
                let erase = chip.flash.runs.iter().map(|run| run.longest.0).max().unwrap_or(0);
                erase + 256 * chip.flash.program_longest.0
            }
            Factory::OptionsWrite | Factory::Lock => chip.options.longest.0,
            Factory::KeyMake => KEY.0,
            _ => 0,
        };
        Span(work) + SLACK
    }

    /// The code of a board that does not give a useful answer.
    pub(super) const fn code_of(stage: Factory) -> Code {
        match stage {
            Factory::KeyMake | Factory::KeyRead => Code::BoardKey,
            Factory::IdentityWrite | Factory::IdentityRead => Code::IdentityWriteFailed,
            Factory::OptionsRead | Factory::OptionsWrite => Code::OptionBytesFailed,
            Factory::Lock => Code::LockFailed,
            _ => Code::LockNotProven,
        }
    }

    pub(super) fn protection_answer(&mut self, now: Micros, slot: Slot, stage: Factory, answer: &Answer) {
        match (stage, answer) {
            (Factory::OptionsRead, Answer::Memory(_, bytes)) => {
                self.work.read.insert(slot, bytes.clone().into());
                self.answered_well(slot);
            }
            (Factory::OptionsWrite | Factory::Lock, Answer::Done { refusal: None, .. }) => {
                self.answered_well(slot);
            }
            (Factory::Bound, Answer::Info(info)) => {
                self.answered_well(slot);
                self.prove(now, slot, info);
            }
            (Factory::ProofInfo, Answer::Info(info)) => self.check_lock(now, slot, info),
            (Factory::ProofRead, Answer::Memory(address, bytes)) => {
                let text = format!("{} bytes at {address:#010x} could be read after the lock", bytes.len());
                self.fail(now, slot, Code::LockNotProven, text);
            }
            (Factory::ProofRead, Answer::Done { refusal: Some(Refusal::Protected), .. }) => {
                self.answered_well(slot);
                self.lock_proved(slot);
            }
            (_, Answer::Done { refusal: Some(refusal), .. }) => {
                self.fail(now, slot, Self::code_of(stage), format!("refused: {refusal:?}"));
            }
            _ => {}
        }
    }

    /// Option bytes are read: where they differ they are written, after the restart they have to be right.
    pub(super) fn options_read(&mut self, now: Micros) {
        let written = self.work.restart_for.is_some();
        let mut wrong = BTreeSet::new();
        for slot in core::mem::take(&mut self.work.boards) {
            let Some(bytes) = self.work.read.get(&slot) else { continue };
            let Some(text) =
                finishing::first_difference(&self.plan.recipe.finishing.options, bytes, self.option_span().0)
            else {
                continue;
            };
            let locked = self.boards.get(&slot).is_some_and(|b| b.was_locked());
            if written {
                self.fail(now, slot, Code::OptionBytesFailed, format!("after the restart {text}"));
            } else if locked {
                self.fail(now, slot, Code::OptionBytesFailed, format!("found locked, {text}"));
            } else {
                self.note(Some(slot), "options", text);
                wrong.insert(slot);
            }
        }
        if wrong.is_empty() {
            self.lock(now);
        } else {
            self.work.boards = wrong.clone();
            self.question(now, Factory::OptionsWrite, wrong);
        }
    }

    /// The option bytes of a board with the declared bits in them.
    fn merged(&self, slot: Slot) -> Option<Vec<u8>> {
        let mut bytes = self.work.read.get(&slot)?.to_vec();
        finishing::merge(&self.plan.recipe.finishing.options, &mut bytes, self.option_span().0);
        Some(bytes)
    }

    /// Last of all the readout protection; before that each board says once more who it is.
    fn lock(&mut self, now: Micros) {
        if self.active().is_empty() {
            self.after_group(now);
            return;
        }
        if self.plan.recipe.finishing.lock.level().is_none() {
            self.start_or_pass(now);
            return;
        }
        self.advance_step(Step::Lock, SlotState::Finishing);
        self.work = Work::default();
        let boards = self.active_slots();
        self.question(now, Factory::Bound, boards);
    }

    pub(super) fn set_lock(&mut self, now: Micros) {
        let open = |slot: &Slot| self.boards.get(slot).is_some_and(|b| !b.was_locked());
        let boards: BTreeSet<Slot> = self.active_slots().into_iter().filter(open).collect();
        self.work.boards = boards.clone();
        self.question(now, Factory::Lock, boards);
    }

    /// The protection is set and acts after a restart.
    pub(super) fn lock_set(&mut self, now: Micros) {
        self.advance_step(Step::ProveLock, SlotState::Finishing);
        self.restart_boards(now, Step::ProveLock);
    }

    /// Boards have started anew.
    pub(super) fn restarted(&mut self, now: Micros) {
        if self.active().is_empty() {
            self.after_group(now);
            return;
        }
        if self.work.restart_for == Some(Step::Options) {
            self.ask_options(now);
        } else {
            let boards = self.active_slots();
            self.question(now, Factory::ProofInfo, boards);
        }
    }

    fn check_lock(&mut self, now: Micros, slot: Slot, info: &Info) {
        self.answered_well(slot);
        let Some(board) = self.boards.get(&slot) else { return };
        let wanted = self.plan.recipe.finishing.lock.level().unwrap_or(Protection::Open);
        if let Some(uid) = board.uid.filter(|uid| uid_check(uid, board.nonce) != info.uid_check) {
            self.fail(now, slot, Code::Rebound, format!("was {uid}, another board answers"));
        } else if info.protection != wanted {
            let (wanted, got) = (wanted as u8, info.protection as u8);
            let text = format!("level {wanted} was set, level {got} is reported after the restart");
            self.fail(now, slot, Code::LockFailed, text);
        } else if let Some(raw) = board.node.and_then(|node| self.master.raw_answer(node)) {
            self.work.identify.insert(slot, raw.to_vec());
        }
    }

    pub(super) fn ask_memory(&mut self, now: Micros) {
        let boards = self.active_slots();
        self.question(now, Factory::ProofRead, boards);
    }

    /// It answers, says that it is protected, and does not let itself be read.
    fn lock_proved(&mut self, slot: Slot) {
        let level = self.plan.recipe.finishing.lock.level();
        let read_address = self.plan.regions.first().map_or(0, |(address, _)| *address);
        let Some(board) = self.boards.get_mut(&slot) else { return };
        let (Some(level), Some(node)) = (level, board.node) else { return };
        let (Some(identify), Some(read)) = (self.work.identify.remove(&slot), self.master.raw_answer(node))
        else {
            return;
        };
        let found_locked = board.was_locked();
        let by = if self.work.by_power.contains(&slot) { RestartedBy::Power } else { RestartedBy::Reset };
        let restarted_by = (!found_locked).then_some(by);
        board.proved = true;
        let read = read.to_vec();
        let proof = LockProof { level, found_locked, restarted_by, identify, read_address, read };
        self.events.push_back(Event::LockProved { slot, proof });
    }

    /// Nothing is left to be set: the application starts, or the boards have passed.
    pub(super) fn start_or_pass(&mut self, now: Micros) {
        if self.plan.recipe.start_application {
            self.start_application(now);
        } else {
            self.stage = Stage::Start;
            self.passed(now);
        }
    }
}
