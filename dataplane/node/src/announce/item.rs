//! Items of an announcement.
//!
//! ```text
//!  0        1      2
//! | length | type | body …      length counts itself; 1: a pad byte, which has no type; 0: malformed
//! ```

use super::varint;
use std::net::Ipv6Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian as be};

/// Slots of ten seconds in a ring of measurements.
pub const SLOTS: usize = 18;
/// Bytes of a [`Peer`] item.
pub const PEER_LEN: usize = 32;
/// Longest item.
const LEN_MAX: usize = 255;
const ALIGNMENT: usize = 4;

mod kind {
    pub(super) const SCHEME: u8 = 0;
    pub(super) const PEER: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const LINK_STATE: u8 = 3;
}

/// One item, its bytes borrowed from the announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// One byte without meaning.
    Pad,
    /// The announcer's encoding scheme, serialized.
    Scheme(&'a [u8]),
    /// A peer from which the announcer can be reached.
    Peer(Peer),
    /// The announcer's protocol version.
    Version(u16),
    /// What the announcer measured on a link.
    LinkState(LinkState<'a>),
    /// Of a type that is not known.
    Other {
        /// The type.
        kind: u8,
        /// What follows it.
        body: &'a [u8],
    },
}

/// "I can be reached from `address` by `label`." The body of the item.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Peer {
    /// Index of the form of our label for the peer.
    pub form: u8,
    /// None is defined.
    pub flags: u8,
    /// MTU of the link in units of 8 bytes; 0: unknown.
    pub mtu_8: be::U16,
    /// Our label for the peer.
    pub number: be::U16,
    /// All ones.
    pub unused: be::U32,
    /// The peer's address.
    pub address: [u8; 16],
    /// The peer's label for us; 0 withdraws the link.
    pub label: be::U32,
}

/// Measurements of a link, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState<'a> {
    /// Zero bytes before the numbers.
    pub pad: u8,
    /// Our label for the peer, as in its [`Peer`] item.
    pub number: u16,
    /// Ring index of the first sample.
    pub start: u8,
    samples: &'a [u8],
}

/// What was measured in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Round trip, 0: not measured.
    pub lag_ms: u16,
    /// Lost · 2¹⁸ / received, at most 0xfffe.
    pub drops: u16,
    /// Received, in units of 1 000 bytes.
    pub kilobytes: u32,
}

/// What an item replaces, and is replaced by. Measurements replace nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The encoding scheme.
    Scheme,
    /// The protocol version.
    Version,
    /// The link of this number.
    Peer(u16),
    /// Whatever items of this unknown type speak of.
    Other(u8),
}

impl<'a> Item<'a> {
    /// What the item speaks of, unless it is forgotten as soon as it is read.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::Scheme(_) => Some(Subject::Scheme),
            Self::Version(_) => Some(Subject::Version),
            Self::Peer(peer) => Some(Subject::Peer(peer.number.get())),
            Self::Other { kind, .. } => Some(Subject::Other(*kind)),
            Self::Pad | Self::LinkState(_) => None,
        }
    }

    /// Appends the item. An item longer than its length can say is left out.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pad => out.push(1),
            Self::Scheme(scheme) => put(out, kind::SCHEME, &[scheme]),
            Self::Peer(peer) => put(out, kind::PEER, &[peer.as_bytes()]),
            Self::Version(version) => put(out, kind::VERSION, &[&version.to_be_bytes()]),
            Self::LinkState(state) => {
                let mut numbers = Vec::with_capacity(2 * varint::LEN_MAX);
                varint::put(&mut numbers, state.number.into());
                varint::put(&mut numbers, state.start.into());
                let pad = vec![0; usize::from(state.pad)];
                put(out, kind::LINK_STATE, &[&[state.pad], &pad, &numbers, state.samples]);
            }
            Self::Other { kind, body } => put(out, *kind, &[body]),
        }
    }

    fn parse(kind: u8, body: &'a [u8]) -> Option<Self> {
        match kind {
            kind::SCHEME => Some(Self::Scheme(body)),
            kind::PEER => Peer::read_from_bytes(body).ok().map(Self::Peer),
            kind::VERSION => {
                body.try_into().ok().map(|body| Self::Version(u16::from_be_bytes(body)))
            }
            kind::LINK_STATE => LinkState::parse(body).map(Self::LinkState),
            _ => Some(Self::Other { kind, body }),
        }
    }
}

impl<'a> LinkState<'a> {
    /// `samples`: written by [`Sample::put`].
    #[must_use]
    pub fn new(number: u16, start: u8, samples: &'a [u8]) -> Self {
        let mut numbers = Vec::with_capacity(2 * varint::LEN_MAX);
        varint::put(&mut numbers, number.into());
        varint::put(&mut numbers, start.into());
        let len = 3 + numbers.len() + samples.len();
        // Below the alignment, so that it fits a byte.
        let pad = u8::try_from(len.next_multiple_of(ALIGNMENT) - len).unwrap_or(0);
        Self { pad, number, start, samples }
    }

    /// The samples, each with its ring index.
    pub fn samples(&self) -> impl Iterator<Item = (usize, Sample)> + 'a {
        let start = usize::from(self.start);
        let mut rest = self.samples;
        (0..SLOTS).map_while(move |index| {
            let (sample, after) = Sample::split(rest)?;
            rest = after;
            Some(((start + index) % SLOTS, sample))
        })
    }

    fn parse(body: &'a [u8]) -> Option<Self> {
        let (pad, rest) = body.split_first()?;
        let (zeros, rest) = rest.split_at_checked(usize::from(*pad))?;
        let (number, rest) = varint::split(rest)?;
        let (start, samples) = varint::split(rest)?;
        let start = u8::try_from(start).ok().filter(|start| usize::from(*start) < SLOTS)?;
        if zeros.iter().any(|byte| *byte != 0) {
            return None;
        }
        let mut rest = samples;
        while !rest.is_empty() {
            (_, rest) = Sample::split(rest)?;
        }
        Some(Self { pad: *pad, number: u16::try_from(number).ok()?, start, samples })
    }
}

impl Sample {
    /// Appends the sample.
    pub fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.lag_ms.into());
        varint::put(out, self.drops.into());
        varint::put(out, self.kilobytes.into());
    }

    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (lag, rest) = varint::split(bytes)?;
        let (drops, rest) = varint::split(rest)?;
        let (kilobytes, rest) = varint::split(rest)?;
        let sample = Self {
            lag_ms: u16::try_from(lag).unwrap_or(u16::MAX),
            drops: u16::try_from(drops).unwrap_or(u16::MAX),
            kilobytes: u32::try_from(kilobytes).unwrap_or(u32::MAX),
        };
        Some((sample, rest))
    }
}

impl Peer {
    /// The link with the peer of this address.
    ///
    /// `number`: our label for it, `form` the index of that label's form; `label`: its label for us, 0 if the link is gone;
    /// `mtu`: bytes, 0 if unknown.
    #[must_use]
    pub fn new(address: Ipv6Addr, number: u16, form: u8, label: u32, mtu: u16) -> Self {
        Self {
            form,
            flags: 0,
            mtu_8: be::U16::new(mtu / 8),
            number: be::U16::new(number),
            unused: be::U32::new(u32::MAX),
            address: address.octets(),
            label: be::U32::new(label),
        }
    }
}

/// Appends pad bytes until items that follow are aligned.
pub fn align(out: &mut Vec<u8>) {
    while !out.len().is_multiple_of(ALIGNMENT) {
        Item::Pad.put(out);
    }
}

/// Items one after the other; `None` ends it where one is malformed.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Option<Item<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(*self.rest.first()?);
        let Some((item, rest)) = self.rest.split_at_checked(len).filter(|_| len > 0) else {
            self.rest = &[];
            return Some(None);
        };
        self.rest = rest;
        match item {
            [_] => Some(Some(Item::Pad)),
            [_, kind, body @ ..] => Some(Item::parse(*kind, body)),
            [] => None,
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let len = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
    let Some(len) = u8::try_from(len).ok().filter(|len| usize::from(*len) <= LEN_MAX) else {
        return;
    };
    out.extend([len, kind]);
    parts.iter().for_each(|part| out.extend(*part));
}
