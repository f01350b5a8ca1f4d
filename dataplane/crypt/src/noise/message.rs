//! Handshake messages as views, and who may send one.
//!
//! ```text
//!  init      0      4       8          40        88         116            end−32  end−16
//!            │type 1│sender │ephemeral │static   │timestamp │additional    │mac1   │mac2
//!  response  │type 2│sender │receiver  │ephemeral (12)      │nothing (44)  │mac1   │mac2
//!  cookie    │type 3│receiver│nonce (8)│cookie (32)
//! ```
//!
//! Numbers are little-endian, offsets count from behind the word ffffffff. Source: CJDNS-WIRE.md §2.3.2, §2.3.3.

use super::symmetric::{Symmetric, TAG_LEN};
use super::timestamp::{self, Tai64n};
use super::{CONTROL, PROTOCOL_VERSION, Refusal};
use crate::credential::{Credentials, Lookup, NotFound, User};
use crate::hash::{HASH_LEN, MAC_LEN, hash, mac};
use crate::identity::{Identity, SecretKey};
use crate::secretbox::Key;
use std::net::Ipv6Addr;
use subtle::ConstantTimeEq;
use wire::key::PublicKey;

/// Bytes of an init without additional data, the word before it included.
pub const INIT_LEN: usize = 4 + MACS_AT + 2 * MAC_LEN;
/// Bytes of a response, the word before it included.
pub const RESPONSE_LEN: usize = 96;
const COOKIE_LEN: usize = 68;
/// Where the message authentication codes of an init without additional data begin.
const MACS_AT: usize = 116;
/// Bytes of additional data at most; ours has 16.
const ADDITIONAL_MAX: usize = 512;

/// A handshake message that was looked at but not opened.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The first message of an initiator.
    Init(Init<'a>),
    /// The responder's answer.
    Response(Response<'a>),
    /// A loaded responder's answer.
    Cookie(Cookie<'a>),
}

/// See the module's picture.
#[derive(Clone, Copy, Debug)]
pub struct Init<'a> {
    /// By which the sender names the session to be.
    pub sender_index: u32,
    ephemeral: PublicKey,
    fixed: &'a [u8],
    timestamp: &'a [u8],
    additional: &'a [u8],
    macs: Macs<'a>,
}

/// See the module's picture.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// By which the sender names the session.
    pub sender_index: u32,
    /// By which we do.
    pub receiver_index: u32,
    pub(super) ephemeral: PublicKey,
    pub(super) nothing: &'a [u8],
    pub(super) macs: Macs<'a>,
}

/// See the module's picture.
#[derive(Clone, Copy, Debug)]
pub struct Cookie<'a> {
    /// By which we name the session to be.
    pub receiver_index: u32,
    pub(super) nonce: &'a [u8; 24],
    pub(super) sealed: &'a [u8],
}

/// A message's authentication codes, and what they are over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Macs<'a> {
    before_mac1: &'a [u8],
    pub(super) mac1: &'a [u8; MAC_LEN],
    mac2: &'a [u8; MAC_LEN],
}

impl<'a> Message<'a> {
    /// Parses a session packet that starts with the word ffffffff.
    ///
    /// # Errors
    /// [`Refusal::UnknownType`], [`Refusal::BadLength`].
    pub fn parse(packet: &'a [u8]) -> Result<Self, Refusal> {
        let (word, message) = packet.split_first_chunk::<4>().ok_or(Refusal::BadLength)?;
        if *word != CONTROL {
            return Err(Refusal::UnknownType);
        }
        let (kind, rest) = message.split_first_chunk::<4>().ok_or(Refusal::BadLength)?;
        let parsed = match u32::from_le_bytes(*kind) {
            1 => Init::parse(message, rest).map(Message::Init),
            2 if packet.len() == RESPONSE_LEN => {
                Response::parse(message, rest).map(Message::Response)
            }
            3 if packet.len() == COOKIE_LEN => Cookie::parse(rest).map(Message::Cookie),
            2 | 3 => None,
            _ => return Err(Refusal::UnknownType),
        };
        parsed.ok_or(Refusal::BadLength)
    }
}

impl<'a> Macs<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let (rest, mac2) = message.split_last_chunk::<MAC_LEN>()?;
        let (before_mac1, mac1) = rest.split_last_chunk::<MAC_LEN>()?;
        Some(Self { before_mac1, mac1, mac2 })
    }

    /// Whether the sender knows the key that `mac1_key` was made of.
    pub(super) fn mac1_fits(&self, mac1_key: &[u8; HASH_LEN]) -> bool {
        mac(mac1_key, &[self.before_mac1]).ct_eq(self.mac1).into()
    }

    /// Whether the sender has the cookie.
    pub(super) fn mac2_fits(&self, cookie: &[u8; MAC_LEN]) -> bool {
        mac(cookie, &[self.before_mac1, self.mac1]).ct_eq(self.mac2).into()
    }
}

/// The key of the first authentication code of messages to `receiver`.
pub(super) fn mac1_key(receiver: &PublicKey) -> [u8; HASH_LEN] {
    hash(&[b"mac1----", &receiver.0])
}

/// The key that cookies of `responder` are sealed with.
pub(super) fn cookie_key(responder: &PublicKey) -> [u8; HASH_LEN] {
    hash(&[b"cookie--", &responder.0])
}

/// Appends both codes to a packet that is complete without them, and gives the first.
pub(super) fn append_macs(
    packet: &mut Vec<u8>,
    mac1_key: &[u8; HASH_LEN],
    cookie: Option<&[u8; MAC_LEN]>,
) -> [u8; MAC_LEN] {
    let mac1 = mac(mac1_key, &[&packet[CONTROL.len()..]]);
    packet.extend(mac1);
    let mac2 = cookie.map_or([0; MAC_LEN], |cookie| mac(cookie, &[&packet[CONTROL.len()..]]));
    packet.extend(mac2);
    mac1
}

impl<'a> Init<'a> {
    fn parse(message: &'a [u8], rest: &'a [u8]) -> Option<Self> {
        let additional_len = message.len().checked_sub(MACS_AT + 2 * MAC_LEN)?;
        // None, or sealed and not empty.
        if additional_len != 0
            && !(TAG_LEN + 1..=TAG_LEN + ADDITIONAL_MAX).contains(&additional_len)
        {
            return None;
        }
        let macs = Macs::parse(message)?;
        let (sender_index, rest) = rest.split_first_chunk::<4>()?;
        let (ephemeral, rest) = rest.split_first_chunk::<32>()?;
        let (fixed, rest) = rest.split_at_checked(32 + TAG_LEN)?;
        let (timestamp, rest) = rest.split_at_checked(timestamp::LEN + TAG_LEN)?;
        let additional = rest.get(..additional_len)?;
        Some(Self {
            sender_index: u32::from_le_bytes(*sender_index),
            ephemeral: PublicKey(*ephemeral),
            fixed,
            timestamp,
            additional,
            macs,
        })
    }

    pub(super) fn macs(&self) -> &Macs<'a> {
        &self.macs
    }

    /// Finds out who sent it, when, and what came with it. To be called behind [`super::Gate::admit`].
    ///
    /// Cost: two Diffie-Hellmans; one if the ephemeral key does not fit the sealed one.
    ///
    /// # Errors
    /// [`Refusal::Decrypt`], [`Refusal::ZeroKey`], [`Refusal::WrongKey`], [`Refusal::BadAdditional`].
    pub fn open(&self, identity: &Identity) -> Result<Opened, Refusal> {
        let mut symmetric = Symmetric::new(&identity.public());
        symmetric.mix_ephemeral(&self.ephemeral);
        let agree = |key: &PublicKey| identity.secret().agree(key).ok_or(Refusal::ZeroKey);
        let key = symmetric.mix_shared_for_key(&agree(&self.ephemeral)?);
        let peer = symmetric.open(&key, self.fixed).ok_or(Refusal::Decrypt)?;
        let peer = PublicKey(peer.try_into().map_err(|_bytes| Refusal::Decrypt)?);
        let address = peer.address();
        if peer == identity.public() || address.octets()[0] != 0xfc {
            return Err(Refusal::WrongKey);
        }
        let key = symmetric.mix_shared_for_key(&agree(&peer)?);
        let timestamp = symmetric.open(&key, self.timestamp).ok_or(Refusal::Decrypt)?;
        let timestamp = Tai64n(timestamp.try_into().map_err(|_bytes| Refusal::Decrypt)?);
        let additional = match self.additional {
            [] => Additional::default(),
            // Not taken into the transcript, and sealed with the timestamp's key and counter: both as the reference does.
            sealed => {
                let text = symmetric.open_apart(&key, sealed).ok_or(Refusal::Decrypt)?;
                Additional::parse(&text).ok_or(Refusal::BadAdditional)?
            }
        };
        let (sender_index, ephemeral) = (self.sender_index, self.ephemeral);
        Ok(Opened { peer, address, timestamp, additional, sender_index, ephemeral, symmetric })
    }
}

impl<'a> Response<'a> {
    fn parse(message: &'a [u8], rest: &'a [u8]) -> Option<Self> {
        let macs = Macs::parse(message)?;
        let (sender_index, rest) = rest.split_first_chunk::<4>()?;
        let (receiver_index, rest) = rest.split_first_chunk::<4>()?;
        let (ephemeral, rest) = rest.split_first_chunk::<32>()?;
        Some(Self {
            sender_index: u32::from_le_bytes(*sender_index),
            receiver_index: u32::from_le_bytes(*receiver_index),
            ephemeral: PublicKey(*ephemeral),
            nothing: rest.get(..TAG_LEN)?,
            macs,
        })
    }
}

impl<'a> Cookie<'a> {
    fn parse(rest: &'a [u8]) -> Option<Self> {
        let (receiver_index, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, sealed) = rest.split_first_chunk::<24>()?;
        Some(Self { receiver_index: u32::from_le_bytes(*receiver_index), nonce, sealed })
    }
}

/// What comes with an init. Whoever can change packets can change it: hints, and a login that the pre-shared key proves.
///
/// Source: CJDNS-WIRE.md §2.3.3 item 2, §11 item 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Additional {
    /// Whose login it is, first byte 3.
    pub lookup: Option<Lookup>,
    /// The session of ours that the sender continues. Not looked at: the reference fills in a wrong number.
    pub previous: Option<u32>,
    /// The sender's protocol version.
    pub version: Option<u32>,
}

impl Additional {
    /// Entities of type (1), length (1) and value. `None`: one is cut, or padding is not zero.
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut additional = Self::default();
        while let Some(([kind, len], rest)) = bytes.split_first_chunk::<2>() {
            let (value, rest) = rest.split_at_checked(usize::from(*len))?;
            match (kind, value) {
                (0, padding) if padding.iter().any(|byte| *byte != 0) => return None,
                (1, [3, ..]) => additional.lookup = value.try_into().ok().or(additional.lookup),
                (2, [a, b, c, d]) => {
                    additional.previous = Some(u32::from_le_bytes([*a, *b, *c, *d]));
                }
                (3, [a, b, c, d]) => {
                    additional.version = Some(u32::from_le_bytes([*a, *b, *c, *d]));
                }
                _ => {}
            }
            bytes = rest;
        }
        bytes.is_empty().then_some(additional)
    }

    /// What we send: padding to a multiple of four, version, login.
    pub(super) fn of(lookup: Option<Lookup>) -> Vec<u8> {
        let mut bytes = if lookup.is_some() { Vec::new() } else { vec![0, 0] };
        bytes.extend([3, 4]);
        bytes.extend(PROTOCOL_VERSION.to_le_bytes());
        if let Some(lookup) = lookup {
            bytes.extend([1, 8]);
            bytes.extend(lookup);
        }
        bytes
    }
}

/// An init whose sender is known. That it knows the password shows only in the first data packet.
#[derive(Clone)]
pub struct Opened {
    /// The sender's permanent key.
    pub peer: PublicKey,
    /// When it was sent, by the sender's clock.
    pub timestamp: Tai64n,
    /// What came with it.
    pub additional: Additional,
    /// By which the sender names the session to be.
    pub sender_index: u32,
    address: Ipv6Addr,
    pub(super) ephemeral: PublicKey,
    pub(super) symmetric: Symmetric,
}

impl Opened {
    /// Who may send this.
    ///
    /// `known`: the link is configured, or has a session with this peer: an init without login is taken.
    ///
    /// # Errors
    /// [`Refusal::AuthRequired`], [`Refusal::UnknownAuth`], [`Refusal::IpRestricted`].
    pub fn authorize<'u>(
        &self,
        users: &'u Credentials,
        known: bool,
    ) -> Result<Authorized<'u>, Refusal> {
        match self.additional.lookup {
            None if known => Ok(Authorized { user: None }),
            None => Err(Refusal::AuthRequired),
            Some(lookup) => match users.find(&lookup, self.address) {
                Ok(user) => Ok(Authorized { user: Some(user) }),
                Err(NotFound::Unknown) => Err(Refusal::UnknownAuth),
                Err(NotFound::OtherAddress) => Err(Refusal::IpRestricted),
            },
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("peer", &self.peer)
            .field("timestamp", &self.timestamp)
            .field("additional", &self.additional)
            .field("sender_index", &self.sender_index)
            .finish_non_exhaustive()
    }
}

/// That an init's sender may send it, and as whom. Made by [`Opened::authorize`] alone.
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
}

/// An init, complete but for its authentication codes, and the state behind it.
pub(super) fn init(
    identity: &Identity,
    peer: &PublicKey,
    permanent: &Key,
    ephemeral: &SecretKey,
    sender_index: u32,
    timestamp: Tai64n,
    lookup: Option<Lookup>,
) -> (Vec<u8>, Symmetric) {
    let mut packet = Vec::with_capacity(INIT_LEN + 64);
    packet.extend(CONTROL);
    packet.extend(1_u32.to_le_bytes());
    packet.extend(sender_index.to_le_bytes());
    let public = ephemeral.public();
    packet.extend(public.0);
    let mut symmetric = Symmetric::new(peer);
    symmetric.mix_ephemeral(&public);
    // The peer's key is no point of small order: `permanent` was agreed with it on something.
    let key = symmetric.mix_shared_for_key(&ephemeral.agree(peer).unwrap_or_default());
    packet.extend(symmetric.seal(&key, &identity.public().0));
    let key = symmetric.mix_shared_for_key(permanent);
    packet.extend(symmetric.seal(&key, &timestamp.0));
    packet.extend(symmetric.seal_apart(&key, &Additional::of(lookup)));
    (packet, symmetric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additional_data_is_a_list_of_entities() {
        let lookup = [3, 1, 2, 3, 4, 5, 6, 7];
        let ours = Additional::of(Some(lookup));
        assert_eq!(ours.len(), 16);
        let expected =
            Additional { lookup: Some(lookup), previous: None, version: Some(PROTOCOL_VERSION) };
        assert_eq!(Additional::parse(&ours), Some(expected));
        assert_eq!(Additional::of(None), [0, 0, 3, 4, 22, 0, 0, 0]);
        let previous = Additional { previous: Some(0x0403_0201), ..Additional::default() };
        assert_eq!(Additional::parse(&[0, 1, 0, 2, 4, 1, 2, 3, 4, 9, 1, 7]), Some(previous));
        for bad in [&[0_u8][..], &[3, 4, 1, 2, 3], &[0, 2, 0, 1], &[9, 255]] {
            assert_eq!(Additional::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn messages_of_other_lengths_are_refused() {
        let mut packet = CONTROL.to_vec();
        packet.extend(1_u32.to_le_bytes());
        for (kind, lens) in [(1_u8, &[152_usize, 169, 680][..]), (2, &[96]), (3, &[68])] {
            for len in 0..720 {
                packet.resize(len, 0);
                if let Some(byte) = packet.get_mut(4) {
                    *byte = kind;
                }
                packet.iter_mut().take(4).for_each(|byte| *byte = 0xff);
                let fits = match kind {
                    1 => len == lens[0] || (lens[1]..=lens[2]).contains(&len),
                    _ => len == lens[0],
                };
                assert_eq!(Message::parse(&packet).is_ok(), fits, "{kind} {len}");
            }
        }
        assert_eq!(Message::parse(&[0xff; 152]).unwrap_err(), Refusal::UnknownType);
        assert_eq!(Message::parse(&[1; 152]).unwrap_err(), Refusal::UnknownType);
    }
}
