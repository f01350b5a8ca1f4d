//! See `fuzz_targets::follow_intake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_targets::follow_intake(input));
