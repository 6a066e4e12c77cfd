//! SHA-256 (FIPS 180-4) as the node wants it: the compression is that of `sha2`, the block that fills up is kept here, in a
//! third of the code of `sha2`'s own, which serves hashes of every kind. A board has room for little.

use core::slice::from_ref;
use sha2::block_api::compress256;

/// Bytes that are compressed at once.
const BLOCK: usize = 64;

/// The hash of nothing (FIPS 180-4, 5.3.3).
static INITIAL: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

/// A hash under way.
pub(crate) struct Sha256 {
    /// Before the first byte: anything.
    state: [u32; 8],
    /// Bytes taken.
    len: u32,
    block: [u8; BLOCK],
}

impl Sha256 {
    /// A hash of nothing so far; all zero, so that a board's memory needs no code to be set up.
    pub(crate) const fn new() -> Self {
        Self { state: [0; 8], len: 0, block: [0; BLOCK] }
    }

    #[inline(never)]
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        if self.len == 0 {
            self.state = INITIAL;
        }
        while !bytes.is_empty() {
            let space = &mut self.block[self.len as usize % BLOCK..];
            let (head, rest) = bytes.split_at(bytes.len().min(space.len()));
            space.iter_mut().zip(head).for_each(|(space, byte)| *space = *byte);
            bytes = rest;
            self.len += head.len() as u32;
            if (self.len as usize).is_multiple_of(BLOCK) {
                compress256(&mut self.state, from_ref(&self.block));
            }
        }
    }

    /// The digest of all bytes taken (less than 512 MiB); the next hash may begin.
    #[inline(never)]
    pub(crate) fn finish(&mut self) -> [u8; 32] {
        let bits = u64::from(self.len * 8);
        self.update(&[0x80]);
        while self.len as usize % BLOCK != BLOCK - 8 {
            self.update(&[0]);
        }
        self.update(&bits.to_be_bytes());
        let digest = core::array::from_fn(|i| (self.state[i / 4] >> (24 - i % 4 * 8)) as u8);
        self.len = 0;
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;

    #[test]
    fn digests_are_those_of_the_library_whatever_the_pieces() {
        let bytes: [u8; 300] = core::array::from_fn(|i| (i * 31) as u8);
        let mut hash = Sha256::new();
        for len in [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 300] {
            for piece in [1, 44, 64, 256] {
                bytes[..len].chunks(piece).for_each(|piece| hash.update(piece));
                assert_eq!(hash.finish(), *sha2::Sha256::digest(&bytes[..len]), "{len} bytes by {piece}");
            }
        }
    }
}
