//! One peer's handshakes, in both roles: keys come and go by generations, named by our index.
//!
//! Nothing that a peer sends takes a working generation away. As responder, new keys are *next* until a packet was opened
//! with them; as initiator they are *current* at once, because the response proves that the peer has them.
//!
//! Source: CJDNS-WIRE.md §2.3.4 (timers), §2.3.6 (work-arounds).

use super::message::{
    Authorized, Cookie, Opened, Response, append_macs, cookie_key, init, mac1_key,
};
use super::symmetric::{Symmetric, open_cookie};
use super::timestamp::Tai64n;
use super::{CONTROL, RESPONSE_LEN, Refusal};
use crate::credential::Credential;
use crate::data::{DataKeys, Framing};
use crate::hash::{HASH_LEN, MAC_LEN};
use crate::identity::{Identity, SecretKey};
use crate::secretbox::Key;
use arrayvec::ArrayVec;
use rand_core::CryptoRng;
use wire::key::PublicKey;
use zeroize::{Zeroize, Zeroizing};

const SECOND_NS: u64 = 1_000_000_000;
/// The initiator makes new keys.
const REKEY_NS: u64 = 120 * SECOND_NS;
/// The responder does, if the initiator has not: after two inits that crossed, each side may send with the keys for which
/// the other one feels responsible.
const REKEY_LATE_NS: u64 = 165 * SECOND_NS;
/// Keys are not used any longer.
const REJECT_NS: u64 = 180 * SECOND_NS;
/// Between two inits.
const RETRY_NS: u64 = 5 * SECOND_NS;
/// Before the next init when a cookie has come.
const COOKIE_RETRY_NS: u64 = SECOND_NS;
/// A cookie is shown for this time.
const COOKIE_NS: u64 = 120 * SECOND_NS;
/// Inits are repeated for this time.
const GIVE_UP_NS: u64 = 90 * SECOND_NS;
/// Data was received and nothing sent: a keepalive.
const KEEPALIVE_NS: u64 = 10 * SECOND_NS;
/// Data was sent and nothing received: a new handshake.
const UNANSWERED_NS: u64 = KEEPALIVE_NS + RETRY_NS;
/// Most that one [`Peer::poll`] asks for.
const ACTIONS_MAX: usize = DROPPED_MAX + 2;
/// Indices that wait for [`Peer::poll`]; the oldest are forgotten, since newer keys have taken their place.
const DROPPED_MAX: usize = 8;

/// What time asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Call [`Peer::initiate`] and send what it gives.
    Initiate,
    /// Send a data packet without text.
    Keepalive,
    /// Drop the keys of this own index.
    Drop(u32),
    /// Inits were not answered for 90 s; queued packets may be dropped. The next [`Peer::initiate`] starts anew.
    GaveUp,
}

/// How far the newest handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing was sent or received.
    Init,
    /// Our init is out.
    SentInit,
    /// Our response is out.
    SentResponse,
    /// There are keys to send with.
    Established,
}

impl State {
    /// The name in statuses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::SentInit => "sent_init",
            Self::SentResponse => "sent_response",
            Self::Established => "established",
        }
    }
}

/// The slow-path half of one link's Noise session.
pub struct Peer {
    peer: PublicKey,
    /// What the permanent keys agree on.
    permanent: Key,
    peer_mac1_key: [u8; HASH_LEN],
    own_mac1_key: [u8; HASH_LEN],
    credential: Option<Credential>,
    /// That of the user as which the peer logged in last.
    user_psk: Option<Key>,
    /// Upper 24 bits of our indices, and the last lower byte that was given.
    session: u32,
    counter: u8,
    heard_timestamp: Tai64n,
    sent_timestamp: Tai64n,
    version: Option<u32>,
    initiated: Option<Initiated>,
    cookie: Option<([u8; MAC_LEN], u64)>,
    previous: Option<Generation>,
    current: Option<Generation>,
    next: Option<Generation>,
    dropped: ArrayVec<u32, DROPPED_MAX>,
    renewing: bool,
    received_unanswered: Option<u64>,
    sent_unanswered: Option<u64>,
}

/// An init that is out.
struct Initiated {
    index: u32,
    ephemeral: SecretKey,
    symmetric: Symmetric,
    mac1: [u8; MAC_LEN],
    since: u64,
    sent: u64,
    retry: u64,
}

#[derive(Clone, Copy)]
struct Generation {
    own_index: u32,
    born: u64,
    initiator: bool,
}

impl Peer {
    /// Nothing sent or received yet. Cost: one Diffie-Hellman.
    ///
    /// `session`: upper 24 bits of our indices on this link. `after`: our timestamps are later than this, which is what
    /// [`Self::sent_timestamp`] said before a restart.
    ///
    /// # Errors
    /// [`Refusal::WrongKey`] if `peer` is our own key, or one that no node may use.
    pub fn new(
        identity: &Identity,
        peer: PublicKey,
        credential: Option<Credential>,
        session: u32,
        after: Tai64n,
    ) -> Result<Self, Refusal> {
        if peer == identity.public() || !peer.is_usable() {
            return Err(Refusal::WrongKey);
        }
        let permanent = identity.secret().agree(&peer).ok_or(Refusal::WrongKey)?;
        Ok(Self {
            peer,
            permanent,
            peer_mac1_key: mac1_key(&peer),
            own_mac1_key: mac1_key(&identity.public()),
            credential,
            user_psk: None,
            session: session << 8,
            counter: u8::MAX,
            heard_timestamp: Tai64n::default(),
            sent_timestamp: after,
            version: None,
            initiated: None,
            cookie: None,
            previous: None,
            current: None,
            next: None,
            dropped: ArrayVec::new(),
            renewing: false,
            received_unanswered: None,
            sent_unanswered: None,
        })
    }

    /// The peer's permanent key.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// The version that the peer told with its last init: a hint.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// The timestamp of our last init: to be kept over restarts.
    #[must_use]
    pub fn sent_timestamp(&self) -> Tai64n {
        self.sent_timestamp
    }

    /// How far the newest handshake is; a session that works stays established.
    #[must_use]
    pub fn state(&self) -> State {
        match (&self.current, &self.next, &self.initiated) {
            (Some(_), _, _) => State::Established,
            (None, Some(_), _) => State::SentResponse,
            (None, None, Some(_)) => State::SentInit,
            (None, None, None) => State::Init,
        }
    }

    /// Whether something that waits to be sent needs a call of [`Self::initiate`].
    #[must_use]
    pub fn needs_init(&self) -> bool {
        self.current.is_none() && self.initiated.is_none()
    }

    /// Replaces what we log in with, from the next init on.
    pub fn log_in_with(&mut self, credential: Option<Credential>) {
        self.credential = credential;
    }

    /// An init. Cost: two scalar multiplications. Draws: the ephemeral key (32).
    ///
    /// `wall`: the time; if it is not later than the last one, the timestamp is a nanosecond after that.
    ///
    /// Each call makes a new one, in the place of one that is out. It always has the login, if there is one: a stock node
    /// forgets its own otherwise (CJDNS-WIRE.md §2.3.6 b).
    pub fn initiate(
        &mut self,
        identity: &Identity,
        now: u64,
        wall: Tai64n,
        rng: &mut dyn CryptoRng,
    ) -> Vec<u8> {
        let timestamp = wall.max(self.sent_timestamp.next());
        let index = self.give_index(self.session);
        let ephemeral = SecretKey::random(rng);
        let lookup = self.credential.as_ref().map(Credential::noise_lookup);
        let (mut packet, symmetric) =
            init(identity, &self.peer, &self.permanent, &ephemeral, index, timestamp, lookup);
        self.sent_timestamp = timestamp;
        self.cookie.take_if(|(_, since)| now.saturating_sub(*since) >= COOKIE_NS);
        let cookie = self.cookie.as_ref().map(|(cookie, _)| cookie);
        let mac1 = append_macs(&mut packet, &self.peer_mac1_key, cookie);
        let since = self.initiated.as_ref().map_or(now, |initiated| initiated.since);
        let (sent, retry) = (now, now.saturating_add(RETRY_NS));
        self.initiated = Some(Initiated { index, ephemeral, symmetric, mac1, since, sent, retry });
        self.sent_unanswered = None;
        packet
    }

    /// Answers an init of this peer: the response, and keys that may be sent with once a packet was opened with them.
    ///
    /// Cost: three scalar multiplications. Draws: the ephemeral key (32).
    ///
    /// Our index has the upper bits of the peer's, because a stock initiator looks its own session up by them
    /// (CJDNS-WIRE.md §2.3.6 a): tell sessions apart by link and index. An init without login is answered with the
    /// password with which we log in there, because a stock server uses that (§2.3.6 b); where we log in with none, with
    /// none, because then the peer is a client that has none, or has lost it.
    ///
    /// # Errors
    /// [`Refusal::WrongKey`] if it is another peer's, [`Refusal::OldTimestamp`], [`Refusal::ZeroKey`]; nothing is changed
    /// then.
    pub fn respond(
        &mut self,
        now: u64,
        rng: &mut dyn CryptoRng,
        opened: &Opened,
        authorized: &Authorized<'_>,
    ) -> Result<(Vec<u8>, DataKeys), Refusal> {
        if opened.peer != self.peer {
            return Err(Refusal::WrongKey);
        }
        if opened.timestamp <= self.heard_timestamp {
            return Err(Refusal::OldTimestamp);
        }
        let ephemeral = SecretKey::random(rng);
        let with_ephemeral = ephemeral.agree(&opened.ephemeral).ok_or(Refusal::ZeroKey)?;
        let with_permanent = ephemeral.agree(&self.peer).ok_or(Refusal::ZeroKey)?;
        let user_psk = authorized.user().map(|user| Zeroizing::new(*user.psk()));
        let psk = user_psk.clone().or_else(|| self.own_psk()).unwrap_or_default();

        let own_index = self.give_index(opened.sender_index);
        let public = ephemeral.public();
        let mut packet = Vec::with_capacity(RESPONSE_LEN);
        packet.extend(CONTROL);
        packet.extend(2_u32.to_le_bytes());
        packet.extend(own_index.to_le_bytes());
        packet.extend(opened.sender_index.to_le_bytes());
        packet.extend(public.0);
        let mut symmetric = opened.symmetric.clone();
        symmetric.mix_ephemeral(&public);
        symmetric.mix_shared(&with_ephemeral);
        symmetric.mix_shared(&with_permanent);
        let key = symmetric.mix_psk(&psk);
        packet.extend(symmetric.seal(&key, &[]));
        append_macs(&mut packet, &self.peer_mac1_key, None);

        self.heard_timestamp = opened.timestamp;
        self.version = opened.additional.version.or(self.version);
        self.user_psk = user_psk.or_else(|| self.user_psk.take());
        if let Some(displaced) =
            self.next.replace(Generation { own_index, born: now, initiator: false })
        {
            drop_keys(&mut self.dropped, displaced);
        }
        let (receive, send) = symmetric.split();
        Ok((packet, data_keys(own_index, opened.sender_index, &send, &receive, false)))
    }

    /// Takes the response to our init. A keepalive, or what is queued, must be sent with the keys at once: before that the
    /// peer sends nothing.
    ///
    /// Cost: two Diffie-Hellmans.
    ///
    /// # Errors
    /// [`Refusal::UnknownIndex`], [`Refusal::Mac1`], [`Refusal::ZeroKey`], [`Refusal::Decrypt`]; nothing is changed then.
    pub fn receive_response(
        &mut self,
        identity: &Identity,
        now: u64,
        response: &Response<'_>,
    ) -> Result<DataKeys, Refusal> {
        let initiated = self
            .initiated
            .as_ref()
            .filter(|initiated| initiated.index == response.receiver_index)
            .ok_or(Refusal::UnknownIndex)?;
        if !response.macs.mac1_fits(&self.own_mac1_key) {
            return Err(Refusal::Mac1);
        }
        let agree = |secret: &SecretKey| secret.agree(&response.ephemeral).ok_or(Refusal::ZeroKey);
        let mut symmetric = initiated.symmetric.clone();
        symmetric.mix_ephemeral(&response.ephemeral);
        symmetric.mix_shared(&agree(&initiated.ephemeral)?);
        symmetric.mix_shared(&agree(identity.secret())?);
        let symmetric = self.open_response(&symmetric, response).ok_or(Refusal::Decrypt)?;
        let (send, receive) = symmetric.split();
        let (own_index, peer_index) = (initiated.index, response.sender_index);
        self.sent_unanswered = None;
        self.promote(Generation { own_index, born: now, initiator: true });
        Ok(data_keys(own_index, peer_index, &send, &receive, true))
    }

    /// The state behind a response that was sealed with a password that we know of the peer.
    ///
    /// A stock client which gets an init without login forgets its password and answers without one (CJDNS-WIRE.md
    /// §2.3.6 b). So a peer which logged in before, and to which we send no login, may do without.
    fn open_response(&self, symmetric: &Symmetric, response: &Response<'_>) -> Option<Symmetric> {
        let (own, user) = (self.own_psk(), self.user_psk.clone());
        let without = own.is_none().then(Key::default);
        let user = user.filter(|_| own.is_none());
        [own, user, without].into_iter().flatten().find_map(|psk| {
            let mut symmetric = symmetric.clone();
            let key = symmetric.mix_psk(&psk);
            symmetric.open(&key, response.nothing).map(|_nothing| symmetric)
        })
    }

    /// Takes a loaded peer's cookie: the next init, which [`Self::poll`] asks for soon, shows it.
    ///
    /// # Errors
    /// [`Refusal::UnknownIndex`], [`Refusal::Decrypt`]; nothing is changed then.
    pub fn receive_cookie(&mut self, now: u64, cookie: &Cookie<'_>) -> Result<(), Refusal> {
        let initiated = self
            .initiated
            .as_mut()
            .filter(|initiated| initiated.index == cookie.receiver_index)
            .ok_or(Refusal::UnknownIndex)?;
        let key = cookie_key(&self.peer);
        let opened = open_cookie(&key, cookie.nonce, cookie.sealed, &initiated.mac1);
        self.cookie = Some((opened.ok_or(Refusal::Decrypt)?, now));
        initiated.retry = initiated.retry.min(initiated.sent.saturating_add(COOKIE_RETRY_NS));
        Ok(())
    }

    /// The owner has opened a packet with the keys of `own_index`, last at `at`. Says whether they are the current ones now
    /// and were not before.
    ///
    /// `is_data`: it had a text.
    pub fn opened(&mut self, own_index: u32, at: u64, is_data: bool) -> bool {
        self.sent_unanswered = None;
        if is_data {
            self.received_unanswered.get_or_insert(at);
        }
        let Some(next) = self.next.take_if(|next| next.own_index == own_index) else {
            return false;
        };
        self.promote(next);
        true
    }

    /// The owner has sent a packet at `at`. `is_data`: it had a text.
    pub fn sent(&mut self, at: u64, is_data: bool) {
        self.received_unanswered = None;
        if is_data {
            self.sent_unanswered.get_or_insert(at);
        }
    }

    /// What is due. To be called every second or so.
    pub fn poll(&mut self, now: u64) -> ArrayVec<Action, ACTIONS_MAX> {
        let age = |since: u64| now.saturating_sub(since);
        for slot in [&mut self.previous, &mut self.current, &mut self.next] {
            if let Some(old) = slot.take_if(|generation| age(generation.born) >= REJECT_NS) {
                drop_keys(&mut self.dropped, old);
            }
        }
        let mut actions = ArrayVec::new();
        actions.extend(self.dropped.drain(..).map(Action::Drop));
        if self.initiated.take_if(|initiated| age(initiated.since) >= GIVE_UP_NS).is_some() {
            actions.push(Action::GaveUp);
        } else if self.is_init_due(now) {
            actions.push(Action::Initiate);
        }
        if self.received_unanswered.take_if(|since| age(*since) >= KEEPALIVE_NS).is_some() {
            actions.push(Action::Keepalive);
        }
        actions
    }

    fn is_init_due(&self, now: u64) -> bool {
        let age = |since: u64| now.saturating_sub(since);
        if let Some(initiated) = &self.initiated {
            return now >= initiated.retry;
        }
        let old = |current: Generation| {
            let rekey = if current.initiator { REKEY_NS } else { REKEY_LATE_NS };
            self.renewing || age(current.born) >= rekey
        };
        self.current.is_some_and(old)
            || self.sent_unanswered.is_some_and(|since| age(since) >= UNANSWERED_NS)
    }

    /// Asks for new keys, because the numbers of the current ones end: the next [`Self::poll`] says so.
    pub fn renew(&mut self) {
        self.renewing = self.current.is_some();
    }

    /// Whether keys of this own index are alive.
    #[must_use]
    pub fn is_alive(&self, own_index: u32) -> bool {
        [self.previous, self.current, self.next]
            .iter()
            .flatten()
            .any(|generation| generation.own_index == own_index)
    }

    /// Gives up everything but the timestamps.
    pub fn reset(&mut self) {
        for slot in [&mut self.previous, &mut self.current, &mut self.next] {
            if let Some(generation) = slot.take() {
                drop_keys(&mut self.dropped, generation);
            }
        }
        self.initiated = None;
        self.cookie = None;
        self.received_unanswered = None;
        self.sent_unanswered = None;
    }

    fn promote(&mut self, generation: Generation) {
        if let Some(displaced) = self.previous.take() {
            drop_keys(&mut self.dropped, displaced);
        }
        self.previous = self.current.replace(generation);
        self.renewing = false;
        // New keys that work end what would lead to others: a late response may be one of a peer that has forgotten it.
        self.initiated = None;
    }

    /// Of what we log in with.
    fn own_psk(&self) -> Option<Key> {
        self.credential.as_ref().map(|credential| Zeroizing::new(*credential.psk()))
    }

    /// The next index with these upper bits that is free on this link and not one of the reserved ones.
    fn give_index(&mut self, upper: u32) -> u32 {
        let mut index = 0;
        for _ in 0..=u8::MAX {
            self.counter = self.counter.wrapping_add(1);
            index = upper & 0xffff_ff00 | u32::from(self.counter);
            let pending = self.initiated.as_ref().is_some_and(|initiated| initiated.index == index);
            // Read as big-endian, a data packet's index must not look like a handshake of either kind.
            let reserved = index.swap_bytes() < 4 || index == u32::MAX;
            if !pending && !reserved && !self.is_alive(index) {
                break;
            }
        }
        index
    }
}

fn data_keys(
    own_index: u32,
    peer_index: u32,
    send: &Key,
    receive: &Key,
    confirmed: bool,
) -> DataKeys {
    DataKeys {
        framing: Framing::Noise { own_index, peer_index },
        send: **send,
        receive: **receive,
        first_nonce: 0,
        confirmed,
    }
}

fn drop_keys(dropped: &mut ArrayVec<u32, DROPPED_MAX>, generation: Generation) {
    if dropped.is_full() {
        dropped.remove(0);
    }
    dropped.push(generation.own_index);
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some((cookie, _)) = &mut self.cookie {
            cookie.zeroize();
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("peer", &self.peer)
            .field("state", &self.state())
            .field("sent_timestamp", &self.sent_timestamp)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::message::Message;
    use crate::test_rng::TestRng;
    use serde_json::Value;
    use wire::vectors::{self, hex};

    fn bytes<const N: usize>(row: &Value, field: &str) -> [u8; N] {
        hex(row[field].as_str().unwrap()).try_into().unwrap()
    }

    /// The first init's ephemeral key is not recorded, so its traces are put into the machine by hand.
    #[test]
    fn cookie_vectors() {
        let (path, text) = vectors::read("crypto.json");
        let file: Value = serde_json::from_str(&text).unwrap();
        let row = &file["noise_cookie"];
        let identity: Identity = row["client_private"].as_str().unwrap().parse().unwrap();
        let server = PublicKey(bytes(row, "server_public"));
        let bob = Credential::new(Some(b"bob"), b"pw-bob-1");
        let index = u32::try_from(row["retry_index"].as_u64().unwrap()).unwrap();
        let mut peer =
            Peer::new(&identity, server, Some(bob), index >> 8, Tai64n::default()).unwrap();
        let first = hex(row["init_packet"].as_str().unwrap());
        let Message::Init(first) = Message::parse(&first).unwrap() else { panic!("an init") };
        assert_eq!(*first.macs().mac1, bytes(row, "init_mac1"));
        assert!(first.macs().mac1_fits(&peer.peer_mac1_key));
        peer.initiated = Some(Initiated {
            index: first.sender_index,
            ephemeral: SecretKey::from_bytes([1; 32]),
            symmetric: Symmetric::new(&server),
            mac1: *first.macs().mac1,
            since: 0,
            sent: 0,
            retry: RETRY_NS,
        });
        let reply = hex(row["cookie_reply"].as_str().unwrap());
        let Message::Cookie(reply) = Message::parse(&reply).unwrap() else { panic!("a cookie") };
        peer.receive_cookie(0, &reply).unwrap();
        assert_eq!(peer.cookie, Some((bytes(row, "cookie"), 0)));
        assert!(peer.poll(COOKIE_RETRY_NS - 1).is_empty());
        assert_eq!(peer.poll(COOKIE_RETRY_NS)[..], [Action::Initiate]);

        let mut rng = TestRng::new(0);
        rng.lay_down(&bytes::<32>(row, "retry_ephemeral_private"));
        let wall = Tai64n(bytes(row, "retry_timestamp"));
        let retry = peer.initiate(&identity, COOKIE_RETRY_NS, wall, &mut rng);
        assert_eq!(retry, hex(row["retry_init_packet"].as_str().unwrap()));
        vectors::report(&path, 1);
    }

    #[test]
    fn indices_look_like_no_handshake() {
        let identity = Identity::generate(&mut TestRng::new(1));
        let other = Identity::generate(&mut TestRng::new(2));
        let mut peer = Peer::new(&identity, other.public(), None, 0, Tai64n::default()).unwrap();
        for upper in [0, 0x0100_0000, 0x0300_0000, 0x0400_0000, 0xffff_ff00, 0xffff_ffff] {
            for _ in 0..600 {
                let index = peer.give_index(upper);
                assert_eq!(index & 0xffff_ff00, upper & 0xffff_ff00);
                assert!(index.swap_bytes() >= 4 && index != u32::MAX);
            }
        }
    }
}
