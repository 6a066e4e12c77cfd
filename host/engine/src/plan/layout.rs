//! The image on the chip: where it may lie, what is written there, which erase units it touches and how long they take.
//!
//! Called by the plan, before anything is powered.

use core::ops::Range;
use std::collections::BTreeMap;

use panel_backplane::{Slot, Way};
use panel_image::Image;
use panel_protocol::host;
use panel_protocol::node::EraseUnit;
use panel_protocol::time::Span;

use super::{PlanError, Recipe};
use crate::chip::Chip;
use crate::rom::is_agent;

/// Flash for image and identity: what a bootloader does not keep, and, where a bootloader or an agent works, not its records.
pub(super) fn room(chip: &Chip, ways: &BTreeMap<Slot, Way>, sealed: bool) -> Range<u32> {
    let resident = ways.values().any(|way| *way == Way::Multidrop);
    let records = resident || ways.values().any(|way| is_agent(*way));
    let from = if resident { chip.images_from(sealed) } else { chip.flash.base };
    from..if records { chip.flash.record_base } else { chip.flash_end() }
}

/// Refuses an image with a byte outside this room.
pub(super) fn check_image(recipe: &Recipe, room: &Range<u32>, sealed: bool) -> Result<(), PlanError> {
    let Recipe { image, chip, .. } = recipe;
    if image.regions().is_empty() {
        return Err(PlanError::Empty);
    }
    let bytes = room.end - room.start;
    if image.len() > bytes as usize {
        return Err(PlanError::TooLarge { bytes: image.len(), room: bytes, chip: chip.name });
    }
    let (first, to, chip_name) = (chip.flash.base, chip.flash_end() - 1, chip.name);
    for region in image.regions() {
        let (from, end) = (region.address(), region.end());
        let origin = |at: u32| image.origin(at.min(end - 1)).map_or_else(String::new, ToString::to_string);
        if from < first || end > chip.flash_end() {
            let address = if from < first { from } else { from.max(chip.flash_end()) };
            let origin = origin(address);
            return Err(PlanError::OutsideFlash { address, origin, chip: chip_name, from: first, to });
        }
        if from < room.start {
            let (app_base, kib, origin) = (room.start, (room.start - first) / 1024, origin(from));
            return Err(PlanError::Reserved {
                address: from,
                origin,
                chip: chip_name,
                kib,
                sealed,
                app_base,
            });
        }
        if end > room.end {
            let (address, from) = (from.max(room.end), room.end);
            return Err(PlanError::Records { address, origin: origin(address), from, to, chip: chip_name });
        }
    }
    Ok(())
}

/// SHA-256 over the table of regions of this image as it is laid on this chip: what [`Plan::image_id`](super::Plan::image_id) of such a run is.
///
/// # Errors
/// [`host::ImageError`]: the protocol cannot express the image.
pub fn image_id(image: &Image, chip: &Chip) -> Result<[u8; 32], host::ImageError> {
    Ok(host::Image::new(chip.device_id, &padded(image, chip), false)?.begin().image_id())
}

/// Regions widened to whole programming units; neighbours that then touch become one.
pub(super) fn padded(image: &Image, chip: &Chip) -> Vec<(u32, Vec<u8>)> {
    let unit = u32::from(chip.flash.unit);
    let mut regions: Vec<(u32, Vec<u8>)> = Vec::new();
    for region in image.regions() {
        let from = region.address() - region.address() % unit;
        let end = region.end().next_multiple_of(unit);
        match regions.last_mut() {
            Some((address, bytes)) if from <= *address + bytes.len() as u32 => {
                let at = (region.address() - *address) as usize;
                bytes.resize((end - *address) as usize, 0xFF);
                bytes[at..at + region.data().len()].copy_from_slice(region.data());
            }
            _ => {
                let mut bytes = vec![0xFF; (end - from) as usize];
                let at = (region.address() - from) as usize;
                bytes[at..at + region.data().len()].copy_from_slice(region.data());
                regions.push((from, bytes));
            }
        }
    }
    regions
}

/// Erase units with a byte of these regions.
pub(super) fn touched(recipe: &Recipe, regions: &[(u32, Vec<u8>)]) -> Vec<EraseUnit> {
    let mut units: Vec<EraseUnit> = Vec::new();
    for (address, bytes) in regions {
        let mut at = *address;
        while at < address + bytes.len() as u32
            && let Some(unit) = recipe.chip.flash.erase_unit(at)
        {
            if units.last().is_none_or(|last| last.index != unit.index) {
                units.push(unit);
            }
            at = unit.address + unit.size;
        }
    }
    units
}

/// Typical time to erase and program them.
pub(super) fn flash_time(recipe: &Recipe, regions: &[(u32, Vec<u8>)], units: &[EraseUnit]) -> Span {
    let flash = &recipe.chip.flash;
    let erase: u64 = units.iter().map(|u| u.typical.0).sum();
    let unit = usize::from(flash.unit);
    let used = |bytes: &Vec<u8>| bytes.chunks(unit).filter(|c| c.iter().any(|&b| b != 0xFF)).count() as u64;
    let programmed: u64 = regions.iter().map(|(_, bytes)| used(bytes)).sum();
    Span(erase + programmed * flash.program_typical.0)
}
