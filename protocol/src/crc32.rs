//! CRC-32/ISO-HDLC (the one of zlib and Ethernet), used for blocks, segments, regions and records.
//!
//! A host takes the `crc` crate's fast tables (16 KiB). A board has a table of 16 words, two steps a byte: its
//! flash and RAM are short. Both are the same function; a test compares them.

#[cfg(feature = "host")]
mod fast {
    const LANES: usize = 16;
    static ALGORITHM: crc::Crc<u32, crc::Table<LANES>> =
        crc::Crc::<u32, crc::Table<LANES>>::new(&crc::CRC_32_ISO_HDLC);

    pub(super) type State = crc::Digest<'static, u32, crc::Table<LANES>>;

    pub(super) fn start() -> State {
        ALGORITHM.digest()
    }

    pub(super) fn update(state: &mut State, bytes: &[u8]) {
        state.update(bytes);
    }

    pub(super) fn finalize(state: State) -> u32 {
        state.finalize()
    }
}

#[cfg(any(not(feature = "host"), test))]
mod small {
    const POLYNOMIAL: u32 = 0xEDB8_8320; // 0x04C11DB7, reflected

    static TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut n = 0;
        while n < 16 {
            let (mut value, mut bit) = (n as u32, 0);
            while bit < 4 {
                value = value >> 1 ^ if value & 1 != 0 { POLYNOMIAL } else { 0 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };

    pub(super) type State = u32;

    pub(super) const fn start() -> State {
        u32::MAX
    }

    pub(super) fn update(state: &mut State, bytes: &[u8]) {
        let step = |value: u32| value >> 4 ^ TABLE[(value & 0xF) as usize];
        *state = bytes.iter().fold(*state, |value, &byte| step(step(value ^ u32::from(byte))));
    }

    pub(super) const fn finalize(state: State) -> u32 {
        !state
    }
}

#[cfg(feature = "host")]
use fast as kind;
#[cfg(not(feature = "host"))]
use small as kind;

/// CRC-32 of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Crc32;

impl Crc32 {
    /// CRC-32 over these bytes.
    #[must_use]
    pub fn checksum(&self, bytes: &[u8]) -> u32 {
        let mut digest = self.digest();
        digest.update(bytes);
        digest.finalize()
    }

    /// CRC-32 over bytes to come.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(kind::start())
    }
}

/// CRC-32 under way.
#[derive(Clone)]
pub struct Digest(kind::State);

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Digest")
    }
}

impl Digest {
    /// Takes the next bytes.
    #[inline(never)]
    pub fn update(&mut self, bytes: &[u8]) {
        kind::update(&mut self.0, bytes);
    }

    /// The checksum of all bytes taken.
    #[must_use]
    pub fn finalize(self) -> u32 {
        kind::finalize(self.0)
    }
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use super::*;

    #[test]
    fn the_boards_checksum_is_the_hosts() {
        let bytes: [u8; 300] = core::array::from_fn(|i| ((i * 7) ^ (i >> 3)) as u8);
        for len in [0, 1, 2, 9, 64, 300] {
            let mut state = small::start();
            small::update(&mut state, &bytes[..len / 2]);
            small::update(&mut state, &bytes[len / 2..len]);
            assert_eq!(small::finalize(state), Crc32.checksum(&bytes[..len]), "{len} bytes");
        }
        assert_eq!(Crc32.checksum(b"123456789"), 0xCBF4_3926);
    }
}
