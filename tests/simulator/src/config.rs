//! What a world is made of: buses, boards in slots, the host's adapters, and a scenario of faults.

use core::time::Duration;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use panel_protocol::time::Span;

use crate::chip::Chip;
use crate::flash::StoreError;
use crate::scenario::Scenario;

/// Bit rates of a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusSpeed {
    /// Bits per second of arbitration and of classical frames.
    pub nominal: u32,
    /// Bits per second of FD payloads; `None` on a bus whose adapter knows only classical frames.
    pub data: Option<u32>,
}

impl BusSpeed {
    /// Classical CAN, 1 Mbit/s.
    pub const CAN_1M: Self = Self { nominal: 1_000_000, data: None };
    /// Classical CAN, 500 kbit/s.
    pub const CAN_500K: Self = Self { nominal: 500_000, data: None };
    /// CAN FD, 1 Mbit/s and 5 Mbit/s.
    pub const FD_1M_5M: Self = Self { nominal: 1_000_000, data: Some(5_000_000) };

    pub(crate) fn bit_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.nominal.max(1))
    }

    pub(crate) fn data_bit_ns(self) -> Option<u64> {
        self.data.map(|d| 1_000_000_000 / u64::from(d.max(1)))
    }
}

impl FromStr for BusSpeed {
    type Err = UnknownSpeed;

    /// `can-1M`, `can-500k`, `fd-1M-5M` and the like.
    fn from_str(name: &str) -> Result<Self, UnknownSpeed> {
        let rate = |text: &str| {
            let (digits, scale) = match text.split_at_checked(text.len().checked_sub(1)?)? {
                (digits, "M") => (digits, 1_000_000),
                (digits, "k") => (digits, 1000),
                _ => return None,
            };
            digits.parse::<u32>().ok()?.checked_mul(scale).filter(|r| (10_000..=10_000_000).contains(r))
        };
        let mut parts = name.split('-');
        let speed = match (parts.next(), parts.next().map(rate), parts.next().map(rate), parts.next()) {
            (Some("can"), Some(Some(nominal)), None, None) => Some(Self { nominal, data: None }),
            (Some("fd"), Some(Some(nominal)), Some(Some(data)), None) => {
                Some(Self { nominal, data: Some(data) })
            }
            _ => None,
        };
        speed.ok_or_else(|| UnknownSpeed { name: name.to_owned() })
    }
}

/// A bus speed that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown bus `{name}`, expected one like can-1M, can-500k or fd-1M-5M")]
pub struct UnknownSpeed {
    /// What was given.
    pub name: String,
}

/// The RAM agent, as the host loads it: a board that is told to Go to these very bytes runs the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCode {
    /// Where it lies, vector table first.
    pub address: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where a board's ROM bootloader listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RomLink {
    /// AN3155, on a port of the slot's own.
    Uart,
    /// AN3154, on the slot's bus.
    Can,
    /// AN5405, on the slot's bus.
    Fdcan,
}

/// A factory-blank board: no bootloader of ours, only the ROM's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RomConfig {
    /// Where the ROM listens.
    pub link: RomLink,
    /// What the agent is.
    pub agent: Option<Arc<AgentCode>>,
    /// How long the port's adapter sits on what it has received.
    pub latency: Duration,
}

/// A slot of the panel and the board meant for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotConfig {
    /// Number on the panel.
    pub slot: u16,
    /// Which bus its connector leads to, from 0.
    pub bus: usize,
    /// The chip fitted.
    pub chip: &'static Chip,
    /// Address straps of the slot, if it has any.
    pub strap: Option<u16>,
    /// The fixture has a line to this slot that a board without straps reads as its strap: 1 selected, else 0.
    pub select_line: bool,
    /// Hardware revision of the board.
    pub hardware_revision: u16,
    /// The bootloader runs from RAM and hears frames while the flash is busy.
    pub receives_while_busy: bool,
    /// Time the processor needs for one received frame.
    pub service: Span,
    /// Longest time from power-on or the end of reset to listening; boards differ by up to 2 %.
    pub start_up: Span,
    /// Set for a blank board, whose ROM is talked to.
    pub rom: Option<RomConfig>,
}

impl SlotConfig {
    /// A sound board: straps carry the slot number, revision 1, 6 us per frame, the time of its chip to start.
    #[must_use]
    pub fn new(slot: u16, bus: usize, chip: &'static Chip) -> Self {
        Self {
            slot,
            bus,
            chip,
            strap: Some(slot),
            select_line: false,
            hardware_revision: 1,
            receives_while_busy: true,
            service: Span(6),
            start_up: chip.start_up,
            rom: None,
        }
    }
}

/// The host's adapters, one for each bus, all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterConfig {
    /// From host to adapter, and from adapter to host.
    pub latency: Span,
    /// Frames that may be under way at once; a frame's place is free again when its `Sent` reaches the host.
    pub queue: usize,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self { latency: Span::ZERO, queue: 10 }
    }
}

/// Everything a world is built from.
#[derive(Debug, Clone, Default)]
pub struct WorldConfig {
    /// Speed of each bus.
    pub buses: Vec<BusSpeed>,
    /// The slots, in the order in which the fixture counts them.
    pub slots: Vec<SlotConfig>,
    /// The host's adapters.
    pub adapter: AdapterConfig,
    /// What is wrong.
    pub scenario: Scenario,
    /// Keeps every board's flash and UID in a file of this directory, which must exist: `slot-7-F405.flash`. A
    /// board of another chip in the same slot is another board.
    pub flash_dir: Option<PathBuf>,
}

impl WorldConfig {
    /// `boards` sound boards in slots 1, 2, 3... on one bus.
    #[must_use]
    pub fn panel(boards: u16, chip: &'static Chip, speed: BusSpeed) -> Self {
        Self::panel_on(boards, chip, speed, 1)
    }

    /// `boards` sound boards spread evenly over `buses` buses, the first slots on the first bus.
    #[must_use]
    pub fn panel_on(boards: u16, chip: &'static Chip, speed: BusSpeed, buses: usize) -> Self {
        let per_bus = usize::from(boards).div_ceil(buses.max(1)).max(1);
        Self {
            buses: vec![speed; buses.max(1)],
            slots: (1..=boards).map(|s| SlotConfig::new(s, usize::from(s - 1) / per_bus, chip)).collect(),
            ..Self::default()
        }
    }
}

/// Why a world cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// Two slots have the same number.
    #[error("slot {slot} appears twice")]
    DuplicateSlot {
        /// The number.
        slot: u16,
    },
    /// A slot's bus does not exist.
    #[error("slot {slot} is on bus {bus}, but there are {buses} buses")]
    NoSuchBus {
        /// The slot.
        slot: u16,
        /// Its bus, from 0.
        bus: usize,
        /// How many there are.
        buses: usize,
    },
    /// More boards on one bus than can be modelled.
    #[error("bus {bus} has {boards} boards, at most {most} are possible")]
    TooManyBoards {
        /// The bus, from 0.
        bus: usize,
        /// Its boards.
        boards: usize,
        /// The limit.
        most: usize,
    },
    /// The scenario speaks of a slot that the panel does not have.
    #[error("the scenario names slot {slot}, which the panel does not have")]
    NoSuchSlot {
        /// The number.
        slot: u16,
    },
    /// The chip's ROM has no such loader.
    #[error("slot {slot}: the ROM of this chip does not listen there")]
    NoSuchRom {
        /// The slot.
        slot: u16,
    },
    /// A flash file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_names_become_rates() {
        assert_eq!("can-1M".parse(), Ok(BusSpeed::CAN_1M));
        assert_eq!("can-500k".parse(), Ok(BusSpeed::CAN_500K));
        assert_eq!("fd-1M-5M".parse(), Ok(BusSpeed::FD_1M_5M));
        for bad in ["can", "can-1", "can-1M-5M", "fd-1M", "fd-1M-5M-8M", "can-0M", "can-é"] {
            assert!(bad.parse::<BusSpeed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_panel_is_spread_over_its_buses_in_slot_order() {
        let chip = Chip::by_name("F405").unwrap();
        let config = WorldConfig::panel_on(5, chip, BusSpeed::CAN_1M, 2);
        let buses: Vec<_> = config.slots.iter().map(|s| (s.slot, s.bus)).collect();
        assert_eq!(buses, [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)]);
    }
}
