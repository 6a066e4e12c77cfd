//! SHA-256 (FIPS 180-4). A host takes the `sha2` crate; a board a loop of its own, because the crate's smallest form is
//! three times its size. Both are the same function; a test compares them.

#[cfg(feature = "host")]
mod fast {
    use sha2::Digest;

    pub(crate) struct Sha256(sha2::Sha256);

    impl Sha256 {
        pub(crate) fn new() -> Self {
            Self(sha2::Sha256::new())
        }

        pub(crate) fn update(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        pub(crate) fn finish(&mut self) -> [u8; 32] {
            self.0.finalize_reset().into()
        }
    }
}

#[cfg(any(not(feature = "host"), test))]
mod small {
    /// First 32 bits of the fractional parts of the square roots of the first 8 primes (FIPS 180-4, 5.3.3).
    const START: [u32; 8] = [
        0x6A09_E667,
        0xBB67_AE85,
        0x3C6E_F372,
        0xA54F_F53A,
        0x510E_527F,
        0x9B05_688C,
        0x1F83_D9AB,
        0x5BE0_CD19,
    ];
    /// The same of the cube roots of the first 64 primes (4.2.2).
    static ROUNDS: [u32; 64] = [
        0x428A_2F98,
        0x7137_4491,
        0xB5C0_FBCF,
        0xE9B5_DBA5,
        0x3956_C25B,
        0x59F1_11F1,
        0x923F_82A4,
        0xAB1C_5ED5,
        0xD807_AA98,
        0x1283_5B01,
        0x2431_85BE,
        0x550C_7DC3,
        0x72BE_5D74,
        0x80DE_B1FE,
        0x9BDC_06A7,
        0xC19B_F174,
        0xE49B_69C1,
        0xEFBE_4786,
        0x0FC1_9DC6,
        0x240C_A1CC,
        0x2DE9_2C6F,
        0x4A74_84AA,
        0x5CB0_A9DC,
        0x76F9_88DA,
        0x983E_5152,
        0xA831_C66D,
        0xB003_27C8,
        0xBF59_7FC7,
        0xC6E0_0BF3,
        0xD5A7_9147,
        0x06CA_6351,
        0x1429_2967,
        0x27B7_0A85,
        0x2E1B_2138,
        0x4D2C_6DFC,
        0x5338_0D13,
        0x650A_7354,
        0x766A_0ABB,
        0x81C2_C92E,
        0x9272_2C85,
        0xA2BF_E8A1,
        0xA81A_664B,
        0xC24B_8B70,
        0xC76C_51A3,
        0xD192_E819,
        0xD699_0624,
        0xF40E_3585,
        0x106A_A070,
        0x19A4_C116,
        0x1E37_6C08,
        0x2748_774C,
        0x34B0_BCB5,
        0x391C_0CB3,
        0x4ED8_AA4A,
        0x5B9C_CA4F,
        0x682E_6FF3,
        0x748F_82EE,
        0x78A5_636F,
        0x84C8_7814,
        0x8CC7_0208,
        0x90BE_FFFA,
        0xA450_6CEB,
        0xBEF9_A3F7,
        0xC671_78F2,
    ];

    pub(crate) struct Sha256 {
        /// Of the blocks so far; set with the first byte, so that a hash that has not begun is zero.
        state: [u32; 8],
        /// The block under way, as big-endian words.
        block: [u32; 16],
        /// Bytes taken; less than 512 MiB.
        len: u32,
    }

    impl Sha256 {
        pub(crate) const fn new() -> Self {
            Self { state: [0; 8], block: [0; 16], len: 0 }
        }

        #[inline(never)]
        pub(crate) fn update(&mut self, bytes: &[u8]) {
            if self.len == 0 {
                self.state = START;
            }
            for &byte in bytes {
                let word = &mut self.block[(self.len / 4 % 16) as usize];
                *word = *word << 8 | u32::from(byte);
                self.len += 1;
                if self.len.is_multiple_of(64) {
                    self.compress();
                }
            }
        }

        /// The digest of all bytes taken; the next hash may begin.
        #[inline(never)]
        pub(crate) fn finish(&mut self) -> [u8; 32] {
            let bits = self.len * 8;
            self.update(&[0x80]);
            while self.len % 64 != 56 {
                self.update(&[0]);
            }
            self.update(&[0; 4]);
            self.update(&bits.to_be_bytes());
            let mut digest = [0; 32];
            for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            self.len = 0;
            digest
        }

        /// FIPS 180-4, 6.2.2, with the message schedule made in the block as it goes.
        #[inline(never)]
        fn compress(&mut self) {
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.state;
            let w = &mut self.block;
            for (t, constant) in ROUNDS.iter().enumerate() {
                let word = w[t % 16];
                let sigma1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
                let t1 = (h.wrapping_add(sigma1).wrapping_add((e & f) ^ (!e & g)))
                    .wrapping_add(*constant)
                    .wrapping_add(word);
                let sigma0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
                let t2 = sigma0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
                (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
                let (near, far) = (w[(t + 1) % 16], w[(t + 14) % 16]);
                let s0 = near.rotate_right(7) ^ near.rotate_right(18) ^ near >> 3;
                let s1 = far.rotate_right(17) ^ far.rotate_right(19) ^ far >> 10;
                w[t % 16] = word.wrapping_add(s0).wrapping_add(w[(t + 9) % 16]).wrapping_add(s1);
            }
            for (sum, value) in self.state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                *sum = sum.wrapping_add(value);
            }
        }
    }
}

#[cfg(feature = "host")]
pub(crate) use fast::Sha256;
#[cfg(not(feature = "host"))]
pub(crate) use small::Sha256;

#[cfg(all(test, feature = "host"))]
mod tests {
    #[test]
    fn the_boards_hash_is_the_hosts() {
        let bytes: [u8; 300] = core::array::from_fn(|i| ((i * 7) ^ (i >> 3)) as u8);
        let (mut small, mut fast) = (super::small::Sha256::new(), super::fast::Sha256::new());
        for len in [0, 1, 3, 55, 56, 63, 64, 65, 119, 120, 300] {
            let (head, tail) = bytes[..len].split_at(len / 3);
            for part in [head, tail] {
                small.update(part);
                fast.update(part);
            }
            assert_eq!(small.finish(), fast.finish(), "{len} bytes");
        }
    }
}
