//! Values of a unit inside the image: which windows a release declares, and the images as one unit gets them.
//!
//! Only windows of the signed manifest are patched, by [`panel_release::patch`], which hashes the image again before
//! and after; what it says goes into the unit's record before the first byte is sent.

use jiff::Timestamp;
use panel_codes::Code;
use panel_engine::{ImageFacts, OwnImage, Window};
use panel_ledger::{Numbers, SerialFormat};
use panel_release::manifest::{Manifest, PatchValue, PatchWindow};
use panel_release::{Patch, VerifiedRelease, WorkOrder};

use crate::failure::Failure;

/// The windows of a release, for the plan.
///
/// # Errors
/// A window that says not what goes there, or that is too short for a serial number of the order.
pub(crate) fn of(manifest: &Manifest, order: &WorkOrder, now: Timestamp) -> Result<Vec<Window>, Failure> {
    for window in &manifest.patches {
        match window.value {
            None => return Err(wrong(window, "the release does not say what goes there")),
            Some(PatchValue::Serial) => check_serials(window, order, now)?,
            Some(_) => {}
        }
    }
    let window = |PatchWindow { name, address, length, .. }: &PatchWindow| Window {
        name: name.clone(),
        address: *address,
        length: *length,
    };
    Ok(manifest.patches.iter().map(window).collect())
}

/// The images with bytes of their own for this unit.
///
/// # Errors
/// A value that does not fit, or an image that is not what was verified any more.
pub(crate) fn own_images(release: &VerifiedRelease, numbers: &Numbers) -> Result<Vec<OwnImage>, Failure> {
    let mut own = Vec::new();
    for image in release.images() {
        let entry = image.entry();
        let end = u64::from(entry.address) + u64::from(entry.length);
        let inside = |w: &&PatchWindow| w.address >= entry.address && u64::from(w.address) < end;
        let windows: Vec<_> = release.manifest().patches.iter().filter(inside).collect();
        if windows.is_empty() {
            continue;
        }
        let values = windows.iter().map(|w| value(w, numbers)).collect::<Result<Vec<_>, _>>()?;
        let patches: Vec<_> =
            windows.iter().zip(&values).map(|(w, value)| Patch { window: &w.name, value }).collect();
        let patched = panel_release::patch(&image, &patches)
            .map_err(|e| Failure::new(Code::ReleaseTarget, e.to_string()))?;
        let facts = ImageFacts {
            name: entry.name.clone(),
            address: entry.address,
            length: entry.length,
            crc32: patched.patched_crc32,
            sha256: patched.patched_sha256.0,
        };
        own.push(OwnImage { facts, bytes: patched.bytes });
    }
    Ok(own)
}

fn value(window: &PatchWindow, numbers: &Numbers) -> Result<Vec<u8>, Failure> {
    let euis = |list: &[panel_ledger::Eui]| list.iter().flat_map(|eui| eui.octets().to_vec()).collect();
    match &window.value {
        Some(PatchValue::Serial) => {
            let serial = numbers.serial.as_deref().unwrap_or_default();
            fits(window, serial)?;
            let mut bytes = serial.as_bytes().to_vec();
            bytes.resize(window.length as usize, 0);
            Ok(bytes)
        }
        Some(PatchValue::Eui48) => Ok(euis(&numbers.eui48)),
        Some(PatchValue::Eui64) => Ok(euis(&numbers.eui64)),
        None => Err(wrong(window, "no unit gets what goes there")),
    }
}

/// The longest serial number of the order is its last: a counter only grows.
fn check_serials(window: &PatchWindow, order: &WorkOrder, now: Timestamp) -> Result<(), Failure> {
    for block in &order.serials {
        let format: Result<SerialFormat, _> = block.format.parse();
        let last = format.and_then(|format| format.render(block.last, now));
        let last = last.map_err(|e| Failure::new(Code::OrderFile, format!("order {}: {e}", order.id)))?;
        fits(window, &last)?;
    }
    Ok(())
}

fn fits(window: &PatchWindow, serial: &str) -> Result<(), Failure> {
    if serial.len() <= window.length as usize {
        return Ok(());
    }
    Err(wrong(window, &format!("serial number {serial:?} has {} characters", serial.len())))
}

fn wrong(window: &PatchWindow, why: &str) -> Failure {
    let PatchWindow { name, address, length, .. } = window;
    Failure::new(Code::ReleaseTarget, format!("patch {name:?} at {address:#010x}, {length} bytes: {why}"))
}
