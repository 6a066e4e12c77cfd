//! The bound of one bus whose boards receive the image together and erase and program while they receive:
//! power + discovery + max(bus, erase + program) + verification. Called for plans, reports and benchmarks.

use crate::frame::Id;
use crate::image::{Grid, Image, Piece};
use crate::wire::Wire;
use crate::{Bound, BusSpeed, FlashTimes, PowerOn};

/// Frames in which a board says its 96-bit unique id, 24 bits of it in the identifier of each.
const DISCOVERY_FRAMES: u32 = 4;
/// The identifiers and the status that need the fewest stuff bits: the true ones are not known here, and a
/// bound must not exceed them.
const DISCOVERY_ID: Id = Id::Extended(0x1555_5555);
const STATUS_ID: Id = Id::Standard(0x555);
const STATUS: [u8; 8] = [0x42; 8];
/// Image data is numbered within segments of this many bytes.
const SEGMENT: u64 = 2048;

/// A job on one bus.
///
/// The bus time is that of the image sent once, as it is: frames with 11-bit identifiers and 8 (classical) or
/// 64 (FD) bytes, cut from the first address of each region, blank ones left out. The identifier numbers them
/// (segment of 2 KiB, position in it); another numbering would change only a few stuff bits. The boards work
/// at the same time, so only discovery and verification grow with their number.
#[derive(Debug, Clone, Copy)]
pub struct Multidrop<'a> {
    /// Speed and frame format of the bus.
    pub bus: BusSpeed,
    /// Boards on it that take part; with none there is nothing to do.
    pub boards: u32,
    /// First address and content of each part of the image, without overlap, in any order.
    pub regions: &'a [(u32, &'a [u8])],
    /// The boards' flash.
    pub flash: &'a FlashTimes,
    /// Before the first frame.
    pub power: PowerOn,
}

impl Multidrop<'_> {
    /// The image sent once to all boards together.
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.with_transfers(1)
    }

    /// For comparison: the boards are powered, discovered and verified together, but the image is sent to one
    /// after the other.
    #[must_use]
    pub fn one_by_one(&self) -> Bound {
        self.with_transfers(self.boards)
    }

    /// The image sent `transfers` times, each time with erase and programming behind it.
    fn with_transfers(&self, transfers: u32) -> Bound {
        let Self { bus, boards, regions, flash, power } = *self;
        if boards == 0 {
            return Bound::default();
        }
        let image = Image::new(regions);
        let mut discover = Wire::default();
        discover.add(bus.short_frame(DISCOVERY_ID, &[]));
        let mut verify = Wire::default();
        verify.add(bus.short_frame(STATUS_ID, &STATUS));
        let data = self.image_on_bus(&image);

        let times = u64::from(transfers);
        let mut bound = Bound {
            power_ns: power.fixture_ns.saturating_add(power.start_up_ns),
            load_ns: 0,
            discover_ns: bus.ns(&discover.times(DISCOVERY_FRAMES).times(boards)),
            bus_ns: bus.ns(&data).saturating_mul(times),
            erase_ns: image.erase_ns(flash).saturating_mul(times),
            program_ns: image.program_ns(flash).saturating_mul(times),
            verify_ns: bus.ns(&verify.times(boards)),
            install_ns: 0,
            latency_ns: 0,
            total_ns: 0,
            frames: data.frames * times,
            bits: data.bits() * times,
        };
        let transfer_ns = bound.bus_ns.max(bound.erase_ns.saturating_add(bound.program_ns));
        bound.total_ns = [bound.discover_ns, transfer_ns, bound.verify_ns]
            .iter()
            .fold(bound.power_ns, |sum, part| sum.saturating_add(*part));
        bound
    }

    fn image_on_bus(&self, image: &Image<'_>) -> Wire {
        let mut wire = Wire::default();
        let size = self.bus.payload() as u64;
        let mut add = |piece: Piece<'_>| {
            let segment = piece.offset / SEGMENT % 4;
            let index = piece.offset % SEGMENT / size;
            let id = Id::Standard((0x400 | segment << 8 | index) as u16);
            wire.add(self.bus.frame(id, &piece.bytes[..piece.covered.end]));
        };
        match self.bus {
            BusSpeed::Classical { .. } => image.for_each_piece::<8>(Grid::Region, &mut add),
            BusSpeed::Fd { .. } => image.for_each_piece::<64>(Grid::Region, &mut add),
        }
        wire
    }
}

#[cfg(test)]
#[path = "multidrop_tests.rs"]
mod tests;
