//! What a chip is, as far as its ROM bootloader and its flash are concerned.
//!
//! One [`Device`] per product ID and ROM version, all of them constants in `table.rs`, which is generated from
//! `data/stm32_devices.csv` (the sources are named in every row). Lookup is by product ID, made exact by the
//! bootloader ID where one product ID covers several ROMs. What a ROM does differently from the application
//! notes is data too, see [`quirk`].

mod family;
mod flash;
pub mod quirk;
mod table;
mod timing;

pub use family::{Family, RdpLevel, Readout};
pub use flash::{BankMode, BankOption, EraseUnit, Flash, Layout, SectorRun};
pub use quirk::{Quirk, QuirkKind, Traits};
pub use timing::{FlashTiming, Parallelism, SupplyVoltage, TypMax};

use core::time::Duration;

/// An inclusive range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Area {
    /// First address.
    pub start: u32,
    /// Last address.
    pub end: u32,
}

impl Area {
    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.end.saturating_sub(self.start).saturating_add(1)
    }

    /// Never: an area has at least one byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether `address` lies inside.
    #[must_use]
    pub const fn contains(&self, address: u32) -> bool {
        self.start <= address && address <= self.end
    }
}

/// How the ROM shows the option bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionBytes {
    /// Not found in any source.
    Unknown,
    /// Ordinary addresses: one block, or one per flash bank.
    Memory(&'static [Area]),
    /// Only as registers of the flash controller, from this address on; this crate does not write them.
    Registers(u32),
}

/// Time from reset until the ROM listens (AN2606, connection timing tables).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Startup {
    /// With the crystals the ROM looks for.
    pub best: Duration,
    /// Without them, or with a USB line high: the longest figure given.
    pub worst: Duration,
}

impl Startup {
    /// When to send the first sync byte: a little after the best time, because a byte that is on the line while
    /// the ROM switches its receiver on is measured wrongly.
    #[must_use]
    pub fn first_sync(&self) -> Duration {
        self.best + self.best / 20 + Duration::from_millis(1)
    }
}

/// One chip as seen through one ROM version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// What Get ID answers.
    pub product_id: u16,
    /// Part numbers in words.
    pub name: &'static str,
    /// The family, which decides flash times, erased value, and where the RDP byte is.
    pub family: Family,
    /// The byte (two on the newest parts) that names the ROM's version, if this ROM has one.
    pub bootloader_id: Option<u16>,
    /// Where to read it.
    pub bootloader_id_address: Option<u32>,
    /// Version of AN3155 the ROM follows, as the byte it reports (`0x31` is 3.1).
    pub usart_protocol: Option<u8>,
    /// Version of AN3154, the same way.
    pub can_protocol: Option<u8>,
    /// USART numbers the ROM listens on, as in AN2606.
    pub usart_ports: &'static str,
    /// CAN controllers; empty where AN2606 lists none.
    pub can_ports: &'static str,
    /// FDCAN controllers with the protocol version; empty where AN2606 lists none.
    pub fdcan_ports: &'static str,
    /// RAM the host may use; below it works the ROM.
    pub ram: Option<Area>,
    /// System memory: the ROM itself.
    pub system_memory: Option<Area>,
    /// The main flash; `None` where no source gives its geometry.
    pub flash: Option<Flash>,
    /// Pages in one write protection unit; `Some(1)` also where units are sectors.
    pub pages_per_protection_unit: Option<u8>,
    /// What AN2606 asks a write address to be a multiple of, in bytes.
    pub write_align: Option<u8>,
    /// Where the option bytes are.
    pub option_bytes: OptionBytes,
    /// First byte of the unique ID, see [`Device::uid_parts`].
    pub uid_address: Option<u32>,
    /// The 16-bit register with the flash size in KiB, see [`Device::decode_flash_size`].
    pub flash_size_address: Option<u32>,
    /// How readout protection is coded in the option bytes.
    pub readout: Readout,
    /// Time from reset until the ROM listens.
    pub startup: Option<Startup>,
    /// Where the row comes from.
    pub source: &'static str,
    /// What else the sources say about it.
    pub notes: &'static str,
}

/// Product IDs that mean the same chip: AN2606 says 0x495 for the STM32WB3x, OpenOCD sees 0x496.
const PRODUCT_ID_ALIASES: &[(u16, u16)] = &[(0x496, 0x495)];

/// Bootloader IDs that AN2606 gives differently in two of its tables, or that depend on the silicon:
/// (product ID, ID in the table here, the other one).
const BOOTLOADER_ID_ALIASES: &[(u16, u16, u16)] = &[
    (0x448, 0xA3, 0xA2), // F070xB: table 3 against table 226
    (0x441, 0x91, 0x90), // F412
    (0x474, 0xE2, 0xE1), // H503
    (0x482, 0x93, 0x92), // U575/585
    (0x492, 0xB0, 0xB1), // WBA5x, by silicon
    (0x485, 0xE3, 0xE5), // H7R/7S, by silicon
];

impl Device {
    /// Every row of the table, in the order of `data/stm32_devices.csv`.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &table::DEVICES
    }

    /// The rows with this product ID: none, one, or one for each ROM version.
    pub fn with_product_id(product_id: u16) -> impl Iterator<Item = &'static Self> + Clone {
        let known = PRODUCT_ID_ALIASES.iter().find(|(alias, _)| *alias == product_id);
        let product_id = known.map_or(product_id, |(_, id)| *id);
        Self::all().iter().filter(move |device| device.product_id == product_id)
    }

    /// The row for a product ID and, if it could be read, the bootloader ID.
    ///
    /// An unknown revision of a known ROM gets the row of its nearest relative (same interfaces, the high
    /// nibble); without a bootloader ID the first row is taken. `None` means an unknown product ID.
    #[must_use]
    pub fn find(product_id: u16, bootloader_id: Option<u16>) -> Option<&'static Self> {
        let rows = Self::with_product_id(product_id);
        if let Some(id) = bootloader_id {
            let alias = |row: &Self| {
                BOOTLOADER_ID_ALIASES.iter().any(|(pid, own, other)| {
                    *pid == row.product_id && Some(*own) == row.bootloader_id && *other == id
                })
            };
            let found = rows
                .clone()
                .find(|row| row.bootloader_id == Some(id))
                .or_else(|| rows.clone().find(|row| alias(row)))
                .or_else(|| {
                    rows.clone().find(|row| row.bootloader_id.is_some_and(|own| own >> 4 == id >> 4))
                });
            if found.is_some() {
                return found;
            }
        }
        rows.clone().next()
    }

    /// The rows whose part number text contains `text`, ignoring case: `"F405"`, `"g431"`.
    pub fn with_name(text: &str) -> impl Iterator<Item = &'static Self> {
        let wanted = text.to_ascii_uppercase();
        Self::all().iter().filter(move |device| device.name.to_ascii_uppercase().contains(&wanted))
    }

    /// How the chip is made to start its ROM, in words for a person whose chip does not answer (AN2606, boot
    /// activation patterns).
    #[must_use]
    pub const fn entry_conditions(&self) -> &'static str {
        match (self.family, self.product_id) {
            (Family::G0 | Family::C0, _) => {
                "an empty flash, or BOOT0 = 1 with option bits nBOOT0_SEL = 0 and nBOOT1 = 1; never with \
                 BOOT_LOCK = 1, and not with a debug probe attached"
            }
            (Family::L4, 0x435 | 0x462 | 0x461) => "BOOT0 = 1 with option bit nBOOT1 = 1, or an empty flash",
            (Family::F0 | Family::F3 | Family::L0 | Family::L4 | Family::G4 | Family::WB | Family::WL, _) => {
                "BOOT0 = 1 with option bit nBOOT1 = 1"
            }
            (Family::F1 | Family::F2 | Family::F4 | Family::L1, _) => "BOOT0 = 1 and BOOT1 = 0",
            (Family::F7 | Family::H7, _) => "BOOT0 = 1 with BOOT_ADD1 at the system memory, as delivered",
            _ => "BOOT0 = 1 with the boot option bytes as delivered",
        }
    }

    /// What this ROM does in its own way, folded into one value.
    #[must_use]
    pub fn traits(&self, bootloader_id: Option<u16>) -> Traits {
        Traits::of(self, bootloader_id)
    }

    /// The quirks behind [`Device::traits`], with their sources.
    pub fn quirks(&self, bootloader_id: Option<u16>) -> impl Iterator<Item = &'static Quirk> {
        let (family, product_id) = (self.family, self.product_id);
        quirk::QUIRKS.iter().filter(move |quirk| quirk.applies(family, product_id, bootloader_id))
    }

    /// Whether any quirk of this product depends on the ROM version, or the rows differ: then the bootloader
    /// ID is worth a read.
    #[must_use]
    pub fn version_matters(&self) -> bool {
        Self::with_product_id(self.product_id).count() > 1
            || quirk::QUIRKS.iter().any(|quirk| quirk.depends_on_version(self.family, self.product_id))
    }

    /// Whether ROM versions of this product differ in how flash is erased and written over USART, or in its layout.
    #[must_use]
    pub fn version_matters_for_flash(&self) -> bool {
        let layout = |row: &Self| (row.flash, row.write_align, row.family);
        Self::with_product_id(self.product_id).any(|row| layout(row) != layout(self))
            || quirk::QUIRKS
                .iter()
                .any(|q| q.kind.bears_on_flash() && q.depends_on_version(self.family, self.product_id))
    }

    /// Where the 96 bits of the unique ID are: one run of 12 bytes, or on L0 and L1 two runs of 8 and 4
    /// (RM0038 and RM0377, unique device ID registers: offsets 0x00, 0x04 and 0x14).
    #[must_use]
    pub fn uid_parts(&self) -> Option<[Area; 2]> {
        let base = self.uid_address?;
        let last = if matches!(self.family, Family::L0 | Family::L1) { base + 0x14 } else { base + 8 };
        Some([Area { start: base, end: base + 7 }, Area { start: last, end: last + 3 }])
    }

    /// The flash size in KiB from the 16-bit register, or `None` if the value makes no sense.
    ///
    /// Several parts keep other bits in the same half-word: G0 by part (AN2606), L1 category 2 the high byte,
    /// L1 category 4 a code (RM0038, flash size register).
    #[must_use]
    pub fn decode_flash_size(&self, raw: u16) -> Option<u16> {
        let kib = match self.product_id {
            0x436 if raw == 0 => 384,
            0x436 if raw == 1 => 256,
            0x429 => raw & 0x00FF,
            0x466 | 0x456 => raw & 0x007F,
            0x460 => raw & 0x00FF,
            0x467 => raw & 0x03FF,
            _ => raw,
        };
        let most = self.flash.as_ref()?.max_kib;
        (kib != 0 && kib <= most).then_some(kib)
    }
}

#[cfg(test)]
mod tests;
