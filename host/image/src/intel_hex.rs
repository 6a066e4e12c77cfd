//! Intel HEX (Intel, Hexadecimal Object File Format Specification, revision A, 1988), record types 00 to 05.
//!
//! Stricter than most readers where leniency would program a wrong image: every checksum and length must
//! hold, the end record must be there, and nothing may follow it. Start addresses (03, 05) are checked and
//! dropped: a Cortex-M starts from its vector table.

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
const LINE: usize = 16;

/// Reads Intel HEX; `name` is what errors call the file.
///
/// # Errors
/// [`ImageError::Syntax`] with line and column; [`ImageError::Overlap`], [`ImageError::Empty`],
/// [`ImageError::TooLarge`], [`ImageError::PastAddressSpace`].
pub fn parse(bytes: &[u8], name: &str) -> Result<Image, ImageError> {
    let mut builder = Builder::new(name, bytes)?;
    let file = builder.file().clone();
    let mut base = Base::Segment(0);
    let mut ended = false;
    for (line, content) in text::lines(bytes) {
        let at = |at| text::locate(&file, line, at);
        if ended {
            return Err(at((1, SyntaxProblem::AfterEnd)));
        }
        let record = checked(content).map_err(at)?;
        // `checked` saw to it that the four fixed bytes and the checksum are there.
        let [_, high, low, kind, data @ .., _] = record.bytes() else { continue };
        let offset = u16::from_be_bytes([*high, *low]);
        match kind {
            0x00 => builder.push(base.address(offset, data.len()).map_err(at)?, data, Place::Line(line))?,
            0x01 => ended = true,
            0x02 => base = Base::Segment(text::number(data) << 4),
            0x04 => base = Base::Linear(text::number(data) << 16),
            _ => {}
        }
    }
    if ended { builder.finish() } else { Err(text::no_end(&file, bytes)) }
}

/// The image as Intel HEX: 16 bytes a line, extended linear addresses, an end record, `\n` line ends.
#[must_use]
pub fn write(image: &Image) -> String {
    let mut out = String::with_capacity(image.len() * 3);
    let mut upper = 0;
    for (address, data) in image.lines(LINE) {
        if address >> 16 != upper {
            upper = address >> 16;
            record(&mut out, 0, 0x04, &(upper as u16).to_be_bytes());
        }
        record(&mut out, address as u16, 0x00, data);
    }
    record(&mut out, 0, 0x01, &[]);
    out
}

/// What the offset of a data record is added to.
#[derive(Clone, Copy)]
enum Base {
    /// Type 02, and the state at the start of a file: offsets wrap at 64 KiB.
    Segment(u32),
    /// Type 04: offsets carry into the upper half.
    Linear(u32),
}

impl Base {
    fn address(self, offset: u16, length: usize) -> Result<u32, At> {
        match self {
            Self::Segment(base) if usize::from(offset) + length <= 0x1_0000 => Ok(base + u32::from(offset)),
            Self::Segment(_) => Err((4, SyntaxProblem::SegmentWrap { offset, length })),
            Self::Linear(base) => Ok(base | u32::from(offset)),
        }
    }
}

/// Decodes a line and checks everything that does not depend on other lines.
fn checked(line: &[u8]) -> Result<Record, At> {
    match line.first() {
        Some(b':') => {}
        other => {
            return Err((1, SyntaxProblem::NoRecord { expected: ':', got: other.copied().unwrap_or(0) }));
        }
    }
    let record = Record::decode(line, 1)?;
    let Some(&length) = record.bytes().first() else { return record.expect_len(5).map(|()| record) };
    record.expect_len(usize::from(length) + 5)?;
    record.expect_checksum(|body| text::sum(body).wrapping_neg())?;
    match record.bytes()[3] {
        0x00 => {}
        0x01 => record.expect_len(5)?,
        0x02 | 0x04 => record.expect_len(5 + 2)?,
        0x03 | 0x05 => record.expect_len(5 + 4)?,
        got => return Err((record.column(3), SyntaxProblem::RecordType { got })),
    }
    Ok(record)
}

fn record(out: &mut String, offset: u16, kind: u8, data: &[u8]) {
    let [high, low] = offset.to_be_bytes();
    let head = [data.len() as u8, high, low, kind];
    let checksum = text::sum(&head).wrapping_add(text::sum(data)).wrapping_neg();
    out.push(':');
    for byte in head.iter().chain(data).chain([&checksum]) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02X}");
    }
    out.push('\n');
}

/// Whether the first line is plainly an Intel HEX record.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    text::lines(bytes).next().is_some_and(|(_, line)| text::looks_like(line, b':', 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = ":00000001FF\n";

    fn parsed(text: &str) -> Result<Image, ImageError> {
        parse(text.as_bytes(), "t.hex")
    }

    fn problem(text: &str) -> (u32, u32, SyntaxProblem) {
        match parsed(text) {
            Err(ImageError::Syntax { line, column, problem, .. }) => (line, column, problem),
            other => panic!("expected a syntax error, got {other:?}"),
        }
    }

    fn blocks(text: &str) -> Vec<(u32, Vec<u8>)> {
        parsed(text).unwrap().regions().iter().map(|r| (r.address(), r.data().to_vec())).collect()
    }

    #[test]
    fn all_six_record_types_are_read() {
        let text = ":02 0000 02 1000 EC\n\
                    :02 0010 00 A1A2 AB\n\
                    :04 0000 03 0000 0100 F8\n\
                    :02 0000 04 0800 F2\n\
                    :02 0010 00 B1B2 8B\n\
                    :04 0000 05 08000011 DE\n\
                    :00 0000 01 FF\n"
            .replace(' ', "");
        assert_eq!(blocks(&text), [(0x0001_0010, vec![0xA1, 0xA2]), (0x0800_0010, vec![0xB1, 0xB2])]);
    }

    #[test]
    fn a_linear_record_carries_over_64_kib_and_a_segmented_one_is_refused() {
        let data = ":02 FFFF 00 1122 CD\n".replace(' ', "");
        let linear = format!(":020000040800F2\n{data}{END}");
        assert_eq!(blocks(&linear), [(0x0800_FFFF, vec![0x11, 0x22])]);
        let wrap = SyntaxProblem::SegmentWrap { offset: 0xFFFF, length: 2 };
        assert_eq!(problem(&format!("{data}{END}")), (1, 4, wrap));
    }

    #[test]
    fn lower_case_digits_windows_line_ends_and_empty_lines_are_accepted() {
        assert_eq!(blocks("\r\n:01000000ab54\r\n\r\n:00000001ff \r\n"), [(0, vec![0xAB])]);
    }

    #[test]
    fn a_wrong_checksum_names_line_column_and_the_right_value() {
        let text = format!(":0100000001FE\n:0100010002FD\n{END}");
        let checksum = SyntaxProblem::Checksum { expected: 0xFC, got: 0xFD };
        assert_eq!(problem(&text), (2, 12, checksum));
    }

    #[test]
    fn a_record_shorter_or_longer_than_it_says_is_refused() {
        assert_eq!(problem(":0200000001FD\n"), (1, 14, SyntaxProblem::Length { expected: 7, got: 6 }));
        assert_eq!(problem(":000000000100\n"), (1, 12, SyntaxProblem::Length { expected: 5, got: 6 }));
        assert_eq!(problem(":\n"), (1, 2, SyntaxProblem::Length { expected: 5, got: 0 }));
        assert_eq!(problem(":01\n"), (1, 4, SyntaxProblem::Length { expected: 6, got: 1 }));
    }

    #[test]
    fn a_type_the_format_does_not_have_is_refused() {
        assert_eq!(problem(":00000006FA\n"), (1, 8, SyntaxProblem::RecordType { got: 6 }));
    }

    #[test]
    fn a_file_cut_short_or_continued_after_its_end_is_refused() {
        assert_eq!(problem(":0100000001FE\n"), (1, 14, SyntaxProblem::NoEnd));
        assert_eq!(problem(""), (1, 1, SyntaxProblem::NoEnd));
        assert_eq!(problem(&format!("{END}:0100000001FE\n")), (2, 1, SyntaxProblem::AfterEnd));
        assert_eq!(problem("; x\n"), (1, 1, SyntaxProblem::NoRecord { expected: ':', got: b';' }));
    }

    #[test]
    fn two_records_for_one_address_name_both_lines() {
        let text = format!(":020000000102FB\n:0100020003FA\n:0100010004FA\n{END}");
        assert_eq!(
            parsed(&text).unwrap_err().to_string(),
            "t.hex line 3 supplies data for 0x00000001, and so does t.hex line 1"
        );
    }

    #[test]
    fn records_without_data_make_an_empty_image_which_is_an_error() {
        assert_eq!(parsed(END), Err(ImageError::Empty { file: "t.hex".into() }));
        assert_eq!(parsed(&format!(":0000000000\n{END}")), Err(ImageError::Empty { file: "t.hex".into() }));
    }
}
