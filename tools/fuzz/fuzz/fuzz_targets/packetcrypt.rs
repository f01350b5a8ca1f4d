//! See `fuzz_targets::packetcrypt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz_targets::packetcrypt(input));
