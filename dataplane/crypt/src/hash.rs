//! BLAKE2s as it is used here.

use blake2::Blake2s256;
use blake2::digest::{FixedOutput, KeyInit, Mac};
use hmac::SimpleHmac;

/// Bytes of a hash.
pub(crate) const HASH_LEN: usize = 32;

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
