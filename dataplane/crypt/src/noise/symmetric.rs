//! The chaining key and transcript hash of one handshake, and what it is sealed with.

use crate::hash::{HASH_LEN, hash, hmac};
use crate::secretbox::Key;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, XChaCha20Poly1305};
use wire::key::PublicKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes behind a ciphertext.
pub(super) const TAG_LEN: usize = 16;
const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Symmetric {
    chain: [u8; HASH_LEN],
    transcript: [u8; HASH_LEN],
}

impl Symmetric {
    /// The state before the first message to `responder`.
    pub(super) fn new(responder: &PublicKey) -> Self {
        let chain = hash(&[CONSTRUCTION]);
        let transcript = hash(&[&hash(&[&chain, IDENTIFIER]), &responder.0]);
        Self { chain, transcript }
    }

    /// An ephemeral key goes over the wire.
    pub(super) fn mix_ephemeral(&mut self, public: &PublicKey) {
        self.mix_hash(&public.0);
        self.chain = kdf1(&self.chain, &public.0);
    }

    /// Two keys agreed on `shared`; nothing is sealed before the next step.
    pub(super) fn mix_shared(&mut self, shared: &Key) {
        self.chain = kdf1(&self.chain, &**shared);
    }

    /// Two keys agreed on `shared`; what is sealed next is sealed with the result.
    pub(super) fn mix_shared_for_key(&mut self, shared: &Key) -> Key {
        let [chain, key, _unused] = kdf(&self.chain, &**shared);
        self.chain = *chain;
        key
    }

    /// The pre-shared key; what is sealed next is sealed with the result.
    pub(super) fn mix_psk(&mut self, psk: &[u8; 32]) -> Key {
        let [chain, temporary, key] = kdf(&self.chain, psk);
        self.chain = *chain;
        self.mix_hash(&*temporary);
        key
    }

    /// Seals `text` and takes the result into the transcript.
    pub(super) fn seal(&mut self, key: &Key, text: &[u8]) -> Vec<u8> {
        let sealed = self.seal_apart(key, text);
        self.mix_hash(&sealed);
        sealed
    }

    /// Seals `text` and leaves the transcript alone.
    pub(super) fn seal_apart(&self, key: &Key, text: &[u8]) -> Vec<u8> {
        seal(key, 0, text, &self.transcript)
    }

    /// Opens what [`Self::seal`] made.
    pub(super) fn open(&mut self, key: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
        let text = self.open_apart(key, sealed)?;
        self.mix_hash(sealed);
        Some(text)
    }

    /// Opens what [`Self::seal_apart`] made.
    pub(super) fn open_apart(&self, key: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
        open(key, 0, sealed, &self.transcript)
    }

    /// The transport keys: from the initiator, and from the responder.
    pub(super) fn split(&self) -> (Key, Key) {
        let [initiator, responder, _unused] = kdf(&self.chain, &[]);
        (initiator, responder)
    }

    fn mix_hash(&mut self, bytes: &[u8]) {
        self.transcript = hash(&[&self.transcript, bytes]);
    }
}

fn kdf1(chain: &[u8; HASH_LEN], input: &[u8]) -> [u8; HASH_LEN] {
    let root = Zeroizing::new(hmac(chain, &[input]));
    hmac(&*root, &[&[1]])
}

/// The first three outputs; an earlier one does not depend on whether a later one is used.
fn kdf(chain: &[u8; HASH_LEN], input: &[u8]) -> [Key; 3] {
    let root = Zeroizing::new(hmac(chain, &[input]));
    let first = Zeroizing::new(hmac(&*root, &[&[1]]));
    let second = Zeroizing::new(hmac(&*root, &[&*first, &[2]]));
    let third = Zeroizing::new(hmac(&*root, &[&*second, &[3]]));
    [first, second, third]
}

/// ChaCha20-Poly1305 under a counter: ciphertext and tag.
pub(super) fn seal(key: &Key, counter: u64, text: &[u8], additional: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: text, aad: additional };
    let cipher = ChaCha20Poly1305::new((&**key).into());
    #[expect(clippy::expect_used, reason = "only texts of 256 GiB are too long to be sealed")]
    cipher.encrypt((&nonce(counter)).into(), payload).expect("a text of a packet")
}

/// The text; `None`: not sealed with this key, counter and additional data.
pub(super) fn open(key: &Key, counter: u64, sealed: &[u8], additional: &[u8]) -> Option<Vec<u8>> {
    let payload = Payload { msg: sealed, aad: additional };
    let cipher = ChaCha20Poly1305::new((&**key).into());
    cipher.decrypt((&nonce(counter)).into(), payload).ok()
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// XChaCha20-Poly1305, for cookies: ciphertext and tag.
pub(super) fn seal_cookie(key: &[u8; 32], nonce: &[u8; 24], cookie: &[u8], mac1: &[u8]) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new(key.into());
    #[expect(clippy::expect_used, reason = "only texts of 256 GiB are too long to be sealed")]
    cipher.encrypt(nonce.into(), Payload { msg: cookie, aad: mac1 }).expect("a cookie")
}

/// Opens what [`seal_cookie`] made.
pub(super) fn open_cookie(
    key: &[u8; 32],
    nonce: &[u8; 24],
    sealed: &[u8],
    mac1: &[u8],
) -> Option<[u8; 16]> {
    let cipher = XChaCha20Poly1305::new(key.into());
    let cookie = cipher.decrypt(nonce.into(), Payload { msg: sealed, aad: mac1 }).ok()?;
    cookie.try_into().ok()
}
