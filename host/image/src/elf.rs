//! ELF32 for little-endian Arm: the loadable segments at their physical addresses.
//!
//! Physical, because initialised variables run at a RAM address but are stored in flash. Segments without
//! data in the file (RAM that start-up code clears) are left out. (ELF: System V ABI, chapters 4 and 5.)

use object::LittleEndian;
use object::elf;
use object::read::elf::FileHeader;
use object::read::elf::ProgramHeader;
use object::read::elf::SectionHeader;

use crate::error::ElfProblem;
use crate::error::ImageError;
use crate::image::Builder;
use crate::image::Image;
use crate::origin::Place;

/// Reads an ELF file; `name` is what errors call the file.
pub(crate) fn parse(bytes: &[u8], name: &str) -> Result<Image, ImageError> {
    let mut builder = Builder::new(name, bytes)?;
    let fail = |problem| ImageError::Elf { file: name.into(), problem };
    let header = header(bytes).map_err(fail)?;
    let segments = header.program_headers(LittleEndian, bytes).map_err(|_| fail(ElfProblem::Headers))?;
    for (index, segment) in (0..).zip(segments) {
        if segment.p_type(LittleEndian) != elf::PT_LOAD || segment.p_filesz(LittleEndian) == 0 {
            continue;
        }
        let outside = |_| fail(ElfProblem::SegmentOutside { segment: index });
        let data = segment.data(LittleEndian, bytes).map_err(outside)?;
        let skip = if segment.p_offset(LittleEndian) == 0 {
            program_start(header, segment, bytes)
                .ok_or_else(|| fail(ElfProblem::HeadersLoaded { segment: index }))?
        } else {
            0
        };
        let address = segment.p_paddr(LittleEndian).saturating_add(skip);
        builder.push(address, data.get(skip as usize..).unwrap_or_default(), Place::Segment(index))?;
    }
    builder.finish()
}

/// Bytes of debug information in an ELF file: its sections called `.debug_*` or `.stab*`. They are in no
/// [`Image`], since nothing loads them; 0 for a file that is no ELF or has none.
#[must_use]
pub fn debug_bytes(bytes: &[u8]) -> u64 {
    let Ok(header) = header(bytes) else { return 0 };
    let Ok(sections) = header.sections(LittleEndian, bytes) else { return 0 };
    let is_debug = |name: &[u8]| [&b".debug_"[..], b".zdebug_", b".stab"].iter().any(|p| name.starts_with(p));
    let sizes = sections.iter().filter_map(|section| {
        let name = sections.section_name(LittleEndian, section).ok()?;
        is_debug(name).then(|| u64::from(section.sh_size(LittleEndian)))
    });
    sizes.sum()
}

/// Whether the file has ELF's magic number.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(&elf::ELFMAG)
}

/// The file header, if it is one of a linked program for a 32-bit little-endian Arm.
fn header(bytes: &[u8]) -> Result<&elf::FileHeader32<LittleEndian>, ElfProblem> {
    if !looks_like(bytes) {
        return Err(ElfProblem::NotElf);
    }
    let class = bytes.get(4..6).map(|ident| (elf::FileClass(ident[0]), elf::DataEncoding(ident[1])));
    match class {
        Some((elf::ELFCLASS32, elf::ELFDATA2LSB)) => {}
        Some((elf::ELFCLASS64, _)) => return Err(ElfProblem::Not32Bit),
        Some((elf::ELFCLASS32, _)) => return Err(ElfProblem::NotLittleEndian),
        _ => return Err(ElfProblem::Headers),
    }
    let header = elf::FileHeader32::<LittleEndian>::parse(bytes).map_err(|_| ElfProblem::Headers)?;
    let machine = header.e_machine(LittleEndian);
    if machine != elf::EM_ARM {
        return Err(ElfProblem::NotArm { got: machine.0 });
    }
    let kind = header.e_type(LittleEndian);
    if kind != elf::ET_EXEC {
        return Err(ElfProblem::NotExecutable { got: kind.0 });
    }
    Ok(header)
}

/// Where the program begins in a segment that starts at the beginning of the file.
///
/// GNU ld puts the file's headers into the first segment when the link address is not a multiple of its page
/// size (64 KiB), 0x0800_5000 for instance. Loaded as they stand, they would overwrite whatever lies below
/// the program, usually the bootloader. The first section with data in the segment is where it begins.
fn program_start(
    header: &elf::FileHeader32<LittleEndian>,
    segment: &elf::ProgramHeader32<LittleEndian>,
    bytes: &[u8],
) -> Option<u32> {
    let sections = header.section_headers(LittleEndian, bytes).ok()?;
    sections
        .iter()
        .filter(|s| {
            s.sh_flags(LittleEndian).contains(elf::SHF_ALLOC) && s.sh_type(LittleEndian) != elf::SHT_NOBITS
        })
        .map(|s| s.sh_offset(LittleEndian))
        .filter(|&offset| offset != 0 && offset < segment.p_filesz(LittleEndian))
        .min()
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
