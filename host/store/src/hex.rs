//! Byte strings of a fixed length that people read as hexadecimal: chip UIDs and hashes.
//!
//! Lower case without separators in text, JSON and CSV; raw bytes in the database.

use core::fmt;
use core::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `N` bytes, shown as `2 * N` lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// A chip's unique id, in the byte order in which the chip's memory holds it.
pub type Uid = Hex<12>;

/// A SHA-256 digest.
pub type Sha256 = Hex<32>;

/// The text is not the expected number of hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not {expected} hexadecimal digits")]
pub struct ParseHexError {
    /// How many digits were expected.
    pub expected: usize,
    /// The text.
    pub got: String,
}

impl<const N: usize> From<[u8; N]> for Hex<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; N];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(ParseHexError { expected: 2 * N, got: text.to_owned() }),
        }
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<const N: usize> ToSql for Hex<N> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

impl<const N: usize> FromSql for Hex<N> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let blob = value.as_blob()?;
        let bytes = <[u8; N]>::try_from(blob)
            .map_err(|_| FromSqlError::InvalidBlobSize { expected_size: N, blob_size: blob.len() })?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_the_same_value_and_a_wrong_length_is_refused() {
        let uid: Uid = "00112233445566778899aabb".parse().unwrap();
        assert_eq!(uid.0[1], 0x11);
        assert_eq!(uid.to_string(), "00112233445566778899aabb");
        assert_eq!("0011".parse::<Uid>().unwrap_err(), ParseHexError { expected: 24, got: "0011".into() });
        assert!("zz112233445566778899aabb".parse::<Uid>().is_err());
    }
}
