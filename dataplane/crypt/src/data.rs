//! What a handshake ends in: the keys of one session, as the owner of the link gets them.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// How data packets of a session look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nonce (4, BE), tag (16), text; XSalsa20-Poly1305. Source: CJDNS-WIRE.md §2.2.3.
    CryptoAuth {
        /// Whose hello it was: the nonce lies in bytes 4..8 of the initiator's packets, in 0..4 of the responder's.
        initiator: bool,
    },
    /// Receiver index (4, LE), counter (4, LE), text, tag (16); ChaCha20-Poly1305. Source: CJDNS-WIRE.md §2.3.2.
    Noise {
        /// By which the peer names this session.
        own_index: u32,
        /// By which we name it.
        peer_index: u32,
    },
}

/// Keys of one session, both ways. Wiped when dropped; [`std::fmt::Debug`] shows none of it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DataKeys {
    /// How packets look.
    #[zeroize(skip)]
    pub framing: Framing,
    /// For what we send.
    pub send: [u8; 32],
    /// For what we receive; CryptoAuth has one key for both.
    pub receive: [u8; 32],
    /// Number of the first packet that we send.
    pub first_nonce: u32,
    /// May be sent with at once. Otherwise (a responder) only after the peer's first packet has been opened with it.
    pub confirmed: bool,
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKeys")
            .field("framing", &self.framing)
            .field("first_nonce", &self.first_nonce)
            .field("confirmed", &self.confirmed)
            .finish_non_exhaustive()
    }
}
