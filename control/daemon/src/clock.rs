//! The wall clock, which the rest of control is told.

use domain::Time;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one place of control that reads the clock")]
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
