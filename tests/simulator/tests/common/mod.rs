//! A minimal host: one `BusMaster` per bus, driven by the world in virtual time. No retries, no verdicts.

use std::sync::Arc;

use panel_protocol::host::{Answer, BusEvent, BusMaster, Discovered, Image, ProgramOptions, Request, Timing};
use panel_protocol::ident::NodeId;
use panel_protocol::message::Control;
use panel_protocol::time::{Micros, Span};
use panel_simulator::{HostEvent, World};

/// World and host of one run.
pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) masters: Vec<BusMaster>,
    /// Everything the masters reported, with bus and time.
    pub(crate) events: Vec<(usize, Micros, BusEvent)>,
    /// Errors the adapters reported.
    pub(crate) errors: Vec<HostEvent>,
}

impl Rig {
    pub(crate) fn new(world: World, buses: usize) -> Self {
        let masters = (0..buses).map(|_| BusMaster::new(Timing::default(), 1)).collect();
        Self { world, masters, events: Vec::new(), errors: Vec::new() }
    }

    pub(crate) fn now(&self) -> Micros {
        self.world.now()
    }

    /// Moves frames until every master is idle with nothing left to send, or until `limit` from now.
    pub(crate) fn settle(&mut self, limit: Span) {
        let limit = self.now() + limit;
        loop {
            let idle = self.pump();
            if idle && self.masters.iter().all(|m| !m.is_busy()) || self.now() >= limit {
                return;
            }
            // A deadline that is past waits for room in the link, not for time.
            let due =
                self.masters.iter().filter_map(BusMaster::next_timeout).filter(|&t| t > self.now()).min();
            self.world.advance(due.unwrap_or(limit).min(limit));
            self.hear();
        }
    }

    /// Lets time pass; what the host hears is handled.
    pub(crate) fn idle(&mut self, span: Span) {
        let limit = self.now() + span;
        while self.now() < limit {
            self.pump();
            self.world.advance(limit);
            self.hear();
        }
    }

    /// Sends what the masters have; true if nothing is under way.
    fn pump(&mut self) -> bool {
        let now = self.world.now();
        let mut idle = true;
        for (bus, master) in self.masters.iter_mut().enumerate() {
            while self.world.host_queue_free(bus) > 0
                && let Some(frame) = master.poll_transmit(now)
            {
                self.world.host_send(bus, &frame).expect("there is room");
            }
            while let Some(event) = master.poll_event() {
                self.events.push((bus, now, event));
            }
            idle &= self.world.host_queue_free(bus) == 10;
        }
        idle
    }

    fn hear(&mut self) {
        while let Some(event) = self.world.poll_host() {
            match event {
                HostEvent::Received { bus, frame, .. } => {
                    self.masters[bus].handle_frame(self.world.now(), &frame);
                }
                HostEvent::Sent { .. } => {}
                other => self.errors.push(other),
            }
        }
        let now = self.world.now();
        for (bus, master) in self.masters.iter_mut().enumerate() {
            if master.next_timeout().is_some_and(|t| t <= now) {
                master.handle_timeout(now);
            }
            while let Some(event) = master.poll_event() {
                self.events.push((bus, now, event));
            }
        }
    }

    /// Powers every slot and waits until the boards listen.
    pub(crate) fn power_on(&mut self) {
        let slots = self.world.slots().to_vec();
        self.world.set_power(&slots, true);
        self.idle(Span::from_millis(161));
    }

    /// Discovers on every bus at once.
    pub(crate) fn discover(&mut self) -> Vec<Discovered> {
        let (now, from) = (self.now(), self.events.len());
        self.masters.iter_mut().for_each(|m| m.discover(now, true));
        self.settle(Span::from_millis(5000));
        let mut all = vec![Discovered::default(); self.masters.len()];
        for (bus, _, event) in &self.events[from..] {
            if let BusEvent::Discovered(found) = event {
                all[*bus] = found.clone();
            }
        }
        all
    }

    /// Programs `image` into `nodes` of each bus; returns the nodes that have everything.
    pub(crate) fn program(
        &mut self,
        image: &Arc<Image>,
        nodes: &[Vec<NodeId>],
        flash_time: Span,
    ) -> Vec<Vec<NodeId>> {
        let (now, from) = (self.now(), self.events.len());
        let options = ProgramOptions {
            only: None,
            compare: false,
            flash_time,
            patience: Span::from_millis(3000),
            erase_first: Span::ZERO,
            missed_per_mille: 200,
        };
        for (master, nodes) in self.masters.iter_mut().zip(nodes) {
            master.program(now, image, nodes, options);
        }
        self.settle(Span::from_millis(600_000));
        let mut all = vec![Vec::new(); self.masters.len()];
        for (bus, _, event) in &self.events[from..] {
            if let BusEvent::Streamed { complete, .. } = event {
                all[*bus].clone_from(complete);
            }
        }
        all
    }

    /// Asks all of `nodes` the same and returns the answers.
    pub(crate) fn ask(&mut self, control: Control, nodes: &[Vec<NodeId>]) -> Vec<(usize, NodeId, Answer)> {
        let (now, from) = (self.now(), self.events.len());
        let request = Request::Control(control);
        for (master, nodes) in self.masters.iter_mut().zip(nodes) {
            master.ask_all(now, &request, nodes, Span::from_millis(1000));
        }
        self.settle(Span::from_millis(60_000));
        let answers = self.events[from..].iter().filter_map(|(bus, _, event)| match event {
            BusEvent::Answered(node, answer) => Some((*bus, *node, answer.clone())),
            _ => None,
        });
        answers.collect()
    }
}

/// The node numbers of a discovery.
pub(crate) fn numbers(found: &[Discovered]) -> Vec<Vec<NodeId>> {
    found.iter().map(|d| d.found.iter().map(|f| f.node).collect()).collect()
}

/// Bytes that look like code: no long runs, except every fourth KiB, which is blank.
pub(crate) fn image_bytes(len: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9ABC_DEFFu64;
    let byte = |i: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if i / 1024 % 16 == 15 { 0xFF } else { state as u8 }
    };
    (0..len).map(byte).collect()
}
