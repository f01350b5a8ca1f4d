//! Packet by packet, with RustCrypto.

use super::{Cipher, Job, TAG_LEN};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use poly1305::Poly1305;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Seals what is long enough.
pub(super) fn seal(cipher: Cipher, jobs: &mut [Job<'_>]) {
    for job in jobs {
        let Some((tag, text)) = cipher.split(job.packet) else { continue };
        match cipher {
            Cipher::XSalsa => {
                let (mut stream, poly) = secretbox(job.key, job.nonce);
                stream.apply_keystream(text);
                tag.copy_from_slice(&poly.compute_unpadded(text));
            }
            Cipher::ChaCha => {
                let nonce = chacha_nonce(job.nonce).into();
                let aead = ChaCha20Poly1305::new(job.key.into());
                // Refuses only texts of 256 GiB and more.
                if let Ok(sealed) = aead.encrypt_inout_detached(&nonce, b"", text.into()) {
                    tag.copy_from_slice(&sealed);
                }
            }
        }
    }
}

/// Opens what is authentic; bit i: job i was.
pub(super) fn open(cipher: Cipher, jobs: &mut [Job<'_>]) -> u64 {
    let authentic = jobs.iter_mut().map(|job| open_one(cipher, job));
    authentic.enumerate().fold(0, |bits, (place, authentic)| bits | u64::from(authentic) << place)
}

fn open_one(cipher: Cipher, job: &mut Job<'_>) -> bool {
    let Some((tag, text)) = cipher.split(job.packet) else { return false };
    let tag: &[u8; TAG_LEN] = tag;
    match cipher {
        Cipher::XSalsa => {
            let (mut stream, poly) = secretbox(job.key, job.nonce);
            let authentic = bool::from(poly.compute_unpadded(text).as_slice().ct_eq(tag));
            if authentic {
                stream.apply_keystream(text);
            }
            authentic
        }
        Cipher::ChaCha => {
            let nonce = chacha_nonce(job.nonce).into();
            let aead = ChaCha20Poly1305::new(job.key.into());
            aead.decrypt_inout_detached(&nonce, b"", text.into(), tag.into()).is_ok()
        }
    }
}

/// The key stream behind its first 32 bytes, and the one-time authenticator that those are the key of.
fn secretbox(key: &[u8; 32], nonce: u64) -> (XSalsa20, Poly1305) {
    let mut long = [0; 24];
    long[..8].copy_from_slice(&nonce.to_le_bytes());
    let mut stream = XSalsa20::new(key.into(), &long.into());
    let mut poly_key = [0; 32];
    stream.apply_keystream(&mut poly_key);
    let poly = Poly1305::new((&poly_key).into());
    poly_key.zeroize();
    (stream, poly)
}

fn chacha_nonce(nonce: u64) -> [u8; 12] {
    let mut long = [0; 12];
    long[4..].copy_from_slice(&nonce.to_le_bytes());
    long
}
