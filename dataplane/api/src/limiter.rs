//! A token bucket in eight bytes.

use crate::Nanos;

/// GCRA: the theoretical arrival time of the next packet that conforms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limiter {
    next: Nanos,
}

/// Rate and burst of limiters, as times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Between packets at the rate, ns.
    interval: Nanos,
    /// How far ahead of the rate a burst may run, ns.
    tolerance: Nanos,
}

impl Limit {
    /// `per_second` on average, `burst` at once; none at all if one of them is 0.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let interval = 1_000_000_000_u64.checked_div(u64::from(per_second))?;
        Some(Self { interval, tolerance: interval * u64::from(burst.checked_sub(1)?) })
    }
}

impl Limiter {
    /// Whether a packet conforms now; if so it is counted.
    #[must_use]
    pub fn conforms(&mut self, limit: Limit, now: Nanos) -> bool {
        let conforms = self.next <= now.saturating_add(limit.tolerance);
        if conforms {
            self.next = self.next.max(now).saturating_add(limit.interval);
        }
        conforms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = Limit::new(10, 3).unwrap();
        let mut limiter = Limiter::default();
        let start = 77_000_000_000;
        let at_once = (0..5).filter(|_| limiter.conforms(limit, start)).count();
        assert_eq!(at_once, 3);
        assert!(!limiter.conforms(limit, start + 99_999_999));
        assert!(limiter.conforms(limit, start + 100_000_000));
        assert!(!limiter.conforms(limit, start + 100_000_000));
        let in_ten_seconds =
            (1..=10_000).filter(|ms| limiter.conforms(limit, start + 100_000_000 + ms * 1_000_000));
        assert_eq!(in_ten_seconds.count(), 100);
    }
}
