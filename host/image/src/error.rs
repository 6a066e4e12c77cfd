//! What can be wrong with an image file, one variant per different reaction.
//!
//! The texts name the file and the place in it; the variants are what the command line maps to its codes.

use std::ops::Range;
use std::sync::Arc;

use crate::format::Format;
use crate::origin::Origin;

/// Why a file or a set of files is no usable image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A text format (Intel HEX, S-record) is broken. Line and column count from 1.
    #[error("{file} line {line} column {column}: {problem}")]
    Syntax {
        /// The file.
        file: Arc<str>,
        /// The line, from 1.
        line: u32,
        /// The column in bytes, from 1.
        column: u32,
        /// What is wrong there.
        problem: SyntaxProblem,
    },
    /// An ELF file is broken or is not for these chips.
    #[error("{file}: {problem}")]
    Elf {
        /// The file.
        file: Arc<str>,
        /// What is wrong with it.
        problem: ElfProblem,
    },
    /// The file is well-formed but has no data in it.
    #[error("{file} contains no data")]
    Empty {
        /// The file.
        file: Arc<str>,
    },
    /// A raw binary came without the address it belongs at.
    #[error("{file} is not Intel HEX, S-record or ELF, and a raw binary needs a load address")]
    AddressMissing {
        /// The file.
        file: Arc<str>,
    },
    /// An address came with a file whose format has its own.
    #[error("{file} is {format}, which has its own addresses: it cannot be loaded at {address:#010x}")]
    AddressUnwanted {
        /// The file.
        file: Arc<str>,
        /// What the file's content is.
        format: Format,
        /// The address that was given.
        address: u32,
    },
    /// More than [`MAX_DATA`](crate::MAX_DATA) bytes of data, or a file above
    /// [`MAX_FILE`](crate::MAX_FILE).
    #[error("{file} is too large: the limit is {limit} bytes")]
    TooLarge {
        /// The file with which the limit was passed.
        file: Arc<str>,
        /// The limit in bytes.
        limit: usize,
    },
    /// Data that would reach the end of the 32-bit address space.
    #[error("{origin}: {length} bytes at {address:#010x} run past the end of the address space")]
    PastAddressSpace {
        /// Where the data stand.
        origin: Origin,
        /// The first byte's address.
        address: u32,
        /// The length in bytes.
        length: usize,
    },
    /// Two places supply the same byte, even if with the same value.
    #[error("{second} supplies data for {address:#010x}, and so does {first}")]
    Overlap {
        /// The first address that both supply.
        address: u32,
        /// The source of the block that begins lower.
        first: Origin,
        /// The source of the block that runs into it.
        second: Origin,
    },
    /// Data for an address that is not in the chip's flash.
    #[error("{origin}: data at {address:#010x} is outside the flash, {}", ranges(flash))]
    OutsideFlash {
        /// The first such address.
        address: u32,
        /// Where that byte stands.
        origin: Origin,
        /// The flash it was held against.
        flash: Vec<Range<u32>>,
    },
    /// Filling the gaps would make an image of more than [`MAX_DATA`](crate::MAX_DATA) bytes.
    #[error("filling the gaps between {start:#010x} and {end:#010x} needs more than {limit} bytes")]
    TooSparse {
        /// The first address.
        start: u32,
        /// The address after the last.
        end: u32,
        /// The limit in bytes.
        limit: usize,
    },
}

/// What is wrong at a place of a text format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxProblem {
    /// The line does not begin as a record.
    #[error("a record begins with `{expected}`, not with {}", shown(*got))]
    NoRecord {
        /// The mark of a record in this format.
        expected: char,
        /// The byte found.
        got: u8,
    },
    /// A character that is no hexadecimal digit.
    #[error("{} is not a hexadecimal digit", shown(*got))]
    NotHex {
        /// The byte found.
        got: u8,
    },
    /// An odd number of digits.
    #[error("the line ends in the middle of a byte")]
    HalfByte,
    /// The record is shorter or longer than its length field says, or than any record can be.
    #[error("the record should have {expected} bytes, and has {got}")]
    Length {
        /// Bytes expected, all fields counted.
        expected: usize,
        /// Bytes found, all fields counted.
        got: usize,
    },
    /// The checksum is wrong.
    #[error("checksum {got:#04x} should be {expected:#04x}")]
    Checksum {
        /// The checksum of the record's bytes.
        expected: u8,
        /// The checksum in the file.
        got: u8,
    },
    /// A record type that the format does not have.
    #[error("there is no record type {got}")]
    RecordType {
        /// The type in the file; for S-records the digit after the `S`.
        got: u8,
    },
    /// A record that runs over the end of its 64 KiB segment: readers differ on where the rest goes.
    #[error("{length} bytes at offset {offset:#06x} run over the end of their 64 KiB segment")]
    SegmentWrap {
        /// The record's offset in the segment.
        offset: u16,
        /// Its length in bytes.
        length: usize,
    },
    /// A record count (S5, S6) that differs from the number of data records before it.
    #[error("the file counts {got} data records, and there are {expected}")]
    Count {
        /// Data records read so far.
        expected: u32,
        /// The count in the file.
        got: u32,
    },
    /// The file ended without its end record.
    #[error("the file ends without an end record, so it may be cut short")]
    NoEnd,
    /// Something follows the end record.
    #[error("there is more after the end record")]
    AfterEnd,
}

/// What is wrong with an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfProblem {
    /// No ELF magic number at the start.
    #[error("not an ELF file")]
    NotElf,
    /// ELFCLASS64.
    #[error("a 64-bit ELF file, and these chips are 32-bit")]
    Not32Bit,
    /// ELFDATA2MSB, or an unknown byte order.
    #[error("a big-endian ELF file, and these chips are little-endian")]
    NotLittleEndian,
    /// The machine is not EM_ARM (40).
    #[error("an ELF file for machine {got}, not for Arm (40)")]
    NotArm {
        /// e_machine.
        got: u16,
    },
    /// Not a linked program (ET_EXEC): an object file or a shared library.
    #[error("not a linked program (ELF type {got}, expected 2)")]
    NotExecutable {
        /// e_type.
        got: u16,
    },
    /// The file header or the table of segments is cut off or inconsistent.
    #[error("the ELF headers are cut short or inconsistent")]
    Headers,
    /// A segment's data lie outside the file.
    #[error("segment {segment} lies outside the file, which may be cut short")]
    SegmentOutside {
        /// Index of the program header.
        segment: u16,
    },
    /// The linker put the file's own headers into a loaded segment, and without a table of sections it
    /// cannot be told where the program begins.
    #[error(
        "segment {segment} contains the ELF headers, and there are no sections to tell the program apart"
    )]
    HeadersLoaded {
        /// Index of the program header.
        segment: u16,
    },
}

fn ranges(flash: &[Range<u32>]) -> String {
    let list: Vec<_> = flash.iter().map(|r| format!("{:#010x}..{:#010x}", r.start, r.end)).collect();
    if list.is_empty() { "of which there is none".to_owned() } else { list.join(", ") }
}

fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("`{}`", char::from(byte)) } else { format!("byte {byte:#04x}") }
}
