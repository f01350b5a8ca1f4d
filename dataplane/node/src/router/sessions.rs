//! End-to-end sessions: who is at the other end, by which handles, and along which path. Source: CJDNS-WIRE.md §6.1.
//!
//! ```text
//! switch header | 0..3 (stage) …                handshake; its payload begins with the sender's handle
//! switch header | handle of the receiver | nonce …   data
//! ```

use super::budget::Budget;
use crypt::cryptoauth::{EndToEnd, HANDSHAKE_LEN, Packet, Payload, Refusal};
use crypt::identity::Identity;
use dataplane_api::Nanos;
use rand_core::CryptoRng;
use std::collections::BTreeMap;
use wire::control::{self, kind};
use wire::key::PublicKey;
use wire::label;
use wire::switch::{HEADER_LEN, Header};
use zerocopy::IntoBytes;
use zerocopy::network_endian::U32;

/// Lowest and highest handle; what is below is a stage, what is above marks control messages.
const HANDLES: std::ops::RangeInclusive<u32> = 4..=0xffff_fffe;
/// Where handles begin is drawn below this.
const FIRST_HANDLE_MAX: u32 = 100_000;
/// Shortest packet after the switch header.
const LEN_MIN: usize = 24;
/// A session is forgotten after so long without a packet that opened.
const SILENCE: Nanos = 120_000_000_000;
/// Hellos of nodes that have no session: each costs some 100 µs.
const STRANGERS_PER_SECOND: u32 = 64;
const STRANGERS_BURST: u32 = 256;
/// AUTHENTICATION errors.
const ERRORS_PER_SECOND: u32 = 4;
const ERRORS_BURST: u32 = 8;
/// The code of an error about a packet that does not open.
const CODE_AUTHENTICATION: u32 = 6;

/// The sessions of one router.
#[derive(Debug)]
pub(super) struct Sessions {
    by_key: BTreeMap<PublicKey, Box<Session>>,
    by_handle: BTreeMap<u32, PublicKey>,
    next_handle: u32,
    max: usize,
    strangers: Budget,
    errors: Budget,
}

#[derive(Debug)]
struct Session {
    crypto: EndToEnd,
    our_handle: u32,
    /// Proven to be the peer's.
    their_handle: Option<u32>,
    /// Said in a hello, which may be a recording.
    offered_handle: Option<u32>,
    /// Where its last data packet came from.
    path: u64,
    heard: Nanos,
}

/// What a packet carried.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) peer: PublicKey,
    /// Back to where it came from.
    pub(super) path: u64,
    /// Data header and content.
    pub(super) text: Vec<u8>,
}

/// What a packet led to that carried nothing.
#[derive(Debug)]
pub(super) enum Nothing {
    /// Dropped silently.
    Dropped,
    /// Dropped; its sender is told by this packet.
    Tell(Vec<u8>),
}

impl Sessions {
    /// None yet, and never more than `max`.
    pub(super) fn new(max: usize, rng: &mut dyn CryptoRng) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            next_handle: HANDLES.start() + rng.next_u32() % (FIRST_HANDLE_MAX - HANDLES.start()),
            max,
            strangers: Budget::new(STRANGERS_PER_SECOND, STRANGERS_BURST),
            errors: Budget::new(ERRORS_PER_SECOND, ERRORS_BURST),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Opens a packet that was delivered to the router.
    pub(super) fn receive(
        &mut self,
        identity: &Identity,
        now: Nanos,
        packet: &[u8],
    ) -> Result<Received, Nothing> {
        let (header, sealed) = Header::split(packet).ok_or(Nothing::Dropped)?;
        if sealed.len() < LEN_MIN {
            return Err(Nothing::Dropped);
        }
        let (word, rest) = sealed.split_first_chunk::<4>().ok_or(Nothing::Dropped)?;
        let word = u32::from_be_bytes(*word);
        if HANDLES.contains(&word) {
            self.receive_data(identity, now, header, word, rest)
        } else if word < *HANDLES.start() {
            self.receive_handshake(identity, now, header, sealed)
        } else {
            Err(Nothing::Dropped)
        }
    }

    fn receive_data(
        &mut self,
        identity: &Identity,
        now: Nanos,
        header: &Header,
        handle: u32,
        sealed: &[u8],
    ) -> Result<Received, Nothing> {
        //= WIRE §6.1: a packet of an unknown handle, or a setup stage after a handle, is dropped
        let peer = *self.by_handle.get(&handle).ok_or(Nothing::Dropped)?;
        let session = self.by_key.get_mut(&peer).ok_or(Nothing::Dropped)?;
        if sealed.starts_with(&[0, 0, 0]) && sealed.get(3).is_some_and(|stage| *stage < 4) {
            return Err(Nothing::Dropped);
        }
        let path = label::reverse(header.label());
        match session.crypto.receive(identity, now, sealed) {
            Ok(payload) => {
                session.path = path;
                session.heard = now;
                let offered = session.offered_handle.take_if(|_| payload.confirms);
                session.their_handle = offered.or(session.their_handle);
                Ok(Received { peer, path, text: payload.bytes })
            }
            Err(refusal) => Err(self.tell(now, header, sealed, peer, refusal)),
        }
    }

    fn receive_handshake(
        &mut self,
        identity: &Identity,
        now: Nanos,
        header: &Header,
        sealed: &[u8],
    ) -> Result<Received, Nothing> {
        let parsed = Packet::parse(sealed).map_err(|_not_sent_by_any_node| Nothing::Dropped)?;
        let (peer, is_hello) = (parsed.sender, parsed.stage.is_hello());
        let path = label::reverse(header.label());
        let payload = match self.by_key.get_mut(&peer) {
            Some(session) => match session.crypto.receive(identity, now, sealed) {
                Ok(payload) => payload,
                Err(refusal) => return Err(self.tell(now, header, sealed, peer, refusal)),
            },
            None if is_hello => self.greeted(identity, now, peer, path, sealed)?,
            None => return Err(Nothing::Dropped),
        };
        let Payload { bytes, .. } = payload;
        let (handle, text) = bytes.split_first_chunk::<4>().ok_or(Nothing::Dropped)?;
        let handle = Some(u32::from_be_bytes(*handle)).filter(|handle| HANDLES.contains(handle));
        let session = self.by_key.get_mut(&peer).ok_or(Nothing::Dropped)?;
        if is_hello {
            session.offered_handle = handle;
        } else {
            // Sealed for the temporary key of our hello, so that it is no recording.
            session.their_handle = handle.or(session.their_handle);
            session.heard = now;
            session.path = path;
        }
        Ok(Received { peer, path, text: text.to_vec() })
    }

    /// A hello of a node that has no session. It gets one if the hello opens.
    fn greeted(
        &mut self,
        identity: &Identity,
        now: Nanos,
        peer: PublicKey,
        path: u64,
        sealed: &[u8],
    ) -> Result<Payload, Nothing> {
        if !self.strangers.take(now) {
            return Err(Nothing::Dropped);
        }
        let Ok(mut crypto) = EndToEnd::new(identity, peer) else { return Err(Nothing::Dropped) };
        let Ok(payload) = crypto.receive(identity, now, sealed) else {
            return Err(Nothing::Dropped);
        };
        self.insert(now, peer, path, crypto);
        Ok(payload)
    }

    /// The packet that carries `text` to `peer`, from before the own switch. Begins a session if there is none.
    ///
    /// `None`: there can be no session with this key.
    pub(super) fn send(
        &mut self,
        identity: &Identity,
        now: Nanos,
        rng: &mut dyn CryptoRng,
        to: (PublicKey, u64),
        text: &[u8],
    ) -> Option<Vec<u8>> {
        let (peer, path) = to;
        if !self.by_key.contains_key(&peer) {
            let crypto = EndToEnd::new(identity, peer).ok()?;
            self.insert(now, peer, path, crypto);
        }
        let session = self.by_key.get_mut(&peer)?;
        let mut packet = Header::new(path, 0).as_bytes().to_vec();
        if session.crypto.sends_handshake(now) {
            packet.reserve(HANDSHAKE_LEN + 4 + text.len());
            let payload = [&session.our_handle.to_be_bytes()[..], text].concat();
            packet.extend(session.crypto.send(now, rng, &payload));
        } else {
            packet.extend(session.their_handle?.to_be_bytes());
            packet.extend(session.crypto.send(now, rng, text));
        }
        Some(packet)
    }

    /// The session does not get through to the peer: the next packet is a hello.
    pub(super) fn reset(&mut self, peer: &PublicKey) {
        if let Some(session) = self.by_key.get_mut(peer) {
            session.crypto.reset();
        }
    }

    /// Where the peer was last heard.
    pub(super) fn path(&self, peer: &PublicKey) -> Option<u64> {
        self.by_key.get(peer).map(|session| session.path)
    }

    /// Forgets sessions in which nothing was heard for long.
    pub(super) fn expire(&mut self, now: Nanos) {
        self.by_key.retain(|_, session| now.saturating_sub(session.heard) < SILENCE);
        let by_key = &self.by_key;
        self.by_handle.retain(|_, peer| by_key.contains_key(peer));
    }

    fn insert(&mut self, now: Nanos, peer: PublicKey, path: u64, crypto: EndToEnd) {
        if self.by_key.len() >= self.max {
            self.forget_quietest();
        }
        let our_handle = self.free_handle();
        self.by_handle.insert(our_handle, peer);
        let (their_handle, offered_handle) = (None, None);
        let session =
            Session { crypto, our_handle, their_handle, offered_handle, path, heard: now };
        self.by_key.insert(peer, Box::new(session));
    }

    /// Strangers, who never got so far as to prove that they are there, go first.
    fn forget_quietest(&mut self) {
        let quietest = self
            .by_key
            .iter()
            .min_by_key(|(_, session)| (session.their_handle.is_some(), session.heard))
            .map(|(peer, session)| (*peer, session.our_handle));
        if let Some((peer, handle)) = quietest {
            self.by_key.remove(&peer);
            self.by_handle.remove(&handle);
        }
    }

    /// There are fewer sessions than handles, so that it ends.
    fn free_handle(&mut self) -> u32 {
        loop {
            let handle = self.next_handle;
            self.next_handle = if handle < *HANDLES.end() { handle + 1 } else { *HANDLES.start() };
            if !self.by_handle.contains_key(&handle) {
                return handle;
            }
        }
    }

    /// About a packet that does not open: an error, unless it is one that could have opened before.
    ///
    /// Source: CJDNS-WIRE.md §5.3.
    fn tell(
        &mut self,
        now: Nanos,
        header: &Header,
        sealed: &[u8],
        peer: PublicKey,
        refusal: Refusal,
    ) -> Nothing {
        let deserves = match refusal {
            Refusal::NoSession | Refusal::Decrypt | Refusal::HandshakeDecrypt => true,
            // Networks repeat packets, and handshakes cross: a stock node that is told gives up its route server.
            Refusal::TooShort
            | Refusal::KeyOnEstablished
            | Refusal::WrongKey
            | Refusal::IpRestricted
            | Refusal::AuthRequired
            | Refusal::UnknownAuth
            | Refusal::UnknownAuthType
            | Refusal::StrayKey
            | Refusal::ZeroKey
            | Refusal::Duplicate
            | Refusal::Busy
            | Refusal::Replay => false,
        };
        let state = self.by_key.get(&peer).map(|session| session.crypto.state());
        let (Some(state), Some(start)) = (state, sealed.first_chunk::<16>()) else {
            return Nothing::Dropped;
        };
        if !deserves || header.suppresses_errors() || !self.errors.take(now) {
            return Nothing::Dropped;
        }
        let mut answer = Header::new(label::reverse(header.label()), 1);
        answer.set_traffic_class(0);
        let mut quote = [0; HEADER_LEN + 16 + 8];
        let (quoted_header, rest) = quote.split_at_mut(HEADER_LEN);
        quoted_header.copy_from_slice(header.as_bytes());
        let (quoted_start, codes) = rest.split_at_mut(16);
        quoted_start.copy_from_slice(start);
        let (failure, at_state) = codes.split_at_mut(4);
        failure.copy_from_slice(&refusal.code().to_be_bytes());
        at_state.copy_from_slice(&state.code().to_be_bytes());
        let code = U32::new(CODE_AUTHENTICATION);
        Nothing::Tell(control::packet(answer, kind::ERROR, &code, &quote))
    }
}

#[cfg(test)]
mod tests;
