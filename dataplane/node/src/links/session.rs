//! The handshakes of one link, of either kind, behind one face.

use super::{Moment, Node};
use crypt::credential::Credential;
use crypt::cryptoauth::{self, NewKeys, Outbound};
use crypt::data::{DataKeys, DataSession, Framing};
use crypt::identity::Identity;
use crypt::noise::{self, Action};
use dataplane_api::{DropReason, Handshake, Nanos};
use wire::key::PublicKey;

/// Bytes of the word that tells the kinds of handshake apart. Source: CJDNS-WIRE.md §2.1.
const WORD_LEN: usize = 4;

/// Number of Noise sessions with those who have no vif yet: beyond those of vifs. A peer has at most one such session with
/// a vswitch, and tells sessions apart by link.
pub(super) const CALLING: u32 = 0x00f0_0000;

/// Which handshake a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Understood by every node.
    CryptoAuth,
    /// Noise IKpsk2.
    Noise,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CryptoAuth => "crypto_auth",
            Self::Noise => "noise",
        }
    }

    /// Of a handshake packet.
    pub(super) fn of(packet: &[u8]) -> Self {
        match packet.first_chunk::<WORD_LEN>() {
            Some(&noise::CONTROL) => Self::Noise,
            Some(_) | None => Self::CryptoAuth,
        }
    }
}

impl From<Handshake> for Kind {
    fn from(handshake: Handshake) -> Self {
        match handshake {
            Handshake::CryptoAuth => Self::CryptoAuth,
            Handshake::Noise => Self::Noise,
        }
    }
}

impl From<Kind> for Handshake {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::CryptoAuth => Self::CryptoAuth,
            Kind::Noise => Self::Noise,
        }
    }
}

/// Handshakes with one peer.
#[derive(Debug)]
pub(super) enum Session {
    CryptoAuth(Box<cryptoauth::Handshake>),
    Noise(Box<noise::Peer>),
}

/// What a handshake packet brought.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// A switch packet, if it is not empty.
    pub(super) payload: Vec<u8>,
    /// To be installed.
    pub(super) keys: Option<Box<DataSession>>,
    /// To be sent as it is, once the keys are installed.
    pub(super) packet: Option<Vec<u8>>,
    /// The peer waits for [`Session::answer`].
    pub(super) answer: bool,
}

/// How a payload goes out.
#[derive(Debug)]
pub(super) enum Out {
    /// In a handshake packet; the keys are to be installed before it is sent.
    Handshake { packet: Vec<u8>, keys: Option<Box<DataSession>> },
    /// By the owner of the data keys.
    Data,
    /// Not now: a handshake is under way that carries no payload.
    Wait,
}

/// What time asks of a session.
#[derive(Debug)]
pub(super) enum Due {
    /// Keys are used no more.
    Drop(u32),
    /// Send this as it is.
    Handshake(Vec<u8>),
    /// Send a packet without text.
    KeepAlive,
}

impl Session {
    /// To call or answer `peer`. `number`: of the link, which no other link of the box has.
    pub(super) fn new(
        kind: Kind,
        identity: &Identity,
        peer: PublicKey,
        credential: Option<Credential>,
        number: u32,
    ) -> Option<Self> {
        Some(match kind {
            Kind::CryptoAuth => Self::CryptoAuth(Box::new(
                cryptoauth::Handshake::new(identity, peer, credential).ok()?,
            )),
            Kind::Noise => {
                // The moment that is given with each init is later than all before.
                let after = noise::Tai64n::default();
                let made = noise::Peer::new(identity, peer, credential, number, after);
                Self::Noise(Box::new(made.ok()?))
            }
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::CryptoAuth(_) => Kind::CryptoAuth,
            Self::Noise(_) => Kind::Noise,
        }
    }

    /// Whether nothing was sent or received yet.
    pub(super) fn is_untouched(&self) -> bool {
        match self {
            Self::CryptoAuth(handshake) => handshake.state() == cryptoauth::State::Init,
            Self::Noise(peer) => peer.state() == noise::State::Init,
        }
    }

    /// As cjdroute names it. Source: CJDNS-INTEROP.md §4.2.
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::CryptoAuth(handshake) => match handshake.state() {
                cryptoauth::State::Init => "INIT",
                cryptoauth::State::SentHello => "SENT_HELLO",
                cryptoauth::State::ReceivedHello => "RECEIVED_HELLO",
                cryptoauth::State::SentKey => "SENT_KEY",
                cryptoauth::State::ReceivedKey => "RECEIVED_KEY",
                cryptoauth::State::Established => "ESTABLISHED",
            },
            Self::Noise(peer) => match peer.state() {
                noise::State::Init => "INIT",
                noise::State::SentInit | noise::State::SentResponse => "UNAUTHENTICATED",
                noise::State::Established => "ESTABLISHED",
            },
        }
    }

    /// The version that the peer told in a handshake.
    pub(super) fn version(&self) -> Option<u32> {
        match self {
            Self::CryptoAuth(_) => None,
            Self::Noise(peer) => peer.version(),
        }
    }

    pub(super) fn log_in_with(&mut self, credential: Option<Credential>) {
        match self {
            Self::CryptoAuth(handshake) => handshake.log_in_with(credential),
            Self::Noise(peer) => peer.log_in_with(credential),
        }
    }

    /// Opens a handshake packet of a peer that is known: no login is asked of it.
    ///
    /// What stands before a Diffie-Hellman of Noise ([`noise::Gate`]) is the caller's.
    pub(super) fn receive(
        &mut self,
        node: &Node,
        identity: &Identity,
        moment: &mut Moment<'_>,
        packet: &[u8],
    ) -> Result<Received, DropReason> {
        match self {
            Self::CryptoAuth(handshake) => {
                let packet = cryptoauth::Packet::parse(packet).map_err(refused)?;
                let authorized = packet.authorize(&node.users, true).map_err(refused)?;
                Self::receive_hello(handshake, identity, moment.now, &packet, &authorized)
            }
            Self::Noise(peer) => match noise::Message::parse(packet).map_err(refused)? {
                noise::Message::Init(init) => {
                    let opened = init.open(identity).map_err(refused)?;
                    let authorized = opened.authorize(&node.users, true).map_err(refused)?;
                    Self::respond(peer, moment, &opened, &authorized)
                }
                noise::Message::Response(response) => {
                    let keys = peer.receive_response(identity, moment.now, &response);
                    let keys = Some(noise_session(keys.map_err(refused)?));
                    Ok(Received { keys, ..Received::default() })
                }
                noise::Message::Cookie(cookie) => {
                    peer.receive_cookie(moment.now, &cookie).map_err(refused)?;
                    Ok(Received::default())
                }
            },
        }
    }

    /// A hello whose sender was found out before.
    pub(super) fn receive_hello(
        handshake: &mut cryptoauth::Handshake,
        identity: &Identity,
        now: Nanos,
        packet: &cryptoauth::Packet<'_>,
        authorized: &cryptoauth::Authorized<'_>,
    ) -> Result<Received, DropReason> {
        let received = handshake.receive(identity, now, packet, authorized).map_err(refused)?;
        let cryptoauth::Received { payload, keys, answer, .. } = received;
        Ok(Received { payload, keys: keys.map(data_session), packet: None, answer })
    }

    /// The same for an init.
    pub(super) fn respond(
        peer: &mut noise::Peer,
        moment: &mut Moment<'_>,
        opened: &noise::Opened,
        authorized: &noise::Authorized<'_>,
    ) -> Result<Received, DropReason> {
        let (packet, keys) =
            peer.respond(moment.now, moment.rng, opened, authorized).map_err(refused)?;
        let (keys, packet) = (Some(noise_session(keys)), Some(packet));
        Ok(Received { keys, packet, ..Received::default() })
    }

    /// Packs a payload as the session stands.
    pub(super) fn send(
        &mut self,
        identity: &Identity,
        moment: &mut Moment<'_>,
        payload: &[u8],
    ) -> Out {
        match self {
            Self::CryptoAuth(handshake) => match handshake.send(moment.now, moment.rng, payload) {
                Outbound::Handshake { packet, keys } => {
                    Out::Handshake { packet, keys: keys.map(data_session) }
                }
                Outbound::Data => Out::Data,
            },
            Self::Noise(peer) if peer.state() == noise::State::Established => Out::Data,
            Self::Noise(peer) if peer.needs_init() => {
                let packet = peer.initiate(identity, moment.now, moment.wall, moment.rng);
                Out::Handshake { packet, keys: None }
            }
            Self::Noise(_) => Out::Wait,
        }
    }

    /// The packet that a peer waits for, if one does.
    pub(super) fn answer(&mut self, moment: &mut Moment<'_>, payload: &[u8]) -> Option<Out> {
        match self {
            Self::CryptoAuth(handshake) => {
                let (packet, keys) = handshake.answer(moment.rng, payload)?;
                Some(Out::Handshake { packet, keys: keys.map(data_session) })
            }
            Self::Noise(_) => None,
        }
    }

    pub(super) fn opened(&mut self, id: u32, at: Nanos) {
        match self {
            Self::CryptoAuth(handshake) => {
                handshake.opened(id, at);
            }
            Self::Noise(peer) => {
                peer.opened(id, at, true);
            }
        }
    }

    /// The owner has sent something.
    pub(super) fn sent(&mut self, at: Nanos) {
        match self {
            Self::CryptoAuth(_) => {}
            Self::Noise(peer) => peer.sent(at, true),
        }
    }

    pub(super) fn renew(&mut self) {
        match self {
            Self::CryptoAuth(handshake) => handshake.renew(),
            Self::Noise(peer) => peer.renew(),
        }
    }

    /// What time asks for.
    pub(super) fn poll(&mut self, identity: &Identity, moment: &mut Moment<'_>) -> Vec<Due> {
        match self {
            Self::CryptoAuth(handshake) => {
                handshake.poll(moment.now).into_iter().map(Due::Drop).collect()
            }
            Self::Noise(peer) => {
                let actions = peer.poll(moment.now);
                let due = actions.into_iter().filter_map(|action| match action {
                    Action::Initiate => {
                        let packet = peer.initiate(identity, moment.now, moment.wall, moment.rng);
                        Some(Due::Handshake(packet))
                    }
                    Action::Keepalive => Some(Due::KeepAlive),
                    Action::Drop(index) => Some(Due::Drop(index)),
                    Action::GaveUp => None,
                });
                due.collect()
            }
        }
    }
}

/// All refusals of handshakes have one name among the drops: which it was would tell a stranger more than us.
pub(super) fn refused<R>(_refusal: R) -> DropReason {
    DropReason::Handshake
}

fn data_session(new: NewKeys) -> Box<DataSession> {
    Box::new(DataSession::new(new.keys, new.generation))
}

fn noise_session(keys: DataKeys) -> Box<DataSession> {
    let id = match keys.framing {
        Framing::Noise { own_index, .. } => own_index,
        Framing::CryptoAuth { .. } => 0,
    };
    Box::new(DataSession::new(keys, id))
}
