//! Tests of the ELF reader on files built byte by byte from the System V ABI, not with the `object` crate.

use super::*;

/// An ELF file with the given program headers: (type, file offset, physical address, file size). Its data
/// are the bytes 0, 1, 2 ... from offset 0x100 on. A section list adds a section table of (flags, offset).
fn file(segments: &[(u32, u32, u32, u32)], sections: &[(u32, u32)]) -> Vec<u8> {
    let mut out = vec![0; 0x100];
    out[..7].copy_from_slice(&[0x7F, b'E', b'L', b'F', 1, 1, 1]);
    let mut half = |at: usize, value: u16| out[at..at + 2].copy_from_slice(&value.to_le_bytes());
    half(0x10, 2); // e_type: ET_EXEC
    half(0x12, 40); // e_machine: EM_ARM
    half(0x14, 1); // e_version
    half(0x1C, 0x34); // e_phoff
    half(0x28, 0x34); // e_ehsize
    half(0x2A, 0x20); // e_phentsize
    half(0x2C, segments.len() as u16); // e_phnum
    half(0x2E, 0x28); // e_shentsize
    if !sections.is_empty() {
        half(0x20, 0x200); // e_shoff
        half(0x30, sections.len() as u16); // e_shnum
    }
    for (i, &(kind, offset, physical, size)) in segments.iter().enumerate() {
        let fields = [kind, offset, 0x2000_0000, physical, size, size, 5, 4];
        let bytes: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
        out[0x34 + i * 0x20..][..0x20].copy_from_slice(&bytes);
    }
    out.extend(0..=255);
    for &(flags, offset) in sections {
        let fields = [0, 1, flags, 0, offset, 4, 0, 0, 4, 0];
        out.extend(fields.iter().flat_map(|f| f.to_le_bytes()));
    }
    out
}

fn problem(bytes: &[u8]) -> ElfProblem {
    match parse(bytes, "t.elf") {
        Err(ImageError::Elf { problem, .. }) => problem,
        other => panic!("expected an ELF problem, got {other:?}"),
    }
}

#[test]
fn segments_are_loaded_at_physical_addresses_and_empty_or_foreign_ones_left_out() {
    const LOAD: u32 = 1;
    const NOTE: u32 = 4;
    let bytes = file(
        &[
            (LOAD, 0x100, 0x0800_0000, 4),
            (NOTE, 0x110, 0x0700_0000, 4),
            (LOAD, 0x120, 0x0800_0004, 2),
            (LOAD, 0x130, 0x2000_0000, 0),
        ],
        &[],
    );
    let image = parse(&bytes, "t.elf").unwrap();
    assert_eq!(image.span(), 0x0800_0000..0x0800_0006);
    assert_eq!(image.bytes(image.span()), Some(&[0, 1, 2, 3, 0x20, 0x21][..]));
    assert_eq!(image.origin(0x0800_0004).unwrap().to_string(), "t.elf segment 2");
}

#[test]
fn headers_inside_a_segment_are_not_part_of_the_program() {
    let segment = (1, 0, 0x0800_4F00, 0x108);
    let image = parse(&file(&[segment], &[(0, 0), (2, 0x104), (2, 0x100)]), "t.elf").unwrap();
    assert_eq!(image.span(), 0x0800_5000..0x0800_5008);
    assert_eq!(problem(&file(&[segment], &[])), ElfProblem::HeadersLoaded { segment: 0 });
}

#[test]
fn overlapping_segments_are_refused() {
    let bytes = file(&[(1, 0x100, 0x0800_0000, 8), (1, 0x110, 0x0800_0004, 8)], &[]);
    assert_eq!(
        parse(&bytes, "t.elf").unwrap_err().to_string(),
        "t.elf segment 1 supplies data for 0x08000004, and so does t.elf segment 0"
    );
}

#[test]
fn a_file_without_loadable_data_is_empty() {
    assert_eq!(parse(&file(&[], &[]), "t.elf"), Err(ImageError::Empty { file: "t.elf".into() }));
}

#[test]
fn each_foreign_kind_of_elf_file_is_told_apart() {
    let good = file(&[(1, 0x100, 0x0800_0000, 4)], &[]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(problem(&with(0, 0)), ElfProblem::NotElf);
    assert_eq!(problem(&with(4, 2)), ElfProblem::Not32Bit);
    assert_eq!(problem(&with(4, 3)), ElfProblem::Headers);
    assert_eq!(problem(&with(5, 2)), ElfProblem::NotLittleEndian);
    assert_eq!(problem(&with(0x12, 62)), ElfProblem::NotArm { got: 62 });
    assert_eq!(problem(&with(0x10, 1)), ElfProblem::NotExecutable { got: 1 });
    assert_eq!(problem(&with(0x2A, 1)), ElfProblem::Headers);
}

#[test]
fn a_file_cut_at_any_length_is_an_error() {
    let good = file(&[(1, 0x100, 0x0800_0000, 0x100)], &[]);
    parse(&good, "t.elf").unwrap();
    for length in 0..good.len() {
        let expected = match length {
            0..4 => ElfProblem::NotElf,
            4..0x54 => ElfProblem::Headers,
            _ => ElfProblem::SegmentOutside { segment: 0 },
        };
        assert_eq!(problem(&good[..length]), expected, "cut at {length}");
    }
}
