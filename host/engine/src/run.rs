//! A batch run: every bus of the panel at once, one fixture, one stream of events.
//!
//! Contract: after every `handle_*` call or [`Run::interrupt`], take [`Run::poll_event`] until it is empty and
//! make those events durable; only then carry out [`Run::poll_reserve`], [`Run::poll_line`],
//! [`Run::poll_sense`] and [`Run::poll_transmit`]; then wait for a frame, an answer or [`Run::next_timeout`]. Events describe what
//! follows, so this order is what makes records true whatever happens to the station.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use panel_backplane::{BusIndex, LineAction, Output, Request, RequestId, Sequencer, Slot};
use panel_codes::Code;
use panel_protocol::frame::Frame;
use panel_protocol::host::{BusTally, StreamCounters};
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;

use crate::event::{Event, LinkEvent};
use crate::finishing::{Refused, Reserved};
use crate::lane::Lane;
use crate::plan::Plan;
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

/// A batch run.
pub struct Run {
    plan: Arc<Plan>,
    lanes: Vec<Lane>,
    sequencer: Sequencer,
    requests: BTreeMap<RequestId, usize>,
    lines: VecDeque<LineAction>,
    wake: Option<Micros>,
    closing: bool,
    safe: Option<RequestId>,
    finished: bool,
    /// Lanes that wait for currents, in the order of asking.
    sensing: VecDeque<usize>,
}

impl Run {
    /// A run that begins now. `session` should differ from the run before, so that boards tell them apart.
    #[must_use]
    pub fn new(plan: &Arc<Plan>, now: Micros, session: u8) -> Self {
        let lanes = (0..plan.panel.buses.len()).map(|b| Lane::new(plan, BusIndex(b as u8), session));
        let mut run = Self {
            plan: Arc::clone(plan),
            lanes: lanes.collect(),
            sequencer: Sequencer::new(&plan.panel, now),
            requests: BTreeMap::new(),
            lines: VecDeque::new(),
            wake: None,
            closing: false,
            safe: None,
            finished: false,
            sensing: VecDeque::new(),
        };
        run.lanes.iter_mut().for_each(|lane| lane.start(now));
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
        if let Some(lane) = self.lanes.get_mut(bus.index()) {
            lane.handle_frame(now, frame);
        }
        self.settle(now);
    }

    /// Something about a link.
    pub fn handle_link(&mut self, now: Micros, bus: BusIndex, event: LinkEvent) {
        if let Some(lane) = self.lanes.get_mut(bus.index()) {
            lane.handle_link(now, event);
        }
        self.settle(now);
    }

    /// Supply currents in milliamperes, as asked by [`Self::poll_sense`]; `None` where the fixture cannot measure.
    pub fn handle_currents(&mut self, now: Micros, currents: &[(Slot, Option<u32>)]) {
        if let Some(lane) = self.sensing.pop_front().and_then(|n| self.lanes.get_mut(n)) {
            lane.handle_currents(now, currents);
        }
        self.settle(now);
    }

    /// What [`Self::poll_line`] asked for is done. Needed for lines that the fixture takes its time for
    /// (`Connection::is_slow`); nothing that depends on them begins before.
    pub fn handle_switched(&mut self, now: Micros, action: LineAction) {
        self.sequencer.switched(action, now);
        self.settle(now);
    }

    /// What became of reservations asked for by [`Self::poll_reserve`]; boards of a bus go on when each of them has
    /// its answer.
    pub fn handle_reserved(&mut self, now: Micros, answers: Vec<(Slot, Result<Reserved, Refused>)>) {
        for (slot, answer) in answers {
            let lane = self.lanes.iter_mut().find(|lane| lane.boards.contains_key(&slot));
            if let Some(lane) = lane {
                lane.reserved(now, slot, answer);
            }
        }
        self.settle(now);
    }

    /// The fixture could not switch a line: nothing more is powered, the run ends.
    pub fn handle_fixture_fault(&mut self, now: Micros, why: &str) {
        self.lanes.iter_mut().for_each(|lane| lane.give_up(now, Code::FixtureFault, why));
        self.settle(now);
    }

    /// Records can no longer be kept: boards are left safe and nothing more passes.
    pub fn handle_store_fault(&mut self, now: Micros, why: &str) {
        self.lanes.iter_mut().for_each(|lane| lane.give_up(now, Code::RecordStore, why));
        self.settle(now);
    }

    /// A deadline may have passed.
    pub fn handle_timeout(&mut self, now: Micros) {
        self.lanes.iter_mut().for_each(|lane| lane.handle_timeout(now));
        self.settle(now);
    }

    /// The operator stops the run: boards without a verdict are ABORTED, everything is switched off.
    pub fn interrupt(&mut self, now: Micros) {
        self.lanes.iter_mut().for_each(|lane| lane.interrupt(now));
        self.settle(now);
    }

    // Outputs

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.lanes.iter_mut().find_map(|lane| lane.events.pop_front())
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
        let asked: Vec<(Slot, Uid)> = self.lanes.iter_mut().flat_map(|lane| lane.reserve.drain(..)).collect();
        (!asked.is_empty()).then_some(asked)
    }

    /// The next frame for a bus; call while its link has room.
    pub fn poll_transmit(&mut self, now: Micros, bus: BusIndex) -> Option<Frame> {
        self.lanes.get_mut(bus.index())?.poll_transmit(now)
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Micros> {
        self.lanes.iter().filter_map(Lane::next_timeout).chain(self.wake).min()
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

    /// Passes requests to the fixture and its answers back until nothing moves.
    fn settle(&mut self, now: Micros) {
        self.wake = None;
        loop {
            self.pass_requests(now);
            match self.sequencer.poll(now) {
                Output::Line(action) => self.lines.push_back(action),
                Output::Done(id) => {
                    self.finished |= Some(id) == self.safe;
                    if let Some(lane) = self.requests.remove(&id).and_then(|n| self.lanes.get_mut(n)) {
                        lane.handle_fixture_done(now);
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

    fn pass_requests(&mut self, now: Micros) {
        if !self.lanes.iter().any(Lane::has_select)
            && let Some(lane) = self.lanes.iter_mut().find(|lane| lane.wants_select())
        {
            lane.take_select(now);
        }
        for n in 0..self.lanes.len() {
            while let Some((request, waits)) = self.lanes[n].fixture.pop_front() {
                self.request(now, n, request, waits);
            }
        }
        if !self.closing && self.lanes.iter().all(Lane::is_done) {
            self.closing = true;
            self.safe = self.sequencer.request(Request::Safe).ok();
            self.finished = self.safe.is_none();
        }
    }

    fn request(&mut self, now: Micros, lane: usize, request: Request, waits: bool) {
        match self.sequencer.request(request) {
            Ok(id) if waits => _ = self.requests.insert(id, lane),
            Ok(_) => {}
            Err(error) => self.lanes[lane].give_up(now, Code::FixtureFault, &error.to_string()),
        }
    }
}
