//! What a plan says beyond the shared bus: which way each slot takes, its port, the RAM agent.
//!
//! Everything that can be refused before anything is powered is refused here: a ROM without the interface, a
//! bus whose boards cannot be told apart, an agent that does not fit into the RAM the ROM leaves free.

use std::collections::BTreeMap;
use std::sync::Arc;

use panel_backplane::{Binding, BusKind, LineIndex, Panel, PanelSlot, Port, Slot, Way};
use panel_protocol::agent::{JOIN_AT_ONCE, JOIN_WORD, SLOT_WORD, slot_word};
use panel_protocol::node::Uid;
use stm32_rom_bootloader::device::{OptionBytes, SupplyVoltage};
use stm32_rom_bootloader::{Device, EraseChoice, PlanOptions, SharedImage};

use super::attempt::{Extras, Goal, Work};
use crate::chip::Chip;
use crate::finishing::{Finishing, IdentityPlace, Lock};
use crate::lines;
use crate::plan::{PlanError, Recipe};

/// The RAM agent: a node of the shared-bus protocol that is loaded through the ROM and runs wholly from RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Name and version, for records.
    pub name: String,
    /// Its code, vector table first.
    pub bytes: Vec<u8>,
    /// Where it is loaded, and where its vector table is.
    pub address: u32,
}

/// The ways of a panel's slots, and what some of them need.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// The way of every slot that is not marked bad; one that is missing is reached by `multidrop`.
    pub of: BTreeMap<Slot, Way>,
    /// The RAM agent for this chip, if there is one.
    pub agent: Option<Agent>,
    /// Supply of the boards in millivolts, if the job states it.
    pub supply_mv: Option<u16>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPort {
    /// The slot that it serves, or several one after another through a multiplexer.
    pub slots: Vec<Slot>,
    /// Where it leads.
    pub port: Port,
    /// Bits per second.
    pub baud: u32,
}

/// The part of a plan that goes through ROM bootloaders.
#[derive(Debug, Clone)]
pub struct RomPlan {
    /// The chip, as the ROM client knows it.
    pub device: &'static Device,
    /// The image, if some slot gets it through its ROM.
    image: SharedImage,
    /// The agent, if some slot gets that, and as each slot gets it.
    agent: Option<Agent>,
    agents: BTreeMap<Slot, SlotAgent>,
    start: Option<u32>,
    voltage: Option<SupplyVoltage>,
    /// What a factory adds to a board that is written through its ROM, and to one that was written by an agent.
    extras: Arc<Extras>,
    after_agent: Arc<Extras>,
}

/// The agent as one slot gets it.
#[derive(Debug, Clone)]
struct SlotAgent {
    /// Told to take part in the bus at once.
    joining: SharedImage,
    /// Not told so, where ROMs are talked to over that bus.
    waiting: Option<SharedImage>,
}

impl RomPlan {
    /// Checks and lays out what the ROM ways of `ways` need; `None` if there are none.
    pub(crate) fn new(
        recipe: &Recipe,
        panel: &Panel,
        options: &Ways,
        regions: &[(u32, Vec<u8>)],
    ) -> Result<Option<Self>, PlanError> {
        let ways = &options.of;
        if ways.values().all(|way| *way == Way::Multidrop) {
            return Ok(None);
        }
        let chip = recipe.chip;
        // Members of one die may have other ROMs: an STM32G0B0 has no FDCAN, and the product ID of an STM32G0B1.
        let named = Device::with_product_id(chip.device_id).find(|row| row.name.starts_with(chip.name));
        let device = named
            .or_else(|| Device::find(chip.device_id, None))
            .ok_or(PlanError::NoRom { chip: chip.name })?;
        for slot in panel.slots.iter().filter(|s| !s.bad) {
            if let Some(&way) = ways.get(&slot.slot) {
                check_slot(panel, slot, way, device, chip.name)?;
            }
        }
        check_buses(panel, ways)?;
        check_muxes(panel, ways)?;
        check_finishing(recipe, panel, ways, device)?;
        let image = SharedImage::new(regions.to_vec())?;
        let voltage = options.supply_mv.and_then(SupplyVoltage::from_millivolts);
        if ways.values().any(|way| !way.broadcasts()) {
            image.plan(device, &PlanOptions { voltage, ..PlanOptions::default() })?;
        }
        let agent = if ways.values().any(|way| is_agent(*way)) {
            if panel.binding != Binding::Straps {
                return Err(PlanError::AgentBinding);
            }
            Some(options.agent.clone().ok_or(PlanError::NoAgent { chip: chip.name })?)
        } else {
            None
        };
        let agents = match &agent {
            Some(agent) => agents(agent, panel, ways, device)?,
            None => BTreeMap::new(),
        };
        let first = regions.first().map(|(address, _)| *address);
        let start = first.filter(|_| recipe.start_application);
        let extras = extras(recipe, regions);
        let after_agent = Arc::new(Extras { reserve: false, place: None, ..extras.clone() });
        let extras = Arc::new(extras);
        Ok(Some(Self { device, image, agent, agents, start, voltage, extras, after_agent }))
    }

    /// The supply that the job states, where it makes programming faster.
    #[must_use]
    pub const fn voltage(&self) -> Option<SupplyVoltage> {
        self.voltage
    }

    /// The agent, if some slot gets one.
    #[must_use]
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// What is done to this slot's board; after the `last` one no ROM is talked to over its bus any more.
    pub(crate) fn work(&self, slot: Slot, last: bool) -> Work {
        match (&self.agent, self.agents.get(&slot)) {
            (Some(agent), Some(SlotAgent { joining, waiting })) => Work {
                goal: Goal::LoadAgent,
                image: waiting.as_ref().filter(|_| !last).unwrap_or(joining).clone(),
                start: Some(agent.address),
                voltage: None,
                extras: Arc::default(),
                ..self.program()
            },
            _ => self.program(),
        }
    }

    fn program(&self) -> Work {
        Work {
            goal: Goal::Program,
            device: self.device,
            image: self.image.clone(),
            start: self.start,
            voltage: self.voltage,
            extras: Arc::clone(&self.extras),
            uid: None,
        }
    }

    /// What is left to do to this board when an agent has given it image and identity.
    pub(crate) fn finish(&self, uid: Option<Uid>) -> Work {
        Work { goal: Goal::Finish, extras: Arc::clone(&self.after_agent), uid, ..self.program() }
    }

    /// Whether boards that ran an agent go through their ROM once more: option bytes and lock act after a restart,
    /// which an agent does not survive.
    pub(crate) fn finishes_agents(&self) -> bool {
        self.after_agent.restarts()
    }
}

/// What a factory adds, as attempts need it.
fn extras(recipe: &Recipe, regions: &[(u32, Vec<u8>)]) -> Extras {
    let Finishing { reserve, identity, options, lock, .. } = &recipe.finishing;
    let place = identity.map(|place| IdentityPlace {
        may_erase: place.may_erase && !shares_a_unit(recipe.chip, &place, regions),
        ..place
    });
    let unit = usize::from(recipe.chip.flash.unit);
    Extras { reserve: *reserve, place, unit, options: options.clone(), lock: lock.level().is_some() }
}

/// Whether an erase for the identity would take a byte of the image along.
fn shares_a_unit(chip: &Chip, place: &IdentityPlace, regions: &[(u32, Vec<u8>)]) -> bool {
    let unit = |at| chip.flash.erase_unit(at);
    let first = unit(place.address).map_or(place.address, |unit| unit.address);
    let last = place.address + place.length - 1;
    let end = unit(last).map_or(last + 1, |unit| unit.address + unit.size);
    regions.iter().any(|(from, bytes)| *from < end && first < from + bytes.len() as u32)
}

/// Option bytes and lock through a ROM: what it cannot do is refused before anything is powered.
fn check_finishing(
    recipe: &Recipe,
    panel: &Panel,
    ways: &BTreeMap<Slot, Way>,
    device: &'static Device,
) -> Result<(), PlanError> {
    let Finishing { options, lock, windows, identity, .. } = &recipe.finishing;
    let alone = ways.iter().find(|(_, way)| !way.broadcasts());
    if let (Some((&slot, &way)), false) = (alone, windows.is_empty()) {
        return Err(PlanError::RomWindows { slot: slot.0, way });
    }
    let in_otp = identity.filter(|place| recipe.chip.is_otp(place.address));
    if let (Some((&slot, &way)), Some(place)) = (alone, in_otp) {
        return Err(PlanError::RomOtp { slot: slot.0, way, address: place.address });
    }
    if lock.level().is_none() && options.is_empty() {
        return Ok(());
    }
    let through_rom = ways.iter().filter(|(_, way)| **way != Way::Multidrop);
    let block = match device.option_bytes {
        OptionBytes::Memory([area, ..]) => area.len() as usize,
        _ => 0,
    };
    for (&slot, &way) in through_rom {
        if matches!(lock, Lock::Level2(_)) {
            return Err(PlanError::RomLevel2 { slot: slot.0, way });
        }
        if let Some(option) = options.iter().find(|o| usize::from(o.offset) + o.bytes.len() > block) {
            let (option, chip) = (option.name.clone(), recipe.chip.name);
            return Err(PlanError::RomOption { slot: slot.0, way, option, chip });
        }
        if lines::own_line(panel, slot).is_none() {
            return Err(PlanError::NoOwnLineToRestart { slot: slot.0, way });
        }
        // A bootloader that listens on the bus would take part in it while ROMs are talked to at their own rates.
        let bus = panel.slot(slot).and_then(|s| s.bus);
        let resident = |s: &&PanelSlot| s.bus == bus && ways.get(&s.slot) == Some(&Way::Multidrop);
        if let (true, Some(bus), Some(other)) = (way.rom_on_bus(), bus, panel.slots.iter().find(resident)) {
            let bus = panel.buses.get(bus.index()).map_or_else(String::new, |bus| bus.name.clone());
            return Err(PlanError::MixedBus { bus, slot: other.slot.0, ways: [way, Way::Multidrop] });
        }
    }
    Ok(())
}

/// The agent as each slot gets it: told what it is to read as its straps, for it is loaded through the slot's own lines; and,
/// unless ROMs are still talked to over its bus, to take part in that at once.
fn agents(
    agent: &Agent,
    panel: &Panel,
    ways: &BTreeMap<Slot, Way>,
    device: &'static Device,
) -> Result<BTreeMap<Slot, SlotAgent>, PlanError> {
    let mut images = BTreeMap::new();
    for slot in panel.slots.iter().filter(|s| ways.get(&s.slot).is_some_and(|way| is_agent(*way))) {
        let on_bus = |s: &&PanelSlot| s.bus == slot.bus && ways.get(&s.slot).is_some_and(|w| w.rom_on_bus());
        let told = |words: &[(usize, u32)]| {
            let mut bytes = agent.bytes.clone();
            for (at, word) in words {
                if let Some(place) = bytes.get_mut(*at..at + 4) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
            }
            SharedImage::new(vec![(agent.address, bytes)])
        };
        let place = (SLOT_WORD, slot_word(slot.strap));
        let joining = told(&[place, (JOIN_WORD, JOIN_AT_ONCE)])?;
        let waiting = panel.slots.iter().any(|s| on_bus(&s)).then(|| told(&[place])).transpose()?;
        if images.is_empty() {
            let nothing = PlanOptions { erase: EraseChoice::Nothing, ..PlanOptions::default() };
            joining.plan(device, &nothing)?;
        }
        images.insert(slot.slot, SlotAgent { joining, waiting });
    }
    Ok(images)
}

/// Whether this way loads the RAM agent.
pub(crate) const fn is_agent(way: Way) -> bool {
    matches!(way, Way::RomUartAgent | Way::RomCanAgent | Way::RomFdcanAgent)
}

fn check_slot(
    panel: &Panel,
    slot: &PanelSlot,
    way: Way,
    device: &'static Device,
    chip: &'static str,
) -> Result<(), PlanError> {
    let number = slot.slot.0;
    if way.needs_port() && slot.port.is_none() {
        return Err(PlanError::NoPort { slot: number });
    }
    let speaks = match way {
        Way::Multidrop => true,
        Way::RomUart | Way::RomUartAgent => !device.usart_ports.is_empty(),
        Way::RomCan | Way::RomCanAgent => !device.can_ports.is_empty(),
        Way::RomFdcan | Way::RomFdcanAgent => !device.fdcan_ports.is_empty(),
    };
    let kind = slot.bus.and_then(|b| panel.buses.get(b.index())).map(|b| b.kind);
    let fits = match way {
        Way::RomCan | Way::RomCanAgent => kind == Some(BusKind::Classical),
        Way::RomFdcan | Way::RomFdcanAgent => matches!(kind, Some(BusKind::Fd { .. })),
        Way::Multidrop | Way::RomUart | Way::RomUartAgent => true,
    };
    if !speaks || !fits {
        return Err(PlanError::NoRomInterface { slot: number, way, chip });
    }
    Ok(())
}

/// Boards whose multiplexers share lines take turns, so that they must be worked on together.
fn check_muxes(panel: &Panel, ways: &BTreeMap<Slot, Way>) -> Result<(), PlanError> {
    let mut first: BTreeMap<LineIndex, &PanelSlot> = BTreeMap::new();
    let together = |slot: &PanelSlot| match ways.get(&slot.slot) {
        Some(way) if is_agent(*way) => slot.bus,
        _ => None,
    };
    for slot in panel.slots.iter().filter(|s| ways.get(&s.slot).is_some_and(|way| way.needs_port())) {
        for line in slot.mux.iter().flat_map(|mux| &mux.lines) {
            let other = first.entry(*line).or_insert(slot);
            if together(other) != together(slot) {
                return Err(PlanError::MixedMux { slots: [other.slot.0, slot.slot.0] });
            }
        }
    }
    Ok(())
}

/// ROM bootloaders on a bus all answer alike: it takes one way, and a line for each board.
fn check_buses(panel: &Panel, ways: &BTreeMap<Slot, Way>) -> Result<(), PlanError> {
    for (bus, index) in panel.buses.iter().zip(0..) {
        let on_bus: Vec<(Slot, Way)> = panel
            .on_bus(panel_backplane::BusIndex(index))
            .filter_map(|s| Some((s.slot, *ways.get(&s.slot)?)))
            .filter(|(_, way)| way.needs_bus())
            .collect();
        let Some(&(_, rom)) = on_bus.iter().find(|(_, way)| way.rom_on_bus()) else { continue };
        let clash = |(_, way): &&(Slot, Way)| {
            *way != rom && (way.rom_on_bus() || !rom.broadcasts() || !way.broadcasts())
        };
        if let Some(&(slot, way)) = on_bus.iter().find(clash) {
            return Err(PlanError::MixedBus { bus: bus.name.clone(), slot: slot.0, ways: [rom, way] });
        }
        let alone = on_bus.len() == 1;
        let bound = |slot: Slot| alone || lines::own_line(panel, slot).is_some();
        if let Some(&(slot, _)) = on_bus.iter().find(|(slot, way)| way.rom_on_bus() && !bound(*slot)) {
            return Err(PlanError::NoOwnLineForRom { slot: slot.0 });
        }
    }
    Ok(())
}
