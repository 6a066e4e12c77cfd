//! Which format a file is in, and the one function that reads them all.
//!
//! The content decides; the extension only says what a file was meant to be when its content does not show
//! it, so that a damaged `app.hex` is reported as a broken HEX file and never flashed as a raw binary.

use std::fmt;

use crate::elf;
use crate::error::ImageError;
use crate::image::Image;
use crate::intel_hex;
use crate::srec;

/// A format of image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Raw bytes, for an address given apart.
    Bin,
    /// Intel HEX.
    IntelHex,
    /// Motorola S-records.
    Srec,
    /// ELF, 32 bits, Arm.
    Elf,
}

impl Format {
    /// The format of `bytes`; `name` is consulted for its extension only.
    #[must_use]
    pub fn detect(bytes: &[u8], name: &str) -> Self {
        if elf::looks_like(bytes) {
            Self::Elf
        } else if intel_hex::looks_like(bytes) {
            Self::IntelHex
        } else if srec::looks_like(bytes) {
            Self::Srec
        } else {
            Self::meant(name)
        }
    }

    /// The format that the extension of a file name stands for; [`Format::Bin`] if it is none of the known.
    fn meant(name: &str) -> Self {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("hex" | "ihex" | "ihx") => Self::IntelHex,
            Some("srec" | "s19" | "s28" | "s37" | "mot" | "mhx") => Self::Srec,
            Some("elf" | "axf") => Self::Elf,
            _ => Self::Bin,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bin => "a raw binary",
            Self::IntelHex => "Intel HEX",
            Self::Srec => "S-record",
            Self::Elf => "ELF",
        })
    }
}

/// Reads an image file of any format. `name` is what errors call the file; `address` is where a raw binary
/// belongs and must be `None` for the other formats, which have their own addresses.
///
/// # Errors
/// [`ImageError::AddressMissing`], [`ImageError::AddressUnwanted`], and those of the format.
pub fn parse(bytes: &[u8], name: &str, address: Option<u32>) -> Result<Image, ImageError> {
    let format = Format::detect(bytes, name);
    match (format, address) {
        (Format::Bin, Some(address)) => Image::from_bin(bytes, name, address),
        (Format::Bin, None) => Err(ImageError::AddressMissing { file: name.into() }),
        (_, Some(address)) => Err(ImageError::AddressUnwanted { file: name.into(), format, address }),
        (Format::IntelHex, None) => intel_hex::parse(bytes, name),
        (Format::Srec, None) => srec::parse(bytes, name),
        (Format::Elf, None) => elf::parse(bytes, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &[u8] = b":0100000001FE\n:00000001FF\n";
    const SREC: &[u8] = b"S104000001FA\nS9030000FC\n";

    #[test]
    fn content_decides_against_the_extension() {
        assert_eq!(Format::detect(HEX, "a.bin"), Format::IntelHex);
        assert_eq!(Format::detect(SREC, "a.hex"), Format::Srec);
        assert_eq!(Format::detect(b"\x7FELF", "a.bin"), Format::Elf);
        assert_eq!(Format::detect(&[0, 0, 2, 0x20], "firmware"), Format::Bin);
    }

    #[test]
    fn a_damaged_text_file_is_still_what_its_extension_says() {
        assert_eq!(Format::detect(b"<html>", "app.HEX"), Format::IntelHex);
        assert_eq!(Format::detect(b"", "app.s19"), Format::Srec);
        assert_eq!(Format::detect(b"\x7FEL", "app.elf"), Format::Elf);
        assert!(matches!(
            parse(b"<html>", "app.hex", None),
            Err(ImageError::Syntax { line: 1, column: 1, .. })
        ));
    }

    #[test]
    fn a_raw_binary_needs_an_address_and_the_others_refuse_one() {
        assert!(matches!(parse(&[1], "a.bin", None), Err(ImageError::AddressMissing { .. })));
        assert_eq!(parse(&[1], "a.bin", Some(8)).unwrap().span(), 8..9);
        assert_eq!(
            parse(HEX, "a.hex", Some(0x0800_0000)).unwrap_err().to_string(),
            "a.hex is Intel HEX, which has its own addresses: it cannot be loaded at 0x08000000"
        );
        assert_eq!(parse(HEX, "a.hex", None).unwrap(), parse(SREC, "a.s19", None).unwrap());
    }
}
