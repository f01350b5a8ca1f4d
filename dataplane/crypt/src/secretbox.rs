//! NaCl's secretbox (XSalsa20-Poly1305), one packet at a time: for handshakes and for sessions off the packet path.
//!
//! Source: CJDNS-WIRE.md §0 (`SB`), §2.2.2.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::XSalsa20;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Bytes before the ciphertext.
pub(crate) const TAG_LEN: usize = 16;

/// A key that is wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;
/// A nonce.
pub(crate) type Nonce = [u8; 24];

/// Appends tag and ciphertext of the concatenated `parts` to `packet`.
pub(crate) fn seal(key: &Key, nonce: &Nonce, parts: &[&[u8]], packet: &mut Vec<u8>) {
    let (mut stream, poly) = start(key, nonce);
    let tag_at = packet.len();
    packet.extend([0; TAG_LEN]);
    for part in parts {
        packet.extend_from_slice(part);
    }
    let (tag, text) = packet[tag_at..].split_at_mut(TAG_LEN);
    stream.apply_keystream(text);
    tag.copy_from_slice(&poly.compute_unpadded(text));
}

/// The plaintext of tag and ciphertext. `None`: too short, or not sealed with this key and nonce.
pub(crate) fn open(key: &Key, nonce: &Nonce, sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, text) = sealed.split_at_checked(TAG_LEN)?;
    let (mut stream, poly) = start(key, nonce);
    let expected = poly.compute_unpadded(text);
    if !bool::from(expected.as_slice().ct_eq(tag)) {
        return None;
    }
    let mut text = text.to_vec();
    stream.apply_keystream(&mut text);
    Some(text)
}

/// The key stream behind its first 32 bytes, and the one-time authenticator that those are the key of.
fn start(key: &Key, nonce: &Nonce) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new((&**key).into(), nonce.into());
    let mut poly_key = [0; 32];
    stream.apply_keystream(&mut poly_key);
    let poly = Poly1305::new((&poly_key).into());
    poly_key.zeroize();
    (stream, poly)
}

/// The key of a box between two keys that agreed on `shared`, and on `password_hash` if there is one.
pub(crate) fn box_key(shared: &[u8; 32], password_hash: Option<&[u8; 32]>) -> Key {
    Zeroizing::new(match password_hash {
        None => salsa20::hsalsa::<U10>(shared.into(), &[0; 16].into()).into(),
        Some(hash) => Sha256::new().chain_update(shared).chain_update(hash).finalize().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_what_is_bent_does_not() {
        let key = Zeroizing::new([7; 32]);
        let mut packet = vec![1, 2];
        seal(&key, &[9; 24], &[b"one", b"", b"two"], &mut packet);
        assert_eq!(packet.len(), 2 + TAG_LEN + 6);
        assert_eq!(open(&key, &[9; 24], &packet[2..]).unwrap(), b"onetwo");
        assert!(open(&key, &[8; 24], &packet[2..]).is_none());
        for place in 2..packet.len() {
            let mut bent = packet[2..].to_vec();
            bent[place - 2] ^= 0x40;
            assert!(open(&key, &[9; 24], &bent).is_none());
        }
        assert!(open(&key, &[9; 24], &packet[2..17]).is_none());
    }
}
