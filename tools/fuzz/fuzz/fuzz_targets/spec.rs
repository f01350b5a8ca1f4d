//! See `fuzz_targets::spec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_targets::spec(input));
