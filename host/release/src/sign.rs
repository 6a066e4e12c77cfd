//! Adding a signature to any of the signed files.
//!
//! A person signs what was checked: the document must be well formed, a release's payload must match its
//! manifest and the signatures already there must be good. Nothing is signed blindly.

use crate::{
    envelope::{Envelope, Kind},
    keys::SecretKey,
    manifest::Manifest,
    order::WorkOrder,
    refusal::Refusal,
    root::TrustedRoot,
    schema, verify,
};

/// The file with the signature of `key` added (or made anew).
///
/// # Errors
/// Any [`Refusal`] of layout, altered parts or content; [`Refusal::Oversize`] beyond 16 signatures.
pub fn sign(bytes: &[u8], key: &SecretKey) -> Result<Vec<u8>, Refusal> {
    let kind =
        Kind::detect(bytes).ok_or_else(|| Refusal::NotOurs { expected: Kind::Release, got: head(bytes) })?;
    let mut envelope = Envelope::parse(bytes, kind)?;
    envelope.signers()?;
    match kind {
        Kind::Release => {
            let manifest: Manifest = schema::parse(envelope.document)?;
            manifest.check()?;
            verify::check_payload(&manifest, envelope.payload)?;
        }
        Kind::Order => schema::parse::<WorkOrder>(envelope.document)?.check()?,
        Kind::Root => TrustedRoot::check_document(envelope.document)?,
    }
    envelope.sign(key)?;
    Ok(envelope.to_bytes())
}

fn head(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take(8).collect()
}
