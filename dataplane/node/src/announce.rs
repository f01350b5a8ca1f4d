//! Announcements: what a node tells its route server about itself and its links, signed. Source: CJDNS-WIRE.md §6.4.
//!
//! ```text
//!  0           64            96          112                          120
//! | signature | signing key | server's  | time_ms << 4 | reset << 3  | items …
//! |           |             | address   |              | version 1   |
//! ```
//!
//! The signature is over all after itself. The signing key is another form of the announcer's permanent key.

pub mod item;
pub mod log;
pub mod varint;

use crypt::identity::{self, Identity, SIGNATURE_LEN};
use item::{Item, Items};
use rand_core::CryptoRng;
use std::net::Ipv6Addr;
use wire::key::PublicKey;

/// Bytes before the items.
pub const HEADER_LEN: usize = 120;
/// Longest announcement that is looked at; one that is longer than a packet cannot come.
pub const LEN_MAX: usize = 4096;
const VERSION: u64 = 1;

/// What stands before the items, the signature apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Address of the route server it is for.
    pub server: Ipv6Addr,
    /// The route server's time.
    pub time_ms: u64,
    /// All that was announced before is void.
    pub reset: bool,
}

/// Why bytes are no announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Too short or too long.
    #[error("announcement of {0} bytes: {HEADER_LEN} to {LEN_MAX} are allowed")]
    Length(usize),
    /// Of another version.
    #[error("announcement of version {0}: 1 is known")]
    Version(u64),
    /// An item is malformed.
    #[error("announcement with a malformed item")]
    Item,
    /// The signature is not one of the signing key, or the key is none.
    #[error("announcement with a wrong signature")]
    Signature,
}

/// An announcement of the right form, its signature not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement<'a> {
    /// Whom it is for, and when.
    pub header: Header,
    bytes: &'a [u8],
    signature: &'a [u8; SIGNATURE_LEN],
    signing_key: &'a [u8; 32],
    items: &'a [u8],
}

impl<'a> Announcement<'a> {
    /// Reads header and items.
    ///
    /// # Errors
    /// [`Bad`], but never [`Bad::Signature`]: see [`Self::signer`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Bad> {
        let length = Bad::Length(bytes.len());
        if bytes.len() > LEN_MAX {
            return Err(length);
        }
        let (signature, rest) = bytes.split_first_chunk().ok_or(length)?;
        let (signing_key, rest) = rest.split_first_chunk().ok_or(length)?;
        let (server, rest) = rest.split_first_chunk::<16>().ok_or(length)?;
        let (time, items) = rest.split_first_chunk::<8>().ok_or(length)?;
        let time = u64::from_be_bytes(*time);
        if time & 7 != VERSION {
            return Err(Bad::Version(time & 7));
        }
        if Items::new(items).any(|item| item.is_none()) {
            return Err(Bad::Item);
        }
        let header = Header { server: (*server).into(), time_ms: time >> 4, reset: time & 8 != 0 };
        Ok(Self { header, bytes, signature, signing_key, items })
    }

    /// Its items, in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        Items::new(self.items).flatten()
    }

    /// Who signed it. Cost: some 60 µs.
    ///
    /// # Errors
    /// [`Bad::Signature`].
    pub fn signer(&self) -> Result<PublicKey, Bad> {
        let message = self.bytes.get(SIGNATURE_LEN..).ok_or(Bad::Signature)?;
        let signer = identity::x25519_of(self.signing_key).ok_or(Bad::Signature)?;
        let is_right = identity::verify(self.signing_key, message, self.signature);
        if is_right { Ok(signer) } else { Err(Bad::Signature) }
    }

    /// The key that it says it was signed with.
    #[must_use]
    pub fn signing_key(&self) -> &[u8; 32] {
        self.signing_key
    }
}

/// Signs an announcement of `items`, which were written by [`Item::put`].
#[must_use]
pub fn sign(
    identity: &Identity,
    header: &Header,
    items: &[u8],
    rng: &mut dyn CryptoRng,
) -> Vec<u8> {
    let signed = signed_part(&identity.signing_key(), header, items);
    [&identity.sign(&signed, rng)[..], &signed].concat()
}

/// All of an announcement after its signature.
fn signed_part(signing_key: &[u8; 32], header: &Header, items: &[u8]) -> Vec<u8> {
    let time = header.time_ms << 4 | u64::from(header.reset) << 3 | VERSION;
    [&signing_key[..], &header.server.octets(), &time.to_be_bytes(), items].concat()
}

/// The hash that the reference spreads repeated announcements by.
#[must_use]
pub fn djb2a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(5381, |hash: u32, byte| hash.wrapping_mul(33) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests;
