//! A small seeded generator (xorshift64*), the simulator's only source of chance.
//!
//! Invariant: every consumer owns a generator derived from the world's seed and its own name, so that one
//! board's faults never shift another board's.

/// xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2014).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for `stream` of the world seeded with `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // splitmix64 spreads neighbouring seeds; xorshift must not start at zero.
        let mut z = seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((z ^ (z >> 31)) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..n`; 0 if `n` is 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// True with probability `rate`; draws nothing if the rate is zero.
    pub(crate) fn chance(&mut self, rate: Rate) -> bool {
        rate.0 != 0 && (self.next() >> 11) < rate.0
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// A probability in units of 2^-53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rate(u64);

impl Rate {
    /// `rate` limited to `0.0..=1.0`.
    pub(crate) fn new(rate: f64) -> Self {
        Self((rate.clamp(0.0, 1.0) * (1u64 << 53) as f64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_one_percent_hits_about_once_in_a_hundred() {
        let mut rng = Rng::new(1, 2);
        let rate = Rate::new(0.01);
        let hits = (0..100_000).filter(|_| rng.chance(rate)).count();
        assert!((900..1100).contains(&hits), "{hits}");
    }

    #[test]
    fn a_rate_of_zero_draws_no_number() {
        let mut rng = Rng::new(1, 2);
        let before = rng.0;
        assert!(!rng.chance(Rate::new(0.0)));
        assert_eq!(rng.0, before);
    }

    #[test]
    fn neighbouring_seeds_and_streams_differ() {
        let first = |seed, stream| Rng::new(seed, stream).next();
        assert_ne!(first(1, 1), first(1, 2));
        assert_ne!(first(1, 1), first(2, 1));
    }
}
