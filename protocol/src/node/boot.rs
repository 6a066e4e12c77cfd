//! What a resident bootloader decides before it serves a host: may the application start, does somebody want
//! the board to stay?
//!
//! Called by the firmware's start-up, before there is a [`super::Node`]. Invariant: an application is startable
//! only if the newest record is `Valid`, its seal was found good where seals are demanded, the records of its regions
//! stand before it and hash to its image ID, and the flash has every region's CRC-32.

use super::port::{NodePort, Seals};
use super::record::Scan;
use super::{ImageState, STEP};
use crate::CRC32;
use crate::block::{Begin, Region};
use crate::frame::{Frame, Id};
use crate::ident::is_control;
use crate::message::op;

/// The vector table of the application that may start, if there is one.
///
/// `asked` is the address that a host named, or 0: then the image begins with its vector table, behind what
/// the bootloader keeps for itself.
pub fn startable(port: &mut impl NodePort, asked: u32) -> Option<u32> {
    let mut records = Scan::NONE;
    records.read(port);
    let mark = &records.newest;
    if mark.state != ImageState::Valid || port.seals() == Seals::Demanded && !mark.trusted {
        return None;
    }
    let mut image = Begin::NONE;
    if !mark.image(port, &mut image) {
        return None;
    }
    let regions = image.regions();
    let app_base = port.facts().flash.app_base;
    let own = || regions.iter().find(|r| r.address + r.len > app_base).map(|r| r.address.max(app_base));
    let vectors = if asked >= app_base { asked } else { own()? };
    let mut entry = [0; 8];
    let inside = |address: u32| regions.iter().any(|r| r.contains(address, 8));
    if !inside(vectors) || !port.read(vectors, &mut entry) {
        return None;
    }
    let [.., a, b, c, d] = entry;
    let reset = u32::from_le_bytes([a, b, c, d]);
    let is_thumb = reset & 1 != 0;
    (is_thumb && inside(reset & !7) && regions.iter().all(|r| is_in_flash(port, r))).then_some(vectors)
}

/// A host looks for boards: a bootloader that was about to start its application stays.
pub fn asks_to_stay(frame: &Frame) -> bool {
    let whole = frame.len() >= 4;
    matches!(frame.id(), Id::Standard(id) if is_control(id)) && whole && frame.first()[0] == op::DISCOVER
}

fn is_in_flash(port: &mut impl NodePort, region: &Region) -> bool {
    let mut crc = 0;
    let mut bytes = [0; STEP];
    for at in (0..region.len).step_by(STEP) {
        let bytes = &mut bytes[..(region.len - at).min(STEP as u32) as usize];
        if !port.read(region.address + at, bytes) {
            return false;
        }
        crc = CRC32.update(crc, bytes);
    }
    crc == region.crc
}
