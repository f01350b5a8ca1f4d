//! libsodium, as Debian builds it.

use crate::{chacha_nonce, count, tag_and_text, text_and_tag, xsalsa_nonce};
use benches::crypto::{Cipher, Contestant, Job};
use std::ffi::{c_int, c_uchar, c_ulonglong};
use std::ptr::{null, null_mut};

// Source: <sodium.h>. Every text may lie where its ciphertext lies.
unsafe extern "C" {
    fn sodium_init() -> c_int;
    fn crypto_secretbox_detached(
        cipher: *mut c_uchar,
        tag: *mut c_uchar,
        text: *const c_uchar,
        len: c_ulonglong,
        nonce: *const c_uchar,
        key: *const c_uchar,
    ) -> c_int;
    fn crypto_secretbox_open_detached(
        text: *mut c_uchar,
        cipher: *const c_uchar,
        tag: *const c_uchar,
        len: c_ulonglong,
        nonce: *const c_uchar,
        key: *const c_uchar,
    ) -> c_int;
    fn crypto_aead_chacha20poly1305_ietf_encrypt_detached(
        cipher: *mut c_uchar,
        tag: *mut c_uchar,
        tag_len: *mut c_ulonglong,
        text: *const c_uchar,
        len: c_ulonglong,
        additional: *const c_uchar,
        additional_len: c_ulonglong,
        secret_nonce: *const c_uchar,
        nonce: *const c_uchar,
        key: *const c_uchar,
    ) -> c_int;
    fn crypto_aead_chacha20poly1305_ietf_decrypt_detached(
        text: *mut c_uchar,
        secret_nonce: *mut c_uchar,
        cipher: *const c_uchar,
        len: c_ulonglong,
        tag: *const c_uchar,
        additional: *const c_uchar,
        additional_len: c_ulonglong,
        nonce: *const c_uchar,
        key: *const c_uchar,
    ) -> c_int;
}

/// Exists only where the library was started.
pub(crate) struct Libsodium {
    keys: Vec<[u8; 32]>,
}

impl Libsodium {
    /// `None`: it does not start.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: it may be called at any time, from one thread.
        let started = unsafe { sodium_init() };
        (started >= 0).then(|| Self { keys: Vec::new() })
    }
}

impl Contestant for Libsodium {
    fn name(&self) -> &str {
        "libsodium"
    }

    fn does(&self, _: Cipher) -> bool {
        true
    }

    fn learn(&mut self, keys: &[[u8; 32]]) {
        self.keys = keys.to_vec();
    }

    fn seal(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) {
        for (job, key) in jobs.iter_mut().zip(&self.keys) {
            let key = key.as_ptr();
            match cipher {
                Cipher::XSalsa => {
                    let (tag, text) = tag_and_text(job.packet);
                    let (nonce, len) = (xsalsa_nonce(job.nonce), text.len() as c_ulonglong);
                    let (text, tag) = (text.as_mut_ptr(), tag.as_mut_ptr());
                    // SAFETY: text and tag are exclusive and as long as said, nonce and key have 24 and 32 bytes.
                    unsafe { crypto_secretbox_detached(text, tag, text, len, nonce.as_ptr(), key) };
                }
                Cipher::ChaCha => {
                    let (text, tag) = text_and_tag(job.packet);
                    let (nonce, len) = (chacha_nonce(job.nonce), text.len() as c_ulonglong);
                    let (text, tag, nonce) = (text.as_mut_ptr(), tag.as_mut_ptr(), nonce.as_ptr());
                    // SAFETY: text and tag are exclusive and as long as said, nonce and key have 12 and 32 bytes; the
                    // other pointers may be null, with a length of 0.
                    unsafe {
                        crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                            text,
                            tag,
                            null_mut(),
                            text,
                            len,
                            null(),
                            0,
                            null(),
                            nonce,
                            key,
                        )
                    };
                }
            }
        }
    }

    fn open(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) -> u32 {
        count(jobs.iter_mut().zip(&self.keys), |(job, key)| {
            let key = key.as_ptr();
            let refused = match cipher {
                Cipher::XSalsa => {
                    let (tag, text) = tag_and_text(job.packet);
                    let (nonce, len) = (xsalsa_nonce(job.nonce), text.len() as c_ulonglong);
                    let (text, tag, nonce) = (text.as_mut_ptr(), tag.as_ptr(), nonce.as_ptr());
                    // SAFETY: the text is exclusive and as long as said, tag, nonce and key have 16, 24 and 32 bytes.
                    unsafe { crypto_secretbox_open_detached(text, text, tag, len, nonce, key) }
                }
                Cipher::ChaCha => {
                    let (text, tag) = text_and_tag(job.packet);
                    let (nonce, len) = (chacha_nonce(job.nonce), text.len() as c_ulonglong);
                    let (text, tag, nonce) = (text.as_mut_ptr(), tag.as_ptr(), nonce.as_ptr());
                    // SAFETY: the text is exclusive and as long as said, tag, nonce and key have 16, 12 and 32 bytes; the
                    // other pointers may be null, with a length of 0.
                    unsafe {
                        crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                            text,
                            null_mut(),
                            text,
                            len,
                            tag,
                            null(),
                            0,
                            nonce,
                            key,
                        )
                    }
                }
            };
            refused == 0
        })
    }
}
