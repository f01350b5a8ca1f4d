//! How often something may be done.

use dataplane_api::Nanos;

const SECOND: Nanos = 1_000_000_000;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    interval: Nanos,
    burst: Nanos,
    /// When all tokens are there again.
    full_at: Nanos,
}

impl Budget {
    /// `per_second`: at least 1.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = SECOND / Nanos::from(per_second.max(1));
        Self { interval, burst: interval * Nanos::from(burst), full_at: 0 }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Nanos) -> bool {
        let full_at = self.full_at.max(now) + self.interval;
        let may = full_at - now <= self.burst;
        if may {
            self.full_at = full_at;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut budget = Budget::new(10, 3);
        assert_eq!([0; 5].map(|now| budget.take(now)), [true, true, true, false, false]);
        assert!(budget.take(SECOND / 10));
        assert!(!budget.take(SECOND / 10));
        assert_eq!([SECOND; 4].map(|now| budget.take(now)), [true, true, true, false]);
    }
}
