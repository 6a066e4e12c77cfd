//! SHA-256 (FIPS 180-4) as the node wants it: `sha2` behind two calls that are no more than calls, because a board
//! hashes in several places and has room for the code once.

use sha2::Digest;

/// A hash under way.
pub(crate) struct Sha256(sha2::Sha256);

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    #[inline(never)]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken; the next hash may begin.
    #[inline(never)]
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        self.0.finalize_reset().into()
    }
}
