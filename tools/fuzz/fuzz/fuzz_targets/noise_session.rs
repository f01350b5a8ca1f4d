//! See `fuzz_targets::noise_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_targets::noise_session(input));
