//! X25519 (RFC 7748), by the faster of two libraries: graviola where the processor has what it asks for, at half the cost of
//! curve25519-dalek. It panics where it does not, so it is asked first.

use curve25519_dalek::montgomery::MontgomeryPoint;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The public half of a key.
pub(crate) fn public(secret: &[u8; 32]) -> [u8; 32] {
    #[cfg(target_arch = "x86_64")]
    if graviola::is_supported() {
        return graviola::public(secret);
    }
    portable::public(secret)
}

/// What two keys agree on; `None`: nothing, because the public one is a point of small order.
pub(crate) fn agree(secret: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    #[cfg(target_arch = "x86_64")]
    if graviola::is_supported() {
        return graviola::agree(secret, public);
    }
    portable::agree(secret, public)
}

mod portable {
    use super::*;

    pub(super) fn public(secret: &[u8; 32]) -> [u8; 32] {
        MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
    }

    pub(super) fn agree(secret: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = Zeroizing::new(MontgomeryPoint(*public).mul_clamped(*secret).to_bytes());
        (!bool::from(shared.ct_eq(&[0; 32]))).then_some(shared)
    }
}

#[cfg(target_arch = "x86_64")]
mod graviola {
    use super::Zeroizing;
    use ::graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
    use std::arch::is_x86_feature_detected as has;

    /// Source: the panic of graviola 0.4 on others.
    pub(super) fn is_supported() -> bool {
        has!("adx") && has!("aes") && has!("avx2") && has!("bmi1") && has!("pclmulqdq")
    }

    pub(super) fn public(secret: &[u8; 32]) -> [u8; 32] {
        StaticPrivateKey::from_array(secret).public_key().as_bytes()
    }

    pub(super) fn agree(secret: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = StaticPrivateKey::from_array(secret)
            .diffie_hellman(&PublicKey::from_array(public))
            .ok()?;
        Some(Zeroizing::new(shared.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::TestRng;
    use proptest::prelude::*;

    proptest! {
        /// Also of numbers that are not reduced, and with the bit set that nobody looks at.
        #[test]
        fn both_libraries_agree(secret: [u8; 32], point: [u8; 32], large: bool) {
            let mut point = point;
            if large {
                point[1..].fill(0xff);
            }
            prop_assert_eq!(public(&secret), portable::public(&secret));
            prop_assert_eq!(agree(&secret, &point), portable::agree(&secret, &point));
        }
    }

    #[test]
    fn the_vector_of_the_rfc() {
        let hex = |text: &str| -> [u8; 32] {
            data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
        };
        // RFC 7748, 5.2.
        let secret = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let point = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let shared = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(agree(&secret, &point).as_deref(), Some(&shared));
        assert_eq!(portable::agree(&secret, &point).as_deref(), Some(&shared));
    }

    #[test]
    fn points_of_small_order_agree_on_nothing() {
        let mut secret = [0; 32];
        TestRng::new(1).fill_bytes(&mut secret);
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for low in [0, 1] {
            let mut point = [0; 32];
            point[0] = low;
            assert_eq!(agree(&secret, &point), None);
            assert_eq!(portable::agree(&secret, &point), None);
        }
        assert_eq!(agree(&secret, &minus_one), None);
    }
}
