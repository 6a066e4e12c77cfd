//! Reading a signed document: the schema number first, then the whole in canonical form.
//!
//! The number is looked at alone, so that a document of a newer schema is refused as newer and not as
//! malformed.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    canonical::{self, CanonicalError},
    envelope::Envelope,
    refusal::Refusal,
};

/// The schema number this version writes and reads, in every kind of document.
pub const SCHEMA: u64 = 1;

#[derive(Deserialize)]
struct OnlySchema {
    schema: u64,
}

/// Reads a document whose signatures were checked.
pub(crate) fn parse<T: Serialize + DeserializeOwned>(document: &[u8]) -> Result<T, Refusal> {
    let OnlySchema { schema } = serde_json::from_slice(document)
        .map_err(|error| CanonicalError::Shape { detail: error.to_string() })?;
    expect_number(schema)?;
    Ok(canonical::parse(document)?)
}

pub(crate) fn expect_number(schema: u64) -> Result<(), Refusal> {
    if schema == SCHEMA { Ok(()) } else { Err(Refusal::UnknownSchema { got: schema, known: SCHEMA }) }
}

/// Only a release has a payload.
pub(crate) fn expect_no_payload(envelope: &Envelope<'_>) -> Result<(), Refusal> {
    let got = envelope.payload.len() as u64;
    if got == 0 { Ok(()) } else { Err(Refusal::Oversize { part: "the payload", got, limit: 0 }) }
}
