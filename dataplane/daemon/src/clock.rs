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

/// Nanoseconds since 1970 by the wall clock.
#[must_use]
pub(crate) fn wall_nanos() -> u64 {
    // As above; before 1970 it is 1970.
    let Ok(time) = clock_gettime(ClockId::CLOCK_REALTIME) else { return 0 };
    let (seconds, nanos) = (u64::try_from(time.tv_sec()), u64::try_from(time.tv_nsec()));
    seconds.unwrap_or(0).wrapping_mul(1_000_000_000).wrapping_add(nanos.unwrap_or(0))
}

/// Milliseconds since 1970 by the wall clock.
#[must_use]
pub fn wall_ms() -> u64 {
    wall_nanos() / 1_000_000
}

/// Seconds since 1970 by the wall clock: for what must mean something after a restart.
#[must_use]
pub fn wall_seconds() -> u64 {
    wall_ms() / 1000
}
