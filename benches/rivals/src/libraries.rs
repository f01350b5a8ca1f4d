//! Rust's own and those that build themselves.

use crate::{chacha_nonce, count, tag_and_text, text_and_tag, xsalsa_nonce};
use benches::crypto::{Cipher, Contestant, Job};
use dryoc::classic::crypto_aead_chacha20poly1305_ietf as dryoc_chacha;
use dryoc::classic::crypto_secretbox as dryoc_secretbox;

/// Implements [`Contestant`] for one of two libraries of one interface.
macro_rules! ring_like {
    ($name:ident, $text:literal, $library:ident) => {
        /// With a key object for each session.
        #[derive(Default)]
        pub(crate) struct $name {
            keys: Vec<$library::aead::LessSafeKey>,
        }

        impl Contestant for $name {
            fn name(&self) -> &str {
                $text
            }

            fn does(&self, cipher: Cipher) -> bool {
                cipher == Cipher::ChaCha
            }

            fn learn(&mut self, keys: &[[u8; 32]]) {
                use $library::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
                let key = |bytes: &[u8; 32]| {
                    let key = UnboundKey::new(&CHACHA20_POLY1305, bytes);
                    LessSafeKey::new(key.expect("a key of 32 bytes"))
                };
                self.keys = keys.iter().map(key).collect();
            }

            fn seal(&mut self, _: Cipher, jobs: &mut [Job<'_>]) {
                use $library::aead::{Aad, Nonce};
                for (job, key) in jobs.iter_mut().zip(&self.keys) {
                    let nonce = Nonce::assume_unique_for_key(chacha_nonce(job.nonce));
                    let (text, tag) = text_and_tag(job.packet);
                    if let Ok(sealed) = key.seal_in_place_separate_tag(nonce, Aad::empty(), text) {
                        tag.copy_from_slice(sealed.as_ref());
                    }
                }
            }

            fn open(&mut self, _: Cipher, jobs: &mut [Job<'_>]) -> u32 {
                use $library::aead::{Aad, Nonce};
                count(jobs.iter_mut().zip(&self.keys), |(job, key)| {
                    let nonce = Nonce::assume_unique_for_key(chacha_nonce(job.nonce));
                    key.open_in_place(nonce, Aad::empty(), job.packet).is_ok()
                })
            }
        }
    };
}

ring_like!(Ring, "ring", ring);
ring_like!(AwsLc, "aws-lc-rs", aws_lc_rs);

/// dryoc 2.
#[derive(Default)]
pub(crate) struct Dryoc {
    keys: Vec<[u8; 32]>,
    /// Its secretbox goes from one buffer to another; the copy between is a small part of its time.
    text: Vec<u8>,
}

impl Contestant for Dryoc {
    fn name(&self) -> &str {
        "dryoc"
    }

    fn does(&self, _: Cipher) -> bool {
        true
    }

    fn learn(&mut self, keys: &[[u8; 32]]) {
        self.keys = keys.to_vec();
    }

    fn seal(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) {
        for (job, key) in jobs.iter_mut().zip(&self.keys) {
            let sealed = match cipher {
                Cipher::XSalsa => {
                    let (tag, text) = tag_and_text(job.packet);
                    self.text.clear();
                    self.text.extend_from_slice(text);
                    let nonce = xsalsa_nonce(job.nonce);
                    dryoc_secretbox::crypto_secretbox_detached(text, tag, &self.text, &nonce, key)
                }
                Cipher::ChaCha => {
                    let (text, tag) = text_and_tag(job.packet);
                    let nonce = chacha_nonce(job.nonce);
                    dryoc_chacha::crypto_aead_chacha20poly1305_ietf_encrypt_detached_inplace(
                        text, tag, None, &nonce, key,
                    )
                }
            };
            sealed.expect("a packet of the bench is not too long");
        }
    }

    fn open(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) -> u32 {
        count(jobs.iter_mut().zip(&self.keys), |(job, key)| match cipher {
            Cipher::XSalsa => {
                let (tag, text) = tag_and_text(job.packet);
                self.text.clear();
                self.text.extend_from_slice(text);
                let nonce = xsalsa_nonce(job.nonce);
                dryoc_secretbox::crypto_secretbox_open_detached(text, &self.text, tag, &nonce, key)
                    .is_ok()
            }
            Cipher::ChaCha => {
                let (text, tag) = text_and_tag(job.packet);
                let nonce = chacha_nonce(job.nonce);
                dryoc_chacha::crypto_aead_chacha20poly1305_ietf_decrypt_detached_inplace(
                    text, tag, None, &nonce, key,
                )
                .is_ok()
            }
        })
    }
}
