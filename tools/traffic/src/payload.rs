//! What the generator writes behind the switch header, and what the sink reads there.
//!
//! ```text
//!  0       4        8          16        24      28
//! | magic | stream | sequence | sent_ns | check | filler …
//! ```
//! All big-endian. `magic` stands where cjdns has a session handle: neither a control message (ffffffff) nor a
//! handshake (0 to 3), so that every switch takes the packet for end-to-end traffic. `sent_ns` is CLOCK_MONOTONIC of
//! the sending host. `filler` is a fixed function of the stream and the position.
//!
//! `check` is a hash of stream, length and filler (the same for all packets of one template), exclusive-or the four
//! 32-bit halves of sequence and time: whoever stamps a prepared packet need not read its filler.

use crate::rng::Rng;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian as be};

/// Marks our packets: "SwYd".
pub const MAGIC: u32 = 0x5377_5964;
/// Bytes of the stamp, from magic to check.
pub const STAMP_LEN: usize = 28;
/// Sequence numbers end here: a higher one is corruption, whatever the check says. At 100 million packets a second it
/// is three hours of one stream.
pub const SEQUENCE_END: u64 = 1 << 40;
/// From the stamp's start to the bytes that differ between packets of one template.
pub const VARIABLE_AT: usize = 8;

/// The stamp of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the stream in its scenario.
    pub stream: u32,
    /// Counts the packets of the stream from 0.
    pub sequence: u64,
    /// CLOCK_MONOTONIC when it was sent.
    pub sent_ns: u64,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Ours and whole.
    Whole(Stamp),
    /// Ours by its magic, but changed on the way or cut.
    Corrupted,
    /// A cjdns control message.
    Control,
    /// Somebody else's.
    Foreign,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: be::U32,
    stream: be::U32,
    sequence: be::U64,
    sent_ns: be::U64,
    check: be::U32,
}

const _: () = assert!(size_of::<Layout>() == STAMP_LEN);

/// Fills a payload: magic, stream, filler; sequence, time and check are zero until it is stamped. `None`: shorter than
/// a stamp. Returns the constant part of its check.
#[must_use]
pub fn prepare(payload: &mut [u8], stream: u32) -> Option<u32> {
    let (layout, filler) = Layout::mut_from_prefix(payload).ok()?;
    *layout = Layout {
        magic: MAGIC.into(),
        stream: stream.into(),
        sequence: 0.into(),
        sent_ns: 0.into(),
        check: 0.into(),
    };
    let mut rng = Rng::new(u64::from(stream));
    for piece in filler.chunks_mut(8) {
        piece.copy_from_slice(&rng.bits().to_le_bytes()[..piece.len()]);
    }
    Some(constant(stream, filler))
}

/// The bytes from [`VARIABLE_AT`] to the stamp's end.
#[inline]
#[must_use]
pub fn variable(constant: u32, sequence: u64, sent_ns: u64) -> [u8; STAMP_LEN - VARIABLE_AT] {
    let mut bytes = [0; STAMP_LEN - VARIABLE_AT];
    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[8..16].copy_from_slice(&sent_ns.to_be_bytes());
    bytes[16..].copy_from_slice(&(constant ^ fold(sequence) ^ fold(sent_ns)).to_be_bytes());
    bytes
}

/// Reads what follows a switch header.
#[must_use]
pub fn read(payload: &[u8]) -> Reading {
    let Some(first) = payload.first_chunk::<4>().copied().map(u32::from_be_bytes) else {
        return Reading::Foreign;
    };
    match first {
        u32::MAX => return Reading::Control,
        MAGIC => {}
        _ => return Reading::Foreign,
    }
    let Ok((layout, filler)) = Layout::ref_from_prefix(payload) else { return Reading::Corrupted };
    let (stream, sequence, sent_ns) =
        (layout.stream.get(), layout.sequence.get(), layout.sent_ns.get());
    let check = constant(stream, filler) ^ fold(sequence) ^ fold(sent_ns);
    if check != layout.check.get() || sequence >= SEQUENCE_END {
        return Reading::Corrupted;
    }
    Reading::Whole(Stamp { stream, sequence, sent_ns })
}

/// Each step is a bijection of the state, so a change within one word always changes all that follows.
fn constant(stream: u32, filler: &[u8]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(ODD).rotate_left(29);
    let (words, last) = filler.as_chunks::<8>();
    let first = mix(u64::from(stream), filler.len() as u64);
    let hash = words.iter().fold(first, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut tail = [0; 8];
    tail[..last.len()].copy_from_slice(last);
    fold(mix(mix(hash, u64::from_le_bytes(tail)), ODD))
}

/// Both halves, one over the other.
#[inline]
const fn fold(wide: u64) -> u32 {
    let [a, b, c, d, e, f, g, h] = wide.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamped(stream: u32, sequence: u64, sent_ns: u64, len: usize) -> Vec<u8> {
        let mut payload = vec![0; len];
        let constant = prepare(&mut payload, stream).unwrap();
        payload[VARIABLE_AT..STAMP_LEN].copy_from_slice(&variable(constant, sequence, sent_ns));
        payload
    }

    proptest! {
        #[test]
        fn reads_back_until_any_bit_behind_the_magic_flips(
            stream: u32, sequence in 0..SEQUENCE_END, sent_ns: u64, len in STAMP_LEN..200, bit: prop::sample::Index,
        ) {
            let mut payload = stamped(stream, sequence, sent_ns, len);
            prop_assert_eq!(read(&payload), Reading::Whole(Stamp { stream, sequence, sent_ns }));
            let bit = 32 + bit.index(len * 8 - 32);
            payload[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(read(&payload), Reading::Corrupted);
        }

        #[test]
        fn a_cut_payload_is_corrupted(cut in 1usize..60) {
            let payload = stamped(7, 8, 9, 64);
            prop_assert_eq!(read(&payload[..64 - cut]), Reading::Corrupted);
        }
    }

    #[test]
    fn other_traffic_is_not_ours() {
        assert_eq!(read(&[0xff; 40]), Reading::Control);
        assert_eq!(read(&[0; 40]), Reading::Foreign);
        assert_eq!(read(&[]), Reading::Foreign);
        assert_eq!(prepare(&mut [0; STAMP_LEN - 1], 1), None);
        assert_eq!(read(&stamped(1, SEQUENCE_END, 0, 64)), Reading::Corrupted);
    }
}
