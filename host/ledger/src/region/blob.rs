//! Named blobs behind the identity region: what a unit is given beside its numbers, such as its certificate.
//!
//! The first blob begins [`BLOBS`] bytes after the region, the next one at the next multiple of [`BLOB_ALIGN`], so that
//! no blob shares a flash programming unit with another on any chip. Each has a head (the table [`BLOB_LAYOUT`]), its
//! bytes, CRC-32/ISO-HDLC over both, and 0xFF to the end of its last unit. The first place without a head is the end.
//! `core` only, no heap.

use super::codec::{BLANK, CRC, RegionError, put, put_text};
use super::layout::{BLOB_ALIGN, BLOB_HEAD, BLOB_LAYOUT, BLOB_MAGIC, BLOBS, offset_in, shape_in};

const LENGTH_AT: usize = offset_in(&BLOB_LAYOUT, "length");
const NAME_AT: usize = offset_in(&BLOB_LAYOUT, "name");
const NAME: usize = shape_in(&BLOB_LAYOUT, "name").size();
const CRC_SIZE: usize = 4;

/// A blob that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob<'a> {
    /// Its name, 1 to 23 printable ASCII characters.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Bytes that a blob of `length` bytes takes in memory, padding included.
#[must_use]
pub const fn blob_length(length: usize) -> usize {
    (BLOB_HEAD + length + CRC_SIZE).next_multiple_of(BLOB_ALIGN)
}

/// Writes a blob to the beginning of `out` and gives the bytes it takes.
///
/// # Errors
/// [`RegionError::Space`], [`RegionError::Text`] for its name.
pub fn encode_blob(blob: Blob<'_>, out: &mut [u8]) -> Result<usize, RegionError> {
    let Blob { name, bytes } = blob;
    let needed = blob_length(bytes.len());
    let got = out.len();
    let out = out.get_mut(..needed).ok_or(RegionError::Space { got, needed })?;
    let length = u32::try_from(bytes.len()).map_err(|_| RegionError::Space { got, needed })?;
    out.fill(BLANK);
    out[..BLOB_HEAD].fill(0);
    put(out, 0, &BLOB_MAGIC.to_le_bytes());
    put(out, LENGTH_AT, &length.to_le_bytes());
    if name.is_empty() {
        return Err(RegionError::Text { field: "name", limit: NAME - 1 });
    }
    put_text(out, "name", (NAME_AT, NAME), name)?;
    put(out, BLOB_HEAD, bytes);
    let end = BLOB_HEAD + bytes.len();
    let crc = CRC.checksum(&out[..end]);
    put(out, end, &crc.to_le_bytes());
    Ok(needed)
}

/// The blobs behind a region; `memory` begins where the region does. A damaged one ends the list with its error.
pub fn blobs(memory: &[u8]) -> impl Iterator<Item = Result<Blob<'_>, RegionError>> {
    let mut rest = memory.get(BLOBS..).unwrap_or_default();
    core::iter::from_fn(move || match next(rest) {
        Ok(None) => None,
        Ok(Some(blob)) => {
            rest = rest.get(blob_length(blob.bytes.len())..).unwrap_or_default();
            Some(Ok(blob))
        }
        Err(error) => {
            rest = &[];
            Some(Err(error))
        }
    })
}

fn next(memory: &[u8]) -> Result<Option<Blob<'_>>, RegionError> {
    let Some(head) = memory.get(..BLOB_HEAD) else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(0) != BLOB_MAGIC {
        return Ok(None);
    }
    let length = word(LENGTH_AT) as usize;
    let end = BLOB_HEAD.saturating_add(length);
    let crc = memory.get(end..).and_then(|rest| rest.first_chunk::<CRC_SIZE>());
    let (Some(crc), Some(bytes)) = (crc, memory.get(BLOB_HEAD..end)) else {
        return Err(RegionError::Space { got: memory.len(), needed: end.saturating_add(CRC_SIZE) });
    };
    let (got, computed) = (u32::from_le_bytes(*crc), CRC.checksum(&memory[..end]));
    if got != computed {
        return Err(RegionError::Crc { got, computed });
    }
    let name = &head[NAME_AT..NAME_AT + NAME];
    let name = name.iter().position(|byte| *byte == 0).map(|end| &name[..end]);
    let printable = |name: &&[u8]| !name.is_empty() && name.iter().all(|byte| (b' '..=b'~').contains(byte));
    match name.filter(printable).map(core::str::from_utf8) {
        Some(Ok(name)) => Ok(Some(Blob { name, bytes })),
        _ => Err(RegionError::Field { field: "name" }),
    }
}
