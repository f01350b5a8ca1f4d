//! CryptoAuth: handshakes in both roles, and whole sessions off the packet path. Source: CJDNS-WIRE.md §2.2.
//!
//! ```text
//!  Packet::parse ─► Packet::authorize ─► (the caller's limits) ─► Handshake::receive      ─► payload, new keys
//!   lengths, kinds    who is it?           token buckets           Diffie-Hellman, open
//! ```
//!
//! [`Handshake`] is a link's slow-path half: it never sees data packets. [`EndToEnd`] has both halves in one object.

mod end_to_end;
mod handshake;
mod packet;
#[cfg(test)]
mod tests;

pub use end_to_end::{EndToEnd, Payload};
pub use handshake::{Handshake, NewKeys, Outbound, Received};
pub use packet::{Auth, Authorized, Packet, Stage};

/// Bytes of a handshake packet before its payload.
pub const HANDSHAKE_LEN: usize = 120;
/// Number of the first data packet of an initiator; what is below is a handshake's stage.
pub const FIRST_NONCE: u32 = 4;
/// Number of the first data packet of a responder: it counts its own handshake packets, and three more.
pub const FIRST_NONCE_RESPONDER: u32 = 6;
/// How far a session is. Source: CJDNS-WIRE.md §2.2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing was sent or received.
    Init,
    /// Our hello is out.
    SentHello,
    /// The peer's hello has come.
    ReceivedHello,
    /// Our key is out.
    SentKey,
    /// The peer's key has come: data may be sent.
    ReceivedKey,
    /// A data packet was opened.
    Established,
}

impl State {
    /// The number in an AUTHENTICATION error. Source: CJDNS-WIRE.md §5.3.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Init => 0,
            Self::SentHello => 1,
            Self::ReceivedHello => 2,
            Self::SentKey => 3,
            Self::ReceivedKey => 4,
            Self::Established => 100,
        }
    }

    /// The name in statuses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::SentHello => "sent_hello",
            Self::ReceivedHello => "received_hello",
            Self::SentKey => "sent_key",
            Self::ReceivedKey => "received_key",
            Self::Established => "established",
        }
    }
}

/// Why a packet was refused. A refused packet changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Shorter than its kind.
    TooShort,
    /// A data packet, and there are no keys.
    NoSession,
    /// A key packet, and the session is established.
    KeyOnEstablished,
    /// Not the key of this session's peer, our own, or one whose address is not in fc00::/8.
    WrongKey,
    /// The login is for another node.
    IpRestricted,
    /// This link wants a login, and there was none.
    AuthRequired,
    /// Nobody has this login.
    UnknownAuth,
    /// An authentication type that nobody knows.
    UnknownAuthType,
    /// A key packet, and no hello of ours is out.
    StrayKey,
    /// Not sealed for us by whom it says, or by another password.
    HandshakeDecrypt,
    /// A temporary key that agrees on no secret.
    ZeroKey,
    /// A handshake packet that was received before, or one of another handshake than the one it repeats.
    Duplicate,
    /// A hello while another handshake is being finished: the peer repeats it.
    Busy,
    /// A data packet that was received before, or too old to tell.
    Replay,
    /// A data packet that is not sealed with the session's key.
    Decrypt,
}

impl Refusal {
    /// The failure code in an AUTHENTICATION error. Source: CJDNS-WIRE.md §5.3.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::TooShort => 1,
            Self::NoSession => 2,
            Self::KeyOnEstablished => 5,
            Self::WrongKey => 6,
            Self::IpRestricted => 7,
            Self::AuthRequired => 8,
            Self::UnknownAuth | Self::UnknownAuthType => 9,
            Self::StrayKey => 10,
            Self::HandshakeDecrypt => 11,
            Self::ZeroKey => 12,
            Self::Duplicate | Self::Busy => 13,
            Self::Replay => 14,
            Self::Decrypt => 15,
        }
    }

    /// The name in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::NoSession => "no_session",
            Self::KeyOnEstablished => "key_on_established",
            Self::WrongKey => "wrong_key",
            Self::IpRestricted => "ip_restricted",
            Self::AuthRequired => "auth_required",
            Self::UnknownAuth => "unknown_auth",
            Self::UnknownAuthType => "unknown_auth_type",
            Self::StrayKey => "stray_key",
            Self::HandshakeDecrypt => "handshake_decrypt",
            Self::ZeroKey => "zero_key",
            Self::Duplicate => "duplicate",
            Self::Busy => "busy",
            Self::Replay => "replay",
            Self::Decrypt => "decrypt",
        }
    }
}

/// The nonce of a data packet: the number, little-endian, in the half of whose hello it was, or in the other.
pub(crate) fn data_nonce(number: u32, sender_is_initiator: bool) -> crate::secretbox::Nonce {
    let mut nonce = [0; 24];
    let at = if sender_is_initiator { 4 } else { 0 };
    nonce[at..at + 4].copy_from_slice(&number.to_le_bytes());
    nonce
}
