//! The time that leases go by: the wall clock's, followed slowly and never in a step.

use dataplane_api::Nanos;

/// How fast it follows: 500 parts of a million, as the kernel's own slewing does.
const SLEW_PER_SECOND: i64 = 500_000;
/// A difference that is no drift: somebody set the clock.
const STEP: i64 = 2_000_000_000;
/// Between two looks at most, for slewing: what lies beyond was sleep.
const LOOK_MAX: Nanos = 10_000_000_000;

/// Maps the monotonic clock to wall time.
#[derive(Debug)]
pub(crate) struct BoxClock {
    /// Wall time less monotonic time, ns.
    offset: i64,
    looked: Nanos,
    stepped: bool,
}

/// What a look at the wall clock found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It goes as it did.
    Steady,
    /// It was set: this far from the time that leases go by, ns. Told once.
    Stepped(i64),
    /// It is near again.
    Back,
}

impl BoxClock {
    /// `now`: monotonic; `wall`: ns since 1970.
    pub(crate) fn new(now: Nanos, wall: u64) -> Self {
        Self { offset: wall.wrapping_sub(now).cast_signed(), looked: now, stepped: false }
    }

    /// Unix milliseconds.
    pub(crate) fn unix_ms(&self, now: Nanos) -> u64 {
        now.wrapping_add_signed(self.offset) / 1_000_000
    }

    /// Monotonic time of a moment, Unix milliseconds.
    pub(crate) fn monotonic(&self, unix_ms: u64) -> Nanos {
        unix_ms.saturating_mul(1_000_000).saturating_add_signed(self.offset.saturating_neg())
    }

    /// Looks at the wall clock: follows it if it drifted, and does not if it was set.
    pub(crate) fn follow(&mut self, now: Nanos, wall: u64) -> Look {
        let off = wall.wrapping_sub(now).cast_signed().wrapping_sub(self.offset);
        let passed = now.saturating_sub(self.looked).min(LOOK_MAX);
        self.looked = now;
        if off.abs() >= STEP {
            let told = std::mem::replace(&mut self.stepped, true);
            return if told { Look::Steady } else { Look::Stepped(off) };
        }
        let most = passed.cast_signed() * SLEW_PER_SECOND / 1_000_000_000;
        self.offset += off.clamp(-most, most);
        if std::mem::take(&mut self.stepped) { Look::Back } else { Look::Steady }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const WALL: u64 = 1_800_000_000 * SECOND;

    #[test]
    fn drift_is_followed_and_a_step_is_not() {
        let mut clock = BoxClock::new(5 * SECOND, WALL);
        assert_eq!(clock.unix_ms(5 * SECOND), WALL / 1_000_000);
        assert_eq!(clock.monotonic(WALL / 1_000_000 + 7), 5 * SECOND + 7_000_000);
        // A tenth of a second ahead: half a millisecond is gained each second.
        for second in 1..=10 {
            let now = (5 + second) * SECOND;
            assert_eq!(clock.follow(now, WALL + second * SECOND + SECOND / 10), Look::Steady);
        }
        assert_eq!(clock.unix_ms(15 * SECOND), WALL / 1_000_000 + 10_005);
        // An hour back.
        let before = clock.unix_ms(16 * SECOND);
        let looks = [0, 1].map(|_| clock.follow(16 * SECOND, WALL - 3_600 * SECOND));
        assert!(
            matches!(looks, [Look::Stepped(off), Look::Steady] if off < -3_600 * 1_000_000_000)
        );
        assert_eq!(clock.unix_ms(16 * SECOND), before);
        assert_eq!(clock.follow(17 * SECOND, WALL + 12 * SECOND), Look::Back);
    }
}
