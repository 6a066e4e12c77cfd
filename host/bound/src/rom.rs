//! The bound of boards programmed through the bootloader in their ROM: AN3155 on a UART, AN3154 on CAN, AN5405
//! on CAN FD. The ROM does not receive while its flash is busy, so every part adds up. Called for plans,
//! reports and benchmarks.
//!
//! Counted is the shortest conversation that identifies the board, erases, writes and reads back.

use crate::frame::{self, Id};
use crate::image::{Grid, Image, Piece};
use crate::wire::Wire;
use crate::{Bound, FlashTimes, PowerOn};
use core::num::NonZeroU32;

/// Most bytes that one command writes or reads.
const BLOCK: usize = 256;
/// Writes are multiples of this many bytes (AN3155, Write Memory).
const WORD: usize = 4;
/// The answer to an accepted command.
const ACK: [u8; 1] = [0x79];
/// Stands for bytes that are not known here, such as page numbers: no content needs fewer stuff bits.
const UNKNOWN: u8 = 0x55;
/// Rate at which the bxCAN ROM begins (AN3154).
const CAN_START_RATE: NonZeroU32 = NonZeroU32::new(125_000).unwrap();

/// Command codes, which are the identifiers on CAN (AN3154; AN5405 for the erase of CAN FD).
mod code {
    use crate::frame::Id;

    pub(super) const SYNC: Id = Id::Standard(0x79);
    pub(super) const GET_ID: Id = Id::Standard(0x02);
    pub(super) const SPEED: Id = Id::Standard(0x03);
    pub(super) const READ: Id = Id::Standard(0x11);
    pub(super) const GO: Id = Id::Standard(0x21);
    pub(super) const WRITE: Id = Id::Standard(0x31);
    pub(super) const CAN_ERASE: Id = Id::Standard(0x43);
    pub(super) const FD_ERASE: Id = Id::Standard(0x44);
}

/// What the ROM is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RomLink {
    /// A port per board, 8 bits, even parity.
    Uart {
        /// Bits per second.
        baud: NonZeroU32,
    },
    /// bxCAN, all boards on one bus.
    Can {
        /// Bits per second once the Speed command has left the 125 kbit/s of the start.
        bit_rate: NonZeroU32,
    },
    /// FDCAN with bit rate switch, all boards on one bus.
    Fdcan {
        /// Bits per second of the arbitration phase.
        nominal: NonZeroU32,
        /// Bits per second of the data phase.
        data: NonZeroU32,
    },
}

/// A job through the ROM bootloader.
///
/// Written and read back are the blocks of 256 bytes (on multiples of 256) that are not blank; of a block that
/// the image covers only in part, the words from the first covered byte to the last. The ROM programs all it
/// is given, so every program unit of these counts. Boards on UARTs work in parallel; on CAN all answer to the
/// same identifiers, so one is powered, started and programmed after the other.
#[derive(Debug, Clone, Copy)]
pub struct Rom<'a> {
    /// The wire.
    pub link: RomLink,
    /// Boards that take part; with none there is nothing to do.
    pub boards: u32,
    /// First address and content of each part of the image, without overlap, in any order.
    pub regions: &'a [(u32, &'a [u8])],
    /// The boards' flash, at the width at which the ROM programs and erases it.
    pub flash: &'a FlashTimes,
    /// Typical time to erase the whole chip, where the ROM can and the job may: taken if it is less.
    pub mass_erase_ns: Option<u64>,
    /// Before the first byte; the fixture's time once, the start-up of boards in turn for each.
    pub power: PowerOn,
    /// From a byte at the host to the wire and back, charged wherever a block cannot go on without an answer.
    /// 0 gives the bound of the wire.
    pub latency_ns: u64,
}

impl Rom<'_> {
    /// The boards as the link allows: all at once on UARTs, one after the other on CAN.
    #[must_use]
    pub fn bound(&self) -> Bound {
        match self.link {
            RomLink::Uart { .. } => self.in_turn(self.boards.min(1)),
            RomLink::Can { .. } | RomLink::Fdcan { .. } => self.in_turn(self.boards),
        }
    }

    /// For comparison: one board after the other on any link.
    #[must_use]
    pub fn one_by_one(&self) -> Bound {
        self.in_turn(self.boards)
    }

    /// The regions put into RAM and started, on all boards as the link allows.
    pub(crate) fn load(&self) -> Bound {
        match self.link {
            RomLink::Uart { .. } => self.load_in_turn(self.boards.min(1)),
            RomLink::Can { .. } | RomLink::Fdcan { .. } => self.load_in_turn(self.boards),
        }
    }

    /// The same, one board after the other on any link.
    pub(crate) fn load_one_by_one(&self) -> Bound {
        self.load_in_turn(self.boards)
    }

    fn load_in_turn(&self, boards: u32) -> Bound {
        let Self { link, regions, power, latency_ns, .. } = *self;
        if boards == 0 {
            return Bound::default();
        }
        let mut write = Wire::default();
        let mut waits = 0;
        // RAM holds anything before: what is blank must be written too.
        for (start, data) in regions {
            let mut at = 0;
            while at < data.len() {
                let address = *start as usize + at;
                let len = (BLOCK - address % BLOCK).min(data.len() - at);
                let mut block = data[at..at + len].to_vec();
                block.resize(len.next_multiple_of(WORD), 0xFF);
                waits += link.write(&mut write, address as u64, &block);
                at += len;
            }
        }
        link.go(&mut write);
        let times = u64::from(boards);
        let one = link.connect_ns().saturating_add(link.ns(&write));
        let mut bound = Bound {
            power_ns: power.fixture_ns.saturating_add(power.start_up_ns.saturating_mul(times)),
            load_ns: one.saturating_mul(times),
            latency_ns: latency_ns.saturating_mul(waits).saturating_mul(times),
            ..Bound::default()
        };
        bound.total_ns = bound.power_ns.saturating_add(bound.load_ns).saturating_add(bound.latency_ns);
        bound
    }

    fn in_turn(&self, boards: u32) -> Bound {
        let Self { link, regions, flash, mass_erase_ns, power, latency_ns, boards: _ } = *self;
        if boards == 0 {
            return Bound::default();
        }
        let image = Image::new(regions);
        let mut write = Wire::default();
        let mut verify = Wire::default();
        let (mut waits, mut programmed) = (0u64, 0u64);
        image.for_each_piece::<BLOCK>(Grid::Aligned, |piece| {
            let (address, bytes) = written(&piece);
            waits += link.write(&mut write, address, bytes) + link.read(&mut verify, address, bytes);
            programmed += (bytes.len() as u64).div_ceil(u64::from(flash.program_unit.get()));
        });
        let by_unit = image.erase_ns(flash);
        let pages =
            Some(image.erase_count(flash)).filter(|_| mass_erase_ns.is_none_or(|mass| by_unit <= mass));
        if pages != Some(0) {
            link.erase(&mut write, pages);
        }

        let times = u64::from(boards);
        let mut bound = Bound {
            power_ns: power.fixture_ns.saturating_add(power.start_up_ns.saturating_mul(times)),
            load_ns: 0,
            discover_ns: link.connect_ns().saturating_mul(times),
            bus_ns: link.ns(&write).saturating_mul(times),
            erase_ns: by_unit.min(mass_erase_ns.unwrap_or(u64::MAX)).saturating_mul(times),
            program_ns: programmed.saturating_mul(flash.program_typical_ns).saturating_mul(times),
            verify_ns: link.ns(&verify).saturating_mul(times),
            install_ns: 0,
            latency_ns: latency_ns.saturating_mul(waits).saturating_mul(times),
            total_ns: 0,
            frames: write.frames * times,
            bits: write.bits() * times,
        };
        let Bound { power_ns, discover_ns, bus_ns, erase_ns, program_ns, verify_ns, latency_ns, .. } = bound;
        bound.total_ns = [discover_ns, bus_ns, erase_ns, program_ns, verify_ns, latency_ns]
            .iter()
            .fold(power_ns, |sum, part| sum.saturating_add(*part));
        bound
    }
}

/// Address and content of what must be written for `piece`: whole words.
fn written<'a>(piece: &Piece<'a>) -> (u64, &'a [u8]) {
    let start = piece.covered.start / WORD * WORD;
    let end = piece.covered.end.next_multiple_of(WORD);
    (piece.address + start as u64, &piece.bytes[start..end])
}

/// The conversations, each as the wire sees it.
impl RomLink {
    /// Synchronisation, the way to the working bit rate, and the chip's identity: the least that a safe
    /// programmer must know.
    fn connect_ns(self) -> u64 {
        let mut wire = Wire::default();
        match self {
            // 7F, ACK; command with complement, ACK, count, two bytes of identity, ACK
            Self::Uart { .. } => wire.add_characters(2 + 7),
            Self::Can { .. } | Self::Fdcan { .. } => {
                self.add_frames(&mut wire, code::GET_ID, &[&[], &ACK, &[UNKNOWN; 2], &ACK])
            }
        }
        let start_ns = match self {
            Self::Uart { .. } => 0,
            Self::Fdcan { .. } => {
                self.add_frames(&mut wire, code::SYNC, &[&[], &ACK]);
                0
            }
            Self::Can { bit_rate } => {
                let mut start = Wire::default();
                self.add_frames(&mut start, code::SYNC, &[&[], &ACK]);
                if bit_rate != CAN_START_RATE {
                    self.add_frames(&mut start, code::SPEED, &[&[UNKNOWN], &ACK]);
                    self.add_frames(&mut wire, code::SPEED, &[&ACK]);
                }
                start.ns(CAN_START_RATE, CAN_START_RATE)
            }
        };
        start_ns.saturating_add(self.ns(&wire))
    }

    /// Erases this many units, or with `None` the whole chip.
    fn erase(self, wire: &mut Wire, units: Option<u64>) {
        match (self, units) {
            // command with complement, ACK, FF 00, ACK
            (Self::Uart { .. }, None) => wire.add_characters(6),
            // command with complement, ACK, count, list, check byte, ACK
            (Self::Uart { .. }, Some(units)) => wire.add_characters(6 + units),
            (Self::Can { .. }, None) => self.add_frames(wire, code::CAN_ERASE, &[&[0xFF], &ACK, &ACK]),
            (Self::Can { .. }, Some(units)) => {
                self.add_frames(wire, code::CAN_ERASE, &[&[UNKNOWN], &ACK, &ACK]);
                self.add_unknown(wire, code::CAN_ERASE, units);
            }
            (Self::Fdcan { .. }, None) => self.add_frames(wire, code::FD_ERASE, &[&[0xFF; 2], &ACK, &ACK]),
            (Self::Fdcan { .. }, Some(units)) => {
                self.add_frames(wire, code::FD_ERASE, &[&[UNKNOWN; 2], &ACK, &ACK, &ACK]);
                self.add_unknown(wire, code::FD_ERASE, 2 * units);
            }
        }
    }

    /// Starts what was written.
    fn go(self, wire: &mut Wire) {
        match self {
            // command with complement, ACK, address, check byte, ACK
            Self::Uart { .. } => wire.add_characters(9),
            Self::Can { .. } | Self::Fdcan { .. } => self.add_frames(wire, code::GO, &[&[UNKNOWN; 4], &ACK]),
        }
    }

    /// Writes up to 256 bytes. Returns how often the host must wait for an answer before it can go on.
    fn write(self, wire: &mut Wire, address: u64, bytes: &[u8]) -> u64 {
        let request = block_request(address, bytes);
        match self {
            Self::Uart { .. } => {
                wire.add_characters(12 + bytes.len() as u64);
                3 // command, address, data
            }
            Self::Can { .. } => {
                self.add_frames(wire, code::WRITE, &[&request, &ACK]);
                for data in bytes.chunks(8) {
                    self.add_frames(wire, code::WRITE, &[data, &ACK]);
                }
                self.add_frames(wire, code::WRITE, &[&ACK]);
                1 + bytes.len().div_ceil(8) as u64 // command, each frame of data
            }
            Self::Fdcan { .. } => {
                self.add_frames(wire, code::WRITE, &[&request, &ACK, &ACK]);
                for data in bytes.chunks(64) {
                    self.add_frames(wire, code::WRITE, &[data]);
                }
                2 // command, data
            }
        }
    }

    /// Reads up to 256 bytes back. Returns how often the host must wait for an answer before it can go on.
    fn read(self, wire: &mut Wire, address: u64, bytes: &[u8]) -> u64 {
        let request = block_request(address, bytes);
        let payload = match self {
            Self::Uart { .. } => {
                wire.add_characters(12 + bytes.len() as u64);
                return 3; // command, address, length
            }
            Self::Can { .. } => 8,
            Self::Fdcan { .. } => 64,
        };
        self.add_frames(wire, code::READ, &[&request, &ACK, &ACK]);
        for data in bytes.chunks(payload) {
            self.add_frames(wire, code::READ, &[data]);
        }
        1
    }

    fn add_frames(self, wire: &mut Wire, id: Id, contents: &[&[u8]]) {
        for data in contents {
            wire.add(match self {
                Self::Fdcan { .. } => frame::fd(id, data),
                Self::Can { .. } | Self::Uart { .. } => frame::classical(id, data),
            });
        }
    }

    /// Adds `count` bytes of a list whose content is not known here, in the longest frames there are.
    fn add_unknown(self, wire: &mut Wire, id: Id, count: u64) {
        let longest = if matches!(self, Self::Fdcan { .. }) { 64 } else { 8 };
        let mut left = count;
        while left > 0 {
            let len = left.min(longest);
            self.add_frames(wire, id, &[&[UNKNOWN; 64][..len as usize]]);
            left -= len;
        }
    }

    fn ns(self, wire: &Wire) -> u64 {
        match self {
            Self::Uart { baud } => wire.ns(baud, baud),
            Self::Can { bit_rate } => wire.ns(bit_rate, bit_rate),
            Self::Fdcan { nominal, data } => wire.ns(nominal, data),
        }
    }
}

/// Address, most significant byte first, and number of bytes less one: the request of a read or a write on CAN.
fn block_request(address: u64, bytes: &[u8]) -> [u8; 5] {
    let [a, b, c, d] = (address as u32).to_be_bytes();
    [a, b, c, d, (bytes.len() - 1) as u8]
}

#[cfg(test)]
#[path = "rom_tests.rs"]
mod tests;
