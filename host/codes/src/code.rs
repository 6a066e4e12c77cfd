//! What every code has: class, group, text form, and the way back from text.
//!
//! The table itself is in `catalogue`; this file only reads it.

use core::fmt;
use core::str::FromStr;

use crate::Code;

/// Who has to act on a failure, and so which result the board gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The board is at fault: result FAIL.
    Board,
    /// The station, its fixture or a contact is at fault: result ERROR. The board may be good.
    Station,
    /// A file, an order or the command line is at fault: nothing was touched.
    Usage,
}

impl Class {
    /// The word shown for a board that ends with a code of this class.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Board => "FAIL",
            Self::Station => "ERROR",
            Self::Usage => "REFUSED",
        }
    }

    /// Exit code of the program when a code of this class ends the whole run: 1, 3 or 2.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Board => 1,
            Self::Usage => 2,
            Self::Station => 3,
        }
    }
}

/// What a block of a hundred numbers is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// E1xx.
    Identify,
    /// E2xx.
    Flash,
    /// E3xx.
    Bus,
    /// E4xx.
    Station,
    /// E5xx.
    Files,
    /// E6xx.
    Release,
    /// E7xx.
    Rom,
}

impl Group {
    /// Heading of the group in docs/errors.md.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Identify => "E1xx: finding and identifying a board",
            Self::Flash => "E2xx: the board's flash",
            Self::Bus => "E3xx: a board on the bus",
            Self::Station => "E4xx: the station and its fixture",
            Self::Files => "E5xx: files and command line",
            Self::Release => "E6xx: release, order, identity and protection",
            Self::Rom => "E7xx: ROM bootloader and its ports",
        }
    }
}

impl Code {
    /// The group its number belongs to.
    #[must_use]
    pub const fn group(self) -> Group {
        match self.number() / 100 {
            1 => Group::Identify,
            2 => Group::Flash,
            3 => Group::Bus,
            4 => Group::Station,
            5 => Group::Files,
            6 => Group::Release,
            _ => Group::Rom,
        }
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.number() == number)
    }
}

/// Number and slug: `E214 program-failed`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` so that tables can align the text.
        f.pad(self.text())
    }
}

/// A text that names no code, or names two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseCodeError {
    /// Neither a known number, nor a known slug, nor both.
    #[error("`{got}` is not an error code such as `E214 program-failed`")]
    Unknown {
        /// The text.
        got: String,
    },
    /// Number and slug belong to different codes.
    #[error("`{got}` names two codes: the number is `{expected}`")]
    Mismatch {
        /// The text.
        got: String,
        /// The code that has this number.
        expected: Code,
    },
}

/// Reads `E214 program-failed`, `E214` or `program-failed`.
impl FromStr for Code {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ParseCodeError::Unknown { got: text.to_owned() };
        let (first, slug) = match text.split_once(' ') {
            Some((first, slug)) => (first, Some(slug)),
            None => (text, None),
        };
        let by_number =
            first.strip_prefix('E').filter(|n| n.len() == 3 && n.bytes().all(|b| b.is_ascii_digit()));
        let Some(number) = by_number else {
            return Self::ALL.iter().copied().find(|c| c.slug() == text).ok_or_else(unknown);
        };
        let code = number.parse().ok().and_then(Self::from_number).ok_or_else(unknown)?;
        match slug {
            Some(slug) if slug != code.slug() => {
                Err(ParseCodeError::Mismatch { got: text.to_owned(), expected: code })
            }
            _ => Ok(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_rise_and_slugs_are_unique_and_plain() {
        let mut slugs = BTreeSet::new();
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{} after {}", pair[1], pair[0]);
        }
        for code in Code::ALL {
            let plain =
                code.slug().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(plain && !code.slug().is_empty(), "{code}");
            assert!(slugs.insert(code.slug()), "{code} appears twice");
            assert!((100..800).contains(&code.number()), "{code}");
            assert_eq!(code.text(), format!("E{} {}", code.number(), code.slug()));
        }
    }

    #[test]
    fn every_code_has_a_title_a_cause_and_a_remedy_in_house_style() {
        for code in Code::ALL {
            let title = code.title();
            assert!(!title.ends_with('.') && title.len() <= 80, "{code}: {title}");
            assert!(!title.is_empty(), "{code}");
            for text in [code.cause(), code.remedy()] {
                assert!(text.ends_with('.') && text.len() >= 12, "{code}: {text}");
                assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{code}: {text}");
                assert!(!text.contains("  ") && text.is_ascii(), "{code}: {text}");
            }
        }
    }

    #[test]
    fn every_form_of_a_code_is_read_back() {
        for &code in Code::ALL {
            assert_eq!(code.to_string().parse(), Ok(code));
            assert_eq!(format!("E{}", code.number()).parse(), Ok(code));
            assert_eq!(code.slug().parse(), Ok(code));
        }
    }

    #[test]
    fn a_number_with_the_slug_of_another_code_is_refused() {
        let got = "E214 erase-failed".to_owned();
        let expected = Code::ProgramFailed;
        assert_eq!("E214 erase-failed".parse::<Code>(), Err(ParseCodeError::Mismatch { got, expected }));
    }

    #[test]
    fn display_honours_width() {
        assert_eq!(format!("{:<22}|", Code::ProgramFailed), "E214 program-failed   |");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".{0,40}") {
            if let Ok(code) = text.parse::<Code>() {
                prop_assert!(text == code.to_string() || text == code.slug() || text == code.text()[..4]);
            }
        }
    }
}
