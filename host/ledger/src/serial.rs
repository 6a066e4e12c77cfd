//! The format of serial numbers: literal text with fields in braces.
//!
//! | field | gives |
//! | --- | --- |
//! | `{date:P}` | the UTC date; P is made of `YYYY`, `YY`, `MM`, `DD`, `DDD` (day of the year), `WW` (ISO 8601 week; the years are then the week's years) |
//! | `{counter:N}` | the counter in N decimal digits, with leading zeros |
//! | `{counter:N:hex}` | in N upper-case hexadecimal digits |
//! | `{counter:N:base32}` | in N digits of Crockford's base 32 (no I, L, O, U) |
//! | `{check:luhn}` | Luhn digit over the digits before it (ISO/IEC 7812-1 annex B); only where no letters can stand before it |
//! | `{check:mod37}` | one check character over letters and digits before it (ISO 7064 MOD 37,36) |
//! | `{check:mod97}` | two check digits over letters and digits before it (ISO 7064 MOD 97-10) |
//!
//! Literals are printable ASCII without braces and lower-case letters; signs such as `-` do not count for
//! the check. There is exactly one counter and at most one check, which comes after the counter. The
//! counter alone makes a number unique; it never starts again with a new date.

use std::fmt;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::check_digit::{Check, check_digits};

/// Longest serial number in characters: what the identity region holds with its closing zero.
pub const MAX_LENGTH: usize = 63;
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Why a format or a number is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// A brace without its partner.
    #[error("brace at character {at} has no partner")]
    Brace {
        /// Position from 0.
        at: usize,
    },
    /// A field nobody knows.
    #[error("unknown field {{{field}}}")]
    Field {
        /// Its text without the braces.
        field: String,
    },
    /// A character that does not print everywhere.
    #[error("character {character:?} is not allowed in a serial number")]
    Character {
        /// The character.
        character: char,
    },
    /// Not exactly one counter, more than one check, or a check before the counter.
    #[error("a format needs one counter and at most one check, after it")]
    Fields,
    /// A Luhn digit cannot cover letters.
    #[error("a luhn check covers digits only; use mod37 or mod97")]
    LuhnLetters,
    /// The number would be too long.
    #[error("a number of this format has {length} characters, at most {MAX_LENGTH} are allowed")]
    TooLong {
        /// Characters.
        length: usize,
    },
    /// The counter has no more digits.
    #[error("counter {counter} does not fit; the greatest is {greatest}")]
    Counter {
        /// The counter.
        counter: u64,
        /// The greatest that fits.
        greatest: u64,
    },
    /// A scanned text is not a number of this format.
    #[error("{text:?} is not of the format {format}: wrong at character {at}")]
    Mismatch {
        /// What was scanned.
        text: String,
        /// The format.
        format: String,
        /// Position from 0.
        at: usize,
    },
    /// A scanned text has the right shape and the wrong check.
    #[error("{text:?} has a wrong check, expected {expected}: misread or mistyped")]
    Check {
        /// What was scanned.
        text: String,
        /// The right check.
        expected: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DatePart {
    Year4,
    Year2,
    Month,
    Day,
    DayOfYear,
    Week,
}

impl DatePart {
    const ALL: [(&'static str, Self); 6] = [
        ("YYYY", Self::Year4),
        ("YY", Self::Year2),
        ("MM", Self::Month),
        ("DDD", Self::DayOfYear),
        ("DD", Self::Day),
        ("WW", Self::Week),
    ];

    fn width(self) -> usize {
        match self {
            Self::Year4 => 4,
            Self::DayOfYear => 3,
            Self::Year2 | Self::Month | Self::Day | Self::Week => 2,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Decimal,
    Hex,
    Base32,
}

impl Base {
    fn digits(self) -> &'static [u8] {
        match self {
            Self::Decimal => &BASE32[..10],
            Self::Hex => &BASE32[..16],
            Self::Base32 => BASE32,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Date(Vec<DatePart>),
    Counter { width: usize, base: Base },
    Check(Check),
}

/// A format of serial numbers; made by [`str::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialFormat {
    text: String,
    pieces: Vec<Piece>,
}

impl SerialFormat {
    /// The number for `counter`, made at `now`.
    ///
    /// # Errors
    /// [`SerialError::Counter`] when the counter has too few digits for it.
    pub fn render(&self, counter: u64, now: Timestamp) -> Result<String, SerialError> {
        let greatest = self.greatest();
        if counter > greatest {
            return Err(SerialError::Counter { counter, greatest });
        }
        let date = now.to_zoned(TimeZone::UTC).date();
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Date(parts) => out.push_str(&render_date(parts, date)),
                Piece::Counter { width, base } => out.push_str(&render_counter(counter, *width, *base)),
                Piece::Check(check) => {
                    let digits = check_digits(*check, &out);
                    out.push_str(&digits);
                }
            }
        }
        Ok(out)
    }

    /// The greatest counter that fits.
    #[must_use]
    pub fn greatest(&self) -> u64 {
        let counter = self.pieces.iter().find_map(|piece| match piece {
            Piece::Counter { width, base } => Some((*width, base.digits().len() as u64)),
            Piece::Literal(_) | Piece::Date(_) | Piece::Check(_) => None,
        });
        let (width, base) = counter.unwrap_or((0, 10));
        (0..width).try_fold(1_u64, |all, _| all.checked_mul(base)).map_or(u64::MAX, |all| all - 1)
    }

    /// The counter of a scanned number, after checking its shape and its check digits. Any date passes.
    ///
    /// # Errors
    /// [`SerialError::Mismatch`], [`SerialError::Check`].
    pub fn read(&self, text: &str) -> Result<u64, SerialError> {
        let mismatch = |at| SerialError::Mismatch { text: text.to_owned(), format: self.text.clone(), at };
        let mut counter = 0_u64;
        let mut at = 0;
        for piece in &self.pieces {
            let width = piece.width();
            let part = text.get(at..at + width).ok_or_else(|| mismatch(text.len().min(at)))?;
            match piece {
                Piece::Literal(literal) if literal != part => return Err(mismatch(at)),
                Piece::Literal(_) => {}
                Piece::Date(_) if part.bytes().all(|byte| byte.is_ascii_digit()) => {}
                Piece::Date(_) => return Err(mismatch(at)),
                Piece::Counter { base, .. } => {
                    let digits = base.digits();
                    for (offset, byte) in part.bytes().enumerate() {
                        let digit = digits.iter().position(|digit| *digit == byte);
                        let digit = digit.ok_or_else(|| mismatch(at + offset))?;
                        counter = counter.wrapping_mul(digits.len() as u64).wrapping_add(digit as u64);
                    }
                }
                Piece::Check(check) => {
                    let expected = check_digits(*check, &text[..at]);
                    if part != expected {
                        return Err(SerialError::Check { text: text.to_owned(), expected });
                    }
                }
            }
            at += width;
        }
        if at == text.len() { Ok(counter) } else { Err(mismatch(at)) }
    }

    fn check(&self) -> Result<(), SerialError> {
        let places = |wanted: fn(&Piece) -> bool| -> Vec<usize> {
            self.pieces.iter().enumerate().filter(|(_, piece)| wanted(piece)).map(|(at, _)| at).collect()
        };
        let counters = places(|piece| matches!(piece, Piece::Counter { .. }));
        let checks = places(|piece| matches!(piece, Piece::Check(_)));
        match (counters.as_slice(), checks.as_slice()) {
            ([_], []) => {}
            ([counter], [check]) if check > counter => {}
            _ => return Err(SerialError::Fields),
        }
        let length = self.pieces.iter().map(Piece::width).sum();
        if length > MAX_LENGTH {
            return Err(SerialError::TooLong { length });
        }
        let luhn = self.pieces.iter().position(|piece| *piece == Piece::Check(Check::Luhn));
        let letters = |piece: &Piece| match piece {
            Piece::Literal(text) => text.bytes().any(|byte| byte.is_ascii_uppercase()),
            Piece::Counter { base, .. } => *base != Base::Decimal,
            Piece::Date(_) | Piece::Check(_) => false,
        };
        if luhn.is_some_and(|at| self.pieces[..at].iter().any(letters)) {
            return Err(SerialError::LuhnLetters);
        }
        Ok(())
    }
}

impl std::str::FromStr for SerialFormat {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let allowed = |c: char| matches!(c, ' '..='~') && !c.is_ascii_lowercase();
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            if let Some(field) = rest.strip_prefix('{') {
                let end = field.find('}').ok_or(SerialError::Brace { at })?;
                pieces.push(parse_field(&field[..end])?);
                rest = &field[end + 1..];
                continue;
            }
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            if end == 0 {
                return Err(SerialError::Brace { at });
            }
            let (literal, after) = rest.split_at(end);
            if let Some(character) = literal.chars().find(|c| !allowed(*c)) {
                return Err(SerialError::Character { character });
            }
            pieces.push(Piece::Literal(literal.to_owned()));
            rest = after;
        }
        let format = Self { text: text.to_owned(), pieces };
        format.check()?;
        Ok(format)
    }
}

impl fmt::Display for SerialFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Piece {
    fn width(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Date(parts) => parts.iter().map(|part| part.width()).sum(),
            Self::Counter { width, .. } => *width,
            Self::Check(Check::Mod97) => 2,
            Self::Check(Check::Luhn | Check::Mod37) => 1,
        }
    }
}

fn parse_field(field: &str) -> Result<Piece, SerialError> {
    let unknown = || SerialError::Field { field: field.to_owned() };
    let parts: Vec<&str> = field.split(':').collect();
    match parts.as_slice() {
        ["date", pattern] => parse_date(pattern).map(Piece::Date).ok_or_else(unknown),
        ["check", "luhn"] => Ok(Piece::Check(Check::Luhn)),
        ["check", "mod37"] => Ok(Piece::Check(Check::Mod37)),
        ["check", "mod97"] => Ok(Piece::Check(Check::Mod97)),
        ["counter", width, base @ ..] => {
            let base = match base {
                [] => Base::Decimal,
                ["hex"] => Base::Hex,
                ["base32"] => Base::Base32,
                _ => return Err(unknown()),
            };
            let width = width.parse().ok().filter(|width| (1..=18).contains(width)).ok_or_else(unknown)?;
            Ok(Piece::Counter { width, base })
        }
        _ => Err(unknown()),
    }
}

fn parse_date(mut pattern: &str) -> Option<Vec<DatePart>> {
    let mut parts = Vec::new();
    while !pattern.is_empty() {
        let (text, part) = DatePart::ALL.iter().find(|(text, _)| pattern.starts_with(text))?;
        parts.push(*part);
        pattern = &pattern[text.len()..];
    }
    (!parts.is_empty()).then_some(parts)
}

fn render_date(parts: &[DatePart], date: Date) -> String {
    let week = date.iso_week_date();
    let by_week = parts.contains(&DatePart::Week);
    let year = if by_week { week.year() } else { date.year() };
    parts
        .iter()
        .map(|part| match part {
            DatePart::Year4 => format!("{year:04}"),
            DatePart::Year2 => format!("{:02}", year.rem_euclid(100)),
            DatePart::Month => format!("{:02}", date.month()),
            DatePart::Day => format!("{:02}", date.day()),
            DatePart::DayOfYear => format!("{:03}", date.day_of_year()),
            DatePart::Week => format!("{:02}", week.week()),
        })
        .collect()
}

fn render_counter(mut counter: u64, width: usize, base: Base) -> String {
    let digits = base.digits();
    let mut out = vec![b'0'; width];
    for place in out.iter_mut().rev() {
        *place = digits[(counter % digits.len() as u64) as usize];
        counter /= digits.len() as u64;
    }
    out.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format(text: &str) -> SerialFormat {
        text.parse().unwrap()
    }

    fn render(text: &str, counter: u64, day: &str) -> String {
        format(text).render(counter, format!("{day}T12:00:00Z").parse().unwrap()).unwrap()
    }

    #[test]
    fn fields_become_text() {
        assert_eq!(render("SH-{date:YYMM}-{counter:5}", 42, "2026-03-09"), "SH-2603-00042");
        assert_eq!(render("{date:YYYYMMDD}{counter:3:hex}", 0xAB, "2026-03-09"), "202603090AB");
        assert_eq!(render("{date:YYDDD}/{counter:4:base32}", 32 * 31 + 22, "2026-12-31"), "26365/00ZP");
    }

    #[test]
    fn a_week_has_the_year_of_the_week() {
        // ISO 8601: 1 January 2027 is a Friday, so it belongs to week 53 of 2026.
        assert_eq!(render("{date:YYWW}{counter:1}", 0, "2027-01-01"), "26530");
        assert_eq!(render("{date:YYYYWW}{counter:1}", 0, "2026-12-31"), "2026530");
        assert_eq!(render("{date:YYMM}{counter:1}", 0, "2027-01-01"), "27010");
    }

    #[test]
    fn what_is_no_format_is_refused_with_its_reason() {
        let error = |text: &str| text.parse::<SerialFormat>().unwrap_err();
        assert_eq!(error("A{counter:3"), SerialError::Brace { at: 1 });
        assert_eq!(error("A}{counter:3}"), SerialError::Brace { at: 1 });
        assert_eq!(error("{counter:0}"), SerialError::Field { field: "counter:0".to_owned() });
        assert_eq!(error("{counter:3:octal}"), SerialError::Field { field: "counter:3:octal".to_owned() });
        assert_eq!(error("{date:YYX}{counter:3}"), SerialError::Field { field: "date:YYX".to_owned() });
        assert_eq!(error("{date:}{counter:3}"), SerialError::Field { field: "date:".to_owned() });
        assert_eq!(error("{serial}"), SerialError::Field { field: "serial".to_owned() });
        assert_eq!(error("a{counter:3}"), SerialError::Character { character: 'a' });
        assert_eq!(error("\u{200b}{counter:3}"), SerialError::Character { character: '\u{200b}' });
        for text in ["", "ABC", "{counter:1}{counter:1}", "{check:luhn}{counter:4}"] {
            assert_eq!(error(text), SerialError::Fields, "{text}");
        }
        assert_eq!(error("A{counter:3}{check:luhn}"), SerialError::LuhnLetters);
        assert_eq!(error("{counter:3:hex}{check:luhn}"), SerialError::LuhnLetters);
        assert_eq!(error(&format!("{}{{counter:3}}", "A".repeat(62))), SerialError::TooLong { length: 65 });
    }

    #[test]
    fn a_counter_that_needs_more_digits_is_refused_and_never_wraps() {
        let now = Timestamp::UNIX_EPOCH;
        let three = format("{counter:3}");
        assert_eq!(three.render(999, now).unwrap(), "999");
        assert_eq!(three.render(1000, now), Err(SerialError::Counter { counter: 1000, greatest: 999 }));
        assert_eq!(format("{counter:18:base32}").greatest(), u64::MAX);
    }

    #[test]
    fn a_misread_number_is_told_from_one_of_another_format() {
        let format = format("SH-{counter:5}-{check:mod37}");
        let good = format.render(1234, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(format.read(&good), Ok(1234));
        let swapped = good.replace("01234", "02134");
        assert!(matches!(format.read(&swapped), Err(SerialError::Check { .. })), "{swapped}");
        assert!(matches!(format.read("SX-01234-0"), Err(SerialError::Mismatch { at: 0, .. })));
        assert!(matches!(format.read("SH-0l234-0"), Err(SerialError::Mismatch { at: 4, .. })));
        assert!(matches!(format.read(&format!("{good}0")), Err(SerialError::Mismatch { at: 10, .. })));
        assert!(matches!(format.read("SH-é"), Err(SerialError::Mismatch { .. })));
    }

    proptest! {
        #[test]
        fn every_counter_is_read_back_and_no_two_are_alike(
            a in 0_u64..1 << 20,
            b in 0_u64..1 << 20,
            check in prop::sample::select(vec!["", "{check:mod37}", "{check:mod97}"]),
        ) {
            let format = format(&format!("X{{date:YYWW}}{{counter:4:base32}}{check}"));
            let render = |counter| format.render(counter, Timestamp::UNIX_EPOCH).unwrap();
            prop_assert_eq!(format.read(&render(a)), Ok(a));
            prop_assert_eq!(a == b, render(a) == render(b));
        }

        #[test]
        fn one_wrong_character_never_passes_the_check(
            counter in 0_u64..100_000,
            place in 0_usize..5,
            other in 0_u8..10,
            check in prop::sample::select(vec!["{check:luhn}", "{check:mod37}", "{check:mod97}"]),
        ) {
            let format = format(&format!("{{counter:5}}{check}"));
            let mut text = format.render(counter, Timestamp::UNIX_EPOCH).unwrap().into_bytes();
            prop_assume!(text[place] != b'0' + other);
            text[place] = b'0' + other;
            let text = String::from_utf8(text).unwrap();
            let refused = matches!(format.read(&text), Err(SerialError::Check { .. }));
            prop_assert!(refused, "{}", text);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", scanned in ".*") {
            if let Ok(format) = text.parse::<SerialFormat>() {
                let _ = format.read(&scanned);
            }
        }
    }
}
