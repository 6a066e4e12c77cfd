//! The identity region: what a board carries in its flash or OTP to say who it is.
//!
//! Layout version 1 is the table [`LAYOUT`]; encoder, decoder and the C header for firmware
//! (`docs/identity_region.h`, see [`c_header`]) all come from it. Integers are little-endian. The region ends
//! with CRC-32/ISO-HDLC (zlib's) over everything before it; behind it, up to the flash programming unit, stand
//! 0xFF bytes that belong to nobody. Named blobs, such as the unit's certificate, follow it ([`Blob`]).
//!
//! [`encode`] and [`decode`] use `core` only and no heap, so that a node written in Rust can share them.
//! [`compare`] is how an identity in doubt is resolved: it says what the board really holds.

mod blob;
mod codec;
mod header;
mod layout;

pub use blob::{Blob, blob_length, blobs, encode_blob};
pub use codec::{
    Found, Identity, KeySlot, RegionError, SlotUse, View, compare, decode, encode, padded_length,
};
pub use header::c_header;
pub use layout::{
    BLOB_ALIGN, BLOB_HEAD, BLOB_LAYOUT, BLOB_MAGIC, BLOBS, Field, LAYOUT, LENGTH, MAGIC, Shape, VERSION,
};
