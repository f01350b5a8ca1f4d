//! The handshakes of one link, of either kind.

use crypt::credential::Credential;
use crypt::cryptoauth::{self, Authorized, NewKeys, Outbound, Packet, Refusal};
use crypt::data::DataSession;
use crypt::identity::Identity;
use dataplane_api::Nanos;
use rand_core::CryptoRng;
use wire::key::PublicKey;

/// Which handshake a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Understood by every node.
    CryptoAuth,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CryptoAuth => "crypto_auth",
        }
    }
}

/// Handshakes with one peer.
#[derive(Debug)]
pub(super) enum Session {
    CryptoAuth(Box<cryptoauth::Handshake>),
}

/// What a handshake packet brought.
#[derive(Debug)]
pub(super) struct Received {
    /// A switch packet, if it is not empty.
    pub(super) payload: Vec<u8>,
    pub(super) keys: Option<Box<DataSession>>,
    /// The peer waits for an answer.
    pub(super) answer: bool,
}

/// How a payload goes out.
#[derive(Debug)]
pub(super) enum Out {
    /// In a handshake packet; the keys are to be installed before it is sent.
    Handshake { packet: Vec<u8>, keys: Option<Box<DataSession>> },
    /// By the owner of the data keys.
    Data,
}

impl Session {
    /// To call `peer`.
    pub(super) fn calling(
        identity: &Identity,
        peer: PublicKey,
        credential: Option<Credential>,
    ) -> Result<Self, Refusal> {
        let handshake = cryptoauth::Handshake::new(identity, peer, credential)?;
        Ok(Self::CryptoAuth(Box::new(handshake)))
    }

    /// To answer `peer`, of whom we want nothing.
    pub(super) fn answering(identity: &Identity, peer: PublicKey) -> Result<Self, Refusal> {
        Self::calling(identity, peer, None)
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::CryptoAuth(_) => Kind::CryptoAuth,
        }
    }

    pub(super) fn state(&self) -> cryptoauth::State {
        match self {
            Self::CryptoAuth(handshake) => handshake.state(),
        }
    }

    pub(super) fn log_in_with(&mut self, credential: Option<Credential>) {
        match self {
            Self::CryptoAuth(handshake) => handshake.log_in_with(credential),
        }
    }

    pub(super) fn receive(
        &mut self,
        identity: &Identity,
        now: Nanos,
        packet: &Packet<'_>,
        authorized: &Authorized<'_>,
    ) -> Result<Received, Refusal> {
        match self {
            Self::CryptoAuth(handshake) => {
                let received = handshake.receive(identity, now, packet, authorized)?;
                let cryptoauth::Received { payload, keys, answer } = received;
                Ok(Received { payload, keys: keys.map(data_session), answer })
            }
        }
    }

    /// Packs a payload as the session stands.
    pub(super) fn send(&mut self, now: Nanos, rng: &mut dyn CryptoRng, payload: &[u8]) -> Out {
        match self {
            Self::CryptoAuth(handshake) => out(handshake.send(now, rng, payload)),
        }
    }

    /// The packet that a peer waits for, if one does.
    pub(super) fn answer(&mut self, rng: &mut dyn CryptoRng, payload: &[u8]) -> Option<Out> {
        match self {
            Self::CryptoAuth(handshake) => {
                let (packet, keys) = handshake.answer(rng, payload)?;
                Some(Out::Handshake { packet, keys: keys.map(data_session) })
            }
        }
    }

    pub(super) fn opened(&mut self, id: u32, at: Nanos) {
        match self {
            Self::CryptoAuth(handshake) => {
                handshake.opened(id, at);
            }
        }
    }

    pub(super) fn renew(&mut self) {
        match self {
            Self::CryptoAuth(handshake) => handshake.renew(),
        }
    }

    /// Gives up what took too long: ids of keys to drop.
    pub(super) fn poll(&mut self, now: Nanos) -> impl Iterator<Item = u32> + use<> {
        match self {
            Self::CryptoAuth(handshake) => handshake.poll(now).into_iter(),
        }
    }
}

fn out(outbound: Outbound) -> Out {
    match outbound {
        Outbound::Handshake { packet, keys } => {
            Out::Handshake { packet, keys: keys.map(data_session) }
        }
        Outbound::Data => Out::Data,
    }
}

fn data_session(new: NewKeys) -> Box<DataSession> {
    Box::new(DataSession::new(new.keys, new.generation))
}
