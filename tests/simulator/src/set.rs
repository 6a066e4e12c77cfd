//! A set of endpoints of one bus, small enough to copy.

/// Endpoints `0..Set::CAPACITY`, iterated in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Set([u64; 4]);

impl Set {
    /// Endpoints a bus can have: the host's adapter and up to 255 boards.
    pub(crate) const CAPACITY: usize = 256;

    pub(crate) fn insert(&mut self, e: usize) {
        self.0[e / 64] |= 1 << (e % 64);
    }

    pub(crate) fn remove(&mut self, e: usize) {
        self.0[e / 64] &= !(1 << (e % 64));
    }

    pub(crate) fn contains(self, e: usize) -> bool {
        self.0[e / 64] >> (e % 64) & 1 == 1
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    pub(crate) fn len(self) -> u32 {
        self.0.iter().map(|w| w.count_ones()).sum()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(w, mut word)| {
            std::iter::from_fn(move || {
                (word != 0).then(|| {
                    let bit = word.trailing_zeros() as usize;
                    word &= word - 1;
                    w * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_out_in_ascending_order() {
        let mut set = Set::default();
        [200, 3, 64, 63, 255].into_iter().for_each(|e| set.insert(e));
        set.remove(64);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 63, 200, 255]);
        assert_eq!(set.len(), 4);
        assert!(set.contains(200) && !set.contains(64));
    }
}
