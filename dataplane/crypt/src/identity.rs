//! Permanent keys.
