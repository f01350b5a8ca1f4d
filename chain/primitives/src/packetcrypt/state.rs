//! CryptoCycle: 2 KiB of state that is filled, encrypted and authenticated over and over.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..12 | nonce |
//! | 12..16 | control word |
//! | 16..48 | key; its first half is where the authenticator goes, and that begins with the item number |
//! | 48..2048 | data |
//!
//! Source: PKT-CHAIN.md §3.3.

use super::chacha::{GROUP_LEN, Stream};
use super::kernel::Code;
use super::poly1305::authenticate;
use blake2b_simd::Params;
use curve25519_dalek::MontgomeryPoint;

/// Bytes of a state.
pub(super) const LEN: usize = 2048;
/// Bytes of an item.
pub(super) const ITEM_LEN: usize = 1024;

/// The state.
#[repr(align(64))]
#[derive(Clone)]
pub(super) struct State(pub(super) [u8; LEN]);

impl State {
    pub(super) fn zero() -> Self {
        Self([0; LEN])
    }

    /// From a seed and a number.
    pub(super) fn init(&mut self, code: Code, seed: &[u8; 32], number: u64) {
        let stream = Stream::expand(seed, 0);
        let (groups, _) = self.0.as_chunks_mut::<GROUP_LEN>();
        for (group, first) in groups.iter_mut().zip([0, 16]) {
            stream.blocks(code, first, group);
        }
        self.0[..8].copy_from_slice(&number.to_le_bytes());
        self.fuzz();
    }

    /// Names the next item.
    pub(super) fn number(&self) -> u64 {
        u64::from_le_bytes(*self.array(16))
    }

    fn array<const N: usize>(&self, from: usize) -> &[u8; N] {
        self.0[from..].first_chunk().unwrap_or(&[0; N])
    }

    /// Takes the control word from what was the authenticator.
    pub(super) fn fuzz(&mut self) {
        let word = u32::from_le_bytes(*self.array(16));
        // No version, not failed, and at least 32 units long.
        let word = word & !(0x7f << 25) & !(1 << 24) | 32 << 17;
        self.0[12..16].copy_from_slice(&word.to_le_bytes());
    }

    /// Encrypts or decrypts the data as the control word says, and authenticates it into the key.
    pub(super) fn cycle(&mut self, code: Code) {
        let control = u32::from_le_bytes(*self.array(12));
        let field = |from: u32, bits: u32| control >> from & ((1 << bits) - 1);
        let (add_zeros, tail_zeros) = (field(0, 4) as usize, field(8, 4) as usize);
        let decrypt = field(12, 1) == 1;
        let (add, wanted) = (field(13, 3), field(17, 7));
        let length = wanted.min(125 - add);
        let truncated = u32::from(length != wanted);
        let new = control & !(1 << 16 | 0x7f << 17) | truncated << 16 | length << 17;
        let (add_len, len) = (16 * add as usize, 16 * length as usize);

        let stream = Stream::of_state(self.array(16), self.array(0));
        let mut group = [0; GROUP_LEN];
        stream.blocks(code, 0, &mut group);
        let mut poly_key = [0; 32];
        poly_key.copy_from_slice(&group[..32]);
        self.0[12..16].copy_from_slice(&new.to_le_bytes());

        let mut tag = None;
        let mut lengths = [0; 16];
        let signed = |len: usize, less: usize| (len as u64).wrapping_sub(less as u64).to_le_bytes();
        lengths[..8].copy_from_slice(&signed(add_len, add_zeros));
        lengths[8..].copy_from_slice(&signed(len, tail_zeros));
        let end = 48 + add_len + len;
        let authenticate = |data: &[u8]| authenticate(&poly_key, data.as_chunks().0, &[lengths]);
        if decrypt {
            tag = Some(authenticate(&self.0[48..end]));
        }
        // The first block of the stream was the authenticator's.
        let mut used = 64;
        let mut first = 0;
        let mut text = &mut self.0[48 + add_len..end];
        while !text.is_empty() {
            if used == GROUP_LEN {
                first += 16;
                stream.blocks(code, first, &mut group);
                used = 0;
            }
            let part = text.len().min(GROUP_LEN - used);
            let (now, rest) = text.split_at_mut(part);
            for (byte, key) in now.iter_mut().zip(&group[used..used + part]) {
                *byte ^= key;
            }
            used += part;
            text = rest;
        }
        if !decrypt {
            self.0[end - tail_zeros..end].fill(0);
        }
        let tag = tag.unwrap_or_else(|| authenticate(&self.0[48..end]));
        self.0[16..32].copy_from_slice(&tag);
    }

    /// Puts an item (and what a block proves of its content) in, and cycles.
    pub(super) fn update(&mut self, code: Code, item: &[u8; ITEM_LEN], content: Option<&[u8; 32]>) {
        self.0[32..32 + ITEM_LEN].copy_from_slice(item);
        if let Some(content) = content {
            self.0[32 + ITEM_LEN..64 + ITEM_LEN].copy_from_slice(content);
        }
        self.fuzz();
        self.cycle(code);
    }

    /// A Diffie-Hellman of the state with itself.
    pub(super) fn smul(&mut self) {
        let point = MontgomeryPoint::mul_base_clamped(*self.array(32));
        let shared = point.mul_clamped(*self.array(0));
        self.0[64..96].copy_from_slice(shared.as_bytes());
    }

    /// Hashes the state into its own beginning, which is the work hash.
    pub(super) fn finish(&mut self) -> [u8; 32] {
        let hash = blake32(&[&self.0]);
        self.0[..32].copy_from_slice(&hash);
        hash
    }
}

/// BLAKE2b of the parts one after the other, 32 bytes.
pub(crate) fn blake32(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Params::new().hash_length(32).to_state();
    for part in parts {
        state.update(part);
    }
    *state.finalize().as_bytes().first_chunk().unwrap_or(&[0; 32])
}

/// BLAKE2b of the parts one after the other, 64 bytes.
pub(super) fn blake64(parts: &[&[u8]]) -> [u8; 64] {
    let mut state = Params::new().hash_length(64).to_state();
    for part in parts {
        state.update(part);
    }
    *state.finalize().as_array()
}
