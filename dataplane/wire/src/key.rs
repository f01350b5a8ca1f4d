//! Public keys, their text, and the addresses that follow from them. Source: CJDNS-WIRE.md §4, vectors `crypto.json`.

use data_encoding::{BitOrder, Encoding, Specification};
use sha2::{Digest, Sha512};
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::LazyLock;

/// Bytes of a key.
pub const LEN: usize = 32;

/// A permanent public key. Its text is 52 base-32 characters and `.k`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; LEN]);

/// Text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("public key {0:?}: expected 52 base-32 characters and .k")]
pub struct BadKey(String);

/// The digits of cjdns: least significant bits first, no vowels but u and y, no padding.
static BASE32: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut digits = Specification::new();
    digits.symbols.push_str("0123456789bcdfghjklmnpqrstuvwxyz");
    digits.bit_order = BitOrder::LeastSignificantFirst;
    digits.translate.from.push_str("BCDFGHJKLMNPQRSTUVWXYZ");
    digits.translate.to.push_str("bcdfghjklmnpqrstuvwxyz");
    digits.encoding().ok()
});

/// `bytes` in the base-32 of cjdns.
#[must_use]
pub fn base32_encode(bytes: &[u8]) -> String {
    BASE32.as_ref().map(|digits| digits.encode(bytes)).unwrap_or_default()
}

/// The bytes behind base-32 text. `None`: a character that is no digit, or bits left over that are not zero.
#[must_use]
pub fn base32_decode(text: &str) -> Option<Vec<u8>> {
    BASE32.as_ref()?.decode(text.as_bytes()).ok()
}

impl PublicKey {
    /// The node's address: the first 16 bytes of SHA-512 taken twice. Only keys whose address lies in fc00::/8 are used.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        let digest = Sha512::digest(Sha512::digest(self.0));
        let mut octets = [0; 16];
        octets.copy_from_slice(&digest[..16]);
        octets.into()
    }

    /// Whether the address lies in fc00::/8.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.address().octets()[0] == 0xfc
    }

    /// The MAC address of a vswitch with this key on a port: unicast, locally administered, the same after a restart.
    #[must_use]
    pub fn mac(&self, port: &str) -> [u8; 6] {
        let digest = Sha512::new().chain_update(self.0).chain_update(port.as_bytes()).finalize();
        let mut mac = [0; 6];
        mac.copy_from_slice(&digest[..6]);
        mac[0] = mac[0] & !0b01 | 0b10;
        mac
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let key =
            text.strip_suffix(".k").and_then(base32_decode).and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or_else(|| BadKey(text.to_owned()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.k", base32_encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
