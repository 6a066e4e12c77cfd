//! What the rows of the catalogue are put together from: command lists, rates, plain flash, no quirks.

use crate::flash::{FlashModel, Run};
use crate::model::{Autobaud, Engineering, Go, OnePage, Quirks, UsartRom};

// ---- command lists, as Get gives them (AN3155 section 3.1) ------------------------------------------------

pub(super) const ERASE: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x43, 0x63, 0x73, 0x82, 0x92];
pub(super) const EXTENDED: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82, 0x92];
pub(super) const WB_LIST: &[u8] =
    &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x50, 0x51, 0x63, 0x73, 0x82, 0x92];
pub(super) const H5_LIST: &[u8] = &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x50, 0x63, 0x73];
pub(super) const CHECKSUM_LIST: &[u8] =
    &[0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82, 0x92, 0xA1];

// ---- building blocks --------------------------------------------------------------------------------------

pub(super) const HARDWARE: Autobaud =
    Autobaud { error_permille: 0, sure_baud: 1_000_000, most_baud: 1_000_000 };

/// Software timing of the first byte; no upper limit is known for these, so the limit is our assumption.
pub(super) const fn software(error_permille: u16) -> Autobaud {
    Autobaud { error_permille, sure_baud: 500_000, most_baud: 1_000_000 }
}

/// F1 and F3: users report 256000 as safe, 4xxxxx as "sometimes", 9xxxxx as never.
pub(super) const fn software_slow(error_permille: u16) -> Autobaud {
    Autobaud { error_permille, sure_baud: 256_000, most_baud: 500_000 }
}

pub(super) const fn usart(
    version: u8,
    commands: &'static [u8],
    autobaud: Autobaud,
    startup_us: u32,
) -> UsartRom {
    UsartRom {
        version,
        behaves_as: version,
        commands,
        autobaud,
        startup_us,
        startup_without_crystal_us: startup_us,
    }
}

pub(super) const PLAIN: Quirks = Quirks {
    most_pages_per_erase: u16::MAX,
    one_page: OnePage::NotNeeded,
    erase_clears_empty_flag: false,
    no_mass_erase: false,
    no_bank_erase: true,
    two_nacks_when_protected: false,
    resets_itself: false,
    unprotect_acks_first: false,
    engineering: Engineering::Readable,
    write_align: 4,
    misaligned_write_sticks: false,
    can_unprotect_broken: false,
    leaves_can: false,
    options_at_power_on: false,
    bank2_acks_first: false,
    go: Go::Sound,
    second_sync_only: false,
    fd_shortest_write: 1,
    fd_miscounts: false,
    stale_read_us: 0,
};

pub(super) const fn run(count: u16, size: u32, erase_us: u32) -> Run {
    Run { count, size, erase_us: [erase_us; 3] }
}

pub(super) const fn pages(
    runs: &'static [Run],
    chunk: u32,
    chunk_ns: u32,
    mass_us: u32,
    banks: u8,
) -> FlashModel {
    FlashModel {
        base: 0x0800_0000,
        runs,
        chunk,
        word: chunk,
        chunk_ns,
        erased: 0xFF,
        clears_bits: false,
        mass_erase_us: [mass_us; 3],
        banks,
    }
}
