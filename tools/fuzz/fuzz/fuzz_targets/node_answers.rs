//! See `fuzz_targets::node_answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_targets::node_answers(input));
