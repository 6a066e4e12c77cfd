//! Motorola S-records: S0 to S3 and S5 to S9 (Motorola M68000 Family Programmer's Reference Manual,
//! appendix C). S4 is reserved and refused.
//!
//! As strict as [`intel_hex`](crate::intel_hex): checksums, lengths, record counts and the end record must
//! hold. The header (S0) and the start address (S7 to S9) are checked and dropped.

use std::fmt::Write;

use crate::error::ImageError;
use crate::error::SyntaxProblem;
use crate::image::Builder;
use crate::image::Image;
use crate::origin::Place;
use crate::text;
use crate::text::At;
use crate::text::Record;

/// Data bytes in a line that [`write()`] makes.
const LINE: usize = 32;

/// Reads S-records; `name` is what errors call the file.
///
/// # Errors
/// [`ImageError::Syntax`] with line and column; [`ImageError::Overlap`], [`ImageError::Empty`],
/// [`ImageError::TooLarge`], [`ImageError::PastAddressSpace`].
pub fn parse(bytes: &[u8], name: &str) -> Result<Image, ImageError> {
    let mut builder = Builder::new(name, bytes)?;
    let file = builder.file().clone();
    let mut count = 0;
    let mut ended = false;
    for (line, content) in text::lines(bytes) {
        let at = |at| text::locate(&file, line, at);
        if ended {
            return Err(at((1, SyntaxProblem::AfterEnd)));
        }
        let (kind, record) = checked(content).map_err(at)?;
        let body = &record.bytes()[1..record.bytes().len() - 1];
        let (address, data) = body.split_at(address_len(kind));
        match kind {
            1..=3 => {
                count += 1;
                builder.push(text::number(address), data, Place::Line(line))?;
            }
            5 | 6 => {
                let got = text::number(address);
                if got != count {
                    return Err(at((record.column(1), SyntaxProblem::Count { expected: count, got })));
                }
            }
            7..=9 => ended = true,
            _ => {}
        }
    }
    if ended { builder.finish() } else { Err(text::no_end(&file, bytes)) }
}

/// The image as S-records: 32 bytes a line in S3 records, a count, an end record, `\n` line ends.
#[must_use]
pub fn write(image: &Image) -> String {
    let mut out = String::with_capacity(image.len() * 5 / 2);
    record(&mut out, 0, &[0, 0], b"panelflash");
    let mut count = 0_u32;
    for (address, data) in image.lines(LINE) {
        record(&mut out, 3, &address.to_be_bytes(), data);
        count += 1;
    }
    match count.to_be_bytes() {
        [0, 0, high, low] => record(&mut out, 5, &[high, low], &[]),
        [_, rest @ ..] => record(&mut out, 6, &rest, &[]),
    }
    record(&mut out, 7, &[0; 4], &[]);
    out
}

/// Bytes of the address (or count) field of a record type.
const fn address_len(kind: u8) -> usize {
    match kind {
        3 | 7 => 4,
        2 | 6 | 8 => 3,
        _ => 2,
    }
}

/// Decodes a line and checks everything that does not depend on other lines: at least count, address and
/// checksum are there when it returns.
fn checked(line: &[u8]) -> Result<(u8, Record), At> {
    match line.first() {
        Some(b'S') => {}
        other => {
            return Err((1, SyntaxProblem::NoRecord { expected: 'S', got: other.copied().unwrap_or(0) }));
        }
    }
    let Some(&digit) = line.get(1) else { return Err((2, SyntaxProblem::HalfByte)) };
    let kind = match char::from(digit).to_digit(16) {
        Some(kind @ (0..=3 | 5..=9)) => kind as u8,
        Some(kind) => return Err((2, SyntaxProblem::RecordType { got: kind as u8 })),
        None => return Err((2, SyntaxProblem::NotHex { got: digit })),
    };
    let record = Record::decode(line, 2)?;
    let fixed = 1 + address_len(kind) + 1;
    let Some(&length) = record.bytes().first() else {
        return record.expect_len(fixed).map(|()| (kind, record));
    };
    record.expect_len(usize::from(length) + 1)?;
    if record.bytes().len() < fixed || kind >= 5 {
        record.expect_len(fixed)?;
    }
    record.expect_checksum(|body| !text::sum(body))?;
    Ok((kind, record))
}

fn record(out: &mut String, kind: u8, address: &[u8], data: &[u8]) {
    let length = (address.len() + data.len() + 1) as u8;
    let checksum = !length.wrapping_add(text::sum(address)).wrapping_add(text::sum(data));
    // Writing to a string cannot fail.
    let _ = write!(out, "S{kind}");
    for byte in [&length].into_iter().chain(address).chain(data).chain([&checksum]) {
        let _ = write!(out, "{byte:02X}");
    }
    out.push('\n');
}

/// Whether the first line is plainly an S-record.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    text::lines(bytes).next().is_some_and(|(_, line)| text::looks_like(line, b'S', 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "S9030000FC\n";

    fn parsed(text: &str) -> Result<Image, ImageError> {
        parse(text.as_bytes(), "t.s19")
    }

    fn problem(text: &str) -> (u32, u32, SyntaxProblem) {
        match parsed(text) {
            Err(ImageError::Syntax { line, column, problem, .. }) => (line, column, problem),
            other => panic!("expected a syntax error, got {other:?}"),
        }
    }

    #[test]
    fn all_nine_record_types_are_read() {
        let text = "S0 06 0000 48 44 52 1B\n\
                    S1 05 1000 A1 A2 A7\n\
                    S2 06 020000 B1 B2 94\n\
                    S3 07 08000010 C1 C2 5D\n\
                    S5 03 0003 F9\n\
                    S6 04 000003 F8\n"
            .replace(' ', "");
        for end in ["S7 05 08000011 E1", "S8 04 000000 FB", "S9 03 0000 FC"] {
            let image = parsed(&format!("{text}{}\n", end.replace(' ', ""))).unwrap();
            let blocks: Vec<_> = image.regions().iter().map(|r| (r.address(), r.data())).collect();
            assert_eq!(
                blocks,
                [(0x1000, &[0xA1, 0xA2][..]), (0x2_0000, &[0xB1, 0xB2]), (0x0800_0010, &[0xC1, 0xC2])]
            );
        }
    }

    #[test]
    fn a_wrong_checksum_names_line_column_and_the_right_value() {
        let text = format!("S104000001FA\nS104000102F7\n{END}");
        assert_eq!(problem(&text), (2, 11, SyntaxProblem::Checksum { expected: 0xF8, got: 0xF7 }));
    }

    #[test]
    fn a_record_shorter_or_longer_than_it_says_is_refused() {
        assert_eq!(problem("S105000001F9\n"), (1, 13, SyntaxProblem::Length { expected: 6, got: 5 }));
        assert_eq!(problem("S10300000000\n"), (1, 11, SyntaxProblem::Length { expected: 4, got: 5 }));
        assert_eq!(problem("S1\n"), (1, 3, SyntaxProblem::Length { expected: 4, got: 0 }));
        assert_eq!(problem("S100FF\n"), (1, 5, SyntaxProblem::Length { expected: 1, got: 2 }));
    }

    #[test]
    fn a_record_with_no_room_for_its_address_is_refused() {
        assert_eq!(problem("S30200FD\n"), (1, 9, SyntaxProblem::Length { expected: 6, got: 3 }));
        assert_eq!(problem("S100\n"), (1, 5, SyntaxProblem::Length { expected: 4, got: 1 }));
    }

    #[test]
    fn an_end_or_count_record_with_data_is_refused() {
        assert_eq!(problem("S904000000FB\n"), (1, 11, SyntaxProblem::Length { expected: 4, got: 5 }));
    }

    #[test]
    fn a_count_that_does_not_match_is_refused() {
        let text = format!("S104000001FA\nS5030002FA\n{END}");
        assert_eq!(problem(&text), (2, 5, SyntaxProblem::Count { expected: 1, got: 2 }));
    }

    #[test]
    fn a_reserved_or_unknown_type_is_refused() {
        assert_eq!(problem("S4030000FC\n"), (1, 2, SyntaxProblem::RecordType { got: 4 }));
        assert_eq!(problem("SA030000FC\n"), (1, 2, SyntaxProblem::RecordType { got: 10 }));
        assert_eq!(problem("Sx\n"), (1, 2, SyntaxProblem::NotHex { got: b'x' }));
        assert_eq!(problem("S\n"), (1, 2, SyntaxProblem::HalfByte));
    }

    #[test]
    fn a_file_cut_short_or_continued_after_its_end_is_refused() {
        assert_eq!(problem("S104000001FA\n"), (1, 13, SyntaxProblem::NoEnd));
        assert_eq!(problem(&format!("{END}S104000001FA\n")), (2, 1, SyntaxProblem::AfterEnd));
        assert_eq!(problem(":00000001FF\n"), (1, 1, SyntaxProblem::NoRecord { expected: 'S', got: b':' }));
    }
}
