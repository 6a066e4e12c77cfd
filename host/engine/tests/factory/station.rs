//! A station in virtual time: a plan with a factory part, simulated boards that keep their flash, and an owner of
//! identities that gives each chip its own, for ever.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use panel_backplane::{BusIndex, LineFunction, Panel, Slot, Way};
use panel_engine::chip::Chip;
use panel_engine::rom::{Agent, Ways};
use panel_engine::{
    BusRate, Event, Finishing, IdentityBytes, IdentityPlace, ImageFacts, KeyMade, Limits, LinkEvent, Lock,
    LockProof, Outcome, OwnImage, Plan, PortIndex, PortOutput, Recipe, Refused, Reserved, Run,
};
use panel_image::Image;
use panel_protocol::host::StreamCounters;
use panel_protocol::node::Uid;
use panel_protocol::time::Micros;
use panel_simulator::{
    AgentCode, BusSpeed, HostEvent, RomConfig, RomLink, Scenario, SlotConfig, World, WorldConfig,
};
use tempfile::TempDir;

/// Longer than one block, as the real identity region is.
pub(crate) const IDENTITY_BYTES: usize = 340;

/// What one run did.
pub(crate) struct Report {
    pub(crate) events: Vec<(Micros, Event)>,
    pub(crate) world: World,
    verdicts: BTreeMap<u16, (Outcome, Option<String>, String)>,
    /// The run came to its end.
    pub(crate) ended: bool,
    pub(crate) seconds: f64,
    pub(crate) counters: StreamCounters,
}

impl Report {
    /// Slot and code of every board that did not pass.
    pub(crate) fn failures(&self) -> Vec<(u16, String)> {
        let failed = self.verdicts.iter().filter(|(_, (outcome, ..))| *outcome != Outcome::Pass);
        failed.map(|(&slot, (_, code, _))| (slot, code.clone().unwrap_or_default())).collect()
    }

    pub(crate) fn detail(&self, slot: u16) -> &str {
        self.verdicts.get(&slot).map_or("", |(_, _, detail)| detail)
    }

    pub(crate) fn passed(&self) -> Vec<u16> {
        let passed = self.verdicts.iter().filter(|(_, (outcome, ..))| *outcome == Outcome::Pass);
        passed.map(|(&slot, _)| slot).collect()
    }

    pub(crate) fn proofs(&self) -> BTreeMap<u16, &LockProof> {
        let mut proofs = BTreeMap::new();
        for (_, event) in &self.events {
            if let Event::LockProved { slot, proof } = event {
                proofs.insert(slot.0, proof);
            }
        }
        proofs
    }

    /// Names of the steps that began in a slot, in order.
    pub(crate) fn steps(&self, slot: u16) -> Vec<&'static str> {
        let step = |event: &Event| match event {
            Event::StepBegan { slot: of, step } if of.0 == slot => Some(step.name()),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| step(event)).collect()
    }

    /// Flash of a board as this run left it.
    pub(crate) fn memory(&self, slot: u16, address: u32, len: usize) -> &[u8] {
        self.world.flash_bytes(slot, address, len).unwrap()
    }
}

/// Where a run is cut off, as if the station had lost its power.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    End,
    /// After so many batches of durable events.
    Batch(usize),
    /// At this time, whatever the boards are doing.
    Time(Micros),
    /// It is not cut off: the operator stops it at this time.
    Stopped(Micros),
}

pub(crate) struct Station {
    dir: TempDir,
    pub(crate) chip: &'static str,
    pub(crate) boards: u16,
    pub(crate) finishing: Finishing,
    pub(crate) fixture: &'static str,
    pub(crate) retries: u8,
    pub(crate) start_application: bool,
    /// Identities by UID, and whether they were read back.
    pub(crate) identities: BTreeMap<Uid, (Vec<u8>, bool)>,
    /// Slots whose chips get none.
    pub(crate) refused: Vec<u16>,
    /// Slots whose keys are not certified.
    pub(crate) uncertified: Vec<u16>,
    pub(crate) image: u8,
    pub(crate) image_bytes: u32,
    /// Bytes of the image that are 0xFF.
    pub(crate) hole: Range<u32>,
    /// Blank boards are reached this way.
    pub(crate) way: Way,
    /// Blank boards read the address of their slot.
    pub(crate) straps: bool,
    /// The port of this slot is unplugged at this time.
    pub(crate) unplug: Option<(u16, Micros)>,
}

/// The RAM agent of these boards: any bytes will do, the simulated chip knows them.
const AGENT: (u32, usize) = (0x2000_4000, 2048);

/// An identity at this address, and level 1.
pub(crate) fn whole(address: u32) -> Finishing {
    Finishing {
        reserve: true,
        key: None,
        identity: Some(IdentityPlace { address, length: 512, may_erase: true }),
        windows: Vec::new(),
        options: Vec::new(),
        lock: Lock::Level1,
    }
}

fn agent_bytes() -> Vec<u8> {
    (0..AGENT.1).map(|at| (at * 13 + at / 64) as u8).collect()
}

impl Station {
    pub(crate) fn new(chip: &'static str, boards: u16, finishing: Finishing) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            chip,
            boards,
            finishing,
            fixture: "power = \"sim:p{slot}\"\nnrst = \"sim:r{slot}\"",
            retries: 0,
            start_application: false,
            identities: BTreeMap::new(),
            refused: Vec::new(),
            uncertified: Vec::new(),
            image: 1,
            image_bytes: 8192,
            hole: 0..0,
            way: Way::Multidrop,
            straps: true,
            unplug: None,
        }
    }

    fn image_data(&self) -> Vec<u8> {
        let byte = |i| if self.hole.contains(&i) { 0xFF } else { (i * 7 + i / 256) as u8 ^ self.image };
        (0..self.image_bytes).map(byte).collect()
    }

    /// The image as the board with this identity gets it: each window holds the beginning of the identity.
    pub(crate) fn own_image(&self, identity: &[u8]) -> OwnImage {
        let mut bytes = self.image_data();
        let address = self.plan().regions[0].0;
        for window in &self.finishing.windows {
            let at = (window.address - address) as usize;
            let length = window.length as usize;
            bytes[at..at + length].copy_from_slice(&identity[..length]);
        }
        let (length, crc32) = (bytes.len() as u32, panel_protocol::CRC32.checksum(&bytes));
        // What a record says is for whoever keeps records.
        let facts = ImageFacts { name: "app".to_owned(), address, length, crc32, sha256: [0; 32] };
        OwnImage { facts, bytes }
    }

    pub(crate) fn plan(&self) -> Plan {
        let chip = Chip::by_name(self.chip).unwrap();
        let base = chip.flash.app_base.max(0x0801_0000);
        let bytes = self.image_data();
        let recipe = Recipe {
            job: "factory".to_owned(),
            release: "test".to_owned(),
            image: Image::from_bin(&bytes, "test.bin", base).unwrap(),
            chip,
            revisions: Vec::new(),
            min_supply_mv: None,
            retries: self.retries,
            digest: false,
            start_application: self.start_application,
            finishing: self.finishing.clone(),
            limits: Limits { start_up: chip.start_up(false), ..Limits::default() },
        };
        let panel = self.panel();
        let of = panel.slots.iter().map(|slot| (slot.slot, self.way)).collect();
        let agent = Agent { name: "agent".to_owned(), bytes: agent_bytes(), address: AGENT.0 };
        Plan::with_ways(recipe, panel, Ways { of, agent: Some(agent), supply_mv: None }).unwrap()
    }

    pub(crate) fn panel(&self) -> Panel {
        let port = if self.way.needs_port() { "port = \"sim\"\n" } else { "" };
        let text = format!(
            "name = \"p\"\nrows = 1\ncolumns = {}\nbinding = \"straps\"\nways = [\"{}\"]\n{port}\
             bus = [{{ link = \"sim\"{} }}]\n[fixture]\n{}\n",
            self.boards,
            self.way,
            if self.is_fd() { ", kind = \"fd\", data_bit_rate = \"5M\"" } else { "" },
            self.fixture
        );
        Panel::parse(&text).unwrap()
    }

    fn is_fd(&self) -> bool {
        matches!(self.way, Way::RomFdcan | Way::RomFdcanAgent)
    }

    /// What is fitted in the slots: boards with a bootloader, or blank ones.
    fn slot(&self, slot: u16, chip: &'static panel_simulator::Chip) -> SlotConfig {
        let link = match self.way {
            Way::Multidrop => return SlotConfig::new(slot, 0, chip),
            Way::RomUart | Way::RomUartAgent => RomLink::Uart,
            Way::RomCan | Way::RomCanAgent => RomLink::Can,
            Way::RomFdcan | Way::RomFdcanAgent => RomLink::Fdcan,
        };
        let agent = Some(Arc::new(AgentCode { address: AGENT.0, bytes: agent_bytes() }));
        let rom = Some(RomConfig { link, agent, latency: Duration::ZERO });
        SlotConfig { rom, strap: self.straps.then_some(slot), ..SlotConfig::new(slot, 0, chip) }
    }

    /// Runs once; boards keep their flash for the next time.
    pub(crate) fn run(&mut self, scenario: &str, until: Until) -> Report {
        let plan = Arc::new(self.plan());
        let chip = panel_simulator::Chip::by_name(self.chip.trim_start_matches("STM32")).unwrap();
        let config = WorldConfig {
            slots: (1..=self.boards).map(|slot| self.slot(slot, chip)).collect(),
            buses: vec![if self.is_fd() { BusSpeed::FD_1M_5M } else { BusSpeed::CAN_1M }],
            scenario: Scenario::parse(scenario).unwrap(),
            flash_dir: Some(self.dir.path().to_owned()),
            ..WorldConfig::default()
        };
        let mut world = World::new(config, 1).unwrap();
        let mut run = Run::new(&plan, Micros::ZERO, 1);
        let mut events = Vec::new();
        let unswitched = plan.panel.slots.iter().filter(|s| s.lines.power.is_none()).map(|s| s.slot.0);
        world.set_power(&unswitched.collect::<Vec<_>>(), true);
        let mut batches = 0;
        let mut stop = if let Until::Stopped(at) = until { Some(at) } else { None };
        loop {
            self.settle(&mut run, &mut world, &mut events, &mut batches, until);
            let late = matches!(until, Until::Time(at) if world.now() >= at);
            if late || matches!(until, Until::Batch(n) if batches >= n) || run.is_finished() {
                break;
            }
            let due = run.next_timeout();
            let next = due.into_iter().chain(world.next_event()).chain(stop).min();
            world.advance(next.expect("something is always due"));
            let now = world.now();
            if stop.take_if(|at| now >= *at).is_some() {
                run.interrupt(now);
            }
            while let Some(event) = world.poll_host() {
                match event {
                    HostEvent::Received { frame, .. } => run.handle_frame(now, BusIndex(0), &frame),
                    HostEvent::Readable { slot } => {
                        let bytes = world.port_read(slot);
                        run.handle_bytes(now, PortIndex(slot - 1), &bytes);
                    }
                    _ => {}
                }
            }
            if let Some((slot, _)) = self.unplug.take_if(|(_, at)| now >= *at) {
                run.handle_port_link(now, PortIndex(slot - 1), LinkEvent::Down);
            }
            if due.is_some_and(|due| now >= due) {
                run.handle_timeout(now);
            }
            assert!(now < Micros(600_000_000), "a run of ten minutes never ends");
        }
        let reports = run.reports();
        let seconds = reports.iter().map(|r| r.ended).max().unwrap_or_default().0 as f64 / 1e6;
        let verdict = |r: &panel_engine::SlotReport| {
            let v = r.verdict.clone()?;
            Some((r.slot.0, (v.outcome, v.code.map(|c| c.to_string()), v.detail)))
        };
        let verdicts = reports.iter().filter_map(verdict).collect();
        Report {
            events,
            world,
            verdicts,
            ended: run.is_finished(),
            seconds,
            counters: run.counters(BusIndex(0)),
        }
    }

    fn settle(
        &mut self,
        run: &mut Run,
        world: &mut World,
        events: &mut Vec<(Micros, Event)>,
        batches: &mut usize,
        until: Until,
    ) {
        let now = world.now();
        loop {
            let before = events.len();
            while let Some(event) = run.poll_event() {
                self.observe(&event, events);
                events.push((now, event));
            }
            if events.len() > before {
                *batches += 1;
            }
            if matches!(until, Until::Batch(n) if *batches >= n) {
                return;
            }
            if let Some(boards) = run.poll_reserve() {
                let answers = boards.into_iter().map(|(slot, uid)| (slot, self.reserve(slot, uid))).collect();
                run.handle_reserved(now, answers);
                continue;
            }
            if let Some(made) = run.poll_certify() {
                let answers = made.into_iter().map(|made| (made.slot, self.certify(made))).collect();
                run.handle_certified(now, answers);
                continue;
            }
            let mut moved = false;
            while let Some(action) = run.poll_line() {
                let line = run.plan().panel.line(action.line).unwrap();
                let slots: Vec<u16> = line.slots.iter().map(|s| s.0).collect();
                match line.function {
                    LineFunction::Power => world.set_power(&slots, action.on),
                    LineFunction::Nrst => world.set_reset(&slots, action.on),
                    LineFunction::Boot0 => world.set_boot0(&slots, action.on),
                    LineFunction::Select | LineFunction::Mux => {}
                }
                moved = true;
            }
            while let Some(slots) = run.poll_sense() {
                let currents: Vec<_> = slots.iter().map(|&s| (s, world.current_ma(s.0))).collect();
                run.handle_currents(now, &currents);
                moved = true;
            }
            while let Some(BusRate { nominal, data }) = run.poll_bit_rate(BusIndex(0)) {
                world.host_set_speed(0, BusSpeed { nominal, data });
                run.handle_bit_rate(now, BusIndex(0), true);
                moved = true;
            }
            for port in 0..run.plan().ports.len() as u16 {
                while let Some(output) = run.poll_bytes(PortIndex(port)) {
                    match output {
                        PortOutput::Configure { baud } => world.port_configure(port + 1, baud),
                        PortOutput::Write(bytes) => world.port_write(port + 1, &bytes),
                    }
                    moved = true;
                }
            }
            while world.host_queue_free(0) > 6
                && let Some(frame) = run.poll_transmit(now, BusIndex(0))
            {
                world.host_send(0, &frame).unwrap();
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn reserve(&mut self, slot: Slot, uid: Uid) -> Result<Reserved, Refused> {
        if self.refused.contains(&slot.0) {
            let code = panel_codes::Code::QuotaExhausted;
            return Err(Refused { code, text: "10 of 10 used".to_owned() });
        }
        let number = self.identities.len() as u8 + 1;
        let (identity, written) = self.identities.entry(uid).or_insert_with(|| {
            let bytes = (0..IDENTITY_BYTES).map(|i| number.wrapping_mul(31) ^ i as u8).collect();
            (bytes, false)
        });
        let serial = Some(format!("SN-{}", identity[0]));
        let (identity, written) = (identity.clone(), *written);
        let images = if self.finishing.windows.is_empty() { vec![] } else { vec![self.own_image(&identity)] };
        Ok(Reserved { identity: Some(identity.into()), images, serial, facts: vec![], written })
    }

    /// The request itself is the board's identity, so that it can be found in flash.
    fn certify(&mut self, made: KeyMade) -> Result<IdentityBytes, Refused> {
        if self.uncertified.contains(&made.slot.0) {
            let code = panel_codes::Code::Certificate;
            return Err(Refused { code, text: "not this one".to_owned() });
        }
        let known = self.identities.get_mut(&made.uid).expect("it was reserved before");
        known.0.clone_from(&made.request);
        Ok(made.request.into())
    }

    fn observe(&mut self, event: &Event, before: &[(Micros, Event)]) {
        let Event::IdentityWritten { slot } = event else { return };
        let uid = before.iter().rev().find_map(|(_, e)| match e {
            Event::Identified { slot: of, uid } if of == slot => Some(*uid),
            _ => None,
        });
        if let Some((_, written)) = uid.and_then(|uid| self.identities.get_mut(&uid)) {
            *written = true;
        }
    }
}
