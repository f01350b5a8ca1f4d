//! The real process between network namespaces: over AF_XDP, and over AF_PACKET where that differs. Needs root.
//!
//! Accounts are exact: sent = received + drops that the box names + drops of a kernel, each with its own counter.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is tests")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "part of tests")]

mod crossing;
mod floods;
mod flows;
mod lifetime;
mod neighbours;
mod rig;
mod specs;
mod topology;
