//! The slow-path half of a session: makes and opens handshake packets, and hands out data keys.
//!
//! What the owner of the data keys uses is never taken away by a packet: a hello, however genuine it looks, may be a
//! recording. It makes a *candidate*, whose keys lie beside the current ones until the peer's first data packet was opened
//! with them. So at most two sets of keys are alive, and a third replaces the candidate.
//!
//! ```text
//!            send ──► dialled ──key──► candidate (may send) ──┐
//!                                                            opened ──► current
//!  hello ──► candidate (received hello) ──answer──► (sent key)┘
//! ```

use super::packet::{Authorized, Packet, Sealing, Stage};
use super::{FIRST_NONCE, FIRST_NONCE_RESPONDER, Refusal, State};
use crate::credential::Credential;
use crate::data::{DataKeys, Framing};
use crate::identity::{Identity, SecretKey};
use crate::secretbox::{Key, box_key};
use arrayvec::ArrayVec;
use rand_core::CryptoRng;
use std::collections::VecDeque;
use wire::key::PublicKey;

const SECOND_NS: u64 = 1_000_000_000;
/// A handshake whose first data packet does not come in this time is given up. Source: CJDNS-WIRE.md §2.2.7.
const SETUP_NS: u64 = 10 * SECOND_NS;
/// A session on which nothing valid comes for this time is given up. Source: CJDNS-WIRE.md §2.2.7.
const SILENCE_NS: u64 = 60 * SECOND_NS;
/// For this time a new candidate is not displaced by another hello, so that a recorded hello cannot cut off the
/// handshake of a genuine one.
const PROTECTED_NS: u64 = SECOND_NS;
/// A hello came from a peer that had no session: it sends nothing on an old one. So a hello is a recording if the session
/// is heard this long after it; what was on its way has come by then.
const DISPROVED_NS: u64 = 3 * SECOND_NS;
/// The lower key's precedence when hellos or their answers cross lasts so long. A peer that still greets us then does not take our hello,
/// for want of a login for example, and ours would be repeated for ever.
const CROSSING_NS: u64 = 5 * SECOND_NS;
/// Between hellos that are sent beside a session that works.
const RENEWAL_NS: u64 = SECOND_NS;
/// Hellos that are remembered, by the first eight bytes of their temporary keys.
const REMEMBERED_MAX: usize = 64;
/// Different keys that are taken for one hello of ours.
const KEYS_MAX: usize = 4;
/// Generations that wait for [`Handshake::poll`]; the oldest are forgotten, since newer keys have taken their place.
const DROPPED_MAX: usize = 4;

/// Data keys, and the number by which the owner names them in [`Handshake::opened`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeys {
    /// Grows with each handshake of this object.
    pub generation: u32,
    /// To lie beside the current ones, in the place of an earlier candidate.
    pub keys: DataKeys,
}

/// What to do with a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Send this packet; it carries the payload.
    Handshake {
        /// The session packet.
        packet: Vec<u8>,
        /// To be installed first: the answer to this packet may need them.
        keys: Option<NewKeys>,
    },
    /// The owner of the data keys seals it.
    Data,
}

/// What a handshake packet brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its payload, maybe empty. Of a replayable packet: hand it on only where CJDNS-WIRE.md §2.2.8 allows.
    pub payload: Vec<u8>,
    /// To be installed; they may be sent with at once, and the peer waits for that.
    pub keys: Option<NewKeys>,
    /// Whether [`Handshake::answer`] should be called: the peer waits for a key.
    pub answer: bool,
}

/// One session's handshakes, with one peer.
pub struct Handshake {
    own: PublicKey,
    peer: PublicKey,
    /// What the permanent keys agree on.
    permanent: Key,
    credential: Option<Credential>,
    dialled: Option<Dialled>,
    candidate: Option<Candidate>,
    current: Option<Current>,
    remembered: VecDeque<Remembered>,
    dropped: ArrayVec<u32, DROPPED_MAX>,
    generation: u32,
    renewing: bool,
    hello_sent: u64,
}

/// A hello of ours that is out.
struct Dialled {
    since: u64,
    temporary: SecretKey,
    public: PublicKey,
    /// What the temporary key and the peer's permanent one agree on; made when a key comes, since many hellos cross.
    shared: Option<Key>,
    /// Keys that were taken for it: none is taken twice, because that would number packets anew under an old key.
    taken: ArrayVec<PublicKey, KEYS_MAX>,
}

/// Keys, or keys to be, which no data packet has confirmed.
struct Candidate {
    /// The peer's temporary key.
    temporary: PublicKey,
    since: u64,
    protected: bool,
    role: Role,
}

enum Role {
    /// Keys are out.
    Initiator { generation: u32 },
    /// Key packets are sealed with `shared`; keys are out once one was sent.
    Responder { shared: Key, sent: Option<Answered> },
}

struct Answered {
    public: PublicKey,
    generation: u32,
}

struct Current {
    generation: u32,
    heard: u64,
    /// The peer's temporary key.
    temporary: PublicKey,
}

/// A hello that was answered.
struct Remembered {
    tag: [u8; 8],
    since: u64,
    /// Data came: its sender is done with it. Otherwise it may be repeated, but is not protected again.
    spent: bool,
}

impl Handshake {
    /// Nothing sent or received yet. Cost: one Diffie-Hellman.
    ///
    /// `credential`: what we log in with; without, our packets are of type 0.
    ///
    /// # Errors
    /// [`Refusal::WrongKey`] if `peer` is our own key, or one that no node may use.
    pub fn new(
        identity: &Identity,
        peer: PublicKey,
        credential: Option<Credential>,
    ) -> Result<Self, Refusal> {
        if peer == identity.public() || !peer.is_usable() {
            return Err(Refusal::WrongKey);
        }
        let permanent = identity.secret().agree(&peer).ok_or(Refusal::WrongKey)?;
        Ok(Self {
            own: identity.public(),
            peer,
            permanent,
            credential,
            dialled: None,
            candidate: None,
            current: None,
            remembered: VecDeque::new(),
            dropped: ArrayVec::new(),
            generation: 0,
            renewing: false,
            hello_sent: 0,
        })
    }

    /// The peer's permanent key.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// How far the session is; one that works stays so while its successor is made.
    #[must_use]
    pub fn state(&self) -> State {
        match (&self.current, &self.candidate, &self.dialled) {
            (Some(_), _, _) => State::Established,
            (None, Some(candidate), _) => match &candidate.role {
                Role::Initiator { .. } => State::ReceivedKey,
                Role::Responder { sent: None, .. } => State::ReceivedHello,
                Role::Responder { sent: Some(_), .. } => State::SentKey,
            },
            (None, None, Some(_)) => State::SentHello,
            (None, None, None) => State::Init,
        }
    }

    /// Replaces what we log in with, from the next packet on.
    pub fn log_in_with(&mut self, credential: Option<Credential>) {
        self.credential = credential;
    }

    /// Packs `payload` for the way in which it can go. While the session is not established, each call makes a packet.
    pub fn send(&mut self, now: u64, rng: &mut dyn CryptoRng, payload: &[u8]) -> Outbound {
        let may_send_data = match (&self.current, &self.candidate) {
            (_, Some(Candidate { role: Role::Initiator { .. }, .. })) => true,
            (Some(_), _) => !self.renewing || now.saturating_sub(self.hello_sent) < RENEWAL_NS,
            (None, _) => false,
        };
        if may_send_data {
            return Outbound::Data;
        }
        let (packet, keys) = self.greet(now, rng, payload);
        Outbound::Handshake { packet, keys }
    }

    /// A key packet if the peer waits for one, else a hello.
    pub(super) fn greet(
        &mut self,
        now: u64,
        rng: &mut dyn CryptoRng,
        payload: &[u8],
    ) -> (Vec<u8>, Option<NewKeys>) {
        let answer = self.answer(rng, payload);
        answer.unwrap_or_else(|| (self.hello(now, rng, payload), None))
    }

    /// A key packet with `payload`, if a peer's hello waits for one, and keys to be installed before it is sent. Cost: two scalar multiplications the first time.
    ///
    /// Draws, the first time: the temporary key (32), then what every packet draws.
    pub fn answer(
        &mut self,
        rng: &mut dyn CryptoRng,
        payload: &[u8],
    ) -> Option<(Vec<u8>, Option<NewKeys>)> {
        let candidate = self.candidate.as_mut()?;
        let Role::Responder { shared, sent } = &mut candidate.role else { return None };
        let mut keys = None;
        let (stage, public) = match sent {
            Some(answered) => (Stage::RepeatKey, answered.public),
            None => {
                let temporary = SecretKey::random(rng);
                let agreed = temporary.agree(&candidate.temporary)?;
                self.generation = self.generation.wrapping_add(1);
                let made = data_keys(&box_key(&agreed, None), false);
                keys = Some(NewKeys { generation: self.generation, keys: made });
                let public = temporary.public();
                *sent = Some(Answered { public, generation: self.generation });
                (Stage::Key, public)
            }
        };
        let credential = self.credential.as_ref();
        let key = box_key(shared, credential.map(Credential::password_hash));
        let sealing =
            Sealing { stage, credential, sender: &self.own, temporary: &public, key: &key };
        Some((sealing.seal(rng, payload), keys))
    }

    /// A hello, or the one that is out again. Draws, the first time: the temporary key (32), then what every packet draws.
    fn hello(&mut self, now: u64, rng: &mut dyn CryptoRng, payload: &[u8]) -> Vec<u8> {
        self.hello_sent = now;
        let stage = if self.dialled.is_some() { Stage::RepeatHello } else { Stage::Hello };
        let dialled = self.dialled.get_or_insert_with(|| Dialled::new(now, rng));
        let credential = self.credential.as_ref();
        let key = box_key(&self.permanent, credential.map(Credential::password_hash));
        let temporary = &dialled.public;
        let sealing = Sealing { stage, credential, sender: &self.own, temporary, key: &key };
        sealing.seal(rng, payload)
    }

    /// Opens a handshake packet of this peer.
    ///
    /// Cost: a hash and a secretbox; a new hello or key that opens costs one Diffie-Hellman more.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn receive(
        &mut self,
        identity: &Identity,
        now: u64,
        packet: &Packet<'_>,
        authorized: &Authorized<'_>,
    ) -> Result<Received, Refusal> {
        if packet.sender != self.peer {
            return Err(Refusal::WrongKey);
        }
        if !packet.stage.is_hello() && self.has_given_way(now) {
            return Err(Refusal::StrayKey);
        }
        let password_hash = authorized.user().map(crate::credential::User::password_hash);
        let peer = self.peer;
        let shared = match (packet.stage.is_hello(), &mut self.dialled) {
            (true, _) => &self.permanent,
            (false, Some(dialled)) => dialled.shared_with(&peer),
            (false, None) if self.current.is_some() => return Err(Refusal::KeyOnEstablished),
            (false, None) => return Err(Refusal::StrayKey),
        };
        let (temporary, payload) = packet.open(&box_key(shared, password_hash))?;
        if temporary.0 == [0; 32] {
            return Err(Refusal::ZeroKey);
        }
        if packet.stage.is_hello() {
            self.receive_hello(identity, now, packet.stage, temporary, payload)
        } else {
            self.receive_key(now, packet.stage, temporary, payload)
        }
    }

    /// Source: CJDNS-WIRE.md §2.2.5, the table of hellos; where that resets a session, ours goes on beside the candidate.
    fn receive_hello(
        &mut self,
        identity: &Identity,
        now: u64,
        stage: Stage,
        temporary: PublicKey,
        payload: Vec<u8>,
    ) -> Result<Received, Refusal> {
        let same = self
            .candidate
            .as_ref()
            .filter(|candidate| candidate.temporary == temporary && candidate.is_answer());
        if same.is_some() {
            return match stage {
                Stage::RepeatHello => Ok(Received { payload, keys: None, answer: true }),
                Stage::Hello | Stage::Key | Stage::RepeatKey => Err(Refusal::Duplicate),
            };
        }
        if self.current.as_ref().is_some_and(|current| current.temporary == temporary) {
            return Err(Refusal::Duplicate);
        }
        let remembered = self.remembered.iter().find(|old| old.tag == tag(&temporary));
        if remembered.is_some_and(|old| old.spent || self.disproves(old.since, now)) {
            return Err(Refusal::Duplicate);
        }
        let tried = remembered.is_some();
        if self.own < self.peer && self.calls(now) {
            // Crossing hellos: the lower key stays the initiator, and the peer knows that.
            return Ok(Received { payload, keys: None, answer: false });
        }
        if self.candidate.as_ref().is_some_and(|candidate| {
            candidate.protected && now.saturating_sub(candidate.since) < PROTECTED_NS
        }) {
            return Err(Refusal::Busy);
        }
        let shared = identity.secret().agree(&temporary).ok_or(Refusal::ZeroKey)?;
        self.retire_candidate();
        let role = Role::Responder { shared, sent: None };
        self.candidate = Some(Candidate { temporary, since: now, protected: !tried, role });
        Ok(Received { payload, keys: None, answer: true })
    }

    /// Source: CJDNS-WIRE.md §2.2.5, the paragraph on keys.
    fn receive_key(
        &mut self,
        now: u64,
        stage: Stage,
        temporary: PublicKey,
        payload: Vec<u8>,
    ) -> Result<Received, Refusal> {
        let Some(dialled) = &mut self.dialled else { return Err(Refusal::StrayKey) };
        if dialled.taken.contains(&temporary) {
            // The payload of a repeated key counts as long as it is the newest one.
            return match stage {
                Stage::RepeatKey if dialled.taken.last() == Some(&temporary) => {
                    Ok(Received { payload, keys: None, answer: false })
                }
                Stage::RepeatKey | Stage::Hello | Stage::RepeatHello | Stage::Key => {
                    Err(Refusal::Duplicate)
                }
            };
        }
        // A first key may be lost and its repeat not; a second, other key must say that it is one.
        if stage == Stage::RepeatKey && !dialled.taken.is_empty() {
            return Err(Refusal::Duplicate);
        }
        let agreed = dialled.temporary.agree(&temporary).ok_or(Refusal::ZeroKey)?;
        dialled.taken.try_push(temporary).map_err(|_full| Refusal::Duplicate)?;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let keys = NewKeys { generation, keys: data_keys(&box_key(&agreed, None), true) };
        if let Some(answered) = self.candidate.take_if(|candidate| candidate.is_answer()) {
            self.remember(&answered, false);
        }
        let role = Role::Initiator { generation };
        self.candidate = Some(Candidate { temporary, since: now, protected: true, role });
        Ok(Received { payload, keys: Some(keys), answer: false })
    }

    /// Our hello is out, and neither a key nor a hello that takes precedence has come.
    fn calls(&self, now: u64) -> bool {
        let waits = |dialled: &Dialled| {
            dialled.taken.is_empty() && now.saturating_sub(dialled.since) < CROSSING_NS
        };
        self.candidate.is_none() && self.dialled.as_ref().is_some_and(waits)
    }

    /// Hellos crossed, both were answered, and the peer, whose key is lower, is the initiator: were its answer taken, too,
    /// each side would have the keys of its own hello, and neither those of the other.
    fn has_given_way(&self, now: u64) -> bool {
        let answered = self.candidate.as_ref().is_some_and(|candidate| {
            candidate.is_answer()
                && candidate.protected
                && now.saturating_sub(candidate.since) < CROSSING_NS
        });
        self.own > self.peer && answered
    }

    /// The session was heard late enough after a hello that came at `since`, and not so long ago that it may have ended.
    fn disproves(&self, since: u64, now: u64) -> bool {
        self.current.as_ref().is_some_and(|current| {
            current.heard >= since.saturating_add(DISPROVED_NS)
                && now.saturating_sub(current.heard) < SETUP_NS
        })
    }

    /// The owner has opened a data packet with keys of `generation`, last at `at`. Says whether they are the current ones
    /// now and were not before: the keys before them may be dropped.
    pub fn opened(&mut self, generation: u32, at: u64) -> bool {
        if let Some(current) = self.current.as_mut().filter(|known| known.generation == generation)
        {
            current.heard = current.heard.max(at);
            let answered = self.candidate.as_ref().filter(|_| self.owes_key());
            if answered.is_some_and(|candidate| self.disproves(candidate.since, at)) {
                self.retire_candidate();
            }
            return false;
        }
        let confirmed =
            self.candidate.take_if(|candidate| candidate.generation() == Some(generation));
        let Some(candidate) = confirmed else { return false };
        if candidate.is_answer() {
            self.remember(&candidate, true);
        }
        self.current = Some(Current { generation, heard: at, temporary: candidate.temporary });
        self.dialled = None;
        self.renewing = false;
        true
    }

    /// The numbers of the current keys end soon ([`crate::data::NUMBER_OLD`]): hellos go out beside them from now on.
    pub fn renew(&mut self) {
        self.renewing = self.current.is_some();
    }

    /// Gives up what took too long, and names the generations whose keys are to be dropped. To be called before the other
    /// methods, or every second or so.
    ///
    /// Source: CJDNS-WIRE.md §2.2.7.
    pub fn poll(&mut self, now: u64) -> ArrayVec<u32, DROPPED_MAX> {
        let too_long = |candidate: &Candidate| now.saturating_sub(candidate.since) >= SETUP_NS;
        if self.candidate.as_ref().is_some_and(too_long) {
            self.retire_candidate();
        }
        let silent = |current: &Current| now.saturating_sub(current.heard) >= SILENCE_NS;
        if self.current.as_ref().is_some_and(silent) {
            self.retire_current();
        }
        std::mem::take(&mut self.dropped)
    }

    /// Gives up everything, as if nothing had been sent or received; what was received stays remembered.
    pub fn reset(&mut self) {
        self.retire_candidate();
        self.retire_current();
        self.dialled = None;
    }

    /// Whether a peer's hello waits for a key, or for data behind one.
    #[must_use]
    pub fn owes_key(&self) -> bool {
        self.candidate.as_ref().is_some_and(Candidate::is_answer)
    }

    /// Whether keys of `generation` are the current ones or the candidate's.
    #[must_use]
    pub fn is_alive(&self, generation: u32) -> bool {
        let candidate = self.candidate.as_ref().and_then(Candidate::generation);
        let current = self.current.as_ref().map(|current| current.generation);
        [candidate, current].contains(&Some(generation))
    }

    fn retire_candidate(&mut self) {
        let Some(candidate) = self.candidate.take() else { return };
        match candidate.role {
            Role::Initiator { .. } => self.dialled = None,
            Role::Responder { .. } => self.remember(&candidate, false),
        }
        self.drop_keys(candidate.generation());
    }

    fn retire_current(&mut self) {
        self.renewing = false;
        let generation = self.current.take().map(|current| current.generation);
        self.drop_keys(generation);
    }

    fn drop_keys(&mut self, generation: Option<u32>) {
        let Some(generation) = generation else { return };
        if self.dropped.is_full() {
            self.dropped.remove(0);
        }
        self.dropped.push(generation);
    }

    fn remember(&mut self, candidate: &Candidate, spent: bool) {
        let tag = tag(&candidate.temporary);
        let before = self.remembered.iter().find(|old| old.tag == tag).map(|old| old.since);
        self.remembered.retain(|old| old.tag != tag);
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        let since = before.unwrap_or(candidate.since);
        self.remembered.push_back(Remembered { tag, since, spent });
    }
}

impl Dialled {
    fn new(now: u64, rng: &mut dyn CryptoRng) -> Self {
        let temporary = SecretKey::random(rng);
        let public = temporary.public();
        Self { since: now, temporary, public, shared: None, taken: ArrayVec::new() }
    }

    fn shared_with(&mut self, peer: &PublicKey) -> &Key {
        // The peer's key is no point of small order: `Handshake::new` agreed with it on something.
        self.shared.get_or_insert_with(|| self.temporary.agree(peer).unwrap_or_default())
    }
}

impl Candidate {
    fn is_answer(&self) -> bool {
        matches!(self.role, Role::Responder { .. })
    }

    fn generation(&self) -> Option<u32> {
        match &self.role {
            Role::Initiator { generation } => Some(*generation),
            Role::Responder { sent, .. } => sent.as_ref().map(|answered| answered.generation),
        }
    }
}

fn tag(temporary: &PublicKey) -> [u8; 8] {
    let mut tag = [0; 8];
    tag.copy_from_slice(&temporary.0[..8]);
    tag
}

fn data_keys(key: &Key, initiator: bool) -> DataKeys {
    DataKeys {
        framing: Framing::CryptoAuth { initiator },
        send: **key,
        receive: **key,
        first_nonce: if initiator { FIRST_NONCE } else { FIRST_NONCE_RESPONDER },
        confirmed: initiator,
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake")
            .field("peer", &self.peer)
            .field("state", &self.state())
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
