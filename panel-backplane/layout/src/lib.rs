//! How much flash a resident bootloader keeps, family by family.
//!
//! One table for all who must agree: the firmware's build script links by it, the engine plans and write-protects by it, and
//! simulated boards are laid out by it. Invariant: every size is a whole number of erase units, and of units of write
//! protection. Image records are in the last erase unit of every chip, which needs no table.
#![no_std]

/// Flash kept for the bootloader, in bytes from the first address on; images begin behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// Without a public key.
    pub plain: u32,
    /// With one: the curve is in it.
    pub sealed: u32,
}

impl Resident {
    const fn kib(plain: u32, sealed: u32) -> Self {
        Self { plain: plain * 1024, sealed: sealed * 1024 }
    }

    /// Bytes kept on a board that takes only sealed images, or on one that takes any.
    #[must_use]
    pub const fn bytes(self, sealed: bool) -> u32 {
        if sealed { self.sealed } else { self.plain }
    }
}

/// STM32F1: pages of 2 KiB, protected in pairs.
pub const F1: Resident = Resident::kib(32, 40);
/// STM32F4: sectors of 16 KiB.
pub const F4: Resident = Resident::kib(32, 48);
/// STM32G0, whose Cortex-M0+ takes longer code: pages of 2 KiB.
pub const G0: Resident = Resident::kib(40, 48);
/// STM32G4: pages of 2 KiB, or of 4 KiB where the banks are joined.
pub const G4: Resident = Resident::kib(32, 40);
/// STM32L4: pages of 2 KiB. There is no firmware for it, but there are simulated boards.
pub const L4: Resident = G4;
