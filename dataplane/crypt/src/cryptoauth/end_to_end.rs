//! A whole session in one object, one packet at a time: between the routers of two nodes. No login.
//!
//! Source: CJDNS-WIRE.md §2.2, §6.1.

use super::handshake::{Handshake, NewKeys};
use super::packet::{Authorized, Packet};
use super::{FIRST_NONCE, Refusal, State, data_nonce};
use crate::credential::Credential;
use crate::data::{CRYPTOAUTH_HEAD_LEN, DataKeys, Framing, NUMBER_END};
use crate::identity::Identity;
use crate::replay::ReplayWindow;
use crate::secretbox::{self, Key};
use arrayvec::ArrayVec;
use rand_core::CryptoRng;
use wire::key::PublicKey;
use zeroize::Zeroizing;

/// What a side adds to its own number when it opens its first data packet. Source: CJDNS-WIRE.md §2.2.3.
const JUMP: u32 = 3;
/// Current keys and a candidate.
const KEYS_MAX: usize = 2;

/// What a packet carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// They came in a handshake packet, which may be a recording: act on nothing in it that a stranger may not ask for.
    pub in_handshake: bool,
    /// The session works from this packet on, and did not before.
    pub established: bool,
    /// The first packet that was opened with the keys of a handshake: what the peer said in that handshake holds from now on.
    pub confirms: bool,
}

/// A session with the router of one node.
///
/// A peer's hello does not end a session that works: both live until data comes on the new one. Meanwhile each hello is
/// answered with one key packet, and everything else goes by the session that works.
#[derive(Debug)]
pub struct EndToEnd {
    handshake: Handshake,
    halves: ArrayVec<DataHalf, KEYS_MAX>,
    /// A hello came that no key packet was sent for.
    hello_waits: bool,
}

/// Keys, the next number to send, and the numbers that were received.
struct DataHalf {
    generation: u32,
    key: Key,
    initiator: bool,
    confirmed: bool,
    opened: bool,
    next: u32,
    window: ReplayWindow,
}

impl EndToEnd {
    /// A session in which nothing was sent or received yet. Cost: one Diffie-Hellman.
    ///
    /// # Errors
    /// [`Refusal::WrongKey`] if `peer` is our own key, or its address is not in fc00::/8.
    pub fn new(identity: &Identity, peer: PublicKey) -> Result<Self, Refusal> {
        Self::with_credential(identity, peer, None)
    }

    /// The same with a login, as on links.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn with_credential(
        identity: &Identity,
        peer: PublicKey,
        credential: Option<Credential>,
    ) -> Result<Self, Refusal> {
        let handshake = Handshake::new(identity, peer, credential)?;
        Ok(Self { handshake, halves: ArrayVec::new(), hello_waits: false })
    }

    /// The peer's permanent key.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.handshake.peer()
    }

    /// How far it is, as of the last call. User data may be sent from [`State::ReceivedKey`] on.
    #[must_use]
    pub fn state(&self) -> State {
        self.handshake.state()
    }

    /// The packet that carries `payload`: a handshake packet as long as the session is not established, then data.
    ///
    /// `now`: nanoseconds, monotonic. In a handshake packet the payload of an end-to-end session starts with the handle by
    /// which we want to be addressed; a data packet is preceded by the peer's. So look with [`Self::sends_handshake`] first.
    ///
    /// Cost: a handshake packet that is the first of its kind, two or three scalar multiplications.
    #[must_use]
    pub fn send(&mut self, now: u64, rng: &mut dyn CryptoRng, payload: &[u8]) -> Vec<u8> {
        self.expire(now);
        if let Some(at) = self.sending() {
            return self.halves[at].seal(payload);
        }
        self.hello_waits = false;
        let (packet, keys) = self.handshake.greet(now, rng, payload);
        self.install(keys);
        packet
    }

    /// Whether [`Self::send`] would make a handshake packet now.
    #[must_use]
    pub fn sends_handshake(&mut self, now: u64) -> bool {
        self.expire(now);
        self.sending().is_none()
    }

    /// Opens a packet: a handshake packet or a data packet (without the handle before it).
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn receive(
        &mut self,
        identity: &Identity,
        now: u64,
        packet: &[u8],
    ) -> Result<Payload, Refusal> {
        let (number, sealed) = packet.split_first_chunk::<4>().ok_or(Refusal::TooShort)?;
        let number = u32::from_be_bytes(*number);
        self.expire(now);
        if number >= FIRST_NONCE {
            return self.receive_data(now, number, sealed);
        }
        let packet = Packet::parse(packet)?;
        let received = self.handshake.receive(identity, now, &packet, &Authorized::anyone())?;
        self.install(received.keys);
        self.drop_dead();
        self.hello_waits |= received.answer;
        Ok(Payload {
            bytes: received.payload,
            in_handshake: true,
            established: false,
            confirms: false,
        })
    }

    fn receive_data(&mut self, now: u64, number: u32, sealed: &[u8]) -> Result<Payload, Refusal> {
        if sealed.len() < secretbox::TAG_LEN {
            return Err(Refusal::TooShort);
        }
        if self.halves.is_empty() {
            return Err(Refusal::NoSession);
        }
        let opened = self.halves.iter_mut().enumerate().find_map(|(at, half)| {
            let nonce = data_nonce(number, !half.initiator);
            secretbox::open(&half.key, &nonce, sealed).map(|bytes| (at, bytes))
        });
        let (at, bytes) = opened.ok_or(Refusal::Decrypt)?;
        let half = &mut self.halves[at];
        half.window.accept(number).map_err(|_not_fresh| Refusal::Replay)?;
        if !half.opened {
            half.opened = true;
            half.confirmed = true;
            half.next = half.next.saturating_add(half.jump());
        }
        let generation = half.generation;
        let was = self.handshake.state();
        let confirms = self.handshake.opened(generation, now);
        if confirms {
            self.drop_dead();
        }
        self.hello_waits = false;
        let established = was != State::Established;
        Ok(Payload { bytes, in_handshake: false, established, confirms })
    }

    /// Forgets keys and handshakes; hellos that were received stay remembered.
    pub fn reset(&mut self) {
        self.handshake.reset();
        self.halves.clear();
        self.hello_waits = false;
    }

    /// The keys to send with: the newest that may be. `None`: a handshake packet goes out.
    fn sending(&self) -> Option<usize> {
        if self.hello_waits && self.handshake.owes_key() {
            return None;
        }
        self.halves.iter().rposition(|half| half.confirmed)
    }

    fn expire(&mut self, now: u64) {
        if !self.handshake.poll(now).is_empty() {
            self.drop_dead();
        }
        // Source: CJDNS-WIRE.md §2.2.7, the last sentence.
        if self.halves.iter().any(|half| half.next >= NUMBER_END) {
            self.reset();
        }
    }

    fn drop_dead(&mut self) {
        let handshake = &self.handshake;
        self.halves.retain(|half| handshake.is_alive(half.generation));
    }

    fn install(&mut self, keys: Option<NewKeys>) {
        let Some(NewKeys { generation, keys }) = keys else { return };
        // An earlier candidate gives way; the current keys stay until a packet is opened with these.
        self.drop_dead();
        self.halves.push(DataHalf::new(generation, &keys));
    }
}

impl DataHalf {
    fn new(generation: u32, keys: &DataKeys) -> Self {
        let initiator = matches!(keys.framing, Framing::CryptoAuth { initiator: true });
        Self {
            generation,
            key: Zeroizing::new(keys.send),
            initiator,
            confirmed: keys.confirmed,
            opened: false,
            next: keys.first_nonce,
            window: ReplayWindow::new(),
        }
    }

    /// A responder's first number has the jump in it already.
    fn jump(&self) -> u32 {
        if self.initiator { JUMP } else { 0 }
    }

    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        let mut packet = Vec::with_capacity(CRYPTOAUTH_HEAD_LEN + payload.len());
        packet.extend(number.to_be_bytes());
        let nonce = data_nonce(number, self.initiator);
        secretbox::seal(&self.key, &nonce, &[payload], &mut packet);
        packet
    }
}

impl std::fmt::Debug for DataHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataHalf")
            .field("generation", &self.generation)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
