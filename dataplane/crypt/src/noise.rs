//! Noise IKpsk2 handshakes, as in WireGuard with additional data in the first message. Source: CJDNS-WIRE.md §2.3.
//!
//! ```text
//!  Message::parse ─► Gate::admit ─► Init::open ─► Opened::authorize ─► Peer::respond ─► response, keys
//!                    mac1, cookies  Diffie-Hellman  who is it?
//!  Peer::initiate ─► (init) … Peer::receive_response / receive_cookie
//! ```

mod gate;
mod message;
mod peer;
mod symmetric;
#[cfg(test)]
mod tests;
mod timestamp;

pub use gate::{Admission, Gate};
pub use message::{
    Additional, Authorized, Cookie, INIT_LEN, Init, Message, Opened, RESPONSE_LEN, Response,
};
pub use peer::{Action, Peer, State};
pub use timestamp::Tai64n;

/// The word before a handshake message, where data has the receiver's index.
pub const CONTROL: [u8; 4] = [0xff; 4];
/// The protocol version that we tell.
pub const PROTOCOL_VERSION: u32 = 22;

/// Why a message was refused. A refused message changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Of a length that its type cannot have.
    BadLength,
    /// Of a type that nobody knows, or no handshake message at all.
    UnknownType,
    /// The sender does not know our permanent key.
    Mac1,
    /// Not sealed for us by whom it says, or by another password.
    Decrypt,
    /// A key that agrees on no secret.
    ZeroKey,
    /// Additional data that is no list, or padding that is not zero.
    BadAdditional,
    /// Not the key of this link's peer, our own, or one whose address is not in fc00::/8.
    WrongKey,
    /// Not newer than the newest init of this peer.
    OldTimestamp,
    /// This link wants a login, and there was none.
    AuthRequired,
    /// Nobody has this login.
    UnknownAuth,
    /// The login is for another node.
    IpRestricted,
    /// The answer to no init of ours that is out.
    UnknownIndex,
}

impl Refusal {
    /// The name in counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadLength => "bad_length",
            Self::UnknownType => "unknown_type",
            Self::Mac1 => "mac1",
            Self::Decrypt => "decrypt",
            Self::ZeroKey => "zero_key",
            Self::BadAdditional => "bad_additional",
            Self::WrongKey => "wrong_key",
            Self::OldTimestamp => "old_timestamp",
            Self::AuthRequired => "auth_required",
            Self::UnknownAuth => "unknown_auth",
            Self::IpRestricted => "ip_restricted",
            Self::UnknownIndex => "unknown_index",
        }
    }
}
