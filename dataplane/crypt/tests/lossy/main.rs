//! Two of our own machines over a network that loses, repeats, reorders, delays, replays and forges, and whose nodes
//! restart: they always end with a session, what was sent arrives at most once, and recordings disturb nothing.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod cryptoauth;
mod network;
mod noise;
