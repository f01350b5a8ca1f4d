//! Tests that span crates: see `tests/`.
#![forbid(unsafe_code)]
