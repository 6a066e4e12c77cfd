//! Enums that are words in the database, in CSV and in JSON: one list of words per enum.

use jiff::Timestamp;

/// Declares an enum whose variants are words, the same word everywhere.
macro_rules! word_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word that stands for it in the database, in CSV and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl rusqlite::types::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(
                value: rusqlite::types::ValueRef<'_>,
            ) -> rusqlite::types::FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Self::$variant),)+
                    other => Err(rusqlite::types::FromSqlError::Other(
                        format!("{other:?} is no {}", stringify!($name)).into(),
                    )),
                }
            }
        }
    };
}
pub(crate) use word_enum;

/// UTC microseconds as RFC 3339 with microseconds; a time outside years -9999..9999 as the bare number.
pub(crate) fn rfc3339(utc_us: i64) -> String {
    match Timestamp::from_microsecond(utc_us) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => format!("{utc_us}us"),
    }
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_in_utc_with_microseconds_whatever_their_size() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(1_763_692_496_000_007), "2025-11-21T02:34:56.000007Z");
        assert_eq!(rfc3339(i64::MAX), "9223372036854775807us");
    }
}
