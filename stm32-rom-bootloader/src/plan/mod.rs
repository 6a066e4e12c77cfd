//! What to erase and what to write, decided before anything is touched.
//!
//! A [`Plan`] is a value: it can be shown, tested, timed ([`Plan::estimate`]) and carried out later. Rules:
//! 1. Only erase units that the image touches are erased, or everything at once where that is sound, faster and
//!    nothing has to be kept. What else stood in an erased unit is lost; [`Plan::lost`] says what.
//! 2. Flash is written in blocks of up to 256 bytes that never cross a 256-byte boundary, padded with the erased
//!    value to what the family needs, and never outside an erased unit.
//! 3. Blocks that are nothing but the erased value are neither written nor read back.
//! 4. RAM is written as it is.

mod estimate;

use crate::device::{Area, BankMode, Device, EraseUnit, FlashTiming, Parallelism, SupplyVoltage, Traits};
use crate::image::Image;

pub use estimate::{Estimate, LinkModel, LinkSpeed, PlanEstimate};

/// The most that one write or read moves, and the boundary no block crosses.
pub(crate) const BLOCK: u32 = 256;

/// No member of any die has a smaller share of its flash than this: 64 KiB of 1 MiB on the STM32F750, 128 KiB of
/// 2 MiB on the STM32H750 (their datasheets).
const SMALLEST_SHARE: u16 = 16;

/// Why there is no plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Nothing to write.
    #[error("the image is empty")]
    EmptyImage,
    /// Two regions of the image overlap.
    #[error("two regions of the image overlap at {address:#010x}")]
    Overlap {
        /// Where the second begins.
        address: u32,
    },
    /// The image does not fit into flash or RAM.
    #[error("the image at {address:#010x} lies outside the chip's flash and usable RAM")]
    OutsideMemory {
        /// First address outside.
        address: u32,
    },
    /// No source gives the geometry of this chip's flash.
    #[error("the flash geometry of {device} is not known")]
    UnknownGeometry {
        /// Name of the device.
        device: &'static str,
    },
    /// The flash size or bank mode asked for does not exist on this die.
    #[error("{device} has no flash of {kib} KiB in that bank mode")]
    NoSuchFlash {
        /// Name of the device.
        device: &'static str,
        /// Size asked for.
        kib: u16,
    },
    /// Erasing would destroy what has to be kept.
    #[error("erasing the unit at {unit:#010x} would destroy {kept:#010x}, which has to be kept")]
    WouldDestroyKept {
        /// First address of the unit.
        unit: u32,
        /// First address of the area to keep.
        kept: u32,
    },
    /// This ROM cannot erase everything at once.
    #[error("{device} has no sound mass erase")]
    NoMassErase {
        /// Name of the device.
        device: &'static str,
    },
}

/// What to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EraseChoice {
    /// The touched units, or everything if that is sound and faster. **Everything includes what lies outside
    /// the image**; name areas to keep, or choose `Touched`, if that matters.
    #[default]
    Auto,
    /// The touched units.
    Touched,
    /// Everything.
    Everything,
    /// Nothing: the flash is known to be blank.
    Nothing,
}

/// What a plan is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanOptions {
    /// Flash size in KiB, from the chip's size register; the largest of the die if not given.
    pub flash_kib: Option<u16>,
    /// Bank mode; as delivered by ST if not given. Where an option bit decides, it is checked before erasing.
    pub banks: Option<BankMode>,
    /// ROM version, if known; otherwise the worst is assumed of versions that differ.
    pub bootloader_id: Option<u16>,
    /// What to erase.
    pub erase: EraseChoice,
    /// Areas that must survive.
    pub keep: Vec<Area>,
    /// Supply voltage of the board, to program F2, F4 and F7 faster. **A wrong voltage corrupts flash**: give
    /// it only if it is known.
    pub voltage: Option<SupplyVoltage>,
}

/// Up to 256 bytes to write or to find blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    /// First address.
    pub address: u32,
    /// Number of bytes, padding included.
    pub len: u16,
    /// Whether it is RAM, which needs no erasing.
    pub ram: bool,
}

impl Block {
    /// First address behind the block.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.address.saturating_add(self.len as u32)
    }
}

/// What to erase and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    device: &'static Device,
    flash_kib: u16,
    banks: BankMode,
    erase: Erasing,
    units: Vec<EraseUnit>,
    blocks: Vec<Block>,
    blank: Vec<Block>,
    lost: Vec<Area>,
    voltage: Option<SupplyVoltage>,
    pages_per_erase: u16,
}

/// How a plan erases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Erasing {
    /// [`Plan::units`], one by one.
    Units,
    /// Everything at once.
    Everything,
    /// Not at all.
    Nothing,
}

impl Plan {
    /// Lays `image` on the flash and RAM of `device`.
    ///
    /// # Errors
    /// If the image does not fit, the geometry is unknown, or what is asked for cannot be had.
    pub fn new(device: &'static Device, image: &Image<'_>, options: &PlanOptions) -> Result<Self, PlanError> {
        let traits = device.traits(options.bootloader_id);
        let layout = FlashLayout::of(device, options)?;
        layout.check_inside(device, image)?;
        let units = layout.touched_by(image);
        let erase = layout.choose_erase(device, &traits, &units, options)?;
        let lost = layout.lost(image, &units, erase);
        let (blocks, blank) = layout.blocks(device, &traits, image, erase);
        let voltage = options.voltage.filter(|_| traits.voltage_range);
        let units = if erase == Erasing::Nothing { Vec::new() } else { units };
        Ok(Self {
            device,
            flash_kib: layout.kib,
            banks: layout.banks,
            erase,
            units,
            blocks,
            blank,
            lost,
            voltage,
            pages_per_erase: traits.pages_per_erase,
        })
    }

    /// Whether a plan may come out differently on another member of the same die, so that the chip's flash size is
    /// worth reading. A small image that erases by units needs no such read: it fits on all of them.
    #[must_use]
    pub fn depends_on_flash_size(device: &'static Device, image: &Image<'_>, options: &PlanOptions) -> bool {
        let with = |kib| Self::new(device, image, &PlanOptions { flash_kib: Some(kib), ..options.clone() });
        let Some(max_kib) = device.flash.map(|flash| flash.max_kib) else { return true };
        let (Ok(largest), Ok(smallest)) = (with(max_kib), with(max_kib / SMALLEST_SHARE)) else {
            return true;
        };
        Self { flash_kib: max_kib, ..smallest } != largest
    }

    /// The chip the plan is for.
    #[must_use]
    pub const fn device(&self) -> &'static Device {
        self.device
    }

    /// Flash size assumed, in KiB.
    #[must_use]
    pub const fn flash_kib(&self) -> u16 {
        self.flash_kib
    }

    /// Bank mode assumed.
    #[must_use]
    pub const fn banks(&self) -> BankMode {
        self.banks
    }

    /// How to erase.
    #[must_use]
    pub const fn erase(&self) -> Erasing {
        self.erase
    }

    /// The units that the image touches; empty if nothing is erased.
    #[must_use]
    pub fn units(&self) -> &[EraseUnit] {
        &self.units
    }

    /// What to write and read back, in order of address.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Where the image has nothing but the erased value: neither written nor read back after an erase.
    #[must_use]
    pub fn blank_blocks(&self) -> &[Block] {
        &self.blank
    }

    /// Flash outside the image that the erase clears.
    #[must_use]
    pub fn lost(&self) -> &[Area] {
        &self.lost
    }

    /// The supply voltage to tell the ROM, where it can use it.
    #[must_use]
    pub const fn voltage(&self) -> Option<SupplyVoltage> {
        self.voltage
    }

    /// What the flash programs at once under this plan.
    #[must_use]
    pub fn parallelism(&self) -> Parallelism {
        self.voltage.map_or(Parallelism::X8, SupplyVoltage::parallelism)
    }

    /// Bytes to write.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.blocks.iter().map(|block| u32::from(block.len)).sum()
    }

    /// Whether `len` bytes at `address` lie within one block of the plan: nothing else may ever be written.
    #[must_use]
    pub fn allows_write(&self, address: u32, len: u32) -> bool {
        let after = self.blocks.partition_point(|block| block.address <= address);
        let block = after.checked_sub(1).and_then(|index| self.blocks.get(index));
        block.is_some_and(|block| u64::from(address) + u64::from(len) <= u64::from(block.end()))
    }

    /// Whether the plan erases unit `index`.
    #[must_use]
    pub fn allows_erase(&self, index: u16) -> bool {
        self.units.binary_search_by_key(&index, |unit| unit.index).is_ok()
    }

    /// Time the plan takes at best, see [`PlanEstimate`].
    #[must_use]
    pub fn estimate(&self, link: &LinkModel) -> PlanEstimate {
        estimate::estimate(self, link)
    }
}

struct FlashLayout {
    kib: u16,
    banks: BankMode,
    units: Vec<EraseUnit>,
    area: Area,
}

impl FlashLayout {
    fn of(device: &'static Device, options: &PlanOptions) -> Result<Self, PlanError> {
        let flash = device.flash.ok_or(PlanError::UnknownGeometry { device: device.name })?;
        let kib = options.flash_kib.unwrap_or(flash.max_kib);
        let banks = options.banks.unwrap_or_else(|| flash.usual_mode(kib));
        let none = PlanError::NoSuchFlash { device: device.name, kib };
        if kib == 0 || kib > flash.max_kib {
            return Err(none);
        }
        let units = flash.units(kib, banks).filter(|units| !units.is_empty()).ok_or(none)?;
        let area = Area { start: flash.start, end: flash.start + u32::from(kib) * 1024 - 1 };
        Ok(Self { kib, banks, units, area })
    }

    fn check_inside(&self, device: &Device, image: &Image<'_>) -> Result<(), PlanError> {
        for region in image.regions() {
            let last = (region.end() - 1) as u32;
            let home = [Some(self.area), device.ram]
                .into_iter()
                .flatten()
                .find(|area| area.contains(region.address));
            match home {
                Some(area) if area.contains(last) => {}
                Some(area) => return Err(PlanError::OutsideMemory { address: area.end + 1 }),
                None => return Err(PlanError::OutsideMemory { address: region.address }),
            }
        }
        Ok(())
    }

    fn touched_by(&self, image: &Image<'_>) -> Vec<EraseUnit> {
        let touches = |unit: &&EraseUnit| {
            image.regions().iter().any(|region| {
                region.end() > u64::from(unit.address) && u64::from(region.address) < u64::from(unit.end())
            })
        };
        self.units.iter().filter(touches).copied().collect()
    }

    fn choose_erase(
        &self,
        device: &Device,
        traits: &Traits,
        touched: &[EraseUnit],
        options: &PlanOptions,
    ) -> Result<Erasing, PlanError> {
        let kept_flash =
            options.keep.iter().find(|kept| kept.start <= self.area.end && kept.end >= self.area.start);
        let everything = match options.erase {
            EraseChoice::Nothing => return Ok(Erasing::Nothing),
            _ if touched.is_empty() => return Ok(Erasing::Nothing),
            EraseChoice::Touched => false,
            EraseChoice::Auto => {
                traits.mass_erase
                    && kept_flash.is_none()
                    && self.all_is_faster(device, traits, touched, options)
            }
            EraseChoice::Everything if !traits.mass_erase => {
                return Err(PlanError::NoMassErase { device: device.name });
            }
            EraseChoice::Everything => true,
        };
        if let (true, Some(kept)) = (everything, kept_flash) {
            return Err(PlanError::WouldDestroyKept { unit: self.area.start, kept: kept.start });
        }
        for unit in touched.iter().filter(|_| !everything) {
            if let Some(kept) =
                options.keep.iter().find(|kept| kept.start < unit.end() && kept.end >= unit.address)
            {
                return Err(PlanError::WouldDestroyKept { unit: unit.address, kept: kept.start });
            }
        }
        Ok(if everything { Erasing::Everything } else { Erasing::Units })
    }

    fn all_is_faster(
        &self,
        device: &Device,
        traits: &Traits,
        touched: &[EraseUnit],
        options: &PlanOptions,
    ) -> bool {
        let timing = FlashTiming::of(device.family);
        let voltage = options.voltage.filter(|_| traits.voltage_range);
        let parallelism = voltage.map_or(Parallelism::X8, SupplyVoltage::parallelism);
        let one = |unit: &EraseUnit| timing.erase_unit(unit.bytes, parallelism).typical;
        let commands = touched.len().div_ceil(usize::from(traits.pages_per_erase)) as u32;
        let by_units: core::time::Duration =
            touched.iter().map(one).sum::<core::time::Duration>() + commands * traits.settle_after_erase;
        timing.mass_erase(self.kib.into(), parallelism).typical < by_units
    }

    /// Runs of erased flash that the image does not cover.
    fn lost(&self, image: &Image<'_>, touched: &[EraseUnit], erase: Erasing) -> Vec<Area> {
        let erased: Vec<Area> = match erase {
            Erasing::Nothing => return Vec::new(),
            Erasing::Everything => vec![self.area],
            Erasing::Units => {
                merged(touched.iter().map(|unit| Area { start: unit.address, end: unit.end() - 1 }))
            }
        };
        let mut lost = Vec::new();
        for area in erased {
            let mut next = u64::from(area.start);
            let end = u64::from(area.end) + 1;
            for region in image.regions() {
                let (from, to) = (u64::from(region.address).min(end), region.end());
                if to <= next || from >= end {
                    continue;
                }
                if from > next {
                    lost.push(Area { start: next as u32, end: (from - 1) as u32 });
                }
                next = to;
            }
            if next < end {
                lost.push(Area { start: next as u32, end: area.end });
            }
        }
        lost
    }

    /// Blocks to write, and blocks that are blank.
    fn blocks(
        &self,
        device: &Device,
        traits: &Traits,
        image: &Image<'_>,
        erase: Erasing,
    ) -> (Vec<Block>, Vec<Block>) {
        let blank_byte = device.family.erased_value();
        let mut windows: Vec<u32> = Vec::new();
        for region in image.regions() {
            let first = region.address / BLOCK;
            let last = ((region.end() - 1) / u64::from(BLOCK)) as u32;
            windows.extend(first..=last);
        }
        windows.dedup();
        let (mut blocks, mut blank) = (Vec::new(), Vec::new());
        for window in windows {
            let start = window * BLOCK;
            let used = image.window_extent(start);
            if !self.area.contains(used.start) {
                blocks.push(ram_block(used));
                continue;
            }
            let block = self.flash_block(traits, used, erase);
            let data = image.window(block.address, block.len.into(), blank_byte);
            let is_blank = data.iter().all(|byte| *byte == blank_byte);
            if is_blank { blank.push(block) } else { blocks.push(block) }
        }
        (blocks, blank)
    }

    /// The block that covers `used`, which lies within one window.
    fn flash_block(&self, traits: &Traits, used: Area, erase: Erasing) -> Block {
        let window = used.start & !(BLOCK - 1);
        let align = traits.write_align.max(4);
        let address = if erase == Erasing::Nothing {
            used.start & !(align - 1)
        } else {
            // Only on L0 may a unit begin inside a window.
            let after = self.units.partition_point(|unit| unit.address <= used.start);
            let unit = after.checked_sub(1).and_then(|index| self.units.get(index));
            window.max(unit.map_or(window, |unit| unit.address))
        };
        let least = (used.end + 1).max(address + traits.fdcan_shortest_write);
        let end = least.next_multiple_of(align).min(window + BLOCK);
        Block { address, len: (end - address) as u16, ram: false }
    }
}

fn ram_block(used: Area) -> Block {
    let (address, end) = (used.start & !3, (used.end + 1).next_multiple_of(4));
    Block { address, len: (end - address) as u16, ram: true }
}

/// Joins areas that touch; they come in order.
fn merged(areas: impl Iterator<Item = Area>) -> Vec<Area> {
    let mut joined: Vec<Area> = Vec::new();
    for area in areas {
        match joined.last_mut() {
            Some(last) if last.end + 1 == area.start => last.end = area.end,
            _ => joined.push(area),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
