//! Values with units as they are written in job and panel files: "250 ms", "256 KiB", "0x08020000", "500k".
//!
//! A bare number is refused where a unit belongs, because 20 could be anything. Every reader is exact: no
//! floating point, and too large is an error, never a wrap.

use core::fmt;
use core::str::FromStr;

use panel_protocol::time::Span;
use toml::de::DeValue;

use crate::document::{FromToml, Mismatch, parsed};

/// A text that is not a quantity of the kind wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is not {expected}")]
pub struct QuantityError {
    /// The text.
    pub got: String,
    /// What is wanted, with an example.
    pub expected: &'static str,
}

/// A time with its unit, at most a day: `"20 ms"`, `"1.5 s"`, `"500 us"`, `"2 min"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub Span);

/// A size in bytes with its unit: `"256 KiB"`, `"1 MiB"`, `"512 B"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u32);

/// An address: `"0x08020000"` or the same as a TOML number; `_` may separate digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u32);

/// Bits a second: `"500k"`, `"1M"` or a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u32);

impl BitRate {
    /// 1 Mbit/s.
    pub const M1: Self = Self(1_000_000);
}

const A_TIME: &str = "a time with its unit, such as \"20 ms\"";
const A_SIZE: &str = "a size with its unit, such as \"256 KiB\"";
const AN_ADDRESS: &str = "an address, such as 0x08020000";
const A_RATE: &str = "a bit rate, such as \"500k\", \"1M\" or 500000";
const LONGEST: u64 = 24 * 3600 * 1_000_000;

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let units = [("us", 1), ("ms", 1000), ("s", 1_000_000), ("min", 60_000_000)];
        let micros = quantity(text, &units).filter(|&us| us <= LONGEST);
        micros.map(|us| Self(Span(us))).ok_or_else(|| error(text, A_TIME))
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let bytes = quantity(text, &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)]);
        bytes.and_then(|b| u32::try_from(b).ok()).map(Self).ok_or_else(|| error(text, A_SIZE))
    }
}

impl FromStr for Address {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let digits = text.strip_prefix("0x").map(|d| d.replace('_', ""));
        let hex = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        hex.and_then(|d| u32::from_str_radix(&d, 16).ok()).map(Self).ok_or_else(|| error(text, AN_ADDRESS))
    }
}

impl FromStr for BitRate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let rate = quantity(text, &[("k", 1000), ("M", 1_000_000), ("", 1)]);
        let rate = rate.and_then(|r| u32::try_from(r).ok()).filter(|&r| r > 0);
        rate.map(Self).ok_or_else(|| error(text, A_RATE))
    }
}

/// `500k`, `1M`, or the plain number.
impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            r if r % 1_000_000 == 0 => write!(f, "{}M", r / 1_000_000),
            r if r % 1000 == 0 => write!(f, "{}k", r / 1000),
            r => r.fmt(f),
        }
    }
}

/// `NUMBER UNIT` with an optional fraction and optional blanks between, as a whole number of the smallest unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' ')).map(|(_, s)| *s)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    // Six digits are enough for a microsecond in a second; more would be an accident.
    let digits = u32::try_from(fraction.len()).ok().filter(|&d| d <= 6)?;
    let fraction: u64 = fraction.parse().ok()?;
    let part = fraction.checked_mul(scale)?;
    let unit_of_part = 10_u64.pow(digits);
    if !part.is_multiple_of(unit_of_part) {
        return None;
    }
    whole.checked_mul(scale)?.checked_add(part / unit_of_part)
}

fn error(text: &str, expected: &'static str) -> QuantityError {
    QuantityError { got: text.to_owned(), expected }
}

fn integer(value: &DeValue<'_>) -> Result<i128, Mismatch> {
    let number = value.as_integer().ok_or(Mismatch::Type)?;
    let digits = number.as_str().replace('_', "");
    i128::from_str_radix(&digits, number.radix())
        .map_err(|_| Mismatch::Value(format!("{number} is too large")))
}

fn ranged<T: TryFrom<i128>>(value: &DeValue<'_>, max: u32) -> Result<T, Mismatch> {
    let number = integer(value)?;
    T::try_from(number).map_err(|_| Mismatch::Value(format!("{number} is not in 0 to {max}")))
}

impl FromToml for u8 {
    const EXPECTED: &'static str = "a whole number";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        ranged(value, Self::MAX.into())
    }
}

impl FromToml for u16 {
    const EXPECTED: &'static str = "a whole number";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        ranged(value, Self::MAX.into())
    }
}

impl FromToml for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        ranged(value, Self::MAX)
    }
}

impl FromToml for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        value.as_bool().ok_or(Mismatch::Type)
    }
}

/// A text that is neither empty nor longer than 200 characters and has no control characters.
impl FromToml for String {
    const EXPECTED: &'static str = "a text in quotes";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        let text = value.as_str().ok_or(Mismatch::Type)?;
        if text.trim().is_empty() {
            return Err(Mismatch::Value("it is empty".to_owned()));
        }
        if text.chars().any(char::is_control) || text.chars().count() > 200 {
            return Err(Mismatch::Value(
                "it is too long, or has a line break or control character".to_owned(),
            ));
        }
        Ok(text.to_owned())
    }
}

impl FromToml for Duration {
    const EXPECTED: &'static str = A_TIME;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        parsed(value)
    }
}

impl FromToml for Size {
    const EXPECTED: &'static str = A_SIZE;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        parsed(value)
    }
}

impl FromToml for Address {
    const EXPECTED: &'static str = AN_ADDRESS;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        if value.is_integer() { u32::from_toml(value).map(Self) } else { parsed(value) }
    }
}

impl FromToml for BitRate {
    const EXPECTED: &'static str = A_RATE;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Mismatch> {
        if !value.is_integer() {
            return parsed(value);
        }
        match u32::from_toml(value)? {
            0 => Err(Mismatch::Value(format!("0 is not {A_RATE}"))),
            rate => Ok(Self(rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_exact_and_need_a_unit() {
        let micros = |t: &str| t.parse::<Duration>().ok().map(|d| d.0.0);
        assert_eq!(micros("20 ms"), Some(20_000));
        assert_eq!(micros("1.5 s"), Some(1_500_000));
        assert_eq!(micros("0.000001s"), Some(1));
        assert_eq!(micros("2 min"), Some(120_000_000));
        assert_eq!(micros("7us"), Some(7));
        for wrong in
            ["20", "ms", "", "-1 ms", "1.5 us", "2 days", "1e3 s", "1..2 s", "99999 min", "1. s", ".5 s"]
        {
            assert_eq!(micros(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_and_addresses_and_rates_are_read() {
        assert_eq!("256 KiB".parse(), Ok(Size(262_144)));
        assert_eq!("1.5 MiB".parse(), Ok(Size(1_572_864)));
        assert_eq!("0x0802_0000".parse(), Ok(Address(0x0802_0000)));
        assert_eq!("500k".parse(), Ok(BitRate(500_000)));
        assert_eq!("83333".parse(), Ok(BitRate(83_333)));
        assert!("256 KB".parse::<Size>().is_err());
        assert!("5000 MiB".parse::<Size>().is_err());
        assert!("08020000".parse::<Address>().is_err());
        assert!("0x".parse::<Address>().is_err());
        assert!("0x+1".parse::<Address>().is_err());
        assert!("0".parse::<BitRate>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_quantity_or_refused(text in ".{0,30}") {
            let _ = text.parse::<Duration>();
            let _ = text.parse::<Size>();
            let _ = text.parse::<Address>();
            let _ = text.parse::<BitRate>();
        }

        #[test]
        fn a_bit_rate_is_read_back_as_written(rate in 1..=u32::MAX) {
            prop_assert_eq!(BitRate(rate).to_string().parse(), Ok(BitRate(rate)));
        }
    }
}
