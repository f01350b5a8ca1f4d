//! Permanent keys: a node's X25519 pair, its address, and what it signs announcements with.
//!
//! Source: CJDNS-WIRE.md §7.1 (keys and addresses), §6.4 (signatures).

use crate::x25519;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signature, VerifyingKey};
use rand_core::CryptoRng;
use sha2::Sha512;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use wire::key::PublicKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// Text that is no private key of a node. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecretKey {
    /// Not 64 hexadecimal digits.
    #[error("private key: expected 64 hexadecimal digits")]
    NotHexadecimal,
    /// The key is one, but no node may use it.
    #[error("private key: its address {0} is not in fc00::/8, which every node's must be")]
    NotUsable(Ipv6Addr),
}

/// An X25519 private key, permanent or temporary. Wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Draws 32 bytes.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// From the bytes of a key.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public half. Cost: some 8 µs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519::public(&self.0))
    }

    /// X25519 with a public key. `None`: the result is zero, whatever the private key is, so that it is no secret.
    ///
    /// Cost: some 25 µs.
    #[must_use]
    pub fn agree(&self, public: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        x25519::agree(&self.0, &public.0)
    }

    /// 64 hexadecimal digits, as in configurations.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl FromStr for SecretKey {
    type Err = BadSecretKey;

    fn from_str(text: &str) -> Result<Self, BadSecretKey> {
        let mut key = Self([0; 32]);
        // The length is looked at first: decoding panics if the output does not fit it.
        let decoded =
            text.len() == 64 && HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut key.0).is_ok();
        if decoded { Ok(key) } else { Err(BadSecretKey::NotHexadecimal) }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A node: its permanent key pair, with an address in fc00::/8.
#[derive(Clone)]
pub struct Identity {
    secret: SecretKey,
    public: PublicKey,
}

impl Identity {
    /// Draws keys until one's address lies in fc00::/8, on average 256 of them (some 4 ms).
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        loop {
            if let Ok(identity) = Self::new(SecretKey::random(rng)) {
                return identity;
            }
        }
    }

    /// The node of a private key.
    ///
    /// # Errors
    /// [`BadSecretKey::NotUsable`] if the address is not in fc00::/8.
    pub fn new(secret: SecretKey) -> Result<Self, BadSecretKey> {
        let public = secret.public();
        if public.is_usable() {
            Ok(Self { secret, public })
        } else {
            Err(BadSecretKey::NotUsable(public.address()))
        }
    }

    /// The permanent public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The permanent private key.
    #[must_use]
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The node's address.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        self.public.address()
    }

    /// The Ed25519 key that [`Self::sign`] signs for.
    #[must_use]
    pub fn signing_key(&self) -> [u8; 32] {
        EdwardsPoint::mul_base_clamped(self.secret.0).compress().to_bytes()
    }

    /// Signs `message` (of an announcement: all after the signature). The clamped X25519 key is the Ed25519 scalar itself.
    ///
    /// The nonce is a hash over bytes of `rng` and the message, so that it differs between messages even if `rng` repeats.
    ///
    /// Source: CJDNS-WIRE.md §6.4.
    #[must_use]
    pub fn sign(&self, message: &[u8], rng: &mut dyn CryptoRng) -> [u8; SIGNATURE_LEN] {
        let mut hash_prefix = [0; 32];
        rng.fill_bytes(&mut hash_prefix);
        let scalar = Scalar::from_bytes_mod_order(clamp_integer(self.secret.0));
        let expanded = ExpandedSecretKey { scalar, hash_prefix };
        hash_prefix.zeroize();
        raw_sign::<Sha512>(&expanded, message, &VerifyingKey::from(&expanded)).to_bytes()
    }
}

impl FromStr for Identity {
    type Err = BadSecretKey;

    fn from_str(text: &str) -> Result<Self, BadSecretKey> {
        Self::new(text.parse()?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Whether `signature` is one of `message` by the owner of `signing_key`.
#[must_use]
pub fn verify(signing_key: &[u8; 32], message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    VerifyingKey::from_bytes(signing_key)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
}

/// The permanent key of who signs with `signing_key`, u = (1 + y) / (1 − y). `None`: it is no point of the curve.
#[must_use]
pub fn x25519_of(signing_key: &[u8; 32]) -> Option<PublicKey> {
    let key = VerifyingKey::from_bytes(signing_key).ok()?;
    Some(PublicKey(key.to_montgomery().to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::TestRng;

    #[test]
    fn a_generated_identity_is_usable_and_comes_back_from_its_text() {
        let identity = Identity::generate(&mut TestRng::new(1));
        assert_eq!(identity.address().octets()[0], 0xfc);
        let again: Identity = identity.secret().to_hex().parse().unwrap();
        assert_eq!(again.public(), identity.public());
    }

    #[test]
    fn text_that_is_no_key_is_refused_and_not_repeated() {
        let long = "ab".repeat(33);
        for text in ["", "00", "zz", &"g".repeat(64), &long, &"é".repeat(32)] {
            let error = text.parse::<SecretKey>().unwrap_err();
            assert_eq!(error, BadSecretKey::NotHexadecimal);
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
        // Key 1: its address is 2c.. and so on.
        let unusable = format!("{}01", "00".repeat(31)).parse::<Identity>().unwrap_err();
        assert!(matches!(unusable, BadSecretKey::NotUsable(_)));
    }

    #[test]
    fn secrets_are_not_shown() {
        let identity = Identity::generate(&mut TestRng::new(2));
        let shown = format!("{identity:?} {:?}", identity.secret());
        assert!(!shown.contains(identity.secret().to_hex().as_str()));
        assert_eq!(format!("{:?}", identity.secret()), "SecretKey(..)");
    }

    #[test]
    fn a_point_of_small_order_agrees_on_nothing() {
        assert!(SecretKey::random(&mut TestRng::new(3)).agree(&PublicKey([0; 32])).is_none());
    }

    #[test]
    fn a_signature_verifies_and_names_its_signer() {
        let mut rng = TestRng::new(4);
        let identity = Identity::generate(&mut rng);
        let signature = identity.sign(b"message", &mut rng);
        let key = identity.signing_key();
        assert!(verify(&key, b"message", &signature));
        assert!(!verify(&key, b"massage", &signature));
        assert_eq!(x25519_of(&key), Some(identity.public()));
        assert_ne!(identity.sign(b"message", &mut rng), signature, "the nonce is drawn anew");
    }
}
