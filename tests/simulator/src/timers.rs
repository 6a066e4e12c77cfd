//! Who is due next: a tournament tree over a fixed set of owners, each with at most one due time.
//!
//! Invariant: an inner node holds the smaller of its two children. A change costs log2 N comparisons and stops
//! early, looking at the minimum costs one read; nothing is ever allocated after construction.

/// No due time.
pub(crate) const NEVER: u64 = u64::MAX;

/// Due times in nanoseconds of owners `0..n`.
#[derive(Debug)]
pub(crate) struct Timers {
    tree: Vec<u64>,
    leaves: usize,
}

impl Timers {
    pub(crate) fn new(owners: usize) -> Self {
        let leaves = owners.next_power_of_two().max(2);
        Self { tree: vec![NEVER; 2 * leaves], leaves }
    }

    /// Owner `i` is due at `at` and at no other time.
    pub(crate) fn set(&mut self, i: usize, at: u64) {
        let mut node = self.leaves + i;
        if self.tree[node] == at {
            return;
        }
        self.tree[node] = at;
        while node > 1 {
            node >>= 1;
            let least = self.tree[2 * node].min(self.tree[2 * node + 1]);
            if self.tree[node] == least {
                return;
            }
            self.tree[node] = least;
        }
    }

    /// The earliest due time, or [`NEVER`].
    pub(crate) fn earliest(&self) -> u64 {
        self.tree[1]
    }

    /// The owner that is due first; of several the lowest.
    pub(crate) fn first(&self) -> usize {
        let mut node = 1;
        while node < self.leaves {
            node *= 2;
            if self.tree[node] > self.tree[node + 1] {
                node += 1;
            }
        }
        node - self.leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_earliest_and_lowest_owner_comes_first_whatever_was_set_before() {
        let mut rng = Rng::new(3, 0);
        let mut timers = Timers::new(13);
        let mut plain = [NEVER; 13];
        for _ in 0..5000 {
            let i = rng.below(13) as usize;
            let at = if rng.below(5) == 0 { NEVER } else { rng.below(20) };
            timers.set(i, at);
            plain[i] = at;
            let least = plain.iter().copied().min().unwrap();
            assert_eq!(timers.earliest(), least);
            assert_eq!(timers.first(), plain.iter().position(|&t| t == least).unwrap());
        }
    }
}
