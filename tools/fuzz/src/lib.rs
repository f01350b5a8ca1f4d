//! What the fuzzer calls, and what the tests replay.
#![forbid(unsafe_code)]
