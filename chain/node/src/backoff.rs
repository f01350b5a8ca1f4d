//! How long to leave somebody alone who does not answer.

use std::time::Duration;

/// Waits that double, each somewhere between a half and all of its length, so that boxes which lost one node together
/// do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// From `first` to `most`. `seed`: another one for each node and box.
    #[must_use]
    pub fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { first, most, next: first.min(most), random: seed }
    }

    /// As connections to nodes are made again: from one second to one minute.
    #[must_use]
    pub fn usual(seed: u64) -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60), seed)
    }

    /// The next wait; the one after is twice as long.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.most);
        whole / 2 + (whole / 2).mul_f64(self.fraction())
    }

    /// It answered: the next wait is the first again.
    pub fn reset(&mut self) {
        self.next = self.first.min(self.most);
    }

    /// From 0 to 1, by SplitMix64.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed ^ (mixed >> 31)).to_le_bytes();
        f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_are_spread() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut seen = Vec::new();
        for seed in 0..100 {
            let mut backoff = Backoff::new(first, most, seed);
            let mut again = backoff.clone();
            for expected_s in [1, 2, 4, 8, 16, 32, 60, 60] {
                let (wait, whole) = (backoff.wait(), Duration::from_secs(expected_s));
                assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
                assert_eq!(again.wait(), wait);
            }
            backoff.reset();
            seen.push(backoff.wait());
        }
        assert!(seen.iter().all(|wait| *wait <= first));
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 90, "{} different waits of 100", seen.len());
    }
}
