//! BLAKE2s as it is used here: plain, keyed, and in HMAC.

use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use hmac::SimpleHmac;

/// Bytes of a hash.
pub(crate) const HASH_LEN: usize = 32;
/// Bytes of a keyed hash.
pub(crate) const MAC_LEN: usize = 16;

/// BLAKE2s of `parts`, one after the other.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// Keyed BLAKE2s of 16 bytes. `key`: a cookie or a hash, so 32 bytes at most.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    #[expect(clippy::expect_used, reason = "cookies have 16 bytes, hashes 32")]
    let mut state =
        <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("a key of 32 bytes or less");
    for part in parts {
        Mac::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// HMAC-BLAKE2s of `parts`.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; HASH_LEN] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut state =
        <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        Mac::update(&mut state, part);
    }
    state.finalize_fixed().into()
}
