//! Chance from a seed (splitmix64): enough for faults, good from any seed, and no dependency.

/// A generator. Equal seeds give equal numbers.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// True with a probability from 0 (never) to 1 (always).
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        let fraction = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        fraction < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_follows_its_probability_from_any_seed() {
        for seed in [0, 1, 2, u64::MAX] {
            let mut random = Random::new(seed);
            assert!((0..100).all(|_| !random.chance(0.0)));
            assert!((0..100).all(|_| random.chance(1.0)));
            let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
            assert!((2_200..2_800).contains(&hits), "seed {seed}: {hits}");
        }
    }
}
