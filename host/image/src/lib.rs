//! Firmware image files as one sparse memory image.
//!
//! [`parse`] turns the bytes of a raw binary, Intel HEX, Motorola S-record or ELF file into an [`Image`]:
//! sorted blocks of bytes at absolute addresses, each byte knowing the file and line it came from.
//! [`Image::merge`] puts several files into one; [`Image::check_fits`] and [`VectorTable::check`] hold it
//! against a chip; [`intel_hex::write`], [`srec::write`] and [`Image::to_bin`] give it back as a file.
//!
//! ```
//! use panel_image::{Image, parse};
//!
//! let boot = parse(b":020000040800F2\n:0100000001FE\n:00000001FF\n", "boot.hex", None)?;
//! let app = parse(&[0x00, 0x00, 0x02, 0x20], "app.bin", Some(0x0802_0000))?;
//! let image = Image::merge(&[boot, app])?;
//! let flash = 0x0800_0000..0x0810_0000;
//! image.check_fits(&[flash])?;
//! assert_eq!(image.regions().len(), 2);
//! # Ok::<(), panel_image::ImageError>(())
//! ```
//!
//! What the crate deliberately does not do: it opens no file (callers pass the bytes and a display name),
//! knows no chip (callers pass address ranges), and decides nothing about pages or sectors.
//!
//! Every function takes any bytes without a panic and with bounded memory: an image holds at most
//! [`MAX_DATA`] bytes, a file at most [`MAX_FILE`].

mod blank;
mod elf;
mod error;
mod format;
mod image;
pub mod intel_hex;
mod origin;
pub mod srec;
mod text;
mod vectors;

pub use elf::debug_bytes;
pub use error::ElfProblem;
pub use error::ImageError;
pub use error::SyntaxProblem;
pub use format::Format;
pub use format::parse;
pub use image::Image;
pub use image::Region;
pub use image::crc32;
pub use image::sha256;
pub use origin::Origin;
pub use origin::Place;
pub use vectors::VectorProblem;
pub use vectors::VectorTable;

/// The most data an image may hold, in bytes: far above any STM32's flash, far below a station's memory.
pub const MAX_DATA: usize = 64 << 20;

/// The longest file that is looked at, in bytes: [`MAX_DATA`] as Intel HEX with 16 bytes a line, and a bit.
pub const MAX_FILE: usize = 192 << 20;

/// The value of an erased flash byte on every STM32 this project programs.
pub const BLANK: u8 = 0xFF;
