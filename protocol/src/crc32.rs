//! CRC-32/ISO-HDLC (the one of zlib and Ethernet), used for blocks, segments, regions and records.
//!
//! A host takes the `crc` crate's fast tables (16 KiB). A board has a table of 16 words, two steps a byte: its
//! flash and RAM are short. Both are the same function; a test compares them.

#[cfg(feature = "host")]
mod fast {
    const LANES: usize = 16;
    static ALGORITHM: crc::Crc<u32, crc::Table<LANES>> =
        crc::Crc::<u32, crc::Table<LANES>>::new(&crc::CRC_32_ISO_HDLC);

    pub(super) fn update(crc: u32, bytes: &[u8]) -> u32 {
        // The crate takes the register, bits reversed, and this function the checksum, which is its complement.
        let mut digest = ALGORITHM.digest_with_initial((!crc).reverse_bits());
        digest.update(bytes);
        digest.finalize()
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

    #[inline(never)]
    pub(super) fn update(crc: u32, bytes: &[u8]) -> u32 {
        let step = |value: u32| value >> 4 ^ TABLE[(value & 0xF) as usize];
        !bytes.iter().fold(!crc, |value, &byte| step(step(value ^ u32::from(byte))))
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
        self.update(0, bytes)
    }

    /// CRC-32 over bytes whose CRC-32 is `crc` (0: none) and these behind them.
    #[must_use]
    pub fn update(&self, crc: u32, bytes: &[u8]) -> u32 {
        kind::update(crc, bytes)
    }
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use super::*;

    #[test]
    fn the_boards_checksum_is_the_hosts() {
        let bytes: [u8; 300] = core::array::from_fn(|i| ((i * 7) ^ (i >> 3)) as u8);
        for len in [0, 1, 2, 9, 64, 300] {
            let (head, tail) = bytes[..len].split_at(len / 2);
            let whole = Crc32.checksum(&bytes[..len]);
            assert_eq!(small::update(small::update(0, head), tail), whole, "{len} bytes");
            assert_eq!(Crc32.update(Crc32.checksum(head), tail), whole, "{len} bytes");
        }
        assert_eq!(Crc32.checksum(b"123456789"), 0xCBF4_3926);
    }
}
