//! After the image: verification, valid mark, start of the application, and what became of lost boards.

use panel_backplane::Slot;
use panel_codes::Code;
use panel_protocol::host::{Answer, Discovered, Request};
use panel_protocol::message::{Control, StatusFlags};
use panel_protocol::node::ResetCause;
use panel_protocol::reply::{Info, RegionCheck};
use panel_protocol::time::{Micros, Span};

use super::find::is_running;
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
        let request = Request::Control(Control::Verify { region });
        let bytes: usize = self.plan.regions.iter().map(|(_, bytes)| bytes.len()).sum();
        let patience = self.flash_time_left() + Span(HASH_BYTE.0 * bytes as u64);
        self.master.ask_all(now, &request, &nodes, patience);
    }

    /// Half as much again as the flash typically needs for what boards had not programmed at the last census.
    fn flash_time_left(&self) -> Span {
        let segments = self.regions_segments().max(1);
        let boards = self.boards.values().filter(|b| b.is_active());
        let least = boards.filter_map(|b| b.status).map(|s| u64::from(s.programmed)).min().unwrap_or(0);
        Span(self.plan.flash_time.0 * segments.saturating_sub(least) / segments * 3 / 2)
    }

    fn regions_segments(&self) -> u64 {
        self.plan.images.get(self.bus.index()).map_or(0, |i| u64::from(i.begin().segments()))
    }

    pub(super) fn finish_answer(&mut self, now: Micros, slot: Slot, stage: Stage, answer: &Answer) {
        match (stage, answer) {
            (Stage::Verify(_), Answer::RegionCheck(check)) => self.check_region(now, slot, *check),
            (Stage::Digest(region), Answer::Digest(_, got)) => self.check_digest(now, slot, region, got),
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

    fn check_region(&mut self, now: Micros, slot: Slot, check: RegionCheck) {
        let RegionCheck { region, matches, crc } = check;
        let wanted = self
            .plan
            .images
            .get(self.bus.index())
            .and_then(|i| i.begin().regions().get(usize::from(region)).map(|r| r.crc));
        if !matches || wanted != Some(crc) {
            let wanted = wanted.unwrap_or(0);
            let text = format!("region {region}: CRC-32 {wanted:#010x} expected, {crc:#010x} read back");
            self.fail(now, slot, Code::VerifyMismatch, text);
        }
    }

    fn check_digest(&mut self, now: Micros, slot: Slot, region: u8, got: &[u8; 32]) {
        let wanted = self
            .plan
            .images
            .get(self.bus.index())
            .and_then(|i| i.begin().regions().get(usize::from(region)).map(|r| r.sha256));
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
        if self.active().is_empty() {
            self.after_group(now);
            return;
        }
        let regions = self.plan.regions.len() as u8;
        match self.stage {
            Stage::Verify(region) if region + 1 < regions => self.ask_region(now, region + 1),
            Stage::Verify(_) if self.plan.recipe.digest => self.ask_digest(now, 0),
            Stage::Digest(region) if region + 1 < regions => self.ask_digest(now, region + 1),
            Stage::Verify(_) | Stage::Digest(_) => self.commit(now),
            Stage::Commit if self.plan.recipe.start_application => self.start_application(now),
            Stage::Commit | Stage::Start => self.passed(now),
            _ => {}
        }
    }

    fn ask_digest(&mut self, now: Micros, region: u8) {
        let nodes = self.active();
        self.stage = Stage::Digest(region);
        self.master.ask_all(now, &Request::Control(Control::Digest { region }), &nodes, Span::ZERO);
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
        self.master.ask_all(now, &request, &nodes, erase);
    }

    fn start_application(&mut self, now: Micros) {
        self.advance_step(Step::Start, SlotState::Finishing);
        self.stage = Stage::Start;
        let address = self.plan.regions.first().map_or(0, |(address, _)| *address);
        let nodes = self.active();
        let request = Request::Control(Control::StartApplication { address });
        self.master.ask_all(now, &request, &nodes, Span::ZERO);
    }

    fn passed(&mut self, now: Micros) {
        for node in self.active() {
            if let Some(slot) = self.slot_of(node) {
                self.conclude(now, slot, Verdict::pass());
            }
        }
        self.after_group(now);
    }

    /// This group is done: lost boards are looked for, then come stragglers, then further attempts.
    pub(super) fn after_group(&mut self, now: Micros) {
        let lost = self.boards.values().any(|b| b.lost.is_some() && b.verdict.is_none());
        if lost {
            self.stage = Stage::Search;
            self.master.discover(now, false);
        } else {
            self.next_group(now);
        }
    }

    pub(super) fn next_group(&mut self, now: Micros) {
        let lost: Vec<Slot> = self
            .boards
            .values()
            .filter(|b| b.lost.is_some() && b.verdict.is_none())
            .map(|b| b.slot)
            .collect();
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
        for board in &found.found {
            let lost = self
                .boards
                .values_mut()
                .find(|b| b.lost.is_some() && b.verdict.is_none() && b.uid == Some(board.uid));
            match lost {
                Some(b) => {
                    (b.node, b.nonce) = (Some(board.node), board.nonce);
                    nodes.push(board.node);
                }
                None => self.master.release(board.node),
            }
        }
        if nodes.is_empty() {
            self.next_group(now);
            return;
        }
        self.stage = Stage::SearchInfo;
        let part = panel_protocol::message::IdentifyPart::Info;
        self.master.ask_all(now, &Request::Control(Control::Identify(part)), &nodes, Span::ZERO);
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

    /// A lost board that does not come back: its current and its last words say why.
    fn lost_for_good(&mut self, now: Micros, slot: Slot) {
        let Some(board) = self.boards.get(&slot) else { return };
        let draws = board.current.map_or_else(String::new, |ma| format!(", draws {ma} mA"));
        let last = board.lost.flatten();
        let erasing = last.is_none_or(|s| s.flags.contains(StatusFlags::ERASING) || s.programmed == 0);
        let (code, text) = if !is_running(board.current) {
            (Code::BoardSilent, format!("stopped answering{draws}"))
        } else if erasing {
            (Code::SilentAfterErase, format!("nothing heard since its flash was erased{draws}"))
        } else if board.current.is_some() {
            (Code::BoardBusOff, format!("neither hears nor answers, but runs{draws}"))
        } else {
            (Code::BoardSilent, "stopped answering".to_owned())
        };
        self.fail(now, slot, code, text);
    }
}
