//! A run from discovery to commit, the way the engine does it but without its records and verdicts.

use super::bus::Bus;
use super::flash::Port;
use super::{APP, DEVICE, Rng, small_flash};
use panel_protocol::host::{Answer, BusEvent, Discovered, Image, ProgramOptions, Request};
use panel_protocol::ident::NodeId;
use panel_protocol::message::{Control, IdentifyPart, Refusal};
use panel_protocol::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// No operation of these tests takes longer.
pub(crate) const LIMIT: Span = Span::from_millis(60_000);

/// What became of the boards of a pass, by node number.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) discovered: Discovered,
    pub(crate) committed: BTreeSet<NodeId>,
    pub(crate) lost: BTreeSet<NodeId>,
    pub(crate) faulty: BTreeSet<NodeId>,
    pub(crate) refused: BTreeMap<NodeId, Refusal>,
    pub(crate) demoted: BTreeSet<NodeId>,
    pub(crate) starved: BTreeSet<NodeId>,
    pub(crate) mismatched: BTreeSet<NodeId>,
    /// Data frames sent, first time and again.
    pub(crate) data: (u64, u64),
}

/// An image of two regions with blank stretches, 22 KiB and a bit.
pub(crate) fn image(seed: u64) -> Arc<Image> {
    let mut rng = Rng::new(seed);
    let mut first = rng.bytes(11 * 1024 + 4);
    first[2048..4096].fill(0xFF); // a blank segment
    first[5000..5600].fill(0xFF); // a gap
    let second = rng.bytes(9 * 1024);
    Arc::new(Image::new(DEVICE, &[(APP, first), (APP + 0x3000, second)], false).expect("two regions"))
}

/// Whether a board's flash holds every byte of an image.
pub(crate) fn holds(bus: &Bus, board: usize, image: &Image) -> bool {
    holds_image(bus.boards[board].node.port(), image)
}

pub(crate) fn holds_image(port: &Port, image: &Image) -> bool {
    image
        .begin()
        .regions()
        .iter()
        .all(|r| panel_protocol::CRC32.checksum(port.at(r.address, r.len as usize)) == r.crc)
}

/// Erase units that an image touches.
pub(crate) fn units(image: &Image) -> BTreeSet<u16> {
    let flash = small_flash();
    let regions = image.begin().regions().iter();
    let addresses = regions.flat_map(|r| (r.address..r.address + r.len).step_by(4));
    addresses.filter_map(|a| flash.erase_unit(a)).map(|u| u.index).collect()
}

pub(crate) fn options(compare: bool) -> ProgramOptions {
    ProgramOptions {
        only: None,
        compare,
        flash_time: Span::from_millis(200),
        patience: Span::from_millis(300),
        erase_first: Span::ZERO,
        missed_per_mille: 100,
    }
}

impl Bus {
    pub(crate) fn discover(&mut self, restart: bool) -> Discovered {
        self.events.clear();
        self.master.discover(self.now, restart);
        self.run(LIMIT);
        let found = self.events.iter().find_map(|e| match e {
            BusEvent::Discovered(found) => Some(found.clone()),
            _ => None,
        });
        found.expect("a discovery ends with its result")
    }

    /// Asks all of `nodes` by one broadcast; their answers, silent nodes left out.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        nodes: &[NodeId],
        patience: Span,
    ) -> BTreeMap<NodeId, Answer> {
        self.events.clear();
        self.master.ask_all(self.now, &request, nodes, patience);
        self.run(LIMIT);
        self.answers()
    }

    /// Asks one node.
    pub(crate) fn ask_one(&mut self, request: Request, node: NodeId, patience: Span) -> Option<Answer> {
        self.events.clear();
        self.master.ask_each(self.now, BTreeMap::from([(node, request)]), patience);
        self.run(LIMIT);
        self.answers().remove(&node)
    }

    fn answers(&self) -> BTreeMap<NodeId, Answer> {
        let answers = self.events.iter().filter_map(|e| match e {
            BusEvent::Answered(node, answer) => Some((*node, answer.clone())),
            _ => None,
        });
        answers.collect()
    }

    /// Discovery, image, catch-up, verification, commit.
    pub(crate) fn update(&mut self, image: &Arc<Image>, compare: bool) -> Outcome {
        let discovered = self.discover(true);
        let nodes: Vec<NodeId> = discovered.found.iter().map(|f| f.node).collect();
        let mut outcome = self.update_nodes(image, options(compare), nodes);
        outcome.discovered = discovered;
        outcome
    }

    pub(crate) fn update_nodes(
        &mut self,
        image: &Arc<Image>,
        options: ProgramOptions,
        nodes: Vec<NodeId>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let before = self.master.counters();
        let request = Request::Control(Control::Identify(IdentifyPart::Info));
        let nodes: Vec<NodeId> = self.ask(request, &nodes, Span::ZERO).into_keys().collect();
        self.events.clear();
        self.master.program(self.now, image, &nodes, options);
        self.run(LIMIT);
        let mut nodes = self.streamed(&mut outcome);
        let stragglers: Vec<NodeId> = outcome.demoted.iter().copied().collect();
        if !stragglers.is_empty() {
            self.events.clear();
            self.master.catch_up(self.now, image, &stragglers, options);
            self.run(LIMIT);
            nodes.extend(self.streamed(&mut outcome));
        }
        let after = self.master.counters();
        outcome.data = (after.data - before.data, after.repeated - before.repeated);
        for region in 0..image.begin().regions().len() as u8 {
            let request = Request::Control(Control::Verify { region });
            let answers = self.ask(request, &nodes, Span::from_millis(500));
            nodes.retain(|n| answers.contains_key(n));
            for (node, answer) in answers {
                if !matches!(answer, Answer::RegionCheck(c) if c.matches && c.region == region) {
                    outcome.mismatched.insert(node);
                    nodes.retain(|&n| n != node);
                }
            }
            self.faults(&mut outcome);
        }
        let commit = Request::Control(Control::Commit { session: self.master.session() });
        for (node, answer) in self.ask(commit, &nodes, Span::from_millis(100)) {
            if matches!(answer, Answer::Done { refusal: None, .. }) {
                outcome.committed.insert(node);
            }
        }
        self.faults(&mut outcome);
        outcome
    }

    fn faults(&self, outcome: &mut Outcome) {
        for event in &self.events {
            if let BusEvent::Fault(node, _) = event {
                outcome.faulty.insert(*node);
            }
        }
    }

    /// Reads the events of a pass; the nodes that have everything.
    fn streamed(&self, outcome: &mut Outcome) -> Vec<NodeId> {
        self.faults(outcome);
        let mut done = Vec::new();
        for event in &self.events {
            match event {
                BusEvent::Lost { node, .. } => _ = outcome.lost.insert(*node),
                BusEvent::Refused { node, refusal, .. } => _ = outcome.refused.insert(*node, *refusal),
                BusEvent::Demoted(node, _) => _ = outcome.demoted.insert(*node),
                BusEvent::Streamed { complete, starved, .. } => {
                    done.extend(complete);
                    outcome.starved.extend(starved);
                }
                _ => {}
            }
        }
        done
    }
}
