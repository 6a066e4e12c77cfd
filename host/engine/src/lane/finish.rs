//! After the image: verification, valid mark, start of the application, and what became of lost boards.

use std::collections::BTreeMap;
use std::sync::Arc;

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::host::{Answer, Discovered, Image, Request};
use panel_protocol::ident::NodeId;
use panel_protocol::message::{Control, IdentifyPart, SEGMENT, StatusFlags};
use panel_protocol::node::{EraseUnit, ResetCause};
use panel_protocol::reply::{Info, RegionCheck, Statistics, uid_check};
use panel_protocol::time::{Micros, Span};

use super::find::{LOOKS, is_running};
use super::{Lane, Stage};
use crate::board::SlotState;
use crate::event::{Phase, Step};
use crate::verdict::Verdict;

/// What the slowest processor needs to hash one byte of flash.
const HASH_BYTE: Span = Span(1);

impl Lane {
    pub(super) fn verify(&mut self, now: Micros) {
        self.phase(Phase::Verify);
        self.advance_step(Step::Verify, SlotState::Verifying);
        self.ask_region(now, 0);
    }

    fn ask_region(&mut self, now: Micros, region: u8) {
        let nodes = self.active();
        self.stage = Stage::Verify(region);
        self.verified.clear();
        self.ask_check(now, region, &nodes);
    }

    /// Boards that get images of their own next: has the common part reached their flash?
    pub(super) fn ask_shared(&mut self, now: Micros, region: u8) {
        let nodes = self.sharing();
        if nodes.is_empty() {
            self.give_own(now);
            return;
        }
        self.stage = Stage::Shared(region);
        self.ask_check(now, region, &nodes);
    }

    pub(super) fn ask_check(&mut self, now: Micros, region: u8, nodes: &[NodeId]) {
        let request = Request::Control(Control::Verify { region });
        let bytes: usize = self.plan.regions.iter().map(|(_, bytes)| bytes.len()).sum();
        let patience = self.flash_time_left() + Span(HASH_BYTE.0 * bytes as u64);
        self.master.ask_all(now, &request, nodes, patience);
    }

    /// Half as much again as the flash typically needs for what boards had not programmed at the last census, and the longest
    /// times of the erases that go before it. Boards program in the image's order, and count its blank parts as programmed
    /// before their units are erased, last of all.
    fn flash_time_left(&self) -> Span {
        let segments = self.regions_segments().max(1);
        let boards = self.boards.values().filter(|b| b.is_active());
        let least = boards.filter_map(|b| b.status).map(|s| u64::from(s.programmed)).min().unwrap_or(0);
        let mut left = segments.saturating_sub(least);
        let programming = self.plan.flash_time.0 * left / segments * 3 / 2;
        let mut erases = 0;
        for unit in self.plan.units.iter().rev() {
            let data = self.data_segments(unit);
            if data == 0 || left > 0 {
                erases += unit.longest.0;
            }
            left = left.saturating_sub(data);
        }
        Span(programming + erases)
    }

    /// Pieces of 2 KiB of this unit in which the image has something but 0xFF.
    fn data_segments(&self, unit: &EraseUnit) -> u64 {
        let within = |(address, bytes): &(u32, Vec<u8>)| {
            let end = (unit.address + unit.size).saturating_sub(*address) as usize;
            let part = unit.address.saturating_sub(*address) as usize..end.min(bytes.len());
            let pieces = bytes.get(part).into_iter().flat_map(|bytes| bytes.chunks(SEGMENT));
            pieces.filter(|piece| piece.iter().any(|&b| b != 0xFF)).count() as u64
        };
        self.plan.regions.iter().map(within).sum()
    }

    fn regions_segments(&self) -> u64 {
        self.plan.images.get(self.bus.index()).map_or(0, |i| u64::from(i.begin().segments()))
    }

    pub(super) fn finish_answer(&mut self, now: Micros, slot: Slot, stage: Stage, answer: &Answer) {
        match (stage, answer) {
            (Stage::Verify(_), Answer::RegionCheck(check)) => {
                self.hurry(now, slot);
                let image = self.image_of(slot).cloned();
                self.check_region(now, slot, image, *check);
            }
            (Stage::Installed(_), Answer::RegionCheck(check)) => {
                let image = self.image_of(slot).cloned();
                self.check_region(now, slot, image, *check);
            }
            (Stage::Install(_), Answer::Status(status)) => self.installing(slot, *status),
            (Stage::Shared(_), Answer::RegionCheck(check)) => {
                let image = self.plan.images.get(self.bus.index()).cloned();
                self.check_region(now, slot, image, *check);
            }
            (Stage::Digest(region), Answer::Digest(_, got)) => self.check_digest(now, slot, region, got),
            (Stage::Statistics, Answer::Statistics(statistics)) => self.was_deaf(now, slot, statistics),
            (_, Answer::Done { refusal: Some(refusal), .. }) => {
                let code = match stage {
                    Stage::Commit => Code::CommitFailed,
                    Stage::Start => Code::ApplicationNotStarted,
                    _ => Code::Refused,
                };
                self.fail(now, slot, code, format!("{refusal:?}"));
            }
            _ => {}
        }
    }

    /// When three quarters have answered, the others have a little more time: nobody waits for one slow flash. With
    /// images of their own boards began one after the other, and the last one is no slower than the first.
    fn hurry(&mut self, now: Micros, slot: Slot) {
        self.verified.insert(slot);
        if self.has_windows() {
            return;
        }
        let late = self.unverified().len();
        let few = late > 0 && late * 4 <= late + self.verified.len();
        if few && self.hurry.is_none() {
            self.hurry = Some(now + self.plan.recipe.limits.patience);
        } else if late == 0 {
            self.hurry = None;
        }
    }

    fn unverified(&self) -> Vec<(Slot, NodeId)> {
        let nodes = self.active().into_iter().filter_map(|node| Some((self.slot_of(node)?, node)));
        nodes.filter(|(slot, _)| !self.verified.contains(slot)).collect()
    }

    /// Boards that still program when the others have long been checked get a second pass.
    pub(super) fn leave_unverified(&mut self) {
        self.hurry = None;
        if matches!(self.stage, Stage::Verify(_)) {
            for (slot, node) in self.unverified() {
                self.leave_behind(slot);
                self.master.drop_node(node);
            }
        }
    }

    fn check_region(&mut self, now: Micros, slot: Slot, image: Option<Arc<Image>>, check: RegionCheck) {
        let RegionCheck { region, matches, crc } = check;
        let wanted = image.and_then(|i| i.begin().regions().get(usize::from(region)).map(|r| r.crc));
        if !matches || wanted != Some(crc) {
            let wanted = wanted.unwrap_or(0);
            let text = format!("region {region}: CRC-32 {wanted:#010x} expected, {crc:#010x} read back");
            self.fail(now, slot, Code::VerifyMismatch, text);
        }
    }

    fn check_digest(&mut self, now: Micros, slot: Slot, region: u8, got: &[u8; 32]) {
        let wanted =
            self.image_of(slot).and_then(|i| i.begin().regions().get(usize::from(region)).map(|r| r.sha256));
        let hex = |bytes: &[u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        if wanted == Some(*got) {
            self.note(Some(slot), "digest", format!("region {region}: SHA-256 {}", hex(got)));
        } else {
            let wanted = wanted.map_or_else(String::new, |w| hex(&w));
            let text = format!("region {region}: SHA-256 {wanted} expected, {} read back", hex(got));
            self.fail(now, slot, Code::VerifyMismatch, text);
        }
    }

    pub(super) fn finish_asked(&mut self, now: Micros) {
        if self.stage == Stage::Statistics {
            self.questioned(now);
            return;
        }
        if self.active().is_empty() {
            self.after_group(now);
            return;
        }
        let regions = self.plan.regions.len() as u8;
        match self.stage {
            Stage::Shared(region) if region + 1 < regions => self.ask_shared(now, region + 1),
            Stage::Shared(_) => self.give_own(now),
            Stage::Verify(region) if region + 1 < regions => self.ask_region(now, region + 1),
            Stage::Verify(_) if self.plan.recipe.digest => self.ask_digest(now, 0),
            Stage::Digest(region) if region + 1 < regions => self.ask_digest(now, region + 1),
            Stage::Verify(_) | Stage::Digest(_) => self.keys(now),
            Stage::Prove => self.commit(now),
            Stage::Commit => self.await_staged(now),
            Stage::Install(then) => self.install_asked(now, then),
            Stage::Installed(region) if region + 1 < regions => self.ask_place(now, region + 1),
            Stage::Installed(_) => self.committed(now),
            Stage::Start => self.passed(now),
            _ => {}
        }
    }

    fn ask_digest(&mut self, now: Micros, region: u8) {
        let nodes = self.active();
        self.stage = Stage::Digest(region);
        self.master.ask_all(now, &Request::Control(Control::Digest { region }), &nodes, Span::ZERO);
    }

    /// Before the valid mark each board says once more who it is.
    pub(super) fn ask_proof(&mut self, now: Micros) {
        let nodes = self.active();
        if nodes.is_empty() {
            self.after_group(now);
            return;
        }
        self.stage = Stage::Prove;
        let request = Request::Control(Control::Identify(IdentifyPart::Info));
        self.master.ask_all(now, &request, &nodes, Span::ZERO);
    }

    pub(super) fn prove(&mut self, now: Micros, slot: Slot, info: &Info) {
        let Some(board) = self.boards.get(&slot) else { return };
        let Some(uid) = board.uid.filter(|uid| uid_check(uid, board.nonce) != info.uid_check) else { return };
        self.fail(now, slot, Code::Rebound, format!("was {uid}, another board answers"));
    }

    fn commit(&mut self, now: Micros) {
        self.phase(Phase::Finish);
        self.advance_step(Step::Commit, SlotState::Finishing);
        self.stage = Stage::Commit;
        let request = Request::Control(Control::Commit { session: self.master.session() });
        // Should the record area be full, it is erased first.
        let flash = &self.plan.recipe.chip.flash;
        let erase = flash.erase_unit(flash.record_base).map_or(Span::ZERO, |u| u.longest);
        let nodes = self.active();
        self.master.ask_all(now, &request, &nodes, erase + self.move_records());
    }

    pub(super) fn start_application(&mut self, now: Micros) {
        self.advance_step(Step::Start, SlotState::Finishing);
        self.stage = Stage::Start;
        let address = self.plan.regions.first().map_or(0, |(address, _)| *address);
        let nodes = self.active();
        let request = Request::Control(Control::StartApplication { address });
        self.master.ask_all(now, &request, &nodes, Span::ZERO);
    }

    pub(super) fn passed(&mut self, now: Micros) {
        for node in self.active() {
            if let Some(slot) = self.slot_of(node) {
                self.conclude(now, slot, Verdict::pass());
            }
        }
        self.after_group(now);
    }

    /// This group is done: deaf and lost boards are questioned, those that stay silent are looked for, then come stragglers, then
    /// further attempts.
    pub(super) fn after_group(&mut self, now: Micros) {
        let lost = self.lost_slots();
        let asked = self.deaf.keys().chain(&lost).filter_map(|s| self.boards.get(s)).filter_map(|b| b.node);
        let asked: BTreeMap<NodeId, Request> =
            asked.map(|node| (node, Request::Control(Control::Statistics))).collect();
        if asked.is_empty() {
            self.search(now);
        } else {
            self.stage = Stage::Statistics;
            self.master.ask_each(now, asked, Span::ZERO);
        }
    }

    /// Why a board misses frames: its own FIFO ran over, or its connection is poor.
    fn was_deaf(&mut self, now: Micros, slot: Slot, s: &Statistics) {
        let Statistics { overruns, errors, missed, data_frames, .. } = *s;
        let counts = format!("{missed} chunks missed, {data_frames} data frames heard, {errors} bus errors");
        if overruns > 0 {
            let text = format!("{overruns} frames lost to a full receive FIFO; {counts}");
            self.fail(now, slot, Code::ReceiveOverrun, text);
        } else {
            self.fail(now, slot, Code::ReceptionPoor, counts);
        }
    }

    fn questioned(&mut self, now: Micros) {
        for (slot, _) in core::mem::take(&mut self.deaf) {
            let last = self.boards.get(&slot).and_then(|b| b.status);
            if let Some(board) = self.boards.get_mut(&slot) {
                board.deaf = true;
            }
            self.mark_lost(slot, last);
        }
        self.search(now);
    }

    fn search(&mut self, now: Micros) {
        if self.lost_slots().is_empty() {
            self.next_group(now);
        } else {
            self.stage = Stage::Search;
            self.master.discover(now, false);
        }
    }

    fn lost_slots(&self) -> Vec<Slot> {
        self.boards.values().filter(|b| b.lost.is_some() && b.verdict.is_none()).map(|b| b.slot).collect()
    }

    /// Boards that are lost and did not restart by themselves are reset: who answers then was alive but mute.
    pub(super) fn reset_lost(&mut self, now: Micros) {
        let slots: Vec<Slot> =
            self.lost_slots().into_iter().filter(|&s| self.own_line(s).is_some()).collect();
        if slots.is_empty() {
            self.next_group(now);
            return;
        }
        self.stage = Stage::SearchReset;
        self.restart(&slots);
    }

    pub(super) fn search_again(&mut self, now: Micros) {
        self.stage = Stage::SearchAgain;
        self.master.discover(now, false);
    }

    pub(super) fn next_group(&mut self, now: Micros) {
        let lost = self.lost_slots();
        for slot in lost {
            self.lost_for_good(now, slot);
        }
        if !self.stragglers.is_empty() {
            self.catch_up(now);
            return;
        }
        let again = core::mem::take(&mut self.again);
        for slot in &again {
            if let Some(board) = self.boards.get_mut(slot) {
                board.verdict = None;
            }
        }
        self.begin_attempts(now, again);
    }

    /// Boards without a number were found: those that were lost have restarted.
    pub(super) fn found_again(&mut self, now: Micros, found: &Discovered) {
        let mut nodes = Vec::new();
        let after_reset = self.stage == Stage::SearchAgain;
        for board in &found.found {
            let lost = self
                .boards
                .values_mut()
                .find(|b| b.lost.is_some() && b.verdict.is_none() && b.uid == Some(board.uid));
            match lost {
                Some(b) if after_reset => {
                    let slot = b.slot;
                    self.master.release(board.node);
                    self.was_mute(now, slot);
                }
                Some(b) => {
                    (b.node, b.nonce) = (Some(board.node), board.nonce);
                    nodes.push(board.node);
                }
                None => self.master.release(board.node),
            }
        }
        if after_reset {
            let deaf =
                |b: &crate::board::Board| b.lost.is_some() && b.verdict.is_none() && is_running(b.current);
            if self.looks < LOOKS && self.boards.values().any(deaf) {
                self.looks += 1;
                self.search_again(now);
            } else {
                self.next_group(now);
            }
            return;
        }
        if nodes.is_empty() {
            self.reset_lost(now);
            return;
        }
        self.stage = Stage::SearchInfo;
        let request = Request::Control(Control::Identify(IdentifyPart::Info));
        self.master.ask_all(now, &request, &nodes, Span::ZERO);
    }

    pub(super) fn was_reset(&mut self, now: Micros, slot: Slot, info: &Info) {
        let cause = match info.reset_cause {
            ResetCause::PowerOn => "power was interrupted",
            ResetCause::Pin => "NRST was pulled",
            ResetCause::BrownOut => "brown-out: its supply dipped",
            ResetCause::Software => "its software reset itself",
            ResetCause::Watchdog => "its watchdog ran out",
        };
        let supply = info.supply_mv;
        self.fail(now, slot, Code::BoardReset, format!("restarted: {cause}; supply now {supply} mV"));
    }

    /// The board answers again after a reset.
    fn was_mute(&mut self, now: Micros, slot: Slot) {
        let Some(board) = self.boards.get(&slot) else { return };
        let last = board.lost.flatten();
        let erased = last.is_none_or(|s| s.flags.contains(StatusFlags::ERASING) || s.programmed == 0);
        let (code, text) = match (board.began, erased) {
            _ if board.deaf => (Code::ReceptionPoor, "misses too much of what is sent"),
            _ if board.step == Step::Key => (Code::BoardKey, "never came back from making its key"),
            (true, true) => (Code::SilentAfterErase, "nothing heard since its flash was erased"),
            (true, false) => (Code::BoardSilent, "stopped answering"),
            (false, _) if last.is_none() => (Code::ReceptionPoor, "misses too much of what is sent"),
            (false, _) => (Code::BoardSilent, "stopped answering"),
        };
        self.fail(now, slot, code, format!("{text}; answers again after a reset"));
    }

    /// A lost board that does not come back: its current says why.
    fn lost_for_good(&mut self, now: Micros, slot: Slot) {
        let Some((current, step)) = self.boards.get(&slot).map(|b| (b.current, b.step)) else { return };
        let (code, text) = match current {
            Some(ma) if step == Step::Key && is_running(current) => {
                (Code::BoardKey, format!("never came back from making its key, but draws {ma} mA"))
            }
            Some(ma) if is_running(current) => {
                (Code::BoardBusOff, format!("neither hears nor answers, but draws {ma} mA"))
            }
            Some(ma) => (Code::BoardSilent, format!("stopped answering, draws {ma} mA")),
            None => (Code::BoardSilent, "stopped answering".to_owned()),
        };
        self.fail(now, slot, code, text);
    }
}
