//! The chip: one of the files beside this one, chosen by a feature, and what is the same for all of them.

#[cfg_attr(feature = "f405", path = "f405.rs")]
#[cfg_attr(any(feature = "g431", feature = "g474"), path = "g4.rs")]
#[cfg_attr(feature = "f103", path = "f103.rs")]
#[cfg_attr(feature = "g0b1", path = "g0b1.rs")]
mod family;

pub(crate) use family::*;

use crate::board::*;
use crate::regs::{read_bytes, read_word};
use crate::seal;
use panel_protocol::node::{
    BoardFacts, Capabilities, EraseRun, FlashFacts, MAX_RUNS, ResetCause, Seals, Slot, Uid,
};
use panel_protocol::time::Span;

// The constant `BOARD`.
include!(env!("PANELFLASH_BOARD_FILE"));

/// First address of every chip's flash.
pub(crate) const FLASH_BASE: u32 = 0x0800_0000;
/// Flash kept for the resident bootloader (`build.rs` knows it from the same place as the linker script).
pub(crate) const RESIDENT_SIZE: u32 = include!(concat!(env!("OUT_DIR"), "/resident_size.rs"));
/// Major * 256 + minor.
const VERSION: u16 = 0x0001;

/// Clocks as they were started, in Hz.
pub(crate) struct Clocks {
    pub(crate) core: u32,
    pub(crate) can: u32,
    pub(crate) usart: u32,
}

/// What this program is: the agent, loaded into RAM by the ROM bootloader, which may change all of the flash; or the resident
/// bootloader, which guards itself. A constant, so that neither carries what only the other one needs.
pub(crate) const IS_AGENT: bool = cfg!(feature = "agent");

/// `count` erase units of `kib` KiB, with their typical and longest time in us.
pub(crate) const fn erase_run(count: u16, kib: u32, typical: u32, longest: u32) -> EraseRun {
    EraseRun { count, size: kib * 1024, typical: Span(typical), longest: Span(longest) }
}

/// The board's facts, as far as they are known before the chip is looked at. Records are in the last erase unit, for both
/// programs: what the agent has written, resident bootloader included, the resident then starts.
pub(crate) const FACTS: BoardFacts = BoardFacts {
    device_id: DEVICE_ID,
    silicon_revision: 0,
    hardware_revision: BOARD.hardware_revision,
    uid: Uid([0; 12]),
    bootloader_version: VERSION,
    capabilities: capabilities(),
    flash: FlashFacts {
        base: FLASH_BASE,
        runs: {
            let mut runs = [erase_run(0, 0, 0, 0); MAX_RUNS];
            runs.split_at_mut(RUNS).0.copy_from_slice(&ERASE_RUNS);
            runs
        },
        unit: UNIT as u8,
        program_typical: Span(PROGRAM_US.0),
        program_longest: Span(PROGRAM_US.1),
        app_base: if IS_AGENT { FLASH_BASE } else { FLASH_BASE + RESIDENT_SIZE },
        record_base: FLASH_BASE,
    },
    identity: BOARD.identity,
    reset_cause: ResetCause::PowerOn,
};

const RUNS: usize = ERASE_RUNS.len();

const fn capabilities() -> Capabilities {
    let mut all = Capabilities::empty();
    let has = [
        (!IS_AGENT, Capabilities::OPTIONS), // an agent would not outlive the restart that loads them
        (true, Capabilities::RECEIVES_WHILE_BUSY), // the program lies in RAM
        (IS_AGENT, Capabilities::AGENT),
        (!BOARD.straps.is_empty(), Capabilities::STRAPS),
        (BOARD.can.data_bitrate != 0, Capabilities::FD),
        (matches!(seal::DUTY, Seals::Demanded), Capabilities::SEALS),
    ];
    let mut n = 0;
    while n < has.len() {
        if has[n].0 {
            all = all.union(has[n].1);
        }
        n += 1;
    }
    all
}

/// The flash size in KiB from the chip's word; what cannot be is taken for the most that the family has.
#[cfg(not(feature = "f405"))]
fn flash_kib(word: Option<u32>, least: u16, most: u16) -> u16 {
    word.map(|word| word as u16).filter(|said| (least..=most).contains(said)).unwrap_or(most)
}

/// Completes the facts with what this very chip is; the address after its flash.
pub(crate) fn look(facts: &mut BoardFacts) -> u32 {
    read_bytes(UID, &mut facts.uid.0);
    clock_debug_unit(true);
    facts.silicon_revision = (read_word(IDCODE).unwrap_or(0) >> 16) as u16;
    clock_debug_unit(false);
    let last = &mut facts.flash.runs[RUNS - 1];
    fit(last);
    let unit = last.size;
    let end = FLASH_BASE + facts.flash.size();
    facts.flash.record_base = end - unit;
    if BOARD.slot.is_some() {
        facts.capabilities.set(Capabilities::SLOT, slot(&facts.flash).is_some());
    }
    end
}

/// The second slot of the board file, where the flash of this very chip is large enough for it. An agent has none.
pub(crate) fn slot(flash: &FlashFacts) -> Option<Slot> {
    let base = BOARD.slot.filter(|&base| !IS_AGENT && base < flash.record_base)?;
    let begins = flash.erase_unit(base)?.address == base;
    begins.then_some(Slot { base, end: flash.record_base })
}

const _: () = {
    let least = FLASH_BASE + RESIDENT_SIZE;
    if let Some(slot) = BOARD.slot {
        assert!(slot > least, "the second slot must leave room for the application");
        if let Some(identity) = BOARD.identity {
            assert!(identity < slot, "the identity region must not lie in the second slot");
        }
    }
};

/// Whether so many bytes from this address can be read: flash, OTP, option bytes, unique ID.
pub(crate) fn is_readable(flash_end: u32, address: u32, len: usize) -> bool {
    let end = address.saturating_add(len as u32);
    let within = |&(from, to): &(u32, u32)| address >= from && end <= to;
    within(&(FLASH_BASE, flash_end)) || [OTP, OPTION_AREA, (UID, UID + 12)].iter().any(within)
}
