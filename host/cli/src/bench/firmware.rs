//! What the bench sends: the real firmware images of `tests/data/firmware`, carried in the program.

use core::fmt;

use panel_engine::chip::{CHIPS, Chip};
use panel_image::{Image, ImageError};

use super::matrix::Family;

macro_rules! firmware {
    ($name:literal) => {
        (concat!($name, ".bin"), include_bytes!(concat!("../../../../tests/data/firmware/", $name, ".bin")))
    };
}

/// A name and bytes.
pub(super) type Part = (&'static str, &'static [u8]);

const DEMO_256K: Part = firmware!("demo-f405-256k");
const F405_64K: Part = firmware!("bench-64k");
const G474_64K: Part = firmware!("small-g474-64k");
const F103_64K: Part = firmware!("small-f103-64k");
/// Seven programs side by side; the first three are linked for where they then lie.
const PARTS_1M: [Part; 7] = [
    DEMO_256K,
    firmware!("bench-1m-1"),
    firmware!("bench-1m-2"),
    F405_64K,
    firmware!("small-g431-64k"),
    G474_64K,
    F103_64K,
];

/// The RAM agent that is kept for a family's chips.
pub(super) const fn agent(family: Family) -> Part {
    macro_rules! kept {
        ($name:literal) => {
            ($name, include_bytes!(concat!("../../../../panel-backplane/agents/", $name, ".bin")))
        };
    }
    match family {
        Family::F4 => kept!("f405"),
        Family::G4 => kept!("g474"),
        Family::F1 => kept!("f103"),
        Family::G0 => kept!("g0b1"),
    }
}

/// Where the larger images are linked to.
const LINKED: u32 = 0x0802_0000;
/// Where the 64 KiB images for G4 and F1 are linked to.
const LINKED_SMALL: u32 = 0x0800_8000;

/// Size of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageSize {
    K64,
    K256,
    M1,
}

impl ImageSize {
    pub(super) const ALL: [Self; 3] = [Self::K64, Self::K256, Self::M1];

    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::K64 => 64 << 10,
            Self::K256 => 256 << 10,
            Self::M1 => 1 << 20,
        }
    }

    /// `256K`, `256KiB` or `262144`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches("ib").trim_end_matches(['k', 'm']);
        let unit = match lower.strip_prefix(digits) {
            Some("") => 1,
            Some("k" | "kib") => 1 << 10,
            Some("m" | "mib") => 1 << 20,
            _ => 0,
        };
        let bytes = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
        let found = Self::ALL.into_iter().find(|size| Some(size.bytes()) == bytes);
        found.ok_or_else(|| "there are images of 64K, 256K and 1M".to_owned())
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::K64 => "64 KiB",
            Self::K256 => "256 KiB",
            Self::M1 => "1 MiB",
        })
    }
}

/// The address of an image on a family, and its parts.
fn parts(family: Family, size: ImageSize) -> (u32, &'static [Part]) {
    match (size, family) {
        (ImageSize::K64, Family::F4) => (LINKED, &[F405_64K]),
        (ImageSize::K64, Family::G4) => (LINKED_SMALL, &[G474_64K]),
        // No program for a G0 is among the test data; to flash and bus a program for a G4 is the same.
        (ImageSize::K64, Family::G0) => (LINKED, &[G474_64K]),
        (ImageSize::K64, Family::F1) => (LINKED_SMALL, &[F103_64K]),
        (ImageSize::K256, _) => (LINKED, &[DEMO_256K]),
        (ImageSize::M1, _) => (LINKED, &PARTS_1M),
    }
}

/// The first chip of the family that has room for the image; the bench's G4 is the one with 512 KiB.
pub(super) fn chip_for(family: Family, size: ImageSize) -> Option<&'static Chip> {
    let end = parts(family, size).0 + size.bytes() as u32;
    let mut chips = CHIPS.iter().filter(|c| c.family == family.name() && c.name != "STM32G431");
    chips.find(|c| end <= c.flash_end())
}

/// The image for a family, and its name.
pub(super) fn image(family: Family, size: ImageSize) -> Result<(Image, &'static str), ImageError> {
    let (mut address, parts) = parts(family, size);
    let mut images = Vec::new();
    for &(name, bytes) in parts {
        images.push(panel_image::parse(bytes, name, Some(address))?);
        address += bytes.len() as u32;
    }
    Ok((Image::merge(&images)?, parts[0].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_understood_in_every_usual_spelling() {
        for text in ["256K", "256k", "256KiB", "262144"] {
            assert_eq!(ImageSize::parse(text), Ok(ImageSize::K256), "{text}");
        }
        for text in ["1M", "1MiB", "1024K", "1048576"] {
            assert_eq!(ImageSize::parse(text), Ok(ImageSize::M1), "{text}");
        }
        for text in ["", "K", "0", "65K", "64KB", "-64K", "64 K", "99999999999999999999M", "1ibib"] {
            assert!(ImageSize::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_image_has_its_size_and_lies_where_its_chip_has_room() {
        for family in [Family::F4, Family::G4, Family::F1, Family::G0] {
            for size in ImageSize::ALL {
                let (image, _) = image(family, size).unwrap();
                assert_eq!(image.len(), size.bytes());
                let fits = chip_for(family, size);
                assert_eq!(fits.is_some(), size != ImageSize::M1 || family == Family::F4);
                let first = image.regions()[0].address();
                assert!(fits.is_none_or(|c| first >= c.flash.app_base));
            }
        }
    }
}
