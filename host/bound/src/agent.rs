//! The bound of boards that are given a program for their RAM through their ROM, and then receive the image together
//! by that program. The loads add up on a bus, where every ROM answers alike; over UARTs they overlap. Called for
//! plans, reports and benchmarks.

use crate::{Bound, Multidrop, Rom};

/// A job on one bus of boards without a program of their own.
///
/// Counted for each load is the shortest conversation that identifies the chip, writes the program's blocks and
/// starts it. RAM is neither erased nor read back, and takes no time to write.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a> {
    /// The loads: `regions` is the program, `power` begins the job. Its flash is not used.
    pub load: Rom<'a>,
    /// The image; its `power` counts on top, for what the program needs to start.
    pub then: Multidrop<'a>,
}

impl Agent<'_> {
    /// The loads as the link allows, then the image once.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.join(self.load.load(), self.then.bound())
    }

    /// For comparison: one board after the other in either part.
    #[must_use]
    pub fn one_by_one(&self) -> Bound {
        self.join(self.load.load_one_by_one(), self.then.one_by_one())
    }

    fn join(&self, load: Bound, then: Bound) -> Bound {
        Bound {
            power_ns: load.power_ns.saturating_add(then.power_ns),
            load_ns: load.load_ns,
            total_ns: load.total_ns.saturating_add(then.total_ns),
            ..then
        }
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU32;

    use super::*;
    use crate::{BusSpeed, EraseUnit, FlashTimes, PowerOn, RomLink};

    const fn rate(bits_per_second: u32) -> NonZeroU32 {
        NonZeroU32::new(bits_per_second).unwrap()
    }

    #[test]
    fn loads_add_up_on_a_bus_and_overlap_on_ports_and_the_image_is_sent_once() {
        let unit = EraseUnit { address: 0x0800_0000, size: 0x4000, typical_ns: 1_000_000 };
        let flash = FlashTimes { units: vec![unit], program_unit: rate(4), program_typical_ns: 16_000 };
        let (program, image) = ([0x5A; 512], [0xA5; 1024]);
        let bound = |link, boards| {
            let power = PowerOn { fixture_ns: 7, start_up_ns: 1000 };
            let regions: &[(u32, &[u8])] = &[(0x2000_2000, &program)];
            let load =
                Rom { link, boards, regions, flash: &flash, mass_erase_ns: None, power, latency_ns: 0 };
            let bus = BusSpeed::Classical { bit_rate: rate(1_000_000) };
            let regions: &[(u32, &[u8])] = &[(0x0800_0000, &image)];
            let then = Multidrop { bus, boards, regions, flash: &flash, power: PowerOn::default() };
            (Agent { load, then }.bound(), then.bound())
        };
        let uart = RomLink::Uart { baud: rate(110_000) };
        let (one, alone) = bound(uart, 1);
        // 9 characters of identity, 268 for each block, 9 to start: 100 us each.
        assert_eq!(one.load_ns, (9 + 2 * 268 + 9) * 100_000);
        assert_eq!(one.total_ns, one.load_ns + 1007 + alone.total_ns);
        let (many, together) = bound(uart, 21);
        assert_eq!((many.load_ns, many.total_ns), (one.load_ns, one.load_ns + 1007 + together.total_ns));

        let can = RomLink::Can { bit_rate: rate(1_000_000) };
        let (one, _) = bound(can, 1);
        let (many, together) = bound(can, 21);
        assert_eq!(many.load_ns, 21 * one.load_ns);
        assert_eq!(many.power_ns, 7 + 21 * 1000);
        assert_eq!(many.total_ns, many.load_ns + many.power_ns + together.total_ns);
    }
}
