//! The catalogue of faults that a slot can have.
//!
//! Each is one way in which a real board fails on a production panel. Addresses are absolute flash addresses;
//! times count from the moment the slot is first powered. Of two faults of one kind in a slot the last counts.

use panel_protocol::frame::Frame;
use panel_protocol::node::Protection;
use panel_protocol::time::Span;

use crate::chip::Chip;
use crate::key::KeyFault;

/// What is wrong with one slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// `loss`: this share of the frames on the bus is missed by this board alone.
    Loss {
        /// `0.0..=1.0`.
        rate: f64,
    },
    /// `slow-service`: the board takes this long for every frame, so that its receive FIFO runs over.
    SlowService {
        /// Time per frame.
        service: Span,
    },
    /// `absent`: the slot is empty.
    Absent,
    /// `dead`: the board stops for ever.
    Dead {
        /// When.
        when: Trigger,
    },
    /// `brown-out`: the supply dips once; the board starts again with that reset cause.
    BrownOut {
        /// When.
        when: Trigger,
    },
    /// `program-fails`: the flash controller reports an error for this cell.
    ProgramFails {
        /// Address of the cell.
        address: u32,
    },
    /// `reads-back-wrong`: this cell is programmed without an error and holds something else.
    ReadsBackWrong {
        /// Address of the cell.
        address: u32,
    },
    /// `erase-fails`: the flash controller reports an error for the erase unit that holds this address.
    EraseFails {
        /// Any address in the unit.
        address: u32,
    },
    /// `erase-slow`: erases take a multiple of the typical time.
    EraseSlow {
        /// The multiple.
        factor: f64,
    },
    /// `wrong-chip`: another chip is fitted.
    WrongChip {
        /// Which.
        chip: &'static Chip,
    },
    /// `wrong-revision`: a board of another hardware revision.
    WrongRevision {
        /// Which.
        revision: u16,
    },
    /// `protected`: readout protection is already set.
    Protected {
        /// To which level.
        level: Protection,
    },
    /// `same-uid`: the chip carries the UID of the one in another slot.
    SameUid {
        /// The other slot.
        slot: u16,
    },
    /// `babbling`: the board floods the bus with a frame of its own.
    Babbling {
        /// From when on.
        at: Span,
        /// Its frame.
        frame: Frame,
    },
    /// `bus-off`: the controller is off the bus and stays so: it neither hears nor sends nor acknowledges.
    BusOff {
        /// From when on.
        at: Span,
    },
    /// `supply-low`: the board measures this supply.
    SupplyLow {
        /// Millivolts.
        millivolts: u16,
    },
    /// `fades`: this cell is programmed without an error, reads back right, and loses a bit a little later.
    Fades {
        /// Address of the cell.
        address: u32,
    },
    /// `option-write-fails`: the option controller refuses every write.
    OptionWriteFails,
    /// `lock-ignored`: the readout protection is accepted and never takes effect.
    LockIgnored,
    /// `reads-when-locked`: a bootloader that lets memory be read whatever the readout protection is.
    ReadsWhenLocked,
    /// `rom`: the board's ROM bootloader, or the way to it, has this fault.
    Rom {
        /// As `sim rom --fault` takes it.
        fault: rom_simulator::Fault,
    },
    /// `key-fails`, `key-hangs`, `key-forged`, `key-foreign`, `key-repeated`: on a board that makes a key of its own.
    Key {
        /// What is wrong.
        fault: KeyFault,
    },
    /// `mute-after-erase`: after its first erase since a reset the board sends nothing more.
    MuteAfterErase,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// So long after the slot was first powered.
    At(Span),
    /// When this flash address has been programmed.
    Programmed(u32),
    /// Half way through the next write of option bytes.
    OptionWrite,
    /// When the readout protection has been written and the board has said so, before it acts.
    Locked,
}
