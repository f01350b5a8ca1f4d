//! See `fuzz_targets::burst`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_targets::burst(input));
