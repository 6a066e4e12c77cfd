//! A batch run: every bus of the panel at once, one fixture, one stream of events.
//!
//! Contract: after every `handle_*` call or [`Run::interrupt`], take [`Run::poll_event`] until it is empty and
//! make those events durable; only then carry out [`Run::poll_reserve`], [`Run::poll_certify`],
//! [`Run::poll_line`], [`Run::poll_sense`], [`Run::poll_bit_rate`], [`Run::poll_transmit`] and [`Run::poll_bytes`]; then wait for a
//! frame, bytes, an answer or [`Run::next_timeout`]. Events describe what
//! follows, so this order is what makes records true whatever happens to the station.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use panel_backplane::{BusIndex, LineAction, Output, Request, RequestError, RequestId, Sequencer, Slot};
use panel_codes::Code;
use panel_protocol::frame::Frame;
use panel_protocol::host::{BusTally, StreamCounters};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;

use crate::board::Board;
use crate::event::{BusRate, Event, LinkEvent, PortOutput};
use crate::finishing::{IdentityBytes, KeyMade, Refused, Reserved};
use crate::lane::Lane;
use crate::plan::{Home, Plan};
use crate::rom::{RomLane, Ticket};
use crate::twins::Twins;
use crate::verdict::Verdict;

/// How a slot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotReport {
    /// Slot.
    pub slot: Slot,
    /// Bus.
    pub bus: BusIndex,
    /// UID, if the board was found.
    pub uid: Option<Uid>,
    /// Serial number that was reserved for it.
    pub serial: Option<String>,
    /// Attempts begun.
    pub attempts: u8,
    /// Verdict of the last attempt.
    pub verdict: Option<Verdict>,
    /// When the first attempt began.
    pub started: Micros,
    /// When the last attempt ended.
    pub ended: Micros,
}

/// Number of a port in its plan: an index into [`Plan::ports`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub u16);

/// Who waits for the fixture.
#[derive(Debug, Clone, Copy)]
enum Waiter {
    Lane(usize),
    Rom(usize, Ticket),
}

/// A batch run.
pub struct Run {
    plan: Arc<Plan>,
    lanes: Vec<Lane>,
    /// One for each bus, for boards there that are reached through their ROM, and one for those with ports alone.
    roms: Vec<RomLane>,
    sequencer: Sequencer,
    requests: BTreeMap<RequestId, Waiter>,
    lines: VecDeque<LineAction>,
    wake: Option<Micros>,
    closing: bool,
    safe: Option<RequestId>,
    finished: bool,
    /// Lanes that wait for currents, in the order of asking.
    sensing: VecDeque<usize>,
    twins: Twins,
}

impl Run {
    /// A run that begins now. `session` should differ from the run before, so that boards tell them apart.
    #[must_use]
    pub fn new(plan: &Arc<Plan>, now: Micros, session: u8) -> Self {
        let buses = plan.panel.buses.len();
        let lanes = (0..buses).map(|b| Lane::new(plan, BusIndex(b as u8), session));
        let roms = (0..=buses).map(|b| RomLane::new(plan, BusIndex(b as u8)));
        let mut run = Self {
            plan: Arc::clone(plan),
            lanes: lanes.collect(),
            roms: roms.collect(),
            sequencer: Sequencer::new(&plan.panel, now),
            requests: BTreeMap::new(),
            lines: VecDeque::new(),
            wake: None,
            closing: false,
            safe: None,
            finished: false,
            sensing: VecDeque::new(),
            twins: Twins::default(),
        };
        run.lanes.iter_mut().for_each(|lane| lane.start(now));
        for (rom, home) in
            run.roms.iter_mut().zip((0..buses).map(|b| Home::RomBus(BusIndex(b as u8))).chain([Home::Ports]))
        {
            let slots = plan.panel.slots.iter().filter(|s| plan.home(s) == home);
            rom.begin(now, slots.map(|s| Board::new(s.slot, rom.index, s.strap, s.bad)).collect::<Vec<_>>());
        }
        run.settle(now);
        run
    }

    /// The plan that is carried out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    // Inputs

    /// A frame from a bus.
    pub fn handle_frame(&mut self, now: Micros, bus: BusIndex, frame: &Frame) {
        match self.rom_on(bus) {
            Some(rom) => rom.handle_frame(now, frame),
            None => {
                if let Some(lane) = self.lanes.get_mut(bus.index()) {
                    lane.handle_frame(now, frame);
                }
            }
        }
        self.settle(now);
    }

    /// Bytes from a port.
    pub fn handle_bytes(&mut self, now: Micros, port: PortIndex, bytes: &[u8]) {
        if let Some((rom, slots)) = self.rom_at(port)
            && let Some(slot) = slots.into_iter().find(|slot| rom.is_working(*slot))
        {
            rom.handle_bytes(now, slot, bytes);
        }
        self.settle(now);
    }

    /// Something about a port: [`LinkEvent::Down`] if it is gone, [`LinkEvent::Stuck`] if it takes no bytes.
    pub fn handle_port_link(&mut self, now: Micros, port: PortIndex, event: LinkEvent) {
        if let Some((rom, slots)) = self.rom_at(port) {
            slots.into_iter().for_each(|slot| rom.handle_port_link(now, slot, event));
        }
        self.settle(now);
    }

    /// A port cannot be used: its slots end with this code, the others go on.
    pub fn handle_port_fault(&mut self, now: Micros, port: PortIndex, code: Code, why: &str) {
        if let Some((rom, slots)) = self.rom_at(port) {
            slots.into_iter().for_each(|slot| rom.handle_port_fault(now, slot, code, why));
        }
        self.settle(now);
    }

    /// What [`Self::poll_bit_rate`] asked for is done, or (`false`) cannot be.
    pub fn handle_bit_rate(&mut self, now: Micros, bus: BusIndex, done: bool) {
        if let Some(rom) = self.roms.get_mut(bus.index()) {
            rom.handle_bit_rate(now, done);
        }
        self.settle(now);
    }

    /// Something about a link.
    pub fn handle_link(&mut self, now: Micros, bus: BusIndex, event: LinkEvent) {
        match self.rom_on(bus) {
            Some(rom) => rom.handle_link(now, event),
            None => {
                if let Some(lane) = self.lanes.get_mut(bus.index()) {
                    lane.handle_link(now, event);
                }
            }
        }
        self.settle(now);
    }

    /// A link cannot serve its bus any more: every board of the bus ends with this code. Error frames and nothing
    /// else on the bus explain a queue that is stuck.
    pub fn handle_link_fault(&mut self, now: Micros, bus: BusIndex, code: Code, why: &str) {
        if let Some(lane) = self.lanes.get_mut(bus.index()) {
            lane.handle_link_fault(now, code, why);
        }
        if let Some(rom) = self.roms.get_mut(bus.index()) {
            rom.give_up(now, code, why);
        }
        self.settle(now);
    }

    /// Something about a link that belongs into the record.
    pub fn note_link(&mut self, bus: BusIndex, topic: &'static str, text: String) {
        match self.lanes.get_mut(bus.index()) {
            Some(lane) => lane.note(None, topic, text),
            // A panel of ports alone has no bus.
            None => {
                if let Some(rom) = self.roms.last_mut() {
                    rom.events.push_back(Event::Note { slot: None, topic, text });
                }
            }
        }
    }

    /// Supply currents in milliamperes, as asked by [`Self::poll_sense`]; `None` where the fixture cannot measure.
    pub fn handle_currents(&mut self, now: Micros, currents: &[(Slot, Option<u32>)]) {
        if let Some(lane) = self.sensing.pop_front().and_then(|n| self.lanes.get_mut(n)) {
            lane.handle_currents(now, currents);
        }
        self.settle(now);
    }

    /// What [`Self::poll_line`] asked for is done. Needed for all lines but those of a simulation
    /// (`Connection::is_confirmed`); nothing that depends on them begins before.
    pub fn handle_switched(&mut self, now: Micros, action: LineAction) {
        self.sequencer.switched(action, now);
        self.settle(now);
    }

    /// What became of reservations asked for by [`Self::poll_reserve`]; boards of a bus go on when each of them has
    /// its answer.
    pub fn handle_reserved(&mut self, now: Micros, answers: Vec<(Slot, Result<Reserved, Refused>)>) {
        for (slot, answer) in answers {
            self.reserved(now, slot, answer);
        }
        self.settle(now);
    }

    fn reserved(&mut self, now: Micros, slot: Slot, answer: Result<Reserved, Refused>) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.boards.contains_key(&slot)) {
            lane.reserved(now, slot, answer);
        } else if let Some(rom) = self.roms.iter_mut().find(|rom| rom.boards.contains_key(&slot)) {
            rom.reserved(now, slot, answer);
        }
    }

    /// What became of the keys asked about by [`Self::poll_certify`]: the board's identity with its certificate, durable
    /// in the ledger, or why there is none. Boards of a bus go on when each of them has its answer.
    pub fn handle_certified(&mut self, now: Micros, answers: Vec<(Slot, Result<IdentityBytes, Refused>)>) {
        for (slot, answer) in answers {
            let lane = self.lanes.iter_mut().find(|lane| lane.boards.contains_key(&slot));
            if let Some(lane) = lane {
                lane.certified(now, slot, answer);
            }
        }
        self.settle(now);
    }

    /// The fixture could not switch a line: nothing more is powered, the run ends.
    pub fn handle_fixture_fault(&mut self, now: Micros, why: &str) {
        self.sequencer.stop_waiting();
        self.give_up(now, Code::FixtureFault, why);
    }

    /// Somebody opened the fixture: everything is switched off, the run ends.
    pub fn handle_interlock_open(&mut self, now: Micros) {
        self.give_up(now, Code::InterlockOpen, "the interlock opened during the run");
    }

    /// Records can no longer be kept: boards are left safe and nothing more passes.
    pub fn handle_store_fault(&mut self, now: Micros, why: &str) {
        self.give_up(now, Code::RecordStore, why);
    }

    /// A deadline may have passed.
    pub fn handle_timeout(&mut self, now: Micros) {
        self.lanes.iter_mut().for_each(|lane| lane.handle_timeout(now));
        self.roms.iter_mut().for_each(|rom| rom.handle_timeout(now));
        self.settle(now);
    }

    /// The operator stops the run: boards without a verdict are ABORTED, everything is switched off.
    pub fn interrupt(&mut self, now: Micros) {
        self.lanes.iter_mut().for_each(|lane| lane.interrupt(now));
        self.roms.iter_mut().for_each(|rom| rom.interrupt(now));
        self.settle(now);
    }

    // Outputs

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let of_bus = self.lanes.iter_mut().find_map(|lane| lane.events.pop_front());
        of_bus.or_else(|| self.roms.iter_mut().find_map(|rom| rom.events.pop_front()))
    }

    /// The next line to switch.
    pub fn poll_line(&mut self) -> Option<LineAction> {
        self.lines.pop_front()
    }

    /// Slots whose supply currents are wanted.
    pub fn poll_sense(&mut self) -> Option<Vec<Slot>> {
        let (n, slots) =
            self.lanes.iter_mut().enumerate().find_map(|(n, lane)| lane.sense.pop_front().map(|s| (n, s)))?;
        self.sensing.push_back(n);
        Some(slots)
    }

    /// Boards that are found and checked and wait for their identity before their first erase, if the recipe says
    /// that somebody keeps identities. Make the reservations durable, then call [`Self::handle_reserved`].
    pub fn poll_reserve(&mut self) -> Option<Vec<(Slot, Uid)>> {
        let mut asked: Vec<(Slot, Uid)> =
            self.lanes.iter_mut().flat_map(|lane| lane.reserve.drain(..)).collect();
        asked.extend(self.roms.iter_mut().flat_map(|rom| rom.reserve.drain(..)));
        (!asked.is_empty()).then_some(asked)
    }

    /// Boards that made keys of their own and wait for their certificates, if the recipe asks for keys. Check the
    /// requests, make what comes of them durable, then call [`Self::handle_certified`].
    pub fn poll_certify(&mut self) -> Option<Vec<KeyMade>> {
        let made: Vec<KeyMade> = self.lanes.iter_mut().flat_map(|lane| lane.certify.drain(..)).collect();
        (!made.is_empty()).then_some(made)
    }

    /// The next frame for a bus; call while its link has room.
    pub fn poll_transmit(&mut self, now: Micros, bus: BusIndex) -> Option<Frame> {
        match self.rom_on(bus) {
            Some(rom) => rom.poll_transmit(),
            None => self.lanes.get_mut(bus.index())?.poll_transmit(now),
        }
    }

    /// The rates that a bus's adapter is to have from now on. Throw away what it has not sent, change them, and
    /// call [`Self::handle_bit_rate`].
    pub fn poll_bit_rate(&mut self, bus: BusIndex) -> Option<BusRate> {
        self.roms.get_mut(bus.index())?.rates.pop_front()
    }

    /// What a port is to do next.
    pub fn poll_bytes(&mut self, port: PortIndex) -> Option<PortOutput> {
        let (rom, slots) = self.rom_at(port)?;
        slots.into_iter().find_map(|slot| rom.poll_bytes(slot))
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Micros> {
        let roms = self.roms.iter().filter_map(RomLane::next_timeout);
        self.lanes.iter().filter_map(Lane::next_timeout).chain(roms).chain(self.wake).min()
    }

    /// Every slot has a verdict and the fixture is safe.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// How every slot ended, by number.
    #[must_use]
    pub fn reports(&self) -> Vec<SlotReport> {
        let boards = self.lanes.iter().flat_map(|lane| lane.boards.values());
        let boards = boards.chain(self.roms.iter().flat_map(|rom| rom.boards.values()));
        let mut reports: Vec<SlotReport> = boards
            .map(|b| SlotReport {
                slot: b.slot,
                bus: b.bus,
                uid: b.uid,
                serial: b.reserved.as_ref().and_then(|r| r.serial.clone()),
                attempts: b.attempt,
                verdict: b.verdict.clone(),
                started: b.started,
                ended: b.ended,
            })
            .collect();
        reports.sort_by_key(|r| r.slot);
        reports
    }

    /// Whether a board got the image into its second slot, and so had to install it.
    #[must_use]
    pub fn has_installed(&self) -> bool {
        self.lanes.iter().flat_map(|lane| lane.boards.values()).any(|board| board.staged == Some(true))
    }

    /// Data frames of a bus.
    #[must_use]
    pub fn counters(&self, bus: BusIndex) -> StreamCounters {
        self.lanes.get(bus.index()).map(|l| l.master.counters()).unwrap_or_default()
    }

    /// All frames of a bus.
    #[must_use]
    pub fn tally(&self, bus: BusIndex) -> BusTally {
        self.lanes.get(bus.index()).map(|l| l.master.tally()).unwrap_or_default()
    }

    /// Every board ends with this code.
    fn give_up(&mut self, now: Micros, code: Code, why: &str) {
        self.lanes.iter_mut().for_each(|lane| lane.give_up(now, code, why));
        self.roms.iter_mut().for_each(|rom| rom.give_up(now, code, why));
        self.settle(now);
    }

    /// Passes requests to the fixture and its answers back until nothing moves.
    fn settle(&mut self, now: Micros) {
        self.wake = None;
        self.turn_twins_away(now);
        loop {
            self.pass_requests(now);
            match self.sequencer.poll(now) {
                Output::Line(action) => self.lines.push_back(action),
                Output::Done(id) => {
                    self.finished |= Some(id) == self.safe;
                    match self.requests.remove(&id) {
                        Some(Waiter::Lane(n)) => self.lanes[n].handle_fixture_done(now),
                        Some(Waiter::Rom(n, ticket)) => self.roms[n].handle_fixture_done(now, ticket),
                        None => {}
                    }
                }
                Output::Wait { until, .. } => {
                    self.wake = Some(until);
                    return;
                }
                Output::Switching(_) | Output::Idle => return,
            }
        }
    }

    /// The lane that talks to ROM bootloaders on this bus now.
    fn rom_on(&mut self, bus: BusIndex) -> Option<&mut RomLane> {
        self.roms.get_mut(bus.index()).filter(|rom| rom.is_busy() && bus.index() < self.lanes.len())
    }

    /// The lane that works on the boards at this port, and their slots; it works on one of them at a time.
    fn rom_at(&mut self, port: PortIndex) -> Option<(&mut RomLane, Vec<Slot>)> {
        let slots = self.plan.ports.get(usize::from(port.0))?.slots.clone();
        let rom = self.roms.iter_mut().find(|rom| slots.iter().any(|slot| rom.boards.contains_key(slot)))?;
        Some((rom, slots))
    }

    /// Boards that need an agent go to the lane that loads it, and come back.
    fn pass_boards(&mut self, now: Micros) {
        for (lane, rom) in self.lanes.iter_mut().zip(&mut self.roms) {
            if let Some(boards) = lane.take_to_load() {
                rom.begin(now, boards);
            }
            if let Some(boards) = lane.take_to_finish() {
                rom.finish_boards(now, boards);
            }
            if lane.is_loading() {
                if let Some(boards) = rom.take_ready() {
                    // In the order in which things happened to a board.
                    lane.events.append(&mut rom.events);
                    lane.handle_loaded(now, boards);
                }
            } else {
                rom.keep_ready();
            }
        }
        if let Some(ports) = self.roms.last_mut() {
            ports.keep_ready();
        }
    }

    /// No two boards with one UID are reserved, whatever bus or port they are at.
    fn turn_twins_away(&mut self, now: Micros) {
        let of_lanes = self.lanes.iter().flat_map(|lane| &lane.reserve);
        let waiting: Vec<_> =
            of_lanes.chain(self.roms.iter().flat_map(|rom| &rom.reserve)).copied().collect();
        for (slot, refused) in self.twins.among(&waiting) {
            self.lanes.iter_mut().for_each(|lane| lane.reserve.retain(|(asked, _)| *asked != slot));
            self.roms.iter_mut().for_each(|rom| rom.reserve.retain(|(asked, _)| *asked != slot));
            self.reserved(now, slot, Err(refused));
        }
    }

    fn pass_requests(&mut self, now: Micros) {
        self.pass_boards(now);
        if !self.lanes.iter().any(Lane::has_select)
            && let Some(lane) = self.lanes.iter_mut().find(|lane| lane.wants_select())
        {
            lane.take_select(now);
        }
        for n in 0..self.lanes.len() {
            while let Some((request, waits)) = self.lanes[n].fixture.pop_front() {
                if let Err(error) = self.request(request, waits.then_some(Waiter::Lane(n))) {
                    self.lanes[n].give_up(now, Code::FixtureFault, &error.to_string());
                }
            }
        }
        for n in 0..self.roms.len() {
            while let Some((request, ticket)) = self.roms[n].fixture.pop_front() {
                if let Err(error) = self.request(request, ticket.map(|t| Waiter::Rom(n, t))) {
                    self.roms[n].give_up(now, Code::FixtureFault, &error.to_string());
                }
            }
        }
        let over = self.lanes.iter().all(Lane::is_done) && self.roms.iter().all(|rom| !rom.is_busy());
        if !self.closing && over {
            self.closing = true;
            self.safe = self.sequencer.request(Request::Safe).ok();
            self.finished = self.safe.is_none();
        }
    }

    fn request(&mut self, request: Request, waiter: Option<Waiter>) -> Result<(), RequestError> {
        let id = self.sequencer.request(request)?;
        if let Some(waiter) = waiter {
            self.requests.insert(id, waiter);
        }
        Ok(())
    }
}
