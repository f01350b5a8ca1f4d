//! What a handshake ends in: the keys of one session, and what their owner keeps beside them.

use crate::aead::Job;
use crate::replay::ReplayWindow;
use wire::buf::Packet;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes before the text of a CryptoAuth data packet: nonce and tag.
pub const CRYPTOAUTH_HEAD_LEN: usize = 20;
/// Bytes before the text of a Noise data packet: receiver index and counter.
pub const NOISE_HEAD_LEN: usize = 8;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// Bytes of the number in front of a CryptoAuth packet.
const NUMBER_LEN: usize = 4;
/// The first number that data packets of CryptoAuth may have; those below are handshakes.
const CRYPTOAUTH_FIRST: u32 = 4;
/// Numbers from here on are never sent: the session must have been replaced. Source: CJDNS-WIRE.md §2.2.7, §2.3.2.
pub const NUMBER_END: u32 = 0xffff_fff0;
/// From here on a session asks to be replaced: 2²⁰ packets before the end, a second at a million a second.
pub const NUMBER_OLD: u32 = NUMBER_END - (1 << 20);

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

/// Which cipher a session's packets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// XSalsa20-Poly1305, tag first.
    XSalsa,
    /// ChaCha20-Poly1305, tag last.
    ChaCha,
}

/// A session at work: its keys, the number of the next packet, the numbers that were seen.
///
/// Opening and sealing are jobs for [`crate::aead`], so that a burst of many sessions is worked on at once:
/// [`Self::open_job`], then [`Self::accept`], then [`Self::strip`]; or [`Self::frame`], then [`Self::seal_job`].
#[derive(Debug)]
pub struct DataSession {
    keys: DataKeys,
    /// Which handshake it came from, as its maker counts them.
    id: u32,
    next: u32,
    window: ReplayWindow,
    /// The number after the highest that came; `None` before the first, whose number says nothing of loss.
    expected: Option<u32>,
}

/// How an authentic packet came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Packets before it that have not come yet.
    pub skipped: u32,
    /// It was skipped before: a later one overtook it.
    pub late: bool,
}

impl DataSession {
    /// `id`: by which its maker knows it.
    #[must_use]
    pub fn new(keys: DataKeys, id: u32) -> Self {
        let next = keys.first_nonce;
        Self { keys, id, next, window: ReplayWindow::new(), expected: None }
    }

    /// By which its maker knows it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How its packets look.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.keys.framing
    }

    /// Whether it may be sent with before anything was received.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.keys.confirmed
    }

    /// Its cipher.
    #[inline]
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        match self.keys.framing {
            Framing::CryptoAuth { .. } => Cipher::XSalsa,
            Framing::Noise { .. } => Cipher::ChaCha,
        }
    }

    /// Whether numbers are about to run out.
    #[inline]
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.next >= NUMBER_OLD
    }

    /// The number of a received packet, if it can be one of this session.
    #[inline]
    #[must_use]
    pub fn number_of(&self, packet: &[u8]) -> Option<u32> {
        let (first, rest) = packet.split_first_chunk::<NUMBER_LEN>()?;
        match self.keys.framing {
            Framing::CryptoAuth { .. } => {
                let number = u32::from_be_bytes(*first);
                (number >= CRYPTOAUTH_FIRST && rest.len() >= TAG_LEN).then_some(number)
            }
            Framing::Noise { own_index, .. } => {
                let (number, rest) = rest.split_first_chunk::<NUMBER_LEN>()?;
                let ours = u32::from_le_bytes(*first) == own_index && rest.len() >= TAG_LEN;
                ours.then_some(u32::from_le_bytes(*number))
            }
        }
    }

    /// The work of opening a packet; `None`: it cannot be one of this session.
    #[inline]
    pub fn open_job<'a>(&'a self, packet: &'a mut [u8]) -> Option<Job<'a>> {
        let number = u64::from(self.number_of(packet)?);
        let (nonce, start) = match self.keys.framing {
            // The sender is the other side.
            Framing::CryptoAuth { initiator: false } => (number << 32, NUMBER_LEN),
            Framing::CryptoAuth { initiator: true } => (number, NUMBER_LEN),
            Framing::Noise { .. } => (number, NOISE_HEAD_LEN),
        };
        Some(Job { key: &self.keys.receive, nonce, packet: packet.get_mut(start..)? })
    }

    /// Whether the number of an authentic packet is new, and how it came; if so it is seen from now on.
    #[inline]
    pub fn accept(&mut self, number: u32) -> Option<Arrived> {
        self.window.accept(number).ok()?;
        let expected = self.expected.unwrap_or(number);
        if number < expected {
            return Some(Arrived { skipped: 0, late: true });
        }
        self.expected = Some(number.saturating_add(1));
        Some(Arrived { skipped: number - expected, late: false })
    }

    /// Takes off an opened packet all that is not its text.
    #[inline]
    pub fn strip<F: Packet>(&self, packet: &mut F) {
        match self.keys.framing {
            Framing::CryptoAuth { .. } => packet.trim_front(CRYPTOAUTH_HEAD_LEN),
            Framing::Noise { .. } => {
                packet.trim_front(NOISE_HEAD_LEN);
                packet.truncate(packet.len().saturating_sub(TAG_LEN));
            }
        }
    }

    /// Puts a text into the frame of a data packet and gives it the next number. `false` (and no change): no room around
    /// it, or no number left.
    #[inline]
    #[must_use]
    pub fn frame<F: Packet>(&mut self, packet: &mut F) -> bool {
        if self.next >= NUMBER_END {
            return false;
        }
        let number = self.next;
        let framed = match self.keys.framing {
            Framing::CryptoAuth { .. } => {
                packet.prepend(CRYPTOAUTH_HEAD_LEN)
                    && write(packet.bytes_mut(), number.to_be_bytes())
            }
            Framing::Noise { peer_index, .. } => {
                if packet.tailroom() < TAG_LEN || !packet.prepend(NOISE_HEAD_LEN) {
                    return false;
                }
                let (index, number) = (peer_index.to_le_bytes(), number.to_le_bytes());
                let [i0, i1, i2, i3] = index;
                let [n0, n1, n2, n3] = number;
                packet.append(TAG_LEN)
                    && write(packet.bytes_mut(), [i0, i1, i2, i3, n0, n1, n2, n3])
            }
        };
        self.next += u32::from(framed);
        framed
    }

    /// The work of sealing a packet that [`Self::frame`] made.
    #[inline]
    pub fn seal_job<'a>(&'a self, packet: &'a mut [u8]) -> Option<Job<'a>> {
        let (first, second) = packet.first_chunk::<NOISE_HEAD_LEN>()?.split_at(NUMBER_LEN);
        let word = |bytes: &[u8]| <[u8; NUMBER_LEN]>::try_from(bytes).unwrap_or_default();
        let (nonce, start) = match self.keys.framing {
            Framing::CryptoAuth { initiator: true } => {
                (u64::from(u32::from_be_bytes(word(first))) << 32, NUMBER_LEN)
            }
            Framing::CryptoAuth { initiator: false } => {
                (u64::from(u32::from_be_bytes(word(first))), NUMBER_LEN)
            }
            Framing::Noise { .. } => (u64::from(u32::from_le_bytes(word(second))), NOISE_HEAD_LEN),
        };
        Some(Job { key: &self.keys.send, nonce, packet: packet.get_mut(start..)? })
    }
}

#[inline]
fn write<const N: usize>(bytes: &mut [u8], head: [u8; N]) -> bool {
    let Some(start) = bytes.first_chunk_mut::<N>() else { return false };
    *start = head;
    true
}
