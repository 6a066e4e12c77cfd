//! ROM versions with a flaw that AN2606 or a user names, each beside the sound version of the same part.
//!
//! Sources are the limitations in AN2606's section of the part, unless a row says otherwise.

use super::f_series::{F072, F405, F411};
use super::newer::{G071, H743};
use super::parts::*;
use crate::model::{Autobaud, Go, MemoryMap, Model, OnePage, Quirks};

pub(super) const G071_V11_2: Model = Model {
    name: "G071-V11.2",
    bootloader_id: Some((0x1FFF_6FFE, 0xB2)),
    quirks: Quirks {
        options_at_power_on: true,
        one_page: OnePage::NotNeeded,
        erase_clears_empty_flag: false,
        ..G071.quirks
    },
    ..G071
};

/// community.st.com td-p/132858: unrelated frames make it leave the bus, even when it is connected.
pub(super) const F412: Model = Model {
    name: "F412",
    part: "STM32F412",
    product_id: 0x441,
    bootloader_id: Some((0x1FFF_76DE, 0x91)),
    can: F405.can,
    map: MemoryMap { host_ram: (0x2000_3000, 0x2003_FFFF), ..F411.map },
    flash: F405.flash,
    quirks: Quirks { leaves_can: true, ..F411.quirks },
    ..F411
};

pub(super) const F378: Model = Model {
    name: "F378",
    part: "STM32F378",
    product_id: 0x432,
    bootloader_id: Some((0x1FFF_F7A6, 0x50)),
    // At most 57600 baud.
    usart: usart(
        0x31,
        EXTENDED,
        Autobaud { error_permille: 20, sure_baud: 57_600, most_baud: 57_600 },
        1_542,
    ),
    map: MemoryMap { host_ram: (0x2000_1000, 0x2000_7FFF), system: (0x1FFF_D800, 0x1FFF_F7FF), ..F072.map },
    flash: pages(&[run(128, 2048, 30_000)], 2, 53_500, 30_000, 1),
    quirks: PLAIN,
    ..F072
};

pub(super) const H743_V9_0: Model = Model {
    name: "H743-V9.0",
    bootloader_id: Some((0x1FF1_E7FE, 0x90)),
    quirks: Quirks { go: Go::NoFirstAck, fd_shortest_write: 64, fd_miscounts: true, ..H743.quirks },
    ..H743
};

pub(super) const H743_V9_1: Model = Model {
    name: "H743-V9.1",
    bootloader_id: Some((0x1FF1_E7FE, 0x91)),
    quirks: Quirks { bank2_acks_first: true, ..H743.quirks },
    ..H743
};

pub(super) const H743_V13_2: Model = Model {
    name: "H743-V13.2",
    bootloader_id: Some((0x1FF1_E7FE, 0xD2)),
    quirks: Quirks { go: Go::Hangs, ..H743.quirks },
    ..H743
};

pub(super) const H743_V13_3: Model = Model {
    name: "H743-V13.3",
    bootloader_id: Some((0x1FF1_E7FE, 0xD3)),
    quirks: Quirks { no_bank_erase: true, ..H743.quirks },
    ..H743
};

/// On PB14 and PB15 the first sync byte goes unanswered.
pub(super) const H743_PB14: Model =
    Model { name: "H743-PB14", quirks: Quirks { second_sync_only: true, ..H743.quirks }, ..H743 };

/// community.st.com td-p/115022: a read directly after a write gives 0xFF. The time is our assumption.
pub(super) const H723: Model = Model {
    name: "H723",
    part: "STM32H723/725/730/733/735",
    product_id: 0x483,
    bootloader_id: Some((0x1FF1_E7FE, 0x93)),
    flash: pages(&[run(8, 131_072, 1_000_000)], 32, 100_000, 8_000_000, 1),
    quirks: Quirks { stale_read_us: 4_000, no_bank_erase: true, ..H743.quirks },
    ..H743
};
