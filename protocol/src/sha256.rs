//! SHA-256 (FIPS 180-4) as the node wants it: `sha2` behind two calls that are no more than calls, because a board
//! hashes in several places and has room for the code once.

use sha2::Digest;

/// A hash under way; none before its first bytes.
pub(crate) struct Sha256(Option<sha2::Sha256>);

impl Sha256 {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    #[inline(never)]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_default().update(bytes);
    }

    /// The digest of all bytes taken; the next hash may begin.
    #[inline(never)]
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.0.get_or_insert_default().finalize_reset().into()
    }
}
