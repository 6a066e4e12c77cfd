//! The hash chain over the ledger's log.
//!
//! Hash of entry n = SHA-256 of: hash of entry n-1 (32 zero bytes before the first), number (u64), time in
//! microseconds since 1970 (i64), length of the kind (u32), kind, length of the body (u32), body; integers
//! little-endian. A changed, removed or inserted entry breaks the chain at that place; the end of the log
//! cannot be cut off unseen by somebody who kept a [`Checkpoint`](crate::Checkpoint).

use sha2::{Digest, Sha256};

use crate::types::Hash;

/// The hash before the first entry.
pub const START: Hash = Hash([0; 32]);

/// The hash of an entry that follows one with hash `before`.
#[must_use]
pub fn link(before: Hash, seq: u64, at_micros: i64, kind: &str, body: &str) -> Hash {
    let mut sha = Sha256::new();
    sha.update(before.0);
    sha.update(seq.to_le_bytes());
    sha.update(at_micros.to_le_bytes());
    for text in [kind, body] {
        sha.update((text.len() as u32).to_le_bytes());
        sha.update(text.as_bytes());
    }
    Hash(sha.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_each_part_and_is_the_documented_one() {
        let first = link(START, 1, 1_000_000, "void", "{}");
        // Computed from the documented bytes with another implementation (Python's hashlib).
        assert_eq!(first.to_string(), "b1abf0c53234a4c6bb4744828b3b89848e1d139ae918e4278c99a32faa752b3f");
        let others = [
            link(first, 1, 1_000_000, "void", "{}"),
            link(START, 2, 1_000_000, "void", "{}"),
            link(START, 1, 1_000_001, "void", "{}"),
            link(START, 1, 1_000_000, "voi", "d{}"),
            link(START, 1, 1_000_000, "void", "{ }"),
        ];
        assert!(others.iter().all(|other| *other != first));
    }
}
