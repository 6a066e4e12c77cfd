//! Patching a unit's values into an image in place, with the patch inside the recorded hash.
//!
//! Only windows the signed manifest declares may be patched. The result carries both hashes: of the image
//! as signed and of the image as written, so that a unit's record says exactly what is in its flash.

use crate::{
    hash::{Sha256Hash, crc32},
    refusal::Refusal,
    verify::VerifiedImage,
};

/// A value for one declared window.
#[derive(Debug, Clone, Copy)]
pub struct Patch<'a> {
    /// The window's name.
    pub window: &'a str,
    /// The value; exactly as long as the window.
    pub value: &'a [u8],
}

/// An image with its unit's values in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchedImage {
    /// Where it is written.
    pub address: u32,
    /// The bytes to write.
    pub bytes: Vec<u8>,
    /// SHA-256 of the image as signed.
    pub signed_sha256: Sha256Hash,
    /// SHA-256 of the image as written.
    pub patched_sha256: Sha256Hash,
    /// CRC-32/ISO-HDLC of the image as written.
    pub patched_crc32: u32,
    /// Names of the windows patched, in order.
    pub windows: Vec<String>,
}

/// Why an image cannot be patched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The signed manifest declares no such window in this image.
    #[error("image {image:?} declares no patch window {window:?}")]
    NoWindow {
        /// The image.
        image: String,
        /// The window asked for.
        window: String,
    },
    /// The value is shorter or longer than the window.
    #[error("value for patch window {window:?} has {got} bytes, expected {expected}")]
    Length {
        /// The window.
        window: String,
        /// Bytes of the window.
        expected: usize,
        /// Bytes of the value.
        got: usize,
    },
    /// One window is patched twice.
    #[error("patch window {window:?} is given twice")]
    Twice {
        /// The window.
        window: String,
    },
    /// The image is no longer the one that was verified.
    #[error(transparent)]
    Image(#[from] Refusal),
}

/// The image with `patches` applied.
///
/// # Errors
/// [`PatchError`]; nothing is patched in part.
pub fn patch(image: &VerifiedImage<'_>, patches: &[Patch<'_>]) -> Result<PatchedImage, PatchError> {
    let entry = image.entry();
    let mut bytes = image.checked_bytes()?.to_vec();
    let mut windows: Vec<String> = Vec::new();
    for Patch { window: name, value } in patches {
        let inside = |address: u32, length: u32| {
            address >= entry.address
                && u64::from(address) + u64::from(length)
                    <= u64::from(entry.address) + u64::from(entry.length)
        };
        let declared = image.windows().iter().find(|window| window.name == *name);
        let window = declared
            .filter(|window| inside(window.address, window.length))
            .ok_or_else(|| PatchError::NoWindow { image: entry.name.clone(), window: (*name).to_owned() })?;
        if value.len() != window.length as usize {
            return Err(PatchError::Length {
                window: window.name.clone(),
                expected: window.length as usize,
                got: value.len(),
            });
        }
        if windows.contains(&window.name) {
            return Err(PatchError::Twice { window: window.name.clone() });
        }
        let at = (window.address - entry.address) as usize;
        bytes[at..at + value.len()].copy_from_slice(value);
        windows.push(window.name.clone());
    }
    Ok(PatchedImage {
        address: entry.address,
        signed_sha256: entry.sha256,
        patched_sha256: Sha256Hash::of(&bytes),
        patched_crc32: crc32(&bytes),
        bytes,
        windows,
    })
}
