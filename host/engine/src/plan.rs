//! The plan of a run: everything that can be decided before anything is powered, as a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use panel_backplane::{Binding, BusIndex, BusKind, LineIndex, Panel, PanelSlot, Slot, Way};
use panel_codes::Code;
use panel_image::Image;
use panel_protocol::block::Seal;
use panel_protocol::host::{self, Timing};
use panel_protocol::node::EraseUnit;
use panel_protocol::time::Span;

use crate::chip::Chip;
use crate::event::Step;
use crate::finishing::{Finishing, FinishingError};
use crate::rom::{PlanPort, RomPlan, Ways, is_agent};

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
            start_up: Span::from_millis(21),
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

/// A job that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The image has no data.
    #[error("the image is empty")]
    Empty,
    /// Data where the chip has no flash.
    #[error("{origin}: data at {address:#010x} is outside the flash of {chip} ({from:#010x} to {to:#010x})")]
    OutsideFlash {
        /// First address outside.
        address: u32,
        /// Where it comes from.
        origin: String,
        /// Chip.
        chip: &'static str,
        /// First address of flash.
        from: u32,
        /// Last address of flash.
        to: u32,
    },
    /// Data where bootloader or records live.
    #[error(
        "{origin}: data at {address:#010x} lies in the bootloader's area of {chip}; images begin at {app_base:#010x}"
    )]
    Reserved {
        /// First such address.
        address: u32,
        /// Where it comes from.
        origin: String,
        /// Chip.
        chip: &'static str,
        /// First address for images.
        app_base: u32,
    },
    /// The image is larger than the flash.
    #[error("the image has {bytes} bytes, more than the {room} that {chip} has for it")]
    TooLarge {
        /// Bytes of the image.
        bytes: usize,
        /// Bytes there is room for.
        room: u32,
        /// Chip.
        chip: &'static str,
    },
    /// The protocol has no room for it.
    #[error(transparent)]
    Protocol(#[from] host::ImageError),
    /// What is to be done beside the image is not possible on this chip.
    #[error(transparent)]
    Finishing(#[from] FinishingError),
    /// No slot to program.
    #[error("the panel has no slot that is not marked bad")]
    NoSlots,
    /// Long frames for a chip that destroys them.
    #[error("bus {bus} is CAN FD, and {chip} has no FD controller")]
    NoFd {
        /// Name of the bus.
        bus: String,
        /// The chip.
        chip: &'static str,
    },
    /// A slot whose board cannot be started by itself while its select line is on.
    #[error("binding by select lines needs a power or NRST line of its own for slot {slot}")]
    NoOwnLine {
        /// The slot.
        slot: u16,
    },
    /// A slot of this way cannot be served.
    #[error("slot {slot} is on no bus; only boards on a bus can be programmed together")]
    NoBus {
        /// The slot.
        slot: u16,
    },
    /// A slot whose way needs a port.
    #[error("slot {slot} has no port, which its way needs")]
    NoPort {
        /// The slot.
        slot: u16,
    },
    /// The chip is in no table of ROM bootloaders.
    #[error("no ROM bootloader is known for {chip}")]
    NoRom {
        /// The chip.
        chip: &'static str,
    },
    /// The chip's ROM does not speak on this interface, or the bus is of the other kind.
    #[error(
        "slot {slot}: the way \"{way}\" needs a ROM that has it (AN2606 table 3) and a bus of its kind; chip {chip}"
    )]
    NoRomInterface {
        /// The slot.
        slot: u16,
        /// The way.
        way: Way,
        /// The chip.
        chip: &'static str,
    },
    /// Two ways that cannot share a bus.
    #[error("bus {bus}: slot {slot} goes the way \"{}\", which cannot share a bus with \"{}\"", ways[1], ways[0])]
    MixedBus {
        /// Name of the bus.
        bus: String,
        /// The slot.
        slot: u16,
        /// The two ways.
        ways: [Way; 2],
    },
    /// Boards that take turns at a multiplexer and belong to groups that know nothing of each other.
    #[error(
        "slots {} and {} share `mux` lines: both must go the way \"rom-uart\", or be on one bus", slots[0], slots[1]
    )]
    MixedMux {
        /// The slots.
        slots: [u16; 2],
    },
    /// A board on a bus that cannot be held back while another one's ROM is talked to.
    #[error(
        "slot {slot} has no power or NRST line of its own: ROM bootloaders on a bus all answer alike, so that only \
         one may run"
    )]
    NoOwnLineForRom {
        /// The slot.
        slot: u16,
    },
    /// There is no RAM agent for the chip.
    #[error("there is no RAM agent for {chip}")]
    NoAgent {
        /// The chip.
        chip: &'static str,
    },
    /// Finding out who sits where would restart the boards and wipe their agents out.
    #[error(
        "ways with an agent need `binding = \"straps\"`: the other bindings restart boards, which lose their agents"
    )]
    AgentBinding,
    /// The image lies where the agent keeps its records.
    #[error(
        "the image has data at {address:#010x}, in the erase unit where the RAM agent of {chip} keeps its records"
    )]
    AgentRecords {
        /// First address of the unit.
        address: u32,
        /// The chip.
        chip: &'static str,
    },
    /// A lock that a ROM bootloader cannot prove.
    #[error(
        "slot {slot}: the way \"{way}\" cannot prove readout protection level 2, because no ROM starts under it any \
         more; take level 1, or a way over a bootloader of the board's own"
    )]
    RomLevel2 {
        /// The slot.
        slot: u16,
        /// Its way.
        way: Way,
    },
    /// Bytes of each board's own inside the image, on a way that has one image for all.
    #[error(
        "slot {slot}: the way \"{way}\" gives no board bytes of its own inside the image, and the release has windows"
    )]
    RomWindows {
        /// The slot.
        slot: u16,
        /// Its way.
        way: Way,
    },
    /// An identity where the ROM does not write.
    #[error(
        "slot {slot}: the way \"{way}\" does not write one-time programmable memory, where the identity is to be \
         ({address:#010x}); take a way over a bootloader or agent of the board's own"
    )]
    RomOtp {
        /// The slot.
        slot: u16,
        /// Its way.
        way: Way,
        /// Where the identity is to be.
        address: u32,
    },
    /// Option bytes that the ROM does not reach.
    #[error(
        "slot {slot}: the way \"{way}\" does not reach the option bytes {option} of {chip} through its ROM"
    )]
    RomOption {
        /// The slot.
        slot: u16,
        /// Its way.
        way: Way,
        /// Name of the option.
        option: String,
        /// The chip.
        chip: &'static str,
    },
    /// A board that cannot be started anew by itself.
    #[error(
        "slot {slot} has no power or NRST line of its own, and by the way \"{way}\" option bytes and lock act after a \
         restart"
    )]
    NoOwnLineToRestart {
        /// The slot.
        slot: u16,
        /// Its way.
        way: Way,
    },
    /// The ROM client cannot lay it out.
    #[error(transparent)]
    Rom(#[from] stm32_rom_bootloader::PlanError),
}

impl PlanError {
    /// The code of this error.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Empty => Code::ImageEmpty,
            Self::OutsideFlash { .. } => Code::ImageOutsideFlash,
            Self::Reserved { .. } => Code::ImageReservedArea,
            Self::TooLarge { .. } | Self::Protocol(_) => Code::ImageTooLarge,
            Self::NoSlots | Self::NoOwnLine { .. } => Code::PanelFile,
            Self::NoFd { .. }
            | Self::NoBus { .. }
            | Self::NoPort { .. }
            | Self::NoRom { .. }
            | Self::NoRomInterface { .. }
            | Self::RomWindows { .. }
            | Self::RomOtp { .. }
            | Self::RomLevel2 { .. }
            | Self::RomOption { .. }
            | Self::NoAgent { .. } => Code::WayNotOffered,
            Self::MixedBus { .. }
            | Self::MixedMux { .. }
            | Self::NoOwnLineForRom { .. }
            | Self::NoOwnLineToRestart { .. }
            | Self::AgentBinding => Code::PanelFile,
            Self::AgentRecords { .. } => Code::ImageReservedArea,
            Self::Rom(_) => Code::ImageOutsideFlash,
            Self::Finishing(error) => error.code(),
        }
    }
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
        check_image(&recipe, &ways.of)?;
        let regions = padded(&recipe.image, recipe.chip);
        let rom = RomPlan::new(&recipe, &panel, &ways, &regions)?;
        recipe.finishing.check(recipe.chip, &regions)?;
        if let Some((from, to)) = agent_records(recipe.chip, &ways.of) {
            recipe.finishing.check_records(from, to)?;
        }
        let units = touched(&recipe, &regions);
        let shared = crate::lane::shared(&regions, &recipe.finishing.windows);
        let images = panel.buses.iter().map(|bus| {
            let fd = matches!(bus.kind, BusKind::Fd { .. });
            host::Image::new(recipe.chip.device_id, &shared, fd).map(Arc::new)
        });
        let images = images.collect::<Result<_, _>>()?;
        let flash_time = flash_time(&recipe, &regions, &units);
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

    /// The same plan, its image under this seal.
    ///
    /// # Errors
    /// [`PlanError::Protocol`]: the image has too many regions for a seal.
    pub fn sealed(mut self, seal: Seal) -> Result<Self, PlanError> {
        for image in &mut self.images {
            Arc::make_mut(image).seal(seal)?;
        }
        Ok(self)
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

/// A resident bootloader has its own area; boards without one are free for the image but for the agent's records.
fn check_image(recipe: &Recipe, ways: &BTreeMap<Slot, Way>) -> Result<(), PlanError> {
    let Recipe { image, chip, .. } = recipe;
    let resident = ways.values().any(|way| *way == Way::Multidrop);
    let from = if resident { chip.flash.app_base } else { chip.flash.base };
    let records = agent_records(chip, ways);
    if image.regions().is_empty() {
        return Err(PlanError::Empty);
    }
    let room = chip.flash_end() - from;
    if image.len() > room as usize {
        return Err(PlanError::TooLarge { bytes: image.len(), room, chip: chip.name });
    }
    for region in image.regions() {
        let (from, end) = (region.address(), region.end());
        if let Some((address, _)) = records.filter(|(first, last)| from <= *last && end > *first) {
            return Err(PlanError::AgentRecords { address, chip: chip.name });
        }
        let origin = |at: u32| image.origin(at).map_or_else(String::new, ToString::to_string);
        if from < chip.flash.base || end > chip.flash_end() {
            let address = if from < chip.flash.base { from } else { from.max(chip.flash_end()) };
            let (first, to) = (chip.flash.base, chip.flash_end() - 1);
            let origin = origin(address.min(end - 1));
            return Err(PlanError::OutsideFlash { address, origin, chip: chip.name, from: first, to });
        }
        if resident && from < chip.flash.app_base {
            let app_base = chip.flash.app_base;
            return Err(PlanError::Reserved {
                address: from,
                origin: origin(from),
                chip: chip.name,
                app_base,
            });
        }
    }
    Ok(())
}

/// SHA-256 over the table of regions of this image as it is laid on this chip: what [`Plan::image_id`] of such a run is.
///
/// # Errors
/// [`host::ImageError`]: the protocol cannot express the image.
pub fn image_id(image: &Image, chip: &Chip) -> Result<[u8; 32], host::ImageError> {
    Ok(host::Image::new(chip.device_id, &padded(image, chip), false)?.begin().image_id())
}

/// Where agents keep their records, if there are any: the last erase unit, where no bootloader of an image can be.
fn agent_records(chip: &Chip, ways: &BTreeMap<Slot, Way>) -> Option<(u32, u32)> {
    let unit = chip.flash.erase_unit(chip.flash_end() - 1)?;
    ways.values().any(|way| is_agent(*way)).then_some((unit.address, unit.address + unit.size - 1))
}

/// Regions widened to whole programming units; neighbours that then touch become one.
fn padded(image: &Image, chip: &Chip) -> Vec<(u32, Vec<u8>)> {
    let unit = u32::from(chip.flash.unit);
    let mut regions: Vec<(u32, Vec<u8>)> = Vec::new();
    for region in image.regions() {
        let from = region.address() - region.address() % unit;
        let end = region.end().next_multiple_of(unit);
        match regions.last_mut() {
            Some((address, bytes)) if from <= *address + bytes.len() as u32 => {
                let at = (region.address() - *address) as usize;
                bytes.resize((end - *address) as usize, 0xFF);
                bytes[at..at + region.data().len()].copy_from_slice(region.data());
            }
            _ => {
                let mut bytes = vec![0xFF; (end - from) as usize];
                let at = (region.address() - from) as usize;
                bytes[at..at + region.data().len()].copy_from_slice(region.data());
                regions.push((from, bytes));
            }
        }
    }
    regions
}

fn touched(recipe: &Recipe, regions: &[(u32, Vec<u8>)]) -> Vec<EraseUnit> {
    let mut units: Vec<EraseUnit> = Vec::new();
    for (address, bytes) in regions {
        let mut at = *address;
        while at < address + bytes.len() as u32
            && let Some(unit) = recipe.chip.flash.erase_unit(at)
        {
            if units.last().is_none_or(|last| last.index != unit.index) {
                units.push(unit);
            }
            at = unit.address + unit.size;
        }
    }
    units
}

fn flash_time(recipe: &Recipe, regions: &[(u32, Vec<u8>)], units: &[EraseUnit]) -> Span {
    let flash = &recipe.chip.flash;
    let erase: u64 = units.iter().map(|u| u.typical.0).sum();
    let unit = usize::from(flash.unit);
    let used = |bytes: &Vec<u8>| bytes.chunks(unit).filter(|c| c.iter().any(|&b| b != 0xFF)).count() as u64;
    let programmed: u64 = regions.iter().map(|(_, bytes)| used(bytes)).sum();
    Span(erase + programmed * flash.program_typical.0)
}
