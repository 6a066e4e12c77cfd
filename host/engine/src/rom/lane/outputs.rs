//! What attempts want, carried out: bytes and frames, lines, events, and the end.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::frame::{Frame, Id};
use panel_protocol::node::{Protection, Uid};
use panel_protocol::time::Micros;
use stm32_rom_bootloader as stm32;
use stm32_rom_bootloader::{LineAction, LineResult};

use super::{RateFor, RomLane};
use crate::board::{Board, SlotState};
use crate::event::{Event, Phase, PortOutput, Step};
use crate::finishing::{LockProof, RestartedBy};
use crate::lines::{self, OwnLine};
use crate::rom::attempt::{Answers, Output, Trouble};
use crate::rom::session::Packet;
use crate::verdict::{STOPPED, Verdict};

impl RomLane {
    /// Carries out what the board's attempt wants until it waits.
    pub(super) fn pump(&mut self, now: Micros, slot: Slot) {
        while let Some(working) = self.working.get_mut(&slot) {
            match working.attempt.poll() {
                Output::Wait(until) => {
                    working.wait = until;
                    if self.interrupted && !working.attempt.writes_options() {
                        self.fail(now, slot, Code::Interrupted, STOPPED);
                    }
                    return;
                }
                Output::Send(Packet::Bytes(bytes)) => {
                    self.ports.entry(slot).or_default().push_back(PortOutput::Write(bytes));
                }
                Output::Send(Packet::Frame(frame)) => self.frames.extend(on_bus(&frame)),
                Output::Line(action) => self.line(now, slot, action),
                Output::Step(step) => self.step(slot, step),
                Output::Identified(uid) => self.identified(now, slot, uid),
                Output::Reserve => self.wait_for_identity(now, slot),
                Output::IdentityWritten => self.events.push_back(Event::IdentityWritten { slot }),
                Output::LockProved(answers) => self.lock_proved(slot, answers),
                Output::Note(topic, text) => {
                    self.events.push_back(Event::Note { slot: Some(slot), topic, text });
                }
                Output::Watch(event) => self.watch(slot, &event),
                Output::Done(result) => self.ended(now, slot, result),
            }
        }
    }

    fn line(&mut self, now: Micros, slot: Slot, action: LineAction) {
        let fresh = self.working.get_mut(&slot).is_some_and(|w| core::mem::take(&mut w.fresh));
        let possible = match action {
            LineAction::EnterRom if fresh => {
                self.line_done(now, slot, true);
                return;
            }
            LineAction::EnterRom => {
                self.boot0(&[slot], true);
                self.reset(slot, false)
            }
            LineAction::PowerCycleIntoRom => {
                self.boot0(&[slot], true);
                self.reset(slot, true)
            }
            LineAction::StartApplication => {
                self.boot0(&[slot], false);
                self.reset(slot, false)
            }
            LineAction::BitRate(rate) => {
                self.want_rate(now, super::entry::classic(rate), RateFor::Session(slot));
                true
            }
            _ => false,
        };
        if !possible {
            self.line_done(now, slot, false);
        }
    }

    pub(super) fn line_done(&mut self, now: Micros, slot: Slot, done: bool) {
        if let Some(working) = self.working.get_mut(&slot) {
            let result = if done { LineResult::Done } else { LineResult::Unavailable };
            working.attempt.handle_line(now, result);
            self.pump(now, slot);
        }
    }

    fn step(&mut self, slot: Slot, step: Step) {
        self.enter_step(slot, step);
        match step {
            Step::Identify => self.set_state(slot, SlotState::Found),
            Step::Load => self.set_state(slot, SlotState::Loading(0)),
            Step::Program => {
                self.phase(Phase::Program);
                self.set_state(slot, SlotState::Erasing);
            }
            Step::Verify => self.set_state(slot, SlotState::Verifying),
            Step::Identity | Step::Options | Step::Lock | Step::ProveLock | Step::Start => {
                self.set_state(slot, SlotState::Finishing);
            }
            _ => {}
        }
    }

    fn identified(&mut self, now: Micros, slot: Slot, uid: Uid) {
        let twin = self.boards.values().find(|b| b.slot != slot && b.uid == Some(uid)).map(|b| b.slot);
        let before = self.boards.get(&slot).and_then(|b| b.uid).filter(|before| *before != uid);
        if let Some(board) = self.boards.get_mut(&slot) {
            board.uid = Some(uid);
        }
        self.events.push_back(Event::Identified { slot, uid });
        if let Some(before) = before {
            self.fail(now, slot, Code::Rebound, format!("was {before}, now {uid}"));
        } else if crate::board::implausible(&uid) {
            self.fail(now, slot, Code::ImplausibleUid, format!("UID {uid}"));
        } else if let Some(twin) = twin {
            // Nobody knows which of them is which: neither goes on.
            let text = format!("UID {uid} is in slots {twin}, {slot}");
            if self.boards.get(&twin).is_some_and(Board::is_active) {
                self.fail(now, twin, Code::DuplicateUid, text.clone());
            }
            self.fail(now, slot, Code::DuplicateUid, text);
        }
    }

    fn watch(&mut self, slot: Slot, event: &stm32::Event) {
        match *event {
            stm32::Event::Progress { step: stm32::Step::Write, done, total } => {
                let percent = (u64::from(done) * 100 / u64::from(total.max(1))) as u8;
                let loading = self.boards.get(&slot).is_some_and(|b| b.step == Step::Load);
                let state =
                    if loading { SlotState::Loading(percent) } else { SlotState::Programming(percent) };
                self.set_state(slot, state);
                if !loading {
                    self.progress(slot, u64::from(done));
                }
            }
            stm32::Event::Progress { step: stm32::Step::Verify, done, total } => {
                self.progress(slot, u64::from(total) + u64::from(done));
            }
            stm32::Event::Note(note) => {
                self.events.push_back(Event::Note {
                    slot: Some(slot),
                    topic: "rom",
                    text: format!("{note:?}"),
                });
            }
            _ => {}
        }
    }

    /// Bytes of all boards together, told by the hundredth.
    fn progress(&mut self, slot: Slot, done: u64) {
        let Some(working) = self.working.get_mut(&slot) else { return };
        working.done.0 = done.min(working.done.1);
        let each = working.done.1;
        let boards = self.boards.values().filter(|b| !b.bad).count() as u64;
        let over = self.boards.values().filter(|b| b.loaded.is_some() || b.verdict.is_some()).count() as u64;
        let sent = self.working.values().map(|w| w.done.0).sum::<u64>() + over * each;
        let total = boards * each;
        let percent = sent * 100 / total.max(1);
        if percent != self.told {
            self.told = percent;
            self.events.push_back(Event::Progress { bus: self.index, sent, total });
        }
    }

    fn ended(&mut self, now: Micros, slot: Slot, result: Result<(), Trouble>) {
        let step = self.boards.get(&slot).map_or(Step::Power, |b| b.step);
        match result {
            Err(Trouble { mut code, mut detail }) => {
                if let (Code::RomProtected, Step::Identify, Some(unit)) =
                    (code, step, self.plan.finished.get(&slot))
                {
                    code = Code::RomFinished;
                    detail = format!("{unit}; what is there now is locked and does not say its UID");
                }
                let lines = self.plan.panel.slot(slot).map(|s| s.lines);
                if let (Code::RomNoSync, Some(None), Some(rom)) =
                    (code, lines.map(|l| l.boot0), &self.plan.rom)
                {
                    let way = rom.device.entry_conditions();
                    detail = format!(
                        "{detail}; without a boot0 line {} starts its ROM with {way}",
                        rom.device.name
                    );
                }
                self.conclude(now, slot, Verdict::failure(code, step, detail));
            }
            Ok(()) if step == Step::Load => self.loaded(now, slot),
            Ok(()) => self.conclude(now, slot, Verdict::pass()),
        }
    }

    /// It answers, and does not let itself be read.
    fn lock_proved(&mut self, slot: Slot, answers: Answers) {
        let by = match lines::own_line(&self.plan.panel, slot) {
            Some(OwnLine::Power) => RestartedBy::Power,
            Some(OwnLine::Nrst) | None => RestartedBy::Reset,
        };
        let Some(board) = self.boards.get_mut(&slot) else { return };
        board.proved = true;
        let Answers { get_id: identify, address: read_address, read } = answers;
        let (level, restarted_by) = (Protection::Level1, Some(by));
        let proof = LockProof { level, found_locked: false, restarted_by, identify, read_address, read };
        self.events.push_back(Event::LockProved { slot, proof });
    }

    /// The agent runs. It stays powered, and silent until its bus is the panel's.
    fn loaded(&mut self, now: Micros, slot: Slot) {
        if let Some(board) = self.boards.get_mut(&slot).filter(|b| Board::is_active(b)) {
            board.loaded = Some(now);
        }
        self.set_state(slot, SlotState::Searching);
        self.dismiss(slot);
        self.go_on(now);
    }
}

fn on_bus(frame: &stm32::Frame) -> Option<Frame> {
    let id = Id::Standard(frame.id());
    if frame.is_fd() { Frame::fd(id, frame.data()) } else { Frame::classical(id, frame.data()) }
}
