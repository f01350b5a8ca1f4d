//! When packets are due: open loop, at a rate that does not wait for anybody.

use dataplane_api::Nanos;

/// What a sender may be behind and still catch up, nanoseconds: the scheduler takes the core for so long.
const BEHIND_MAX_NS: u128 = 50_000_000;
const SECOND_NS: u128 = 1_000_000_000;

/// Hands out packets that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacer {
    /// Packets per second; `None`: as fast as they are taken.
    rate: Option<u64>,
    start: Option<Nanos>,
    done: u64,
    refused: u64,
}

impl Pacer {
    /// At `rate` packets per second from the first question on; `None`: always due.
    #[must_use]
    pub const fn new(rate: Option<u64>) -> Self {
        Self { rate, start: None, done: 0, refused: 0 }
    }

    /// Packets due now. What has been due for longer than 50 ms and found no room is refused: it is not sent later.
    pub fn due(&mut self, now: Nanos) -> u64 {
        let Some(rate) = self.rate else { return u64::MAX };
        let elapsed = u128::from(now.saturating_sub(*self.start.get_or_insert(now)));
        let scheduled = |elapsed: u128| {
            u64::try_from(elapsed * u128::from(rate) / SECOND_NS).unwrap_or(u64::MAX)
        };
        let stale = scheduled(elapsed.saturating_sub(BEHIND_MAX_NS));
        self.refused += stale.saturating_sub(self.done + self.refused);
        scheduled(elapsed) - self.done - self.refused
    }

    /// Time until the next packet is due; 0 if one is.
    #[must_use]
    pub fn until_due(&self, now: Nanos) -> Nanos {
        let (Some(rate), Some(start)) = (self.rate, self.start) else { return 0 };
        let next = u128::from(self.done + self.refused + 1);
        let at = (next * SECOND_NS).div_ceil(u128::from(rate.max(1)));
        let elapsed = u128::from(now.saturating_sub(start));
        u64::try_from(at.saturating_sub(elapsed)).unwrap_or(Nanos::MAX)
    }

    /// Notes that some were sent.
    pub const fn sent(&mut self, count: u64) {
        self.done += count;
    }

    /// Packets that were due and never sent.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However irregularly it is asked, each packet is sent or refused, on time.
        #[test]
        fn keeps_its_rate(
            rate in 1u64..50_000_000, steps in proptest::collection::vec((0u64..120_000_000, 0u64..2_000_000), 1..60),
        ) {
            let mut pacer = Pacer::new(Some(rate));
            let (mut now, mut sent) = (1_000, 0);
            prop_assert_eq!(pacer.due(now), 0);
            for (step, room) in steps {
                now += step;
                let due = pacer.due(now);
                let scheduled = u64::try_from(u128::from(now - 1_000) * u128::from(rate) / SECOND_NS).unwrap();
                prop_assert_eq!(sent + pacer.refused() + due, scheduled);
                let wait = pacer.until_due(now);
                prop_assert_eq!(wait == 0, due > 0);
                prop_assert!(due > 0 || pacer.clone().due(now + wait) == 1);
                // What is due is not older than the bound.
                prop_assert!(due <= rate / 20 + 1);
                let taken = due.min(room);
                pacer.sent(taken);
                sent += taken;
            }
        }
    }

    #[test]
    fn without_a_rate_nothing_is_late() {
        let mut pacer = Pacer::new(None);
        assert_eq!(pacer.due(5), u64::MAX);
        pacer.sent(7);
        assert_eq!((pacer.due(9_000_000_000), pacer.refused()), (u64::MAX, 0));
    }
}
