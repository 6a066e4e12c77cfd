//! Why a job cannot be planned: each reason with its numbers, and its code.

use panel_backplane::Way;
use panel_codes::Code;
use panel_protocol::host;

use crate::finishing::FinishingError;

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
    /// Data where the bootloader lives.
    #[error(
        "{origin}: data at {address:#010x} lies in the {kib} KiB that the bootloader of {chip} keeps{}; images begin at \
         {app_base:#010x}", if *sealed { " where it takes only sealed images" } else { "" }
    )]
    Reserved {
        /// First such address.
        address: u32,
        /// Where it comes from.
        origin: String,
        /// Chip.
        chip: &'static str,
        /// KiB of the bootloader.
        kib: u32,
        /// The bootloader is one that takes only sealed images.
        sealed: bool,
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
    /// The image lies where bootloader and RAM agent keep their records.
    #[error(
        "{origin}: data at {address:#010x} lies in the last erase unit of {chip}, {from:#010x} to {to:#010x}, where boards \
         keep their image records"
    )]
    Records {
        /// First such address.
        address: u32,
        /// Where it comes from.
        origin: String,
        /// First address of the unit.
        from: u32,
        /// Last address of the unit.
        to: u32,
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
            Self::Reserved { .. } | Self::Records { .. } => Code::ImageReservedArea,
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
            Self::Rom(_) => Code::ImageOutsideFlash,
            Self::Finishing(error) => error.code(),
        }
    }
}
