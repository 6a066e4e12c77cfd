//! Canonical JSON: one value has exactly one spelling, so that a signature covers a meaning.
//!
//! Rules (a subset of RFC 8785 that needs no floating point): UTF-8 without BOM, no white space, object
//! names sorted by their bytes, integers from 0 to 2^53 - 1 in plain decimal, strings escape only `"`, `\`
//! and the control characters below U+0020 (`\b \t \n \f \r`, else `\u00xx` in lower case), no `null`
//! (an absent value is left out), no fractions, no negative numbers.
//!
//! [`parse`] accepts a document only if writing what it read gives back the very same bytes; that one
//! comparison refuses duplicate names, other spellings of numbers and escapes, and unknown order.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The greatest integer that every JSON reader keeps exactly (RFC 8785, section 3.2.2.3).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a value has no canonical form, or a document is not in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// The bytes are not JSON, or not of the wanted shape.
    #[error("not the expected JSON: {detail}")]
    Shape {
        /// What the reader says, with line and column.
        detail: String,
    },
    /// The value holds something the canonical form does not have.
    #[error("{what} has no canonical form")]
    NoForm {
        /// Which thing: a fraction, a null, a number out of range.
        what: &'static str,
    },
    /// The document says the right thing in another spelling.
    #[error("not in canonical form: differs at byte {offset}")]
    Spelling {
        /// Offset of the first byte that differs from the canonical spelling.
        offset: usize,
    },
}

/// The canonical bytes of `value`.
///
/// # Errors
/// [`CanonicalError::NoForm`] for fractions, negative or too great numbers and `null`.
pub fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value =
        serde_json::to_value(value).map_err(|error| CanonicalError::Shape { detail: error.to_string() })?;
    let mut out = Vec::new();
    write_value(&value, &mut out)?;
    Ok(out)
}

/// Reads a document that must be in canonical form.
///
/// # Errors
/// [`CanonicalError::Shape`] when the bytes are not a `T`; [`CanonicalError::Spelling`] when they are, in
/// another spelling.
pub fn parse<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CanonicalError> {
    let value: T =
        serde_json::from_slice(bytes).map_err(|error| CanonicalError::Shape { detail: error.to_string() })?;
    let again = write(&value)?;
    if again == bytes {
        return Ok(value);
    }
    let same = again.iter().zip(bytes).take_while(|(ours, theirs)| ours == theirs).count();
    Err(CanonicalError::Spelling { offset: same })
}

fn write_value(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => return Err(CanonicalError::NoForm { what: "null" }),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let integer =
                number.as_u64().filter(|integer| *integer <= MAX_INTEGER).ok_or(CanonicalError::NoForm {
                    what: "a number that is not an integer from 0 to 2^53 - 1",
                })?;
            out.extend_from_slice(integer.to_string().as_bytes());
        }
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // Sorted here, because the map's own order depends on a feature another crate may switch on.
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            out.push(b'{');
            for (index, (name, item)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write_value(item, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            control if control < ' ' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_golden_spelling_is_sorted_tight_and_minimally_escaped() {
        let value = json!({ "b": [1, 0, MAX_INTEGER], "a": "q\"\\\u{1}\n\u{7f}ü", "Z": true, "aa": {} });
        let text = String::from_utf8(write(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"Z\":true,\"a\":\"q\\\"\\\\\\u0001\\n\u{7f}ü\",\"aa\":{},\"b\":[1,0,9007199254740991]}"
        );
    }

    #[test]
    fn values_without_a_canonical_form_are_refused() {
        for value in [json!(null), json!(-1), json!(1.5), json!(MAX_INTEGER + 1)] {
            assert!(matches!(write(&value), Err(CanonicalError::NoForm { .. })), "{value}");
        }
    }

    #[test]
    fn another_spelling_of_the_same_value_is_refused_with_its_place() {
        type Map = BTreeMap<String, u64>;
        assert!(parse::<Map>(br#"{"a":1,"b":2}"#).is_ok());
        let cases: [(&[u8], usize); 4] =
            [(br#"{"b":2,"a":1}"#, 2), (br#"{"a": 1}"#, 5), (br#"{"\u0061":1}"#, 2), (b"{\"a\":1}\n", 7)];
        for (bytes, offset) in cases {
            assert_eq!(parse::<Map>(bytes), Err(CanonicalError::Spelling { offset }));
        }
        assert!(matches!(parse::<Map>(br#"{"a":1,"a":1}"#), Err(CanonicalError::Spelling { .. })));
        assert!(matches!(parse::<Map>(b"{"), Err(CanonicalError::Shape { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(map in prop::collection::btree_map(".*", 0..=MAX_INTEGER, 0..8)) {
            let bytes = write(&map).unwrap();
            prop_assert_eq!(parse::<BTreeMap<String, u64>>(&bytes).unwrap(), map);
        }
    }
}
