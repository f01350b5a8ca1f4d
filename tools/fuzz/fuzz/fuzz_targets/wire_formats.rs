//! See `fuzz_targets::wire_formats`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_targets::wire_formats(input));
