//! What the two text formats share: lines, pairs of hexadecimal digits, and positions for errors.
//!
//! Invariant: columns count bytes from 1 in the line as it stands in the file, so an editor finds the spot.

use std::sync::Arc;

use crate::error::ImageError;
use crate::error::SyntaxProblem;

/// The longest record of either format: a length byte, 255 bytes, and for Intel HEX the four others.
const LONGEST: usize = 260;

/// The lines of a text file: number from 1, content without line end and trailing white space. Empty lines
/// are left out.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (1..)
        .zip(bytes.split(|&b| b == b'\n'))
        .map(|(n, l)| (n, l.trim_ascii_end()))
        .filter(|(_, l)| !l.is_empty())
}

/// The bytes of one record, with the way back to the columns they came from.
pub(crate) struct Record {
    bytes: [u8; LONGEST],
    len: usize,
    /// Column of the first digit.
    first: usize,
}

/// A problem at a column (from 1) of a line still to be named.
pub(crate) type At = (usize, SyntaxProblem);

impl Record {
    /// Decodes the pairs of digits from offset `skip` of `line` to its end.
    pub(crate) fn decode(line: &[u8], skip: usize) -> Result<Self, At> {
        let digits = line.get(skip..).unwrap_or_default();
        let mut record = Self { bytes: [0; LONGEST], len: 0, first: skip + 1 };
        for (i, pair) in digits.chunks(2).enumerate() {
            let column = record.first + 2 * i;
            let high = nibble(pair[0]).ok_or_else(|| not_hex(column, pair[0]))?;
            let Some(&second) = pair.get(1) else { return Err((column, SyntaxProblem::HalfByte)) };
            let low = nibble(second).ok_or_else(|| not_hex(column + 1, second))?;
            let Some(place) = record.bytes.get_mut(i) else {
                let got = digits.len().div_ceil(2);
                return Err((column, SyntaxProblem::Length { expected: LONGEST, got }));
            };
            *place = high << 4 | low;
            record.len = i + 1;
        }
        Ok(record)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The column of byte `index`, or where it would stand.
    pub(crate) fn column(&self, index: usize) -> usize {
        self.first + 2 * index
    }

    /// Checks the number of bytes; the column is that of the first surplus or missing one.
    pub(crate) fn expect_len(&self, expected: usize) -> Result<(), At> {
        if self.len == expected {
            return Ok(());
        }
        let column = self.column(self.len.min(expected));
        Err((column, SyntaxProblem::Length { expected, got: self.len }))
    }

    /// Compares the last byte with the checksum computed by `of` from all bytes before it.
    pub(crate) fn expect_checksum(&self, of: impl Fn(&[u8]) -> u8) -> Result<(), At> {
        let Some((&got, body)) = self.bytes().split_last() else { return Ok(()) };
        let expected = of(body);
        if got == expected {
            return Ok(());
        }
        Err((self.column(self.len - 1), SyntaxProblem::Checksum { expected, got }))
    }
}

/// Whether `line` is `mark` followed by at least `digits` characters, all of them hexadecimal digits.
pub(crate) fn looks_like(line: &[u8], mark: u8, digits: usize) -> bool {
    match line.split_first() {
        Some((&first, rest)) => {
            first == mark && rest.len() >= digits && rest.iter().all(u8::is_ascii_hexdigit)
        }
        None => false,
    }
}

/// Names the file and the line of a problem.
pub(crate) fn locate(file: &Arc<str>, line: u32, (column, problem): At) -> ImageError {
    let column = u32::try_from(column).unwrap_or(u32::MAX);
    ImageError::Syntax { file: file.clone(), line, column, problem }
}

/// A file that stopped before its end record: the spot after its last line.
pub(crate) fn no_end(file: &Arc<str>, bytes: &[u8]) -> ImageError {
    let (line, text) = lines(bytes).last().unwrap_or((1, &[]));
    locate(file, line, (text.len() + 1, SyntaxProblem::NoEnd))
}

/// Sum of bytes modulo 256, on which both formats' checksums are built.
pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &b| sum.wrapping_add(b))
}

/// A big-endian number of up to four bytes.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, &b| n << 8 | u32::from(b))
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

const fn not_hex(column: usize, got: u8) -> At {
    (column, SyntaxProblem::NotHex { got })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_when_empty_ones_are_left_out() {
        let found: Vec<_> = lines(b"a\r\n\r\n \nb\t\n").collect();
        assert_eq!(found, [(1, &b"a"[..]), (4, b"b")]);
    }

    #[test]
    fn a_wrong_digit_is_reported_at_its_own_column() {
        let problem = Record::decode(b":00g1", 1).err();
        assert_eq!(problem, Some((4, SyntaxProblem::NotHex { got: b'g' })));
        let problem = Record::decode(b":0011x", 1).err();
        assert_eq!(problem, Some((6, SyntaxProblem::NotHex { got: b'x' })));
        assert_eq!(Record::decode(b":001", 1).err(), Some((4, SyntaxProblem::HalfByte)));
    }

    #[test]
    fn a_line_longer_than_any_record_is_refused_without_being_stored() {
        let line = [b'0'; 10_000];
        let problem = Record::decode(&line, 0).err();
        assert_eq!(problem, Some((521, SyntaxProblem::Length { expected: 260, got: 5_000 })));
    }
}
