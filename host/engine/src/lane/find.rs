//! From power to a checked board: discovery, binding to slots, identification, refusal before anything is
//! touched.

use std::collections::BTreeMap;

use panel_backplane::{Binding, Slot};
use panel_codes::Code;
use panel_protocol::host::{Answer, Discovered, Found, Request};
use panel_protocol::ident::NodeId;
use panel_protocol::message::{Control, IdentifyPart};
use panel_protocol::node::{Capabilities, FlashFacts, Protection};
use panel_protocol::reply::{ImageState, Info, Profile, uid_check};
use panel_protocol::time::{Micros, Span};

use super::factory::Factory;
use super::{Lane, Stage};
use crate::board::SlotState;
use crate::event::{Event, Phase, Step};
use crate::plan::Plan;

/// Supply current below which a board's processor cannot be running, in mA.
const ALIVE_MA: u32 = 15;
/// Times a discovery is repeated for boards that draw current and do not answer.
pub(super) const LOOKS: u8 = 3;

impl Lane {
    pub(super) fn start_discovery(&mut self, now: Micros) {
        self.begin_search();
        self.stage = Stage::Discover;
        let first = self.boards.values().all(|b| b.attempt <= 1);
        self.master.discover(now, first);
    }

    pub(super) fn begin_search(&mut self) {
        self.phase(Phase::Discover);
        for slot in self.group.clone() {
            self.enter_step(slot, Step::Discover);
        }
    }

    pub(super) fn discovered(&mut self, now: Micros, found: &Discovered) {
        if matches!(self.stage, Stage::Search | Stage::SearchAgain) {
            self.found_again(now, found);
            return;
        }
        if self.stage == Stage::Factory(Factory::Find) {
            self.found_restarted(now, found);
            return;
        }
        if self.stage == Stage::BindDiscover {
            self.round_over(now, found);
            return;
        }
        for duplicate in &found.duplicates {
            let slots: Vec<Slot> = duplicate.straps.iter().filter_map(|&s| self.slot_of_strap(s)).collect();
            let text = format!("UID {} is in slots {}", duplicate.uid, list(&slots));
            for slot in slots {
                self.fail(now, slot, Code::DuplicateUid, text.clone());
            }
        }
        for board in &found.found {
            self.bind(now, board);
        }
        self.sense_absent(now);
    }

    /// Every board that answers has its slot; why the other slots are empty is found out by their currents.
    pub(super) fn sense_absent(&mut self, now: Micros) {
        let absent: Vec<Slot> = self
            .group
            .iter()
            .filter(|s| self.boards.get(s).is_some_and(|b| b.is_active() && b.node.is_none()))
            .copied()
            .collect();
        if absent.is_empty() {
            self.identify(now);
        } else {
            self.stage = Stage::SenseAbsent;
            self.sense.push_back(absent);
        }
    }

    fn slot_of_strap(&self, strap: u16) -> Option<Slot> {
        self.boards.values().find(|b| b.strap == strap && !b.bad).map(|b| b.slot)
    }

    /// Binds a board to the slot whose straps it reads.
    fn bind(&mut self, now: Micros, found: &Found) {
        let Found { node, uid, strap, .. } = *found;
        let Some(slot) = strap.and_then(|s| self.slot_of_strap(s)) else {
            let straps = strap.map_or_else(|| "no straps".to_owned(), |s| format!("straps {s}"));
            self.note(
                None,
                "stray-board",
                format!("UID {uid} reads {straps}, which no slot of this bus has"),
            );
            self.master.release(node);
            return;
        };
        self.bind_to(now, slot, found);
    }

    /// Binds a board to its slot, unless another is there.
    pub(super) fn bind_to(&mut self, now: Micros, slot: Slot, found: &Found) {
        let Found { node, uid, nonce, .. } = *found;
        let Some(board) = self.boards.get_mut(&slot).filter(|b| b.is_active()) else {
            self.master.release(node);
            return;
        };
        if let Some(other) = board.node {
            let first = board.uid.map_or_else(String::new, |u| u.to_string());
            let text = format!("boards {first} and {uid} both answer for it");
            self.master.release(node);
            self.master.release(other);
            self.fail(now, slot, Code::SlotBinding, text);
            return;
        }
        if let Some(before) = board.uid.filter(|&u| u != uid) {
            let text = format!("was {before}, now {uid}");
            self.fail(now, slot, Code::Rebound, text);
            return;
        }
        (board.node, board.uid, board.nonce) = (Some(node), Some(uid), nonce);
        self.events.push_back(Event::Identified { slot, uid });
        self.set_state(slot, SlotState::Found);
        if crate::board::implausible(&uid) {
            self.fail(now, slot, Code::ImplausibleUid, format!("UID {uid}"));
        }
    }

    /// A board that draws current and does not answer may have missed the question.
    pub(super) fn look_again_or_conclude(&mut self, now: Micros) {
        let silent = |b: &crate::board::Board| {
            b.is_active() && b.node.is_none() && b.current.is_some() && is_running(b.current)
        };
        let alive = self.group.iter().filter_map(|s| self.boards.get(s)).any(silent);
        let useful = self.plan.panel.binding == Binding::Straps && !self.no_ack && !self.is_disturbed();
        if alive && useful && self.looks < LOOKS {
            self.looks += 1;
            self.stage = Stage::Discover;
            self.master.discover(now, false);
        } else {
            self.absent(now);
        }
    }

    /// Nobody answered in these slots; their supply currents say why.
    fn absent(&mut self, now: Micros) {
        let missing: Vec<(Slot, Option<u32>)> = self
            .group
            .iter()
            .filter_map(|s| self.boards.get(s))
            .filter(|b| b.is_active() && b.node.is_none())
            .map(|b| (b.slot, b.current))
            .collect();
        let nobody = self.active().is_empty();
        // Where no currents are measured, one silent slot may be empty; a bus on which nobody ever spoke is dead.
        let dead = nobody && missing.len() > 1 && self.master.tally().received == 0;
        for (slot, current) in missing {
            let loaded = self.boards.get(&slot).is_some_and(|b| b.loaded.is_some());
            let draws = current.map_or_else(String::new, |ma| format!(", draws {ma} mA"));
            let (code, text) = match current {
                Some(0) => (Code::BoardAbsent, "no answer, 0 mA".to_owned()),
                _ if loaded => {
                    let text = "the agent was loaded and started, and does not answer";
                    (Code::AgentNotStarted, format!("{text}{draws}"))
                }
                _ if nobody && self.bus_off => {
                    let text = "no answer: the station's controller is off the bus";
                    (Code::StationBusOff, format!("{text}{draws}"))
                }
                _ if nobody && self.no_ack => {
                    (Code::BusDead, format!("no other node on the bus acknowledges{draws}"))
                }
                _ if nobody && self.is_disturbed() => {
                    (Code::BusDisturbed, format!("{} error frames and no answer{draws}", self.errors))
                }
                None if dead => {
                    (Code::BusDead, "no other node on the bus: nobody was heard in any slot".to_owned())
                }
                None => (Code::BoardAbsent, "no answer".to_owned()),
                Some(ma) if ma < ALIVE_MA => (Code::BoardSilent, format!("no answer{draws}")),
                Some(_) if self.binding.strays > 0 => {
                    (Code::SlotBinding, format!("a board answers, but not in every round{draws}"))
                }
                Some(ma) => (Code::BoardBusOff, format!("no answer, but draws {ma} mA")),
            };
            self.fail(now, slot, code, text);
        }
        self.identify(now);
    }

    fn identify(&mut self, now: Micros) {
        let nodes = self.active();
        if nodes.is_empty() {
            self.next_group(now);
            return;
        }
        self.advance_step(Step::Identify, SlotState::Found);
        self.stage = Stage::Info;
        let request = Request::Control(Control::Identify(IdentifyPart::Info));
        self.master.ask_all(now, &request, &nodes, Span::ZERO);
    }

    pub(super) fn answered(&mut self, now: Micros, node: NodeId, answer: Answer) {
        let Some(slot) = self.slot_of(node) else { return };
        match (self.stage, answer) {
            (Stage::Info, Answer::Info(info)) => self.check_info(now, slot, info),
            (Stage::Profile, Answer::Profile(profile)) => self.check_profile(now, slot, &profile),
            (Stage::Prove, Answer::Info(info)) => self.prove(now, slot, &info),
            (Stage::SearchInfo, Answer::Info(info)) => self.was_reset(now, slot, &info),
            (Stage::Factory(stage), answer) => self.factory_answer(now, slot, stage, &answer),
            (stage, answer) => self.finish_answer(now, slot, stage, &answer),
        }
    }

    pub(super) fn asked(&mut self, now: Micros, silent: &[NodeId]) {
        for &node in silent {
            if let Some(slot) = self.slot_of(node) {
                self.went_silent(now, slot);
            }
        }
        match self.stage {
            Stage::Info => self.ask_profiles(now),
            Stage::Profile => self.await_interrupted(now),
            Stage::SearchInfo => self.reset_lost(now),
            Stage::Factory(stage) => self.factory_asked(now, stage),
            _ => self.finish_asked(now),
        }
    }

    fn went_silent(&mut self, now: Micros, slot: Slot) {
        match self.stage {
            // Who resets itself may have done so before its answer was heard.
            Stage::Statistics | Stage::Factory(Factory::ResetTold) => {}
            Stage::SearchInfo => self.fail(now, slot, Code::BoardReset, "restarted and fell silent again"),
            _ => {
                let last = self.boards.get(&slot).and_then(|b| b.status);
                self.mark_lost(slot, last);
            }
        }
    }

    /// The board says what it is: is it what the job wants?
    fn check_info(&mut self, now: Micros, slot: Slot, info: Info) {
        let recipe = &self.plan.recipe;
        let same = self.image_id() == Some(info.image_id);
        // Locked by an earlier run of this job that ended before its PASS was recorded.
        // With an image of its own, whether it is this one shows when it has its identity.
        let own = !recipe.finishing.windows.is_empty();
        let is_ours = (same || own)
            && info.image == ImageState::Valid
            && recipe.finishing.lock.level() == Some(info.protection);
        let Some(board) = self.boards.get_mut(&slot) else { return };
        let Some(uid) = board.uid else { return };
        board.info = Some(info);
        let supply = info.supply_mv;
        let low = recipe.min_supply_mv.filter(|&min| supply != 0 && supply < min);
        let wrong = if info.uid_check != uid_check(&uid, board.nonce) {
            Some((Code::ProtocolError, format!("the number was given to {uid}, another board answers")))
        } else if info.device_id != recipe.chip.device_id {
            let (want, got) = (recipe.chip.device_id, info.device_id);
            Some((
                Code::WrongChip,
                format!("device ID {want:#05x} ({}) expected, {got:#05x} found", recipe.chip.name),
            ))
        } else if !recipe.revisions.is_empty() && !recipe.revisions.contains(&info.hardware_revision) {
            let want = list(&recipe.revisions);
            Some((
                Code::WrongHardwareRevision,
                format!("revision {want} expected, {} found", info.hardware_revision),
            ))
        } else if info.protection != Protection::Open && !is_ours {
            let (level, state) = (info.protection as u8, info.image);
            let image = if same { "this image" } else { "another image" };
            Some((Code::AlreadyProtected, format!("level {level}, UID {uid}, {state:?} record of {image}")))
        } else if let Some(trouble) = self.seal_trouble(&info) {
            Some(trouble)
        } else {
            low.map(|min| (Code::SupplyLow, format!("{supply} mV, at least {min} mV needed")))
        };
        let min = recipe.min_supply_mv.map(|mv| f64::from(mv) / 1000.0);
        if supply != 0 {
            let value = f64::from(supply) / 1000.0;
            self.events.push_back(Event::Measured { slot, name: "supply", value, unit: "V", low: min });
        }
        if !own {
            self.events.push_back(Event::ImageFound { slot, state: info.image, same });
        }
        if let Some((code, text)) = wrong {
            self.fail(now, slot, code, text);
        }
    }

    /// Why a board that demands seals would not take the image.
    fn seal_trouble(&self, info: &Info) -> Option<(Code, String)> {
        let seal = self.plan.images.get(self.bus.index()).and_then(|image| image.begin().seal().copied());
        match seal {
            _ if !info.capabilities.contains(Capabilities::SEALS) => None,
            None => Some((Code::NotSealed, "the board asks for a seal, the image has none".to_owned())),
            Some(seal) if seal.counter < info.floor => {
                let text =
                    format!("release counter {} or newer expected, {} found", info.floor, seal.counter);
                Some((Code::Downgrade, text))
            }
            Some(_) => None,
        }
    }

    /// One board of each kind describes itself.
    fn ask_profiles(&mut self, now: Micros) {
        let mut kinds: BTreeMap<u32, NodeId> = BTreeMap::new();
        for slot in &self.group {
            if let Some(board) = self.boards.get(slot).filter(|b| b.is_active())
                && let (Some(node), Some(info)) = (board.node, board.info)
            {
                kinds.entry(info.profile_crc).or_insert(node);
            }
        }
        if kinds.is_empty() {
            self.next_group(now);
            return;
        }
        self.stage = Stage::Profile;
        let ask = Request::Control(Control::Identify(IdentifyPart::Profile));
        let requests = kinds.into_values().map(|node| (node, ask.clone())).collect();
        self.master.ask_each(now, requests, Span::ZERO);
    }

    /// Every board of this kind leaves if the kind cannot take the image, or is laid out otherwise than what is to be
    /// write-protected.
    fn check_profile(&mut self, now: Micros, slot: Slot, profile: &Profile) {
        let Some(kind) = self.boards.get(&slot).and_then(|b| b.info).map(|i| i.profile_crc) else { return };
        let Some(text) = self.misfit(profile) else { return };
        let same = |b: &&crate::board::Board| b.is_active() && b.info.is_some_and(|i| i.profile_crc == kind);
        let slots: Vec<Slot> = self.boards.values().filter(same).map(|b| b.slot).collect();
        for slot in slots {
            self.fail(now, slot, Code::DoesNotFit, text.clone());
        }
    }

    fn misfit(&self, profile: &Profile) -> Option<String> {
        let Plan { regions, recipe, .. } = &*self.plan;
        let Profile { flash, max_segments, .. } = profile;
        let first = regions.first().map_or(0, |(address, _)| *address);
        let end = regions.last().map_or(0, |(address, bytes)| address + bytes.len() as u32);
        let segments = self.plan.images.get(self.bus.index()).map_or(0, |i| i.begin().segments());
        let (from, all) = (flash.app_base, flash.base + flash.size());
        let to = if flash.record_base > first { flash.record_base } else { all };
        if first < from || end > to {
            return Some(format!("image {first:#010x} to {end:#010x}, room {from:#010x} to {to:#010x}"));
        }
        if segments > u32::from(*max_segments) {
            return Some(format!(
                "image of {segments} segments, the bootloader keeps track of {max_segments}"
            ));
        }
        // An agent, which keeps nothing of the flash, may be bringing the bootloader along.
        let resident = from > flash.base;
        let protected = recipe.finishing.options.iter().find_map(|option| option.protects_to)?;
        let unit = |flash: &FlashFacts| flash.erase_unit(protected - 1).map_or(0, |unit| unit.size);
        let (planned, found) = (unit(&recipe.chip.flash), unit(flash));
        (resident && (protected, planned) != (from, found)).then(|| {
            format!(
                "write protection to {protected:#010x} in erase units of {planned} bytes is planned; the bootloader ends at \
                 {from:#010x}, in units of {found}"
            )
        })
    }
}

pub(super) fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) const fn is_running(current: Option<u32>) -> bool {
    match current {
        Some(ma) => ma >= ALIVE_MA,
        None => true,
    }
}
