//! The one place that reads clocks.

use dataplane_api::Nanos;
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
#[inline]
#[must_use]
pub fn now() -> Nanos {
    // The clock exists on every Linux and the pointer is our own, so the call does not fail; and it counts from boot.
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return 0 };
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// Seconds since 1970 by the wall clock: for what must mean something after a restart.
#[must_use]
pub fn wall_seconds() -> u64 {
    // As above; before 1970 it is 1970.
    let time = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| time.tv_sec());
    u64::try_from(time).unwrap_or(0)
}
