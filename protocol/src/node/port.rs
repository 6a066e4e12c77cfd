//! What a board lends to the node: its facts, its flash, its lines. The one seam between protocol and chip.
//!
//! Implemented twice: by the firmware's chip glue (registers, nothing else) and by the simulator's board (a
//! flash that enforces the datasheet's rules). Neither makes a protocol decision.
//!
//! Contract of the flash calls: one operation at a time; `start_*` only begins it, [`NodePort::flash_poll`]
//! says when it has ended. Power lost during an erase: that unit may hold anything, others are untouched.
//! Power lost during programming: the units of that call may hold anything, others are untouched.

use core::ops::Range;

use crate::block::SEALED;
use crate::time::Span;

/// A 96-bit unique device ID in the order of memory (STM32 reference manuals, "Unique device ID register").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub [u8; 12]);

impl core::fmt::Display for Uid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02X}"))
    }
}

/// The runs of equal erase units that make up a flash, from its base upwards.
pub const MAX_RUNS: usize = 8;

/// `count` erase units of `size` bytes each, with the typical and the longest time one erase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EraseRun {
    /// Number of consecutive units.
    pub count: u16,
    /// Size of one unit in bytes; a multiple of 1 KiB.
    pub size: u32,
    /// Typical time of one erase (datasheet).
    pub typical: Span,
    /// Longest time of one erase (datasheet); an erase that takes longer has failed.
    pub longest: Span,
}

/// Geometry, rules and declared times of the main flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashFacts {
    /// First address.
    pub base: u32,
    /// Erase units from `base` upwards; unused runs have `count` 0.
    pub runs: [EraseRun; MAX_RUNS],
    /// Bytes programmed at once; addresses and lengths are multiples of it (F1 2, F4 4, G4/L4 8).
    pub unit: u8,
    /// Typical time to program one unit.
    pub program_typical: Span,
    /// Longest time to program one unit.
    pub program_longest: Span,
    /// First address that an image may occupy; below it the bootloader protects itself.
    pub app_base: u32,
    /// Where the node keeps its image records, one erase unit, never part of an image.
    pub record_base: u32,
}

/// One erase unit, as found by [`FlashFacts::erase_unit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EraseUnit {
    /// Number of the unit, counted from the flash's base.
    pub index: u16,
    /// First address.
    pub address: u32,
    /// Size in bytes.
    pub size: u32,
    /// Typical erase time.
    pub typical: Span,
    /// Longest erase time.
    pub longest: Span,
}

impl FlashFacts {
    /// Size of the flash in bytes.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.runs.iter().map(|r| u32::from(r.count) * r.size).sum()
    }

    /// Whether `address` is in the flash.
    #[must_use]
    pub fn contains(&self, address: u32) -> bool {
        address.checked_sub(self.base).is_some_and(|at| at < self.size())
    }

    /// The erase unit that holds `address`, or `None` outside the flash.
    #[must_use]
    pub fn erase_unit(&self, address: u32) -> Option<EraseUnit> {
        let mut start = self.base;
        let mut index = 0;
        for run in &self.runs {
            let len = u32::from(run.count) * run.size;
            let offset = address.checked_sub(start)?;
            if offset < len {
                let n = offset / run.size;
                return Some(EraseUnit {
                    index: index + n as u16,
                    address: start + n * run.size,
                    size: run.size,
                    typical: run.typical,
                    longest: run.longest,
                });
            }
            start += len;
            index += run.count;
        }
        None
    }
}

/// Why the chip last started (RCC_CSR, most telling cause first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetCause {
    /// Power came up.
    PowerOn = 1,
    /// NRST was pulled.
    Pin = 2,
    /// The supply fell under the brown-out level and came back.
    BrownOut = 3,
    /// Software asked for it.
    Software = 4,
    /// A watchdog ran out.
    Watchdog = 5,
}

/// Readout protection as read from the option bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Protection {
    /// RDP level 0: open.
    Open = 0,
    /// RDP level 1: readout refused, can be undone by a mass erase.
    Level1 = 1,
    /// RDP level 2: for ever.
    Level2 = 2,
}

impl Protection {
    /// The level of a wire byte.
    #[must_use]
    pub const fn from_byte(b: u8) -> Option<Self> {
        match b {
            0 => Some(Self::Open),
            1 => Some(Self::Level1),
            2 => Some(Self::Level2),
            _ => None,
        }
    }
}

bitflags::bitflags! {
    /// What a node can do. Unknown bits of newer nodes survive.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Capabilities: u16 {
        /// Receives CAN FD frames with bit-rate switch.
        const FD = 1 << 0;
        /// Keeps receiving while its flash is busy (runs from RAM, or its flash reads while it writes).
        const RECEIVES_WHILE_BUSY = 1 << 1;
        /// Has address straps that tell its slot.
        const STRAPS = 1 << 2;
        /// Can measure its supply.
        const SUPPLY = 1 << 3;
        /// Is the RAM agent, not the resident bootloader.
        const AGENT = 1 << 4;
        /// Can set option bytes and readout protection.
        const OPTIONS = 1 << 5;
        /// Runs test items of the application.
        const TESTS = 1 << 6;
        /// Makes a key pair of its own and a certificate request for it.
        const KEYS = 1 << 7;
        /// Takes only images whose seal verifies under the product's public key, and no older ones than it was told.
        const SEALS = 1 << 8;
        /// Has a second slot: while it has an application, an image that fits goes there first.
        const SLOT = 1 << 9;
        const _ = !0;
    }
}

/// Kinds of keys that a board may make for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519 = 1,
    /// ECDSA on NIST P-256 (FIPS 186-5).
    P256 = 2,
}

impl KeyKind {
    /// The kind of a wire byte.
    #[must_use]
    pub const fn from_byte(b: u8) -> Option<Self> {
        match b {
            1 => Some(Self::Ed25519),
            2 => Some(Self::P256),
            _ => None,
        }
    }
}

/// Where [`NodePort::read`] shows the certificate request of the key made last: its length (2 bytes,
/// little-endian), then the request. No STM32 has memory there.
pub const REQUEST_ADDRESS: u32 = 0xFFFF_0000;

/// Where an image waits until it is committed. Offsets are those of the images' own place, which lies below it and begins
/// at [`FlashFacts::app_base`]. The last erase unit is not for images: records are kept there while theirs are erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// First address, that of an erase unit.
    pub base: u32,
    /// Address after the last erase unit.
    pub end: u32,
}

/// What a board does with the seal of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seals {
    /// Nothing: it has no public key, nor does any program that reads its records.
    Ignored,
    /// It keeps it with the image's records, for the resident bootloader (RAM agent).
    Kept,
    /// It has the product's public key: no image without a good seal, none older than the newest one allows.
    Demanded,
}

/// What does not change while the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoardFacts {
    /// 12-bit device ID (DBGMCU_IDCODE), 0x413 for F405.
    pub device_id: u16,
    /// 16-bit silicon revision (DBGMCU_IDCODE).
    pub silicon_revision: u16,
    /// The board's hardware revision, from its straps or its board file.
    pub hardware_revision: u16,
    /// The chip's unique ID.
    pub uid: Uid,
    /// Version of the bootloader or agent, major * 256 + minor.
    pub bootloader_version: u16,
    /// What the node can do.
    pub capabilities: Capabilities,
    /// The flash.
    pub flash: FlashFacts,
    /// Address in the erase unit that is kept for the board's identity, if the board's maker kept one: no image may
    /// have that unit erased.
    pub identity: Option<u32>,
    /// Why the chip last started.
    pub reset_cause: ResetCause,
}

/// The CAN controller's counters since the last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusCounters {
    /// Transmit error counter.
    pub tec: u8,
    /// Receive error counter.
    pub rec: u8,
    /// Frames lost because the receive FIFO was full.
    pub overruns: u16,
    /// Bus errors seen.
    pub errors: u16,
}

/// Why a flash operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashFault {
    /// The controller reported an erase error (or the unit is write protected).
    Erase,
    /// The controller reported a programming error (PGERR, PGAERR, WRPRTERR ...) at this address.
    Program {
        /// Address of the failing unit.
        address: u32,
    },
}

/// State of the flash operation last started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashState {
    /// Still working.
    Busy,
    /// Ended well, or nothing was started.
    Idle,
    /// Ended with an error; reported once, then `Idle`.
    Failed(FlashFault),
}

/// A measurement made by a test item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TestReading {
    /// Value in the unit below.
    pub value: f32,
    /// Unit as a code of docs/protocol.md (1 V, 2 A, 3 Hz, 4 degree C, 5 count, 6 pass/fail).
    pub unit: u8,
}

/// What a board lends to the node.
pub trait NodePort {
    /// Facts that do not change while the node runs.
    fn facts(&self) -> &BoardFacts;

    /// Whether this is the RAM agent, which serves one run and is gone with the power; [`Capabilities::AGENT`] then. It does
    /// without much that a resident bootloader needs (docs/node.md, "The agent"). A board answers with a constant, so that
    /// nothing of that is in an agent's binary.
    fn is_agent(&self) -> bool {
        false
    }

    /// 24 bits that differ between two boards even when everything else is equal (RNG, RAM noise, clock drift).
    fn nonce(&mut self) -> u32;

    /// The slot's address straps, or `None` without straps.
    fn strap(&mut self) -> Option<u16>;

    /// Supply voltage in millivolts, if it can be measured.
    fn supply_mv(&mut self) -> Option<u16>;

    /// The CAN controller's counters.
    fn bus_counters(&mut self) -> BusCounters;

    /// Readout protection in force.
    fn protection(&mut self) -> Protection;

    /// Where the chip's one-time programmable memory lies, which takes an identity as the flash does and is never
    /// erased; empty without one.
    fn otp(&self) -> Range<u32> {
        0..0
    }

    /// Copies flash, OTP, option bytes in force, or the certificate request at [`REQUEST_ADDRESS`] into `out`; false if
    /// the address is not readable.
    fn read(&mut self, address: u32, out: &mut [u8]) -> bool;

    /// Whether `len` bytes of flash from `address`, both multiples of 64, read as erased; false if they are not
    /// readable. A board whose record area is large (F4: up to 128 KiB, read at every start) has a faster way.
    fn is_blank(&mut self, address: u32, len: u32) -> bool {
        let mut bytes = [0; 64];
        let mut at = address;
        while at < address + len {
            if !self.read(at, &mut bytes) || bytes != [0xFF; 64] {
                return false;
            }
            at += bytes.len() as u32;
        }
        true
    }

    /// Begins to erase one unit.
    fn start_erase(&mut self, unit: &EraseUnit);

    /// Begins to program flash or OTP. `address` and `data.len()` are multiples of the flash's unit; at most 256 bytes.
    fn start_program(&mut self, address: u32, data: &[u8]);

    /// State of the operation last started.
    fn flash_poll(&mut self) -> FlashState;

    /// Writes option bytes at `offset` of the family's option area; they are loaded by the next [`Self::reset`] and
    /// when power comes up. Returns when they are written. The byte of the readout protection and complements that
    /// the hardware makes stay as they are, whatever `data` says.
    fn write_options(&mut self, offset: u8, data: &[u8]) -> bool;

    /// Sets readout protection; takes effect as option bytes do. Level 2 needs the engine's two-fold consent,
    /// which is checked before this is called.
    fn set_protection(&mut self, level: Protection) -> bool;

    /// Runs test item `item` with `argument`.
    fn run_test(&mut self, item: u8, argument: u32) -> Option<TestReading>;

    /// Whether this code can make keys at all. Without it nothing of it is in the binary.
    const MAKES_KEYS: bool = false;

    /// Makes a key pair whose secret half never leaves the chip, and a certificate request for it (PKCS#10, DER)
    /// with the subject `CN=name`, signed with it; [`Self::read`] shows it at [`REQUEST_ADDRESS`]. Asked again, also
    /// after a loss of power, it keeps the key that it has. Returns when it is done; false if it failed. Called only
    /// with [`Self::MAKES_KEYS`] and [`Capabilities::KEYS`], on a chip that is not protected.
    fn make_key(&mut self, _kind: KeyKind, _name: &[u8]) -> bool {
        false
    }

    /// Whether this code can keep an image in a second slot. Without it nothing of it is in the binary.
    const HAS_SLOT: bool = false;

    /// The board's second slot, if it has one; [`Capabilities::SLOT`] then. Asked only with [`Self::HAS_SLOT`].
    fn slot(&self) -> Option<Slot> {
        None
    }

    /// What the board does with seals; [`Capabilities::SEALS`] where it demands them.
    fn seals(&self) -> Seals {
        Seals::Ignored
    }

    /// Whether this is an Ed25519 signature of `message` under the product's public key. Returns when it is known,
    /// within 3 s; called only where seals are demanded.
    fn seal_is_good(&mut self, _message: &[u8; SEALED], _signature: &[u8; 64]) -> bool {
        false
    }

    /// Called when the last reply has left the mailbox: start the application at `address`.
    fn start_application(&mut self, address: u32);

    /// Called when the last reply has left the mailbox: reset the chip and load its option bytes (by the launch bit
    /// of the option controller where a system reset does not load them: G4, L4).
    fn reset(&mut self);
}
