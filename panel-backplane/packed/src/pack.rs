//! The packer: a front and a program, both ELF files, become one image that is loaded as it is.
//!
//! Invariant: what [`pack`] returns was unpacked again and found equal. Called by `pack-firmware`.

use crate::{checksum, coder, front, header, parse, restore};
use object::elf::{EM_ARM, ET_EXEC, PT_LOAD};
use object::read::elf::{ElfFile32, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol};
use std::string::String;
use std::vec::Vec;

/// What cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// No 32-bit ELF file.
    #[error("{what}: {source}")]
    Format {
        /// Front or program.
        what: &'static str,
        /// What is wrong.
        source: object::Error,
    },
    /// The file is not linked as it has to be.
    #[error("{what}: {why}")]
    Linked {
        /// Front or program.
        what: &'static str,
        /// What is missing.
        why: String,
    },
    /// More bytes than there is room for.
    #[error("{bytes} bytes packed, room for {room} at {load:#010x}")]
    TooLarge {
        /// Of the image.
        bytes: usize,
        /// There.
        room: usize,
        /// Where it is loaded.
        load: u32,
    },
    /// The unpacker does not give the program back.
    #[error("unpacked again it is another program")]
    Unpacked,
}

/// A packed program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is loaded.
    pub load: u32,
    /// What is loaded.
    pub bytes: Vec<u8>,
    /// Bytes of the program that comes out of it.
    pub unpacked: usize,
    /// Bytes of the front behind it.
    pub front: usize,
}

/// A program as it was linked: its bytes and their address, where the packed image is to be loaded and how large it may be,
/// and where it ends when it has moved to unpack.
struct Program {
    bytes: Vec<u8>,
    start: u32,
    load: u32,
    room: usize,
    end: u32,
}

/// A front as it was linked: at 0.
struct Front {
    bytes: Vec<u8>,
    stack: u32,
    reset: u32,
    trap: u32,
    /// Weights at which windows begin.
    span: u32,
}

/// Packs `program` before `front`, both ELF files.
///
/// # Errors
/// [`PackError`]: a file is not what it should be, or the result has no room.
pub fn pack(front: &[u8], program: &[u8]) -> Result<Image, PackError> {
    let (front, program) = (Front::read(front)?, Program::read(program)?);
    let (packed, margin) = compressed(&program.bytes, front.span)?;
    let mut bytes = std::vec![0; 4 * header::WORDS];
    bytes.extend_from_slice(&packed);
    let packed_end = bytes.len() as u32;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let before = bytes.len() as u32;
    bytes.extend_from_slice(&front.bytes);
    let size = bytes.len() as u32;
    let home = program.end - size;
    let vectors = [front.stack, program.load + before + front.reset, program.load + before + front.trap];
    set(&mut bytes, 0, &[vectors[0], vectors[1], vectors[2], vectors[2]]);
    let mut words = [0; front::WORDS];
    words[front::BEFORE] = before;
    words[front::BYTES] = size;
    words[front::HOME] = home;
    words[front::UNPACKED] = program.bytes.len() as u32;
    words[front::CHECKSUM] = checksum(&program.bytes);
    set(&mut bytes, before as usize / 4, &words);

    let unpacked_end = program.start + program.bytes.len() as u32;
    // What comes out must not catch up with what is still packed, nor reach the front; and the front, which moves first, must
    // not come to lie upon itself.
    let overtakes = i64::from(home + packed_end) - i64::from(unpacked_end) < margin;
    let onto_itself = (program.load..program.load + (size - before)).contains(&home);
    if bytes.len() > program.room || overtakes || unpacked_end > home + before || onto_itself {
        return Err(PackError::TooLarge { bytes: bytes.len(), room: program.room, load: program.load });
    }
    Ok(Image { load: program.load, unpacked: program.bytes.len(), front: front.bytes.len(), bytes })
}

impl Image {
    /// As an ELF file of one segment.
    #[must_use]
    pub fn elf(&self) -> Vec<u8> {
        const HEADERS: u32 = 52 + 32;
        let entry = self.bytes.get(4..8).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let halves = |values: &[u16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let words = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let size = self.bytes.len() as u32;
        // ELF32, little-endian, version 1; EABI version 5.
        let mut file = std::vec![0x7F, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(halves(&[ET_EXEC.0, EM_ARM.0]));
        file.extend(words(&[1, entry, 52, 0, 0x0500_0000]));
        file.extend(halves(&[52, 32, 1, 40, 0, 0]));
        // Readable and executable.
        file.extend(words(&[PT_LOAD.0, HEADERS, self.load, self.load, size, size, 5, 4]));
        file.extend_from_slice(&self.bytes);
        file
    }
}

impl Program {
    fn read(elf: &[u8]) -> Result<Self, PackError> {
        let file = loaded(elf, "program")?;
        let symbol = |name| file.symbol(name);
        let start = symbol("_program_start")?;
        let (load, limit, end) = (symbol("_packed_load")?, symbol("_packed_limit")?, symbol("_packed_end")?);
        Ok(Self { bytes: file.bytes, start, load, room: limit as usize, end })
    }
}

impl Front {
    fn read(elf: &[u8]) -> Result<Self, PackError> {
        let file = loaded(elf, "front")?;
        let symbol = |name| file.symbol(name);
        let (stack, span) = (symbol("_front_stack")?, symbol("_front_span")?);
        let (reset, trap) = (symbol("front_start")?, symbol("front_trap")?);
        Ok(Self { bytes: file.bytes, stack, reset, trap, span })
    }
}

/// An ELF file's bytes in memory, and names with their addresses.
struct Loaded {
    what: &'static str,
    bytes: Vec<u8>,
    symbols: Vec<(String, u32)>,
}

impl Loaded {
    fn symbol(&self, name: &str) -> Result<u32, PackError> {
        let found = self.symbols.iter().find(|s| s.0 == name).map(|s| s.1);
        found.ok_or_else(|| PackError::Linked { what: self.what, why: std::format!("no symbol {name}") })
    }
}

/// The bytes of the only segment with bytes, and the symbols.
fn loaded(elf: &[u8], what: &'static str) -> Result<Loaded, PackError> {
    let format = |source| PackError::Format { what, source };
    let file = ElfFile32::<Endianness>::parse(elf).map_err(format)?;
    let endian = file.endian();
    let mut parts = Vec::new();
    for part in file.elf_header().program_headers(endian, elf).map_err(format)? {
        let data = part.data(endian, elf).unwrap_or_default();
        if part.p_type(endian) == PT_LOAD && !data.is_empty() {
            parts.push(data.to_vec());
        }
    }
    let count = parts.len();
    let (Some(bytes), 1) = (parts.pop(), count) else {
        return Err(PackError::Linked {
            what,
            why: std::format!("{count} segments with bytes instead of one"),
        });
    };
    if bytes.len() % 4 != 0 {
        let why = std::format!("{} bytes, no multiple of 4", bytes.len());
        return Err(PackError::Linked { what, why });
    }
    let symbols = file.symbols().filter_map(|s| Some((s.name().ok()?.into(), s.address() as u32)));
    Ok(Loaded { what, bytes, symbols: symbols.collect() })
}

/// What [`restore`] makes the program of.
fn prepared(program: &[u16]) -> Vec<u16> {
    let mut halves = program.to_vec();
    for second in 1..halves.len() {
        let (first, now) = (halves[second - 1], halves[second]);
        if crate::call(first, now) {
            let distance = u32::from(first & 0x7FF) << 11 | u32::from(now & 0x7FF);
            let target = distance + second as u32 + 1;
            halves[second - 1] = 0xF000 | (target >> 11 & 0x7FF) as u16;
            halves[second] = 0xF800 | (target & 0x7FF) as u16;
        }
    }
    halves
}

/// The program packed, and unpacked again to be sure; and how far what is packed has to end behind the program for both to
/// share their memory.
fn compressed(program: &[u8], span: u32) -> Result<(Vec<u8>, i64), PackError> {
    let halves = program.as_chunks::<2>().0.iter().map(|&b| u16::from_le_bytes(b));
    let halves: Vec<u16> = halves.collect();
    let prepared = prepared(&halves);
    let packed = coder::encode(&prepared, &parse::parse(&prepared, span), span);
    let mut out = coder::decode(&packed, halves.len(), span).ok_or(PackError::Unpacked)?;
    restore(&mut out.program);
    if out.program == halves && out.taken == packed.len() {
        Ok((packed, out.margin))
    } else {
        Err(PackError::Unpacked)
    }
}

/// Writes words of the image, from this one on.
fn set(bytes: &mut [u8], first: usize, words: &[u32]) {
    for (place, word) in bytes.chunks_exact_mut(4).skip(first).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Thumb as it is: calls, repeated instructions, constants.
    fn code() -> impl Strategy<Value = Vec<u8>> {
        let call = (0_u16..0x800, 0_u16..0x800).prop_map(|(a, b)| [0xF000 | a, 0xF800 | b].to_vec());
        let other = prop::collection::vec(any::<u16>(), 1..6);
        let some = prop::sample::select(std::vec![0x4770_u16, 0xB510, 0xBD10, 0x2000, 0xF000, 0xF800]);
        let piece = prop_oneof![call, other, prop::collection::vec(some, 1..9)];
        prop::collection::vec(piece, 1..100).prop_map(|pieces| {
            let mut bytes: Vec<u8> = pieces.concat().into_iter().flat_map(u16::to_le_bytes).collect();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_was_packed_comes_out_again(program in code()) {
            prop_assert!(compressed(&program, 3000).is_ok());
        }

        #[test]
        fn a_wrong_bit_changes_the_checksum(mut program in code(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            prop_assume!(!program.is_empty());
            let right = checksum(&program);
            let at = at.index(program.len());
            program[at] ^= 1 << bit;
            prop_assert_ne!(checksum(&program), right);
        }
    }

    #[test]
    fn the_elf_file_holds_the_image_at_its_address() {
        let image = Image { load: 0x2000_3000, bytes: (0..40).collect(), unpacked: 60, front: 36 };
        assert_eq!(loaded(&image.elf(), "image").unwrap().bytes, image.bytes);
        let file = image.elf();
        let parsed = ElfFile32::<Endianness>::parse(&*file).unwrap();
        assert_eq!(
            parsed.elf_header().program_headers(parsed.endian(), &*file).unwrap()[0].p_paddr(parsed.endian()),
            0x2000_3000
        );
    }
}
