//! Which shard a claim asks first.

use std::sync::atomic::{AtomicU64, Ordering};

/// Odd, from the golden ratio: its multiples are spread evenly (SplitMix64).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Orders of the shards, at random. Going round instead would be unfair: a shard behind empty ones would
/// get their turns too.
#[derive(Debug)]
pub struct Turns(AtomicU64);

impl Turns {
    /// `seed` differs between processes, so that they do not all ask the same shard at once.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn random(&self) -> u64 {
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// All shards, in the order in which the next claim asks them.
    pub fn next(&self, shards: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..shards).collect();
        for i in (1..shards).rev() {
            let other = usize::try_from(self.random() % (i as u64 + 1)).unwrap_or(i);
            order.swap(i, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_shards_with_work_comes_first_equally_often() {
        let turns = Turns::new(7);
        let busy = [0, 1, 5];
        let mut first = [0u32; 3];
        for _ in 0..30_000 {
            let order = turns.next(8);
            let shard = order.iter().find(|shard| busy.contains(shard)).unwrap();
            first[busy.iter().position(|b| b == shard).unwrap()] += 1;
        }
        for times in first {
            assert!((9_500..10_500).contains(&times), "{first:?}");
        }
    }

    #[test]
    fn every_shard_is_asked_once() {
        let mut order = Turns::new(1).next(256);
        order.sort_unstable();
        assert_eq!(order, (0..256).collect::<Vec<_>>());
    }
}
