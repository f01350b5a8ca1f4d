//! The service, as the interfaces above it use it.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

mod config;
mod leases;
mod payments;
mod rig;
mod tokens;
