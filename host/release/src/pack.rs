//! Packing: from image bytes to an unsigned package, with the checks only the maker can still correct.
//!
//! An image comes in as its regions of bytes, so that debug information, symbols and everything else
//! of an ELF file is left behind by construction. Bootloader and application must begin with a vector table
//! that fits the chip: that catches an image linked for another address or another part.

use panel_image::{Image, Region, VectorProblem, VectorTable};

use crate::{
    canonical,
    envelope::{Envelope, Kind, PAYLOAD_LIMIT},
    hash::{Sha256Hash, crc32},
    manifest::{ImageEntry, ImageRole, Manifest, MemoryKind},
    refusal::Refusal,
};

/// An image to pack.
#[derive(Debug, Clone, Copy)]
pub struct ImageInput<'a> {
    /// What it is for.
    pub role: ImageRole,
    /// Its name, a plain label.
    pub name: &'a str,
    /// Its bytes, as read from any firmware file.
    pub image: &'a Image,
}

/// Why images cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The manifest does not allow it: addresses, names, counts.
    #[error(transparent)]
    Manifest(#[from] Refusal),
    /// Bootloader or application does not begin with a vector table that fits the chip.
    #[error("image {name:?} for {targets}: {problem}")]
    VectorTable {
        /// The image's name.
        name: String,
        /// The chips it is packed for.
        targets: String,
        /// What is wrong.
        problem: VectorProblem,
    },
    /// The vector table is not where a Cortex-M can use it.
    #[error("vector table of image {name:?} at {address:#010x} is not aligned to 128 bytes")]
    VectorAlignment {
        /// The image's name.
        name: String,
        /// Where the table starts.
        address: u32,
    },
    /// A fault vector does not point into the image.
    #[error("{vector} vector {got:#010x} of image {name:?} is not a Thumb address inside the image")]
    Vector {
        /// The image's name.
        name: String,
        /// Which vector.
        vector: &'static str,
        /// The value found.
        got: u32,
    },
}

/// Makes an unsigned package. `manifest.images` is replaced by what `images` really are.
///
/// # Errors
/// [`PackError`]; nothing is left half-made.
pub fn pack(mut manifest: Manifest, images: &[ImageInput<'_>]) -> Result<Vec<u8>, PackError> {
    let mut entries = Vec::new();
    for input in images {
        entries.extend(input.image.regions().iter().map(|region| (entry(input, region), region.data())));
    }
    entries.sort_by_key(|(entry, _)| entry.address);
    manifest.images = entries.iter().map(|(entry, _)| entry.clone()).collect();
    manifest.check()?;
    for image in images.iter().filter(|image| image.role.has_vectors()) {
        check_vectors(image, &manifest)?;
    }
    let payload: Vec<u8> = entries.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    crate::envelope::check_limit("the payload", payload.len() as u64, PAYLOAD_LIMIT)?;
    let document = canonical::write(&manifest).map_err(Refusal::from)?;
    crate::envelope::check_limit("the document", document.len() as u64, crate::DOCUMENT_LIMIT as u64)?;
    let envelope =
        Envelope { kind: Kind::Release, document: &document, signatures: Vec::new(), payload: &payload };
    Ok(envelope.to_bytes())
}

fn entry(input: &ImageInput<'_>, region: &Region) -> ImageEntry {
    ImageEntry {
        role: input.role,
        name: input.name.to_owned(),
        address: region.address(),
        length: region.end() - region.address(),
        sha256: Sha256Hash::of(region.data()),
        crc32: crc32(region.data()),
    }
}

/// Armv7-M B1.5.3: stack pointer and reset vector are checked by the image crate, then NMI and HardFault,
/// which every program must have; a vector has bit 0 set (Thumb). The table is aligned to at least 128
/// bytes (B3.2.5).
fn check_vectors(input: &ImageInput<'_>, manifest: &Manifest) -> Result<(), PackError> {
    let name = || input.name.to_owned();
    let address = input.image.span().start;
    let ram: Vec<_> = manifest
        .memory
        .iter()
        .filter(|piece| piece.kind == MemoryKind::Ram)
        .map(|piece| piece.address..piece.address.saturating_add(piece.length))
        .collect();
    VectorTable::check(input.image, address, &ram).map_err(|problem| {
        let targets: Vec<_> = manifest.targets.iter().map(|target| target.name.as_str()).collect();
        PackError::VectorTable { name: name(), targets: targets.join(", "), problem }
    })?;
    if !address.is_multiple_of(128) {
        return Err(PackError::VectorAlignment { name: name(), address });
    }
    for (vector, at) in [("NMI", address + 8), ("HardFault", address + 12)] {
        let word = input.image.bytes(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        let got = word.map_or(0, u32::from_le_bytes);
        let code = got & !1;
        let inside = code.checked_add(2).is_some_and(|end| input.image.bytes(code..end).is_some());
        if got & 1 == 0 || !inside {
            return Err(PackError::Vector { name: name(), vector, got });
        }
    }
    Ok(())
}
