//! Handshake packets as views, and who may send one. No cryptography but the hash of the sender's address.
//!
//! ```text
//!  0      4     5        12        16        40           72     88             120
//!  ┌──────┬─────┬────────┬─────────┬─────────┬────────────┬──────┬──────────────┬─────────
//!  │stage │type │lookup  │deprec.  │nonce    │sender's key│tag   │temporary key │payload
//!  └──────┴─────┴────────┴─────────┴─────────┴────────────┴──────┴── sealed ────┴─────────
//! ```
//!
//! Source: CJDNS-WIRE.md §2.2.1, §2.2.5.

use super::{HANDSHAKE_LEN, Refusal};
use crate::credential::{Credential, Credentials, Lookup, NotFound, User};
use crate::secretbox::{self, Key, Nonce};
use rand_core::CryptoRng;
use std::net::Ipv6Addr;
use wire::key::PublicKey;

/// What a handshake packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first packet of an initiator.
    Hello,
    /// The same hello again, with another payload.
    RepeatHello,
    /// The first packet of a responder.
    Key,
    /// The same key again, with another payload.
    RepeatKey,
}

impl Stage {
    fn number(self) -> u32 {
        match self {
            Self::Hello => 0,
            Self::RepeatHello => 1,
            Self::Key => 2,
            Self::RepeatKey => 3,
        }
    }

    /// Whether it is the initiator's.
    #[must_use]
    pub fn is_hello(self) -> bool {
        matches!(self, Self::Hello | Self::RepeatHello)
    }
}

/// How the sender logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Not at all (type 0).
    None,
    /// By a password, found by this (type 1 or 2).
    Lookup(Lookup),
}

/// A handshake packet that was looked at but not opened.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What it is.
    pub stage: Stage,
    /// How the sender logs in; not authenticated by itself, but a wrong one selects a wrong key.
    pub auth: Auth,
    /// Who it says to be from.
    pub sender: PublicKey,
    address: Ipv6Addr,
    nonce: &'a Nonce,
    sealed: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses a session packet whose first word is below [`super::FIRST_NONCE`].
    ///
    /// # Errors
    /// [`Refusal::TooShort`]; [`Refusal::NoSession`] for a data packet; [`Refusal::UnknownAuthType`] (a stock node dies of
    /// one, CJDNS-WIRE.md §11 item 1); [`Refusal::WrongKey`] if the sender's address is not in fc00::/8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let (stage, rest) = bytes.split_first_chunk::<4>().ok_or(Refusal::TooShort)?;
        let stage = match u32::from_be_bytes(*stage) {
            0 => Stage::Hello,
            1 => Stage::RepeatHello,
            2 => Stage::Key,
            3 => Stage::RepeatKey,
            _ => return Err(Refusal::NoSession),
        };
        if bytes.len() < HANDSHAKE_LEN {
            return Err(Refusal::TooShort);
        }
        let (lookup, rest) = rest.split_first_chunk::<8>().ok_or(Refusal::TooShort)?;
        let auth = match lookup[0] {
            0 => Auth::None,
            1 | 2 => Auth::Lookup(*lookup),
            _ => return Err(Refusal::UnknownAuthType),
        };
        let (_deprecated, rest) = rest.split_first_chunk::<4>().ok_or(Refusal::TooShort)?;
        let (nonce, rest) = rest.split_first_chunk::<24>().ok_or(Refusal::TooShort)?;
        let (sender, sealed) = rest.split_first_chunk::<32>().ok_or(Refusal::TooShort)?;
        let sender = PublicKey(*sender);
        let address = sender.address();
        if address.octets()[0] != 0xfc {
            return Err(Refusal::WrongKey);
        }
        Ok(Self { stage, auth, sender, address, nonce, sealed })
    }

    /// The sender's address.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        self.address
    }

    /// Who may send this. Without it no packet is opened, so that a stranger costs no Diffie-Hellman.
    ///
    /// `known`: the link is configured, or has a session with this peer: a hello without login is taken.
    ///
    /// # Errors
    /// [`Refusal::AuthRequired`], [`Refusal::UnknownAuth`], [`Refusal::IpRestricted`].
    pub fn authorize<'u>(
        &self,
        users: &'u Credentials,
        known: bool,
    ) -> Result<Authorized<'u>, Refusal> {
        match self.auth {
            // A key answers a hello of ours, which decided who may.
            Auth::None if known || !self.stage.is_hello() => Ok(Authorized { user: None }),
            Auth::None => Err(Refusal::AuthRequired),
            Auth::Lookup(lookup) => match users.find(&lookup, self.address) {
                Ok(user) => Ok(Authorized { user: Some(user) }),
                Err(NotFound::Unknown) => Err(Refusal::UnknownAuth),
                Err(NotFound::OtherAddress) => Err(Refusal::IpRestricted),
            },
        }
    }

    /// The temporary key and the payload.
    pub(super) fn open(&self, key: &Key) -> Result<(PublicKey, Vec<u8>), Refusal> {
        let mut text =
            secretbox::open(key, self.nonce, self.sealed).ok_or(Refusal::HandshakeDecrypt)?;
        let temporary = *text.first_chunk::<32>().ok_or(Refusal::TooShort)?;
        text.drain(..temporary.len());
        Ok((PublicKey(temporary), text))
    }
}

/// That a packet's sender may send it, and as whom. Made by [`Packet::authorize`] alone.
#[derive(Clone, Copy, Debug)]
pub struct Authorized<'u> {
    user: Option<&'u User>,
}

impl<'u> Authorized<'u> {
    /// Who logged in; `None`: nobody, and nobody had to.
    #[must_use]
    pub fn user(&self) -> Option<&'u User> {
        self.user
    }

    /// For sessions that have no logins at all.
    pub(super) fn anyone() -> Self {
        Self { user: None }
    }
}

/// What is in a handshake packet besides its payload.
pub(super) struct Sealing<'a> {
    pub(super) stage: Stage,
    pub(super) credential: Option<&'a Credential>,
    pub(super) sender: &'a PublicKey,
    pub(super) temporary: &'a PublicKey,
    pub(super) key: &'a Key,
}

impl Sealing<'_> {
    /// The packet. Draws, in this order: bytes of the lookup (9, without login only), the nonce (24).
    pub(super) fn seal(&self, rng: &mut dyn CryptoRng, payload: &[u8]) -> Vec<u8> {
        let mut challenge = [0; 12];
        match self.credential {
            Some(credential) => challenge[..8].copy_from_slice(&credential.lookup()),
            // Type 0 is told by its first byte; the two last bytes of the field stay zero.
            None => rng.fill_bytes(&mut challenge[1..10]),
        }
        let mut nonce = [0; 24];
        rng.fill_bytes(&mut nonce);
        let mut packet = Vec::with_capacity(HANDSHAKE_LEN + payload.len());
        packet.extend(self.stage.number().to_be_bytes());
        packet.extend(challenge);
        packet.extend(nonce);
        packet.extend(self.sender.0);
        secretbox::seal(self.key, &nonce, &[&self.temporary.0, payload], &mut packet);
        packet
    }
}
