//! The least time a plan can take: what the wire, the flash and the adapter need, added up.
//!
//! Nothing overlaps, because a ROM neither receives while it programs nor accepts a frame before it has
//! acknowledged the last one. CAN frames are counted without stuffing; flash times are typical ones.

use core::ops::Add;
use core::time::Duration;

use super::{Erasing, Plan};
use crate::command::CanRate;
use crate::device::FlashTiming;

/// A link's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSpeed {
    /// USART with 11 bits a byte.
    Uart {
        /// Bits per second.
        baud: u32,
    },
    /// Classic CAN.
    Can(CanRate),
    /// CAN FD at 250 kbit/s arbitration and 1 Mbit/s data.
    FdCan,
}

/// A link as far as time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkModel {
    /// Speed.
    pub speed: LinkSpeed,
    /// What the adapter adds to every wait for an answer.
    pub latency: Duration,
}

/// Time, by what it is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Bits on the wire.
    pub bus: Duration,
    /// The chip's own: start-up, erasing, programming.
    pub flash: Duration,
    /// Waiting for the adapter.
    pub latency: Duration,
}

impl Estimate {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.bus + self.flash + self.latency
    }
}

impl Add for Estimate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bus: self.bus + other.bus,
            flash: self.flash + other.flash,
            latency: self.latency + other.latency,
        }
    }
}

/// Time of a whole job, by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanEstimate {
    /// Start-up, sync, Get, Get ID, ROM version.
    pub connect: Estimate,
    /// Erasing.
    pub erase: Estimate,
    /// Writing.
    pub write: Estimate,
    /// Reading back.
    pub verify: Estimate,
}

impl PlanEstimate {
    /// The sum of all steps.
    #[must_use]
    pub fn sum(&self) -> Estimate {
        self.connect + self.erase + self.write + self.verify
    }
}

pub(super) fn estimate(plan: &Plan, link: &LinkModel) -> PlanEstimate {
    let device = plan.device();
    let timing = FlashTiming::of(device.family);
    let parallelism = plan.parallelism();
    let chip = |flash| Estimate { flash, ..Estimate::default() };
    let startup = device.startup.map_or(Duration::ZERO, |startup| startup.best);
    let mut connect = link.connect() + chip(startup);
    if device.version_matters() && device.bootloader_id_address.is_some() {
        connect = connect + link.read(1);
    }
    if plan.voltage().is_some() {
        connect = connect + link.write(4);
    }
    let erase = match plan.erase() {
        Erasing::Nothing => Estimate::default(),
        Erasing::Everything => {
            link.erase_all() + chip(timing.mass_erase(plan.flash_kib().into(), parallelism).typical)
        }
        Erasing::Units => {
            let flash =
                plan.units().iter().map(|unit| timing.erase_unit(unit.bytes, parallelism).typical).sum();
            let most = plan.pages_per_erase.min(link.pages_per_erase());
            let chunks = plan.units().chunks(usize::from(most.max(1)));
            chunks.fold(chip(flash), |sum, units| sum + link.erase(units.len() as u32))
        }
    };
    let mut write = Estimate::default();
    let mut verify = Estimate::default();
    for block in plan.blocks() {
        let len = u32::from(block.len);
        let flash = if block.ram { Duration::ZERO } else { timing.program_bytes(len, parallelism).typical };
        write = write + link.write(len) + chip(flash);
        verify = verify + link.read(len);
    }
    PlanEstimate { connect, erase, write, verify }
}

impl LinkModel {
    /// Time for `bits` at arbitration speed, `fast` more at data speed, and `waits` answers.
    fn cost(&self, bits: u32, fast: u32, waits: u32) -> Estimate {
        let (slow_rate, fast_rate) = match self.speed {
            LinkSpeed::Uart { baud } => (baud.max(1), 1),
            LinkSpeed::Can(rate) => (rate.bits_per_second(), 1),
            LinkSpeed::FdCan => (250_000, 1_000_000),
        };
        let nanos =
            |bits: u32, rate: u32| Duration::from_nanos(u64::from(bits) * 1_000_000_000 / u64::from(rate));
        Estimate {
            bus: nanos(bits, slow_rate) + nanos(fast, fast_rate),
            flash: Duration::ZERO,
            latency: self.latency * waits,
        }
    }

    fn uart(&self, bytes: u32, waits: u32) -> Estimate {
        self.cost(bytes * 11, 0, waits)
    }

    /// Frames given by their data length; the chip answers `waits` times.
    fn frames(&self, lengths: impl IntoIterator<Item = (u32, u32)>, waits: u32) -> Estimate {
        let fd = self.speed == LinkSpeed::FdCan;
        let mut sum = self.cost(0, 0, waits);
        for (count, len) in lengths {
            // Classic: 47 bits and the data (ISO 11898-1, 11-bit identifier, with interframe space). FD: 30 bits
            // slow; fast are ESI, DLC, data, stuff count, CRC 17 or 21 with its fixed stuff bits.
            let (slow, fast) = match (fd, len) {
                (false, len) => (47 + 8 * len, 0),
                (true, 0..=16) => (30, 1 + 4 + 8 * len + 4 + 17 + 6),
                (true, len) => (30, 1 + 4 + 8 * len + 4 + 21 + 7),
            };
            sum = sum + self.cost(slow * count, fast * count, 0);
        }
        sum
    }

    fn is_uart(&self) -> bool {
        matches!(self.speed, LinkSpeed::Uart { .. })
    }

    fn pages_per_erase(&self) -> u16 {
        match self.speed {
            LinkSpeed::Uart { .. } => u16::MAX,
            LinkSpeed::Can(_) => 7,
            LinkSpeed::FdCan => 30,
        }
    }

    /// Sync, Get with 11 commands, Get ID.
    fn connect(&self) -> Estimate {
        if self.is_uart() {
            self.uart(2 + 2 + 15 + 2 + 5, 3)
        } else {
            self.frames([(1, 0), (1, 1), (1, 0), (15, 1), (1, 0), (2, 1), (1, 2)], 3)
        }
    }

    fn erase(&self, units: u32) -> Estimate {
        match self.speed {
            LinkSpeed::Uart { .. } => self.uart(2 + 1 + 2 + 2 * units + 1 + 1, 2),
            LinkSpeed::Can(_) => self.frames([(1, 1), (2, 1), (1, units), (1, 1)], 2),
            LinkSpeed::FdCan => self.frames([(1, 2), (2, 1), (1, 64), (1, 1)], 2),
        }
    }

    fn erase_all(&self) -> Estimate {
        if self.is_uart() { self.uart(2 + 1 + 3 + 1, 2) } else { self.frames([(1, 2), (2, 1)], 2) }
    }

    fn write(&self, len: u32) -> Estimate {
        match self.speed {
            LinkSpeed::Uart { .. } => self.uart(2 + 1 + 5 + 1 + len + 2 + 1, 3),
            LinkSpeed::Can(_) => {
                let frames = len.div_ceil(8);
                self.frames([(1, 5), (1, 1), (frames, 8), (frames, 1), (1, 1)], 2 + frames)
            }
            LinkSpeed::FdCan => self.frames([(1, 5), (1, 1), (len.div_ceil(64), 64), (1, 1)], 2),
        }
    }

    fn read(&self, len: u32) -> Estimate {
        match self.speed {
            LinkSpeed::Uart { .. } => self.uart(2 + 1 + 5 + 1 + 2 + 1 + len, 3),
            LinkSpeed::Can(_) => self.frames([(1, 5), (1, 1), (len.div_ceil(8), 8), (1, 1)], 1),
            LinkSpeed::FdCan => self.frames([(1, 5), (1, 1), (len.div_ceil(64), 64), (1, 1)], 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(speed: LinkSpeed) -> LinkModel {
        LinkModel { speed, latency: Duration::from_millis(16) }
    }

    #[test]
    fn a_256_byte_block_costs_its_bytes_and_three_waits_on_uart() {
        let write = link(LinkSpeed::Uart { baud: 115_200 }).write(256);
        assert_eq!(write.bus.as_micros(), 25_590);
        assert_eq!(write.latency.as_millis(), 48);
        assert_eq!(link(LinkSpeed::Uart { baud: 115_200 }).read(256), write);
    }

    #[test]
    fn can_frames_are_counted_bit_by_bit() {
        let write = link(LinkSpeed::Can(CanRate::Kbit125)).write(256);
        assert_eq!(write.bus, Duration::from_micros(5509 * 8));
        let read = link(LinkSpeed::Can(CanRate::Mbit1)).read(256);
        assert_eq!(read.bus, Duration::from_micros(3749));
    }

    #[test]
    fn an_fd_frame_of_64_bytes_takes_two_thirds_of_a_millisecond() {
        let frame = link(LinkSpeed::FdCan).frames([(1, 64)], 0);
        assert!((660..680).contains(&frame.bus.as_micros()), "{frame:?}");
    }
}
