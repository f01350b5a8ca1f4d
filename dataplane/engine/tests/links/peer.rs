//! The twin of sessions: one packet at a time with RustCrypto, and the set of all numbers that were seen.
//!
//! Written from CJDNS-WIRE.md §2.2.3 and §2.3.2, not from the code under test.

use crate::Random;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use crypt::data::{DataKeys, DataSession, Framing};
use poly1305::Poly1305;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CryptoAuth,
    Noise,
}

/// One session at both of its ends: what the neighbour sends, and what the box must make of it.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: u32,
    framing: Framing,
    to_box: [u8; 32],
    from_box: [u8; 32],
    confirmed: bool,
    first: u32,
    /// Number of the neighbour's next packet.
    pub next: u32,
    /// Number that the box's next packet must have.
    pub due: u32,
    /// Numbers that the box took.
    seen: BTreeSet<u32>,
}

impl Session {
    /// `confirmed`: the box may send with it at once.
    pub fn draw(random: &mut Random, kind: Kind, id: u32, confirmed: bool) -> Self {
        let (to_box, from_box) = (random.key(), random.key());
        // Never the first word of a handshake, read either way.
        let mut index = || u32::try_from(random.draw() >> 32).unwrap() | 0x0100_0010;
        let (own_index, peer_index) = (index(), index());
        let first = if kind == Kind::Noise { 0 } else { 4 };
        let (framing, from_box) = match kind {
            Kind::CryptoAuth => (Framing::CryptoAuth { initiator: random.below(2) == 0 }, to_box),
            Kind::Noise => (Framing::Noise { own_index, peer_index }, from_box),
        };
        let (next, due, seen) = (first, first, BTreeSet::new());
        Self { id, framing, to_box, from_box, confirmed, first, next, due, seen }
    }

    /// The same, the box's packets beginning with `number`.
    pub fn sends_from(self, number: u32) -> Self {
        Self { first: number, due: number, ..self }
    }

    /// What the box gets.
    pub fn data(&self) -> Box<DataSession> {
        let keys = DataKeys {
            framing: self.framing,
            send: self.from_box,
            receive: self.to_box,
            first_nonce: self.first,
            confirmed: self.confirmed,
        };
        Box::new(DataSession::new(keys, self.id))
    }

    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// A packet of the neighbour with the next number.
    pub fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        self.next += 1;
        self.seal_as(self.next - 1, text)
    }

    /// A packet of the neighbour.
    pub fn seal_as(&self, number: u32, text: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::CryptoAuth { initiator } => {
                // The neighbour is what the box is not.
                let (tag, sealed) = secretbox(&self.to_box, long_nonce(number, !initiator), text);
                [&number.to_be_bytes()[..], &tag, &sealed].concat()
            }
            Framing::Noise { own_index, .. } => {
                let sealed = ChaCha20Poly1305::new(&self.to_box.into())
                    .encrypt(&short_nonce(number), text)
                    .unwrap();
                [&own_index.to_le_bytes()[..], &number.to_le_bytes(), &sealed].concat()
            }
        }
    }

    /// What the box must find in a packet: its number and text.
    pub fn open_at_box(&self, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
        match self.framing {
            Framing::CryptoAuth { initiator } => open_cryptoauth(&self.to_box, !initiator, packet),
            Framing::Noise { own_index, .. } => open_noise(&self.to_box, own_index, packet),
        }
    }

    /// What the neighbour finds in a packet of the box.
    pub fn open_at_neighbour(&self, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
        match self.framing {
            Framing::CryptoAuth { initiator } => open_cryptoauth(&self.from_box, initiator, packet),
            Framing::Noise { peer_index, .. } => open_noise(&self.from_box, peer_index, packet),
        }
    }

    /// Whether a number is new; then it is seen from now on.
    pub fn take(&mut self, number: u32) -> bool {
        let highest = self.seen.last().copied().unwrap_or(0);
        number.saturating_add(1024) > highest && self.seen.insert(number)
    }
}

fn open_cryptoauth(key: &[u8; 32], of_initiator: bool, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (number, rest) = packet.split_first_chunk::<4>()?;
    let (tag, sealed) = rest.split_first_chunk::<16>()?;
    let number = u32::from_be_bytes(*number);
    let nonce = long_nonce(number, of_initiator);
    let (found, text) = open_secretbox(key, nonce, sealed);
    (found == *tag && number >= 4).then_some((number, text))
}

fn open_noise(key: &[u8; 32], index: u32, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (found, rest) = packet.split_first_chunk::<4>()?;
    let (number, sealed) = rest.split_first_chunk::<4>()?;
    let number = u32::from_le_bytes(*number);
    if u32::from_le_bytes(*found) != index {
        return None;
    }
    let text = ChaCha20Poly1305::new(key.into()).decrypt(&short_nonce(number), sealed).ok()?;
    Some((number, text))
}

/// Twenty-four bytes: the number, little-endian, in bytes 4 to 8 of what the initiator sends, in 0 to 4 of the other's.
fn long_nonce(number: u32, of_initiator: bool) -> [u8; 24] {
    let mut nonce = [0; 24];
    let at = if of_initiator { 4 } else { 0 };
    nonce[at..at + 4].copy_from_slice(&number.to_le_bytes());
    nonce
}

/// Four bytes of zero, and the counter as 64 bits, little-endian.
fn short_nonce(number: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..8].copy_from_slice(&number.to_le_bytes());
    nonce.into()
}

/// NaCl's: the first 32 bytes of the key stream are the authenticator's key.
fn secretbox(key: &[u8; 32], nonce: [u8; 24], text: &[u8]) -> ([u8; 16], Vec<u8>) {
    let mut bytes = [&[0; 32], text].concat();
    XSalsa20::new(key.into(), &nonce.into()).apply_keystream(&mut bytes);
    let sealed = bytes.split_off(32);
    let poly_key: [u8; 32] = bytes.try_into().unwrap();
    (Poly1305::new((&poly_key).into()).compute_unpadded(&sealed).into(), sealed)
}

fn open_secretbox(key: &[u8; 32], nonce: [u8; 24], sealed: &[u8]) -> ([u8; 16], Vec<u8>) {
    let mut bytes = [&[0; 32], sealed].concat();
    XSalsa20::new(key.into(), &nonce.into()).apply_keystream(&mut bytes);
    let text = bytes.split_off(32);
    let poly_key: [u8; 32] = bytes.try_into().unwrap();
    use poly1305::universal_hash::KeyInit as _;
    (Poly1305::new((&poly_key).into()).compute_unpadded(sealed).into(), text)
}
