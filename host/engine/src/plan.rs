//! The plan of a run: everything that can be decided before anything is powered, as a value.

mod error;
mod layout;

use std::collections::BTreeMap;
use std::sync::Arc;

use panel_backplane::{Binding, BusIndex, BusKind, LineIndex, Panel, PanelSlot, Slot, Way};
use panel_image::Image;
use panel_protocol::block::Seal;
use panel_protocol::host::{self, Timing};
use panel_protocol::node::EraseUnit;
use panel_protocol::time::Span;

use crate::chip::Chip;
use crate::event::Step;
use crate::finishing::Finishing;
use crate::rom::{PlanPort, RomPlan, Ways};
pub use error::PlanError;
pub use layout::image_id;

/// Budgets and waits of a run, as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From stable power until every board listens.
    pub start_up: Span,
    /// Silence after which nobody has more to say; must exceed the adapter's round trip.
    pub quiet: Span,
    /// How long an answer may take.
    pub answer: Span,
    /// How much longer than its declared times a board may hold the others up.
    pub patience: Span,
    /// Share of the data frames that a board may miss, in per mille.
    pub missed_per_mille: u32,
    /// How often an unanswered question is asked.
    pub tries: u8,
    /// Longest time between two censuses while data flows.
    pub census: Span,
    /// How long the second pass for boards left behind may take.
    pub straggler_pass: Span,
    /// How long the driver of a run waits for a link that went down; zero: not at all. Nothing in the engine.
    pub link_wait: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start_up: Span::from_millis(100),
            quiet: Span::from_millis(3),
            answer: Span::from_millis(40),
            patience: Span::from_millis(100),
            missed_per_mille: 100,
            tries: 3,
            census: Span::from_millis(400),
            straggler_pass: Span::from_millis(60_000),
            link_wait: Span::from_millis(2_000),
        }
    }
}

/// What is to be done to every board: the job, resolved.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Name of the job.
    pub job: String,
    /// Name of the release or image.
    pub release: String,
    /// The image.
    pub image: Image,
    /// The chip.
    pub chip: &'static Chip,
    /// Hardware revisions that the job allows; empty for any.
    pub revisions: Vec<u16>,
    /// Lowest supply at which flash may be written, in millivolts.
    pub min_supply_mv: Option<u16>,
    /// Further attempts for a board whose failure another attempt may cure.
    pub retries: u8,
    /// Each board also returns the full SHA-256 of what it read back.
    pub digest: bool,
    /// Start the application at the end.
    pub start_application: bool,
    /// Identity, option bytes and protection.
    pub finishing: Finishing,
    /// Budgets and waits.
    pub limits: Limits,
}

/// What goes where, and what it will take.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The job, resolved.
    pub recipe: Recipe,
    /// The panel.
    pub panel: Panel,
    /// The image as each bus sends it to all: segments with bytes of each board's own are blank.
    pub images: Vec<Arc<host::Image>>,
    /// Regions as they are written: padded with 0xFF to the flash's unit.
    pub regions: Vec<(u32, Vec<u8>)>,
    /// Erase units that the image touches.
    pub units: Vec<EraseUnit>,
    /// Typical time to erase and program one board.
    pub flash_time: Span,
    /// The way of every slot that is not marked bad.
    pub ways: BTreeMap<Slot, Way>,
    /// The ports of slots that are reached by one, each once; [`crate::PortIndex`] counts them.
    pub ports: Vec<PlanPort>,
    /// What goes through ROM bootloaders, if anything does.
    pub rom: Option<RomPlan>,
    /// What the records say of slots of this very panel whose last board passed and proved its lock: in words.
    pub finished: BTreeMap<Slot, String>,
}

impl Plan {
    /// Lays the image on the chip and the panel, every board reached by `multidrop`.
    ///
    /// # Errors
    /// [`PlanError`]: the image does not fit the chip, or the panel has nothing to program.
    pub fn new(recipe: Recipe, panel: Panel) -> Result<Self, PlanError> {
        Self::with_ways(recipe, panel, Ways::default())
    }

    /// The same, with a way for each slot.
    ///
    /// # Errors
    /// [`PlanError`]: also for ways that this chip or this panel does not offer.
    pub fn with_ways(recipe: Recipe, panel: Panel, mut ways: Ways) -> Result<Self, PlanError> {
        let good: Vec<Slot> = panel.slots.iter().filter(|s| !s.bad).map(|s| s.slot).collect();
        ways.of.retain(|slot, _| good.contains(slot));
        good.into_iter().for_each(|slot| _ = ways.of.entry(slot).or_insert(Way::Multidrop));
        check_panel(&panel, recipe.chip, &ways.of)?;
        let room = layout::room(recipe.chip, &ways.of, false);
        layout::check_image(&recipe, &room, false)?;
        let regions = layout::padded(&recipe.image, recipe.chip);
        let rom = RomPlan::new(&recipe, &panel, &ways, &regions)?;
        recipe.finishing.check(recipe.chip, &regions, &room)?;
        let units = layout::touched(&recipe, &regions);
        let shared = crate::lane::shared(&regions, &recipe.finishing.windows);
        let images = panel.buses.iter().map(|bus| {
            let fd = matches!(bus.kind, BusKind::Fd { .. });
            host::Image::new(recipe.chip.device_id, &shared, fd).map(Arc::new)
        });
        let images = images.collect::<Result<_, _>>()?;
        let flash_time = layout::flash_time(&recipe, &regions, &units);
        let ports = ports(&panel, &ways.of);
        Ok(Self {
            recipe,
            panel,
            images,
            regions,
            units,
            flash_time,
            ways: ways.of,
            ports,
            rom,
            finished: BTreeMap::new(),
        })
    }

    /// SHA-256 over the image's table of regions, as boards report and seals name it; `None` without a bus.
    #[must_use]
    pub fn image_id(&self) -> Option<[u8; 32]> {
        self.images.first().map(|image| image.begin().image_id())
    }

    /// The same plan, its image under this seal, and laid out for bootloaders that ask for one: they keep more flash.
    ///
    /// # Errors
    /// [`PlanError`]: the image has too many regions for a seal; it, or the identity, lies in what such a bootloader keeps.
    pub fn sealed(mut self, seal: Seal) -> Result<Self, PlanError> {
        let room = layout::room(self.recipe.chip, &self.ways, true);
        layout::check_image(&self.recipe, &room, true)?;
        self.recipe.finishing.check(self.recipe.chip, &self.regions, &room)?;
        for image in &mut self.images {
            Arc::make_mut(image).seal(seal)?;
        }
        Ok(self)
    }

    /// Whether its image is under a seal.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.images.first().is_some_and(|image| image.begin().seal().is_some())
    }

    /// Boards that are reached by their own ports alone are a group beside the buses; its number in events. `None`
    /// if there are none.
    #[must_use]
    pub fn ports_group(&self) -> Option<BusIndex> {
        let any = self.panel.slots.iter().any(|s| self.home(s) == Home::Ports);
        any.then_some(BusIndex(self.panel.buses.len() as u8))
    }

    /// Bytes of the RAM agent; 0 without one.
    #[must_use]
    pub fn agent_bytes(&self) -> usize {
        self.rom.as_ref().and_then(RomPlan::agent).map_or(0, |agent| agent.bytes.len())
    }

    /// Who works on this slot.
    pub(crate) fn home(&self, slot: &PanelSlot) -> Home {
        let way = self.ways.get(&slot.slot).copied();
        match (way, slot.bus) {
            (Some(Way::RomUart), _) | (_, None) => Home::Ports,
            (Some(Way::RomCan | Way::RomFdcan), Some(bus)) => Home::RomBus(bus),
            (_, Some(bus)) => Home::Bus(bus),
        }
    }

    /// Steps without which no board passes, beside [`Step::Verify`].
    #[must_use]
    pub fn required_steps(&self) -> Vec<Step> {
        let Finishing { reserve, identity, options, lock, .. } = &self.recipe.finishing;
        let wanted = [
            (Step::Reserve, *reserve),
            (Step::Identity, identity.is_some()),
            // A ROM has no valid mark to write; what it wrote is read back.
            (Step::Commit, self.ways.values().all(|way| way.broadcasts())),
            (Step::Options, !options.is_empty()),
            (Step::ProveLock, lock.level().is_some()),
        ];
        wanted.into_iter().filter_map(|(step, wanted)| wanted.then_some(step)).collect()
    }

    /// Waits of one bus.
    #[must_use]
    pub fn timing(&self, bus: usize) -> Timing {
        let limits = &self.recipe.limits;
        let bit_rate = self.panel.buses.get(bus).map_or(1_000_000, |b| u64::from(b.bit_rate.0)).max(1);
        // 160 bits: the longest classical frame with every stuff bit.
        let frame = Span(160_000_000 / bit_rate);
        let Limits { quiet, answer, tries, census, .. } = *limits;
        // On a slow bus a frame of somebody else and the answer alone may take longer than the usual silence.
        let quiet = quiet.max(Span(4 * frame.0));
        // Nor may the answers to censuses fill it: a twentieth of its time at most.
        let boards = self.panel.slots.iter().filter(|s| s.bus.is_some_and(|b| b.index() == bus)).count();
        let census = census.max(Span(20 * boards as u64 * frame.0));
        Timing { quiet, answer, frame, tries, census }
    }

    /// What one pass over a bus may take, so that no run lasts for ever: a minute, and ten times what sending the
    /// image and the slowest flash need.
    #[must_use]
    pub fn budget(&self, bus: usize) -> Span {
        let frames = self.images.get(bus).map_or(0, |image| image.frames());
        let erase: u64 = self.units.iter().map(|u| u.longest.0).sum();
        let once = frames * self.timing(bus).frame.0 + erase + self.flash_time.0;
        Span(60_000_000 + 10 * once)
    }
}

/// Who works on a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// Its bus, with all others there.
    Bus(BusIndex),
    /// Its bus, one board at a time.
    RomBus(BusIndex),
    /// Its own port.
    Ports,
}

fn ports(panel: &Panel, ways: &BTreeMap<Slot, Way>) -> Vec<PlanPort> {
    let by_port = |s: &&PanelSlot| ways.get(&s.slot).is_some_and(|way| way.needs_port());
    let mut ports: Vec<(&PanelSlot, PlanPort)> = Vec::new();
    for slot in panel.slots.iter().filter(by_port) {
        let Some(port) = slot.port.clone() else { continue };
        match ports.iter_mut().find(|(first, _)| first.shares_port(slot)) {
            Some((_, known)) => known.slots.push(slot.slot),
            None => ports.push((slot, PlanPort { slots: vec![slot.slot], port, baud: panel.baud })),
        }
    }
    ports.into_iter().map(|(_, port)| port).collect()
}

fn check_panel(panel: &Panel, chip: &'static Chip, ways: &BTreeMap<Slot, Way>) -> Result<(), PlanError> {
    let mut good = panel.slots.iter().filter(|s| !s.bad).peekable();
    if good.peek().is_none() {
        return Err(PlanError::NoSlots);
    }
    if let Some(slot) = good.find(|s| s.bus.is_none() && ways[&s.slot].needs_bus()) {
        return Err(PlanError::NoBus { slot: slot.slot.0 });
    }
    let fd = |bus: &&panel_backplane::Bus| matches!(bus.kind, BusKind::Fd { .. });
    if let Some(bus) = panel.buses.iter().find(fd).filter(|_| !chip.fd) {
        return Err(PlanError::NoFd { bus: bus.name.clone(), chip: chip.name });
    }
    let own =
        |line: Option<LineIndex>| line.and_then(|l| panel.line(l)).is_some_and(|line| line.slots.len() == 1);
    let bound = |s: &PanelSlot| !s.bad && ways[&s.slot].broadcasts();
    let mut good = panel.slots.iter().filter(|s| bound(s) && panel.binding == Binding::Select);
    match good.find(|s| !own(s.lines.nrst) && !own(s.lines.power)) {
        Some(slot) => Err(PlanError::NoOwnLine { slot: slot.slot.0 }),
        None => Ok(()),
    }
}
